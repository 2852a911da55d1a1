"""The files of a call inside the child process: every byte comes from the app, which checks each read."""

from __future__ import annotations

import re
from collections import OrderedDict
from datetime import UTC, datetime
from threading import Lock, get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable

PROTOCOL = "sr"
ROOT = f"{PROTOCOL}://data/"
PIECE_BYTES = 4 * 1024 * 1024
"""The most bytes that one message of the app holds."""
HELD_BYTES = 32 * 1024 * 1024
"""The most bytes of windows that are held."""
_NUMBER = re.compile(rf"(?:{PROTOCOL}://)?data/(\d+)[/.]")
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Entry(NamedTuple):
    """A file: its path for the engine, and its size in bytes."""

    path: str
    size: int


class _Window(NamedTuple):
    start: int
    data: bytes


class CallFiles(AbstractFileSystem):  # type: ignore[misc]
    """The files of one call, read-only. DuckDB calls it from several threads."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self, fetch: Callable[[int, int, int], tuple[int, bytes]]) -> None:
        """`fetch` returns at least the bytes (file, offset, length) that it is called with, and where they start."""
        super().__init__()
        self._fetch = fetch
        self._lock = Lock()
        self._windows: OrderedDict[tuple[int, int], _Window] = OrderedDict()
        self._held = 0
        self.entries: list[Entry] = []

    def find_entry(self, path: str) -> int:
        """The number of the file with this path. Raises FileNotFoundError."""
        match = _NUMBER.match(path)
        number = int(match[1]) if match else -1
        if not 0 <= number < len(self.entries) or self.entries[number].path.removeprefix(ROOT) != (
            path.removeprefix(f"{PROTOCOL}://").removeprefix("data/")
        ):
            raise FileNotFoundError(path)
        return number

    # What DuckDB calls.

    def open(self, path: str, mode: str = "rb", **_options: Any) -> Handle:
        if mode != "rb":
            raise PermissionError("Files are only read.")
        number = self.find_entry(path)
        return Handle(self, number, self.entries[number].size)

    def glob(self, path: str, **_options: Any) -> list[str]:
        try:
            self.find_entry(path)
        except FileNotFoundError:
            return []
        return [path]

    def info(self, path: str, **_options: Any) -> dict[str, Any]:
        return {"name": path, "size": self.entries[self.find_entry(path)].size, "type": "file"}

    def isfile(self, path: str) -> bool:
        return bool(self.glob(path))

    def exists(self, path: str, **_options: Any) -> bool:
        return bool(self.glob(path))

    def modified(self, path: str) -> datetime:
        self.find_entry(path)
        return LONG_AGO

    # Reading.

    def read_at(self, number: int, offset: int, length: int) -> bytes:
        """The bytes of a file: fewer than `length` only at its end."""
        end = min(offset + length, self.entries[number].size)
        parts: list[bytes] = []
        with self._lock:
            while offset < end:
                window = self._window(number, offset, end)
                part = window.data[offset - window.start : end - window.start]
                parts.append(part)
                offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _window(self, number: int, offset: int, end: int) -> _Window:
        """A window with the byte at `offset`."""
        for key in reversed(self._windows):
            window = self._windows[key]
            if key[0] == number and window.start <= offset < window.start + len(window.data):
                self._windows.move_to_end(key)
                return window
        start, data = self._fetch(number, offset, min(end - offset, PIECE_BYTES))
        if not start <= offset < start + len(data):
            raise OSError("The app sent other bytes.")
        window = _Window(start, data)
        self._held += len(data)
        old = self._windows.pop((number, start), None)
        self._held -= len(old.data) if old else 0
        self._windows[number, start] = window
        while self._held > HELD_BYTES and len(self._windows) > 1:
            _, dropped = self._windows.popitem(last=False)
            self._held -= len(dropped.data)
        return window


class Handle:
    """An open file. DuckDB seeks and then reads, from several threads, so each has its own position."""

    def __init__(self, files: CallFiles, number: int, size: int) -> None:
        self._files = files
        self._number = number
        self._positions: dict[int, int] = {}
        self.size = size
        self.closed = False

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self.tell(), self.size)[whence]
        self._positions[get_ident()] = position = max(0, base + offset)
        return position

    def tell(self) -> int:
        return self._positions.get(get_ident(), 0)

    def read(self, length: int = -1) -> bytes:
        offset = self.tell()
        if length < 0:
            length = max(0, self.size - offset)
        data = self._files.read_at(self._number, offset, length)
        self._positions[get_ident()] = offset + len(data)
        return data

    def flush(self) -> None:
        """Nothing was written."""

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
