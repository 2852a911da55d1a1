"""All that this capability says to Blob and Table Storage. No error of a library leaves it."""

from shared.blobs.store.blobs import ANY, BlobStore, Condition, Found, unsatisfiable
from shared.blobs.store.listings import ListingStore
from shared.blobs.store.shares import ShareStore

__all__ = ["ANY", "BlobStore", "Condition", "Found", "ListingStore", "ShareStore", "unsatisfiable"]
