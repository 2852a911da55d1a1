"""The columns of a record batch: values packed as they come, the Arrow type that fits them, and Arrow's buffers.

https://arrow.apache.org/docs/format/Columnar.html
"""

import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import accumulate, repeat
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.sql.values import Column
from shared.sql.writers import as_text
from shared.web import encode_base64

if TYPE_CHECKING:
    import nanoarrow as na  # type: ignore[import-untyped]
    from nanoarrow.c_array import CArray  # type: ignore[import-untyped]

EPOCH_DAY = date(1970, 1, 1).toordinal()
MOST_DIGITS = 38
"""The most digits of a decimal of 128 bits."""
DECIMAL_BYTES = 16

_KINDS = {
    "integer": "int64", "real": "float64", "boolean": "bool", "bytes": "binary", "date": "date32", "time": "time64",
    "timestamp": "timestamp",
}  # fmt: skip
"""The Arrow type of each kind; all others are text."""
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?")
_TIMESTAMP = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?(Z|[+-][0-9:]+)?")


class Misfit(Exception):
    """A value does not have the type of its Arrow column."""


class Part(NamedTuple):
    """Some values of a column, packed: integers and reals as numbers of 64 bits, texts as UTF-8 with their lengths."""

    kind: str
    """`q`, `d`, `text`, `null`, or `object` for a list of any values, nulls among them."""
    length: int
    present: bytes | None
    """A byte for each value: 1 where it is not null. None where none is null."""
    data: Any
    lengths: "array[int] | None" = None

    def size(self, width: int) -> int:
        """About how many bytes its buffers take, if each value takes at least `width`."""
        size = width * self.length
        if self.kind == "text":
            return max(size, len(self.data) + 4 * self.length)
        if self.kind == "object":
            return size + sum(len(each) for each in self.data if isinstance(each, bytes | str))
        return size

    def values(self) -> Iterable[Any]:
        """The values, as they came."""
        if self.kind == "null":
            return repeat(None, self.length)
        values: Iterable[Any] = self.data if self.lengths is None else self._texts()
        if self.present is None or self.kind == "object":
            return values
        return [value if there else None for value, there in zip(values, self.present, strict=True)]

    def _texts(self) -> list[str]:
        ends = list(accumulate(self.lengths or ()))
        return [self.data[end - length : end].decode() for end, length in zip(ends, self.lengths or (), strict=True)]


def pack(values: Sequence[Any]) -> Part:
    types = set(map(type, values))
    has_null = type(None) in types
    types.discard(type(None))
    count = len(values)
    if not types:
        return Part("null", count, bytes(count), None)
    present = bytes([value is not None for value in values]) if has_null else None
    try:
        if types == {int}:
            return Part("q", count, present, array("q", _filled(values, 0) if has_null else values))
        if types == {float}:
            return Part("d", count, present, array("d", _filled(values, 0.0) if has_null else values))
        if types == {str}:
            texts = _filled(values, "") if has_null else values
            data = "".join(texts).encode()
            lengths = array("i", map(len, texts))
            if sum(lengths) != len(data):
                lengths = array("i", [len(text.encode()) for text in texts])
            return Part("text", count, present, data, lengths)
    except (OverflowError, UnicodeEncodeError):
        pass
    return Part("object", count, present, list(values))


def _filled(values: Sequence[Any], blank: Any) -> list[Any]:
    return [blank if value is None else value for value in values]


# ---- Types.


def type_of(column: Column, parts: list[Part], *, json: bool) -> str:
    if json and column.kind == "json" and not any(part.kind in ("q", "d", "text") for part in parts):
        return "json"
    for name in _candidates(column, parts):
        try:
            array_of(name, parts)
        except Misfit:
            continue
        return name
    return "string"


def _candidates(column: Column, parts: list[Part]) -> Iterator[str]:
    kind, detail = column.kind, column.detail
    if kind is None:
        yield from _of_values(parts)
        return
    if detail == "zone":  # Times of day with an offset have no type in Arrow.
        return
    if detail == "big":  # Integers beyond 64 bits have none either, but most sums of DuckDB are none of them.
        yield "int64"
        return
    if kind == "decimal":
        match = _DECIMAL.fullmatch(detail)
        if match and int(match[1]) <= MOST_DIGITS and int(match[2]) <= int(match[1]):
            yield detail
        return
    if kind == "timestamp":
        yield f"timestamp{detail and f'_{detail}'}"
        if not detail:  # SQLite's timestamps are texts of either form.
            yield "timestamp_utc"
        return
    if kind == "integer" and detail == "uint64":
        yield "uint64"
        return
    if kind in _KINDS:
        yield _KINDS[kind]
    if kind == "boolean":
        yield "int64"
    if kind in ("boolean", "integer"):
        yield "float64"


def _of_values(parts: list[Part]) -> Iterator[str]:
    kinds: set[str] = set()
    for part in parts:
        if part.kind == "object":
            kinds |= {type(value).__name__ for value in part.data if value is not None}
        elif part.kind != "null":
            kinds.add({"q": "int", "d": "float", "text": "str"}[part.kind])
    if kinds == {"bool"}:
        yield "bool"
    elif kinds == {"bytes"}:
        yield "binary"
    elif kinds == {"int"}:
        yield "int64"
    elif kinds and kinds <= {"int", "float"}:
        yield "float64"


def schema_of(name: str) -> "na.Schema":
    import nanoarrow as na

    if match := _DECIMAL.fullmatch(name):
        return na.decimal128(int(match[1]), int(match[2]))
    return {
        "int64": na.int64,
        "uint64": na.uint64,
        "float64": na.float64,
        "bool": na.bool_,
        "binary": na.binary,
        "string": na.string,
        # https://arrow.apache.org/docs/format/CanonicalExtensions.html#json
        "json": lambda: na.extension_type(na.string(), "arrow.json", ""),
        "date32": na.date32,
        "time64": lambda: na.time64("us"),
        "timestamp": lambda: na.timestamp("us"),
        "timestamp_utc": lambda: na.timestamp("us", "UTC"),
        "timestamp_ns": lambda: na.timestamp("ns"),
        "timestamp_ns_utc": lambda: na.timestamp("ns", "UTC"),
    }[name]()


# ---- From packed values to Arrow's buffers.


def array_of(name: str, parts: list[Part]) -> "CArray":
    """The Arrow array of a type's name. Raises Misfit."""
    import nanoarrow as na

    present, buffers = _buffers(name, parts)
    return na.c_array_from_buffers(schema_of(name), len(present), [_validity(present), *buffers])


def _buffers(name: str, parts: list[Part]) -> tuple[bytes, list[Any]]:
    """The bytes that say which values are not null, and the buffers behind them."""
    if name in ("int64", "float64"):
        code = "q" if name == "int64" else "d"
        numbers: array[Any] = array(code)
        present = bytearray()
        for part in parts:
            if part.kind == "null":
                numbers.extend(repeat(0, part.length))
                present += bytes(part.length)
                continue
            if part.kind == code:
                numbers += part.data
            else:
                numbers.extend(_numbers(name, part))
            present += part.present or b"\1" * part.length
        return bytes(present), [numbers]
    if name == "json" and any(part.kind in ("q", "d", "text") for part in parts):
        raise Misfit  # A text of SQLite that is not JSON.
    if name in ("string", "json"):
        return _texts(parts)
    encode = _ENCODERS.get(name)
    if encode is None:
        precision, scale = map(int, _DECIMAL.fullmatch(name).groups())  # type: ignore[union-attr]
        values = [_decimal(value, precision, scale) for part in parts for value in part.values()]
        blank = bytes(DECIMAL_BYTES)
        return _present(values), [b"".join([blank if value is None else value for value in values])]
    values = [None if value is None else encode(value) for part in parts for value in part.values()]
    present_bytes = _present(values)
    if name == "bool":
        return present_bytes, [_bits(bytes(map(bool, values)))]
    if name == "binary":
        offsets = array("i", accumulate((len(value or b"") for value in values), initial=0))
        return present_bytes, [offsets, b"".join(filter(None, values))]
    code = {"date32": "i", "uint64": "Q"}.get(name, "q")
    try:
        return present_bytes, [array(code, _filled(values, 0))]
    except OverflowError:
        raise Misfit from None


def _texts(parts: list[Part]) -> tuple[bytes, list[Any]]:
    present, lengths, data = bytearray(), array("i"), bytearray()
    for each in parts:
        part = each
        if part.kind not in ("text", "null"):
            part = pack([None if value is None else _text(value) for value in part.values()])
        if part.kind == "null":
            lengths.extend(repeat(0, part.length))
            present += bytes(part.length)
            continue
        lengths += part.lengths or array("i")
        data += part.data
        present += part.present or b"\1" * part.length
    return bytes(present), [array("i", accumulate(lengths, initial=0)), bytes(data)]


def _present(values: list[Any]) -> bytes:
    return bytes([value is not None for value in values])


def _validity(present: bytes) -> bytes | None:
    return None if b"\0" not in present else _bits(present)


def _bits(flags: bytes) -> bytes:
    """Pack a byte of 0 or 1 for each value into bits, the first one lowest."""
    if not flags:
        return b""
    digits = flags[::-1].translate(b"01" + bytes(254))
    return int(digits, 2).to_bytes((len(flags) + 7) // 8, "little")


def _numbers(name: str, part: Part) -> Iterator[int | float]:
    if part.kind == "text":
        raise Misfit
    for value in part.values():
        if value is None:
            yield 0
        elif type(value) is int or (type(value) is float and name == "float64") or type(value) is bool:
            if name == "int64" and not -(2**63) <= value < 2**63:
                raise Misfit
            if name == "float64" and type(value) is int and abs(value) > 2**53:
                raise Misfit  # A double would round it.
            yield value
        else:
            raise Misfit


def _text(value: Any) -> str:
    """A value as CSV writes it."""
    if type(value) is str:
        return value
    if isinstance(value, bytes):
        return encode_base64(value)
    if type(value) is bool:
        return "true" if value else "false"
    return str(value) if type(value) in (int, float) else as_text(value)


def _decimal(value: Any, precision: int, scale: int) -> bytes | None:
    """The unscaled number of a decimal. NaN and infinite ones are null, as in JSON."""
    if value is None or (type(value) is float and not isfinite(value)):
        return None
    text = str(value) if type(value) is int else value
    if type(text) is not str or not _NUMBER.fullmatch(text):
        raise Misfit
    whole, _, fraction = text.partition(".")
    if len(fraction) > scale:
        if fraction[scale:].strip("0"):
            raise Misfit
        fraction = fraction[:scale]
    if len(whole) + scale > MOST_DIGITS * 2:
        raise Misfit
    number = int(f"{whole}{fraction:0<{scale}}")
    if abs(number) >= 10**precision:
        raise Misfit
    return number.to_bytes(DECIMAL_BYTES, "little", signed=True)


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise Misfit
    return value


def _binary(value: Any) -> bytes:
    if type(value) is not bytes:
        raise Misfit
    return value


def _unsigned(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise Misfit
    return value


def _day(value: Any) -> int:
    if type(value) is not str or not _DATE.fullmatch(value):
        raise Misfit
    try:
        return date.fromisoformat(value).toordinal() - EPOCH_DAY
    except ValueError:
        raise Misfit from None


def _fraction(digits: str | None, most: int) -> int:
    """A fraction of a second in units of 10^-most seconds."""
    digits = (digits or "").rstrip("0")
    if len(digits) > most:
        raise Misfit
    return int(f"{digits:0<{most}}")


def _time(value: Any) -> int:
    match = _TIME.fullmatch(value) if type(value) is str else None
    if match is None:
        raise Misfit
    hour, minute, second = int(match[1]), int(match[2]), int(match[3])
    if hour > 23 or minute > 59 or second > 59:
        raise Misfit
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + _fraction(match[4], 6)


def _timestamp(digits: int, *, zoned: bool) -> Callable[[Any], int]:
    epoch = datetime(1970, 1, 1)  # noqa: DTZ001 - the difference of two times without a zone.

    def encode(value: Any) -> int:
        match = _TIMESTAMP.fullmatch(value) if type(value) is str else None
        if match is None or (match[3] is not None) != zoned:
            raise Misfit
        try:
            moment = datetime.fromisoformat(match[1])
            if match[3] not in (None, "Z"):
                zone = datetime.fromisoformat(f"{match[1]}{match[3]}").utcoffset()
                moment -= zone or moment - moment
        except (ValueError, OverflowError):
            raise Misfit from None
        difference = moment - epoch
        seconds = difference.days * 86400 + difference.seconds
        return int(seconds * 10**digits + _fraction(match[2], digits))

    return encode


_ENCODERS: dict[str, Callable[[Any], Any]] = {
    "bool": _boolean,
    "binary": _binary,
    "uint64": _unsigned,
    "date32": _day,
    "time64": _time,
    "timestamp": _timestamp(6, zoned=False),
    "timestamp_utc": _timestamp(6, zoned=True),
    "timestamp_ns": _timestamp(9, zoned=False),
    "timestamp_ns_utc": _timestamp(9, zoned=True),
}
"""How a value that is neither null, a plain number nor text becomes an element of a buffer."""
