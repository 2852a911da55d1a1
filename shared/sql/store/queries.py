"""What this capability keeps in Table Storage: saved queries, first answers to be replayed, and the cursors' secret."""

import hmac
import secrets
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from shared.errors import StorageUnavailable, Unavailable
from shared.sql.errors import UnknownQuery
from shared.sql.saved import SavedQuery
from shared.storage import Storage, storage_errors

if TYPE_CHECKING:
    from azure.data.tables import TableClient

TABLE = "strongroomqueries"
QUERY, SECRET, ANSWER = "query", "secret", "answer"
"""The partitions: rows by a query's name, one row, and rows by the digest of an idempotency key."""
CACHE_SECONDS = 5.0
"""How long a query that was changed or deleted may still run on another instance."""
CACHED = 1000
PAUSE_SECONDS = 10


class QueryStore:
    """Saved queries and what goes with them. Safe to use from many threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._cache: dict[str, tuple[float, SavedQuery]] = {}
        self._lock = Lock()
        self._secret = b""
        self._failed = float("-inf")

    # ---- Saved queries.

    def get(self, name: str) -> SavedQuery:
        """Raises UnknownQuery. At most CACHE_SECONDS old."""
        found = self._cache.get(name)
        if found is not None and monotonic() - found[0] < CACHE_SECONDS:
            return found[1]
        row = self._row(QUERY, name)
        if row is None:
            self._cache.pop(name, None)
            raise UnknownQuery(f"No query is saved as {name}.")
        query = _read(row)
        self._remember(query)
        return query

    def save(self, query: SavedQuery) -> bool:
        """Save `query` in place of what had its name; whether there was nothing."""
        entity = {"PartitionKey": QUERY, "RowKey": query.name, "document": msgspec.json.encode(query).decode()}
        with storage_errors():
            from azure.core.exceptions import ResourceExistsError
            from azure.data.tables import UpdateMode

            try:
                self._with_table(lambda: self._table.create_entity(entity))
                created = True
            except ResourceExistsError:
                self._table.upsert_entity(entity, mode=UpdateMode.REPLACE)
                created = False
        self._remember(query)
        return created

    def delete(self, name: str) -> None:
        """Raises UnknownQuery."""
        self._cache.pop(name, None)
        with storage_errors():
            from azure.core import MatchConditions
            from azure.core.exceptions import ResourceNotFoundError

            try:
                row = self._table.get_entity(QUERY, name, select=["RowKey"])
                self._table.delete_entity(
                    QUERY, name, etag=row.metadata["etag"], match_condition=MatchConditions.IfNotModified
                )
            except ResourceNotFoundError:
                raise UnknownQuery(f"No query is saved as {name}.") from None

    def list(self, prefix: str, after: str, limit: int) -> list[SavedQuery]:
        """The first `limit` queries, by name, whose names start with `prefix` and come after `after`."""
        asked = "PartitionKey eq @partition and RowKey gt @after and RowKey ge @from and RowKey lt @to"
        values = {"partition": QUERY, "after": after, "from": prefix, "to": f"{prefix}\uffff"}
        with storage_errors():
            from azure.core.exceptions import ResourceNotFoundError

            try:
                rows = self._table.query_entities(asked, parameters=values, results_per_page=min(limit, 1000))
                return [_read(row) for row, _ in zip(rows, range(limit), strict=False)]
            except ResourceNotFoundError:
                return []

    def _remember(self, query: SavedQuery) -> None:
        with self._lock:
            if len(self._cache) >= CACHED:
                self._cache.clear()
            self._cache[query.name] = (monotonic(), query)

    # ---- The cursors' secret.

    def sign(self, data: bytes) -> bytes:
        """16 bytes that only this app can make of `data`. Raises StorageUnavailable or StorageForbidden."""
        if not self._secret:
            # While storage is out, not every call has to wait for that to be found out again.
            if monotonic() - self._failed < PAUSE_SECONDS:
                raise StorageUnavailable(
                    "The cursors' secret could not be read a moment ago.", retry_after=PAUSE_SECONDS
                )
            try:
                self._secret = self._load_secret()
            except Unavailable:
                self._failed = monotonic()
                raise
        return hmac.digest(self._secret, data, "sha256")[:16]

    def _load_secret(self) -> bytes:
        row = self._row(SECRET, "cursor")
        if row is None:
            made = {"PartitionKey": SECRET, "RowKey": "cursor", "value": secrets.token_bytes(32)}
            with storage_errors():
                from azure.core.exceptions import ResourceExistsError

                with suppress(ResourceExistsError):  # Another instance was quicker: theirs stands.
                    self._with_table(lambda: self._table.create_entity(made))
            row = self._row(SECRET, "cursor")
        return bytes(row["value"]) if row is not None else b""

    # ---- The table.

    @cached_property
    def _table(self) -> "TableClient":
        with storage_errors():
            return self._storage.table(TABLE)

    def _row(self, partition: str, row: str) -> Any | None:
        with storage_errors():
            from azure.core.exceptions import ResourceNotFoundError

            try:
                return self._table.get_entity(partition, row)
            except ResourceNotFoundError:
                return None

    def _with_table(self, write: Callable[[], object]) -> None:
        """`write`, making the table first where there is none: only the very first write needs it."""
        from azure.core.exceptions import HttpResponseError, ResourceExistsError

        try:
            write()
        except HttpResponseError as error:
            if error.status_code != 404:
                raise
            with suppress(ResourceExistsError):
                self._table.create_table()
            write()


def _read(row: Any) -> SavedQuery:
    return msgspec.json.decode(str(row["document"]), type=SavedQuery)
