"""The edge of the blob functions: their fields, their answers, and one short function a route."""

from collections.abc import Mapping

from shared.blobs.routes import containers, listing, objects, shares
from shared.blobs.routes.objects import Passing
from shared.blobs.store import BlobStore, ListingStore, ShareStore
from shared.web import Operation

__all__ = ["Passing", "operations"]


def operations(
    listings: ListingStore, blobs: BlobStore, links: ShareStore, passing: Passing, prices: Mapping[str, float]
) -> dict[str, Operation]:
    """All functions on blobs."""
    return {
        **listing.operations(listings, prices),
        **objects.operations(blobs, passing),
        **containers.operations(blobs, listings),
        **shares.operations(blobs, links, passing),
    }
