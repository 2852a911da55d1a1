"""Tokens that a trusted issuer signed: which key checks them, and what their claims must be. Pure.

The rules are those of RFC 7519, RFC 8725 and RFC 9068, and for Entra ID those of
https://learn.microsoft.com/en-us/entra/identity-platform/access-tokens#validate-tokens.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from shared.errors import InvalidRequest
from shared.identity.jwt import Parsed, TokenRefused
from shared.identity.settings import ANY_TENANT, Issuer
from shared.web import decode_base64

if TYPE_CHECKING:
    from joserfc.jwk import Key

CLOCK_SKEW_SECONDS = 60
"""How far the clock of another issuer may differ from this one's."""
MAX_NUMERIC_DATE = 253_402_300_799
"""The end of the year 9999."""
MINIMUM_RSA_BITS = 2048
MAX_SUBJECT = 255
"""OpenID Connect Core, section 2."""

ALGORITHMS: Mapping[str, tuple[str, str]] = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""The algorithms that other issuers may use, each with the type and curve of its keys. All are asymmetric."""

_PUBLIC = ("kty", "kid", "use", "key_ops", "alg", "crv", "x", "y", "n", "e", "issuer")
_TENANT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_ENTRA_ISSUER = re.compile(rf"https?://\S+/({_TENANT.pattern})(/v2\.0|/)", re.IGNORECASE)
_SHARED_ENDPOINT = re.compile(r"https?://\S+/(common|organizations|consumers)(/v2\.0)?/?")
_LOOPBACK = re.compile(r"127(\.(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}", re.ASCII)
TENANT_PLACEHOLDER = "{tenantid}"

_ACCESS_TYPES = frozenset({"", "jwt", "at+jwt"})
_ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash", "s_hash"})
"""OpenID Connect Core, sections 2 and 3.3.2.11: an access token has none of them."""
_ENTRA_ACCESS_CLAIMS = frozenset({"azp", "appid", "scp"})
"""Every access token of Entra ID names its client, and no ID token does."""
_CLIENT_CLAIMS = ("azp", "appid", "client_id", "cid")


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a provider's metadata that the app uses (OpenID Connect Discovery, section 3; RFC 8414, 2)."""

    issuer: str
    """Entra's shared endpoints have the placeholder `{tenantid}` in it."""
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    token_endpoint_auth_methods_supported: list[str] = []
    authorization_response_iss_parameter_supported: bool = False


class Identity(msgspec.Struct, frozen=True):
    """A checked token of a trusted issuer."""

    issuer: Issuer
    url: str
    """Its claim `iss`."""
    subject: str
    """The claim `sub`; for Entra ID `<tid>.<oid>`, because `sub` differs between applications there."""
    client: str | None
    """The application that calls for itself; None where it calls for a user."""
    roles: frozenset[str]
    expires: float
    """Seconds since 1970."""
    groups_overage: bool
    """Whether the user is in more groups than the token names. The app does not fetch them."""
    claims: Mapping[str, Any]


def is_allowed_url(url: str, *, like: str = "") -> bool:
    """Whether the app sends requests and people there: https, or http on this machine (where `like` is, too)."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment or not url.isascii() or not url.isprintable():
        return False
    if parts.scheme == "http":
        return is_loopback(host) and (not like or is_loopback(urlsplit(like).hostname or ""))
    return parts.scheme == "https"


def is_tenant(text: str) -> bool:
    """Whether it is the id of a tenant: a GUID, and not a name that could be another's."""
    return bool(_TENANT.fullmatch(text))


def is_entra_url(url: str) -> bool:
    """Whether the URL has the form of an issuer of Entra ID: the path is a tenant, and `v2.0` for newer tokens."""
    return bool(_ENTRA_ISSUER.fullmatch(url))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address alone."""
    return host in ("localhost", "::1") or bool(_LOOPBACK.fullmatch(host))


def may_be_shared(issuer: str) -> bool:
    """Whether many tenants of Entra ID may share this issuer: then its metadata say so, by a placeholder."""
    return bool(_SHARED_ENDPOINT.fullmatch(issuer)) or TENANT_PLACEHOLDER in issuer


def discovery_url(issuer: str) -> str:
    """The URL of an issuer's metadata (OpenID Connect Discovery, section 4)."""
    return f"{issuer.replace(TENANT_PLACEHOLDER, 'common').removesuffix('/')}/.well-known/openid-configuration"


def is_metadata_of(metadata: Metadata, issuer: str) -> bool:
    """Whether the metadata are of this issuer: exactly, or with the tenant's placeholder at a shared endpoint."""
    if TENANT_PLACEHOLDER in metadata.issuer:
        return may_be_shared(issuer)
    return metadata.issuer == issuer


def names_issuer(template: str, claims: Mapping[str, Any]) -> bool:
    """Whether `iss` is exactly `template`, with the placeholder replaced by the token's tenant."""
    issuer = claims.get("iss")
    if TENANT_PLACEHOLDER not in template:
        return issuer == template
    tenant = claims.get("tid")
    # A tenant is a GUID: anything else could turn the template into another URL.
    return isinstance(tenant, str) and bool(_TENANT.fullmatch(tenant)) and issuer == _of_tenant(template, tenant)


def _of_tenant(template: str, tenant: object) -> str:
    return template.replace(TENANT_PLACEHOLDER, str(tenant))


def public_keys(document: object) -> list[dict[str, Any]]:
    """The public members of the keys of a JWK Set (RFC 7517, section 5); none if it is not one."""
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        return []
    public = [{name: key[name] for name in _PUBLIC if name in key} for key in keys if isinstance(key, dict)]
    return [key for key in public if key.get("kty") in ("RSA", "EC", "OKP")]


def is_known(keys: Iterable[Mapping[str, Any]], key_id: str | None) -> bool:
    """Whether a key has this `kid`. A token without one is checked with the keys that there are."""
    return key_id is None or any(key.get("kid") == key_id for key in keys)


def fitting_keys(keys: Iterable[Mapping[str, Any]], token: Parsed) -> list[Mapping[str, Any]]:
    """The keys that may have signed the token: by its `kid`, algorithm and, for Entra ID, issuer."""
    if token.algorithm not in ALGORITHMS:
        return []
    kty, curve = ALGORITHMS[token.algorithm]
    fitting = [
        key
        for key in keys
        if key.get("kty") == kty
        and key.get("crv", "") == curve
        and key.get("use", "sig") == "sig"
        and key.get("alg", token.algorithm) in _SAME.get(token.algorithm, (token.algorithm,))
        and "verify" in _operations(key)
        and (token.key_id is None or key.get("kid") == token.key_id)
        and _is_of_issuer(key, token.claims)
    ]
    # Without a `kid`, several keys would leave the choice to the sender.
    return fitting if token.key_id is not None or len(fitting) == 1 else []


_SAME = {"EdDSA": ("EdDSA", "Ed25519"), "Ed25519": ("EdDSA", "Ed25519")}
"""RFC 9864 renames `EdDSA`."""


def _operations(key: Mapping[str, Any]) -> Sequence[object]:
    operations = key.get("key_ops", ["verify"])
    return operations if isinstance(operations, list) else ()


def _is_of_issuer(key: Mapping[str, Any], claims: Mapping[str, Any]) -> bool:
    """Entra's shared key set says for each key which issuer may use it."""
    if "issuer" not in key:
        return True
    issuer = key["issuer"]
    return isinstance(issuer, str) and names_issuer(issuer, claims)


def check_signature(token: Parsed, keys: Iterable[Mapping[str, Any]]) -> None:
    """Raise TokenRefused (`bad-signature`) unless one of the issuer's keys has signed the token."""
    from joserfc.errors import JoseError
    from joserfc.jws import JWSRegistry

    candidates = fitting_keys(keys, token)
    if candidates:
        # The library warns of the older name of Ed25519 (RFC 9864).
        name = "Ed25519" if token.algorithm == "EdDSA" else token.algorithm
        algorithm = JWSRegistry(algorithms=[name]).get_alg(name)
    for candidate in candidates:
        members = tuple((name, candidate[name]) for name in ("kty", "crv", "x", "y", "n", "e") if name in candidate)
        key = _loaded(members) if all(isinstance(value, str) for _, value in members) else None
        if key is not None:
            with suppress(JoseError, ValueError, TypeError):
                algorithm.check_key(key)
                if algorithm.verify(token.signed, token.signature, key):
                    return
    raise TokenRefused("bad-signature")


@lru_cache(256)
def _loaded(members: tuple[tuple[str, str], ...]) -> "Key | None":
    """The public key; None if it is not valid, or weak. Cached: to load a point takes as long as to use it."""
    from joserfc.errors import JoseError
    from joserfc.jwk import import_key

    values: dict[str, str | list[str]] = dict(members)
    try:
        if "n" in values and int.from_bytes(decode_base64(str(values["n"]), "n")).bit_length() < MINIMUM_RSA_BITS:
            return None
        return import_key(values)
    except (InvalidRequest, JoseError, ValueError, TypeError, KeyError):
        return None


def check_claims(
    issuer: Issuer, token: Parsed, audiences: Sequence[str], scopes: Iterable[str], now: float
) -> Identity:
    """The identity in a token whose signature has been checked; `now` is in seconds since 1970. Raises TokenRefused."""
    claims = token.claims
    subject = subject_of(claims)
    expires = numeric_date(claims, "exp")
    starts = [value for name in ("nbf", "iat") if (value := numeric_date(claims, name)) is not None]
    if subject is None or expires is None:
        raise TokenRefused("malformed")
    if now >= expires + CLOCK_SKEW_SECONDS:
        raise TokenRefused("expired")
    if any(value > now + CLOCK_SKEW_SECONDS for value in starts):
        raise TokenRefused("not-yet-valid")
    check_audience(claims, audiences)
    if is_id_token(token):
        raise TokenRefused("malformed")
    check_scopes(claims, scopes)
    return Identity(
        issuer,
        str(claims["iss"]),
        subject,
        _client(claims),
        frozenset(texts(claims.get("roles"))),
        expires,
        _has_groups_overage(claims),
        claims,
    )


def is_accepted_tenant(issuer: Issuer, metadata: Metadata, claims: Mapping[str, Any]) -> bool:
    """Whether the token is of a tenant that the operator allows. A shared endpoint without a list allows none."""
    if not issuer.tenants and TENANT_PLACEHOLDER not in metadata.issuer:
        return True
    tenant = claims.get("tid")
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        return False
    return ANY_TENANT in issuer.tenants or tenant.lower() in issuer.tenants


def numeric_date(claims: Mapping[str, Any], name: str) -> float | None:
    """Seconds since 1970 (RFC 7519, section 2); None where the claim is absent. Raises TokenRefused."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_NUMERIC_DATE:
        raise TokenRefused("malformed")
    return value


def check_audience(claims: Mapping[str, Any], audiences: Sequence[str]) -> None:
    """Raise TokenRefused unless `aud` (RFC 7519, section 4.1.3) names one of `audiences`."""
    value = claims.get("aud", [])
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
        raise TokenRefused("malformed")
    if not set(named) & set(audiences):
        raise TokenRefused("wrong-audience")


def check_scopes(claims: Mapping[str, Any], scopes: Iterable[str]) -> None:
    """Raise TokenRefused unless the token has all `scopes`: `scope` (RFC 9068), or `scp` of Entra ID and Okta."""
    present = {each for name in ("scope", "scp") for text in texts(claims.get(name)) for each in text.split()}
    if not set(scopes) <= present:
        raise TokenRefused("missing-scope")


def texts(value: object) -> list[str]:
    """The texts in a claim that is one text or a list of them."""
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def is_id_token(token: Parsed) -> bool:
    """Whether the token is of another kind than an access token: by its type, or by the claims of an ID token."""
    if token.type not in _ACCESS_TYPES:
        return True
    kind = str(token.claims.get("typ")).lower()  # Keycloak names the kind of a token in a claim.
    if token.type == "at+jwt" or kind in ("bearer", "dpop"):
        return False
    if kind in ("id", "refresh", "offline", "logout"):
        return True
    if "ver" in token.claims and is_entra(
        token.claims
    ):  # Its access tokens name their client, and have a scope or role.
        return not _ENTRA_ACCESS_CLAIMS & token.claims.keys()
    return bool(_ID_TOKEN_CLAIMS & token.claims.keys())


def subject_of(claims: Mapping[str, Any]) -> str | None:
    """The subject of the token; None if the claim is missing or malformed."""
    tenant, object_id = claims.get("tid"), claims.get("oid")
    if is_entra(claims):
        return f"{tenant}.{object_id}" if isinstance(object_id, str) and _TENANT.fullmatch(object_id) else None
    subject = claims.get("sub")
    return subject if isinstance(subject, str) and 1 <= len(subject) <= MAX_SUBJECT else None


def is_entra(claims: Mapping[str, Any]) -> bool:
    """Whether the issuer is the token's tenant of Entra ID."""
    match = _ENTRA_ISSUER.fullmatch(str(claims.get("iss")))
    return match is not None and match[1] == claims.get("tid")


def _client(claims: Mapping[str, Any]) -> str | None:
    """The application, if it calls for itself. In Entra ID only tokens of users have `scp`."""
    client = next((value for name in _CLIENT_CLAIMS if isinstance(value := claims.get(name), str) and value), None)
    if client is None or claims.get("sub") == client or claims.get("idtyp") == "app":
        return client
    return None if "scp" in claims or claims.get("idtyp") == "user" else client


def _has_groups_overage(claims: Mapping[str, Any]) -> bool:
    names = claims.get("_claim_names")
    return claims.get("hasgroups") in (True, "true") or (isinstance(names, dict) and "groups" in names)
