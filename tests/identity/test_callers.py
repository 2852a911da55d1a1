"""Lists of callers on keys and saved queries, over HTTP, with tokens of this app and of a trusted issuer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from scripts.samples import seed_database
from shared.errors import InvalidRequest
from shared.identity.callers import OwnCaller, check_entries, is_listed
from shared.identity.issuers import Identity
from shared.identity.settings import Issuer
from tests.identity.provider import Provider, SigningKey, run_provider
from tests.support import app_environ, run_app

PASSPHRASE = "correct horse battery staple"
PASSWORD = "seven purple mountain goats"


class Running(NamedTuple):
    """An app that trusts a provider, and a client with its function key."""

    client: httpx.Client
    provider: Provider

    def token(self, **claims: Any) -> dict[str, str]:
        """The header with a token of the trusted issuer."""
        return {"authorization": f"Bearer {self.provider.key.sign(self.provider.access_claims(**claims))}"}


@pytest.fixture(scope="module")
def running(storage_connection: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One app for this module."""
    folder: Path = tmp_path_factory.mktemp("callers")
    seed_database(folder / "main.sqlite")
    with run_provider() as provider:
        settings = {
            "TRUSTED_ISSUER_ACME": provider.url,
            "TRUSTED_ISSUER_ACME_AUDIENCE": "https://api.example",
        }
        with run_app(folder, app_environ(folder, storage_connection) | settings) as app, app.client() as client:
            yield Running(client, provider)


def new_name() -> str:
    """A name that no other test uses."""
    return "c-" + uuid4().hex[:16]


def create(running: Running, callers: list[str] | None, **fields: Any) -> str:
    """A key with a list of callers."""
    name = new_name()
    body = {"name": name, "type": "P-256", "callers": callers} | fields
    response = running.client.post("/api/keys", json=body)
    assert response.status_code == 201, response.text
    assert response.json()["callers"] == callers
    return name


def refused(response: httpx.Response) -> bool:
    """Whether it is the refusal of a caller."""
    return response.status_code == 403 and response.json()["code"] == "not-allowed"


class Uses(NamedTuple):
    """Calls that need a key's private half."""

    calls: dict[str, dict[str, Any]]


def signing_calls(key: str) -> list[tuple[str, dict[str, Any]]]:
    """Every call that signs or exports with the key."""
    return [
        ("/api/sign", {"key": key, "message": "x"}),
        (f"/api/keys/{key}/export", {"passphrase": PASSPHRASE}),
    ]


def encrypting_calls(key: str, ciphertext: Any) -> list[tuple[str, dict[str, Any]]]:
    """Every call that encrypts or decrypts with the key."""
    return [
        ("/api/encrypt", {"key": key, "plaintext": "x"}),
        ("/api/generate-data-key", {"key": key}),
        ("/api/generate-data-key", {"key": key, "wrapped_only": True}),
        ("/api/decrypt", {"key": key, "ciphertext": ciphertext}),
        ("/api/decrypt", {"ciphertext": ciphertext}),
        ("/api/rewrap", {"key": key, "ciphertext": ciphertext}),
        ("/api/rewrap", {"ciphertext": ciphertext}),
    ]


def all_calls(running: Running, callers: list[str] | None) -> list[tuple[str, dict[str, Any]]]:
    """Every call that a list of callers limits, on a signing and an encrypting key with this list."""
    encrypting = create(running, None, type="P-256", purpose="encrypt")
    made = running.client.post("/api/encrypt", json={"key": encrypting, "plaintext": "x"}).json()["ciphertext"]
    changed = running.client.patch(f"/api/keys/{encrypting}", json={"callers": callers})
    assert changed.json()["callers"] == callers
    signing = create(running, callers, exportable=True)
    return [*signing_calls(signing), *encrypting_calls(encrypting, made)]


def bad_headers(running: Running) -> dict[str, dict[str, str]]:
    """Every kind of missing, bad and unlisted token."""
    good = running.token(sub="alice")["authorization"]
    return {
        "none": {},
        "empty": {"authorization": ""},
        "no token": {"authorization": "Bearer"},
        "another scheme": {"authorization": good.replace("Bearer", "Basic")},
        "not a token": {"authorization": "Bearer x.y.z"},
        "unlisted": running.token(sub="bob"),
        "expired": running.token(sub="alice", exp=1),
        "wrong audience": running.token(sub="alice", aud="other"),
        "another issuer": running.token(sub="alice", iss="https://evil.example"),
        "forged": {"authorization": f"Bearer {SigningKey('k1').sign(running.provider.access_claims())}"},
        "bad signature": {"authorization": good[:-8] + "AAAAAAAA"},
        "none as algorithm": {"authorization": good.rpartition(".")[0].replace("Bearer ", "Bearer ") + "."},
    }


def test_each_use_needs_a_listed_caller(running: Running) -> None:
    """Without a token, with a bad one and with an unlisted one, each use is 403 `not-allowed`; with a listed one it
    succeeds, with the scheme in any case."""
    for path, body in all_calls(running, ["user:ACME/alice"]):
        for name, headers in bad_headers(running).items():
            assert refused(running.client.post(path, json=body, headers=headers)), (path, body, name)
        headers = running.token(sub="alice")
        assert running.client.post(path, json=body, headers=headers).status_code == 200, path
        headers["authorization"] = headers["authorization"].replace("Bearer", "bearer")
        assert running.client.post(path, json=body, headers=headers).status_code == 200, path
    signing = create(running, ["user:ACME/alice"])
    assert refused(running.client.get("/api/sign", params={"key": signing, "message": "x"}))
    by_url = running.client.get("/api/sign", params={"key": signing, "message": "x"}, headers=running.token())
    assert by_url.status_code == 200


def test_an_empty_list_allows_nobody_and_null_removes_it(running: Running) -> None:
    """`[]` refuses even a valid token; after `null`, no token is needed."""
    key = create(running, [])
    body = {"key": key, "message": "x"}
    assert refused(running.client.post("/api/sign", json=body, headers=running.token()))
    assert running.client.patch(f"/api/keys/{key}", json={"tags": {"a": "b"}}).json()["callers"] == []
    assert running.client.patch(f"/api/keys/{key}", json={"callers": None}).json()["callers"] is None
    assert running.client.post("/api/sign", json=body).status_code == 200


def test_managing_and_verifying_need_no_caller(running: Running) -> None:
    """`verify`, JWKS and the functions that manage keys do not look at the list."""
    key = create(running, [], published=True, deletable=True)
    signature = "A" * 86
    verify = {"key": key, "message": "x", "signature": signature}
    assert running.client.post("/api/verify", json=verify).json()["valid"] is False
    assert running.client.get(f"/api/keys/{key}").json()["callers"] == []
    assert key in running.client.get("/api/keys", params={"prefix": key}).text
    assert running.client.get(f"/api/keys/{key}/jwks").status_code == 200
    assert running.client.post(f"/api/keys/{key}/rotate", json={}).json()["callers"] == []
    assert running.client.delete(f"/api/keys/{key}").status_code == 204
    assert running.client.post(f"/api/keys/{key}/restore", json={}).json()["callers"] == []


def test_each_item_of_a_batch_is_decided_alone(running: Running) -> None:
    """In a batch, an item with a limited key is a problem 403; the other items succeed."""
    limited, free = create(running, ["role:ACME/billing"]), create(running, None)
    batch = [{"key": limited, "message": "x"}, {"key": free, "message": "x"}, {"key": limited, "message": "y"}]
    results = running.client.post("/api/sign", json={"batch": batch}).json()["results"]
    assert [each.get("code", "") for each in results] == ["not-allowed", "", "not-allowed"]
    headers = running.token(roles=["billing"])
    results = running.client.post("/api/sign", json={"batch": batch}, headers=headers).json()["results"]
    assert all("signature" in each for each in results)
    sealed = create(running, None, purpose="encrypt")
    ciphertext = running.client.post("/api/encrypt", json={"key": sealed, "plaintext": "x"}).json()["ciphertext"]
    running.client.patch(f"/api/keys/{sealed}", json={"callers": ["role:ACME/billing"]})
    for path, item in encrypting_calls(sealed, ciphertext):
        response = running.client.post(path, json={"batch": [item]})
        assert [each["code"] for each in response.json()["results"]] == ["not-allowed"], path
        response = running.client.post(path, json={"batch": [item]}, headers=headers)
        assert "code" not in response.json()["results"][0], path


def test_a_refused_caller_learns_nothing_of_the_key(running: Running) -> None:
    """A key of the wrong purpose, a version that does not exist and a disabled one are the same 403."""
    key = create(running, ["user:ACME/alice"])
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/api/sign", {"key": key, "message": "x"}),
        ("/api/sign", {"key": key, "message": "x", "version": 9}),
        ("/api/sign", {"key": key, "message": "x", "algorithm": "PS256"}),
        ("/api/encrypt", {"key": key, "plaintext": "x"}),
        (f"/api/keys/{key}/export", {"passphrase": PASSPHRASE}),
    ]
    responses = [running.client.post(path, json=body) for path, body in bodies]
    assert all(refused(each) for each in responses)
    assert len({each.json()["detail"] for each in responses}) == 1


@pytest.mark.parametrize(
    "entry",
    [
        "alice",
        "user:",
        "role:",
        "app:x",
        "group:x",
        "user:ACME/",
        "role:with space",
        "role:" + "a" * 65,
        "role:ACME/",
        "user:/alice",
        "user:AC ME/alice",
        "USER:x",
        " user:x",
        "user:x ",
        "user:alice@example.org",
        "user:https://",
        "user:https://issuer.example",
        "user:https:///alice",
        "user:ACME/a\nb",
        "",
        "*",
    ],
)
def test_a_malformed_list_is_refused(running: Running, entry: str) -> None:
    """An entry that names no kind of caller is 400 in create-key, update-key and save-query, which name it."""
    key = create(running, None)
    calls = [
        running.client.post("/api/keys", json={"name": new_name(), "type": "P-256", "callers": ["role:a", entry]}),
        running.client.patch(f"/api/keys/{key}", json={"callers": ["role:a", entry]}),
        running.client.put(f"/api/queries/{new_name()}", json={"sql": "select 1", "callers": ["role:a", entry]}),
    ]
    for response in calls:
        assert response.status_code == 400
        assert response.json()["errors"][0]["field"] == "callers[1]"
    assert running.client.get(f"/api/keys/{key}").json()["callers"] is None


@pytest.mark.parametrize("callers", ["user:x", {"user": "x"}, [1], [None], [["user:x"]], 5, True, ["role:a"] * 101])
def test_a_list_of_another_type_is_refused(running: Running, callers: Any) -> None:
    """A list of callers is a list of at most 100 texts."""
    key = create(running, None)
    assert running.client.patch(f"/api/keys/{key}", json={"callers": callers}).status_code == 400
    body = {"name": new_name(), "type": "P-256", "callers": callers}
    assert running.client.post("/api/keys", json=body).status_code == 400
    query = {"sql": "select 1", "callers": callers}
    assert running.client.put(f"/api/queries/{new_name()}", json=query).status_code == 400


def test_an_imported_key_has_a_list(running: Running) -> None:
    """import-key takes a list, and refuses one beside `version_of`."""
    name, jwk = new_name(), SigningKey("x", "ES256").key.as_dict(private=True)
    response = running.client.post("/api/keys/import", json={"name": name, "private_key": jwk, "callers": []})
    assert response.status_code == 201
    assert response.json()["callers"] == []
    assert refused(running.client.post("/api/sign", json={"key": name, "message": "x"}))
    other = SigningKey("y", "ES256").key.as_dict(private=True)
    for callers in ([], ["role:a"]):
        body = {"version_of": name, "private_key": other, "callers": callers}
        assert running.client.post("/api/keys/import", json=body).status_code == 400


def test_a_saved_query_needs_a_listed_caller(running: Running) -> None:
    """run-query, by GET and POST, needs the token of a listed caller; `public` beside a list is 422."""
    name = new_name()
    saved = running.client.put(f"/api/queries/{name}", json={"sql": "select 1", "callers": ["app:ACME/reports"]})
    assert saved.status_code == 201
    assert saved.json()["callers"] == ["app:ACME/reports"]
    path, headers = f"/api/queries/{name}", running.token(client_id="reports")
    for bad in ({}, running.token(), running.token(client_id="reports", scp="read")):
        assert refused(running.client.get(path, headers=bad))
        assert refused(running.client.post(path, json={}, headers=bad))
    assert running.client.get(path, headers=headers).json()["rows"] == [[1]]
    assert running.client.post(path, json={}, headers=headers).json()["rows"] == [[1]]
    assert [
        each["callers"] for each in running.client.get("/api/queries", params={"prefix": name}).json()["queries"]
    ] == [["app:ACME/reports"]]
    for callers in ([], ["role:a"]):
        body = {"sql": "select 1", "callers": callers, "public": True}
        assert running.client.put(f"/api/queries/{new_name()}", json=body).status_code == 422
    assert running.client.put(path, json={"sql": "select 1", "callers": []}).status_code == 200
    assert refused(running.client.get(path, headers=headers))
    assert running.client.put(path, json={"sql": "select 1", "callers": None}).json()["callers"] is None
    assert running.client.get(path).json()["rows"] == [[1]]


def test_a_replay_does_not_evade_the_list(running: Running) -> None:
    """No response of export-key is kept, so nobody gets another caller's by the Idempotency-Key."""
    key = create(running, ["user:ACME/alice"], exportable=True)
    path, body, once = f"/api/keys/{key}/export", {"passphrase": PASSPHRASE}, {"idempotency-key": uuid4().hex}
    alice = running.token(sub="alice")
    for _ in range(2):
        response = running.client.post(path, json=body, headers=once | alice)
        assert response.status_code == 200
        assert "idempotent-replayed" not in response.headers
    assert refused(running.client.post(path, json=body, headers=once))
    assert refused(running.client.post(path, json=body, headers=once | running.token(sub="bob")))


def identity(**more: Any) -> Identity:
    """A caller of the issuer ACME."""
    values: dict[str, Any] = {
        "issuer": Issuer("ACME", "https://a.example"),
        "url": "https://a.example",
        "subject": "b/c",
        "client": None,
        "roles": frozenset({"x/y"}),
        "expires": 0.0,
        "groups_overage": False,
        "claims": {},
    }
    return Identity(**(values | more))


def test_entries_name_exactly_one_issuer() -> None:
    """An issuer is named by its setting or its URL. A subject with a slash is never that of a longer issuer's URL."""
    urls = ["https://a.example", "https://a.example/b", "https://a.example/"]
    listed = {
        entry: is_listed(identity(), [entry], urls)
        for entry in (
            "user:ACME/b/c",
            "user:acme/b/c",
            "role:ACME/x/y",
            "user:b/c",
            "user:OTHER/b/c",
            "role:ACME/b/c",
            "app:ACME/b/c",
            "role:x/y",
            "user:https://a.example/b/c",
        )
    }
    assert [entry for entry, allowed in listed.items() if allowed] == [
        "user:ACME/b/c",
        "user:acme/b/c",
        "role:ACME/x/y",
    ]
    assert is_listed(identity(subject="d"), ["user:https://a.example/d"], urls)
    inner = identity(issuer=Issuer("B", urls[1]), url=urls[1], subject="c")
    assert is_listed(inner, ["user:https://a.example/b/c"], urls)
    slash = identity(issuer=Issuer("S", urls[2]), url=urls[2], subject="d")
    assert is_listed(slash, ["user:https://a.example//d"], urls)
    assert not is_listed(slash, ["user:https://a.example/d"], urls)
    assert not is_listed(identity(subject="d"), ["user:https://a.example//d"], urls)


def test_own_users_and_foreign_ones_are_apart() -> None:
    """An entry without an issuer names users and roles of this app only, and one with an issuer never does."""
    user_id = "5eed0000-0000-4000-8000-000000000001"
    own, foreign = OwnCaller(user_id, frozenset({"billing"})), identity(subject=user_id, roles=frozenset({"billing"}))
    for entry in (f"user:{user_id}", f"user:{user_id.upper()}", "role:billing"):
        assert is_listed(own, [entry], [])
        assert not is_listed(foreign, [entry], [])
    for entry in (f"user:ACME/{user_id}", "role:ACME/billing"):
        assert not is_listed(own, [entry], [])
        assert is_listed(foreign, [entry], [])
    assert not is_listed(own, ["role:Billing", "user:billing", f"role:{user_id}"], [])


def test_valid_entries() -> None:
    """Each form of the documentation is an entry."""
    check_entries(
        [
            "user:5eed0000-0000-4000-8000-000000000001",
            "role:A.b_c-1",
            "user:ENTRA/11111111-2222-4333-8444-555555555555.aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
            "role:ENTRA/Task Write",
            "app:ENTRA/client-guid",
            "user:https://login.example.org/realms/x/alice",
            "user:https://login.example.org//alice",
        ]
    )
    with pytest.raises(InvalidRequest):
        check_entries(["app:client"])
