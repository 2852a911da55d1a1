"""DuckDB's types: the type of a response's column, and how its values leave the engine without loss."""

import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

Kind = Literal["integer", "real", "decimal", "text", "boolean", "bytes", "date", "time", "timestamp", "json", "null"]


class DuckType(Protocol):
    """The part of DuckDB's description of a type that is used here."""

    @property
    def id(self) -> str: ...

    @property
    def children(self) -> list[tuple[str, Any]]: ...


class Wire(NamedTuple):
    """How the values of a column leave the engine."""

    kind: Kind
    detail: str
    """The details that `kind` leaves out: `decimal(p,s)`; `uint64` or `big` of integers; of timestamps `utc`, `ns` or
    `ns_utc`; `zone` of times with an offset; "" for nothing."""
    cast: str | None
    """The SQL type to cast the column to; None where DuckDB's Python values are exact."""
    convert: Callable[[Any], Any] | None = None
    """Applied to each value that is not null."""


_INTEGERS = frozenset({"tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger"})
_BIG = frozenset({"hugeint", "uhugeint", "bignum"})
_TIMESTAMPS = frozenset({"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"})
_ZONED = frozenset({"timestamp with time zone", "timestamptz_ns"})
_MOMENT = re.compile(r"([0-9]+-[0-9]{2}-[0-9]{2})(?: \((BC)\))? ([0-9:.]+)(?:\+00)?")
_TIME_ZONED = re.compile(r"([0-9:.]+)\+00(?::00)?")


def wire(type_: DuckType, name: str = "") -> Wire:
    """How values of `type_` leave the engine; `name` is its SQL text."""
    kind = type_.id
    if kind == "varchar":
        return Wire("json", "", "VARCHAR") if name == "JSON" else Wire("text", "", None)
    if kind in _INTEGERS:
        return Wire("integer", "", None)
    if kind == "ubigint":
        return Wire("integer", "uint64", None)
    if kind in _BIG:
        return Wire("integer", "big", "VARCHAR", _integer)
    if kind == "boolean":
        return Wire("boolean", "", None)
    if kind == "double":
        return Wire("real", "", None)
    if kind == "float":
        # The shortest text that is the same float: as a double, 0.1 would be 0.10000000149011612.
        return Wire("real", "", "VARCHAR", float)
    if kind == "decimal":
        return Wire("decimal", name.lower(), "VARCHAR")
    if kind == "blob":
        return Wire("bytes", "", None)
    if kind == "date":
        return Wire("date", "", "VARCHAR", _date)
    if kind in ("time", "time_ns"):
        return Wire("time", "", "VARCHAR")
    if kind == "time with time zone":
        return Wire("time", "zone", "VARCHAR", _time_with_zone)
    if kind in _TIMESTAMPS:
        return Wire("timestamp", "ns" if kind.endswith("ns") else "", "VARCHAR", _timestamp)
    if kind in _ZONED:
        return Wire("timestamp", "ns_utc" if kind.endswith("ns") else "utc", "VARCHAR", _timestamp_utc)
    if kind in _NESTED:
        return Wire("json", "", _leaves_as_text(type_, name), _encoder(type_, name))
    if kind == "variant":
        return Wire("json", "", "JSON")
    if kind == "null":
        return Wire("null", "", None)
    return Wire("text", "", "VARCHAR")  # interval, uuid, enum, bit, geometry, and what a later DuckDB adds.


def _integer(text: str) -> int | str:
    value = int(text)
    return value if -(2**63) <= value < 2**64 else text


def _date(text: str) -> str:
    return f"{text[:-5]} BC" if text.endswith(" (BC)") else text


def _timestamp(text: str) -> str:
    match = _MOMENT.fullmatch(text)
    return f"{match[1]}T{match[3]}{' BC' if match[2] else ''}" if match else text


def _timestamp_utc(text: str) -> str:
    match = _MOMENT.fullmatch(text)
    return f"{match[1]}T{match[3]}Z{' BC' if match[2] else ''}" if match else text


def _time_with_zone(text: str) -> str:
    match = _TIME_ZONED.fullmatch(text)
    return f"{match[1]}Z" if match else text


# ---- Lists, structs, maps and unions as JSON.

_NESTED = frozenset({"list", "array", "struct", "map", "union", "tuple"})


def _leaves_as_text(type_: DuckType, name: str) -> str:
    """The same nested type, in which every value that Python would change is a text."""
    kind = type_.id
    if kind not in _NESTED:
        return wire(type_, name).cast or name
    children = [(label, child) for label, child in type_.children if isinstance(child, int) is False]
    if kind in ("list", "array"):
        return f"{_leaves_as_text(children[0][1], str(children[0][1]))}[]"
    if kind == "map":
        (_, key), (_, value) = children
        return f"MAP({_leaves_as_text(key, str(key))}, {_leaves_as_text(value, str(value))})"
    if kind == "union":
        children = children[1:]  # The first is the tag.
    fields = ", ".join(
        f"{_quoted(label)} {_leaves_as_text(child, str(child))}"
        if kind != "tuple"
        else _leaves_as_text(child, str(child))
        for label, child in children
    )
    return f"{kind.upper()}({fields})" if fields else name


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


def _encoder(type_: DuckType, name: str) -> Callable[[Any], str]:
    """A function that turns a Python value of DuckDB's into JSON text."""
    import orjson

    convert = _jsonable(type_, name)
    return lambda value: orjson.dumps(convert(value), option=orjson.OPT_NON_STR_KEYS).decode()


def _jsonable(type_: DuckType, name: str) -> Callable[[Any], Any]:
    """A function that turns a Python value of DuckDB's, cast by `_leaves_as_text`, into one that JSON has."""
    kind = type_.id
    if kind in ("list", "array"):
        item = _or_null(_jsonable(type_.children[0][1], str(type_.children[0][1])))
        return lambda value: [item(each) for each in value]
    if kind == "map":
        key, item = (_or_null(_jsonable(child, str(child))) for _, child in type_.children)
        return lambda value: {_key_text(key(k)): item(v) for k, v in _pairs(value)}
    if kind == "struct":
        fields = {label: _or_null(_jsonable(child, str(child))) for label, child in type_.children}
        return lambda value: {label: fields[label](each) for label, each in value.items()}
    if kind == "tuple":
        items = [_or_null(_jsonable(child, str(child))) for _, child in type_.children]
        return lambda value: [item(each) for item, each in zip(items, _sequence(value), strict=True)]
    if kind == "union":
        return _plain
    return _leaf(wire(type_, name))


def _leaf(how: Wire) -> Callable[[Any], Any]:
    import orjson

    convert = how.convert
    if how.kind == "json":
        return orjson.Fragment
    if how.kind == "integer" and how.cast:
        return orjson.Fragment  # Every digit, however many.
    if how.kind == "bytes":
        return _plain
    return convert or (lambda value: value)


def _or_null(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


def _pairs(value: Any) -> Any:
    """The entries of a map; where its keys cannot be keys in Python, DuckDB returns two lists."""
    if set(value) == {"key", "value"} and isinstance(value["key"], list) and isinstance(value["value"], list):
        return zip(value["key"], value["value"], strict=True)
    return value.items()


def _key_text(key: Any) -> str:
    import orjson

    return key if isinstance(key, str) else orjson.dumps(_plain(key)).decode()


def _sequence(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value


def _plain(value: Any) -> Any:
    """A value of a union, whose type the value itself does not show, as JSON has it."""
    if isinstance(value, bytes):
        from shared.web import encode_base64

        return {"base64": encode_base64(value)}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        import orjson

        return orjson.Fragment(str(value))
    return value
