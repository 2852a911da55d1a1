"""Tables of a real Azurite, directly and behind a proxy that can fail."""

import re
import secrets
from collections.abc import Callable, Iterator

import pytest

from scripts.azurite import Azurite
from shared.settings import StorageSettings
from shared.storage import EMULATOR_ACCOUNT, EMULATOR_KEY, Storage, Table
from tests.storage.proxy import Proxy, run_proxy


@pytest.fixture
def table(storage_connection: str) -> Table:
    """A table that does not exist yet."""
    return Table(Storage(StorageSettings(storage_connection)), f"t{secrets.token_hex(8)}")


@pytest.fixture
def table_proxy(azurite: Azurite) -> Iterator[Proxy]:
    """A proxy in front of Azurite's tables."""
    with run_proxy(f"http://127.0.0.1:{azurite.table_port}/{EMULATOR_ACCOUNT}") as proxy:
        yield proxy


@pytest.fixture
def failing(table_proxy: Proxy, storage_connection: str) -> Callable[[Table], Table]:
    """Returns the same table, reached through the proxy."""
    account = f"AccountName={EMULATOR_ACCOUNT};AccountKey={EMULATOR_KEY}"
    blobs = re.search(r"BlobEndpoint=[^;]+", storage_connection)
    assert blobs
    storage = Storage(StorageSettings(f"{account};{blobs[0]};TableEndpoint={table_proxy.url}"))
    return lambda table: Table(storage, table._name)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow without a pause, and a service on a busy machine is not late."""
    monkeypatch.setattr("shared.storage.requests.PAUSE_SECONDS", (0.0, 0.0))
    monkeypatch.setattr("shared.storage.requests.READ_SECONDS", 60.0)
