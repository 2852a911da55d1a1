"""Fields that the requests and responses of several functions share."""

from typing import Annotated

from msgspec import Meta

from shared.passwords.names import MAX_NAME_LENGTH

EXAMPLE_PASSWORD = "correct horse battery staple"  # noqa: S105 - of https://xkcd.com/936, for the documentation.

Password = Annotated[
    str,
    Meta(
        description="Any text. It is normalised to Unicode's NFKC form, which must have 1 to 1,024 bytes in UTF-8.",
        examples=[EXAMPLE_PASSWORD],
    ),
]
UserName = Annotated[
    str,
    Meta(
        description="The name of a user. Names are compared without regard to case and to how letters are composed.",
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        examples=["alice@example.org"],
    ),
]
SecondFactor = Annotated[
    bool,
    Meta(description="Whether the user has another factor beside the password; then a shorter password is enough."),
]
UserId = Annotated[str, Meta(description="A UUID that never changes.")]
