"""Whole results as CSV, NDJSON or Parquet, piece by piece: only one piece is in memory at a time."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from shared.sql.dialects import Dialect
from shared.sql.errors import SqlError
from shared.sql.values import Columns, Cursor, Row, Style, Writer, as_text, converted, kind_of
from shared.web import encode_base64

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

ExportFormat = Literal["csv", "ndjson", "parquet"]
CONTENT_TYPES: Mapping[ExportFormat, str] = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
PIECE_BYTES = 512 * 1024
MOST_ROWS = 1000
GROUP_ROWS, GROUP_BYTES = 20_000, 4 * 1024 * 1024
"""The most rows of one row group of Parquet, and about how many bytes."""


class Sink(Protocol):
    """A file that takes the bytes of an export."""

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""

    def write(self, data: bytes) -> int:
        """Append `data`."""

    def flush(self) -> None:
        """Write buffered data."""


def export(cursor: Cursor, form: ExportFormat, dialect: Dialect, sink: Sink, style: Style | None = None) -> int:
    """Write every row of `cursor` to `sink`, and return their number. `form` is the format, whatever `style` says."""
    if form == "parquet":
        return _parquet(cursor, dialect, sink)
    return _text(cursor, (style or Style())._replace(format=form), sink)


def _text(cursor: Cursor, style: Style, sink: Sink) -> int:
    writer = Writer(cursor.columns, style)
    sink.write(writer.head())
    total = 0
    wanted = cursor.first_rows
    while rows := cursor.fetch(wanted):
        data = writer.encode(rows)
        sink.write(data)
        total += len(rows)
        wanted = max(1, min(MOST_ROWS, PIECE_BYTES * len(rows) // max(1, len(data))))
    return total


def _parquet(cursor: Cursor, dialect: Dialect, sink: Sink) -> int:
    from pyarrow import parquet

    total = 0
    table: _Table | None = None
    writer: Any = None
    while True:
        rows = _group(cursor)
        if table is None:
            table = _Table(cursor.columns, rows, dialect)
            writer = parquet.ParquetWriter(sink, table.schema, compression="zstd")
        if not rows:
            writer.close()
            return total
        writer.write_batch(table.batch(rows))
        total += len(rows)


def _group(cursor: Cursor) -> list[Row]:
    """The rows of the next row group, about GROUP_BYTES of them."""
    rows: list[Row] = []
    size = 0
    wanted = cursor.first_rows
    while size < GROUP_BYTES and len(rows) < GROUP_ROWS and (more := cursor.fetch(wanted)):
        rows += more
        size += sum(len(value) if type(value) in (str, bytes) else 8 for row in more for value in row)
        wanted = max(1, min(MOST_ROWS, PIECE_BYTES * len(rows) // size))
    return rows


class _Table:
    """Turns rows into Arrow columns. A column has its declared type, else the type of its first values."""

    def __init__(self, columns: Columns, rows: list[Row], dialect: Dialect) -> None:
        import pyarrow as pa

        self._converts = columns.converts
        # SQLite does not check dates: a column of them may contain any text or number.
        moments = {} if dialect == "sqlite" else {"date": pa.date32(), "timestamp": pa.timestamp("us")}
        types = {
            "integer": pa.int64(),
            "real": pa.float64(),
            "boolean": pa.bool_(),
            "bytes": pa.binary(),
            **moments,
        }
        kinds = [each.kind or kind_of({type(row[place]) for row in rows}) for place, each in enumerate(columns)]
        names = columns.unique_names
        fields = [(name, types.get(kind, pa.string())) for name, kind in zip(names, kinds, strict=True)]
        self.schema = pa.schema(fields)

    def batch(self, rows: list[Row]) -> "pa.RecordBatch":
        """One batch. Raises SqlError if a value does not have the type of its column."""
        import pyarrow as pa

        columns = zip(*converted(rows, self._converts), strict=True)
        arrays = [_array(field, values) for field, values in zip(self.schema, columns, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _array(field: "pa.Field", values: tuple[Any, ...]) -> "pa.Array":
    import pyarrow as pa

    try:
        if pa.types.is_string(field.type):
            return pa.array([_text_of(value) for value in values], field.type)
        if pa.types.is_date(field.type) or pa.types.is_timestamp(field.type):
            texts = [value.removesuffix("Z") if value is not None else None for value in values]
            return pa.array(texts, pa.string()).cast(field.type)
        return pa.array(values, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise SqlError(
            f"A value of the column {field.name} is not of its type, {field.type}. Cast the column, or export CSV "
            "or NDJSON."
        ) from error


def _text_of(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    if isinstance(value, bytes):
        return encode_base64(value)
    return str(value) if type(value) in (int, float) else as_text(value)
