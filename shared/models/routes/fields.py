"""Fields and errors that several functions of models share."""

from typing import Annotated

from msgspec import Meta

from shared.models.errors import ModelNotTrusted, ModelTimeout, UnknownModel, UnsupportedModel
from shared.sandbox.errors import EngineFailed, OutOfMemory

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
