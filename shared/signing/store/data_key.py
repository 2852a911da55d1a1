"""The data key: one AES-256 key that seals all private keys. It is stored wrapped by the master key."""

import os
from contextlib import suppress

from shared.errors import Unavailable
from shared.signing.errors import DamagedKey, MasterKeyUnavailable
from shared.signing.master import KEY_BYTES, MasterKey, Wrapped
from shared.storage import Row, RowConflict, Table, create, replace, retry_on_conflict

DATA_KEY_ROW = ("_master", "data-key")
"""Partition and row. No key may have the name `_master`."""


class DataKey:
    """The data key of one table, in memory after its first use. Safe to use from many threads.

    Every method raises StorageUnavailable, StorageForbidden and MasterKeyUnavailable.
    """

    def __init__(self, table: Table, master_key: MasterKey) -> None:
        self._table = table
        self._master_key = master_key
        self._opened: bytes | None = None
        self._derived: dict[str, bytes] = {}

    def get(self, *, create: bool = False) -> bytes:
        """The 32 bytes. Raises DamagedKey if there are none; `create` makes them in an empty table."""
        if self._opened is None:
            row = self._table.get(*DATA_KEY_ROW)
            if row is None and create:
                row = self._create()
            if row is None:
                raise DamagedKey(
                    "The table holds keys, but not the row data-key, which opens them. Restore it from a backup."
                )
            self._opened = self._unwrap(row)
        return self._opened

    def forget(self) -> None:
        """Read it again at the next use: the whole table may have been restored from a backup."""
        self._opened = None

    def derive(self, purpose: str) -> bytes:
        """32 bytes that only this app can derive, the same on every instance: HKDF-SHA256 (RFC 5869) of the data key.

        Each purpose has its own key: MACs of cursors, of records, and so on. Creates the data key if there is none.
        """
        derived = self._derived.get(purpose)
        if derived is None:
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF

            hkdf = HKDF(SHA256(), 32, salt=None, info=f"strongroom {purpose}".encode())
            derived = self._derived[purpose] = hkdf.derive(self.get(create=True))
        return derived

    def probe_storage(self) -> None:
        """Read the row, so that an exception shows if Table Storage is down."""
        self._table.get(*DATA_KEY_ROW)

    def probe_master_key(self) -> None:
        """Unwrap the data key or, if no row can be read, wrap a random one."""
        try:
            row = self._table.get(*DATA_KEY_ROW)
        except Unavailable:
            row = None  # Storage has its own probe.
        if row is None:
            self._master_key.wrap(os.urandom(KEY_BYTES))
        else:
            self._unwrap(row)

    def rotate_master_key(self) -> str:
        """Wrap the data key under the newest master key, and return that key's name. Raises Busy."""

        def rewrap() -> str:
            row = self._table.get(*DATA_KEY_ROW)
            if row is None:
                self.get(create=True)
                raise RowConflict("The data key was just created.")
            wrapped = self._master_key.wrap(self._unwrap(row))
            self._table.write(replace(_row(wrapped), row.etag))
            return wrapped.master_key

        return retry_on_conflict(rewrap)

    def _unwrap(self, row: Row) -> bytes:
        try:
            wrapped = Wrapped(str(row["master_key"]), bytes(row["wrapped"]))
        except (KeyError, TypeError) as error:
            raise MasterKeyUnavailable("The row data-key was changed by something other than this app.") from error
        return self._master_key.unwrap(wrapped)

    def _create(self) -> Row | None:
        """Create the data key once: of many instances that try, the first one's row stays, and all read it."""
        # Keys without a data key are sealed under one that is lost. A new data key would hide that.
        if next(self._table.query("PartitionKey ge @any", {"any": ""}, page_rows=1), None) is None:
            wrapped = self._master_key.wrap(os.urandom(KEY_BYTES))
            with suppress(RowConflict):
                self._table.write(create(_row(wrapped)))
        return self._table.get(*DATA_KEY_ROW)


def _row(wrapped: Wrapped) -> dict[str, object]:
    partition, row = DATA_KEY_ROW
    return {"PartitionKey": partition, "RowKey": row, "master_key": wrapped.master_key, "wrapped": wrapped.data}
