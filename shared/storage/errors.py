"""Errors of the storage package: requests that storage refuses, and writes of unknown outcome."""

from shared.errors import (
    Busy,
    Conflict,
    NotFound,
    Refused,
    StorageForbidden,
    StorageUnavailable,
    StrongroomError,
    Unavailable,
)

OUTAGES = (Busy, StorageUnavailable, StorageForbidden)
"""The errors that every function that calls storage may return."""


class StorageNotConfigured(StorageUnavailable):
    """No setting names a storage account."""

    code = "storage-not-configured"
    title = "No storage account is configured"
    advice = (
        "Set AzureWebJobsStorage or STRONGROOM_STORAGE (locally UseDevelopmentStorage=true), or its "
        "__blobServiceUri and __tableServiceUri, and restart the app."
    )


class TemporaryFailure(StorageUnavailable):
    """Storage did not respond, or responded 429 or 5xx: the same request may succeed later."""

    was_sent = True
    """Whether storage may have received the request, and so may have carried it out."""
    cut_short = False
    """Whether the call's deadline ended the wait before storage had the time that a request may take."""
    responded = False
    """Whether a response came. Without one, storage may even carry the request out later."""


class WriteUnconfirmed(StorageUnavailable):
    """The response to a write was lost, and a later read could not tell whether it was carried out."""

    code = "write-unconfirmed"
    title = "Azure Storage did not confirm the change"
    advice = (
        "The change may have been made. Read the object before you repeat the call, or repeat the same call with an "
        "Idempotency-Key."
    )


class RowConflict(Conflict):
    """A row exists already, is gone, or has changed since it was read. Nothing was written."""

    code = "changed-meanwhile"
    title = "Another call changed this at the same time"


class ReservedContainer(StrongroomError):
    """The container belongs to the Functions host, to the app or to the storage account."""

    status = 403
    code = "reserved-container"
    title = "This container is reserved"


class UnknownBlob(NotFound):
    """The container has no blob of this name."""

    code = "unknown-blob"
    title = "The blob does not exist"


class ContainerExists(Conflict):
    """A container of this name exists already, or is still being deleted."""

    code = "container-exists"
    title = "The container exists already"


class BlobConflict(Conflict):
    """The blob is in a state that does not allow this; `detail` says which."""

    code = "blob-conflict"
    title = "The blob's state does not allow this"


class RangeNotSatisfiable(StrongroomError):
    """The range begins after the end (RFC 9110, section 15.5.17)."""

    status = 416
    code = "range-not-satisfiable"
    title = "The range begins after the end of the blob"

    def __init__(self, size: int | None) -> None:
        super().__init__(
            "Request a range that begins within the blob."
            if size is None
            else f"The blob has {size} bytes. Request a range that begins before its end."
        )
        if size is not None:
            self.headers = {"content-range": f"bytes */{size}"}


class UnsupportedByAccount(Refused):
    """The storage account does not offer this, or does not have it switched on."""

    code = "unsupported-by-account"
    title = "The storage account does not support this"


class DamagedRow(Unavailable):
    """A row with a digest was not written by this app, or is not where the app wrote it."""

    code = "damaged-row"
    title = "A stored row fails its integrity check"
    advice = "Restore the row that the log names from a backup: something other than this app changed it."
