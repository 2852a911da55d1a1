"""What is known of a statement and its parameters before a database sees them."""

from typing import Any

import pytest

from shared.errors import InvalidRequest
from shared.sql.statements import Base64, Parameters, check_params, find_parameters, is_blank, read_params


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
        ("select 'open ?", (), 0),
        ("select a->'$.b', :c", ("c",), 0),
        ("select a$b, é, :größe", ("größe",), 0),
        ("select x'00', 1e5, :a", ("a",), 0),
    ],
)
def test_parameters_are_found(sql: str, names: tuple[str, ...], number: int) -> None:
    """Parameters are those of the code; what looks like one in a string, a quoted name or a comment is none."""
    assert find_parameters(sql, "sqlite") == Parameters(names, number)


def test_two_styles_at_once_are_refused() -> None:
    """A statement names its parameters or counts them, and does not do both."""
    with pytest.raises(InvalidRequest, match="sql: has parameters by position and by name"):
        find_parameters("select ?, :a", "sqlite")


@pytest.mark.parametrize(
    ("wanted", "given", "said"),
    [
        (Parameters((), 2), [1], "the statement takes 2 values, and 1 came"),
        (Parameters((), 1), [1, 2], "the statement takes 1 value, and 2 came"),
        (Parameters((), 0), [1], "the statement takes no values, and 1 came"),
        (Parameters((), 1), {"a": 1}, "the statement takes a list: 1 value"),
        (Parameters(("a", "b"), 0), [1, 2], "give an object with a, b"),
        (Parameters(("a", "b"), 0), {"a": 1}, r"params\.b is missing"),
        (Parameters(("a",), 0), {"a": 1, "A": 1}, r"params\.A is not in the statement"),
        (Parameters((), 0), {"a": 1}, r"params\.a is not in the statement"),
    ],
)
def test_params_that_do_not_fit_are_refused(wanted: Parameters, given: Any, said: str) -> None:
    """Values too many, too few, misnamed or of the other style are refused, naming `params`."""
    with pytest.raises(InvalidRequest, match=said) as caught:
        check_params(wanted, given)
    assert all(each.field.startswith("params") for each in caught.value.errors)


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (Parameters((), 0), []),
        (Parameters((), 0), {}),
        (Parameters((), 2), [1, None]),
        (Parameters(("a",), 0), {"a": 1}),
    ],
)
def test_params_that_fit_pass(wanted: Parameters, given: Any) -> None:
    """As many values as the statement counts, or just the names that it has, pass."""
    check_params(wanted, given)


def test_params_become_values() -> None:
    """Numbers, texts, booleans and null stay what they are; base64 becomes bytes."""
    assert read_params([None, True, 2**63 - 1, -(2**63), 1.5, "é", Base64("-_8=")]) == [
        None, True, 2**63 - 1, -(2**63), 1.5, "é", b"\xfb\xff",
    ]  # fmt: skip
    assert read_params({"a": Base64("")}) == {"a": b""}
    assert read_params(None) == []


@pytest.mark.parametrize(
    ("given", "field"),
    [([1, 2**63], "params[1]"), ({"a": -(2**63) - 1}, "params.a"), ([Base64("*")], "params[0].base64")],
)
def test_a_value_out_of_bounds_is_named(given: Any, field: str) -> None:
    """An integer over 64 bits, or bytes that are no base64, is refused by its place."""
    with pytest.raises(InvalidRequest) as caught:
        read_params(given)
    assert [each.field for each in caught.value.errors] == [field]


@pytest.mark.parametrize("sql", ["", " \n", ";", "-- a", "/* a */ ; -- b\n ;", "/* open"])
def test_blank_is_blank(sql: str) -> None:
    """White space, comments and semicolons are no statement."""
    assert is_blank(sql)


@pytest.mark.parametrize(
    "sql", ["select 1", "; x", "/* a */ x", "-- a\nx", "-", "/ * a */", "/* a */ x /* b */", "-- a\n/* b */x"]
)
def test_a_statement_is_not_blank(sql: str) -> None:
    """Anything else is one."""
    assert not is_blank(sql)
