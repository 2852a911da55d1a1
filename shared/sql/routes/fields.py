"""Fields and response types that several SQL functions share."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, UnsetType

from shared.datafiles import DataFile
from shared.errors import invalid_field
from shared.sql.statements import GivenParams
from shared.sql.values import Kind
from shared.sql.writers import Format, Style
from shared.web import Cursor, Fields
from shared.web.fields import time_limit

MAX_ROWS = 10_000
"""The most rows in one response."""
MAX_BYTES = 8 * 1024 * 1024
"""The most bytes of rows in one response."""
ARROW_ROWS, ARROW_BYTES = 100_000, 32 * 1024 * 1024
"""The same of a response in Arrow, which takes a fifth of the memory."""

MEDIA_TYPES = (
    "application/json",
    "application/x-ndjson",
    "text/csv",
    "application/vnd.apache.arrow.stream",
)
"""What functions that return rows may respond with."""

Sql = Annotated[str, Meta(description="One SQL statement.", min_length=1, max_length=100_000)]
Params = Annotated[
    GivenParams | None,
    Meta(
        description='A list of values for `?`, or an object for `:name` or `$name`. Write bytes as `{"base64": "…"}`.'
    ),
]
DatabaseName = Annotated[str, Meta(description="The name of the database in the app's settings.", max_length=64)]
TimeoutMs = Annotated[int, time_limit(60_000)]
TransferMs = Annotated[int, time_limit(200_000)]
"""For calls that move many rows."""
Limit = Annotated[
    int,
    Meta(description="The most rows in the response: up to 10,000, with `arrow` 100,000.", ge=1, le=ARROW_ROWS),
]
Accept = Annotated[str, Meta(description="Media types; `format` takes precedence.", max_length=1000)]
BigIntegers = Annotated[
    Literal["number", "string"],
    Meta(description="`string` writes integers beyond 2^53 as text, for clients that would round them."),
]
DefuseFormulas = Annotated[
    bool,
    Meta(description="In CSV, put an apostrophe before texts and column names that a spreadsheet would run."),
]
Filename = Annotated[str, Meta(description="Send the response as a file of this name.", min_length=1, max_length=200)]


class PageRequest(Fields, frozen=True):
    """The fields that choose a page of rows and how it is written."""

    format: (
        Annotated[
            Format,
            Meta(
                description="`json` writes each row as an array, `objects` as an object; `ndjson` and `csv` contain "
                "rows only; `arrow` is an Arrow IPC stream, which keeps each column's type. The default comes from the "
                "Accept header, else it is `json`."
            ),
        ]
        | None
    ) = None
    cursor: Cursor | None = None
    big_integers: BigIntegers = "number"
    defuse_formulas: DefuseFormulas = False
    filename: Filename | None = None

    def style(self, form: Format) -> Style:
        """How rows are written, in this format."""
        return Style(form, self.big_integers == "string", self.defuse_formulas)


def most_bytes(limit: int, form: Format) -> int:
    """The most bytes of rows of a response in this format. Raises InvalidRequest if `limit` is over the format's."""
    if form == "arrow":
        return ARROW_BYTES
    if limit > MAX_ROWS:
        raise invalid_field(
            "limit", f"`limit` is at most {MAX_ROWS} with the format {form}. Send a lower `limit`, or the format arrow."
        )
    return MAX_BYTES


class ColumnResponse(msgspec.Struct, frozen=True):
    """A column. If the database declares no type, `type` is that of the values; `null` without values."""

    name: str
    type: Kind
    note: str | UnsetType = msgspec.UNSET


class DryRunResponse(msgspec.Struct, frozen=True):
    """The files that a statement would read, at most. `files` has at most 100 of `file_count`."""

    files: list[DataFile]
    file_count: int
    bytes_to_read: int
    requests_to_make: int
    plan: str


class QueryResponse(msgspec.Struct, frozen=True):
    """A page of rows. If `truncated`, more rows follow; `cursor` fetches them.

    `bytes_scanned` and `requests` say how much of the data files was read.
    """

    columns: list[ColumnResponse]
    rows: list[list[Any] | dict[str, Any]]
    row_count: int
    truncated: bool
    cursor: str | None
    elapsed_ms: float
    bytes_scanned: int | UnsetType = msgspec.UNSET
    requests: int | UnsetType = msgspec.UNSET
