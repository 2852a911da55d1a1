"""A fresh deployment: one command creates the samples, then every call of the portal's table works, in its order."""

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from scripts.azurite import start_azurite
from scripts.portal import in_order, text
from shared.app import build
from tests.support import ROOT, App, app_environ, clean_environ, run_app

UNKNOWN_TO_AZURITE = {
    # Azurite has neither soft delete nor versions, so that nothing can be restored.
    "restore-blob": 422,
}


@pytest.fixture(scope="module")
def fresh_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app with empty storage, and with the database of the template: a SQLite file in storage, not there yet."""
    folder = tmp_path_factory.mktemp("fresh")
    azurite = start_azurite(folder / "azurite", in_memory=True)
    try:
        environ = app_environ(folder, azurite.connection_string)
        environ |= {"DATABASE_MAIN": "blob://datasets/main.sqlite", "DATABASE_MAIN_WRITE": ""}
        with run_app(folder, environ) as app:
            yield app
    finally:
        azurite.stop()


def fill(app: App, key: str) -> subprocess.CompletedProcess[str]:
    """Run the command of infra/README.md."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.fill", app.url],
        cwd=ROOT,
        env=clean_environ() | {"STRONGROOM_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_fresh_deployment_is_healthy(fresh_app: App) -> None:
    """Before the samples exist, `health` is ok: the template names a SQLite file that nobody has uploaded yet."""
    response = httpx.get(f"{fresh_app.url}/api/health", timeout=60, trust_env=False)
    assert (response.status_code, response.json()["status"]) == (200, "ok")


def test_a_wrong_key_is_one_line(fresh_app: App) -> None:
    """With a wrong key the command ends with one line, and creates nothing."""
    done = fill(fresh_app, "wrong")
    assert done.returncode == 1
    assert "The key is wrong" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_listed_call_works(fresh_app: App) -> None:
    """After the command, which may run twice, every call of the table succeeds, from top to bottom."""
    for _ in range(2):
        done = fill(fresh_app, fresh_app.function_key)
        assert done.returncode == 0, done.stderr
    calls, _ = in_order(build({}).routes)
    failures = {}
    with fresh_app.client() as client:
        for each in calls:
            path, parameters = each.route.path, dict(each.parameters)
            for name in list(parameters):
                if f"{{{name}}}" in path:
                    path = path.replace(f"{{{name}}}", str(parameters.pop(name)))
            query = {name: text(value) for name, value in parameters.items()}
            content = each.body or None
            headers = {"content-type": "text/plain" if each.route.name == "put-blob" else "application/json"}
            response = client.request(
                each.method, f"/api/{path}", params=query, content=content, headers=headers if content else {}
            )
            if not (response.is_success or response.status_code == UNKNOWN_TO_AZURITE.get(each.route.name)):
                failures[each.route.name] = (response.status_code, response.text)
    assert failures == {}, failures
