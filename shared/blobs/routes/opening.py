"""`open-share`: opens a revocable link."""

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from shared.blobs.conditions import Conditions, evaluate
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
from shared.blobs.errors import BlobTooLarge, ScriptDestination, UnknownShare
from shared.blobs.names import name_in_path
from shared.blobs.routes.reading import read_planned
from shared.blobs.shares import Share, candidates, is_allowed, is_download, is_open, spend
from shared.blobs.store.blobs import BlobStore, Found, Target
from shared.blobs.store.shares import ShareStore
from shared.errors import NotUtf8, PreconditionFailed, UnknownContainer
from shared.storage.blobs import Grant
from shared.storage.errors import OUTAGES, BlobConflict, RangeNotSatisfiable, UnknownBlob
from shared.web import Fields, Operation, Request, Response
from shared.web.addresses import caller_address

USE_SECONDS = 60
"""How long the URL is valid to which a use leads."""
PAGE_POLICY = "default-src 'none'; form-action 'self'"
# Without a referrer policy of its own, the page's form would have the origin `null`, which hosts and proxies refuse.
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<meta name="referrer" content="same-origin">
<title>Download</title>
<h1>Download</h1>
<p>This link downloads a file a limited number of times. Opening this page has used none of them.</p>
<form method="post"><button>Download</button></form>
</html>
"""

_ID = re.compile(r"[A-Za-z0-9_-]{22}")


class OpenShareRequest(Fields, frozen=True):
    """A share, and for a share of a prefix the blob below it."""

    id: str
    name: Annotated[str, Meta(description="For a link to a prefix: the rest of the blob's name.")] | None = None


def open_share(
    blobs: BlobStore, shares: ShareStore, delivery: Delivery, fields: OpenShareRequest, request: Request
) -> Response:
    check_destination(request.headers)
    now = datetime.now(UTC)
    share = _open(shares, delivery, fields.id, request, now)
    target, head = _find(blobs, share, request)
    headers = request.headers
    conditions = Conditions(
        headers.get("if-match"),
        headers.get("if-none-match"),
        headers.get("if-modified-since"),
        headers.get("if-unmodified-since"),
        headers.get("if-range"),
    )
    own = _headers(head, share, target.name, delivery)
    if request.method == "HEAD":
        if evaluate(conditions, head.state, reading=True) == "not-modified":
            return Response(304, headers=state_headers(head.headers))
        return Response(200, headers=own | {"content-length": str(head.size)})
    is_post = request.method == "POST"
    chosen = plan(
        Conditions() if is_post else conditions, None if is_post else headers.get("range"), head.state, delivery
    )
    if chosen.kind == "not-modified":
        return Response(304, headers=state_headers(head.headers))
    head.check_readable()
    if share.is_limited and not is_post and not is_download(headers):
        return _page(blobs, target, head, delivery)
    if chosen.kind != "redirect" and (share.is_limited or chosen.kind == "part" or not conditions.is_empty):
        return _bytes(blobs, shares, share, target, head, chosen, own, delivery, now)
    return _redirect(blobs, shares, share, target, head, chosen, own, now, after_post=is_post)


def _open(shares: ShareStore, delivery: Delivery, share_id: str, request: Request, now: datetime) -> Share:
    """The share, where it is open to this caller. Raises UnknownShare, which is the same for every reason."""
    share = shares.get(share_id) if _ID.fullmatch(share_id) else None
    address = caller_address(request.headers.get("x-forwarded-for", ""), delivery.proxies)
    if share is None or not is_open(share, now) or not is_allowed(share.ip_range, address):
        raise _unknown()
    return share


def _find(blobs: BlobStore, share: Share, request: Request) -> tuple[Target, Found]:
    """The blob that the rest of the path names. Raises UnknownShare where it cannot be one of this share."""
    try:
        names = candidates(share, name_in_path(request.path_fields.get("name") or ""))
    except NotUtf8:
        names = []
    if not names:
        raise _unknown()
    for name in names[:-1]:
        target = Target(share.container, name)
        if (head := blobs.find(target)) is not None:
            return target, head
    target = Target(share.container, names[-1])
    return target, blobs.head(target)


def _unknown() -> UnknownShare:
    return UnknownShare("The link never existed, was revoked or used up, or has expired.")


def _page(blobs: BlobStore, target: Target, head: Found, delivery: Delivery) -> Response:
    """A page with a button, for a limited link: programs that look at links press none."""
    policy = PAGE_POLICY
    if head.size > delivery.most:
        # The button leads to the storage account, and browsers apply form-action to redirects, too.
        location = urlsplit(blobs.url(target.container, target.name))
        policy += f" {location.scheme}://{location.netloc}"
    return Response(
        200,
        _PAGE.encode(),
        "text/html; charset=utf-8",
        {"content-security-policy": policy, "x-robots-tag": "noindex"},
    )


def _bytes(
    blobs: BlobStore,
    shares: ShareStore,
    share: Share,
    target: Target,
    head: Found,
    chosen: Plan,
    headers: dict[str, str],
    delivery: Delivery,
    now: datetime,
) -> Response:
    """The bytes from here. They and the headers are ready before the share is spent, so that no failure spends it."""
    blob = read_planned(blobs, target, head, chosen, delivery)
    body = blob.body or b""
    status = 200
    if chosen.kind == "part":
        status = 206
        headers["content-range"] = f"bytes {chosen.first}-{chosen.last}/{head.size}"
    _spend(shares, share, target, head, len(body), now)
    return Response(status, body, headers["content-type"], headers)


def _redirect(
    blobs: BlobStore,
    shares: ShareStore,
    share: Share,
    target: Target,
    head: Found,
    chosen: Plan,
    headers: dict[str, str],
    now: datetime,
    *,
    after_post: bool,
) -> Response:
    grant = Grant(
        target.container,
        target.name,
        "r",
        now + timedelta(seconds=USE_SECONDS),
        share.ip_range,
        headers["content-disposition"],
    )
    url, _ = blobs.signed_url(grant, now)
    _spend(shares, share, target, head, chosen.length, now)
    return Response(303 if after_post else 307, headers={"location": url})


def _spend(shares: ShareStore, share: Share, target: Target, head: Found, count: int, now: datetime) -> None:
    """Count a use of a limited share. Raises UnknownShare where others have used it up meanwhile."""
    if share.is_limited:
        shares.update(share.id, lambda newest: spend(newest, target.name, head.etag, head.size, count, now))


def _headers(head: Found, share: Share, name: str, delivery: Delivery) -> dict[str, str]:
    headers = blob_headers(head.headers, name, inline_html=delivery.inline_html)
    own = share.content_disposition
    if own and is_visible(own):
        is_safe = delivery.inline_html or own.lower().startswith("attachment")
        stored = {**head.headers, "content-disposition": own}
        headers["content-disposition"] = own if is_safe else blob_disposition(stored, name, inline_html=False)
    return headers


def operations(blobs: BlobStore, shares: ShareStore, delivery: Delivery) -> dict[str, Operation]:
    """The function behind revocable links."""
    return {
        "open-share": Operation(
            handle=partial(open_share, blobs, shares, delivery),
            request=OpenShareRequest,
            response=None,
            summary="Open a revocable link.\nIt leads to a URL at the storage account that is valid for a minute. A "
            "limited link returns the bytes itself to programs that download; a browser gets a page with a button, "
            "whose POST uses the link. A HEAD, a 304 and the page cost no use.",
            errors=(
                UnknownContainer,
                UnknownBlob,
                UnknownShare,
                PreconditionFailed,
                RangeNotSatisfiable,
                BlobConflict,
                BlobTooLarge,
                ScriptDestination,
                *OUTAGES,
            ),
            statuses={
                200: "The bytes, or a page with a button.",
                206: "The range that Content-Range names.",
                303: "After a POST: the location is valid for a minute.",
                304: "The blob has not changed, by If-None-Match or If-Modified-Since.",
                307: "The location is valid for a minute.",
            },
            media_types=("*/*",),
            raw=True,
            ignore_query=True,
        )
    }
