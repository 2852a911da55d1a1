"""Keys in Table Storage. Private keys rest sealed under the data key, and that one wrapped by the master key.

One table, a partition for each key: the row `ring` says what may change about a key, a row for each version what may
not. A row's document is bound to its place and content by its seal, so that a changed byte is noticed. A key and its
new version are written in one transaction, so that a process may die at any moment.
"""

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from shared.errors import Busy, Unavailable, invalid_field
from shared.signing import algorithms, formats, keyring
from shared.signing.envelope import NONCE_BYTES, open_sealed, seal
from shared.signing.errors import (
    DamagedKey,
    KeyChanged,
    KeyExists,
    MasterKeyUnavailable,
    SealBroken,
    UnknownKey,
    UnsupportedKey,
)
from shared.signing.keyring import KeyType, Purpose, Ring, Version
from shared.signing.master import KEY_BYTES, MasterKey, Wrapped
from shared.storage import Storage, storage_errors

if TYPE_CHECKING:
    from azure.data.tables import TableClient

    from shared.signing.algorithms import AnyPrivateKey, AnyPublicKey

TABLE = "strongroomkeys"
RING_ROW = "ring"
DATA_KEY_ROW = ("_master", "data-key")
"""No key's name begins with an underscore."""
MAX_CACHED = 1000
"""Keys in memory; the one read longest ago goes first."""
MAX_KNOWN_IDS = 10_000
DEFAULT_KEY = "default"
MAKER_SECONDS = 20
"""How long a call waits for others that make keys."""
TRIES = 5
"""How often a change is tried again on a key that another has changed meanwhile."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_AFTER_ALL_NAMES = "~"
"""Sorts after every character of a name."""


class KeyVersion:
    """One version of a key. Its key objects are made at first use, and kept: loading costs more than signing."""

    def __init__(self, document: Version, sealed: bytes, unseal: Callable[[], bytes]) -> None:
        self.document = document
        self.sealed = sealed
        self._unseal = unseal

    @cached_property
    def private_key(self) -> Any:
        """The private key; of AES the bytes of the key."""
        from cryptography.hazmat.primitives.serialization import load_der_private_key

        if not self.document.public_key:
            return self._unseal()
        # The check of an RSA key costs 60 signatures. Ours was checked when it was made, and its seal holds.
        made_here = self.document.origin == "made"
        return load_der_private_key(self._unseal(), None, unsafe_skip_rsa_key_validation=made_here)

    @cached_property
    def public_key(self) -> Any:
        """The public key; of AES, which has none, the bytes of the key."""
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        if not self.document.public_key:
            return self._unseal()
        return load_der_public_key(self.document.public_key)


class Key(msgspec.Struct, frozen=True):
    """A key as it was when it was read."""

    name: str
    ring: Ring
    versions: Mapping[int, KeyVersion]
    etag: str
    read_at: float
    """By the monotonic clock, before the read began."""
    current_version: int | None
    """The one that signs or encrypts; known beforehand, since each call asks for it."""


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a key that is to be made."""

    type: KeyType
    purpose: Purpose
    published: bool = False
    exportable: bool = False
    deletable: bool = False
    rotation_days: int | None = None
    tags: dict[str, str] = {}


def utc_now() -> datetime:
    """The time, for all that is written down."""
    return datetime.now(UTC)


class KeyStore:
    """The keys of one storage account. Safe to use from many threads.

    Every method raises StorageUnavailable, StorageForbidden, MasterKeyUnavailable and DamagedKey, beside what it says;
    those that make keys raise Busy where many do at once.
    """

    def __init__(
        self,
        storage: Storage,
        master_key: MasterKey,
        cache_seconds: float,
        table: str = TABLE,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._storage = storage
        self._master_key = master_key
        self._cache_seconds = cache_seconds
        self._table_name = table
        self.clock = clock
        self._lock = Lock()
        self._making = Lock()
        self._keys: dict[str, Key] = {}
        self._reads: dict[str, Future[Key]] = {}
        self._names: dict[str, str] = {}
        self._opened: bytes | None = None
        self._derived: dict[str, bytes] = {}

    # Reading

    def get(self, name: str) -> Key:
        """The key `name`, as it was at most `cache_seconds` ago. Raises UnknownKey."""
        key = self._keys.get(name)
        if key is None:
            return self.refresh(name)
        return key if monotonic() - key.read_at < self._cache_seconds else self._shared_read(name)

    def refresh(self, name: str) -> Key:
        """The key `name`, as it is now. Many who ask at once share one read. Raises UnknownKey."""
        self._await_read(name)
        return self._shared_read(name)

    def _await_read(self, name: str) -> None:
        """Wait for the read that runs, if one does: what it finds may be outdated already."""
        with self._lock:
            reading = self._reads.get(name)
        if reading is not None:
            wait([reading])

    def _shared_read(self, name: str) -> Key:
        """What the read that runs finds, or else one that begins now."""
        with self._lock:
            reading = self._reads.get(name)
            if reading is None:
                mine = self._reads[name] = Future()
        if reading is not None:
            return reading.result()
        try:
            key = self._read(name)
        except BaseException as error:
            with self._lock:
                del self._reads[name]
                if not isinstance(error, Unavailable):
                    self._keys.pop(name, None)
                if isinstance(error, DamagedKey):
                    self._opened = None  # Maybe all of the table was put back from a backup, with its own data key.
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

    def find(self, key_id: str) -> tuple[Key, int] | None:
        """The key, and the number of its version, that has this `key_id`; None where there is none."""
        known = self._names.get(key_id)
        if known is not None and (found := self._version_with(known, key_id)):
            return found
        for name in self._names_with(key_id):
            if found := self._version_with(name, key_id):
                if len(self._names) >= MAX_KNOWN_IDS:
                    self._names.clear()
                self._names[key_id] = name
                return found
        return None

    def page(
        self, prefix: str, after: str, limit: int, state: Literal["active", "deleted"] = "active"
    ) -> tuple[list[tuple[str, Ring]], bool]:
        """At most `limit` keys by name, from the one after `after` on, and whether there are more."""
        found: list[tuple[str, Ring]] = []
        start = "PartitionKey gt @start" if after >= prefix and after else "PartitionKey ge @start"
        rows = self._query(
            f"RowKey eq @row and {start} and PartitionKey lt @end",
            {"row": RING_ROW, "start": max(prefix, after), "end": prefix + _AFTER_ALL_NAMES},
            min(limit + 1, 1000),
        )
        now = self.clock()
        for row in rows:
            name = row["PartitionKey"]
            ring = self._open_ring(name, row)
            if keyring.is_gone(ring, now) or (ring.deleted is not None) != (state == "deleted"):
                continue
            if len(found) == limit:
                return found, True
            found.append((name, ring))
        return found, False

    def published(self) -> Iterator[Key]:
        """Every published key."""
        after = ""
        while True:
            page, more = self.page("", after, 1000)
            for name, ring in page:
                if ring.published:
                    with suppress(UnknownKey):
                        yield self.get(name)
            if not more:
                return
            after = page[-1][0]

    def probe(self) -> None:
        """Ask Table Storage for something small."""
        self._row(*DATA_KEY_ROW)

    def probe_master_key(self) -> None:
        """Unwrap the data key, or, where none can be read, wrap a random one."""
        try:
            row = self._row(*DATA_KEY_ROW)
        except Unavailable:
            row = None  # Storage has a probe of its own.
        if row is None:
            self._master_key.wrap(os.urandom(KEY_BYTES))
        else:
            self._unwrap(row)

    # Changing

    def create(self, name: str, new: NewKey) -> Key:
        """Make a key with its first version. Raises KeyExists."""
        return self._add(name, new, lambda: algorithms.generate(new.type), "made")

    def import_key(self, name: str, new: NewKey, key: "AnyPrivateKey | AnyPublicKey | bytes") -> Key:
        """Take a key in as the first version of `name`: private, public alone, or an AES key. Raises KeyExists."""
        return self._add(name, new, lambda: key, "imported")

    def get_or_create_default(self) -> Key:
        """The key `default`, made if there is none: once, however many ask at the same time.

        Raises UnknownKey where it was deleted.
        """
        with suppress(UnknownKey):
            return self.get(DEFAULT_KEY)
        with self._one_maker():
            with suppress(UnknownKey):
                return self.get(DEFAULT_KEY)
            with suppress(_Conflict):  # Another instance was quicker: theirs stays.
                self._insert(DEFAULT_KEY, _DEFAULT, algorithms.generate(_DEFAULT.type), "made")
        return self.refresh(DEFAULT_KEY)

    def rotate(self, name: str, expected_version: int | None = None) -> Key:
        """Make a new version of the key, which signs and encrypts from now on.

        Raises UnknownKey; KeyChanged where the current version is not `expected_version`, or another call rotates the
        key at the same time; UnsupportedKey where only its public half is here; KeyTooLarge.
        """
        key = self.refresh(name)
        keyring.check_expected(key.ring, name, expected_version)
        if not key.versions[key.ring.latest_version].document.has_private:
            raise UnsupportedKey(f"Of key {name} only the public half is here: a new version would be no one else's.")
        with self._one_maker():
            if self.refresh(name).etag != key.etag:
                raise KeyChanged(f"Key {name} is being changed by another call.")
            now = self.clock()
            ring = keyring.rotated(key.ring, now)
            version = self._version_row(name, ring.latest_version, now, algorithms.generate(ring.type), "made")
            try:
                self._write(name, ring, key.etag, version)
            except _Conflict:
                raise KeyChanged(f"Key {name} was changed by another call at the same time.") from None
        return self.refresh(name)

    def rotate_if_due(self, key: Key) -> Key:
        """The key, with a new version if its `rotation_days` are over: one, however many ask at the same time."""
        if not keyring.is_due(key.ring, self.clock()):
            return key
        key = self.refresh(key.name)
        if not keyring.is_due(key.ring, self.clock()):
            return key
        with suppress(KeyChanged):  # Another was quicker: their version is as good.
            return self.rotate(key.name, keyring.current_version(key.ring))
        return self.refresh(key.name)

    def change(self, name: str, change: Callable[[Ring], Ring]) -> Key:
        """Replace what may change about a key by what `change` makes of it; tried again where another was quicker.

        Raises UnknownKey, KeyChanged, and what `change` raises.
        """
        for _ in range(TRIES):
            key = self.refresh(name)
            ring = change(key.ring)
            if ring == key.ring:
                return key
            with suppress(_Conflict):
                self._write(name, ring, key.etag)
                return self.refresh(name)
        raise KeyChanged(f"Key {name} is being changed by other calls all the time.")

    def delete(self, name: str) -> None:
        """Delete a key that is deletable; it can be restored for a while. Raises UnknownKey and KeyNotDeletable."""
        # What `change` does, but for the last read, which would not find the key any more.
        with suppress(UnknownKey):
            key = self.refresh(name)
            for _ in range(TRIES):
                ring = keyring.deleted(key.ring, name, self.clock())
                with suppress(_Conflict):
                    self._write(name, ring, key.etag)
                    self._await_read(name)
                    with self._lock:
                        self._keys.pop(name, None)
                    return
                key = self.refresh(name)
            raise KeyChanged(f"Key {name} is being changed by other calls all the time.")
        raise _unknown(name)

    def restore(self, name: str) -> Key:
        """Undo a deletion. Raises UnknownKey where nothing is there to be restored, KeyExists where nothing need be."""
        for _ in range(TRIES):
            row = self._row(name, RING_ROW) if _NAME.fullmatch(name) else None
            if row is None:
                raise _unknown(name)
            ring = self._open_ring(name, row)
            if ring.deleted is None:
                raise KeyExists(f"Key {name} is not deleted.")
            if keyring.is_gone(ring, self.clock()):
                raise _unknown(name)
            with suppress(_Conflict):
                self._write(name, msgspec.structs.replace(ring, deleted=None), row.metadata["etag"])
                return self.refresh(name)
        raise KeyChanged(f"Key {name} is being changed by other calls all the time.")

    def purge(self, now: datetime) -> int:
        """Remove for good what was deleted long enough ago; how many keys that were. May be ended at any moment."""
        rows = self._query("RowKey eq @row", {"row": RING_ROW}, 1000)
        gone = [row["PartitionKey"] for row in rows if keyring.is_gone(self._open_ring(row["PartitionKey"], row), now)]
        return sum(self._purge(name, now) for name in gone)

    def rotate_master_key(self) -> str:
        """Wrap the data key anew, under the newest master key, whose name is returned."""
        for _ in range(TRIES):
            row = self._row(*DATA_KEY_ROW)
            if row is None:
                self._data_key(create=True)
                continue
            wrapped = self._master_key.wrap(self._unwrap(row))
            with suppress(_Conflict):
                self._transact([_replacing(_data_key_row(wrapped), row.metadata["etag"])])
                return wrapped.master_key
        raise KeyChanged("The master key is being rotated by other calls all the time.")

    # How it is read

    def _read(self, name: str) -> Key:
        if not _NAME.fullmatch(name):
            raise _unknown(name)
        began = monotonic()
        known = self._keys.get(name)
        if known is not None:
            row = self._row(name, RING_ROW)
            if row is not None and row.metadata["etag"] == known.etag:
                return msgspec.structs.replace(known, read_at=began)
        rows = {row["RowKey"]: row for row in self._query("PartitionKey eq @name", {"name": name}, 1000)}
        if not rows:
            raise _unknown(name)
        data_key = self._data_key()
        ring_row = rows.get(RING_ROW)
        if ring_row is None:
            raise DamagedKey(f"Key {name} has versions, but its row {RING_ROW} is gone.")
        ring = self._open_ring(name, ring_row)
        if ring.deleted is not None:
            raise _unknown(name, ring)
        versions = {}
        with _seals_of(name):
            for number in range(1, ring.latest_version + 1):
                version = self._version(name, rows[_version_name(number)], data_key)
                if known and number in known.versions and known.versions[number].sealed == version.sealed:
                    version = known.versions[number]  # Its key objects are loaded.
                versions[number] = version
        return Key(name, ring, versions, ring_row.metadata["etag"], began, keyring.current_version(ring))

    def _open_ring(self, name: str, row: Mapping[str, Any]) -> Ring:
        data_key = self._data_key()
        with _seals_of(name):
            document = row["document"]
            open_sealed(data_key, row["seal"], name, RING_ROW, document)
            return msgspec.json.decode(document, type=Ring)

    def _version(self, name: str, row: Mapping[str, Any], data_key: bytes) -> KeyVersion:
        document, sealed = row["document"], row["sealed"]

        def unseal() -> bytes:
            return open_sealed(data_key, sealed, name, row["RowKey"], document)

        unseal()  # Everything that is read from the row is what was written there.
        return KeyVersion(msgspec.json.decode(document, type=Version), sealed, unseal)

    def _version_with(self, name: str, key_id: str) -> tuple[Key, int] | None:
        try:
            key = self.get(name)
        except UnknownKey:
            return None
        numbers = (number for number, version in key.versions.items() if version.document.key_id == key_id)
        number = next(numbers, None)
        return None if number is None else (key, number)

    def _names_with(self, key_id: str) -> list[str]:
        # The column only helps to look: what counts is the key_id in the sealed document.
        return [row["PartitionKey"] for row in self._query("key_id eq @key_id", {"key_id": key_id}, 1000)]

    def _row(self, partition: str, row: str) -> Any | None:
        from azure.core.exceptions import ResourceNotFoundError

        with storage_errors():
            try:
                return self._table.get_entity(partition, row)
            except ResourceNotFoundError:
                return None

    def _query(self, filter_: str, parameters: dict[str, object], page_size: int) -> Iterator[Any]:
        from azure.core.exceptions import ResourceNotFoundError

        # The errors may come with any of its pages.
        with storage_errors(), suppress(ResourceNotFoundError):
            yield from self._table.query_entities(filter_, parameters=parameters, results_per_page=page_size)

    @cached_property
    def _table(self) -> "TableClient":
        with storage_errors():
            return self._storage.table(self._table_name)

    # How it is written

    def _add(self, name: str, new: NewKey, make: Callable[[], Any], origin: Literal["made", "imported"]) -> Key:
        if not _NAME.fullmatch(name):  # The pattern of the field lets a line feed at the end pass.
            raise invalid_field("name", "must be 1 to 63 lower-case letters, digits and hyphens, no hyphen first.")
        keyring.check_tags(new.tags)
        if self._is_taken(name):
            raise KeyExists(f"There is a key {name}, or one of this name was deleted and can be restored.")
        with self._one_maker():
            try:
                self._insert(name, new, make(), origin)
            except _Conflict:
                raise KeyExists(
                    f"There is a key {name}, or one of this name was deleted and can be restored."
                ) from None
        return self.refresh(name)

    @contextmanager
    def _one_maker(self) -> Iterator[None]:
        """One thread at a time: making an RSA key takes up to some seconds of a core. Raises Busy."""
        if not self._making.acquire(timeout=MAKER_SECONDS):
            raise Busy("Other keys are being made. Try again.")
        try:
            yield
        finally:
            self._making.release()

    def _is_taken(self, name: str) -> bool:
        """Whether a key has this name. One that is past restoring is removed, and its name is free."""
        row = self._row(name, RING_ROW)
        if row is None:
            return False
        if not keyring.is_gone(self._open_ring(name, row), self.clock()):
            return True
        self._purge(name, self.clock())
        return False

    def _insert(self, name: str, new: NewKey, key: Any, origin: Literal["made", "imported"]) -> None:
        now = self.clock()
        ring = Ring(
            id=secrets.token_hex(16),
            created=now,
            latest_version=1,
            latest_created=now,
            **msgspec.structs.asdict(new),
        )
        ring_row = self._ring_row(name, ring)
        try:
            self._transact([("create", ring_row), ("create", self._version_row(name, 1, now, key, origin))])
        except _Conflict:
            if not self._is_ours(name, ring_row):
                raise

    def _write(self, name: str, ring: Ring, etag: str, *new_rows: dict[str, Any]) -> None:
        """Replace the ring as it was at `etag`, and add rows, in one transaction. Raises _Conflict."""
        ring_row = self._ring_row(name, ring)
        try:
            self._transact([_replacing(ring_row, etag), *(("create", row) for row in new_rows)])
        except _Conflict:
            if not self._is_ours(name, ring_row):
                raise

    def _is_ours(self, name: str, ring_row: Mapping[str, Any]) -> bool:
        """Whether what is there is what we wrote: the SDK may have tried twice, its first answer being lost."""
        row = self._row(name, RING_ROW)
        return row is not None and row.get("seal") == ring_row["seal"]

    def _purge(self, name: str, now: datetime) -> bool:
        """Remove a deleted key, its ring last, so that whoever is interrupted can go on. Whether it was there."""
        row = self._row(name, RING_ROW)
        if row is None:
            return False
        ring = self._open_ring(name, row)
        if not keyring.is_gone(ring, now):
            return False
        if not ring.purging:  # From now on nobody can restore what is about to lose its versions.
            try:
                self._write(name, msgspec.structs.replace(ring, purging=True), row.metadata["etag"])
            except _Conflict:
                return False
        rows = self._query("PartitionKey eq @name and RowKey gt @row", {"name": name, "row": RING_ROW}, 1000)
        versions = [{"PartitionKey": name, "RowKey": each["RowKey"]} for each in rows]
        with suppress(_Conflict):  # Another is removing the same rows.
            for at in range(0, len(versions), 100):
                self._transact([("delete", each) for each in versions[at : at + 100]])
            self._transact([("delete", {"PartitionKey": name, "RowKey": RING_ROW})])
            return True
        return False

    def _ring_row(self, name: str, ring: Ring) -> dict[str, Any]:
        document = msgspec.json.encode(ring).decode()
        sealed = seal(self._data_key(create=True), os.urandom(NONCE_BYTES), b"", name, RING_ROW, document)
        return {"PartitionKey": name, "RowKey": RING_ROW, "document": document, "seal": sealed}

    def _version_row(
        self, name: str, number: int, now: datetime, key: Any, origin: Literal["made", "imported"]
    ) -> dict[str, Any]:
        """The row of a version: `key` is private, public alone, or the bytes of an AES key."""
        if isinstance(key, bytes):
            has_private, plaintext, public_key, key_id = True, key, b"", secrets.token_urlsafe(32)
        else:
            has_private = hasattr(key, "public_key")
            public = key.public_key() if has_private else key
            plaintext = formats.to_pkcs8(key) if has_private else b""
            public_key, key_id = formats.to_spki(public), formats.thumbprint(public)
        version = Version(
            number=number, created=now, key_id=key_id, public_key=public_key, origin=origin, has_private=has_private
        )
        document, row = msgspec.json.encode(version).decode(), _version_name(number)
        sealed = seal(self._data_key(create=True), os.urandom(NONCE_BYTES), plaintext, name, row, document)
        return {"PartitionKey": name, "RowKey": row, "document": document, "sealed": sealed, "key_id": key_id}

    def _transact(self, operations: Sequence[Any]) -> None:
        """Make all changes, or none. Raises _Conflict where a row is not as the operations expect."""
        from azure.core.exceptions import HttpResponseError

        with storage_errors():
            try:
                self._with_table(lambda: self._table.submit_transaction(operations))
            except HttpResponseError as error:
                if error.status_code in (404, 409, 412):
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

    def derive_key(self, purpose: str) -> bytes:
        """32 bytes that only this app can derive, the same on every instance: HKDF-SHA256 (RFC 5869) of the data key.

        Each purpose has its own key: MACs of cursors, of records, and so on. Creates the data key if there is none.
        """
        derived = self._derived.get(purpose)
        if derived is None:
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF

            hkdf = HKDF(SHA256(), 32, salt=None, info=f"strongroom {purpose}".encode())
            derived = self._derived[purpose] = hkdf.derive(self._data_key(create=True))
        return derived

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
        from azure.core.exceptions import ResourceExistsError

        # Keys without a data key would be sealed under one that is lost: a new one must not take its place.
        if next(self._query("PartitionKey ge @any", {"any": ""}, 1), None) is None:
            wrapped = self._master_key.wrap(os.urandom(KEY_BYTES))
            with storage_errors(), suppress(ResourceExistsError):
                self._with_table(lambda: self._table.create_entity(_data_key_row(wrapped)))
        return self._row(*DATA_KEY_ROW)


_DEFAULT = NewKey(type="RSA-3072", purpose="sign", published=True)
_DATA_KEY_GONE = (
    f"The table {TABLE} holds keys, but its row data-key, which opens them, is gone: restore it from a backup."
)


class _Conflict(Exception):
    """A row is there already, is gone, or has changed since it was read."""


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


def _replacing(row: dict[str, Any], etag: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The operation that replaces a row as it was at `etag`."""
    from azure.core import MatchConditions

    return ("update", row, {"mode": "replace", "etag": etag, "match_condition": MatchConditions.IfNotModified})


def _data_key_row(wrapped: Wrapped) -> dict[str, Any]:
    partition, row = DATA_KEY_ROW
    return {"PartitionKey": partition, "RowKey": row, "master_key": wrapped.master_key, "wrapped": wrapped.data}


def _version_name(number: int) -> str:
    return f"v{number:08d}"


def _unknown(name: str, ring: Ring | None = None) -> UnknownKey:
    if ring is not None:
        return UnknownKey(f"Key {name} was deleted. For 30 days restore-key brings it back.")
    hint = " It is made by the first sign." if name == DEFAULT_KEY else ""
    return UnknownKey(f"There is no key {name}.{hint}")
