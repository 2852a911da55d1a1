"""Hostile models: each gets one clear refusal, in time, and the next call works."""

import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from shared.deadline import call_limit
from shared.models.onnx import TensorSpec
from shared.models.store.engine import Engine
from shared.models.tensors import Tensor
from shared.sandbox.errors import EngineFailed
from shared.sandbox.process import Sandbox
from shared.sandbox.settings import MIB, SandboxSettings
from tests.models import files
from tests.models.conftest import Save
from tests.models.test_routes import IRIS, predict

AT_SAVE: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "range": (files.ranged, ("out-of-memory",)),
    "tile": (files.tiled, ("out-of-memory", "unsupported-model")),
    "fold": (files.folded, ("out-of-memory",)),
    "expand": (lambda: files.grown(2**32), ("out-of-memory",)),
    "lying input": (files.lying_input, ("unsupported-model",)),
    "lying output": (files.lying_output, ("unsupported-model",)),
    "lying constant": (files.lying_constant, ("unsupported-model",)),
    "many inputs": (files.many_inputs, ("unsupported-model",)),
    "64 MiB of constants": (lambda: files.large_constants(64 * MIB), ("unsupported-model",)),
    **{name: (make, ("unsupported-model",)) for name, (make, _) in files.REFUSED.items()},
}


@pytest.fixture(autouse=True)
def next_call_works(client: httpx.Client) -> Iterator[None]:
    """After each attack the sample model predicts."""
    yield
    assert client.post("/api/predict", json=IRIS).status_code == 200


@pytest.mark.parametrize("name", list(AT_SAVE))
def test_a_hostile_model_is_not_saved(client: httpx.Client, save: Save, name: str) -> None:
    """The file is refused when it is saved, with a reason, and no model of the name exists then."""
    make, codes = AT_SAVE[name]
    response = save("hostile", make())
    assert (response.status_code, response.json()["code"] in codes) == (422, True), response.text
    assert response.json()["detail"]
    assert client.get("/api/models/hostile").status_code == 404


def test_a_model_that_never_ends_is_not_saved(save: Save) -> None:
    """The first run of an endless Loop ends after five seconds."""
    assert save("endless", files.loop()).json()["code"] == "model-timeout"


def test_a_model_that_turns_endless_later(client: httpx.Client, save: Save) -> None:
    """A Loop that passes the first run on zeros is ended at the call's limit, and serves the next call."""
    assert save("late", files.loop(late=True)).status_code == 201
    assert predict(client, "late", rows=[[1, 1, 1, 1]]).status_code == 200
    response = predict(client, "late", rows=[[1e12] * 4], timeout_ms=2000)
    assert (response.status_code, response.json()["code"]) == (422, "model-timeout")
    assert predict(client, "late", rows=[[1, 1, 1, 1]]).json()["outputs"] == {"y": [[1, 1, 1, 1]]}


def test_a_model_that_grows_later(client: httpx.Client, save: Save) -> None:
    """An Expand by a value of the row fails for lack of memory, and serves the next call."""
    assert save("growing", files.grows_with_x()).status_code == 201
    response = predict(client, "growing", rows=[[1e10, 0, 0, 0]])
    assert (response.status_code, response.json()["code"]) == (422, "out-of-memory")
    assert predict(client, "growing", rows=[[1, 1, 1, 1]]).status_code == 200


def test_outputs_are_bounded(client: httpx.Client, save: Save) -> None:
    """Outputs over 8 MiB are refused, in the child, before they travel."""
    wide = files.model(
        [files.node("Tile", ["x", "times"], ["y"])],
        [files.X],
        [files.value("y", files.FLOAT, ["n", 4096])],
        [files.constant("times", np.array([1, 1024], np.int64))],
    )
    assert save("wide", wide).status_code == 201
    response = predict(client, "wide", rows=[[1, 2, 3, 4]] * 1000)
    assert (response.status_code, response.json()["code"]) == (422, "output-too-large")
    assert predict(client, "wide", rows=[[1, 2, 3, 4]]).status_code == 200


@pytest.mark.parametrize("shape", [[2**30, 0], [2**11, 2**11, 0], [3_000_000, 1]])
def test_lists_are_bounded(client: httpx.Client, save: Save, shape: list[int]) -> None:
    """A tensor of few bytes, or of none, and many lists is refused before the app makes the lists."""
    assert save("lists", files.shaped(shape)).status_code == 201
    response = predict(client, "lists", rows=[[1, 2, 3, 4]])
    assert (response.status_code, response.json()["code"]) == (422, "output-too-large")


def test_a_crash_of_the_engine_ends_its_process_alone() -> None:
    """A segmentation fault while a model runs is an error of that call, and the next one runs."""
    sandbox = Sandbox(SandboxSettings(processes=1, memory_bytes=512 * MIB))
    engine = Engine(sandbox)
    spec = [TensorSpec("y", "FP32", [-1, 4])]

    def run(value: float) -> list[Tensor]:
        row = [Tensor("x", "FP32", [1, 4], struct.pack("<4f", *[value] * 4))]
        with call_limit(60):
            return engine.run("loop", lambda: files.loop(late=True), row, spec)

    try:
        assert run(1)[0].shape == [1, 4]
        with ThreadPoolExecutor(1) as threads:
            endless = threads.submit(run, 1e12)
            while not sandbox._busy:
                time.sleep(0.01)
            os.kill(next(iter(sandbox._busy)).pid, signal.SIGSEGV)
            with pytest.raises(EngineFailed):
                endless.result(60)
        assert run(1)[0].shape == [1, 4]
    finally:
        sandbox.close()
