"""The settings of sign-in."""

import re
from collections.abc import Mapping
from datetime import timedelta

import msgspec

from shared.errors import InvalidSetting
from shared.settings import Settings, read_flag, read_list, read_number, read_text

_ORIGIN = re.compile(r"https://[a-z0-9.-]+(:[0-9]{1,5})?|http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?")
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


class IdentitySettings(msgspec.Struct, frozen=True):
    """Built by `load_settings`."""

    issuer: str
    """`$STRONGROOM_URL/api`: the `iss` of access tokens."""
    audience: str
    """`STRONGROOM_AUDIENCE`: the `aud` of access tokens; by default the issuer."""
    rp_id: str
    """`STRONGROOM_RP_ID`: the domain that passkeys are bound to; by default the host of STRONGROOM_URL."""
    origins: tuple[str, ...]
    """The origin of STRONGROOM_URL, and those of `STRONGROOM_ORIGINS`: the pages that may use passkeys."""
    public_sign_in: bool = False
    """`STRONGROOM_PUBLIC_SIGN_IN`: whether browsers may call `sign-in` and its companions without a function key."""
    public_sign_up: bool = False
    """`STRONGROOM_PUBLIC_SIGN_UP`: whether anybody may create a user with `sign-up`."""
    proxies: int = 0
    """`STRONGROOM_PROXIES`: the trusted entries at the end of X-Forwarded-For; 0: no limits by address."""
    session_length: timedelta = timedelta(days=30)
    """`STRONGROOM_SESSION_DAYS`: a session ends this long after its first sign-in."""
    session_idle: timedelta = timedelta(days=7)
    """`STRONGROOM_SESSION_IDLE_HOURS`: a session ends when it was not refreshed for this long."""
    totp_skew: int = 1
    """`STRONGROOM_TOTP_SKEW`: how many steps of 30 s the clock of an authenticator may be off, in both directions."""


def load_settings(environ: Mapping[str, str], core: Settings) -> IdentitySettings:
    """Raises InvalidSetting, naming the variable."""
    host = core.url.partition("://")[2].partition(":")[0]
    rp_id = read_text(environ, "STRONGROOM_RP_ID") or host
    if rp_id and not _HOST.fullmatch(rp_id):
        raise InvalidSetting(
            "STRONGROOM_RP_ID must be a domain in lower case, without scheme and port, such as example.org."
        )
    issuer = f"{core.url}/api"
    return IdentitySettings(
        issuer=issuer,
        audience=read_text(environ, "STRONGROOM_AUDIENCE") or issuer,
        rp_id=rp_id,
        origins=_origins(environ, core.url),
        public_sign_in=read_flag(environ, "STRONGROOM_PUBLIC_SIGN_IN"),
        public_sign_up=read_flag(environ, "STRONGROOM_PUBLIC_SIGN_UP"),
        proxies=core.proxies,
        session_length=timedelta(days=read_number(environ, "STRONGROOM_SESSION_DAYS", 30, 1, 400)),
        session_idle=timedelta(hours=read_number(environ, "STRONGROOM_SESSION_IDLE_HOURS", 168, 1, 9600)),
        totp_skew=read_number(environ, "STRONGROOM_TOTP_SKEW", 1, 0, 2),
    )


def _origins(environ: Mapping[str, str], url: str) -> tuple[str, ...]:
    """The origin of `url`, which has no path, and the listed ones, each once."""
    origins = [url.lower()] if url else []
    for origin in read_list(environ, "STRONGROOM_ORIGINS"):
        if not _ORIGIN.fullmatch(origin):
            raise InvalidSetting(
                "STRONGROOM_ORIGINS must be origins in lower case, separated by commas, such as "
                f"https://app.example.org; http:// only for localhost. It contains {origin!r}."
            )
        if origin not in origins:
            origins.append(origin)
    return tuple(origins)
