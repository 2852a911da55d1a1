"""`list-sessions` and `end-sessions`: the sessions of any user, for an operator."""

from functools import partial

from shared.errors import Busy, Unavailable, UnknownUser
from shared.identity.routes.fields import SessionsResponse, described
from shared.identity.store.sessions import SessionStore
from shared.web import Example, Fields, Operation, Response
from shared.web.fields import EXAMPLE_USER_ID, UserId


class ListSessionsRequest(Fields, frozen=True):
    user_id: UserId


class EndSessionsRequest(Fields, frozen=True):
    user_id: UserId


def list_sessions(sessions: SessionStore, fields: ListSessionsRequest) -> SessionsResponse:
    listed = sessions.listed(fields.user_id.lower())
    if listed is None:
        raise UnknownUser("No user has this id. list-users lists the users.")
    return described(listed, "")


def end_sessions(sessions: SessionStore, fields: EndSessionsRequest) -> Response:
    if not sessions.end_all(fields.user_id.lower()):
        raise UnknownUser("No user has this id. list-users lists the users.")
    return Response(204)


def operations(sessions: SessionStore) -> dict[str, Operation]:
    """The functions for operators."""
    return {
        "list-sessions": Operation(
            handle=partial(list_sessions, sessions),
            request=ListSessionsRequest,
            response=SessionsResponse,
            summary="List the sessions of a user that have not ended.",
            errors=(UnknownUser, Unavailable),
            examples=(Example("A user of the sample data", {"user_id": EXAMPLE_USER_ID}),),
        ),
        "end-sessions": Operation(
            handle=partial(end_sessions, sessions),
            request=EndSessionsRequest,
            response=None,
            summary="End all sessions of a user.\n\nFunctions with access `session` refuse their access tokens at "
            "once. Elsewhere an access token is valid until it expires, at most ten minutes.",
            errors=(UnknownUser, Busy, Unavailable),
            examples=(Example("A user of the sample data", {"user_id": EXAMPLE_USER_ID}),),
            statuses={204: "The sessions have ended."},
            writes=True,
        ),
    }
