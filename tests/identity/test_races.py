"""Two instances on one storage account: of many calls at once, one wins, and one that dies locks nobody out."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from scripts.samples import open_users
from shared.identity.store.tickets import TicketStore
from shared.settings import StorageSettings
from shared.signing.master import FileMasterKey
from shared.signing.store import KeyStore
from shared.storage import Account, Storage, account_of
from shared.web import encode_base64
from tests.identity.conftest import OTHER, PASSWORD, Caller
from tests.identity.person import FactorUser
from tests.storage.proxy import LOSE_REQUEST, Proxy, run_proxy
from tests.support import app_environ, run_app

CALLS = 8
WELL_FORMED = {
    "id": "AAAA",
    "rawId": "AAAA",
    "type": "public-key",
    "response": {"clientDataJSON": "AAAA", "authenticatorData": "AAAA", "signature": "AAAA"},
}
"""A passkey that no user has."""


@pytest.fixture(scope="module")
def proxy(storage_connection: str) -> Iterator[Proxy]:
    """A proxy before the tables of the second instance."""
    with run_proxy(account_of(StorageSettings(storage_connection)).table_url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def second(
    caller: Caller, proxy: Proxy, storage_connection: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Caller]:
    """A back end of a second instance, whose table requests go through the proxy."""
    account: Account = account_of(StorageSettings(storage_connection))
    folder = tmp_path_factory.mktemp("second")
    connection = (
        f"AccountName={account.name};AccountKey={account.key};BlobEndpoint={account.blob_url};TableEndpoint={proxy.url}"
    )
    environ = app_environ(folder, storage_connection) | {
        "AzureWebJobsStorage": connection,
        "STRONGROOM_URL": caller.app.url.replace("127.0.0.1", "localhost"),
    }
    with run_app(folder, environ) as app:
        yield Caller(app)


@pytest.fixture(scope="module")
def peer(caller: Caller, storage_connection: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A back end of another instance, with the time that a call usually has."""
    folder = tmp_path_factory.mktemp("peer")
    url = caller.app.url.replace("127.0.0.1", "localhost")
    with run_app(folder, app_environ(folder, storage_connection) | {"STRONGROOM_URL": url}) as app:
        yield Caller(app)


@pytest.fixture(scope="module")
def tickets(storage_connection: str, tmp_path_factory: pytest.TempPathFactory) -> TicketStore:
    """Issues tickets as the app does."""
    environ = app_environ(tmp_path_factory.mktemp("keys"), storage_connection)
    storage = Storage(StorageSettings(storage_connection))
    keys = KeyStore(storage, FileMasterKey(environ["STRONGROOM_MASTER_KEY"]), 30)
    return TicketStore(storage, lambda: keys.derive_key("tickets"), lambda: datetime.now(UTC))


def at_once(call: Callable[[int], Any], count: int = CALLS) -> list[Any]:
    """The results of calls that run at the same time."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(call, range(count)))


def test_a_refresh_has_one_successor(caller: Caller, peer: Caller) -> None:
    """Of many refreshes with one token on two instances, all get the same new token, and the session lives on."""
    _, tokens = caller.sign_up()
    for _ in range(3):
        before = tokens["refresh_token"]

        def refresh(number: int, before: str = before) -> Any:
            return (caller, peer)[number % 2].post("sessions/refresh", refresh_token=before)

        results = at_once(refresh)
        assert {each["refresh_token"] for each in results} - {before} == {results[0]["refresh_token"]}
        tokens = results[0]
    assert peer.send("GET", "me", token=tokens["access_token"]).status_code == 200


def test_a_name_has_one_user(caller: Caller, peer: Caller) -> None:
    """Of many sign-ups with one name on two instances, one succeeds, and that user signs in."""
    for _ in range(3):
        name = f"user-{uuid4().hex[:12]}"

        def sign_up(number: int, name: str = name) -> Any:
            return (caller, peer)[number % 2].send("POST", "sign-up", {"user": name, "password": PASSWORD})

        results = at_once(sign_up)
        codes = sorted(each.status_code for each in results)
        assert codes == [201] + [409] * (CALLS - 1)
        (created,) = (each.json()["user_id"] for each in results if each.status_code == 201)
        assert caller.sign_in(name)["user_id"] == created


def sso_ticket(tickets: TicketStore, user_id: str, **fields: Any) -> tuple[str, str]:
    """A ticket after single sign-on, and its code_verifier."""
    verifier = "v" * 43
    challenge = encode_base64(hashlib.sha256(verifier.encode()).digest())
    return tickets.issue("sso", user_id=user_id, amr=("fed",), code_challenge=challenge, **fields), verifier


def test_a_ticket_begins_one_session(caller: Caller, peer: Caller, tickets: TicketStore) -> None:
    """Of many completions of one ticket on two instances, one begins a session; all others are `expired`."""
    _, tokens = caller.sign_up()
    ticket, verifier = sso_ticket(tickets, tokens["user_id"])
    complete = {"ticket": ticket, "code_verifier": verifier}
    results = at_once(lambda n: (caller, peer)[n % 2].post("sign-in", **complete))
    (winner,) = (each for each in results if each["signed_in"])
    assert winner["amr"] == ["fed"]
    assert [each for each in results if each != winner] == [{"signed_in": False, "reason": "expired"}] * (CALLS - 1)


def test_a_ticket_opens_only_for_what_it_is(caller: Caller, tickets: TicketStore) -> None:
    """A wrong verifier does not spend a ticket, no other field completes it, and its time ends it."""
    _, tokens = caller.sign_up()
    ticket, verifier = sso_ticket(tickets, tokens["user_id"])

    def reason(**fields: object) -> str:
        body = caller.post("sign-in", **fields)
        return str(body.get("reason", body["signed_in"]))

    assert reason(ticket=ticket, code_verifier="w" * 43) == "wrong-credentials"
    assert reason(ticket=ticket, code="123456") == "wrong-code"
    assert reason(ticket=ticket, recovery_code="AAAA") == "wrong-code"
    assert reason(ticket=ticket, passkey=WELL_FORMED) == "wrong-passkey"
    late, _ = sso_ticket(tickets, tokens["user_id"], lifetime=timedelta(0))
    assert reason(ticket=late, code_verifier=verifier) == "expired"
    assert reason(ticket="AAAA", code_verifier=verifier) == "expired"
    registration = tickets.issue("registration", user_id=tokens["user_id"], challenge=b"c" * 32)
    others: list[dict[str, object]] = [
        {"code": "1"},
        {"recovery_code": "1"},
        {"passkey": WELL_FORMED},
        {"code_verifier": verifier},
    ]
    for fields in others:
        assert reason(ticket=registration, **fields).startswith("wrong-")
    gone, _ = sso_ticket(tickets, str(uuid4()))
    assert reason(ticket=gone, code_verifier=verifier) == "expired"
    assert reason(ticket=ticket, code_verifier=verifier) == "True"


@pytest.mark.parametrize("factor", ["code", "recovery_code", "passkey"])
def test_a_factor_begins_one_session(caller: Caller, peer: Caller, factor: str) -> None:
    """Of many sign-ins with one code, recovery code or assertion on two instances, one begins a session.

    With a code, each has a ticket of its own: the code itself is what works once.
    """
    person = FactorUser(caller)
    if factor == "passkey":
        person.add_passkey()
        begun = caller.post("sign-in/passkey")
        tickets = [begun["ticket"]] * CALLS
        value: object = person.key.sign(begun["options"])
    else:
        person.add_totp()
        tickets = [person.ticket() for _ in range(CALLS)]
        value = person.code() if factor == "code" else person.recovery_codes[0]
    responses = at_once(lambda n: (caller, peer)[n % 2].send("POST", "sign-in", {"ticket": tickets[n], factor: value}))
    assert {each.status_code for each in responses} <= {200, 429}
    assert sum(each.json().get("signed_in", False) for each in responses) == 1


def test_a_registration_adds_one_passkey(caller: Caller, peer: Caller) -> None:
    """Of many calls with one registration on two instances, one adds the passkey."""
    person = FactorUser(caller)
    begun = person.send("POST", "me/passkeys/begin").json()
    fields = {"ticket": begun["ticket"], "credential": person.key.register(begun["options"])}
    responses = at_once(lambda n: (caller, peer)[n % 2].send("POST", "me/passkeys", fields, person.token))
    assert sorted(each.status_code for each in responses)[0] == 201
    assert [each.status_code for each in responses].count(201) == 1
    assert len(person.send("GET", "me/factors").json()["factors"]) == 1


def test_a_ticket_ends_with_the_sessions(caller: Caller, tickets: TicketStore) -> None:
    """After a new password, or the end of all sessions, a ticket that was issued before signs nobody in."""
    name, tokens = caller.sign_up()
    user_id = tokens["user_id"]
    with caller.app.client() as client:
        assert client.post("/api/reset-password", json={"user": name, "password": OTHER}).status_code == 200
    stale, verifier = sso_ticket(tickets, user_id, signed_out_at=datetime.now(UTC))
    assert caller.post("sign-in", ticket=stale, code_verifier=verifier)["reason"] == "expired"
    fresh, verifier = sso_ticket(tickets, user_id)
    assert caller.send("PATCH", f"users/{user_id}", {"disabled": True}).status_code == 200
    assert caller.post("sign-in", ticket=fresh, code_verifier=verifier)["reason"] == "disabled"


@dataclass(frozen=True)
class Person:
    """A user, and the password and the name that a call of the test may give them."""

    name: str
    password: str
    tokens: dict[str, Any]
    new_name: str
    new_password: str


Act = Callable[[Caller, Person], Any]


ACTS: dict[str, Act] = {
    "sign-in": lambda caller, person: caller.send(
        "POST", "sign-in", {"user": person.name, "password": person.password}
    ),
    "wrong": lambda caller, person: caller.send("POST", "sign-in", {"user": person.name, "password": str(uuid4())}),
    "renew": lambda caller, person: caller.send(
        "POST", "sign-in", {"user": person.name, "password": person.password}, token=person.tokens["access_token"]
    ),
    "refresh": lambda caller, person: caller.send(
        "POST", "sessions/refresh", {"refresh_token": person.tokens["refresh_token"]}
    ),
    "change": lambda caller, person: caller.send(
        "POST",
        "me/password",
        {"old_password": person.password, "password": person.new_password},
        token=person.tokens["access_token"],
    ),
    "reset": lambda caller, person: caller.send(
        "POST", "reset-password", {"user": person.name, "password": person.new_password}
    ),
    "end": lambda caller, person: caller.send("DELETE", f"users/{person.tokens['user_id']}/sessions"),
    "sign out": lambda caller, person: caller.send("POST", "sign-out", token=person.tokens["access_token"]),
    "rename": lambda caller, person: caller.send(
        "POST", "rename-user", {"user": person.name, "new_name": person.new_name}
    ),
}
MAX_WRITES = 8


def only_first(writes: list[str], survivors: int) -> Callable[[str, str], str | None]:
    """Let only the first writes reach storage, as if the instance had died after them; `writes` gets each."""

    def decide(method: str, path: str) -> str | None:
        if method == "GET":
            return None
        writes.append(path)
        return LOSE_REQUEST if len(writes) > survivors else None

    return decide


@pytest.mark.parametrize("act", ACTS)
def test_an_instance_that_dies_locks_nobody_out(act: str, caller: Caller, second: Caller, proxy: Proxy) -> None:
    """Whichever write of a call is the last one that reaches storage, the user can sign in afterwards."""
    for survivors in range(MAX_WRITES):
        # Passwords of their own, because a password that is wrong for many users has to wait.
        passwords = [f"{PASSWORD} {uuid4()}", f"{OTHER} {uuid4()}"]
        name, tokens = caller.sign_up(passwords[0])
        person = Person(name, passwords[0], tokens, f"other-{name}", passwords[1])
        writes: list[str] = []
        proxy.decide = only_first(writes, survivors)
        response = ACTS[act](second, person)
        proxy.always(None)
        names = (person.name, person.new_name) if act == "rename" else (person.name,)
        known = passwords if act in ("change", "reset") else passwords[:1]
        attempts = [caller.sign_in(each, password)["signed_in"] for each in names for password in known]
        assert attempts.count(True) == 1, (survivors, attempts)
        if len(writes) <= survivors:
            assert response.is_success, response.text
            return
    pytest.fail("the call needs more writes than this test allows")


def test_a_sign_up_that_dies_leaves_the_name_free(caller: Caller, second: Caller, proxy: Proxy) -> None:
    """Whichever write of a sign-up is the last one, the person can sign in, or sign up again at once."""
    for survivors in range(MAX_WRITES):
        name = f"user-{uuid4().hex[:12]}"
        writes: list[str] = []
        proxy.decide = only_first(writes, survivors)
        response = second.send("POST", "sign-up", {"user": name, "password": PASSWORD})
        proxy.always(None)
        if len(writes) <= survivors:
            assert response.status_code == 201
            return
        assert response.status_code == 503
        if not caller.sign_in(name)["signed_in"]:
            assert caller.post("sign-up", user=name, password=PASSWORD)["signed_in"]
        assert caller.sign_in(name)["signed_in"]
    pytest.fail("the call needs more writes than this test allows")


def test_a_deletion_that_dies_leaves_no_half_user(
    caller: Caller, second: Caller, proxy: Proxy, storage_connection: str, tmp_path: Path
) -> None:
    """Whichever write of a deletion is the last one, the user is there, or gone and the name free; no row counts."""
    users = open_users(storage_connection, app_environ(tmp_path, storage_connection)["STRONGROOM_MASTER_KEY"])
    for survivors in range(MAX_WRITES):
        name, tokens = caller.sign_up()
        writes: list[str] = []
        proxy.decide = only_first(writes, survivors)
        second.send("DELETE", f"users/{tokens['user_id']}")
        proxy.always(None)
        if caller.sign_in(name)["signed_in"]:
            assert survivors == 0
            continue
        assert caller.send("GET", "me", token=tokens["access_token"]).status_code == 401
        assert caller.post("sessions/refresh", refresh_token=tokens["refresh_token"])["reason"] == "expired"
        assert caller.post("sign-up", user=name, password=PASSWORD)["user_id"] != tokens["user_id"]
        if len(writes) <= survivors:
            assert list(users.table.query("PartitionKey eq @u", {"u": tokens["user_id"]})) == []
            return
    pytest.fail("the call needs more writes than this test allows")
