"""Fields that the requests and responses of several functions share."""

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.identity.store.sessions import ListedSession
from shared.identity.tickets import MAX_LENGTH
from shared.web import rfc3339

SessionId = Annotated[str, Meta(description="The id of a session: 32 hexadecimal digits.")]
TicketText = Annotated[
    str,
    Meta(
        description="A ticket: an opaque text, valid for five minutes and for one success.",
        min_length=1,
        max_length=MAX_LENGTH,
    ),
]
Code = Annotated[
    str,
    Meta(
        description="The code that an authenticator app shows now. Spaces are ignored.",
        max_length=64,
        examples=["123456"],
    ),
]
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


def described(listed: list[ListedSession], current: str) -> SessionsResponse:
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
            for each in listed
        ]
    )
