"""The records of models in Table Storage: one row per version, and one per model with its current version.

A row holds the signed record (`manifest`), as bytes in the columns `p0`, `p1` and so on, and a sealed key where an
endpoint has one. Nothing else in a row is trusted: a change shows in the signature.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple, Protocol

from shared.errors import invalid_field
from shared.models import manifest
from shared.models.errors import ModelNotTrusted, UnknownModel
from shared.models.manifest import SAVE_AGAIN, Manifest
from shared.storage import Row, Storage, Table, create, delete, put, replace, retry_on_conflict

TABLE = "strongroommodels"
PARTITION = "model"
CACHE_SECONDS = 5.0
"""How long another instance may use a model after it was changed or deleted."""
MAX_CACHED = 1000
MAX_VERSIONS = 1000
PIECE_BYTES = 60_000
MAX_RECORD_BYTES = 240_000
NONCE_BYTES = 12
_AFTER_ALL = "~"
"""Sorts after every character of a name and a version."""


class SigningKey(Protocol):
    """The app's own signing key."""

    def signer(self) -> tuple[str, Callable[[bytes], bytes]]:
        """The `kid` of the current version, and its signatures."""
        ...

    def public_key(self, key_id: str, began: float) -> Any:
        """The public key of a version; None if there is none, or if it is not trusted any more."""
        ...


class Stored(NamedTuple):
    """A version of a model, with its signature checked."""

    manifest: Manifest
    signature: str
    sealed_key: bytes = b""


class Listed(NamedTuple):
    """A model in a listing: its current version, or None where its record is not trusted."""

    name: str
    stored: Stored | None


class RecordStore:
    """Saved models by name and version. Safe to use from many threads.

    `key` returns the app's own signing key, and `derive_key` 32 bytes for a purpose. Every method raises
    StorageUnavailable, StorageForbidden and Busy.
    """

    def __init__(self, storage: Storage, key: Callable[[], SigningKey], derive_key: Callable[[str], bytes]) -> None:
        self._table = Table(storage, TABLE)
        self._key = key
        self._derive_key = derive_key
        self._lock = Lock()
        self._cache: dict[tuple[str, int | None], tuple[float, str, bytes]] = {}
        self._verified: dict[str, tuple[str, Manifest]] = {}

    # Reading

    def get(self, name: str, version: int | None = None) -> Stored:
        """A version of a model, the current one by default, at most CACHE_SECONDS old.

        Raises UnknownModel, and ModelNotTrusted where the signature or its key's state does not hold.
        """
        began = monotonic()
        cached = self._cache.get((name, version))
        if cached is None or began - cached[0] > CACHE_SECONDS:
            row = self._table.get(PARTITION, _head_key(name) if version is None else _version_key(name, version))
            if row is None:
                with self._lock:
                    self._cache.pop((name, version), None)
                raise self._unknown(name, version)
            cached = began, *_content(row)
            with self._lock:
                if len(self._cache) >= MAX_CACHED:
                    self._cache.clear()
                self._cache[name, version] = cached
        return Stored(self._checked(cached[1], name, version, began), cached[1], cached[2])

    def versions(self, name: str) -> list[int]:
        """The numbers of a model's versions, in order."""
        return [_number(row) for row in self._version_rows(name, select=["RowKey"])]

    def page(self, prefix: str, after: str, limit: int) -> list[Listed]:
        """The first `limit` models, by name, whose names start with `prefix` and come after `after`."""
        condition = "PartitionKey eq @partition and RowKey gt @after and RowKey ge @from and RowKey lt @to"
        values = {
            "partition": PARTITION,
            "after": _head_key(after),
            "from": _head_key(prefix),
            "to": _head_key(prefix + _AFTER_ALL),
        }
        began = monotonic()
        listed: list[Listed] = []
        for row in self._table.query(condition, values, page_rows=limit):
            name = row["RowKey"].partition("|")[2]
            stored = None
            with suppress(ModelNotTrusted):
                signature, sealed = _content(row)
                stored = Stored(self._checked(signature, name, None, began), signature, sealed)
            listed.append(Listed(name, stored))
            if len(listed) == limit:
                break
        return listed

    def hashes(self) -> set[str]:
        """The hashes of all versions' files."""
        condition = "PartitionKey eq @partition and RowKey gt @from and RowKey lt @to"
        values = {"partition": PARTITION, "from": "v|", "to": "v|" + _AFTER_ALL}
        return {str(row.get("sha256", "")) for row in self._table.query(condition, values, select=["RowKey", "sha256"])}

    def _version_rows(self, name: str, select: list[str] | None = None) -> Iterator[Row]:
        condition = "PartitionKey eq @partition and RowKey gt @from and RowKey lt @to"
        start = _version_key(name, None)
        return self._table.query(
            condition, {"partition": PARTITION, "from": start, "to": start + _AFTER_ALL}, select=select
        )

    def _checked(self, signature: str, name: str, version: int | None, began: float) -> Manifest:
        """The record, if its signature and the state of its key hold. Raises ModelNotTrusted."""
        known = self._verified.get(signature)
        key_id = known[0] if known is not None else manifest.key_id_of(signature)
        public_key = self._key().public_key(key_id, began)
        if public_key is None:
            raise ModelNotTrusted(
                f"The key that signed the record of the model is unknown, disabled or revoked. {SAVE_AGAIN}"
            )
        if known is not None and known[1].name == name and version in (None, known[1].version):
            return known[1]
        record = manifest.verify(signature, public_key, name, version)
        with self._lock:
            if len(self._verified) >= MAX_CACHED:
                self._verified.clear()
            self._verified[signature] = key_id, record
        return record

    def _unknown(self, name: str, version: int | None) -> UnknownModel:
        if version is None:
            return UnknownModel(f"No saved model has the name {name}. list-models lists them.")
        return UnknownModel(f"The model {name} has no version {version}. get-model lists its versions.")

    # Writing

    def save(
        self, name: str, describe: Callable[[int], Manifest], is_same: Callable[[Stored], bool], sealed_key: bytes
    ) -> tuple[Stored, bool]:
        """Save the next version of a model, unless `is_same` as the current one; and whether a version was saved.

        `describe` makes the record of a version's number. Raises InvalidRequest where it is too long.
        """

        def attempt() -> tuple[Stored, bool]:
            head = self._table.get(PARTITION, _head_key(name))
            if head is not None:
                with suppress(ModelNotTrusted):
                    signature, sealed = _content(head)
                    stored = Stored(self._checked(signature, name, None, monotonic()), signature, sealed)
                    if is_same(stored):
                        return stored, False
            latest = 0 if head is None else head.get("latest")
            # The rows count, too: a changed `latest` must not write over a version.
            number = max([latest if isinstance(latest, int) else 0, *self.versions(name)]) + 1
            if number > MAX_VERSIONS:
                raise invalid_field("name", f"A model has at most {MAX_VERSIONS} versions. Use another name.")
            record = describe(number)
            key_id, sign_bytes = self._key().signer()
            signature = manifest.sign(record, key_id, sign_bytes)
            columns = _columns(signature, sealed_key)
            first = {"PartitionKey": PARTITION, "RowKey": _head_key(name), "latest": number, **columns}
            row = {
                "PartitionKey": PARTITION,
                "RowKey": _version_key(name, number),
                "sha256": record.sha256 or "",
                **columns,
            }
            self._table.write(create(first) if head is None else replace(first, head.etag), put(row))
            return Stored(record, signature, sealed_key), True

        saved = retry_on_conflict(attempt)
        self._forget(name)
        return saved

    def delete(self, name: str, version: int | None) -> None:
        """Delete a version, or the whole model. Raises UnknownModel."""

        def attempt() -> None:
            head = self._table.get(PARTITION, _head_key(name))
            rows = {_number(row): row for row in self._version_rows(name)}
            if head is None or (version is not None and version not in rows):
                raise self._unknown(name, version)
            if version is None or set(rows) == {version}:
                numbers = sorted(rows)
                # The row of the model goes last: a deletion that is interrupted can be repeated.
                while len(numbers) > 90:
                    self._table.write(*(delete(rows[number]) for number in numbers[:90]))
                    del numbers[:90]
                self._table.write(*(delete(rows[number]) for number in numbers), delete(head, head.etag))
                return
            newest = max(number for number in rows if number != version)
            signature, sealed = _content(rows[newest])
            first = {
                "PartitionKey": PARTITION,
                "RowKey": _head_key(name),
                "latest": head.get("latest", newest),
                **_columns(signature, sealed),
            }
            self._table.write(replace(first, head.etag), delete(rows[version]))

        retry_on_conflict(attempt)
        self._forget(name)

    def _forget(self, name: str) -> None:
        with self._lock:
            for each in [key for key in self._cache if key[0] == name]:
                del self._cache[each]

    # Keys of endpoints

    def seal(self, key: str, name: str) -> bytes:
        """An endpoint's key, encrypted under a key of the app (AES-256-GCM) and bound to the model's name."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self._derive_key("model-keys")).encrypt(nonce, key.encode(), name.encode())

    def open(self, sealed: bytes, name: str) -> str:
        """The key of an endpoint. Raises ModelNotTrusted where the seal does not hold."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            opened = AESGCM(self._derive_key("model-keys")).decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], name.encode()
            )
        except (InvalidTag, ValueError):
            raise ModelNotTrusted(f"The key of the endpoint was changed. {SAVE_AGAIN}") from None
        return opened.decode()


def _head_key(name: str) -> str:
    return f"m|{name}"


def _version_key(name: str, version: int | None) -> str:
    return f"v|{name}|" if version is None else f"v|{name}|{version:08d}"


def _number(row: Row) -> int:
    """The version in a row's key; 0 where the app did not write it."""
    text = row["RowKey"].rpartition("|")[2]
    return int(text) if re.fullmatch("[0-9]{8}", text) else 0


def _columns(signature: str, sealed_key: bytes) -> dict[str, bytes]:
    data = signature.encode()
    if len(data) > MAX_RECORD_BYTES:
        raise invalid_field("labels", "The labels, features and description are too long together. Shorten them.")
    columns = {f"p{number}": data[at : at + PIECE_BYTES] for number, at in enumerate(range(0, len(data), PIECE_BYTES))}
    return columns | ({"sealed_key": sealed_key} if sealed_key else {})


def _content(row: Row) -> tuple[str, bytes]:
    pieces: list[bytes] = []
    while isinstance(piece := row.get(f"p{len(pieces)}"), bytes):
        pieces.append(piece)
    sealed = row.get("sealed_key")
    return b"".join(pieces).decode("ascii", "replace"), sealed if isinstance(sealed, bytes) else b""
