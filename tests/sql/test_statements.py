"""The scanner and the parameter checks: the app's knowledge of a statement before it calls a database."""

from typing import Any

import pytest

from shared.errors import InvalidRequest
from shared.sql.dialects import Dialect
from shared.sql.statements import (
    Base64,
    Scanned,
    check_params,
    filled,
    has_second,
    is_blank,
    numbered,
    original_position,
    read_params,
    scan,
    slot_values,
)
from shared.sql.values import Params


def wanting(names: tuple[str, ...], number: int) -> Scanned:
    """A statement with these names, or with this number of positional parameters."""
    return scan("select " + ", ".join([*(f":{name}" for name in names), *"?" * number]), "sqlite")


@pytest.mark.parametrize(
    ("sql", "names", "number"),
    [
        ("select 1", (), 0),
        ("select ?, ?", (), 2),
        ("select ?2, ?1", (), 2),
        ("select ?3, ?", (), 4),
        ("select :a, :b, :a", ("a", "b"), 0),
        ("select @a, $b", ("a", "b"), 0),
        ("select ':a', ?", (), 1),
        ("select 'it''s ?', ?", (), 1),
        ('select "?", `:a`, [:b], ?', (), 1),
        ("select 1 -- ?\n, ?", (), 1),
        ("select /* :a ' */ ?", (), 1),
        ("select /* open ?", (), 0),
        ("select a->'$.b', :c", ("c",), 0),
        ("select a$b, é, :größe", ("größe",), 0),
        ("select x'00', 1e5, :a", ("a",), 0),
    ],
)
def test_parameters_are_found(sql: str, names: tuple[str, ...], number: int) -> None:
    """Only code holds parameters; similar text in a string, a quoted name or a comment is not a parameter."""
    found = scan(sql, "sqlite")
    assert (found.names, found.number) == (names, number)


def test_two_styles_at_once_are_refused() -> None:
    """A statement with both named and positional parameters is refused."""
    with pytest.raises(InvalidRequest, match="has parameters by position and by name"):
        scan("select ?, :a", "sqlite")


def test_errors_about_parameters_are_bounded() -> None:
    """However many values have unknown names, the error lists the first ones and counts all, in linear time."""
    sent: Any = {f"{'x' * 100}{number}": 1 for number in range(100_000)}
    with pytest.raises(InvalidRequest) as caught:
        check_params(scan(f"select {', '.join(f':p{number}' for number in range(3000))}", "sqlite"), sent)
    assert (len(caught.value.errors), caught.value.error_count) == (20, 103_000)
    with pytest.raises(InvalidRequest) as caught:
        check_params(scan("select 1", "sqlite"), sent)
    assert (len(caught.value.errors), caught.value.error_count) == (20, 100_000)
    assert max(len(each.field) for each in caught.value.errors) <= 71
    assert len(caught.value.detail) < 1000


@pytest.mark.parametrize(
    ("wanted", "params", "message"),
    [
        (wanting((), 2), [1], "takes 2 values; `params` has 1"),
        (wanting((), 1), [1, 2], "takes 1 value; `params` has 2"),
        (wanting((), 0), [1], "takes no values; `params` has 1"),
        (wanting((), 1), {"a": 1}, "as a list of 1 value"),
        (wanting(("a", "b"), 0), [1, 2], "as an object with a, b"),
        (wanting(("a", "b"), 0), {"a": 1}, "Send a value for b"),
        (wanting(("a",), 0), {"a": 1, "A": 1}, "Remove A"),
        (wanting((), 0), {"a": 1}, "Remove a"),
    ],
)
def test_params_that_do_not_fit_are_refused(wanted: Scanned, params: Any, message: str) -> None:
    """Too many values, too few, wrong names or the other style are refused, and the error names `params`."""
    with pytest.raises(InvalidRequest, match=message) as caught:
        check_params(wanted, params)
    assert all(each.field.startswith("params") for each in caught.value.errors)


@pytest.mark.parametrize(
    ("wanted", "params"),
    [
        (wanting((), 0), []),
        (wanting((), 0), {}),
        (wanting((), 2), [1, None]),
        (wanting(("a",), 0), {"a": 1}),
    ],
)
def test_params_that_fit_pass(wanted: Scanned, params: Any) -> None:
    """Exactly as many values as the statement counts, or exactly its names, are accepted."""
    check_params(wanted, params)


def test_params_become_values() -> None:
    """Numbers, texts, booleans and null stay unchanged; base64 becomes bytes."""
    assert read_params([None, True, 2**63 - 1, -(2**63), 1.5, "é", Base64("-_8=")]) == [
        None, True, 2**63 - 1, -(2**63), 1.5, "é", b"\xfb\xff",
    ]  # fmt: skip
    assert read_params({"a": Base64("")}) == {"a": b""}
    assert read_params(None) == []


@pytest.mark.parametrize(
    ("params", "field"),
    [([1, 2**63], "params[1]"), ({"a": -(2**63) - 1}, "params.a"), ([Base64("*")], "params[0].base64")],
)
def test_a_value_out_of_bounds_is_named(params: Any, field: str) -> None:
    """For an integer over 64 bits or invalid base64, the error names the value's field."""
    with pytest.raises(InvalidRequest) as caught:
        read_params(params)
    assert [each.field for each in caught.value.errors] == [field]


@pytest.mark.parametrize("sql", ["", " \n", ";", "-- a", "/* a */ ; -- b\n ;", "/* open"])
def test_blank_is_blank(sql: str) -> None:
    """White space, comments and semicolons are not a statement."""
    assert is_blank(sql)


@pytest.mark.parametrize(
    "sql", ["select 1", "; x", "/* a */ x", "-- a\nx", "-", "/ * a */", "/* a */ x /* b */", "-- a\n/* b */x"]
)
def test_a_statement_is_not_blank(sql: str) -> None:
    """Any other text is a statement."""
    assert not is_blank(sql)


@pytest.mark.parametrize(
    ("dialect", "sql", "names", "number"),
    [
        ("postgresql", "select a::text, :b::int, x := :c", ("b", "c"), 0),
        ("postgresql", "select $1, $2", (), 2),
        ("postgresql", "select $$ ? :a $$, $x$ $$ ? $x$, ?", (), 1),
        ("postgresql", r"select 'a\', ?, E'it\'s ?', ?", (), 2),
        ("postgresql", "select /* a /* ? */ ? */ ?", (), 1),
        ("postgresql", "select j ?? 'a', j ??| :keys, '??'", ("keys",), 0),
        ("postgresql", "select a$1, b[1:2], ?", (), 1),
        ("postgresql", 'select ":a", U&"?", ?', (), 1),
        ("mysql", r"""select 'it\'s ?', "a""?", "\"?", ?""", (), 1),
        ("mysql", "select 1 # ?\n, ?", (), 1),
        ("mysql", "select 5--?, ? -- ?", (), 2),
        ("mysql", "select @x := :a, @y", ("a",), 0),
        ("mysql", "select $a, a$b, `$c`, $1, '$d', $e_2", ("a", "e_2"), 0),
        ("mysql", "select `?`, /* ? */ ?", (), 1),
    ],
)
def test_each_dialect_has_its_strings(dialect: Dialect, sql: str, names: tuple[str, ...], number: int) -> None:
    """Strings, dollar quotes, comments, casts and operators of each dialect contain no parameter."""
    found = scan(sql, dialect)
    assert (found.names, found.number) == (names, number)


def test_numbers_stand_for_parameters() -> None:
    """`?` and `:name` become `$1`, `$2`; a repeated name is one value; `??` is an operator."""
    assert numbered(scan("select ?, ? where a ?? 'b'", "postgresql"), [5, 6]) == ("select $1, $2 where a ? 'b'", [5, 6])
    assert numbered(scan("select :a, :b, :a", "postgresql"), {"b": 1, "a": 2}) == ("select $1, $2, $1", [2, 1])
    assert numbered(scan("select ?2, ?1", "postgresql"), [5, 6]) == ("select $2, $1", [5, 6])


def test_literals_stand_for_parameters() -> None:
    """If parameters cannot be bound, each value's literal replaces its parameter, and nothing else changes."""
    assert filled(scan("select ?, '?', ?", "mysql"), ["a", 1], repr) == "select 'a', '?', 1"
    named = scan("select :b, :a, :b", "mysql")
    assert filled(named, slot_values(named, {"a": 1, "b": 2}), repr) == "select 2, 1, 2"


@pytest.mark.parametrize("sql", ["select :name, :other, nope", "select ?, ?, nope", "select nope, ?", "select nope"])
def test_places_are_those_of_the_caller(sql: str) -> None:
    """A position that the engine reports becomes a position in the caller's text."""
    scanned = scan(sql, "postgresql")
    values: Params = dict.fromkeys(scanned.names, 1) if scanned.names else [1] * scanned.number
    sent, _ = numbered(scanned, values)
    assert original_position(scanned, sent.index("nope") + 1) == sql.index("nope") + 1


@pytest.mark.parametrize(
    ("dialect", "sql", "second"),
    [
        ("postgresql", "select 1; select 2", True),
        ("postgresql", "select 1; -- ; done", False),
        ("postgresql", "select ';', $$;$$ /* ; */", False),
        ("mysql", "select 1; # ; done", False),
        ("mysql", 'select "a;" ; delete from a', True),
    ],
)
def test_second_statements_are_recognised(dialect: Dialect, sql: str, second: bool) -> None:
    """A semicolon in a string or a comment does not end a statement."""
    assert has_second(sql, dialect) is second


def test_the_first_word_is_behind_comments() -> None:
    """The first word says what a statement does, whatever comments and parentheses precede it."""
    assert scan("/* a */ -- b\n ( select 1)", "postgresql").first == "SELECT"
    assert scan("", "postgresql").first == ""


def test_code_in_a_comment_is_recognised() -> None:
    """MySQL runs the code in some comments: the scanner distinguishes these from the others."""
    assert scan("select 1 /*!50000 into outfile 'a' */", "mysql").forbidden
    assert scan("select 1 /*M! into outfile 'a' */", "mysql").forbidden
    assert not scan("select 1 /* !into outfile 'a' */", "mysql").forbidden
