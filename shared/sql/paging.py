"""Where the next page of a query begins: after the last row's key, or after a number of rows.

The key is used only where the statement states its order, and where the last row of the page and the first row of the
next are certainly different to the database. Otherwise (texts that differ in case only, equal numbers of different
scale, ties) rows are counted. The database itself compares the key with its own operators.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, NamedTuple

import msgspec

from shared.sql.dialects import Dialect
from shared.sql.statements import clip
from shared.sql.values import Column, Compared, Params, Scalar
from shared.sql.writers import Page

NULLS_FIRST: Mapping[Dialect, bool] = {"sqlite": True, "postgresql": False, "mysql": True, "blobs": False}
"""Whether nulls come first in ascending order."""

_NAME = r'(?:[^\W\d]\w*|"[^"]+"|`[^`]+`)'
_ORDER = re.compile(
    rf"\border\s+by\s+({_NAME}(?:\s+(?:asc|desc))?(?:\s*,\s*{_NAME}(?:\s+(?:asc|desc))?)*)\s*\Z", re.IGNORECASE
)
_TERM = re.compile(rf"({_NAME})(?:\s+(asc|desc))?", re.IGNORECASE)
_COMPOUND = re.compile(r"\b(?:union|intersect|except)\b", re.IGNORECASE)
_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


class Term(NamedTuple):
    """One column of an order: its name as the statement writes it, and its direction."""

    name: str
    descending: bool


class Order(NamedTuple):
    """The order of a statement: its terms, and for each the index of its column and how its values are compared."""

    terms: list[Term]
    indexes: list[int]
    compared: list[Compared]


UNKNOWN_ORDER = Order([], [], [])


class Position(msgspec.Struct, frozen=True, array_like=True):
    """After `skip` rows; or with a `key`, after every row that has this key in `order`, and `skip` more."""

    skip: int
    key: list[int | float | str] = []
    order: list[Term] = []
    types: list[str] = []
    """The names of the Arrow types of the first page."""
    digest: str = ""
    """For data files: a digest of their names and ETags."""


def order_of(
    sql: str, dialect: Dialect, columns: Sequence[Column], *, texts_are_exact: Callable[[], bool] = lambda: False
) -> Order:
    """The order in which the statement ends, if it consists of columns that the statement returns.

    `texts_are_exact` says whether different texts are different values to the database; it is called only if needed.
    """
    match = _ORDER.search(clip(sql, dialect)) if "order" in sql.lower() else None
    names = [each.name.lower() for each in columns]
    if match is None or len(set(names)) < len(names):
        return UNKNOWN_ORDER
    if dialect == "sqlite" and _COMPOUND.search(sql):
        return UNKNOWN_ORDER  # Which affinity a column has depends on the parts.
    order = Order([], [], [])
    for name, direction in _TERM.findall(match[1]):
        index = _index_of(name, dialect, columns)
        compared = None if index is None else columns[index].compared
        if index is None or compared is None or (compared == "text" and not texts_are_exact()):
            return UNKNOWN_ORDER
        order.terms.append(Term(name, direction.lower() == "desc"))
        order.indexes.append(index)
        order.compared.append(compared)
    return order


def _index_of(name: str, dialect: Dialect, columns: Sequence[Column]) -> int | None:
    """The index of the column that `name` refers to, as the statement writes it."""
    quote = name[0] if name[0] in '"`' else ""
    plain = name.strip('"`')
    if dialect == "mysql" and quote == '"':
        return None  # A text, by which rows have no order.
    fold = (lambda text: text) if dialect == "postgresql" else _folded
    plain = plain if quote and dialect == "postgresql" else _folded(plain)
    return next((index for index, each in enumerate(columns) if fold(each.name) == plain), None)


def _folded(text: str) -> str:
    return text.translate(_ASCII_LOWER)


def position_after(start: Position, page: Page, order: Order, types: list[str]) -> Position:
    """The start of the page after `page`, which began at `start`. `types` are those of the first page in Arrow.

    Rows with the same key have no order among them: if the page ends between such rows, rows are counted.
    """
    last, following = ([row[index] for index in order.indexes] for row in (page.last, page.following))
    # JSON has no infinity.
    usable = all(type(value) in (int, str) or (type(value) is float and isfinite(value)) for value in last)
    if usable and any(
        certainly_differ(first, second, compared)
        for first, second, compared in zip(last, following, order.compared, strict=True)
    ):
        return Position(0, last, order.terms, types)
    return Position(start.skip + page.row_count, start.key, start.order, types)


def certainly_differ(first: Any, second: Any, compared: Compared) -> bool:
    """Whether two values of a column, as the driver returned them, are different to the database."""
    if first is None or second is None:
        return first is not second
    if compared == "number":
        try:
            return abs(Decimal(first) - Decimal(second)) > 0
        except (InvalidOperation, ValueError):  # NaN, or too large.
            return False
    if compared == "sqlite":
        return _differ_in_sqlite(first, second)
    if compared == "date" and "-00" in f"-{first}"[:11]:
        return False  # MySQL compares no date with a zero in it.
    return bool(first != second)


def _differ_in_sqlite(first: Any, second: Any) -> bool:
    """Whether two values differ under each of SQLite's collations: BINARY, NOCASE and RTRIM."""
    if isinstance(first, str) and isinstance(second, str):
        # NOCASE ends at NUL. A text that looks like a number becomes one in some comparisons.
        if "\0" in first + second or _is_number(first):
            return False
        return _folded(first).rstrip(" ") != _folded(second).rstrip(" ")
    numbers = [each for each in (first, second) if isinstance(each, int | float)]
    if any(not isfinite(each) for each in numbers) or (isinstance(first, str) and _is_number(first)):
        return False
    return bool(first != second)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def continued(sql: str, dialect: Dialect, params: Params, start: Position) -> tuple[str, Params]:
    """The statement for the rows after the key of `start`, and its parameters."""
    order, key = start.order, start.key
    values: list[Scalar] = []
    prefix = "strongroom_key_"
    while any(name.startswith(prefix) for name in (params if isinstance(params, dict) else ())):
        prefix += "_"

    def mark(value: Scalar) -> str:
        values.append(value)
        return f":{prefix}{len(values)}" if isinstance(params, dict) else "?"

    # (a > 1) or (a = 1 and b > 2): the parameters are in the order of the text, in either direction.
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
        return text, {**params, **{f"{prefix}{number}": value for number, value in enumerate(values, 1)}}
    return text, [*params, *values]
