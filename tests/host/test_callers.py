"""Which callers the local host serves, and which it rejects."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .running import RunningHost, running, write_app

APP = """
@app.route(route="call")
def call(req: func.HttpRequest) -> str:
    return "called"
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHost]:
    """A host on a loopback address, with its own URL and origin."""
    environ = {
        "STRONGROOM_URL": "https://room.example.net/",
        "STRONGROOM_ORIGINS": "https://a.example, https://b.example",
    }
    with running(write_app(tmp_path_factory.mktemp("app"), APP), environ=environ) as started:
        yield started


def send(host: RunningHost, name: str, *headers: str, method: str = "POST") -> tuple[int, str]:
    """Send a request with this `Host` and these headers; return status and text."""
    lines = [f"{method} /api/call HTTP/1.1", f"Host: {name}", "Content-Length: 2", "Connection: close", *headers]
    reply = host.send("\r\n".join([*lines, "", "{}"]).encode())
    return reply.status, reply.body.decode()


@pytest.mark.parametrize(
    "name", ["localhost", "localhost:7071", "LOCALHOST", "app.localhost:1", "127.0.0.1:7071", "[::1]:7071", "127.8.8.8"]
)
def test_names_of_this_machine(host: RunningHost, name: str) -> None:
    """Every name of the loopback interface is accepted in Host."""
    assert send(host, name) == (200, "called")


def test_the_name_of_the_apps_own_url(host: RunningHost) -> None:
    """Behind a tunnel, Host carries the name of STRONGROOM_URL."""
    assert send(host, "room.example.net") == (200, "called")


@pytest.mark.parametrize(
    "name",
    ["example.com", "localhost.example.com", "127.0.0.1.example.com", "10.0.0.1", "localhost@example.com", "a:b:c"],
)
def test_other_names_are_rejected(host: RunningHost, name: str) -> None:
    """A name that someone else controls may resolve to 127.0.0.1 (DNS rebinding): 403, with the reason."""
    status, text = send(host, name)
    assert status == 403
    assert "Host header" in text
    assert "STRONGROOM_URL" in text


def test_names_are_not_checked_on_a_public_address(tmp_path: Path) -> None:
    """A host that listens on every address accepts all names of its network."""
    with running(write_app(tmp_path, APP), "--address", "0.0.0.0") as host:
        assert send(host, "machine.lan") == (200, "called")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("origin", ["https://example.com", "null", "http://localhost:1", "http://127.0.0.1"])
@pytest.mark.parametrize("type_", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_pages_of_other_origins_are_rejected(host: RunningHost, method: str, origin: str, type_: str) -> None:
    """A request that a browser sends for any page without a preflight is 403, with the reason."""
    headers = [f"Origin: {origin}", *([f"Content-Type: {type_}"] if type_ else [])]
    status, text = send(host, "localhost:7071", *headers, method=method)
    assert status == 403
    assert "CORS in local.settings.json" in text


@pytest.mark.parametrize(
    "origin", ["http://localhost:7071", "https://room.example.net", "https://a.example", "https://b.example"]
)
def test_pages_of_the_app_may_call(host: RunningHost, origin: str) -> None:
    """The app's own pages, and those of STRONGROOM_URL and STRONGROOM_ORIGINS, may call with any type."""
    assert send(host, "localhost:7071", f"Origin: {origin}", "Content-Type: text/plain") == (200, "called")


def test_json_needs_a_preflight(host: RunningHost) -> None:
    """JSON from another origin is served: a browser sends a preflight first, which is refused."""
    headers = ("Origin: https://example.com", "Content-Type: application/json; charset=utf-8")
    assert send(host, "localhost:7071", *headers) == (200, "called")


def test_programs_send_no_origin(host: RunningHost) -> None:
    """curl and SDKs send no Origin, and may call."""
    assert send(host, "localhost:7071", "Content-Type: text/plain") == (200, "called")
