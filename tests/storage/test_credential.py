"""Tokens from the platform's identity endpoint: a real HTTP server that follows Microsoft's description."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ManagedIdentityCredential

from shared.deadline import call_limit
from shared.storage.credential import IdentityEndpoint, managed_identity

SCOPE = "https://storage.azure.com/.default"
HEADER = "853b9a84-5bfa-4b22-a3f3-0b9a43d9ad8a"
HOUR = 3600


class Endpoint(ThreadingHTTPServer):
    """An identity endpoint; `statuses` are the statuses of its next responses, 200 after them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, list[str]]] = []
        self.statuses: list[int] = []
        self.now = 1_000_000.0
        self.body: bytes | None = None

    @property
    def url(self) -> str:
        """The value of IDENTITY_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}/msi/token"


class Handler(BaseHTTPRequestHandler):
    """Responds as App Service does: 403 without the secret header."""

    server: Endpoint

    def do_GET(self) -> None:
        """Send a token."""
        query = parse_qs(urlsplit(self.path).query)
        self.server.requests.append(query)
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        if self.headers["X-IDENTITY-HEADER"] != HEADER:
            status = 403
        fields = {
            "access_token": f"token-{len(self.server.requests)}",
            "expires_on": str(int(self.server.now) + 24 * HOUR),
            "resource": query["resource"][0],
            "token_type": "Bearer",
        }
        body = self.server.body if self.server.body is not None else json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A running endpoint."""
    server = Endpoint()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def pauses() -> list[float]:
    """The pauses between the retries of a credential."""
    return []


@pytest.fixture
def credential(endpoint: Endpoint, pauses: list[float]) -> IdentityEndpoint:
    """A credential with the endpoint's clock, which records its pauses instead of waiting."""
    return IdentityEndpoint(endpoint.url, HEADER, "client-1", clock=lambda: endpoint.now, sleep=pauses.append)


def test_the_request_is_the_documented_one(endpoint: Endpoint, credential: IdentityEndpoint) -> None:
    """The request names the resource, the version and the user-assigned identity; azure.identity sends the same."""
    assert credential.get_token(SCOPE).token == "token-1"
    assert endpoint.requests == [
        {"resource": ["https://storage.azure.com"], "api-version": ["2019-08-01"], "client_id": ["client-1"]}
    ]


def test_azure_identity_sends_the_same_request(
    endpoint: Endpoint, credential: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Microsoft's own credential sends the same request to the same endpoint, and its token is equally good."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", endpoint.url)
    monkeypatch.setenv("IDENTITY_HEADER", HEADER)
    endpoint.now = 4_000_000_000.0  # Microsoft's credential uses the real clock.
    own = credential.get_token(SCOPE)
    official = ManagedIdentityCredential(client_id="client-1").get_token(SCOPE)
    assert endpoint.requests[0] == endpoint.requests[1]
    assert own.expires_on == official.expires_on


def test_the_system_assigned_identity_has_no_id(endpoint: Endpoint) -> None:
    """Without a client id, the request has no client id."""
    IdentityEndpoint(endpoint.url, HEADER, None).get_token(SCOPE)
    assert "client_id" not in endpoint.requests[0]


def test_a_token_is_kept_until_shortly_before_it_expires(endpoint: Endpoint, credential: IdentityEndpoint) -> None:
    """A token is used for all calls until five minutes before it expires, and each resource has its own."""
    assert credential.get_token(SCOPE).token == credential.get_token(SCOPE).token == "token-1"
    assert credential.get_token("https://vault.azure.net/.default").token == "token-2"
    endpoint.now += 24 * HOUR - 301
    assert credential.get_token(SCOPE).token == "token-1"
    endpoint.now += 1
    assert credential.get_token(SCOPE).token == "token-3"


def test_many_calls_share_one_request(endpoint: Endpoint, credential: IdentityEndpoint) -> None:
    """Twenty calls that need the first token at the same time make one request."""
    gate = threading.Barrier(20)

    def get(_: int) -> str:
        gate.wait(timeout=30)
        return credential.get_token(SCOPE).token

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(get, range(20))) == {"token-1"}
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("status", [404, 410, 429, 500, 503])
def test_a_passing_failure_is_retried(
    endpoint: Endpoint, credential: IdentityEndpoint, pauses: list[float], status: int
) -> None:
    """Temporary failures, as while Azure attaches an identity, are retried with growing pauses."""
    endpoint.statuses = [status, status]
    assert credential.get_token(SCOPE).token == "token-3"
    assert pauses == [0.2, 0.6]


@pytest.mark.parametrize(
    ("statuses", "body", "requests"),
    [([400], None, 1), ([500] * 9, None, 4), ([], b"<html>", 4), ([], b'{"access_token": ""}', 4), ([], b"[]", 4)],
)
def test_without_a_token_the_error_is_the_sdks(
    endpoint: Endpoint, credential: IdentityEndpoint, statuses: list[int], body: bytes | None, requests: int
) -> None:
    """A refusal ends at once, other failures after three retries; the error is one that the storage SDK knows."""
    endpoint.statuses, endpoint.body = statuses, body
    with pytest.raises(ClientAuthenticationError):
        credential.get_token(SCOPE)
    assert len(endpoint.requests) == requests


def test_a_token_that_is_still_valid_outlives_an_outage(endpoint: Endpoint, credential: IdentityEndpoint) -> None:
    """If the endpoint fails shortly before a token expires, the token is used until it expires."""
    credential.get_token(SCOPE)
    endpoint.now += 24 * HOUR - 10
    endpoint.statuses = [400]
    assert credential.get_token(SCOPE).token == "token-1"
    endpoint.now += 11
    endpoint.statuses = [400]
    with pytest.raises(ClientAuthenticationError):
        credential.get_token(SCOPE)


def test_no_retry_goes_past_the_calls_deadline(
    endpoint: Endpoint, credential: IdentityEndpoint, pauses: list[float]
) -> None:
    """A call without time for a pause gets the failure at once."""
    endpoint.statuses = [500] * 9
    with call_limit(0.15), pytest.raises(ClientAuthenticationError):
        credential.get_token(SCOPE)
    assert pauses == []


def test_elsewhere_azure_identity_gets_the_token() -> None:
    """Without the platform's endpoint, for example on a virtual machine, Microsoft's credential is used."""
    assert isinstance(managed_identity("client-2"), ManagedIdentityCredential)
    assert isinstance(managed_identity("client-2", "http://127.0.0.1:9/", "x"), IdentityEndpoint)
