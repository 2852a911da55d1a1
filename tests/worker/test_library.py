"""Every function of the app through Microsoft's worker library, beside the local host."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.azurite import start_azurite
from shared.app import build
from shared.web import Route
from tests.support import ROOT, App, app_environ, clean_environ, run_sample_app, seed_samples

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="Microsoft's worker library (azure-functions-runtime) needs Python 3.13"
)
ROUTES = build({}).routes
PORT = re.compile(r":\d+\b")
"""Each of the two has an Azurite of its own, whose address the content policy of the console contains."""
RANDOM_HEADERS = {"content-length", "date", "etag", "last-modified", "location", "server", "transfer-encoding"}


class Library:
    """The app in a process of its own, which Microsoft's library runs."""

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.worker"],
                cwd=ROOT,
                env=clean_environ() | dict(environ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        self.functions: dict[str, str] = self._read(log)

    def _read(self, log: Path) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, log.read_text(errors="replace")
        return json.loads(line)

    def send(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """The result of one call, as `tests.worker` prints it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        result = json.loads(self._process.stdout.readline())
        assert isinstance(result, dict)
        return result

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """The app with the sample data, in Microsoft's library."""
    folder = tmp_path_factory.mktemp("library")
    azurite = start_azurite(folder / "azurite", in_memory=True)
    seed_samples(folder, azurite.connection_string)
    environ = app_environ(folder, azurite.connection_string)
    # The local host sets the address of the app.
    environ |= {"STRONGROOM_URL": "http://localhost:7071", "PYTHONDONTWRITEBYTECODE": "1"}
    started = Library(environ, folder / "worker.log")
    yield started
    started.close()
    azurite.stop()


@pytest.fixture(scope="module")
def local_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app with the same sample data, in the local host."""
    folder = tmp_path_factory.mktemp("local")
    azurite = start_azurite(folder / "azurite", in_memory=True)
    with run_sample_app(folder, azurite.connection_string) as app:
        yield app
    azurite.stop()


def example_call(route: Route, method: str) -> tuple[str, bytes]:
    """Target and body of the route's first example, by this method. Fields of the path go there."""
    fields = dict(route.operation.examples[0].fields) if route.operation.examples else {}
    names = re.findall(r"\{\*?(\w+)\??\}", route.path)
    values = {name: str(fields.pop(name, "none")) for name in names}
    path = "/api/" + re.sub(r"\{\*?(\w+)\??\}", r"{\1}", route.path).format(**values)
    if method in ("POST", "PUT", "PATCH") and not route.operation.raw:
        return path, json.dumps(fields).encode()
    query = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    url = httpx.URL(f"http://localhost{path}", params=query or None)
    return url.raw_path.decode(), b"hello" if method == "PUT" else b""


def shape(value: Any) -> Any:
    """The part of a JSON value that stays the same from run to run: names and types, and the text of codes."""
    if isinstance(value, dict):
        return {name: each if name in ("code", "title", "valid") else shape(each) for name, each in value.items()}
    if isinstance(value, list):
        # Each shape once: the order of users is that of their random ids.
        return sorted({json.dumps(shape(each), sort_keys=True) for each in value})
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def comparable(status: int, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The status, the headers whose values do not depend on time or chance, and the shape of the body."""
    kept = {name.lower(): PORT.sub(":port", value) for name, value in headers.items()}
    kept = {name: value for name, value in kept.items() if name not in RANDOM_HEADERS}
    kept["x-request-id"] = "…"
    content = shape(json.loads(body)) if "json" in kept.get("content-type", "") and body else len(body) > 0
    return {"status": status, "headers": kept, "body": content}


@pytest.mark.parametrize("route", ROUTES, ids=[route.name for route in ROUTES])
def test_every_function_responds_as_on_the_local_host(route: Route, library: Library, local_host: App) -> None:
    """The first example of each function gets the same status, headers and fields through the library as locally."""
    for method in route.methods:
        target, body = example_call(route, method)
        headers = {"content-length": str(len(body)), "accept-encoding": "identity"}
        headers |= {"content-type": "application/json"} if body else {}
        call = {"method": method, "target": target, "headers": headers, "body_base64": base64.b64encode(body).decode()}
        result = library.send(call)
        assert "error" not in result, result["error"]
        assert result["function"] in library.functions
        through_library = comparable(result["status"], result["headers"], base64.b64decode(result["body_base64"]))
        with local_host.client() as client:
            response = client.request(method, target, content=body, headers=headers)
        locally = comparable(response.status_code, response.headers, response.content)
        if method == "HEAD":
            # The worker sends the body of HEAD to the host, which drops it.
            del through_library["body"], locally["body"]
        assert through_library == locally
        assert result["status"] < 500


def test_the_timer_runs(library: Library) -> None:
    """The library runs the timer's function."""
    assert library.functions["purge"] == "timerTrigger"
    assert library.send({"timer": "purge"}) == {"status": 202}


def test_the_library_indexes_every_function(library: Library, local_host: App) -> None:
    """Microsoft's library indexes the same functions as the local host."""
    with local_host.client(key=local_host.master_key) as client:
        listed = client.get("/admin/functions").json()
    assert {each["name"] for each in listed} == set(library.functions)


def test_the_library_refuses_what_azure_refuses(tmp_path: Path) -> None:
    """An app that Azure would not index fails in the library, so that indexing above proves something."""
    source = "import azure.functions as func\napp = func.FunctionApp()\nother = app\n"
    (tmp_path / "function_app.py").write_text(source)
    environ = clean_environ() | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-m", "tests.worker"]
    ended = subprocess.run(command, cwd=tmp_path, env=environ, input="", capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "More than one" in ended.stderr
