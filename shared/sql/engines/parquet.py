"""Parquet files, written by DuckDB in a child process: rows go in as an Arrow stream, and the file's bytes come out."""

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from shared.deadline import seconds_left
from shared.sandbox.errors import EngineFailed, OutOfMemory
from shared.sql.engines import OVER
from shared.sql.errors import DatabaseUnavailable, QueryTimeout

if TYPE_CHECKING:
    from shared.sandbox.process import Child, Sandbox
    from shared.sql.values import Columns

ENTRY = "shared.sql.engines.parquet_child:serve"
TOO_LARGE = "The rows are too large for one Parquet file. Export fewer or shorter columns, or csv or ndjson."


class ParquetFiles:
    """Writes Parquet files. Safe to use from many threads."""

    def __init__(self, sandbox: "Callable[[], Sandbox]") -> None:
        self._sandbox = sandbox

    def write(self, stream: Iterator[bytes], write: Callable[[bytes], object]) -> None:
        """Write the Arrow stream in pieces, `stream`, as a Parquet file whose bytes go to `write`, by the deadline.

        Raises QueryTimeout, OutOfMemory, EngineFailed, Busy, and what `stream` and `write` raise.
        """
        from shared.sandbox.process import MEMORY, TIME, ChildDied, ChildLate

        sandbox = self._sandbox()
        deadline = monotonic() + seconds_left()
        try:
            child = sandbox.take(ENTRY, deadline)
        except OSError as error:
            raise DatabaseUnavailable("The process that writes Parquet could not start.", retry_after=1) from error
        try:
            failure = _exchange(child, stream, write, deadline)
        except ChildLate:
            failure = "time"
        except ChildDied as error:
            failure = {MEMORY: "memory", TIME: "time"}.get(error.args[0], "engine")
        finally:
            sandbox.give(child, reusable=False)
        if failure == "time":
            raise QueryTimeout(OVER)
        if failure == "memory":
            raise OutOfMemory(TOO_LARGE)
        if failure:
            raise EngineFailed("The file could not be written. Export csv or ndjson.")


def _exchange(child: "Child", stream: Iterator[bytes], write: Callable[[bytes], object], deadline: float) -> str:
    """Serve the child's messages to the end of the file. Returns the kind of a failure, or an empty text."""
    child.send(msgspec.msgpack.encode(max(0.0, deadline - monotonic())), deadline)
    while True:
        message = child.receive(deadline)
        kind, data = message[:1], message[1:]
        if kind == b"r":
            child.send(next(stream, b""), deadline)
        elif kind == b"w":
            write(data)
        else:
            return data.decode() if kind == b"e" else ""


class _Rows:
    """Rows in memory, as an export reads them."""

    first_rows = 1000

    def __init__(self, columns: "Columns", rows: Sequence[tuple[Any, ...]]) -> None:
        self.columns = columns
        self._rows = rows
        self._position = 0

    def fetch(self, count: int) -> list[tuple[Any, ...]]:
        """The next rows; none at the end."""
        start, self._position = self._position, self._position + count
        return list(self._rows[start : self._position])


def table_as_parquet(
    files: ParquetFiles, columns: Sequence[tuple[str, str, str]], rows: Sequence[tuple[Any, ...]]
) -> bytes:
    """A Parquet file of rows that a query over data files returned. A column is its name, kind and detail.

    Raises as `ParquetFiles.write` does.
    """
    from shared.sql.engines.blobs import columns_of
    from shared.sql.exports import export

    file = BytesIO()
    export(_Rows(columns_of(columns), rows), "parquet", file, files)
    return file.getvalue()
