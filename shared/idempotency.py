"""`Idempotency-Key`: the first success of a request is kept for a day and returned to every repetition of it.

A record says which request came under a key, by a MAC, and keeps the sealed response; it shows neither. A failure is
not kept, so a repetition runs again. Modelled on draft-ietf-httpapi-idempotency-key-header-07.
"""

import hmac
import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property

import msgspec

from shared.errors import KeyReused, ResponseNotKept, StillRunning, StrongroomError, invalid_field
from shared.storage import Row, RowConflict, Storage, Table, create, delete, replace
from shared.web import Request, Response, Route
from shared.web.decoding import query_pairs

TABLE = "strongroomidempotency"
PARTITION = "request"
KEPT = timedelta(days=1)
ABANDONED = timedelta(minutes=5)
"""Longer than any call may take (the host's limit is 230 s): the instance that ran it has died."""
PROPERTY_BYTES = 64 * 1024
MAX_PROPERTIES = 14
"""A row has at most 1 MiB, in properties of at most 64 KiB."""
NONCE_BYTES = 12

_KEY = re.compile(r"[\x21-\x7e]{1,200}")


class _Success(msgspec.Struct, array_like=True):
    """A response as it is sealed."""

    status: int
    content_type: str
    headers: dict[str, str]
    body: bytes


_DECODER = msgspec.msgpack.Decoder(_Success)


class Idempotency:
    """The records of one storage account. Safe to use from many threads and instances.

    `derive_key` returns 32 bytes for a purpose.
    """

    def __init__(
        self,
        storage: Callable[[], Storage],
        derive_key: Callable[[str], bytes],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        table: str = TABLE,
    ) -> None:
        self._storage = storage
        self._derive_key = derive_key
        self._clock = clock
        self._table_name = table

    def once(self, route: Route, request: Request, call: Callable[[], Response], caller: str = "") -> Response:
        """The response to the first such request, which is `call`'s if this is it.

        Each `caller` has keys of their own: the user of a session, "" for all with a function key.

        Raises KeyReused if the key came with another request, StillRunning, InvalidRequest, and what `call` raises.
        """
        key = request.headers["idempotency-key"]
        if not _KEY.fullmatch(key):
            raise invalid_field("idempotency_key", "The header Idempotency-Key has 1 to 200 visible ASCII characters.")
        mac_key = self._derive_key("idempotency")
        row_key = _mac(mac_key, route.name.encode(), key.encode(), caller.encode())
        row = {
            "PartitionKey": PARTITION,
            "RowKey": row_key,
            "request": _mac(mac_key, *_parts(route, request)),
            "started": self._clock(),
        }
        etag = self._begin(row)
        if isinstance(etag, Response):
            return etag
        try:
            response = call()
        except BaseException:
            self._forget(row, etag)
            raise
        if 200 <= response.status < 300:
            # The call has succeeded, so a record that cannot be kept must not turn it into a failure.
            with suppress(StrongroomError):
                self._table.write(replace(row | self._sealed(row_key, response), etag))
        else:
            self._forget(row, etag)
        return response

    def purge(self, now: datetime) -> int:
        """Remove the records that no repetition needs any more; returns their number."""
        removed = 0
        condition = "PartitionKey eq @partition and started lt @before"
        for row in self._table.query(condition, {"partition": PARTITION, "before": now - KEPT}, select=["RowKey"]):
            with suppress(RowConflict):  # Another instance was faster.
                self._table.write(delete({"PartitionKey": PARTITION, "RowKey": row["RowKey"]}))
                removed += 1
        return removed

    def _begin(self, row: dict[str, object]) -> str | Response:
        """The ETag of our record, or the response to repeat."""
        try:
            return self._table.write(create(row))[0]
        except RowConflict:
            stored = self._table.get(PARTITION, str(row["RowKey"]))
        if stored is None:
            raise StillRunning("The first request has just ended. Send this one again.")
        # A clock that is ahead makes an age negative: then the record counts as if it were that old.
        age = abs(self._clock() - stored["started"])
        if age < KEPT:
            if not hmac.compare_digest(str(stored["request"]), str(row["request"])):
                raise KeyReused("Another request has used this Idempotency-Key within a day. Use a new key.")
            if "p0" in stored:
                return self._opened(stored)
            if age < ABANDONED:
                raise StillRunning("Send this request again later: the response will be that of the first one.")
        try:
            return self._table.write(replace(row, stored.etag))[0]
        except RowConflict:
            raise StillRunning("Another repetition of this request is running.") from None

    def _forget(self, row: dict[str, object], etag: str) -> None:
        # If this fails, repetitions get StillRunning until the record counts as abandoned.
        with suppress(StrongroomError, RowConflict):
            self._table.write(delete(row, etag))

    def _sealed(self, row_key: str, response: Response) -> dict[str, bytes]:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        success = _Success(response.status, response.content_type, response.headers, response.body)
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + AESGCM(self._derive_key("idempotency-seal")).encrypt(
            nonce, msgspec.msgpack.encode(success), row_key.encode()
        )
        pieces = range(0, len(sealed), PROPERTY_BYTES)
        if len(pieces) > MAX_PROPERTIES:
            return {"p0": b""}  # A repetition must still not run again.
        return {f"p{index}": sealed[at : at + PROPERTY_BYTES] for index, at in enumerate(pieces)}

    def _opened(self, stored: Row) -> Response:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        pieces: list[bytes] = []
        while (piece := stored.get(f"p{len(pieces)}")) is not None:
            pieces.append(piece)
        sealed = b"".join(pieces)
        if not sealed:
            raise ResponseNotKept("The first request succeeded. Its response is over 896 KiB, so it was not kept.")
        plaintext = AESGCM(self._derive_key("idempotency-seal")).decrypt(
            sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], str(stored["RowKey"]).encode()
        )
        success = _DECODER.decode(plaintext)
        headers = success.headers | {"idempotent-replayed": "true"}
        return Response(success.status, success.body, success.content_type, headers, "replayed")

    @cached_property
    def _table(self) -> Table:
        return Table(self._storage(), self._table_name)


def _parts(route: Route, request: Request) -> list[bytes]:
    """The parts of a request that must be the same: its function, method, fields, headers and body."""
    fields = [*sorted(request.path_fields.items()), *query_pairs(request.url, route.reserved)]
    headers = [(name, request.headers[name]) for name in route.operation.headers if name in request.headers]
    return [
        route.name.encode(),
        request.method.encode(),
        msgspec.json.encode([fields, headers]),
        request.body,
    ]


def _mac(key: bytes, *parts: bytes) -> str:
    """A MAC of the parts, each with its length before it."""
    mac = hmac.new(key, digestmod="sha256")
    for part in parts:
        mac.update(len(part).to_bytes(8, "big"))
        mac.update(part)
    return mac.hexdigest()
