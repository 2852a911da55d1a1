"""Saved queries: the rules for saving one, and the conversion of a caller's values to those of its parameters."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from math import isfinite
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.errors import FieldError, InvalidRequest, invalid_field
from shared.sql.dialects import DIALECTS, Dialect
from shared.sql.engines.mysql_types import mysql_timestamp
from shared.sql.errors import ReadOnly
from shared.sql.statements import MAX_INTEGER, MIN_INTEGER, decode_bytes, scan
from shared.sql.values import Scalar, Typed
from shared.web.decoding import MAX_ERRORS, cut

RESERVED = frozenset(
    {
        "accept",
        "big_integers",
        "clientid",
        "code",
        "cursor",
        "defuse_formulas",
        "dry_run",
        "explain",
        "filename",
        "format",
        "limit",
        "query_name",
        "timeout_ms",
    }
)
"""Names that no parameter may have, in lower case: fields of run-query and public-query, and of calls like them."""

ParameterType = Literal["integer", "real", "decimal", "text", "boolean", "bytes", "date", "time", "timestamp", "json"]


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A parameter of a saved query. Without a `default` it is required; a default of null makes it optional."""

    name: Annotated[
        str,
        Meta(
            description="As in the statement, without the colon: up to 64 letters, digits and underscores; the first "
            "is not a digit.",
            pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}\Z",
        ),
    ]
    type: ParameterType = "text"
    default: bool | int | float | str | UnsetType | None = UNSET


class SavedQuery(msgspec.Struct, frozen=True):
    """A statement under a name."""

    name: str
    sql: str
    database: str
    parameters: list[Parameter]
    public: bool
    description: str
    updated: str
    callers: list[str] | None = None
    """The callers who may run the query; null without such a list."""


def check(sql: str, dialect: Dialect, parameters: list[Parameter]) -> None:
    """Raise InvalidRequest or ReadOnly if the statement cannot be saved with these parameters."""
    errors = []
    names: set[str] = set()
    for index, each in enumerate(parameters):
        field = f"parameters[{index}]"
        if each.name.lower() in RESERVED:
            errors.append(
                FieldError(f"{field}.name", f"Rename the parameter {each.name}: run-query has a field of this name.")
            )
        if each.name in names:
            errors.append(FieldError(f"{field}.name", f"Declare the parameter {each.name} once."))
        names.add(each.name)
        if each.default is not UNSET and each.default is not None:
            try:
                _value(each, each.default, f"{field}.default", dialect)
            except InvalidRequest as error:
                errors += error.errors
    scanned = scan(sql, dialect)
    if scanned.number:
        errors.append(FieldError("sql", "Name the parameters of the statement, as in :name, instead of ? or $1."))
    used = set(scanned.names)
    errors += [
        FieldError("parameters", f"Declare the parameter {cut(name)}, which the statement uses.")
        for name in scanned.names
        if name not in names
    ]
    errors += [
        FieldError("parameters", f"Remove the parameter {name}, which the statement does not use.")
        for name in names
        if name not in used and not scanned.number
    ]
    if errors:
        raise _invalid(errors)
    if scanned.first not in DIALECTS[dialect].reads:
        raise ReadOnly(f"A saved query must read. This statement starts with {scanned.first or 'nothing'}.")


def bind(parameters: list[Parameter], sent: Mapping[str, Any], dialect: Dialect, *, by_url: bool) -> dict[str, Scalar]:
    """The values of the parameters: those that were sent (as texts, if by URL), else the defaults.

    Raises InvalidRequest, naming the first that are missing, unknown or not of their type.
    """
    values: dict[str, Scalar] = {}
    errors = []
    for each in parameters:
        try:
            if each.name in sent:
                values[each.name] = _value(each, sent[each.name], each.name, dialect, by_url=by_url)
            elif each.default is UNSET:
                errors.append(FieldError(each.name, f"Send the parameter {each.name}, of type {each.type}."))
            else:
                values[each.name] = _value(each, each.default, each.name, dialect)
        except InvalidRequest as error:
            errors += error.errors
    names = {each.name for each in parameters}
    unknown = [name for name in sent if name not in names]
    known = ", ".join(each.name for each in parameters) or "none"
    errors += [
        FieldError(cut(name), f"{cut(name)} is not a parameter of this query. Its parameters: {known}.")
        for name in unknown[:MAX_ERRORS]
    ]
    if errors:
        raise _invalid(errors, len(errors) + max(0, len(unknown) - MAX_ERRORS))
    return values


def _invalid(errors: list[FieldError], count: int | None = None) -> InvalidRequest:
    detail = " ".join(each.detail for each in errors[:5])
    return InvalidRequest(detail, errors=tuple(errors[:MAX_ERRORS]), error_count=count or len(errors))


def _value(parameter: Parameter, sent: Any, field: str, dialect: Dialect, *, by_url: bool = False) -> Scalar:
    """The value to bind. Raises InvalidRequest if `sent` is not of the parameter's type."""
    if sent is None:
        return Typed(None, parameter.type) if dialect == "postgresql" else None
    kind = parameter.type
    value = _checked(kind, _from_text(kind, sent) if by_url else sent, field, by_url=by_url)
    if value is None:
        raise invalid_field(field, f"{field} must be of type {kind}{_HINTS.get(kind, '')}.")
    if dialect == "postgresql":
        return Typed(value, kind)
    if dialect == "sqlite" and kind == "decimal":
        return _sqlite_number(str(value), field)
    if dialect == "mysql" and kind == "timestamp":
        return mysql_timestamp(str(value))
    return value


def _checked(kind: str, value: Any, field: str, *, by_url: bool) -> bool | float | str | bytes | None:
    """`value` as a scalar of this kind; None if it is not one."""
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if kind == "integer":
        return value if type(value) is int and MIN_INTEGER <= value <= MAX_INTEGER else None
    if kind == "real":
        return _real(value) if type(value) in (int, float) else None
    if kind == "decimal":
        text = repr(value) if type(value) is float else value
        if type(text) is int and -(10**400) < text < 10**400:
            text = str(text)
        return text if isinstance(text, str) and _DECIMAL.fullmatch(text) else None
    if kind == "bytes":
        text = value.get("base64") if isinstance(value, dict) and len(value) == 1 else value
        return decode_bytes(text, field) if isinstance(text, str) else None
    if kind == "json" and not by_url and not isinstance(value, str):
        return _parsed(lambda: msgspec.json.encode(value).decode())
    return value if isinstance(value, str) and _TEXTS[kind](value) else None


def _real(value: float) -> float | None:
    number = _parsed(lambda: float(value))
    return number if number is not None and isfinite(number) else None


def _from_text(kind: str, text: str) -> Any:
    """The value that a text of a URL stands for."""
    if kind == "boolean":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if kind == "integer":
        return int(text) if _INTEGER.fullmatch(text) else None
    if kind == "real":
        return float(text) if _DECIMAL.fullmatch(text) else None
    return text


def _sqlite_number(text: str, field: str) -> int | float:
    """SQLite has no decimals: an integer of 64 bits, else a double, which compares with what is stored."""
    if _INTEGER.fullmatch(text) and MIN_INTEGER <= int(text) <= MAX_INTEGER:
        return int(text)
    number = float(text)
    if not isfinite(number):
        raise invalid_field(field, f"{field} is larger than any number of SQLite.")
    return number


T = TypeVar("T")


def _parsed(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except (ValueError, OverflowError, msgspec.MsgspecError, RecursionError):
        return None


def _reads(form: re.Pattern[str], read: Callable[[str], object]) -> Callable[[str], bool]:
    """Whether a text has this form (Python alone also reads 2026-W02-1 and 20260105) and is a value."""
    return lambda text: form.fullmatch(text) is not None and _parsed(lambda: read(text)) is not None


_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?")
_TIMESTAMP = re.compile(rf"{_DATE.pattern}(?:[T ]{_TIME.pattern})?")
_ANY = re.compile(".*", re.DOTALL)
_TEXTS: Mapping[str, Callable[[str], bool]] = {
    "text": lambda _: True,
    "date": _reads(_DATE, date.fromisoformat),
    "time": _reads(_TIME, time.fromisoformat),
    "timestamp": _reads(_TIMESTAMP, datetime.fromisoformat),
    "json": _reads(_ANY, lambda text: msgspec.json.decode(text, type=msgspec.Raw)),
}
_HINTS = {
    "integer": " (64 bits)",
    "boolean": ": true or false",
    "bytes": ": base64",
    "date": ": YYYY-MM-DD",
    "time": ": HH:MM:SS",
    "timestamp": ": YYYY-MM-DDTHH:MM:SS, with or without an offset",
}
