"""The child's side of writing Parquet: DuckDB copies an Arrow stream to a file, and both pass through the channel.

Each message to the app is one letter and data: `r` requests the next piece of the stream (an empty one ends it), `w`
carries bytes of the file, `d` says that it is complete, and `e` names a failure.
"""

import io
import os
from typing import TYPE_CHECKING, Any

import duckdb
import fsspec  # type: ignore[import-untyped]
import msgspec
import nanoarrow as na  # type: ignore[import-untyped]
from nanoarrow.ipc import InputStream  # type: ignore[import-untyped]

from shared.sandbox.child import confine, limit_cpu

if TYPE_CHECKING:
    from shared.sandbox.child import Channel

PIECE_BYTES = 1024 * 1024
GROUP_BYTES = 8 * 1024 * 1024
"""About how many bytes a row group has."""
SETTINGS: dict[str, Any] = {
    "threads": 1,
    "async_threads": 0,  # Others would write at the same time as this thread reads: the channel serves one.
    "allow_unsigned_extensions": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    # With one thread, rows keep their order all the same; this lets a row group end by its bytes.
    "preserve_insertion_order": False,
}
COPY = f"copy stream to 'out://parquet' (format parquet, compression zstd, row_group_size_bytes {GROUP_BYTES})"


def serve(channel: "Channel") -> None:
    """Write one file."""
    confine()
    request = channel.receive()
    if request is None:
        return
    limit_cpu(msgspec.msgpack.decode(request, type=float))
    failure = _copy(channel)
    channel.send(b"e" + failure if failure else b"d")
    # The app may still be sending a piece that did not fit into memory. It ends this process.
    while os.read(0, PIECE_BYTES):
        pass


def _copy(channel: "Channel") -> bytes:
    """Write the file. Returns the kind of a failure; empty if there was none."""
    try:
        db = duckdb.connect(":memory:", config=SETTINGS | {"memory_limit": f"{_memory_bytes() // 1024}KiB"})
        channel.on_interrupt(db.interrupt)
        db.execute("set enable_progress_bar = false")  # After two seconds it would print to the channel.
        db.register_filesystem(_Files(channel))
        stream = io.BufferedReader(_Stream(channel), PIECE_BYTES)
        db.register("stream", na.ArrayStream(InputStream.from_readable(stream)))
        db.execute(COPY)
    except duckdb.InterruptException:
        return b"time"
    except (MemoryError, duckdb.OutOfMemoryException):
        return b"memory"
    except Exception as error:  # noqa: BLE001 - the app gets the kind of every failure.
        return b"memory" if _is_memory(str(error).lower()) else b"engine"
    return b""


def _is_memory(text: str) -> bool:
    """Whether the message of an error says that memory is short: nanoarrow and DuckDB have no common class for it."""
    return "alloc" in text or "memory" in text


def _memory_bytes() -> int:
    """Two thirds of this process's memory: the rest is for Python and for pieces on their way."""
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] * 2 // 3


class _Stream(io.RawIOBase):
    """The Arrow stream that the app sends, piece by piece."""

    def __init__(self, channel: "Channel") -> None:
        self._channel = channel
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._channel.send(b"r")
            self._rest = memoryview(self._channel.receive() or b"")
        length = min(len(buffer), len(self._rest))
        buffer[:length] = self._rest[:length]
        self._rest = self._rest[length:]
        return length


class _Files(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A file system with one file, which DuckDB writes from its beginning to its end."""

    protocol = "out"
    cachable = False

    def __init__(self, channel: "Channel") -> None:
        super().__init__()
        self._channel = channel

    def open(self, _path: str, _mode: str = "rb", **_options: Any) -> "_File":
        return _File(self._channel)

    def exists(self, _path: str, **_options: Any) -> bool:
        return False

    def isfile(self, _path: str) -> bool:
        return False

    def isdir(self, _path: str) -> bool:
        return False


class _File:
    """The file: its bytes go to the app."""

    def __init__(self, channel: "Channel") -> None:
        self._channel = channel
        self._size = 0

    def write(self, data: bytes) -> int:
        for start in range(0, len(data), PIECE_BYTES):
            self._channel.send(b"w" + data[start : start + PIECE_BYTES])
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing is open."""
