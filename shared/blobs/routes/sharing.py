"""`share-blob`, `list-shares` and `revoke-share`: links to blobs, as signed URLs or as shares of this app."""

import re
import secrets
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.blobs.downloads import Delivery
from shared.blobs.errors import AddressUnknown, BlobExists, BlobTooLarge, UnknownShare
from shared.blobs.routes.fields import IN_CONTAINER, NEW_NAME
from shared.blobs.shares import MAX_DAYS, Share, is_ip_range, is_open
from shared.blobs.store.blobs import BlobStore, Target
from shared.blobs.store.shares import ShareStore
from shared.deadline import call_limit
from shared.errors import invalid_field
from shared.storage.blobs import Grant
from shared.storage.errors import OUTAGES, BlobConflict, UnknownBlob
from shared.storage.fields import BlobName, ContainerName
from shared.storage.names import check_name
from shared.web import Cursor, Cursors, Example, Fields, Operation, Request, Response, rfc3339
from shared.web.batch import BATCH_SECONDS, BatchResponse, batch_of, check_alone, respond_together
from shared.web.fields import PageLimit

MAX_MINUTES = 7 * 24 * 60

_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_NEW_NAME = re.compile(NEW_NAME)
_IPV4 = r"(25[0-5]|2[0-4]\d|1?\d?\d)(\.(25[0-5]|2[0-4]\d|1?\d?\d)){3}"

Permissions = Literal["read", "write"]
Minutes = Annotated[
    int,
    Meta(
        ge=1,
        le=MAX_DAYS * 24 * 60,
        description=f"How many minutes the link is valid: up to {MAX_MINUTES}; if revocable, up to {MAX_DAYS} days.",
    ),
]
IpRange = Annotated[
    str,
    Meta(
        pattern=f"^{_IPV4}(-{_IPV4})?\\Z",
        description="The addresses that may use the link: one IPv4 address, or the first and last of a range, as in "
        "192.0.2.0-192.0.2.255.",
    ),
]
DispositionHeader = Annotated[
    str,
    Meta(
        max_length=256,
        pattern="^[ -~]+\\Z",
        description="The Content-Disposition of the response: ASCII characters.",
    ),
]


class ShareItem(Fields, frozen=True):
    """The blob to open, the limits of the link, and its duration."""

    container: ContainerName
    name: BlobName | None = None
    prefix: (
        Annotated[
            str,
            Meta(
                max_length=1024,
                description="Instead of a name: all blobs whose names begin with this text. Revocable only.",
            ),
        ]
        | None
    ) = None
    permissions: Permissions = "read"
    overwrite: Annotated[
        bool,
        Meta(
            description="For permissions=write: the link may replace the blob. Without it, the link creates the blob "
            "once, and a blob that exists is 409."
        ),
    ] = False
    minutes: Minutes = 60
    ip_range: IpRange | None = None
    content_disposition: DispositionHeader | None = None
    revocable: Annotated[bool, Meta(description="Create a link of this app, which can be listed and revoked.")] = False
    one_shot: Annotated[bool, Meta(description="A revocable link for one download.")] = False
    owner: (
        Annotated[str, Meta(max_length=256, description="The owner's name, for your own use. Revocable only.")] | None
    ) = None
    max_uses: Annotated[int, Meta(ge=1, le=2**53, description="The most downloads. Revocable only.")] | None = None
    max_bytes: (
        Annotated[int, Meta(ge=1, le=2**53, description="The most bytes of all downloads. Revocable only.")] | None
    ) = None


class ShareBlobRequest(ShareItem, frozen=True):
    """One share; or a `batch` of them and no other field."""

    # A batch has it in its items.
    container: ContainerName | None = None  # type: ignore[assignment]
    batch: Annotated[list[Any], batch_of(ShareItem)] | None = None


class ShareBlobResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The link, its permissions and its end."""

    url: str
    expires: str
    permissions: Permissions
    container: str
    method: Literal["GET", "PUT"]
    network: Literal["public", "private"]
    """`private` where only a private network reaches the storage account: the link works only there."""
    name: str | UnsetType = UNSET
    prefix: str | UnsetType = UNSET
    """For a share of a prefix: append the rest of a blob's name to the URL."""
    id: str | UnsetType = UNSET
    """The id of a revocable share."""
    headers: dict[str, str] | UnsetType = UNSET
    """The headers that a PUT must carry."""
    https_only: bool | UnsetType = UNSET
    ip_range: str | UnsetType = UNSET
    one_shot: bool | UnsetType = UNSET
    max_uses: int | UnsetType = UNSET
    max_bytes: int | UnsetType = UNSET


def share_blob(
    blobs: BlobStore, shares: ShareStore, delivery: Delivery, fields: ShareBlobRequest, request: Request
) -> ShareBlobResponse | BatchResponse:
    base_url = base_of(delivery, request)

    def plan(item: ShareItem) -> tuple[ShareBlobResponse, Share | None]:
        return _link_to(blobs, delivery, item, base_url)

    def store(plans: list[tuple[ShareBlobResponse, Share | None]]) -> list[ShareBlobResponse]:
        shares.add(*(share for _, share in plans if share is not None))
        return [response for response, _ in plans]

    if fields.batch is None:
        check_alone(fields, ShareItem)
        return store([plan(fields)])[0]
    # All items are checked before the first share is stored: an outage leaves no share that nobody knows of.
    with call_limit(BATCH_SECONDS):
        return respond_together(fields.batch, ShareItem, plan, store)


def _link_to(
    blobs: BlobStore, delivery: Delivery, item: ShareItem, base_url: str
) -> tuple[ShareBlobResponse, Share | None]:
    """The link that an item describes, and the share to store if it is revocable."""
    revocable = item.revocable or item.one_shot
    _check(item, delivery, revocable=revocable)
    now = datetime.now(UTC)
    expires = now + timedelta(minutes=item.minutes)
    _check_blob(blobs, delivery, item)
    response: dict[str, Any] = {
        "container": item.container,
        "permissions": item.permissions,
        "method": "PUT" if item.permissions == "write" else "GET",
        "network": "private" if delivery.private else "public",
        **{name: value for name in ("name", "prefix", "ip_range") if (value := getattr(item, name)) is not None},
    }
    if item.permissions == "write":
        response["headers"] = {"x-ms-blob-type": "BlockBlob"}
    if revocable:
        return _new_share(item, now, expires, base_url, response)
    # `c` creates, and replaces nothing: neither do leases, tiers, snapshots and metadata of what exists (`w`).
    letters = "r" if item.permissions == "read" else "cw" if item.overwrite else "c"
    grant = Grant(item.container, item.name or "", letters, expires, item.ip_range, item.content_disposition)
    url, ends = blobs.signed_url(grant, now)
    return ShareBlobResponse(url=url, expires=rfc3339(ends), https_only=blobs.https_only, **response), None


def _check_blob(blobs: BlobStore, delivery: Delivery, item: ShareItem) -> None:
    """Raises what would make the link useless: no such blob or container, one in the archive, one in the way."""
    if item.name is None:
        blobs.check_container(item.container)
    elif item.permissions == "read":
        head = blobs.head(Target(item.container, item.name))
        head.check_readable()
        if item.one_shot and head.size > delivery.most:
            raise BlobTooLarge(
                f"The blob has {head.size} bytes, and a link for one download passes at most {delivery.most}."
            )
    else:
        blobs.check_container(item.container)
        if not item.overwrite and blobs.exists(Target(item.container, item.name)):
            raise BlobExists(
                "The blob exists. Choose another name, or send overwrite=true for a link that replaces it."
            )


def _check(item: ShareItem, delivery: Delivery, *, revocable: bool) -> None:
    """Raises InvalidRequest for fields that do not go together, and AddressUnknown."""
    if item.name is None and item.prefix is None:
        raise invalid_field("name", "`name` is missing.")
    if item.name is not None and item.prefix is not None:
        raise invalid_field("name", "Send `name` or `prefix`, not both.")
    if item.name is not None:
        check_name(item.name)
    if not revocable:
        for field in ("prefix", "owner", "max_uses", "max_bytes"):
            if getattr(item, field) is not None:
                raise invalid_field(
                    field, f"`{field}` requires revocable=true: nothing counts or checks a plain signed URL."
                )
        if item.minutes > MAX_MINUTES:
            raise invalid_field(
                "minutes", f"`minutes` is at most {MAX_MINUTES} (7 days) for a link that cannot be revoked."
            )
    if item.permissions == "write":
        for field in ("revocable", "one_shot", "content_disposition"):
            if getattr(item, field):
                raise invalid_field(field, f"`{field}` cannot be combined with permissions=write.")
        if item.name is None or not _NEW_NAME.fullmatch(item.name):
            raise invalid_field("name", "The name has control characters. Leave them out.")
    elif item.overwrite:
        raise invalid_field("overwrite", "`overwrite` requires permissions=write.")
    if item.one_shot:
        for field in ("prefix", "max_uses", "max_bytes"):
            if getattr(item, field) is not None:
                raise invalid_field(field, f"`{field}` cannot be combined with one_shot, which is for one download.")
    if item.ip_range is not None and not is_ip_range(item.ip_range):
        raise invalid_field("ip_range", "The first address of `ip_range` is above the last. Exchange them.")
    if revocable and item.ip_range is not None and not delivery.proxies:
        raise AddressUnknown(
            "Set STRONGROOM_PROXIES to the number of trusted proxies before the app (1 in Azure), or create a link "
            "that is not revocable: storage then checks its ip_range."
        )


def base_of(delivery: Delivery, request: Request) -> str:
    """The URL of the app's functions, with a slash at the end: by the setting, else by this request.

    The functions that call this have one path segment after the host's route prefix.
    """
    url = urlsplit(request.url)
    prefix = url.path.strip("/").rpartition("/")[0]
    origin = delivery.url or f"{url.scheme}://{url.netloc}"
    return f"{origin}/{prefix}/" if prefix else f"{origin}/"


def _new_share(
    item: ShareItem, now: datetime, expires: datetime, base_url: str, response: dict[str, Any]
) -> tuple[ShareBlobResponse, Share]:
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
    limits = {name: value for name in ("max_uses", "max_bytes") if (value := getattr(item, name)) is not None}
    url = _link(base_url, share)
    ends = rfc3339(expires)
    return ShareBlobResponse(url=url, expires=ends, id=share.id, one_shot=item.one_shot, **limits, **response), share


def _link(base_url: str, share: Share) -> str:
    return f"{base_url}s/{share.id}" + ("" if share.prefix is None else "/")


class ListSharesRequest(Fields, frozen=True):
    """The shares to list."""

    container: ContainerName | None = None
    owner: Annotated[str, Meta(max_length=256)] | None = None
    limit: PageLimit = 100
    cursor: Cursor | None = None


class ListedShare(msgspec.Struct, frozen=True):
    """A share as it is now. Uses and bytes are counted where they are limited."""

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


class ListSharesResponse(msgspec.Struct, frozen=True):
    """Shares, in the order of their ids."""

    shares: list[ListedShare]
    cursor: str | None


def list_shares(
    shares: ShareStore, cursors: Cursors, delivery: Delivery, fields: ListSharesRequest, request: Request
) -> ListSharesResponse:
    scope = ("list-shares", fields.container, fields.owner)
    after = "" if fields.cursor is None else cursors.decode(fields.cursor, str, *scope)

    def keep(share: Share) -> bool:
        return fields.container in (None, share.container) and fields.owner in (None, share.owner)

    page, more = shares.list(after, fields.limit, keep)
    now, base_url = datetime.now(UTC), base_of(delivery, request)
    infos = [
        ListedShare(
            each.id,
            _link(base_url, each),
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
        for each in page
    ]
    return ListSharesResponse(infos, cursors.encode(more, *scope) if more else None)


class RevokeShareRequest(Fields, frozen=True):
    """The share to revoke."""

    id: str


def revoke_share(shares: ShareStore, fields: RevokeShareRequest) -> Response:
    if not _ID.fullmatch(fields.id):
        raise UnknownShare("This is not the id of a link. list-shares lists them.")
    shares.remove(fields.id)
    return Response(204)


def operations(blobs: BlobStore, shares: ShareStore, cursors: Cursors, delivery: Delivery) -> dict[str, Operation]:
    """The functions that create, list and revoke links."""
    return {
        "share-blob": Operation(
            handle=partial(share_blob, blobs, shares, delivery),
            request=ShareBlobRequest,
            response=(ShareBlobResponse, BatchResponse),
            in_items=ShareItem.__struct_fields__,
            summary="Create a link with which anybody may read or write a blob.\nA plain link is a signed "
            "URL at the storage account: it lasts up to 7 days and cannot be revoked. A revocable link is a URL of "
            "this app: it can be counted, listed and revoked, open all blobs below a prefix, or work just once.",
            errors=(*IN_CONTAINER, UnknownBlob, BlobConflict, BlobExists, BlobTooLarge, AddressUnknown, *OUTAGES),
            examples=(
                Example("A link for an hour", {"container": "samples", "name": "welcome.txt"}),
                Example(
                    "A link that can be revoked",
                    {"container": "samples", "name": "welcome.txt", "revocable": True, "max_uses": 10},
                ),
                Example("A folder", {"container": "samples", "prefix": "notes/", "revocable": True, "minutes": 1440}),
            ),
            with_request=True,
            writes=True,
        ),
        "list-shares": Operation(
            handle=partial(list_shares, shares, cursors, delivery),
            request=ListSharesRequest,
            response=ListSharesResponse,
            summary="List the revocable links.",
            errors=OUTAGES,
            examples=(Example("All", {}),),
            with_request=True,
        ),
        "revoke-share": Operation(
            handle=partial(revoke_share, shares),
            request=RevokeShareRequest,
            response=None,
            summary="Revoke a link. URLs that it has led to end within a minute.",
            errors=(UnknownShare, *OUTAGES),
            statuses={204: "Revoked."},
            writes=True,
        ),
    }
