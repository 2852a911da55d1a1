"""Composes the app: settings → storage → one line per capability → the route table. It connects to nothing.

Indexing needs only the route table, so a capability loads at the first call of one of its functions.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from shared.blobs import capability as blobs_capability
from shared.capability import Capability, Expiring
from shared.console import capability as console_capability
from shared.data import capability as data_capability
from shared.errors import StrongroomError
from shared.identity import capability as identity_capability
from shared.memory import instance_memory
from shared.models import capability as models_capability
from shared.once import Once
from shared.passwords import capability as passwords_capability
from shared.sandbox.settings import load_settings as load_sandbox_settings
from shared.settings import load_settings
from shared.signing import capability as signing_capability
from shared.sql import capability as sql_capability
from shared.web import FUNCTION, GET, GET_HEAD, PUBLIC, Operation, Request, Response, Route
from shared.web.respond import log, respond

if TYPE_CHECKING:
    from shared.blobs.routes.writing import Identifier
    from shared.idempotency import Idempotency
    from shared.identity.checking import CallerLists
    from shared.sandbox.process import Sandbox
    from shared.storage import Row, Storage


class App(msgspec.Struct, frozen=True):
    """The app: its routes, in the order of their documentation, its responses and its daily task."""

    routes: list[Route]
    respond: Callable[[Route, Request], Response]
    purge: Callable[[datetime], None]
    """Removes expired records: deleted keys, spent shares, counters of wrong passwords, idempotency records. If one
    kind cannot be removed now, the others still are, before its error is raised."""


def build(environ: Mapping[str, str]) -> App:
    """The app with the settings in `environ`. Raises InvalidSetting, naming the variable."""
    settings = load_settings(environ)

    @Once
    def storage() -> "Storage":
        from shared.storage import Storage

        return Storage(settings.storage)

    sandbox_settings = load_sandbox_settings(environ, instance_memory())

    @Once
    def sandbox() -> "Sandbox":
        from shared.sandbox.process import Sandbox

        return Sandbox(sandbox_settings)

    def callers() -> "CallerLists":
        return identity.callers()

    signing = signing_capability.build(environ, storage, callers)

    def removed(rows: "Sequence[Row]") -> None:
        identity.removed(rows)

    passwords = passwords_capability.build(
        environ,
        storage,
        signing.named_keys,
        signing.derive_key,
        signing.cursors,
        removed,
    )
    identity = identity_capability.build(
        environ,
        storage,
        passwords.accounts,
        lambda: signing.own_key("_tokens", "P-256"),
        signing.derive_key,
        settings,
    )

    def identifier() -> "Identifier":
        return models.identifier()

    blobs = blobs_capability.build(environ, storage, signing.derive_key, signing.cursors, settings, identifier)
    data = data_capability.build(storage, blobs.listings, sandbox)
    sql = sql_capability.build(
        environ, storage, signing.derive_key, callers, signing.cursors, blobs.link, sandbox, data.queries
    )
    models = models_capability.build(
        environ,
        storage,
        Once(lambda: signing.own_key("_models", "Ed25519")),
        signing.derive_key,
        signing.cursors,
        sandbox,
        settings.max_body_bytes,
        data.queries,
        sql.parquet,
    )

    def blob_url() -> str:
        from shared.storage.account import account_of
        from shared.storage.errors import StorageNotConfigured

        try:
            return account_of(settings.storage).blob_url
        except StorageNotConfigured:
            return ""

    console = console_capability.build(environ, blob_url)

    capabilities: tuple[Capability, ...] = (signing, passwords, identity, sql, data, blobs, console, models)

    @Once
    def health() -> Mapping[str, Operation]:
        from shared.health import operations

        probes = [probe for each in capabilities for probe in each.probes()]
        return operations(probes, lambda: chain.from_iterable(each.warnings() for each in capabilities))

    @Once
    def openapi() -> Mapping[str, Operation]:
        from shared.web.openapi import operations

        return operations(routes)

    @Once
    def idempotency() -> "Idempotency":
        from shared.idempotency import Idempotency

        return Idempotency(storage, signing.derive_key)

    routes = [
        *chain.from_iterable(each.routes for each in capabilities),
        Route("live", "live", GET_HEAD, PUBLIC, health),
        Route("health", "health", GET_HEAD, PUBLIC, health),
        Route("health-details", "health/details", GET, FUNCTION, health),
        Route("openapi", "openapi.json", GET, PUBLIC, openapi),
    ]

    def purge(now: datetime) -> None:
        stores: dict[str, Callable[[], Expiring]] = {}
        for each in capabilities:
            stores |= each.expiring
        stores["idempotency"] = idempotency
        removed: dict[str, int] = {}
        failures = []
        for name, store in stores.items():
            try:
                removed[name] = store().purge(now)
            except StrongroomError as error:
                failures.append(error)
        log.info('{"function":"purge","removed":%s}', msgspec.json.encode(removed).decode())
        if failures:
            raise failures[0]

    return App(
        routes,
        partial(
            respond,
            max_body_bytes=settings.max_body_bytes,
            call_seconds=settings.call_seconds,
            replays=idempotency,
        ),
        purge,
    )
