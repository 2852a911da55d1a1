"""The functions that read and write databases by SQL."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import BoundedSemaphore
from time import perf_counter
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.errors import Busy, KeyReused, StrongroomError, Unavailable, UnknownContainer, invalid_field
from shared.sql import saved_routes
from shared.sql.databases import Database, Databases
from shared.sql.engines import Outcome, Statement, Table
from shared.sql.errors import (
    DatabaseUnavailable,
    MultipleStatements,
    QueryTimeout,
    ReadOnly,
    RowTooLarge,
    SqlError,
    UnknownDatabase,
)
from shared.sql.exports import CONTENT_TYPES, ExportFormat, export
from shared.sql.responses import Ask, answer_query, chosen_format
from shared.sql.statements import GivenParams, read_params
from shared.sql.store.files import Files
from shared.sql.store.queries import QueryStore
from shared.sql.values import Form, Format, Kind, Rows, read_page
from shared.web import Cursors, Example, Fields, Operation, Response

MAX_ROWS = 10_000
MAX_BYTES = 8 * 1024 * 1024
"""Of the rows of an answer."""
LISTING_SECONDS = 5.0
LISTED_AT_ONCE = 8
EXPORTS_AT_ONCE = 2
"""Each holds a connection, a few MiB and a thread, for as long as it takes."""
EXPORT_WAIT_SECONDS = 5.0
EVERY_ROW = 2**62
Link = Callable[[str, str], str]
"""Makes the URL that opens a blob (container, name) for an hour."""

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
    format: (
        Annotated[
            Format,
            Meta(
                description="`json` has rows as arrays, `objects` as objects; `ndjson` and `csv` hold rows alone. "
                "Without it the header Accept decides, and without that it is `json`."
            ),
        ]
        | None
    ) = None
    limit: Annotated[int, Meta(description="Rows of the answer, at most.", ge=1, le=MAX_ROWS)] = 1000
    cursor: Annotated[str, Meta(description="Where the answer before left off.", max_length=8000)] | None = None
    timeout_ms: TimeoutMs = 5000
    explain: Annotated[bool, Meta(description="Answer how the statement would be run, and do not run it.")] = False
    big_integers: Annotated[
        saved_routes.BigIntegers,
        Meta(description="With `string`, integers beyond 2^53 are texts, for readers that would round them."),
    ] = "number"
    defuse_formulas: Annotated[
        bool, Meta(description="In CSV, put an apostrophe before texts that a spreadsheet would run.")
    ] = False
    filename: (
        Annotated[str, Meta(description="Answer as a file of this name.", min_length=1, max_length=200)] | None
    ) = None
    accept: Annotated[str, Meta(description="Media types; `format` beats it.", max_length=1000)] | None = None


class ColumnResponse(msgspec.Struct, frozen=True):
    """A column. Where the database declares no type, it is that of the values; `null` where there are none."""

    name: str
    type: Kind
    note: str | UnsetType = UNSET


class QueryResponse(msgspec.Struct, frozen=True):
    """`truncated` says that there are more rows; `cursor` fetches them."""

    columns: list[ColumnResponse]
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
    idempotency_key: (
        Annotated[
            str,
            Meta(
                description="A text of your own for this very request. Sent again within a day, it answers what it did "
                "the first time, and does nothing.",
                min_length=1,
                max_length=200,
            ),
        ]
        | None
    ) = None


class StatementResult(msgspec.Struct, frozen=True):
    """What one statement did. `rows` and `columns` are there where it returns some (RETURNING)."""

    rows_affected: int
    last_row_id: int | None = None
    columns: list[ColumnResponse] | UnsetType = UNSET
    rows: list[list[Any]] | UnsetType = UNSET
    truncated: bool | UnsetType = UNSET


class ExecuteResponse(msgspec.Struct, frozen=True):
    """What was done: of one statement its result, of `statements` their sum and `results` in the same order."""

    rows_affected: int
    dry_run: bool
    elapsed_ms: float
    last_row_id: int | None = None
    columns: list[ColumnResponse] | UnsetType = UNSET
    rows: list[list[Any]] | UnsetType = UNSET
    truncated: bool | UnsetType = UNSET
    results: list[StatementResult] | UnsetType = UNSET


class ExportSql(Fields, frozen=True, kw_only=True):
    sql: Sql
    params: Params = None
    database: DatabaseName = "main"
    container: Annotated[str, Meta(description="It must be there.", pattern=r"^(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*\Z")]
    name: Annotated[
        str,
        Meta(
            description="Of the blob; one of this name is replaced.",
            min_length=1,
            max_length=1024,
            pattern=r"^(?!/)(?!(.*/)?\.{1,2}(/|$))[^\x00-\x1f\x7f\\]*[^\x00-\x1f\x7f\\./]\Z",
        ),
    ]
    format: Annotated[ExportFormat, Meta(description="Of the file.")] = "csv"
    timeout_ms: Annotated[int, Meta(description="The export is given up then, in milliseconds.", ge=1, le=200_000)] = (
        120_000
    )


class ExportResponse(msgspec.Struct, frozen=True):
    """A file that is there now. `sha256` is hexadecimal; `url` opens it for an hour, to everyone who has it."""

    name: str
    container: str
    row_count: int
    size: int
    sha256: str
    url: str
    elapsed_ms: float


class DatabaseResponse(msgspec.Struct, frozen=True):
    """One database. Where it does not answer now, `available` is false and `tables` is empty."""

    name: str
    engine: str
    writable: bool
    available: bool
    tables: list[Table]


class ListResponse(msgspec.Struct, frozen=True):
    databases: list[DatabaseResponse]


def query_sql(databases: Databases, store: QueryStore, fields: QuerySql) -> Response:
    ask = Ask(
        sql=fields.sql,
        params=read_params(fields.params),
        form=Form(chosen_format(fields.format, fields.accept), fields.big_integers == "string", fields.defuse_formulas),
        limit=fields.limit,
        max_bytes=MAX_BYTES,
        seconds=fields.timeout_ms / 1000,
        cursor=fields.cursor,
        explain=fields.explain,
        filename=fields.filename,
        question=(fields.database, fields.sql, fields.params),
    )
    return answer_query(databases.get(fields.database), store, ask)


def execute_sql(databases: Databases, fields: ExecuteSql) -> Response:
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
    database = databases.get(fields.database)

    def tell(outcomes: list[Outcome]) -> bytes:
        return msgspec.json.encode(_told(fields, outcomes, started))

    seconds = fields.timeout_ms / 1000
    if fields.idempotency_key is None or fields.dry_run:
        return Response(body=tell(database.execute(statements, MAX_ROWS + 1, dry_run=fields.dry_run, seconds=seconds)))
    request = msgspec.json.encode((fields.sql, fields.params, fields.statements))
    body, replayed = database.execute_once(
        fields.idempotency_key, request, statements, MAX_ROWS + 1, tell=tell, seconds=seconds
    )
    return Response(body=body, headers={"idempotent-replayed": "true"} if replayed else {})


def _told(fields: ExecuteSql, outcomes: list[Outcome], started: float) -> ExecuteResponse:
    results = [_result(each) for each in outcomes]
    elapsed = round((perf_counter() - started) * 1000, 3)
    if fields.sql is not None:
        return ExecuteResponse(dry_run=fields.dry_run, elapsed_ms=elapsed, **msgspec.structs.asdict(results[0]))
    return ExecuteResponse(sum(each.rows_affected for each in results), fields.dry_run, elapsed, results=results)


def _result(outcome: Outcome) -> StatementResult:
    if not outcome.columns:
        return StatementResult(outcome.rows_affected, outcome.last_row_id)
    page = read_page(Rows(outcome.columns, outcome.rows), Form(), MAX_ROWS, MAX_BYTES)
    returned: dict[str, Any] = {"columns": page.columns, "rows": msgspec.Raw(b"[%b]" % page.rows)}
    return StatementResult(outcome.rows_affected, outcome.last_row_id, truncated=page.truncated, **returned)


def export_sql(databases: Databases, files: Files, link: Link, places: BoundedSemaphore, fields: ExportSql) -> Response:
    started = perf_counter()
    params = read_params(fields.params)
    database = databases.get(fields.database)
    if not places.acquire(timeout=EXPORT_WAIT_SECONDS):
        raise Busy("Too many exports run now.", retry_after=10)
    try:
        files.check_container(fields.container)
        upload = files.write(fields.container, fields.name)
        with database.reading(fields.timeout_ms / 1000) as session:
            rows = session.query(fields.sql, params, rows=EVERY_ROW, explain=False)
            row_count = export(rows, fields.format, database.engine, upload)
        digest = upload.commit(CONTENT_TYPES[fields.format], row_count)
    finally:
        places.release()
    url = link(fields.container, fields.name)
    elapsed = round((perf_counter() - started) * 1000, 3)
    response = ExportResponse(fields.name, fields.container, row_count, upload.size, digest, url, elapsed)
    return Response.json(response, 201)


def list_databases(databases: Databases) -> ListResponse:
    # At once: one that is out takes as long as it takes to find that out.
    with ThreadPoolExecutor(LISTED_AT_ONCE) as threads:
        return ListResponse(list(threads.map(_describe, databases)))


def _describe(database: Database) -> DatabaseResponse:
    try:
        with database.reading(LISTING_SECONDS) as session:
            tables = session.tables()
    except StrongroomError:
        return DatabaseResponse(database.name, database.engine, database.writable, available=False, tables=[])
    return DatabaseResponse(database.name, database.engine, database.writable, available=True, tables=tables)


ALWAYS = (
    UnknownDatabase,
    ReadOnly,
    SqlError,
    MultipleStatements,
    QueryTimeout,
    RowTooLarge,
    Busy,
    DatabaseUnavailable,
)


def operations(
    databases: Databases, store: QueryStore, files: Files, cursors: Cursors, link: Link
) -> dict[str, Operation]:
    """Reading and writing are functions of their own, so that each has keys of its own."""
    return {
        "query-sql": Operation(
            handle=partial(query_sql, databases, store),
            request=QuerySql,
            response=QueryResponse,
            summary="Read a database by one SQL statement, with bound parameters.\n"
            "The database itself refuses whatever would write. What is cut off by a limit is told: by `truncated` and "
            "`cursor`, in `ndjson` and `csv` by the headers `x-truncated` and `x-cursor`. Where the statement ends in "
            "an `order by` of columns that it answers, a cursor goes on after the last row's values, whatever was "
            "written meanwhile; else it counts rows, and without an `order by` rows may come twice or not at all.",
            errors=(*ALWAYS, Unavailable),
            headers=("accept",),
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
            response=ExecuteResponse,
            headers=("idempotency-key",),
            summary="Write to a database: one statement, or several in one transaction.\n"
            "Only where the settings name a writer (`DATABASE_<NAME>_WRITE`). Writers at the same time wait for each "
            "other.",
            errors=(*ALWAYS, KeyReused),
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
        "export-sql": Operation(
            writes=True,
            handle=partial(export_sql, databases, files, link, BoundedSemaphore(EXPORTS_AT_ONCE)),
            request=ExportSql,
            response=ExportResponse,
            summary="Write the whole result of a query to a blob, as CSV, NDJSON or Parquet.\n"
            "The blob is there when all of it is; until then what had its name stays.",
            errors=(*ALWAYS, UnknownContainer, Unavailable),
            statuses={201: "Exported."},
            examples=(
                Example(
                    "A table as CSV",
                    {"sql": "select * from fruit order by id", "container": "samples", "name": "exports/fruit.csv"},
                ),
            ),
        ),
        "list-databases": Operation(
            handle=partial(list_databases, databases),
            request=None,
            response=ListResponse,
            summary="The databases that the settings name, with their tables and columns.",
        ),
        **saved_routes.operations(databases, store, cursors, QueryResponse),
    }
