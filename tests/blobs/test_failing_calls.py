"""Every call on single blobs and containers, against a Blob Storage service that fails in each way."""

import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from shared.blobs.conditions import Conditions
from shared.blobs.routes import changing, containers, writing
from shared.blobs.store.blobs import BlobStore, Properties, Target
from shared.deadline import call_limit
from shared.errors import (
    InvalidRequest,
    PreconditionFailed,
    StorageForbidden,
    StorageNetworkForbidden,
    StorageUnavailable,
    StrongroomError,
    UnknownContainer,
)
from shared.settings import StorageSettings
from shared.storage import Storage
from shared.storage.errors import (
    BlobConflict,
    ContainerExists,
    RangeNotSatisfiable,
    UnknownBlob,
    UnsupportedByAccount,
)
from shared.web import Request
from tests.blobs.support import Respond, account_at, hang_up, respond, server

N = Target("container", "n")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
CALLS: dict[str, Callable[[BlobStore], object]] = {
    "head": lambda blobs: blobs.head(N),
    "read": lambda blobs: blobs.read(N, most=1000),
    "put": lambda blobs: blobs.put(N, b"x", Properties("text/plain"), Conditions()),
    "delete": lambda blobs: blobs.delete(N, Conditions(), snapshots=False, break_lease=False),
    "restore": lambda blobs: blobs.restore(N, NOW),
    "set-tier": lambda blobs: blobs.set_tier(N, "Cool", None),
    "copy": lambda blobs: blobs.copy(N, Target("container", "m"), overwrite=True, tier=None, priority=None, now=NOW),
    "check-container": lambda blobs: blobs.check_container("container"),
    "create-container": lambda blobs: blobs.create_container("container", {}),
    "delete-container": lambda blobs: blobs.delete_container("container"),
}


PUT = Request("PUT", "http://x/api/blobs/container/a", {}, {"container": "container", "name": "a"}, b"x")


def store_at(url: str) -> BlobStore:
    """The store under test, on an account at `url`."""
    return BlobStore(Storage(StorageSettings(account_at(url))))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_call_reports_an_outage(call: Callable[[BlobStore], object]) -> None:
    """During an outage of the service, every call raises StorageUnavailable with a Retry-After."""
    with server(respond(503, b"busy", "x-ms-error-code: ServerBusy\r\nRetry-After: 3600\r\n")) as url:
        with pytest.raises(StorageUnavailable) as caught:
            call(store_at(url))
        assert caught.value.retry_after == 5


@pytest.mark.parametrize(
    "response",
    [
        respond(500, b""),
        respond(429, b""),
        respond(302, b"", "Location: http://127.0.0.1:9/\r\n"),
        respond(418, b""),
        hang_up(b""),
        hang_up(b"SSH-2.0-OpenSSH_9.2\r\n"),
        hang_up(b"HTTP/1.1 500 Internal"),
    ],
    ids=["500", "429", "redirect", "teapot", "hangs-up", "no-http", "half-a-line"],
)
@pytest.mark.parametrize("call", ["read", "put"])
def test_every_failure_is_an_outage(call: str, response: Respond) -> None:
    """However the service fails to read and to write, the error is StorageUnavailable."""
    with server(response) as url, pytest.raises(StorageUnavailable):
        CALLS[call](store_at(url))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_call_reports_a_missing_role(call: Callable[[BlobStore], object]) -> None:
    """If the app's identity lacks a role, the error is StorageForbidden, which names the roles."""
    with (
        server(respond(403, b"", "x-ms-error-code: AuthorizationPermissionMismatch\r\n")) as url,
        pytest.raises(StorageForbidden) as caught,
    ):
        call(store_at(url))
    assert "Storage Blob Data Contributor" in caught.value.advice


def test_network_rules_differ_from_roles() -> None:
    """If the account's network rules refuse the app, the error's advice names them and no role."""
    with (
        server(respond(403, b"", "x-ms-error-code: AuthorizationFailure\r\n")) as url,
        pytest.raises(StorageNetworkForbidden) as caught,
    ):
        CALLS["head"](store_at(url))
    assert "network rules" in caught.value.advice


def test_a_deleted_blob_is_restored() -> None:
    """If the account has soft delete, restore-blob undeletes the blob and returns its properties."""
    requests: list[bytes] = []

    def response(connection: socket.socket, request: bytes) -> object:
        requests.append(request.partition(b" HTTP")[0])
        headers = 'ETag: "0x1"\r\nLast-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\n'
        return respond(200, b"", headers)(connection, request)

    with server(response) as url:
        restored = changing.restore_blob(store_at(url), changing.RestoreBlobRequest(container="container", name="a b"))
    assert requests == [b"PUT /a/container/a%20b?comp=undelete", b"HEAD /a/container/a%20b"]
    assert (restored.etag, restored.last_modified, restored.size) == ('"0x1"', "2026-01-02T03:04:05Z", 0)


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (404, "BlobNotFound", UnknownBlob),
        (404, "ContainerNotFound", UnknownContainer),
        (409, "ContainerBeingDeleted", UnknownContainer),
        (409, "BlobArchived", BlobConflict),
        (409, "BlobImmutableDueToPolicy", BlobConflict),
        (409, "SomethingNew", StorageUnavailable),
        (400, "SomethingNew", StorageUnavailable),
        (405, "", StorageUnavailable),
        (412, "SomethingNew", StorageUnavailable),
        (409, "BlobAlreadyExists", PreconditionFailed),
        (409, "FeatureNotSupported", UnsupportedByAccount),
        (412, "ConditionNotMet", PreconditionFailed),
        (412, "LeaseIdMissing", PreconditionFailed),
        (400, "Md5Mismatch", InvalidRequest),
        (400, "Crc64Mismatch", InvalidRequest),
        (400, "InvalidUri", InvalidRequest),
        (501, "NotImplemented", UnsupportedByAccount),
    ],
)
def test_a_refusal_is_known_by_its_code(status: int, code: str, error: type[StrongroomError]) -> None:
    """Each refusal that the service documents for a write becomes the error that says what the caller can do."""
    with server(respond(status, b"<Error/>", f"x-ms-error-code: {code}\r\n")) as url, pytest.raises(error):
        CALLS["put"](store_at(url))


@pytest.mark.parametrize(("code"), ["ContainerAlreadyExists", "ContainerBeingDeleted"])
def test_a_container_that_is_in_the_way(code: str) -> None:
    """A container that exists, or is still being deleted, prevents the creation of a new one."""
    with server(respond(409, b"", f"x-ms-error-code: {code}\r\n")) as url, pytest.raises(ContainerExists):
        CALLS["create-container"](store_at(url))


def test_a_refused_range_has_the_size() -> None:
    """The size in the service's 416 reaches the caller."""
    with (
        server(respond(416, b"", "Content-Range: bytes */12\r\n")) as url,
        pytest.raises(RangeNotSatisfiable) as caught,
    ):
        store_at(url).read(N, first=20, most=100)
    assert caught.value.headers == {"content-range": "bytes */12"}


@pytest.mark.parametrize(
    "response",
    [
        hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
        hang_up(b"HTTP/1.1 200 OK\r\n\r\nabc"),
        hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc"),
        hang_up(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    ],
    ids=["cut-off", "no-length", "negative", "chunked"],
)
def test_a_blob_is_whole_or_not_there(response: Respond) -> None:
    """A blob that breaks off, or has no length, is never returned as if it were complete."""
    with server(response) as url, pytest.raises(StorageUnavailable):
        store_at(url).read(N, most=1000)


def test_a_blob_that_drips_for_ever_is_abandoned() -> None:
    """If a blob arrives byte by byte, so that no read times out, the call ends at its deadline."""
    over = threading.Event()

    def response(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-999/1000\r\nContent-Length: 1000\r\n\r\n")
        while not over.wait(0.02):
            connection.sendall(b"x")
        return False

    try:
        with server(response) as url, call_limit(0.5), pytest.raises(StorageUnavailable):
            store_at(url).read(N, most=1000)
    finally:
        over.set()


def test_a_large_blob_is_not_read() -> None:
    """For a blob over the limit, only the first MiB is requested, whose response has the size."""
    heads: list[bytes] = []

    def response(connection: socket.socket, request: bytes) -> object:
        heads.append(request.lower())
        return respond(206, b"x" * 2**20, "Content-Range: bytes 0-1048575/1000000000\r\n")(connection, request)

    with server(response) as url:
        found = store_at(url).read(N, most=1000)
    assert (found.body, found.size) == (None, 10**9)
    assert [b"range: bytes=0-1048575" in head for head in heads] == [True]


@pytest.mark.parametrize(
    "ask",
    [
        lambda blobs: changing.copy_blob(blobs, changing.CopyBlobRequest(container="container", name="a", to_name="b")),
        lambda blobs: changing.restore_blob(blobs, changing.RestoreBlobRequest(container="container", name="a")),
        lambda blobs: writing.put_blob(
            blobs, 9, pytest.fail, writing.PutBlobRequest(container="container", name="a"), PUT
        ),
        lambda blobs: containers.create_container(blobs, containers.CreateContainerRequest(container="container")),
        lambda blobs: blobs.head(Target("container", "a")).size,
    ],
    ids=["copy", "restore", "put", "create", "size"],
)
@pytest.mark.parametrize("headers", ["", "Last-Modified: yesterday\r\nx-ms-copy-status: odd\r\n"])
def test_a_success_without_properties_is_an_outage(ask: Callable[[BlobStore], object], headers: str) -> None:
    """A success without the headers that every success has is StorageUnavailable."""
    with server(hang_up(f"HTTP/1.1 201 X\r\n{headers}\r\n".encode())) as url, pytest.raises(StorageUnavailable):
        ask(store_at(url))


def test_a_read_is_bound_to_the_state_of_the_head() -> None:
    """Every request for the bytes has the ETag that the plan was made for."""
    heads: list[bytes] = []

    def response(connection: socket.socket, request: bytes) -> object:
        heads.append(request.lower())
        return respond(206, b"x", "Content-Range: bytes 0-0/1\r\n")(connection, request)

    with server(response) as url:
        store_at(url).read(N, etag='"a"', most=10)
    assert all(b'if-match: "a"' in head for head in heads)
