"""Listings, page by page from Blob Storage."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic

from shared.blobs.listing import Container, Item, NotAListing, Page, PageReader, Sink, collect
from shared.deadline import seconds_left
from shared.errors import StorageUnavailable
from shared.storage import Storage
from shared.storage.blobs import Blobs
from shared.storage.containers import is_reserved
from shared.storage.names import quote_name

SLICE_BYTES = 16 * 1024
"""What is parsed at once: as much as stays in a processor's cache, which takes a sixth off the time."""
FOLLOW_SHARE = 0.8
"""The part of a call's time in which further pages are requested; the rest is for the last one."""
MAX_LISTING_BYTES = 8 * 1024 * 1024
"""The most bytes of a listing in one response; a cursor leads to the rest."""


class ListingStore:
    """Lists the containers and blobs of one storage account. Safe to use from many threads.

    Every method raises StorageUnavailable, StorageForbidden and Busy.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._blobs = Blobs(storage)

    def ping(self) -> None:
        """Returns where Blob Storage responds and lets the app in."""
        with self._page("", {"comp": "list", "maxresults": "1"}, "") as page:
            for _ in page:
                pass

    def is_empty(self, container: str) -> bool:
        """Whether a container holds no blob, no version and no snapshot. Raises as `list_blobs` does."""
        fields = {"restype": "container", "comp": "list", "maxresults": "1", "include": "snapshots,versions"}
        marker = ""
        while True:
            with self._page(container, fields | ({"marker": marker} if marker else {}), "") as page:
                if any(items for items in page):
                    return False
                marker = page.marker
            if not marker:
                return True

    def list_blobs(
        self,
        container: str,
        sink: Sink,
        *,
        limit: int,
        marker: str,
        prefix: str = "",
        delimiter: str = "",
        include: tuple[str, ...] = (),
        keep: Callable[[Item], bool] | None = None,
    ) -> str:
        """Put blobs (and with a delimiter prefixes) into `sink`; return the marker of the next page.

        Raises ReservedContainer, UnknownContainer, and InvalidRequest where the service refuses a field.
        """
        query = {"restype": "container", "comp": "list"} | _query(prefix, delimiter, include)
        base_url = f"{self._storage.account.blob_url}/{quote_name(container)}/"
        return self._list(container, query, base_url, sink, limit, marker, keep)

    def list_containers(
        self,
        sink: Sink,
        *,
        limit: int,
        marker: str,
        prefix: str = "",
        include: tuple[str, ...] = (),
        keep: Callable[[Item], bool] | None = None,
    ) -> str:
        """Put containers, without reserved ones, into `sink`; return the marker where the rest begins."""

        def is_allowed(item: Item) -> bool:
            return isinstance(item, Container) and not is_reserved(item.name) and (keep is None or keep(item))

        query = {"comp": "list"} | _query(prefix, "", include)
        return self._list("", query, f"{self._storage.account.blob_url}/", sink, limit, marker, is_allowed)

    def _list(
        self,
        container: str,
        query: dict[str, str],
        base_url: str,
        sink: Sink,
        limit: int,
        marker: str,
        keep: Callable[[Item], bool] | None,
    ) -> str:
        ends = monotonic() + FOLLOW_SHARE * seconds_left()
        return collect(
            lambda marker, size: self._page(
                container, {**query, "maxresults": str(size), **({"marker": marker} if marker else {})}, base_url
            ),
            sink,
            limit=limit,
            max_bytes=MAX_LISTING_BYTES,
            marker=marker,
            keep=keep,
            late=lambda: monotonic() > ends,
        )

    @contextmanager
    def _page(self, container: str, query: dict[str, str], base_url: str) -> Iterator[Page]:
        try:
            with self._blobs.listing_page(container, query, datetime.now(UTC)) as pieces:
                yield _ArrivingPage(pieces, PageReader(base_url))
        except NotAListing as error:
            raise StorageUnavailable(f"Blob Storage sent a listing that cannot be read: {error}") from None


class _ArrivingPage:
    """A page, read from the connection as the caller takes its items."""

    def __init__(self, pieces: Iterator[bytes], reader: PageReader) -> None:
        self._pieces = pieces
        self._reader = reader

    @property
    def marker(self) -> str:
        return self._reader.marker

    def __iter__(self) -> Iterator[list[Item]]:
        for data in self._pieces:
            for start in range(0, len(data), SLICE_BYTES):
                yield self._reader.feed(data[start : start + SLICE_BYTES])
        yield self._reader.close()


def _query(prefix: str, delimiter: str, include: tuple[str, ...]) -> dict[str, str]:
    fields = {"prefix": prefix, "delimiter": delimiter, "include": ",".join(include)}
    return {name: value for name, value in fields.items() if value}
