"""Blobs, containers and shares: the routes, and how the app builds what serves them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from shared.blobs.settings import load_settings
from shared.once import Once
from shared.storage import Storage
from shared.web import DELETE, FUNCTION, GET, GET_HEAD, GET_POST, POST, PUBLIC, PUT, Cursors, Operation, Route

if TYPE_CHECKING:
    from shared.blobs.store.blobs import BlobStore
    from shared.blobs.store.listings import ListingStore
    from shared.blobs.store.shares import ShareStore


class Blobs(NamedTuple):
    """What the app takes from this capability."""

    routes: tuple[Route, ...]
    listings: Callable[[], "ListingStore"]
    shares: Callable[[], "ShareStore"]
    link: Callable[[str, str], str]
    """The URL that opens a blob (container, name) for an hour."""


def build(environ: Mapping[str, str], storage: Callable[[], Storage], cursors: Cursors, max_body_bytes: int) -> Blobs:
    """Connects to nothing. Up to `max_body_bytes` of a blob pass through the app. Raises InvalidSetting."""
    settings = load_settings(environ)

    @Once
    def listings() -> "ListingStore":
        from shared.blobs.store.listings import ListingStore

        return ListingStore(storage())

    @Once
    def blob_store() -> "BlobStore":
        from shared.blobs.store.blobs import BlobStore

        return BlobStore(storage())

    @Once
    def shares() -> "ShareStore":
        from shared.blobs.store.shares import ShareStore

        return ShareStore(storage())

    @Once
    def lists() -> Mapping[str, Operation]:
        from shared.blobs.routes.listing import operations

        return operations(listings(), cursors, settings.prices)

    @Once
    def blobs() -> Mapping[str, Operation]:
        from shared.blobs.routes import containers, objects
        from shared.blobs.routes import shares as share_routes

        passing = objects.Passing(max_body_bytes, settings.inline_html, settings.storage_private)
        return {
            **objects.operations(blob_store(), passing),
            **containers.operations(blob_store(), listings()),
            **share_routes.operations(blob_store(), shares(), cursors, passing),
        }

    def link(container: str, name: str) -> str:
        from shared.blobs.sas import Grant

        now = datetime.now(UTC)
        https_only = storage().account.blob_url.startswith("https:")
        grant = Grant(container, name, "read", now + timedelta(hours=1), https_only)
        return blob_store().signed_url(grant, now)[0]

    return Blobs(
        (
            Route("list-blobs", "list-blobs", GET_POST, FUNCTION, lists),
            Route("summarize-blobs", "summarize-blobs", POST, FUNCTION, lists),
            Route("get-blob", "blobs/{container}/{*name}", GET_HEAD, FUNCTION, blobs),
            Route("put-blob", "blobs/{container}/{*name}", PUT, FUNCTION, blobs),
            Route("delete-blob", "blobs/{container}/{*name}", DELETE, FUNCTION, blobs),
            Route("copy-blob", "copy-blob", POST, FUNCTION, blobs),
            Route("set-tier", "set-tier", POST, FUNCTION, blobs),
            Route("restore-blob", "restore-blob", POST, FUNCTION, blobs),
            Route("create-container", "containers", POST, FUNCTION, blobs),
            Route("delete-container", "containers/{container}", DELETE, FUNCTION, blobs),
            Route("share-blob", "share-blob", POST, FUNCTION, blobs),
            Route("open-share", "s/{id}/{*name}", GET_HEAD, PUBLIC, blobs),
            Route("list-shares", "shares", GET, FUNCTION, blobs),
            Route("revoke-share", "shares/{id}", DELETE, FUNCTION, blobs),
        ),
        listings,
        shares,
        link,
    )
