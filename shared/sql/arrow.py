"""Rows as an Arrow IPC stream, built column by column from packed buffers.

The types come from the columns' declarations. SQLite does not check them, and an expression has none: there the values
of the first page decide, and every later page keeps its types.
https://arrow.apache.org/docs/format/Columnar.html
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from shared.inflight import inflight
from shared.sql.arrow_columns import DECIMAL_BYTES, Misfit, Part, array_of, pack, schema_of, type_of
from shared.sql.errors import SqlError
from shared.sql.values import MOST_ROWS, READ_BYTES, Columns, Cursor, Row
from shared.sql.writers import Page, RowOverLimit, converted

if TYPE_CHECKING:
    import nanoarrow as na  # type: ignore[import-untyped]
    from nanoarrow.c_array import CArray  # type: ignore[import-untyped]

MEDIA_TYPE = "application/vnd.apache.arrow.stream"


class Batch:
    """Rows on their way to one record batch, packed as they come: Python's objects take five times as much memory."""

    def __init__(self, columns: Columns, *, json: bool = False) -> None:
        """With `json`, columns of JSON have the type `arrow.json` instead of text."""
        self.columns = columns
        self._json = json
        self._parts: list[list[Part]] = [[] for _ in columns]
        self.row_count = 0
        self.size = 0

    def add(self, rows: list[Row], room: int | None = None) -> int:
        """Append `rows`, as the database returned them, as far as they fit into `room` bytes; return how many."""
        packed, size = self._pack(rows)
        if room is not None and size > room:
            low, high = 0, len(rows)  # So many fit; so many do not.
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if self._pack(rows[:middle])[1] <= room else (low, middle)
            if not low:
                return 0
            rows = rows[:low]
            packed, size = self._pack(rows)
        for parts, part in zip(self._parts, packed, strict=True):
            parts.append(part)
        self.size += size
        self.row_count += len(rows)
        return len(rows)

    def _pack(self, rows: list[Row]) -> tuple[list[Part], int]:
        if self.columns.converts and rows:
            rows = converted(rows, self.columns.converts)
        parts = [pack(values) for values in zip(*rows, strict=True)]
        widths = [DECIMAL_BYTES if each.kind == "decimal" else 8 for each in self.columns]
        return parts, sum(part.size(width) for part, width in zip(parts, widths, strict=False))

    def types(self) -> list[str]:
        """The names of the columns' types: the declared ones where all values fit, otherwise those of the values."""
        return [
            type_of(column, parts, json=self._json) for column, parts in zip(self.columns, self._parts, strict=True)
        ]

    def array(self, types: Sequence[str]) -> "CArray":
        """The record batch. Raises SqlError if a value does not have the type of its column."""
        import nanoarrow as na

        children = []
        for column, name, parts in zip(self.columns, types, self._parts, strict=True):
            try:
                children.append(array_of(name, parts))
            except Misfit:
                raise SqlError(
                    f"A value of the column {column.name} is not of its type, {name}. Cast the column to text, or use "
                    "csv or ndjson."
                ) from None
        return na.c_array_from_buffers(schema(self.columns, types), self.row_count, [None], children=children)


def schema(columns: Columns, types: Sequence[str]) -> "na.Schema":
    """The schema of columns with types of these names. Repeated names get a number, as in `objects`."""
    import nanoarrow as na

    return na.struct({name: schema_of(kind) for name, kind in zip(columns.unique_names, types, strict=True)})


def read_page(cursor: Cursor, max_rows: int, max_bytes: int, types: Sequence[str]) -> tuple[Page, list[str]]:
    """Read at most `max_rows` rows and `max_bytes` of them; return the page, and the names of its columns' types.

    `types` are those of the first page; empty for the first page itself. Raises RowOverLimit if no row fits, and
    SqlError if a value does not have its column's type.
    """
    batch = Batch(cursor.columns)
    if types and len(types) != len(batch.columns):
        raise SqlError("The columns have changed since the first page. Send the query again without `cursor`.")
    last: Row = ()
    following: Row = ()
    truncated = False
    wanted = min(cursor.first_rows, max_rows + 1)
    while fetched := cursor.fetch(wanted):
        before = batch.size
        # One row too many shows that more follow.
        added = batch.add(fetched[: max_rows - batch.row_count], max_bytes - before)
        inflight.book(batch.size - before)
        if not batch.row_count:
            raise RowOverLimit
        if added:
            last = fetched[added - 1]
        if added < len(fetched):
            following = fetched[added]
            truncated = True
            break
        most = READ_BYTES * batch.row_count // max(1, batch.size)
        wanted = min(max_rows + 1 - batch.row_count, max(1, min(MOST_ROWS, most)))
    names = list(types) or batch.types()
    described = [dict(each) for each in batch.columns.described]
    body = b"".join(pieces([batch.array(names)]))
    return Page(described, body, batch.row_count, truncated, last, following), names


def pieces(batches: Iterable["CArray"]) -> Iterator[bytes]:
    """The Arrow IPC stream of record batches of one schema (at least one), a piece for each."""
    from nanoarrow.ipc import StreamWriter  # type: ignore[import-untyped]

    sink = io.BytesIO()
    with StreamWriter.from_writable(sink) as writer:
        for each in batches:
            writer.write_array(each)
            yield sink.getvalue()
            sink.seek(0)
            sink.truncate()
    yield sink.getvalue()
