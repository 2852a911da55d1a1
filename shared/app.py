"""Composes the app: settings → storage → stores → the route table. Building it connects to nothing.

The table below is all that indexing needs, so no capability is loaded before the first call of one of its functions.
"""

from collections.abc import Callable, Mapping
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Generic, TypeVar

from shared.settings import Settings
from shared.storage import Storage
from shared.web import Access, Operation, Route

if TYPE_CHECKING:
    from shared.blobs.store import BlobStore
    from shared.signing.store import KeyStore
    from shared.sql.databases import Databases

Made = TypeVar("Made")

GET, POST, GET_POST = ("GET",), ("POST",), ("GET", "POST")
KEY, PUBLIC = Access.FUNCTION, Access.PUBLIC


class Once(Generic[Made]):
    """Makes something at the first call, once, however many threads call, and gives it back ever after."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._lock = RLock()
        self._made: list[Made] = []

    def __call__(self) -> Made:
        if not self._made:
            with self._lock:
                if not self._made:
                    self._made.append(self._make())
        return self._made[0]


def build(settings: Settings) -> list[Route]:
    """Every route of the app, in the order of its documentation."""
    storage = Once(lambda: Storage(settings.storage))

    @Once
    def keys() -> "KeyStore":
        from shared.signing.master import master_key
        from shared.signing.store import KeyStore

        return KeyStore(storage(), master_key(settings.master_key), settings.key_cache_seconds)

    @Once
    def databases() -> "Databases":
        from shared.sql.databases import Databases

        return Databases(settings.databases)

    @Once
    def blob_store() -> "BlobStore":
        from shared.blobs.store import BlobStore

        return BlobStore(storage())

    @Once
    def signing() -> Mapping[str, Operation]:
        from shared.signing.routes import operations

        return operations(keys())

    @Once
    def passwords() -> Mapping[str, Operation]:
        from shared.passwords.admission import HashingThreads
        from shared.passwords.routes import operations

        return operations(HashingThreads(settings.hash_memory_mib))

    @Once
    def sql() -> Mapping[str, Operation]:
        from shared.sql.routes import operations

        return operations(databases())

    @Once
    def blobs() -> Mapping[str, Operation]:
        from shared.blobs.routes import operations

        return operations(blob_store())

    @Once
    def health() -> Mapping[str, Operation]:
        from shared.health import Probe, operations

        def ping_database(name: str) -> None:
            databases().get(name).ping()

        probes = {
            "table-storage": Probe(lambda: keys().probe()),
            "master-key": Probe(lambda: keys().probe_master_key()),
            "blob-storage": Probe(lambda: blob_store().ping()),
        }
        for name in settings.databases:
            probes[f"database-{name}"] = Probe(partial(ping_database, name), needed=False)
        return operations(probes)

    @Once
    def openapi() -> Mapping[str, Operation]:
        from shared.web.openapi import operations

        return operations(routes)

    routes = [
        Route("sign", "sign", GET_POST, KEY, signing),
        Route("verify", "verify", GET_POST, KEY, signing),
        Route("hash-password", "hash-password", POST, KEY, passwords),
        Route("verify-password", "verify-password", POST, KEY, passwords),
        Route("query-sql", "query-sql", GET_POST, KEY, sql),
        Route("execute-sql", "execute-sql", POST, KEY, sql),
        Route("list-databases", "databases", GET, KEY, sql),
        Route("list-blobs", "list-blobs", GET_POST, KEY, blobs),
        Route("live", "live", GET, PUBLIC, health),
        Route("health", "health", GET, PUBLIC, health),
        Route("openapi", "openapi.json", GET, PUBLIC, openapi),
    ]
    return routes
