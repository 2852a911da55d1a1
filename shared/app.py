"""Composes the app: settings → storage → stores → the route table. Building it connects to nothing.

The table below is all that indexing needs, so no capability is loaded before the first call of one of its functions.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from shared.errors import StrongroomError
from shared.settings import Settings
from shared.storage import Storage
from shared.web import Access, Operation, Route

if TYPE_CHECKING:
    from shared.blobs.store.blobs import BlobStore
    from shared.blobs.store.listings import ListingStore
    from shared.blobs.store.shares import ShareStore
    from shared.passwords.store import UserStore
    from shared.signing.encryption import NamedKeys
    from shared.signing.store import KeyStore
    from shared.sql.databases import Databases
    from shared.sql.store.files import Files
    from shared.sql.store.queries import QueryStore

Made = TypeVar("Made")

GET, POST, GET_POST, PATCH, DELETE = ("GET",), ("POST",), ("GET", "POST"), ("PATCH",), ("DELETE",)
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


class App(NamedTuple):
    """The app: its routes, in the order of their documentation, and what is done once a day."""

    routes: list[Route]
    purge: Callable[[datetime], None]
    """Removes what is past its time: deleted keys, spent links, counters of wrong passwords. Where one kind cannot be
    removed now, the others still are, before its error is raised."""


def build(settings: Settings) -> App:
    """The app with these settings."""
    storage = Once(lambda: Storage(settings.storage))

    @Once
    def keys() -> "KeyStore":
        from shared.signing.master import master_key
        from shared.signing.store import KeyStore

        return KeyStore(
            storage(), master_key(settings.master_key, settings.storage.client_id), settings.key_cache_seconds
        )

    @Once
    def named_keys() -> "NamedKeys":
        from shared.signing.encryption import NamedKeys

        return NamedKeys(keys())

    @Once
    def files() -> "Files":
        from shared.sql.store.files import Files

        return Files(storage())

    @Once
    def databases() -> "Databases":
        from shared.sql.databases import Databases

        return Databases(settings.databases, lambda scope: storage().token(scope), files())

    @Once
    def query_store() -> "QueryStore":
        from shared.sql.store.queries import QueryStore

        return QueryStore(storage())

    @Once
    def listings() -> "ListingStore":
        from shared.blobs.store.listings import ListingStore

        return ListingStore(storage())

    @Once
    def blob_store() -> "BlobStore":
        from shared.blobs.store.blobs import BlobStore

        return BlobStore(storage())

    @Once
    def user_store() -> "UserStore":
        from shared.passwords.store import UserStore

        return UserStore(storage())

    @Once
    def share_store() -> "ShareStore":
        from shared.blobs.store.shares import ShareStore

        return ShareStore(storage())

    @Once
    def signing() -> Mapping[str, Operation]:
        from shared.signing.routes import operations

        return operations(keys())

    @Once
    def encryption() -> Mapping[str, Operation]:
        from shared.signing.cipher_routes import operations

        return operations(keys())

    @Once
    def key_management() -> Mapping[str, Operation]:
        from shared.signing.key_routes import operations

        return operations(keys())

    @Once
    def passwords() -> Mapping[str, Operation]:
        from shared.passwords.accounts import Accounts
        from shared.passwords.admission import HashingThreads
        from shared.passwords.hashing import PROFILES
        from shared.passwords.pepper import Pepper
        from shared.passwords.policy import Policy
        from shared.passwords.routes import operations

        ours = settings.passwords
        accounts = Accounts(
            user_store(),
            HashingThreads(settings.hash_memory_mib),
            Pepper(named_keys(), ours.pepper_key),
            Policy(ours.min_length, ours.min_length_with_second_factor, ours.service_names),
            PROFILES[ours.profile],
        )
        return operations(accounts)

    def link(container: str, name: str) -> str:
        """A URL that opens a blob for an hour."""
        from shared.blobs.sas import Grant

        now = datetime.now(UTC)
        https_only = storage().account.blob_url.startswith("https:")
        grant = Grant(container, name, "read", now + timedelta(hours=1), https_only)
        return blob_store().signed_url(grant, now)[0]

    @Once
    def sql() -> Mapping[str, Operation]:
        from shared.sql.routes import operations

        return operations(databases(), query_store(), files(), link)

    @Once
    def lists() -> Mapping[str, Operation]:
        from shared.blobs.routes.listing import operations

        return operations(listings(), settings.blob_prices)

    @Once
    def blobs() -> Mapping[str, Operation]:
        from shared.blobs.routes import containers, objects, shares

        passing = objects.Passing(settings.max_body_bytes, settings.inline_html, settings.storage_private)
        return {
            **objects.operations(blob_store(), passing),
            **containers.operations(blob_store(), listings()),
            **shares.operations(blob_store(), share_store(), passing),
        }

    @Once
    def health() -> Mapping[str, Operation]:
        from shared.health import Probe, operations

        def ping_database(name: str) -> None:
            databases().get(name).ping()

        probes = {
            "table-storage": Probe(lambda: keys().probe()),
            "master-key": Probe(lambda: keys().probe_master_key()),
            "blob-storage": Probe(lambda: listings().ping()),
        }
        if settings.passwords.pepper_key:
            probes["pepper-key"] = Probe(lambda: named_keys().current_version(settings.passwords.pepper_key))
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
        Route("encrypt", "encrypt", POST, KEY, encryption),
        Route("decrypt", "decrypt", POST, KEY, encryption),
        Route("generate-data-key", "generate-data-key", POST, KEY, encryption),
        Route("rewrap", "rewrap", POST, KEY, encryption),
        Route("create-key", "keys", POST, KEY, key_management),
        Route("import-key", "keys/import", POST, KEY, key_management),
        Route("list-keys", "keys", GET, KEY, key_management),
        Route("get-key", "keys/{name}", GET, KEY, key_management),
        Route("update-key", "keys/{name}", PATCH, KEY, key_management),
        Route("delete-key", "keys/{name}", DELETE, KEY, key_management),
        Route("rotate-key", "keys/{name}/rotate", POST, KEY, key_management),
        Route("revoke-key", "keys/{name}/revoke", POST, KEY, key_management),
        Route("restore-key", "keys/{name}/restore", POST, KEY, key_management),
        Route("export-key", "keys/{name}/export", POST, KEY, key_management),
        Route("rotate-master-key", "rotate-master-key", POST, KEY, key_management),
        Route("jwks", "jwks", GET, PUBLIC, key_management),
        Route("hash-password", "hash-password", POST, KEY, passwords),
        Route("verify-password", "verify-password", POST, KEY, passwords),
        Route("check-password", "check-password", POST, KEY, passwords),
        Route("change-password", "change-password", POST, KEY, passwords),
        Route("reset-password", "reset-password", POST, KEY, passwords),
        Route("rename-user", "rename-user", POST, KEY, passwords),
        Route("import-user", "users/import", POST, KEY, passwords),
        Route("list-users", "users", GET, KEY, passwords),
        Route("get-user", "users/{user_id}", GET, KEY, passwords),
        Route("delete-user", "users/{user_id}", DELETE, KEY, passwords),
        Route("rewrap-passwords", "rewrap-passwords", POST, KEY, passwords),
        Route("query-sql", "query-sql", GET_POST, KEY, sql),
        Route("execute-sql", "execute-sql", POST, KEY, sql),
        Route("list-databases", "databases", GET, KEY, sql),
        Route("export-sql", "export-sql", POST, KEY, sql),
        Route("save-query", "queries/{query_name}", ("PUT",), KEY, sql),
        Route("list-queries", "queries", GET, KEY, sql),
        Route("run-query", "queries/{query_name}", GET_POST, KEY, sql),
        Route("delete-query", "queries/{query_name}", ("DELETE",), KEY, sql),
        Route("public-query", "public/{query_name}", GET, PUBLIC, sql),
        Route("list-blobs", "list-blobs", GET_POST, KEY, lists),
        Route("summarize-blobs", "summarize-blobs", POST, KEY, lists),
        Route("get-blob", "blobs/{container}/{*name}", ("GET", "HEAD"), KEY, blobs),
        Route("put-blob", "blobs/{container}/{*name}", ("PUT",), KEY, blobs),
        Route("delete-blob", "blobs/{container}/{*name}", ("DELETE",), KEY, blobs),
        Route("copy-blob", "copy-blob", POST, KEY, blobs),
        Route("set-tier", "set-tier", POST, KEY, blobs),
        Route("restore-blob", "restore-blob", POST, KEY, blobs),
        Route("create-container", "containers", POST, KEY, blobs),
        Route("delete-container", "containers/{container}", ("DELETE",), KEY, blobs),
        Route("share-blob", "share-blob", POST, KEY, blobs),
        Route("open-share", "s/{id}/{*name}", ("GET", "HEAD"), PUBLIC, blobs),
        Route("list-shares", "shares", GET, KEY, blobs),
        Route("revoke-share", "shares/{id}", ("DELETE",), KEY, blobs),
        Route("live", "live", GET, PUBLIC, health),
        Route("health", "health", GET, PUBLIC, health),
        Route("openapi", "openapi.json", GET, PUBLIC, openapi),
    ]

    def purge(now: datetime) -> None:
        failures = []
        for store in (keys, user_store, share_store):
            try:
                store().purge(now)
            except StrongroomError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    return App(routes, purge)
