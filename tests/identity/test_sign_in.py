"""Sign-in over HTTP: outcomes, the form of requests, renewal, the operator's functions, and public access."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import jwt
import pytest
from joserfc import jwk
from joserfc import jwt as joserfc_jwt

from shared.passwords.store.users import UserStore
from shared.passwords.throttling import Failures, wait_after
from tests.identity.conftest import OTHER, PASSWORD, Caller
from tests.support import App, app_environ, run_app

UUID = "5eed0000-0000-4000-8000-0000000000ff"


def problem(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem."""
    return response.status_code, response.json()["code"]


# Outcomes


def test_unknown_names_and_wrong_passwords_are_alike(caller: Caller) -> None:
    """A wrong password and an unknown name get the same response, byte for byte, with the same headers."""
    name, _ = caller.sign_up(f"{PASSWORD} {uuid4()}")
    wrong, unknown = (
        caller.send("POST", "sign-in", {"user": each, "password": str(uuid4())}) for each in (name, f"no-{name}")
    )
    assert wrong.status_code == unknown.status_code == 200
    assert wrong.json() == unknown.json() == {"signed_in": False, "reason": "wrong-credentials"}
    assert set(wrong.headers) == set(unknown.headers)


@pytest.mark.parametrize("password", ["", "x" * 1025, "\u00e9" * 600])
def test_a_password_that_nobody_has(caller: Caller, password: str) -> None:
    """An empty password, or one over 1,024 bytes, is a wrong one: a well-formed sign-in is 200."""
    name, _ = caller.sign_up()
    assert caller.sign_in(name, password) == {"signed_in": False, "reason": "wrong-credentials"}
    assert caller.sign_in(f"no-{name}", password) == {"signed_in": False, "reason": "wrong-credentials"}


@pytest.mark.parametrize("address", ["", "192.0.2.1:80", "example.org", "1"])
def test_an_address_is_an_address(caller: Caller, address: str) -> None:
    """A text that is not an IP address is refused, and the field is named."""
    response = caller.send("POST", "sign-in", {"user": "a", "password": "b", "address": address})
    assert problem(response) == (400, "invalid-request")
    assert response.json()["errors"][0]["field"] == "address"


def test_wrong_passwords_wait(caller: Caller) -> None:
    """After five wrong passwords the sixth is 429 with Retry-After, for users and unknown names."""
    name, _ = caller.sign_up()
    for each in (name, f"no-{name}"):
        for _ in range(5):
            assert caller.sign_in(each, str(uuid4()))["reason"] == "wrong-credentials"
        for _ in range(8):  # On a slow machine a wait may end; each wait is twice as long as the previous one.
            response = caller.send("POST", "sign-in", {"user": each, "password": str(uuid4())})
            if response.status_code == 429:
                break
        assert problem(response) == (429, "too-many-attempts")
        assert int(response.headers["retry-after"]) >= 1


def test_the_right_password_waits_too(caller: Caller, users: UserStore) -> None:
    """During a wait the right password is 429."""
    name, _ = caller.sign_up()
    now = datetime.now(UTC)
    users.set_failures(users.by_name(name), lambda _: Failures(20, now, now + wait_after(20)))
    response = caller.send("POST", "sign-in", {"user": name, "password": PASSWORD})
    assert problem(response) == (429, "too-many-attempts")
    assert 0 < int(response.headers["retry-after"]) <= 900


def test_a_disabled_user(caller: Caller) -> None:
    """Disabling ends the sessions; only the right password shows it, and enabling lets the user in again."""
    name, tokens = caller.sign_up()
    assert caller.send("PATCH", f"users/{tokens['user_id']}", {"disabled": True}).json()["disabled"] is True
    assert caller.send("GET", "me", token=tokens["access_token"]).status_code == 401
    assert caller.post("sessions/refresh", refresh_token=tokens["refresh_token"])["reason"] == "disabled"
    assert caller.sign_in(name) == {"signed_in": False, "reason": "disabled"}
    assert caller.sign_in(name, str(uuid4()))["reason"] == "wrong-credentials"
    caller.send("PATCH", f"users/{tokens['user_id']}", {"disabled": False})
    assert caller.post("sessions/refresh", refresh_token=tokens["refresh_token"])["reason"] == "expired"
    assert caller.sign_in(name)["signed_in"]


def test_sign_up_refuses(caller: Caller) -> None:
    """A taken name is 409, a weak password 422, and neither creates anybody."""
    name, _ = caller.sign_up()
    taken = caller.send("POST", "sign-up", {"user": name.upper(), "password": PASSWORD})
    assert problem(taken) == (409, "user-exists")
    other = f"weak-{uuid4()}"
    assert problem(caller.send("POST", "sign-up", {"user": other, "password": "short"})) == (422, "weak-password")
    assert caller.send("GET", f"users?user={other}").json()["users"] == []


@pytest.mark.parametrize("token", ["x", "AAAA", "é", "A" * 91, "\n", "a.b.c"])
def test_a_refresh_token_of_nobody(caller: Caller, token: str) -> None:
    """A text that the app did not issue is a well-formed refresh that does not succeed."""
    assert caller.post("sessions/refresh", refresh_token=token) == {"signed_in": False, "reason": "expired"}


# The form of requests

COMBINATIONS: list[dict[str, object]] = [
    {},
    {"user": "a"},
    {"password": "a"},
    {"ticket": "a"},
    {"code": "1"},
    {"user": "a", "code": "1"},
    {"user": "a", "password": "b", "ticket": "c"},
    {"user": "a", "password": "b", "code": "1"},
    {"ticket": "a", "code": "1", "recovery_code": "2"},
    {"ticket": "a", "password": "b"},
    {"ticket": "a", "passkey": {}, "code": "1"},
    {"user_agent": "x"},
]


@pytest.mark.parametrize("fields", COMBINATIONS, ids=lambda fields: "+".join(fields) or "nothing")
def test_no_valid_combination_is_400(caller: Caller, fields: dict[str, object]) -> None:
    """Only `user` with `password`, or `ticket` with one of its fields, is a request."""
    assert problem(caller.send("POST", "sign-in", fields)) == (400, "invalid-request")


def test_secrets_are_not_for_urls(caller: Caller) -> None:
    """Tokens, tickets and codes in a query string are refused, and `code` stays the host's parameter."""
    for name in ("refresh_token", "ticket", "recovery_code", "code_verifier", "password"):
        assert problem(caller.send("POST", f"sign-in?{name}=x")) == (400, "secret-in-url")
    for name in ("access_token", "token"):
        assert problem(caller.send("GET", f"me?{name}=x")) == (400, "secret-in-url")
    assert problem(caller.send("POST", "sign-in?code=123456", {"ticket": "AAAA"})) == (400, "invalid-request")


@pytest.mark.parametrize("path", ["sign-in", "sign-up", "sessions/refresh"])
def test_no_idempotency_key(caller: Caller, path: str) -> None:
    """The functions whose responses hold tokens take no Idempotency-Key."""
    response = caller.send("POST", path, {"user": "a", "password": "b"}, **{"Idempotency-Key": "k"})
    assert problem(response) == (400, "invalid-request")
    assert response.json()["errors"][0]["field"] == "idempotency_key"


def test_a_post_of_a_session_needs_its_content_type(caller: Caller) -> None:
    """A page of another origin can send a POST without Content-Type, so a session does not authorise it."""
    _, tokens = caller.sign_up()
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    with caller.app.client(key="") as client:
        for sent in ({}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}):
            for body in (b"", b"{}"):
                response = client.post("/api/sign-out", content=body, headers=headers | sent)
                assert problem(response) == (415, "unsupported-media-type")
        assert client.post("/api/sign-out", json={}, headers=headers).status_code == 204


def test_only_the_header_authorises(caller: Caller) -> None:
    """A token in a cookie or in a form signs nobody in, so no page of another origin can use it."""
    _, tokens = caller.sign_up()
    token = tokens["access_token"]
    with caller.app.client(key="") as client:
        for sent in ({"cookie": f"access_token={token}"}, {"x-access-token": token}):
            assert problem(client.post("/api/sign-out", headers=sent)) == (401, "unauthorized")
        assert problem(client.post("/api/sign-out", json={"access_token": token})) == (401, "unauthorized")
    assert caller.send("GET", "me", token=token).status_code == 200


# Session routes


def test_a_session_needs_no_function_key_and_a_key_is_no_session(caller: Caller) -> None:
    """A session route takes an access token alone; a function key, or a refresh token, does not replace it."""
    _, tokens = caller.sign_up()
    with caller.app.client(key="") as client:
        assert client.get("/api/me", headers={"authorization": f"bearer {tokens['access_token']}"}).is_success
        for header in ({}, {"authorization": "Bearer"}, {"authorization": f"Basic {tokens['access_token']}"}):
            response = client.get("/api/me", headers=header)
            assert problem(response) == (401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
        for token in (tokens["refresh_token"], tokens["access_token"] + "x", tokens["access_token"][:-1], "x"):
            response = client.get("/api/me", headers={"authorization": f"Bearer {token}"})
            assert problem(response) == (401, "invalid-token")
            assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert caller.send("GET", "me").status_code == 401


def test_sessions_are_listed_and_ended(caller: Caller) -> None:
    """A user sees their sessions and ends one; an operator sees them, too, and ends all."""
    name, first = caller.sign_up()
    second = caller.post("sign-in", user=name, password=PASSWORD, user_agent="Firefox", address="192.0.2.7")
    listed = caller.send("GET", "me/sessions", token=second["access_token"]).json()["sessions"]
    assert [(each["session_id"], each["current"]) for each in listed] == [
        (second["session_id"], True),
        (first["session_id"], False),
    ]
    assert [(each["user_agent"], each["amr"]) for each in listed] == [("Firefox", ["pwd"]), ("", ["pwd"])]
    assert datetime.fromisoformat(listed[0]["created"]) <= datetime.now(UTC)
    path = f"users/{first['user_id']}/sessions"
    assert [each["session_id"] for each in caller.send("GET", path).json()["sessions"]] == [
        second["session_id"],
        first["session_id"],
    ]
    ended = caller.send("DELETE", f"me/sessions/{first['session_id']}", token=second["access_token"])
    assert ended.status_code == 204
    assert caller.send("GET", "me", token=first["access_token"]).status_code == 401
    again = caller.send("DELETE", f"me/sessions/{first['session_id']}", token=second["access_token"])
    assert problem(again) == (404, "unknown-session")
    assert caller.send("DELETE", path).status_code == 204
    assert caller.send("GET", path).json()["sessions"] == []
    assert caller.send("GET", "me", token=second["access_token"]).status_code == 401
    assert caller.sign_in(name)["signed_in"]
    for method in ("GET", "DELETE"):
        assert problem(caller.send(method, f"users/{UUID}/sessions")) == (404, "unknown-user")


def test_nobody_ends_the_session_of_another(caller: Caller) -> None:
    """The id of another user's session is unknown."""
    (_, mine), (_, other) = caller.sign_up(), caller.sign_up()
    response = caller.send("DELETE", f"me/sessions/{other['session_id']}", token=mine["access_token"])
    assert problem(response) == (404, "unknown-session")
    assert caller.send("GET", "me", token=other["access_token"]).status_code == 200


def test_sign_out(caller: Caller) -> None:
    """Sign-out ends this session at once, and no other."""
    name, first = caller.sign_up()
    second = caller.sign_in(name)
    assert caller.send("POST", "sign-out", token=first["access_token"]).status_code == 204
    assert problem(caller.send("POST", "sign-out", token=first["access_token"])) == (401, "invalid-token")
    assert caller.post("sessions/refresh", refresh_token=first["refresh_token"])["reason"] == "expired"
    assert caller.send("GET", "me", token=second["access_token"]).status_code == 200


def test_a_sign_in_renews_the_session_of_its_user(caller: Caller) -> None:
    """With the same user's access token, sign-in renews that session; with another user's, it begins one."""
    name, first = caller.sign_up()
    fields = {"user": name, "password": PASSWORD}
    renewed = caller.send("POST", "sign-in", fields, token=first["access_token"]).json()
    assert renewed["session_id"] == first["session_id"]
    assert renewed["refresh_token"] != first["refresh_token"]
    assert caller.post("sessions/refresh", refresh_token=renewed["refresh_token"])["signed_in"]
    _, tokens = caller.sign_up()
    begun = caller.send("POST", "sign-in", fields, token=tokens["access_token"]).json()
    assert begun["session_id"] not in (first["session_id"], tokens["session_id"])
    caller.send("POST", "sign-out", token=renewed["access_token"])
    after = caller.send("POST", "sign-in", fields, token=renewed["access_token"]).json()
    assert after["signed_in"]
    assert after["session_id"] != first["session_id"]
    wrong = caller.send("POST", "sign-in", fields | {"password": str(uuid4())}, token=begun["access_token"]).json()
    assert wrong == {"signed_in": False, "reason": "wrong-credentials"}


def test_a_password_is_changed(caller: Caller) -> None:
    """With the old password, or a fresh sign-in without it; a wrong or weak one changes nothing."""
    name, tokens = caller.sign_up()
    token = tokens["access_token"]

    def change(**fields: str) -> httpx.Response:
        return caller.send("POST", "me/password", fields, token=token)

    assert problem(change(old_password=str(uuid4()), password=OTHER)) == (422, "wrong-password")
    assert problem(change(old_password=PASSWORD, password="short")) == (422, "weak-password")
    assert problem(change(old_password=PASSWORD, password=PASSWORD)) == (422, "same-password")
    assert problem(change(old_password=PASSWORD)) == (400, "invalid-request")
    assert caller.sign_in(name)["signed_in"]
    assert change(password=OTHER).status_code == 204
    assert change(old_password=OTHER, password=f"{OTHER} again").status_code == 204
    assert caller.sign_in(name, f"{OTHER} again")["signed_in"]
    assert caller.send("GET", "me", token=token).status_code == 200


def test_each_user_has_their_own_idempotency_keys(caller: Caller) -> None:
    """The same Idempotency-Key of two users on one function is two requests."""
    (_, first), (second_name, second) = caller.sign_up(), caller.sign_up()
    fields = {"old_password": PASSWORD, "password": OTHER}
    for tokens in (first, second):
        response = caller.send("POST", "me/password", fields, tokens["access_token"], **{"Idempotency-Key": "the-same"})
        assert response.status_code == 204
        assert "idempotent-replayed" not in response.headers
    assert caller.sign_in(second_name, OTHER)["signed_in"]


def test_a_deleted_user_has_no_session(caller: Caller) -> None:
    """Deleting a user ends the sessions, frees the name, and a user of the same id inherits nothing."""
    name, tokens = caller.sign_up()
    assert caller.send("DELETE", f"users/{tokens['user_id']}").status_code == 204
    assert caller.send("GET", "me", token=tokens["access_token"]).status_code == 401
    hash_text = caller.post("hash-password", password=PASSWORD)["hash"]
    caller.post("users/import", user=name, hash=hash_text, user_id=tokens["user_id"])
    assert caller.send("GET", "me", token=tokens["access_token"]).status_code == 401
    assert caller.post("sessions/refresh", refresh_token=tokens["refresh_token"])["reason"] == "expired"
    assert caller.sign_in(name)["user_id"] == tokens["user_id"]


# Tokens


def test_a_resource_server_checks_the_token(caller: Caller) -> None:
    """PyJWT and joserfc verify our token by the published key, with issuer, audience, type and algorithm."""
    _, tokens = caller.sign_up()
    token = tokens["access_token"]
    keys = caller.send("GET", "keys/_tokens/jwks").json()
    issuer = caller.app.url.replace("127.0.0.1", "localhost") + "/api"
    head = jwt.get_unverified_header(token)
    assert (head["typ"], head["alg"]) == ("at+jwt", "ES256")
    key = next(jwt.PyJWK(each) for each in keys["keys"] if each["kid"] == head["kid"])
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=issuer, issuer=issuer)
    assert (claims["sub"], claims["sid"], claims["client_id"]) == (
        tokens["user_id"],
        tokens["session_id"],
        "strongroom",
    )
    assert (claims["acr"], claims["amr"], claims["roles"]) == ("1", ["pwd"], [])
    assert claims["exp"] - claims["iat"] == 600
    assert abs(claims["auth_time"] - datetime.now(UTC).timestamp()) < 60
    decoded = joserfc_jwt.decode(token, jwk.KeySet.import_key_set(keys), algorithms=["ES256"])
    assert decoded.claims == claims


def test_rotation_breaks_no_token(caller: Caller) -> None:
    """After a rotation of `_tokens`, old tokens are valid, new ones name the new version, and both keys are shown."""
    _, first = caller.sign_up()
    assert caller.send("POST", "keys/_tokens/rotate").is_success
    _, second = caller.sign_up()
    kids = [jwt.get_unverified_header(each["access_token"])["kid"] for each in (first, second)]
    assert kids[0] != kids[1]
    for tokens in (first, second):
        assert caller.send("GET", "me", token=tokens["access_token"]).status_code == 200
    versions = caller.send("GET", "keys/_tokens").json()["versions"]
    assert set(kids) <= {each["key_id"] for each in versions if each["state"] == "enabled"}


# Public sign-in


@pytest.fixture(scope="module")
def public_app(storage_connection: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app whose sign-in and sign-up are public, behind one proxy."""
    folder = tmp_path_factory.mktemp("public")
    settings = {
        "STRONGROOM_PUBLIC_SIGN_IN": "true",
        "STRONGROOM_PUBLIC_SIGN_UP": "true",
        "STRONGROOM_PROXIES": "1",
        "STRONGROOM_AUDIENCE": "https://api.example.org",
        "STRONGROOM_ORIGINS": "https://app.example.org",
    }
    with run_app(folder, app_environ(folder, storage_connection) | settings) as app:
        yield app


def test_public_sign_in(public_app: App) -> None:
    """With the settings, browsers sign up, sign in and refresh without a key; the browser comes from the headers."""
    name = f"user-{uuid4().hex[:12]}"
    fields = {"user": name, "password": PASSWORD}
    with public_app.client(key="") as client:
        client.headers["user-agent"] = "Firefox"
        assert client.post("/api/sign-up", json=fields).status_code == 201
        tokens = client.post("/api/sign-in", json=fields).json()
        assert (
            jwt.decode(tokens["access_token"], options={"verify_signature": False})["aud"] == "https://api.example.org"
        )
        assert client.post("/api/sessions/refresh", json={"refresh_token": tokens["refresh_token"]}).json()["signed_in"]
        listed = client.get("/api/me/sessions", headers={"authorization": f"Bearer {tokens['access_token']}"}).json()
        assert {each["user_agent"] for each in listed["sessions"]} == {"Firefox"}
        for field in ("address", "user_agent"):
            assert problem(client.post("/api/sign-in", json=fields | {field: "192.0.2.1"})) == (400, "invalid-request")
        assert client.get(f"/api/users/{tokens['user_id']}/sessions").status_code == 401


def test_an_address_waits(public_app: App) -> None:
    """After a hundred wrong passwords an address waits, whatever the names; another address and forged ones do not."""
    with public_app.client(key="") as client:

        def sign_in(address: str) -> httpx.Response:
            fields = {"user": f"user-{uuid4()}", "password": str(uuid4())}
            return client.post("/api/sign-in", json=fields, headers={"x-forwarded-for": address})

        for number in range(100):
            assert sign_in(f"10.0.0.{number}, 203.0.113.7:5000").status_code == 200
        for _ in range(20):  # One more is free for each 36 seconds that the hundred took.
            waiting = sign_in("203.0.113.99, 203.0.113.7")
            if waiting.status_code == 429:
                break
        assert problem(waiting) == (429, "too-many-attempts")
        assert 0 < int(waiting.headers["retry-after"]) <= 36
        assert sign_in("203.0.113.7, 203.0.113.8").status_code == 200


def test_the_openapi_document_says_who_may_call(caller: Caller) -> None:
    """The functions with a session name the bearer scheme, and those with a key the key."""
    paths = caller.send("GET", "openapi.json").json()["paths"]
    assert paths["/me"]["get"]["security"] == [{"session": []}]
    assert {"key": []} in paths["/sign-in"]["post"]["security"]
    assert json.dumps(paths["/sign-in"]["post"]).count("Idempotency-Key") == 0
    assert "Idempotency-Key" in json.dumps(paths["/me/password"]["post"])
