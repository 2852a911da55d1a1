"""Listings of a real Azurite, compared with those of the official library."""

import unicodedata
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobClient, BlobPrefix, BlobServiceClient, ContainerClient, StandardBlobTier
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.blobs.listing import Blob, Container, Item, Prefix
from shared.blobs.store.listings import ListingStore
from shared.errors import InvalidRequest, UnknownContainer
from shared.storage import EMULATOR_ACCOUNT, EMULATOR_KEY, is_reserved
from shared.web import rfc3339
from tests.blobs.support import Kept, container_sas, put, store_on

NASTY = [
    *("plain.txt", "a b.txt", " leading", "trailing ", "per%cent", "%41", "%2F", "%zz", "ha#sh", "q?uestion", "pl+us"),
    *("quote'\"s", "amp&lt;<x>]]>", "semi;colon", "comma,equals=", "at@colon:", "(brackets)[]{}", "^`|~!$*"),
    *(
        "dir/a.txt",
        "dir/b.txt",
        "dir/sub/c.txt",
        "dir//d.txt",
        "/leading-slash",
        "trailing-slash/",
        "//",
        "dots.",
        "...",
    ),
    *("a/../b", "../up", "a/./b", "./here", "a/..", "..hidden", ".hidden/.x"),
    *("ünïcödé", "日本語/ファイル", "😀/🎉", "é", "e\u0301", "\u00a0nbsp", "\u200bzero-width", "rtl\u202eabc"),
    *("tab\tx", "line\nbreak", "return\rx", "\x7f\x85", "x" * 1024, "é" * 500, "UPPER", "upper"),
]


@pytest.fixture(scope="session")
def service(storage_connection: str) -> Iterator[BlobServiceClient]:
    """The official library, on this run's Azurite."""
    with BlobServiceClient.from_connection_string(storage_connection) as client:
        yield client


@pytest.fixture(scope="session")
def blobs(storage_connection: str) -> ListingStore:
    """The store under test, on this run's Azurite."""
    return store_on(storage_connection)


@pytest.fixture(scope="session")
def nasty(service: BlobServiceClient) -> ContainerClient:
    """A container with every kind of name, property, metadata and tag."""
    container = service.create_container("nasty", metadata={"team": "blue & green", "empty": "x"})
    for number, name in enumerate(NASTY):
        put(container, name, f"{number} {name}".encode(), **{"content-type": "text/plain; charset=utf-8"})
    container.upload_blob("none.bin", b"")
    container.upload_blob("tagged", b"x", metadata={"a": "1 < 2", "B_c": "&amp;"}, tags={"project": "x=y", "a b": ""})
    container.upload_blob("snapped", b"1")
    container.get_blob_client("snapped").create_snapshot()
    container.upload_blob("snapped", b"22", overwrite=True)
    container.upload_blob("appended", b"x", blob_type="AppendBlob")
    container.upload_blob("paged", b"x" * 512, blob_type="PageBlob")
    container.upload_blob("cold", b"x", standard_blob_tier=StandardBlobTier.COOL)
    container.get_blob_client("copied").start_copy_from_url(
        f"{container.url}/plain.txt?{container_sas('nasty')}", requires_sync=False
    )
    return container


def listed(blobs: ListingStore, container: str, limit: int = 5000, **fields: object) -> list[Item]:
    """All items of a container, page by page."""
    found: list[Item] = []
    marker = ""
    while True:
        sink = Kept()
        marker = blobs.list_blobs(container, sink, limit=limit, marker=marker, **fields)  # type: ignore[arg-type]
        assert len(sink.items) <= limit
        found += sink.items
        if not marker:
            return found


def test_every_field_agrees_with_the_official_library(blobs: ListingStore, nasty: ContainerClient) -> None:
    """Name, size, type, time, ETag, tier, metadata, tags, snapshot and copy are as the official library reads them."""
    included = ("metadata", "tags", "snapshots", "copy")
    own = listed(blobs, "nasty", include=included)
    official = list(nasty.list_blobs(include=list(included)))
    assert len(own) == len(official) >= len(NASTY) + 8
    for blob, other in zip(own, official, strict=True):
        assert isinstance(blob, Blob)
        assert blob.name == other.name
        assert blob.size == other.size
        assert blob.content_type == other.content_settings.content_type
        assert blob.last_modified == rfc3339(other.last_modified)
        assert blob.etag == f'"{other.etag}"'
        assert blob.tier == other.blob_tier
        assert (blob.metadata or {}) == (other.metadata or {})
        assert (blob.tags or {}) == (other.tags or {})
        assert (blob.snapshot or None) == other.snapshot
        assert (blob.copy.id if blob.copy else None) == other.copy.id
        assert (blob.copy.source if blob.copy else None) == other.copy.source
        assert (blob.copy.status if blob.copy else None) == other.copy.status
    assert {blob.name for blob in own if isinstance(blob, Blob)} >= set(NASTY)


def test_every_url_fetches_its_blob(blobs: ListingStore, nasty: ContainerClient) -> None:
    """With a SAS, the URL of each item fetches the bytes of exactly that blob."""
    expected = {name: f"{number} {name}".encode() for number, name in enumerate(NASTY)}
    with httpx.Client(timeout=60, trust_env=False) as client:
        for blob in listed(blobs, "nasty"):
            assert isinstance(blob, Blob)
            response = client.get(f"{blob.url}?{container_sas('nasty')}")
            assert response.status_code == 200, blob.name
            assert response.headers["etag"] == blob.etag
            assert response.content == expected.get(blob.name, response.content)
            assert len(response.content) == blob.size


def test_the_url_of_a_snapshot_fetches_it(blobs: ListingStore, nasty: ContainerClient) -> None:
    """The URL of a snapshot returns the old bytes, and the URL of the blob the current ones."""
    old, new = listed(blobs, "nasty", prefix="snapped", include=("snapshots",))
    assert isinstance(old, Blob)
    assert isinstance(new, Blob)
    read = []
    for blob in (old, new):
        assert blob.url is not None
        credential = AzureNamedKeyCredential(EMULATOR_ACCOUNT, EMULATOR_KEY)
        with BlobClient.from_blob_url(blob.url, credential=credential) as client:
            read.append(client.download_blob().readall())
    assert read == [b"1", b"22"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 5000])
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_pages_of_any_size_make_the_same_listing(
    limit: int, delimiter: str, blobs: ListingStore, nasty: ContainerClient
) -> None:
    """Pages of every size return each blob and prefix once, like a single page, and like the library."""
    paged = listed(blobs, "nasty", limit, delimiter=delimiter)
    theirs = nasty.walk_blobs(delimiter="/") if delimiter else nasty.list_blobs()
    found = [each.prefix if isinstance(each, Prefix) else each.name for each in paged]
    # The library, and Azurite itself, return the prefixes of a page first.
    assert sorted(found) == sorted(each.name for each in theirs)
    assert len(set(paged)) == len(paged)


def test_folders_are_walked(blobs: ListingStore, nasty: ContainerClient) -> None:
    """With a prefix and a delimiter, one level is listed: its blobs and the prefixes below it."""
    items = listed(blobs, "nasty", prefix="dir/", delimiter="/")
    assert [each.name for each in items if isinstance(each, Blob)] == ["dir/a.txt", "dir/b.txt"]
    assert [each for each in items if isinstance(each, Prefix)] == [Prefix("dir//"), Prefix("dir/sub/")]
    theirs = [(isinstance(each, BlobPrefix), each.name) for each in nasty.walk_blobs("dir/", delimiter="/")]
    assert [
        (isinstance(each, Prefix), each.prefix if isinstance(each, Prefix) else each.name) for each in items
    ] == theirs


@pytest.mark.parametrize("limit", [1, 2, 5000])
def test_a_filter_loses_nothing(limit: int, blobs: ListingStore, nasty: ContainerClient) -> None:
    """For every limit, a filter returns exactly the blobs that match it."""
    keep = partial(lambda suffix, item: isinstance(item, Blob) and item.name.endswith(suffix), ".txt")
    assert [each.name for each in listed(blobs, "nasty", limit, keep=keep) if isinstance(each, Blob)] == [
        each.name for each in nasty.list_blobs() if each.name.endswith(".txt")
    ]


def test_containers_agree_with_the_official_library(
    blobs: ListingStore, nasty: ContainerClient, service: BlobServiceClient
) -> None:
    """The containers that are not reserved are those of the official library, field by field, in pages of two."""
    service.create_container("public-one", public_access="blob")
    own: list[Item] = []
    marker = ""
    while True:
        sink = Kept()
        marker = blobs.list_containers(sink, limit=2, marker=marker, include=("metadata",))
        own += sink.items
        if not marker:
            break
    official = [each for each in service.list_containers(include_metadata=True) if not is_reserved(each.name)]
    assert len(own) == len(official) >= 2
    for container, other in zip(own, official, strict=True):
        assert isinstance(container, Container)
        assert container.name == other.name
        assert container.last_modified == rfc3339(other.last_modified)
        assert container.etag == other.etag
        assert container.public_access == other.public_access
        assert (container.metadata or {}) == (other.metadata or {})
        assert container.url == service.get_container_client(other.name).url
    sink = Kept()
    assert blobs.list_containers(sink, limit=10, marker="", prefix="public-") == ""
    assert [each.name for each in sink.items if isinstance(each, Container)] == ["public-one"]


def test_a_container_that_is_not_there_is_unknown(blobs: ListingStore, service: BlobServiceClient) -> None:
    """A container that never existed, or was deleted, is unknown; an empty one is empty."""
    with pytest.raises(UnknownContainer):
        listed(blobs, "never-made")
    service.create_container("for-a-while")
    assert listed(blobs, "for-a-while") == []
    service.delete_container("for-a-while")
    with pytest.raises(UnknownContainer):
        listed(blobs, "for-a-while")


def test_a_name_that_no_container_can_have_is_a_bad_field(blobs: ListingStore) -> None:
    """If the service refuses the name of a container, the error names that field."""
    with pytest.raises(InvalidRequest) as caught:
        listed(blobs, "Not_A_Name")
    assert [each.field for each in caught.value.errors] == ["container"]


# Names that Azurite accepts: it fails on characters that XML cannot hold, and turns a backslash into a slash.
storable = st.text(
    st.characters(codec="utf-8", exclude_characters="\ufffe\uffff\\", exclude_categories=["Cc"]),
    min_size=1,
    max_size=40,
).filter(lambda name: name not in (".", ".."))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=storable)
def test_any_name_is_listed_as_it_was_stored(name: str, blobs: ListingStore, service: BlobServiceClient) -> None:
    """A blob of any name is listed with exactly this name, and its URL fetches it."""
    container = service.get_container_client("any-name")
    if not container.exists():
        container.create_container()
    put(container, name, name.encode())
    found = [each for each in listed(blobs, "any-name", prefix=name) if isinstance(each, Blob) and each.name == name]
    assert len(found) == 1, unicodedata.name(name[0], "?")
    with httpx.Client(timeout=60, trust_env=False) as client:
        assert client.get(f"{found[0].url}?{container_sas('any-name')}").content == name.encode()
