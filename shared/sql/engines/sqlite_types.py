"""SQLite's declared types. SQLite has no boolean, decimal, date or JSON, so the declaration decides."""

import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any

from shared.sql.values import Column, Columns, Kind, json_or_text


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


@lru_cache(maxsize=1024)
def columns_of(description: tuple[tuple[str, str | None], ...]) -> Columns:
    return Columns([sqlite_column(name, declared) for name, declared in description])
