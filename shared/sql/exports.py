"""Whole results as CSV, NDJSON or Parquet, piece by piece: only one piece is in memory at a time."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from shared.sql.arrow import Batch, pieces
from shared.sql.values import Cursor
from shared.sql.writers import Style, Writer

if TYPE_CHECKING:
    from nanoarrow.c_array import CArray  # type: ignore[import-untyped]

ExportFormat = Literal["csv", "ndjson", "parquet"]
CONTENT_TYPES: Mapping[ExportFormat, str] = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
PIECE_BYTES = 512 * 1024
MOST_ROWS = 1000
GROUP_ROWS, GROUP_BYTES = 20_000, 4 * 1024 * 1024
"""The most rows of one record batch on its way to Parquet, and about how many bytes."""


class Sink(Protocol):
    """A file that takes the bytes of an export."""

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""

    def write(self, data: bytes) -> int:
        """Append `data`."""

    def flush(self) -> None:
        """Write buffered data."""


class ParquetWriter(Protocol):
    """Writes Parquet files."""

    def write(self, stream: Iterator[bytes], write: Callable[[bytes], object]) -> None:
        """Write the Arrow stream in pieces, `stream`, as a Parquet file whose bytes go to `write`."""


def export(cursor: Cursor, form: ExportFormat, sink: Sink, parquet: ParquetWriter, style: Style | None = None) -> int:
    """Write every row of `cursor` to `sink`, and return their number. `form` is the format, whatever `style` says."""
    if form == "parquet":
        return _parquet(cursor, sink, parquet)
    return _text(cursor, msgspec.structs.replace(style or Style(), format=form), sink)


def _text(cursor: Cursor, style: Style, sink: Sink) -> int:
    writer = Writer(cursor.columns, style)
    sink.write(writer.head)
    total = 0
    wanted = cursor.first_rows
    while rows := cursor.fetch(wanted):
        data = writer.encode(rows)
        sink.write(data)
        total += len(rows)
        wanted = max(1, min(MOST_ROWS, PIECE_BYTES * len(rows) // max(1, len(data))))
    return total


def _parquet(cursor: Cursor, sink: Sink, parquet: ParquetWriter) -> int:
    counted = 0

    def batches() -> Iterator["CArray"]:
        nonlocal counted
        types: list[str] = []
        while True:
            batch = _group(cursor)
            if batch.row_count or not types:
                types = types or batch.types()
                counted += batch.row_count
                yield batch.array(types)
            if not batch.row_count:
                return

    parquet.write(pieces(batches()), sink.write)
    return counted


def _group(cursor: Cursor) -> Batch:
    """The next rows, about GROUP_BYTES of them."""
    batch = Batch(cursor.columns, json=True)
    wanted = cursor.first_rows
    while batch.size < GROUP_BYTES and batch.row_count < GROUP_ROWS and (rows := cursor.fetch(wanted)):
        batch.add(rows)
        wanted = max(1, min(MOST_ROWS, PIECE_BYTES * batch.row_count // max(1, batch.size)))
    return batch
