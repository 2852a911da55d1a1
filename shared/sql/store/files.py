"""Blobs as this capability writes and reads them: exports, committed at their end, and datasets."""

import base64
import hashlib
import secrets
import shutil
import weakref
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from time import monotonic
from typing import Any

from shared.deadline import call_limit
from shared.errors import NotFound, StorageUnavailable, StrongroomError, UnknownContainer
from shared.sql.errors import DatasetTooLarge, ExportTooLarge, UnknownDatabase
from shared.storage import Storage
from shared.storage.blobs import Blobs, if_match, if_missing
from shared.storage.errors import BlobConflict, UnknownBlob

BLOCK_BYTES = 2 * 1024 * 1024
ATTEMPTS = 5
"""How often a small export is committed again after another one to the same name was faster."""
HELD_BYTES = 8 * 1024 * 1024
"""How much of an export is held in memory: nothing reaches storage before an export is larger."""
MAX_EXPORT_BYTES = 4 * 1024**3
"""The most bytes of an export, and of the blocks that it stages."""
DISCARD_SECONDS = 5.0
"""How long a failed export may take to remove its blocks."""
RETRY_AFTER_SECONDS = 5
CHECK_SECONDS = 30.0
"""How often the app checks whether a dataset's blob has changed."""
MAX_DATASET_BYTES = 4 * 1024**3
SPARE_BYTES = 64 * 1024 * 1024
"""What a dataset leaves free on the local disk."""


class Files:
    """Blob Storage of one account, as far as this capability needs it. Safe to use from many threads.

    Every method raises ReservedContainer for a container of the host or the app.
    """

    def __init__(self, storage: Storage) -> None:
        self._blobs = Blobs(storage)

    def check_container(self, container: str) -> None:
        """Raises UnknownContainer."""
        client = self._blobs.container(container)
        self._blobs.read(lambda options: client.get_container_properties(**options))

    def write(self, container: str, name: str) -> "Upload":
        """A blob to write piece by piece. Nobody sees any of it before it is committed."""
        return Upload(self._blobs, self._blobs.blob(container, name))

    def read(self, container: str, name: str, etag: str | None, path: Path) -> str | None:
        """Fetch a blob into the file `path`, unless it still has this `etag`, and return its ETag.

        None if the blob does not exist. Raises DatasetTooLarge, and StorageUnavailable also if the download breaks off.
        """
        client = self._blobs.blob(container, name)
        try:
            properties = self._blobs.read(lambda options: client.get_blob_properties(**options))
        except (UnknownBlob, UnknownContainer):
            return None
        current = str(properties.etag)
        if current == etag:
            return etag
        if properties.size > min(MAX_DATASET_BYTES, shutil.disk_usage(path.parent).free - SPARE_BYTES):
            raise DatasetTooLarge(f"The blob {name} has {properties.size} bytes, which do not fit on the local disk.")
        self._blobs.read(lambda options: _save(client, current, path, options))
        return current


def _save(client: Any, etag: str, path: Path, options: dict[str, Any]) -> None:
    with path.open("wb") as file:
        client.download_blob(**if_match(etag), **options).readinto(file)


class Upload:
    """A block blob that is written piece by piece, by libraries that write to a file.

    As a context manager, it discards the staged blocks if the block ends with an exception.
    """

    closed = False

    def __init__(self, blobs: Blobs, client: Any) -> None:
        self._storage = blobs
        self._client = client
        self._pending = bytearray()
        # Two exports to one name must not mix their blocks. All names of a blob's blocks have one length.
        self._prefix = secrets.token_bytes(5)
        self._blocks: list[str] = []
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Append `data`. Raises ExportTooLarge."""
        if self.size + len(self._pending) + len(data) > MAX_EXPORT_BYTES:
            raise ExportTooLarge(f"The result has more than {MAX_EXPORT_BYTES} bytes. Export it in parts.")
        self._pending += data
        while len(self._pending) >= HELD_BYTES:
            self._send_block()
        return len(data)

    def _send_block(self) -> None:
        self._send(bytes(memoryview(self._pending)[:BLOCK_BYTES]))
        del self._pending[:BLOCK_BYTES]

    def flush(self) -> None:
        """Nothing to do: blocks are sent when they are full."""

    def _send(self, block: bytes) -> None:
        name = base64.b64encode(self._prefix + len(self._blocks).to_bytes(3, "big")).decode()
        self._stage(name, block)
        self._digest.update(block)
        self.size += len(block)
        self._blocks.append(name)

    def _stage(self, name: str, block: bytes) -> None:
        self._storage.read(lambda options: self._client.stage_block(name, block, len(block), **options))

    def commit(self, content_type: str, row_count: int, disposition: str | None) -> str:
        """Make the blob of all that was written, replacing one of its name; its SHA-256, in hexadecimal."""
        from azure.storage.blob import BlobBlock, ContentSettings

        only = bytes(self._pending) if not self._blocks and len(self._pending) <= BLOCK_BYTES else None
        while self._pending:
            self._send_block()
        digest = self._digest.hexdigest()

        def send(options: dict[str, Any]) -> bool:
            self._client.commit_block_list(
                [BlobBlock(name) for name in self._blocks],
                content_settings=ContentSettings(content_type=content_type, content_disposition=disposition),
                metadata={"rowcount": str(row_count), "sha256": digest},
                **options,
            )
            return True

        for left in reversed(range(ATTEMPTS)):
            try:
                self._storage.write(send, lambda: self._is_committed(digest))
                break
            except BlobConflict:
                # Another export to this name has committed, and storage has dropped our block. It is still here if it
                # is the only one.
                if not left or not only:
                    raise
                self._stage(self._blocks[0], only)
        return digest

    def __enter__(self) -> "Upload":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is not None and self._blocks:
            # Storage that is unavailable now removes the blocks itself, after a week.
            with call_limit(DISCARD_SECONDS), suppress(StrongroomError):
                self._discard()

    def _discard(self) -> None:
        """Remove the staged blocks. A commit of other blocks is the only way: of none, or of those of the blob."""
        from azure.storage.blob import BlobBlock

        client = self._client
        try:
            properties = self._storage.read(lambda options: client.get_blob_properties(**options))
        except UnknownBlob:
            made = self._storage.read(lambda options: client.commit_block_list([], **if_missing(), **options))
            self._storage.read(lambda options: client.delete_blob(**if_match(made["etag"]), **options))
            return
        if not {"sha256", "rowcount"} <= set(properties.metadata):
            return  # Not an export: storage removes the blocks after a week, or at the next write to the blob.
        committed, _ = self._storage.read(lambda options: client.get_block_list("committed", **options))
        self._storage.read(
            lambda options: client.commit_block_list(
                [BlobBlock(block.id) for block in committed],
                content_settings=properties.content_settings,
                metadata=properties.metadata,
                **if_match(properties.etag),
                **options,
            )
        )

    def _is_committed(self, digest: str) -> bool | None:
        """True if this upload wrote the blob; None if not."""
        try:
            properties = self._storage.read(lambda options: self._client.get_blob_properties(**options))
        except NotFound:
            return None
        return properties.metadata.get("sha256") == digest or None


class Dataset:
    """A SQLite file in Blob Storage, read from a copy on local disk. Safe to use from many threads."""

    def __init__(self, files: Files, container: str, name: str) -> None:
        self._files = files
        self._container = container
        self._name = name
        self._lock = Lock()
        self._checked = 0.0
        self._etag: str | None = None
        self._folder: Path | None = None

    def path(self) -> str:
        """The path of the copy, at most CHECK_SECONDS behind the blob. Raises UnknownDatabase or StorageUnavailable.

        Queries that run continue with the old copy: the new one takes its name, and the old one is removed when its
        last reader has closed it.
        """
        is_due = self._etag is None or monotonic() - self._checked > CHECK_SECONDS
        # One call checks; the others read the present copy, or wait for the first one.
        if is_due and self._lock.acquire(blocking=self._etag is None):
            try:
                self._refresh()
            finally:
                self._lock.release()
        return str(self._copy)

    @property
    def _copy(self) -> Path:
        assert self._folder is not None  # noqa: S101 - it is made before the first copy.
        return self._folder / "dataset.sqlite"

    def _refresh(self) -> None:
        if self._etag is not None and monotonic() - self._checked <= CHECK_SECONDS:
            return  # Another call checked while this one waited.
        if self._folder is None:
            # Only the app can read it, and it is removed when the app ends.
            self._folder = Path(mkdtemp(prefix="strongroom-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        fetched = self._copy.with_name("fetched")
        try:
            etag = self._files.read(self._container, self._name, self._etag, fetched)
        except StorageUnavailable:
            if self._etag is None:
                raise
            self._checked = monotonic()  # The copy serves until the next check.
            return
        if etag is None:
            self._etag = None
            raise UnknownDatabase(
                f"The container {self._container} has no blob {self._name} yet. Upload the SQLite file: "
                f"az storage blob upload -c {self._container} -n {self._name} -f FILE --auth-mode login"
            )
        if etag != self._etag:
            fetched.replace(self._copy)
            self._etag = etag
        self._checked = monotonic()
