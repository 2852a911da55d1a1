"""What the tests of signing share: stores on tables of their own, and calls over HTTP."""

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
    """A table of this test alone."""
    return "keys" + secrets.token_hex(8)


@pytest.fixture
def master_key(tmp_path: Path) -> Path:
    """The file of a master key."""
    path = tmp_path / "master.key"
    path.write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)))
    return path


@pytest.fixture
def new_store(storage_connection: str, table_name: str, master_key: Path) -> NewStore:
    """Makes stores over the same table, each as another instance of the app would have it."""

    def make(
        cache_seconds: float = 30, key: Path = master_key, connection: str = storage_connection, **more: Any
    ) -> KeyStore:
        storage = Storage(StorageSettings(connection_string=connection))
        return KeyStore(storage, FileMasterKey(str(key)), cache_seconds, table_name, **more)

    return make


@pytest.fixture
def table(storage_connection: str, table_name: str) -> Iterator[Any]:
    """The table itself, as someone with access to the account has it."""
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
    """A name that no other test's key has."""
    return "t-" + secrets.token_hex(8)


class Caller:
    """Calls the app: `post("sign", message="x")` answers the JSON of a success, `fails` the status and code."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def send(self, method: str, path: str, fields: dict[str, Any]) -> httpx.Response:
        """Call with the fields where the method has them."""
        if method in ("GET", "DELETE"):
            given = {name: value if isinstance(value, str) else str(value).lower() for name, value in fields.items()}
            return self.client.request(method, f"/api/{path}", params=given)
        return self.client.request(method, f"/api/{path}", json=fields)

    def call(self, method: str, path: str, **fields: Any) -> Any:
        """The answer of a call that succeeds; None where it has no body."""
        response = self.send(method, path, fields)
        assert response.is_success, response.text
        return response.json() if response.content else None

    def post(self, path: str, **fields: Any) -> Any:
        """The answer of a POST."""
        return self.call("POST", path, **fields)

    def get(self, path: str, **fields: Any) -> Any:
        """The answer of a GET."""
        return self.call("GET", path, **fields)

    def fails(self, method: str, path: str, **fields: Any) -> tuple[int, str]:
        """Status and code of a call that is refused."""
        response = self.send(method, path, fields)
        assert not response.is_success, response.text
        return response.status_code, response.json()["code"]


@pytest.fixture(scope="module")
def app(running_app: App) -> Iterator[Caller]:
    """Calls the running app."""
    with running_app.client() as client:
        yield Caller(client)
