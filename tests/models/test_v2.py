"""The Open Inference Protocol: Triton's own client works unchanged, and so do plain requests."""

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from shared.errors import InvalidRequest
from shared.models.v2 import split_body
from tests.models import files
from tests.models.conftest import Save
from tests.support import App

TIMEOUT = 60_000_000
"""Microseconds, on a machine that is busy."""
ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], np.float32)


@pytest.fixture
def headers(models_app: App) -> dict[str, str]:
    """The function key, as a client sends it. The client adds its own headers to this dict."""
    return {"x-functions-key": models_app.function_key}


@pytest.fixture(scope="module")
def server(models_app: App) -> Iterator[triton.InferenceServerClient]:
    """Triton's client, with the app's address and base path."""
    made = triton.InferenceServerClient(urlsplit(models_app.url).netloc + "/api")
    yield made
    made.close()


def infer(server: triton.InferenceServerClient, headers: dict[str, str], *, binary: bool, **options: Any) -> Any:
    """A request for the two rows."""
    rows = triton.InferInput("X", list(ROWS.shape), "FP32")
    rows.set_data_from_numpy(ROWS, binary_data=binary)
    return server.infer("iris", [rows], headers=headers, timeout=TIMEOUT, **options)


def test_tritonclient_sees_server_and_models(server: triton.InferenceServerClient, headers: dict[str, str]) -> None:
    """Live, ready, metadata, and a model with and without its version."""
    assert server.is_server_live(headers=headers)
    assert server.is_server_ready(headers=headers)
    assert server.get_server_metadata(headers=headers)["name"] == "strongroom"
    assert server.is_model_ready("iris", headers=headers)
    assert server.is_model_ready("iris", "1", headers=headers)
    assert not server.is_model_ready("iris", "9", headers=headers)
    assert not server.is_model_ready("none", headers=headers)
    metadata = server.get_model_metadata("iris", headers=headers)
    assert metadata["versions"] == ["1"]
    assert metadata["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 4]}]
    assert [each["name"] for each in metadata["outputs"]] == ["label", "probabilities"]
    assert server.get_model_metadata("iris", "1", headers=headers) == metadata


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_tritonclient_infers(
    server: triton.InferenceServerClient, headers: dict[str, str], binary_in: bool, binary_out: bool | None
) -> None:
    """JSON and binary tensors, in and out, with and without named outputs, return the same."""
    outputs = None
    if binary_out is not None:
        outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ("probabilities", "label")]
    result = infer(server, headers, binary=binary_in, outputs=outputs, request_id="abc")
    assert result.as_numpy("label").tolist() == [0, 2]
    assert result.as_numpy("probabilities").shape == (2, 3)
    np.testing.assert_allclose(result.as_numpy("probabilities").sum(axis=1), 1, atol=1e-5)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("abc", "iris", "1")


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_tritonclient_compresses(
    server: triton.InferenceServerClient, headers: dict[str, str], compression: str
) -> None:
    """A compressed request is read; a version may be named."""
    result = infer(server, headers, binary=True, request_compression_algorithm=compression, model_version="1")
    assert result.as_numpy("label").tolist() == [0, 2]


def test_texts_are_binary_too(server: triton.InferenceServerClient, headers: dict[str, str], save: Save) -> None:
    """BYTES tensors travel with their lengths, both ways."""
    save("v2-texts", files.texts())
    tensor = triton.InferInput("t", [2, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([["grün".encode()], [b""]], dtype=np.object_))
    result = server.infer("v2-texts", [tensor], headers=headers, timeout=TIMEOUT)
    assert [each.decode() for each in result.as_numpy("u").ravel()] == ["grün", ""]


def test_tritonclient_reads_the_error(server: triton.InferenceServerClient, headers: dict[str, str]) -> None:
    """A problem carries its detail as `error`, which the client shows."""
    rows = triton.InferInput("X", [1, 3], "FP32")
    rows.set_data_from_numpy(np.zeros((1, 3), np.float32))
    with pytest.raises(InferenceServerException, match="shape"):
        server.infer("iris", [rows], headers=headers)
    with pytest.raises(InferenceServerException, match="No saved model"):
        server.infer("none", [rows], headers=headers)


def test_the_length_of_the_json_is_checked() -> None:
    """The header splits the body, and is refused where it is not a length."""
    assert split_body(b"{}data", "2") == (b"{}", b"data")
    assert split_body(b"{}", None) == (b"{}", b"")
    for length in ("7", "-1", "x", "", "٢", "1.0"):
        with pytest.raises(InvalidRequest):
            split_body(b"{}data", length)


PATIENT = {"parameters": {"timeout": TIMEOUT}}
GOOD = {"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}


@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream", "text/plain", None])
def test_any_content_type(client: httpx.Client, kind: str | None) -> None:
    """The body is JSON whatever its Content-Type; nested data and unknown members are accepted."""
    body = json.dumps({"inputs": [GOOD | {"data": [[5.1, 3.5, 1.4, 0.2]]}], "sequence": 1} | PATIENT).encode()
    response = client.post("/api/v2/models/iris/infer", content=body, headers={"content-type": kind} if kind else {})
    assert response.status_code == 200, response.text
    label, scores = response.json()["outputs"]
    assert (label["name"], label["datatype"], label["shape"], label["data"]) == ("label", "INT64", [1], [0])
    assert len(scores["data"]) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"inputs": 5}',
        b'{"inputs": []}',
        b"\xff\xfe",
        json.dumps({"inputs": [GOOD, GOOD]}).encode(),
        json.dumps({"inputs": [GOOD | {"name": "Y"}]}).encode(),
        json.dumps({"inputs": [GOOD | {"datatype": "FP64"}]}).encode(),
        json.dumps({"inputs": [GOOD | {"shape": [4]}]}).encode(),
        json.dumps({"inputs": [GOOD | {"shape": [-1, 4]}]}).encode(),
        json.dumps({"inputs": [GOOD | {"shape": [-1, -4]}]}).encode(),
        json.dumps({"inputs": [GOOD | {"shape": [2, 4]}]}).encode(),
        json.dumps({"inputs": [GOOD | {"shape": [2**62, 4]}]}).encode(),
        json.dumps({"inputs": [GOOD | {"shape": [1] * 50_000}]}).encode(),
        json.dumps({"inputs": [GOOD | {"data": [[[[[[[[[[[1, 2, 3, 4]]]]]]]]]]]}]}).encode(),
        json.dumps({"inputs": [GOOD | {"data": [1, 2, 3]}]}).encode(),
        json.dumps({"inputs": [GOOD | {"data": [1, 2, 3, "4"]}]}).encode(),
        json.dumps({"inputs": [GOOD | {"data": None}]}).encode(),
        json.dumps({"inputs": [GOOD | {"parameters": {"binary_data_size": 16}}]}).encode(),
        json.dumps({"inputs": [GOOD | {"parameters": {"binary_data_size": -1}}]}).encode(),
        json.dumps({"inputs": [GOOD | {"parameters": {"shared_memory_region": "x"}}]}).encode(),
        json.dumps({"inputs": [GOOD], "outputs": [{"name": "none"}]}).encode(),
        json.dumps({"inputs": [GOOD], "outputs": [{"name": "label"}, {"name": "label"}]}).encode(),
        json.dumps({"inputs": [GOOD], "outputs": [{"name": "label", "parameters": {"classification": 2}}]}).encode(),
    ],
)
def test_a_wrong_request_is_a_problem_with_error(client: httpx.Client, body: bytes) -> None:
    """Every refusal is a 400 with `error`."""
    response = client.post("/api/v2/models/iris/infer", content=body)
    assert response.status_code == 400, response.text
    assert 0 < len(response.json()["error"]) < 500


@pytest.mark.parametrize(
    ("length", "binary"),
    [("x", b""), ("-1", b""), ("99999", b""), (None, b"1234"), ("", b""), ("right", b"123"), ("right", b"1" * 17)],
)
def test_binary_data_is_measured(client: httpx.Client, length: str | None, binary: bytes) -> None:
    """A wrong length of the JSON or of the binary data is a 400."""
    tensor = {"name": "X", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    head = json.dumps({"inputs": [tensor]} | PATIENT).encode()
    headers = (
        {} if length is None else {"inference-header-content-length": str(len(head)) if length == "right" else length}
    )
    response = client.post("/api/v2/models/iris/infer", content=head + binary, headers=headers)
    assert response.status_code == 400, response.text
    right = client.post(
        "/api/v2/models/iris/infer",
        content=head + struct.pack("<4f", *ROWS[0]),
        headers={"inference-header-content-length": str(len(head))},
    )
    assert right.json()["outputs"][0]["data"] == [0]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "v2/", 200),
        ("GET", "v2/health/live", 200),
        ("GET", "v2/health", 404),
        ("GET", "v2/models", 404),
        ("GET", "v2/models/iris/config", 404),
        ("GET", "v2/models/iris/versions/x", 404),
        ("GET", "v2/models/iris/versions/0/ready", 404),
        ("GET", "v2/models/i%20s", 404),
        ("POST", "v2/models/iris/explain", 404),
        ("POST", "v2/models/iris/versions/2/infer", 404),
        ("POST", "v2/models/none/infer", 404),
    ],
)
def test_other_paths_are_404_with_error(client: httpx.Client, method: str, path: str, status: int) -> None:
    """What the app does not serve is 404, in the protocol's form."""
    response = client.request(method, f"/api/{path}", content=b'{"inputs": []}' if method == "POST" else None)
    assert response.status_code == status, response.text
    assert status == 200 or response.json()["error"]


def test_a_compressed_bomb_is_413(client: httpx.Client) -> None:
    """A body that is small only while it is compressed is refused at the limit."""
    bomb = zlib.compress(bytes(100_000_000), 9)
    response = client.post("/api/v2/models/iris/infer", content=bomb, headers={"content-encoding": "deflate"})
    assert (response.status_code, bool(response.json()["error"])) == (413, True)
    other = client.post("/api/v2/models/iris/infer", content=b"x", headers={"content-encoding": "br"})
    assert (other.status_code, bool(other.json()["error"])) == (400, True)
    broken = client.post("/api/v2/models/iris/infer", content=b"x", headers={"content-encoding": "gzip"})
    assert (broken.status_code, bool(broken.json()["error"])) == (400, True)
