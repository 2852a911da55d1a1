"""What a session and a refresh token decide, without storage."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from shared.identity.errors import NotFresh
from shared.identity.sessions import (
    ActiveSession,
    RefreshToken,
    Session,
    decide,
    has_ended,
    read_refresh_token,
    require_fresh,
    write_refresh_token,
)
from shared.web import decode_base64, encode_base64

KEY = bytes(32)
NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
TOKEN = RefreshToken(str(uuid4()), "0123456789abcdef" * 2, 7)
LENGTH, IDLE = timedelta(days=30), timedelta(days=7)


@dataclass(frozen=True)
class User:
    """A user as a session sees them."""

    user_id: str = TOKEN.user_id
    name: str = "alice"
    disabled: bool = False
    has_factor: bool = False
    short_password: bool = False
    signed_out_at: datetime = NOW
    roles: tuple[str, ...] = ()


def session(generation: int = 7, used: datetime = NOW) -> Session:
    """A session in this generation."""
    return Session(created=NOW, auth_time=NOW, amr=("pwd",), signed_out_at=NOW, used=used, generation=generation)


def test_a_refresh_token_comes_back() -> None:
    """A refresh token names its user, session and generation; under another key or changed it is none."""
    text = write_refresh_token(KEY, TOKEN)
    assert read_refresh_token(KEY, text) == TOKEN
    assert read_refresh_token(b"1" * 32, text) is None
    data = decode_base64(text, "token")
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        assert read_refresh_token(KEY, encode_base64(changed)) is None
    for other in ("", "x", "é", text[:-4], text + "AAAA", "A" * 2000, "A" * 44):
        assert read_refresh_token(KEY, other) is None


@pytest.mark.parametrize(
    ("generation", "seconds", "decision"),
    [
        (7, 0, "rotate"),
        (7, 100_000, "rotate"),
        (8, 0, "repeat"),
        (8, 30, "repeat"),
        (8, 30.001, "reused"),
        (9, 0, "reused"),
        (6, 0, "reused"),
        (100, 0, "reused"),
    ],
)
def test_a_refresh_decides(generation: int, seconds: float, decision: str) -> None:
    """The current token rotates, the previous one repeats for 30 s, and any other ends the session."""
    assert decide(TOKEN, session(generation), NOW + timedelta(seconds=seconds)) == decision


@pytest.mark.parametrize(
    ("used", "now", "signed_out_at", "ended"),
    [
        (NOW, NOW, NOW, False),
        (NOW, NOW + IDLE - timedelta(seconds=1), NOW, False),
        (NOW, NOW + IDLE, NOW, True),
        (NOW + LENGTH, NOW + LENGTH - timedelta(seconds=1), NOW, False),
        (NOW + LENGTH, NOW + LENGTH, NOW, True),
        (NOW, NOW, NOW + timedelta(microseconds=1), True),
        (NOW, NOW, NOW - timedelta(microseconds=1), True),
    ],
)
def test_a_session_ends(used: datetime, now: datetime, signed_out_at: datetime, ended: bool) -> None:
    """A session ends after its days, after its idle hours, and by any change of the user's `signed_out_at`."""
    assert has_ended(session(used=used), User(signed_out_at=signed_out_at), now, LENGTH, IDLE) == ended


@pytest.mark.parametrize(
    ("amr", "has_factor", "seconds", "fresh"),
    [
        (("pwd",), False, 300, True),
        (("pwd",), False, 301, False),
        (("pwd",), True, 0, False),
        (("pwd", "otp", "mfa"), True, 300, True),
        (("pwd", "otp", "mfa"), True, 301, False),
        (("fed",), True, 0, False),
    ],
)
def test_what_is_fresh(amr: tuple[str, ...], has_factor: bool, seconds: int, fresh: bool) -> None:
    """A sign-in is fresh for five minutes; with a factor enrolled, only one of two factors is."""
    active = ActiveSession(user=User(has_factor=has_factor), session_id="s", amr=amr, auth_time=NOW)
    if fresh:
        require_fresh(active, NOW + timedelta(seconds=seconds))
    else:
        with pytest.raises(NotFresh) as error:
            require_fresh(active, NOW + timedelta(seconds=seconds))
        assert error.value.headers["www-authenticate"] == (
            'Bearer error="insufficient_user_authentication", acr_values="2", max_age="300"'
        )
