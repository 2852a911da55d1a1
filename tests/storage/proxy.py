"""A server in front of a storage account that a test can make fail: real HTTP, and real failures."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

LOSE_RESPONSE, LOSE_REQUEST, HANG = "lose-response", "lose-request", "hang"
"""What can happen to a request: carried out and its response lost; lost before; neither sent on nor responded to."""


@dataclass(frozen=True)
class Respond:
    """A response that the storage account did not send."""

    status: int
    code: str = ""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Fate = str | Respond | None


class Proxy:
    """Forwards requests to `upstream`; a test decides what happens to each (None: it is forwarded)."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.decide: Callable[[str, str], Fate] = lambda _method, _path: None
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        """Of each request, with names in lower case."""
        self.ended = threading.Event()
        self.url = ""

    def always(self, fate: Fate, method: str | None = None) -> None:
        """Apply this fate to every request (of `method`)."""
        self.decide = lambda actual, _path: fate if method in (None, actual) else None

    def fail(self, *fates: Fate, method: str | None = None, path: str = "") -> None:
        """Apply these fates to the next matching requests, one each, and forward all others."""
        left = list(fates)
        lock = threading.Lock()

        def decide(actual: str, target: str) -> Fate:
            with lock:
                matches = left and method in (None, actual) and path in target
                return left.pop(0) if matches else None

        self.decide = decide


@contextmanager
def run_proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy in front of `upstream` (the URL of an account), on a free port, until the context ends."""
    proxy = Proxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            proxy.requests.append((self.command, self.path))
            proxy.headers.append({name.lower(): value for name, value in self.headers.items()})
            fate = proxy.decide(self.command, self.path)
            if fate == HANG:
                proxy.ended.wait(60)
            if fate in (HANG, LOSE_REQUEST):
                self.drop()
                return
            if isinstance(fate, Respond):
                extra = {"x-ms-error-code": fate.code, **fate.headers} if fate.code else fate.headers
                self.respond(fate.status, list(extra.items()), fate.body)
                return
            connection = http.client.HTTPConnection(str(proxy.upstream.hostname), proxy.upstream.port)
            connection.request(self.command, self.path, body, dict(self.headers))  # The signature covers Host.
            response = connection.getresponse()
            content = response.read()
            connection.close()
            if fate == LOSE_RESPONSE:
                self.drop()
                return
            hop_by_hop = ("transfer-encoding", "connection", "keep-alive", "content-length")
            headers = [(name, value) for name, value in response.getheaders() if name.lower() not in hop_by_hop]
            length = response.getheader("content-length")
            self.respond(response.status, headers, content, length)

        def respond(self, status: int, headers: list[tuple[str, str]], body: bytes, length: str | None = None) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if status not in (204, 304):
                self.send_header("content-length", length or str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def drop(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = forward  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}{proxy.upstream.path}"
    try:
        yield proxy
    finally:
        proxy.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until `condition` holds; raises AssertionError after `seconds`."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)
