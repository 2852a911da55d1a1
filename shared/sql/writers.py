"""Rows as JSON, NDJSON and CSV, within a byte limit."""

import re
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Literal

import msgspec

from shared.sql.values import MOST_ROWS, READ_BYTES, BigInteger, Columns, Cursor, Json, Kind, NotText, Row
from shared.web import encode_base64

Format = Literal["json", "objects", "ndjson", "csv", "arrow"]
INFINITE = "Infinite values and NaN are written as null."
NOT_TEXT = "Texts that are not UTF-8 are written as base64."


class Style(msgspec.Struct, frozen=True):
    """The output format of rows."""

    format: Format = "json"
    big_integers_as_text: bool = False
    """Write integers beyond 2^53 as text: clients that only have doubles would round them."""
    defuse_formulas: bool = False
    """In CSV, put an apostrophe before texts and column names that a spreadsheet would run."""


class Page(msgspec.Struct, frozen=True):
    """The rows of a response, encoded."""

    columns: list[dict[str, str]]
    rows: bytes
    """For `json` and `objects` without the outer brackets."""
    row_count: int
    truncated: bool
    last: Row = ()
    """If truncated, the last row, as the database returned it."""
    following: Row = ()
    """If truncated, the first row that is not in the page."""


class RowOverLimit(Exception):
    """A single row exceeds the byte limit."""


class Writer:
    """Encodes rows piece by piece, and records the types of the columns' values."""

    def __init__(self, columns: Columns, style: Style) -> None:
        self._columns = columns
        self._style = style
        as_objects = style.format in ("objects", "ndjson")
        self.names = columns.unique_names if as_objects else columns.names
        if style.format == "csv" and style.defuse_formulas:
            self.names = [_defused(name) for name in self.names]
        self._encode = _ENCODERS[style.format]
        self.head = _csv(self.names, [tuple(self.names)]) if style.format == "csv" else b""
        """The bytes before the first row."""
        self._types: dict[int, set[type]] = {index: set() for index in columns.untyped}
        self._notes: dict[int, set[str]] = {}
        self.separator = b"," if style.format in ("json", "objects") else b""

    def encode(self, rows: list[Row]) -> bytes:
        """Return the encoded `rows`, with `separator` between them."""
        if self._columns.converts and rows:
            rows = converted(rows, self._columns.converts)
        for index, types in self._types.items():
            types.update([type(row[index]) for row in rows])
        if self._style.big_integers_as_text:
            rows = [tuple(map(_small, row)) for row in rows]
        if self._style.defuse_formulas and self._style.format == "csv":
            rows = [tuple(map(_defused, row)) for row in rows]
        encoded = self._encode(self.names, rows)
        if self.separator and b"null" in encoded:  # An infinite number is written as null, but so are nulls.
            for index in self._columns.numbers:
                if _has_infinite([row[index] for row in rows]):
                    self._notes.setdefault(index, set()).add(INFINITE)
        if self.separator and b'"base64"' in encoded:
            for index in {index for row in rows for index, value in enumerate(row) if type(value) is NotText}:
                self._notes.setdefault(index, set()).add(NOT_TEXT)
        return encoded

    def describe(self) -> list[dict[str, str]]:
        """Return each column's name and type, as far as the rows so far show."""
        if not self._types and not self._notes and self.names is self._columns.names:
            return self._columns.described
        declared = zip(self.names, self._columns.described, strict=True)
        described = [each | {"name": name} for name, each in declared]
        for index, types in self._types.items():
            described[index]["type"] = kind_of(types)
        for index, notes in self._notes.items():
            described[index]["note"] = " ".join(sorted(notes))
        return described


def read_page(cursor: Cursor, style: Style, max_rows: int, max_bytes: int) -> Page:
    """Read at most `max_rows` rows and `max_bytes` of them. Raises RowOverLimit if not even one row fits."""
    writer = Writer(cursor.columns, style)
    parts = [writer.head] if writer.head else []
    size = len(writer.head)
    total = 0
    last: Row = ()
    wanted = min(cursor.first_rows, max_rows + 1)
    while True:
        fetched = cursor.fetch(wanted)
        if not fetched:
            truncated = False
            break
        rows = fetched[: max_rows - total]  # The cursor may return one row too many, which shows that more follow.
        encoded = writer.encode(rows)
        if size + len(encoded) > max_bytes:
            rows, encoded = _fitting(rows, writer, max_bytes - size)
            if not rows and not total:
                raise RowOverLimit
        if rows:
            parts.append(encoded)
            size += len(encoded) + len(writer.separator)
            total += len(rows)
            last = rows[-1]
        truncated = len(rows) < len(fetched)
        if truncated:
            break
        wanted = min(max_rows + 1 - total, max(1, min(MOST_ROWS, READ_BYTES * total // size)))
    body = writer.separator.join(parts)
    if not truncated:
        return Page(writer.describe(), body, total, False)
    return Page(writer.describe(), body, total, True, last, fetched[len(rows)])


def converted(rows: list[Row], converts: list[tuple[int, Callable[[Any], Any]]]) -> list[Row]:
    """Return `rows` with their convertible columns converted."""
    columns = list(zip(*rows, strict=True))
    for index, convert in converts:
        columns[index] = tuple(map(convert, columns[index]))
    return list(zip(*columns, strict=True))


def _fitting(rows: list[Row], writer: Writer, room: int) -> tuple[list[Row], bytes]:
    """Return the first of `rows` that fit into `room` bytes, and their encoding."""
    used = -len(writer.separator)
    for fit, row in enumerate(rows):
        used += len(writer.separator) + len(writer.encode([row]))
        if used > room:
            return rows[:fit], writer.encode(rows[:fit])
    return rows, writer.encode(rows)


def _has_infinite(values: Sequence[Any]) -> bool:
    try:
        if isfinite(sum(filter(None, values))):
            return False
    except (TypeError, OverflowError):
        pass
    return any(type(value) is float and not isfinite(value) for value in values)


def _small(value: Any) -> Any:
    if type(value) is BigInteger:
        return value.text
    return str(value) if type(value) is int and not -(2**53) <= value <= 2**53 else value


def _defused(value: Any) -> Any:
    """https://owasp.org/www-community/attacks/CSV_Injection"""
    return f"'{value}" if type(value) is str and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


_QUOTED = re.compile(r'[",\r\n]')
"""Characters that a field of CSV may contain only in quotes (RFC 4180, section 2)."""
_KINDS: dict[type, Kind] = {
    bool: "boolean", int: "integer", float: "real", str: "text", bytes: "bytes",
}  # fmt: skip


def kind_of(types: set[type]) -> Kind:
    """Return the type of a column with values of these types: the wider of two numbers, otherwise text."""
    types = types - {type(None)}
    if not types:
        return "null"
    if types == {int, float}:
        return "real"
    types = {str if each is NotText else each for each in types}
    return _KINDS[types.pop()] if len(types) == 1 else "text"


def as_text(value: Any) -> str:
    """Return the JSON text of values that are neither text nor number: JSON, and PostgreSQL arrays and records."""
    return value.text if isinstance(value, Json) else _arrays([], [(value,)])[1:-1].decode()


def _default(value: object) -> object:
    """Convert a value of a type that orjson does not support."""
    import orjson

    if isinstance(value, Json):
        return orjson.Fragment(value.text)
    return {"base64": encode_base64(value)} if isinstance(value, bytes) else str(value)


def _arrays(_names: list[str], rows: list[Row]) -> bytes:
    import orjson

    return orjson.dumps(rows, _default)[1:-1]


def _objects(names: list[str], rows: list[Row]) -> bytes:
    import orjson

    return orjson.dumps([dict(zip(names, row, strict=True)) for row in rows], _default)[1:-1]


def _lines(names: list[str], rows: list[Row]) -> bytes:
    import orjson

    line = orjson.OPT_APPEND_NEWLINE
    return b"".join([orjson.dumps(dict(zip(names, row, strict=True)), _default, line) for row in rows])


def _csv(_names: list[str], rows: list[Row]) -> bytes:
    """Encode lines of RFC 4180. Null is an empty field, the empty text is `""`; bytes are base64url."""
    columns = [_fields(column) for column in zip(*rows, strict=True)]
    return "\r\n".join([*map(",".join, zip(*columns, strict=True)), ""]).encode()


def _fields(column: Sequence[Any]) -> Sequence[str]:
    """Return a column's values, quoted if needed: column by column, because most have one type and no quotes."""
    import orjson

    types = set(map(type, column))
    if types in ({int}, {float}):
        numbers = orjson.dumps(column).decode()[1:-1]  # This is five times as fast as str for each value.
        # Python writes exponents differently, and uses them for small numbers; infinite numbers are null.
        if "e" not in numbers and "0.0000" not in numbers and "u" not in numbers:
            return numbers.split(",")
    texts = column if types == {str} else list(map(_cell, column))
    if "" not in texts and not _QUOTED.search("".join(texts)):
        return texts
    return [
        _quoted(text, is_null=not isinstance(value, str | bytes)) for text, value in zip(texts, column, strict=True)
    ]


def _quoted(text: str, *, is_null: bool) -> str:
    if not text:
        return "" if is_null else '""'
    return '"{}"'.format(text.replace('"', '""')) if _QUOTED.search(text) else text


def _cell(value: Any) -> str:
    if type(value) is str:
        return value
    if value is None:
        return ""
    if type(value) is float:
        return repr(value) if isfinite(value) else ""
    if isinstance(value, bytes):
        return encode_base64(value)
    if type(value) is bool:
        return "true" if value else "false"
    return str(value) if type(value) is int else as_text(value)


_ENCODERS: dict[str, Callable[[list[str], list[Row]], bytes]] = {
    "json": _arrays,
    "objects": _objects,
    "ndjson": _lines,
    "csv": _csv,
}
