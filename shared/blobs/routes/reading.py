"""`get-blob`: the bytes of a blob, or the way to them."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.blobs.conditions import Conditions, evaluate, parse_range
from shared.blobs.downloads import (
    Delivery,
    Plan,
    blob_disposition,
    blob_headers,
    check_destination,
    is_visible,
    plan,
    state_headers,
)
from shared.blobs.errors import BlobTooLarge, ScriptDestination
from shared.blobs.routes.fields import (
    IN_CONTAINER,
    Header,
    PathName,
    Snapshot,
    VersionId,
    blob_name,
    check_version,
)
from shared.blobs.store.blobs import BlobStore, Found, Target
from shared.errors import PreconditionFailed
from shared.storage.blobs import Grant
from shared.storage.errors import OUTAGES, BlobConflict, RangeNotSatisfiable, UnknownBlob, UnsupportedByAccount
from shared.storage.fields import ContainerName
from shared.web import Example, Fields, Operation, Request, Response, rfc3339

REDIRECT_MINUTES = 5
"""How long the URL of a redirect is valid."""


class GetBlobRequest(Fields, frozen=True):
    """The blob to get, and the conditions for it."""

    container: ContainerName
    name: PathName | None = None
    version_id: VersionId | None = None
    snapshot: Snapshot | None = None
    redirect: Annotated[
        bool,
        Meta(
            description="Over the size that passes through: true responds with 307, false with 200 and the URL as "
            "JSON. Use false if you send your key as a header: clients repeat their headers at the location."
        ),
    ] = True
    range: Header | None = None
    if_match: Header | None = None
    if_none_match: Header | None = None
    if_modified_since: Header | None = None
    if_unmodified_since: Header | None = None
    if_range: Header | None = None


class BlobLocation(msgspec.Struct, frozen=True):
    """The URL at which to get the bytes of a large blob."""

    url: str
    expires: str
    size: int
    etag: str


def get_blob(blobs: BlobStore, delivery: Delivery, fields: GetBlobRequest, request: Request) -> Response:
    check_destination(request.headers)
    check_version(fields.version_id, fields.snapshot)
    target = Target(fields.container, blob_name(fields.name, request), fields.version_id, fields.snapshot)
    conditions = Conditions(
        fields.if_match, fields.if_none_match, fields.if_modified_since, fields.if_unmodified_since, fields.if_range
    )
    wanted = parse_range(fields.range)
    blob: Found
    if request.method == "GET" and conditions.is_empty and (wanted is None or wanted.suffix is None):
        # Most calls: one request to the storage account, which can do all that they need.
        first, last = (wanted.first, wanted.last) if wanted else (0, None)
        blob = blobs.read(target, most=delivery.most, first=first, count=None if last is None else last - first + 1)
        if blob.body is not None:
            if wanted is not None and not blob.body:
                raise RangeNotSatisfiable(blob.size)  # Azurite sends an empty range after the end.
            is_part = wanted is not None
            chosen = Plan("part" if is_part else "whole", first, first + len(blob.body) - 1)
            return bytes_response(blob, target.name, chosen, delivery)
    else:
        blob = blobs.head(target)
        if request.method == "HEAD":
            if evaluate(conditions, blob.state, reading=True) == "not-modified":
                return Response(304, headers=state_headers(blob.headers))
            headers = _headers(blob, target.name, delivery) | {"content-length": str(blob.size)}
            return Response(200, headers=headers)
    chosen = plan(conditions, fields.range, blob.state, delivery)
    if chosen.kind == "not-modified":
        return Response(304, headers=state_headers(blob.headers))
    blob.check_readable()
    if chosen.kind == "redirect":
        return _location(blobs, delivery, target, blob, redirect=fields.redirect)
    blob = read_planned(blobs, target, blob, chosen, delivery)
    return bytes_response(blob, target.name, chosen, delivery)


def read_planned(blobs: BlobStore, target: Target, head: Found, chosen: Plan, delivery: Delivery) -> Found:
    """The bytes of a plan, of the very state that the plan was made for."""
    if not head.size:
        return Found(head.headers, b"")
    return blobs.read(target, most=delivery.most, etag=head.etag, first=chosen.first, count=chosen.length)


def bytes_response(blob: Found, name: str, chosen: Plan, delivery: Delivery) -> Response:
    """The bytes as a response: 200 for a whole blob, 206 for a part."""
    headers = _headers(blob, name, delivery)
    status = 200
    if chosen.kind == "part":
        status = 206
        headers["content-range"] = f"bytes {chosen.first}-{chosen.last}/{blob.size}"
    return Response(status, blob.body or b"", headers["content-type"], headers)


def _headers(blob: Found, name: str, delivery: Delivery) -> dict[str, str]:
    headers = blob_headers(blob.headers, name, inline_html=delivery.inline_html)
    stored = blob.headers.get("cache-control")
    if stored is not None and is_visible(stored):
        # A cache must not return the response to a caller without the key.
        headers |= {"cache-control": stored, "vary": "x-functions-key"}
    return headers


def _location(blobs: BlobStore, delivery: Delivery, target: Target, blob: Found, *, redirect: bool) -> Response:
    now = datetime.now(UTC)
    grant = Grant(
        target.container,
        target.name,
        "r",
        now + timedelta(minutes=REDIRECT_MINUTES),
        content_disposition=blob_disposition(blob.headers, target.name, inline_html=delivery.inline_html),
        version_id=target.version_id,
        snapshot=target.snapshot,
    )
    url, expires = blobs.signed_url(grant, now)
    if redirect:
        return Response(307, headers={"location": url})
    return Response.json(BlobLocation(url, rfc3339(expires), blob.size, blob.etag))


def operations(blobs: BlobStore, delivery: Delivery) -> dict[str, Operation]:
    """The function that reads a blob."""
    return {
        "get-blob": Operation(
            handle=partial(get_blob, blobs, delivery),
            request=GetBlobRequest,
            response=None,
            summary="Get a blob, or a range of it.\nBytes up to STRONGROOM_MAX_BODY_BYTES pass through. For more, the "
            "response leads to a URL at the storage account that is valid for five minutes. A browser saves a blob "
            "that it could run, such as HTML, instead of showing it.",
            errors=(
                *IN_CONTAINER,
                UnknownBlob,
                PreconditionFailed,
                RangeNotSatisfiable,
                BlobConflict,
                BlobTooLarge,
                ScriptDestination,
                UnsupportedByAccount,
                *OUTAGES,
            ),
            examples=(Example("A file", {"container": "samples", "name": "welcome.txt", "redirect": False}),),
            statuses={
                200: "The blob; or, with redirect=false and a large blob, its `url`, `expires`, `size` and `etag`.",
                206: "The range that Content-Range names.",
                304: "The blob has not changed, by If-None-Match or If-Modified-Since.",
                307: "The blob is too large to pass through. The location is valid for five minutes.",
            },
            media_types=("*/*",),
            headers=("range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"),
            raw=True,
        )
    }
