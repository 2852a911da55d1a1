"""Single sign-on by the code flow of OpenID Connect: the requests, the sealed state, and the ID token. Pure.

Sources: OpenID Connect Core 1.0, RFC 7636 (PKCE), RFC 9207 (`iss` in the response), RFC 9700 (best current practice).
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from shared.errors import InvalidRequest
from shared.identity import issuers
from shared.identity.issuers import Metadata
from shared.identity.jwt import Parsed, TokenRefused
from shared.identity.settings import SsoProvider
from shared.web import decode_base64, encode_base64

FLOW_SECONDS = 600
"""How long a person may take at the provider."""
TICKET_LIFETIME = timedelta(seconds=60)
MAX_RETURN_TO = 512
MAX_COOKIE = 3000
NONCE_BYTES = 12
STATE_CHARACTERS = 8
"""Of the state, at the end of the cookie's name: each tab has a cookie of its own."""

_BOUND = b"strongroom sso 1"
_RETURN_TO = re.compile(r"(https?://[^/?#\\@\s]+)(/[^#\\\s]*|\?[^#\\\s]*)?", re.ASCII | re.IGNORECASE)
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_KNOWLEDGE = frozenset({"pwd", "pin", "kba"})
_POSSESSION = frozenset({"otp", "hwk", "swk", "sc", "pop", "sms", "tel", "mca"})
_INHERENCE = frozenset({"fpt", "face", "iris", "retina", "vbm", "bio"})

Outcome = Literal["access-denied", "unknown-user", "disabled", "provider-failed"]


class Flow(msgspec.Struct, frozen=True):
    """The state of a flow that the app needs when the browser returns. It travels sealed, in a cookie."""

    provider: str
    state: str
    nonce: str
    code_verifier: str
    return_to: str
    code_challenge: str
    """The caller's, for the ticket."""
    expires: float
    """Seconds since 1970."""

    def __repr__(self) -> str:
        return "Flow(…)"


class Person(msgspec.Struct, frozen=True):
    """The person whom a provider has signed in."""

    issuer: str
    subject: str
    has_second_factor: bool


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Flow)


def seal(key: bytes, flow: Flow, nonce: bytes) -> str:
    """The value of the cookie. `key` has 32 bytes, `nonce` 12 random ones."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return encode_base64(nonce + AESGCM(key).encrypt(nonce, _ENCODER.encode(flow), _BOUND))


def unseal(key: bytes, text: str, now: float) -> Flow | None:
    """The flow in a cookie; None if the app did not write it, or if it has expired."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(text) > MAX_COOKIE:
        return None
    try:
        sealed = decode_base64(text, "cookie")
        flow = _DECODER.decode(AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _BOUND))
    except (InvalidRequest, InvalidTag, ValueError):
        return None
    return flow if now < flow.expires else None


def cookie_name(state: str, *, is_secure: bool) -> str:
    """The name of a flow's cookie. With the prefix, no other host of the domain can set it (RFC 6265bis)."""
    return f"{'__Host-' if is_secure else ''}sso-{state[:STATE_CHARACTERS]}"


def cookie(state: str, value: str, *, is_secure: bool) -> str:
    """The header Set-Cookie; with an empty value, it removes the cookie."""
    age = FLOW_SECONDS if value else 0
    secure = "; Secure" if is_secure else ""
    return f"{cookie_name(state, is_secure=is_secure)}={value}; Max-Age={age}; Path=/; HttpOnly; SameSite=Lax{secure}"


def cookie_value(header: str, name: str) -> str | None:
    """The value of the cookie; None without one, or with several. The host joins two Cookie headers with a comma."""
    values = [
        value.strip()
        for part in re.split("[;,]", header)
        for key, _, value in [part.partition("=")]
        if key.strip() == name
    ]
    return values[0] if len(values) == 1 else None


def challenge(code_verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636, section 4.2)."""
    return encode_base64(hashlib.sha256(code_verifier.encode()).digest())


def is_challenge(text: str) -> bool:
    """Whether it can be an S256 challenge."""
    return bool(_CHALLENGE.fullmatch(text))


def is_return_to(url: str, origins: Sequence[str]) -> bool:
    """Whether the browser may be sent to `url`: its origin is on the list, and no parser reads it otherwise."""
    match = _RETURN_TO.fullmatch(url)
    # The host's response header is ASCII, without control characters.
    is_header = url.isascii() and url.isprintable()
    return len(url) <= MAX_RETURN_TO and is_header and match is not None and match[1].lower() in origins


def with_parameters(url: str, parameters: Mapping[str, str]) -> str:
    """`url` with more query parameters."""
    return f"{url}{'&' if urlsplit(url).query else '?' if not url.endswith('?') else ''}{urlencode(parameters)}"


def authorization_url(provider: SsoProvider, metadata: Metadata, flow: Flow, redirect_uri: str) -> str:
    """The URL of the authentication request (OpenID Connect Core, section 3.1.2.1)."""
    return with_parameters(
        metadata.authorization_endpoint,
        {
            "response_type": "code",
            "response_mode": "query",
            "client_id": provider.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(provider.scopes),
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": challenge(flow.code_verifier),
            "code_challenge_method": "S256",
        },
    )


def token_request(
    provider: SsoProvider, metadata: Metadata, flow: Flow, code: str, redirect_uri: str
) -> tuple[dict[str, str], dict[str, str]]:
    """The form and the headers that exchange a code (OpenID Connect Core, section 3.1.3.1, and RFC 6749, 2.3.1)."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": flow.code_verifier,
    }
    methods = metadata.token_endpoint_auth_methods_supported
    if provider.client_secret and (not methods or "client_secret_basic" in methods):
        credential = f"{quote(provider.client_id, safe='')}:{quote(provider.client_secret, safe='')}"
        return form, {"Authorization": "Basic " + _basic(credential)}
    form["client_id"] = provider.client_id
    if provider.client_secret:
        form["client_secret"] = provider.client_secret
    return form, {}


def _basic(credential: str) -> str:
    import base64

    return base64.b64encode(credential.encode()).decode()


def is_response_of(metadata: Metadata, response_issuer: str | None) -> bool:
    """Whether the parameter `iss` of the response allows it (RFC 9207, section 2.4): it protects against mix-ups.

    Without a tenant, a shared endpoint's issuer cannot be compared yet: `person` compares it with the ID token's.
    """
    if response_issuer is None:
        return not metadata.authorization_response_iss_parameter_supported
    return response_issuer == metadata.issuer or issuers.TENANT_PLACEHOLDER in metadata.issuer


def person(
    provider: SsoProvider, metadata: Metadata, token: Parsed, nonce: str, response_issuer: str | None, now: float
) -> Person:
    """The person in an ID token whose signature has been checked (OpenID Connect Core, section 3.1.3.7).

    Raises TokenRefused.
    """
    claims = token.claims
    if not issuers.names_issuer(metadata.issuer, claims) or not issuers.is_accepted_tenant(
        provider.issuer, metadata, claims
    ):
        raise TokenRefused("unknown-issuer")
    if response_issuer is not None and claims["iss"] != response_issuer:
        raise TokenRefused("unknown-issuer")
    issuers.check_audience(claims, (provider.client_id,))
    audiences = issuers.texts(claims["aud"])
    if claims.get("azp", provider.client_id if len(audiences) == 1 else None) != provider.client_id:
        raise TokenRefused("wrong-audience")
    expires, issued = issuers.numeric_date(claims, "exp"), issuers.numeric_date(claims, "iat")
    starts = issuers.numeric_date(claims, "nbf") or 0
    subject = issuers.subject_of(claims)
    if expires is None or issued is None or subject is None or token.type not in ("", "jwt"):
        raise TokenRefused("malformed")
    if now >= expires + issuers.CLOCK_SKEW_SECONDS:
        raise TokenRefused("expired")
    if max(issued, starts) > now + issuers.CLOCK_SKEW_SECONDS:
        raise TokenRefused("not-yet-valid")
    if claims.get("nonce") != nonce:
        raise TokenRefused("malformed")
    return Person(str(claims["iss"]), subject, shows_second_factor(claims.get("amr")))


def shows_second_factor(amr: Any) -> bool:
    """Whether the methods (RFC 8176) say that two kinds of factors were used."""
    methods = set(issuers.texts(amr))
    kinds = [bool(methods & kind) for kind in (_KNOWLEDGE, _POSSESSION, _INHERENCE)]
    return "mfa" in methods or sum(kinds) >= 2
