"""Reads data files from Blob Storage: their listing, and ranges of their bytes."""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from threading import Lock
from typing import Any, Protocol

from shared.data.names import File, format_of
from shared.data.ranges import FOOTER_BYTES, Range, Reading
from shared.datafiles import DataChanged, TooMuchToRead
from shared.errors import PreconditionFailed
from shared.once import Once
from shared.storage import Storage
from shared.storage.blobs import Blobs
from shared.storage.errors import UnknownBlob

MAX_LISTED = 50_000
"""The most names that are listed to find the files of a call."""
MAX_FILES = 1000
MAX_BYTES = 256 * 1024 * 1024
MAX_REQUESTS = 2000
AHEAD_FILES, AHEAD_BYTES = 8, 256 * 1024
"""The number of files to read ahead of the engine, and the bytes to read of each."""
TOO_MUCH = (
    f"The call would read more than {MAX_BYTES >> 20} MiB in {MAX_REQUESTS} requests. Name fewer files, select fewer "
    "columns, or filter by a column that the files are sorted by."
)
FOOTERS_BYTES = 16 * 1024 * 1024
"""The most bytes of the ends of files that are kept for later calls."""


class Listings(Protocol):
    """The part of the blobs' listing that is used here."""

    def list_blobs(
        self, container: str, sink: Any, *, limit: int, marker: str, prefix: str = "", delimiter: str = ""
    ) -> str: ...


class _Names:
    """Takes the items of a listing."""

    def __init__(self) -> None:
        self.files: list[File] = []
        self.folders: list[str] = []
        self.size = 0

    def add(self, items: list[Any]) -> None:
        for each in items:
            folder = getattr(each, "prefix", None)
            if folder is not None:
                self.folders.append(folder)
            else:
                self.files.append(File(each.name, each.size, each.etag))

    def mark(self) -> tuple[int, ...]:
        return len(self.files), len(self.folders)

    def reset(self, mark: tuple[int, ...]) -> None:
        files, folders = mark
        del self.files[files:]
        del self.folders[folders:]


class DataFiles:
    """Data files of one storage account. Safe to use from many threads."""

    def __init__(self, storage: Storage, listings: Callable[[], Listings]) -> None:
        self._blobs = Blobs(storage)
        self._listings = listings
        self._footers: OrderedDict[tuple[str, str, str], tuple[int, bytes]] = OrderedDict()
        self._footer_bytes = 0
        self._lock = Lock()
        self.threads = Once(lambda: ThreadPoolExecutor(AHEAD_FILES, "data"))
        """Read ahead."""

    def check_container(self, container: str) -> None:
        """Raises UnknownContainer and ReservedContainer."""
        client = self._blobs.container(container)
        self._blobs.read(lambda options: client.get_container_properties(**options))

    def list(
        self, container: str, prefix: str, delimiter: str = "", first: int = MAX_LISTED
    ) -> tuple[list[File], list[str]]:
        """The blobs below a prefix, at most `first`, and with a delimiter the folders.

        Raises UnknownContainer, ReservedContainer, and TooMuchToRead for more than MAX_LISTED names.
        """
        names = _Names()
        marker = ""
        listings = self._listings()
        while True:
            room = first - len(names.files) - len(names.folders)
            marker = listings.list_blobs(
                container, names, limit=max(1, min(room, 5000)), marker=marker, prefix=prefix, delimiter=delimiter
            )
            count = len(names.files) + len(names.folders)
            if not marker or count >= first < MAX_LISTED:
                return names.files, names.folders
            if count >= MAX_LISTED:
                raise TooMuchToRead(f"More than {MAX_LISTED} names start like the path. Name a folder further down.")

    def read(self, container: str, file: File, wanted: Range) -> bytes:
        """Bytes of a file, as long as it has the ETag of the listing. Raises DataChanged."""
        try:
            data = self._blobs.read_range(container, file.name, file.etag, wanted.start, wanted.end)
        except (PreconditionFailed, UnknownBlob):
            raise DataChanged(f"The file {file.name} changed while the call read it. Send the call again.") from None
        if len(data) != wanted.end - wanted.start:
            raise DataChanged(f"The file {file.name} is shorter than its listing says. Send the call again.")
        return data

    def footer(self, container: str, file: File) -> tuple[int, bytes] | None:
        """The end of a file that an earlier call read: where it starts, and its bytes."""
        key = container, file.name, file.etag
        with self._lock:
            kept = self._footers.get(key)
            if kept is not None:
                self._footers.move_to_end(key)
            return kept

    def keep_footer(self, container: str, file: File, start: int, data: bytes) -> None:
        """Keep the end of a file for later calls."""
        with self._lock:
            key = container, file.name, file.etag
            old = self._footers.pop(key, None)
            self._footer_bytes += len(data) - (len(old[1]) if old else 0)
            self._footers[key] = start, data
            while self._footer_bytes > FOOTERS_BYTES:
                _, (_, dropped) = self._footers.popitem(last=False)
                self._footer_bytes -= len(dropped)


class Budget:
    """Reads the files of one call, and counts what it reads. One thread uses it; it reads ahead on others."""

    def __init__(self, files: DataFiles, container: str) -> None:
        self._files = files
        self.container = container
        self.all: list[File] = []
        """The files of the call, by their numbers."""
        self.contents: bytes | None = None
        """The bytes of the only file, where the call itself brought them."""
        self.bytes_scanned = 0
        self.requests = 0
        """For bytes; listings are not counted."""
        self._readings: dict[int, Reading] = {}
        self._begun: dict[int, Future[tuple[int, bytes]] | None] = {}
        """By file, the first read: on its way, or None once it was used."""

    def read(self, number: int, offset: int, length: int) -> tuple[int, bytes]:
        """Bytes of file `number` from `offset` on, about `length` of them: where they start, and the bytes.

        Raises DataChanged, and TooMuchToRead beyond the limits of a call.
        """
        if self.contents is not None:
            return offset, self.contents[offset : offset + length]
        file = self.all[number]
        if number not in self._readings:
            self._readings[number] = Reading(file.size)
            self._begin_next(number)
        is_footer = offset >= file.size - FOOTER_BYTES and offset > 0
        if is_footer and (kept := self._files.footer(self.container, file)) and kept[0] <= offset:
            return kept
        if (begun := self._begun.get(number)) is not None:
            self._begun[number] = None
            start, data = begun.result()
            if start <= offset < start + len(data):
                return start, data
        wanted = self._readings[number].next_range(offset, length)
        self._count(wanted)
        return self._fetch(file, wanted)

    def _count(self, wanted: Range) -> None:
        size = wanted.end - wanted.start
        if self.requests >= MAX_REQUESTS or self.bytes_scanned + size > MAX_BYTES:
            raise TooMuchToRead(TOO_MUCH)
        self.requests += 1
        self.bytes_scanned += size

    def _fetch(self, file: File, wanted: Range) -> tuple[int, bytes]:
        data = self._files.read(self.container, file, wanted)
        if wanted.end == file.size and wanted.start >= file.size - FOOTER_BYTES and wanted.start > 0:
            self._files.keep_footer(self.container, file, wanted.start, data)
        return wanted.start, data

    def _begin_next(self, number: int) -> None:
        """Begin to read the files behind `number`: their ends of Parquet, their beginnings of any other format."""
        for following in range(number + 1, min(number + 1 + AHEAD_FILES, len(self.all))):
            file = self.all[following]
            if following in self._begun or following in self._readings:
                continue
            if format_of(file.name) == "parquet":
                if self._files.footer(self.container, file):
                    continue
                wanted = Range(max(0, file.size - AHEAD_BYTES), file.size)
            else:
                wanted = Range(0, min(file.size, AHEAD_BYTES))
            try:
                self._count(wanted)
            except TooMuchToRead:
                return  # The read itself, if it comes, raises this.
            run = copy_context().run  # With the deadline of the call.
            self._begun[following] = self._files.threads().submit(run, self._fetch, file, wanted)
