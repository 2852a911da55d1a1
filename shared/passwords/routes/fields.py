"""Fields that the requests and responses of several functions share."""

from typing import Annotated

from msgspec import Meta

SecondFactor = Annotated[
    bool,
    Meta(description="Whether the user has another factor beside the password; then a shorter password is enough."),
]
