"""Where the next page of a query begins: after the last row's key where the statement says its order, else by count."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from shared.sql.dialects import Dialect
from shared.sql.statements import clip
from shared.sql.values import Column, Params, Scalar

COMPARED_EXACTLY: Mapping[Dialect, frozenset[str]] = {
    "sqlite": frozenset({"integer", "real", "decimal", "date", "time", "timestamp"}),
    "postgresql": frozenset({"integer", "decimal", "text", "date", "time", "timestamp"}),
    "mysql": frozenset({"integer", "date", "time", "timestamp"}),
}
"""Types of which a value that was read, bound again, is equal to itself and to nothing else. (Text is not, where its
collation takes letters of either case for the same.)"""
NULLS_FIRST: Mapping[Dialect, bool] = {"sqlite": True, "postgresql": False, "mysql": True}
"""Where nulls stand in ascending order."""

_NAME = r'(?:[^\W\d]\w*|"[^"]+"|`[^`]+`)'
_ORDER = re.compile(
    rf"\border\s+by\s+({_NAME}(?:\s+(?:asc|desc))?(?:\s*,\s*{_NAME}(?:\s+(?:asc|desc))?)*)\s*\Z", re.IGNORECASE
)
_TERM = re.compile(rf"({_NAME})(?:\s+(asc|desc))?", re.IGNORECASE)


class Term(NamedTuple):
    """One column of an order: its name as the statement writes it, and its direction."""

    name: str
    descending: bool


class Position(msgspec.Struct, frozen=True, array_like=True):
    """After `skip` rows; where there is a `key`, after every row that has it in `order`, and `skip` more."""

    skip: int
    key: list[int | float | str] = []
    order: list[Term] = []


def order_of(sql: str, dialect: Dialect, columns: Sequence[Column]) -> tuple[list[Term], list[int]]:
    """The order that the statement ends in, by columns of its answer, and their places there.

    Empty where rows are to be counted instead.
    """
    names = [each.name.lower() for each in columns]
    found = _ORDER.search(clip(sql, dialect)) if "order" in sql.lower() else None
    if found is None or len(set(names)) < len(names):
        return [], []
    terms, places = [], []
    for name, direction in _TERM.findall(found[1]):
        plain = name.strip('"`').lower()
        if plain not in names or columns[names.index(plain)].kind not in COMPARED_EXACTLY[dialect]:
            return [], []
        terms.append(Term(name, direction.lower() == "desc"))
        places.append(names.index(plain))
    return terms, places


def position_after(
    start: Position, row_count: int, order: list[Term], last: list[Any], following: list[Any]
) -> Position:
    """Where the page after the one of `row_count` rows from `start` begins.

    `last` is the key of its last row, `following` that of the row to come. Rows of the same key have no order among
    them: where a page ends between such, rows are counted, from where they were counted before.
    """
    if order and last != following and all(isinstance(value, int | float | str) for value in last):
        return Position(0, last, order)
    return Position(start.skip + row_count, start.key, start.order)


def continued(sql: str, dialect: Dialect, params: Params, start: Position) -> tuple[str, Params]:
    """The statement whose rows are those after the key of `start`, and its parameters."""
    order, key = start.order, start.key
    values: list[Scalar] = []

    def mark(value: Scalar) -> str:
        values.append(value)
        return f":page_{len(values)}" if isinstance(params, dict) else "?"

    # (a > 1) or (a = 1 and b > 2): the order of the parameters is that of the text, whatever the directions.
    cases = []
    for depth, term in enumerate(order):
        parts = [f"{before.name} = {mark(value)}" for before, value in zip(order[:depth], key, strict=False)]
        beyond = f"{term.name} {'<' if term.descending else '>'} {mark(key[depth])}"
        nulls_behind = NULLS_FIRST[dialect] == term.descending
        parts.append(f"({beyond} or {term.name} is null)" if nulls_behind else beyond)
        cases.append(f"({' and '.join(parts)})")
    terms = ", ".join(f"{term.name}{' desc' if term.descending else ''}" for term in order)
    text = f"select * from (\n{clip(sql, dialect)}\n) as page where {' or '.join(cases)} order by {terms}"  # noqa: S608
    if isinstance(params, dict):
        return text, {**params, **{f"page_{number}": value for number, value in enumerate(values, 1)}}
    return text, [*params, *values]
