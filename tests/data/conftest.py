"""Data files in a real Azurite, and the app in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient

from scripts.samples import seed_database
from shared.app import App, build
from shared.web import Request, Response
from tests.support import app_environ

CONTAINER = "data-tests"


class Caller:
    """Calls the functions of an app in this process."""

    def __init__(self, app: App, container: ContainerClient) -> None:
        self.app = app
        self.container = container
        self._routes = {each.name: each for each in app.routes}

    def put(self, name: str, data: bytes) -> None:
        """Write a blob."""
        self.container.upload_blob(name, data, overwrite=True)

    def raw(self, function: str, fields: dict[str, Any] | None = None) -> Response:
        """The response of a function."""
        route = self._routes[function]
        method = "POST" if "POST" in route.methods else "GET"
        body = json.dumps(fields).encode() if fields is not None else b""
        headers = {"content-type": "application/json"} if fields is not None else {}
        return self.app.respond(route, Request(method, f"http://localhost/api/{route.path}", headers, {}, body))

    def call(self, function: str, status: int = 200, **fields: Any) -> dict[str, Any]:
        """The JSON of a function's response, which has this status."""
        response = self.raw(function, fields or None)
        assert response.status == status, response.body
        return dict(msgspec.json.decode(response.body))

    def query(self, path: str, sql: str, status: int = 200, **fields: Any) -> dict[str, Any]:
        """The response of query-blobs, with time enough on a busy machine."""
        fields = {"timeout_ms": 60_000, **fields, "container": CONTAINER, "path": path, "sql": sql}
        return self.call("query-blobs", status, **fields)

    def rows(self, path: str, sql: str, **fields: Any) -> list[Any]:
        """The rows of query-blobs."""
        return list(self.query(path, sql, **fields)["rows"])


Build = Callable[..., Caller]


@pytest.fixture(scope="session")
def container(storage_connection: str) -> ContainerClient:
    """A container of this folder's tests."""
    service = BlobServiceClient.from_connection_string(storage_connection)
    return service.create_container(CONTAINER)


@pytest.fixture(scope="session")
def build_app(storage_connection: str, container: ContainerClient, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Builds apps with settings of their own."""

    def make(**settings: str) -> Caller:
        folder: Path = tmp_path_factory.mktemp("data")
        seed_database(folder / "main.sqlite")
        return Caller(build(app_environ(folder, storage_connection) | settings), container)

    return make


@pytest.fixture(scope="session")
def caller(build_app: Build) -> Caller:
    """The app with a database over the container's folder `lake/`."""
    return build_app(DATABASE_LAKE=f"blobs://{CONTAINER}/lake/", STRONGROOM_PUBLIC_DATABASES="main,lake")
