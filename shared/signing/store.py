"""Keys in Table Storage. Private keys rest sealed under the data key, and that one wrapped by the master key.

One table, a partition for each key: the row `ring` says what may change about a key, a row for each version what may
not. A row's document is bound to its place and content by its seal, so that a changed byte is noticed.
"""

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import msgspec

from shared.errors import DamagedKey, MasterKeyUnavailable, SealBroken, Unavailable, UnknownKey
from shared.signing import algorithms, formats
from shared.signing.envelope import NONCE_BYTES, open_sealed, seal
from shared.signing.keyring import KeyType, Ring, Version
from shared.signing.master import KEY_BYTES, MasterKey, Wrapped
from shared.storage import Storage, storage_errors

if TYPE_CHECKING:
    from azure.data.tables import TableClient

    from shared.signing.algorithms import PrivateKey, PublicKey

TABLE = "strongroomkeys"
RING_ROW = "ring"
DATA_KEY_ROW = ("_master", "data-key")
"""No key's name begins with an underscore."""
MAX_CACHED = 1000
"""Keys in memory; the one longest there goes first."""
DEFAULT_KEY = "default"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class KeyVersion:
    """One version of a key. Its key objects are made at first use, and kept: loading costs more than signing."""

    def __init__(self, document: Version, sealed: bytes, unseal: Callable[[], bytes]) -> None:
        self.document = document
        self.sealed = sealed
        self._unseal = unseal

    @cached_property
    def private_key(self) -> "PrivateKey":
        from cryptography.hazmat.primitives.serialization import load_der_private_key

        # The check of an RSA key costs 60 signatures. Ours was checked when it was made, and its seal holds.
        made_here = self.document.origin == "made"
        return cast("PrivateKey", load_der_private_key(self._unseal(), None, unsafe_skip_rsa_key_validation=made_here))

    @cached_property
    def public_key(self) -> "PublicKey":
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        return cast("PublicKey", load_der_public_key(self.document.public_key))


class Key(msgspec.Struct, frozen=True):
    """A key as it was when it was read."""

    name: str
    ring: Ring
    versions: Mapping[int, KeyVersion]
    etag: str
    read_at: float
    """By the monotonic clock, before the read began."""


class KeyStore:
    """The keys of one storage account. Safe to use from many threads."""

    def __init__(self, storage: Storage, master_key: MasterKey, cache_seconds: float, table: str = TABLE) -> None:
        self._storage = storage
        self._table_name = table
        self._master_key = master_key
        self._cache_seconds = cache_seconds
        self._lock = Lock()
        self._creating = Lock()
        self._keys: dict[str, Key] = {}
        self._reads: dict[str, Future[Key]] = {}
        self._opened: bytes | None = None

    def get(self, name: str) -> Key:
        """The key `name`, as it was at most `cache_seconds` ago.

        Raises UnknownKey, DamagedKey, MasterKeyUnavailable, StorageUnavailable, StorageForbidden.
        """
        key = self._keys.get(name)
        if key is not None and monotonic() - key.read_at < self._cache_seconds:
            return key
        return self.refresh(name)

    def refresh(self, name: str) -> Key:
        """The key `name`, as it is now. Many who ask at once share one read. Raises as `get` does."""
        for _ in range(2):
            with self._lock:
                reading = self._reads.get(name)
                if reading is None:
                    mine: Future[Key] = Future()
                    self._reads[name] = mine
                    break
            try:
                return reading.result()
            except UnknownKey:
                continue  # That read began before we asked: the key may have been made since.
        else:
            raise _unknown(name)
        try:
            key = self._read(name)
        except BaseException as error:
            with self._lock:
                del self._reads[name]
                if not isinstance(error, Unavailable):
                    self._keys.pop(name, None)
            mine.set_exception(error)
            raise
        with self._lock:
            del self._reads[name]
            self._keys.pop(name, None)
            self._keys[name] = key
            if len(self._keys) > MAX_CACHED:
                del self._keys[next(iter(self._keys))]
        mine.set_result(key)
        return key

    def get_or_create_default(self) -> Key:
        """The key `default`, made if there is none: once, however many ask at the same time. Raises as `get` does."""
        try:
            return self.get(DEFAULT_KEY)
        except UnknownKey:
            pass
        with self._creating:  # Making an RSA key takes a while; one thread does it.
            try:
                return self.get(DEFAULT_KEY)
            except UnknownKey:
                self._create(DEFAULT_KEY, "RSA-3072", published=True)
        return self.get(DEFAULT_KEY)

    def probe(self) -> None:
        """Ask Table Storage for something small. Raises StorageUnavailable or StorageForbidden."""
        self._row(*DATA_KEY_ROW)

    def probe_master_key(self) -> None:
        """Unwrap the data key, or, where none can be read, wrap a random one. Raises MasterKeyUnavailable."""
        try:
            row = self._row(*DATA_KEY_ROW)
        except Unavailable:
            row = None  # Storage has a probe of its own.
        if row is None:
            self._master_key.wrap(os.urandom(KEY_BYTES))
        else:
            self._unwrap(row)

    # Reading

    def _read(self, name: str) -> Key:
        if not _NAME.fullmatch(name):
            raise _unknown(name)
        began = monotonic()
        known = self._keys.get(name)
        if known is not None:
            row = self._row(name, RING_ROW)
            if row is not None and row.metadata["etag"] == known.etag:
                return msgspec.structs.replace(known, read_at=began)
        rows = {row["RowKey"]: row for row in self._rows(name)}
        if not rows:
            raise _unknown(name)
        data_key = self._data_key()
        ring_row = rows.get(RING_ROW)
        if ring_row is None:
            raise DamagedKey(f"Key {name} has versions, but its row {RING_ROW} is gone.")
        with _seals_of(name):
            document = ring_row["document"]
            open_sealed(data_key, ring_row["seal"], name, RING_ROW, document)
            ring = msgspec.json.decode(document, type=Ring)
            versions = {}
            for number in range(1, ring.latest_version + 1):
                version = self._version(name, rows[_version_row(number)], data_key)
                if known and number in known.versions and known.versions[number].sealed == version.sealed:
                    version = known.versions[number]  # Its key objects are loaded.
                versions[number] = version
        return Key(name, ring, versions, ring_row.metadata["etag"], began)

    def _version(self, name: str, row: Mapping[str, Any], data_key: bytes) -> KeyVersion:
        document, sealed = row["document"], row["sealed"]

        def unseal() -> bytes:
            return open_sealed(data_key, sealed, name, row["RowKey"], document)

        unseal()  # Everything that is read from the row is what was written there.
        return KeyVersion(msgspec.json.decode(document, type=Version), sealed, unseal)

    def _row(self, partition: str, row: str) -> Any | None:
        from azure.core.exceptions import ResourceNotFoundError

        with storage_errors():
            try:
                return self._table.get_entity(partition, row)
            except ResourceNotFoundError:
                return None

    def _rows(self, partition: str) -> list[Any]:
        from azure.core.exceptions import ResourceNotFoundError

        with storage_errors():
            try:
                return list(self._table.query_entities("PartitionKey eq @name", parameters={"name": partition}))
            except ResourceNotFoundError:
                return []

    @cached_property
    def _table(self) -> "TableClient":
        with storage_errors():
            return self._storage.table(self._table_name)

    # Writing

    def _create(self, name: str, key_type: KeyType, *, published: bool) -> None:
        """Make a key and its first version. Where another was quicker, theirs stays."""
        now = datetime.now(UTC)
        private_key = algorithms.generate(key_type)
        ring = Ring(
            id=secrets.token_hex(16), type=key_type, purpose="sign", created=now, latest_version=1, published=published
        )
        rows = [self._ring_row(name, ring), self._version_row(name, 1, now, private_key)]
        try:
            self._transact([("create", row) for row in rows])
        except _Conflict:
            self.refresh(name)

    def _ring_row(self, name: str, ring: Ring) -> dict[str, Any]:
        document = msgspec.json.encode(ring).decode()
        sealed = seal(self._data_key(create=True), os.urandom(NONCE_BYTES), b"", name, RING_ROW, document)
        return {"PartitionKey": name, "RowKey": RING_ROW, "document": document, "seal": sealed}

    def _version_row(self, name: str, number: int, now: datetime, private_key: "PrivateKey") -> dict[str, Any]:
        public_key = private_key.public_key()
        version = Version(
            number=number,
            created=now,
            key_id=formats.thumbprint(public_key),
            public_key=formats.to_spki(public_key),
            origin="made",
        )
        document, row = msgspec.json.encode(version).decode(), _version_row(number)
        plaintext = formats.to_pkcs8(private_key)
        sealed = seal(self._data_key(create=True), os.urandom(NONCE_BYTES), plaintext, name, row, document)
        return {"PartitionKey": name, "RowKey": row, "document": document, "sealed": sealed}

    def _transact(self, operations: list[Any]) -> None:
        """Make all changes, or none. Raises _Conflict where a row is not as the operations expect."""
        from azure.core.exceptions import HttpResponseError

        with storage_errors():
            try:
                self._with_table(lambda: self._table.submit_transaction(operations))
            except HttpResponseError as error:
                if error.status_code in (409, 412):
                    raise _Conflict from error
                raise

    def _with_table(self, write: Callable[[], object]) -> None:
        """`write`, making the table first where there is none: only the very first write needs it."""
        from azure.core.exceptions import HttpResponseError, ResourceExistsError

        try:
            write()
        except HttpResponseError as error:
            if error.status_code != 404:
                raise
            with suppress(ResourceExistsError):  # Another was quicker.
                self._table.create_table()
            write()

    # The data key

    def _data_key(self, *, create: bool = False) -> bytes:
        if self._opened is None:
            row = self._row(*DATA_KEY_ROW)
            if row is None:
                row = self._create_data_key() if create else None
            if row is None:
                raise DamagedKey(_DATA_KEY_GONE)
            self._opened = self._unwrap(row)
        return self._opened

    def _unwrap(self, row: Any) -> bytes:
        try:
            wrapped = Wrapped(str(row["master_key"]), bytes(row["wrapped"]))
        except (KeyError, TypeError) as error:
            raise MasterKeyUnavailable(f"The row data-key of the table {TABLE} is not as it was written.") from error
        return self._master_key.unwrap(wrapped)

    def _create_data_key(self) -> Any:
        """Make the data key, once: of many who try, the first one's row stays, and all read it."""
        from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

        with storage_errors():
            try:
                first = next(iter(self._table.list_entities(results_per_page=1)), None)
            except ResourceNotFoundError:
                first = None
            if first is None:
                wrapped = self._master_key.wrap(os.urandom(KEY_BYTES))
                partition, row = DATA_KEY_ROW
                entity = {
                    "PartitionKey": partition,
                    "RowKey": row,
                    "master_key": wrapped.master_key,
                    "wrapped": wrapped.data,
                }
                with suppress(ResourceExistsError):
                    self._with_table(lambda: self._table.create_entity(entity))
        # Keys without a data key would be sealed under one that is lost: a new one must not take its place.
        return self._row(*DATA_KEY_ROW)


class _Conflict(Exception):
    """A row is there already, or has changed since it was read."""


_DATA_KEY_GONE = (
    f"The table {TABLE} holds keys, but its row data-key, which opens them, is gone: restore it from a backup."
)


@contextmanager
def _seals_of(name: str) -> Iterator[None]:
    """Turn what a row that was tampered with raises into DamagedKey."""
    try:
        yield
    except (SealBroken, KeyError, TypeError, msgspec.MsgspecError) as error:
        raise DamagedKey(
            f"A row of key {name} in the table {TABLE} is not as this app wrote it. It is not used; "
            "restore it from a backup, and see who else may write to the table."
        ) from error


def _version_row(number: int) -> str:
    return f"v{number:08d}"


def _unknown(name: str) -> UnknownKey:
    hint = " It is made by the first sign." if name == DEFAULT_KEY else ""
    return UnknownKey(f"There is no key {name}.{hint}")
