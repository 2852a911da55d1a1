"""The functions of a signed-in user: their session, password and sessions."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.errors import (
    Busy,
    HashTooLarge,
    InvalidPassword,
    SamePassword,
    TooManyAttempts,
    Unauthorized,
    Unavailable,
    UnknownUser,
    UserChanged,
    UserDisabled,
    UserLocked,
    WeakPassword,
    WrongPassword,
)
from shared.identity.errors import InvalidToken, NotFresh, UnknownSession
from shared.identity.routes.fields import Methods, SessionId, SessionsResponse, described
from shared.identity.sessions import ActiveSession, require_fresh
from shared.identity.store.sessions import SessionStore
from shared.identity.users import Accounts
from shared.web import Example, Fields, Operation, Response, rfc3339
from shared.web.fields import EXAMPLE_PASSWORD, Password, UserId

SESSION_ERRORS = (Unauthorized, InvalidToken, Unavailable)
"""What every function with a session may return."""


class WhoAmIResponse(msgspec.Struct, frozen=True):
    user_id: UserId
    user: str
    session_id: SessionId
    amr: Methods
    acr: Annotated[str, Meta(description="`1`: one factor. `2`: two factors.")]
    auth_time: Annotated[str, Meta(description="When the user signed in.")]
    roles: tuple[str, ...]


class ChangeMyPasswordRequest(Fields, frozen=True):
    password: Password
    old_password: Annotated[
        Password | None, Meta(description="Without it, the session needs a fresh sign-in: at most five minutes old.")
    ] = None


class EndMySessionRequest(Fields, frozen=True):
    session_id: SessionId


def who_am_i(session: ActiveSession) -> WhoAmIResponse:
    user = session.user
    return WhoAmIResponse(
        user.user_id,
        user.name,
        session.session_id,
        session.amr,
        session.acr,
        rfc3339(session.auth_time),
        user.roles,
    )


def sign_out(sessions: SessionStore, session: ActiveSession) -> Response:
    sessions.end(session.user.user_id, session.session_id)
    return Response(204)


def change_my_password(
    accounts: Accounts,
    sessions: SessionStore,
    clock: Callable[[], datetime],
    request: ChangeMyPasswordRequest,
    session: ActiveSession,
) -> Response:
    if request.old_password is None:
        require_fresh(session, clock())
    user_id = session.user.user_id
    accounts.change_own_password(
        user_id,
        request.old_password,
        request.password,
        lambda signed_out_at: sessions.keeping(user_id, session.session_id, signed_out_at),
    )
    return Response(204)


def my_sessions(sessions: SessionStore, session: ActiveSession) -> SessionsResponse:
    return described(sessions.listed(session.user.user_id) or [], session.session_id)


def end_my_session(sessions: SessionStore, fields: EndMySessionRequest, session: ActiveSession) -> Response:
    sessions.end(session.user.user_id, fields.session_id.lower())
    return Response(204)


def operations(accounts: Accounts, sessions: SessionStore, clock: Callable[[], datetime]) -> dict[str, Operation]:
    """The functions of a signed-in user."""
    return {
        "who-am-i": Operation(
            handle=who_am_i,
            request=None,
            response=WhoAmIResponse,
            summary="The user and the session of an access token.",
            errors=SESSION_ERRORS,
        ),
        "sign-out": Operation(
            handle=partial(sign_out, sessions),
            request=None,
            response=None,
            summary="End the session of this call.\n\nFunctions with access `session` refuse its access token at once. "
            "Elsewhere the token is valid until it expires, at most ten minutes.",
            errors=(*SESSION_ERRORS, UnknownSession, Busy),
            statuses={204: "The session has ended."},
            writes=True,
        ),
        "change-my-password": Operation(
            handle=partial(change_my_password, accounts, sessions, clock),
            request=ChangeMyPasswordRequest,
            response=None,
            summary="Change the password of the signed-in user. It ends all other sessions.\n\nWrong old passwords "
            "count as those of sign-in.",
            errors=(
                *SESSION_ERRORS,
                NotFresh,
                WrongPassword,
                SamePassword,
                WeakPassword,
                InvalidPassword,
                HashTooLarge,
                UserChanged,
                UserDisabled,
                UnknownUser,
                TooManyAttempts,
                UserLocked,
                Busy,
            ),
            examples=(
                Example(
                    "A new password",
                    {"old_password": EXAMPLE_PASSWORD, "password": "seven purple mountain goats"},
                ),
            ),
            statuses={204: "The password was changed."},
            writes=True,
        ),
        "my-sessions": Operation(
            handle=partial(my_sessions, sessions),
            request=None,
            response=SessionsResponse,
            summary="List the signed-in user's sessions that have not ended.",
            errors=SESSION_ERRORS,
        ),
        "end-my-session": Operation(
            handle=partial(end_my_session, sessions),
            request=EndMySessionRequest,
            response=None,
            summary="End one of the signed-in user's sessions.",
            errors=(*SESSION_ERRORS, UnknownSession, Busy),
            examples=(Example("A session", {"session_id": "0" * 32}),),
            statuses={204: "The session has ended."},
            writes=True,
        ),
    }
