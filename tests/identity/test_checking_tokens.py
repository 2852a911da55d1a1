"""`check-token` and the documents for resource servers, over HTTP, with tokens of this app and of a provider."""

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest

from shared.settings import StorageSettings
from shared.storage import account_of
from tests.identity.conftest import Caller
from tests.identity.provider import Provider, SigningKey, encode, run_provider
from tests.storage.proxy import run_proxy
from tests.support import App, StartApp, app_environ, run_app

ALICE_AUDIENCE = "https://api.example"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """A provider that the app trusts."""
    with run_provider() as running:
        yield running


@pytest.fixture(scope="module")
def app(provider: Provider, storage_connection: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app that trusts the provider, and an issuer that does not respond."""
    settings = {
        "TRUSTED_ISSUER_ACME": provider.url,
        "TRUSTED_ISSUER_ACME_AUDIENCE": f"{ALICE_AUDIENCE},other-audience",
        "TRUSTED_ISSUER_OUT": "http://127.0.0.1:1",
        "TRUSTED_ISSUER_PLAIN": f"{provider.url}/plain",
    }
    folder = tmp_path_factory.mktemp("check-token")
    with run_app(folder, app_environ(folder, storage_connection) | settings) as running:
        yield running


@pytest.fixture(scope="module")
def back_end(app: App) -> Caller:
    """A back end of the app."""
    return Caller(app)


def check(back_end: Caller, token: str, **fields: str) -> Any:
    """The response of `check-token`."""
    return back_end.post("check-token", token=token, **fields)


def test_our_token_is_active_until_its_session_ends(back_end: Caller) -> None:
    """check-token shows the claims of our token, and `revoked` once its session or its user is gone."""
    _, tokens = back_end.sign_up()
    token, user_id = tokens["access_token"], tokens["user_id"]
    found = check(back_end, token)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert found == {
        "active": True,
        "issuer": claims["iss"],
        "subject": user_id,
        "user_id": user_id,
        "expires": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(claims["exp"])),
        "claims": claims,
    }
    assert check(back_end, token, audience=claims["aud"])["active"]
    assert check(back_end, token, audience="https://other.example") == {"active": False, "reason": "wrong-audience"}
    assert check(back_end, token, scope="read") == {"active": False, "reason": "missing-scope"}
    assert back_end.send("POST", "sign-out", token=token).status_code == 204
    assert check(back_end, token) == {"active": False, "reason": "revoked"}
    for end in ("disable", "delete"):
        _, tokens = back_end.sign_up()
        path = f"users/{tokens['user_id']}"
        if end == "disable":
            assert back_end.send("PATCH", path, {"disabled": True}).status_code == 200
        else:
            assert back_end.send("DELETE", path).status_code == 204
        assert check(back_end, tokens["access_token"]) == {"active": False, "reason": "revoked"}


def test_forged_tokens_of_the_app(back_end: Caller) -> None:
    """A token in our name that our key did not sign is refused, whatever its header says."""
    _, tokens = back_end.sign_up()
    head, body, signature = tokens["access_token"].split(".")
    claims = json.loads(jwt.utils.base64url_decode(body))
    stranger = SigningKey("x", "ES256")
    kid = jwt.get_unverified_header(tokens["access_token"])["kid"]
    forged = {
        "other claims": f"{head}.{encode({**claims, 'sub': str(uuid4())})}.{signature}",
        "another key": stranger.sign(claims, typ="at+jwt", kid=kid),
        "an unknown kid": stranger.sign(claims, typ="at+jwt", kid="unknown"),
        "no signature": f"{encode({'alg': 'none', 'typ': 'at+jwt'})}.{body}.",
        "another type": f"{encode({'alg': 'ES256', 'typ': 'JWT', 'kid': kid})}.{body}.{signature}",
        "jwk": stranger.sign(claims, typ="at+jwt", jwk=stranger.public()),
    }
    for name, token in forged.items():
        found = check(back_end, token)
        assert not found["active"], name
        assert found["reason"] in ("bad-signature", "malformed"), name


def test_no_key_of_the_app_signs_a_token(back_end: Caller) -> None:
    """Neither `sign` nor an imported or created key makes a token in our name: `_tokens` is out of reach."""
    _, tokens = back_end.sign_up()
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    name = "t-" + uuid4().hex[:12]
    back_end.post("keys", name=name, type="P-256", published=True)
    token = back_end.post("sign", key=name, message=json.dumps(claims), format="jws")["signature"]
    assert check(back_end, token)["active"] is False
    refused = back_end.send("POST", "sign", {"key": "_tokens", "message": "x"})
    assert (refused.status_code, refused.json()["code"]) == (403, "reserved-key")


def test_tokens_of_a_trusted_issuer(back_end: Caller, provider: Provider) -> None:
    """check-token shows subject, expiry and claims of a foreign token, and no user of this app."""
    claims = provider.access_claims(scope="read write", aud=["x", "other-audience"])
    token = provider.key.sign(claims)
    assert check(back_end, token, scope="write") == {
        "active": True,
        "issuer": provider.url,
        "subject": "alice",
        "expires": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(claims["exp"])),
        "claims": claims,
    }
    assert check(back_end, token, scope="read admin")["reason"] == "missing-scope"
    assert check(back_end, token, audience="x")["active"]
    assert check(back_end, token, audience=ALICE_AUDIENCE)["reason"] == "wrong-audience"
    overage = provider.key.sign(provider.access_claims(hasgroups=True))
    assert check(back_end, overage)["groups_overage"] is True


def test_an_issuer_without_an_audience_has_that_of_the_app(back_end: Caller, provider: Provider) -> None:
    """Without `_AUDIENCE`, a token of an issuer must be for this app's own audience."""
    issuer = f"{provider.url}/plain"
    own = jwt.decode(back_end.sign_up()[1]["access_token"], options={"verify_signature": False})["aud"]
    for audience, active in ((own, True), (ALICE_AUDIENCE, False)):
        token = provider.key.sign(provider.access_claims(iss=issuer, aud=audience))
        assert check(back_end, token)["active"] is active


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b.c", "..", "é.é.é", "\ud7ff" * 3, "a" * 100_000, "eyJhbGciOiJub25lIn0.e30.", "null", "🙂.🙂.🙂"],
)
def test_any_text_is_malformed_at_worst(back_end: Caller, token: str) -> None:
    """A text that is not a token is 200 with `active: false`."""
    assert check(back_end, token) == {"active": False, "reason": "malformed"}


def test_wrong_fields_are_refused(back_end: Caller) -> None:
    """A token in the URL, an unknown field, and a token of another type are 400."""
    assert back_end.send("POST", "check-token?token=x", {"token": "x"}).json()["code"] == "secret-in-url"
    for fields in ({}, {"token": 1}, {"token": None}, {"token": "x", "audiences": "y"}, {"token": "x", "audience": ""}):
        assert back_end.send("POST", "check-token", fields).status_code == 400


def test_an_issuer_that_does_not_respond(back_end: Caller, provider: Provider) -> None:
    """Without the issuer's keys, a token is neither valid nor invalid: 503, with Retry-After."""
    token = provider.key.sign(provider.access_claims(iss="http://127.0.0.1:1"))
    response = back_end.send("POST", "check-token", {"token": token})
    assert (response.status_code, response.json()["code"]) == (503, "issuer-unavailable")
    assert int(response.headers["retry-after"]) > 0


def test_session_routes_refuse_foreign_tokens(back_end: Caller, provider: Provider) -> None:
    """A token of a trusted issuer opens no session route, even with a user's id as its subject."""
    _, tokens = back_end.sign_up()
    token = provider.key.sign(provider.access_claims(sub=tokens["user_id"], sid=tokens["session_id"]), typ="at+jwt")
    assert back_end.send("GET", "me", token=token).status_code == 401


def test_a_resource_server_checks_our_token(app: App, back_end: Caller) -> None:
    """PyJWT checks our token with the keys that our metadata name, which hold no key but those of these tokens."""
    _, tokens = back_end.sign_up()
    with httpx.Client(base_url=app.url, timeout=60, trust_env=False) as client:
        metadata = client.get("/api/.well-known/openid-configuration")
        assert "max-age" in metadata.headers["cache-control"]
        document = metadata.json()
        claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
        assert document["issuer"] == claims["iss"]
        assert document["jwks_uri"] == f"{document['issuer']}/tokens/jwks"
        key_set = client.get("/api/tokens/jwks").json()
    keys = jwt.PyJWKSet.from_dict(key_set)
    key = keys[jwt.get_unverified_header(tokens["access_token"])["kid"]]
    jwt.decode(tokens["access_token"], key, algorithms=["ES256"], audience=claims["aud"], issuer=document["issuer"])
    assert all(each["kty"] == "EC" and each["use"] == "sig" and "d" not in each for each in key_set["keys"])
    others = {each["kid"] for each in back_end.send("GET", "jwks").json()["keys"]}
    assert not others & {each["kid"] for each in key_set["keys"]}


def test_roles_of_our_users_open_keys(back_end: Caller) -> None:
    """set-roles replaces the roles of a user; a token issued after it opens what its role opens, until it expires."""
    name, tokens = back_end.sign_up()
    user_id, key = tokens["user_id"], "t-" + uuid4().hex[:12]
    back_end.post("keys", name=key, type="P-256", callers=["role:billing"])
    call = {"key": key, "message": "x"}
    assert back_end.send("POST", "sign", call, token=tokens["access_token"]).status_code == 403
    changed = back_end.send("PUT", f"users/{user_id}/roles", {"roles": ["billing", "A.b_c-9", "billing"]})
    assert (changed.status_code, changed.json()["roles"]) == (200, ["billing", "A.b_c-9"])
    assert back_end.send("POST", "sign", call, token=tokens["access_token"]).status_code == 403
    token = back_end.sign_in(name)["access_token"]
    assert back_end.send("POST", "sign", call, token=token).status_code == 200
    assert back_end.send("GET", "me", token=token).json()["roles"] == ["billing", "A.b_c-9"]
    assert back_end.send("PUT", f"users/{user_id}/roles", {"roles": []}).json()["roles"] == []
    by_id = "t-" + uuid4().hex[:12]
    back_end.post("keys", name=by_id, type="P-256", callers=[f"user:{user_id}"])
    assert back_end.send("POST", "sign", {"key": by_id, "message": "x"}, token=token).status_code == 200
    other = back_end.sign_up()[1]["access_token"]
    assert back_end.send("POST", "sign", {"key": by_id, "message": "x"}, token=other).status_code == 403


@pytest.mark.parametrize("role", ["", "a" * 65, "a b", "é", "a/b", "a\n", "*", 1, None])
def test_malformed_roles_are_refused(back_end: Caller, role: object) -> None:
    """A role is of 1 to 64 letters, digits, dots, hyphens and underscores."""
    user_id = back_end.sign_up()[1]["user_id"]
    assert back_end.send("PUT", f"users/{user_id}/roles", {"roles": [role]}).status_code == 400
    assert back_end.send("PUT", f"users/{user_id}/roles", {"roles": ["ok"] * 51}).status_code == 400
    assert back_end.send("PUT", f"users/{user_id}/roles", {}).status_code == 400
    assert back_end.send("PUT", f"users/{uuid4()}/roles", {"roles": []}).status_code == 404


def test_subjects_are_replaced(back_end: Caller) -> None:
    """link-subject replaces the subjects: texts are e-mail addresses, objects map types to texts and numbers."""
    user_id = back_end.sign_up()[1]["user_id"]
    path = f"users/{user_id}/subjects"
    linked = back_end.send("PUT", path, {"subjects": ["a@example.org", {"customer_id": 7, "ref": "x"}]})
    assert linked.status_code == 200
    assert linked.json()["subjects"] == [{"email": "a@example.org"}, {"customer_id": 7, "ref": "x"}]
    assert back_end.send("GET", f"users/{user_id}").json()["subjects"] == linked.json()["subjects"]
    assert back_end.send("PUT", path, {"subjects": {"customer_id": 8}}).json()["subjects"] == [{"customer_id": 8}]
    assert back_end.send("PUT", path, {"subjects": []}).json()["subjects"] == []
    malformed: tuple[Any, ...] = (
        "x",
        [""],
        [{}],
        [{"a": ""}],
        [{"a": True}],
        [{"a": None}],
        [{"a": ["x"]}],
        [1],
        None,
        {"": "x"},
    )
    for wrong in malformed:
        assert back_end.send("PUT", path, {"subjects": wrong}).status_code == 400, wrong
    assert back_end.send("PUT", f"users/{uuid4()}/subjects", {"subjects": []}).status_code == 404


def test_requests_to_storage(
    provider: Provider, storage_connection: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A token of this app costs one read; a warm token of another issuer, or of a listed caller, costs none."""
    account = account_of(StorageSettings(storage_connection))
    folder = tmp_path_factory.mktemp("watched")
    with run_proxy(account.table_url) as proxy:
        connection = (
            f"AccountName={account.name};AccountKey={account.key};BlobEndpoint={account.blob_url};"
            f"TableEndpoint={proxy.url}"
        )
        settings = {
            "AzureWebJobsStorage": connection,
            "TRUSTED_ISSUER_ACME": provider.url,
            "TRUSTED_ISSUER_ACME_AUDIENCE": ALICE_AUDIENCE,
            "STRONGROOM_KEY_CACHE_SECONDS": "300",
        }
        with run_app(folder, app_environ(folder, storage_connection) | settings) as app:
            back_end = Caller(app)
            own, foreign = back_end.sign_up()[1]["access_token"], provider.key.sign(provider.access_claims())
            key = "t-" + uuid4().hex[:12]
            back_end.post("keys", name=key, type="P-256", callers=["user:ACME/alice", "role:none"])

            def requests(path: str, fields: dict[str, str], token: str = "") -> list[str]:
                back_end.send("POST", path, fields, token=token)
                proxy.requests.clear()
                back_end.send("POST", path, fields, token=token)
                return [method for method, _ in proxy.requests]

            assert requests("check-token", {"token": own}) == ["GET"]
            assert requests("check-token", {"token": foreign}) == []
            assert requests("sign", {"key": key, "message": "x"}, foreign) == []
            assert requests("sign", {"key": key, "message": "x"}, own) == []


def test_health_warns_of_issuers_for_several_tenants(start_app: StartApp) -> None:
    """health-details names issuers of several tenants that accept no tenant, or any."""
    shared = "https://login.microsoftonline.com/common/v2.0"
    app = start_app(
        {
            "TRUSTED_ISSUER_NONE": shared,
            "TRUSTED_ISSUER_ANY": shared,
            "TRUSTED_ISSUER_ANY_TENANTS": "*",
            "TRUSTED_ISSUER_ONE": shared,
            "TRUSTED_ISSUER_ONE_TENANTS": "11111111-2222-4333-8444-555555555555",
        }
    )
    with app.client() as client:
        warnings = client.get("/api/health/details").json()["warnings"]
    assert {(each["code"], each["subject"]) for each in warnings} >= {
        ("issuer-without-tenants", "TRUSTED_ISSUER_NONE"),
        ("issuer-of-any-tenant", "TRUSTED_ISSUER_ANY"),
    }
    assert "ONE" not in {each["subject"].rpartition("_")[2] for each in warnings} - {"NONE"}


def test_another_deployment_trusts_our_tokens(back_end: Caller, start_app: StartApp) -> None:
    """A second app that trusts the first one's issuer accepts its tokens, as those of a foreign user with roles."""
    name, tokens = back_end.sign_up()
    back_end.send("PUT", f"users/{tokens['user_id']}/roles", {"roles": ["billing"]})
    token = back_end.sign_in(name)["access_token"]
    issuer = jwt.decode(token, options={"verify_signature": False})["iss"]
    other = Caller(start_app({"TRUSTED_ISSUER_FIRST": issuer, "TRUSTED_ISSUER_FIRST_AUDIENCE": issuer}))
    found = check(other, token)
    assert (found["active"], found["subject"]) == (True, tokens["user_id"])
    assert "user_id" not in found
    key = "t-" + uuid4().hex[:12]
    for callers, status in (([f"user:{tokens['user_id']}", "role:billing"], 403), (["role:FIRST/billing"], 200)):
        other.post("keys", name=f"{key}-{status}", type="P-256", callers=callers)
        assert other.send("POST", "sign", {"key": f"{key}-{status}", "message": "x"}, token=token).status_code == status
