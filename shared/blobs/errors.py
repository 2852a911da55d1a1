"""The errors of blobs, containers and shares; those that storage itself reports are in `shared.storage.errors`."""

from shared.errors import Conflict, NotFound, Refused, StrongroomError


class UnknownShare(NotFound):
    """No share has this id: it never existed, was revoked or used up, or has expired."""

    code = "unknown-share"
    title = "The link does not exist"


class ContainerNotEmpty(Conflict):
    """A container that still holds blobs is deleted only with `force`."""

    code = "container-not-empty"
    title = "The container is not empty"


class BlobExists(Conflict):
    """A link that only creates would have to replace the blob."""

    code = "blob-exists"
    title = "The blob exists already"


class BlobTooLarge(Refused):
    """The blob has more bytes than a function returns or takes, and this call cannot use a link instead."""

    code = "blob-too-large"
    title = "The blob is too large to pass through this function"


class AddressUnknown(Refused):
    """The app does not know its callers' addresses, so a link cannot depend on them."""

    code = "address-unknown"
    title = "The app does not know its callers' addresses"


class ScriptDestination(StrongroomError):
    """A browser requested a blob as a script, style sheet or worker, which would run in this app's origin."""

    status = 403
    code = "script-destination"
    title = "A blob cannot be a script, a style sheet or a worker of a page"


class ContentMismatch(Refused):
    """The bytes are of another kind than the name or the Content-Type says. Nothing was stored."""

    code = "content-mismatch"
    title = "The content does not match the name"
