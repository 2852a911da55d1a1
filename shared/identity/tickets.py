"""Tickets: the sealed state between the steps of a sign-in or of a registration. Pure.

A ticket is AES-256-GCM over a msgpack document, in base64url. The caller keeps it, so the app stores nothing until a
ticket is spent. A ticket is spent by its `id`: a passkey ticket that was begun from another ticket has the same `id`,
so the first success spends both.
"""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from shared.errors import InvalidRequest
from shared.web import decode_base64, encode_base64

Kind = Literal["password", "sso", "passkey", "registration"]
"""`password`: the password is proven. `sso`: a provider has signed the user in. `passkey`: the challenge of a sign-in.
`registration`: the challenge for a new passkey, which never signs in."""

LIFETIME = timedelta(minutes=5)
NONCE_BYTES = 12
ID_BYTES = 16
MAX_LENGTH = 4096
"""Characters. The longest ticket is far shorter."""
_BOUND = b"strongroom ticket 1"


class Ticket(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The content of a ticket."""

    id: bytes
    """16 random bytes."""
    kind: Kind
    expires: datetime
    user_id: str = ""
    """The user whose factor completes it; "" if any user's passkey does."""
    signed_out_at: datetime | None = None
    """The user's `signed_out_at` when the ticket was issued. Once it has changed, the ticket no longer signs in."""
    amr: tuple[str, ...] = ()
    """The methods that are proven already (RFC 8176)."""
    challenge: bytes = b""
    """For a passkey ticket: the challenge."""
    user_verification: bool = False
    """For a passkey ticket: whether the authenticator must verify the user."""
    code_challenge: str = ""
    """For a ticket after single sign-on: the S256 challenge (RFC 7636) whose verifier must come with it."""
    second_factor: bool = False
    """For a ticket after single sign-on: whether this app requires the user's factor, if there is one."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Ticket)


def seal(key: bytes, ticket: Ticket, nonce: bytes) -> str:
    """The ticket as the caller gets it. `key` has 32 bytes, `nonce` 12 random ones."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return encode_base64(nonce + AESGCM(key).encrypt(nonce, _ENCODER.encode(ticket), _BOUND))


def unseal(key: bytes, text: str, now: datetime) -> Ticket | None:
    """The content of a ticket; None if the app did not issue it, or if it has expired."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(text) > MAX_LENGTH:
        return None
    try:
        sealed = decode_base64(text, "ticket")
        ticket = _DECODER.decode(AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _BOUND))
    except (InvalidRequest, InvalidTag, ValueError):  # ValueError: too short for a nonce and a tag, or another version.
        return None
    return ticket if now < ticket.expires else None
