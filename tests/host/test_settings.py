"""host.json, local.settings.json, CORS and the port."""

import json
import socket
from pathlib import Path

import pytest

from .running import running, start, write_app

ENVIRON = """
import os

@app.route(route="environ")
def environ(req: func.HttpRequest) -> str:
    return ",".join(os.environ.get(name, "-") for name in ("ONE", "TWO", "AZURE_FUNCTIONS_ENVIRONMENT"))
"""
ORIGIN = "https://portal.azure.com"


def test_the_environment_beats_local_settings(tmp_path: Path) -> None:
    """An environment variable overrides local.settings.json, unless it is empty, as with Core Tools."""
    settings = json.dumps({"Values": {"ONE": "file", "TWO": "file"}})
    write_app(tmp_path, ENVIRON, local__settings__json=settings)
    with running(tmp_path, environ={"ONE": "", "TWO": "environ"}) as host:
        assert host.call("GET", "/api/environ").body == b"file,environ,Development"


def test_numbers_and_booleans_are_settings(tmp_path: Path) -> None:
    """A number in local.settings.json keeps the text of the file, and a boolean becomes `true` or `false`."""
    write_app(tmp_path, ENVIRON, local__settings__json='{"Values": {"ONE": 1.50, "TWO": true}}')
    with running(tmp_path) as host:
        assert host.call("GET", "/api/environ").body == b"1.50,true,Development"


@pytest.mark.parametrize("prefix", ["v1", "v1/app", ""])
def test_the_route_prefix_is_set_by_host_json(tmp_path: Path, prefix: str) -> None:
    """Functions are served and listed under the routePrefix of host.json."""
    write_app(tmp_path, ENVIRON)
    extensions = {"http": {"routePrefix": prefix}}
    (tmp_path / "host.json").write_text(json.dumps({"version": "2.0", "extensions": extensions}))
    path = f"/{prefix}/environ" if prefix else "/environ"
    with running(tmp_path) as host:
        assert host.call("GET", path).status == 200
        assert host.call("GET", "/api/environ").status == 404
        assert f"\tenviron: http://localhost:{host.port}{path}" in host.printed


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("host.json", "{", "host.json is not JSON (comments are not read): "),
        ("host.json", "[]", "host.json must hold a JSON object"),
        ("host.json", '{"version": "1.0"}', 'host.json: "version" must be "2.0"'),
        (
            "local.settings.json",
            '{"Values": {"A": "secret"',
            "local.settings.json is not JSON (comments are not read): ",
        ),
        ("local.settings.json", '{"Values": {"A": ["secret"]}}', "local.settings.json: the value of A must be text, a"),
        (
            "local.settings.json",
            '{"Values": {}} // secret',
            "local.settings.json is not JSON (comments are not read): ",
        ),
        ("local.settings.json", '{"IsEncrypted": true}', "decrypt it with: func settings decrypt"),
        (
            "local.settings.json",
            '{"Host": {"CORS": "*", "CORSCredentials": true}}',
            "CORS for every origin and CORSCredentials exclude each other",
        ),
    ],
)
def test_refuses_broken_settings(tmp_path: Path, name: str, text: str, message: str) -> None:
    """A broken file stops the host with exit code 1 and one line that names the file and shows none of its contents."""
    write_app(tmp_path, ENVIRON)
    (tmp_path / name).write_text(text)
    with start(tmp_path, "--port", "0") as process:
        printed, logged = process.communicate(timeout=60)
    assert (process.returncode, printed) == (1, "")
    assert logged.startswith("error: ")
    assert logged.count("\n") == 1
    assert message in logged
    assert "secret" not in logged


def test_refuses_a_port_in_use(tmp_path: Path) -> None:
    """A port in use stops the host with exit code 1 and one line that names it."""
    write_app(tmp_path, ENVIRON)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start(tmp_path, "--port", str(port)) as process:
            printed, logged = process.communicate(timeout=60)
    assert (process.returncode, printed) == (1, "")
    assert logged == f"error: cannot listen on 127.0.0.1, port {port}: Address already in use\n"


def cors_app(folder: Path, cors: str, credentials: bool = False) -> Path:
    """An app whose local settings allow these origins."""
    settings = json.dumps({"Host": {"CORS": cors, "CORSCredentials": credentials}})
    return write_app(folder, ENVIRON, local__settings__json=settings)


def cors_headers(headers: list[tuple[str, str]]) -> dict[str, str]:
    """Return the CORS headers of a response."""
    return {name: value for name, value in headers if name.startswith("access-control-") or name == "vary"}


def test_cors_allows_the_origins_listed(tmp_path: Path) -> None:
    """Every response to a listed origin, errors included, has CORS headers; another origin gets 403 without."""
    with running(cors_app(tmp_path, f"{ORIGIN},http://localhost:3000")) as host:
        for target, status in (("/api/environ", 200), ("/api/nope", 404)):
            reply = host.call("GET", target, headers={"Origin": ORIGIN})
            assert reply.status == status
            assert cors_headers(reply.headers) == {"access-control-allow-origin": ORIGIN, "vary": "Origin"}
        other = host.call("GET", "/api/environ", headers={"Origin": "https://example.com"})
        assert (other.status, cors_headers(other.headers)) == (403, {})
        assert cors_headers(host.call("GET", "/api/environ").headers) == {}


@pytest.mark.parametrize("listed", [f"http://localhost:3000, {ORIGIN}", f"{ORIGIN}/", ORIGIN.upper()])
def test_an_origin_that_core_tools_would_not_match(tmp_path: Path, listed: str) -> None:
    """An origin with a blank, a final slash or capitals never matches, as with `func`; a warning explains it."""
    with running(cors_app(tmp_path, listed)) as host:
        assert cors_headers(host.call("GET", "/api/environ", headers={"Origin": ORIGIN}).headers) == {}
    assert sum("warning: CORS in local.settings.json" in line for line in host.logged) == 1


def test_the_cors_option_replaces_the_file(tmp_path: Path) -> None:
    """`--cors` replaces the file's origins, as with `func`."""
    other = "http://localhost:5173"
    with running(cors_app(tmp_path, ORIGIN), "--cors", other) as host:
        assert cors_headers(host.call("GET", "/api/environ", headers={"Origin": other}).headers)
        assert host.call("GET", "/api/environ", headers={"Origin": ORIGIN}).status == 403


def test_cors_preflight(tmp_path: Path) -> None:
    """The host responds to a preflight with 204 and the requested method and headers, for listed origins only."""
    requested = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, x-functions-key",
    }
    with running(cors_app(tmp_path, ORIGIN, credentials=True)) as host:
        reply = host.call("OPTIONS", "/api/environ", headers={"Origin": ORIGIN, **requested})
        assert (reply.status, reply.body) == (204, b"")
        assert cors_headers(reply.headers) == {
            "access-control-allow-origin": ORIGIN,
            "access-control-allow-credentials": "true",
            "access-control-allow-headers": "content-type,x-functions-key",
            "access-control-allow-methods": "POST",
        }
        refused = host.call("OPTIONS", "/api/environ", headers={"Origin": "https://example.com", **requested})
        assert (refused.status, cors_headers(refused.headers)) == (204, {})


def test_cors_for_all(tmp_path: Path) -> None:
    """With `*` every origin may call."""
    with running(cors_app(tmp_path, "*")) as host:
        reply = host.call("GET", "/api/environ", headers={"Origin": ORIGIN})
        assert cors_headers(reply.headers) == {"access-control-allow-origin": "*"}


def test_no_cors_without_the_setting(tmp_path: Path) -> None:
    """Without the setting OPTIONS is an ordinary method, and no response has a CORS header."""
    with running(write_app(tmp_path, ENVIRON)) as host:
        headers = {"Origin": f"http://localhost:{host.port}", "Access-Control-Request-Method": "POST"}
        reply = host.call("OPTIONS", "/api/environ", headers=headers)
        assert (reply.status, cors_headers(reply.headers)) == (200, {})
