"""`put-blob` and `delete-blob`."""

import base64
import hashlib
import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from shared.blobs.conditions import Conditions, check_for_write
from shared.blobs.downloads import is_visible
from shared.blobs.errors import ContentMismatch
from shared.blobs.media_types import FORM_TYPE, essence, implied
from shared.blobs.routes.fields import (
    IN_CONTAINER,
    NEW_NAME,
    Header,
    Metadata,
    PathName,
    Tier,
    blob_name,
    check_metadata,
)
from shared.blobs.store.blobs import BlobStore, Properties, Target
from shared.errors import BodyTooLarge, PreconditionFailed, invalid_field
from shared.storage.errors import OUTAGES, BlobConflict, UnknownBlob, UnsupportedByAccount
from shared.storage.fields import ContainerName
from shared.web import Example, Fields, Operation, Request, Response, rfc3339

_NEW_NAME = re.compile(NEW_NAME)
_METADATA_KEY = re.compile(r"[a-z_][a-z0-9_]{0,127}")
_REFUSED = re.compile(
    r"x-ms-(blob-(?!type\Z).*|copy-.*|encryption.*|expiry-.*|if-.*|immutability-.*|lease-.*|legal-hold|source-.*"
    r"|structured-.*|tags)"
)
"""Headers of Blob Storage that would mean something there, and that this function does not carry out."""

StoredHeader = Annotated[str, Meta(min_length=1, max_length=1024)]


TYPE_KEY = "strongroom_type"
"""The metadata of a blob whose content was identified."""


class Identified(Protocol):
    """The type of a blob's bytes."""

    @property
    def label(self) -> str:
        """The name of the type, such as `png`."""
        ...

    @property
    def mime_type(self) -> str:
        """Its media type."""
        ...

    @property
    def mismatch(self) -> bool:
        """Whether it contradicts the name or the Content-Type."""
        ...


class Identifier(Protocol):
    """Identifies bytes."""

    def identify(self, data: bytes, name: str, content_type: str) -> Identified:
        """Identify the type of `data`, and compare it with a name and a Content-Type."""
        ...


class PutBlobRequest(Fields, frozen=True):
    """A blob, its properties, and the conditions for storing it; the body is its bytes."""

    container: ContainerName
    name: PathName | None = None
    tier: Annotated[Tier, Meta(description="Default: the account's default tier.")] | None = None
    metadata: Metadata | None = None
    identify: (
        Annotated[
            Literal["mark", "refuse"],
            Meta(
                description="`mark` stores the type of the content as the metadata `strongroom_type`; `refuse` stores "
                "nothing if the content contradicts the name's extension or the Content-Type (422)."
            ),
        ]
        | None
    ) = None
    content_type: (
        Annotated[str, Meta(max_length=256, description="Default: the type that the name's extension implies.")] | None
    ) = None
    content_encoding: StoredHeader | None = None
    content_language: StoredHeader | None = None
    content_disposition: StoredHeader | None = None
    cache_control: StoredHeader | None = None
    content_md5: Annotated[str, Meta(max_length=64, description="Base64, RFC 1864.")] | None = None
    x_ms_content_crc64: (
        Annotated[str, Meta(max_length=64, description="Base64, as Azure Storage computes it.")] | None
    ) = None
    x_ms_access_tier: Annotated[Tier, Meta(description="The same as `tier`, as a header.")] | None = None
    content_range: Annotated[Header, Meta(description="Refused: this function stores whole blobs.")] | None = None
    if_match: Header | None = None
    if_none_match: Header | None = None
    if_unmodified_since: Header | None = None


class PutBlobResponse(msgspec.Struct, frozen=True):
    """A blob as it was stored."""

    container: str
    name: str
    size: int
    content_type: str
    etag: str
    last_modified: str
    content_md5: str
    """Base64, as in the Content-MD5 header: a later download can be compared with it."""
    url: str


def put_blob(
    blobs: BlobStore, most: int, identifier: Callable[[], Identifier], fields: PutBlobRequest, request: Request
) -> Response:
    name = blob_name(fields.name, request)
    data = request.body
    if not _NEW_NAME.fullmatch(name):
        raise invalid_field("name", "The name has control characters. Leave them out.")
    if len(data) > most:
        raise BodyTooLarge(
            f"The blob has {len(data)} bytes, and at most {most} pass through here. Get a URL from share-blob with "
            "permissions=write, and send them there."
        )
    if fields.content_range is not None:
        raise invalid_field(
            "content_range",
            "A PUT with Content-Range would store a part as the whole blob (RFC 9110, 14.5). Leave it out.",
        )
    md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
    if fields.content_md5 is not None and fields.content_md5.strip() != md5:
        raise invalid_field(
            "content_md5", "The bytes that arrived have another MD5 than Content-MD5 says. Send them again."
        )
    if fields.x_ms_content_crc64 is not None and not is_visible(fields.x_ms_content_crc64):
        raise invalid_field("x_ms_content_crc64", "The header x-ms-content-crc64 is not base64.")
    properties = _properties(fields, name, request)
    target = Target(fields.container, name)
    conditions = Conditions(fields.if_match, fields.if_none_match, if_unmodified_since=fields.if_unmodified_since)
    check_for_write(conditions)
    if fields.identify is not None:
        identified = identifier().identify(data, name, properties.content_type)
        if fields.identify == "refuse" and identified.mismatch:
            raise ContentMismatch(
                f"The content is {identified.label} ({identified.mime_type}), which contradicts the name or the "
                "Content-Type. Correct them, or store it without identify=refuse."
            )
        if fields.identify == "mark":
            metadata = {**properties.metadata, TYPE_KEY: identified.label}
            properties = msgspec.structs.replace(properties, metadata=metadata)
    stored = blobs.put(target, data, properties, conditions, fields.x_ms_content_crc64)
    return Response.json(
        PutBlobResponse(
            fields.container,
            name,
            len(data),
            properties.content_type,
            stored.etag,
            rfc3339(stored.last_modified),
            md5,
            blobs.url(fields.container, name),
        ),
        201,
    )


def _properties(fields: PutBlobRequest, name: str, request: Request) -> Properties:
    """The headers to store with the bytes. Raises InvalidRequest for those that cannot be returned as sent."""
    content_type = fields.content_type
    if content_type is None or not content_type.strip() or essence(content_type) == FORM_TYPE:
        content_type = implied(name)
    if not is_visible(content_type) or essence(content_type) is None:
        raise invalid_field(
            "content_type", "The Content-Type is not one media type (RFC 9110, 8.3.1). Send one, such as text/plain."
        )
    for field in ("content_encoding", "content_language", "content_disposition", "cache_control"):
        value = getattr(fields, field)
        if value is not None and not is_visible(value):
            raise invalid_field(field, f"The value of {field} has characters that are not visible ASCII.")
    if fields.tier and fields.x_ms_access_tier and fields.tier != fields.x_ms_access_tier:
        raise invalid_field("tier", "The field tier and the header x-ms-access-tier name different tiers. Send one.")
    for header in request.headers:
        if _REFUSED.fullmatch(header):
            raise invalid_field(header, f"This function does not support the header {header}. Leave it out.")
    if request.headers.get("x-ms-blob-type", "BlockBlob") != "BlockBlob":
        raise invalid_field(
            "x-ms-blob-type", "This function stores block blobs only. Send x-ms-blob-type: BlockBlob, or leave it out."
        )
    return Properties(
        content_type.strip(),
        fields.content_encoding,
        fields.content_language,
        fields.content_disposition,
        fields.cache_control,
        _metadata(fields, request),
        fields.tier or fields.x_ms_access_tier,
    )


def _metadata(fields: PutBlobRequest, request: Request) -> dict[str, str]:
    prefix = "x-ms-meta-"
    in_headers = {
        name.removeprefix(prefix): value for name, value in request.headers.items() if name.startswith(prefix)
    }
    if not in_headers:
        return check_metadata(fields.metadata)
    if fields.metadata is not None:
        raise invalid_field("metadata", "Send metadata as a field, or as x-ms-meta- headers, not both.")
    for key, value in in_headers.items():
        if not _METADATA_KEY.fullmatch(key):
            raise invalid_field("metadata", f"The metadata key {key[:64]!r} is not an identifier (letters, digits, _).")
        if value and not is_visible(value):
            raise invalid_field("metadata", f"The value of the metadata key {key} is not visible ASCII.")
    return in_headers


class DeleteBlobRequest(Fields, frozen=True):
    """The blob to delete, and the conditions for it."""

    container: ContainerName
    name: PathName | None = None
    snapshots: Annotated[
        bool, Meta(description="Also deletes its snapshots. Without it, a blob that has some stays (409).")
    ] = False
    break_lease: Annotated[
        bool, Meta(description="Ends a lease on the blob first. Without it, a leased blob stays (412).")
    ] = False
    if_match: Header | None = None
    if_none_match: Header | None = None
    if_unmodified_since: Header | None = None


def delete_blob(blobs: BlobStore, fields: DeleteBlobRequest, request: Request) -> Response:
    target = Target(fields.container, blob_name(fields.name, request))
    conditions = Conditions(fields.if_match, fields.if_none_match, if_unmodified_since=fields.if_unmodified_since)
    check_for_write(conditions)
    blobs.delete(target, conditions, snapshots=fields.snapshots, break_lease=fields.break_lease)
    return Response(204)


def operations(blobs: BlobStore, most: int, identifier: Callable[[], Identifier]) -> dict[str, Operation]:
    """The functions that store and delete one blob."""
    return {
        "put-blob": Operation(
            handle=partial(put_blob, blobs, most, identifier),
            request=PutBlobRequest,
            response=PutBlobResponse,
            summary="Store a blob: the body is its bytes.\nIt is stored whole or not at all, and storage checks its "
            "MD5. `If-None-Match: *` stores it only where none exists, `If-Match` only over the one with this ETag. "
            "Content-Type, Content-Encoding, Content-Language, Content-Disposition, Cache-Control and `x-ms-meta-*` "
            "are stored and returned.",
            errors=(
                *IN_CONTAINER,
                PreconditionFailed,
                BlobConflict,
                ContentMismatch,
                UnsupportedByAccount,
                *OUTAGES,
            ),
            examples=(Example("A file", {"container": "samples", "name": "hello.txt"}),),
            statuses={201: "Stored."},
            headers=(
                "content-type",
                "content-encoding",
                "content-language",
                "content-disposition",
                "cache-control",
                "content-md5",
                "content-range",
                "x-ms-content-crc64",
                "x-ms-access-tier",
                "if-match",
                "if-none-match",
                "if-unmodified-since",
            ),
            raw=True,
            writes=True,
        ),
        "delete-blob": Operation(
            handle=partial(delete_blob, blobs),
            request=DeleteBlobRequest,
            response=None,
            summary="Delete a blob.\nWhere the account has soft delete or versions, `restore-blob` brings it back for "
            "a while.",
            errors=(*IN_CONTAINER, UnknownBlob, PreconditionFailed, BlobConflict, *OUTAGES),
            examples=(Example("A file", {"container": "samples", "name": "hello.txt"}),),
            statuses={204: "Deleted."},
            headers=("if-match", "if-none-match", "if-unmodified-since"),
            raw=True,
            writes=True,
        ),
    }
