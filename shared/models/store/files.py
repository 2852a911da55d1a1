"""Model files in Blob Storage: read from the callers' containers, and kept under their hash in one of the app's own."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from shared.errors import PreconditionFailed, UnknownContainer
from shared.inflight import inflight
from shared.models.errors import ModelNotTrusted, UnsupportedModel
from shared.models.manifest import SAVE_AGAIN
from shared.models.onnx import MAX_MODEL_BYTES
from shared.storage import Storage
from shared.storage.blobs import Blobs, if_match
from shared.storage.errors import ContainerExists, UnknownBlob

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

CONTAINER = "strongroom-models"
"""Reserved: `shared.storage.containers` keeps every function that names a container out of it."""
KEEP = timedelta(days=1)
"""A file without a version may belong to a save that is running."""


class ModelFiles:
    """The files of models. Safe to use from many threads.

    `used` returns the hashes of the files that a version has.
    """

    def __init__(self, storage: Storage, used: Callable[[], set[str]]) -> None:
        self._blobs = Blobs(storage)
        self._used = used

    def fetch(self, container: str, name: str) -> bytes:
        """The bytes of a caller's blob. Raises UnknownBlob, UnknownContainer, ReservedContainer, UnsupportedModel."""
        client = self._blobs.blob(container, name)
        properties = self._blobs.read(lambda options: client.get_blob_properties(**options))
        if properties.size > MAX_MODEL_BYTES:
            raise UnsupportedModel(f"The blob has {properties.size} bytes, and a model has at most {MAX_MODEL_BYTES}.")
        inflight.book(properties.size)
        return self._blobs.read(lambda options: _download(client, options, etag=str(properties.etag)))

    def keep(self, data: bytes) -> str:
        """Keep a copy under its SHA-256, which is returned, in hexadecimal."""
        sha256 = hashlib.sha256(data).hexdigest()

        def upload(options: dict[str, Any]) -> None:
            self._client(sha256).upload_blob(data, length=len(data), overwrite=True, validate_content=True, **options)

        try:
            self._blobs.read(upload)  # To repeat it does no harm: the name is the content.
        except UnknownContainer:
            self._create_container()
            self._blobs.read(upload)
        return sha256

    def load(self, sha256: str) -> bytes:
        """The file of a version. Raises ModelNotTrusted where it is missing, or has another hash."""
        try:
            data = self._blobs.read(lambda options: _download(self._client(sha256), options))
        except (UnknownBlob, UnknownContainer):
            raise ModelNotTrusted(f"The file of the model is missing. {SAVE_AGAIN}") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ModelNotTrusted(f"The file of the model was changed. {SAVE_AGAIN}")
        return data

    def purge(self, now: datetime) -> int:
        """Remove the files that no version has had for a day; returns their number."""
        container = self._blobs.service.get_container_client(CONTAINER)

        def listed(options: dict[str, Any]) -> list[tuple[str, str]]:
            blobs = container.list_blobs(**options)
            return [(each.name, each.etag) for each in blobs if each.last_modified < now - KEEP]

        try:
            old = self._blobs.read(listed)
        except UnknownContainer:
            return 0
        used = self._used() if old else set()  # Read after the listing: a version of today keeps its file.
        unused = [(name, etag) for name, etag in old if name not in used]
        for name, etag in unused:
            delete = partial(self._client(name).delete_blob, **if_match(etag))
            # Gone, or kept again for a model that is being saved.
            with suppress(UnknownBlob, PreconditionFailed):
                self._blobs.read(lambda options, delete=delete: delete(**options))  # type: ignore[misc]
        return len(unused)

    def _client(self, sha256: str) -> "BlobClient":
        return self._blobs.service.get_blob_client(CONTAINER, sha256)

    def _create_container(self) -> None:
        client = self._blobs.service.get_container_client(CONTAINER)
        with suppress(ContainerExists):
            self._blobs.read(lambda options: client.create_container(**options))


def _download(client: "BlobClient", options: dict[str, Any], etag: str | None = None) -> bytes:
    stream = client.download_blob(**if_match(etag), decompress=False, **options)
    if stream.size > MAX_MODEL_BYTES:
        return b""
    data: bytes = stream.readall()
    return data
