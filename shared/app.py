"""Composes the app: settings → storage → stores → the route table. Building it connects to nothing."""

from shared import health
from shared.blobs.routes import routes as blob_routes
from shared.blobs.store import BlobStore
from shared.passwords.admission import HashingThreads
from shared.passwords.routes import routes as password_routes
from shared.settings import Settings
from shared.signing.master import master_key
from shared.signing.routes import routes as signing_routes
from shared.signing.store import KeyStore
from shared.sql.databases import Databases
from shared.sql.routes import routes as sql_routes
from shared.storage import Storage
from shared.web import Route
from shared.web.openapi import openapi_route


def build(settings: Settings) -> list[Route]:
    """Every route of the app, in the order of its documentation."""
    storage = Storage(settings.storage)
    keys = KeyStore(storage, master_key(settings.master_key), settings.key_cache_seconds)
    probes = {"table-storage": health.Probe(keys.probe), "master-key": health.Probe(keys.probe_master_key)}
    databases = Databases(settings.databases, storage.token)
    blobs = BlobStore(storage)
    probes["blob-storage"] = health.Probe(blobs.ping)
    probes |= {f"database-{each.name}": health.Probe(each.ping, needed=False) for each in databases}
    routes: list[Route] = [
        *health.routes(probes),
        *signing_routes(keys),
        *password_routes(HashingThreads(settings.hash_memory_mib)),
        *sql_routes(databases),
        *blob_routes(blobs),
    ]
    return [*routes, openapi_route(routes)]
