"""Values in responses: column types, and rows as JSON, NDJSON and CSV, within a byte limit."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import count, islice
from math import isfinite
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from shared.web import encode_base64

Kind = Literal["integer", "real", "decimal", "text", "boolean", "bytes", "date", "time", "timestamp", "json", "null"]
Format = Literal["json", "objects", "ndjson", "csv", "arrow"]
Compared = Literal["exact", "number", "date", "text", "sqlite"]
"""How to compare values of a column without the database: `exact` where different texts are different
values, `number` by value, `date` as in MySQL, `text` if the collation is deterministic, `sqlite` by storage class and
under each of its collations."""


class Typed(NamedTuple):
    """A value with its declared type, for engines that need the type."""

    value: "bool | int | float | str | bytes | None"
    kind: Kind


Scalar = None | bool | int | float | str | bytes | Typed
Params = Sequence[Scalar] | dict[str, Scalar]
"""The values that are bound to a statement, by position or by name."""
Row = tuple[Any, ...]

READ_BYTES = 1024 * 1024
"""About how many bytes are read at once, after the first read."""
MOST_ROWS = 1024
"""The most rows that are read at once."""
FETCH_BYTES = 4 * 1024 * 1024
"""An engine returns the rows that it has read once their texts and bytes are this long together."""
RETURNED_BYTES = 9 * 1024 * 1024
"""The rows that a write returns are read up to this length: a response, which holds less, then shows that it is cut."""
MAX_ROW_BYTES = 16 * 1024 * 1024
"""The most bytes of texts and bytes in one row."""
INFINITE = "Infinite values and NaN are written as null."
NOT_TEXT = "Texts that are not UTF-8 are written as base64."


class NotText(bytes):
    """A SQLite text that is not UTF-8."""


class Column(NamedTuple):
    """A result column. If `kind` is None, its values decide. `convert` turns a stored value into its kind."""

    name: str
    kind: Kind | None = None
    convert: Callable[[Any], Any] | None = None
    compared: Compared | None = None
    """How to compare values for equality; None where only the database can."""
    detail: str = ""
    """The details that Arrow needs beside the kind: `decimal(10,2)`; `uint64` or `big` of integers; of timestamps
    `utc`, `ns` or `ns_utc`; `zone` of times with an offset."""


class Columns(tuple[Column, ...]):  # noqa: SLOT001 - slots and cached properties do not work together.
    """The columns of a result, with facts about them that are computed once."""

    @cached_property
    def names(self) -> list[str]:
        """The names in order; they may repeat."""
        return [each.name for each in self]

    @cached_property
    def unique_names(self) -> list[str]:
        """The names in order, with a number after each repeat."""
        return unique(self.names)

    @cached_property
    def converts(self) -> list[tuple[int, Callable[[Any], Any]]]:
        """The indexes of columns whose values must be converted, with their converters."""
        return [(index, each.convert) for index, each in enumerate(self) if each.convert]

    @cached_property
    def untyped(self) -> list[int]:
        """The indexes of columns without a declared type."""
        return [index for index, each in enumerate(self) if each.kind is None]

    @cached_property
    def numbers(self) -> list[int]:
        """The indexes of columns that may contain an infinite number."""
        return [index for index, each in enumerate(self) if each.kind in ("real", "decimal", None)]

    @cached_property
    def described(self) -> list[dict[str, str]]:
        """The columns as a response describes them, by their declared types."""
        return [{"name": each.name, "type": each.kind or "null"} for each in self]


# ---- SQLite's declared types. SQLite has no boolean, decimal, date or JSON, so the declaration decides.


@lru_cache(maxsize=1024)
def sqlite_column(name: str, declared: str | None) -> Column:
    """The column of the declared type, by its first word and SQLite's rules of affinity.

    https://www.sqlite.org/datatype3.html, section 3.1
    """
    kind, convert = _sqlite_kind(declared) if declared else (None, None)
    size = _PRECISION.search(declared or "") if kind == "decimal" else None
    return Column(name, kind, convert, "sqlite", f"decimal({size[1]},{size[2] or 0})" if size else "")


_PRECISION = re.compile(r"\(\s*(\d{1,3})\s*(?:,\s*(\d{1,3})\s*)?\)")


def _sqlite_kind(declared: str) -> tuple[Kind | None, Callable[[Any], Any] | None]:
    word, _, rest = declared.strip().upper().partition("(")
    word = word.strip()
    if word in ("BOOLEAN", "BOOL"):
        return "boolean", _boolean
    if word in ("DECIMAL", "NUMERIC", "DEC", "MONEY"):
        scale = re.fullmatch(r"\s*\d+\s*,\s*(\d{1,3})\s*\)\s*", rest)
        places = int(scale[1]) if scale else 0
        return "decimal", lambda value: _decimal(value, places)
    if word in ("JSON", "JSONB"):
        return "json", json_or_text
    if word == "DATE":
        return "date", None
    if word in ("TIME", "TIMETZ") or word.startswith("TIME "):
        return "time", None
    if word in ("DATETIME", "TIMESTAMP", "TIMESTAMPTZ") or word.startswith("TIMESTAMP "):
        return "timestamp", None
    if "INT" in word:
        return "integer", None
    if any(part in word for part in ("CHAR", "CLOB", "TEXT", "UUID")):
        return "text", None
    if any(part in word for part in ("BLOB", "BINARY", "BYTEA")):
        return "bytes", None
    if any(part in word for part in ("REAL", "FLOA", "DOUB")):
        return "real", None
    return None, None


def _boolean(value: Any) -> Any:
    return bool(value) if type(value) is int and value in (0, 1) else value


def _decimal(value: Any, places: int) -> Any:
    """Return the shortest decimal that equals `value`, padded to the declared number of places."""
    if type(value) is int:
        text = str(value)
    elif type(value) is float and isfinite(value):
        text = format(Decimal(repr(value)), "f").removesuffix(".0")
    else:
        return value
    whole, _, fraction = text.partition(".")
    if len(fraction) < places:
        return f"{whole}.{fraction:0<{places}}"
    return text


class Json:
    """A value that is already JSON text, on one line."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def of(cls, text: str) -> "Json":
        """Return `text`, which is JSON, on one line. Its numbers keep every digit."""
        if "\n" not in text and "\r" not in text:
            return cls(text)
        try:
            return cls(msgspec.json.format(text, indent=-1))
        except (msgspec.DecodeError, RecursionError):
            # Databases accept lone surrogates and any depth. A line break in JSON is always between two tokens.
            return cls(text.replace("\r", " ").replace("\n", " "))


class BigInteger(Json):
    """An integer of more digits than 64 bits hold, which JSON writes as a number."""

    __slots__ = ()


def json_or_text(value: Any) -> Any:
    """Return JSON as it is stored, digit by digit; text that is not JSON stays text."""
    if type(value) is not str:
        return value
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return value
    return Json.of(value)


# ---- MySQL's timestamps.


def mysql_timestamp(text: str) -> str:
    """Return an RFC 3339 timestamp in MySQL's and MariaDB's format, in UTC; a text without an offset keeps its time."""
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):  # In UTC, its year may be 0 or 10000.
        return text
    return moment.isoformat(" ", "microseconds" if "." in text or "," in text else "seconds")


def has_offset(value: object) -> bool:
    """Whether a value is an RFC 3339 text with an offset, which MySQL and MariaDB refuse."""
    return isinstance(value, str) and _RFC_3339.fullmatch(value) is not None


_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


# ---- From rows to bytes.


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


class Cursor(Protocol):
    """The rows of a running statement."""

    first_rows: int
    """The number of rows to read at once before their size is known."""

    @property
    def columns(self) -> Columns:
        """The columns in order; names may repeat."""

    def fetch(self, count: int) -> list[Row]:
        """Return the next rows: at most `count`, and at most about FETCH_BYTES. An empty list marks the end."""


class Rows:
    """A cursor over rows in memory."""

    def __init__(self, columns: Iterable[Column], rows: list[Row]) -> None:
        self.first_rows = len(rows) + 1
        self.columns = Columns(columns)
        self._rows = iter(rows)

    def fetch(self, count: int) -> list[Row]:
        return list(islice(self._rows, count))


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


def unique(names: Sequence[str]) -> list[str]:
    """Return `names` with a number after each repeat (`id`, `id_2`), since an object holds a name once."""
    taken = set(names)
    numbers: dict[str, Iterator[int]] = {}
    result: dict[str, None] = {}
    for name in names:
        new = name
        while new in result or (new is not name and new in taken):
            new = f"{name}_{next(numbers.setdefault(name, count(2)))}"
        result[new] = None
    return list(result)


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
