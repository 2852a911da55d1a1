"""`copy-blob`, `set-tier` and `restore-blob`."""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.blobs.routes.fields import (
    IN_CONTAINER,
    NewName,
    RehydratePriority,
    Snapshot,
    Tier,
    VersionId,
    check_version,
)
from shared.blobs.store.blobs import BlobStore, Target
from shared.errors import PreconditionFailed, StorageUnavailable
from shared.storage.errors import OUTAGES, BlobConflict, UnknownBlob, UnsupportedByAccount
from shared.storage.fields import BlobName, ContainerName
from shared.storage.names import check_name
from shared.web import Example, Fields, Operation, rfc3339
from shared.web.fields import time_limit


class CopyBlobRequest(Fields, frozen=True):
    """The blob to copy, and the name of the copy, within the storage account."""

    container: ContainerName
    name: BlobName
    to_name: NewName
    to_container: Annotated[ContainerName, Meta(description="Default: the same container.")] | None = None
    version_id: VersionId | None = None
    snapshot: Snapshot | None = None
    overwrite: Annotated[bool, Meta(description="Replaces a blob that exists. Without it, the copy is 412.")] = False
    tier: Tier | None = None
    rehydrate_priority: RehydratePriority | None = None
    timeout_ms: Annotated[int, time_limit(220_000, 100)] = 10_000


class CopyBlobResponse(msgspec.Struct, frozen=True):
    """The copy. While its status is `pending`, storage is still copying: see list-blobs with `include=copy`."""

    container: str
    name: str
    status: Literal["success", "pending"]
    copy_id: str
    etag: str
    last_modified: str
    url: str


def copy_blob(blobs: BlobStore, request: CopyBlobRequest) -> CopyBlobResponse:
    check_version(request.version_id, request.snapshot)
    check_name(request.to_name, "to_name")
    source = Target(request.container, request.name, request.version_id, request.snapshot)
    target = Target(request.to_container or request.container, request.to_name)
    head = blobs.head(source)
    if request.tier not in ("Hot", "Cool", "Cold"):
        head.check_readable()  # An archived blob can only be copied to a tier that can be read.
    copied = blobs.copy(
        source,
        target,
        overwrite=request.overwrite,
        tier=request.tier,
        priority=request.rehydrate_priority,
        now=datetime.now(UTC),
    )
    status = copied.headers.get("x-ms-copy-status")
    if status not in ("success", "pending"):
        raise StorageUnavailable(f"Blob Storage reports an unknown state of the copy: {status}.")
    return CopyBlobResponse(
        target.container,
        target.name,
        "success" if status == "success" else "pending",
        copied.headers.get("x-ms-copy-id", ""),
        copied.etag,
        rfc3339(copied.last_modified),
        blobs.url(target.container, target.name),
    )


class SetTierRequest(Fields, frozen=True):
    """A blob, and the tier to move it to."""

    container: ContainerName
    name: BlobName
    tier: Tier
    rehydrate_priority: RehydratePriority | None = None


class SetTierResponse(msgspec.Struct, frozen=True):
    """`pending` where the blob leaves the archive tier, which takes hours."""

    container: str
    name: str
    tier: Tier
    pending: bool


def set_tier(blobs: BlobStore, request: SetTierRequest) -> SetTierResponse:
    pending = blobs.set_tier(Target(request.container, request.name), request.tier, request.rehydrate_priority)
    return SetTierResponse(request.container, request.name, request.tier, pending)


class RestoreBlobRequest(Fields, frozen=True):
    """The blob to restore."""

    container: ContainerName
    name: BlobName


class RestoreBlobResponse(msgspec.Struct, frozen=True):
    """The blob, which exists again."""

    container: str
    name: str
    size: int
    etag: str
    last_modified: str
    url: str


def restore_blob(blobs: BlobStore, request: RestoreBlobRequest) -> RestoreBlobResponse:
    restored = blobs.restore(Target(request.container, request.name), datetime.now(UTC))
    return RestoreBlobResponse(
        request.container,
        request.name,
        restored.size,
        restored.etag,
        rfc3339(restored.last_modified),
        blobs.url(request.container, request.name),
    )


def operations(blobs: BlobStore) -> dict[str, Operation]:
    """The functions that change stored blobs without transferring their bytes."""
    return {
        "copy-blob": Operation(
            handle=partial(copy_blob, blobs),
            request=CopyBlobRequest,
            response=CopyBlobResponse,
            summary="Copy a blob, a version or a snapshot within the storage account; its bytes do not leave it.\n"
            "An archived blob is copied with `tier` Hot, Cool or Cold, which takes hours (`rehydrate_priority`).",
            errors=(*IN_CONTAINER, UnknownBlob, PreconditionFailed, BlobConflict, UnsupportedByAccount, *OUTAGES),
            examples=(
                Example(
                    "A file",
                    {"container": "samples", "name": "welcome.txt", "to_name": "copies/welcome.txt", "overwrite": True},
                ),
            ),
            writes=True,
            timeout_bounds_call=True,
        ),
        "set-tier": Operation(
            handle=partial(set_tier, blobs),
            request=SetTierRequest,
            response=SetTierResponse,
            summary="Move a blob to another tier: Hot, Cool, Cold or Archive.\nCooler tiers cost less to keep and more "
            "to read, and are billed for at least 30, 90 and 180 days. An archived blob cannot be read.",
            errors=(*IN_CONTAINER, UnknownBlob, BlobConflict, UnsupportedByAccount, *OUTAGES),
            examples=(Example("A file", {"container": "samples", "name": "welcome.txt", "tier": "Hot"}),),
            writes=True,
        ),
        "restore-blob": Operation(
            handle=partial(restore_blob, blobs),
            request=RestoreBlobRequest,
            response=RestoreBlobResponse,
            summary="Bring back a deleted blob.\nWhere the account keeps versions, the newest becomes the blob; where "
            "it has soft delete, the deleted blob returns with its snapshots.",
            errors=(*IN_CONTAINER, UnknownBlob, BlobConflict, UnsupportedByAccount, *OUTAGES),
            examples=(Example("A file", {"container": "samples", "name": "hello.txt"}),),
            writes=True,
        ),
    }
