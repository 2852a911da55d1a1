"""`identify-blobs`."""

from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.errors import Busy, StrongroomError, Unavailable, UnknownContainer, invalid_field
from shared.models.errors import ModelTimeout
from shared.models.store.identifying import Identifier
from shared.sandbox.errors import EngineFailed, OutOfMemory
from shared.storage.errors import OUTAGES, ReservedContainer
from shared.storage.fields import BlobName, BlobPrefix, ContainerName
from shared.web import Cursor, Cursors, Example, Fields, Operation
from shared.web.fields import page_limit
from shared.web.respond import problem_fields

MAX_BLOBS = 100


class IdentifyBlobsRequest(Fields, frozen=True):
    """The blobs to identify: by name, or a page of those whose names begin with `prefix`."""

    container: ContainerName
    names: Annotated[list[BlobName], Meta(min_length=1, max_length=MAX_BLOBS)] | None = None
    prefix: BlobPrefix | None = None
    limit: Annotated[int, page_limit(MAX_BLOBS)] = MAX_BLOBS
    cursor: Cursor | None = None


class IdentifyBlobsResponse(msgspec.Struct, frozen=True):
    """For each blob its name, or a problem with its name.

    Beside the name: `label`, `mime_type`, `group`, `score`, and `mismatch`, which is true where the content is of
    another group than the name's ending or the stored Content-Type.
    """

    blobs: list[dict[str, Any]]
    cursor: str | None


def identify_blobs(identifier: Identifier, cursors: Cursors, fields: IdentifyBlobsRequest) -> IdentifyBlobsResponse:
    cursor = None
    if fields.names is not None:
        for field in ("prefix", "cursor"):
            if getattr(fields, field) is not None:
                raise invalid_field(field, f"`{field}` belongs to a listing. Send it without `names`.")
        names = fields.names
    else:
        scope = ("identify-blobs", fields.container, fields.prefix or "")
        token = None if fields.cursor is None else cursors.decode(fields.cursor, str, *scope)
        names, more = identifier.page(fields.container, fields.prefix or "", fields.limit, token)
        cursor = cursors.encode(more, *scope) if more else None
    results = identifier.identify_blobs(fields.container, names)
    if all(isinstance(each, UnknownContainer) for each in results) and results:
        raise UnknownContainer("The storage account has no container of this name. list-blobs lists them.")
    for result in results:
        if isinstance(result, Unavailable | Busy):
            raise result  # Then the whole call should be repeated.
    blobs: list[dict[str, Any]] = []
    for name, result in zip(names, results, strict=True):
        described = problem_fields(result) if isinstance(result, StrongroomError) else msgspec.structs.asdict(result)
        blobs.append({"name": name, **described})
    return IdentifyBlobsResponse(blobs, cursor)


def operations(identifier: Identifier, cursors: Cursors) -> dict[str, Operation]:
    """`identify-blobs`."""
    return {
        "identify-blobs": Operation(
            handle=partial(identify_blobs, identifier, cursors),
            request=IdentifyBlobsRequest,
            response=IdentifyBlobsResponse,
            summary="Determine the types of blobs from their bytes.\nGoogle's Magika, a model that ships with the "
            "app, reads the first and the last 4 KiB of each blob. `mismatch` is true where the content belongs to "
            "another group (image, document, archive, executable, audio, video, text with code) than the name's ending "
            "or the stored Content-Type.",
            errors=(ReservedContainer, UnknownContainer, ModelTimeout, OutOfMemory, EngineFailed, *OUTAGES),
            examples=(
                Example("A program named photo.jpg", {"container": "samples", "names": ["images/photo.jpg"]}),
                Example("All images", {"container": "samples", "prefix": "images/"}),
            ),
        ),
    }
