"""`create-container` and `delete-container`."""

from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.blobs.errors import ContainerExists, ContainerNotEmpty
from shared.blobs.routes.fields import ContainerName, Metadata, last_modified
from shared.blobs.routes.objects import OUTAGES
from shared.blobs.store.blobs import BlobStore
from shared.blobs.store.listings import ListingStore
from shared.errors import UnknownContainer
from shared.web import Example, Fields, Operation, Response


class CreateContainer(Fields, frozen=True):
    """What to call it."""

    container: ContainerName
    metadata: Metadata | None = None


class CreatedContainer(msgspec.Struct, frozen=True):
    """The new container. It is private: nothing in it can be read without a key or a signed URL."""

    name: str
    etag: str
    last_modified: str
    url: str


def create_container(blobs: BlobStore, request: CreateContainer) -> Response:
    made = blobs.create_container(request.container, request.metadata or {})
    url = blobs.url(request.container, "").rstrip("/")
    return Response.json(CreatedContainer(request.container, made.get("etag", ""), last_modified(made), url), 201)


class DeleteContainer(Fields, frozen=True):
    """Which one."""

    container: ContainerName
    force: Annotated[
        bool, Meta(description="Whether it is deleted with all blobs in it; without, only when empty.")
    ] = False


def delete_container(blobs: BlobStore, listings: ListingStore, request: DeleteContainer) -> Response:
    if not request.force and not listings.is_empty(request.container):
        raise ContainerNotEmpty("Say force=true to delete it with all that is in it.")
    blobs.delete_container(request.container)
    return Response(204)


def operations(blobs: BlobStore, listings: ListingStore) -> dict[str, Operation]:
    """The functions on containers."""
    return {
        "create-container": Operation(
            writes=True,
            handle=partial(create_container, blobs),
            request=CreateContainer,
            response=CreatedContainer,
            summary="Make a container.",
            errors=(ContainerExists, *OUTAGES),
            examples=(Example("A container", {"container": "scratch"}),),
            statuses={201: "Made."},
        ),
        "delete-container": Operation(
            writes=True,
            handle=partial(delete_container, blobs, listings),
            request=DeleteContainer,
            response=None,
            summary="Delete a container, when it is empty, or with all that is in it.",
            errors=(UnknownContainer, ContainerExists, ContainerNotEmpty, *OUTAGES),
            examples=(Example("With all that is in it", {"container": "scratch", "force": True}),),
            statuses={204: "Deleted."},
        ),
    }
