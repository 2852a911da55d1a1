"""Blobs as this capability writes and reads them: exports, committed at their end, and datasets."""

import base64
import hashlib
import shutil
import weakref
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import quote

from shared.errors import StorageUnavailable, UnknownContainer
from shared.sql.errors import UnknownDatabase
from shared.storage import Storage

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

BLOCK_BYTES = 2 * 1024 * 1024
"""What is held in memory of an export. A blob has at most 50,000 blocks: 97 GiB."""
PIECE_BYTES = 1024 * 1024
RETRY_AFTER_SECONDS = 5
CHECK_SECONDS = 30.0
"""How often a dataset's blob is asked whether it changed."""


class Files:
    """Blob Storage of one account, as far as this capability needs it. Safe to use from many threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def check_container(self, container: str) -> None:
        """Raises UnknownContainer."""
        self._ask("HEAD", quote(container), {"restype": "container"}, {}, b"", 200)

    def write(self, container: str, name: str) -> "Upload":
        """A blob to be written piece by piece. Nothing of it is seen until it is committed."""
        return Upload(self, f"{quote(container)}/{quote(name, safe='/')}")

    def read(self, container: str, name: str, etag: str | None, path: Path) -> str | None:
        """Fetch a blob into the file `path`, unless it is still the one with this `etag`; its ETag now.

        None where there is no such blob. Raises StorageUnavailable, also where it breaks off.
        """
        headers = {} if etag is None else {"if-none-match": etag}
        path_in_url = f"{quote(container)}/{quote(name, safe='/')}"
        response = self._storage.blob_request("GET", path_in_url, {}, headers)
        try:
            if response.status == 304:
                return etag
            if response.status == 404:
                return None
            if response.status != 200:
                raise StorageUnavailable(f"Blob Storage answered {response.status}.", retry_after=RETRY_AFTER_SECONDS)
            return self._save(response, path)
        finally:
            response.release_conn()

    def _save(self, response: "BaseHTTPResponse", path: Path) -> str:
        import urllib3

        size = 0
        try:
            with path.open("wb") as file:
                for piece in response.stream(PIECE_BYTES):
                    size += file.write(piece)
        except urllib3.exceptions.HTTPError as error:
            raise StorageUnavailable("A dataset broke off.", retry_after=RETRY_AFTER_SECONDS) from error
        if size != int(response.headers.get("content-length", -1)):
            raise StorageUnavailable("A dataset broke off.", retry_after=RETRY_AFTER_SECONDS)
        return str(response.headers["etag"])

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes,
        good: int,
    ) -> None:
        response = self._storage.blob_request(method, path, query, headers, body)
        response.drain_conn()
        if response.status == 404:
            raise UnknownContainer("There is no such container: make it first.")
        if response.status != good:
            raise StorageUnavailable(f"Blob Storage answered {response.status}.", retry_after=RETRY_AFTER_SECONDS)


class Upload:
    """A block blob in the making; something that libraries can write to as to a file."""

    closed = False

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path
        self._pending = bytearray()
        self._blocks: list[str] = []
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Take a piece; full blocks are sent on."""
        self._pending += data
        while len(self._pending) >= BLOCK_BYTES:
            self._send(bytes(memoryview(self._pending)[:BLOCK_BYTES]))
            del self._pending[:BLOCK_BYTES]
        return len(data)

    def flush(self) -> None:
        """Nothing to do: blocks are sent when they are full."""

    def _send(self, block: bytes) -> None:
        name = base64.b64encode(f"{len(self._blocks):08d}".encode()).decode()
        self._files._ask("PUT", self._path, {"comp": "block", "blockid": name}, {}, block, 201)
        self._digest.update(block)
        self.size += len(block)
        self._blocks.append(name)

    def commit(self, content_type: str, row_count: int, disposition: str | None) -> str:
        """Make the blob of all that was written, in place of a blob with its name; its SHA-256, in hexadecimal."""
        if self._pending:
            self._send(bytes(self._pending))
        listed = "".join(f"<Latest>{name}</Latest>" for name in self._blocks)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
        digest = self._digest.hexdigest()
        headers = {
            "x-ms-blob-content-type": content_type,
            "x-ms-meta-rowcount": str(row_count),
            "x-ms-meta-sha256": digest,
        }
        if disposition is not None:
            headers["x-ms-blob-content-disposition"] = disposition
        self._files._ask("PUT", self._path, {"comp": "blocklist"}, headers, body, 201)
        return digest


class Dataset:
    """A SQLite file in Blob Storage, read from a copy on local disk. Safe to use from many threads."""

    def __init__(self, files: Files, container: str, name: str) -> None:
        self._files = files
        self._container = container
        self._name = name
        self._lock = Lock()
        self._asked = 0.0
        self._etag: str | None = None
        self._folder: Path | None = None

    def path(self) -> str:
        """Where the copy is, at most CHECK_SECONDS behind the blob. Raises UnknownDatabase or StorageUnavailable.

        Whoever reads an old copy reads on in it: the new one takes its name, and the old one goes with its last reader.
        """
        is_due = self._etag is None or monotonic() - self._asked > CHECK_SECONDS
        # One asks; the others read the copy that there is, or wait for the first.
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
        if self._etag is not None and monotonic() - self._asked <= CHECK_SECONDS:
            return  # Another asked while this one waited.
        if self._folder is None:
            # Readable by us alone, and gone when the app ends.
            self._folder = Path(mkdtemp(prefix="strongroom-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        fetched = self._copy.with_name("fetched")
        try:
            etag = self._files.read(self._container, self._name, self._etag, fetched)
        except StorageUnavailable:
            if self._etag is None:
                raise
            self._asked = monotonic()  # The copy is good for another while.
            return
        if etag is None:
            self._etag = None
            raise UnknownDatabase(
                f"There is no blob {self._name} in the container {self._container} yet. Upload the SQLite file: "
                f"az storage blob upload -c {self._container} -n {self._name} -f FILE --auth-mode login"
            )
        if etag != self._etag:
            fetched.replace(self._copy)
            self._etag = etag
        self._asked = monotonic()
