"""The record of a write under an Idempotency-Key, beside the data that it reports: written by the same transaction.

It shows neither the request, of which it has a MAC, nor the response, which is sealed; both keys are the app's own.
The record is there if and only if the write is. One case differs: statements that MySQL commits by itself commit the
reservation before they run. A reservation that stayed behind expires; the call that made it removes it if it fails.
"""

import hmac
from collections.abc import Callable
from secrets import token_bytes, token_hex
from time import time
from typing import TYPE_CHECKING

from shared.errors import InvalidRequest, KeyReused, StillRunning
from shared.sql.engines import Session, Statement
from shared.sql.errors import SqlError
from shared.sql.values import Row, Scalar
from shared.web import decode_base64, encode_base64

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

DAY_SECONDS = 24 * 60 * 60
RUNNING_SECONDS = 300
"""A reservation older than this belongs to a call that was cut off: no statement may run for so long."""
RESERVED = "~"
"""The first character of a reservation; sealed responses are base64url."""
NONCE_BYTES = 12

FIND = "select digest, answer, created from strongroom_answers where id = ?"
FORGET_OLD = "delete from strongroom_answers where created < ?"
RESERVE = "insert into strongroom_answers (id, digest, answer, created) values (?, ?, ?, ?)"
KEEP = "update strongroom_answers set answer = ? where id = ?"
RELEASE = "delete from strongroom_answers where id = ? and answer = ?"


class Record:
    """The record of one call: `key` identifies it, and belongs to one `request`."""

    def __init__(self, key: str, request: bytes, derive_key: Callable[[str], bytes]) -> None:
        """`derive_key` returns 32 bytes for a purpose."""
        self._derive_key = derive_key
        mac_key = derive_key("sql-idempotency")
        self._id = hmac.digest(mac_key, b"key\0" + key.encode(), "sha256").hex()
        self._digest = hmac.digest(mac_key, b"request\0" + request, "sha256").hex()
        self._reservation = RESERVED + token_hex(16)

    def find(self, session: Session) -> bytes | None:
        """The response of the first call with this key; None if there was none within a day.

        Raises KeyReused if it was another request, StillRunning while it runs, and SqlError where there is no table.
        """
        rows = _run(session, FIND, self._id)
        if not rows or rows[0][2] < time() - DAY_SECONDS:
            return None
        digest, response, created = rows[0]
        if not hmac.compare_digest(str(digest), self._digest):
            raise KeyReused("The Idempotency-Key belongs to another request. Use a new key for each new request.")
        if response is None or response.startswith(RESERVED):
            if created > time() - RUNNING_SECONDS:
                raise StillRunning("The first call with this Idempotency-Key has not ended. Send this one again later.")
            _run(session, RELEASE, self._id, response)
            return None
        return self._opened(str(response))

    def reserve(self, session: Session) -> None:
        """Write the record without a response. Raises SqlError if another call has."""
        now = int(time())
        _run(session, FORGET_OLD, now - DAY_SECONDS)
        _run(session, RESERVE, self._id, self._digest, self._reservation, now)

    def keep(self, session: Session, response: bytes) -> None:
        """Write the response, sealed."""
        nonce = token_bytes(NONCE_BYTES)
        sealed = nonce + self._cipher().encrypt(nonce, response, self._id.encode())
        _run(session, KEEP, encode_base64(sealed), self._id)

    def _opened(self, sealed: str) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            data = decode_base64(sealed, "record")
            return bytes(self._cipher().decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], self._id.encode()))
        except (InvalidTag, InvalidRequest, ValueError):
            raise SqlError("The record of the first call was changed. Send a new Idempotency-Key.") from None

    def _cipher(self) -> "AESGCM":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._derive_key("sql-idempotency-seal"))

    def release(self, session: Session) -> None:
        """Remove this call's own reservation, if it is there."""
        _run(session, RELEASE, self._id, self._reservation)


def _run(session: Session, sql: str, *values: Scalar) -> list[Row]:
    return session.execute(Statement(sql, values), alone=True, max_rows=1).rows
