"""An app with storage of its own, since these tests change models, records and keys without it."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from azure.storage.blob import ContainerClient

from scripts.azurite import Azurite, start_azurite
from tests.support import App, run_sample_app

Save = Callable[..., httpx.Response]


@pytest.fixture(scope="package")
def models_azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """An Azurite for the tests of models."""
    running = start_azurite(tmp_path_factory.mktemp("models") / "azurite", in_memory=True)
    yield running
    running.stop()


@pytest.fixture(scope="package")
def models_app(models_azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app with the sample models."""
    with run_sample_app(tmp_path_factory.mktemp("models-app"), models_azurite.connection_string) as app:
        yield app


@pytest.fixture(scope="package")
def client(models_app: App) -> Iterator[httpx.Client]:
    """A client of the app."""
    with models_app.client() as made:
        yield made


@pytest.fixture(scope="package")
def samples(models_azurite: Azurite) -> Iterator[ContainerClient]:
    """The container that the models' files are in."""
    with ContainerClient.from_connection_string(models_azurite.connection_string, "samples") as made:
        yield made


@pytest.fixture
def save(client: httpx.Client, samples: ContainerClient) -> Save:
    """Store an ONNX file, and save it as a model: `save("name", data, labels=[…])`."""

    def store(name: str, data: bytes, **fields: Any) -> httpx.Response:
        samples.upload_blob(f"test/{name}.onnx", data, overwrite=True)
        return client.put(f"/api/models/{name}", json={"container": "samples", "blob": f"test/{name}.onnx", **fields})

    return store
