"""The function that reads data files in Blob Storage by SQL."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

from msgspec import Meta

from shared.datafiles import FILE_ERRORS, FilesFormat, FilesPath, Options
from shared.errors import UnknownContainer
from shared.sandbox.errors import EngineFailed, OutOfMemory
from shared.sql.databases import Database
from shared.sql.engines.blobs import BlobsSession, Data
from shared.sql.pools import Pool
from shared.sql.responses import page_response
from shared.sql.routes.databases import ERRORS, page_query
from shared.sql.routes.fields import (
    Accept,
    DryRunResponse,
    Limit,
    PageRequest,
    Params,
    QueryResponse,
    Sql,
    TimeoutMs,
)
from shared.storage import ReservedContainer
from shared.storage.errors import BlobConflict
from shared.storage.fields import ContainerName
from shared.web import Cursors, Example, Operation, Response


class QueryBlobsRequest(PageRequest, frozen=True, kw_only=True):
    container: ContainerName
    path: FilesPath
    sql: Sql
    params: Params = None
    file_format: FilesFormat | None = None
    options: Options | None = None
    limit: Limit = 1000
    timeout_ms: TimeoutMs = 5000
    explain: Annotated[bool, Meta(description="Return DuckDB's plan for the statement, and do not run it.")] = False
    dry_run: Annotated[bool, Meta(description="Do not run the statement. Return the files that it would read.")] = False
    accept: Accept | None = None


def query_blobs(data: Callable[[], Data], cursors: Cursors, request: QueryBlobsRequest) -> Response:
    query = page_query(request, "query-blobs", request.container, request.path, request.file_format, request.options)
    source = data().path(request.container, request.path, request.file_format, request.options)
    pool = Pool(lambda: BlobsSession(data(), lambda: source), 1)
    return page_response(Database("data", "blobs", pool, None, lambda _purpose: b""), cursors, query)


def operations(data: Callable[[], Data], cursors: Cursors) -> dict[str, Operation]:
    """Reading only."""
    return {
        "query-blobs": Operation(
            handle=partial(query_blobs, data, cursors),
            request=QueryBlobsRequest,
            response=(QueryResponse, DryRunResponse),
            summary="Read data files in Blob Storage with one SELECT over the view `data`.\n"
            "The files are CSV, NDJSON, JSON or Parquet. The statement is DuckDB's SQL, and reads only the files that "
            "`path` names. Limits, formats and cursors are those of `query-sql`. `bytes_scanned` and `requests` say "
            "how much of the files was read.",
            errors=(
                *ERRORS,
                *FILE_ERRORS,
                OutOfMemory,
                EngineFailed,
                UnknownContainer,
                ReservedContainer,
                BlobConflict,
            ),
            headers=("accept",),
            media_types=(
                "application/json",
                "application/x-ndjson",
                "text/csv",
                "application/vnd.apache.arrow.stream",
            ),
            examples=(
                Example(
                    "Group the rows of a CSV file",
                    {
                        "container": "samples",
                        "path": "orchard/harvest.csv",
                        "sql": "select count(*) as days from data",
                    },
                ),
            ),
        )
    }
