"""The rows of keys in Table Storage: how they are laid out, sealed, opened and written.

A key is one partition, named like the key:

- `ring`: its metadata, which may change, as one document. A document that is too long for one column continues in the
  columns `document_1`, `document_2` and so on.
- `v00000001`, …: one row per version, which never changes: its document, and its private key.

Each row is sealed under the data key and bound to its position and content, a version also to its key's id: nothing
that something else has written opens. A key's metadata and a new version are written in one transaction.

A second partition per `kid` (`kid:<hash>`) lists the names of the keys that have it. It is written first, so that it
may name a key that does not have the `kid`, and never lacks one that has. The column `published` is a hint of the same
kind. Neither is trusted: the sealed documents decide.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from shared.signing import keyring
from shared.signing.envelope import NONCE_BYTES, open_sealed, seal
from shared.signing.errors import DamagedKey, SealBroken
from shared.signing.keyring import KeyMetadata, Version
from shared.signing.store.data_key import DataKey
from shared.storage import Operation, Row, RowConflict, Table, create, delete, put, replace

TABLE = "strongroomkeys"
METADATA_ROW = "ring"
CHUNK = 16_000
"""Characters of a document in one column, which holds 64 KiB of UTF-16."""
MAX_SAME_KID = 100
"""Names of keys that the index of one `kid` returns."""
BATCH = 100
"""Rows in one transaction."""

_METADATA = msgspec.json.Decoder(KeyMetadata)
_VERSION = msgspec.json.Decoder(Version)


class KeyVersion:
    """One version of a key. Its key objects load at first use and stay: loading costs more than signing."""

    def __init__(self, document: Version, sealed: bytes, unseal: Callable[[], bytes]) -> None:
        self.document = document
        self.sealed = sealed
        self._unseal = unseal

    @cached_property
    def private_key(self) -> Any:
        """The private key; for AES its bytes."""
        from cryptography.hazmat.primitives.serialization import load_der_private_key

        if not self.document.public_key:
            return self._unseal()
        # The check of an RSA key costs 60 signatures. This key was checked before it was stored, and its seal holds.
        return load_der_private_key(self._unseal(), None, unsafe_skip_rsa_key_validation=True)

    @cached_property
    def public_key(self) -> Any:
        """The public key; for AES, which has none, the key's bytes."""
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        if not self.document.public_key:
            return self._unseal()
        return load_der_public_key(self.document.public_key)


class Key(msgspec.Struct, frozen=True):
    """A key at the moment when it was read."""

    name: str
    metadata: KeyMetadata
    versions: Mapping[int, KeyVersion]
    numbers: Mapping[str, int]
    """The version of each `key_id` and alias."""
    row_etag: str
    etag: str
    """For callers: a strong ETag, with its quotes."""
    read_at: float
    """By the monotonic clock, before the read began."""
    current_version: int | None
    """Computed once, because each call needs it."""


class StoredMetadata(NamedTuple):
    """A key's metadata and the row's ETag, and the ETag for callers."""

    name: str
    metadata: KeyMetadata
    row_etag: str
    etag: str


class KeyRows:
    """Reads and writes the rows of keys. Every method raises the errors of the storage and of the data key."""

    def __init__(self, table: Table, data_key: DataKey) -> None:
        self._table = table
        self._data_key = data_key
        self.state = object()
        """Another object after each write of this instance: rows that were read before may be outdated."""

    # Reading

    def metadata(self, name: str) -> StoredMetadata | None:
        """The metadata of one key, deleted or not. Raises DamagedKey."""
        row = self._table.get(name, METADATA_ROW)
        return None if row is None else self.open_metadata(row)

    def row_etag(self, name: str) -> str | None:
        """The ETag of a key's metadata row."""
        row = self._table.get(name, METADATA_ROW, ["PartitionKey"])
        return None if row is None else row.etag

    def all_of(self, name: str) -> list[Row]:
        """All rows of one key."""
        return list(self._table.query("PartitionKey eq @name", {"name": name}))

    def key(self, name: str, rows: list[Row], read_at: float, known: Key | None) -> Key:
        """The key in its `rows`. Key objects that `known` has loaded stay loaded. Raises DamagedKey."""
        by_row = {row["RowKey"]: row for row in rows}
        if METADATA_ROW not in by_row:
            raise DamagedKey(f"Key {name} has versions, but its row {METADATA_ROW} is missing.")
        stored = self.open_metadata(by_row.pop(METADATA_ROW))
        versions = {}
        for number in range(1, stored.metadata.latest_version + 1):
            row = by_row.pop(version_row_key(number), None)
            if row is None:
                raise DamagedKey(f"The row of version {number} of key {name} is missing.")
            version = self.open_version(row, stored.metadata.id)
            if known and number in known.versions and known.versions[number].sealed == version.sealed:
                version = known.versions[number]
            versions[number] = version
        if by_row:  # A version and the metadata that counts it are written together.
            raise DamagedKey(f"Key {name} has more versions than its row {METADATA_ROW} says: that row is an old one.")
        return self.assembled(stored, versions, read_at)

    @staticmethod
    def assembled(stored: StoredMetadata, versions: Mapping[int, KeyVersion], read_at: float) -> Key:
        """A key from its parts."""
        numbers = {each.document.alias: number for number, each in versions.items() if each.document.alias}
        numbers |= {each.document.key_id: number for number, each in versions.items()}
        return Key(
            stored.name,
            stored.metadata,
            versions,
            numbers,
            stored.row_etag,
            stored.etag,
            read_at,
            keyring.current_version(stored.metadata),
        )

    def open_metadata(self, row: Row) -> StoredMetadata:
        """The metadata in a row. Raises DamagedKey."""
        name = row["PartitionKey"]
        data_key = self._data_key.get()
        with _damage(name, METADATA_ROW):
            document = row["document"]
            if "document_1" in row:
                document += "".join(row[f"document_{at}"] for at in range(1, int(row["chunks"])))
            open_sealed(data_key, row["seal"], name, METADATA_ROW, document)
            etag = f'"{hashlib.sha256(row["seal"]).hexdigest()[:32]}"'
            return StoredMetadata(name, _METADATA.decode(document), row.etag, etag)

    def open_version(self, row: Row, key_id: str) -> KeyVersion:
        """The version in a row, of the key whose metadata has the `id` `key_id`. Raises DamagedKey."""
        name, row_key = row["PartitionKey"], row["RowKey"]
        data_key = self._data_key.get()
        with _damage(name, row_key):
            document, sealed = row["document"], row["sealed"]

            def unseal() -> bytes:
                return open_sealed(data_key, sealed, name, row_key, key_id, document)

            unseal()  # The app wrote every value of the row itself.
            return KeyVersion(_VERSION.decode(document), sealed, unseal)

    def metadata_rows(self, start: str, end: str, page_rows: int = 1000, *, after: bool = False) -> Iterator[Row]:
        """The metadata rows of the keys from `start` (with `after`: behind it) up to `end`, by name."""
        yield from self._table.query(
            f"RowKey eq @row and PartitionKey {'gt' if after else 'ge'} @start and PartitionKey lt @end",
            {"row": METADATA_ROW, "start": start, "end": end},
            page_rows=page_rows,
        )

    def published_rows(self, *, versions: bool) -> Iterator[Row]:
        """The metadata rows, or the version rows, of the published keys, and perhaps of keys that were published."""
        yield from self._table.query(
            f"RowKey {'gt' if versions else 'eq'} @row and published eq true", {"row": METADATA_ROW}
        )

    def rows_after(self, partition: str, row_key: str, limit: int) -> list[Row]:
        """Up to `limit` rows of keys behind a position, in the order of the table."""
        rows = self._table.query(
            "RowKey ge @row and ( PartitionKey gt @partition or ( PartitionKey eq @partition and RowKey gt @after ) )",
            {"row": METADATA_ROW, "partition": partition, "after": row_key},
            page_rows=limit,
        )
        return [row for _, row in zip(range(limit), rows, strict=False)]

    def names_with(self, kid: str) -> list[str]:
        """The names of keys that may have this `kid`, from its index."""
        rows = self._table.query(
            "PartitionKey eq @kid", {"kid": _index_partition(kid)}, select=["RowKey"], page_rows=MAX_SAME_KID
        )
        return [row["RowKey"].removeprefix("@") for _, row in zip(range(MAX_SAME_KID), rows, strict=False)]

    # Writing

    def insert(self, name: str, metadata: KeyMetadata, *versions: tuple[Version, bytes]) -> None:
        """Create a key. Raises RowConflict if there is one of this name."""
        self._index(name, versions)
        rows = [self._version_row(name, metadata, *each) for each in versions]
        self._write(create(self._metadata_row(name, metadata)), *map(create, rows))

    def update(self, name: str, metadata: KeyMetadata, row_etag: str, *versions: tuple[Version, bytes]) -> None:
        """Replace the metadata under the ETag that was read, and add versions. Raises RowConflict."""
        self._index(name, versions)
        rows = [self._version_row(name, metadata, *each) for each in versions]
        self._write(replace(self._metadata_row(name, metadata), row_etag), *map(create, rows))

    def mark_published(self, name: str) -> None:
        """Set the hint on all versions of a key, before its metadata says that it is published."""
        rows = [row for row in self.all_of(name) if row["RowKey"] != METADATA_ROW and not row.get("published")]
        for at in range(0, len(rows), BATCH):
            self._write(*(replace({**row, "published": True}, row.etag) for row in rows[at : at + BATCH]))

    def remove(self, name: str) -> None:
        """Remove all rows of a key, its metadata last, so that an interrupted removal can be continued.

        Raises RowConflict if another call removes the same rows.
        """
        rows = self.all_of(name)
        versions = [row for row in rows if row["RowKey"] != METADATA_ROW]
        for row in versions:
            for kid in {str(row.get("key_id", "")), str(row.get("alias", ""))} - {""}:
                self._unindex(kid, name)
        for at in range(0, len(versions), BATCH):
            self._write(*(delete(_position(row)) for row in versions[at : at + BATCH]))
        if len(rows) > len(versions):
            self._write(delete({"PartitionKey": name, "RowKey": METADATA_ROW}))

    def _write(self, *operations: Operation) -> None:
        try:
            self._table.write(*operations)
        finally:  # A write that failed may have been carried out.
            self.state = object()

    def _index(self, name: str, versions: tuple[tuple[Version, bytes], ...]) -> None:
        for version, _ in versions:
            for kid in {version.key_id, version.alias} - {""}:
                self._data_key.get(create=True)  # The first row of a table is always the data key.
                self._table.write(put({"PartitionKey": _index_partition(kid), "RowKey": f"@{name}"}))

    def _unindex(self, kid: str, name: str) -> None:
        try:
            self._table.write(delete({"PartitionKey": _index_partition(kid), "RowKey": f"@{name}"}))
        except RowConflict:
            return  # It was removed already.

    def _metadata_row(self, name: str, metadata: KeyMetadata) -> dict[str, Any]:
        document = msgspec.json.encode(metadata).decode()
        sealed = seal(self._data_key.get(create=True), os.urandom(NONCE_BYTES), b"", name, METADATA_ROW, document)
        chunks = [document[at : at + CHUNK] for at in range(0, len(document), CHUNK)]
        row = {"PartitionKey": name, "RowKey": METADATA_ROW, "seal": sealed, "published": metadata.published}
        row |= {"document": chunks[0], "chunks": len(chunks)}
        return row | {f"document_{at}": chunk for at, chunk in enumerate(chunks) if at}

    def _version_row(self, name: str, metadata: KeyMetadata, version: Version, private: bytes) -> dict[str, Any]:
        document, row_key = msgspec.json.encode(version).decode(), version_row_key(version.number)
        data_key = self._data_key.get(create=True)
        sealed = seal(data_key, os.urandom(NONCE_BYTES), private, name, row_key, metadata.id, document)
        return {
            "PartitionKey": name,
            "RowKey": row_key,
            "document": document,
            "sealed": sealed,
            "key_id": version.key_id,
            "alias": version.alias,
            "published": metadata.published,
        }


def version_row_key(number: int) -> str:
    """The row key of a version."""
    return f"v{number:08d}"


def new_key_id() -> str:
    """A random `key_id`, for keys without a public half."""
    return secrets.token_urlsafe(32)


def new_metadata_id() -> str:
    """A random id for a new key."""
    return secrets.token_hex(16)


def _position(row: Row) -> dict[str, str]:
    return {"PartitionKey": row["PartitionKey"], "RowKey": row["RowKey"]}


def _index_partition(kid: str) -> str:
    # A `kid` may contain characters that a partition key may not. No key's name contains a colon.
    return "kid:" + hashlib.sha256(kid.encode()).hexdigest()[:40]


@contextmanager
def _damage(name: str, row_key: str) -> Iterator[None]:
    """Turn any exception from a row that something else wrote into DamagedKey."""
    try:
        yield
    except (SealBroken, KeyError, TypeError, ValueError, AttributeError, msgspec.MsgspecError) as error:
        raise DamagedKey(
            f"The row {row_key} of key {name} in the table {TABLE} was changed by something other than this app. "
            "The key is out of use. Restore the row from a backup, and find out who else can write to the table."
        ) from error
