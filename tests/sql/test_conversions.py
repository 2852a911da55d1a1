"""Imported values as the values of a column's type, and the rules of rows, keys and new tables. No server is needed."""

from decimal import Decimal
from typing import Any

import pytest

from shared.errors import InvalidRequest
from shared.sql.conversions import comparable, converter, kind_of
from shared.sql.dialects import Dialect
from shared.sql.engines import Index, Table, TableColumn
from shared.sql.errors import InvalidRow, NotAKey, RepeatedKey
from shared.sql.imports import Rows, create_table, find_table, fits, match
from shared.sql.values import Column, Json

FRUIT = Table(
    "Fruit",
    "table",
    [TableColumn("id", "integer", False, True), TableColumn("Name", "text", True, False)],
    [Index("names", True, ["Name"])],
    [],
    None,
)


@pytest.mark.parametrize(
    ("declared", "dialect", "kind"),
    [
        ("INTEGER", "sqlite", "integer"),
        ("decimal(9,2)", "sqlite", "decimal"),
        ("timestamptz", "postgresql", "timestamp"),
        ("integer[]", "postgresql", "json"),
        ("double precision", "postgresql", "real"),
        ("citext", "postgresql", "text"),
        ("tinyint(1)", "mysql", "boolean"),
        ("tinyint(4)", "mysql", "integer"),
        ("longblob", "mysql", "bytes"),
    ],
)
def test_the_kind_of_a_declared_type(declared: str, dialect: Dialect, kind: str) -> None:
    """Each engine's own names of types are known, and an unknown one is text."""
    assert kind_of(declared, dialect) == kind


@pytest.mark.parametrize(
    ("declared", "dialect", "value", "expected"),
    [
        ("integer", "sqlite", " 7 ", 7),
        ("integer", "sqlite", 7.0, 7),
        ("decimal(9,2)", "sqlite", "1.50", 1.5),
        ("boolean", "sqlite", "t", 1),
        ("date", "sqlite", "2026-11-29", "2026-11-29"),
        ("blob", "sqlite", "AQI=", b"\x01\x02"),
        ("blob", "sqlite", Json('{"base64": "AQI="}'), b"\x01\x02"),
        ("text", "sqlite", Json("[1]"), "[1]"),
        ("boolean", "postgresql", "1", True),
        ("integer[]", "postgresql", '[1, null, "a\\"b"]', '{"1",NULL,"a\\"b"}'),
        ("numeric", "postgresql", "NaN", "NaN"),
        ("decimal(9,2)", "mysql", "1.50", Decimal("1.50")),
        ("double", "mysql", "1e3", 1000.0),
    ],
)
def test_a_value_becomes_one_of_the_columns_type(declared: str, dialect: Dialect, value: Any, expected: Any) -> None:
    """Texts, numbers and JSON become what the engine takes, without a loss."""
    converted = converter(declared, kind_of(declared, dialect), dialect)(value)
    assert (converted, type(converted)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("declared", "dialect", "value", "reason"),
    [
        ("integer", "sqlite", "1.5", "an integer"),
        ("integer", "sqlite", str(2**63), "an integer of 64 bits"),
        ("double", "mysql", "inf", "a finite number"),
        ("decimal(9,2)", "mysql", "nan", "a finite number"),
        ("boolean", "postgresql", "2", "true or false"),
        ("date", "sqlite", "29.11.2026", "a date"),
        ("blob", "sqlite", "not base64!", "base64"),
        ("text", "sqlite", b"\x00", "text"),
        ("integer[]", "postgresql", "[1", "an array"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(declared: str, dialect: Dialect, value: Any, reason: str) -> None:
    """A value that would lose something, or that the engine refuses, is a ValueError that says what it should be."""
    with pytest.raises(ValueError, match=reason):
        converter(declared, kind_of(declared, dialect), dialect)(value)


@pytest.mark.parametrize(
    ("declared", "collation", "dialect", "equal"),
    [
        ("text", "", "sqlite", False),
        ("text", "NOCASE", "sqlite", True),
        ("varchar(9)", "utf8mb4_general_ci", "mysql", True),
        ("varchar(9)", "utf8mb4_bin", "mysql", False),
        ("text", "", "postgresql", False),
        ("citext", "", "postgresql", True),
    ],
)
def test_keys_are_compared_as_the_database_compares_them(
    declared: str, collation: str, dialect: Dialect, equal: bool
) -> None:
    """Letter case counts where the column's collation makes it count."""
    compare = comparable(kind_of(declared, dialect), declared, collation, dialect)
    assert (compare("Fig") == compare("fig")) is equal


def test_columns_match_by_name() -> None:
    """Names of columns match ignoring case; unknown and repeated ones are refused, and so is what is not a key."""
    target = match(FRUIT, ["NAME", "id"], ["name"], "sqlite", {})
    assert (target.names, target.key) == (["Name", "id"], [0])
    with pytest.raises(InvalidRequest, match="no column color"):
        match(FRUIT, ["color"], [], "sqlite", {})
    with pytest.raises(InvalidRequest, match="twice"):
        match(FRUIT, ["id", "ID"], [], "sqlite", {})
    with pytest.raises(NotAKey):
        match(FRUIT, ["id", "name"], ["id", "name"], "sqlite", {})
    with pytest.raises(NotAKey, match="no column id"):
        match(FRUIT, ["name"], ["id"], "sqlite", {})


def test_bad_rows_are_named_by_their_line() -> None:
    """A bad value and a repeated key name line and column; a line break in a text counts as a line."""
    target = match(FRUIT, ["id", "name"], ["id"], "sqlite", {})
    rows = Rows(target, by_line=True, first_line=2)
    assert rows.convert([("1", "a\nb"), ("2", None)]) == ([(1, "a\nb"), (2, None)], [2, 4])
    with pytest.raises(InvalidRow, match="Line 5, column id: 'x' is not an integer"):
        rows.convert([("x", "c")])
    with pytest.raises(RepeatedKey, match="Line 2 and line 5"):
        rows.convert([("1", "c")])


def test_a_table_is_found_as_the_engine_finds_it() -> None:
    """PostgreSQL compares names of tables exactly; the others ignore case."""
    assert find_table([FRUIT], "fruit", "sqlite") is FRUIT
    assert find_table([FRUIT], "fruit", "postgresql") is None
    assert find_table([FRUIT], "Fruit", "postgresql") is FRUIT


@pytest.mark.parametrize(
    ("dialect", "statement"),
    [
        ("sqlite", 'create table "a""b" ("id" bigint, "price" decimal(9,2), primary key ("id"))'),
        ("postgresql", 'create table "a""b" ("id" bigint, "price" decimal(9,2), primary key ("id"))'),
        ("mysql", 'create table `a"b` (`id` bigint, `price` decimal(9,2), primary key (`id`))'),
    ],
)
def test_a_new_table_has_the_types_of_the_data(dialect: Dialect, statement: str) -> None:
    """Names are quoted as the engine quotes them, and types keep every digit."""
    columns = [Column("id", "integer"), Column("price", "decimal", detail="decimal(9,2)")]
    assert create_table('a"b', columns, ["ID"], dialect) == statement


def test_a_guess_of_a_type_loses_no_digit() -> None:
    """Integers that a double would round are not real numbers."""
    assert fits(Column("n", "real"), ["1.5", "2", None])
    assert not fits(Column("n", "real"), [str(2**53 + 1)])
    assert not fits(Column("n", "integer"), ["1", "x"])
