"""Cursors: opaque, bound to their listing, and refused otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.web import decode_cursor, encode_cursor


@given(st.lists(st.text() | st.integers(-(2**53), 2**53)), st.text(), st.integers(0, 100))
def test_a_cursor_comes_back(position: list[str | int], prefix: str, limit: int) -> None:
    """A cursor gives its position back to the same question."""
    cursor = encode_cursor(position, prefix, limit)
    assert decode_cursor(cursor, list, prefix, limit) == position


def test_a_cursor_belongs_to_its_question() -> None:
    """A cursor of one listing is refused by another, naming the field."""
    cursor = encode_cursor("m", "fruit/", None)
    with pytest.raises(InvalidRequest) as problem:
        decode_cursor(cursor, str, "nuts/", None)
    assert problem.value.errors[0].field == "cursor"


@pytest.mark.parametrize(
    "cursor", ["", "x", "not a cursor", "AAAA", encode_cursor(1, "q"), encode_cursor("a", "q")[:-3]]
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    """Anything that is not a cursor of ours, or not of the expected kind, is refused, naming the field."""
    with pytest.raises(InvalidRequest) as problem:
        decode_cursor(cursor, str, "q")
    assert problem.value.errors[0].field == "cursor"
