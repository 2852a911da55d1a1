"""`hash-password` and `verify-password`, called over HTTP."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from argon2 import PasswordHasher

from tests.support import App, StartApp

FOREIGN = PasswordHasher(3, 4096, 1).hash("correct horse battery staple")


def call(app: App, function: str, fields: dict[str, Any]) -> tuple[int, Any]:
    """Return status and JSON of a POST."""
    with app.client() as client:
        response = client.post(f"/api/{function}", content=json.dumps(fields))
        return response.status_code, response.json()


def test_a_password_is_hashed_and_verified(running_app: App) -> None:
    """A hash verifies its password and no other, and both responses have the fields of the contract."""
    status, hashed = call(running_app, "hash-password", {"password": "Grüße, Jürgen ❤"})
    assert status == 200
    assert hashed.keys() == {"hash", "algorithm", "parameters"}
    assert hashed["hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert hashed["algorithm"] == "argon2id"
    assert hashed["parameters"] == {"memory_kib": 19456, "time_cost": 2, "parallelism": 1}
    assert PasswordHasher().verify(hashed["hash"], "Grüße, Jürgen ❤")
    for password, valid in (("Grüße, Jürgen ❤", True), ("Gru\u0308ße, Jürgen ❤", True), ("Grüße, Jürgen", False)):
        response = call(running_app, "verify-password", {"password": password, "hash": hashed["hash"]})
        assert response == (200, {"valid": valid, "needs_rehash": False})


def test_two_hashes_of_a_password_differ(running_app: App) -> None:
    """Each hash has its own salt."""
    hashes = {call(running_app, "hash-password", {"password": "twice"})[1]["hash"] for _ in range(2)}
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("profile", "cost"), [("owasp", (19456, 2, 1)), ("owasp-46", (47104, 1, 1)), ("rfc9106-low", (65536, 3, 4))]
)
def test_each_profile_is_what_it_says(profile: str, cost: tuple[int, int, int], running_app: App) -> None:
    """A hash has its profile's cost, and needs a rehash only if the caller requests another profile."""
    _, hashed = call(running_app, "hash-password", {"password": "secret", "profile": profile})
    assert tuple(hashed["parameters"].values()) == cost
    for wanted in ("owasp", "owasp-46", "rfc9106-low"):
        fields = {"password": "secret", "hash": hashed["hash"], "profile": wanted}
        assert call(running_app, "verify-password", fields) == (
            200,
            {"valid": True, "needs_rehash": wanted != profile},
        )


def test_explicit_parameters_are_taken(running_app: App) -> None:
    """A hash has the requested parameters, and needs no rehash for the same parameters."""
    parameters = {"memory_kib": 24000, "time_cost": 2, "parallelism": 3}
    _, hashed = call(running_app, "hash-password", {"password": "secret", "parameters": parameters})
    assert hashed["parameters"] == parameters
    assert "$m=24000,t=2,p=3$" in hashed["hash"]
    fields = {"password": "secret", "hash": hashed["hash"]}
    assert call(running_app, "verify-password", fields)[1]["needs_rehash"]
    assert not call(running_app, "verify-password", {**fields, "parameters": parameters})[1]["needs_rehash"]


def test_a_hash_from_elsewhere_needs_a_rehash(running_app: App) -> None:
    """A hash of other parameters verifies; only a caller with the right password learns that it needs a rehash."""
    fields = {"password": "correct horse battery staple", "hash": FOREIGN}
    assert call(running_app, "verify-password", fields) == (200, {"valid": True, "needs_rehash": True})
    fields["password"] = "wrong"
    assert call(running_app, "verify-password", fields) == (200, {"valid": False, "needs_rehash": False})


@pytest.mark.parametrize(
    ("function", "fields", "status", "code", "detail"),
    [
        ("hash-password", {"password": ""}, 422, "invalid-password", "empty"),
        ("hash-password", {"password": "a" * 1025}, 422, "invalid-password", "1024 bytes"),
        ("hash-password", {"password": "secret", "profile": "rfc9106-high"}, 422, "hash-too-large", "2097152 KiB"),
        ("hash-password", {"password": "secret", "profile": "weak"}, 400, "invalid-request", "profile"),
        ("hash-password", {"password": 5}, 400, "invalid-request", "password"),
        ("hash-password", {"password": None}, 400, "invalid-request", "password"),
        ("hash-password", {}, 400, "invalid-request", "`password` is missing"),
        ("hash-password", {"password": "secret", "rounds": 5}, 400, "invalid-request", "rounds"),
        (
            "hash-password",
            {"password": "secret", "parameters": {"memory_kib": 7168, "time_cost": 4, "parallelism": 1}},
            422,
            "hash-too-weak",
            "28672 KiB",
        ),
        (
            "hash-password",
            {"password": "secret", "parameters": {"memory_kib": 1048576, "time_cost": 5, "parallelism": 1}},
            422,
            "hash-too-large",
            "1048576 KiB times 5",
        ),
        (
            "hash-password",
            {"password": "secret", "parameters": {"memory_kib": 1024, "time_cost": 64, "parallelism": 1}},
            400,
            "invalid-request",
            "parameters.memory_kib",
        ),
        (
            "hash-password",
            {
                "password": "secret",
                "profile": "owasp",
                "parameters": {"memory_kib": 19456, "time_cost": 2, "parallelism": 1},
            },
            400,
            "invalid-request",
            "profile",
        ),
        ("verify-password", {"password": "secret", "hash": FOREIGN, "user": "alice"}, 400, "invalid-request", "hash"),
        (
            "verify-password",
            {"password": "secret", "profile": "owasp", "user": "alice"},
            422,
            "profile-of-user",
            "profile",
        ),
        (
            "hash-password",
            {
                "password": "seven purple mountain goats",
                "parameters": {"memory_kib": 19456, "time_cost": 2, "parallelism": 1},
                "user": "alice",
            },
            422,
            "profile-of-user",
            "profile",
        ),
        (
            "verify-password",
            {"password": "secret", "hash": FOREIGN, "device": "x"},
            400,
            "invalid-request",
            "device",
        ),
        ("verify-password", {"password": "secret", "user": ""}, 400, "invalid-request", "user"),
        ("verify-password", {"password": "secret", "user": "a\nb"}, 400, "invalid-request", "user"),
        ("verify-password", {"password": "", "hash": FOREIGN}, 422, "invalid-password", "empty"),
        ("verify-password", {"password": "a" * 1025, "hash": FOREIGN}, 422, "invalid-password", "1024 bytes"),
        ("verify-password", {"password": "secret", "hash": ""}, 422, "invalid-hash", "PHC"),
        ("verify-password", {"password": "secret"}, 400, "invalid-request", "hash"),
        (
            "verify-password",
            {"password": "secret", "hash": FOREIGN.replace("m=4096,t=3", "m=131073,t=1")},
            422,
            "invalid-hash",
            "131072 KiB are allowed",
        ),
        (
            "verify-password",
            {"password": "secret", "hash": FOREIGN.replace("t=3", "t=4294967295")},
            422,
            "invalid-hash",
            "time cost (t)",
        ),
    ],
)
def test_what_is_refused(
    function: str, fields: dict[str, Any], status: int, code: str, detail: str, running_app: App
) -> None:
    """Invalid input is refused with the code and the reason, and the response does not repeat the hash."""
    result, body = call(running_app, function, fields)
    assert (result, body["code"]) == (status, code)
    assert detail in body["detail"] or detail in {each["field"] for each in body["errors"]}
    assert "$argon2id$v=19$m=4096" not in json.dumps(body)


@pytest.mark.parametrize(
    "body",
    [b'{"password": "\\ud800"}', b'{"password": "\xff"}', b'{"password": "\xed\xa0\x80"}', b'{"password": "a\nb"}'],
)
def test_what_is_no_text_is_no_password(body: bytes, running_app: App) -> None:
    """Lone surrogates, bytes that are not UTF-8 and bare control characters are malformed requests."""
    with running_app.client() as client:
        assert client.post("/api/hash-password", content=body).status_code == 400


def test_too_many_at_once_are_busy(start_app: StartApp) -> None:
    """Calls that find no room in time are 429 with a retry time, and the app keeps serving."""
    app = start_app({"STRONGROOM_HASH_MEMORY_MIB": "64"})
    # The costliest allowed hash uses all of this app's memory for most of a second; each call waits for its turn.
    slow = FOREIGN.replace("m=4096,t=3", "m=65536,t=15")
    with app.client() as client, ThreadPoolExecutor(8) as callers:
        client.timeout = 250
        fields = {"password": "secret", "hash": slow}
        responses = list(callers.map(lambda _: client.post("/api/verify-password", json=fields), range(8)))
        counted = Counter(each.status_code for each in responses)
        assert set(counted) == {200, 429}
        for each in responses:
            if each.status_code == 429:
                assert each.json()["code"] == "busy"
                assert int(each.headers["retry-after"]) > 0
        assert client.post("/api/hash-password", json={"password": "secret"}).status_code == 200


def test_passwords_and_hashes_are_in_no_log_and_no_error(start_app: StartApp) -> None:
    """Neither a response nor the log contains a password or a hash, for any wrong call."""
    app = start_app()
    secret, salt = "Xyzzy-Plugh-4711", FOREIGN.split("$")[4]
    bad: list[tuple[str, dict[str, Any]]] = [
        ("hash-password", {"password": secret * 100}),
        ("hash-password", {"password": [secret]}),
        ("hash-password", {"password": secret, "profile": "x"}),
        ("hash-password", {"password": secret, "unknown": True}),
        ("hash-password", {"password": secret, "profile": "rfc9106-high"}),
        ("verify-password", {"password": secret, "hash": FOREIGN + "$"}),
        ("verify-password", {"password": secret, "hash": FOREIGN.replace("t=3", "t=300")}),
        ("verify-password", {"password": {"is": secret}, "hash": [FOREIGN]}),
        ("verify-password", {"hash": secret, "password": FOREIGN}),
    ]
    with app.client() as client:
        for function, fields in bad:
            response = client.post(f"/api/{function}", json=fields)
            assert response.status_code in (400, 422)
            assert secret not in response.text
            assert salt not in response.text
        broken = client.post("/api/hash-password", content=b'{"password": "' + secret.encode())
        assert (broken.status_code, secret in broken.text) == (400, False)
        in_url = client.post("/api/hash-password", params={"password": secret})
        assert (in_url.json()["code"], secret in in_url.text) == ("secret-in-url", False)
        assert client.post("/api/hash-password", json={"password": secret}).status_code == 200
        assert client.post("/api/verify-password", json={"password": secret, "hash": FOREIGN}).status_code == 200
    log = app.log.read_text()
    assert '"function":"hash-password"' in log
    assert secret not in log
    assert salt not in log
