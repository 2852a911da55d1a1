"""Predictions beside onnxruntime alone, warm and cold; and the time that 1,000 blobs take to be identified."""

import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

from bench.report import Figure, in_turns
from scripts.azurite import start_azurite
from scripts.sample_models import onnx_file
from scripts.samples import FILES, seed_container, seed_models
from shared.app import build
from shared.web import Request, Response
from tests.support import ROOT, app_environ, clean_environ

ROUNDS, CALLS = 25, 20
COLD_ROUNDS = 7
BLOBS = 1000
ALONE = """
import sys, time
started = time.perf_counter()
import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
session.run(None, {"X": numpy.zeros((1, 4), numpy.float32)})
print(time.perf_counter() - started)
"""
"""onnxruntime's own session in a fresh process, from the import to the first result."""


def run() -> Iterator[Figure]:
    """The figures, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        azurite = start_azurite(Path(folder) / "azurite", in_memory=True)
        try:
            environ = app_environ(Path(folder), azurite.connection_string)
            seed_container(azurite.connection_string)
            seed_models(azurite.connection_string, environ["STRONGROOM_MASTER_KEY"])
            yield from _warm(environ)
            yield from _cold(environ)
            yield _identified(environ)
        finally:
            azurite.stop()


class _App:
    def __init__(self, environ: dict[str, str]) -> None:
        self._app = build(environ)
        self._routes = {each.name: each for each in self._app.routes}

    def call(self, name: str, fields: dict[str, Any] | bytes, path: dict[str, str] | None = None) -> Response:
        """A response, which must be a success."""
        route = self._routes[name]
        body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
        headers = {"content-type": "application/json"}
        request = Request(route.methods[-1], f"http://localhost/api/{route.path}", headers, path or {}, body)
        response = self._app.respond(route, request)
        assert response.status in (200, 201), response.body
        return response


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _warm(environ: dict[str, str]) -> Iterator[Figure]:
    app = _App(environ)
    session, row = _session(FILES / "models" / "iris.onnx"), np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)
    body = json.dumps({"model": "iris", "rows": row.tolist(), "timeout_ms": 60_000}).encode()
    predicted, alone = in_turns(lambda: app.call("predict", body), lambda: session.run(None, {"X": row}), ROUNDS, CALLS)
    aim = f"1.15 x + 1 ms = {1.15 * alone * 1e3 + 1:.3g} ms"
    yield Figure("predict, warm, one row of iris", predicted * 1e3, "onnxruntime alone", alone * 1e3, "ms", aim)

    rows, _ = load_digits(return_X_y=True)
    rows = np.tile(rows.astype(np.float32), (2, 1))[:1000]
    forest = RandomForestClassifier(150, random_state=1).fit(*load_digits(return_X_y=True))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digits.onnx"
        path.write_bytes(onnx_file(forest, rows, {"zipmap": False}))
        app.call("put-blob", path.read_bytes(), {"container": "samples", "name": "digits.onnx"})
        app.call("save-model", {"container": "samples", "blob": "digits.onnx"}, {"name": "digits"})
        session = _session(path)
    body = json.dumps({"model": "digits", "rows": rows.tolist(), "timeout_ms": 60_000}).encode()
    predicted, alone = in_turns(lambda: app.call("predict", body), lambda: session.run(None, {"X": rows}), 7, 1)
    aim = f"1.15 x + 1 ms = {1.15 * alone * 1e3 + 1:.4g} ms, without reading and writing JSON"
    yield Figure(
        "predict, warm, 1,000 rows of digits, 150 trees", predicted * 1e3, "onnxruntime alone", alone * 1e3, "ms", aim
    )


def _cold(environ: dict[str, str]) -> Iterator[Figure]:
    predicted, alone = [], []
    fields = {"model": "iris", "rows": [[5.1, 3.5, 1.4, 0.2]], "timeout_ms": 60_000}
    command = [sys.executable, "-c", ALONE, str(FILES / "models" / "iris.onnx")]
    for _ in range(COLD_ROUNDS):
        app = _App(environ)
        app.call("get-model", b"", {"name": "iris"})  # The app's own first call is `bench first`.
        started = perf_counter()
        app.call("predict", fields)
        predicted.append(perf_counter() - started)
        done = subprocess.run(command, cwd=ROOT, env=clean_environ(), capture_output=True, text=True, check=True)
        alone.append(float(done.stdout))
    app_seconds, alone_seconds = statistics.median(predicted), statistics.median(alone)
    name = "onnxruntime alone in a fresh process, from its import on"
    aim = f"400 ms more = {alone_seconds * 1e3 + 400:.0f} ms"
    yield Figure(
        "predict, cold: a new child, the file from storage", app_seconds * 1e3, name, alone_seconds * 1e3, "ms", aim
    )


def _identified(environ: dict[str, str]) -> Figure:
    app = _App(environ)
    source = random.Random(1)
    contents = [path.read_bytes() for path in sorted(ROOT.rglob("shared/**/*.py"))]

    def store(number: int) -> None:
        data = source.choice(contents) + source.randbytes(number % 9000)
        app.call("put-blob", data, {"container": "samples", "name": f"many/{number:04}.txt"})

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(store, range(BLOBS)))
    started, cursor, count = perf_counter(), None, 0
    while True:
        fields = {"container": "samples", "prefix": "many/"} | ({"cursor": cursor} if cursor else {})
        page = json.loads(app.call("identify-blobs", fields).body)
        count += len(page["blobs"])
        cursor = page["cursor"]
        if not cursor:
            break
    taken = perf_counter() - started
    assert count == BLOBS
    return Figure("identify-blobs, 1,000 blobs in ten calls", taken, "the aim", 15, "s", "15 s")
