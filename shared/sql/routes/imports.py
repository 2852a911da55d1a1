"""The function that loads data files into a table."""

from collections.abc import Callable
from functools import partial
from threading import BoundedSemaphore
from time import perf_counter
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.datafiles import FILE_ERRORS, FileFormat, FilesPath, Options
from shared.deadline import seconds_left
from shared.errors import Busy, Unavailable, UnknownContainer, invalid_field
from shared.sandbox.errors import EngineFailed, OutOfMemory
from shared.sql.databases import Databases
from shared.sql.engines import OVER
from shared.sql.engines.blobs import Data
from shared.sql.errors import InvalidRow, NotAKey, QueryTimeout, RepeatedKey, UnknownTable
from shared.sql.importing import Import
from shared.sql.imports import Mode
from shared.sql.routes.databases import ERRORS
from shared.sql.routes.fields import DatabaseName, TransferMs
from shared.sql.values import Kind
from shared.storage import ReservedContainer
from shared.storage.errors import TemporaryFailure
from shared.storage.fields import ContainerName
from shared.web import Example, Fields, Operation

IMPORT_WAIT_SECONDS = 5.0


class ImportSqlRequest(Fields, frozen=True, kw_only=True):
    table: Annotated[str, Meta(description="The table that gets the rows.", min_length=1, max_length=200)]
    database: DatabaseName = "main"
    mode: Annotated[
        Mode,
        Meta(
            description="`append` adds the rows; `replace` deletes the table's rows first; `upsert` changes the row "
            "that has the same `key`, and adds the others."
        ),
    ] = "append"
    key: (
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=200)]],
            Meta(
                description="For `upsert`: exactly the columns of a primary key or unique index. A new table gets them "
                "as its primary key.",
                min_length=1,
                max_length=32,
            ),
        ]
        | None
    ) = None
    container: ContainerName | None = None
    name: FilesPath | None = None
    data: Annotated[str, Meta(description="The rows as text, instead of a blob.", min_length=1)] | None = None
    file_format: (
        Annotated[
            FileFormat,
            Meta(description="The format. By default it follows from the blob's extension; `data` is `csv`."),
        ]
        | None
    ) = None
    options: Options | None = None
    create: Annotated[bool, Meta(description="Create the table if there is none, with the types of the data.")] = False
    dry_run: Annotated[bool, Meta(description="Report the rows, their types and the first bad row. Keep nothing.")] = (
        False
    )
    timeout_ms: TransferMs = 120_000


class ImportedColumn(msgspec.Struct, frozen=True):
    """A column of the table that the data fills."""

    name: str
    type: Kind


class InvalidRowResponse(msgspec.Struct, frozen=True):
    """Why the import would fail: the code and the detail of its error."""

    code: str
    detail: str


class ImportSqlResponse(msgspec.Struct, frozen=True):
    """The imported rows. In a dry run, `error` is null if the import would succeed."""

    row_count: int
    columns: list[ImportedColumn]
    created: bool
    dry_run: bool
    elapsed_ms: float
    error: InvalidRowResponse | UnsetType | None = UNSET


def import_sql(
    databases: Databases, data: Callable[[], Data], slot: BoundedSemaphore, request: ImportSqlRequest
) -> ImportSqlResponse:
    started = perf_counter()
    if (request.data is None) == (request.container is None) or (request.name is None) != (request.container is None):
        raise invalid_field("data", "Send either `container` and `name`, or `data`.")
    if request.key is not None and request.mode != "upsert":
        raise invalid_field("key", "Send `key` only with the mode upsert.")
    if request.key is None and request.mode == "upsert":
        raise invalid_field("key", "Send `key`: the columns of a primary key or a unique index.")
    if request.key is not None and len({each.lower() for each in request.key}) < len(request.key):
        raise invalid_field("key", "Name each column of the `key` once.")
    database = databases.get(request.database)
    if not slot.acquire(timeout=IMPORT_WAIT_SECONDS):
        raise Busy("Another import or export holds the process that it needs. Try again.", retry_after=10)
    try:
        job = Import(database, data(), request)
        row_count = job.run()
    except Unavailable as unavailable:
        is_over = unavailable.cut_short if isinstance(unavailable, TemporaryFailure) else seconds_left() <= 0
        if is_over:
            raise QueryTimeout(OVER) from unavailable
        raise
    except InvalidRow as invalid:
        if not request.dry_run:
            raise
        job.error, row_count = invalid, 0
    finally:
        slot.release()
    columns = [ImportedColumn(name, kind) for name, kind in job.columns]
    elapsed = round((perf_counter() - started) * 1000, 3)
    error: InvalidRowResponse | UnsetType | None = UNSET
    if request.dry_run:
        error = None if job.error is None else InvalidRowResponse(job.error.code, job.error.detail)
    return ImportSqlResponse(row_count, columns, job.creates, request.dry_run, elapsed, error)


def operations(databases: Databases, data: Callable[[], Data], slot: BoundedSemaphore) -> dict[str, Operation]:
    """`slot` limits the calls that hold a child process for long."""
    return {
        "import-sql": Operation(
            writes=True,
            timeout_bounds_call=True,
            handle=partial(import_sql, databases, data, slot),
            request=ImportSqlRequest,
            response=ImportSqlResponse,
            summary="Load a data file, or rows in the call, into a table: all rows or none.\n"
            "The columns of the data are matched with those of the table by name, ignoring case; a column that the "
            "data does not have takes its default. The values become the types of the table. In CSV, nothing between "
            'two commas is null and `""` is the empty text, as `export-sql` writes them; bytes are base64. An error '
            "names the row by its line and column. A dry run reports the rows, their types and the first bad row.",
            errors=(
                *ERRORS,
                *FILE_ERRORS,
                UnknownTable,
                InvalidRow,
                RepeatedKey,
                NotAKey,
                OutOfMemory,
                EngineFailed,
                UnknownContainer,
                ReservedContainer,
            ),
            examples=(
                Example(
                    "Try rows of CSV",
                    {"table": "fruit", "data": "name,price\nquince,0.9\nmedlar,1.1\n", "dry_run": True},
                ),
                Example(
                    "A new table from a file",
                    {
                        "table": "harvest",
                        "container": "samples",
                        "name": "orchard/harvest.csv",
                        "create": True,
                        "mode": "replace",
                    },
                ),
            ),
        )
    }
