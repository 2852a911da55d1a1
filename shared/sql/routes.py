"""The functions that read and write databases by SQL."""

from collections.abc import Mapping
from functools import partial
from time import perf_counter
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.errors import (
    AnswerTooLarge,
    Busy,
    DatabaseUnavailable,
    MultipleStatements,
    QueryTimeout,
    ReadOnly,
    SqlError,
    Unavailable,
    UnknownDatabase,
    invalid_field,
)
from shared.sql.databases import Database, Databases
from shared.sql.engines import Outcome, Statement, Table
from shared.sql.statements import GivenParams, read_params
from shared.sql.values import Cursor, Format, Kind, Page, Rows, RowTooLarge, read_page
from shared.web import Answer, Example, Fields, Operation, decode_cursor, encode_cursor

MAX_ROWS = 10_000
MAX_BYTES = 8 * 1024 * 1024
"""Of the rows of an answer."""
LISTING_SECONDS = 5.0
MEDIA_TYPES: Mapping[Format, str] = {
    "json": "application/json",
    "objects": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
}

Sql = Annotated[str, Meta(description="One SQL statement.", min_length=1, max_length=100_000)]
Params = Annotated[
    GivenParams | None,
    Meta(description='Values for `?` as a list, for `:name` as an object. Bytes are `{"base64": "…"}`.'),
]
DatabaseName = Annotated[str, Meta(description="Its name in the settings.", max_length=64)]
TimeoutMs = Annotated[int, Meta(description="The statement is interrupted then, in milliseconds.", ge=1, le=60_000)]


class QuerySql(Fields, frozen=True):
    sql: Sql
    params: Params = None
    database: DatabaseName = "main"
    format: Annotated[
        Format,
        Meta(description="`json` has rows as arrays, `objects` as objects; `ndjson` and `csv` hold rows alone."),
    ] = "json"
    limit: Annotated[int, Meta(description="Rows of the answer, at most.", ge=1, le=MAX_ROWS)] = 1000
    cursor: Annotated[str, Meta(description="Where the answer before left off.", max_length=2000)] | None = None
    timeout_ms: TimeoutMs = 5000
    explain: Annotated[bool, Meta(description="Answer how the statement would be run, and do not run it.")] = False


class ColumnAnswer(msgspec.Struct, frozen=True):
    """A column. Where the database declares no type, it is that of the values; `null` where there are none."""

    name: str
    type: Kind


class QueryAnswer(msgspec.Struct, frozen=True):
    """`truncated` says that there are more rows; `cursor` fetches them."""

    columns: list[ColumnAnswer]
    rows: list[list[Any] | dict[str, Any]]
    row_count: int
    truncated: bool
    cursor: str | None
    elapsed_ms: float


class StatementFields(Fields, frozen=True):
    sql: Sql
    params: Params = None


class ExecuteSql(Fields, frozen=True):
    sql: (
        Annotated[str, Meta(description="One SQL statement; or give `statements`.", min_length=1, max_length=100_000)]
        | None
    ) = None
    params: Params = None
    statements: (
        Annotated[
            list[StatementFields],
            Meta(description="All run in one transaction, or none.", min_length=1, max_length=1000),
        ]
        | None
    ) = None
    database: DatabaseName = "main"
    dry_run: Annotated[bool, Meta(description="Run it, answer what it did, and undo it.")] = False
    timeout_ms: TimeoutMs = 5000


class StatementResult(msgspec.Struct, frozen=True):
    """What one statement did. `rows` and `columns` are there where it returns some (RETURNING)."""

    rows_affected: int
    last_row_id: int | None = None
    columns: list[ColumnAnswer] | UnsetType = UNSET
    rows: list[list[Any]] | UnsetType = UNSET
    truncated: bool | UnsetType = UNSET


class ExecuteAnswer(msgspec.Struct, frozen=True):
    """What was done: of one statement its result, of `statements` their sum and `results` in the same order."""

    rows_affected: int
    dry_run: bool
    elapsed_ms: float
    last_row_id: int | None = None
    columns: list[ColumnAnswer] | UnsetType = UNSET
    rows: list[list[Any]] | UnsetType = UNSET
    truncated: bool | UnsetType = UNSET
    results: list[StatementResult] | UnsetType = UNSET


class DatabaseAnswer(msgspec.Struct, frozen=True):
    """One database. Where it does not answer now, `available` is false and `tables` is empty."""

    name: str
    engine: str
    writable: bool
    available: bool
    tables: list[Table]


class ListAnswer(msgspec.Struct, frozen=True):
    databases: list[DatabaseAnswer]


def query_sql(databases: Databases, fields: QuerySql) -> Answer:
    started = perf_counter()
    params = read_params(fields.params)
    question = (fields.database, fields.sql, fields.params, fields.explain)
    start = 0 if fields.cursor is None else decode_cursor(fields.cursor, int, *question)
    with databases.get(fields.database).reading(fields.timeout_ms / 1000) as session:
        rows = session.query(fields.sql, params, fields.explain)
        _skip(rows, start)
        page = _read(rows, fields.format, fields.limit)
    cursor = encode_cursor(start + page.row_count, *question) if page.truncated else None
    if fields.format in ("ndjson", "csv"):
        headers = {"x-truncated": "true", "x-cursor": cursor} if cursor else {}
        return Answer(200, page.rows, MEDIA_TYPES[fields.format], headers)
    return Answer.json(
        {
            "columns": page.columns,
            "rows": msgspec.Raw(b"[%b]" % page.rows),
            "row_count": page.row_count,
            "truncated": page.truncated,
            "cursor": cursor,
            "elapsed_ms": _since(started),
        }
    )


def _skip(rows: Cursor, count: int) -> None:
    while count > 0 and (skipped := len(rows.fetch(min(count, 1000)))):
        count -= skipped


def _read(rows: Cursor, form: Format, limit: int) -> Page:
    try:
        return read_page(rows, form, limit, MAX_BYTES)
    except RowTooLarge:
        raise AnswerTooLarge(f"One row alone takes over {MAX_BYTES} bytes. Select less of it.") from None


def _since(started: float) -> float:
    return round((perf_counter() - started) * 1000, 3)


def execute_sql(databases: Databases, fields: ExecuteSql) -> ExecuteAnswer:
    started = perf_counter()
    if (fields.sql is None) == (fields.statements is None):
        raise invalid_field("sql", "give either sql, or statements.")
    if fields.sql is not None:
        statements = [Statement(fields.sql, read_params(fields.params))]
    else:
        if fields.params is not None:
            raise invalid_field("params", "goes with sql; each of the statements has its own.")
        statements = [
            Statement(each.sql, read_params(each.params, f"statements[{place}].params"))
            for place, each in enumerate(fields.statements or ())
        ]
    outcomes = databases.get(fields.database).execute(
        statements, max_rows=MAX_ROWS + 1, dry_run=fields.dry_run, seconds=fields.timeout_ms / 1000
    )
    results = [_result(each) for each in outcomes]
    if fields.sql is not None:
        only = msgspec.structs.asdict(results[0])
        return ExecuteAnswer(dry_run=fields.dry_run, elapsed_ms=_since(started), **only)
    total = sum(each.rows_affected for each in results)
    return ExecuteAnswer(total, fields.dry_run, _since(started), results=results)


def _result(outcome: Outcome) -> StatementResult:
    returned: dict[str, Any] = {}
    if outcome.columns:
        page = _read(Rows(outcome.columns, outcome.rows), "json", MAX_ROWS)
        returned = {
            "columns": page.columns,
            "rows": msgspec.Raw(b"[%b]" % page.rows),
            "truncated": page.truncated,
        }
    return StatementResult(outcome.rows_affected, outcome.last_row_id, **returned)


def list_databases(databases: Databases) -> ListAnswer:
    return ListAnswer([_describe(each) for each in databases])


def _describe(database: Database) -> DatabaseAnswer:
    try:
        with database.reading(LISTING_SECONDS) as session:
            tables = session.tables()
    except (Unavailable, UnknownDatabase):
        return DatabaseAnswer(database.name, database.engine, database.writable, available=False, tables=[])
    return DatabaseAnswer(database.name, database.engine, database.writable, available=True, tables=tables)


ALWAYS = (
    UnknownDatabase,
    ReadOnly,
    SqlError,
    MultipleStatements,
    QueryTimeout,
    AnswerTooLarge,
    Busy,
    DatabaseUnavailable,
)


def operations(databases: Databases) -> dict[str, Operation]:
    """Reading and writing are functions of their own, so that each has keys of its own."""
    return {
        "query-sql": Operation(
            handle=partial(query_sql, databases),
            request=QuerySql,
            answer=QueryAnswer,
            summary="Read a database by one SQL statement, with bound parameters.\n"
            "The database itself refuses whatever would write. What is cut off by a limit is told: by `truncated` and "
            "`cursor`, in `ndjson` and `csv` by the headers `x-truncated` and `x-cursor`. A cursor counts rows: give "
            "the statement an `order by`, or rows may come twice or not at all.",
            errors=ALWAYS,
            media_types=("application/json", "application/x-ndjson", "text/csv"),
            examples=(
                Example(
                    "A list of values for question marks",
                    {"sql": "select name, price from fruit where price > ? order by price", "params": [0.5]},
                ),
                Example("Values by name", {"sql": "select * from fruit where id = :id", "params": {"id": 1}}),
                Example("As CSV", {"sql": "select * from fruit order by id", "format": "csv", "limit": 5}),
            ),
        ),
        "execute-sql": Operation(
            handle=partial(execute_sql, databases),
            request=ExecuteSql,
            answer=ExecuteAnswer,
            summary="Write to a database: one statement, or several in one transaction.\n"
            "Only where the settings name a writer (`DATABASE_<NAME>_WRITE`). Writers at the same time wait for each "
            "other.",
            errors=ALWAYS,
            examples=(
                Example(
                    "Try an update, and undo it",
                    {
                        "sql": "update fruit set price = price * 2 where name = :name returning name, price",
                        "params": {"name": "fig"},
                        "dry_run": True,
                    },
                ),
                Example(
                    "Two statements, all or none",
                    {
                        "statements": [
                            {"sql": "insert into fruit (name, price) values (?, ?)", "params": ["quince", 0.9]},
                            {"sql": "delete from fruit where name = ?", "params": ["quince"]},
                        ]
                    },
                ),
            ),
        ),
        "list-databases": Operation(
            handle=partial(list_databases, databases),
            request=None,
            answer=ListAnswer,
            summary="The databases that the settings name, with their tables and columns.",
            errors=(Busy, SqlError, QueryTimeout),
        ),
    }
