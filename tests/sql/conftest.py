"""The databases of the tests: a SQLite file, a PostgreSQL, a MariaDB and a MySQL, behind the same names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings import StorageSettings
from shared.sql.databases import Database, Databases
from shared.sql.settings import DatabaseSettings
from shared.sql.store.files import Files
from shared.storage import Storage
from tests.sql.servers import STARTS, Server, start_mariadb, start_mysql, start_postgresql

NO_FILES = Files(Storage(StorageSettings()))
"""No storage account at all."""
ENGINES = ("sqlite", *STARTS)


def no_token(_scope: str) -> str:
    """Local servers take a password."""
    raise AssertionError


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL of this test run alone."""
    server = start_postgresql()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A MariaDB of this test run alone."""
    server = start_mariadb()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mysql() -> Iterator[Server]:
    """A MySQL of this test run alone."""
    server = start_mysql()
    yield server
    server.stop()


@pytest.fixture(scope="session", params=ENGINES)
def urls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The URLs that read and write, of each engine in turn."""
    if request.param == "sqlite":
        path: Path = tmp_path_factory.mktemp("sqlite") / "shop.sqlite"
        path.touch()
        return f"sqlite:///{path}", f"sqlite:///{path}"
    server: Server = request.getfixturevalue(request.param)
    return server.reader, server.writer


@pytest.fixture(scope="session")
def shop(urls: tuple[str, str]) -> Iterator[Database]:
    """The database of each engine in turn."""
    database = Databases({"shop": DatabaseSettings(*urls)}, no_token, NO_FILES).get("shop")
    yield database
    database.close()
