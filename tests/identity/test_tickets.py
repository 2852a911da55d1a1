"""Sealed tickets: only the app's own open, and only in time."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.identity.tickets import Ticket, seal, unseal
from shared.web import decode_base64, encode_base64

KEY, NONCE = bytes(32), bytes(12)
NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
TICKET = Ticket(
    id=bytes(16), kind="passkey", expires=NOW, user_id="u", amr=("pwd",), signed_out_at=NOW, challenge=b"c" * 32
)


def test_a_ticket_comes_back_until_it_expires() -> None:
    """A sealed ticket opens with the same content until its last microsecond."""
    text = seal(KEY, TICKET, NONCE)
    assert unseal(KEY, text, NOW - timedelta(microseconds=1)) == TICKET
    assert unseal(KEY, text, NOW) is None


@pytest.mark.parametrize("text", ["", "x", "é", "A" * 5000, "AAAA", "A" * 40, "=", "\n"])
def test_anything_else_is_no_ticket(text: str) -> None:
    """A text that the app did not issue is None, whatever it is."""
    assert unseal(KEY, text, NOW - timedelta(seconds=1)) is None


def test_no_byte_of_a_ticket_can_change() -> None:
    """A ticket with one changed byte is None, and so is one under another key."""
    sealed = decode_base64(seal(KEY, TICKET, NONCE), "ticket")
    before = NOW - timedelta(seconds=1)
    for position in range(len(sealed)):
        changed = sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :]
        assert unseal(KEY, encode_base64(changed), before) is None
    assert unseal(b"1" * 32, encode_base64(sealed), before) is None
