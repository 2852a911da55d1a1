"""How a query becomes an answer: where its page begins, in which form it is written, and where the next one begins."""

import hmac
from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter
from typing import Protocol
from urllib.parse import quote

import msgspec

from shared.errors import InvalidRequest, Unavailable, invalid_field
from shared.sql.databases import Database
from shared.sql.errors import RowTooLarge
from shared.sql.paging import Position, continued, order_of, position_after
from shared.sql.values import Cursor, Form, Format, Params, RowOverLimit, read_page
from shared.web import Response, decode_base64, encode_base64

MEDIA_TYPES: Mapping[Format, str] = {
    "json": "application/json",
    "objects": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
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
}
SIGNATURE_BYTES = 16
NO_CURSOR = "is not a cursor of this query. Take it from the answer before, with the same statement and values."


class Signer(Protocol):
    """What can sign a cursor so that nobody else can."""

    def sign(self, data: bytes) -> bytes:
        """SIGNATURE_BYTES of them. Raises Unavailable."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants to know, and how."""

    sql: str
    params: Params
    form: Form
    limit: int
    max_bytes: int
    seconds: float
    question: object
    """What a cursor of this query is bound to."""
    cursor: str | None = None
    explain: bool = False
    filename: str | None = None

    def __repr__(self) -> str:
        return "Ask(…)"


def chosen_format(given: Format | None, accept: str | None) -> Format:
    """The format that is asked for: by name, else by the header Accept (RFC 9110, section 12.5.1), else `json`."""
    if given is not None or not accept:
        return given or "json"
    best: tuple[float, Format] = (0.0, "json")
    for part in accept.split(","):
        name, *parameters = (each.strip().lower() for each in part.split(";"))
        weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        form = ACCEPTED.get(name)
        if form is not None and weight.replace(".", "", 1).isdecimal() and float(weight) > best[0]:
            best = float(weight), form
    return best[1]


def answer_query(database: Database, signer: Signer, ask: Ask) -> Response:
    """Run what is asked for, and answer a page of it."""
    started = perf_counter()
    start = Position(0) if ask.cursor is None else _decode(signer, ask.cursor, ask.question)
    sql, params = ask.sql, ask.params
    dialect = database.engine
    if start.key:
        sql, params = continued(sql, dialect, params, start)
    with database.reading(ask.seconds) as session:
        rows = session.query(sql, params, rows=start.skip + ask.limit + 1, explain=ask.explain)
        _skip(rows, start.skip)
        columns = rows.columns
        try:
            page = read_page(rows, ask.form, ask.limit, ask.max_bytes)
        except RowOverLimit:
            raise RowTooLarge(f"One row alone takes over {ask.max_bytes} bytes. Select less of it.") from None
    cursor = None
    if page.truncated and not ask.explain:
        # Without the table that holds our secret the rows are still good: that there are more is told all the same.
        with suppress(Unavailable):
            order, places = order_of(ask.sql, dialect, columns)
            last, following = ([row[place] for place in places] for row in (page.last, page.following))
            position = position_after(start, page.row_count, order, last, following)
            cursor = _encode(signer, position, ask.question)
    headers = {}
    if ask.filename is not None:
        headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(ask.filename, safe='')}"
    if ask.form.format in ("ndjson", "csv"):
        if page.truncated:
            headers["x-truncated"] = "true"
        if cursor:
            headers["x-cursor"] = cursor
        return Response(200, page.rows, MEDIA_TYPES[ask.form.format], headers)
    response = {
        "columns": page.columns,
        "rows": msgspec.Raw(b"[%b]" % page.rows),
        "row_count": page.row_count,
        "truncated": page.truncated,
        "cursor": cursor,
        "elapsed_ms": round((perf_counter() - started) * 1000, 3),
    }
    return Response(body=msgspec.json.encode(response), headers=headers)


def _skip(rows: Cursor, count: int) -> None:
    while count > 0 and (skipped := len(rows.fetch(min(count, 1000)))):
        count -= skipped


def _encode(signer: Signer, position: Position, question: object) -> str:
    data = msgspec.json.encode(position)
    return encode_base64(signer.sign(msgspec.json.encode((data, question))) + data)


def _decode(signer: Signer, cursor: str, question: object) -> Position:
    try:
        sent = decode_base64(cursor, "cursor")
        signature, data = sent[:SIGNATURE_BYTES], sent[SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, signer.sign(msgspec.json.encode((data, question)))):
            raise invalid_field("cursor", NO_CURSOR)
        return msgspec.json.decode(data, type=Position)
    except (InvalidRequest, msgspec.DecodeError):
        raise invalid_field("cursor", NO_CURSOR) from None
