"""The whole app over a storage account that fails: 503 with Retry-After, in the call's time, and nothing from storage.

A proxy in front of Azurite makes it fail. These are the calls of every function that uses storage.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from shared.identity.tokens import header
from shared.settings import StorageSettings
from shared.storage import Account, account_of
from tests.storage.proxy import HANG, Proxy, Respond, run_proxy
from tests.support import App, StartApp

CALL_SECONDS = 1
SPARE_SECONDS = 10
"""Beside the call's time, on a busy machine. Without a deadline these calls took 14 to 26 s."""

CALLS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("GET", "/api/sign?message=hello", None),
    ("GET", "/api/verify?message=hello&signature=AAAA", None),
    ("POST", "/api/encrypt", {"key": "faults", "plaintext": "a"}),
    ("POST", "/api/keys", {"name": "faults", "type": "P-256"}),
    ("GET", "/api/keys", None),
    ("GET", "/api/keys/faults", None),
    ("POST", "/api/keys/faults/rotate", {}),
    ("PATCH", "/api/keys/faults", {"deletable": True}),
    ("GET", "/api/jwks", None),
    ("POST", "/api/hash-password", {"user": "faults", "password": "a long and unlikely passphrase 17"}),
    ("POST", "/api/verify-password", {"user": "faults", "password": "a long and unlikely passphrase 17"}),
    ("POST", "/api/reset-password", {"user": "faults", "password": "a long and unlikely passphrase 18"}),
    ("GET", "/api/users", None),
    ("POST", "/api/sign-up", {"user": "faults-2", "password": "a long and unlikely passphrase 17"}),
    ("POST", "/api/sign-in", {"user": "faults", "password": "a long and unlikely passphrase 17"}),
    ("POST", "/api/sign-in", {"ticket": "AAAA", "code": "123456"}),
    ("POST", "/api/sessions/refresh", {"refresh_token": "AAAA"}),
    ("POST", "/api/sign-in/passkey", {"user": "faults"}),
    ("GET", "/api/me", None),
    ("GET", "/api/me/factors", None),
    ("POST", "/api/me/totp", {}),
    ("GET", "/api/users/5eed0000-0000-4000-8000-000000000001/factors", None),
    ("DELETE", "/api/users/5eed0000-0000-4000-8000-000000000001/factors", None),
    ("POST", "/api/sign-out", {}),
    ("GET", "/api/users/5eed0000-0000-4000-8000-000000000001/sessions", None),
    ("DELETE", "/api/users/5eed0000-0000-4000-8000-000000000001/sessions", None),
    ("PUT", "/api/queries/faults", {"sql": "select 1"}),
    ("GET", "/api/queries/faults", None),
    ("GET", "/api/queries", None),
    ("GET", "/api/list-blobs?container=samples", None),
    ("GET", "/api/list-blobs", None),
    ("GET", "/api/blobs/samples/welcome.txt", None),
    ("PUT", "/api/blobs/samples/faults.txt", None),
    ("DELETE", "/api/blobs/samples/faults.txt", None),
    ("POST", "/api/containers", {"container": "faults"}),
    ("POST", "/api/share-blob", {"container": "samples", "name": "welcome.txt", "revocable": True}),
    ("GET", "/api/shares", None),
    ("PUT", "/api/models/faults", {"container": "samples", "blob": "models/iris.onnx"}),
    ("GET", "/api/models", None),
    ("GET", "/api/models/faults", None),
    ("DELETE", "/api/models/faults", None),
    ("POST", "/api/predict", {"model": "faults", "rows": [[1]], "timeout_ms": 1000}),
    ("GET", "/api/v2/models/faults", None),
    ("POST", "/api/v2/models/faults/infer", {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}),
    ("POST", "/api/identify-blobs", {"container": "samples", "names": ["welcome.txt"]}),
    (
        "POST",
        "/api/predict-batch",
        {
            "model": "faults",
            "source": {"container": "samples", "path": "models/irises.csv"},
            "target": {"container": "samples"},
            "timeout_ms": 1000,
        },
    ),
]
IDS = [f"{method} {path.partition('?')[0]}" for method, path, _ in CALLS]

TOKEN = f"{header('kid')}.e30.{'A' * 86}"
"""An access token that only the key can tell from a real one."""


class Faulty:
    """A running app, and the proxies in front of its blobs and tables."""

    def __init__(self, app: App, proxies: list[Proxy]) -> None:
        self.app = app
        self.proxies = proxies

    def always(self, fate: Any) -> None:
        """Apply this fate to every request from now on."""
        for proxy in self.proxies:
            proxy.always(fate)


@pytest.fixture
def call_seconds() -> int:
    """The time of a call: the default, so that only the fault ends it and not a busy machine."""
    return 10


@pytest.fixture
def faulty(start_app: StartApp, storage_connection: str, call_seconds: int) -> Iterator[Faulty]:
    """An app that has sent no request yet."""
    account: Account = account_of(StorageSettings(storage_connection))
    with ExitStack() as stack:
        blobs, tables = (stack.enter_context(run_proxy(url)) for url in (account.blob_url, account.table_url))
        connection = (
            f"AccountName={account.name};AccountKey={account.key};BlobEndpoint={blobs.url};TableEndpoint={tables.url}"
        )
        settings = {"AzureWebJobsStorage": connection, "STRONGROOM_CALL_SECONDS": str(call_seconds)}
        yield Faulty(start_app(settings), [blobs, tables])


def check_problem(response: Any) -> None:
    """503 with Retry-After, and nothing of storage's response."""
    assert response.status_code == 503, response.text
    body = response.json()
    assert body["code"].startswith("storage-") or body["code"] in ("write-unconfirmed", "unavailable"), body
    assert int(response.headers["retry-after"]) > 0
    assert "Injected" not in response.text
    assert set(body) - {"error"} == {"type", "title", "status", "detail", "code", "request_id"}


@pytest.mark.parametrize("call_seconds", [CALL_SECONDS])
def test_storage_that_hangs_holds_no_call_longer_than_its_time(faulty: Faulty) -> None:
    """Every call ends within STRONGROOM_CALL_SECONDS, with all its requests and retries."""
    faulty.always(HANG)
    late = {}
    with faulty.app.client() as client:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        for name, (method, path, fields) in zip(IDS, CALLS, strict=True):
            started = time.monotonic()
            response = client.request(method, path, json=fields) if fields is not None else client.request(method, path)
            if (took := time.monotonic() - started) > CALL_SECONDS + SPARE_SECONDS:
                late[name] = round(took, 1)
            check_problem(response)
    assert late == {}


@pytest.mark.parametrize("status", [400, 405, 409, 412, 418])
def test_an_unexpected_status_is_503(faulty: Faulty, status: int) -> None:
    """A status that a function does not expect from storage is neither a 500 nor passed on as the app's own."""
    faulty.always(Respond(status, "InjectedFault", b"<Error><Code>InjectedFault</Code></Error>"))
    wrong = {}
    with faulty.app.client() as client:
        client.headers["authorization"] = f"Bearer {TOKEN}"
        for name, (method, path, fields) in zip(IDS, CALLS, strict=True):
            response = client.request(method, path, json=fields) if fields is not None else client.request(method, path)
            if response.status_code != 503:
                wrong[name] = (response.status_code, response.text[:200])
    assert wrong == {}
    log = faulty.app.log.read_text()
    assert '"status":500' not in log
    assert "InjectedFault" in log  # The cause is in the log.


def test_an_app_recovers_when_storage_does(faulty: Faulty) -> None:
    """After an outage the same app responds again, without a restart."""
    faulty.always(Respond(500, "InternalError"))
    with faulty.app.client() as client:
        check_problem(client.get("/api/sign?message=hello"))
        assert client.get("/api/health").status_code == 503
        faulty.always(None)
        assert client.get("/api/sign?message=hello").status_code == 200
        signature = client.get("/api/sign?message=hello").json()["signature"]
        assert client.get("/api/verify", params={"message": "hello", "signature": signature}).json()["valid"] is True
        assert client.get("/api/list-blobs?container=samples").status_code in (200, 404)
    assert json.dumps("AccountKey") not in faulty.app.log.read_text()
