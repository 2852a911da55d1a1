"""The user functions over HTTP."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import bcrypt
import httpx
import pytest

from scripts.samples import open_users
from shared.passwords.throttling import Failures, wait_after
from shared.signing.store import utc_now
from tests.support import App, StartApp, app_environ

PASSWORD, OTHER = "correct horse battery staple", "another horse battery staple"


@pytest.fixture
def name() -> str:
    """Return a name that no other test uses."""
    return f"user-{uuid4().hex}@example.org"


def call(app: App, method: str, path: str, fields: dict[str, Any] | None = None) -> httpx.Response:
    """Call with the fields in the body, or in the query string."""
    with app.client() as client:
        if method == "POST":
            return client.post(f"/api/{path}", content=json.dumps(fields))
        return client.request(method, f"/api/{path}", params=fields)


def code(response: httpx.Response) -> tuple[int, str]:
    """Return status and code of a problem."""
    return response.status_code, response.json()["code"]


def test_the_life_of_a_user(running_app: App, name: str) -> None:
    """A user is created, verified, changed, renamed, described and deleted, and no response contains a hash."""
    texts = []

    def send(method: str, path: str, fields: dict[str, Any] | None = None) -> httpx.Response:
        response = call(running_app, method, path, fields)
        texts.append(response.text)
        return response

    created = send("POST", "hash-password", {"password": PASSWORD, "user": name})
    assert created.status_code == 201
    user_id = created.json()["user_id"]
    assert created.json() == {"user": name, "user_id": user_id}
    assert code(send("POST", "hash-password", {"password": OTHER, "user": name.upper()})) == (409, "user-exists")

    valid = {"valid": True, "needs_rehash": False, "user_id": user_id, "rehashed": False, "second_factor": False}
    invalid = {"valid": False, "needs_rehash": False}
    for fields, expected in (
        ({"user": name, "password": PASSWORD}, valid),
        ({"user": name.upper(), "password": PASSWORD}, valid),
        ({"user": name, "password": OTHER}, invalid),
        ({"user": f"nobody-{name}", "password": PASSWORD}, invalid),
    ):
        response = send("POST", "verify-password", fields)
        login = response.json()
        assert bool(login.pop("device", None)) == login["valid"]
        assert (response.status_code, login) == (200, expected)

    fields = {"user": name, "old_password": OTHER, "password": OTHER}
    assert code(send("POST", "change-password", fields)) == (422, "wrong-password")
    changed = send("POST", "change-password", {**fields, "old_password": PASSWORD})
    assert (changed.status_code, changed.json()) == (200, {"user": name, "user_id": user_id})
    assert send("POST", "verify-password", {"user": name, "password": OTHER}).json()["valid"]

    renamed = send("POST", "rename-user", {"user": name, "new_name": f"new-{name}"})
    assert renamed.json() == {"user": f"new-{name}", "user_id": user_id}
    assert send("POST", "verify-password", {"user": name, "password": OTHER}).json() == invalid
    assert code(send("POST", "rename-user", {"user": name, "new_name": "x"})) == (404, "unknown-user")

    assert send("POST", "reset-password", {"user": f"new-{name}", "password": PASSWORD}).json()["user_id"] == user_id
    assert code(send("POST", "reset-password", {"user": name, "password": PASSWORD})) == (404, "unknown-user")

    described = send("GET", f"users/{user_id}").json()
    own = {"user", "user_id", "created", "last_login", "algorithm"}
    assert described.keys() == own | {"second_factor", "disabled", "roles", "subjects"}
    assert (described["user"], described["user_id"]) == (f"new-{name}", user_id)
    assert (described["algorithm"], described["second_factor"]) == ("argon2id", False)
    assert described["created"] <= described["last_login"]
    assert described["created"].endswith("Z")

    gone = send("DELETE", f"users/{user_id}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert code(send("GET", f"users/{user_id}")) == (404, "unknown-user")
    assert code(send("DELETE", f"users/{user_id}")) == (404, "unknown-user")
    assert not any("argon2id$" in each or "secret" in each for each in texts)


def test_imported_users_move_at_their_first_login(running_app: App, name: str) -> None:
    """A user with an imported hash is reported as such, logs in, and then has one of the app's own hashes."""
    text = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    created = call(running_app, "POST", "users/import", {"user": name, "hash": text})
    assert created.status_code == 201
    path = f"users/{created.json()['user_id']}"
    assert call(running_app, "GET", path).json()["algorithm"] == "bcrypt"
    login = call(running_app, "POST", "verify-password", {"user": name, "password": PASSWORD}).json()
    assert (login["valid"], login["needs_rehash"], login["rehashed"]) == (True, False, True)
    assert call(running_app, "GET", path).json()["algorithm"] == "argon2id"
    again = call(running_app, "POST", "users/import", {"user": name, "hash": text})
    assert code(again) == (409, "user-exists")
    assert text not in again.text
    bad = call(running_app, "POST", "users/import", {"user": f"bad-{name}", "hash": "x" + text})
    assert code(bad) == (422, "invalid-hash")
    assert text not in bad.text


def test_users_are_listed_page_by_page(running_app: App, name: str) -> None:
    """The pages list every user once; the last page has no cursor; another listing's cursor is refused."""
    text = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    mine = {f"{number}-{name}" for number in range(5)}
    for each in mine:
        assert call(running_app, "POST", "users/import", {"user": each, "hash": text}).status_code == 201
    found: list[str] = []
    fields: dict[str, Any] = {"limit": 2}
    while True:
        page = call(running_app, "GET", "users", fields).json()
        assert len(page["users"]) <= 2
        found += [each["user"] for each in page["users"]]
        assert text not in json.dumps(page)
        if page["cursor"] is None:
            break
        fields["cursor"] = page["cursor"]
    assert len(found) == len(set(found))
    assert mine <= set(found)
    assert code(call(running_app, "GET", "users", {"cursor": "AAAA"})) == (400, "invalid-request")
    assert code(call(running_app, "GET", "users", {"limit": 1001})) == (400, "invalid-request")
    assert code(call(running_app, "GET", "users", {"limit": 0})) == (400, "invalid-request")


def test_rules_bind_users_alone(running_app: App, name: str) -> None:
    """hash-password accepts a weak password, but no user can have it; the response names each rule."""
    assert call(running_app, "POST", "hash-password", {"password": "password"}).status_code == 200
    response = call(running_app, "POST", "hash-password", {"password": "password", "user": name})
    assert code(response) == (422, "weak-password")
    reasons = [(each["field"], each["detail"].partition(":")[0]) for each in response.json()["errors"]]
    assert reasons == [("password", "too-short"), ("password", "common")]
    with_factor = {"password": "kq7#vbzm", "user": name}
    assert call(running_app, "POST", "hash-password", with_factor).status_code == 422
    assert call(running_app, "POST", "hash-password", {**with_factor, "second_factor": True}).status_code == 201
    assert (
        call(running_app, "POST", "hash-password", {"password": "", "user": name}).json()["code"] == "invalid-password"
    )


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        ({"password": PASSWORD}, []),
        ({"password": "password"}, ["too-short", "common"]),
        ({"password": "kq7#vbzm"}, ["too-short"]),
        ({"password": "kq7#vbzm", "second_factor": True}, []),
        ({"password": "wonderland is where I live", "user": "Wonderland@example.org"}, ["context-word"]),
        ({"password": ""}, ["too-short"]),
        ({"password": "a" * 2000}, ["too-long"]),
    ],
)
def test_a_password_is_judged_without_hashing(fields: dict[str, Any], reasons: list[str], running_app: App) -> None:
    """check-password gives the same verdict as hash-password, with the reasons."""
    response = call(running_app, "POST", "check-password", fields)
    assert (response.status_code, response.json()) == (200, {"acceptable": not reasons, "reasons": reasons})


@pytest.mark.parametrize("known", [True, False])
def test_a_name_waits_after_wrong_passwords(known: bool, running_app: App, name: str) -> None:
    """After five wrong passwords in a row a name gets 429 with a retry time, whether or not the user exists."""
    if known:
        call(running_app, "POST", "hash-password", {"password": PASSWORD, "user": name})
    fields = {"user": name, "password": "wrong"}
    responses = [call(running_app, "POST", "verify-password", fields) for _ in range(5)]
    assert {(each.status_code, each.text) for each in responses} == {(200, '{"valid":false,"needs_rehash":false}')}
    refused = responses[0]
    for _ in range(8):  # On a slow machine a wait may end; each wait is twice as long as the previous one.
        if refused.status_code == 200:
            refused = call(running_app, "POST", "verify-password", fields)
    assert code(refused) == (429, "too-many-attempts")
    assert int(refused.headers["retry-after"]) >= 1


def test_settings_are_heeded(start_app: StartApp, name: str) -> None:
    """Minimum lengths, service names and the users' hash profile come from settings."""
    app = start_app(
        {
            "STRONGROOM_PASSWORD_MIN_LENGTH": "20",
            "STRONGROOM_PASSWORD_MIN_LENGTH_SECOND_FACTOR": "10",
            "STRONGROOM_SERVICE_NAMES": "Wonderland, Acme",
            "STRONGROOM_PASSWORD_PROFILE": "owasp-46",
        }
    )
    judged = {
        password: call(app, "POST", "check-password", {"password": password}).json()["reasons"]
        for password in ("nineteen characters", "acme makes anvils for us", "twenty characters ok")
    }
    assert list(judged.values()) == [["too-short"], ["context-word"], []]
    short = {"password": "kq7#vbzm9", "second_factor": True}
    assert call(app, "POST", "check-password", short).json()["reasons"] == ["too-short"]
    created = call(app, "POST", "hash-password", {"password": PASSWORD, "user": name})
    assert created.status_code == 201
    assert not call(app, "POST", "verify-password", {"password": PASSWORD, "user": name}).json()["rehashed"]


def test_nothing_of_users_is_in_the_log(start_app: StartApp, name: str) -> None:
    """The log never contains passwords, hashes or names of users."""
    app = start_app()
    text = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    call(app, "POST", "hash-password", {"password": PASSWORD, "user": name})
    call(app, "POST", "users/import", {"user": f"2-{name}", "hash": text})
    call(app, "POST", "change-password", {"user": name, "old_password": OTHER, "password": OTHER})
    for _ in range(7):
        call(app, "POST", "verify-password", {"user": name, "password": "Xyzzy-Plugh-4711"})
    call(app, "POST", "reset-password", {"user": name, "password": "short"})
    log = app.log.read_text()
    assert '"function":"change-password"' in log
    for secret in (PASSWORD, OTHER, "Xyzzy-Plugh-4711", text, name):
        assert secret not in log


def test_a_user_is_found_by_name(running_app: App, name: str) -> None:
    """`GET /api/users?user=` finds one user by name, in any case, or nobody; a cursor beside it is refused."""
    created = call(running_app, "POST", "hash-password", {"password": PASSWORD, "user": name}).json()
    found = call(running_app, "GET", "users", {"user": name.upper()}).json()
    assert [each["user_id"] for each in found["users"]] == [created["user_id"]]
    assert found["cursor"] is None
    assert call(running_app, "GET", "users", {"user": f"nobody-{name}"}).json() == {"users": [], "cursor": None}
    assert code(call(running_app, "GET", "users", {"user": name, "cursor": "x"})) == (400, "invalid-request")
    path = f"users/{created['user_id'].upper()}"
    assert call(running_app, "GET", path).json()["user"] == name


def test_a_user_is_disabled_and_enabled(running_app: App, name: str) -> None:
    """A disabled user's right password is false with the reason, a wrong one without; the log has the outcome."""
    user_id = call(running_app, "POST", "hash-password", {"password": PASSWORD, "user": name}).json()["user_id"]
    with running_app.client() as client:
        disabled = client.patch(f"/api/users/{user_id}", json={"disabled": True})
        assert (disabled.status_code, disabled.json()["disabled"], disabled.json()["user"]) == (200, True, name)
        assert code(client.patch(f"/api/users/{user_id}", json={})) == (400, "invalid-request")
        assert code(client.patch(f"/api/users/{uuid4()}", json={"disabled": True})) == (404, "unknown-user")
    right = call(running_app, "POST", "verify-password", {"user": name, "password": PASSWORD})
    assert right.json() == {"valid": False, "needs_rehash": False, "reason": "disabled"}
    wrong = call(running_app, "POST", "verify-password", {"user": name, "password": OTHER})
    assert wrong.json() == {"valid": False, "needs_rehash": False}
    call(running_app, "POST", "verify-password", {"user": f"nobody-{name}", "password": OTHER})
    log = running_app.log.read_text()
    for outcome in ("disabled", "wrong-password", "unknown-user"):
        assert f'"status":200,"outcome":"{outcome}"' in log
    with running_app.client() as client:
        assert client.patch(f"/api/users/{user_id}", json={"disabled": False}).json()["disabled"] is False
    assert call(running_app, "POST", "verify-password", {"user": name, "password": PASSWORD}).json()["valid"]


def test_users_are_imported_in_a_batch_and_exported(running_app: App, name: str) -> None:
    """A batch keeps ids and times and names each item's errors, and an export returns everything with the hash."""
    text = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    user_id = str(uuid4())
    items: list[dict[str, Any]] = [
        {"user": name, "hash": text, "user_id": user_id.upper(), "created": "2020-02-03T04:05:06+01:00"},
        {"user": f"2-{name}", "hash": text, "second_factor": True, "disabled": True},
        {"user": f"3-{name}", "hash": "no hash"},
        {"user": name.upper(), "hash": text},
        {"user": "аlice", "hash": text},
        {"user": f"4-{name}", "hash": text, "created": "3020-02-03T04:05:06Z"},
    ]
    response = call(running_app, "POST", "users/import", {"batch": items})
    assert response.status_code == 200
    results = response.json()["results"]
    assert results[0] == {"user": name, "user_id": user_id}
    assert results[1]["user"] == f"2-{name}"
    problems = [(each["status"], each["code"]) for each in results[2:]]
    assert problems == [(422, "invalid-hash"), (409, "user-exists"), (400, "invalid-request"), (400, "invalid-request")]
    assert text not in response.text
    exported: dict[str, dict[str, Any]] = {}
    fields: dict[str, Any] = {"limit": 50}
    while True:
        page = call(running_app, "POST", "users/export", fields).json()
        exported |= {each["user_id"]: each for each in page["users"]}
        if page["cursor"] is None:
            break
        fields["cursor"] = page["cursor"]
    assert exported[user_id]["hash"] == text
    assert exported[user_id]["created"] == "2020-02-03T03:05:06Z"
    second = exported[results[1]["user_id"]]
    assert (second["disabled"], second["second_factor"], second["algorithm"]) == (True, True, "bcrypt")
    wrong_fields: list[dict[str, Any]] = [
        {"user": name},
        {"hash": text},
        {},
        {"batch": []},
        {"batch": items, "user": name},
        {"batch": items, "disabled": False},
        {"batch": [{"user": name, "hash": text, "user_id": "x"}]},
        {"batch": [{"user": name, "hash": text, "user_id": user_id + "\n"}]},
        {"batch": [{"user": name, "hash": text, "created": "2020-02-03T04:05:06"}]},
        {"batch": [{"user": name, "hash": text, "created": "0001-01-01T00:00:00+23:59"}]},
    ]
    for wrong in wrong_fields:
        refused = call(running_app, "POST", "users/import", wrong)
        assert refused.status_code == 400 or refused.json()["results"][0]["status"] == 400, wrong


def test_a_device_over_http(running_app: App, name: str, storage_connection: str, tmp_path: Path) -> None:
    """A login returns `device`; a call with it succeeds while other callers' failures make the name wait."""
    call(running_app, "POST", "hash-password", {"password": PASSWORD, "user": name})
    right = {"user": name, "password": PASSWORD}
    device = call(running_app, "POST", "verify-password", right).json()["device"]
    users, now = (
        open_users(storage_connection, app_environ(tmp_path, storage_connection)["STRONGROOM_MASTER_KEY"]),
        utc_now(),
    )
    users.set_failures(users.by_name(name), lambda _: Failures(20, now, now + wait_after(20)))
    assert code(call(running_app, "POST", "verify-password", right)) == (429, "too-many-attempts")
    again = call(running_app, "POST", "verify-password", {**right, "device": device}).json()
    assert again["valid"]
    later = call(running_app, "POST", "verify-password", {**right, "device": again["device"]}).json()
    assert later["valid"]
    assert device not in running_app.log.read_text()


def test_the_same_password_is_no_change(running_app: App, name: str) -> None:
    """`change-password` refuses the current password, also in another form; `reset-password` accepts it."""
    password = PASSWORD + " é"
    call(running_app, "POST", "hash-password", {"password": password, "user": name})
    for same in (password, PASSWORD + " e\u0301"):
        fields = {"user": name, "old_password": password, "password": same}
        assert code(call(running_app, "POST", "change-password", fields)) == (422, "same-password")
    assert call(running_app, "POST", "reset-password", {"user": name, "password": password}).is_success


def test_a_user_cannot_be_renamed_to_the_password(running_app: App, name: str) -> None:
    """`rename-user` checks the password against the new name, and validates the new name like any other."""
    password = f"Zebra Crossing {name[:12]}"
    call(running_app, "POST", "hash-password", {"password": password, "user": name})
    for new_name in (password, f"{password}@example.org"):
        refused = call(running_app, "POST", "rename-user", {"user": name, "new_name": new_name})
        assert code(refused) == (422, "weak-password")
    for new_name in ("аlice", "a\u200bb", "a  b"):
        refused = call(running_app, "POST", "rename-user", {"user": name, "new_name": new_name})
        assert code(refused) == (400, "invalid-request")
    assert call(running_app, "POST", "rename-user", {"user": name, "new_name": f"Zebra {name}"}).is_success


def test_sprayed_passwords_over_http(start_app: StartApp, name: str) -> None:
    """With STRONGROOM_SPRAY_NAMES a password that was wrong for that many names is 429, for known and unknown users."""
    app = start_app({"STRONGROOM_SPRAY_NAMES": "3"})
    password = f"spring in the mountains {uuid4().hex}"
    call(app, "POST", "hash-password", {"password": password, "user": name})
    for number in range(4):
        call(app, "POST", "verify-password", {"user": f"{number}-{name}", "password": password})
    for number in range(8):  # On a slow machine a wait may end; each wait is twice as long as the previous one.
        responses = [
            call(app, "POST", "verify-password", {"user": user, "password": password}) for user in (name, f"x-{name}")
        ]
        if {each.status_code for each in responses} == {429}:
            break
        call(app, "POST", "verify-password", {"user": f"later-{number}-{name}", "password": password})
    assert {code(each) for each in responses} == {(429, "too-many-attempts")}
    assert all(int(each.headers["retry-after"]) > 0 for each in responses)


def test_users_are_rewrapped_page_by_page(running_app: App, name: str) -> None:
    """`rewrap-passwords` examines every user once over its pages, and refuses a cursor of another listing."""
    for number in range(3):
        call(running_app, "POST", "hash-password", {"password": PASSWORD, "user": f"{number}-{name}"})
    count, fields = 0, dict[str, Any](limit=2)
    while True:
        page = call(running_app, "POST", "rewrap-passwords", fields).json()
        assert page.keys() == {"examined", "rewrapped", "migrated", "cursor"}
        assert (page["rewrapped"], page["migrated"]) == (0, False)
        count += page["examined"]
        if page["cursor"] is None:
            break
        fields["cursor"] = page["cursor"]
    assert count >= 3
    other = call(running_app, "GET", "users", {"limit": 1}).json()["cursor"]
    assert code(call(running_app, "POST", "rewrap-passwords", {"cursor": other})) == (400, "invalid-request")
