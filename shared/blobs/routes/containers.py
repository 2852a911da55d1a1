"""`create-container` and `delete-container`."""

from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.blobs.errors import ContainerNotEmpty
from shared.blobs.routes.fields import IN_CONTAINER, Metadata, check_metadata
from shared.blobs.store.blobs import BlobStore
from shared.blobs.store.listings import ListingStore
from shared.storage.containers import check_container
from shared.storage.errors import OUTAGES, ContainerExists, ReservedContainer
from shared.storage.fields import ContainerName
from shared.web import Example, Fields, Operation, Response, rfc3339


class CreateContainerRequest(Fields, frozen=True):
    """The name of the new container."""

    container: ContainerName
    metadata: Metadata | None = None


class CreateContainerResponse(msgspec.Struct, frozen=True):
    """The new container. It is private: nobody reads it without a key or a signed URL."""

    name: str
    etag: str
    last_modified: str
    url: str


def create_container(blobs: BlobStore, request: CreateContainerRequest) -> Response:
    created = blobs.create_container(request.container, check_metadata(request.metadata))
    url = blobs.url(request.container, "").rstrip("/")
    return Response.json(
        CreateContainerResponse(request.container, created.etag, rfc3339(created.last_modified), url), 201
    )


class DeleteContainerRequest(Fields, frozen=True):
    """The container to delete."""

    container: ContainerName
    force: Annotated[
        bool, Meta(description="Deletes it with all blobs in it. Without it, only an empty container is deleted.")
    ] = False


def delete_container(blobs: BlobStore, listings: ListingStore, request: DeleteContainerRequest) -> Response:
    check_container(request.container)
    if not request.force and not listings.is_empty(request.container):
        raise ContainerNotEmpty("The container holds blobs, versions or snapshots. Send force=true to delete them all.")
    blobs.delete_container(request.container)
    return Response(204)


def operations(blobs: BlobStore, listings: ListingStore) -> dict[str, Operation]:
    """The functions on containers."""
    return {
        "create-container": Operation(
            handle=partial(create_container, blobs),
            request=CreateContainerRequest,
            response=CreateContainerResponse,
            summary="Create a container.",
            errors=(ContainerExists, ReservedContainer, *OUTAGES),
            examples=(Example("A container", {"container": "scratch"}),),
            statuses={201: "Created."},
            writes=True,
        ),
        "delete-container": Operation(
            handle=partial(delete_container, blobs, listings),
            request=DeleteContainerRequest,
            response=None,
            summary="Delete a container, if it is empty, or with all that is in it.",
            errors=(*IN_CONTAINER, ContainerExists, ContainerNotEmpty, *OUTAGES),
            examples=(Example("With all that is in it", {"container": "scratch", "force": True}),),
            statuses={204: "Deleted."},
            writes=True,
        ),
    }
