"""Single sign-on over HTTP: with the OpenID provider of npm, with key rotation, and with a provider that attacks."""

import json
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pyotp
import pytest

from shared.identity import sso
from tests.identity.provider import Provider, SigningKey, encode, run_provider
from tests.support import App, app_environ, free_port, run_app

RETURN_TO = "https://app.example.org/signed-in?x=1"
SECRET = "s~e.c/r+e t"
SCRIPT = Path(__file__).with_name("oidc_provider.mjs")


class Browser:
    """A browser: it keeps cookies, and follows redirects only where a test does.

    The host writes `domain=`, which browsers ignore (RFC 6265, section 5.2.3) and Python's cookie jar does not.
    """

    def __init__(self, running: "Running") -> None:
        self.running = running
        self.http = httpx.Client(base_url=running.url, timeout=60, trust_env=False)
        self.cookies: dict[str, str] = {}
        self.verifier = secrets.token_urlsafe(48)

    def start(self, provider: str = "acme", **fields: str) -> httpx.Response:
        """`start-sso`."""
        query = {"return_to": RETURN_TO, "code_challenge": sso.challenge(self.verifier)} | fields
        return self.get(f"/api/sso/{provider}", params=query)

    def get(self, url: str, params: Any = None) -> httpx.Response:
        """A request with this browser's cookies; those of the response are kept."""
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        response = self.http.get(url, params=params, headers=headers if self.cookies else {})
        for text in response.headers.get_list("set-cookie"):
            ((name, morsel),) = SimpleCookie(text).items()
            if morsel["max-age"] == "0":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value
        return response

    def begin(self, provider: str = "acme", **fields: str) -> dict[str, str]:
        """The parameters with which the browser reaches the provider."""
        response = self.start(provider, **fields)
        assert response.status_code == 302, response.text
        return query_of(response)

    def come_back(self, provider: str = "acme", **parameters: str) -> httpx.Response:
        """`finish-sso`."""
        return self.get(f"/api/sso/{provider}/callback", params=parameters)

    def sign_in(self, provider: str = "acme", **parameters: str) -> dict[str, str]:
        """The parameters with which the browser returns, after the provider has signed the person in."""
        begun = self.begin(provider)
        code = self.running.provider.code(begun["nonce"])
        response = self.come_back(provider, **{"code": code, "state": begun["state"]} | parameters)
        assert response.status_code == 302, response.text
        assert response.headers["location"].startswith(RETURN_TO + "&")
        assert not self.cookies, "The cookie is removed."
        return query_of(response)


def query_of(response: httpx.Response) -> dict[str, str]:
    """The query of a redirect."""
    return {name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()}


class Running:
    """The app with the settings of several providers, and a back end of it."""

    def __init__(self, app: App, provider: Provider, real: str) -> None:
        self.app = app
        self.provider = provider
        self.real = real
        """The issuer of the real provider."""
        self.url = app.url.replace("127.0.0.1", "localhost")
        self.back_end = app.client()

    def complete(self, ticket: str, verifier: str, **headers: str) -> Any:
        """`sign-in` with the ticket of single sign-on."""
        body = {"ticket": ticket, "code_verifier": verifier}
        response = self.back_end.post("/api/sign-in", json=body, headers=headers)
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture(scope="module")
def running(storage_connection: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One app for this module."""
    folder = tmp_path_factory.mktemp("sso")
    real = f"http://127.0.0.1:{free_port()}"
    with run_provider() as provider:
        issuers = {
            "ACME": (provider.url, {"CLIENT_SECRET": SECRET, "CREATE_USERS": "true"}),
            "STRICT": (provider.url, {}),
            "FACTOR": (provider.url, {"CREATE_USERS": "true", "SECOND_FACTOR": "true"}),
            "OUT": ("http://127.0.0.1:1", {}),
            "REAL": (real, {"CLIENT_ID": "strongroom", "CLIENT_SECRET": SECRET, "CREATE_USERS": "true"}),
        }
        settings = {"STRONGROOM_ORIGINS": "https://app.example.org,http://localhost:3000"}
        for name, (issuer, more) in issuers.items():
            values = {"ISSUER": issuer, "CLIENT_ID": "client-1"} | more
            settings |= {f"SSO_{name}_{key}": value for key, value in values.items()}
        settings |= {"TRUSTED_ISSUER_REAL": real, "TRUSTED_ISSUER_REAL_AUDIENCE": "https://api.example"}
        with run_app(folder, app_environ(folder, storage_connection) | settings) as app:
            running = Running(app, provider, real)
            with running.back_end:
                yield running


@pytest.fixture
def provider(running: Running) -> Provider:
    """The provider as it is at first. The app remembers its key for an hour."""
    running.provider.reset()
    running.provider.claims = {"sub": f"person-{secrets.token_hex(6)}"}
    return running.provider


@pytest.fixture
def new_browser(running: Running) -> Iterator[Callable[[], Browser]]:
    """Opens browsers, and closes them at the end."""
    with ExitStack() as browsers:

        def new() -> Browser:
            browser = Browser(running)
            browsers.enter_context(browser.http)
            return browser

        yield new


@pytest.fixture
def browser(new_browser: Callable[[], Browser]) -> Browser:
    """A new browser."""
    return new_browser()


def test_the_request_to_the_provider(browser: Browser, provider: Provider) -> None:
    """The browser goes to the provider with PKCE, state, nonce and `response_mode=query`; the secrets are in one sealed
    cookie that ends in eight characters of the state, for ten minutes."""
    response = browser.start()
    location, query = response.headers["location"], query_of(response)
    assert location.startswith(f"{provider.url}/authorize?")
    assert query["redirect_uri"] == f"{browser.running.url}/api/sso/acme/callback"
    assert {name: query[name] for name in ("response_type", "response_mode", "scope", "client_id")} == {
        "response_type": "code",
        "response_mode": "query",
        "scope": "openid",
        "client_id": "client-1",
    }
    assert query["code_challenge_method"] == "S256"
    assert len(query["code_challenge"]) == 43
    assert query["code_challenge"] != sso.challenge(browser.verifier)
    cookie = response.headers["set-cookie"]
    name, _, value = cookie.partition(";")[0].partition("=")
    assert name.endswith(query["state"][:8])
    assert re.fullmatch(r"[A-Za-z0-9_-]+", value)
    for attribute in ("max-age=600", "path=/", "httponly", "samesite=lax"):
        assert attribute in cookie.lower()
    for secret in (query["nonce"], RETURN_TO, query["state"]):
        assert encode(secret.encode())[:20] not in value
    assert response.headers["cache-control"] == "no-store"


def test_a_person_signs_in(browser: Browser, provider: Provider, new_browser: Callable[[], Browser]) -> None:
    """The provider's code becomes a ticket, and the ticket with the verifier a session of a user named
    `<provider>:<subject>`; the next sign-in is the same user's."""
    subject = provider.claims["sub"]
    result = browser.sign_in()
    assert set(result) == {"x", "ticket"}
    (form,) = provider.forms
    assert form["grant_type"] == "authorization_code"
    assert 43 <= len(form["code_verifier"]) <= 128
    assert provider.authorizations == ["Basic " + encode_basic("client-1", "s~e.c%2Fr%2Be%20t")]
    tokens = browser.running.complete(result["ticket"], browser.verifier)
    assert tokens["signed_in"]
    assert tokens["amr"] == ["fed"]
    user = browser.running.back_end.get(f"/api/users/{tokens['user_id']}").json()
    assert user["user"] == f"acme:{subject}"
    again = new_browser()
    repeated = browser.running.complete(again.sign_in()["ticket"], again.verifier)
    assert repeated["user_id"] == tokens["user_id"]
    provider.claims = {"sub": subject + "2", "email": "same@example.org"}
    other = new_browser()
    assert browser.running.complete(other.sign_in()["ticket"], other.verifier)["user_id"] != tokens["user_id"]


def encode_basic(user: str, password: str) -> str:
    """The credential of HTTP Basic."""
    import base64

    return base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_ticket_needs_its_verifier_and_works_once(browser: Browser, provider: Provider) -> None:
    """A ticket that somebody reads in a URL is of no use to them; of many calls with ticket and verifier, one wins."""
    ticket = browser.sign_in()["ticket"]
    running = browser.running
    for verifier in (secrets.token_urlsafe(48), sso.challenge(browser.verifier), browser.verifier + "A"):
        assert running.complete(ticket, verifier) == {"signed_in": False, "reason": "wrong-credentials"}
    attempts: list[dict[str, Any]] = [{"code": "123456"}, {"recovery_code": "AAAA"}, {"passkey": {}}]
    for fields in attempts:
        body = {"ticket": ticket} | fields
        assert "access_token" not in running.back_end.post("/api/sign-in", json=body).json()
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: running.complete(ticket, browser.verifier), range(8)))
    assert sorted(each.get("reason", "") for each in results) == [""] + ["expired"] * 7


def test_two_tabs_work(browser: Browser, provider: Provider) -> None:
    """Two flows in one browser do not disturb each other, in whichever order they end."""
    first, second = browser.begin(), browser.begin()
    for begun in (first, second):
        code = provider.code(begun["nonce"])
        assert "ticket" in query_of(browser.come_back(code=code, state=begun["state"]))


@pytest.mark.parametrize(
    "change",
    [
        "no state",
        "wrong state",
        "other provider",
        "no cookie",
        "forged cookie",
        "other tab's cookie",
        "twice",
        "two cookies",
    ],
)
def test_a_foreign_response_is_400(browser: Browser, provider: Provider, change: str) -> None:
    """Where cookie or state do not match, the response is 400, without a redirect and without a token request."""
    begun, other = browser.begin(), browser.begin()
    name, path = f"sso-{begun['state'][:8]}", "acme"
    parameters: Any = {"code": provider.code(begun["nonce"]), "state": begun["state"]}
    headers: dict[str, str] = {}
    cookies = dict(browser.cookies)
    if change == "no state":
        del parameters["state"]
    elif change == "wrong state":
        parameters["state"] = begun["state"][:8] + "A" * 24
    elif change == "other provider":
        path = "strict"
    elif change == "no cookie":
        cookies = {}
    elif change == "forged cookie":
        cookies[name] = cookies[name][:-4] + "AAAA"
    elif change == "other tab's cookie":
        cookies[name] = cookies[f"sso-{other['state'][:8]}"]
    elif change == "twice":
        parameters = [*parameters.items(), ("state", other["state"])]
    headers["cookie"] = "; ".join(f"{key}={value}" for key, value in cookies.items())
    if change == "two cookies":
        headers["cookie"] = f"{name}=x; {headers['cookie']}"
    response = browser.http.get(f"/api/sso/{path}/callback", params=parameters, headers=headers)
    assert response.status_code == 400
    assert "location" not in response.headers
    assert "set-cookie" not in response.headers
    assert provider.forms == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"return_to": "https://evil.example/"}, 400),
        ({"return_to": "https://app.example.org.evil.example/"}, 400),
        ({"return_to": "https://app.example.org@evil.example/"}, 400),
        ({"return_to": "https://app.example.org:444/"}, 400),
        ({"return_to": "http://app.example.org/"}, 400),
        ({"return_to": "//app.example.org/"}, 400),
        ({"return_to": "/signed-in"}, 400),
        ({"return_to": "javascript:alert(1)"}, 400),
        ({"return_to": "https://app.example.org\\@evil.example/"}, 400),
        ({"return_to": "https://app.example.org/\r\nx: y"}, 400),
        ({"return_to": "https://app.example.org/\té"}, 400),
        ({"return_to": "https://app.example.org/é"}, 400),
        ({"return_to": "https://app.example.org/\x7f"}, 400),
        ({"return_to": "https://app.example.org/#fragment"}, 400),
        ({"return_to": " https://app.example.org/"}, 400),
        ({"return_to": "https://app.example.org/" + "x" * 489}, 400),
        ({"return_to": ""}, 400),
        ({"code_challenge": "short"}, 400),
        ({"code_challenge": "x" * 44}, 400),
        ({"code_challenge": "+" * 43}, 400),
        ({"code_challenge": ""}, 400),
        ({"unknown": "x"}, 400),
        ({"return_to": "https://app.example.org"}, 302),
        ({"return_to": "https://app.example.org?x"}, 302),
        ({"return_to": "HTTPS://APP.example.org/"}, 302),
        ({"return_to": "http://localhost:3000/a%20b"}, 302),
        ({"return_to": "https://app.example.org/" + "x" * 488}, 302),
    ],
)
def test_return_to_and_the_challenge(browser: Browser, provider: Provider, fields: dict[str, str], status: int) -> None:
    """The browser returns only to a URL of at most 512 characters whose origin is listed; the challenge is S256."""
    response = browser.start(**fields)
    assert response.status_code == status, response.text
    if status == 400:
        assert "location" not in response.headers
        assert next(iter(fields)) in response.text


def test_both_fields_are_required(browser: Browser, provider: Provider) -> None:
    """Without `return_to` or without `code_challenge`: 400. A provider that is not set up: 404."""
    for query in ({"return_to": RETURN_TO}, {"code_challenge": sso.challenge("x")}):
        assert browser.http.get("/api/sso/acme", params=query).status_code == 400
    assert browser.start("nobody").status_code == 404
    assert browser.come_back("nobody", state="x", code="y").status_code == 404


def test_the_providers_are_listed(browser: Browser) -> None:
    """list-providers is public, and names each provider with its URL."""
    providers = browser.http.get("/api/sso").json()["providers"]
    assert {"name": "acme", "start_url": f"{browser.running.url}/api/sso/acme"} in providers
    assert [each["name"] for each in providers] == ["acme", "factor", "out", "real", "strict"]
    assert "secret" not in json.dumps(providers).lower()


def test_users_who_may_not_sign_in(browser: Browser, provider: Provider, running: Running) -> None:
    """Without `_CREATE_USERS` an unknown person is `unknown-user`; a disabled user is `disabled`; who refuses at the
    provider is `access-denied`."""
    assert browser.sign_in("strict")["error"] == "unknown-user"
    tokens = running.complete(browser.sign_in()["ticket"], browser.verifier)
    assert "ticket" in browser.sign_in("strict"), "The same issuer and subject are the same user."
    pending = browser.sign_in()["ticket"]
    changed = running.back_end.patch(f"/api/users/{tokens['user_id']}", json={"disabled": True})
    assert changed.status_code == 200
    assert browser.sign_in()["error"] == "disabled"
    assert running.complete(pending, browser.verifier)["reason"] == "disabled"
    begun = browser.begin()
    response = browser.come_back(error="access_denied", error_description="no", state=begun["state"])
    assert query_of(response)["error"] == "access-denied"
    begun = browser.begin()
    response = browser.come_back(error="server_error", state=begun["state"])
    assert query_of(response)["error"] == "provider-failed"
    assert query_of(browser.start("out"))["error"] == "provider-failed"


def test_a_deleted_user_is_created_again(browser: Browser, provider: Provider, running: Running) -> None:
    """Deleting a user frees issuer, subject and name: the person comes back as a new user."""
    tokens = running.complete(browser.sign_in()["ticket"], browser.verifier)
    pending = browser.sign_in()["ticket"]
    assert running.back_end.delete(f"/api/users/{tokens['user_id']}").status_code == 204
    assert browser.sign_in("strict")["error"] == "unknown-user"
    assert running.complete(pending, browser.verifier)["reason"] == "expired"
    again = running.complete(browser.sign_in()["ticket"], browser.verifier)
    assert again["user_id"] != tokens["user_id"]


def test_a_taken_name_is_not_taken_over(browser: Browser, provider: Provider, running: Running) -> None:
    """Somebody who has the name that a first sign-in would create keeps it: the person is not signed in as them."""
    name = f"acme:{provider.claims['sub']}"
    body = {"user": name, "password": "correct horse battery staple"}
    assert running.back_end.post("/api/sign-up", json=body).status_code == 201
    assert browser.sign_in()["error"] == "unknown-user"


def test_no_password_signs_in_a_created_user(browser: Browser, provider: Provider, running: Running) -> None:
    """A user of a provider has no password: no password is right."""
    running.complete(browser.sign_in()["ticket"], browser.verifier)
    refused = {"signed_in": False, "reason": "wrong-credentials"}
    for password in ("correct horse battery staple", ""):
        body = {"user": f"acme:{provider.claims['sub']}", "password": password}
        assert running.back_end.post("/api/sign-in", json=body).json() == refused


def test_a_first_sign_in_of_many_browsers_creates_one_user(
    running: Running, provider: Provider, new_browser: Callable[[], Browser]
) -> None:
    """First sign-ins of one person at the same moment all succeed, as one user."""
    browsers = [new_browser() for _ in range(6)]

    def sign_in(browser: Browser) -> str:
        begun = browser.begin()
        code = provider.code(begun["nonce"])
        result = query_of(browser.come_back(code=code, state=begun["state"]))
        return str(running.complete(result["ticket"], browser.verifier)["user_id"])

    with ThreadPoolExecutor(6) as threads:
        assert len(set(threads.map(sign_in, browsers))) == 1


@pytest.mark.parametrize(
    ("amr", "is_enough"),
    [
        (None, False),
        (["pwd"], False),
        (["pwd", "mfa"], True),
        (["pwd", "otp"], True),
        (["face", "fpt"], False),
        ("mfa", True),
    ],
)
def test_the_second_factor(browser: Browser, provider: Provider, running: Running, amr: Any, is_enough: bool) -> None:
    """With `_SECOND_FACTOR`, a user with a factor here needs it, unless the provider's `amr` shows a second one."""
    tokens = running.complete(browser.sign_in("factor")["ticket"], browser.verifier)
    bearer = {"authorization": f"Bearer {tokens['access_token']}"}
    enrolled = running.back_end.post("/api/me/totp", json={}, headers=bearer).json()
    confirm = f"/api/me/totp/{enrolled['factor_id']}/confirm"
    totp = pyotp.TOTP(enrolled["secret"])
    confirmed = running.back_end.post(confirm, json={"code": totp.now()}, headers=bearer).json()
    provider.claims["amr"] = amr
    assert running.complete(browser.sign_in("acme")["ticket"], browser.verifier)["signed_in"]
    result = running.complete(browser.sign_in("factor")["ticket"], browser.verifier)
    assert result["signed_in"] is is_enough
    if is_enough:
        assert result["amr"] == ["fed", "mfa"]
        return
    assert set(result["factors"]) == {"totp", "recovery-code"}
    body = {"ticket": result["ticket"], "recovery_code": confirmed["recovery_codes"][0]}
    completed = running.back_end.post("/api/sign-in", json=body).json()
    assert completed["signed_in"]
    assert {"fed", "mfa"} <= set(completed["amr"])


# The cases of the OpenID Foundation's tests of relying parties, and attacks on the flow


def change_nothing(_: Provider) -> None:
    """The valid case."""


def with_claims(**claims: Any) -> Callable[[Provider], None]:
    """Other claims in the ID token."""
    return lambda provider: provider.claims.update(claims)


def with_header(**header: Any) -> Callable[[Provider], None]:
    """Other headers of the ID token."""
    return lambda provider: provider.header.update(header)


def by_stranger(provider: Provider) -> None:
    """An ID token by a key that is not the provider's."""
    provider.key = SigningKey("k1")


def with_token(response: Any) -> Callable[[Provider], None]:
    """Another response of the token endpoint."""
    return lambda provider: setattr(provider, "token", response)


def with_status(status: int) -> Callable[[Provider], None]:
    """Another status of the token endpoint."""
    return lambda provider: provider.statuses.update({"/token": status})


HOSTILE: Mapping[str, tuple[Callable[[Provider], None], bool]] = {
    "valid": (change_nothing, True),
    "kid-absent-single-jwks": (with_header(kid=None), True),
    "aud-list": (with_claims(aud=["client-1"]), True),
    "aud-list-with-azp": (with_claims(aud=["client-1", "other"], azp="client-1"), True),
    "nonce-invalid": (with_claims(nonce="other"), False),
    "nonce-missing": (with_claims(nonce=None), False),
    "nonce-number": (with_claims(nonce=1), False),
    "missing-iat": (with_claims(iat=None), False),
    "missing-aud": (with_claims(aud=None), False),
    "missing-sub": (with_claims(sub=None), False),
    "missing-exp": (with_claims(exp=None), False),
    "empty-sub": (with_claims(sub=""), False),
    "long-sub": (with_claims(sub="s" * 256), False),
    "invalid-iss": (with_claims(iss="https://evil.example"), False),
    "iss-with-slash": (lambda provider: provider.claims.update(iss=provider.url + "/"), False),
    "invalid-aud": (with_claims(aud="other"), False),
    "aud-list-without-azp": (with_claims(aud=["client-1", "other"]), False),
    "azp-of-another": (with_claims(azp="other"), False),
    "expired": (with_claims(exp=1), False),
    "issued-in-the-future": (with_claims(iat=4_000_000_000, exp=4_000_000_300), False),
    "sig-none": (with_token({"id_token": f"{encode({'alg': 'none'})}.{encode({'sub': 'a'})}."}), False),
    "invalid-sig": (by_stranger, False),
    "access-token-as-id-token": (with_header(typ="at+jwt"), False),
    "own-jwk": (lambda provider: provider.header.update(jwk=provider.key.public()), False),
    "unknown-kid": (with_header(kid="unknown"), False),
    "no-id-token": (with_token({"access_token": "x"}), False),
    "id-token-null": (with_token({"id_token": None}), False),
    "token-list": (with_token([]), False),
    "token-500": (with_status(500), False),
    "token-400": (with_status(400), False),
    "token-redirect": (with_status(307), False),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_responses(browser: Browser, provider: Provider, case: str) -> None:
    """Each wrong ID token and token response ends in `provider-failed`; each valid one in a ticket."""
    change, is_valid = HOSTILE[case]
    key = provider.key
    change(provider)
    result = browser.sign_in()
    provider.key = key
    assert ("ticket" in result) is is_valid, result
    assert is_valid or result["error"] == "provider-failed"
    assert provider.count("/elsewhere") == 0


def test_the_issuer_of_the_response(browser: Browser, provider: Provider) -> None:
    """A response of another issuer is refused before its code is sent anywhere (RFC 9207)."""
    assert browser.sign_in(iss="https://evil.example")["error"] == "provider-failed"
    assert provider.forms == []
    assert "ticket" in browser.sign_in(iss=provider.url)


def test_parameters_of_providers_are_ignored(browser: Browser, provider: Provider) -> None:
    """Providers add parameters of their own (Google `scope` and `authuser`, Keycloak `session_state`)."""
    assert "ticket" in browser.sign_in(session_state="x", scope="openid", authuser="0", token="y")


def test_nothing_secret_is_logged(browser: Browser, provider: Provider, running: Running) -> None:
    """Neither codes, tickets, verifiers, states nor subjects reach the log."""
    begun = browser.begin()
    code = provider.code(begun["nonce"])
    ticket = query_of(browser.come_back(code=code, state=begun["state"]))["ticket"]
    running.complete(ticket, browser.verifier)
    log = running.app.log.read_text()
    assert "finish-sso" in log
    for secret in (code, ticket, browser.verifier, begun["state"], begun["nonce"], provider.claims["sub"], SECRET):
        assert secret not in log


# The real provider


@contextmanager
def real_provider(running: Running, key: SigningKey) -> Iterator[str]:
    """oidc-provider of npm, at the address of the settings, until the context ends."""
    client = {
        "client_id": "strongroom",
        "client_secret": SECRET,
        "redirect_uris": [f"{running.url}/api/sso/real/callback"],
        "grant_types": ["authorization_code", "client_credentials"],
        "response_types": ["code"],
    }
    private = {**key.key.as_dict(private=True), "kid": key.kid, "use": "sig", "alg": "RS256"}
    configuration = {"clients": [client], "jwks": {"keys": [private]}, "audience": "https://api.example"}
    process = subprocess.Popen(
        ["node", SCRIPT, str(urlsplit(running.real).port), json.dumps(configuration)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield running.real
    finally:
        process.kill()
        process.communicate()


def sign_in_at(browser: Browser, issuer: str, login: str) -> dict[str, str]:
    """Sign in at the real provider with its forms, and return to the app."""
    with httpx.Client(base_url=issuer, timeout=60, trust_env=False) as http:
        response = http.get(browser.start("real").headers["location"])
        for form in ({"prompt": "login", "login": login, "password": "x"}, {"prompt": "consent"}, None):
            while response.is_redirect:
                location = response.headers["location"]
                if location.startswith(browser.running.url):
                    return query_of(browser.get(location))
                response = http.get(location)
            if form is not None:
                response = http.post(response.url, data=form)
    raise AssertionError(f"The provider did not return to the app: {response.status_code}")


def client_token(issuer: str) -> str:
    """An access token of the real provider (RFC 9068), by client credentials."""
    form = {"grant_type": "client_credentials", "resource": "https://api.example", "scope": "read"}
    auth = httpx.BasicAuth("strongroom", "s~e.c%2Fr%2Be%20t")
    response = httpx.post(f"{issuer}/token", data=form, auth=auth, timeout=60, trust_env=False)
    assert response.status_code == 200, response.text
    return str(response.json()["access_token"])


def test_a_real_provider_with_rotated_keys(running: Running, browser: Browser) -> None:
    """A person signs in at oidc-provider before and after it rotates its keys, as the same user; check-token accepts
    its access tokens before and after, and no longer those of the old key."""
    login = f"real-{secrets.token_hex(6)}"
    users, tokens = set(), []
    for kid in ("r1", "r2"):
        with real_provider(running, SigningKey(kid)) as issuer:
            result = sign_in_at(browser, issuer, login)
            users.add(running.complete(result["ticket"], browser.verifier)["user_id"])
            tokens.append(client_token(issuer))
            checked = running.back_end.post("/api/check-token", json={"token": tokens[-1], "scope": "read"}).json()
            assert checked["active"], checked
            assert (checked["issuer"], checked["subject"]) == (issuer, "strongroom")
    assert len(users) == 1
    assert running.back_end.post("/api/check-token", json={"token": tokens[0]}).json() == {
        "active": False,
        "reason": "bad-signature",
    }
    scope = {"token": tokens[1], "scope": "read write"}
    assert running.back_end.post("/api/check-token", json=scope).json()["reason"] == "missing-scope"
