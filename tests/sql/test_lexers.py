"""The scanner reads a text as each engine's own lexer does: compared with real SQLite, PostgreSQL and MariaDB."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import product

import apsw
import psycopg
import pymysql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.sql.dialects import Dialect
from shared.sql.engines.mysql import _connector
from shared.sql.errors import SqlError
from shared.sql.statements import _scan, has_second, is_blank, scan
from tests.sql.conftest import no_token
from tests.sql.servers import Server

MARKER = ", 7 as marker"
"""Where the engine reads it as code, the statement has a column of this name."""
Columns = Callable[[str], list[str] | None]
"""The names of a statement's columns; None where the engine refuses it."""

INSIDE = ["'", "''", '"', "`", "[", "]", "\\", "\\'", "$", "$$", "$a$", "--", "/*", "*/", "/", "*", "\r", "\n", "\t",
          "\v", "\f", "\x01", "\x7f", " ", "\xa0", "\u2028", "\ufeff", "#", ";", "a", "é", "1", "-", "e'",
          "!"]  # fmt: skip
OPEN = ["", "--", "-- ", "--\r", "--\t", "--\x01", "--\x7f", "--\xa0", "--\v", "-", "/*", "/**/", "/*/", "#", "# ",
        "\r", "\v", "\xa0", "\ufeff", "+", "*/", "/",
        ", '", ", e'", ", E'", ", x'", ", n'", ", u&'", ", U&\"", ', "', ", `", ", [", ", $$", ", $a$", ", $é$",
        ", a$$", ", 1", ", .5", ", 1e", ", 0x", ", e'a'\n'", ", 'a'\n'", ", e'a' -- b\r'", ", e'a' \v\n'", ", @'",
        ", \\N"]  # fmt: skip
CLOSE = ["", "'", '"', "`", "]", "$$", "$a$", "$é$", "*/", "\n", "\r", "'\n", "*/*/", "\\''", "' --\n", "\r\n"]
TEXTS = st.builds(
    lambda start, inside, end: f"select 1 as one {start}{''.join(inside)}{end}",
    st.sampled_from(OPEN),
    st.lists(st.sampled_from(INSIDE), max_size=6),
    st.sampled_from(CLOSE),
)


def check(columns: Columns, dialect: Dialect, text: str) -> bool:
    """Compare the engine with the scanner; return whether both could read the text."""
    sql = text + MARKER
    if dialect == "sqlite" and ";" in text:
        return False  # apsw would run the part before it as a separate statement.
    names = columns(sql)
    if names is None:
        return False
    try:
        words = scan(sql, dialect).words
    except (SqlError, InvalidRequest):
        return False  # The scanner refuses texts that it cannot read.
    assert ("MARKER" in words) == ("marker" in names), (sql, words, names)
    return True


@pytest.fixture(scope="module")
def sqlite_columns() -> Columns:
    """The columns that SQLite reports."""
    connection = apsw.Connection(":memory:")

    def columns(sql: str) -> list[str] | None:
        try:
            return [name for name, *_ in connection.execute(sql, can_cache=False).get_description()]
        except (apsw.Error, ValueError):
            return None

    return columns


@pytest.fixture(scope="module")
def postgresql_columns(postgresql: Server) -> Iterator[Columns]:
    """The columns that PostgreSQL reports."""
    with closing(psycopg.connect(postgresql.owner, autocommit=True)) as connection:

        def columns(sql: str) -> list[str] | None:
            try:
                result = connection.pgconn.exec_params(sql.encode(), None)
            except UnicodeError:
                return None
            return [(result.fname(place) or b"").decode() for place in range(result.nfields)] or None

        yield columns


@pytest.fixture(scope="module")
def mariadb_columns(mariadb: Server) -> Iterator[Columns]:
    """The columns that MariaDB reports, with the session's own settings."""
    with closing(_connector(mariadb.reader, no_token)()) as connection, connection.cursor() as cursor:

        def columns(sql: str) -> list[str] | None:
            try:
                cursor.execute(sql)
                names = [each[0] for each in cursor.description or ()]
                cursor.fetchall()
            except (pymysql.MySQLError, UnicodeError):
                return None
            return names or None

        yield columns


FEW = settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(TEXTS)
def test_the_scanner_reads_as_sqlite_does(sqlite_columns: Columns, text: str) -> None:
    """The scanner reads as code the same parts as SQLite, or refuses the text."""
    check(sqlite_columns, "sqlite", text)


@FEW
@given(TEXTS)
def test_the_scanner_reads_as_postgresql_does(postgresql_columns: Columns, text: str) -> None:
    """The scanner reads as code the same parts as PostgreSQL, or refuses the text."""
    check(postgresql_columns, "postgresql", text)


@FEW
@given(TEXTS)
def test_the_scanner_reads_as_mariadb_does(mariadb_columns: Columns, text: str) -> None:
    """The scanner reads as code the same parts as MariaDB, or refuses the text."""
    check(mariadb_columns, "mysql", text)


EVERY = [f"select 1 as one {start}{end}" for start, end in product(OPEN, CLOSE)]


@pytest.mark.parametrize("name", ["sqlite", "postgresql", "mariadb"])
def test_every_start_and_end_of_a_token(name: str, request: pytest.FixtureRequest) -> None:
    """Engine and scanner agree on each way to start and end a string, name or comment; they can read most of them."""
    columns: Columns = request.getfixturevalue(f"{name}_columns")
    dialect: Dialect = "mysql" if name == "mariadb" else name  # type: ignore[assignment]
    accepted = sum(columns(text + MARKER) is not None for text in EVERY)
    read = sum(check(columns, dialect, text) for text in EVERY)
    assert read > 0.9 * accepted


PIECES = ["'", '"', "`", "[", "(", "e'", "\\'", "\\", "$$", "$a$", "/*", "*/", "--", "-- \n", "#", "\n", "\r", " ",
          "x'",           'U&"', "?", ":a", "1e", "a", ";", "e'a'\n'", "from ", "a,", "dblink("]  # fmt: skip
FRAMES = [("", ""), ("select e'", "\\"), ("select ", "'")]
"""What is around the pieces: the second leads into the error path."""
SUSPICIOUS_SECONDS = 0.05


def seconds(call: Callable[[str], object], text: str) -> float:
    """The CPU seconds that a call takes."""
    started = time.thread_time()
    with suppress(SqlError, InvalidRequest):
        call(text)
    return time.thread_time() - started


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_scanning_is_linear(dialect: Dialect) -> None:
    """Eight times the text takes about eight times as long, for every pair of tokens, also in the error path."""

    def look(text: str) -> None:
        with suppress(SqlError):
            _scan(text, dialect)
        has_second(text, dialect)

    slow = []
    for first, second, (start, end) in product(PIECES, PIECES, FRAMES):
        text = f"{start}{(first + second) * 800}{end}"
        if seconds(look, text) < SUSPICIOUS_SECONDS:
            continue  # Quadratic time would take longer at this length.
        few = f"{start}{(first + second) * 100}{end}"
        base = min(seconds(look, few) for _ in range(5))
        if min(seconds(look, text) for _ in range(5)) > 24 * base:  # 8 is linear, 64 is quadratic.
            slow.append((first, second, start, end))
    assert not slow


def test_blank_texts_are_linear() -> None:
    """Looking for text after a statement is linear, too."""
    assert is_blank(" ;-- a\n/* b */" * 10_000)
