"""Fields that the requests and responses of several functions share."""

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.identity.store.sessions import ListedSession
from shared.web import rfc3339

UserName = Annotated[
    str,
    Meta(
        description="The name of a user. Names are compared without regard to case and to how letters are composed.",
        min_length=1,
        max_length=128,
        examples=["alice@example.org"],
    ),
]
Password = Annotated[
    str,
    Meta(
        description="Any text. It is normalised to Unicode's NFKC form, which must have 1 to 1,024 bytes in UTF-8.",
        examples=["correct horse battery staple"],
    ),
]
UserId = Annotated[str, Meta(description="A UUID that never changes.")]
SessionId = Annotated[str, Meta(description="The id of a session: 32 hexadecimal digits.")]
Methods = Annotated[
    tuple[str, ...],
    Meta(
        description="How the user signed in (RFC 8176): `pwd` a password, `otp` a code, `pop` a passkey, `user` the "
        "passkey's user verification, `fed` single sign-on, `mfa` two factors."
    ),
]


class DescribedSession(msgspec.Struct, frozen=True):
    """A session that has not ended."""

    session_id: SessionId
    created: str
    last_used: Annotated[str, Meta(description="When it began or was refreshed last.")]
    amr: Methods
    user_agent: str
    current: Annotated[bool, Meta(description="Whether it is the session of this call.")]


class SessionsResponse(msgspec.Struct, frozen=True):
    """The sessions, the newest first."""

    sessions: list[DescribedSession]


def described(found: list[ListedSession], current: str) -> SessionsResponse:
    """The response with these sessions; `current` is the id of the call's own session."""
    return SessionsResponse(
        [
            DescribedSession(
                each.session_id,
                rfc3339(each.session.created),
                rfc3339(each.session.used),
                each.session.amr,
                each.session.user_agent,
                each.session_id == current,
            )
            for each in found
        ]
    )
