"""The functions that read and write databases by SQL."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.datafiles import FILE_ERRORS
from shared.errors import Busy, KeyReused, StrongroomError, invalid_field
from shared.sandbox.errors import EngineFailed, OutOfMemory
from shared.sql.databases import Database, Databases
from shared.sql.engines import Outcome, Statement, Table
from shared.sql.errors import (
    DatabaseUnavailable,
    DatasetTooLarge,
    MultipleStatements,
    QueryTimeout,
    ReadOnly,
    RowTooLarge,
    SqlError,
    UnknownDatabase,
)
from shared.sql.responses import RECORDS, PageQuery, chosen_format, page_response
from shared.sql.routes.fields import (
    MAX_BYTES,
    MAX_ROWS,
    MEDIA_TYPES,
    Accept,
    ColumnResponse,
    DatabaseName,
    DryRunResponse,
    Limit,
    PageRequest,
    Params,
    QueryResponse,
    Sql,
    TimeoutMs,
    most_bytes,
)
from shared.sql.statements import read_params
from shared.sql.values import Rows
from shared.sql.writers import Style, read_page
from shared.web import Cursors, Example, Fields, Operation, Response

if TYPE_CHECKING:
    from shared.sql.routes.blobs import QueryBlobsRequest

LISTING_SECONDS = 5.0
LISTED_AT_ONCE = 8
MAX_STATEMENT_MS = 60_000
ERRORS = (
    UnknownDatabase,
    ReadOnly,
    SqlError,
    MultipleStatements,
    QueryTimeout,
    RowTooLarge,
    DatasetTooLarge,
    Busy,
    DatabaseUnavailable,
)
"""The errors of every function that runs a statement."""
READ_ERRORS = (*ERRORS, *FILE_ERRORS, OutOfMemory, EngineFailed)
"""Those of a function that also reads data files."""


class QuerySqlRequest(PageRequest, frozen=True, kw_only=True):
    sql: Sql
    params: Params = None
    database: DatabaseName = "main"
    limit: Limit = 1000
    timeout_ms: TimeoutMs = 5000
    explain: Annotated[bool, Meta(description="Return the database's plan for the statement, and do not run it.")] = (
        False
    )
    dry_run: Annotated[
        bool,
        Meta(
            description="Do not run the statement. Return the files that it would read; on a database server, its plan."
        ),
    ] = False
    accept: Accept | None = None


class StatementRequest(Fields, frozen=True):
    sql: Sql
    params: Params = None


class ExecuteSqlRequest(Fields, frozen=True):
    sql: (
        Annotated[
            str,
            Meta(description="One SQL statement. Send `sql` or `statements`.", min_length=1, max_length=100_000),
        ]
        | None
    ) = None
    params: Params = None
    statements: (
        Annotated[
            list[StatementRequest],
            Meta(description="Statements that run in one transaction: all or none.", min_length=1, max_length=1000),
        ]
        | None
    ) = None
    database: DatabaseName = "main"
    dry_run: Annotated[bool, Meta(description="Run the statements, report what they did, and undo it.")] = False
    timeout_ms: Annotated[
        int,
        Meta(
            description="The time limit in milliseconds; a longer call is stopped and undone. At most 60,000 with "
            "`sql`, and 200,000 with `statements`.",
            ge=1,
            le=200_000,
        ),
    ] = 5000
    idempotency_key: (
        Annotated[
            str,
            Meta(
                description="A text of your own for this request: up to 200 visible ASCII characters. If the same "
                "request arrives again within a day, the app returns the first response and runs nothing.",
                pattern=r"^[\x21-\x7e]{1,200}\Z",
            ),
        ]
        | None
    ) = None


class StatementResponse(msgspec.Struct, frozen=True):
    """The result of one statement. `columns` and `rows` are there if it returns rows (RETURNING)."""

    rows_affected: int
    last_row_id: int | None = None
    columns: list[ColumnResponse] | UnsetType = UNSET
    rows: list[list[Any]] | UnsetType = UNSET
    truncated: bool | UnsetType = UNSET


class ExecuteSqlResponse(msgspec.Struct, frozen=True):
    """The result of `sql`; or for `statements` the sum, and `results` in the same order."""

    rows_affected: int
    dry_run: bool
    elapsed_ms: float
    last_row_id: int | None = None
    columns: list[ColumnResponse] | UnsetType = UNSET
    rows: list[list[Any]] | UnsetType = UNSET
    truncated: bool | UnsetType = UNSET
    results: list[StatementResponse] | UnsetType = UNSET


class DatabaseResponse(msgspec.Struct, frozen=True):
    """One database. If it does not respond, `available` is false and `tables` is empty."""

    name: str
    engine: str
    writable: bool
    available: bool
    tables: list[Table]


class ListDatabasesResponse(msgspec.Struct, frozen=True):
    databases: list[DatabaseResponse]


def page_query(request: "QuerySqlRequest | QueryBlobsRequest", function: str, *source: object) -> PageQuery:
    """The page of rows that a request describes. Its cursors belong to the function, the statement and `source`."""
    form = chosen_format(request.format, request.accept)
    return PageQuery(
        sql=request.sql,
        params=read_params(request.params),
        style=request.style(form),
        limit=request.limit,
        max_bytes=most_bytes(request.limit, form),
        seconds=request.timeout_ms / 1000,
        cursor=request.cursor,
        explain=request.explain,
        dry_run=request.dry_run,
        filename=request.filename,
        scope=(function, *source, request.sql, request.params),
    )


def query_sql(databases: Databases, cursors: Cursors, request: QuerySqlRequest) -> Response:
    query = page_query(request, "query-sql", request.database)
    return page_response(databases.get(request.database), cursors, query)


def execute_sql(databases: Databases, request: ExecuteSqlRequest) -> Response:
    started = perf_counter()
    if (request.sql is None) == (request.statements is None):
        raise invalid_field("sql", "Send either `sql` or `statements`.")
    if request.sql is not None and request.timeout_ms > MAX_STATEMENT_MS:
        raise invalid_field("timeout_ms", f"`timeout_ms` is at most {MAX_STATEMENT_MS} with `sql`. Send `statements`.")
    if request.sql is not None:
        statements = [Statement(request.sql, read_params(request.params))]
    else:
        if request.params is not None:
            raise invalid_field("params", "Send `params` with `sql`; each of the `statements` has its own.")
        statements = [
            Statement(each.sql, read_params(each.params, f"statements[{number}].params"))
            for number, each in enumerate(request.statements or ())
        ]
    database = databases.get(request.database)

    def encode(outcomes: list[Outcome]) -> bytes:
        return msgspec.json.encode(_execute_response(request, outcomes, started))

    seconds = request.timeout_ms / 1000
    if request.idempotency_key is None or request.dry_run:
        outcomes = database.execute(statements, MAX_ROWS + 1, dry_run=request.dry_run, seconds=seconds)
        return Response(body=encode(outcomes))
    digested = msgspec.json.encode((request.sql, request.params, request.statements))
    body, replayed = database.execute_once(
        request.idempotency_key, digested, statements, MAX_ROWS + 1, tell=encode, seconds=seconds
    )
    return Response(body=body, headers={"idempotent-replayed": "true"} if replayed else {})


def _execute_response(request: ExecuteSqlRequest, outcomes: list[Outcome], started: float) -> ExecuteSqlResponse:
    results = [_statement_response(each) for each in outcomes]
    elapsed = round((perf_counter() - started) * 1000, 3)
    if request.sql is not None:
        return ExecuteSqlResponse(dry_run=request.dry_run, elapsed_ms=elapsed, **msgspec.structs.asdict(results[0]))
    rows_affected = sum(each.rows_affected for each in results)
    return ExecuteSqlResponse(rows_affected, request.dry_run, elapsed, results=results)


def _statement_response(outcome: Outcome) -> StatementResponse:
    if not outcome.columns:
        return StatementResponse(outcome.rows_affected, outcome.last_row_id)
    page = read_page(Rows(outcome.columns, outcome.rows), Style(), MAX_ROWS, MAX_BYTES)
    returned: dict[str, Any] = {"columns": page.columns, "rows": msgspec.Raw(b"[%b]" % page.rows)}
    return StatementResponse(outcome.rows_affected, outcome.last_row_id, truncated=page.truncated, **returned)


def list_databases(databases: Databases) -> ListDatabasesResponse:
    # In parallel: a database that does not respond takes its whole time limit.
    with ThreadPoolExecutor(LISTED_AT_ONCE) as threads:
        return ListDatabasesResponse(list(threads.map(_describe, databases)))


def _describe(database: Database) -> DatabaseResponse:
    try:
        with database.reading(LISTING_SECONDS) as session:
            tables = [each for each in session.tables() if each.name.rpartition(".")[2].lower() != RECORDS]
    except StrongroomError:
        return DatabaseResponse(database.name, database.engine, database.writable, available=False, tables=[])
    return DatabaseResponse(database.name, database.engine, database.writable, available=True, tables=tables)


def operations(databases: Databases, cursors: Cursors) -> dict[str, Operation]:
    """Reading and writing are separate functions, so each has its own keys."""
    return {
        "query-sql": Operation(
            handle=partial(query_sql, databases, cursors),
            request=QuerySqlRequest,
            response=(QueryResponse, DryRunResponse),
            summary="Read a database with one SQL statement and bound parameters.\n"
            "The database itself refuses any write. If a limit cuts rows off, the response says so: in `truncated` and "
            "`cursor`, for `ndjson`, `csv` and `arrow` in the headers `x-truncated` and `x-cursor`. If the statement "
            "ends in an `order by` of columns that it returns, the cursor continues after the values of the last row, "
            "whatever was written in the meantime. Otherwise it counts rows; without an `order by`, rows may repeat or "
            "be missing.",
            errors=READ_ERRORS,
            headers=("accept",),
            media_types=MEDIA_TYPES,
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
            request=ExecuteSqlRequest,
            response=ExecuteSqlResponse,
            headers=("idempotency-key",),
            summary="Write to a database: one statement, or several in one transaction.\n"
            "This works only if the settings name a writer (`DATABASE_<NAME>_WRITE`). Concurrent writers wait for each "
            "other.",
            errors=(*ERRORS, KeyReused),
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
            response=ListDatabasesResponse,
            summary="List the databases that the settings name, with their tables and columns.",
        ),
    }
