"""The databases of the tests: SQLite, PostgreSQL, MariaDB and MySQL, behind the same names."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from shared.settings import StorageSettings
from shared.sql.databases import Database, Databases
from shared.sql.engines.mysql import _connector
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
    """A PostgreSQL server for this test run only."""
    server = RUNNING["postgresql"] = start_postgresql()
    yield server
    del RUNNING["postgresql"]
    server.stop()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A MariaDB server for this test run only."""
    server = RUNNING["mariadb"] = start_mariadb()
    yield server
    del RUNNING["mariadb"]
    server.stop()


@pytest.fixture(scope="session")
def mysql() -> Iterator[Server]:
    """A MySQL server for this test run only."""
    server = RUNNING["mysql"] = start_mysql()
    yield server
    del RUNNING["mysql"]
    server.stop()


_PROCESSES = "select info from information_schema.processlist where user in ('reader', 'writer') and command <> 'Sleep'"
BUSY = {
    "postgresql": "select query from pg_stat_activity where usename in ('reader', 'writer') and state = 'active'",
    "mariadb": _PROCESSES,
    "mysql": _PROCESSES,
}
RUNNING: dict[str, Server] = {}
"""The servers of this test run."""
QUIET_SECONDS = 20.0
"""For a busy machine. A statement that nobody stops runs for longer."""


def busy(name: str, server: Server) -> list[Any]:
    """The statements that a server runs for the app's roles."""
    if name == "postgresql":
        with psycopg.connect(server.owner, autocommit=True) as connection:
            return connection.execute(BUSY[name].encode()).fetchall()
    with closing(_connector(server.owner, no_token)()) as other, other.cursor() as cursor:
        cursor.execute(BUSY[name])
        return list(cursor.fetchall())


@pytest.fixture(autouse=True)
def nothing_runs_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """Soon after the last call of each test, no server runs a statement for the app."""
    yield
    for name, server in RUNNING.items():
        if not {name, "urls"} & set(request.fixturenames) or server.process.poll() is not None:
            continue
        deadline = time.monotonic() + QUIET_SECONDS
        while (found := busy(name, server)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not found


@pytest.fixture(scope="session", params=ENGINES)
def urls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The URLs of the reader and the writer, for each engine in turn."""
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
