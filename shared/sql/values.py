"""Values as they go out: what a column's type is, and rows as JSON, NDJSON and CSV, within a limit of bytes."""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache, partial
from itertools import count, islice
from math import isfinite
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from shared.web import encode_base64

Kind = Literal["integer", "real", "decimal", "text", "boolean", "bytes", "date", "time", "timestamp", "json", "null"]
Format = Literal["json", "objects", "ndjson", "csv"]
Scalar = None | bool | int | float | str | bytes
Row = tuple[Any, ...]

FIRST_ROWS = 8
"""Rows that are read at once before anything is known of their size."""
READ_BYTES = 1024 * 1024
"""What is read at once from then on, about."""
MOST_ROWS = 1024
"""That are read at once."""


class Column(NamedTuple):
    """A column of an answer. Where `kind` is None its values decide; `convert` makes a stored value one of its kind."""

    name: str
    kind: Kind | None = None
    convert: Callable[[Any], Any] | None = None


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
        return Column(name, "json", _json)
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


def _json(value: Any) -> Any:
    """JSON as it is written, digit by digit; text that is no JSON stays text."""
    if type(value) is not str:
        return value
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return value
    return Json(msgspec.json.format(value, indent=-1) if "\n" in value or "\r" in value else value)


# ---- From rows to bytes.


class Page(NamedTuple):
    """The rows of an answer, encoded."""

    columns: list[dict[str, str]]
    rows: bytes
    """With `json` and `objects` without the outer brackets."""
    row_count: int
    truncated: bool


class Cursor(Protocol):
    """The rows of a running statement."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """In their order; names may repeat."""

    def fetch(self, count: int) -> list[Row]:
        """The next rows, at most `count`; fewer mean that there are no more."""


class Rows:
    """A cursor over rows that are read already."""

    def __init__(self, columns: tuple[Column, ...], rows: list[Row]) -> None:
        self.columns = columns
        self._rows = iter(rows)

    def fetch(self, count: int) -> list[Row]:
        return list(islice(self._rows, count))


class RowTooLarge(Exception):
    """One row alone is over the limit of bytes."""


def read_page(cursor: Cursor, form: Format, max_rows: int, max_bytes: int) -> Page:
    """Read at most `max_rows` rows and `max_bytes` of them as `form`. Raises RowTooLarge where not one row fits."""
    columns = cursor.columns
    names = [each.name for each in columns]
    if form in ("objects", "ndjson"):
        names = unique(names)
    encode = partial(_ENCODERS[form], names)
    converts = [(place, each.convert) for place, each in enumerate(columns) if each.convert]
    untyped = {place: {type(None)} for place, each in enumerate(columns) if each.kind is None}
    separator = b"," if form in ("json", "objects") else b""
    parts = [encode([tuple(names)])] if form == "csv" else []
    size = sum(map(len, parts))
    total = 0
    wanted = min(FIRST_ROWS, max_rows)
    while True:
        rows = fetched = cursor.fetch(wanted)
        if converts:
            rows = _convert(rows, converts)
        for place, types in untyped.items():
            types.update([type(row[place]) for row in rows])
        encoded = encode(rows)
        truncated = size + len(encoded) > max_bytes
        if truncated:
            rows, encoded = _fitting(rows, encode, max_bytes - size, len(separator))
            if not rows and not total:
                raise RowTooLarge
        if rows:
            parts.append(encoded)
            size += len(encoded) + len(separator)
            total += len(rows)
        if truncated or len(fetched) < wanted:
            break
        if total == max_rows:
            truncated = bool(cursor.fetch(1))
            break
        wanted = min(max_rows - total, max(1, min(MOST_ROWS, READ_BYTES * total // size)))
    described = [
        {"name": name, "type": each.kind or _kind_of(untyped[place])}
        for place, (name, each) in enumerate(zip(names, columns, strict=True))
    ]
    return Page(described, separator.join(parts), total, truncated)


def _convert(rows: list[Row], converts: list[tuple[int, Callable[[Any], Any]]]) -> list[Row]:
    columns = list(zip(*rows, strict=True))
    for place, convert in converts if rows else ():
        columns[place] = tuple(map(convert, columns[place]))
    return list(zip(*columns, strict=True))


def _fitting(
    rows: list[Row], encode: Callable[[list[Row]], bytes], room: int, separator: int
) -> tuple[list[Row], bytes]:
    """As many of `rows` from the first on as fit into `room`, and these encoded."""
    used = -separator
    for fit, row in enumerate(rows):
        used += separator + len(encode([row]))
        if used > room:
            return rows[:fit], encode(rows[:fit])
    return rows, encode(rows)


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


_KINDS: dict[type, Kind] = {bool: "boolean", int: "integer", float: "real", str: "text", bytes: "bytes"}


def _kind_of(types: set[type]) -> Kind:
    """What values of these types are together: the wider of two numbers, text where they have nothing in common."""
    types = types - {type(None)}
    if not types:
        return "null"
    if types == {int, float}:
        return "real"
    return _KINDS[types.pop()] if len(types) == 1 else "text"


def _default(value: object) -> object:
    """What orjson asks for a value that it does not know itself."""
    import orjson

    if isinstance(value, Json):
        return orjson.Fragment(value.text)
    assert isinstance(value, bytes)  # noqa: S101 - the only other kind.
    return {"base64": encode_base64(value)}


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
    import csv
    from io import StringIO

    out = StringIO()
    plain = [
        tuple([value if type(value) is str or type(value) is int else _cell(value) for value in row]) for row in rows
    ]
    csv.writer(out).writerows(plain)
    return out.getvalue().encode()


def _cell(value: Any) -> Any:
    if type(value) is float:
        return value if isfinite(value) else ""
    if type(value) is bytes:
        return encode_base64(value)
    if value is None:
        return ""
    if type(value) is bool:
        return "true" if value else "false"
    return value.text if type(value) is Json else value


_ENCODERS: dict[Format, Callable[[list[str], list[Row]], bytes]] = {
    "json": _arrays,
    "objects": _objects,
    "ndjson": _lines,
    "csv": _csv,
}
