"""Helpers of the blob tests: a sink that keeps items, a store on Azurite, and a server with prepared responses."""

import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import httpx
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas

from shared.blobs.listing import Item
from shared.blobs.store.listings import ListingStore
from shared.settings import StorageSettings
from shared.storage import EMULATOR_ACCOUNT, EMULATOR_KEY, Storage


class Kept:
    """A sink that keeps its items as they are."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    @property
    def size(self) -> int:
        return len(self.items) * 100

    def mark(self) -> tuple[int, ...]:
        return (len(self.items),)

    def reset(self, mark: tuple[int, ...]) -> None:
        del self.items[mark[0] :]

    def add(self, items: list[Item]) -> None:
        self.items += items


def store_on(connection_string: str) -> ListingStore:
    return ListingStore(Storage(StorageSettings(connection_string)))


def container_sas(container: str) -> str:
    """A SAS that may read and write all blobs of one container, made by the official library."""
    return generate_container_sas(
        EMULATOR_ACCOUNT,
        container,
        EMULATOR_KEY,
        permission=ContainerSasPermissions(read=True, write=True, create=True, delete=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )


def put(container: ContainerClient, name: str, data: bytes, **headers: str) -> None:
    """Put a blob of any name, also one that the official library cannot send: its URL is fully encoded."""
    url = f"{container.url}/{urllib.parse.quote(name, safe='')}?{container_sas(container.container_name)}"
    with httpx.Client(timeout=60, trust_env=False) as client:
        response = client.put(url, content=data, headers={"x-ms-blob-type": "BlockBlob", **headers})
    assert response.status_code == 201, (name, response.status_code, response.text)


Respond = Callable[[socket.socket, bytes], object]


@contextmanager
def server(response: Respond) -> Iterator[str]:
    """An HTTP server that reads a request's head and then hands the connection to `response`; its base URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    open_connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        try:
            with connection:
                while True:
                    head = b""
                    while b"\r\n\r\n" not in head:
                        data = connection.recv(65536)
                        if not data:
                            return
                        head += data
                    if response(connection, head) is False:
                        return
        except OSError:
            return  # The client has disconnected, or the test is over.

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_connections.append(connection)
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def respond(status: int, body: bytes, headers: str = "", length: int | None = None) -> Respond:
    """Send this response to every request; `length` replaces the true Content-Length."""
    content_length = len(body) if length is None else length
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {content_length}\r\n{headers}\r\n".encode()

    def response(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(head + body)
        return length is None

    return response


def hang_up(data: bytes) -> Respond:
    """Send only these bytes, and close the connection."""

    def response(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(data)
        return False

    return response


def account_at(url: str) -> str:
    """The connection string of an account whose storage is at `url`."""
    return f"AccountName=a;AccountKey=aGk=;BlobEndpoint={url}/a;TableEndpoint={url}/a"
