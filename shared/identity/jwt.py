"""Compact JWS with claims (RFC 7519), parsed strictly: nothing in the result can be trusted before a signature check.

A token never brings its own key. Each name occurs once (RFC 7519, section 4), numbers are JSON numbers, and base64url
has one form per value.
"""

from typing import Any, Literal

import msgspec

from shared.errors import BadRequest, StrongroomError
from shared.web import decode_strictly, parse_object

Reason = Literal[
    "expired",
    "not-yet-valid",
    "wrong-audience",
    "unknown-issuer",
    "bad-signature",
    "missing-scope",
    "revoked",
    "malformed",
]

MAX_CHARACTERS = 64 * 1024
"""The host accepts headers of 32 KiB in total, so no token that anybody can use is longer."""
REFUSED_HEADERS = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64"})
"""Headers that bring a key (RFC 8725, section 3.10), or change the signed bytes (RFC 7797)."""


class TokenRefused(StrongroomError):
    """The token is not valid, for a `reason` that `check-token` reports."""

    def __init__(self, reason: Reason) -> None:
        super().__init__()
        self.reason: Reason = reason


class Parsed(msgspec.Struct, frozen=True):
    """A token before any check of its signature."""

    text: str
    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    """The bytes that the signature is over."""
    signature: bytes

    def __repr__(self) -> str:
        return "Parsed(…)"

    @property
    def algorithm(self) -> str:
        """The header `alg`."""
        return str(self.header["alg"])

    @property
    def key_id(self) -> str | None:
        """The header `kid`."""
        return self.header.get("kid")

    @property
    def type(self) -> str:
        """The header `typ` in lower case, without `application/` (RFC 7515, section 4.1.9); "" where it is absent."""
        return str(self.header.get("typ", "")).lower().removeprefix("application/")


def parse(text: str) -> Parsed:
    """Raises TokenRefused (`malformed`)."""
    if len(text) > MAX_CHARACTERS or text.count(".") != 2:
        raise TokenRefused("malformed")
    parts = text.split(".")
    try:
        header, claims, signature = (
            parse_object(decode_strictly(parts[0])),
            parse_object(decode_strictly(parts[1])),
            decode_strictly(parts[2]),
        )
    except (BadRequest, ValueError):
        raise TokenRefused("malformed") from None
    if not isinstance(header.get("alg"), str) or REFUSED_HEADERS & header.keys():
        raise TokenRefused("malformed")
    for name in ("kid", "typ"):
        if not isinstance(header.get(name, ""), str):
            raise TokenRefused("malformed")
    return Parsed(text, header, claims, text.rpartition(".")[0].encode(), signature)
