"""What can be known of a statement and its parameters without asking a database."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple

import msgspec

from shared.errors import FieldError, InvalidRequest, invalid_field
from shared.sql.values import Params, Scalar
from shared.web import decode_base64

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
HIDDEN = "/*!"
"""Stands among the words for a comment of MySQL's that is code. https://dev.mysql.com/doc/refman/8.4/en/comments.html"""
MAX_PARAMETERS = 10_000
REMEMBERED_LENGTH = 8192
"""Statements up to this many characters are scanned once."""

Dialect = Literal["sqlite", "postgresql", "mysql"]


def _nested_comment() -> str:
    """PostgreSQL's comments nest; eight deep is enough for what people write."""
    comment = r"/\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/"
    for _ in range(7):
        comment = rf"/\*(?:[^*/]|\*(?!/)|/(?!\*)|{comment})*\*/"
    return comment


_COMMENTS: dict[Dialect, str] = {
    "sqlite": r"(?>--[^\n]*|/\*.*?(?:\*/|\Z))",
    "postgresql": rf"(?>--[^\n]*|{_nested_comment()}|/\*.*)",
    "mysql": r"(?>--(?=\s|\Z)[^\n]*|\#[^\n]*|/\*.*?(?:\*/|\Z))",
}
_QUOTED: dict[Dialect, str] = {
    # https://www.sqlite.org/lang_expr.html#literal_values_constants_
    "sqlite": r"""'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z)|`(?:[^`]|``)*(?:`|\Z)|\[[^\]]*(?:\]|\Z)""",
    # https://www.postgresql.org/docs/current/sql-syntax-lexical.html
    "postgresql": r"""[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z)|'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z)"""
    r"""|\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)|::|:=""",
    # https://dev.mysql.com/doc/refman/8.4/en/string-literals.html
    "mysql": r"""'(?:[^'\\]|''|\\.)*(?:'|\Z)|"(?:[^"\\]|""|\\.)*(?:"|\Z)|`(?:[^`]|``)*(?:`|\Z)|:=""",
}
_PARAMETERS: dict[Dialect, str] = {
    # https://www.sqlite.org/lang_expr.html#varparam
    "sqlite": r"\?(?P<number>\d*)|[:@$](?P<name>[\w$]+)",
    "postgresql": r"(?P<operator>\?\?)|\?(?P<number>\d*)|\$(?P<dollar>\d+)|:(?P<name>[^\W\d]\w*)",
    "mysql": r"\?(?P<number>\d*)|:(?P<name>[^\W\d]\w*)",
}
_TOKENS = {
    dialect: re.compile(
        rf"(?P<comment>{_COMMENTS[dialect]})|{_QUOTED[dialect]}|(?P<word>[^\W\d][\w$]*)|{_PARAMETERS[dialect]}",
        re.DOTALL,
    )
    for dialect in _COMMENTS
}
"""What must be known of each dialect to find its parameters: comments, strings, quoted names and words hold none."""
_BLANK = {dialect: re.compile(rf"(?:[\s;]|{comment})*", re.DOTALL) for dialect, comment in _COMMENTS.items()}

READING = frozenset({"SELECT", "VALUES", "WITH", "TABLE", "SHOW", "EXPLAIN", "DESCRIBE", "DESC"})
"""The first words of what a reader may ask PostgreSQL or MySQL for. Their read-only transactions forbid writing tables;
commands such as COPY, CALL and DO, which reach further than tables, have no business there."""
TRANSACTIONS = frozenset(
    {"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "PREPARE", "XA", "COPY", "LOAD"}
)
"""The first words of what a writer may not run: the transaction is ours, and files are not read or written."""


class Scanned(NamedTuple):
    """A statement, taken apart at its parameters."""

    pieces: tuple[str, ...]
    """The text before, between and behind the parameters."""
    slots: tuple[str | int, ...]
    """The parameters: names, or numbers from 1 on."""
    spans: tuple[tuple[int, int], ...]
    """From where to where each of them stands."""
    names: tuple[str, ...]
    number: int
    """Of values that are wanted by position."""
    words: tuple[str, ...]
    """All bare words, in upper case."""

    @property
    def first(self) -> str:
        """The word that says what the statement does."""
        return self.words[0] if self.words else ""


class Base64(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes, as base64 or base64url."""

    base64: str


Param = None | bool | int | float | str | Base64
GivenParams = list[Param] | dict[str, Param]


def is_blank(sql: str, dialect: Dialect = "sqlite") -> bool:
    """Whether `sql` holds nothing but white space, comments and semicolons."""
    return _BLANK[dialect].fullmatch(sql) is not None


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


def scan(sql: str, dialect: Dialect) -> Scanned:
    """`sql`, taken apart. Raises InvalidRequest where some of its parameters are named, and some are not."""
    return _remembered(sql, dialect) if len(sql) <= REMEMBERED_LENGTH else _scan(sql, dialect)


def _scan(sql: str, dialect: Dialect) -> Scanned:
    pieces: list[str] = []
    slots: list[str | int] = []
    spans: list[tuple[int, int]] = []
    words: list[str] = []
    text = ""
    start = highest = 0
    for token in _TOKENS[dialect].finditer(sql):
        found = token.groupdict()
        if found["word"]:
            words.append(found["word"].upper())
            continue
        if dialect == "mysql" and (found["comment"] or "").startswith(("/*!", "/*M!")):
            words.append(HIDDEN)
            continue
        slot: str | int
        if found["name"]:
            slot = found["name"]
        elif (number := found["number"]) is not None or (number := found.get("dollar")) is not None:
            slot = int(number[:9]) if number else highest + 1
            highest = max(highest, slot)
        elif found.get("operator"):
            text += sql[start : token.start()] + "?"
            start = token.end()
            continue
        else:
            continue
        pieces.append(text + sql[start : token.start()])
        slots.append(slot)
        spans.append(token.span())
        text, start = "", token.end()
    pieces.append(text + sql[start:])
    names = tuple(dict.fromkeys(slot for slot in slots if isinstance(slot, str)))
    if names and highest:
        raise invalid_field("sql", "has parameters by position and by name: write all of them in one way.")
    if highest > MAX_PARAMETERS:
        raise invalid_field("sql", f"has a parameter {highest}; at most {MAX_PARAMETERS} are taken.")
    return Scanned(tuple(pieces), tuple(slots), tuple(spans), names, highest, tuple(words))


_remembered = lru_cache(maxsize=512)(_scan)


def has_second(sql: str, dialect: Dialect) -> bool:
    """Whether a semicolon stands between statements. One in the body of a function does, too: ask the engine first."""
    for token in re.finditer(rf"{_TOKENS[dialect].pattern}|(?P<semicolon>;)", sql, re.DOTALL):
        if token["semicolon"]:
            return not is_blank(sql[token.end() :], dialect)
    return False


def clip(sql: str, dialect: Dialect) -> str:
    """`sql` without the comments, semicolons and white space behind it."""
    end = 0
    for token in re.finditer(rf"{_TOKENS[dialect].pattern}|(?P<blank>[\s;]+)|.", sql, re.DOTALL):
        if not token["blank"] and not token["comment"]:
            end = token.end()
    return sql[:end]


def check_params(scanned: Scanned, given: Params) -> None:
    """Compare what a statement wants with what is given. Raises InvalidRequest, naming what is wrong."""
    names, number = scanned.names, scanned.number
    if isinstance(given, dict):
        missing = [FieldError(f"params.{name}", "is missing.") for name in names if name not in given]
        unknown = [FieldError(f"params.{name}", "is not in the statement.") for name in given if name not in names]
        if number:
            raise invalid_field("params", f"the statement takes a list: {_values(number)}.")
        if errors := (*missing, *unknown):
            raise InvalidRequest(" ".join(f"{each.field} {each.detail}" for each in errors[:10]), errors=errors)
    elif names:
        raise invalid_field("params", f"the statement names its parameters: give an object with {', '.join(names)}.")
    elif len(given) != number:
        raise invalid_field("params", f"the statement takes {_values(number)}, and {len(given)} came.")


def _values(number: int) -> str:
    return "1 value" if number == 1 else f"{number or 'no'} values"


def numbered(scanned: Scanned, given: Params) -> tuple[str, list[Scalar]]:
    """The statement with `$1`, `$2`, … for its parameters, and the values in that order."""
    places = {name: place for place, name in enumerate(scanned.names, 1)}
    text = [scanned.pieces[0]]
    for slot, piece in zip(scanned.slots, scanned.pieces[1:], strict=True):
        text += f"${places[slot] if isinstance(slot, str) else slot}", piece
    values = [given[name] for name in scanned.names] if isinstance(given, dict) else list(given)
    return "".join(text), values


def filled(scanned: Scanned, given: Params, literal: Callable[[Scalar], str]) -> str:
    """The statement with `literal` of each value in its place, for engines that bind no other way."""
    text = [scanned.pieces[0]]
    for slot, piece in zip(scanned.slots, scanned.pieces[1:], strict=True):
        value = given[slot] if isinstance(given, dict) else given[slot - 1]  # type: ignore[index, operator]
        text += literal(value), piece
    return "".join(text)


def original_place(scanned: Scanned, place: int) -> int:
    """Where in the statement the character `place` (from 1) of its numbered form stands."""
    places = {name: number for number, name in enumerate(scanned.names, 1)}
    shift = 0
    for slot, (start, end) in zip(scanned.slots, scanned.spans, strict=True):
        if place <= start + shift + 1:
            break
        shift += len(f"${places[slot] if isinstance(slot, str) else slot}") - (end - start)
    return place - shift
