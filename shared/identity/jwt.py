"""Compact JWS with claims (RFC 7519), parsed strictly: nothing in the result can be trusted before a signature check.

A token never brings its own key. Each name occurs once (RFC 7519, section 4), numbers are JSON numbers, and base64url
has one form per value.
"""

import json
import re
from typing import Any, Literal

import msgspec

from shared.errors import InvalidRequest, StrongroomError
from shared.web import decode_base64

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
"""Headers that bring a key (RFC 8725, section 3.10), or change what is signed (RFC 7797)."""

_PART = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_LAST = {2: "AQgw", 3: "AEIMQUYcgkosw048"}


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
    header, claims, signature = _object(_decoded(parts[0])), _object(_decoded(parts[1])), _decoded(parts[2])
    if not isinstance(header.get("alg"), str) or REFUSED_HEADERS & header.keys():
        raise TokenRefused("malformed")
    for name in ("kid", "typ"):
        if not isinstance(header.get(name, ""), str):
            raise TokenRefused("malformed")
    return Parsed(text, header, claims, text.rpartition(".")[0].encode(), signature)


def _decoded(part: str) -> bytes:
    """Base64url as in RFC 7515, section 2: no padding, no other characters, and only one form of each value."""
    rest = len(part) % 4
    if not _PART.fullmatch(part) or rest == 1 or (rest and part[-1] not in _LAST[rest]):
        raise TokenRefused("malformed")
    try:
        return decode_base64(part, "token")
    except InvalidRequest:
        raise TokenRefused("malformed") from None


def _object(data: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError
        return found

    try:
        # msgspec refuses NaN, numbers out of range and broken surrogates, which Python's json accepts.
        value = msgspec.json.decode(data)
        json.loads(data, object_pairs_hook=unique)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise TokenRefused("malformed") from None
    if not isinstance(value, dict):
        raise TokenRefused("malformed")
    return value
