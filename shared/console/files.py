"""The files of the console: those that its build lists in manifest.json, or the sources in a checkout."""

import hashlib
import os
from collections.abc import Callable, Mapping

import msgspec

from shared.console.settings import Mode
from shared.once import Once

# With os.path, not pathlib: that takes 2 ms to load.
_FOLDER = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120
STATIC = os.path.join(_FOLDER, "static")  # noqa: PTH118
SOURCES = os.path.join(os.path.dirname(os.path.dirname(_FOLDER)), "console")  # noqa: PTH118, PTH120
TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8",
}
"""Without a charset, a browser may read a module in another encoding."""


class Entry(msgspec.Struct, frozen=True):
    """The entry of a file in manifest.json."""

    type: str
    immutable: bool
    """Whether the name contains a hash of the content, so that the content never changes."""


_ENTRIES = msgspec.json.Decoder(dict[str, Entry])


class File(msgspec.Struct, frozen=True):
    """A file of the console, as it is sent."""

    type: str
    immutable: bool
    body: bytes
    packed: bytes | None
    """The same, compressed by Brotli; None for sources."""
    etag: str
    """The ETag of the plain body. The compressed body has its own."""


def load(mode: Mode) -> Mapping[str, Callable[[], File]]:
    """The files by name, each read at its first use. Nothing else can be served: there is no other name."""
    if mode == "off":
        return {}
    if mode == "modules":
        return {name: _source(path) for name, path in _sources(SOURCES)}
    with open(os.path.join(STATIC, "manifest.json"), "rb") as manifest:  # noqa: PTH118, PTH123
        entries = _ENTRIES.decode(manifest.read())
    return {name: Once(_reader(name, entry)) for name, entry in entries.items()}


def _reader(name: str, entry: Entry) -> Callable[[], File]:
    def read() -> File:
        body, packed = _read(os.path.join(STATIC, name)), _read(os.path.join(STATIC, f"{name}.br"))  # noqa: PTH118
        return File(entry.type, entry.immutable, body, packed, _etag(body))

    return read


def _source(path: str) -> Callable[[], File]:
    """A source is read at each request, so that an edit shows after a reload."""

    def read() -> File:
        body = _read(path)
        return File(TYPES[path.rpartition(".")[2]], immutable=False, body=body, packed=None, etag=_etag(body))

    return read


def _sources(folder: str) -> list[tuple[str, str]]:
    files = []
    for at, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(at, name)  # noqa: PTH118
            if name.rpartition(".")[2] in TYPES:
                files.append((os.path.relpath(path, folder).replace(os.sep, "/"), path))
    return files


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib would take 2 ms of a cold start.
        return file.read()


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:20]}"'
