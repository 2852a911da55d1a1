"""Sessions and their refresh tokens: the stored form, and the rules of a refresh. Pure.

A refresh token is an HMAC over user, session and generation. So the row holds one number, a refresh is one conditional
write, and the retry of a refresh whose response was lost gets the same token.
"""

import hmac
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import msgspec

from shared.errors import InvalidRequest
from shared.identity.errors import NotFresh
from shared.identity.tokens import acr_of
from shared.identity.users import User
from shared.web import decode_base64, encode_base64

PREFIX = "s|"
"""Of the row keys of sessions."""
RETRY = timedelta(seconds=30)
"""How long the previous refresh token returns the same successor."""
FRESH = timedelta(minutes=5)
MAX_SESSIONS = 100
"""Sessions of one user. A further one ends that which was used longest ago."""
MAX_USER_AGENT = 256
SESSION_ID_BYTES = 16
_GENERATION_BYTES = 4
_MAC_BYTES = 32


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The document of a row `s|<session id>`."""

    created: datetime
    auth_time: datetime
    """When the user signed in, last."""
    amr: tuple[str, ...]
    signed_out_at: datetime
    """The user's `signed_out_at` when the session began. Once it has changed, the session is over."""
    used: datetime
    """When it was refreshed, or the user signed in, last."""
    generation: int = 0
    """The number of the current refresh token."""
    user_agent: str = ""


class ActiveSession(msgspec.Struct, frozen=True, kw_only=True):
    """The session of a call: the claims of its access token, and the user as stored now."""

    user: User
    session_id: str
    amr: tuple[str, ...]
    auth_time: datetime

    @property
    def acr(self) -> str:
        """`1` or `2`."""
        return acr_of(self.amr)

    @property
    def caller(self) -> str:
        """Who calls, as the log of events names them."""
        return f"user:{self.user.user_id}"


class RefreshToken(NamedTuple):
    """The session and the generation that a refresh token names."""

    user_id: str
    session_id: str
    generation: int


def has_ended(session: Session, user: User, now: datetime, length: timedelta, idle: timedelta) -> bool:
    """Whether a session is over: by the user's sign-out, or by time."""
    return session.signed_out_at != user.signed_out_at or now >= ends_at(session, length, idle)


def ends_at(session: Session, length: timedelta, idle: timedelta) -> datetime:
    """When a session ends if it is not refreshed."""
    return min(session.created + length, session.used + idle)


def decide(token: RefreshToken, session: Session, now: datetime) -> Literal["rotate", "repeat", "reused"]:
    """The effect of a refresh of a live session: rotate, return the same successor again, or end the session.

    While `session.generation` is the successor of the token, nobody has used the successor.
    """
    if token.generation == session.generation:
        return "rotate"
    if token.generation == session.generation - 1 and now - session.used <= RETRY:
        return "repeat"
    return "reused"


def require_fresh(session: ActiveSession, now: datetime) -> None:
    """Raise NotFresh unless the user signed in within five minutes, and with a second factor if there is one."""
    if now - session.auth_time > FRESH or (session.user.has_factor and session.acr != "2"):
        raise NotFresh("Sign in again with this session's access token, with a second factor if the user has one.")


def write_refresh_token(key: bytes, token: RefreshToken) -> str:
    """The refresh token as the caller gets it. `key` has 32 bytes."""
    body = (
        bytes.fromhex(token.user_id.replace("-", ""))
        + bytes.fromhex(token.session_id)
        + token.generation.to_bytes(_GENERATION_BYTES, "big")
    )
    return encode_base64(body + hmac.digest(key, body, "sha256"))


def read_refresh_token(key: bytes, text: str) -> RefreshToken | None:
    """Parse a refresh token; None if the app did not issue it."""
    if len(text) > 2 * (_MAC_BYTES + 2 * SESSION_ID_BYTES + _GENERATION_BYTES):
        return None
    try:
        data = decode_base64(text, "refresh_token")
    except InvalidRequest:
        return None
    body, mac = data[:-_MAC_BYTES], data[-_MAC_BYTES:]
    if len(body) != 16 + SESSION_ID_BYTES + _GENERATION_BYTES:
        return None
    if not hmac.compare_digest(mac, hmac.digest(key, body, "sha256")):
        return None
    user_id, session_id, generation = body[:16], body[16:-_GENERATION_BYTES], body[-_GENERATION_BYTES:]
    return RefreshToken(_uuid(user_id.hex()), session_id.hex(), int.from_bytes(generation, "big"))


def _uuid(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
