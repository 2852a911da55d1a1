"""Saved queries in Table Storage, each with a keyed digest: the app runs only rows that it wrote itself."""

import logging
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from time import monotonic

import msgspec

from shared.sql.errors import UnknownQuery
from shared.sql.saved import SavedQuery
from shared.storage import Row, RowConflict, Storage, Table, create, delete, put
from shared.storage.records import Records
from shared.web import encode_base64

TABLE = "strongroomqueries"
PARTITION = "query"
CACHE_SECONDS = 5.0
"""How long another instance may run a query after it was changed or deleted."""
MAX_CACHED = 1000

log = logging.getLogger("strongroom")


class QueryStore:
    """Saved queries by name. Safe to use from many threads.

    `key` returns the 32 bytes of the digests' key. Every method raises StorageUnavailable, StorageForbidden and Busy.
    """

    def __init__(self, storage: Storage, key: Callable[[], bytes], table: str = TABLE) -> None:
        self._table = Table(storage, table)
        self._records = Records(key)
        self._cache: dict[str, tuple[float, SavedQuery]] = {}
        self._lock = Lock()
        self._decoder = msgspec.json.Decoder(SavedQuery)

    def get(self, name: str) -> SavedQuery:
        """The query, at most CACHE_SECONDS old. Raises UnknownQuery."""
        cached = self._cache.get(name)
        if cached is not None and monotonic() - cached[0] < CACHE_SECONDS:
            return cached[1]
        row = self._table.get(PARTITION, name)
        query = None if row is None else self._read(row)
        if query is None:
            self._cache.pop(name, None)
            raise UnknownQuery(f"No saved query has the name {name}. list-queries lists them.")
        self._remember(query)
        return query

    def save(self, query: SavedQuery) -> bool:
        """Save `query`, and replace a query with its name; whether the name was new."""
        document = msgspec.json.encode(query).decode()
        row = {
            "PartitionKey": PARTITION,
            "RowKey": query.name,
            "document": document,
            "digest": encode_base64(self._records.mac(PARTITION, _text(query.name, document))),
        }
        created = True
        try:
            self._table.write(create(row))
        except RowConflict:
            self._table.write(put(row))
            created = False
        self._remember(query)
        return created

    def delete(self, name: str) -> None:
        """Raises UnknownQuery."""
        self._cache.pop(name, None)
        try:
            self._table.write(delete({"PartitionKey": PARTITION, "RowKey": name}))
        except RowConflict:
            raise UnknownQuery(f"No saved query has the name {name}. list-queries lists them.") from None

    def list(self, prefix: str, after: str, limit: int) -> list[SavedQuery]:
        """The first `limit` queries, by name, whose names start with `prefix` and come after `after`."""
        condition = "PartitionKey eq @partition and RowKey gt @after and RowKey ge @from and RowKey lt @to"
        values = {"partition": PARTITION, "after": after, "from": prefix, "to": f"{prefix}\uffff"}
        queries = []
        for row in self._table.query(condition, values, page_rows=limit):
            if (query := self._read(row)) is not None:
                queries.append(query)
            if len(queries) == limit:
                break
        return queries

    def _remember(self, query: SavedQuery) -> None:
        with self._lock:
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            self._cache[query.name] = (monotonic(), query)

    def _read(self, row: Row) -> SavedQuery | None:
        """The query of a row; None, and a warning in the log, if the app did not write the row under this name."""
        name, document = str(row["RowKey"]), str(row.get("document", ""))
        if self._records.matches(row.get("digest"), PARTITION, _text(name, document), encode_base64):
            with suppress(msgspec.DecodeError):
                return self._decoder.decode(document)
        log.warning("The row of a saved query has no valid digest: the app ignores it until the query is saved again.")
        return None


def _text(name: str, document: str) -> str:
    # Neither a name nor JSON contains a line feed, so the parts cannot shift into each other.
    return f"{name}\n{document}"
