"""Tokens of trusted issuers: attacks, Entra ID, key rotation; on a provider over HTTP and a real Azurite."""

import hmac
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from shared.identity.checking import ForeignTokens
from shared.identity.errors import IssuerUnavailable
from shared.identity.issuers import Identity
from shared.identity.jwt import TokenRefused, parse
from shared.identity.settings import Issuer
from shared.identity.store.providers import COOL_DOWN_SECONDS, KEPT_SECONDS, REFRESH_SECONDS, Providers
from shared.settings import StorageSettings
from shared.storage import Storage
from tests.identity.provider import Provider, SigningKey, encode, run_provider

TENANT, OTHER_TENANT = "11111111-2222-4333-8444-555555555555", "99999999-2222-4333-8444-555555555555"
OBJECT = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
AUDIENCE = "https://api.example"


class Clock:
    """A clock that a test moves, or stops at a time, in seconds since 1970."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.stopped_at: float | None = None

    def __call__(self) -> float:
        """The time now."""
        return (time.time() if self.stopped_at is None else self.stopped_at) + self.ahead


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    """One provider for this module."""
    with run_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: Provider) -> Provider:
    """The provider as it is at first."""
    running.reset()
    return running


class Checker:
    """Instances of the app's checks, over one table."""

    def __init__(self, connection: str) -> None:
        self.clock = Clock()
        self.table = f"issuers{secrets.token_hex(6)}"
        self._connection = connection
        self._storage = Storage(StorageSettings(connection))

    def fresh(self) -> "Checker":
        """Checks with another table."""
        return Checker(self._connection)

    def instance(self, *issuers: Issuer, key: bytes = bytes(32)) -> ForeignTokens:
        """A cold instance."""
        providers = Providers(self._storage, lambda _: key, self.clock, self.table)
        return ForeignTokens(issuers, AUDIENCE, lambda: providers, self.clock)


@pytest.fixture
def checker(storage_connection: str) -> Checker:
    """Checks with a table of this test's own."""
    return Checker(storage_connection)


def reason(checks: ForeignTokens, token: str, **more: Any) -> str:
    """The reason why a token is refused; "" if it is valid."""
    try:
        checks.check(parse(token), **more)
    except TokenRefused as refused:
        return refused.reason
    return ""


def identity(checks: ForeignTokens, token: str) -> Identity:
    """The identity in a valid token."""
    return checks.check(parse(token))


@pytest.mark.parametrize("algorithm", ["RS256", "PS384", "ES256", "ES384", "EdDSA"])
def test_a_token_of_a_trusted_issuer_is_valid(checker: Checker, provider: Provider, algorithm: str) -> None:
    """A token by a key of the issuer's set is valid with each kind of key, and names subject, client and roles."""
    key = SigningKey("other", algorithm)
    provider.keys = [provider.key.public(), key.public()]
    checks = checker.instance(Issuer("ACME", provider.url))
    found = identity(
        checks, key.sign(provider.access_claims(client_id="app-7", roles=["billing"], aud=["x", AUDIENCE]))
    )
    assert (found.subject, found.client, set(found.roles)) == ("alice", "app-7", {"billing"})
    assert not found.groups_overage


def forged(provider: Provider) -> dict[str, tuple[str, str]]:
    """Attacks, each with the reason for which it is refused."""
    key, claims = provider.key, provider.access_claims()
    stranger = SigningKey("k1")
    assert isinstance(key.key, RSAKey)
    rsa_pem = key.key.as_pem(private=False)
    hs_header = encode({"alg": "HS256", "typ": "JWT", "kid": "k1"})
    hs_signed = f"{hs_header}.{encode(claims)}"
    hs_token = f"{hs_signed}.{encode(hmac.digest(rsa_pem, hs_signed.encode(), 'sha256'))}"
    none = f"{encode({'alg': 'none', 'typ': 'JWT'})}.{encode(claims)}."
    whole = key.sign(claims)
    head, body, signature = whole.split(".")
    duplicate_claim = json.dumps(claims)[:-1].encode() + b',"sub":"bob"}'
    duplicate_header = encode(b'{"alg":"RS256","kid":"k1","kid":"k1"}')
    now = int(time.time())
    return {
        "by another key of the same kid": (stranger.sign(claims), "bad-signature"),
        "the signature of another token": (f"{head}.{encode({**claims, 'sub': 'bob'})}.{signature}", "bad-signature"),
        "no signature": (f"{head}.{body}.", "bad-signature"),
        "none": (none, "bad-signature"),
        "none, by name only": (f"{encode({'alg': 'NONE', 'kid': 'k1'})}.{body}.{signature}", "bad-signature"),
        "HS256 with the public key": (hs_token, "bad-signature"),
        "jwk": (stranger.sign(claims, jwk=stranger.public()), "malformed"),
        "jwk, own key": (key.sign(claims, jwk=key.public()), "malformed"),
        "jku": (key.sign(claims, jku=f"{provider.url}/evil"), "malformed"),
        "x5u": (key.sign(claims, x5u=f"{provider.url}/evil"), "malformed"),
        "x5c": (key.sign(claims, x5c=["MIIB"]), "malformed"),
        "crit": (key.sign(claims, crit=["exp"]), "malformed"),
        "b64": (key.sign(claims, b64=False), "malformed"),
        "b64 and crit": (key.sign(claims, b64=False, crit=["b64"]), "malformed"),
        "kid as a path": (key.sign(claims, kid="../../../../dev/null"), "bad-signature"),
        "kid of 10 kB": (key.sign(claims, kid="k" * 10_000), "bad-signature"),
        "kid as a number": (key.sign(claims, kid=1), "malformed"),
        "kid as null": (key.sign_raw(encode({"alg": "RS256", "kid": None}), json.dumps(claims).encode()), "malformed"),
        "alg as a list": (
            key.sign_raw(encode({"alg": ["RS256"], "kid": "k1"}), json.dumps(claims).encode()),
            "malformed",
        ),
        "no alg": (key.sign_raw(encode({"kid": "k1"}), json.dumps(claims).encode()), "malformed"),
        "duplicate claim": (key.sign(duplicate_claim), "malformed"),
        "duplicate header": (key.sign_raw(duplicate_header, json.dumps(claims).encode()), "malformed"),
        "header of 1 MB": (key.sign(claims, x="x" * 1_000_000), "malformed"),
        "claims as a list": (key.sign(b"[]"), "malformed"),
        "claims nested deep": (key.sign(b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}"), "malformed"),
        "claims not UTF-8": (key.sign(b'{"iss":"\xff"}'), "malformed"),
        "broken surrogate": (key.sign(json.dumps(claims)[:-1].encode() + b',"x":"\\ud800"}'), "malformed"),
        "padding": (f"{whole}=", "malformed"),
        "standard alphabet": (f"{head}.{body}.{signature[:-4]}+/+/", "malformed"),
        "another last character": (whole[:-1] + chr(ord(whole[-1]) + 1), "malformed"),
        "a blank": (whole + " ", "malformed"),
        "five parts": (f"{whole}.a.b", "malformed"),
        "two parts": (f"{head}.{body}", "malformed"),
        "empty": ("", "malformed"),
        "exp as text": (key.sign(claims | {"exp": str(now + 600)}), "malformed"),
        "exp as true": (key.sign(claims | {"exp": True}), "malformed"),
        "exp as null": (key.sign(claims | {"exp": None}), "malformed"),
        "exp NaN": (key.sign(json.dumps(claims | {"exp": float("nan")}).encode()), "malformed"),
        "exp infinite": (key.sign(json.dumps(claims | {"exp": float("inf")}).encode()), "malformed"),
        "exp 1e400": (key.sign(json.dumps(claims).replace(str(claims["exp"]), "1e400").encode()), "malformed"),
        "exp 1e30": (key.sign(claims | {"exp": 10**30}), "malformed"),
        "exp of 400 digits": (key.sign(claims | {"exp": 10**400}), "malformed"),
        "exp negative": (key.sign(claims | {"exp": -1}), "malformed"),
        "no exp": (key.sign(provider.access_claims(exp=None)), "malformed"),
        "no sub": (key.sign(provider.access_claims(sub=None)), "malformed"),
        "sub as a number": (key.sign(claims | {"sub": 7}), "malformed"),
        "no iss": (key.sign(provider.access_claims(iss=None)), "malformed"),
        "iss as a list": (key.sign(claims | {"iss": [provider.url]}), "malformed"),
        "no aud": (key.sign(provider.access_claims(aud=None)), "wrong-audience"),
        "aud of another": (key.sign(claims | {"aud": "other"}), "wrong-audience"),
        "aud list of others": (key.sign(claims | {"aud": ["a", "b"]}), "wrong-audience"),
        "aud with a number": (key.sign(claims | {"aud": [AUDIENCE, 1]}), "malformed"),
        "aud as an object": (key.sign(claims | {"aud": {AUDIENCE: 1}}), "malformed"),
        "aud with a slash": (key.sign(claims | {"aud": AUDIENCE + "/"}), "wrong-audience"),
        "iss with a slash": (key.sign(claims | {"iss": provider.url + "/"}), "unknown-issuer"),
        "iss in capitals": (key.sign(claims | {"iss": provider.url.upper()}), "unknown-issuer"),
        "expired": (key.sign(claims | {"exp": now - 61}), "expired"),
        "not yet valid": (key.sign(claims | {"nbf": now + 120}), "not-yet-valid"),
        "issued in the future": (key.sign(claims | {"iat": now + 120}), "not-yet-valid"),
        "nbf as text": (key.sign(claims | {"nbf": "0"}), "malformed"),
        "ID token for another": (key.sign(claims | {"nonce": "n", "aud": "client"}), "wrong-audience"),
        "ID token, by nonce": (key.sign(claims | {"nonce": "n"}), "malformed"),
        "ID token, by at_hash": (key.sign(claims | {"at_hash": "h"}), "malformed"),
        "ID token of Keycloak": (key.sign(claims | {"typ": "ID"}), "malformed"),
        "logout token": (key.sign(claims, typ="logout+jwt"), "malformed"),
        "typ as a number": (key.sign(claims, typ=1), "malformed"),
    }


def test_attacks_are_refused(checker: Checker, provider: Provider) -> None:
    """Each forged, malformed or unfit token is refused, for the right reason and without any other exception."""
    checks = checker.instance(Issuer("ACME", provider.url))
    attacks = forged(provider)
    reasons = {name: reason(checks, token) for name, (token, _) in attacks.items()}
    assert reasons == {name: expected for name, (_, expected) in attacks.items()}
    assert reason(checks, provider.key.sign(provider.access_claims())) == ""


def test_edges_of_the_clock(checker: Checker, provider: Provider) -> None:
    """Another issuer's clock may differ by 60 s, and by no more. Fractions of seconds are numbers."""
    checks = checker.instance(Issuer("ACME", provider.url))
    now = checker.clock.stopped_at = time.time()
    edges: list[tuple[dict[str, float], str]] = [
        ({"exp": now - 59.5}, ""),
        ({"exp": now - 60.5}, "expired"),
        ({"nbf": now + 59.5}, ""),
        ({"nbf": now + 60.5}, "not-yet-valid"),
        ({"iat": now + 59.5}, ""),
        ({"iat": now + 60.5}, "not-yet-valid"),
    ]
    for claims, expected in edges:
        token = provider.key.sign(provider.access_claims(**{"iat": now, **claims}))
        assert reason(checks, token) == expected, claims


def test_types_and_kinds_of_access_tokens(checker: Checker, provider: Provider) -> None:
    """Access tokens are accepted without a type, as JWT, as at+jwt in any case, and as Keycloak's `Bearer`."""
    checks = checker.instance(Issuer("ACME", provider.url))
    for kind in (None, "JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"):
        assert reason(checks, provider.key.sign(provider.access_claims(), typ=kind)) == ""
    assert reason(checks, provider.key.sign(provider.access_claims(typ="Bearer", nonce="n"))) == ""


def test_keys_that_must_not_check(checker: Checker, provider: Provider) -> None:
    """Keys for encryption, for another algorithm, symmetric, short or broken keys check nothing."""
    good, short = provider.key, SigningKey("k1", bits=1024)
    token = good.sign(provider.access_claims())
    cases = [
        (good.public(use="enc"), token),
        (good.public(alg="PS256"), token),
        (good.public(key_ops=["encrypt"]), token),
        (good.public(key_ops="verify"), token),
        (good.public(kid="other"), token),
        ({"kty": "oct", "kid": "k1", "k": encode(b"secret" * 8)}, token),
        (good.public(n=1), token),
        (good.public(n="!"), token),
        (good.public(e="AA"), token),
        (short.public(), short.sign(provider.access_claims())),
    ]
    for key, each in cases:
        provider.keys = [SigningKey("zero", "ES256").public(), key]
        assert reason(checker.fresh().instance(Issuer("ACME", provider.url)), each) == "bad-signature"


def test_a_kid_may_repeat_and_be_absent(checker: Checker, provider: Provider) -> None:
    """Two keys of one `kid` are both tried. Without a `kid`, a single fitting key checks; of several, none does."""
    first, second = SigningKey("same"), SigningKey("same")
    provider.keys = [first.public(), second.public()]
    checks = checker.instance(Issuer("ACME", provider.url))
    assert reason(checks, first.sign(provider.access_claims())) == ""
    assert reason(checks, second.sign(provider.access_claims())) == ""
    assert reason(checks, first.sign(provider.access_claims(), kid=None)) == "bad-signature"
    provider.keys = [first.public(), SigningKey("e", "ES256").public()]
    assert (
        reason(
            checker.fresh().instance(Issuer("ACME", provider.url)),
            first.sign(provider.access_claims(), kid=None),
        )
        == ""
    )


def test_audiences_and_scopes(checker: Checker, provider: Provider) -> None:
    """The issuer's audiences replace the app's own, and those of a call replace both; every scope is required."""
    checks = checker.instance(Issuer("ACME", provider.url, ("one", "two")))
    token = provider.key.sign(provider.access_claims(aud="two", scope="read write"))
    assert reason(checks, token) == ""
    assert reason(checks, provider.key.sign(provider.access_claims())) == "wrong-audience"
    assert reason(checks, token, audience="one") == "wrong-audience"
    assert reason(checks, provider.key.sign(provider.access_claims()), audience=AUDIENCE) == ""
    assert reason(checks, token, scopes=["read", "write"]) == ""
    assert reason(checks, token, scopes=["admin"]) == "missing-scope"
    assert reason(checks, provider.key.sign(provider.access_claims(aud="two", scp=["read"])), scopes=["read"]) == ""
    assert reason(checks, provider.key.sign(provider.access_claims(aud="two")), scopes=["read"]) == "missing-scope"


# Keys over time


def test_an_unknown_kid_causes_one_fetch(checker: Checker, provider: Provider) -> None:
    """A rotated key is fetched at once. A `kid` that does not exist causes one fetch, and none within the cool-down."""
    checks = checker.instance(Issuer("ACME", provider.url))
    assert reason(checks, provider.key.sign(provider.access_claims())) == ""
    assert provider.count("/jwks") == 1
    new = SigningKey("k2")
    provider.keys.append(new.public())
    assert reason(checks, new.sign(provider.access_claims())) == ""
    assert provider.count("/jwks") == 2
    for name in ("k3", "k4", "k5"):
        assert reason(checks, SigningKey(name, "ES256").sign(provider.access_claims())) == "bad-signature"
    assert provider.count("/jwks") == 3
    third = SigningKey("k6", "ES256")
    provider.keys.append(third.public())
    assert reason(checks, third.sign(provider.access_claims())) == "bad-signature"
    checker.clock.ahead += COOL_DOWN_SECONDS
    assert reason(checks, third.sign(provider.access_claims())) == ""
    assert provider.count("/.well-known/openid-configuration") == 1


def test_a_failing_key_set_during_a_rotation(checker: Checker, provider: Provider) -> None:
    """While the key set responds 500, the known keys still check; the new key does as soon as the set is back."""
    checks, new = checker.instance(Issuer("ACME", provider.url)), SigningKey("k2")
    assert reason(checks, provider.key.sign(provider.access_claims())) == ""
    provider.statuses["/jwks"] = 500
    provider.keys = [new.public()]
    assert reason(checks, new.sign(provider.access_claims())) == "bad-signature"
    assert reason(checks, provider.key.sign(provider.access_claims())) == ""
    provider.statuses.clear()
    checker.clock.ahead += 11
    assert reason(checks, new.sign(provider.access_claims())) == ""
    assert reason(checks, provider.key.sign(provider.access_claims())) == "bad-signature"


def test_a_removed_key_is_out_within_an_hour(checker: Checker, provider: Provider) -> None:
    """Keys are fetched again after an hour, so a key that the issuer has removed checks nothing then."""
    checks = checker.instance(Issuer("ACME", provider.url))
    token = provider.key.sign(provider.access_claims(exp=int(time.time()) + 2 * 3600))
    assert reason(checks, token) == ""
    provider.keys = [SigningKey("k2").public()]
    checker.clock.ahead += REFRESH_SECONDS
    assert reason(checks, token) == "bad-signature"


def test_cold_instances_start_with_the_last_good_keys(checker: Checker, provider: Provider) -> None:
    """A cold instance reads the keys from storage: without a request to the issuer, and while the issuer is out, for a
    day. Then a token is not called invalid: the issuer is unavailable."""
    issuer = Issuer("ACME", provider.url)
    token = provider.key.sign(provider.access_claims(exp=int(time.time()) + 2 * 24 * 3600))
    assert reason(checker.instance(issuer), token) == ""
    assert reason(checker.instance(issuer), token) == ""
    assert len(provider.requests) == 2
    provider.statuses |= {"/jwks": 503, "/.well-known/openid-configuration": 503}
    checker.clock.ahead += 2 * REFRESH_SECONDS
    assert reason(checker.instance(issuer), token) == ""
    checker.clock.ahead += KEPT_SECONDS
    with pytest.raises(IssuerUnavailable):
        reason(checker.instance(issuer), token)


def test_rows_of_others_are_not_trusted(checker: Checker, provider: Provider) -> None:
    """Keys in a row that the app did not write are ignored: write access to the table is not enough to sign tokens."""
    issuer = Issuer("ACME", provider.url)
    evil = SigningKey("evil")
    good = provider.keys
    provider.keys = [evil.public()]
    token = evil.sign(provider.access_claims())
    assert reason(checker.instance(issuer, key=b"other".ljust(32)), token) == ""
    provider.keys = good
    assert reason(checker.instance(issuer), token) == "bad-signature"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"issuer": "SELF/"}, "unknown-issuer"),
        ({"issuer": "http://127.0.0.1:1"}, "unknown-issuer"),
        ({"issuer": None}, "unavailable"),
        ({"issuer": 5}, "unavailable"),
        ({"jwks_uri": "http://keys.example/jwks"}, "unavailable"),
        ({"jwks_uri": "file:///etc/passwd"}, "unavailable"),
        ({"jwks_uri": "https://user@keys.example/jwks"}, "unavailable"),
        ({"jwks_uri": 7}, "unavailable"),
        ({"status": 302}, "unavailable"),
        ({"keys": []}, "unavailable"),
        ({"keys": "x"}, "unavailable"),
        ({"keys": [1, "x", None]}, "unavailable"),
    ],
)
def test_wrong_metadata_and_key_sets(
    checker: Checker, provider: Provider, change: dict[str, Any], expected: str
) -> None:
    """Metadata that name another issuer are refused; without keys from exactly where they say, nothing is checked."""
    token = provider.key.sign(provider.access_claims())
    if "keys" in change:
        provider.keys = change["keys"]
    elif "status" in change:
        provider.statuses["/jwks"] = change["status"]
    else:
        provider.metadata = {
            name: value.replace("SELF", provider.url) if isinstance(value, str) else value
            for name, value in change.items()
        }
    checks = checker.instance(Issuer("ACME", provider.url))
    for _ in range(2):
        try:
            assert reason(checks, token) == expected
        except IssuerUnavailable:
            assert expected == "unavailable"
    assert provider.count("/elsewhere") == 0
    assert provider.count("/.well-known/openid-configuration") == 1


# Entra ID


def entra_claims(provider: Provider, version: str, **more: Any) -> dict[str, Any]:
    """The claims of an access token of Entra ID, as documented for its version."""
    issuer = f"{provider.url}/{TENANT}/v2.0" if version == "2.0" else f"{provider.url}/{TENANT}/"
    claims = provider.access_claims(
        iss=issuer, ver=version, tid=TENANT, oid=OBJECT, sub="pairwise", aud="api-guid", scp="access_as_user"
    )
    claims |= {"azp": "client-guid"} if version == "2.0" else {"appid": "client-guid"}
    return {name: value for name, value in (claims | more).items() if value is not None}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize(
    ("more", "subject", "client", "roles"),
    [
        ({}, f"{TENANT}.{OBJECT}", None, set()),
        ({"roles": ["Task.Write"]}, f"{TENANT}.{OBJECT}", None, {"Task.Write"}),
        ({"scp": None, "idtyp": "app", "roles": ["Task.Write"]}, f"{TENANT}.{OBJECT}", "client-guid", {"Task.Write"}),
        ({"scp": None, "roles": ["Task.Write"]}, f"{TENANT}.{OBJECT}", "client-guid", {"Task.Write"}),
    ],
)
def test_tokens_of_entra(
    checker: Checker,
    provider: Provider,
    version: str,
    more: dict[str, Any],
    subject: str,
    client: str | None,
    roles: set[str],
) -> None:
    """Entra's subject is tenant and object; only a token without a user's `scp` is the application's own."""
    claims = entra_claims(provider, version, **more)
    provider.issuer = claims["iss"]
    found = identity(
        checker.instance(Issuer("ENTRA", claims["iss"], ("api-guid",), frozenset({TENANT}))), provider.key.sign(claims)
    )
    assert (found.subject, found.client, set(found.roles)) == (subject, client, roles)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"aud": "other-guid"}, "wrong-audience"),
        ({"oid": None}, "malformed"),
        ({"oid": "alice@example.org"}, "malformed"),
        ({"tid": OTHER_TENANT}, "unknown-issuer"),
        ({"tid": None}, "unknown-issuer"),
        ({"azp": None, "appid": None, "scp": None}, "malformed"),
        ({"exp": 1}, "expired"),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_refused_tokens_of_entra(
    checker: Checker, provider: Provider, version: str, more: dict[str, Any], expected: str
) -> None:
    """Another tenant, an ID token and a token without an object id are refused in both versions."""
    claims = entra_claims(provider, version)
    provider.issuer = claims["iss"]
    checks = checker.instance(Issuer("ENTRA", claims["iss"], ("api-guid",), frozenset({TENANT})))
    assert reason(checks, provider.key.sign(entra_claims(provider, version, **more))) == expected


def common(provider: Provider, *tenants: str, version: str = "2.0") -> Issuer:
    """Entra's endpoint for all tenants, with the issuer's template in its metadata."""
    provider.issuer = f"{provider.url}/{{tenantid}}/v2.0" if version == "2.0" else f"{provider.url}/{{tenantid}}/"
    path = "common/v2.0" if version == "2.0" else "common"
    return Issuer("ENTRA", f"{provider.url}/{path}", ("api-guid",), frozenset(tenants))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_the_shared_endpoint_of_entra(checker: Checker, provider: Provider, version: str) -> None:
    """At `common`, the issuer is the template with the token's tenant, exactly, and the tenant must be on the list."""
    token = provider.key.sign(entra_claims(provider, version))
    assert reason(checker.instance(common(provider, TENANT, version=version)), token) == ""
    assert reason(checker.instance(common(provider, "*", version=version)), token) == ""
    assert reason(checker.instance(common(provider, OTHER_TENANT, version=version)), token) == "unknown-issuer"
    assert reason(checker.instance(common(provider, version=version)), token) == "unknown-issuer"
    checks = checker.instance(common(provider, "*", version=version))
    for more in (
        {"tid": OTHER_TENANT},
        {"iss": f"{provider.url}/{{tenantid}}/v2.0", "tid": "{tenantid}"},
        {"iss": f"{provider.url}/x/v2.0", "tid": "x"},
        {"iss": f"{provider.url}/{TENANT}/v2.0/"},
        {"iss": f"{provider.url}/{TENANT}"},
        {"tid": None},
    ):
        assert reason(checks, provider.key.sign(entra_claims(provider, version, **more))) == "unknown-issuer"


def test_the_issuer_of_each_key_of_entra(checker: Checker, provider: Provider) -> None:
    """A key of the shared set checks only tokens of the issuer that its `issuer` names."""
    token = provider.key.sign(entra_claims(provider, "2.0"))
    for issuer, expected in (
        (f"{provider.url}/{{tenantid}}/v2.0", ""),
        (f"{provider.url}/{TENANT}/v2.0", ""),
        (f"{provider.url}/{OTHER_TENANT}/v2.0", "bad-signature"),
        (f"{provider.url}/{{tenantid}}/", "bad-signature"),
        (7, "bad-signature"),
    ):
        provider.keys = [provider.key.public(issuer=issuer)]
        checks = checker.fresh().instance(common(provider, TENANT))
        assert reason(checks, token) == expected


def test_groups_overage(checker: Checker, provider: Provider) -> None:
    """A token that leaves groups out says so, in both forms; the app fetches nothing."""
    checks = checker.instance(common(provider, TENANT))
    for more in ({"_claim_names": {"groups": "src1"}, "_claim_sources": {}}, {"hasgroups": True}):
        assert identity(checks, provider.key.sign(entra_claims(provider, "2.0", **more))).groups_overage
    assert not identity(checks, provider.key.sign(entra_claims(provider, "2.0", groups=["g"]))).groups_overage
