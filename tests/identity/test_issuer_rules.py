"""The rules for tokens of trusted issuers: URLs, metadata, keys and claims. Needs no server."""

from typing import Any

import pytest

from shared.identity.issuers import (
    Metadata,
    check_claims,
    fitting_keys,
    is_allowed_url,
    is_id_token,
    is_metadata_of,
    names_issuer,
    public_keys,
)
from shared.identity.jwt import Parsed, TokenRefused
from shared.identity.settings import Issuer

NOW = 1_800_000_000.0
TENANT = "11111111-2222-4333-8444-555555555555"
OBJECT = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
SHARED = "https://login.example/{tenantid}/v2.0"
ISSUER = Issuer("EXAMPLE", "https://issuer.example")
CLAIMS = {"iss": ISSUER.url, "sub": "1", "aud": "api", "exp": NOW + 60, "iat": NOW, "scope": "read write"}


def token(changes: dict[str, Any], **header: Any) -> Parsed:
    """A token with some claims replaced; None removes one."""
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return Parsed("", {"alg": "RS256", **header}, claims, b"", b"")


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://issuer.example/path", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost/a", True),
        ("http://issuer.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("https://user@issuer.example", False),
        ("https://issuer.example/#a", False),
        ("https://issuer.example:port", False),
        ("https://é.example", False),
        ("ftp://issuer.example", False),
        ("https://", False),
    ],
)
def test_the_app_sends_requests_to_https_only(url: str, allowed: bool) -> None:
    """Requests go to https, or to http on this machine; never to a URL that parsers read differently."""
    assert is_allowed_url(url) is allowed


def test_an_endpoint_on_this_machine_needs_an_issuer_there() -> None:
    """The metadata of an issuer elsewhere cannot send the app to this machine."""
    assert not is_allowed_url("http://localhost/token", like=ISSUER.url)
    assert is_allowed_url("http://localhost/token", like="http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("template", "claims", "named"),
    [
        (ISSUER.url, {"iss": ISSUER.url}, True),
        (ISSUER.url, {"iss": ISSUER.url + "/"}, False),
        (ISSUER.url, {}, False),
        (SHARED, {"iss": f"https://login.example/{TENANT}/v2.0", "tid": TENANT}, True),
        (SHARED, {"iss": f"https://login.example/{OBJECT}/v2.0", "tid": TENANT}, False),
        (SHARED, {"iss": "https://login.example/../evil/v2.0", "tid": "../evil"}, False),
        (SHARED, {"iss": SHARED, "tid": "{tenantid}"}, False),
    ],
)
def test_the_issuer_is_compared_exactly(template: str, claims: dict[str, str], named: bool) -> None:
    """`iss` is the issuer's URL, letter by letter; at a shared endpoint, with the token's tenant in it."""
    assert names_issuer(template, claims) is named


def test_metadata_are_of_their_issuer() -> None:
    """Metadata name the issuer itself; those with a placeholder belong to shared endpoints only."""
    own, shared = (Metadata(issuer=url, jwks_uri="") for url in (ISSUER.url, SHARED))
    assert is_metadata_of(own, ISSUER.url)
    assert not is_metadata_of(own, "https://other.example")
    assert is_metadata_of(shared, "https://login.example/common/v2.0")
    assert not is_metadata_of(shared, ISSUER.url)


def test_private_members_of_a_key_set_are_dropped() -> None:
    """Only the public members of asymmetric keys are kept, whatever else an issuer publishes."""
    keys = [{"kty": "RSA", "n": "1", "e": "AQAB", "d": "secret"}, {"kty": "oct", "k": "secret"}, "text"]
    assert public_keys({"keys": keys}) == [{"kty": "RSA", "n": "1", "e": "AQAB"}]
    assert public_keys({"keys": {}}) == public_keys([]) == []


@pytest.mark.parametrize(
    ("key", "header", "fits"),
    [
        ({}, {"kid": "a"}, True),
        ({}, {}, True),
        ({}, {"kid": "b"}, False),
        ({}, {"kid": "a", "alg": "HS256"}, False),
        ({}, {"kid": "a", "alg": "ES256"}, False),
        ({}, {"kid": "a", "alg": "none"}, False),
        ({"use": "enc"}, {"kid": "a"}, False),
        ({"alg": "PS256"}, {"kid": "a"}, False),
        ({"key_ops": ["sign"]}, {"kid": "a"}, False),
        ({"issuer": "https://other.example"}, {"kid": "a"}, False),
    ],
)
def test_a_key_checks_only_what_it_is_for(key: dict[str, Any], header: dict[str, Any], fits: bool) -> None:
    """A key must have the token's `kid`, type, use, operation and issuer; symmetric algorithms fit none."""
    keys = [{"kty": "RSA", "kid": "a", "n": "1", "e": "AQAB"} | key]
    assert bool(fitting_keys(keys, token({}, **header))) is fits


def test_without_a_kid_two_keys_are_no_choice() -> None:
    """A token without `kid` is refused where several keys fit: the sender would choose."""
    keys = [{"kty": "RSA", "kid": kid, "n": "1", "e": "AQAB"} for kid in "ab"]
    assert fitting_keys(keys, token({})) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sub": None}, "malformed"),
        ({"sub": "a" * 256}, "malformed"),
        ({"exp": None}, "malformed"),
        ({"exp": True}, "malformed"),
        ({"exp": 1e300}, "malformed"),
        ({"aud": 5}, "malformed"),
        ({"nonce": "1"}, "malformed"),
        ({"exp": NOW - 60}, "expired"),
        ({"nbf": NOW + 61}, "not-yet-valid"),
        ({"iat": NOW + 61}, "not-yet-valid"),
        ({"aud": ["other"]}, "wrong-audience"),
        ({"aud": None}, "wrong-audience"),
        ({"scope": "read"}, "missing-scope"),
    ],
)
def test_claims_are_refused(changes: dict[str, Any], reason: str) -> None:
    """Each check of the claims refuses a token with its reason."""
    with pytest.raises(TokenRefused) as refused:
        check_claims(ISSUER, token(changes), ["api"], ["write"], NOW)
    assert refused.value.reason == reason


def test_the_identity_in_a_token() -> None:
    """The subject, the client and the roles come from the claims; a client that calls for itself is named."""
    found = check_claims(ISSUER, token({"client_id": "app", "roles": ["admin"], "scp": "x"}), ["api"], ["write"], NOW)
    assert (found.subject, found.client, found.roles) == ("1", None, frozenset({"admin"}))
    assert check_claims(ISSUER, token({"client_id": "1"}), ["api"], [], NOW).client == "1"


def test_a_user_of_entra_id_is_tenant_and_object() -> None:
    """Entra's `sub` differs between applications, so the subject is the tenant and the object's id."""
    entra = {"iss": f"https://login.example/{TENANT}/v2.0", "tid": TENANT, "oid": OBJECT}
    assert check_claims(ISSUER, token(entra), ["api"], [], NOW).subject == f"{TENANT}.{OBJECT}"


@pytest.mark.parametrize(
    ("changes", "header", "expected"),
    [
        ({}, {"typ": "at+jwt"}, False),
        ({}, {"typ": "JWT"}, False),
        ({"typ": "Bearer"}, {}, False),
        ({"typ": "ID"}, {}, True),
        ({"typ": "Refresh"}, {}, True),
        ({"at_hash": "x"}, {}, True),
        ({}, {"typ": "logout+jwt"}, True),
    ],
)
def test_id_tokens_are_no_access_tokens(changes: dict[str, Any], header: dict[str, Any], expected: bool) -> None:
    """The type or the claims tell an ID token from an access token."""
    assert is_id_token(token(changes, **header)) is expected
