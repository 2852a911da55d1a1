"""Values as they go out: what a column's type is, and rows as JSON, NDJSON and CSV, within a limit of bytes."""

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import count, islice
from math import isfinite
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from shared.web import encode_base64

Kind = Literal["integer", "real", "decimal", "text", "boolean", "bytes", "date", "time", "timestamp", "json", "null"]
Format = Literal["json", "objects", "ndjson", "csv"]
Scalar = None | bool | int | float | str | bytes
Params = Sequence[Scalar] | dict[str, Scalar]
"""What is bound to a statement: by position, or by name."""
Row = tuple[Any, ...]

READ_BYTES = 1024 * 1024
"""What is read at once, about, from the second time on."""
MOST_ROWS = 1024
"""That are read at once."""
FETCH_BYTES = 8 * 1024 * 1024
"""An engine returns the rows that it has read once their texts and bytes are this long together."""
MAX_ROW_BYTES = 16 * 1024 * 1024
"""The most bytes of texts and bytes in one row."""
INFINITE = "Infinite values, and what is no number, became null."


class Column(NamedTuple):
    """A column of an answer. Where `kind` is None its values decide; `convert` makes a stored value one of its kind."""

    name: str
    kind: Kind | None = None
    convert: Callable[[Any], Any] | None = None


class Columns(tuple[Column, ...]):  # noqa: SLOT001 - slots and cached properties do not go together.
    """The columns of an answer; what can be said of them before there are rows is worked out once."""

    @cached_property
    def names(self) -> list[str]:
        """In their order; they may repeat."""
        return [each.name for each in self]

    @cached_property
    def unique_names(self) -> list[str]:
        """In their order, each once."""
        return unique(self.names)

    @cached_property
    def converts(self) -> list[tuple[int, Callable[[Any], Any]]]:
        """The places of those whose values must be converted, and how."""
        return [(place, each.convert) for place, each in enumerate(self) if each.convert]

    @cached_property
    def untyped(self) -> list[int]:
        """The places of those whose values say their types."""
        return [place for place, each in enumerate(self) if each.kind is None]

    @cached_property
    def numbers(self) -> list[int]:
        """The places of those that may hold an infinite number."""
        return [place for place, each in enumerate(self) if each.kind in ("real", "decimal", None)]

    @cached_property
    def described(self) -> list[dict[str, str]]:
        """As a caller sees them, by what is declared."""
        return [{"name": each.name, "type": each.kind or "null"} for each in self]


# ---- What SQLite's declared types mean. SQLite has no boolean, decimal, date or JSON: the declaration decides.


@lru_cache(maxsize=1024)
def sqlite_column(name: str, declared: str | None) -> Column:
    """The column that `declared` means, by the first word of the declared type, and SQLite's rules of affinity.

    https://www.sqlite.org/datatype3.html, section 3.1
    """
    if not declared:
        return Column(name)
    word, _, rest = declared.strip().upper().partition("(")
    word = word.strip()
    if word in ("BOOLEAN", "BOOL"):
        return Column(name, "boolean", _boolean)
    if word in ("DECIMAL", "NUMERIC", "DEC", "MONEY"):
        scale = re.fullmatch(r"\s*\d+\s*,\s*(\d{1,3})\s*\)\s*", rest)
        places = int(scale[1]) if scale else 0
        return Column(name, "decimal", lambda value: _decimal(value, places))
    if word in ("JSON", "JSONB"):
        return Column(name, "json", json_or_text)
    if word == "DATE":
        return Column(name, "date")
    if word in ("TIME", "TIMETZ") or word.startswith("TIME "):
        return Column(name, "time")
    if word in ("DATETIME", "TIMESTAMP", "TIMESTAMPTZ") or word.startswith("TIMESTAMP "):
        return Column(name, "timestamp", _timestamp)
    if "INT" in word:
        return Column(name, "integer")
    if any(part in word for part in ("CHAR", "CLOB", "TEXT", "UUID")):
        return Column(name, "text")
    if any(part in word for part in ("BLOB", "BINARY", "BYTEA")):
        return Column(name, "bytes")
    if any(part in word for part in ("REAL", "FLOA", "DOUB")):
        return Column(name, "real")
    return Column(name)


def _boolean(value: Any) -> Any:
    return bool(value) if type(value) is int and value in (0, 1) else value


def _decimal(value: Any, places: int) -> Any:
    """The shortest decimal that is `value`, with the declared number of places where it has no more than these."""
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


def _timestamp(value: Any) -> Any:
    """ISO 8601's `T` between date and time, where SQLite's own functions write a space."""
    if type(value) is str and value[10:11] == " ":
        return f"{value[:10]}T{value[11:]}"
    return value


class Json:
    """A value that is JSON already, on one line."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def of(cls, text: str) -> "Json":
        """`text`, which is JSON, without its line breaks."""
        return cls(msgspec.json.format(text, indent=-1) if "\n" in text or "\r" in text else text)


def json_or_text(value: Any) -> Any:
    """JSON as it is written, digit by digit; text that is no JSON stays text."""
    if type(value) is not str:
        return value
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return value
    return Json.of(value)


# ---- From rows to bytes.


class Form(NamedTuple):
    """How rows are written."""

    format: Format = "json"
    big_integers_as_text: bool = False
    """Integers beyond 2^53, which a reader that knows doubles alone would round."""
    defuse_formulas: bool = False
    """In CSV, texts that a spreadsheet would run get an apostrophe in front."""


class Page(NamedTuple):
    """The rows of an answer, encoded."""

    columns: list[dict[str, str]]
    rows: bytes
    """With `json` and `objects` without the outer brackets."""
    row_count: int
    truncated: bool
    last: Row = ()
    """Where it is truncated, the last row, as the database gave it."""
    following: Row = ()
    """And the first that is cut off."""


class Cursor(Protocol):
    """The rows of a running statement."""

    first_rows: int
    """That are read at once before anything is known of their size."""

    @property
    def columns(self) -> Columns:
        """In their order; names may repeat."""

    def fetch(self, count: int) -> list[Row]:
        """The next rows: at most `count`, and at most about FETCH_BYTES of them. None are left after an empty list."""


class Rows:
    """A cursor over rows that are read already."""

    def __init__(self, columns: Iterable[Column], rows: list[Row]) -> None:
        self.first_rows = len(rows) + 1
        self.columns = Columns(columns)
        self._rows = iter(rows)

    def fetch(self, count: int) -> list[Row]:
        return list(islice(self._rows, count))


class RowOverLimit(Exception):
    """One row alone is over the limit of bytes."""


class Writer:
    """Turns rows into bytes, piece by piece, and learns what the columns hold."""

    def __init__(self, columns: Columns, form: Form) -> None:
        self._columns = columns
        self._form = form
        as_objects = form.format in ("objects", "ndjson")
        self.names = columns.unique_names if as_objects else columns.names
        self._encode = _ENCODERS[form.format]
        self._seen: dict[int, set[type]] = {place: set() for place in columns.untyped}
        self._infinite: set[int] = set()
        self.separator = b"," if form.format in ("json", "objects") else b""

    def head(self) -> bytes:
        """What stands before the first row."""
        return _csv(self.names, [tuple(self.names)]) if self._form.format == "csv" else b""

    def encode(self, rows: list[Row]) -> bytes:
        """`rows`, with `separator` between them."""
        if self._columns.converts and rows:
            rows = converted(rows, self._columns.converts)
        for place, types in self._seen.items():
            types.update([type(row[place]) for row in rows])
        if self._form.big_integers_as_text:
            rows = [tuple(map(_small, row)) for row in rows]
        if self._form.defuse_formulas and self._form.format == "csv":
            rows = [tuple(map(_defused, row)) for row in rows]
        encoded = self._encode(self.names, rows)
        if self.separator and b"null" in encoded:  # What was infinite is null; not all that is null was infinite.
            for place in self._columns.numbers:
                if _has_infinite([row[place] for row in rows]):
                    self._infinite.add(place)
        return encoded

    def describe(self) -> list[dict[str, str]]:
        """Each column's name and type, as far as the rows so far tell."""
        if not self._seen and not self._infinite and self.names is self._columns.names:
            return self._columns.described
        declared = zip(self.names, self._columns.described, strict=True)
        described = [each | {"name": name} for name, each in declared]
        for place, types in self._seen.items():
            described[place]["type"] = kind_of(types)
        for place in self._infinite:
            described[place]["note"] = INFINITE
        return described


def read_page(cursor: Cursor, form: Form, max_rows: int, max_bytes: int) -> Page:
    """Read at most `max_rows` rows and `max_bytes` of them. Raises RowOverLimit where not one row fits."""
    writer = Writer(cursor.columns, form)
    parts = [head] if (head := writer.head()) else []
    size = len(head)
    total = 0
    last: Row = ()
    wanted = min(cursor.first_rows, max_rows + 1)
    while True:
        fetched = cursor.fetch(wanted)
        if not fetched:
            truncated = False
            break
        rows = fetched[: max_rows - total]  # One more than wanted may be there, to know that there are more.
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
    columns = list(zip(*rows, strict=True))
    for place, convert in converts:
        columns[place] = tuple(map(convert, columns[place]))
    return list(zip(*columns, strict=True))


def _fitting(rows: list[Row], writer: Writer, room: int) -> tuple[list[Row], bytes]:
    """As many of `rows` from the first on as fit into `room`, and these encoded."""
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
    return str(value) if type(value) is int and not -(2**53) <= value <= 2**53 else value


def _defused(value: Any) -> Any:
    """https://owasp.org/www-community/attacks/CSV_Injection"""
    return f"'{value}" if type(value) is str and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def unique(names: Sequence[str]) -> list[str]:
    """`names` with a number behind each repeat (`id`, `id_2`), since an object holds a name once."""
    given = set(names)
    found: dict[str, None] = {}
    for name in names:
        new = name
        if name in found:
            new = next(each for number in count(2) if (each := f"{name}_{number}") not in given and each not in found)
        found[new] = None
    return list(found)


_QUOTED = re.compile(r'[",\r\n]')
"""What a field of CSV may hold only in quotes."""
_KINDS: dict[type, Kind] = {bool: "boolean", int: "integer", float: "real", str: "text", bytes: "bytes"}


def kind_of(types: set[type]) -> Kind:
    """What values of these types are together: the wider of two numbers, text where they have nothing in common."""
    types = types - {type(None)}
    if not types:
        return "null"
    if types == {int, float}:
        return "real"
    return _KINDS[types.pop()] if len(types) == 1 else "text"


def as_text(value: Any) -> str:
    """What JSON has a form of, and no table: JSON columns, and the arrays and records of PostgreSQL."""
    return value.text if type(value) is Json else _arrays([], [(value,)])[1:-1].decode()


def _default(value: object) -> object:
    """What orjson asks for a value that it does not know itself."""
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
    """Lines of RFC 4180. Null and the empty text are both an empty field; bytes are base64url."""
    columns = [_fields(column) for column in zip(*rows, strict=True)]
    if len(columns) == 1:  # A line that is empty would be no record.
        columns = [[field or '""' for field in columns[0]]]
    return "\r\n".join([*map(",".join, zip(*columns, strict=True)), ""]).encode()


def _fields(column: Sequence[Any]) -> Sequence[str]:
    """The values of a column, quoted where they must be: column by column, as most have one type and no quote."""
    import orjson

    types = set(map(type, column))
    if types in ({int}, {float}):
        numbers = orjson.dumps(column).decode()[1:-1]  # At a fifth of what str takes for each.
        # Python writes exponents otherwise, and small numbers with one; null is for what is infinite.
        if "e" not in numbers and "0.0000" not in numbers and "u" not in numbers:
            return numbers.split(",")
    texts = column if types == {str} else list(map(_cell, column))
    return list(map(_quoted, texts)) if _QUOTED.search("".join(texts)) else texts


def _quoted(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""')) if _QUOTED.search(text) else text


def _cell(value: Any) -> str:
    if type(value) is str:
        return value
    if value is None:
        return ""
    if type(value) is float:
        return repr(value) if isfinite(value) else ""
    if type(value) is bytes:
        return encode_base64(value)
    if type(value) is bool:
        return "true" if value else "false"
    return str(value) if type(value) is int else as_text(value)


_ENCODERS: dict[Format, Callable[[list[str], list[Row]], bytes]] = {
    "json": _arrays,
    "objects": _objects,
    "ndjson": _lines,
    "csv": _csv,
}
