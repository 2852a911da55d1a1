"""The errors of blobs, containers and shares."""

from shared.errors import Conflict, NotFound, Refused, StrongroomError


class UnknownBlob(NotFound):
    """The container has no blob of this name."""

    code = "unknown-blob"
    title = "There is no such blob"


class UnknownShare(NotFound):
    """No share has this id: it never had, was revoked or spent, or is over."""

    code = "unknown-share"
    title = "There is no such share"


class ContainerExists(Conflict):
    """A container of this name is there already, or still being deleted."""

    code = "container-exists"
    title = "There is such a container already"


class ContainerNotEmpty(Conflict):
    """A container that still holds blobs is deleted only when that is said."""

    code = "container-not-empty"
    title = "The container is not empty"


class BlobConflict(Conflict):
    """The blob is in a state that does not allow this; `detail` says which."""

    code = "blob-conflict"
    title = "The blob's state does not allow this"


class RangeNotSatisfiable(StrongroomError):
    """The range begins behind the end (RFC 9110, section 15.5.17)."""

    status = 416
    code = "range-not-satisfiable"
    title = "The range lies outside of what is there"


class BlobTooLarge(Refused):
    """More bytes than are passed through a function, where no link can take its place."""

    code = "blob-too-large"
    title = "The blob is too large to pass through this function"


class UnsupportedByAccount(Refused):
    """The storage account does not offer this, or does not have it switched on."""

    code = "unsupported-by-account"
    title = "The storage account does not support this"
