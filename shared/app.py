"""Composes the app: settings → storage → one line per capability → the route table. It connects to nothing.

Indexing needs only the route table, so a capability loads at the first call of one of its functions.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import NamedTuple

from shared.blobs import capability as blobs_capability
from shared.errors import StrongroomError
from shared.health import Probe
from shared.once import Once
from shared.passwords import capability as passwords_capability
from shared.settings import load_settings
from shared.signing import capability as signing_capability
from shared.sql import capability as sql_capability
from shared.storage import Storage
from shared.web import GET, PUBLIC, Operation, Route


class App(NamedTuple):
    """The app: its routes, in the order of their documentation, and its daily task."""

    routes: list[Route]
    purge: Callable[[datetime], None]
    """Removes expired records: deleted keys, spent shares, counters of wrong passwords. Where one kind cannot be
    removed now, the others still are, before its error is raised."""
    max_body_bytes: int


def build(environ: Mapping[str, str]) -> App:
    """The app with the settings in `environ`. Raises InvalidSetting, naming the variable."""
    settings = load_settings(environ)
    storage = Once(lambda: Storage(settings.storage))
    signing = signing_capability.build(environ, storage)
    passwords = passwords_capability.build(environ, storage, signing.named_keys)
    blobs = blobs_capability.build(environ, storage, settings.max_body_bytes)
    sql = sql_capability.build(environ, storage, blobs.link)

    @Once
    def health() -> Mapping[str, Operation]:
        from shared.health import operations

        probes = {
            "table-storage": Probe(lambda: signing.keys().probe()),
            "master-key": Probe(lambda: signing.keys().probe_master_key()),
            "blob-storage": Probe(lambda: blobs.listings().ping()),
        }
        if passwords.pepper_key:
            probes["pepper-key"] = Probe(lambda: signing.named_keys().current_version(passwords.pepper_key))
        for name in sql.names:
            probes[f"database-{name}"] = Probe(partial(sql.ping, name), needed=False)
        return operations(probes)

    @Once
    def openapi() -> Mapping[str, Operation]:
        from shared.web.openapi import operations

        return operations(routes)

    routes = [
        *signing.routes,
        *passwords.routes,
        *sql.routes,
        *blobs.routes,
        Route("live", "live", GET, PUBLIC, health),
        Route("health", "health", GET, PUBLIC, health),
        Route("openapi", "openapi.json", GET, PUBLIC, openapi),
    ]

    def purge(now: datetime) -> None:
        failures = []
        for store in (signing.keys, passwords.users, blobs.shares):
            try:
                store().purge(now)
            except StrongroomError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    return App(routes, purge, settings.max_body_bytes)
