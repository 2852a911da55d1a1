"""Blobs, containers and shares: the routes, and how the app builds their stores and services."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from shared.blobs.settings import load_settings
from shared.capability import Capability
from shared.once import Once
from shared.settings import Settings
from shared.web import DELETE, FUNCTION, GET, GET_HEAD, GET_POST, POST, PUBLIC, PUT, Cursors, Operation, Route

if TYPE_CHECKING:
    from shared.blobs.routes.writing import Identifier
    from shared.blobs.store.blobs import BlobStore
    from shared.blobs.store.listings import ListingStore
    from shared.blobs.store.shares import ShareStore
    from shared.health import Probe
    from shared.storage import Storage


class Blobs(Capability, frozen=True, kw_only=True):
    """The parts of this capability that the app composes."""

    listings: Callable[[], "ListingStore"]
    link: Callable[[str, str], str]
    """The URL that opens a blob (container, name) for an hour."""


def build(
    environ: Mapping[str, str],
    storage: Callable[[], "Storage"],
    derive_key: Callable[[str], bytes],
    cursors: Cursors,
    core: Settings,
    identifier: Callable[[], "Identifier"],
) -> Blobs:
    """Connects to nothing. `derive_key` returns 32 bytes for a purpose; `core` are the settings of the core.

    `identifier` determines the type of a blob's bytes.

    Raises InvalidSetting.
    """
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

        return ShareStore(storage(), lambda: derive_key("shares"))

    @Once
    def lists() -> Mapping[str, Operation]:
        from shared.blobs.routes.listing import operations

        return operations(listings(), cursors, settings.prices)

    @Once
    def blobs() -> Mapping[str, Operation]:
        from shared.blobs.downloads import Delivery
        from shared.blobs.routes import changing, containers, opening, reading, sharing, writing

        delivery = Delivery(core.max_body_bytes, settings.inline_html, settings.storage_private, core.url, core.proxies)
        return {
            **reading.operations(blob_store(), delivery),
            **writing.operations(blob_store(), core.max_body_bytes, identifier),
            **changing.operations(blob_store()),
            **containers.operations(blob_store(), listings()),
            **sharing.operations(blob_store(), shares(), cursors, delivery),
            **opening.operations(blob_store(), shares(), delivery),
        }

    def link(container: str, name: str) -> str:
        from shared.storage.blobs import Grant

        now = datetime.now(UTC)
        return blob_store().signed_url(Grant(container, name, "r", now + timedelta(hours=1)), now)[0]

    def probes() -> Iterator["Probe"]:
        from shared.health import Probe

        yield Probe("blob-storage", "storage", lambda: listings().ping())

    return Blobs(
        routes=(
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
            Route("open-share", "s/{id}/{*name}", ("GET", "HEAD", "POST"), PUBLIC, blobs),
            Route("list-shares", "shares", GET, FUNCTION, blobs),
            Route("revoke-share", "shares/{id}", DELETE, FUNCTION, blobs),
        ),
        expiring={"shares": shares},
        probes=probes,
        listings=listings,
        link=link,
    )
