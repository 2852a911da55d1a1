"""Shared fixtures of the signing tests: stores on separate tables, and calls over HTTP."""

import base64
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.azurite import start_azurite
from shared.settings import StorageSettings
from shared.signing.master import FileMasterKey
from shared.signing.store import KeyStore
from shared.storage import Storage
from tests.support import App, app_environ, run_app

NewStore = Callable[..., KeyStore]


@pytest.fixture
def table_name() -> str:
    """A table name for this test only."""
    return "keys" + secrets.token_hex(8)


@pytest.fixture
def master_key(tmp_path: Path) -> Path:
    """The path of a master key file."""
    path = tmp_path / "master.key"
    path.write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)))
    return path


@pytest.fixture
def new_store(storage_connection: str, table_name: str, master_key: Path) -> NewStore:
    """Makes stores over the same table, each like another instance of the app."""

    def make(
        cache_seconds: float = 30, key: Path = master_key, connection: str = storage_connection, **more: Any
    ) -> KeyStore:
        storage = Storage(StorageSettings(connection_string=connection))
        return KeyStore(storage, FileMasterKey(str(key)), cache_seconds, table_name, **more)

    return make


@pytest.fixture
def table(storage_connection: str, table_name: str) -> Iterator[Any]:
    """Direct access to the table, as a user of the storage account has it."""
    from azure.data.tables import TableClient

    with TableClient.from_connection_string(storage_connection, table_name) as client:
        yield client


@contextmanager
def two_processes(folder: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Clients of two apps on one new storage account, with files in `folder`."""
    azurite = start_azurite(folder / "azurite", in_memory=True)
    try:
        environ = app_environ(folder, azurite.connection_string)
        with (
            run_app(folder, environ) as one,
            run_app(folder, environ) as other,
            one.client() as first,
            other.client() as second,
        ):
            yield first, second
    finally:
        azurite.stop()


@pytest.fixture
def new_name() -> str:
    """A key name that no other test uses."""
    return "t-" + secrets.token_hex(8)


class Caller:
    """Calls the app: `post("sign", message="x")` returns the JSON of a success, `fails` the status and code."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def send(self, method: str, path: str, fields: dict[str, Any]) -> httpx.Response:
        """Send the fields in the URL or the body, as the method requires."""
        if method in ("GET", "DELETE"):
            texts = {name: value if isinstance(value, str) else str(value).lower() for name, value in fields.items()}
            return self.client.request(method, f"/api/{path}", params=texts)
        return self.client.request(method, f"/api/{path}", json=fields)

    def call(self, method: str, path: str, **fields: Any) -> Any:
        """Return the JSON of a successful call; None if it has no body."""
        response = self.send(method, path, fields)
        assert response.is_success, response.text
        return response.json() if response.content else None

    def post(self, path: str, **fields: Any) -> Any:
        """Return the JSON of a successful POST."""
        return self.call("POST", path, **fields)

    def get(self, path: str, **fields: Any) -> Any:
        """Return the JSON of a successful GET."""
        return self.call("GET", path, **fields)

    def fails(self, method: str, path: str, **fields: Any) -> tuple[int, str]:
        """Return status and code of a failed call."""
        response = self.send(method, path, fields)
        assert not response.is_success, response.text
        return response.status_code, response.json()["code"]


@pytest.fixture(scope="module")
def app(running_app: App) -> Iterator[Caller]:
    """Calls the running app."""
    with running_app.client() as client:
        yield Caller(client)
