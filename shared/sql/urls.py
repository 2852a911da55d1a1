"""The URLs of databases: which engine they name, and how a connection to each is opened."""

import os.path
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from shared.settings import ROOT
from shared.sql.dialects import Dialect
from shared.sql.engines import Session
from shared.sql.store.files import Dataset, Files

if TYPE_CHECKING:
    from shared.sandbox.process import Sandbox
    from shared.sql.engines.blobs import Data

ENGINES: Mapping[str, Dialect] = {
    "sqlite": "sqlite",
    "blob": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "blobs": "blobs",
}
"""By the schemes of URLs."""


class Resources(NamedTuple):
    """The services that a connection may need: access tokens of the app's identity by scope, and blobs of datasets."""

    token: Callable[[str], str]
    files: Files
    sandbox: Callable[[], "Sandbox"]
    """The child processes for statements of SQLite that can take long."""
    data: Callable[[], "Data"] | None = None
    """Data files; None where the app has none."""


def engine_of(url: str) -> Dialect:
    """The engine that the URL names."""
    return ENGINES[url.partition("://")[0]]


def opener(url: str, resources: Resources, *, writes: bool) -> Callable[[], Session]:
    """The function that opens a connection. Drivers load at its first call."""
    engine = engine_of(url)
    if engine == "sqlite":
        path = _dataset(url, resources.files) if url.startswith("blob://") else _sqlite_path(url)

        def open_sqlite() -> Session:
            from shared.sql.engines.sqlite import SqliteSession

            return SqliteSession(path, resources.sandbox, writes=writes)

        return open_sqlite

    if engine == "blobs":

        def open_blobs() -> Session:
            from shared.sql.engines.blobs import BlobsSession

            assert resources.data is not None  # noqa: S101
            data = resources.data()
            container, prefix = folder_of(url)
            return BlobsSession(data, lambda: data.folder(container, prefix))

        return open_blobs

    def open_server() -> Session:
        if engine == "postgresql":
            from shared.sql.engines.postgresql import PostgresSession

            return PostgresSession(url, resources.token, writes=writes)
        from shared.sql.engines.mysql import MysqlSession

        return MysqlSession(url, resources.token, writes=writes)

    return open_server


def folder_of(url: str) -> tuple[str, str]:
    """The container of a `blobs://` URL, and its prefix, which is empty or ends with a slash."""
    container, _, prefix = url.removeprefix("blobs://").partition("/")
    prefix = unquote(prefix)
    return container, prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def _dataset(url: str, files: Files) -> Callable[[], str]:
    container, _, name = url.removeprefix("blob://").partition("/")
    return Dataset(files, container, unquote(name)).path


def _sqlite_path(url: str) -> str:
    path = unquote(url.removeprefix("sqlite:///"))
    return os.path.join(ROOT, path)  # noqa: PTH118 - pathlib is loaded for nothing else.
