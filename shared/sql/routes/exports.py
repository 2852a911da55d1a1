"""The function that writes the result of a query to a blob."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from threading import BoundedSemaphore
from time import perf_counter
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.datafiles import FILE_ERRORS, FilesFormat, FilesPath, Options
from shared.deadline import seconds_left
from shared.errors import Busy, Unavailable, UnknownContainer, invalid_field
from shared.sandbox.errors import EngineFailed, OutOfMemory
from shared.sql.databases import Database, Databases
from shared.sql.engines import OVER
from shared.sql.engines.blobs import BlobsSession, Data
from shared.sql.errors import ExportTooLarge, QueryTimeout
from shared.sql.exports import CONTENT_TYPES, ExportFormat, ParquetWriter, export
from shared.sql.pools import Pool
from shared.sql.responses import check_tables, disposition
from shared.sql.routes.databases import ERRORS
from shared.sql.routes.fields import BigIntegers, DatabaseName, DefuseFormulas, Params, Sql, TransferMs
from shared.sql.statements import read_params
from shared.sql.store.files import Files
from shared.sql.writers import Style
from shared.storage import ReservedContainer, check_container
from shared.storage.errors import BlobConflict, TemporaryFailure
from shared.storage.fields import ContainerName
from shared.web import Example, Fields, Operation, Response

EXPORTS_AT_ONCE = 2
"""Each export holds a connection, a thread and a few MiB as long as it runs."""
EXPORT_WAIT_SECONDS = 5.0
EVERY_ROW = 2**62
Link = Callable[[str, str], str]
"""Returns the URL that opens a blob (container, name) for an hour."""


class DataRequest(Fields, frozen=True, kw_only=True):
    container: ContainerName
    path: FilesPath
    file_format: FilesFormat | None = None
    options: Options | None = None


class ExportSqlRequest(Fields, frozen=True, kw_only=True):
    sql: Sql
    params: Params = None
    database: (
        Annotated[DatabaseName, Meta(description="The name of the database in the app's settings; `main` by default.")]
        | None
    ) = None
    data: Annotated[DataRequest, Meta(description="Data files instead of a `database`: the view `data`.")] | None = None
    container: ContainerName
    name: Annotated[
        str,
        Meta(
            description="The name of the blob; a blob with this name is replaced. It has no backslash, no control "
            "character and no part `.` or `..`, does not begin with a slash, and does not end with a slash or a dot.",
            min_length=1,
            max_length=1024,
            pattern=r"^(?!/)(?!(.*/)?\.{1,2}(/|$))[^\x00-\x1f\x7f-\x9f\ufffe\uffff\\]*[^\x00-\x1f\x7f-\x9f\ufffe\uffff\\./]\Z",
        ),
    ]
    format: Annotated[ExportFormat, Meta(description="The format of the file.")] = "csv"
    timeout_ms: TransferMs = 120_000
    big_integers: BigIntegers = "number"
    defuse_formulas: DefuseFormulas = False
    filename: (
        Annotated[
            str,
            Meta(
                description="The name under which browsers save the blob (its Content-Disposition).",
                min_length=1,
                max_length=200,
            ),
        ]
        | None
    ) = None


class ExportSqlResponse(msgspec.Struct, frozen=True):
    """The blob that was written. `sha256` is hexadecimal; anyone who has `url` can read the blob for an hour."""

    name: str
    container: str
    row_count: int
    size: int
    sha256: str
    url: str
    elapsed_ms: float


def export_sql(
    databases: Databases,
    data: Callable[[], Data],
    files: Files,
    parquet: ParquetWriter,
    link: Link,
    slots: Mapping[str, BoundedSemaphore],
    request: ExportSqlRequest,
) -> Response:
    started = perf_counter()
    check_container(request.container)
    params = read_params(request.params)
    database = _database(databases, data, request)
    check_tables(request.sql, database.engine)
    holds_child = request.format == "parquet" or database.engine == "blobs"
    style = Style(big_integers_as_text=request.big_integers == "string", defuse_formulas=request.defuse_formulas)
    with ExitStack() as held:
        for name in ("child", "any") if holds_child else ("any",):
            if not slots[name].acquire(timeout=EXPORT_WAIT_SECONDS):
                raise Busy("Too many exports are running. Try again.", retry_after=10)
            held.callback(slots[name].release)
        header = None if request.filename is None else disposition(request.filename)
        try:
            files.check_container(request.container)
            with files.write(request.container, request.name) as upload:
                with database.reading(max(seconds_left(), 0.001)) as session:
                    rows = session.query(request.sql, params, rows=EVERY_ROW, explain=False)
                    row_count = export(rows, request.format, upload, parquet, style)
                digest = upload.commit(CONTENT_TYPES[request.format], row_count, header)
        except TemporaryFailure as failure:
            if failure.cut_short:
                raise QueryTimeout(OVER) from failure
            raise
    url = link(request.container, request.name)
    elapsed = round((perf_counter() - started) * 1000, 3)
    response = ExportSqlResponse(request.name, request.container, row_count, upload.size, digest, url, elapsed)
    return Response.json(response, 201)


def _database(databases: Databases, data: Callable[[], Data], request: ExportSqlRequest) -> Database:
    """The database of the call, or its data files as one."""
    files = request.data
    if files is None:
        return databases.get(request.database or "main")
    if request.database is not None:
        raise invalid_field("data", "Send either `database` or `data`.")
    source = data().path(files.container, files.path, files.file_format, files.options)
    return Database("data", "blobs", Pool(lambda: BlobsSession(data(), lambda: source), 1), None, lambda _purpose: b"")


def operations(
    databases: Databases,
    data: Callable[[], Data],
    files: Files,
    parquet: ParquetWriter,
    link: Link,
    slot: BoundedSemaphore,
) -> dict[str, Operation]:
    """`link` makes the URL in the response; `slot` limits the calls that hold a child process for long."""
    slots = {"any": BoundedSemaphore(EXPORTS_AT_ONCE), "child": slot}
    return {
        "export-sql": Operation(
            writes=True,
            timeout_bounds_call=True,
            handle=partial(export_sql, databases, data, files, parquet, link, slots),
            request=ExportSqlRequest,
            response=ExportSqlResponse,
            summary="Write the whole result of a query to a blob, as CSV, NDJSON or Parquet.\n"
            "The blob appears when it is complete; until then a blob with that name keeps its content. With `data` the "
            "query reads data files, as `query-blobs` does.",
            errors=(
                *ERRORS,
                *FILE_ERRORS,
                OutOfMemory,
                EngineFailed,
                ExportTooLarge,
                BlobConflict,
                UnknownContainer,
                ReservedContainer,
                Unavailable,
            ),
            statuses={201: "The blob was written."},
            examples=(
                Example(
                    "A table as CSV",
                    {"sql": "select * from fruit order by id", "container": "samples", "name": "exports/fruit.csv"},
                ),
                Example(
                    "Data files as Parquet",
                    {
                        "sql": "select * from data",
                        "data": {"container": "samples", "path": "orchard/harvest.csv"},
                        "container": "samples",
                        "name": "exports/harvest.parquet",
                        "format": "parquet",
                    },
                ),
            ),
        ),
    }
