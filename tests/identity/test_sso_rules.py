"""The rules of single sign-on: requests, sealed state, responses and ID tokens. Needs no server."""

import base64
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from shared.identity import sso
from shared.identity.issuers import Metadata
from shared.identity.jwt import Parsed, TokenRefused
from shared.identity.settings import Issuer, SsoProvider

NOW = 1_800_000_000.0
KEY = bytes(range(32))
NONCE = bytes(range(12))
ISSUER = "https://login.example"
PROVIDER = SsoProvider("example", Issuer("example", ISSUER), "the client", "a+secret")
METADATA = Metadata(
    issuer=ISSUER,
    jwks_uri=f"{ISSUER}/keys",
    authorization_endpoint=f"{ISSUER}/authorize?tenant=1",
    token_endpoint=f"{ISSUER}/token",
)
FLOW = sso.Flow("example", "12345678-state", "nonce", "verifier", "https://app.example/", "c" * 43, NOW + 600)
CLAIMS = {"iss": ISSUER, "aud": "the client", "sub": "1", "exp": NOW + 60, "iat": NOW, "nonce": "nonce"}


def test_a_sealed_flow_opens_until_it_expires() -> None:
    """The cookie opens with the same key until the flow has expired."""
    sealed = sso.seal(KEY, FLOW, NONCE)
    assert sso.unseal(KEY, sealed, NOW) == FLOW
    assert sso.unseal(KEY, sealed, FLOW.expires) is None
    assert "verifier" not in sealed


@pytest.mark.parametrize("text", ["", "A", "é", "A" * 40, "A" * 5000, sso.seal(bytes(32), FLOW, NONCE)])
def test_a_cookie_of_others_is_no_flow(text: str) -> None:
    """What the app did not seal is ignored, and causes no failure."""
    assert sso.unseal(KEY, text, NOW) is None


@pytest.mark.parametrize("position", [0, 20, -1])
def test_a_changed_cookie_is_no_flow(position: int) -> None:
    """A change of any character makes the cookie void."""
    sealed = list(sso.seal(KEY, FLOW, NONCE))
    sealed[position] = "A" if sealed[position] != "A" else "Q"
    assert sso.unseal(KEY, "".join(sealed), NOW) is None


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("sso-12345678=a", "a"),
        ("other=b; sso-12345678=a", "a"),
        ("other=b,sso-12345678=a", "a"),
        ("sso-12345678=a; sso-12345678=b", None),
        ("other=b", None),
        ("", None),
    ],
)
def test_one_cookie_is_read(header: str, value: str | None) -> None:
    """The cookie of a flow counts only if it is there exactly once."""
    assert sso.cookie_value(header, sso.cookie_name(FLOW.state, is_secure=False)) == value


def test_the_cookie_belongs_to_one_host() -> None:
    """Over HTTPS the cookie has the prefix `__Host-`; an empty value removes it."""
    secure = sso.cookie(FLOW.state, "a", is_secure=True)
    assert secure.startswith("__Host-sso-12345678=a; Max-Age=600; Path=/; HttpOnly; SameSite=Lax; Secure")
    assert "Max-Age=0" in sso.cookie(FLOW.state, "", is_secure=False)


def test_the_challenge_of_the_rfc() -> None:
    """The S256 challenge is that of RFC 7636, appendix B."""
    challenge = sso.challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert sso.is_challenge(challenge)
    assert not sso.is_challenge(challenge + "=")
    assert not sso.is_challenge(challenge[:-1])


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://app.example", True),
        ("HTTPS://App.Example/", True),
        ("https://app.example/page?a=1", True),
        ("https://app.example?a=1", True),
        ("https://app.example.evil.example/", False),
        ("https://app.example@evil.example/", False),
        ("https://app.example\\@evil.example/", False),
        ("https://app.example/#token", False),
        ("https://app.example/\r\nset-cookie: a=b", False),
        ("https://app.example:8443/", False),
        ("//app.example/", False),
        ("javascript:alert(1)", False),
        ("https://app.example/" + "a" * 600, False),
        ("https://app.example/é", False),
    ],
)
def test_the_browser_returns_to_known_origins_only(url: str, allowed: bool) -> None:
    """A person is sent back only to an origin on the list, by a URL that every parser reads alike."""
    assert sso.is_return_to(url, ["https://app.example"]) is allowed


def test_the_authorization_request() -> None:
    """The request is a code flow with PKCE and a nonce; parameters of the endpoint itself stay."""
    url = sso.authorization_url(PROVIDER, METADATA, FLOW, "https://app.example/api/sso/example/finish")
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert query == {
        "tenant": "1",
        "response_type": "code",
        "response_mode": "query",
        "client_id": "the client",
        "redirect_uri": "https://app.example/api/sso/example/finish",
        "scope": "openid",
        "state": FLOW.state,
        "nonce": "nonce",
        "code_challenge": sso.challenge("verifier"),
        "code_challenge_method": "S256",
    }


def test_the_client_authenticates_as_the_provider_supports() -> None:
    """The secret goes into the header, form-encoded (RFC 6749, section 2.3.1), or into the form; or there is none."""
    _, headers = sso.token_request(PROVIDER, METADATA, FLOW, "code", "https://app.example/")
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"the%20client:a%2Bsecret"
    by_post = msgspec.structs.replace(METADATA, token_endpoint_auth_methods_supported=["client_secret_post"])
    form, headers = sso.token_request(PROVIDER, by_post, FLOW, "code", "https://app.example/")
    assert (form["client_secret"], headers) == ("a+secret", {})
    public = msgspec.structs.replace(PROVIDER, client_secret="")
    form, headers = sso.token_request(public, METADATA, FLOW, "code", "https://app.example/")
    assert headers == {}
    assert "client_secret" not in form
    assert form["code_verifier"] == "verifier"


def test_the_issuer_of_a_response() -> None:
    """The response names the provider's issuer, and must name one where the provider says so (RFC 9207)."""
    assert sso.is_response_of(METADATA, None)
    assert sso.is_response_of(METADATA, ISSUER)
    assert not sso.is_response_of(METADATA, "https://other.example")
    promised = msgspec.structs.replace(METADATA, authorization_response_iss_parameter_supported=True)
    assert not sso.is_response_of(promised, None)


def id_token(changes: dict[str, Any]) -> Parsed:
    """An ID token with some claims replaced; None removes one."""
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return Parsed("", {}, claims, b"", b"")


def test_the_person_of_an_id_token() -> None:
    """Issuer and subject name the person, and `amr` says whether two factors were used."""
    assert sso.person(PROVIDER, METADATA, id_token({}), "nonce", None, NOW) == sso.Person(ISSUER, "1", False)
    strong = id_token({"amr": ["pwd", "otp"]})
    assert sso.person(PROVIDER, METADATA, strong, "nonce", ISSUER, NOW).has_second_factor


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://other.example"}, "unknown-issuer"),
        ({"aud": "another client"}, "wrong-audience"),
        ({"aud": ["the client", "another"]}, "wrong-audience"),
        ({"azp": "another client"}, "wrong-audience"),
        ({"sub": None}, "malformed"),
        ({"exp": None}, "malformed"),
        ({"iat": None}, "malformed"),
        ({"exp": NOW - 1000}, "expired"),
        ({"iat": NOW + 1000}, "not-yet-valid"),
        ({"nbf": NOW + 1000}, "not-yet-valid"),
        ({"nonce": "another"}, "malformed"),
        ({"nonce": None}, "malformed"),
    ],
)
def test_an_id_token_is_refused(changes: dict[str, Any], reason: str) -> None:
    """Each check of OpenID Connect Core, section 3.1.3.7, refuses a token with its reason."""
    with pytest.raises(TokenRefused) as refused:
        sso.person(PROVIDER, METADATA, id_token(changes), "nonce", None, NOW)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("amr", "expected"),
    [
        (["mfa"], True),
        (["pwd", "otp"], True),
        (["face", "hwk"], True),
        (["pwd", "pin"], False),
        (["otp", "sms"], False),
        ("mfa", True),
        (None, False),
        (5, False),
    ],
)
def test_two_kinds_of_factors(amr: Any, expected: bool) -> None:
    """Two methods of one kind (RFC 8176) are one factor."""
    assert sso.shows_second_factor(amr) is expected
