"""Saved queries: what one is, and how what a caller gives becomes the values of its parameters."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from math import isfinite
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.errors import FieldError, InvalidRequest, invalid_field
from shared.sql.dialects import DIALECTS, Dialect
from shared.sql.errors import ReadOnly
from shared.sql.statements import MAX_INTEGER, MIN_INTEGER, scan
from shared.sql.values import Scalar
from shared.web import decode_base64

RESERVED = frozenset({"code", "clientid", "format", "limit", "cursor", "accept", "query_name"})
"""What a parameter may not be called, in lower case: the call has fields of these names."""

ParameterType = Literal["integer", "real", "decimal", "text", "boolean", "bytes", "date", "time", "timestamp", "json"]


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A parameter of a saved query. Without a `default` it must be given; a default of null makes it optional."""

    name: Annotated[
        str, Meta(description="As in the statement, without the colon.", pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}\Z")
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


def check(sql: str, dialect: Dialect, parameters: list[Parameter]) -> None:
    """Whether a statement can be saved with these parameters. Raises InvalidRequest or ReadOnly, saying why not."""
    names = [each.name for each in parameters]
    errors = []
    for place, each in enumerate(parameters):
        field = f"parameters[{place}]"
        if each.name.lower() in RESERVED:
            errors.append(
                FieldError(f"{field}.name", f"is reserved: {', '.join(sorted(RESERVED))} are the call's own.")
            )
        if names.count(each.name) > 1:
            errors.append(FieldError(f"{field}.name", "stands twice."))
        if each.default is not UNSET and each.default is not None:
            try:
                _value(each, each.default, f"{field}.default")
            except InvalidRequest as error:
                errors += error.errors
    scanned = scan(sql, dialect)
    if scanned.number:
        errors.append(FieldError("sql", "has parameters by position: name them, as in :name."))
    missing = [name for name in scanned.names if name not in names]
    unused = [name for name in names if name not in scanned.names and not scanned.number]
    errors += [FieldError("parameters", f"do not declare {name}, which the statement has.") for name in missing]
    errors += [FieldError("parameters", f"declare {name}, which the statement does not have.") for name in unused]
    if errors:
        raise InvalidRequest(" ".join(f"{each.field} {each.detail}" for each in errors[:10]), errors=tuple(errors))
    if scanned.first not in DIALECTS[dialect].reads:
        raise ReadOnly(f"A saved query reads, and this one starts with {scanned.first or 'nothing'}.")


def bind(parameters: list[Parameter], given: Mapping[str, Any], *, by_url: bool) -> dict[str, Scalar]:
    """The values of the parameters: those given (texts, where they come by URL), else the defaults.

    Raises InvalidRequest, naming every one that is missing, unknown or not of its type.
    """
    values: dict[str, Scalar] = {}
    errors = []
    for each in parameters:
        try:
            if each.name in given:
                values[each.name] = _value(each, given[each.name], each.name, by_url=by_url)
            elif each.default is UNSET:
                errors.append(FieldError(each.name, f"is missing: the query takes it as {each.type}."))
            else:
                values[each.name] = _value(each, each.default, each.name)
        except InvalidRequest as error:
            errors += error.errors
    known = ", ".join(each.name for each in parameters) or "none"
    errors += [
        FieldError(name, f"is not a parameter of this query, whose parameters are {known}.")
        for name in given
        if name not in {each.name for each in parameters}
    ]
    if errors:
        raise InvalidRequest(" ".join(f"{each.field}: {each.detail}" for each in errors[:10]), errors=tuple(errors))
    return values


def _value(parameter: Parameter, given: Any, field: str, *, by_url: bool = False) -> Scalar:
    if given is None:
        return None
    kind = parameter.type
    if by_url and kind in ("integer", "real", "boolean"):
        given = _from_text(kind, given)
    if kind == "boolean" and isinstance(given, bool):
        return given
    if kind == "integer" and type(given) is int and MIN_INTEGER <= given <= MAX_INTEGER:
        return given
    if kind == "real" and type(given) in (int, float) and isfinite(given):
        return float(given)
    if kind == "decimal" and type(given) in (int, float, str) and _DECIMAL.fullmatch(str(given)):
        return str(given)
    if kind == "bytes":
        text = given.get("base64") if isinstance(given, dict) and len(given) == 1 else given
        if isinstance(text, str):
            return decode_base64(text, field)
    if kind == "json" and not by_url and not isinstance(given, str):
        return msgspec.json.encode(given).decode()
    if isinstance(given, str) and kind in _TEXTS and _TEXTS[kind](given):
        return given
    raise invalid_field(field, f"is no {kind}{_HINTS.get(kind, '')}.")


def _from_text(kind: str, text: str) -> Any:
    if kind == "boolean":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    pattern = _INTEGER if kind == "integer" else _DECIMAL
    if not pattern.fullmatch(text):
        return None
    return int(text) if kind == "integer" else float(text)


def _parses(read: Callable[[str], object]) -> Callable[[str], bool]:
    def check_text(text: str) -> bool:
        try:
            read(text)
        except (ValueError, msgspec.DecodeError, RecursionError):
            return False
        return True

    return check_text


_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_TEXTS: Mapping[str, Callable[[str], bool]] = {
    "text": lambda _: True,
    "date": _parses(date.fromisoformat),
    "time": _parses(time.fromisoformat),
    "timestamp": _parses(datetime.fromisoformat),
    "json": _parses(lambda text: msgspec.json.decode(text, type=msgspec.Raw)),
}
_HINTS = {
    "integer": " of 64 bits",
    "boolean": ": send true or false",
    "bytes": ": send base64",
    "date": ": send YYYY-MM-DD",
    "time": ": send HH:MM:SS",
    "timestamp": ": send YYYY-MM-DDTHH:MM:SS",
}
