"""Fields that several blob functions have."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Annotated, Literal

from msgspec import Meta

from shared.blobs.names import name_in_path
from shared.errors import StorageUnavailable, invalid_field
from shared.web import Request, rfc3339

ContainerName = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=63,
        pattern=r"^([a-z0-9]+(-[a-z0-9]+)*|\$root|\$web|\$logs|\$blobchangefeed)\Z",
        description="A container: 3 to 63 lower-case letters, digits and single hyphens; or $root, $web, $logs.",
    ),
]
# XML cannot carry these, and the service tells prefix and delimiter again in its answer.
CARRIED = "^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ufffe\\uffff]*\\Z"
BlobName = Annotated[str, Meta(min_length=1, max_length=1024, description="A blob's name.", examples=["welcome.txt"])]
PathName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1024,
        description="A blob's name, percent-encoded; its slashes may stay. One that a path cannot carry (`..` between "
        "slashes, slashes at its start or in a row, `%` before two hexadecimal digits) goes into the query as `name`; "
        "the path ends with the container then.",
        examples=["welcome.txt"],
    ),
]
NewName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1024,
        pattern="^[^\\x00-\\x1f\\x7f-\\x9f\\ufffe\\uffff]*\\Z",
        description="The name of a blob that is written: without control characters.",
        examples=["welcome.txt"],
    ),
]
Tier = Literal["Hot", "Cool", "Cold", "Archive"]
Metadata = Annotated[
    dict[
        Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*\\Z", max_length=128)],
        Annotated[str, Meta(pattern="^[ -~]*\\Z", max_length=8000)],
    ],
    Meta(max_length=50, description="Names (letters, digits, underscores) and values (ASCII) that are kept with it."),
]


def blob_name(given: str | None, request: Request, function: str = "blobs", segments: int = 1) -> str:
    """The blob that a request names: in its path, read from the URL as it was sent, or in its query."""
    in_path = name_in_path(request.url, function, segments)
    if not (in_path or given):
        raise invalid_field("name", "is missing: put it behind the container in the path, or into the query.")
    if len(in_path) > 1024:
        raise invalid_field("name", "is longer than 1,024 characters.")
    return in_path or given or ""


def last_modified(headers: Mapping[str, str]) -> str:
    """The time in a Last-Modified header, as the API writes times. Raises StorageUnavailable where there is none."""
    try:
        return rfc3339(parsedate_to_datetime(headers["last-modified"]))
    except (KeyError, ValueError) as error:
        raise StorageUnavailable("Blob Storage told no time.") from error
