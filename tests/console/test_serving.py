"""How the console is served: what is there, what is not, encodings, caching, and the headers of the page."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shared.console.serving import policy
from tests.support import ROOT, App, StartApp

STATIC = ROOT / "shared" / "console" / "static"
MANIFEST = json.loads((STATIC / "manifest.json").read_text())


@pytest.fixture
def client(running_app: App) -> Iterator[httpx.Client]:
    """A client without a key."""
    with running_app.client(key="") as client:
        yield client


def test_without_a_slash_it_redirects(client: httpx.Client) -> None:
    """`/api/console` leads to `console/`, and repeats no key of the query."""
    for path in ("/api/console", "/api/console?code=secret"):
        response = client.get(path)
        assert (response.status_code, response.headers["location"]) == (308, "console/")
        assert "secret" not in str(response.headers)


@pytest.mark.parametrize("name", MANIFEST)
def test_each_file_of_the_manifest_is_served(name: str, client: httpx.Client) -> None:
    """Each file comes with its type and charset; a hashed name may be cached for ever."""
    response = client.get(f"/api/console/{name}", headers={"accept-encoding": "identity"})
    assert response.content == (STATIC / name).read_bytes()
    assert response.headers["content-type"] == MANIFEST[name]["type"]
    assert response.headers["content-type"].endswith("; charset=utf-8")
    assert response.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in response.headers
    lasting = "public, max-age=31536000, immutable"
    assert response.headers["cache-control"] == ("no-cache" if name == "index.html" else lasting)
    assert client.head(f"/api/console/{name}").content == b""


def test_the_first_page_has_no_name(client: httpx.Client) -> None:
    """`console/` is index.html, whatever the query string contains."""
    assert client.get("/api/console/?code=k&utm_source=x").content == (STATIC / "index.html").read_bytes()


def test_brotli_only_where_it_is_accepted(client: httpx.Client) -> None:
    """The compressed form has its own ETag, and each form gets 304 by its own alone."""
    name = next(name for name in MANIFEST if name.startswith("shell"))
    with client.stream("GET", f"/api/console/{name}", headers={"accept-encoding": "gzip, br;q=0.8"}) as packed:
        assert b"".join(packed.iter_raw()) == (STATIC / f"{name}.br").read_bytes()
        assert packed.headers["content-encoding"] == "br"
    plain = client.get(f"/api/console/{name}", headers={"accept-encoding": "br;q=0, gzip"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["etag"] != packed.headers["etag"]
    for encoding, etag, status in (
        ("br", packed.headers["etag"], 304),
        ("br", plain.headers["etag"], 200),
        ("identity", plain.headers["etag"], 304),
        ("identity", f'"x", W/{plain.headers["etag"]}', 304),
    ):
        headers = {"accept-encoding": encoding, "if-none-match": etag}
        response = client.get(f"/api/console/{name}", headers=headers)
        assert response.status_code == status
        assert response.headers["etag"] == (packed if encoding == "br" else plain).headers["etag"]


@pytest.mark.parametrize(
    "path",
    [
        "manifest.json",
        "shell.js",
        "index.html/",
        "index.html.br",
        "..%2fcapability.py",
        "%2e%2e/capability.py",
        "..%5ccapability.py",
        "static/index.html",
        "/index.html",
        "%00",
        "index.html%00",
        "INDEX.HTML",
        "css",
        "app.js",
    ],
)
def test_nothing_else_is_served(path: str, client: httpx.Client) -> None:
    """No other name, no listing and no way out of the folder."""
    assert client.get(f"/api/console/{path}").status_code in (400, 404)


def test_the_headers_of_the_page(client: httpx.Client, running_app: App, storage_connection: str) -> None:
    """The page may load from the app alone, and call the app and the blobs; no other page may hold it."""
    blobs = dict(part.partition("=")[::2] for part in storage_connection.split(";"))["BlobEndpoint"]
    origin = blobs.rpartition("/")[0]
    headers = client.get("/api/console/").headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        f"connect-src 'self' {origin}; frame-src 'none'; worker-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"


def test_the_policy_without_storage() -> None:
    """Where no account is configured, the page may call the app alone."""
    assert "connect-src 'self'; " in policy("")
    assert "connect-src 'self' https://a.blob.core.windows.net; " in policy("https://a.blob.core.windows.net")


def test_a_key_in_the_address_is_not_logged(running_app: App) -> None:
    """A request for the page with `?code=` leaves no key in the app's log and none in the response."""
    with running_app.client(key="") as client:
        response = client.get(f"/api/console/?code={running_app.function_key}")
        assert running_app.function_key not in response.text + str(response.headers)
    assert running_app.function_key not in running_app.log.read_text()


def test_it_can_be_switched_off(start_app: StartApp) -> None:
    """With STRONGROOM_CONSOLE=false every path is 404, the redirect too."""
    with start_app({"STRONGROOM_CONSOLE": "false"}).client(key="") as client:
        for path in ("", "/", "/index.html", *(f"/{name}" for name in MANIFEST)):
            response = client.get(f"/api/console{path}")
            assert (response.status_code, response.json()["code"]) == (404, "unknown-file")


def test_it_says_where_no_keys_are_enforced(open_app: App, running_app: App) -> None:
    """The page says that no keys are enforced where the local host enforces none, and only there."""
    with open_app.client(key="") as client, running_app.client(key="") as other:
        assert client.get("/api/console/").headers["server-timing"] == "open"
        assert "server-timing" not in other.get("/api/console/").headers


def test_the_sources_can_be_served(start_app: StartApp) -> None:
    """With STRONGROOM_CONSOLE=modules the app serves the sources, so that an edit shows after a reload."""
    with start_app({"STRONGROOM_CONSOLE": "modules"}).client(key="") as client:
        for name in ("app.js", "lib/dom.js", "css/base.css"):
            assert client.get(f"/api/console/{name}").content == Path(ROOT, "console", name).read_bytes()
        assert client.get("/api/console/").content == Path(ROOT, "console", "index.html").read_bytes()
        assert client.get("/api/console/lib").status_code == 404
