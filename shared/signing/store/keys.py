"""The keys of one storage account: created, imported, rotated, changed, deleted and restored."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from shared.deadline import seconds_left
from shared.errors import Busy, PreconditionFailed, invalid_field
from shared.signing import algorithms, formats, keyring
from shared.signing.errors import (
    DamagedKey,
    KeyChanged,
    KeyExists,
    KeyNotRotatable,
    KeyUsedOtherwise,
    KidTaken,
    UnknownKey,
    UnsupportedKey,
)
from shared.signing.keyring import KeyMetadata, KeyType, Purpose, Version
from shared.signing.master import MasterKey
from shared.signing.store.reading import AFTER_ALL_NAMES, DEFAULT_KEY, NAME, OWN_PREFIX, KeyReader, unknown, utc_now
from shared.signing.store.rows import (
    METADATA_ROW,
    TABLE,
    Key,
    StoredMetadata,
    new_key_id,
    new_metadata_id,
)
from shared.storage import Row, RowConflict, Storage, retry_on_conflict
from shared.web.headers import names_etag

if TYPE_CHECKING:
    from shared.signing.algorithms import AnyPrivateKey, AnyPublicKey

log = logging.getLogger("strongroom")

NEVER_ROTATED = frozenset({"_log"})
MAKER_SECONDS = 20
"""How long a call waits while others create keys."""


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a key that is to be created."""

    type: KeyType
    purpose: Purpose
    algorithm: str | None = None
    published: bool = False
    exportable: bool = False
    deletable: bool = False
    rotation_days: int | None = None
    tags: dict[str, str] = {}
    callers: list[str] | None = None


class Material(NamedTuple):
    """The keys of a version: a private key, a public key alone, or the bytes of an AES key."""

    key: Any
    origin: Literal["made", "imported"]
    alias: str = ""

    @property
    def has_private(self) -> bool:
        return isinstance(self.key, bytes) or hasattr(self.key, "public_key")

    def version(self, number: int, now: datetime) -> tuple[Version, bytes]:
        """The document and the private bytes of a version."""
        if isinstance(self.key, bytes):
            private, public_key, key_id = self.key, b"", new_key_id()
        else:
            public = self.key.public_key() if self.has_private else self.key
            private = formats.to_pkcs8(self.key) if self.has_private else b""
            public_key, key_id = formats.to_spki(public), formats.thumbprint(public)
        document = Version(
            number=number,
            created=now,
            key_id=key_id,
            public_key=public_key,
            origin=self.origin,
            has_private=self.has_private,
            alias="" if self.alias == key_id else self.alias,
        )
        return document, private


class KeyStore(KeyReader):
    """The keys of one storage account. Safe to use from many threads.

    Every method raises StorageUnavailable, StorageForbidden, MasterKeyUnavailable and DamagedKey, besides the errors
    that it names. Methods that create keys raise Busy if many calls do so at once.
    """

    def __init__(
        self,
        storage: Storage,
        master_key: MasterKey,
        cache_seconds: float,
        table: str = TABLE,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        super().__init__(storage, master_key, cache_seconds, table, clock)
        self._making = Lock()

    # Creating

    def create(self, name: str, new: NewKey) -> Key:
        """Create a key with its first version. Raises KeyExists."""
        return self._add(name, new, lambda: Material(algorithms.generate(new.type), "made"))

    def import_key(self, name: str, new: NewKey, key: "AnyPrivateKey | AnyPublicKey | bytes", alias: str = "") -> Key:
        """Store a key from elsewhere as the first version of `name`. `alias` is its `kid` there.

        Raises KeyExists, KidTaken, KeyUsedOtherwise.
        """
        material = Material(key, "imported", alias)
        self._check_kids(new.purpose, material)
        return self._add(name, new, lambda: material)

    def add_version(
        self, name: str, key_type: KeyType, key: "AnyPrivateKey | AnyPublicKey | bytes", alias: str = ""
    ) -> Key:
        """Store a key from elsewhere as the next version of `name`, which becomes the current one.

        Raises UnknownKey, UnsupportedKey if the type differs or only one of the keys is private, KeyExists if it is a
        version already, KidTaken, KeyUsedOtherwise, KeyTooLarge.
        """
        material = Material(key, "imported", alias)

        def add() -> None:
            current = self.refresh(name)
            metadata = current.metadata
            if metadata.type != key_type:
                raise UnsupportedKey(f"Key {name} is of type {metadata.type}, and this key is of type {key_type}.")
            if metadata.has_private != material.has_private:
                halves = "private keys" if metadata.has_private else "public keys only"
                raise UnsupportedKey(f"The versions of key {name} are {halves}. Import this key under another name.")
            if metadata.pending:
                keyring.check_rotatable(metadata, name, publish_only=True)
            self._check_kids(metadata.purpose, material)
            now = self.clock()
            changed = keyring.with_version(metadata, now)
            version = material.version(changed.latest_version, now)
            if version[0].key_id in current.numbers:
                raise KeyExists(f"Version {current.numbers[version[0].key_id]} of key {name} is this key already.")
            self.rows.update(name, changed, current.row_etag, version)

        retry_on_conflict(add)
        return self.refresh(name)

    def get_or_create(self, name: str, new: NewKey) -> Key:
        """The key `name`, created if it does not exist: once, however many calls need it at the same time.

        Raises UnknownKey if it was deleted.
        """
        with suppress(UnknownKey):
            return self.get(name)
        with self.one_maker():
            with suppress(UnknownKey):
                return self.get(name)
            with suppress(RowConflict):  # Another instance was faster: its key stays.
                self._insert(name, new, Material(algorithms.generate(new.type), "made"))
        return self.refresh(name)

    def get_or_create_default(self) -> Key:
        """The key `default`, as `get_or_create` does it."""
        return self.get_or_create(DEFAULT_KEY, _DEFAULT)

    def _add(self, name: str, new: NewKey, make: Callable[[], Material]) -> Key:
        if not NAME.fullmatch(name) or name.startswith(OWN_PREFIX):
            raise invalid_field(
                "name", "`name` is 1 to 63 lower-case letters, digits and hyphens, and does not begin with a hyphen."
            )
        keyring.check_tags(new.tags)
        if self._is_taken(name):
            raise _taken(name)
        with self.one_maker():
            try:
                self._insert(name, new, make())
            except RowConflict:
                raise _taken(name) from None
        return self.refresh(name)

    @contextmanager
    def one_maker(self) -> Iterator[None]:
        """One thread at a time: creating or checking an RSA key takes up to some seconds of a core. Raises Busy."""
        if not self._making.acquire(timeout=max(0.0, min(MAKER_SECONDS, seconds_left()))):
            raise Busy("Other calls are creating or importing keys. Try again.")
        try:
            yield
        finally:
            self._making.release()

    def _is_taken(self, name: str) -> bool:
        """Whether a key has this name. A key past its restoration is removed, so that its name is free."""
        stored = self.rows.metadata(name)
        if stored is None:
            return False
        if not keyring.is_gone(stored.metadata, self.clock()):
            return True
        self._purge(stored)
        return False

    def _insert(self, name: str, new: NewKey, material: Material) -> None:
        now = self.clock()
        metadata = KeyMetadata(
            id=new_metadata_id(),
            created=now,
            latest_version=1,
            rotated=now,
            has_private=material.has_private,
            **msgspec.structs.asdict(new),
        )
        self.rows.insert(name, metadata, material.version(1, now))

    def _check_kids(self, purpose: Purpose, material: Material) -> None:
        """Raise KidTaken if a `kid` of the new version names another key, KeyUsedOtherwise if the purposes differ."""
        document, _ = material.version(1, self.clock())
        for kid in sorted({document.key_id, document.alias} - {""}):
            for other in self.rows.names_with(kid):
                for metadata, version in self._versions_with(other, kid):
                    if version.key_id != document.key_id:
                        raise KidTaken(
                            f"The kid of this JWK is the kid of a version of key {other}. Remove the kid, or change it."
                        )
                    if version.has_private and document.has_private and metadata.purpose != purpose:
                        raise KeyUsedOtherwise(
                            f"Key {other} holds this private key for the purpose {metadata.purpose}. A key serves one "
                            "purpose: use that key, or create another."
                        )

    def _versions_with(self, name: str, kid: str) -> list[tuple[KeyMetadata, Version]]:
        """The versions of a key, deleted or not, that have this `kid`."""
        rows = [row for row in self.rows.all_of(name) if row["RowKey"] >= METADATA_ROW]
        try:
            key = self.rows.key(name, rows, monotonic(), None) if rows else None
        except DamagedKey:
            return []
        if key is None or keyring.is_gone(key.metadata, self.clock()):
            return []
        documents = [version.document for version in key.versions.values()]
        return [(key.metadata, each) for each in documents if kid in (each.key_id, each.alias)]

    # Changing

    def rotate(
        self,
        name: str,
        expected_version: int | None = None,
        *,
        publish_only: bool = False,
        if_match: str | None = None,
    ) -> Key:
        """Create a new version, which signs and encrypts from now on; or make the published one current.

        With `publish_only` the new version is only published. Raises UnknownKey, KeyChanged if the current version is
        not `expected_version` or another call rotates the key at the same time, PreconditionFailed, UnsupportedKey,
        VersionPending, KeyNotRotatable, KeyTooLarge.
        """
        if name in NEVER_ROTATED:
            raise KeyNotRotatable(f"Key {name} is never rotated.")
        key = self.refresh(name)
        keyring.check_expected(key.metadata, name, expected_version)
        _check_condition(key.etag, if_match)
        keyring.check_rotatable(key.metadata, name, publish_only=publish_only)
        with self.one_maker():
            if self.refresh(name).row_etag != key.row_etag:
                raise KeyChanged(f"Another call is changing key {name}. Read the key again.")
            now = self.clock()
            try:
                if key.metadata.pending:
                    self.rows.update(name, keyring.activated(key.metadata, now), key.row_etag)
                else:
                    metadata = keyring.with_version(key.metadata, now, publish_only=publish_only)
                    material = Material(algorithms.generate(metadata.type), "made")
                    version = material.version(metadata.latest_version, now)
                    self.rows.update(name, metadata, key.row_etag, version)
            except RowConflict:
                raise KeyChanged(f"Another call changed key {name} at the same time. Read the key again.") from None
        return self.refresh(name)

    def rotate_if_due(self, key: Key) -> Key:
        """The key, rotated if its `rotation_days` are over: once, however many calls use it at the same time."""
        if not keyring.is_due(key.metadata, self.clock()):
            return key
        key = self.refresh(key.name)
        if not keyring.is_due(key.metadata, self.clock()):
            return key
        with suppress(KeyChanged):  # Another call was faster.
            return self.rotate(key.name, keyring.current_version(key.metadata))
        return self.refresh(key.name)

    def change(self, name: str, change: Callable[[KeyMetadata], KeyMetadata], if_match: str | None = None) -> Key:
        """Replace the metadata of a key by `change` of it.

        Raises UnknownKey, PreconditionFailed, Busy and the errors of `change`.
        """

        def attempt() -> bool:
            key = self.refresh(name)
            _check_condition(key.etag, if_match)
            changed = change(key.metadata)
            if changed == key.metadata:
                return False
            if changed.published and not key.metadata.published:
                self.rows.mark_published(name)
            self.rows.update(name, changed, key.row_etag)
            return True

        retry_on_conflict(attempt)
        return self.refresh(name)

    def delete(self, name: str, if_match: str | None = None) -> None:
        """Delete a key that is deletable. It can be restored for 30 days; a damaged key is removed for good.

        Raises UnknownKey, KeyNotDeletable (not for a key whose metadata is damaged), PreconditionFailed.
        """
        if not NAME.fullmatch(name):
            raise unknown(name)

        def attempt() -> None:
            rows = [row for row in self.rows.all_of(name) if row["RowKey"] >= METADATA_ROW]
            if not rows:
                raise unknown(name)
            try:
                stored = self._metadata_of(name, rows)
            except DamagedKey as error:
                self._note_damage(name, error)
                self.rows.remove(name)
                return
            if stored.metadata.deleted is not None:
                raise unknown(name, stored.metadata)
            _check_condition(stored.etag, if_match)
            deleted = keyring.deleted(stored.metadata, name, self.clock())
            try:
                self.rows.key(name, rows, 0.0, None)
            except DamagedKey as error:
                self._note_damage(name, error)
                self.rows.remove(name)
                return
            self.rows.update(name, deleted, stored.row_etag)

        retry_on_conflict(attempt)
        self._damaged.discard(name)
        self.cache.await_read(name)
        self.cache.forget(name)

    def _metadata_of(self, name: str, rows: Sequence[Row]) -> StoredMetadata:
        for row in rows:
            if row["RowKey"] == METADATA_ROW:
                with suppress(DamagedKey):
                    return self.rows.open_metadata(row)
                self.data_key.forget()  # Perhaps the data key in memory is outdated, and the row is sound.
                return self.rows.open_metadata(row)
        raise DamagedKey(f"Key {name} has versions, but its row {METADATA_ROW} is missing.")

    def restore(self, name: str) -> Key:
        """Undo a deletion. Raises UnknownKey if there is nothing to restore, KeyExists if the key is not deleted."""

        def attempt() -> None:
            stored = self.rows.metadata(name) if NAME.fullmatch(name) else None
            if stored is None:
                raise unknown(name)
            if stored.metadata.deleted is None:
                raise KeyExists(f"Key {name} is not deleted.")
            if keyring.is_gone(stored.metadata, self.clock()):
                raise unknown(name)
            self.rows.update(name, msgspec.structs.replace(stored.metadata, deleted=None), stored.row_etag)

        retry_on_conflict(attempt)
        return self.refresh(name)

    def purge(self, now: datetime) -> int:
        """Remove keys deleted 30 days ago for good, and return how many. It may be interrupted at any moment."""
        count = 0
        for row in self.rows.metadata_rows("", AFTER_ALL_NAMES):
            stored = self._undamaged(row)
            if stored is not None and keyring.is_gone(stored.metadata, now):
                count += self._purge(stored)
        return count

    def rotate_master_key(self) -> str:
        """Wrap the data key under the newest master key, and return that key's name. Raises Busy."""
        return self.data_key.rotate_master_key()

    def _purge(self, stored: StoredMetadata) -> bool:
        """Remove a key that is gone. Whether it was this call that did."""
        with suppress(RowConflict):  # Another call restored the key, or removes the same rows.
            if not stored.metadata.purging:  # From now on, nobody can restore a key that loses its versions.
                purging = msgspec.structs.replace(stored.metadata, purging=True)
                self.rows.update(stored.name, purging, stored.row_etag)
            self.rows.remove(stored.name)
            return True
        return False


_DEFAULT = NewKey(type="RSA-3072", purpose="sign", algorithm="PS256", published=True)


def _check_condition(etag: str, if_match: str | None) -> None:
    """Raise PreconditionFailed if `If-Match` names other ETags (RFC 9110, section 13.1.1)."""
    if if_match is not None and not names_etag(if_match, etag, weak=False):
        raise PreconditionFailed("The key has changed: its ETag is another one now. Read the key and try again.")


def _taken(name: str) -> KeyExists:
    return KeyExists(f"A key {name} exists, or was deleted and can be restored. Choose another name.")
