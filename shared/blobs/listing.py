"""Reads the responses of List Blobs and List Containers as they arrive, and gathers pages into one listing.

https://learn.microsoft.com/rest/api/storageservices/list-blobs
https://learn.microsoft.com/rest/api/storageservices/list-containers2
"""

import fnmatch
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, unquote

import msgspec
from msgspec import UNSET, UnsetType

from shared.storage.names import quote_name

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

PAGE_ITEMS = 5000
"""The most items that the service returns in one page. A prefix counts as an item."""
MAX_ITEM_BYTES = 1024 * 1024
"""Far above the size of any item: a name has 1,024 characters, metadata 8 KiB, ten tags less than that."""

MAX_PROLOG_BYTES = 1024

_PROLOG = re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml[^<>]*\?>)?\s*")
_ROOT = b"<EnumerationResults"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_RFC1123 = re.compile(r"\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT", re.ASCII)
_LITERAL = re.compile(r"[^*?\[\x00-\x1f\ufffe\uffff]*")


class NotAListing(Exception):
    """The response is not a listing as the service documents it, or it was cut off."""


class Copy(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The last copy that had this blob as its destination."""

    id: str
    source: str | None = None
    status: str | None = None
    progress: str | None = None
    completed: str | None = None


class Blob(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A blob in a listing. The fields below `url` are present where `include` names them."""

    name: str
    size: int
    content_type: str | None
    last_modified: str
    etag: str
    """With its quotes, as `If-Match` takes it."""
    tier: str | None
    url: str | None
    """At the storage account: the URL of exactly this blob. None for the names `.` and `..`, which have no URL."""
    snapshot: str | UnsetType = UNSET
    version_id: str | UnsetType = UNSET
    is_current_version: bool | UnsetType = UNSET
    deleted: bool | UnsetType = UNSET
    deleted_at: str | UnsetType = UNSET
    remaining_retention_days: int | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET
    tags: dict[str, str] | UnsetType = UNSET
    copy: Copy | UnsetType = UNSET


class Container(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A container. The fields below `public_access` are present where `include` names them."""

    name: str
    last_modified: str
    etag: str
    url: str
    public_access: str | None
    """The public access of the container: null (none), `blob` or `container`."""
    deleted: bool | UnsetType = UNSET
    deleted_at: str | UnsetType = UNSET
    remaining_retention_days: int | UnsetType = UNSET
    version_id: str | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


class Prefix(msgspec.Struct, frozen=True, gc=False):
    """The common beginning of the names of one or more blobs, up to and including the delimiter."""

    prefix: str


Item = Blob | Prefix | Container


class PageReader:
    """Reads one page of a listing from its XML, slice by slice, whatever elements the service adds to it.

    `base_url` is that of the container (of the account, for a listing of containers). Items come as soon as they are
    complete, and its XML is dropped, so that memory does not grow with the page.
    """

    def __init__(self, base_url: str) -> None:
        from xml.etree.ElementTree import TreeBuilder, XMLParser  # Only a listing needs it.

        self.marker = ""
        """The marker of the next page, once this one is closed; empty after the last."""
        self._base_url = base_url
        self._head: bytes | None = b""
        self._unfinished = 0
        builder = TreeBuilder()
        # The elements are needed while the document is still arriving, and only this one is available at once.
        self._top = builder.start("top", {})
        # Always UTF-8, whatever the document declares: another encoding could hide a declaration from _check_prolog.
        self._parser = XMLParser(target=builder, encoding="utf-8")  # noqa: S314 - see _check_prolog

    def feed(self, data: bytes) -> list[Item]:
        """The items that `data` completes. Raises NotAListing."""
        if self._head is not None:
            self._head += data
            if not _check_prolog(self._head):
                return []
            data, self._head = self._head, None
        try:
            self._parser.feed(data)
        except SyntaxError as error:  # ElementTree's ParseError is one.
            raise NotAListing(f"No XML: {error}.") from None
        items = self._items()
        if items is None or len(items) < 2:
            self._unfinished += len(data)
            if self._unfinished > MAX_ITEM_BYTES:
                raise NotAListing("An item that does not end.")
            return []
        self._unfinished = 0
        # The last may still be incomplete.
        complete = items[:-1]
        del items[:-1]
        return self._read(complete)

    def close(self) -> list[Item]:
        """The last items, after the last byte. Raises NotAListing where the document is not whole."""
        try:
            if self._head is not None:
                raise NotAListing("No listing.")
            self._parser.close()
        except SyntaxError as error:
            raise NotAListing(f"The XML is cut off: {error}.") from None
        items = self._items()
        if items is None:
            raise NotAListing("A listing without Blobs or Containers.")
        self.marker = self._top[0].findtext("NextMarker") or ""
        return self._read(items[:])

    def _items(self) -> "Element | None":
        """The element whose children are the items, once it has begun."""
        if not len(self._top):
            return None
        results = self._top[0]
        blobs = results.find("Blobs")
        return results.find("Containers") if blobs is None else blobs

    def _read(self, elements: "list[Element]") -> list[Item]:
        try:
            return [_READERS[each.tag](each, self._base_url) for each in elements if each.tag in _READERS]
        except ValueError as error:
            raise NotAListing(f"An item without what every item has: {error}.") from None


def _check_prolog(head: bytes) -> bool:
    """Whether the root element has begun. Raises NotAListing for any other one, and for a document type declaration.

    Without declarations there are no entities but XML's own five, so that a few bytes cannot become gigabytes.
    """
    before, root, _ = head.partition(_ROOT)
    if root:
        if not _PROLOG.fullmatch(before):
            raise NotAListing("More before the root element than an XML declaration.")
        return True
    if len(head) > MAX_PROLOG_BYTES:
        raise NotAListing("No listing.")
    return False


def _read_blob(element: "Element", base_url: str) -> Blob:
    name = _name(element)
    properties = element.find("Properties")
    if properties is None:
        raise ValueError("no properties")
    # A page has thousands of blobs: this is the quickest way to a few of fifteen children.
    text = properties.findtext
    usual = (
        name,
        int(text("Content-Length", "")),
        text("Content-Type") or None,
        _time(text("Last-Modified", "")),
        _etag(text("Etag", "")),
        text("AccessTier") or None,
    )
    url = base_url + quote_name(name) if name not in (".", "..") else None
    if len(element) == 2 and text("CopyId") is None:
        return Blob(*usual, url)
    more = _extra(element, properties)
    if url is None:
        pass
    elif "snapshot" in more:
        url += "?snapshot=" + quote(more["snapshot"])
    elif "version_id" in more and not more.get("is_current_version"):
        url += "?versionid=" + quote(more["version_id"])
    return Blob(*usual, url, **more)


def _extra(element: "Element", properties: "Element") -> dict[str, Any]:
    """The fields of a blob or container beyond the usual ones."""
    more: dict[str, Any] = {}
    parts = {each.tag: each for each in element}
    text = properties.findtext
    if "Snapshot" in parts:
        more["snapshot"] = parts["Snapshot"].text or ""
    version = parts.get("VersionId", parts.get("Version"))
    if version is not None:
        more["version_id"] = version.text or ""
    if "IsCurrentVersion" in parts:
        more["is_current_version"] = parts["IsCurrentVersion"].text == "true"
    if "Deleted" in parts:
        more["deleted"] = parts["Deleted"].text == "true"
        if deleted_at := text("DeletedTime"):
            more["deleted_at"] = _time(deleted_at)
        if days := text("RemainingRetentionDays"):
            more["remaining_retention_days"] = int(days)
    if "Metadata" in parts:
        more["metadata"] = {each.tag: each.text or "" for each in parts["Metadata"]}
    if "Tags" in parts:
        more["tags"] = {each.findtext("Key", ""): each.findtext("Value", "") for each in parts["Tags"].iter("Tag")}
    if copy_id := text("CopyId"):
        completed = text("CopyCompletionTime")
        more["copy"] = Copy(
            copy_id,
            text("CopySource"),
            text("CopyStatus"),
            text("CopyProgress"),
            _time(completed) if completed else None,
        )
    return more


def _read_container(element: "Element", base_url: str) -> Container:
    name = _name(element)
    properties = element.find("Properties")
    if properties is None:
        raise ValueError("no properties")
    text = properties.findtext
    return Container(
        name,
        _time(text("Last-Modified", "")),
        _etag(text("Etag", "")),
        base_url + quote_name(name),
        text("PublicAccess") or None,
        **_extra(element, properties),
    )


def _read_prefix(element: "Element", base_url: str) -> Prefix:  # noqa: ARG001 - one shape for all three
    return Prefix(_name(element))


_READERS: dict[str, Callable[["Element", str], Item]] = {
    "Blob": _read_blob,
    "BlobPrefix": _read_prefix,
    "Container": _read_container,
}


def _name(element: "Element") -> str:
    name = element.find("Name")
    if name is None or not name.text:
        raise ValueError("no name")
    # Percent-encoded where XML cannot carry it.
    return unquote(name.text, errors="strict") if name.get("Encoded") == "true" else name.text


def _etag(text: str) -> str:
    if not text:
        raise ValueError("no ETag")
    return text if text.startswith('"') else f'"{text}"'


@lru_cache(4096)  # Blobs that were put together share their times.
def _time(text: str) -> str:
    """RFC 3339 from `Sun, 22 Nov 2026 19:58:51 GMT`."""
    if not _RFC1123.fullmatch(text):
        raise ValueError("no time")
    return f"{text[12:16]}-{_MONTHS.index(text[8:11]) + 1:02}-{text[5:7]}T{text[17:25]}Z"


def glob_filter(glob: str) -> Callable[[str], bool]:
    """A test of whether a whole name matches `glob`; case matters.

    `*` matches any characters, slashes too, `?` one, `[abc]` and `[a-z]` one of these, `[!abc]` any other.
    """
    matches = re.compile(fnmatch.translate(glob)).match
    return lambda name: matches(name) is not None


def narrow(prefix: str, glob: str) -> str | None:
    """The longest prefix of all names that begin with `prefix` and match `glob`; None where no name can do both."""
    literal = _LITERAL.match(glob)
    head = literal[0] if literal else ""
    if prefix.startswith(head):
        return prefix
    return head if head.startswith(prefix) else None


class Page(Protocol):
    """A page as it arrives: its items, slice by slice."""

    @property
    def marker(self) -> str:
        """The marker of the next page, once all slices were taken; empty after the last."""

    def __iter__(self) -> Iterator[list[Item]]: ...


class Sink(Protocol):
    """Takes the items of a listing."""

    @property
    def size(self) -> int:
        """Bytes so far."""

    def add(self, items: list[Item]) -> None: ...

    def mark(self) -> tuple[int, ...]:
        """The present size, for `reset`."""

    def reset(self, mark: tuple[int, ...]) -> None:
        """Drop the items that were added after `mark`."""


def collect(
    fetch: Callable[[str, int], AbstractContextManager[Page]],
    sink: Sink,
    *,
    limit: int,
    max_bytes: int,
    marker: str = "",
    keep: Callable[[Item], bool] | None = None,
    late: Callable[[], bool] = lambda: False,
) -> str:
    """Put at most `limit` items that `keep` accepts into `sink`; return the marker where the rest begins, "" for none.

    `fetch` requests a page by its marker and its most items. Pages are followed until there are enough items or bytes,
    or it is `late`: an empty page is not the end of a listing.

    The service sends a marker only for the end of a page. So where a page has more than fits, it is requested again
    with as many items as do fit, and that response counts: no blob is lost between two pages, whatever changes.
    """
    room = limit
    size = min(limit, PAGE_ITEMS)
    while True:
        before = sink.mark()
        with fetch(marker, size) as page:
            taken, cut = _take(page, sink, size, room, max_bytes, keep)
            if cut:
                sink.reset(before)
                size = cut
                continue
        room -= taken
        marker = page.marker
        if not marker or not room or sink.size >= max_bytes or late():
            return marker
        # Matches may be rare: then larger pages find them sooner.
        size = min(PAGE_ITEMS, room if keep is None else max(room, size * 4))


def _take(
    page: Page, sink: Sink, size: int, room: int, max_bytes: int, keep: Callable[[Item], bool] | None
) -> tuple[int, int]:
    """How many items of `page` were taken; or, where they do not all fit, 0 and how many of the page's items do."""
    read = taken = 0
    for items in page:
        wanted = items if keep is None else [each for each in items if keep(each)]
        if read + len(items) > size:
            raise NotAListing(f"More than the {size} requested items.")
        if taken + len(wanted) > room:
            first_over = wanted[room - taken]
            return 0, read + next(index for index, each in enumerate(items) if each is first_over)
        sink.add(wanted)
        if read and sink.size > max_bytes:
            return 0, read
        read += len(items)
        taken += len(wanted)
    return taken, 0
