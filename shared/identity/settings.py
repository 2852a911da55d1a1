"""The settings of sign-in."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from urllib.parse import urlsplit

import msgspec

from shared.errors import InvalidSetting
from shared.settings import Settings, read_flag, read_list, read_number, read_text, shown

_ORIGIN = re.compile(r"https://[a-z0-9.-]+(:[0-9]{1,5})?|http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?")
_ISSUER_NAME = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
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
                f"https://app.example.org; http:// only for localhost. It contains {shown(origin)}."
            )
        if origin not in origins:
            origins.append(origin)
    return tuple(origins)


ANY_TENANT = "*"


class Issuer(msgspec.Struct, frozen=True):
    """An issuer that the operator trusts: `TRUSTED_ISSUER_<NAME>` and its settings."""

    name: str
    """NAME, as in the setting."""
    url: str
    """The claim `iss` of its tokens, exactly; of Entra's shared endpoints the authority, such as
    https://login.microsoftonline.com/common/v2.0."""
    audiences: tuple[str, ...] = ()
    """The audiences of which a token names at least one."""
    tenants: frozenset[str] = frozenset()
    """The tenants of Entra ID whose tokens are accepted, in lower case; `*` is any."""


class SsoProvider(msgspec.Struct, frozen=True):
    """A provider of single sign-on: the settings `SSO_<NAME>_…`."""

    name: str
    """NAME in lower case, as in the path."""
    issuer: Issuer
    client_id: str
    client_secret: str = ""
    """Without one, PKCE alone protects the code."""
    scopes: tuple[str, ...] = ("openid",)
    create_users: bool = False
    second_factor: bool = False
    """Whether this app requires a second factor where the provider reports none."""

    def __repr__(self) -> str:
        return f"SsoProvider({self.name}, …)"


class OtherIssuers(msgspec.Struct, frozen=True):
    """The other issuers of tokens and the providers of single sign-on. NAME is of letters, digits and underscores."""

    trusted: tuple[Issuer, ...] = ()
    """`TRUSTED_ISSUER_<NAME>`: an issuer whose access tokens `check-token` and lists of callers accept, exactly as in
    the claim `iss`; `TRUSTED_ISSUER_<NAME>_AUDIENCE`: for whom its tokens are (default: STRONGROOM_AUDIENCE);
    `TRUSTED_ISSUER_<NAME>_TENANTS`: the tenants of Entra ID whose tokens are accepted, or `*`."""
    providers: tuple[SsoProvider, ...] = ()
    """`SSO_<NAME>_ISSUER`: a provider of single sign-on; `SSO_<NAME>_CLIENT_ID` and `SSO_<NAME>_CLIENT_SECRET`, of this
    app's registration there; `SSO_<NAME>_SCOPES`: the scopes to request (default `openid`, for Entra ID `openid
    profile`); `SSO_<NAME>_CREATE_USERS`: whether a first sign-in creates a user; `SSO_<NAME>_SECOND_FACTOR`: whether
    the user's second factor here is required where the provider shows none; `SSO_<NAME>_TENANTS`: the tenants that may
    sign in at an endpoint of Entra ID for several."""


def load_other_issuers(environ: Mapping[str, str]) -> OtherIssuers:
    """Raises InvalidSetting, naming the variable."""
    trusted = [
        Issuer(
            name,
            _issuer(environ, f"TRUSTED_ISSUER_{name}"),
            read_list(environ, f"TRUSTED_ISSUER_{name}_AUDIENCE"),
            _tenants(environ, f"TRUSTED_ISSUER_{name}_TENANTS"),
        )
        for name in _names(environ, "TRUSTED_ISSUER_", "", ("_AUDIENCE", "_TENANTS"))
    ]
    providers = [_provider(environ, name) for name in _names(environ, "SSO_", "_ISSUER", _PROVIDER_SETTINGS)]
    return OtherIssuers(tuple(trusted), tuple(providers))


def passkey_warnings(settings: IdentitySettings) -> Iterator[tuple[str, str, str]]:
    """A code, the name of the setting and a sentence if no page can use passkeys.

    A page's host must be the RP ID, or a subdomain of it (WebAuthn Level 3, section 5.1.2).
    """
    hosts = [urlsplit(origin).hostname or "" for origin in settings.origins]
    if hosts and not any(f".{host}".endswith(f".{settings.rp_id}") for host in hosts):
        detail = (
            f"STRONGROOM_RP_ID is {settings.rp_id}, and no origin of STRONGROOM_URL and STRONGROOM_ORIGINS is in this "
            "domain, so no page can use passkeys. Correct one of these settings."
        )
        yield "rp-id-without-origin", "STRONGROOM_RP_ID", detail


def issuer_warnings(others: OtherIssuers, audience: str) -> Iterator[tuple[str, str, str]]:
    """A code, the name of a setting and a sentence for each issuer whose tokens are never accepted, or too widely.

    `audience` is this app's own; "" if STRONGROOM_URL and STRONGROOM_AUDIENCE are unset.
    """
    from shared.identity.issuers import may_be_shared

    for each in others.trusted:
        if not (each.audiences or audience):
            name = f"TRUSTED_ISSUER_{each.name}"
            detail = f"Set {name}_AUDIENCE: without it, only requests that name an audience accept its tokens."
            yield "issuer-without-audience", name, detail
    variables = [(f"TRUSTED_ISSUER_{each.name}", each) for each in others.trusted]
    variables += [(f"SSO_{each.issuer.name}", each.issuer) for each in others.providers]
    for variable, issuer in variables:
        if may_be_shared(issuer.url) and not issuer.tenants:
            yield "issuer-without-tenants", variable, f"Set {variable}_TENANTS: without it, no tenant is accepted."
        elif ANY_TENANT in issuer.tenants:
            yield "issuer-of-any-tenant", variable, f"{variable}_TENANTS is *: any organization may create a tenant."


_PROVIDER_SETTINGS = ("_CLIENT_ID", "_CLIENT_SECRET", "_SCOPES", "_CREATE_USERS", "_SECOND_FACTOR", "_TENANTS")


def _names(environ: Mapping[str, str], prefix: str, main: str, others: tuple[str, ...]) -> list[str]:
    """The NAMEs of settings `<prefix><NAME><main>`, whose other settings end in `others`."""
    present = [each.removeprefix(prefix) for each in environ if each.startswith(prefix) and environ[each].strip()]
    is_other = {each: next((suffix for suffix in others if each.endswith(suffix)), None) for each in present}
    names = sorted(
        each.removesuffix(main) for each, suffix in is_other.items() if suffix is None and each.endswith(main)
    )
    for each, suffix in is_other.items():
        if suffix is not None and each.removesuffix(suffix) not in names:
            raise InvalidSetting(f"{prefix}{each} is set, but {prefix}{each.removesuffix(suffix)}{main} is not.")
    for name in names:
        if not _ISSUER_NAME.fullmatch(name):
            raise InvalidSetting(f"{prefix}{name}{main} must have a NAME of letters, digits and underscores.")
    return names


def _issuer(environ: Mapping[str, str], variable: str) -> str:
    from shared.identity.issuers import is_allowed_url  # Most apps have none of these settings.

    url = read_text(environ, variable)
    if not is_allowed_url(url) or "?" in url or " " in url:
        raise InvalidSetting(
            f"{variable} must be the issuer's URL, such as https://login.example.org; http:// only for localhost."
        )
    return url


def _tenants(environ: Mapping[str, str], variable: str) -> frozenset[str]:
    from shared.identity.issuers import is_tenant

    tenants = frozenset(each.lower() for each in read_list(environ, variable))
    if not all(each == ANY_TENANT or is_tenant(each) for each in tenants):
        raise InvalidSetting(f"{variable} must be ids of tenants (GUIDs), separated by commas, or * for any tenant.")
    return tenants


def _provider(environ: Mapping[str, str], name: str) -> SsoProvider:
    from shared.identity.issuers import is_entra_url, may_be_shared

    prefix = f"SSO_{name}"
    client_id = read_text(environ, f"{prefix}_CLIENT_ID")
    if not client_id:
        raise InvalidSetting(
            f"{prefix}_ISSUER is set, but {prefix}_CLIENT_ID is not: the id of this app's registration at the provider."
        )
    issuer = Issuer(name, _issuer(environ, f"{prefix}_ISSUER"), (client_id,), _tenants(environ, f"{prefix}_TENANTS"))
    # Entra ID puts the user's object id into an ID token only with the scope `profile`.
    default = ("openid", "profile") if may_be_shared(issuer.url) or is_entra_url(issuer.url) else ("openid",)
    scopes = tuple(environ.get(f"{prefix}_SCOPES", "").replace(",", " ").split()) or default
    if "openid" not in scopes:
        raise InvalidSetting(f"{prefix}_SCOPES must contain openid.")
    return SsoProvider(
        name.lower(),
        issuer,
        client_id,
        read_text(environ, f"{prefix}_CLIENT_SECRET"),
        scopes,
        read_flag(environ, f"{prefix}_CREATE_USERS"),
        read_flag(environ, f"{prefix}_SECOND_FACTOR"),
    )
