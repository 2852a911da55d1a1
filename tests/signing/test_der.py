"""DER: strict, linear-time reading, and writing that round-trips."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.signing import der


@given(st.integers(0, 1 << 300))
def test_integers_come_back(value: int) -> None:
    """A non-negative integer reads back as written."""
    assert der.integer(der.elements(der.write_integer(value))[0]) == value


@pytest.mark.parametrize("dotted", ["1.2.840.113549.1.5.13", "2.16.840.1.101.3.4.1.42", "1.3.101.112", "2.999.3"])
def test_object_identifiers_come_back(dotted: str) -> None:
    """An object identifier reads back as written."""
    assert der.oid(der.elements(der.write_oid(dotted))[0]) == dotted


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_sequences_come_back(contents: list[bytes]) -> None:
    """The elements of a sequence read back in order, whatever their length."""
    data = der.write(der.SEQUENCE, *(der.write(der.OCTET_STRING, each) for each in contents))
    assert [each.content for each in der.sequence(data)] == contents


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Any bytes either parse or raise ValueError."""
    try:
        found = der.elements(data)
    except ValueError:
        return
    assert b"".join(each.whole for each in found) == data


@pytest.mark.parametrize(
    "text", ["30", "3080", "308100", "30810131", "3001", "1f0100", "020100ff", "30820001", "3085000000000100"]
)
def test_other_encodings_are_refused(text: str) -> None:
    """Indefinite, overlong and overflowing lengths are not DER, and trailing bytes are refused."""
    with pytest.raises(ValueError):  # noqa: PT011
        der.sequence(bytes.fromhex(text))


@pytest.mark.parametrize("text", ["0200", "020180", "02020001", "0400"])
def test_integers_have_one_form(text: str) -> None:
    """An integer is never empty or negative, and always as short as possible."""
    with pytest.raises(ValueError):  # noqa: PT011
        der.integer(der.elements(bytes.fromhex(text))[0])


def test_many_elements_are_refused() -> None:
    """The number of elements is bounded."""
    with pytest.raises(ValueError, match="more elements"):
        der.elements(b"\x05\x00" * 2000)
