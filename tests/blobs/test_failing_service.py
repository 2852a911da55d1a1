"""A real server as a Blob Storage that fails in each way: the caller's errors, and the time until they come."""

import socket
import threading
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from shared.blobs.store.listings import ListingStore
from shared.deadline import call_limit
from shared.errors import Busy, InvalidRequest, StorageForbidden, StorageUnavailable, UnknownContainer
from shared.settings import StorageSettings
from shared.storage import CONNECTIONS, RETRIES, Storage
from shared.storage.blobs import Blobs
from tests.blobs.support import Kept, Respond, account_at, hang_up, respond, server, store_on
from tests.blobs.test_listing import BLOBS, blob_of, page_of

PAGE = page_of(blob_of("a"))


def listing(url: str, marker: str = "") -> Kept:
    """The result of listing the account at `url`."""
    sink = Kept()
    store_on(account_at(url)).list_blobs("container", sink, limit=5000, marker=marker)
    return sink


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> Respond:
    """A response in chunks; without its `end` the connection breaks."""
    body = b"".join(f"{len(each):x}\r\n".encode() + each + b"\r\n" for each in chunks)

    def response(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + end)
        return bool(end)

    return response


@pytest.mark.parametrize(
    "response",
    [
        respond(200, PAGE),
        chunked(PAGE),
        chunked(*(PAGE[at : at + 7] for at in range(0, len(PAGE), 7))),
    ],
)
def test_a_page_may_be_framed_in_either_way(response: Respond) -> None:
    """A page with a length and a page in chunks read alike."""
    with server(response) as url:
        assert [getattr(each, "name", "") for each in listing(url).items] == ["a"]


@pytest.mark.parametrize(
    "response",
    [
        respond(500, b"broken"),
        respond(503, b"", "x-ms-error-code: ServerBusy\r\n"),
        respond(429, b"", "Retry-After: 3600\r\n"),
        respond(200, b"It works!"),
        respond(200, b""),
        respond(200, PAGE[:-1]),
        respond(200, PAGE, length=len(PAGE) + 1),
        respond(200, PAGE, length=len(PAGE) - 1),
        respond(200, zlib.compress(PAGE), "Content-Encoding: deflate\r\n"),
        respond(302, b"", "Location: http://127.0.0.1:9/\r\n"),
        respond(404, b"nothing here"),
        respond(418, b""),
        chunked(PAGE, end=b""),
        chunked(PAGE, end=b"zz\r\n"),
        hang_up(b""),
        hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n"),
        hang_up(b"SSH-2.0-OpenSSH_9.2\r\n"),
        hang_up(b"HTTP/1.1 200 OK\r\n\r\n" + PAGE[:100]),
        hang_up(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000),
    ],
)
def test_every_failure_is_the_same_clear_error(response: Respond) -> None:
    """However the service fails, the listing raises StorageUnavailable and says how long to wait."""
    with server(response) as url, pytest.raises(StorageUnavailable) as caught:
        listing(url)
    assert caught.value.retry_after


@pytest.mark.parametrize(("limit", "sizes"), [(12_000, [5000, 5000, 2000]), (5000, [5000]), (50_000, [5000] * 4)])
def test_pages_are_followed_within_a_call(limit: int, sizes: list[int]) -> None:
    """Each of several pages is requested with the size that is still needed, also after an empty page."""
    requests: list[int] = []

    def response(connection: socket.socket, request: bytes) -> object:
        query = dict(parse_qsl(request.split(b" ")[1].partition(b"?")[2].decode()))
        first, size = int(query.get("marker", "0")), int(query["maxresults"])
        requests.append(size)
        if query.get("marker", "x").isdigit() and first % 2 == 0 and first:
            return respond(200, page_of(marker=f"{first + 1}"))(connection, request)
        first -= first % 2
        last = min(first + size, 20_000)
        page = page_of(*(blob_of(f"{n:05}") for n in range(first, last)), marker="" if last == 20_000 else f"{last}")
        return respond(200, page)(connection, request)

    with server(response) as url, call_limit(300):
        sink = Kept()
        marker = store_on(account_at(url)).list_blobs("container", sink, limit=limit, marker="")
    assert [getattr(each, "name", "") for each in sink.items] == [f"{n:05}" for n in range(min(limit, 20_000))]
    assert (marker == "") is (limit > 20_000)
    assert [size for at, size in enumerate(requests) if at % 2 == 0] == sizes


def test_what_passes_is_tried_again() -> None:
    """The library retries a temporary failure, and the caller does not notice."""
    responses = iter([respond(503, b""), hang_up(b""), respond(200, PAGE)])

    def response(connection: socket.socket, request: bytes) -> object:
        return next(responses)(connection, request)

    with server(response) as url:
        assert len(listing(url).items) == 1


def test_retries_are_few() -> None:
    """A service that is down gets only a few requests."""
    requests: list[bytes] = []

    def response(connection: socket.socket, request: bytes) -> object:
        requests.append(request)
        return respond(503, b"")(connection, request)

    with server(response) as url, pytest.raises(StorageUnavailable):
        listing(url)
    assert len(requests) == 1 + RETRIES


def test_a_refused_identity_has_its_own_error() -> None:
    """If storage refuses the app's identity, the error says so, and names the roles."""
    with server(respond(403, b"", "x-ms-error-code: AuthorizationPermissionMismatch\r\n")) as url:
        with pytest.raises(StorageForbidden, match="AuthorizationPermissionMismatch") as caught:
            listing(url)
        assert "Storage Blob Data Contributor" in caught.value.advice


@pytest.mark.parametrize(
    ("status", "code", "marker", "field"),
    [
        (400, "InvalidResourceName", "", "container"),
        (400, "InvalidQueryParameterValue", "m", "cursor"),
        (400, "InvalidQueryParameterValue", "", "prefix"),
    ],
)
def test_what_the_service_refuses_names_the_field(status: int, code: str, marker: str, field: str) -> None:
    """If the service refuses a field, the error names it, so that the caller can correct it."""
    with server(respond(status, b"", f"x-ms-error-code: {code}\r\n")) as url:
        with pytest.raises(InvalidRequest) as caught:
            listing(url, marker)
        assert [each.field for each in caught.value.errors] == [field]


@pytest.mark.parametrize("code", ["ContainerNotFound", "ContainerBeingDeleted"])
def test_a_container_on_its_way_out_is_unknown(code: str) -> None:
    """A container that is being deleted is unknown, like one that never existed."""
    status = 404 if code == "ContainerNotFound" else 409
    with server(respond(status, b"", f"x-ms-error-code: {code}\r\n")) as url, pytest.raises(UnknownContainer):
        listing(url)


def test_an_entity_bomb_does_nothing() -> None:
    """A document that would expand to gigabytes is refused unread."""
    bomb = b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 1000 + b'">]>' + PAGE.replace(b">a<", b">" + b"&a;" * 1000 + b"<")
    with server(respond(200, bomb)) as url, pytest.raises(StorageUnavailable, match="before the root"):
        listing(url)


def test_a_page_that_drips_for_ever_is_abandoned() -> None:
    """If the service sends a byte now and then, so that no read times out, the call ends at its deadline."""
    over = threading.Event()

    def response(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n<EnumerationResults><Blobs>")
        while not over.wait(0.02):
            connection.sendall(b" ")
        return False

    try:
        with server(response) as url, call_limit(0.5), pytest.raises(StorageUnavailable):
            listing(url)
    finally:
        over.set()


def test_a_page_that_never_ends_takes_no_memory() -> None:
    """An endless item is refused after about a megabyte."""
    sent = 0

    def response(connection: socket.socket, request: bytes) -> bool:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n<EnumerationResults><Blobs><Blob><Name>")
        while True:
            sent += connection.send(b"x" * 65536)

    with server(response) as url, pytest.raises(StorageUnavailable, match="does not end"):
        listing(url)
    assert sent < 16 * 1024 * 1024


def test_connections_are_kept_and_bounded() -> None:
    """Connections are shared: sequential callers use one, and concurrent callers at most the limit."""
    connections: set[int] = set()
    lock = threading.Lock()

    def response(connection: socket.socket, request: bytes) -> object:
        with lock:
            connections.add(id(connection))
        time.sleep(0.005)
        return respond(200, BLOBS.replace(b"2!92!MDAwMDE2IWEvYi9jLnR4dA--", b""))(connection, request)

    with server(response) as url:
        blobs = store_on(account_at(url))
        for _ in range(5):
            blobs.list_blobs("container", Kept(), limit=5000, marker="")
        assert len(connections) == 1
        threads = [
            threading.Thread(target=blobs.list_blobs, args=("container", Kept()), kwargs={"limit": 5000, "marker": ""})
            for _ in range(4 * CONNECTIONS)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(connections) <= CONNECTIONS


def test_no_free_connection_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """If all connections stay in use for long, the next caller gets 429, and no connection is lost."""
    monkeypatch.setattr("shared.storage.requests.CONNECTIONS", 1)
    monkeypatch.setattr("shared.storage.requests.SLOT_SECONDS", 0.05)
    with server(respond(200, PAGE)) as url:
        storage = Storage(StorageSettings(account_at(url)))
        blobs = Blobs(storage)
        query = {"restype": "container", "comp": "list"}
        with blobs.listing_page("container", query, datetime.now(UTC)), pytest.raises(Busy):
            blobs.listing_page("container", query, datetime.now(UTC)).__enter__()
        ListingStore(storage).list_blobs("container", Kept(), limit=1, marker="")


def test_a_service_that_is_not_there_is_unavailable() -> None:
    """If nothing listens on the port, the error is StorageUnavailable, for a listing and for the probe."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(StorageUnavailable):
            listing(url)
        with pytest.raises(StorageUnavailable):
            store_on(account_at(url)).ping()


def test_no_name_gets_into_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """The log of a retry does not contain its URL, which has the names of blobs."""
    with server(respond(503, b"")) as url, pytest.raises(StorageUnavailable):
        store_on(account_at(url)).list_blobs("container", Kept(), limit=1, marker="", prefix="hush")
    assert "hush" not in caplog.text
    assert "container" not in caplog.text
