"""Links to blobs: signed URLs, and shares that can be counted, listed and revoked."""

import re
import secrets
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.blobs.errors import BlobConflict, BlobTooLarge, UnknownBlob, UnknownShare
from shared.blobs.names import name_in_path
from shared.blobs.routes.fields import BlobName, ContainerName
from shared.blobs.routes.objects import OUTAGES, Passing, answer_headers
from shared.blobs.sas import Grant, Permissions
from shared.blobs.shares import MAX_DAYS, Share, blob_of, is_open, is_preview, spend
from shared.blobs.store.blobs import ANY, BlobStore, Found
from shared.blobs.store.shares import ShareStore
from shared.errors import StrongroomError, UnknownContainer, invalid_field
from shared.web import Cursors, Example, Fields, Operation, Request, Response, rfc3339
from shared.web.respond import problem_fields

MAX_MINUTES = 7 * 24 * 60
MAX_BATCH = 100
USE_SECONDS = 60
"""How long the URL is good for that a use of a share is answered with."""

_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_IPV4 = r"(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}"

Minutes = Annotated[
    int,
    Meta(
        ge=1,
        le=MAX_DAYS * 24 * 60,
        description=f"How long it is good for: up to {MAX_MINUTES} (7 days), a revocable one up to {MAX_DAYS} days.",
    ),
]
IpRange = Annotated[
    str,
    Meta(
        pattern=f"^{_IPV4}(-{_IPV4})?\\Z",
        description="Who may use it: one IPv4 address, or the first and last of a range, as in 192.0.2.0-192.0.2.255.",
    ),
]
DispositionHeader = Annotated[
    str, Meta(max_length=256, pattern="^[ -~]+\\Z", description="The Content-Disposition under which it is served.")
]


class ShareItem(Fields, frozen=True):
    """What to open, to whom, and for how long."""

    container: ContainerName
    name: BlobName | None = None
    prefix: (
        Annotated[
            str,
            Meta(
                max_length=1024, description="In place of a name: all blobs whose names begin with it. Revocable only."
            ),
        ]
        | None
    ) = None
    permissions: Permissions = "read"
    minutes: Minutes = 60
    ip_range: IpRange | None = None
    content_disposition: DispositionHeader | None = None
    revocable: Annotated[bool, Meta(description="Gives a link of this app's own, which can be listed and revoked.")] = (
        False
    )
    one_shot: Annotated[bool, Meta(description="A revocable link that gives the bytes once.")] = False
    owner: Annotated[str, Meta(max_length=256, description="Whose it is, as a note. Revocable only.")] | None = None
    max_uses: Annotated[int, Meta(ge=1, le=2**53, description="How often it opens. Revocable only.")] | None = None
    max_bytes: (
        Annotated[int, Meta(ge=1, le=2**53, description="How many bytes it gives in all. Revocable only.")] | None
    ) = None


class ShareBlob(ShareItem, frozen=True):
    """One share; or a `batch` of them and nothing beside it."""

    container: ContainerName | None = None  # type: ignore[assignment]
    batch: Annotated[list[ShareItem], Meta(min_length=1, max_length=MAX_BATCH)] | None = None


class Shared(msgspec.Struct, frozen=True, omit_defaults=True):
    """The link, what it allows, and when it ends; or for a batch its `results`, each one of these or a problem."""

    url: str | UnsetType = UNSET
    expires: str | UnsetType = UNSET
    permissions: Permissions | UnsetType = UNSET
    container: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    prefix: str | UnsetType = UNSET
    """For a share of a prefix: the rest of a blob's name goes behind the URL."""
    id: str | UnsetType = UNSET
    """Of a revocable share."""
    method: Literal["GET", "PUT"] | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET
    """What a PUT must carry."""
    https_only: bool | UnsetType = UNSET
    ip_range: str | UnsetType = UNSET
    one_shot: bool | UnsetType = UNSET
    max_uses: int | UnsetType = UNSET
    max_bytes: int | UnsetType = UNSET
    network: Literal["public", "private"] | UnsetType = UNSET
    """`private` where the storage account is reached from inside its network alone: the link works only there."""
    results: list[Any] | UnsetType = UNSET


def share_blob(blobs: BlobStore, links: ShareStore, passing: Passing, request: ShareBlob, sent: Request) -> Shared:
    if request.batch is None:
        return _share(blobs, links, passing, request, sent)
    alone = ShareBlob(batch=request.batch)
    for name in (each for each in request.__struct_fields__ if getattr(request, each) != getattr(alone, each)):
        raise invalid_field(name, "goes into the items of the batch.")
    return Shared(results=[_result(blobs, links, passing, item, sent) for item in request.batch])


def _result(blobs: BlobStore, links: ShareStore, passing: Passing, item: ShareItem, sent: Request) -> object:
    try:
        return _share(blobs, links, passing, item, sent)
    except StrongroomError as error:
        if error.status >= 500:
            raise
        return problem_fields(error)


def _share(blobs: BlobStore, links: ShareStore, passing: Passing, item: ShareItem, sent: Request) -> Shared:
    revocable = item.revocable or item.one_shot
    _check(item, revocable)
    now = datetime.now(UTC)
    expires = now + timedelta(minutes=item.minutes)
    if item.permissions == "write" or item.name is None:
        blobs.check_container(item.container)
    else:
        size = blobs.head(item.container, item.name).size
        if item.one_shot and size > passing.most:
            raise BlobTooLarge(f"It has {size} bytes, and a link that works once passes {passing.most} at most.")
    told: dict[str, Any] = {
        "container": item.container,
        "permissions": item.permissions,
        "method": "PUT" if item.permissions == "write" else "GET",
        "network": "private" if passing.private else "public",
        **{name: value for name in ("name", "prefix", "ip_range") if (value := getattr(item, name)) is not None},
    }
    if item.permissions == "write":
        told["headers"] = {"x-ms-blob-type": "BlockBlob"}
    if revocable:
        return _new_share(links, item, now, expires, _base(sent), told)
    grant = Grant(
        item.container,
        item.name or "",
        item.permissions,
        expires,
        blobs.https_only,
        item.ip_range,
        item.content_disposition,
    )
    url, ends = blobs.signed_url(grant, now)
    return Shared(url=url, expires=rfc3339(ends), https_only=blobs.https_only, **told)


def _check(item: ShareItem, revocable: bool) -> None:
    """Raises InvalidRequest for fields that do not go together."""
    if item.container is None:
        raise invalid_field("container", "is missing.")
    if (item.name is None) == (item.prefix is None):
        raise invalid_field("name", "is missing." if item.name is None else "stands beside a prefix: give one of them.")
    if not revocable:
        for field in ("prefix", "owner", "max_uses", "max_bytes"):
            if getattr(item, field) is not None:
                raise invalid_field(field, "needs revocable: true, since nothing counts or checks a plain signed URL.")
        if item.minutes > MAX_MINUTES:
            raise invalid_field("minutes", f"is at most {MAX_MINUTES} (7 days) for what cannot be revoked.")
    if item.permissions == "write":
        for field in ("revocable", "one_shot", "content_disposition"):
            if getattr(item, field):
                raise invalid_field(field, "does not go with permissions: write.")
    if item.one_shot:
        for field in ("prefix", "ip_range", "max_uses", "max_bytes"):
            if getattr(item, field) is not None:
                raise invalid_field(field, "does not go with one_shot, which opens one blob once.")


def _base(sent: Request) -> str:
    """Where this app is, as the caller reached it, up to and with the slash before the functions' paths."""
    return sent.url.partition("?")[0].rstrip("/").rpartition("/")[0] + "/"


def _new_share(
    links: ShareStore, item: ShareItem, now: datetime, expires: datetime, base: str, told: dict[str, Any]
) -> Shared:
    share = Share(
        id=secrets.token_urlsafe(16),
        container=item.container,
        name=item.name,
        prefix=item.prefix,
        created=now,
        expires=expires,
        owner=item.owner,
        one_shot=item.one_shot,
        max_uses=item.max_uses,
        max_bytes=item.max_bytes,
        ip_range=item.ip_range,
        content_disposition=item.content_disposition,
    )
    links.add(share)
    limits = {name: value for name in ("max_uses", "max_bytes") if (value := getattr(item, name)) is not None}
    url = _link(base, share)
    return Shared(url=url, expires=rfc3339(expires), id=share.id, one_shot=item.one_shot, **limits, **told)


def _link(base: str, share: Share) -> str:
    return f"{base}s/{share.id}" + ("" if share.prefix is None else "/")


class OpenShare(Fields, frozen=True):
    """Which share; below a prefix, which blob."""

    id: str
    name: Annotated[str, Meta(description="Of a share of a prefix: the rest of the blob's name.")] | None = None


def open_share(blobs: BlobStore, links: ShareStore, passing: Passing, fields: OpenShare, request: Request) -> Response:
    now = datetime.now(UTC)
    share = links.get(fields.id) if _ID.fullmatch(fields.id) else None
    name = None if share is None else blob_of(share, name_in_path(request.url, "s", 1))
    if share is None or name is None or not is_open(share, now):
        raise UnknownShare("It never was, was revoked or used up, or is over.")
    if request.method == "HEAD":
        head = blobs.head(share.container, name)
        return Response(200, headers=_headers(head, share, name, passing) | {"content-length": str(head.size)})
    if share.is_limited and is_preview(request.headers):
        text = b"This link gives a file, for a limited number of times. This preview has used none of them up.\n"
        return Response(200, text, "text/plain", {"x-robots-tag": "noindex"})
    if share.one_shot:
        return _give_once(blobs, links, passing, share, name, now)
    head = blobs.head(share.container, name)
    if share.is_limited:
        links.update(share.id, lambda newest: spend(newest, head.size, now))
    grant = Grant(
        share.container,
        name,
        "read",
        now + timedelta(seconds=USE_SECONDS),
        blobs.https_only,
        share.ip_range,
        _headers(head, share, name, passing)["content-disposition"],
    )
    url, _ = blobs.signed_url(grant, now)
    return Response(307, headers={"location": url, "referrer-policy": "no-referrer"})


def _give_once(
    blobs: BlobStore, links: ShareStore, passing: Passing, share: Share, name: str, now: datetime
) -> Response:
    """The bytes, to the first who asks. They are read before the share is spent, so that no failure spends it."""
    found = blobs.read(share.container, name, ANY, most=passing.most)
    if found.body is None:
        raise BlobTooLarge("It has grown too large to pass through here.")
    links.update(share.id, lambda newest: spend(newest, found.size, now))
    headers = _headers(found, share, name, passing) | {"referrer-policy": "no-referrer"}
    return Response(200, found.body, "application/octet-stream", headers)


def _headers(found: Found, share: Share, name: str, passing: Passing) -> dict[str, str]:
    headers = answer_headers(found, name, passing)
    headers.pop("accept-ranges", None)
    if share.content_disposition and (passing.inline_html or share.content_disposition.startswith("attachment")):
        headers["content-disposition"] = share.content_disposition
    return headers


class ListShares(Fields, frozen=True):
    """Which shares."""

    container: ContainerName | None = None
    owner: Annotated[str, Meta(max_length=256)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: Annotated[str, Meta(max_length=1024)] | None = None


class ShareInfo(msgspec.Struct, frozen=True):
    """A share as it stands. Uses and bytes are counted where they are limited."""

    id: str
    url: str
    container: str
    name: str | None
    prefix: str | None
    owner: str | None
    created: str
    expires: str
    open: bool
    """Whether it opens anything now."""
    one_shot: bool
    uses: int
    max_uses: int | None
    bytes: int
    max_bytes: int | None


class Shares(msgspec.Struct, frozen=True):
    """Shares, in no telling order."""

    shares: list[ShareInfo]
    cursor: str | None


def list_shares(links: ShareStore, cursors: Cursors, request: ListShares, sent: Request) -> Shares:
    question = ("shares", request.container, request.owner)
    after = "" if request.cursor is None else cursors.decode(request.cursor, str, *question)

    def keep(share: Share) -> bool:
        return request.container in (None, share.container) and request.owner in (None, share.owner)

    found, more = links.list(after, request.limit, keep)
    now, base = datetime.now(UTC), _base(sent)
    told = [
        ShareInfo(
            each.id,
            _link(base, each),
            each.container,
            each.name,
            each.prefix,
            each.owner,
            rfc3339(each.created),
            rfc3339(each.expires),
            is_open(each, now),
            each.one_shot,
            each.uses,
            each.max_uses,
            each.bytes,
            each.max_bytes,
        )
        for each in found
    ]
    return Shares(told, cursors.encode(more, *question) if more else None)


class RevokeShare(Fields, frozen=True):
    """Which share."""

    id: str


def revoke_share(links: ShareStore, request: RevokeShare) -> Response:
    if not _ID.fullmatch(request.id):
        raise UnknownShare("That is no id of a share.")
    links.remove(request.id)
    return Response(204)


def operations(blobs: BlobStore, links: ShareStore, cursors: Cursors, passing: Passing) -> dict[str, Operation]:
    """The functions on links."""
    unknown = (UnknownContainer, UnknownBlob)
    return {
        "share-blob": Operation(
            writes=True,
            handle=partial(share_blob, blobs, links, passing),
            request=ShareBlob,
            response=Shared,
            summary="Make a link that opens a blob to whoever has it, to read or to write.\nA plain one is a signed "
            "URL at the storage account: it lasts up to 7 days and cannot be taken back. A revocable one is a URL of "
            "this app: it can be counted, listed and revoked, be for all blobs below a prefix, or work just once.",
            errors=(*unknown, BlobConflict, BlobTooLarge, *OUTAGES),
            examples=(
                Example("A link for an hour", {"container": "samples", "name": "welcome.txt"}),
                Example(
                    "A link that can be revoked",
                    {"container": "samples", "name": "welcome.txt", "revocable": True, "max_uses": 10},
                ),
                Example("A folder", {"container": "samples", "prefix": "notes/", "revocable": True, "minutes": 1440}),
            ),
            with_request=True,
        ),
        "open-share": Operation(
            handle=partial(open_share, blobs, links, passing),
            request=OpenShare,
            response=None,
            summary="Open a revocable link.\nIt leads to a URL at the storage account that is good for a minute; a "
            "link that works once gives the bytes itself. A HEAD, and a program that previews links, use nothing up.",
            errors=(*unknown, UnknownShare, BlobConflict, BlobTooLarge, *OUTAGES),
            statuses={
                200: "The bytes, of a link that works once; or a word to a program that previews a limited link.",
                307: "The location is open for a minute.",
            },
            media_types=("*/*",),
            raw=True,
        ),
        "list-shares": Operation(
            handle=partial(list_shares, links, cursors),
            request=ListShares,
            response=Shares,
            summary="List the revocable links.",
            errors=OUTAGES,
            examples=(Example("All", {}),),
            with_request=True,
        ),
        "revoke-share": Operation(
            writes=True,
            handle=partial(revoke_share, links),
            request=RevokeShare,
            response=None,
            summary="Revoke a link. URLs that it has led to already end within a minute.",
            errors=(UnknownShare, *OUTAGES),
            statuses={204: "Revoked."},
        ),
    }
