"""Single blobs over HTTP: `get-blob`, `put-blob`, `delete-blob`, `copy-blob`, `set-tier`, `restore-blob`."""

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.blobs.errors import BlobConflict, BlobTooLarge, RangeNotSatisfiable, UnknownBlob, UnsupportedByAccount
from shared.blobs.names import disposition
from shared.blobs.ranges import is_simple, matches, parse_range
from shared.blobs.routes.fields import (
    BlobName,
    ContainerName,
    Metadata,
    NewName,
    PathName,
    Tier,
    blob_name,
    last_modified,
)
from shared.blobs.sas import Grant
from shared.blobs.store.blobs import BlobStore, Condition, Found, unsatisfiable
from shared.errors import (
    BodyTooLarge,
    Busy,
    PreconditionFailed,
    StorageForbidden,
    StorageUnavailable,
    UnknownContainer,
    invalid_field,
)
from shared.web import Example, Fields, Operation, Request, Response

REDIRECT_MINUTES = 5
"""How long the URL is good for that a large blob is fetched from."""
COPY_MINUTES = 60
OUTAGES = (Busy, StorageUnavailable, StorageForbidden)

_NEW_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\ufffe\uffff]{1,1024}")
_PASSED = ("etag", "last-modified", "content-range", "content-encoding", "content-language")
_VISIBLE = re.compile(r"[\x20-\x7e]+")


class Passing(msgspec.Struct, frozen=True):
    """How blobs pass through the app: at most so many bytes, whether browsers may show HTML, and the network."""

    most: int
    inline_html: bool
    private: bool


Header = Annotated[str, Meta(max_length=4096)]


class GetBlob(Fields, frozen=True):
    """Which blob, and on what condition."""

    container: ContainerName
    name: PathName | None = None
    range: Header | None = None
    if_match: Header | None = None
    if_none_match: Header | None = None
    if_modified_since: Header | None = None
    if_range: Header | None = None


def get_blob(blobs: BlobStore, passing: Passing, fields: GetBlob, request: Request) -> Response:
    name = blob_name(fields.name, request)
    condition = Condition(fields.if_match, fields.if_none_match, _date(fields))
    if not (is_simple(fields.if_match) and is_simple(fields.if_none_match)) or fields.if_none_match == "*":
        # Lists, weak ETags and "none at all" are HTTP, and more than Blob Storage understands of a read.
        head = blobs.head(fields.container, name)
        etag = head.headers.get("etag", "")
        if fields.if_match and not matches(etag, fields.if_match, weak=False):
            raise PreconditionFailed("The blob has another ETag.")
        if fields.if_none_match and matches(etag, fields.if_none_match, weak=True):
            return _not_modified(head, None)
        condition = Condition(if_match=etag)
    if request.method == "HEAD":
        head = blobs.head(fields.container, name, condition)
        if head.status == 304:
            return _not_modified(head, condition.if_none_match)
        return Response(200, headers=answer_headers(head, name, passing) | {"content-length": str(head.size)})
    return read_blob(blobs, passing, fields.container, name, condition, fields.range, fields.if_range)


def read_blob(
    blobs: BlobStore,
    passing: Passing,
    container: str,
    name: str,
    condition: Condition,
    range_header: str | None = None,
    if_range: str | None = None,
) -> Response:
    """A blob or a range of it as an answer: its bytes, or where they are too many, the way to them."""
    wanted = parse_range(range_header)
    if wanted is not None and (if_range is not None or wanted.suffix is not None):
        # Blob Storage knows neither If-Range nor ranges from the end: both need the blob's ETag and size first.
        head = blobs.head(container, name, condition)
        if head.status == 304:
            return _not_modified(head, condition.if_none_match)
        etag = head.headers.get("etag", "")
        condition = Condition(if_match=etag)
        if if_range is not None and if_range.strip() not in (etag, head.headers.get("last-modified")):
            wanted = None
        elif wanted.suffix is not None:
            if not (wanted.suffix and head.size):
                raise unsatisfiable(head.size)
            wanted = wanted._replace(first=max(0, head.size - wanted.suffix), last=head.size - 1, suffix=None)
    byte_range = None if wanted is None else f"bytes={wanted.first}-{'' if wanted.last is None else wanted.last}"
    found = blobs.read(container, name, condition, byte_range=byte_range, most=passing.most)
    if found.body is None and passing.private and wanted is not None:
        # As many bytes as pass; Content-Range says which, and the ETag that they are of the same blob.
        condition = Condition(if_match=found.headers.get("etag"))
        byte_range = f"bytes={wanted.first}-{wanted.first + passing.most - 1}"
        found = blobs.read(container, name, condition, byte_range=byte_range, most=passing.most)
    if found.status == 304:
        return _not_modified(found, condition.if_none_match)
    if found.body is not None:
        headers = answer_headers(found, name, passing)
        return Response(found.status, found.body, "application/octet-stream", headers)
    if passing.private:
        raise BlobTooLarge(f"It has {found.size} bytes. Ask for ranges of it, of {passing.most} bytes at most.")
    now = datetime.now(UTC)
    kind = _content_type(found)
    url, _ = blobs.signed_url(
        Grant(
            container,
            name,
            "read",
            now + timedelta(minutes=REDIRECT_MINUTES),
            blobs.https_only,
            content_disposition=disposition(
                name, kind, found.headers.get("content-disposition", ""), inline_html=passing.inline_html
            ),
        ),
        now,
    )
    return Response(307, headers={"location": url, "referrer-policy": "no-referrer"})


def _date(fields: GetBlob) -> str | None:
    """If-Modified-Since where it counts: not beside If-None-Match, nor where it is no date (RFC 9110, 13.1.3)."""
    if fields.if_modified_since is None or fields.if_none_match is not None or not fields.if_modified_since.isascii():
        return None
    try:
        parsedate_to_datetime(fields.if_modified_since)
    except ValueError:
        return None
    return fields.if_modified_since


def _not_modified(found: Found, if_none_match: str | None) -> Response:
    headers = {each: found.headers[each] for each in ("etag", "last-modified") if each in found.headers}
    if "etag" not in headers and if_none_match not in (None, "*"):
        headers["etag"] = str(if_none_match)  # Where there was just one to be compared, it is the blob's.
    return Response(304, headers=headers)


def _content_type(found: Found) -> str:
    kind = found.headers.get("content-type", "")
    return kind if _VISIBLE.fullmatch(kind) else "application/octet-stream"


def answer_headers(found: Found, name: str, passing: Passing) -> dict[str, str]:
    """The headers of a blob, safe for a browser: what could run as a page's script is saved, not shown."""
    headers = {each: found.headers[each] for each in _PASSED if each in found.headers}
    kind = _content_type(found)
    stored = found.headers.get("content-disposition", "")
    headers |= {
        "content-type": kind,
        "content-disposition": disposition(name, kind, stored, inline_html=passing.inline_html),
        "accept-ranges": "bytes",
    }
    if not passing.inline_html and not kind.lower().startswith("application/pdf"):  # A sandbox shows no PDF.
        headers["content-security-policy"] = "sandbox; default-src 'none'"
    return headers


class PutBlob(Fields, frozen=True):
    """Which blob, of what kind, and on what condition; the body is its bytes."""

    container: ContainerName
    name: NewName | None = None
    tier: Annotated[Tier, Meta(description="Without one, the account's default.")] | None = None
    metadata: Metadata | None = None
    content_type: Annotated[str, Meta(max_length=256)] | None = None
    content_md5: Annotated[str, Meta(max_length=64, description="Base64, RFC 1864.")] | None = None
    x_ms_content_crc64: (
        Annotated[str, Meta(max_length=64, description="Base64, as Azure Storage computes it.")] | None
    ) = None
    if_match: Header | None = None
    if_none_match: Header | None = None


class StoredBlob(msgspec.Struct, frozen=True):
    """A blob as it was stored."""

    container: str
    name: str
    size: int
    content_type: str
    etag: str
    last_modified: str
    content_md5: str
    """Base64, as the Content-MD5 header has it: what a later download can be checked by."""
    url: str


def put_blob(blobs: BlobStore, most: int, fields: PutBlob, request: Request) -> Response:
    name = blob_name(fields.name, request)
    data = request.body
    if not _NEW_NAME.fullmatch(name):
        raise invalid_field("name", "has control characters.")
    for field in ("content_type", "x_ms_content_crc64"):
        if not _VISIBLE.fullmatch(getattr(fields, field) or "-"):
            raise invalid_field(field, "has characters that are not ASCII.")
    if len(data) > most:
        raise BodyTooLarge(
            f"The blob has {len(data)} bytes, and at most {most} pass through here. Ask share-blob for a URL with "
            "permissions=write, and send them there."
        )
    for header in ("if_match", "if_none_match"):
        if not is_simple(getattr(fields, header)):
            raise invalid_field(header, "is neither * nor one ETag.")
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    if fields.content_md5 is not None and fields.content_md5.strip() != md5:
        raise invalid_field("content_md5", "is not that of the bytes that arrived.")
    kind = fields.content_type or "application/octet-stream"
    stored = blobs.put(
        fields.container,
        name,
        data,
        Condition(fields.if_match, fields.if_none_match),
        content_type=kind,
        tier=fields.tier,
        metadata=fields.metadata or {},
        crc64=fields.x_ms_content_crc64,
    )
    return Response.json(
        StoredBlob(
            fields.container,
            name,
            len(data),
            kind,
            stored.get("etag", ""),
            last_modified(stored),
            md5,
            blobs.url(fields.container, name),
        ),
        201,
    )


class DeleteBlob(Fields, frozen=True):
    """Which blob, and on what condition."""

    container: ContainerName
    name: PathName | None = None
    snapshots: Annotated[
        bool, Meta(description="Whether its snapshots go, too; without it a blob with some stays.")
    ] = False
    if_match: Header | None = None


def delete_blob(blobs: BlobStore, fields: DeleteBlob, request: Request) -> Response:
    if not is_simple(fields.if_match):
        raise invalid_field("if_match", "is neither * nor one ETag.")
    name = blob_name(fields.name, request)
    blobs.delete(fields.container, name, Condition(fields.if_match), snapshots=fields.snapshots)
    return Response(204)


class CopyBlob(Fields, frozen=True):
    """From where to where, within the storage account."""

    container: ContainerName
    name: BlobName
    to_name: NewName
    to_container: Annotated[ContainerName, Meta(description="Without one, the same container.")] | None = None
    overwrite: Annotated[bool, Meta(description="Whether a blob that is there already is replaced.")] = False
    tier: Tier | None = None


class CopiedBlob(msgspec.Struct, frozen=True):
    """The copy. While its status is `pending` the service is still at it: list-blobs with `include=copy` tells more."""

    container: str
    name: str
    status: Literal["success", "pending"]
    copy_id: str
    etag: str
    last_modified: str
    url: str


def copy_blob(blobs: BlobStore, request: CopyBlob) -> CopiedBlob:
    blobs.head(request.container, request.name)
    container = request.to_container or request.container
    now = datetime.now(UTC)
    grant = Grant(request.container, request.name, "read", now + timedelta(minutes=COPY_MINUTES), blobs.https_only)
    source, _ = blobs.signed_url(grant, now)
    copied = blobs.copy(source, container, request.to_name, overwrite=request.overwrite, tier=request.tier)
    status = copied.get("x-ms-copy-status")
    if status not in ("success", "pending"):
        raise StorageUnavailable(f"Blob Storage says of the copy: {status}.")
    return CopiedBlob(
        container,
        request.to_name,
        "success" if status == "success" else "pending",
        copied.get("x-ms-copy-id", ""),
        copied.get("etag", ""),
        last_modified(copied),
        blobs.url(container, request.to_name),
    )


class SetTier(Fields, frozen=True):
    """Which blob, and where it is to rest."""

    container: ContainerName
    name: BlobName
    tier: Tier
    priority: Annotated[Literal["Standard", "High"], Meta(description="How quickly it leaves the archive.")] | None = (
        None
    )


class TierResponse(msgspec.Struct, frozen=True):
    """`pending` where a blob leaves the archive tier, which takes hours."""

    container: str
    name: str
    tier: Tier
    pending: bool


def set_tier(blobs: BlobStore, request: SetTier) -> TierResponse:
    pending = blobs.set_tier(request.container, request.name, request.tier, request.priority)
    return TierResponse(request.container, request.name, request.tier, pending)


class RestoreBlob(Fields, frozen=True):
    """Which blob."""

    container: ContainerName
    name: BlobName


class RestoredBlob(msgspec.Struct, frozen=True):
    """The blob, which is there again, with its snapshots."""

    container: str
    name: str
    size: int
    etag: str
    last_modified: str
    url: str


def restore_blob(blobs: BlobStore, request: RestoreBlob) -> RestoredBlob:
    blobs.restore(request.container, request.name)
    head = blobs.head(request.container, request.name)
    return RestoredBlob(
        request.container,
        request.name,
        head.size,
        head.headers.get("etag", ""),
        last_modified(head.headers),
        blobs.url(request.container, request.name),
    )


def operations(blobs: BlobStore, passing: Passing) -> dict[str, Operation]:
    """The functions on single blobs."""
    unknown = (UnknownContainer, UnknownBlob)
    return {
        "get-blob": Operation(
            handle=partial(get_blob, blobs, passing),
            request=GetBlob,
            response=None,
            summary="Get a blob, or a range of it.\nBytes up to STRONGROOM_MAX_BODY_BYTES pass through; for more the "
            "answer leads to a URL at the storage account, which is good for five minutes. A browser saves what it "
            "could run, such as HTML, instead of showing it.",
            errors=(*unknown, PreconditionFailed, RangeNotSatisfiable, BlobConflict, BlobTooLarge, *OUTAGES),
            examples=(Example("A file", {"container": "samples", "name": "welcome.txt"}),),
            statuses={
                200: "The blob.",
                206: "The range, which Content-Range names.",
                304: "It is as If-None-Match or If-Modified-Since has it.",
                307: "It is too large to pass through here: the location is open for five minutes.",
            },
            media_types=("*/*",),
            headers=("range", "if-match", "if-none-match", "if-modified-since", "if-range"),
            raw=True,
        ),
        "put-blob": Operation(
            writes=True,
            handle=partial(put_blob, blobs, passing.most),
            request=PutBlob,
            response=StoredBlob,
            summary="Store a blob: the body is its bytes.\nWhole or not at all, and checked by its MD5 on the way to "
            "storage. `If-None-Match: *` stores it only where there is none, `If-Match` only over the one with this "
            "ETag.",
            errors=(UnknownContainer, PreconditionFailed, BlobConflict, UnsupportedByAccount, *OUTAGES),
            examples=(Example("A file", {"container": "samples", "name": "hello.txt"}),),
            statuses={201: "Stored."},
            headers=("content-type", "content-md5", "x-ms-content-crc64", "if-match", "if-none-match"),
            raw=True,
        ),
        "delete-blob": Operation(
            writes=True,
            handle=partial(delete_blob, blobs),
            request=DeleteBlob,
            response=None,
            summary="Delete a blob.\nWhere the account has soft delete, `restore-blob` brings it back for a while.",
            errors=(*unknown, PreconditionFailed, BlobConflict, *OUTAGES),
            examples=(Example("A file", {"container": "samples", "name": "hello.txt"}),),
            statuses={204: "Deleted."},
            headers=("if-match",),
            raw=True,
        ),
        "copy-blob": Operation(
            writes=True,
            handle=partial(copy_blob, blobs),
            request=CopyBlob,
            response=CopiedBlob,
            summary="Copy a blob within the storage account, without its bytes leaving it.",
            errors=(*unknown, PreconditionFailed, BlobConflict, UnsupportedByAccount, *OUTAGES),
            examples=(
                Example(
                    "A file",
                    {"container": "samples", "name": "welcome.txt", "to_name": "copies/welcome.txt", "overwrite": True},
                ),
            ),
        ),
        "set-tier": Operation(
            writes=True,
            handle=partial(set_tier, blobs),
            request=SetTier,
            response=TierResponse,
            summary="Move a blob to another tier: Hot, Cool, Cold or Archive.\nCooler tiers cost less to keep and "
            "more to read, and are paid for 30, 90 and 180 days at least. An archived blob cannot be read.",
            errors=(*unknown, BlobConflict, UnsupportedByAccount, *OUTAGES),
            examples=(Example("A file", {"container": "samples", "name": "welcome.txt", "tier": "Hot"}),),
        ),
        "restore-blob": Operation(
            writes=True,
            handle=partial(restore_blob, blobs),
            request=RestoreBlob,
            response=RestoredBlob,
            summary="Bring back a deleted blob, where the account has soft delete.",
            errors=(*unknown, BlobConflict, UnsupportedByAccount, *OUTAGES),
            examples=(Example("A file", {"container": "samples", "name": "hello.txt"}),),
        ),
    }
