"""Sealing: only the sealed bytes come back, and only with the right key and context."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.signing.envelope import open_sealed, seal
from shared.signing.errors import SealBroken

keys = st.binary(min_size=32, max_size=32)
nonces = st.binary(min_size=12, max_size=12)


@given(keys, nonces, st.binary(max_size=200), st.lists(st.text() | st.integers(0, 1 << 53), max_size=3))
def test_what_is_sealed_opens(key: bytes, nonce: bytes, plaintext: bytes, bound: list[object]) -> None:
    """The same key and the same bound values give the plaintext back."""
    assert open_sealed(key, seal(key, nonce, plaintext, *bound), *bound) == plaintext


@given(keys, nonces, st.binary(max_size=50), st.data())
def test_a_changed_byte_breaks_the_seal(key: bytes, nonce: bytes, plaintext: bytes, data: st.DataObject) -> None:
    """If any byte of the sealed form changes, it does not open."""
    sealed = bytearray(seal(key, nonce, plaintext, "name", "row"))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealBroken):
        open_sealed(key, bytes(sealed), "name", "row")


@given(st.binary(max_size=40))
def test_noise_is_no_seal(noise: bytes) -> None:
    """Bytes that were never sealed do not open, however short."""
    with pytest.raises(SealBroken):
        open_sealed(bytes(32), noise)


@pytest.mark.parametrize("bound", [(), ("name",), ("name", "rows"), ("namerow",), ("name", "row", ""), ("row", "name")])
def test_a_seal_is_bound(bound: tuple[str, ...]) -> None:
    """A value sealed for one context does not open in another, however the names are joined."""
    sealed = seal(bytes(32), bytes(12), b"secret", "name", "row")
    with pytest.raises(SealBroken):
        open_sealed(bytes(32), sealed, *bound)


def test_another_key_does_not_open() -> None:
    """Another key breaks the seal."""
    with pytest.raises(SealBroken):
        open_sealed(bytes(31) + b"\1", seal(bytes(32), bytes(12), b"secret"))
