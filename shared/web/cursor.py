"""Opaque cursors: where a listing goes on, bound to the question that it belongs to."""

from hashlib import blake2b
from typing import TypeVar

import msgspec

from shared.errors import InvalidRequest, invalid_field
from shared.web.base64url import decode_base64, encode_base64

Position = TypeVar("Position")


def encode_cursor(position: object, *question: object) -> str:
    """A cursor for `position` (anything JSON holds) in the listing that `question` (its other fields) asked for."""
    data = msgspec.json.encode(position)
    return encode_base64(_digest(question, data) + data)


def decode_cursor(cursor: str, kind: type[Position], *question: object) -> Position:
    """The position in `cursor`. Raises InvalidRequest, naming the field, where it is no cursor of this very listing."""
    try:
        data = decode_base64(cursor, "cursor")
        if data[:8] != _digest(question, data[8:]):
            raise ValueError
        return msgspec.json.decode(data[8:], type=kind)
    except (InvalidRequest, ValueError):
        raise invalid_field(
            "cursor", "is not a cursor of this listing. Take it from the answer before, with the same fields."
        ) from None


def _digest(question: object, position: bytes) -> bytes:
    return blake2b(msgspec.json.encode(question) + position, digest_size=8).digest()
