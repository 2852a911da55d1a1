"""The cost of a call through Microsoft's worker library: the app's functions beside a hello function and a primitive.

It needs Python 3.13. The library, the process and the threads are the same for both: the ratio shows the app's share.
"""

import asyncio
import importlib.util
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import process_time

from bench.datasette import ROW, create_orders, datasette_caller
from bench.report import Figure, in_turns
from scripts.azurite import start_azurite
from tests.support import ROOT, app_environ

ROUNDS, CALLS = 21, 200
# The app, with added functions as one would write them by hand: from JSON to JSON, with the primitive between. Like the
# function of Microsoft's template for an HTTP trigger, each writes one log line.
BESIDE = """
import importlib.util, json, logging, os, sqlite3, sys, threading
from base64 import urlsafe_b64encode
import azure.functions as func
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

spec = importlib.util.spec_from_file_location("strongroom_app", os.environ["BENCH_APP"])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
app = module.app
key = Ed25519PrivateKey.generate()
own = threading.local()

@app.function_name("hello")
@app.route(route="hello", methods=["GET", "POST"])
def hello(req: func.HttpRequest) -> func.HttpResponse:
    logging.info("Python HTTP trigger function processed a request.")
    return func.HttpResponse("hello")

@app.function_name("hello-sign")
@app.route(route="hello-sign", methods=["POST"])
def hello_sign(req: func.HttpRequest) -> func.HttpResponse:
    logging.info("Python HTTP trigger function processed a request.")
    fields = req.get_json()
    signature = urlsafe_b64encode(key.sign(fields["message"].encode())).decode()
    return func.HttpResponse(json.dumps({"key": fields["key"], "signature": signature}), mimetype="application/json")

@app.function_name("hello-row")
@app.route(route="hello-row", methods=["POST"])
def hello_row(req: func.HttpRequest) -> func.HttpResponse:
    logging.info("Python HTTP trigger function processed a request.")
    if not hasattr(own, "connection"):
        own.connection = sqlite3.connect(os.environ["BENCH_DATABASE"])
    fields = req.get_json()
    cursor = own.connection.execute(fields["sql"], fields["params"])
    columns = [name for name, *_ in cursor.description]
    return func.HttpResponse(json.dumps({"columns": columns, "rows": cursor.fetchall()}), mimetype="application/json")
"""


def run() -> Iterator[Figure]:
    """Microseconds of processor time per call, from the host's message to the library's response."""
    if importlib.util.find_spec("azure_functions_runtime") is None:
        print("  (Microsoft's worker library needs Python 3.13: make bench PYTHON=python3.13)", flush=True)
        return
    # The log lines are formatted and then dropped: in Azure, the worker sends them to the host.
    logging.basicConfig(level=logging.INFO, stream=Path(os.devnull).open("w"))  # noqa: SIM115 - open to the end.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        azurite = start_azurite(folder / "azurite", in_memory=True)
        try:
            yield from _calls(folder, azurite.connection_string)
        finally:
            azurite.stop()


def _calls(folder: Path, storage: str) -> Iterator[Figure]:
    orders = folder / "orders.sqlite"
    create_orders(orders)
    os.environ.update(app_environ(folder, storage))
    os.environ |= {
        "DATABASE_ORDERS": f"sqlite:///{orders}",
        "BENCH_APP": str(ROOT / "function_app.py"),
        "BENCH_DATABASE": str(orders),
    }
    (folder / "function_app.py").write_text(BESIDE)
    sys.path.insert(0, str(folder))

    from tests.worker.library import Worker  # Python 3.13 has the library that this loads.

    worker = Worker(folder)

    def call(path: str, fields: Mapping[str, object] | None = None) -> Callable[[], object]:
        body = json.dumps(fields).encode() if fields is not None else b""
        headers = {"content-type": "application/json", "content-length": str(len(body))} if body else {}
        name, data = worker.request("POST" if body else "GET", f"/api/{path}", headers, body)
        response = worker.invoke(name, data)
        assert response.status < 300, response
        return lambda: worker.invoke(name, data)

    call("keys", {"name": "bench", "type": "Ed25519"})
    sign = {"key": "bench", "message": "hello"}
    row = {"database": "orders", "sql": ROW, "params": [500_000]}
    for name, app_value, baseline, beside in (
        ("live", call("live"), call("hello"), "hello function"),
        ("sign, Ed25519", call("sign", sign), call("hello-sign", sign), "hello function, json, cryptography"),
        ("query-sql, a row by key", call("query-sql", row), call("hello-row", row), "hello function, json, sqlite3"),
    ):
        measured = in_turns(app_value, baseline, ROUNDS, CALLS, process_time)
        yield Figure(name, measured[0] * 1e6, beside, measured[1] * 1e6, "µs", "at most 1.15")
    loop = asyncio.new_event_loop()
    baseline = datasette_caller(loop, orders, ROW)
    measured = in_turns(call("query-sql", row), baseline, ROUNDS, 50, process_time)
    yield Figure(
        "query-sql, a row by key", measured[0] * 1e6, "Datasette's ASGI app", measured[1] * 1e6, "µs", "at most 0.5"
    )
    loop.close()
