"""What can be known of a statement and its parameters without asking a database."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import msgspec

from shared.errors import FieldError, InvalidRequest, invalid_field
from shared.sql.values import Scalar
from shared.web import decode_base64

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
REMEMBERED_LENGTH = 8192
"""Statements up to this many characters are scanned once."""

_COMMENT = r"(?>--[^\n]*|/\*.*?(?:\*/|\Z))"
_BLANK = re.compile(rf"(?:[\s;]|{_COMMENT})*", re.DOTALL)
_WORD = r"[^\W\d][\w$]*"
_TOKENS = {
    # https://www.sqlite.org/lang_expr.html#varparam
    "sqlite": re.compile(
        rf"""(?:'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z)|`(?:[^`]|``)*(?:`|\Z)|\[[^\]]*(?:\]|\Z)|{_COMMENT}|{_WORD})"""
        r"|\?(?P<number>\d*)|[:@$](?P<name>[\w$]+)",
        re.DOTALL,
    ),
}
"""What must be known of each dialect to find its parameters: strings, quoted names, comments and words hold none."""

Dialect = Literal["sqlite"]


class Parameters(NamedTuple):
    """What a statement wants: `names`, or `number` values by position."""

    names: tuple[str, ...]
    number: int


class Base64(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes, as base64 or base64url."""

    base64: str


Param = None | bool | int | float | str | Base64
GivenParams = list[Param] | dict[str, Param]


def is_blank(sql: str) -> bool:
    """Whether `sql` holds nothing but white space, comments and semicolons."""
    return _BLANK.fullmatch(sql) is not None


def read_params(given: GivenParams | None, field: str = "params") -> list[Scalar] | dict[str, Scalar]:
    """The values to bind. Raises InvalidRequest, naming the value, where one is no value of a database."""
    if isinstance(given, dict):
        return {name: _scalar(value, f"{field}.{name}") for name, value in given.items()}
    return [_scalar(value, f"{field}[{place}]") for place, value in enumerate(given or ())]


def _scalar(value: Param, field: str) -> Scalar:
    if isinstance(value, Base64):
        return decode_base64(value.base64, f"{field}.base64")
    if isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
        raise invalid_field(field, "does not fit into 64 bits: send it as text.")
    return value


def find_parameters(sql: str, dialect: Dialect) -> Parameters:
    """The parameters of `sql`. Raises InvalidRequest where some are named, and some are not."""
    return _remembered(sql, dialect) if len(sql) <= REMEMBERED_LENGTH else _find(sql, dialect)


def _find(sql: str, dialect: Dialect) -> Parameters:
    names: dict[str, None] = {}
    count = 0
    for token in _TOKENS[dialect].finditer(sql):
        if name := token["name"]:
            names[name] = None
        elif (number := token["number"]) is not None:
            count = max(count, int(number)) if number else count + 1
    if names and count:
        raise invalid_field("sql", "has parameters by position and by name: write all of them in one way.")
    return Parameters(tuple(names), count)


_remembered = lru_cache(maxsize=512)(_find)


def check_params(wanted: Parameters, given: Sequence[Scalar] | Mapping[str, Scalar]) -> None:
    """Compare what a statement wants with what is given. Raises InvalidRequest, naming what is wrong."""
    names, count = wanted
    if isinstance(given, Mapping):
        missing = [FieldError(f"params.{name}", "is missing.") for name in names if name not in given]
        unknown = [FieldError(f"params.{name}", "is not in the statement.") for name in given if name not in names]
        if count:
            raise invalid_field("params", f"the statement takes a list: {_values(count)}.")
        if errors := (*missing, *unknown):
            raise InvalidRequest(" ".join(f"{each.field} {each.detail}" for each in errors[:10]), errors=errors)
    elif names:
        raise invalid_field("params", f"the statement names its parameters: give an object with {', '.join(names)}.")
    elif len(given) != count:
        raise invalid_field("params", f"the statement takes {_values(count)}, and {len(given)} came.")


def _values(number: int) -> str:
    return "1 value" if number == 1 else f"{number or 'no'} values"
