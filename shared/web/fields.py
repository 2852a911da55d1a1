"""Fields that functions of several capabilities have, each declared once: its limits and its description."""

from typing import Annotated

from msgspec import Meta

MAX_USER_NAME = 128
"""In code points."""
EXAMPLE_PASSWORD = "correct horse battery staple"  # noqa: S105 - of https://xkcd.com/936, for the documentation.
EXAMPLE_USER_ID = "5eed0000-0000-4000-8000-000000000001"
"""A user of the sample data."""

Cursor = Annotated[str, Meta(description="The `cursor` of the previous page, with the same fields.")]
"""It has no bounds of its own: `Cursors.decode` refuses every text that is not a cursor."""


def page_limit(most: int = 1000) -> Meta:
    """The bounds and the description of a field `limit`: how many items a page has."""
    return Meta(description="The maximum number of items on the page.", ge=1, le=most)


def time_limit(most: int, least: int = 1) -> Meta:
    """The bounds and the description of a field `timeout_ms`."""
    return Meta(description="The time limit of the call in milliseconds.", ge=least, le=most)


def caller_list(uses: str) -> Meta:
    """The bounds and the description of a field `callers`; `uses` says what the callers on the list may do."""
    return Meta(
        description=f"The callers who may {uses}: `user:<user_id>`, `role:<name>`, or of a trusted issuer "
        "`user:<ISSUER>/<subject>`, `role:<ISSUER>/<name>`, `app:<ISSUER>/<client id>`. Such a call needs the bearer "
        "token of one of them, beside the function key. An empty list allows nobody; null removes it.",
        max_length=100,
        examples=[["role:billing"]],
    )


PageLimit = Annotated[int, page_limit()]
NamePrefix = Annotated[str, Meta(description="Only names that begin with this text.", max_length=64)]
Description = Annotated[str, Meta(description="A text for people.", max_length=2000)]

UserName = Annotated[
    str,
    Meta(
        description="The name of a user. Names are compared without regard to case and to how letters are composed.",
        min_length=1,
        max_length=MAX_USER_NAME,
        examples=["alice@example.org"],
    ),
]
UserId = Annotated[str, Meta(description="The id of a user: a UUID that never changes.", examples=[EXAMPLE_USER_ID])]
Password = Annotated[
    str,
    Meta(
        description="Any text. It is normalised to Unicode's NFKC form, which must have 1 to 1,024 bytes in UTF-8.",
        examples=[EXAMPLE_PASSWORD],
    ),
]
