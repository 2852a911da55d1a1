"""How a value of imported data becomes one of a column's type, and which values of a key are equal to the database."""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any

import msgspec

from shared.errors import InvalidRequest
from shared.sql.dialects import Dialect
from shared.sql.engines.mysql_types import mysql_timestamp
from shared.sql.engines.sqlite_types import sqlite_column
from shared.sql.values import Json, Kind
from shared.web import decode_base64

Convert = Callable[[Any], Any]
"""Turns a value of the data that is not null into one that the engine takes. Raises ValueError with a reason."""


def kind_of(declared: str, dialect: Dialect) -> Kind:
    """Our kind of a column's declared type, as the engine writes it."""
    if dialect == "sqlite":
        return sqlite_column("", declared).kind or "null"
    text = declared.lower()
    word = text.partition("(")[0].split(" ")[0]
    if dialect == "postgresql":
        if text.endswith("[]"):
            return "json"
        return _POSTGRESQL.get(word, "text")
    return "boolean" if text.startswith("tinyint(1)") else _MYSQL.get(word, "text")


_POSTGRESQL: Mapping[str, Kind] = {
    "smallint": "integer", "integer": "integer", "bigint": "integer", "numeric": "decimal", "real": "real",
    "double": "real", "boolean": "boolean", "bytea": "bytes", "date": "date", "time": "time",
    "timestamp": "timestamp", "timestamptz": "timestamp", "json": "json", "jsonb": "json",
}  # fmt: skip
_MYSQL: Mapping[str, Kind] = {
    "tinyint": "integer", "smallint": "integer", "mediumint": "integer", "int": "integer", "bigint": "integer",
    "year": "integer", "decimal": "decimal", "numeric": "decimal",
    "float": "real", "double": "real", "bit": "bytes", "binary": "bytes",
    "varbinary": "bytes", "tinyblob": "bytes", "blob": "bytes", "mediumblob": "bytes", "longblob": "bytes",
    "date": "date", "time": "time", "datetime": "timestamp", "timestamp": "timestamp", "json": "json",
    "boolean": "boolean", "geometry": "bytes", "point": "bytes", "linestring": "bytes", "polygon": "bytes",
}  # fmt: skip


def converter(declared: str, kind: Kind, dialect: Dialect) -> Convert:
    """How a value is converted to this column's type."""
    if dialect == "postgresql" and declared.endswith("[]"):
        return _array
    if dialect == "mysql":
        special: Mapping[Kind, Convert] = {
            "timestamp": lambda value: mysql_timestamp(_text(value)), "real": _finite, "decimal": _exact,
        }  # fmt: skip
        if kind in special:
            return special[kind]
    if dialect == "postgresql" and kind == "boolean":
        return _postgresql_boolean
    if dialect == "sqlite":
        special = {
            "integer": _sqlite_integer, "decimal": _sqlite_number, "boolean": _sqlite_boolean, "date": _date,
            "time": _time, "timestamp": _timestamp, "null": _as_it_is,
        }  # fmt: skip
        if kind in special:
            return special[kind]
    return _CONVERTS.get(kind, _text)


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is Json:
        return value.text
    if isinstance(value, bytes):
        raise ValueError("text")
    if type(value) is bool:
        return "true" if value else "false"
    return str(value) if type(value) in (int, float) else json.dumps(value, ensure_ascii=False)


def _as_it_is(value: Any) -> Any:
    return value.text if type(value) is Json else value


INTEGER = re.compile(r"\s*[+-]?[0-9]{1,40}\s*", re.ASCII)
"""The text of an integer."""
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?\s*", re.ASCII)


def _integer(value: Any) -> int:
    if type(value) in (int, bool):
        return int(value)
    if type(value) is float and value.is_integer():
        return int(value)
    text = value.text if type(value) is Json else value
    if type(text) is str and INTEGER.fullmatch(text):
        return int(text)
    raise ValueError("an integer")


def _sqlite_integer(value: Any) -> int:
    number = _integer(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError("an integer of 64 bits")
    return number


def _real(value: Any) -> float:
    if type(value) in (int, float):
        return float(value)
    if type(value) is str and (_NUMBER.fullmatch(value) or value.strip().lower() in _NOT_FINITE):
        return float(value)
    raise ValueError("a number")


_NOT_FINITE = frozenset({"nan", "infinity", "-infinity", "inf", "-inf"})


def _decimal(value: Any) -> str:
    text = str(value) if type(value) in (int, float) else _as_it_is(value)
    if type(text) is str and (_NUMBER.fullmatch(text) or text.strip().lower() in _NOT_FINITE):
        return text.strip()
    raise ValueError("a decimal number")


def _finite(value: Any) -> float:
    number = _real(value)
    if not isfinite(number):
        raise ValueError("a finite number")
    return number


def _exact(value: Any) -> Decimal:
    number = Decimal(_decimal(value))
    if not number.is_finite():
        raise ValueError("a finite number")
    return number


def _sqlite_number(value: Any) -> int | float:
    text = _decimal(value)
    if INTEGER.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number that SQLite can store")
    return number


_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def _boolean(value: Any) -> bool | int:
    if type(value) in (bool, int):
        return value  # type: ignore[no-any-return]
    if type(value) is str:
        text = value.strip().lower()
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if INTEGER.fullmatch(text):
            return int(text)  # A tinyint(1) of MySQL, and SQLite, hold any number.
    raise ValueError("true or false")


def _postgresql_boolean(value: Any) -> bool:
    number = _boolean(value)
    if number not in (0, 1):
        raise ValueError("true or false")
    return bool(number)


def _sqlite_boolean(value: Any) -> int:
    return int(_boolean(value))


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if type(value) is Json:
        value = _base64_member(value.text)
    if type(value) is str:
        try:
            return decode_base64(value, "data")
        except InvalidRequest:
            pass
    raise ValueError("base64")


def _base64_member(text: str) -> Any:
    """The text of `{"base64": …}`, as ndjson has bytes."""
    try:
        decoded = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return decoded.get("base64") if isinstance(decoded, dict) and len(decoded) == 1 else None


def _moment(read: Callable[[str], object], name: str) -> Convert:
    def convert(value: Any) -> Any:
        if type(value) in (int, float):
            return value  # A Julian day, or seconds since 1970.
        text = _text(value)
        try:
            read(text)
        except ValueError:
            if not _NUMBER.fullmatch(text):
                raise ValueError(name) from None
        return text

    return convert


_date = _moment(date.fromisoformat, "a date (YYYY-MM-DD)")
_time = _moment(time.fromisoformat, "a time (HH:MM:SS)")
_timestamp = _moment(datetime.fromisoformat, "a timestamp (YYYY-MM-DDTHH:MM:SS)")


def _json(value: Any) -> str:
    text = _text(value) if type(value) is not str else value
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("JSON") from None
    return text


def _array(value: Any) -> str:
    """A JSON array, which is how arrays are exported, as PostgreSQL's literal of one."""
    text = _text(value)
    if not text.startswith("["):
        return text
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("an array") from None

    def literal(item: Any) -> str:
        if isinstance(item, list):
            return "{{{}}}".format(",".join(map(literal, item)))
        if item is None:
            return "NULL"
        plain = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
        return '"{}"'.format(plain.replace("\\", "\\\\").replace('"', '\\"'))

    return literal(decoded)


_CONVERTS: Mapping[Kind, Convert] = {
    "integer": _integer, "real": _real, "decimal": _decimal, "boolean": _boolean, "bytes": _bytes, "json": _text,
}  # fmt: skip


def comparable(kind: Kind, declared: str, collation: str, dialect: Dialect) -> Callable[[Any], Any]:
    """The form that two values of a key's column share if the database takes them as equal."""
    if kind in ("decimal", "real"):
        return _number
    if kind not in ("text", "null") or type(collation) is not str:
        return lambda value: value
    if dialect == "sqlite":
        folded = collation.upper()
        if folded == "NOCASE":
            return lambda value: value.lower() if isinstance(value, str) and value.isascii() else value
        return (lambda value: value.rstrip(" ") if isinstance(value, str) else value) if folded == "RTRIM" else _same
    if dialect == "mysql" and not collation.endswith(("_bin", "_cs")) and "_as_cs" not in collation:
        return _loosely
    return _loosely if declared.startswith("citext") else _same


def _same(value: Any) -> Any:
    return value


def _number(value: Any) -> Any:
    try:
        return format(Decimal(value).normalize(), "f") if isfinite(float(value)) else str(value).lower()
    except (InvalidOperation, OverflowError, ValueError):
        return value


def _loosely(value: Any) -> Any:
    """A text without what a collation that ignores case, accents and blanks at the end leaves out."""
    if not isinstance(value, str):
        return value
    parts = unicodedata.normalize("NFKD", value.rstrip(" "))
    return "".join(each for each in parts if not unicodedata.combining(each)).casefold()
