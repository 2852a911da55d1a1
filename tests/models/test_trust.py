"""What is saved is what runs: files, records and keys that are changed without the app."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from azure.data.tables import TableClient, UpdateMode
from azure.storage.blob import ContainerClient

from scripts.azurite import Azurite
from shared.models.store.files import CONTAINER, ModelFiles
from shared.models.store.records import TABLE, RecordStore
from shared.settings import StorageSettings
from shared.storage import Storage
from tests.models import files
from tests.models.conftest import Save
from tests.models.test_routes import predict
from tests.support import app_environ, run_app

ROW = [[1, 2, 3, 4]]


@pytest.fixture
def table(models_azurite: Azurite) -> Iterator[TableClient]:
    """The table of the records."""
    with TableClient.from_connection_string(models_azurite.connection_string, TABLE) as made:
        yield made


@pytest.fixture
def kept(models_azurite: Azurite) -> Iterator[ContainerClient]:
    """The app's own container of model files."""
    with ContainerClient.from_connection_string(models_azurite.connection_string, CONTAINER) as made:
        yield made


@pytest.fixture(scope="module")
def fresh(models_azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of another instance of the app, which has nothing in memory."""
    folder = tmp_path_factory.mktemp("fresh")
    environ = app_environ(folder, models_azurite.connection_string) | {"STRONGROOM_KEY_CACHE_SECONDS": "0"}
    with run_app(folder, environ) as app, app.client() as made:
        yield made


def is_refused(response: httpx.Response) -> bool:
    """Whether the model is not trusted, and the detail says what to do."""
    found = response.json()
    return (response.status_code, found.get("code")) == (422, "model-not-trusted") and "again" in found["detail"]


def test_a_changed_file_does_not_run(save: Save, fresh: httpx.Client, kept: ContainerClient) -> None:
    """Another file in the place of the kept copy, or none, is refused until the model is saved again."""
    sha256 = save("changed-file", files.many_nodes(3)).json()["sha256"]
    kept.upload_blob(sha256, files.many_nodes(4), overwrite=True)
    assert is_refused(predict(fresh, "changed-file", rows=ROW))
    kept.delete_blob(sha256)
    assert is_refused(predict(fresh, "changed-file", rows=ROW))
    assert save("changed-file", files.many_nodes(3)).status_code == 200
    assert predict(fresh, "changed-file", rows=ROW).status_code == 200


def test_files_without_a_version_are_purged(
    save: Save, client: httpx.Client, kept: ContainerClient, models_azurite: Azurite
) -> None:
    """A day after a model was deleted, the daily task removes its file, and leaves those of other models."""
    sha256 = save("purged", files.many_nodes(5)).json()["sha256"]
    other = save("not-purged", files.many_nodes(6)).json()["sha256"]
    client.delete("/api/models/purged")
    storage = Storage(StorageSettings(models_azurite.connection_string))
    records = RecordStore(storage, lambda: pytest.fail("No record is checked."), lambda _: b"")
    store = ModelFiles(storage, records.hashes)
    store.purge(datetime.now(UTC))
    assert kept.get_blob_client(sha256).exists()
    assert store.purge(datetime.now(UTC) + timedelta(days=2)) >= 1
    assert not kept.get_blob_client(sha256).exists()
    assert kept.get_blob_client(other).exists()


def test_a_file_that_is_kept_again_is_not_purged(kept: ContainerClient, models_azurite: Azurite) -> None:
    """A file of no version that a save keeps again while the daily task runs stays for that save."""

    def used() -> set[str]:
        others = set(kept.list_blob_names()) - {sha256}
        store.keep(b"a file")  # A save, after the task has listed the files.
        return others

    store = ModelFiles(Storage(StorageSettings(models_azurite.connection_string)), used)
    sha256 = store.keep(b"a file")
    store.purge(datetime.now(UTC) + timedelta(days=2))
    assert store.load(sha256) == b"a file"


@pytest.mark.parametrize("latest", ["text", -5, 0, 1.5])
def test_a_changed_number_does_not_write_over_a_version(
    save: Save, fresh: httpx.Client, table: TableClient, latest: Any
) -> None:
    """Whatever the table says is the latest version, the next one has a number of its own."""
    name = f"latest-{latest}".replace("-", "x")
    save(name, files.identity())
    save(name, files.identity(), description="The second.")
    table.update_entity({"PartitionKey": "model", "RowKey": f"m|{name}", "latest": latest}, UpdateMode.MERGE)
    third = save(name, files.identity(), description="The third.")
    assert (third.status_code, third.json()["version"], third.json()["versions"]) == (201, 3, [1, 2, 3])
    assert fresh.get(f"/api/models/{name}?version=2").json()["description"] == "The second."


def changes() -> dict[str, Any]:
    """Ways to change a row of the table: functions of the row's columns and those of another model."""

    def replaced(old: bytes, new: bytes) -> Any:
        def change(row: dict[str, Any], _other: dict[str, Any]) -> None:
            head, payload, signature = bytes(row["p0"]).split(b".")
            decoded = base64.urlsafe_b64decode(payload + b"==")
            assert old in decoded
            payload = base64.urlsafe_b64encode(decoded.replace(old, new)).rstrip(b"=")
            row["p0"] = b".".join([head, payload, signature])

        return change

    def flipped(row: dict[str, Any], _other: dict[str, Any]) -> None:
        row["p0"] = bytes(row["p0"])[:-2] + (b"AA" if not bytes(row["p0"]).endswith(b"AA") else b"BB")

    def unsigned(row: dict[str, Any], _other: dict[str, Any]) -> None:
        _, payload, _ = bytes(row["p0"]).split(b".")
        row["p0"] = b"eyJhbGciOiJub25lIiwia2lkIjoieCIsInR5cCI6InN0cm9uZ3Jvb20tbW9kZWwifQ." + payload + b"."

    return {
        "labels": replaced(b'"labels":["a"', b'"labels":["b"'),
        "hash": replaced(b'"sha256":"', b'"sha256":"0'),
        "version": replaced(b'"version":1', b'"version":2'),
        "signature": flipped,
        "algorithm none": unsigned,
        "another model's record": lambda row, other: row.update(p0=other["p0"]),
        "no record": lambda row, _other: row.update(p0=b""),
        "text": lambda row, _other: row.update(p0="text"),
    }


@pytest.mark.parametrize("change", list(changes()))
def test_a_changed_record_is_not_trusted(save: Save, fresh: httpx.Client, table: TableClient, change: str) -> None:
    """A change of any kind is refused by every function until the model is saved again, as a new version."""
    name = f"record-{change.replace(' ', '-').replace(chr(39), '')}"
    save(name, files.identity(), labels=list("abcd"))
    save("record-other", files.identity())
    row, other = (dict(table.get_entity("model", f"m|{each}")) for each in (name, "record-other"))
    changes()[change](row, other)
    table.update_entity(row, UpdateMode.REPLACE)
    assert is_refused(predict(fresh, name, rows=ROW))
    assert is_refused(fresh.get(f"/api/models/{name}"))
    infer = fresh.post(f"/api/v2/models/{name}/infer", json={"inputs": []})
    assert is_refused(infer)
    assert infer.json()["error"] == infer.json()["detail"]
    listed = fresh.get(f"/api/models?prefix={name}").json()["models"]
    assert [(each["name"], each["trusted"]) for each in listed] == [(name, False)]
    again = fresh.put(f"/api/models/{name}", json={"container": "samples", "blob": f"test/{name}.onnx"})
    assert (again.status_code, again.json()["version"]) == (201, 2)
    assert predict(fresh, name, rows=ROW).status_code == 200


def test_a_changed_key_of_an_endpoint_is_not_sent(fresh: httpx.Client, table: TableClient) -> None:
    """A stored key that was exchanged is refused before anything is sent."""
    for name in ("sealed-one", "sealed-two"):
        fields = {"kind": "azureml", "url": "https://a.inference.ml.azure.com/score", "key": name}
        assert fresh.put(f"/api/models/{name}", json=fields).status_code == 201
    row, other = (dict(table.get_entity("model", f"m|{each}")) for each in ("sealed-one", "sealed-two"))
    row["sealed_key"] = other["sealed_key"]
    table.update_entity(row, UpdateMode.REPLACE)
    assert is_refused(predict(fresh, "sealed-one", rows=ROW, timeout_ms=1000))
