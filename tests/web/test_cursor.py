"""Cursors: opaque, bound to their listing, and issued only by the app."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.web import Cursors, decode_base64, encode_base64

CURSORS = Cursors(lambda: b"k" * 32)


@given(st.lists(st.text() | st.integers(-(2**63), 2**63) | st.none()), st.text(), st.integers(0, 5000))
def test_a_cursor_returns_its_position(position: list[object], prefix: str, limit: int) -> None:
    """With the same fields, a cursor decodes to the position that it was made from."""
    cursor = CURSORS.encode(position, prefix, limit)
    assert CURSORS.decode(cursor, list, prefix, limit) == position


def test_a_cursor_belongs_to_one_listing() -> None:
    """With other fields, or with another name of the listing, a cursor is refused."""
    cursor = CURSORS.encode("m", "keys", "fruit/", None)
    for scope in (("keys", "nuts/", None), ("users", "fruit/", None), ("keys", "fruit/"), ("keysfruit/", None)):
        with pytest.raises(InvalidRequest, match="cursor"):
            CURSORS.decode(cursor, str, *scope)


def test_a_cursor_of_another_key_is_refused() -> None:
    """A cursor that was made with another key is refused, although its form is right."""
    foreign = Cursors(lambda: b"x" * 32).encode("m", "keys")
    with pytest.raises(InvalidRequest, match="cursor"):
        CURSORS.decode(foreign, str, "keys")


@pytest.mark.parametrize(
    "cursor", ["", "x", "not a cursor", "AAAA", CURSORS.encode(1, "q"), CURSORS.encode("a", "q")[:-3]]
)
def test_other_texts_are_refused(cursor: str) -> None:
    """Any other text, a cut cursor and a position of another type are refused, naming the field."""
    with pytest.raises(InvalidRequest) as raised:
        CURSORS.decode(cursor, str, "q")
    assert [error.field for error in raised.value.errors] == ["cursor"]


def test_every_changed_byte_is_noticed() -> None:
    """A cursor with one changed bit is refused, wherever the bit is."""
    data = decode_base64(CURSORS.encode("position", "q"), "cursor")
    for index in range(len(data)):
        changed = data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]
        with pytest.raises(InvalidRequest):
            CURSORS.decode(encode_base64(changed), str, "q")
