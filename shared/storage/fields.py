"""Fields that name containers and blobs, each declared once: its limits and its description."""

from typing import Annotated

from msgspec import Meta

from shared.storage.containers import CONTAINER

# XML cannot carry these characters, and the service repeats prefix and delimiter in its response.
IN_XML = "^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ufffe\\uffff]*\\Z"

ContainerName = Annotated[
    str,
    Meta(
        description="A container: 3 to 63 lower-case letters, digits and single hyphens; or $root, $web. Those of the "
        "Functions host and of this app are reserved (403).",
        min_length=3,
        max_length=63,
        pattern=CONTAINER,
    ),
]
BlobName = Annotated[str, Meta(description="A blob's name.", min_length=1, max_length=1024, examples=["welcome.txt"])]
BlobPrefix = Annotated[
    str,
    Meta(
        description="Only blobs whose names begin with this text, without control characters; case matters.",
        max_length=1024,
        pattern=IN_XML,
    ),
]
