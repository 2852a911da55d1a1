"""Parsing listings and collecting pages: no network, slices of every size, and documents that are not listings."""

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise, repeat
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.blobs.listing import (
    Blob,
    Container,
    Copy,
    Item,
    NotAListing,
    Page,
    PageReader,
    Prefix,
    collect,
    glob_filter,
    narrow,
)
from tests.blobs.support import Kept

VECTORS = Path(__file__).parent.parent / "vectors" / "blobs"
BASE = "https://myaccount.blob.core.windows.net/mycontainer/"
BLOBS = (VECTORS / "blobs.xml").read_bytes()

# A name may contain any character; surrogates are not characters.
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
in_xml = names.filter(lambda name: not re.search("[\x00-\x08\x0b-\x1f\ufffe\uffff]", name))


def read(data: bytes, cuts: Sequence[int] = ()) -> tuple[list[Item], str]:
    """All items and the marker of a page that arrives in slices, cut at these positions."""
    reader = PageReader(BASE)
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    items = [item for start, end in pairwise(edges) for item in reader.feed(data[start:end])]
    return items + reader.close(), reader.marker


def page_of(*elements: str, marker: str = "") -> bytes:
    """A page that holds these elements."""
    inside = "".join(elements)
    return f"<EnumerationResults><Blobs>{inside}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>".encode()


def blob_of(name: str, encoded: bool = False) -> str:
    """The element of a blob with this name."""
    carried = quote(name, safe="") if encoded else escape(name, {"\r": "&#xD;"})
    attribute = ' Encoded="true"' if encoded else ""
    return (
        f"<Blob><Name{attribute}>{carried}</Name><Properties><Last-Modified>Fri, 02 Jan 2026 03:04:05 GMT"
        "</Last-Modified><Etag>0x1</Etag><Content-Length>5</Content-Length></Properties></Blob>"
    )


def test_every_documented_element_is_read_or_passed_over() -> None:
    """All documented elements of a page, and some unknown ones, are parsed: each field has the service's meaning."""
    items, marker = read(BLOBS)
    assert marker == "2!92!MDAwMDE2IWEvYi9jLnR4dA--"
    assert items == [
        Blob(
            name="all elements.txt",
            size=1099511627776,
            content_type="text/plain; charset=utf-8",
            last_modified="2026-01-02T03:04:05Z",
            etag='"0x8DBF7A4B6D2F1A0"',
            tier="Cool",
            url=BASE + "all%20elements.txt?snapshot=2026-01-02T03%3A04%3A05.1234567Z",
            snapshot="2026-01-02T03:04:05.1234567Z",
            version_id="2026-01-02T03:04:05.7654321Z",
            is_current_version=False,
            deleted=True,
            deleted_at="2026-01-03T00:00:00Z",
            remaining_retention_days=6,
            metadata={"Name": "a name", "Blob": "1 < 2", "empty": ""},
            tags={"project": "x=y", "stage": ""},
            copy=Copy(
                id="1f812371-a41d-49e6-b123-f4b542e851c5",
                source="https://other.blob.core.windows.net/c/b?snapshot=x&y",
                status="success",
                progress="10/10",
                completed="2026-01-02T04:05:06Z",
            ),
        ),
        Prefix("a/"),
        Blob(
            name="a\x01\ufffe% b",
            size=0,
            content_type=None,
            last_modified="2026-01-02T03:04:05Z",
            etag='"0x8DBF7A4B6D2F1A1"',
            tier=None,
            url=BASE + "a%01%EF%BF%BE%25%20b",
        ),
        Prefix("a\x02/"),
    ]


def test_containers_are_read() -> None:
    """Each field of a page of containers has the service's meaning."""
    items, marker = read((VECTORS / "containers.xml").read_bytes())
    assert marker == ""
    assert items == [
        Container("private", "2026-01-02T03:04:05Z", '"0x8DBF7A4B6D2F1A0"', BASE + "private", None),
        Container(
            "public",
            "2026-01-02T03:04:05Z",
            '"0x8DBF7A4B6D2F1A1"',
            BASE + "public",
            "container",
            deleted=True,
            deleted_at="2026-01-03T00:00:00Z",
            remaining_retention_days=6,
            version_id="01D60F8BB59A4652",
            metadata={"team": "blue"},
        ),
    ]


@given(st.lists(st.integers(0, len(BLOBS)), max_size=50))
def test_slicing_changes_nothing(cuts: list[int]) -> None:
    """A page has the same items, however it is cut into slices."""
    assert read(BLOBS, cuts) == read(BLOBS)


def test_a_page_may_come_byte_by_byte() -> None:
    """A page that arrives byte by byte has the same items as the whole."""
    assert read(BLOBS, list(range(len(BLOBS)))) == read(BLOBS)


@given(st.lists(in_xml, max_size=20), st.lists(names, max_size=5), st.integers(1, 400))
def test_any_name_comes_through(plain: list[str], encoded: list[str], step: int) -> None:
    """Every name is read as it was written: as XML if XML can hold it, otherwise in its encoded form."""
    page = page_of(*(blob_of(name) for name in plain), *(blob_of(name, encoded=True) for name in encoded), marker="m")
    items, marker = read(page, list(range(0, len(page), step)))
    assert [item.name for item in items if isinstance(item, Blob)] == plain + encoded
    assert marker == "m"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\xef\xbb\xbf",
        b"hello",
        b"<html><body>It works!</body></html>",
        b'{"blobs": []}',
        b"x" * 2000,
        b"<EnumerationResults>",
        b"<EnumerationResults/>",
        b"<EnumerationResults><Blobs/></Enumeration>",
        b"<EnumerationResultsX><Blobs/></EnumerationResults>",
        b"<EnumerationResults><Blobs></Blobs></EnumerationResults><more/>",
        page_of("<Blob/>"),
        page_of("<Blob><Name>a</Name></Blob>"),
        page_of("<Blob><Name/><Properties/></Blob>"),
        page_of(blob_of("a").replace("Fri, 02 Jan 2026", "yesterday")),
        page_of(blob_of("a").replace(" Jan ", " Foo ")),
        page_of(blob_of("a").replace(">5<", "><")),
        page_of(blob_of("a").replace(">5<", ">five<")),
        page_of(blob_of("a").replace("Etag>", "Tag>")),
        page_of("<BlobPrefix/>"),
        page_of('<Blob><Name Encoded="true">%FF</Name><Properties/></Blob>'),
        page_of("<Blob><Name>\x01</Name></Blob>"),
        page_of(blob_of("a").replace("a", "&unknown;")),
        page_of().replace(b"Blobs", b"Bl\xffbs"),
        page_of().decode().encode("utf-16"),
        b'<?xml version="1.0" encoding="utf-16"?>' + page_of(blob_of("é")).replace("é".encode(), b"\xe9"),
        BLOBS[:-1],
        BLOBS[: len(BLOBS) // 2],
    ],
)
def test_what_is_no_listing_is_refused(document: bytes) -> None:
    """Any document except a whole, well-formed listing raises the same error."""
    with pytest.raises(NotAListing):
        read(document)


@pytest.mark.parametrize(
    "declaration",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        b'<!DOCTYPE EnumerationResults SYSTEM "file:///etc/passwd">',
        b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>',
        b"<?pi <EnumerationResults ?><!DOCTYPE x []>",
        b"<!-- <EnumerationResults --><!DOCTYPE x []>",
        b"<!-- a comment -->",
    ],
)
def test_a_document_type_is_never_parsed(declaration: bytes) -> None:
    """A document type, and so every entity bomb, is refused before the parser gets a byte of it."""
    page = b'<?xml version="1.0"?>' + declaration + page_of(blob_of("a").replace(">a<", ">&b;<"))
    with pytest.raises(NotAListing, match="before the root"):
        read(page)
    with pytest.raises(NotAListing, match="before the root"):
        read(page, list(range(len(page))))


def test_an_item_that_does_not_end_is_refused() -> None:
    """A page with an endless item is refused long before memory runs out."""
    reader = PageReader(BASE)
    reader.feed(b"<EnumerationResults><Blobs><Blob><Name>")
    with pytest.raises(NotAListing, match="does not end"):
        deque(map(reader.feed, repeat(b"x" * 65536, 100)))


def test_what_was_read_is_dropped() -> None:
    """The reader keeps only the incomplete item of a long page."""
    reader = PageReader(BASE)
    reader.feed(b"<EnumerationResults><Blobs>")
    for _ in range(200):
        reader.feed(blob_of("a").encode() * 10)
        found = reader._items()
        assert found is not None
        assert len(found) == 1


# --- Collecting pages


class Slices:
    """A page of a listing, wholly in memory."""

    def __init__(self, slices: list[list[Item]], marker: str) -> None:
        self.slices, self.marker = slices, marker

    def __iter__(self) -> Iterator[list[Item]]:
        return iter(self.slices)


def blob(name: str) -> Blob:
    """A blob whose other fields do not matter."""
    return Blob(name, 0, None, "", "", None, "")


def service(items: list[Item], *, slice_items: int, empty_every: int = 0) -> tuple[Callable[..., object], list[int]]:
    """A listing of `items` in slices, with some empty pages; and the requested sizes."""
    requested: list[int] = []

    @contextmanager
    def fetch(marker: str, size: int) -> Iterator[Page]:
        requested.append(size)
        start, _, was_empty = marker.partition("!")
        first = int(start or 0)
        if empty_every and not was_empty and first % empty_every == 0:
            yield Slices([], f"{first}!empty")
            return
        some = items[first : first + size]
        end = first + len(some)
        slices = [some[at : at + slice_items] for at in range(0, len(some), slice_items)]
        yield Slices(slices, f"{end}" if end < len(items) else "")

    return fetch, requested


@given(
    count=st.integers(0, 60),
    limit=st.integers(1, 25),
    slice_items=st.integers(1, 9),
    empty_every=st.integers(0, 3),
    max_bytes=st.sampled_from([100, 300, 1000, 10**6]),
    modulus=st.integers(1, 8),
)
def test_every_item_comes_once(
    count: int, limit: int, slice_items: int, empty_every: int, max_bytes: int, modulus: int
) -> None:
    """For all limits, filters and pages, following the marker returns every item once, in order."""
    items: list[Item] = [Prefix(f"{n}/") if n % 7 == 0 else blob(str(n)) for n in range(count)]
    fetch, _ = service(items, slice_items=slice_items, empty_every=empty_every)

    def keep(item: Item) -> bool:
        return isinstance(item, Prefix) or int(item.name) % modulus == 0

    found: list[Item] = []
    marker = ""
    while True:
        sink = Kept()
        marker = collect(fetch, sink, limit=limit, max_bytes=max_bytes, marker=marker, keep=keep)  # type: ignore[arg-type]
        assert len(sink.items) <= limit
        assert marker == "" or sink.items
        found += sink.items
        if not marker:
            break
    assert found == [item for item in items if keep(item)]


def test_rare_matches_are_found_with_few_calls() -> None:
    """If few items pass a filter, the pages grow, so that a small limit does not need thousands of calls."""
    items: list[Item] = [blob(str(n)) for n in range(20_000)]
    fetch, requested = service(items, slice_items=100)
    sink = Kept()
    keep = {"0", "19000"}
    collect(fetch, sink, limit=2, max_bytes=10**9, keep=lambda item: isinstance(item, Blob) and item.name in keep)  # type: ignore[arg-type]
    assert sink.items == [blob("0"), blob("19000")]
    assert len(requested) < 15


def test_a_listing_stops_when_it_is_late() -> None:
    """Endless pages without an item are followed only until the deadline."""
    requested = 0

    @contextmanager
    def fetch(marker: str, size: int) -> Iterator[Page]:
        nonlocal requested
        requested += 1
        yield Slices([], "again")

    marker = collect(fetch, Kept(), limit=5, max_bytes=10**6, late=lambda: requested >= 10)
    assert (marker, requested) == ("again", 10)


def test_more_than_the_request_is_nonsense() -> None:
    """A page with more items than requested is refused."""

    @contextmanager
    def fetch(marker: str, size: int) -> Iterator[Page]:
        yield Slices([[blob("a"), blob("b")], [blob("c")]], "")

    with pytest.raises(NotAListing, match="More than the 2"):
        collect(fetch, Kept(), limit=2, max_bytes=10**6)


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.txt", ["a.txt", "dir/b.txt", ".txt", "a\n.txt"], ["a.TXT", "a.txt ", "txt"]),
        ("dir/?", ["dir/a", "dir/é", "dir/😀"], ["dir/", "dir/ab", "Dir/a"]),
        ("[a-c]*", ["abc", "c"], ["d", "A"]),
        ("[!a-c]", ["d", "/"], ["a", "dd"]),
        ("[[]x]", ["[x]"], ["x"]),
        ("a[", ["a["], ["a"]),
        ("*", ["a", "a/b"], []),
        (r"a\*", ["a\\b"], ["a*"]),
        ("(.+)|^$", ["(.+)|^$"], ["aa"]),
    ],
)
def test_a_glob_matches_whole_names(glob: str, yes: list[str], no: list[str]) -> None:
    """A glob matches the whole of a name, slashes included; nothing in it is a regular expression."""
    matches = glob_filter(glob)
    assert all(map(matches, yes))
    assert not any(map(matches, no))


def test_a_hostile_glob_is_quick() -> None:
    """A hostile glob does not backtrack: its time grows with its length and the name's, not exponentially."""
    assert not glob_filter("*a" * 500 + "*b")("a" * 1024)


@given(st.text("ab*?[/", max_size=6), st.text("ab/", max_size=4), st.text("ab/", min_size=1, max_size=8))
def test_a_narrower_prefix_loses_no_match(glob: str, prefix: str, name: str) -> None:
    """The prefix derived from a glob keeps every name that matches both the given prefix and the glob."""
    narrowed = narrow(prefix, glob)
    if name.startswith(prefix) and glob_filter(glob)(name):
        assert narrowed is not None
        assert name.startswith(narrowed)
    assert narrowed is None or narrowed.startswith(prefix)
