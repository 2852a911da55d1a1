"""The first calls of a fresh process, many at once: no crash and no failure.

msgspec examines a type at its first use, and a process can end if many threads do that to one type at the same time.
Only a fresh process shows it, and only with threads that switch often.
"""

import os
import subprocess
import sys

import pytest

from tests.support import ROOT, App, app_environ, clean_environ, session_token

SCRIPT = """
import json, os, sys, threading
from shared.app import build
from shared.web import Request

sys.setswitchinterval(1e-6)
app = build(os.environ)
THREADS = 16
responses = []

def requests_of(route):
    # The example of each function: it may be refused, but it must be decoded.
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
    requests = list(requests_of(route))
    gate.wait(60)
    for request in requests:
        response = app.respond(route, request)
        if response.status >= 500 and response.status != 503:  # 503: storage or a probe was late.
            responses.append((route.name, response.status, response.body.decode()))

for route in app.routes:
    if sys.argv[1] == "loaded":
        route.operation  # The capability is loaded, so that the threads meet at the types of the request.
    gate = threading.Barrier(THREADS)
    threads = [threading.Thread(target=call, args=(route, gate)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(json.dumps(responses))
"""


@pytest.mark.parametrize(("state", "run"), [("fresh", 1), ("loaded", 1), ("loaded", 2), ("loaded", 3), ("loaded", 4)])
def test_many_first_calls_at_once(
    state: str, run: int, running_app: App, storage_connection: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Sixteen threads make the first call of each function of a fresh process at the same time; all get a response."""
    environ = clean_environ() | app_environ(running_app.database.parent, storage_connection)
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", SCRIPT, state, session_token(running_app)],
        cwd=ROOT,
        env=environ | {"PYTHONPATH": os.fspath(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.strip() == "[]", ran.stdout
