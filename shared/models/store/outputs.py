"""The output blobs of batches: each is written once, whole or not at all."""

import hashlib
import re
from typing import Any, NamedTuple

from shared.errors import NotFound, PreconditionFailed
from shared.storage import Storage
from shared.storage.blobs import Blobs, if_missing


class Output(NamedTuple):
    """An output that exists."""

    row_count: int
    sha256: str


class Outputs:
    """Blobs of the callers' containers. Safe to use from many threads."""

    def __init__(self, storage: Storage) -> None:
        self._blobs = Blobs(storage)

    def check_container(self, container: str) -> None:
        """Raises UnknownContainer and ReservedContainer."""
        client = self._blobs.container(container)
        self._blobs.read(lambda options: client.get_container_properties(**options))

    def find(self, container: str, name: str) -> Output | None:
        """The output of this name, if an earlier call wrote it."""
        client = self._blobs.blob(container, name)
        try:
            properties = self._blobs.read(lambda options: client.get_blob_properties(**options))
        except NotFound:
            return None
        count, sha256 = properties.metadata.get("rowcount", ""), properties.metadata.get("sha256", "")
        return Output(int(count) if re.fullmatch("[0-9]{1,15}", count) else 0, str(sha256))

    def write(self, container: str, name: str, data: bytes, row_count: int, content_type: str) -> Output:
        """Write an output, unless another call was faster: then that one stays."""
        from azure.storage.blob import ContentSettings

        client = self._blobs.blob(container, name)
        written = Output(row_count, hashlib.sha256(data).hexdigest())

        def upload(options: dict[str, Any]) -> Output:
            client.upload_blob(
                data,
                length=len(data),
                overwrite=True,
                content_settings=ContentSettings(content_type=content_type),
                metadata={"rowcount": str(row_count), "sha256": written.sha256},
                validate_content=True,
                **if_missing(),
                **options,
            )
            return written

        try:
            return self._blobs.write(upload, lambda: self.find(container, name))
        except PreconditionFailed:
            return self.find(container, name) or written
