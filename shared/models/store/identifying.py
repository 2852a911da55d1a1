"""Identifies the content of bytes and of blobs: reads the ends of blobs, and runs Magika's model in a child process."""

import contextvars
import hashlib
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from shared.errors import Busy, StrongroomError
from shared.models import content
from shared.models.content import Identified, Magika
from shared.models.onnx import TensorSpec
from shared.models.store.engine import Engine
from shared.models.tensors import Tensor, values_of
from shared.storage import Storage
from shared.storage.blobs import Blobs, if_match
from shared.storage.errors import RangeNotSatisfiable

MODEL = "standard_v3_3"
INPUT, OUTPUT = "bytes", TensorSpec("target_label", "FP32", None)
READERS = 16
"""Blobs that are read at the same time."""


class Ends(NamedTuple):
    """The first and the last bytes of a blob."""

    size: int
    first: bytes
    last: bytes
    content_type: str


class Identifier:
    """Identifies contents. Safe to use from many threads."""

    def __init__(self, storage: Storage, engine: Callable[[], Engine]) -> None:
        self._blobs = Blobs(storage)
        self._engine = engine
        self._readers = ThreadPoolExecutor(READERS, "identify")

    def identify(self, data: bytes, name: str, content_type: str) -> Identified:
        """The content of `data`, compared with a name and a Content-Type. Raises as `Engine.run` does."""
        block = self._magika.config.block_size
        ends = Ends(len(data), data[:block], data[-block:], content_type)
        return self._identified(ends, name)

    def identify_blobs(self, container: str, names: Sequence[str]) -> list[Identified | StrongroomError]:
        """The content of each blob, or the error of each that cannot be read. Raises ReservedContainer and Busy."""
        self._blobs.container(container)

        def read(name: str) -> Ends | StrongroomError:
            try:
                return self._read(container, name)
            except StrongroomError as error:
                return error

        # Each in a copy of this call's context, which has its deadline. This thread alone runs the model: it has one
        # process, and threads that wait for each other would get 429 on a machine that is slow.
        waiting = [self._readers.submit(contextvars.copy_context().run, read, name) for name in names]
        results: list[Identified | StrongroomError] = []
        for name, each in zip(names, waiting, strict=True):
            ends = each.result()
            try:
                results.append(self._identified(ends, name) if isinstance(ends, Ends) else ends)
            except Busy:
                raise
            except StrongroomError as error:
                results.append(error)
        return results

    def page(self, container: str, prefix: str, limit: int, token: str | None) -> tuple[list[str], str | None]:
        """The names of a page of blobs, and the token of the next page. Raises UnknownContainer, ReservedContainer."""
        client = self._blobs.container(container)

        def read(options: dict[str, Any]) -> tuple[list[str], str | None]:
            pages: Any = client.list_blob_names(name_starts_with=prefix, results_per_page=limit, **options).by_page(
                token
            )
            return list(next(pages, [])), pages.continuation_token or None

        return self._blobs.read(read)

    def _read(self, container: str, name: str) -> Ends:
        """The ends of a blob, in one request or two."""
        client: Any = self._blobs.blob(container, name)
        block = self._magika.config.block_size

        def download(options: dict[str, Any], offset: int, etag: str | None) -> tuple[bytes, Any]:
            stream = client.download_blob(offset=offset, length=block, decompress=False, **if_match(etag), **options)
            return stream.readall(), stream.properties

        try:
            first, properties = self._blobs.read(lambda options: download(options, 0, None))
        except RangeNotSatisfiable:
            return Ends(0, b"", b"", "")
        size, last = int(properties.size), first
        if size > block:
            last, _ = self._blobs.read(lambda options: download(options, size - block, str(properties.etag)))
        return Ends(size, first, last, str(properties.content_settings.content_type or ""))

    def _identified(self, ends: Ends, name: str) -> Identified:
        magika = self._magika
        features = magika.features(ends.size, ends.first, ends.last)
        if features is None:
            label, score = magika.without_model(ends.size, ends.first)
        else:
            tensor = Tensor(INPUT, "INT32", [1, len(features)], array("i", features).tobytes())
            # One blob in each run: a run of many takes more time for each, and much more memory.
            (output,) = self._engine().run(self._sha256, lambda: self._model, [tensor], [OUTPUT])
            label, score = magika.verdict(values_of(output))
        return magika.identified(label, score, name, ends.content_type)

    @cached_property
    def _folder(self) -> Path:
        spec = find_spec("magika")  # Finds the package without importing it.
        assert spec is not None  # noqa: S101 - the requirements have it.
        assert spec.origin is not None  # noqa: S101
        return Path(spec.origin).parent

    @cached_property
    def _magika(self) -> Magika:
        config = content.read_config((self._folder / "models" / MODEL / "config.min.json").read_bytes())
        table = (self._folder / "config" / "content_types_kb.min.json").read_bytes()
        return Magika(config, content.read_content_types(table))

    @cached_property
    def _model(self) -> bytes:
        return (self._folder / "models" / MODEL / "model.onnx").read_bytes()

    @cached_property
    def _sha256(self) -> str:
        return hashlib.sha256(self._model).hexdigest()
