"""Listings, page by page from Blob Storage."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from shared.blobs.listing import Item, NotAListing, Page, PageReader, Sink, collect
from shared.blobs.names import quote_name
from shared.errors import StorageUnavailable, StrongroomError, UnknownContainer, invalid_field
from shared.storage import Storage

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

READ_BYTES = 256 * 1024
SLICE_BYTES = 16 * 1024
"""What is parsed at once: as much as stays in a processor's cache, which takes a sixth off the time."""
PAGE_SECONDS = 60.0
"""How long one page may take to arrive, however slowly it drips."""
FOLLOW_SECONDS = 10.0
"""How long pages are followed within one call."""
MAX_LISTING_BYTES = 8 * 1024 * 1024
"""Of what a listing is answered with; what is over it comes by the cursor."""


class ListingStore:
    """Lists the containers and blobs of one storage account. Safe to use from many threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def ping(self) -> None:
        """Raises StorageUnavailable or StorageForbidden where Blob Storage is of no use."""
        with self._page("", {"comp": "list", "maxresults": "1"}, "") as page:
            for _ in page:
                pass

    def is_empty(self, container: str) -> bool:
        """Whether a container holds no blob, no version and no snapshot. Raises as `list_blobs` does."""
        fields = {"restype": "container", "comp": "list", "maxresults": "1", "include": "snapshots,versions"}
        marker = ""
        while True:
            with self._page(quote_name(container), fields | ({"marker": marker} if marker else {}), "") as page:
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
        """Put blobs (and prefixes, given a delimiter) into `sink`; return the marker where the rest begins.

        Raises UnknownContainer, StorageUnavailable, StorageForbidden; InvalidRequest where the service refuses a field.
        """
        query = {"restype": "container", "comp": "list"} | _given(prefix, delimiter, include)
        base_url = f"{self._storage.account.blob_url}/{quote_name(container)}/"
        return self._list(quote_name(container), query, base_url, sink, limit, marker, keep)

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
        """Put containers into `sink`; return the marker where the rest begins. Raises as `list_blobs` does."""
        query = {"comp": "list"} | _given(prefix, "", include)
        return self._list("", query, f"{self._storage.account.blob_url}/", sink, limit, marker, keep)

    def _list(
        self,
        path: str,
        query: dict[str, str],
        base_url: str,
        sink: Sink,
        limit: int,
        marker: str,
        keep: Callable[[Item], bool] | None,
    ) -> str:
        ends = monotonic() + FOLLOW_SECONDS
        return collect(
            lambda marker, size: self._page(
                path, {**query, "maxresults": str(size), **({"marker": marker} if marker else {})}, base_url
            ),
            sink,
            limit=limit,
            max_bytes=MAX_LISTING_BYTES,
            marker=marker,
            keep=keep,
            late=lambda: monotonic() > ends,
        )

    @contextmanager
    def _page(self, path: str, query: dict[str, str], base_url: str) -> Iterator[Page]:
        response = self._storage.blob_request("GET", path, query)
        try:
            if response.status != 200:
                raise _refusal(response, query)
            yield _Arriving(response, PageReader(base_url))
        except NotAListing as error:
            raise StorageUnavailable(f"Blob Storage answered nonsense: {error}") from None
        finally:
            # A connection that was not read to its end is closed.
            response.close()
            response.release_conn()


class _Arriving:
    """A page, read from the connection as it is asked for."""

    def __init__(self, response: "BaseHTTPResponse", reader: PageReader) -> None:
        self._response = response
        self._reader = reader

    @property
    def marker(self) -> str:
        return self._reader.marker

    def __iter__(self) -> Iterator[list[Item]]:
        import urllib3

        ends = monotonic() + PAGE_SECONDS
        try:
            while data := self._response.read1(READ_BYTES, decode_content=False):
                for start in range(0, len(data), SLICE_BYTES):
                    yield self._reader.feed(data[start : start + SLICE_BYTES])
                if monotonic() > ends:
                    raise StorageUnavailable("Blob Storage is too slow.")
        except urllib3.exceptions.HTTPError as error:
            raise StorageUnavailable("Blob Storage broke off.") from error
        yield self._reader.close()


def _given(prefix: str, delimiter: str, include: tuple[str, ...]) -> dict[str, str]:
    fields = {"prefix": prefix, "delimiter": delimiter, "include": ",".join(include)}
    return {name: value for name, value in fields.items() if value}


def _refusal(response: "BaseHTTPResponse", query: dict[str, str]) -> StrongroomError:
    """What a status other than 200 means."""
    code = response.headers.get("x-ms-error-code", "")
    if "restype" in query and code in ("ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"):
        return UnknownContainer(
            "The storage account has no container of this name. Call without container to list them."
        )
    if response.status == 400:
        if code in ("InvalidResourceName", "OutOfRangeInput") and "restype" in query:
            return invalid_field("container", "is no name of a container.")
        if "marker" in query:
            return invalid_field("cursor", "is not taken by Blob Storage. Begin without one.")
        return invalid_field("prefix", f"is not taken by Blob Storage ({code or 'no reason given'}).")
    return StorageUnavailable(f"Blob Storage answered {response.status} {code}.")
