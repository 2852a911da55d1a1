"""`list-blobs` and `summarize-blobs`."""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.blobs import formats
from shared.blobs.listing import PAGE_ITEMS, Blob, Container, Item, Prefix, glob_filter, narrow
from shared.blobs.routes.fields import IN_CONTAINER
from shared.blobs.store.listings import ListingStore
from shared.blobs.summary import PrefixTotal, Summing, TierTotal, Totals, prefix_totals, tier_totals
from shared.errors import invalid_field
from shared.storage.errors import OUTAGES
from shared.storage.fields import IN_XML, BlobPrefix, ContainerName
from shared.web import Cursor, Cursors, Example, Fields, Operation, Response
from shared.web.fields import time_limit

MAX_ITEMS = 50_000
Included = Literal["metadata", "tags", "snapshots", "versions", "deleted", "copy"]
INCLUDED: tuple[Included, ...] = ("metadata", "tags", "snapshots", "versions", "deleted", "copy")


class ListBlobsRequest(Fields, frozen=True):
    """The blobs to list; without `container`, the containers are listed."""

    container: ContainerName | None = None
    prefix: BlobPrefix = ""
    delimiter: Annotated[
        str,
        Meta(
            max_length=64,
            pattern=IN_XML,
            description="Group names that are equal up to this text, as `/` makes folders. Each group is one of "
            "`prefixes`. The text has no control characters.",
        ),
    ] = ""
    match: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=1024,
                description="A glob for the whole name: `*` matches any characters, `/` too; `?` any one character; "
                "`[a-z]` one of these; `[!a-z]` any other one. It filters blobs (or containers), never prefixes.",
            ),
        ]
        | None
    ) = None
    # A pattern here, beside a list, makes msgspec 0.22 corrupt its memory; _included checks instead.
    include: (
        Annotated[
            str | list[Included],
            Meta(
                description="Further properties to return, separated by commas: metadata, tags, snapshots, versions, "
                "deleted, copy. JSON also takes a list. For containers: metadata and deleted.",
            ),
        ]
        | None
    ) = None
    limit: Annotated[
        int,
        Meta(
            ge=1,
            le=MAX_ITEMS,
            description="The most items; each prefix counts as one. The app follows pages of 5,000 until it has this "
            "many, or 8 MiB, or the call's time is nearly over.",
        ),
    ] = PAGE_ITEMS
    cursor: Cursor | None = None
    format: Annotated[
        formats.Format,
        Meta(
            description="json; or one line per item, in the order of the listing: ndjson, csv, names. "
            "With these, the headers `x-truncated` and `x-cursor` say that more follows."
        ),
    ] = "json"


class ListBlobsResponse(msgspec.Struct, frozen=True):
    """`blobs` and `prefixes`; or, where no container was named, `containers`."""

    blobs: list[Blob] | UnsetType = UNSET
    prefixes: list[str] | UnsetType = UNSET
    containers: list[Container] | UnsetType = UNSET
    cursor: str | None = None
    """The cursor of the next page; null at the end. More may follow even after fewer than `limit` items."""


def list_blobs(listings: ListingStore, cursors: Cursors, request: ListBlobsRequest) -> Response:
    include = _included(request)
    if request.container is None and request.delimiter:
        raise invalid_field("delimiter", "`delimiter` requires a container.")
    scope = ("list-blobs", request.container, request.prefix, request.delimiter, request.match, include)
    marker = cursors.decode(request.cursor, str, *scope) if request.cursor is not None else ""
    sink = _sink(request, include)
    prefix, keep = request.prefix, None
    if request.match is not None:
        keep = _keep(request.match)
        # With a delimiter the prefix decides which groups there are; without one, a longer one spares the service work.
        narrowed = narrow(prefix, request.match) if not request.delimiter else prefix
        if narrowed is None:
            return sink.response(None)
        prefix = narrowed
    if request.container is None:
        marker = listings.list_containers(
            sink, limit=request.limit, marker=marker, prefix=prefix, include=include, keep=keep
        )
    else:
        marker = listings.list_blobs(
            request.container,
            sink,
            limit=request.limit,
            marker=marker,
            prefix=prefix,
            delimiter=request.delimiter,
            include=include,
            keep=keep,
        )
    return sink.response(cursors.encode(marker, *scope) if marker else None)


def _included(request: ListBlobsRequest) -> tuple[Included, ...]:
    """The properties to include, each once and in one order."""
    sent = request.include
    named = sent.split(",") if isinstance(sent, str) else sent or ()
    include = tuple(each for each in INCLUDED if each in named)
    if len(include) < len(set(named)):
        raise invalid_field("include", f"`include` takes only {', '.join(INCLUDED)}, separated by commas.")
    if request.container is None and not {"metadata", "deleted"}.issuperset(include):
        raise invalid_field("include", "`include` takes only metadata and deleted where containers are listed.")
    return include


def _keep(glob: str) -> Callable[[Item], bool]:
    matches = glob_filter(glob)
    return lambda item: isinstance(item, Prefix) or matches(item.name)


def _sink(request: ListBlobsRequest, include: tuple[Included, ...]) -> formats.Json | formats.Lines:
    kind: type[Blob] | type[Container] = Blob if request.container else Container
    match request.format:
        case "ndjson":
            return formats.Lines()
        case "csv":
            return formats.Csv(formats.columns(kind, include))
        case "names":
            return formats.Names()
        case _:
            return formats.Json("blobs" if request.container else "containers")


class SummarizeBlobsRequest(Fields, frozen=True):
    """The blobs to add up."""

    container: ContainerName
    prefix: BlobPrefix = ""
    cursor: Cursor | None = None
    timeout_ms: Annotated[int, time_limit(220_000, 100)] = 10_000


class SummarizeBlobsResponse(msgspec.Struct, frozen=True):
    """The sums of a container. With a `cursor`, they are the sums so far, and a call with it continues."""

    container: str
    prefix: str
    count: int
    bytes: int
    by_tier: dict[str, TierTotal]
    by_prefix: list[PrefixTotal]
    newest: str | None
    oldest: str | None
    monthly_cost: float
    """For the stored bytes, by the price table of the settings, in its currency."""
    early_deletion_cost: float
    """The cost that remains if everything is deleted now: Cool is billed for at least 30 days, Cold 90, Archive 180."""
    cursor: str | None


def summarize_blobs(
    listings: ListingStore, cursors: Cursors, prices: Mapping[str, float], request: SummarizeBlobsRequest
) -> SummarizeBlobsResponse:
    scope = ("summarize-blobs", request.container, request.prefix)
    totals = Totals() if request.cursor is None else cursors.decode(request.cursor, Totals, *scope)
    totals.marker = listings.list_blobs(
        request.container,
        Summing(totals, request.prefix, datetime.now(UTC)),
        limit=sys.maxsize,
        marker=totals.marker,
        prefix=request.prefix,
    )
    tiers = tier_totals(totals, prices)
    return SummarizeBlobsResponse(
        request.container,
        request.prefix,
        sum(each.count for each in tiers.values()),
        sum(each.bytes for each in tiers.values()),
        tiers,
        prefix_totals(totals),
        totals.newest,
        totals.oldest,
        round(sum(each.monthly_cost for each in tiers.values()), 6),
        round(sum(each.early_deletion_cost for each in tiers.values()), 6),
        cursors.encode(totals, *scope) if totals.marker else None,
    )


def operations(listings: ListingStore, cursors: Cursors, prices: Mapping[str, float]) -> dict[str, Operation]:
    """The functions that list."""
    return {
        "list-blobs": Operation(
            handle=partial(list_blobs, listings, cursors),
            request=ListBlobsRequest,
            response=ListBlobsResponse,
            summary="List the blobs of a container, flat or by folder; or the containers.",
            errors=(*IN_CONTAINER, *OUTAGES),
            examples=(
                Example("All blobs", {"container": "samples"}),
                Example("One level, as folders", {"container": "samples", "delimiter": "/", "limit": 100}),
                Example("The containers", {}),
            ),
            media_types=("application/json", "application/x-ndjson", "text/csv", "text/plain"),
        ),
        "summarize-blobs": Operation(
            handle=partial(summarize_blobs, listings, cursors, prices),
            request=SummarizeBlobsRequest,
            response=SummarizeBlobsResponse,
            summary="Count a container's blobs and bytes by tier and folder, and their cost per month.",
            errors=(*IN_CONTAINER, *OUTAGES),
            examples=(Example("The whole container", {"container": "samples"}),),
            timeout_bounds_call=True,
        ),
    }
