"""Accounts over real Table Storage, with a clock that a test moves."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from shared.passwords.accounts import Accounts, new_accounts
from shared.passwords.admission import HashingThreads
from shared.passwords.argon2 import Parameters
from shared.passwords.settings import PasswordSettings
from shared.passwords.store.attempts import AttemptStore
from shared.settings import StorageSettings
from shared.signing.encryption import NamedKeys
from shared.signing.master import master_key
from shared.signing.store import KeyStore
from shared.storage import Storage
from shared.storage.records import Records

SMALL = Parameters(64, 1, 1)
"""A cost for tests."""


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def forward(self, seconds: float) -> None:
        """Move the clock forward."""
        self.now += timedelta(seconds=seconds)


Make = Callable[..., Accounts]


@pytest.fixture
def clock() -> Clock:
    """A clock that changes only when the test moves it."""
    return Clock()


@pytest.fixture
def new_keys(storage_connection: str, tmp_path: Path) -> Iterator[Callable[[], KeyStore]]:
    """Makes key stores over one table of this test, each like another instance of the app."""
    table, path = f"keys{uuid4().hex[:20]}", tmp_path / "master.key"
    path.write_text("A" * 43)
    storage = Storage(StorageSettings(storage_connection))
    yield lambda: KeyStore(storage, master_key(str(path)), 0.0, table)
    storage.table(table).delete_table()


@pytest.fixture
def make(storage_connection: str, clock: Clock, new_keys: Callable[[], KeyStore]) -> Iterator[Make]:
    """Makes accounts over one table of this test, like several instances of the app."""
    table = f"users{uuid4().hex[:20]}"

    def make(cost: Parameters = SMALL, connection: str = storage_connection, **settings: object) -> Accounts:
        storage, keys = Storage(StorageSettings(connection)), new_keys()
        attempts = AttemptStore(storage, Records(lambda: keys.derive_key("users")), table)
        return new_accounts(
            msgspec.structs.replace(PasswordSettings(), **settings),
            storage,
            attempts,
            lambda: NamedKeys(keys),
            keys.derive_key,
            cost=cost,
            threads=HashingThreads(64, wait_seconds=60),
            clock=clock,
            table=table,
        )

    yield make
    Storage(StorageSettings(storage_connection)).table(table).delete_table()


@pytest.fixture
def accounts(make: Make) -> Accounts:
    """Accounts without users."""
    return make()
