"""Device tokens."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.passwords.devices import LIFETIME, issue_token, read_token

KEY, ID, NOW = bytes(range(32)), bytes(range(16)), datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = issue_token(KEY, ID, "user", "password", NOW)


def test_a_token_names_its_device() -> None:
    """A token yields the device's id, for this user and this password only, for 30 days."""
    assert read_token(KEY, TOKEN, "user", "password", NOW) == ID
    assert read_token(KEY, TOKEN, "user", "password", NOW + LIFETIME - timedelta(seconds=1)) == ID
    assert read_token(KEY, TOKEN, "user", "password", NOW + LIFETIME) is None
    assert read_token(KEY, TOKEN, "other", "password", NOW) is None
    assert read_token(KEY, TOKEN, "user", "other", NOW) is None
    assert read_token(KEY, TOKEN, "user\npass", "word", NOW) is None
    assert read_token(bytes(32), TOKEN, "user", "password", NOW) is None


def test_a_token_of_a_clock_ahead_is_refused() -> None:
    """A token that a fast clock issued for longer than 30 days is not valid yet."""
    ahead = issue_token(KEY, ID, "user", "password", NOW + timedelta(days=2))
    assert read_token(KEY, ahead, "user", "password", NOW) is None


@given(st.integers(0, len(TOKEN) * 8 - 1))
def test_a_changed_token_is_refused(bit: int) -> None:
    """A token with any bit changed is not valid."""
    changed = bytearray(TOKEN)
    changed[bit // 8] ^= 1 << bit % 8
    assert read_token(KEY, bytes(changed), "user", "password", NOW) is None


@given(st.binary(max_size=80))
def test_no_bytes_break_it(token: bytes) -> None:
    """Any bytes are refused without an exception of another type."""
    assert read_token(KEY, token, "user", "password", NOW) is None
