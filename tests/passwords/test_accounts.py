"""Users in real Table Storage, with sequential and concurrent calls."""

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import bcrypt
import pytest

from shared.errors import (
    HashTooLarge,
    StorageUnavailable,
    StrongroomError,
    TooManyAttempts,
    UnknownUser,
    UserChanged,
    UserExists,
    WeakPassword,
    WrongPassword,
)
from shared.passwords.accounts import Accounts, NewUser
from shared.passwords.argon2 import Parameters
from shared.passwords.errors import InvalidHash
from shared.passwords.logins import MAX_WAITING
from shared.passwords.pepper import Secret
from shared.passwords.store.users import User
from shared.signing.store import utc_now
from tests.passwords.conftest import SMALL, Clock, Make
from tests.passwords.support import phc

ROOT = Path(__file__).resolve().parent.parent.parent
PASSWORD, OTHER = "correct horse battery staple", "another horse battery staple"


def test_a_user_logs_in(accounts: Accounts) -> None:
    """A user is created once, has a unique id, and logs in only with the right password."""
    user = accounts.create("Alice@Example.org", PASSWORD, second_factor=False)
    assert UUID(user.user_id).version == 4
    login = accounts.log_in("ALICE@example.ORG", PASSWORD)
    assert (login.user is not None, login.needs_rehash, login.rehashed) == (True, False, False)
    assert login.user is not None
    assert login.user.user_id == user.user_id
    assert not accounts.log_in("alice@example.org", OTHER).user
    assert not accounts.log_in("bob@example.org", PASSWORD).user
    with pytest.raises(UserExists):
        accounts.create("alice@example.org", PASSWORD, second_factor=False)


def test_a_weak_password_creates_nobody(accounts: Accounts) -> None:
    """A weak password is refused with every failed rule, and no user is created."""
    with pytest.raises(WeakPassword) as refused:
        accounts.create("alice@example.org", "alice@example", second_factor=False)
    assert [each.detail.partition(":")[0] for each in refused.value.errors] == ["too-short", "context-word"]
    with pytest.raises(WeakPassword) as refused:
        accounts.create("alice", "alice has a long password", second_factor=False)
    assert [each.detail.partition(":")[0] for each in refused.value.errors] == ["context-word"]
    assert "alice has a long" not in str(refused.value.errors) + refused.value.detail
    with pytest.raises(UnknownUser):
        accounts.users.by_name("alice")
    accounts.create("bob", "kq7#vbzm", second_factor=True)
    accounts.change_password("bob", "kq7#vbzm", "p1x&wq0z")
    with pytest.raises(WeakPassword):
        accounts.change_password("bob", "p1x&wq0z", "short")


def test_a_login_is_noted(accounts: Accounts, clock: Clock) -> None:
    """The last login is the time of the last right password."""
    user = accounts.create("alice", PASSWORD, second_factor=False)
    assert accounts.users.by_id(user.user_id).user.last_login is None
    clock.forward(60)
    accounts.log_in("alice", PASSWORD)
    first = clock.now
    clock.forward(60)
    accounts.log_in("alice", OTHER)
    assert accounts.users.by_id(user.user_id).user.last_login == first
    assert accounts.users.by_id(user.user_id).user.created == user.created


@pytest.mark.parametrize("known", [True, False])
def test_wrong_passwords_make_a_name_wait(known: bool, accounts: Accounts, clock: Clock) -> None:
    """After five wrong passwords a name must wait, then twice as long each time, whether or not the user exists."""
    if known:
        accounts.create("alice", PASSWORD, second_factor=False)
    for _ in range(5):
        assert not accounts.log_in("alice", "wrong").user
    for seconds in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900):
        for password in ("wrong", PASSWORD, "wrong"):  # During a wait no call checks a password or prolongs the wait.
            with pytest.raises(TooManyAttempts) as refused:
                accounts.log_in("Alice", password)
            assert refused.value.retry_after == seconds
            assert refused.value.detail == f"After too many wrong passwords this user has to wait {seconds} s."
        with pytest.raises(TooManyAttempts):
            accounts.change_password("alice", PASSWORD, OTHER)
        clock.forward(seconds)
        assert not accounts.log_in("alice", "wrong").user
    clock.forward(900)
    assert bool(accounts.log_in("alice", PASSWORD).user) == known


def test_a_success_ends_the_count(accounts: Accounts) -> None:
    """A right password resets the count of wrong ones."""
    accounts.create("alice", PASSWORD, second_factor=False)
    for _ in range(3):
        for _ in range(4):
            assert not accounts.log_in("alice", "wrong").user
        assert accounts.log_in("alice", PASSWORD).user


def test_the_operator_ends_a_wait(accounts: Accounts) -> None:
    """After a reset the user can log in at once, with the new password only."""
    user = accounts.create("alice", PASSWORD, second_factor=False)
    for _ in range(5):
        accounts.log_in("alice", "wrong")
    with pytest.raises(TooManyAttempts):
        accounts.log_in("alice", PASSWORD)
    assert accounts.reset_password("alice", OTHER).user_id == user.user_id
    assert accounts.log_in("alice", OTHER).user
    assert not accounts.log_in("alice", PASSWORD).user


def test_the_count_holds_for_all_instances(make: Make) -> None:
    """Instances share one count: another instance refuses after the first one's failures."""
    one, other = make(), make()
    for accounts in (one, other, one, other, one):
        assert not accounts.log_in("alice", "wrong").user
    for accounts in (one, other):
        with pytest.raises(TooManyAttempts):
            accounts.log_in("alice", "wrong")


def guess(accounts: Accounts, name: str) -> str:
    """Return the result of a wrong password."""
    try:
        return str(accounts.log_in(name, "wrong").user is not None)
    except TooManyAttempts:
        return "refused"


def test_guessing_at_once_gains_nothing(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent guesses get no more checks than sequential ones, plus one per instance."""
    monkeypatch.setattr("shared.passwords.logins.TURN_SECONDS", 60.0)
    accounts = make()
    with ThreadPoolExecutor(24) as callers:
        counted = Counter(callers.map(lambda _: guess(accounts, "alice"), range(24)))
        assert counted == {"False": 5, "refused": 19}
        several = [make() for _ in range(4)]
        counted = Counter(callers.map(lambda number: guess(several[number % 4], "bob"), range(24)))
    _, name = accounts.users.find(accounts.users.key("bob"))
    assert name is not None
    assert 5 <= name.name.failures.count == counted["False"] <= 5 + 3


def test_a_flood_about_one_name_is_refused(accounts: Accounts) -> None:
    """Of very many simultaneous calls for one name, some are refused at once, so that other users have threads."""

    def outcome(_: int) -> str:
        try:
            return str(accounts.log_in("alice", "wrong").user is not None)
        except StrongroomError as error:
            return error.code

    with ThreadPoolExecutor(200) as callers:
        with accounts._logins._turns.of(accounts.users.key("alice")):  # No call proceeds until all have arrived.
            calls = [callers.submit(outcome, number) for number in range(200)]
            refused, waiting = wait(calls, 60, FIRST_COMPLETED)
            while len(refused) < 200 - (MAX_WAITING - 1):
                refused, waiting = wait(calls, 0.05)
            assert {call.result() for call in refused} == {"busy"}
        counted = Counter(call.result(60) for call in waiting)
    assert counted["False"] == 5
    assert set(counted) <= {"False", "too-many-attempts", "busy"}


def test_a_password_is_changed(accounts: Accounts) -> None:
    """A change needs the old password; without it, known and unknown users get the same error."""
    accounts.create("alice", PASSWORD, second_factor=False)
    accounts.change_password("alice", PASSWORD, OTHER)
    assert accounts.log_in("alice", OTHER).user
    errors = []
    for name in ("alice", "nobody"):
        with pytest.raises(WrongPassword) as refused:
            accounts.change_password(name, PASSWORD, "yet another battery horse")
        errors.append((refused.value.detail, refused.value.code))
    assert errors[0] == errors[1]
    assert accounts.log_in("alice", OTHER).user


def test_a_renamed_user_stays_the_same(accounts: Accounts) -> None:
    """A renamed user keeps id and password; another user can then take the old name."""
    user = accounts.create("alice", PASSWORD, second_factor=False)
    assert accounts.rename("Alice", "Bob").user_id == user.user_id
    assert accounts.rename("bob", "BOB").name == "BOB"
    assert not accounts.log_in("alice", PASSWORD).user
    login = accounts.log_in("bob", PASSWORD)
    assert login.user is not None
    assert (login.user.user_id, login.user.name) == (user.user_id, "BOB")
    assert accounts.users.by_id(user.user_id).user.name == "BOB"
    other = accounts.create("alice", OTHER, second_factor=False)
    assert other.user_id != user.user_id
    with pytest.raises(UserExists):
        accounts.rename("bob", "ALICE")
    with pytest.raises(UnknownUser):
        accounts.rename("nobody", "somebody")


def test_a_deleted_user_is_gone(accounts: Accounts) -> None:
    """A deleted user cannot log in; the next user of that name is a different user."""
    user = accounts.create("alice", PASSWORD, second_factor=False)
    accounts.delete(user.user_id)
    assert not accounts.log_in("alice", PASSWORD).user
    for act in (lambda: accounts.delete(user.user_id), lambda: accounts.users.by_id(user.user_id)):
        with pytest.raises(UnknownUser):
            act()
    assert accounts.create("alice", PASSWORD, second_factor=False).user_id != user.user_id


def test_an_imported_user_moves_to_argon2id(accounts: Accounts) -> None:
    """The first login with an imported hash replaces the hash."""
    password = "x" * 71
    text = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    user = accounts.import_user(NewUser("alice", text))
    assert user.algorithm == "bcrypt"
    assert not accounts.log_in("alice", "wrong").user
    login = accounts.log_in("alice", password)
    assert (login.user is not None, login.needs_rehash, login.rehashed) == (True, False, True)
    assert accounts.users.by_id(user.user_id).user.algorithm == "argon2id"
    again = accounts.log_in("alice", password)
    assert (again.user is not None, again.rehashed) == (True, False)
    assert not accounts.log_in("alice", "x" * 71 + "another").user
    with pytest.raises(InvalidHash):
        accounts.import_user(NewUser("bob", "no hash"))
    with pytest.raises(InvalidHash):
        accounts.import_user(NewUser("bob", "$scrypt$ln=16,r=8,p=1$c2FsdA$" + "A" * 43))


def test_new_parameters_reach_users_at_their_next_login(make: Make) -> None:
    """After a change of parameters, the next login hashes again, once."""
    old, new = make(SMALL), make(Parameters(128, 1, 1))
    old.create("alice", PASSWORD, second_factor=False)
    assert [new.log_in("alice", PASSWORD).rehashed for _ in range(2)] == [True, False]
    assert "$m=128,t=1,p=1$" in new.users.by_name("alice").secret.data.decode()


def test_a_hash_over_the_limit_is_an_error_of_its_own(make: Make) -> None:
    """If a user's hash exceeds the current memory limit, the error says so; it is not a wrong password."""
    accounts = make()
    text = phc("argon2id", 19, Parameters(128 * 1024, 1, 1), bytes(16), bytes(32))
    accounts.users.create(
        User("00000000-0000-4000-8000-000000000000", "alice", utc_now(), "argon2id", "", utc_now()),
        Secret(text.encode()),
    )
    with pytest.raises(HashTooLarge):
        accounts.log_in("alice", PASSWORD)


def test_a_rehash_does_not_undo_a_change(make: Make) -> None:
    """If another call changes the password during a login's rehash, the new password stays."""
    old, new = make(SMALL), make(Parameters(128, 1, 1))
    old.create("alice", PASSWORD, second_factor=False)
    before = new.users.by_name("alice")
    old.change_password("alice", PASSWORD, OTHER)
    with pytest.raises(UserChanged):
        new._set_hash(before, new.hasher.hash(PASSWORD, SMALL), new._text_of(before))
    assert old.log_in("alice", OTHER).user


def test_a_password_is_changed_once(make: Make) -> None:
    """Of many concurrent changes on several instances, exactly one succeeds with the old password."""
    several = [make() for _ in range(4)]
    several[0].create("alice", PASSWORD, second_factor=False)

    def change(number: int) -> bool:
        try:
            several[number].change_password("alice", PASSWORD, f"{OTHER} {number}")
        except (WrongPassword, UserChanged):
            return False
        return True

    with ThreadPoolExecutor(4) as callers:
        for _ in range(5):
            changed = list(callers.map(change, range(4)))
            assert changed.count(True) == 1
            assert several[0].log_in("alice", f"{OTHER} {changed.index(True)}").user
            several[0].reset_password("alice", PASSWORD)


def test_pages_hold_every_user_once(accounts: Accounts) -> None:
    """The pages list every user once, and no counters of names."""
    names = {f"user-{number}" for number in range(23)}
    text = accounts.hasher.hash(PASSWORD, SMALL)
    for name in names:
        accounts.import_user(NewUser(name, text))
        accounts.log_in(f"not-{name}", "wrong")
    for size in (1, 7, 23, 100):
        found, after = [], ""
        while page := accounts.users.page(after, size):
            assert len(page) <= size
            found += [each.user.name for each in page]
            after = page[-1].user.user_id
        assert (len(found), set(found)) == (23, names)


def test_without_storage_nobody_logs_in(make: Make, storage_connection: str) -> None:
    """Without storage all logins fail, and the response differs from that of a wrong password."""
    away = make(connection="AccountName=a;AccountKey=aGk=;TableEndpoint=http://127.0.0.1:9/a")
    with pytest.raises(StorageUnavailable):
        away.log_in("alice", PASSWORD)
    make().log_in("makes", "the table")


PROCESS = """
import json, random, sys
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from shared.errors import StrongroomError
from shared.passwords.accounts import new_accounts
from shared.passwords.admission import HashingThreads
from shared.passwords.argon2 import Parameters
from shared.passwords.settings import PasswordSettings
from shared.passwords.store.attempts import AttemptStore
from shared.storage.records import Records
from shared.settings import StorageSettings
from shared.storage import Storage

connection, table, key, seed = sys.argv[1:]
own = "battery staple horse " + seed
storage, derive = Storage(StorageSettings(connection)), lambda purpose: bytes.fromhex(key)
attempts = AttemptStore(storage, Records(lambda: derive("users")), table)
accounts = new_accounts(
    PasswordSettings(spray_names=0), storage, attempts, None, derive, cost=Parameters(64 + int(seed), 1, 1),
    threads=HashingThreads(64, wait_seconds=60), table=table,
)

def attempt(act):
    try:
        return act()
    except StrongroomError as error:
        return error.code

def work(number):
    draw = random.Random(seed + str(number))
    done = []
    for _ in range(4):
        login = attempt(lambda: accounts.log_in("shared", "correct horse battery staple").user is not None)
        done.append(["login", login])
        for password in (own, "battery staple horse 1", "battery staple horse 2"):
            done.append(["contested", attempt(lambda: accounts.log_in("contested", password).user is not None)])
        changed = attempt(lambda: accounts.change_password("contested", own, own + " again").name)
        done.append(["contested", changed])
        created = attempt(lambda: accounts.create("contested", own, second_factor=False).user_id)
        if created != "user-exists":
            done.append(["created", created])
            done.append(["deleted", attempt(lambda: accounts.delete(created))])
        done.append(["renamed", attempt(lambda: accounts.rename("wanderer", "Wanderer %d" % draw.randrange(9)).name)])
        for name in ["wanderer"] + ["wanderer %d" % each for each in range(9)]:
            attempt(lambda: accounts.rename(name, "wanderer"))
    change = lambda: accounts.change_password("changing", "correct horse battery staple", own).name
    done.append(["changed", attempt(change)])
    return done

with ThreadPoolExecutor(4) as callers:
    print(json.dumps([each for done in callers.map(work, range(4)) for each in done]))
"""


def test_two_processes_lose_nothing(make: Make, storage_connection: str, clock: Clock) -> None:
    """Concurrent logins, creations, renames, changes and deletions of two processes leave every user intact."""
    accounts = make()
    before = {name: accounts.create(name, PASSWORD, second_factor=False) for name in ("shared", "wanderer", "changing")}
    table = accounts.users.table._name
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, storage_connection, table, accounts.users.records._key().hex(), seed],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    try:
        outputs = [each.communicate(timeout=200)[0] for each in processes]
    finally:
        for process in processes:
            process.kill()
    assert [each.returncode for each in processes] == [0, 0]
    done = [each for output in outputs for each in json.loads(output)]
    # Each login of the user whose password does not change succeeds, however often the hash is replaced meanwhile.
    assert {result for what, result in done if what == "login"} == {True}
    # Calls for the user who is created and deleted repeatedly succeed or fail, with no other result.
    outcomes = {True, False, "contested", "wrong-password", "too-many-attempts", "user-changed"}
    assert {result for what, result in done if what == "contested"} <= outcomes
    # Each creation was followed by a deletion of that same user, and all succeeded.
    assert {result for what, result in done if what == "deleted"} <= {None}
    with pytest.raises(UnknownUser):
        accounts.users.by_name("contested")
    # Exactly one change had the old password; its process's password is now valid.
    changed = [result for what, result in done if what == "changed"]
    assert Counter(changed)["changing"] == 1
    valid = []
    for seed in ("1", "2"):
        clock.forward(3600)  # Wrong passwords make the name wait.
        valid.append(accounts.log_in("changing", f"battery staple horse {seed}").user is not None)
    assert sorted(valid) == [False, True]
    # The renamed user exists once, under one name, with the same id.
    found = [each.user for each in accounts.users.page("", 1000)]
    assert Counter(each.user_id for each in found) == {each.user_id: 1 for each in before.values()}
    wanderer = accounts.users.by_id(before["wanderer"].user_id).user
    with suppress(UserExists):
        accounts.rename(wanderer.name, "wanderer")
    assert accounts.log_in("wanderer", PASSWORD).user
