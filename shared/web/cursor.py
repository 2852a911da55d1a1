"""Opaque cursors: the position at which a listing continues, bound to the fields of the request that started it."""

import hmac
from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

import msgspec

from shared.errors import InvalidRequest, invalid_field
from shared.web.base64url import decode_base64, encode_base64

Position = TypeVar("Position")

MAC_BYTES = 16


class Cursors:
    """Issues and reads cursors with a keyed digest, so that the app accepts only cursors that it issued.

    `key` returns the 32 bytes of the key; it is called at first use.
    """

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._key = key
        self._lock = Lock()
        self._decoders: dict[object, msgspec.json.Decoder[Any]] = {}

    def encode(self, position: object, function: str, *fields: object) -> str:
        """A cursor for `position` in the listing of `function` with these fields: those that choose what is listed."""
        data = msgspec.json.encode(position)
        return encode_base64(self._mac((function, *fields), data) + data)

    def decode(self, cursor: str, kind: type[Position], function: str, *fields: object) -> Position:
        """The position in `cursor`. Raises InvalidRequest, naming the field, for a cursor of another function or of
        other fields, and for any other text."""
        try:
            data = decode_base64(cursor, "cursor")
            if not hmac.compare_digest(data[:MAC_BYTES], self._mac((function, *fields), data[MAC_BYTES:])):
                raise ValueError
            position: Position = self._decoder(kind).decode(data[MAC_BYTES:])
        except (InvalidRequest, ValueError):
            raise invalid_field(
                "cursor",
                "This cursor does not belong to this listing. Use the cursor of the previous page, with the same "
                "fields, or leave it out to start again.",
            ) from None
        return position

    def _mac(self, scope: tuple[object, ...], data: bytes) -> bytes:
        # A JSON text never contains a line feed, so the two parts cannot shift into each other.
        return hmac.digest(self._key(), msgspec.json.encode(scope) + b"\n" + data, "sha256")[:MAC_BYTES]

    def _decoder(self, kind: type[Position]) -> msgspec.json.Decoder[Position]:
        # Built under a lock: many threads that look at a type for the first time at once can end the process.
        with self._lock:
            decoder = self._decoders.get(kind)
            if decoder is None:
                decoder = self._decoders[kind] = msgspec.json.Decoder(kind)
        return decoder
