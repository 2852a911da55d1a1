"""The running app follows its own OpenAPI document, and the rules that hold for every call."""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.data.tables import TableServiceClient

from scripts.azurite import start_azurite
from scripts.portal import RAW_BODIES
from scripts.samples import seed_container
from shared.app import build
from shared.web import Access, Example, Route
from tests.support import (
    App,
    StartApp,
    app_environ,
    not_generated,
    restore_keys,
    restore_users,
    run_sample_app,
    session_token,
)

ROOT = Path(__file__).resolve().parent.parent
ROUTES = build({}).routes
PUBLIC = [route for route in ROUTES if route.access is Access.PUBLIC]
KEYED = [route for route in ROUTES if route.access is Access.FUNCTION]
SECRETS = re.compile(r"hunter2|-----BEGIN|\$argon2|code=|x-functions-key|SharedKey|AccountKey", re.IGNORECASE)


@pytest.fixture(scope="module")
def storage_connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An Azurite for only these tests: they call every function, and their changes must not disturb other tests."""
    azurite = start_azurite(tmp_path_factory.mktemp("storage") / "azurite", in_memory=True)
    yield azurite.connection_string
    azurite.stop()


@pytest.fixture(scope="module")
def running_app(storage_connection: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app with its sample data, on that Azurite."""
    with run_sample_app(tmp_path_factory.mktemp("app"), storage_connection) as app:
        yield app


@not_generated
@pytest.mark.timeout(900)
def test_responses_follow_the_openapi_document(
    start_app: StartApp, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Thousands of generated calls, valid and invalid, get only responses that the OpenAPI document describes."""
    # A storage account of its own: these calls also delete blobs and containers.
    azurite = start_azurite(tmp_path / "azurite", in_memory=True)
    request.addfinalizer(azurite.stop)
    seed_container(azurite.connection_string)
    app = start_app({"AzureWebJobsStorage": azurite.connection_string})
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "tests" / "schemathesis.toml"), "run"),
        *("--url", f"{app.url}/api", "--header", f"x-functions-key: {app.function_key}"),
        *("--max-examples", "15", "--seed", "1", "--generation-database", "none", "--warnings", "off"),
        *("--request-timeout", "60"),
        # Every query is valid for a public link, so most "invalid" ones that it generates are valid.
        *("--suppress-health-check", "filter_too_much"),
        f"{app.url}/api/openapi.json",
    ]
    # A session of its own for each function that needs one, because some of them end it.
    tokens = {route.name: session_token(app) for route in ROUTES if route.access is Access.SESSION}
    hooks = str(ROOT / "tests" / "schemathesis_hooks.py")
    environ = os.environ | {"SCHEMATHESIS_HOOKS": hooks, "SESSION_TOKENS": json.dumps(tokens)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=840, check=False)
    report = re.sub(r"(.{100})\1+", r"\1…", done.stdout)  # Shortens long repeated texts in requests.
    assert done.returncode == 0, report[-20000:] + done.stderr[-2000:]
    assert "No issues found" in done.stdout
    log = app.log.read_text(errors="replace")
    assert '"status":500' not in log
    assert not SECRETS.search(log)


def names(routes: list[Route]) -> list[str]:
    """The names of the functions, for the ids of tests."""
    return [route.name for route in routes]


NOT_CALLED = {"restore-blob": "Azurite has no soft delete", "revoke-share": "an id works only once"}


def prepare(route: Route, client: httpx.Client) -> None:
    """Create the data that an example needs, if the sample data does not contain it."""
    if route.name == "delete-blob":
        client.put("/api/blobs/samples/hello.txt", content=b"hello")
    if route.name in ("run-query", "delete-query"):
        query = {"sql": "select name from fruit where price <= :most", "parameters": [{"name": "most", "type": "real"}]}
        client.put("/api/queries/cheap-fruit", json=query)
    if route.name == "delete-model":
        client.put("/api/models/flowers", json={"container": "samples", "blob": "models/iris.onnx"})
    if route.name == "create-container":
        client.delete("/api/containers/scratch?force=true")
    if route.name == "delete-container":
        client.post("/api/containers", json={"container": "scratch"})


@pytest.mark.parametrize("route", KEYED, ids=names(KEYED))
def test_every_example_works(route: Route, running_app: App, storage_connection: str) -> None:
    """Every example of the OpenAPI document succeeds on the sample data, by each method that the function has."""
    master_key = app_environ(running_app.database.parent, "")["STRONGROOM_MASTER_KEY"]
    restore_users(storage_connection, master_key)
    restore_keys(storage_connection, master_key)
    assert route.operation.examples or route.operation.request is None or route.name in NOT_CALLED
    if route.name in NOT_CALLED:
        pytest.skip(NOT_CALLED[route.name])
    with running_app.client() as client:
        for example in route.operation.examples or (Example("No fields", {}),):
            fields = dict(example.fields)
            in_path = re.findall(r"\{\*?(\w+)\??\}", route.path)
            path = "/api/" + re.sub(r"\{\*?(\w+)\??\}", r"{\1}", route.path).format(
                **{name: fields.pop(name) for name in in_path}
            )
            prepare(route, client)
            for method in route.methods:
                if method in ("POST", "PUT", "PATCH") and not route.operation.raw:
                    response = client.request(method, path, json=fields)
                else:
                    query = {
                        name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()
                    }
                    body = RAW_BODIES.get(route.name, "") if method in ("POST", "PUT") else ""
                    response = client.request(method, path, params=query, content=body)
                assert response.is_success, (method, example.summary, response.text)
                assert response.status_code in route.operation.statuses


@pytest.mark.parametrize("route", ROUTES, ids=names(ROUTES))
def test_only_public_functions_respond_without_a_key(route: Route, running_app: App) -> None:
    """Without a key only public functions respond; all others are 401."""
    with running_app.client(key="") as client:
        for method in route.methods:
            response = client.request(method, f"/api/{route.path}")
            assert (response.status_code == 401) == (route.access is not Access.PUBLIC)


def test_the_document_is_compressed_for_those_who_accept_it(running_app: App) -> None:
    """The OpenAPI document comes as gzip only to callers that accept it, and 304 to those that have it."""
    path = "/api/openapi.json"
    with running_app.client(key="") as client:
        packed = client.get(path, headers={"accept-encoding": "gzip"})
        plain = client.get(path, headers={"accept-encoding": "identity"})
        assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
        assert "content-encoding" not in plain.headers
        assert packed.json() == plain.json()
        assert int(packed.headers["content-length"]) < len(plain.content) / 5
        again = {"accept-encoding": "gzip", "if-none-match": packed.headers["etag"]}
        current = client.get(path, headers=again)
        assert (current.status_code, current.content) == (304, b"")
        assert current.headers["cache-control"] == packed.headers["cache-control"] == "public, max-age=300"
        assert client.get(path, headers=again | {"accept-encoding": "identity"}).status_code == 200


def test_the_public_functions_are_listed() -> None:
    """A function becomes public only if this list names it, too."""
    assert set(names(PUBLIC)) == {
        "live",
        "health",
        "openapi",
        "open-share",
        "public-query",
        "jwks",
        "key-jwks",
        "console",
        "openid-configuration",
        "token-keys",
        "list-providers",
        "start-sso",
        "finish-sso",
    }


@pytest.mark.parametrize("route", ROUTES, ids=names(ROUTES))
def test_every_response_has_the_common_headers(route: Route, running_app: App) -> None:
    """Every response has a request id and `nosniff`, and only public documents may be cached."""
    with running_app.client() as client:
        for method in route.methods:
            for headers in ({}, {"x-request-id": "mine-1"}):
                response = client.request(method, f"/api/{route.path}", headers=headers)
                assert re.fullmatch(r"mine-1|[0-9a-f]{32}", response.headers["x-request-id"])
                assert ("x-request-id" in headers) == (response.headers["x-request-id"] == "mine-1")
                assert response.headers["x-content-type-options"] == "nosniff"
                cacheable = route.operation.cache_seconds and response.status_code == 200
                assert response.headers["cache-control"] == (
                    f"public, max-age={route.operation.cache_seconds}" if cacheable else "no-store"
                )


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {"content-type": "application/json"}, 400, "invalid-json"),
        (b'{"text": "\xff"}', {"content-type": "application/json"}, 400, "not-utf-8"),
        (b"[]", {"content-type": "application/json"}, 400, "not-an-object"),
        (b'{"passwort": "x"}', {"content-type": "application/json"}, 400, "invalid-request"),
        (b"password=x", {"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"),
        (b" " * (8 * 1024 * 1024 + 1), {"content-type": "application/json"}, 413, "body-too-large"),
    ],
)
def test_a_bad_request_is_a_problem(
    body: bytes, headers: dict[str, str], status: int, code: str, running_app: App
) -> None:
    """Each kind of malformed request gets a problem with its own code."""
    with running_app.client() as client:
        response = client.post("/api/hash-password", content=body, headers=headers)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["code"] == code


def test_a_chunked_body_is_refused(running_app: App) -> None:
    """A chunked request is 411, because the host drops its body."""
    with running_app.client() as client:
        response = client.post("/api/hash-password", content=iter([b'{"password": "x"}']))
        assert (response.status_code, response.json()["code"]) == (411, "length-required")


def test_a_secret_in_the_url_is_refused_and_not_logged(start_app: StartApp) -> None:
    """A password in the query string is refused, and no line of the log contains it."""
    app = start_app()
    with app.client() as client:
        response = client.post("/api/hash-password?password=hunter2")
        assert (response.status_code, response.json()["code"]) == (400, "secret-in-url")
        assert client.post("/api/hash-password", json={"password": "hunter2"}).status_code == 200
        assert client.post("/api/verify-password", json={"password": "hunter2", "hash": "hunter2"}).status_code == 422
        assert client.get("/api/sign", params={"message": "hunter2", "code": app.function_key}).status_code == 200
        assert client.get("/api/query-sql", params={"sql": "select 'hunter2' from nowhere"}).status_code == 422
    log = app.log.read_text()
    assert app.function_key not in log
    assert not SECRETS.search(log)


def log_lines(app: App) -> list[dict[str, Any]]:
    """The log lines of the app itself, parsed."""
    lines = [line.partition(": ")[2] for line in app.log.read_text().splitlines() if " strongroom: " in line]
    return [json.loads(line) for line in lines]


def test_one_line_is_logged_for_a_request(start_app: StartApp) -> None:
    """Each request is one line of JSON in the log: function, method, status, duration and request id."""
    app = start_app()
    with app.client() as client:
        client.get("/api/live", headers={"x-request-id": "mine-1"})
        client.post("/api/verify", headers={"x-request-id": "mine-2"}, json={"nonsense": 1})
    lines = [line for line in log_lines(app) if line["request_id"].startswith("mine")]
    assert [(each["function"], each["method"], each["status"], each["request_id"]) for each in lines] == [
        ("live", "GET", 200, "mine-1"),
        ("verify", "POST", 400, "mine-2"),
    ]
    assert all(set(each) == {"function", "method", "status", "outcome", "duration_ms", "request_id"} for each in lines)


def test_storage_outage(start_app: StartApp) -> None:
    """During a storage outage, calls that need storage are 503 with Retry-After, health reports it, and others work."""
    unreachable = "http://127.0.0.1:9/"
    app = start_app(
        {
            "AzureWebJobsStorage": "AccountName=a;AccountKey=aGk=;"
            f"BlobEndpoint={unreachable}a;TableEndpoint={unreachable}a;QueueEndpoint={unreachable}a"
        }
    )
    with app.client() as client:
        assert client.get("/api/live").status_code == 200
        health = client.get("/api/health")
        assert health.status_code == 503
        assert health.json()["status"] == "down"
        assert health.json()["services"]["storage"]["status"] == "down"
        assert health.json()["services"]["databases"]["status"] == "ok"
        for path in ("/api/sign?message=a", "/api/list-blobs?container=samples"):
            response = client.get(path)
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) > 0
            assert response.json()["request_id"] == response.headers["x-request-id"]
        assert client.get("/api/query-sql?sql=select%201").status_code == 200
        assert client.post("/api/hash-password", json={"password": "hunter2"}).status_code == 200
    assert "127.0.0.1:9" not in json.dumps(log_lines(app))


def test_an_invalid_setting_is_one_clear_line(start_app: StartApp) -> None:
    """The app does not start with an invalid setting, and prints one line that names it."""
    with pytest.raises(AssertionError, match="STRONGROOM_MAX_BODY_BYTES must be a whole number"):
        start_app({"STRONGROOM_MAX_BODY_BYTES": "lots"})


def test_expired_records_are_purged(
    running_app: App, storage_connection: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The daily purge removes deleted keys after 30 days, expired links, and counters of wrong passwords."""
    with running_app.client() as client:
        client.post("/api/keys", json={"name": "purged", "type": "P-256", "deletable": True})
        assert client.delete("/api/keys/purged").status_code == 204
        share = {"container": "samples", "name": "welcome.txt", "revocable": True, "minutes": 5}
        assert client.post("/api/share-blob", json=share).status_code == 200
        wrong = {"user": "nobody@example.org", "password": "not the password at all"}
        assert client.post("/api/verify-password", json=wrong).json()["valid"] is False
    purge = build(app_environ(running_app.database.parent, storage_connection)).purge

    def rows() -> tuple[int, int, int]:
        tables = (
            ("strongroomkeys", "PartitionKey eq 'purged'"),
            ("strongroomshares", "PartitionKey ne ''"),
            ("strongroomusers", "kind eq 'password'"),
        )
        with TableServiceClient.from_connection_string(storage_connection) as service:
            counts = [len(list(service.get_table_client(name).query_entities(query))) for name, query in tables]
        return counts[0], counts[1], counts[2]

    before = rows()
    purge(datetime.now(UTC))
    assert rows() == before
    assert 0 not in before
    with caplog.at_level(logging.INFO, "strongroom"):
        purge(datetime.now(UTC) + timedelta(days=31))
    assert rows() == (0, 0, 0)
    removed = json.loads(caplog.records[-1].getMessage())["removed"]
    assert removed["shares"] >= before[1]
    assert removed["keys"] >= 1
    assert {"keys", "users", "shares", "models", "idempotency"} <= set(removed)
