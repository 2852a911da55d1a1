"""The edge of the blob functions: their fields, their answers, and one short function a route."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.blobs import formats
from shared.blobs.listing import PAGE_ITEMS, Blob, Container, Item, Prefix, glob_filter, narrow
from shared.blobs.store import BlobStore
from shared.errors import Busy, StorageForbidden, StorageUnavailable, UnknownContainer, invalid_field
from shared.web import Answer, Example, Fields, Operation, decode_cursor, encode_cursor

ContainerName = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=63,
        pattern=r"^([a-z0-9]+(-[a-z0-9]+)*|\$root|\$web|\$logs|\$blobchangefeed)$",
        description="A container: 3 to 63 lower-case letters, digits and single hyphens; or $root, $web, $logs.",
    ),
]
# XML cannot carry these, and the service tells prefix and delimiter again in its answer.
CARRIED = "^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ufffe\\uffff]*$"
Included = Literal["metadata", "tags", "snapshots", "versions", "deleted", "copy"]
INCLUDED: tuple[Included, ...] = ("metadata", "tags", "snapshots", "versions", "deleted", "copy")


class ListBlobs(Fields, frozen=True):
    """What to list; without `container`, the containers are listed."""

    container: ContainerName | None = None
    prefix: Annotated[
        str,
        Meta(max_length=1024, pattern=CARRIED, description="What names begin with, upper and lower case differing."),
    ] = ""
    delimiter: Annotated[
        str,
        Meta(
            max_length=64,
            pattern=CARRIED,
            description="Groups names that are alike up to it, as `/` makes folders; each group is one of `prefixes`.",
        ),
    ] = ""
    match: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=1024,
                description="A glob on the whole name: `*` is any characters, `/` too; `?` is one; `[a-z]` one of "
                "these, `[!a-z]` one of all others. It chooses blobs (or containers), never prefixes.",
            ),
        ]
        | None
    ) = None
    # A pattern here, beside a list, makes msgspec 0.22 corrupt its memory; _included checks instead.
    include: (
        Annotated[
            str | list[Included],
            Meta(
                description="What to tell beside the usual, with commas between: metadata, tags, snapshots, versions, "
                "deleted, copy. In JSON a list will do, too. Of containers: metadata and deleted.",
            ),
        ]
        | None
    ) = None
    limit: Annotated[
        int, Meta(ge=1, le=PAGE_ITEMS, description="How many items at most; each prefix counts as one.")
    ] = PAGE_ITEMS
    cursor: (
        Annotated[str, Meta(max_length=8192, description="Where to go on: the `cursor` of the answer before.")] | None
    ) = None
    format: Annotated[
        formats.Format,
        Meta(
            description="json; or a line for each item, in the order of the listing: ndjson, csv, names. "
            "With these, the headers `x-truncated` and `x-cursor` tell that it goes on."
        ),
    ] = "json"


class Listing(msgspec.Struct, frozen=True):
    """`blobs` and `prefixes`; or, where no container was named, `containers`."""

    blobs: list[Blob] | UnsetType = UNSET
    prefixes: list[str] | UnsetType = UNSET
    containers: list[Container] | UnsetType = UNSET
    cursor: str | None = None
    """Where the listing goes on; null at its end. A listing may go on after fewer than `limit` items."""


def list_blobs(blobs: BlobStore, request: ListBlobs) -> Answer:
    include = _included(request)
    if request.container is None and request.delimiter:
        raise invalid_field("delimiter", "needs a container.")
    question = (request.container, request.prefix, request.delimiter, request.match, include)
    marker = decode_cursor(request.cursor, str, *question) if request.cursor is not None else ""
    sink = _sink(request, include)
    prefix, keep = request.prefix, None
    if request.match is not None:
        keep = _keep(request.match)
        # With a delimiter the prefix decides which groups there are; without one, a longer one spares the service work.
        narrowed = narrow(prefix, request.match) if not request.delimiter else prefix
        if narrowed is None:
            return sink.answer(None)
        prefix = narrowed
    if request.container is None:
        marker = blobs.list_containers(
            sink, limit=request.limit, marker=marker, prefix=prefix, include=include, keep=keep
        )
    else:
        marker = blobs.list_blobs(
            request.container,
            sink,
            limit=request.limit,
            marker=marker,
            prefix=prefix,
            delimiter=request.delimiter,
            include=include,
            keep=keep,
        )
    return sink.answer(encode_cursor(marker, *question) if marker else None)


def _included(request: ListBlobs) -> tuple[Included, ...]:
    """What to include, each once and in one order."""
    given = request.include
    named = given.split(",") if isinstance(given, str) else given or ()
    include = tuple(each for each in INCLUDED if each in named)
    if len(include) < len(set(named)):
        raise invalid_field("include", f"is not of these, with commas between: {', '.join(INCLUDED)}.")
    if request.container is None and not {"metadata", "deleted"}.issuperset(include):
        raise invalid_field("include", "takes metadata and deleted where containers are listed.")
    return include


def _keep(glob: str) -> Callable[[Item], bool]:
    matches = glob_filter(glob)
    return lambda item: isinstance(item, Prefix) or matches(item.name)


def _sink(request: ListBlobs, include: tuple[Included, ...]) -> formats.Json | formats.Lines:
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


def operations(blobs: BlobStore) -> dict[str, Operation]:
    """The blob functions, over one store."""
    return {
        "list-blobs": Operation(
            handle=partial(list_blobs, blobs),
            request=ListBlobs,
            answer=Listing,
            summary="List the blobs of a container, flat or by folder; or the containers.",
            errors=(UnknownContainer, Busy, StorageUnavailable, StorageForbidden),
            examples=(
                Example("All blobs", {"container": "samples"}),
                Example("One level, as folders", {"container": "samples", "delimiter": "/", "limit": 100}),
                Example("The containers", {}),
            ),
            media_types=("application/json", "application/x-ndjson", "text/csv", "text/plain"),
        )
    }
