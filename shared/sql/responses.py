"""How a query becomes a response: where its page begins, how the rows are written, and where the next page begins."""

from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter
from typing import Any
from urllib.parse import quote

import msgspec

from shared.datafiles import DataChanged
from shared.deadline import call_limit
from shared.errors import StrongroomError, Unavailable
from shared.sql.databases import Database
from shared.sql.dialects import Dialect
from shared.sql.engines.blobs import NOTHING_SCANNED, BlobsSession, Scan
from shared.sql.errors import RowTooLarge, SqlError
from shared.sql.paging import Position, continued, order_of, position_after
from shared.sql.statements import identifiers
from shared.sql.values import Cursor, Params
from shared.sql.writers import Format, RowOverLimit, Style, read_page
from shared.web import Cursors, Response
from shared.web.headers import qualities

MEDIA_TYPES: Mapping[Format, str] = {
    "json": "application/json",
    "objects": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
}
ACCEPTED: Mapping[str, Format] = {
    "application/json": "json",
    "application/*": "json",
    "*/*": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/csv": "csv",
    "text/*": "csv",
    "application/vnd.apache.arrow.stream": "arrow",
}
RECORDS = "strongroom_answers"
"""The table with the responses to requests with an Idempotency-Key."""
CURSOR_SECONDS = 5.0
"""How long a response may wait for the cursors' key, which is in storage until it is cached."""


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query, and the page of its rows to return."""

    sql: str
    params: Params
    style: Style
    limit: int
    max_bytes: int
    seconds: float
    scope: tuple[Any, ...]
    """The function and the fields to which the cursors belong."""
    cursor: str | None = None
    explain: bool = False
    dry_run: bool = False
    """On data files, respond with the files that the statement would read; elsewhere as `explain`."""
    filename: str | None = None


def chosen_format(name: Format | None, accept: str | None) -> Format:
    """The format `name`, else the one that the header Accept prefers (RFC 9110, section 12.5.1), else `json`."""
    if name is not None or not accept or accept == "*/*":  # What most programs send needs no parsing.
        return name or "json"
    accepted = (ACCEPTED[each] for each, quality in qualities(accept).items() if quality and each in ACCEPTED)
    return next(accepted, "json")


def check_tables(sql: str, dialect: Dialect) -> None:
    """Raise SqlError if the statement reads the app's own table: it keeps the responses of other callers."""
    text = sql.lower()
    # In PostgreSQL's U&"…" any character may be escaped.
    if (RECORDS in text or 'u&"' in text) and any(name.lower() == RECORDS for name in identifiers(sql, dialect)):
        raise SqlError(f"The table {RECORDS} belongs to the app. Queries cannot read it.")


def page_response(database: Database, cursors: Cursors, query: PageQuery) -> Response:
    """Run `query`, and respond with the page of its rows."""
    started = perf_counter()
    start = Position(0) if query.cursor is None else cursors.decode(query.cursor, Position, *query.scope)
    check_tables(query.sql, database.engine)
    sql, params = query.sql, query.params
    if start.key:
        sql, params = continued(sql, database.engine, params, start)
    with database.reading(query.seconds) as session:
        if query.dry_run and isinstance(session, BlobsSession):
            return Response.json(session.estimate(sql, params))
        rows = session.query(sql, params, rows=start.skip + query.limit + 1, explain=query.explain or query.dry_run)
        if start.digest and start.digest != scan_of(session).digest:
            raise DataChanged(
                "Files were added, removed or changed since the first page. Start again without a cursor."
            )
        _skip(rows, start.skip)
        columns = rows.columns
        types = start.types
        try:
            if query.style.format == "arrow":
                from shared.sql import arrow

                page, types = arrow.read_page(rows, query.limit, query.max_bytes, types)
            else:
                page = read_page(rows, query.style, query.limit, query.max_bytes)
        except RowOverLimit:
            raise RowTooLarge(f"One row has more than {query.max_bytes} bytes. Select fewer columns.") from None
        scan = scan_of(session)
    cursor = None
    if page.truncated and not query.explain:
        order = order_of(query.sql, database.engine, columns, texts_are_exact=lambda: _texts_are_exact(database))
        position = msgspec.structs.replace(position_after(start, page, order, types), digest=scan.digest)
        # If the table with the cursors' key is unavailable, the rows are still correct, and `truncated` is true.
        with suppress(Unavailable), call_limit(CURSOR_SECONDS):
            cursor = cursors.encode(position, *query.scope)
    headers = {}
    if database.engine == "blobs":
        headers = {"x-bytes-scanned": str(scan.bytes_scanned), "x-requests": str(scan.requests)}
    if query.filename is not None:
        headers["content-disposition"] = disposition(query.filename)
    if query.style.format in ("ndjson", "csv", "arrow"):
        if page.truncated:
            headers["x-truncated"] = "true"
        if cursor:
            headers["x-cursor"] = cursor
        return Response(200, page.rows, MEDIA_TYPES[query.style.format], headers)
    response = {
        "columns": page.columns,
        "rows": msgspec.Raw(b"[%b]" % page.rows),
        "row_count": page.row_count,
        "truncated": page.truncated,
        "cursor": cursor,
        "elapsed_ms": round((perf_counter() - started) * 1000, 3),
    }
    if database.engine == "blobs":
        response |= {"bytes_scanned": scan.bytes_scanned, "requests": scan.requests}
    return Response(body=msgspec.json.encode(response), headers=headers)


def scan_of(session: object) -> Scan:
    """The amount of data files that the statement has read so far; empty for any other database."""
    return session.scan if isinstance(session, BlobsSession) else NOTHING_SCANNED


def disposition(filename: str) -> str:
    """The Content-Disposition that saves a response under this name (RFC 6266)."""
    return f"attachment; filename*=UTF-8''{quote(filename, safe='')}"


def _skip(rows: Cursor, count: int) -> None:
    while count > 0 and (skipped := len(rows.fetch(min(count, 1000)))):
        count -= skipped


def _texts_are_exact(database: Database) -> bool:
    """Whether different texts are different values to every collation of a PostgreSQL database."""
    try:
        with database.reading(CURSOR_SECONDS) as session:
            rows = session.query(NONDETERMINISTIC, (), rows=1, explain=False)
            return not rows.fetch(1)
    except StrongroomError:
        return False


NONDETERMINISTIC = "select 1 from pg_collation where not collisdeterministic limit 1"
"""https://www.postgresql.org/docs/current/collation.html#COLLATION-NONDETERMINISTIC"""
