"""`identify-blobs`, and `put-blob` with `identify`, over HTTP."""

from typing import Any

import httpx
import pytest
from azure.storage.blob import ContainerClient, ContentSettings

from scripts.azurite import Azurite
from scripts.samples import FILES
from shared.deadline import call_limit
from shared.models.content import Identified
from shared.models.store.engine import Engine
from shared.models.store.identifying import Identifier
from shared.sandbox import process
from shared.sandbox.settings import SandboxSettings
from shared.settings import StorageSettings
from shared.storage import Storage

PROGRAM = (FILES / "images" / "photo.jpg").read_bytes()
PICTURE = (FILES / "images" / "keyhole.png").read_bytes()


def identify(client: httpx.Client, **fields: Any) -> httpx.Response:
    """The contents of blobs in the samples."""
    return client.post("/api/identify-blobs", json={"container": "samples", **fields})


def test_a_program_named_like_a_photo(client: httpx.Client) -> None:
    """The sample photo.jpg is a program, and the picture beside it is one."""
    found = identify(client, names=["images/photo.jpg", "images/keyhole.png"]).json()
    photo, picture = found["blobs"]
    assert (photo["name"], photo["label"], photo["group"]) == ("images/photo.jpg", "wasm", "executable")
    assert (photo["mime_type"], photo["mismatch"]) == ("application/wasm", True)
    assert (picture["label"], picture["mime_type"], picture["mismatch"]) == ("png", "image/png", False)
    assert 0.9 < photo["score"] <= 1
    assert found["cursor"] is None


def test_a_blob_that_cannot_be_read_is_a_problem_of_its_own(client: httpx.Client) -> None:
    """A missing blob does not hide the others."""
    missing, welcome = identify(client, names=["missing.txt", "welcome.txt"]).json()["blobs"]
    assert (missing["name"], missing["status"], missing["code"]) == ("missing.txt", 404, "unknown-blob")
    assert (welcome["label"], welcome["mismatch"]) == ("txt", False)


def test_blobs_are_listed_in_pages(client: httpx.Client, samples: ContainerClient) -> None:
    """A prefix is identified page by page, each blob once; large and empty blobs, too."""
    for number in range(5):
        samples.upload_blob(f"pages/{number}.py", b"import os\nprint(os.name)\n" * 400 * number, overwrite=True)
    found: list[Any] = []
    cursor = None
    for _ in range(5):
        page = identify(client, prefix="pages/", limit=2, **({"cursor": cursor} if cursor else {})).json()
        found += page["blobs"]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert [each["name"] for each in found] == [f"pages/{number}.py" for number in range(5)]
    assert [each["label"] for each in found] == ["empty", *["python"] * 4]
    assert not any(each["mismatch"] for each in found)


def test_the_stored_content_type_counts(client: httpx.Client, samples: ContainerClient) -> None:
    """A program without an ending is a mismatch where its Content-Type says that it is an image."""
    for name, kind in (("tool", "application/octet-stream"), ("picture", "image/png")):
        settings = ContentSettings(content_type=kind)
        samples.upload_blob(f"types/{name}", PROGRAM, overwrite=True, content_settings=settings)
    picture, tool = identify(client, prefix="types/").json()["blobs"]
    assert (picture["name"], picture["mismatch"]) == ("types/picture", True)
    assert (tool["name"], tool["mismatch"]) == ("types/tool", False)


def test_the_blobs_of_a_call_do_not_wait_for_each_other(
    samples: ContainerClient, models_azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slowly the model's process starts, the blobs of one call are not busy because of each other."""
    monkeypatch.setattr(process, "WAIT_SECONDS", 0.0)
    names = [f"waiting/{number}.py" for number in range(8)]
    for name in names:
        samples.upload_blob(name, b"import os\nprint(os.name)\n" * 9, overwrite=True)
    sandbox = process.Sandbox(SandboxSettings(processes=1))
    try:
        engine = Engine(sandbox)
        identifier = Identifier(Storage(StorageSettings(models_azurite.connection_string)), lambda: engine)
        with call_limit(60):
            found = identifier.identify_blobs("samples", names)
        assert [each.label for each in found if isinstance(each, Identified)] == ["python"] * 8
    finally:
        sandbox.close()


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"names": []}, 400, "invalid-request"),
        ({"names": ["a"] * 101}, 400, "invalid-request"),
        ({"names": ["a"], "prefix": "b"}, 400, "invalid-request"),
        ({"names": ["a"], "cursor": "b"}, 400, "invalid-request"),
        ({"prefix": "a", "cursor": "b"}, 400, "invalid-request"),
        ({"prefix": "a", "limit": 101}, 400, "invalid-request"),
        ({"container": "no-such-container", "names": ["a"]}, 404, "unknown-container"),
        ({"container": "no-such-container", "prefix": ""}, 404, "unknown-container"),
        ({"container": "strongroom-models", "prefix": ""}, 403, "reserved-container"),
        ({"container": "azure-webjobs-secrets", "names": ["a"]}, 403, "reserved-container"),
    ],
)
def test_a_wrong_request_is_refused(client: httpx.Client, fields: dict[str, Any], status: int, code: str) -> None:
    """Each wrong field has its status and code."""
    response = identify(client, **fields)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text


def put(client: httpx.Client, name: str, data: bytes, identify: str, **headers: str) -> httpx.Response:
    """Store a blob."""
    return client.put(f"/api/blobs/samples/put/{name}?identify={identify}", content=data, headers=headers)


def test_refuse_keeps_a_program_named_photo_out(client: httpx.Client, samples: ContainerClient) -> None:
    """A mismatch is 422 and nothing is stored; what is there already stays."""
    refused = put(client, "photo.jpg", PROGRAM, "refuse")
    assert (refused.status_code, refused.json()["code"]) == (422, "content-mismatch")
    assert "wasm" in refused.json()["detail"]
    assert not samples.get_blob_client("put/photo.jpg").exists()
    assert put(client, "photo.jpg", PICTURE, "refuse").status_code == 201
    assert put(client, "photo.jpg", PROGRAM, "refuse").status_code == 422
    assert samples.download_blob("put/photo.jpg").readall() == PICTURE
    typed = {"content-type": "image/png"}
    assert put(client, "photo", PROGRAM, "refuse", **typed).status_code == 422
    assert put(client, "program", PROGRAM, "refuse").status_code == 201
    assert put(client, "notes.txt", b"", "refuse").status_code == 201


def test_mark_stores_the_type(client: httpx.Client, samples: ContainerClient) -> None:
    """The label is metadata of the blob, beside the caller's own; nothing is refused."""
    headers = {"x-ms-meta-project": "x"}
    assert put(client, "marked.jpg", PROGRAM, "mark", **headers).status_code == 201
    metadata = samples.get_blob_client("put/marked.jpg").get_blob_properties().metadata
    assert metadata == {"project": "x", "strongroom_type": "wasm"}
    assert client.get("/api/blobs/samples/put/marked.jpg").headers["x-ms-meta-strongroom_type"] == "wasm"
    assert put(client, "marked.jpg", PROGRAM, "guess").status_code == 400
