"""Waits, locks, devices, sprayed passwords, and the cost of unknown names, over real Table Storage."""

from collections import Counter
from collections.abc import Callable

import bcrypt
import pytest

from shared.errors import StrongroomError, TooManyAttempts, UserDisabled, UserLocked, WrongPassword
from shared.passwords.accounts import Accounts, NewUser, Position
from shared.passwords.argon2 import Parameters
from shared.passwords.store.users import UserStore
from shared.passwords.throttling import MAX_DEVICE_FAILURES, MAX_FAILURES, Failures
from shared.signing.keyring import Changes, changed
from shared.signing.store import KeyStore, NewKey, utc_now
from tests.passwords.conftest import SMALL, Clock, Make

PASSWORD, OTHER = "correct horse battery staple", "another horse battery staple"


def fail(accounts: Accounts, clock: Clock, name: str, times: int) -> None:
    """Send wrong passwords for a name, each after the previous wait."""
    for _ in range(times):
        clock.forward(901)
        assert accounts.log_in(name, "wrong").user is None


@pytest.mark.parametrize("known", [True, False])
def test_a_hundred_failures_in_a_row_lock(known: bool, make: Make, clock: Clock) -> None:
    """After 100 failures in a row a name is locked, whether or not the user exists; a reset unlocks a user."""
    accounts = make(spray_names=0)
    if known:
        accounts.create("alice", PASSWORD, second_factor=False)
    fail(accounts, clock, "alice", MAX_FAILURES)
    for days in (0, 1, 400):
        clock.forward(days * 24 * 3600)
        with pytest.raises(UserLocked) as locked:
            accounts.log_in("Alice", PASSWORD)
        assert locked.value.retry_after == 3600
        with pytest.raises(UserLocked):
            accounts.change_password("alice", PASSWORD, OTHER)
    if known:
        accounts.reset_password("alice", PASSWORD)
        assert accounts.log_in("alice", PASSWORD).user


def test_failures_belong_to_the_user(make: Make, clock: Clock) -> None:
    """A rename keeps the count, and the next user of a deleted user's name starts without failures."""
    accounts = make(spray_names=0)
    user = accounts.create("alice", PASSWORD, second_factor=False)
    fail(accounts, clock, "alice", 20)
    accounts.rename("alice", "bob")
    with pytest.raises(TooManyAttempts):
        accounts.log_in("bob", PASSWORD)
    assert accounts.log_in("alice", PASSWORD).outcome == "unknown-user"
    accounts.delete(user.user_id)
    accounts.create("bob", PASSWORD, second_factor=False)
    assert accounts.log_in("bob", PASSWORD).user
    fail(accounts, clock, "carol", 20)
    accounts.create("carol", PASSWORD, second_factor=False)
    assert accounts.log_in("carol", PASSWORD).user


def test_a_device_is_not_held_up(make: Make, clock: Clock) -> None:
    """A call with the token of an earlier login succeeds while others' failures make the name wait, or lock it."""
    accounts = make(spray_names=0)
    accounts.create("alice", PASSWORD, second_factor=False)
    device = accounts.log_in("alice", PASSWORD).device
    fail(accounts, clock, "alice", MAX_FAILURES)
    with pytest.raises(UserLocked):
        accounts.log_in("alice", PASSWORD)
    login = accounts.log_in("alice", PASSWORD, device)
    assert login.user
    assert accounts.log_in("alice", PASSWORD, login.device).user
    with pytest.raises(UserLocked):  # The failures of other callers remain.
        accounts.log_in("alice", PASSWORD)


def test_a_device_has_ten_failures(make: Make, clock: Clock) -> None:
    """After ten wrong passwords in a row a device's token is invalid; a success in between resets the count."""
    accounts = make(spray_names=0)
    accounts.create("alice", PASSWORD, second_factor=False)
    device = accounts.log_in("alice", PASSWORD).device
    fail(accounts, clock, "alice", 10)
    for _ in range(2):
        for _ in range(MAX_DEVICE_FAILURES - 1):
            assert accounts.log_in("alice", "wrong", device).user is None
        assert accounts.log_in("alice", PASSWORD, device).user
    for _ in range(MAX_DEVICE_FAILURES):
        assert accounts.log_in("alice", "wrong", device).user is None
    with pytest.raises(TooManyAttempts):
        accounts.log_in("alice", PASSWORD, device)


def test_a_device_is_bound_to_user_and_password(make: Make, clock: Clock) -> None:
    """A token is invalid for another user, after a password change, after 30 days, or if it is garbage."""
    accounts = make(spray_names=0)
    for name in ("alice", "bob"):
        accounts.create(name, PASSWORD, second_factor=False)
    device = accounts.log_in("alice", PASSWORD).device
    tokens = {"of bob": accounts.log_in("bob", PASSWORD).device, "garbage": "?", "empty": "", "short": "AAAA"}
    fail(accounts, clock, "alice", 10)
    for token in tokens.values():
        with pytest.raises(TooManyAttempts):
            accounts.log_in("alice", PASSWORD, token)
    clock.forward(901)
    accounts.change_password("alice", PASSWORD, OTHER)
    fail(accounts, clock, "alice", 10)
    with pytest.raises(TooManyAttempts):
        accounts.log_in("alice", OTHER, device)
    clock.forward(901)
    device = accounts.log_in("alice", OTHER).device
    clock.forward(30 * 24 * 3600)
    for _ in range(10):
        clock.forward(901)
        accounts.log_in("alice", "wrong")
    with pytest.raises(TooManyAttempts):
        accounts.log_in("alice", OTHER, device)


def test_a_rehash_keeps_devices(make: Make, clock: Clock) -> None:
    """A rehash with another cost keeps the password, so device tokens stay valid."""
    old, new = make(SMALL, spray_names=0), make(Parameters(128, 1, 1), spray_names=0)
    old.create("alice", PASSWORD, second_factor=False)
    device = old.log_in("alice", PASSWORD).device
    assert new.log_in("alice", PASSWORD).rehashed
    fail(new, clock, "alice", 10)
    assert new.log_in("alice", PASSWORD, device).user


def test_a_sprayed_password_waits(make: Make, clock: Clock) -> None:
    """A password tried for many names must wait, for known and unknown names alike; other passwords need not."""
    accounts = make(spray_names=5)
    accounts.create("alice", PASSWORD, second_factor=False)
    accounts.create("bob", OTHER, second_factor=False)
    for number in range(5):
        assert accounts.log_in(f"user-{number}", PASSWORD).user is None
    for name in ("alice", "bob", "nobody"):
        with pytest.raises(TooManyAttempts) as refused:
            accounts.log_in(name, PASSWORD)
        assert refused.value.retry_after == 1
    assert accounts.log_in("bob", OTHER).user
    for seconds in (1, 2, 4, 8, 16, 32, 60):
        clock.forward(seconds)
        assert accounts.log_in(f"next-{seconds}", PASSWORD).user is None
    clock.forward(59)
    with pytest.raises(TooManyAttempts):
        accounts.log_in("alice", PASSWORD)
    clock.forward(1)
    assert accounts.log_in("alice", PASSWORD).user
    clock.forward(3600)
    assert accounts.log_in("user-1", PASSWORD).user is None
    assert accounts.log_in("alice", PASSWORD).user


def test_a_device_is_not_held_up_by_spraying(make: Make) -> None:
    """A call with a device token succeeds while other callers try the same password for many names."""
    accounts = make(spray_names=3)
    accounts.create("alice", PASSWORD, second_factor=False)
    device = accounts.log_in("alice", PASSWORD).device
    for number in range(3):
        accounts.log_in(f"user-{number}", PASSWORD)
    with pytest.raises(TooManyAttempts):
        accounts.log_in("alice", PASSWORD)
    assert accounts.log_in("alice", PASSWORD, device).user


def test_spraying_can_be_off(make: Make) -> None:
    """With a limit of 0 names the app stores nothing about a wrong password."""
    accounts = make(spray_names=0)
    for number in range(6):
        accounts.log_in(f"user-{number}", PASSWORD)
    rows = list(accounts.users.table.query("PartitionKey eq @p", {"p": "passwords"}))
    assert rows == []


def test_nothing_readable_is_kept_of_a_wrong_password(make: Make, clock: Clock) -> None:
    """The table stores wrong passwords and unknown names as truncated keyed digests, and passwords for one hour."""
    accounts = make()
    accounts.log_in("hunter2-as-a-name", "hunter2-as-a-password")
    stored = [dict(row) for row in accounts.users.table.query("PartitionKey ge @p", {"p": ""})]
    assert {row["PartitionKey"] for row in stored} == {"names", "app", "passwords"}
    assert "hunter2" not in str(stored)
    (row,) = (row for row in stored if row["PartitionKey"] == "passwords")
    assert len(row["RowKey"]) == 4
    clock.forward(3600 + 1)
    accounts.log_in("another-name", "another-password")  # The next failure removes it; the daily task would, too.
    kept = list(accounts.users.table.query("PartitionKey eq @p", {"p": "passwords"}))
    assert [each["RowKey"] for each in kept if each["RowKey"] == row["RowKey"]] == []


def test_unknown_names_leave_a_bounded_number_of_rows(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown names share slots: however many callers try, there is at most one row per slot."""
    monkeypatch.setattr("shared.passwords.store.users._SLOT_DIGITS", 1)
    accounts.create("alice", PASSWORD, second_factor=False)
    for number in range(40):
        accounts.log_in(f"user-{number}", f"wrong-{number}")
    rows = list(accounts.users.table.query("PartitionKey eq @p and kind eq 'unknown-name'", {"p": "names"}))
    assert len(rows) <= 16
    assert accounts.log_in("alice", PASSWORD).user
    assert [each.user.name for each in accounts.users.page("", 10)] == ["alice"]


def test_a_clock_that_was_ahead_locks_nobody_out(accounts: Accounts, clock: Clock) -> None:
    """A wait written by an instance whose clock is a day ahead counts from now, for known and unknown names."""
    accounts.create("alice", PASSWORD, second_factor=False)
    clock.forward(24 * 3600)
    for name in ("alice", "nobody"):
        for _ in range(6):
            try:
                accounts.log_in(name, "wrong")
            except TooManyAttempts:
                clock.forward(1)
                accounts.log_in(name, "wrong")
    clock.forward(-24 * 3600)
    for name in ("alice", "nobody"):
        with pytest.raises(TooManyAttempts) as refused:
            accounts.log_in(name, PASSWORD)
        assert refused.value.retry_after == 2
    clock.forward(2)
    assert accounts.log_in("alice", PASSWORD).user
    assert accounts.log_in("nobody", PASSWORD).outcome == "unknown-user"


def test_a_disabled_user(accounts: Accounts) -> None:
    """A disabled user cannot log in; only the right password reveals it. Enabling restores everything."""
    user = accounts.create("alice", PASSWORD, second_factor=False)
    assert accounts.set_disabled(user.user_id.upper(), True).disabled
    right, wrong = accounts.log_in("alice", PASSWORD), accounts.log_in("alice", OTHER)
    assert (right.user, right.outcome, right.device) == (None, "disabled", "")
    assert (wrong.user, wrong.outcome) == (None, "wrong-password")
    with pytest.raises(UserDisabled):
        accounts.change_password("alice", PASSWORD, OTHER)
    with pytest.raises(WrongPassword):
        accounts.change_password("alice", OTHER, PASSWORD)
    assert accounts.users.by_id(user.user_id).user.last_login is None
    accounts.reset_password("alice", OTHER)
    assert accounts.log_in("alice", OTHER).outcome == "disabled"
    accounts.set_disabled(user.user_id, False)
    assert accounts.log_in("alice", OTHER).user


# Unknown names cost the same


def hashes(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Parameters | None]]:
    """Record the algorithm and cost of every hash computed from now on."""
    from shared.passwords import hashing

    noted: list[tuple[str, Parameters | None]] = []
    real_matches, real_hash = hashing._matches, hashing.hash_password

    def matches(stored: hashing.Hash, password: bytes, memory: object) -> bool:
        noted.append((hashing.algorithm_of(stored), stored.cost if isinstance(stored, hashing.Argon2Hash) else None))
        return real_matches(stored, password, memory)  # type: ignore[arg-type]

    def hash_password(password: bytes, cost: Parameters, salt: bytes, memory: object) -> str:
        noted.append(("argon2id", cost))
        return real_hash(password, cost, salt, memory)  # type: ignore[arg-type]

    monkeypatch.setattr(hashing, "_matches", matches)
    monkeypatch.setattr(hashing, "hash_password", hash_password)
    return noted


def test_after_a_new_profile_all_names_cost_the_same(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of the profile a wrong password costs the same hashes for users of the old and of the new profile,
    for unknown names, and for imported users beside their own hash; until a pass over all users finds no old hash."""
    new_cost = Parameters(128, 1, 1)
    old = make(SMALL)
    old.create("old user", PASSWORD, second_factor=False)
    old.log_in("nobody", "wrong")
    new = make(new_cost)
    new.create("new user", PASSWORD, second_factor=False)
    new.import_user(NewUser("imported", bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()))
    noted = hashes(new, monkeypatch)

    def wrong(accounts: Accounts, name: str) -> Counter[tuple[str, Parameters | None]]:
        noted.clear()
        assert accounts.log_in(name, "wrong").user is None
        return Counter(noted)

    both: Counter[tuple[str, Parameters | None]] = Counter({("argon2id", SMALL): 1, ("argon2id", new_cost): 1})
    assert wrong(new, "old user") == wrong(new, "new user") == wrong(new, "nobody") == both
    assert wrong(new, "imported") == both + Counter({("bcrypt", None): 1})
    noted.clear()
    assert new.log_in("old user", PASSWORD).rehashed
    assert Counter(noted) == both
    new.rewrap(Position(), 100)
    later = make(new_cost)
    assert wrong(later, "nobody") == wrong(later, "new user") == Counter({("argon2id", new_cost): 1})


def outcome(act: Callable[[], object]) -> str:
    """Return the result of a wrong password: false, or the code of the error."""
    try:
        act()
    except StrongroomError as error:
        return error.code
    return "false"


def test_unknown_names_follow_the_pepper(make: Make, new_keys: Callable[[], KeyStore]) -> None:
    """Known and unknown names get the same response before and after each change of the pepper's key."""
    keys = new_keys()
    keys.create("pepper", NewKey(type="AES-256", purpose="encrypt"))
    accounts = make(pepper_key="pepper")
    accounts.create("alice", PASSWORD, second_factor=False)

    def outcomes() -> tuple[str, str]:
        # One instance that runs throughout.
        return (
            outcome(lambda: accounts.log_in("alice", "wrong")),
            outcome(lambda: accounts.log_in("nobody", "wrong")),
        )

    assert outcomes() == ("false", "false")
    keys.rotate("pepper")
    assert outcomes() == ("false", "false")
    accounts.rewrap(Position(), 100)
    keys.change("pepper", lambda key: changed(key, Changes(disabled_versions=[1]), utc_now()))
    assert outcomes() == ("false", "false")
    assert accounts.log_in("alice", PASSWORD).user
    missing = make(pepper_key="missing")
    assert outcome(lambda: missing.log_in("nobody", "wrong")) == "pepper-unavailable"
    assert outcome(lambda: missing.log_in("alice", "wrong")) == "pepper-unavailable"
    make().create("plain", PASSWORD, second_factor=False)
    assert outcome(lambda: missing.log_in("plain", "wrong")) == "pepper-unavailable"


def test_no_failure_of_an_unknown_name_is_lost(accounts: Accounts, clock: Clock) -> None:
    """Two instances that count concurrently lose no failure, also if another name takes the slot in between."""
    users: UserStore = accounts.users
    key = users.key("nobody")
    stored = users.find(key)[1]
    users.set_failures_of_name(key, None, Failures(3, clock(), clock()))
    accounts._logins._write(
        key, None, stored, lambda before: Failures((before.count if before else 0) + 1, clock(), clock())
    )
    name = users.find(key)[1]
    assert name is not None
    assert name.name.failures.count == 4
