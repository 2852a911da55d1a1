"""The check of passwords against a service with the range interface of Have I Been Pwned."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from shared.errors import WeakPassword
from shared.passwords.store import breaches
from shared.passwords.store.breaches import BreachedPasswords
from tests.passwords.conftest import Make
from tests.support import StartApp, closed_port

KNOWN, UNKNOWN = "a breached horse battery staple", "seven purple mountain goats"


class Service:
    """A service that knows one breached password, and can be made to fail."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.respond: Callable[[BaseHTTPRequestHandler], None] = self.known
        self.ended = threading.Event()
        self.url = ""

    def known(self, handler: BaseHTTPRequestHandler) -> None:
        """Return the suffixes of the range, with padding, as the real service does."""
        suffix = hashlib.sha1(KNOWN.encode()).hexdigest().upper()[5:]  # noqa: S324 - as the interface has it.
        padding = hashlib.sha1(UNKNOWN.encode()).hexdigest().upper()[5:]  # noqa: S324
        self.send(handler, 200, f"{'0' * 35}:3\r\n{suffix}:42\r\n{padding}:0\r\n".encode())

    def send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        """Send a complete response."""
        handler.send_response(status)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service on a busy machine is not late."""
    monkeypatch.setattr(breaches, "TIME_LIMIT_SECONDS", 60.0)


@pytest.fixture
def service() -> Iterator[Service]:
    """A service for this test only."""
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append((self.path, dict(self.headers)))
            state.respond(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    state.ended.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", ["", "/", "/range", "/range/"])
def test_only_five_digits_leave(service: Service, path: str) -> None:
    """The service gets five digits of the SHA-1 and a request for padding; a padded line is not a breach."""
    client = BreachedPasswords(service.url + path)
    assert client.contains(KNOWN)
    assert not client.contains(UNKNOWN)
    for (sent, headers), password in zip(service.requests, (KNOWN, UNKNOWN), strict=True):
        digest = hashlib.sha1(password.encode()).hexdigest().upper()  # noqa: S324
        assert sent == f"/range/{digest[:5]}"
        assert headers["Add-Padding"] == "true"
        assert digest[5:] not in str(headers)


def test_a_service_that_is_out_accepts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password is accepted if the service refuses, fails, redirects, or sends garbage, too much, or too slowly."""
    monkeypatch.setattr(breaches, "TIME_LIMIT_SECONDS", 0.3)
    client = BreachedPasswords(service.url)

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "100000")
        handler.end_headers()
        try:
            while not service.ended.wait(0.05):
                handler.wfile.write(b"0")
        except OSError:
            pass

    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("location", service.url + "/elsewhere")
        handler.end_headers()

    fates: list[Callable[[BaseHTTPRequestHandler], object]] = [
        lambda handler: service.send(handler, 503, b""),
        lambda handler: service.send(handler, 200, b"\xff\xfe garbage"),
        lambda handler: service.send(handler, 200, b"0" * (breaches.MAX_RESPONSE_BYTES + 1)),
        lambda _: service.ended.wait(5),
        redirect,
        trickle,
    ]
    for fate in fates:
        service.respond = fate  # type: ignore[assignment]
        assert not client.contains(KNOWN)
    assert not any("elsewhere" in path for path, _ in service.requests)
    with closed_port() as port:
        assert not BreachedPasswords(f"http://127.0.0.1:{port}").contains(KNOWN)


def test_users_cannot_have_a_breached_password(service: Service, make: Make) -> None:
    """A breached password fails the policy; a password that is too long causes no request."""
    accounts = make(breached_passwords_url=service.url)
    assert accounts.reasons(KNOWN, None, second_factor=False) == ["breached"]
    with pytest.raises(WeakPassword, match="breached"):
        accounts.create("alice", KNOWN, second_factor=False)
    accounts.create("alice", UNKNOWN, second_factor=False)
    with pytest.raises(WeakPassword, match="breached"):
        accounts.change_password("alice", UNKNOWN, KNOWN)
    with pytest.raises(WeakPassword, match="breached"):
        accounts.reset_password("alice", KNOWN)
    count = len(service.requests)
    assert accounts.reasons("x" * 5000, None, second_factor=False) == ["too-long"]
    assert len(service.requests) == count


def test_the_setting_turns_it_on(service: Service, start_app: StartApp) -> None:
    """With STRONGROOM_BREACHED_PASSWORDS_URL check-password names the reason."""
    app = start_app({"STRONGROOM_BREACHED_PASSWORDS_URL": service.url + "/range/"})
    with app.client() as client:
        for _ in range(10):  # A service that is late accepts, and this one is slow on a busy machine.
            response = client.post("/api/check-password", json={"password": KNOWN})
            if not response.json()["acceptable"]:
                break
        assert response.json() == {"acceptable": False, "reasons": ["breached"]}
        assert client.post("/api/check-password", json={"password": UNKNOWN}).json()["acceptable"]
