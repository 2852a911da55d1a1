"""The edge of the blob functions: their fields, their answers, and one short function a route."""

from collections.abc import Mapping

from shared.blobs.routes import containers, listing, objects, shares
from shared.blobs.routes.objects import Passing
from shared.blobs.store import BlobStore, ListingStore, ShareStore
from shared.web import Route

__all__ = ["Passing", "routes"]


def routes(
    listings: ListingStore, blobs: BlobStore, links: ShareStore, passing: Passing, prices: Mapping[str, float]
) -> list[Route]:
    """All functions on blobs."""
    return [
        *listing.routes(listings, prices),
        *objects.routes(blobs, passing),
        *containers.routes(blobs, listings),
        *shares.routes(blobs, links, passing),
    ]
