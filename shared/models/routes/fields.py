"""Fields and errors that several functions of models share."""

from typing import Annotated

from msgspec import Meta

from shared.errors import Busy, StorageForbidden, StorageUnavailable
from shared.models.errors import ModelNotTrusted, ModelTimeout, UnknownModel, UnsupportedModel
from shared.sandbox.errors import EngineFailed, OutOfMemory

OUTAGES = (Busy, StorageUnavailable, StorageForbidden)
RUNNING = (UnsupportedModel, ModelNotTrusted, ModelTimeout, OutOfMemory, EngineFailed)
MODEL_ERRORS = (UnknownModel, ModelNotTrusted)

ModelName = Annotated[
    str,
    Meta(
        description="Name of the model: up to 64 letters, digits, dots, hyphens and underscores; the first is a "
        "letter or digit.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z",
        max_length=64,
        examples=["iris"],
    ),
]
Version = Annotated[int, Meta(description="A version of the model. Default: the newest.", ge=1, le=1000)]
ContainerName = Annotated[
    str,
    Meta(
        description="A container that exists: 3 to 63 lower-case letters, digits and single hyphens; or $root, $web. "
        "Those of the Functions host and of this app are reserved (403).",
        min_length=3,
        max_length=63,
        pattern=r"^([a-z0-9]+(-[a-z0-9]+)*|\$root|\$web)\Z",
    ),
]
BlobName = Annotated[str, Meta(description="A blob's name.", min_length=1, max_length=1024)]
TimeoutMs = Annotated[
    int, Meta(ge=100, le=220_000, description="The most that the whole call may take, in milliseconds.")
]
