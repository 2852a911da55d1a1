"""The first calls of a fresh process, many at once: no crash and no failure.

msgspec examines a type at its first use, and a process can end if many threads do that to one type at the same time.
Only a fresh process shows it, and only with threads that switch often. The examples reach what handlers decode: items
of batches, records in storage, messages of child processes.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.azurite import start_azurite
from tests.support import ROOT, App, app_environ, clean_environ, run_sample_app, session_token

SCRIPT = """
import json, os, sys, threading
from urllib.parse import quote, urlencode
from shared.app import build
from shared.web import Request

sys.setswitchinterval(1e-6)
app = build(os.environ)
THREADS = 6 if sys.argv[1] == "examples" else 16
responses = []
succeeded = set()

def as_text(value):
    return value if isinstance(value, str) else json.dumps(value)

def examples_of(route):
    # All examples of a function, by all its methods: of several equal calls at once some may be refused.
    for fields in [dict(example.fields) for example in route.operation.examples] or [{}]:
        parts = [part.strip("{*}") for part in route.path.split("/") if part.startswith("{")]
        path_fields = {name: as_text(fields.pop(name, "first-calls")) for name in parts}
        path = "/".join(quote(path_fields[p.strip("{*}")]) if p.startswith("{") else p for p in route.path.split("/"))
        for method in route.methods:
            with_body = method in ("POST", "PUT", "PATCH") and not route.operation.raw
            headers = {"authorization": "Bearer " + sys.argv[2]}
            headers |= {"content-type": "application/json"} if with_body else {}
            query = "" if with_body else urlencode({name: as_text(value) for name, value in fields.items()})
            url = f"http://localhost/api/{path}" + ("?" + query if query else "")
            yield Request(method, url, headers, path_fields, json.dumps(fields).encode() if with_body else b"")

def refused_of(route):
    # Each is refused, but must be decoded.
    method = route.methods[-1] if route.methods[-1] in ("POST", "PUT", "PATCH") else route.methods[0]
    path_fields = {part.strip("{*}"): "first-calls" for part in route.path.split("/") if part.startswith("{")}
    with_body = method in ("POST", "PUT", "PATCH")
    headers = {"content-type": "application/json"} if with_body else {}
    headers["authorization"] = "Bearer " + sys.argv[2]
    body = json.dumps({"nothing": 1, "key": 5}).encode() if with_body else b""
    query = "?nothing=1" if method == "DELETE" else ""
    yield Request(method, f"http://localhost/api/{route.path}{query}", headers, path_fields, body)
    if "GET" in route.methods:
        yield Request("GET", f"http://localhost/api/{route.path}?nothing=1&limit=x", headers, path_fields, b"")

def call(route, gate):
    requests = list((examples_of if sys.argv[1] == "examples" else refused_of)(route))
    gate.wait(60)
    for request in requests:
        response = app.respond(route, request)
        succeeded.update([route.name] if response.status < 400 else [])
        if response.status >= 500 and response.status != 503:  # 503: storage or a probe was late.
            responses.append((route.name, response.status, response.body.decode()))

for route in app.routes:
    if sys.argv[1] != "fresh":
        route.operation  # The capability is loaded, so that the threads meet at the types of the request.
    gate = threading.Barrier(THREADS)
    threads = [threading.Thread(target=call, args=(route, gate)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
if sys.argv[1] == "examples":
    # Some need what an earlier call has changed, or a session of a certain age. But most must have reached their end.
    assert len(succeeded) > 2 / 3 * len(app.routes), sorted({route.name for route in app.routes} - succeeded)
print(json.dumps(responses))
"""


@pytest.mark.parametrize(("state", "run"), [("fresh", 1), ("loaded", 1), ("loaded", 2), ("loaded", 3), ("loaded", 4)])
def test_many_first_calls_at_once(state: str, run: int, running_app: App, storage_connection: str) -> None:
    """Sixteen threads make the first call of each function of a fresh process at the same time; all get a response."""
    run_script(state, running_app, storage_connection)


def test_many_first_examples_at_once(tmp_path: Path) -> None:
    """Threads call the examples of each function of a fresh process at the same time, and all get a response."""
    azurite = start_azurite(tmp_path / "azurite", in_memory=True)  # These calls change and delete the sample data.
    try:
        with run_sample_app(tmp_path, azurite.connection_string) as app:
            run_script("examples", app, azurite.connection_string)
    finally:
        azurite.stop()


def run_script(state: str, app: App, storage: str) -> None:
    """Run SCRIPT in a fresh process on the data of `app`."""
    environ = clean_environ() | app_environ(app.database.parent, storage) | {"STRONGROOM_URL": "http://localhost:7071"}
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", SCRIPT, state, session_token(app)],
        cwd=ROOT,
        env=environ | {"PYTHONPATH": os.fspath(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.strip() == "[]", ran.stdout
