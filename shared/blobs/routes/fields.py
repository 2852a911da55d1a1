"""Fields that several blob functions have."""

from typing import Annotated, Literal

from msgspec import Meta

from shared.blobs.names import name_in_path
from shared.errors import UnknownContainer, invalid_field
from shared.storage.errors import ReservedContainer
from shared.storage.names import check_name
from shared.web import Request

IN_CONTAINER = (ReservedContainer, UnknownContainer)
"""What every function that names a container may raise."""

NEW_NAME = "^[^\\x00-\\x1f\\x7f-\\x9f\\ufffe\\uffff]*\\Z"
Header = Annotated[str, Meta(max_length=4096)]
PathName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=3072,
        description="A blob's name, percent-encoded; its slashes may stay. A name that a path cannot carry (`..` "
        "between slashes, slashes at its start or in a row, bytes that are not UTF-8) goes into the query as `name`; "
        "the path then ends with the container.",
        examples=["welcome.txt"],
    ),
]
NewName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1024,
        pattern=NEW_NAME,
        description="The name of a blob to write, without control characters.",
        examples=["welcome.txt"],
    ),
]
VersionId = Annotated[
    str,
    Meta(min_length=1, max_length=64, pattern="^[0-9TZ:.-]+\\Z", description="A version, as list-blobs returns it."),
]
Snapshot = Annotated[
    str,
    Meta(min_length=1, max_length=64, pattern="^[0-9TZ:.-]+\\Z", description="A snapshot, as list-blobs returns it."),
]
Tier = Literal["Hot", "Cool", "Cold", "Archive"]
RehydratePriority = Annotated[
    Literal["Standard", "High"], Meta(description="How fast the blob leaves the archive tier: within hours, or faster.")
]
Metadata = Annotated[
    dict[
        Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*\\Z", max_length=128)],
        Annotated[str, Meta(pattern="^[ -~]*\\Z", max_length=8000)],
    ],
    Meta(
        max_length=50,
        description="Names (letters, digits, underscores; case does not count) and values (ASCII) to store "
        "with the blob.",
    ),
]


def blob_name(name: str | None, request: Request) -> str:
    """The blob that a request names: in its path, from the host's route parameter, or in its query."""
    if not name:
        raise invalid_field("name", "The name is missing. Put it after the container in the path, or into the query.")
    if "name" in request.path_fields:
        name = name_in_path(name)
    if len(name) > 1024:
        raise invalid_field("name", "The name has more than 1,024 characters. Blob Storage accepts no longer one.")
    check_name(name)
    return name


def check_metadata(metadata: dict[str, str] | None) -> dict[str, str]:
    """The metadata, {} for none. Raises InvalidRequest for what would not come back as it was sent."""
    metadata = metadata or {}
    if len({key.lower() for key in metadata}) < len(metadata):
        raise invalid_field("metadata", "Two metadata keys differ only in case. Blob Storage would keep one of them.")
    if any(value != value.strip() for value in metadata.values()):
        raise invalid_field("metadata", "A metadata value begins or ends with a blank, which HTTP would not keep.")
    return metadata


def check_version(version_id: str | None, snapshot: str | None) -> None:
    """Raises InvalidRequest where both are named."""
    if version_id is not None and snapshot is not None:
        raise invalid_field("snapshot", "Send version_id or snapshot, not both.")
