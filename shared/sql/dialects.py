"""The differences between the dialects of SQL, one struct each: tokens, and the functions that callers may run."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Literal, NamedTuple

Dialect = Literal["sqlite", "postgresql", "mysql", "blobs"]
"""`mysql` is MariaDB, too; `blobs` are data files, read by DuckDB."""

# Every character outside ASCII is part of a name for all three engines, U+00A0 and other Unicode spaces included. The
# classes exclude the rest of ASCII, because Python needs 3 ms to compile a class with a range beyond it.
_START = r"[^\x00-@\[-^`{-\x7f]"
"""A letter or `_`."""
_PLAIN = r"[^\x00-/:-@\[-^`{-\x7f]"
"""A letter, digit or `_`."""
_PART = r"[^\x00-#%-/:-@\[-^`{-\x7f]"
"""A letter, digit, `_` or `$`."""


class DialectFacts(NamedTuple):
    """The facts of one dialect."""

    token: str
    """A verbose pattern of the token at a position; the name of its last group is its kind.

    A character that starts no token is one that the engine refuses, or one that we cannot account for. The scanner
    itself finds the ends of `nested` comments and of strings in `dollar` quotes.
    """
    reads: frozenset[str]
    """First words of statements that query-sql accepts. SQLite's own authorizer decides further."""
    writes: frozenset[str]
    """First words of statements that execute-sql accepts; empty where the engine's authorizer decides alone."""
    undoable: frozenset[str]
    """First words of statements that a rollback undoes; empty where it undoes all that are accepted."""
    functions: frozenset[str]
    """Functions that callers may not call: they end or show calls of others, run a text, or lift the app's limits."""
    function_prefixes: tuple[str, ...]
    """The same, by the first letters."""
    relations: frozenset[str]
    """Relations of the catalogue that callers may not read: they show calls of others."""
    schemas: Mapping[str, frozenset[str]]
    """By schema, the relations that callers may not read; empty for all of them."""
    records: str
    """Creates the table that keeps the responses to requests with an Idempotency-Key, beside the data they report."""


# ---- SQLite. https://www.sqlite.org/src/file/src/tokenize.c

_SQLITE = rf"""
  (?P<blank> (?:\ufeff|[ \t\n\f\r][ \t\n\v\f\r]*+)++)
| (?P<comment> --[^\n]*+ | /\*(?=.).*?(?:\*/|\Z) )
| (?P<text> '[^']*+(?:''[^']*+)*+' | [xX]'[^']*+' )
| (?P<name> "[^"]*+(?:""[^"]*+)*+" | `[^`]*+(?:``[^`]*+)*+` | \[[^\]]*+\] )
| (?P<open> ['"`\[] )
| (?P<word> {_START}{_PART}*+ )
| (?P<number> (?:[0-9][0-9_]*+(?:\.[0-9_]*+)?|\.[0-9][0-9_]*+)(?:[eE][-+]?[0-9]++)?{_PART}*+ )
| \?(?P<position> [0-9]*+ )
| [:@$](?P<parameter> {_PART}++ )(?!::|\()
| (?P<symbol> !=|[-+*/%<>=|,&~.();] )
"""

# ---- PostgreSQL. https://github.com/postgres/postgres/blob/REL_17_STABLE/src/backend/parser/scan.l

_NEXT_LINE = r"(?:[ \t\f]++|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f]++|--[^\n\r]*+[\n\r])*+"
"""What separates the parts of one string: white space and comments with a line break."""
_ESCAPED = r"'[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*+'"
_POSTGRESQL = rf"""
  (?P<blank> [ \t\n\r\f]++ )
| (?P<comment> --[^\n\r]*+ )
| (?P<nested> /\* )
| (?P<text> [eE]{_ESCAPED}(?:{_NEXT_LINE}{_ESCAPED})*+ | '[^']*+(?:''[^']*+)*+' )
| (?P<name> (?:[uU]&)?"[^"]*+(?:""[^"]*+)*+" )
| (?P<open> [eE]?' | " )
| (?P<dollar> \$(?:{_START}{_PLAIN}*+)?\$ )
| (?P<word> {_START}{_PART}*+ )
| (?P<number> (?:0[xXoObB][0-9a-fA-F_]++|(?:[0-9][0-9_]*+(?:\.(?!\.)[0-9_]*+)?|\.[0-9][0-9_]*+)(?:[eE][-+]?[0-9_]++)?)
    (?!{_START}) )
| (?P<symbol> ::|:= )
| (?P<operator> \?\? )
| \?(?P<position> [0-9]*+ )
| \$(?P<dollar_position> [0-9]++ )(?!{_START})
| [:$](?P<parameter> {_START}{_PLAIN}*+ )
| (?P<sign> [-+*/%<>=|,&~.();:!@\#^`\[\]] )
"""

# ---- MySQL and MariaDB. https://github.com/MariaDB/server/blob/10.11/sql/sql_lex.cc

_MYSQL = rf"""
  (?P<blank> [ \t\n\v\f\r]++ )
| (?P<code> /\*M?! )
| (?P<comment> --(?=[\x01-\x20\x7f]|\Z)[^\n]*+ | \#[^\n]*+ | /\*.*?\*/ )
| (?P<text> '[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*+' | "[^"\\]*+(?:(?:""|\\.)[^"\\]*+)*+" )
| (?P<name> `[^`]*+(?:``[^`]*+)*+` )
| (?P<open> ['"`] | /\* )
| (?P<number> [0-9]{_PART}*+ )
| (?P<word> (?:{_START}|\$(?!{_START})){_PART}*+ )
| (?P<symbol> := )
| \?(?P<position> [0-9]*+ )
| [:$](?P<parameter> {_START}{_PLAIN}*+ )
| (?P<sign> [-+*/%<>=|,&~.();:!@^{{}}] )
"""

# ---- DuckDB, whose lexer is PostgreSQL's. Its own parser decides what runs; this one only finds the parameters.

_BLOBS = rf"""
  (?P<blank> [ \t\n\v\r\f]++ )
| (?P<comment> --[^\n\r]*+ )
| (?P<nested> /\* )
| (?P<text> [eE]{_ESCAPED} | '[^']*+(?:''[^']*+)*+' )
| (?P<name> "[^"]*+(?:""[^"]*+)*+" )
| (?P<open> [eE]?' | " )
| (?P<dollar> \$(?:{_START}{_PLAIN}*+)?\$ )
| (?P<word> {_START}{_PART}*+ )
| (?P<number> (?:0[xXoObB][0-9a-fA-F_]++|(?:[0-9][0-9_]*+(?:\.(?!\.)[0-9_]*+)?|\.[0-9][0-9_]*+)(?:[eE][-+]?[0-9_]++)?) )
| (?P<symbol> ::|:= )
| \?(?P<position> [0-9]*+ )
| \$(?P<dollar_position> [0-9]++ )(?!{_START})
| [:$](?P<parameter> {_START}{_PLAIN}*+ )
| (?P<sign> [-+*/%<>=|,&~.();:!@\#^`\[\]{{}}] )
"""

_SELECTS = frozenset({"SELECT", "VALUES", "WITH", "TABLE", "SHOW", "EXPLAIN", "DESCRIBE", "DESC"})
"""PostgreSQL's and MySQL's read-only transactions forbid writing tables; commands such as COPY, CALL and DO, which
reach further than tables, have no business in a query."""
_CHANGES = frozenset(
    {"INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "TRUNCATE", "GRANT", "REVOKE", "ANALYZE"}
)

_XML = frozenset(f"{what}_to_xml{form}" for what in ("query", "cursor", "table", "schema", "database")
                 for form in ("", "schema", "_and_xmlschema"))  # fmt: skip
_RECORDS = (
    "create table if not exists strongroom_answers (id varchar(64) primary key, digest varchar(64) not null, "
    "answer {}, created bigint not null)"
)

DIALECTS: Mapping[Dialect, DialectFacts] = {
    "sqlite": DialectFacts(
        token=_SQLITE,
        reads=frozenset({"SELECT", "VALUES", "WITH", "EXPLAIN", "PRAGMA"}),
        writes=frozenset(),
        undoable=frozenset(),
        functions=frozenset(),
        function_prefixes=(),
        relations=frozenset(),
        schemas={},
        records=_RECORDS.format("text"),
    ),
    "postgresql": DialectFacts(
        token=_POSTGRESQL,
        reads=_SELECTS - {"DESCRIBE", "DESC"},
        writes=_SELECTS - {"DESCRIBE", "DESC"} | _CHANGES | frozenset(
            {"MERGE", "COMMENT", "REFRESH", "REINDEX", "CLUSTER", "CALL", "LOCK", "NOTIFY", "SET", "SECURITY",
             "IMPORT", "REASSIGN"}
        ),
        undoable=frozenset(),
        functions=_XML | frozenset(
            {"set_config", "pg_terminate_backend", "pg_cancel_backend", "pg_stat_get_activity",
             "pg_stat_get_backend_activity", "pg_stat_statements", "ts_stat", "ts_rewrite", "connectby", "xpath_table",
             "pg_logical_emit_message"}
        ),
        function_prefixes=("dblink", "crosstab"),
        relations=frozenset({"pg_stat_activity", "pg_stat_statements"}),
        schemas={"pg_catalog": frozenset({"pg_stat_activity"})},
        records=_RECORDS.format("text"),
    ),
    "blobs": DialectFacts(
        token=_BLOBS,
        reads=frozenset({"SELECT", "VALUES", "WITH", "FROM", "TABLE"}),
        writes=frozenset(),
        undoable=frozenset(),
        functions=frozenset(),
        function_prefixes=(),
        relations=frozenset(),
        schemas={},
        records="",
    ),
    "mysql": DialectFacts(
        token=_MYSQL,
        reads=_SELECTS,
        writes=_SELECTS | _CHANGES | frozenset(
            {"REPLACE", "RENAME", "OPTIMIZE", "CHECK", "CHECKSUM", "REPAIR", "CALL", "DO"}
        ),
        undoable=frozenset(
            {"SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN"}
        ),
        functions=frozenset(),
        function_prefixes=(),
        relations=frozenset(),
        schemas={
            "information_schema": frozenset({"processlist", "innodb_trx", "profiling", "query_cache_info"}),
            "performance_schema": frozenset(),
            "sys": frozenset(),
            "mysql": frozenset(),
        },
        records=_RECORDS.format("longtext character set utf8mb4"),
    ),
}  # fmt: skip


@cache
def token_pattern(dialect: Dialect) -> re.Pattern[str]:
    """The compiled pattern of a dialect's tokens: each takes half a millisecond to compile."""
    return re.compile(DIALECTS[dialect].token, re.DOTALL | re.VERBOSE)


SHOWN = frozenset(
    {
        "CHARACTER", "CHARSET", "COLLATION", "COLUMNS", "COUNT", "DATABASES", "ENGINES", "ERRORS", "EVENTS", "EXTENDED",
        "FIELDS", "FUNCTION", "GLOBAL", "INDEX", "INDEXES", "KEYS", "LOCAL", "OPEN", "PACKAGE", "PLUGINS", "PRIVILEGES",
        "PROCEDURE", "SCHEMAS", "SESSION", "STATUS", "STORAGE", "TABLE", "TABLES", "TRIGGERS", "VARIABLES", "WARNINGS",
    }
)  # fmt: skip
"""What MySQL's SHOW may show: not the statements or the grants of others. FULL and CREATE depend on the next word."""
SHOWN_IN_FULL = frozenset({"TABLES", "COLUMNS", "FIELDS"})
SHOWN_AS_CREATED = frozenset(
    {"TABLE", "VIEW", "FUNCTION", "PROCEDURE", "TRIGGER", "EVENT", "DATABASE", "SCHEMA", "SEQUENCE", "PACKAGE"}
)
