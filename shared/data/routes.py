"""The function that describes data files."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Annotated, Any

import msgspec

from shared.data.queries import Queries
from shared.data.store.queries import DataQuery
from shared.datafiles import FILE_ERRORS, DataFile, FileFormat, FilesFormat, FilesPath, Options, UnreadableData
from shared.errors import (
    Busy,
    QueryTimeout,
    RowTooLarge,
    SqlError,
    UnknownContainer,
)
from shared.sandbox.errors import EngineFailed, OutOfMemory
from shared.storage import ReservedContainer
from shared.storage.errors import BlobConflict
from shared.storage.fields import ContainerName
from shared.web import Example, Fields, Operation, encode_base64
from shared.web.fields import time_limit

LISTED_FILES = 100
SAMPLE_ROWS = 10


class DescribeDataRequest(Fields, frozen=True, kw_only=True):
    container: ContainerName
    path: FilesPath
    file_format: FilesFormat | None = None
    options: Options | None = None
    timeout_ms: Annotated[int, time_limit(60_000)] = 5000


class DataColumn(msgspec.Struct, frozen=True):
    """A column, with its type in `query-sql`."""

    name: str
    type: str


class DescribeDataResponse(msgspec.Struct, frozen=True):
    """Files, at most 100 of `file_count`. `row_count` is null where the files do not state it, as CSV and JSON."""

    files: list[DataFile]
    file_count: int
    row_count: int | None
    columns: list[DataColumn]
    format: FileFormat
    sample: list[dict[str, Any]]
    bytes_scanned: int
    requests: int


def describe_data(queries: Queries, request: DescribeDataRequest) -> DescribeDataResponse:
    source = queries.path(request.container, request.path, request.file_format, request.options)
    with _files_at_fault(), queries.open(source, monotonic() + request.timeout_ms / 1000) as query:
        query.check("select * from data")
        columns = query.run(f"select * from data limit {SAMPLE_ROWS}")  # noqa: S608
        names = [each.name for each in columns]
        kinds = [each.kind for each in columns]
        sample = [
            {name: _jsonable(value, kind) for name, kind, value in zip(names, kinds, row, strict=True)}
            for row in query.fetch(SAMPLE_ROWS)
        ]
        selection = source.selection
        row_count = _row_count(query) if selection.format == "parquet" else None
        files = [DataFile(*each) for each in selection.files[:LISTED_FILES]]
        described = [DataColumn(each.name, each.kind) for each in columns]
        count = len(selection.files)
        return DescribeDataResponse(
            files, count, row_count, described, selection.format, sample, query.bytes_scanned, query.requests
        )


@contextmanager
def _files_at_fault() -> Iterator[None]:
    """The statement is the app's own: where it fails, a file cannot be read."""
    try:
        yield
    except SqlError as error:
        raise UnreadableData(error.detail) from error


def _row_count(query: DataQuery) -> int:
    """The number of rows of Parquet files, which their footers state."""
    query.start("select count(*) from data")
    ((count,),) = query.fetch(1)
    return int(count)


def _jsonable(value: Any, kind: str) -> Any:
    if isinstance(value, bytes):
        return {"base64": encode_base64(value)}
    if value is not None and isinstance(value, str) and (kind == "json" or kind == "integer"):
        return msgspec.Raw(value.encode())
    return value


def operations(queries: Queries) -> dict[str, Operation]:
    """Reading only."""
    return {
        "describe-data": Operation(
            handle=partial(describe_data, queries),
            request=DescribeDataRequest,
            response=DescribeDataResponse,
            summary="Describe data files in Blob Storage: CSV, NDJSON, JSON or Parquet.\n"
            "The response has the files that match, their columns and the first rows.",
            errors=(
                *FILE_ERRORS,
                QueryTimeout,
                OutOfMemory,
                EngineFailed,
                RowTooLarge,
                UnknownContainer,
                ReservedContainer,
                BlobConflict,
                Busy,
            ),
            examples=(Example("A CSV file", {"container": "samples", "path": "orchard/harvest.csv"}),),
        )
    }
