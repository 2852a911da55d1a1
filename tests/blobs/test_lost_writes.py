"""Writes whose response is lost, against a real Azurite behind a proxy: each reports what happened."""

import re
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from scripts.azurite import Azurite
from shared.blobs.conditions import Conditions
from shared.blobs.store.blobs import BlobStore, Properties, Target
from shared.deadline import call_limit
from shared.errors import PreconditionFailed, StorageUnavailable
from shared.settings import StorageSettings
from shared.storage import EMULATOR_ACCOUNT, EMULATOR_KEY, Storage, WriteUnconfirmed
from shared.storage.errors import ContainerExists, UnknownBlob
from tests.storage.proxy import HANG, LOSE_REQUEST, LOSE_RESPONSE, Proxy, run_proxy

TEXT = Properties("text/plain")
ONLY_NEW = Conditions(if_none_match="*")


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[Proxy]:
    """A proxy in front of Azurite's Blob service."""
    with run_proxy(f"http://127.0.0.1:{azurite.blob_port}/{EMULATOR_ACCOUNT}") as proxy:
        yield proxy


@pytest.fixture
def blobs(proxy: Proxy, storage_connection: str) -> BlobStore:
    """A store behind the proxy."""
    account = f"AccountName={EMULATOR_ACCOUNT};AccountKey={EMULATOR_KEY};BlobEndpoint={proxy.url}"
    tables = re.search(r"TableEndpoint=[^;]+", storage_connection)
    assert tables
    return BlobStore(Storage(StorageSettings(f"{account};{tables[0]}")))


@pytest.fixture
def target(blobs: BlobStore) -> Target:
    """A blob that does not exist yet, in its own container."""
    container = f"c{secrets.token_hex(8)}"
    blobs.create_container(container, {})
    return Target(container, "a b.txt")


@pytest.mark.parametrize("fate", [LOSE_RESPONSE, LOSE_REQUEST])
def test_a_blob_is_stored_once(fate: str, blobs: BlobStore, target: Target, proxy: Proxy) -> None:
    """`If-None-Match: *` does not refuse the blob that the lost attempt stored itself."""
    proxy.fail(fate, method="PUT")
    stored = blobs.put(target, b"x", TEXT, ONLY_NEW)
    assert stored.etag == blobs.head(target).etag


def test_another_writer_is_not_taken_for_us(blobs: BlobStore, target: Target, proxy: Proxy) -> None:
    """If the lost attempt was never executed and another blob exists, the response is 412."""
    blobs.put(target, b"other", TEXT, Conditions())
    proxy.fail(LOSE_REQUEST, method="PUT")
    with pytest.raises(PreconditionFailed):
        blobs.put(target, b"x", TEXT, ONLY_NEW)


@pytest.mark.parametrize("fate", [LOSE_RESPONSE, LOSE_REQUEST])
def test_a_blob_is_deleted_once(fate: str, blobs: BlobStore, target: Target, proxy: Proxy) -> None:
    """A delete whose first attempt succeeded unnoticed is not a 404; a delete of a blob that never existed is."""
    stored = blobs.put(target, b"x", TEXT, Conditions())
    proxy.fail(fate, method="DELETE")
    blobs.delete(target, Conditions(if_match=stored.etag), snapshots=False, break_lease=False)
    with pytest.raises(UnknownBlob):
        blobs.delete(target, Conditions(), snapshots=False, break_lease=False)


@pytest.mark.parametrize("fate", [LOSE_RESPONSE, LOSE_REQUEST])
def test_a_container_is_created_once(fate: str, blobs: BlobStore, proxy: Proxy) -> None:
    """A retry inside create-container is not a 409 for the container that it created itself."""
    container = f"c{secrets.token_hex(8)}"
    proxy.fail(fate, method="PUT")
    assert blobs.create_container(container, {}).etag
    with pytest.raises(ContainerExists):
        blobs.create_container(container, {})


@pytest.mark.parametrize("fate", [LOSE_RESPONSE, LOSE_REQUEST])
def test_a_blob_is_copied_once(fate: str, blobs: BlobStore, target: Target, proxy: Proxy) -> None:
    """A copy to a new name is not refused because of the lost attempt's own copy."""
    blobs.put(target, b"x", TEXT, Conditions())
    copy = Target(target.container, "copy")
    proxy.fail(fate, method="PUT")
    copied = blobs.copy(target, copy, overwrite=False, tier=None, priority=None, now=datetime.now(UTC))
    assert copied.etag == blobs.head(copy).etag
    assert copied.headers["x-ms-copy-status"] == "success"


def test_doubt_is_reported(blobs: BlobStore, target: Target, proxy: Proxy) -> None:
    """If storage is down after the write, the error says that the write may have happened, and it has."""
    proxy.always(LOSE_RESPONSE)
    with pytest.raises(WriteUnconfirmed):
        blobs.put(target, b"x", TEXT, ONLY_NEW)
    proxy.always(None)
    assert blobs.head(target).size == 1


def test_storage_that_hangs_holds_a_call_to_its_deadline(blobs: BlobStore, target: Target, proxy: Proxy) -> None:
    """All requests of a call and their retries share its deadline: reads, writes and listings alike."""
    proxy.always(HANG)
    calls: list[Callable[[], object]] = [
        lambda: blobs.head(target),
        lambda: blobs.read(target, most=10),
        lambda: blobs.put(target, b"x", TEXT, ONLY_NEW),
    ]
    for call in calls:
        proxy.requests.clear()
        with call_limit(0.5), pytest.raises(StorageUnavailable):
            call()
        assert len(proxy.requests) <= 1  # Without the limit there are three attempts, of 4 s each.
