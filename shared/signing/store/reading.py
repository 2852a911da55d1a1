"""Reads keys from Table Storage: by name, by `kid`, in pages, and all published ones; and notes which are damaged."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Literal

import msgspec

from shared.signing import keyring
from shared.signing.errors import DamagedKey, TooCostly, UnknownKey
from shared.signing.keyring import KeyMetadata
from shared.signing.master import MasterKey
from shared.signing.store.cache import KeyCache
from shared.signing.store.data_key import DataKey
from shared.signing.store.rows import METADATA_ROW, TABLE, Key, KeyRows, KeyVersion, StoredMetadata
from shared.storage import Row, Storage, Table

DEFAULT_KEY = "default"
OWN_PREFIX = "_"
"""Names of the app's own keys begin with it."""
MAX_KNOWN_KIDS = 10_000
MAX_LOOKUP_READS = 2
"""Keys that a look-up by `kid` reads, beside the request for the index: three requests in all."""
MAX_PUBLISHED_VERSIONS = 500
"""Versions in the JWK Set. To load and encode that many takes under 100 ms of CPU."""
PROBED_ROWS = 1000
"""Rows that one health probe examines: one request."""
NAME = re.compile(r"_?[a-z0-9][a-z0-9-]{0,62}")
AFTER_ALL_NAMES = "~"
"""Sorts after every character of a name."""

log = logging.getLogger("strongroom")


def utc_now() -> datetime:
    """The present time, for everything that is stored."""
    return datetime.now(UTC)


class KeyReader:
    """Reads the keys of one storage account. Safe to use from many threads.

    Every method raises StorageUnavailable, StorageForbidden, MasterKeyUnavailable and DamagedKey, besides the errors
    that it names.
    """

    def __init__(
        self,
        storage: Storage,
        master_key: MasterKey,
        cache_seconds: float,
        table: str = TABLE,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        rows = Table(storage, table)
        self.data_key = DataKey(rows, master_key)
        self.rows = KeyRows(rows, self.data_key)
        self.cache_seconds = cache_seconds
        self.clock = clock
        self.cache = KeyCache(self._read, cache_seconds)
        self._names: dict[str, str] = {}
        self._damaged: set[str] = set()
        self._probed = ("", "")

    def get(self, name: str) -> Key:
        """The key `name`, as it was at most `cache_seconds` ago. Raises UnknownKey."""
        return self.cache.get(name)

    def refresh(self, name: str, began: float | None = None) -> Key:
        """The key `name` as it was at `began` (monotonic clock), by default now, or later. Raises UnknownKey.

        Concurrent callers share reads.
        """
        return self.cache.refresh(name, began)

    def knows(self, kid: str) -> bool:
        """Whether `find` probably needs no request to the index."""
        return kid in self._names

    def find(self, kid: str, began: float) -> Iterator[tuple[Key, int]]:
        """The keys and versions that have this `key_id` or alias; a caller takes the first that permits its operation.

        `began` is when the call began (monotonic clock): a key read before may lack a version that another instance
        has created since. Raises TooCostly where many keys would have to be read.
        """
        known = self._names.get(kid)
        if known is not None:
            with suppress(UnknownKey, DamagedKey):
                key = self.get(known)
                if kid in key.numbers:
                    yield key, key.numbers[kid]
        reads = 0
        for name in self.rows.names_with(kid):
            if name == known or name.startswith(OWN_PREFIX):
                continue
            with suppress(UnknownKey, DamagedKey):
                if not self.cache.is_fresh(name):
                    reads = _counted(reads)
                key = self.get(name)
                if kid not in key.numbers and key.read_at < began:
                    reads = _counted(reads)
                    key = self.refresh(name)
                if kid in key.numbers:
                    if len(self._names) >= MAX_KNOWN_KIDS:
                        self._names.clear()
                    self._names[kid] = name
                    yield key, key.numbers[kid]

    def page(
        self, prefix: str, after: str, limit: int, state: Literal["active", "deleted"] = "active"
    ) -> tuple[list[StoredMetadata], bool]:
        """At most `limit` keys by name, from the one behind `after`, and whether more follow.

        Leaves out the app's own keys, and damaged ones, which it logs.
        """
        listed: list[StoredMetadata] = []
        is_after = bool(after) and after >= prefix
        rows = self.rows.metadata_rows(
            max(prefix, after), prefix + AFTER_ALL_NAMES, min(limit + 1, 1000), after=is_after
        )
        now = self.clock()
        for row in rows:
            stored = None if row["PartitionKey"].startswith(OWN_PREFIX) else self._undamaged(row)
            if stored is None or keyring.is_gone(stored.metadata, now):
                continue
            if (stored.metadata.deleted is not None) != (state == "deleted"):
                continue
            if len(listed) == limit:
                return listed, True
            listed.append(stored)
        return listed, False

    def published(self) -> list[Key]:
        """Every published key as it is now, by name, without the app's own and without damaged ones, which it logs.

        Takes up to three requests. Raises TooCostly where there are more than MAX_PUBLISHED_VERSIONS.
        """
        read_at = monotonic()
        listed = []
        count = 0
        for row in self.rows.published_rows(versions=False):
            stored = None if row["PartitionKey"].startswith(OWN_PREFIX) else self._undamaged(row)
            if stored is None or stored.metadata.deleted is not None or not stored.metadata.published:
                continue
            count += stored.metadata.latest_version
            if count > MAX_PUBLISHED_VERSIONS:
                raise TooCostly(
                    f"More than {MAX_PUBLISHED_VERSIONS} versions of keys are published. "
                    "Get the keys of one name from /api/keys/{name}/jwks."
                )
            listed.append(stored)
        stale = [each.name for each in listed if not self._is_cached(each)]
        if len(stale) > MAX_LOOKUP_READS:
            self._read_published([each for each in listed if each.name in set(stale)], read_at)
        versions = []
        for stored in listed:
            key = self.cache.peek(stored.name) if self._is_cached(stored) else None
            try:
                versions.append(key or self.refresh(stored.name))
            except UnknownKey:
                continue  # It was deleted meanwhile.
            except DamagedKey as error:
                self._note_damage(stored.name, error)
        return [key for key in versions if key.metadata.published]

    def _is_cached(self, stored: StoredMetadata) -> bool:
        key = self.cache.peek(stored.name)
        return key is not None and key.row_etag == stored.row_etag

    def _read_published(self, keys: Sequence[StoredMetadata], read_at: float) -> None:
        """Read these keys into the cache together, as far as their rows are marked as published."""
        versions: dict[str, dict[int, KeyVersion]] = {each.name: {} for each in keys}
        ids = {each.name: each.metadata.id for each in keys}
        for row in self.rows.published_rows(versions=True):
            name = row["PartitionKey"]
            if name in ids:
                with suppress(DamagedKey):  # It is read by itself then, and reported.
                    version = self.rows.open_version(row, ids[name])
                    versions[name][version.document.number] = version
        for stored in keys:
            if len(versions[stored.name]) == stored.metadata.latest_version:
                self.cache.put(self.rows.assembled(stored, versions[stored.name], read_at))

    def derive_key(self, purpose: str) -> bytes:
        """32 bytes for one purpose of the app. See `DataKey.derive`."""
        return self.data_key.derive(purpose)

    def probe(self) -> None:
        """Raise an exception if Table Storage is down."""
        self.data_key.probe_storage()

    def probe_master_key(self) -> None:
        """Raise an exception if the master key is not available."""
        self.data_key.probe_master_key()

    def probe_keys(self) -> None:
        """Raise DamagedKey if a key is damaged, as far as this instance knows.

        Each probe examines PROBED_ROWS more rows, so that a few probes have examined all.
        """
        rows = self.rows.rows_after(*self._probed, PROBED_ROWS)
        ids: dict[str, str] = {}
        damaged: set[str] = set()
        for row in rows:
            name = row["PartitionKey"]
            if not NAME.fullmatch(name) or name in damaged:
                continue
            try:
                if row["RowKey"] == METADATA_ROW:
                    ids[name] = self.rows.open_metadata(row).metadata.id
                else:
                    if name not in ids and (stored := self.rows.metadata(name)):
                        ids[name] = stored.metadata.id
                    self.rows.open_version(row, ids.get(name, ""))
            except DamagedKey as error:
                self._note_damage(name, error)
                damaged.add(name)
        self._damaged -= {row["PartitionKey"] for row in rows} - damaged
        whole_page = len(rows) == PROBED_ROWS
        self._probed = (rows[-1]["PartitionKey"], rows[-1]["RowKey"]) if whole_page else ("", "")
        if not rows:
            self._damaged.clear()
        if self._damaged:
            raise DamagedKey(f"Damaged keys: {', '.join(sorted(self._damaged)[:20])}.")

    def _read(self, name: str, known: Key | None) -> Key:
        if not NAME.fullmatch(name):
            raise unknown(name)
        read_at = monotonic()
        if known is not None and self.rows.row_etag(name) == known.row_etag:
            return msgspec.structs.replace(known, read_at=read_at)
        rows = [row for row in self.rows.all_of(name) if row["RowKey"] >= METADATA_ROW]
        if not rows:
            raise unknown(name)
        try:
            key = self.rows.key(name, rows, read_at, known)
        except DamagedKey as error:
            self._note_damage(name, error)
            raise
        self._damaged.discard(name)
        if key.metadata.deleted is not None:
            raise unknown(name, key.metadata)
        return key

    def _undamaged(self, row: Row) -> StoredMetadata | None:
        """The metadata in a row; None, and a line in the log, if it is damaged."""
        try:
            return self.rows.open_metadata(row)
        except DamagedKey as error:
            self._note_damage(row["PartitionKey"], error)
            return None

    def _note_damage(self, name: str, error: DamagedKey) -> None:
        if name not in self._damaged:
            log.error(msgspec.json.encode({"damaged_key": name, "detail": error.detail}).decode())
            self._damaged.add(name)
            self.data_key.forget()  # The whole table may have been restored from a backup, with its own data key.


def _counted(reads: int) -> int:
    if reads >= MAX_LOOKUP_READS:
        raise TooCostly("Many keys have this kid, and finding the right one takes too many requests. Send `key`.")
    return reads + 1


def unknown(name: str, metadata: KeyMetadata | None = None) -> UnknownKey:
    if metadata is not None:
        return UnknownKey(f"Key {name} was deleted. Within 30 days, restore-key brings it back.")
    hint = " The first sign creates it." if name == DEFAULT_KEY else ""
    return UnknownKey(f"The key {name} does not exist.{hint}")
