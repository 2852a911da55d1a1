"""Errors of the storage package that are not in `shared.errors`, because no other package raises them."""

from shared.errors import Conflict, StorageUnavailable, StrongroomError


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
