"""Chromium for the tests of the console, once for all of them, and the app in both modes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.samples import allow_uploads
from tests.support import ROOT, App, app_environ, clean_environ, free_port, run_app

HERE = Path(__file__).parent
OPENID_PROVIDER = ROOT / "tests" / "identity" / "oidc_provider.mjs"

RunCheck = Callable[[Path, str], None]


def find_chromium() -> str | None:
    """The browser: CHROMIUM, else `chromium` or `google-chrome` on the PATH."""
    named = os.environ.get("CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium. The tests are skipped without one (in CI they fail), and with BROWSER_TESTS=no."""
    if os.environ.get("BROWSER_TESTS") == "no":
        pytest.skip("BROWSER_TESTS=no: a run on another version of Python has these tests.")
    found = find_chromium()
    if found is None or not (ROOT / "node_modules" / "playwright-core").exists():
        reason = "Install chromium (Debian: apt install chromium), or set CHROMIUM to its path."
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def provider_port() -> int:
    """The port of the OpenID provider that `open_app` trusts."""
    return free_port()


@pytest.fixture(scope="session")
def open_app(
    running_app: App, storage_connection: str, provider_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[App]:
    """The app without keys, as `make start` runs it, over the same storage and database as `running_app`.

    Storage accepts uploads from its pages, and from no page of `running_app`. Users sign in by a real OpenID provider.
    """
    folder, port = tmp_path_factory.mktemp("open"), free_port()
    database = f"sqlite:///{running_app.database}"
    environ = app_environ(folder, storage_connection)
    environ |= {"DATABASE_MAIN": database, "DATABASE_MAIN_WRITE": database, "DATABASE_LAKE": "blobs://samples/orchard/"}
    environ |= {
        "SSO_REAL_ISSUER": f"http://127.0.0.1:{provider_port}",
        "SSO_REAL_CLIENT_ID": "console",
        "SSO_REAL_CLIENT_SECRET": "only for tests",
        "SSO_REAL_CREATE_USERS": "true",
    }
    client = {
        "client_id": "console",
        "client_secret": "only for tests",
        "redirect_uris": [f"http://localhost:{port}/api/sso/real/callback"],
    }
    configuration = json.dumps({"clients": [client], "audience": "https://api.example"})
    with (
        run_app(folder, environ, auth=False, port=port) as app,
        subprocess.Popen(
            ["node", OPENID_PROVIDER, str(provider_port), configuration],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as provider,
    ):
        try:
            assert provider.stdout is not None
            assert provider.stdout.readline() == "listening\n"
            allow_uploads(storage_connection, [app.url])
            yield app
        finally:
            provider.kill()


@pytest.fixture(scope="session")
def run_check(
    chromium: str, running_app: App, open_app: App, provider_port: int, storage_connection: str
) -> Iterator[RunCheck]:
    """Runs one check of a file in `checks/`: `run_check(file, name)`. All share one browser."""
    blobs = dict(part.partition("=")[::2] for part in storage_connection.split(";"))["BlobEndpoint"]
    origin = blobs.rpartition("/")[0]
    apps = {
        "keys": {
            "url": running_app.url,
            "key": running_app.function_key,
            "signKey": running_app.sign_key,
            "blobs": origin,
        },
        "open": {
            "url": open_app.url,
            "key": "",
            "signKey": "",
            "blobs": origin,
            "provider": f"http://127.0.0.1:{provider_port}",
        },
    }
    with subprocess.Popen(
        ["node", HERE / "browser.mjs"],
        cwd=ROOT,
        env=clean_environ() | {"CHROMIUM": chromium, "PYTHON": sys.executable},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout
        assert "ready" in json.loads(stdout.readline() or "{}"), "Chromium did not start"

        def run(file: Path, name: str) -> None:
            stdin.write(json.dumps({"file": str(file), "name": name, "apps": apps}) + "\n")
            stdin.flush()
            result = json.loads(stdout.readline() or '{"ok": false, "error": "The browser has ended."}')
            if not result["ok"]:
                pytest.fail(result["error"], pytrace=False)

        yield run
        stdin.close()
