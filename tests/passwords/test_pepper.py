"""Stored hashes, encrypted under a key that can be rotated."""

from collections.abc import Callable
from uuid import uuid4

import msgspec
import pytest

from shared.passwords.accounts import Accounts, Position
from shared.passwords.errors import PepperUnavailable
from shared.passwords.pepper import Secret
from shared.signing.keyring import Changes, changed
from shared.signing.store import KeyStore, NewKey, utc_now
from tests.passwords.conftest import Make
from tests.support import StartApp

PASSWORD, OTHER = "correct horse battery staple", "another horse battery staple"
AES = NewKey(type="AES-256", purpose="encrypt")


@pytest.fixture
def keys(new_keys: Callable[[], KeyStore]) -> KeyStore:
    """A key store with the pepper's key."""
    keys = new_keys()
    keys.create("pepper", AES)
    return keys


def stored_secret(accounts: Accounts, name: str) -> Secret:
    """Return a user's hash as stored in the table."""
    return accounts.users.by_name(name).secret


def test_hashes_rest_encrypted(make: Make, keys: KeyStore) -> None:
    """With a pepper the table shows nothing of a hash, and logins work as without."""
    accounts = make(pepper_key="pepper")
    accounts.create("alice", PASSWORD, second_factor=False)
    secret = stored_secret(accounts, "alice")
    assert (secret.key_name, secret.version) == ("pepper", 1)
    assert b"argon2" not in secret.data
    assert accounts.log_in("alice", PASSWORD).user
    assert not accounts.log_in("alice", OTHER).user
    assert not accounts.log_in("nobody", OTHER).user
    accounts.change_password("alice", PASSWORD, OTHER)
    assert stored_secret(accounts, "alice").version == 1
    assert accounts.log_in("alice", OTHER).user
    assert make().log_in("alice", OTHER).user


def test_rotating_the_pepper_resets_nobody(make: Make, keys: KeyStore) -> None:
    """After a rotation old hashes still open; a login rewraps its user's hash, and a pass rewraps the others, once."""
    accounts = make(pepper_key="pepper")
    names = [f"user-{number}" for number in range(7)]
    for name in names:
        accounts.create(name, PASSWORD, second_factor=False)
    keys.rotate("pepper")
    assert accounts.log_in("user-3", PASSWORD).user
    assert [stored_secret(accounts, name).version for name in names] == [1, 1, 1, 2, 1, 1, 1]
    moved, position = 0, Position()
    for _ in range(2):
        page = accounts.rewrap(position, 3)
        assert page.position is not None
        moved, position = moved + page.rewrapped, page.position
    last = accounts.rewrap(position, 3)
    assert (moved + last.rewrapped, last.position, last.migrated) == (6, None, True)
    assert [stored_secret(accounts, name).version for name in names] == [2] * 7
    assert accounts.rewrap(Position(), 10) == (7, 0, True, None)
    assert all(accounts.log_in(name, PASSWORD).user for name in names)


def test_a_pepper_can_come_and_go(make: Make, keys: KeyStore) -> None:
    """Plain hashes are encrypted when a pepper is set, and decrypted when it is removed."""
    keys.create("other", AES)
    without = make()
    for name in ("alice", "bob"):
        without.create(name, PASSWORD, second_factor=False)
    peppered = make(pepper_key="pepper")
    assert peppered.log_in("alice", PASSWORD).user
    assert [stored_secret(peppered, name).key_name for name in ("alice", "bob")] == ["pepper", ""]
    assert peppered.rewrap(Position(), 10) == (2, 1, True, None)
    assert make(pepper_key="other").rewrap(Position(), 10) == (2, 2, True, None)
    assert stored_secret(peppered, "bob").key_name == "other"
    assert without.rewrap(Position(), 10) == (2, 2, False, None)
    assert b"argon2id" in stored_secret(without, "bob").data
    assert all(without.log_in(name, PASSWORD).user for name in ("alice", "bob"))


def test_a_hash_cannot_be_moved_to_another_user(make: Make, keys: KeyStore) -> None:
    """An attacker with write access to the table cannot replace a user's hash with a known one."""
    accounts = make(pepper_key="pepper")
    for name, password in (("mallory", OTHER), ("alice", PASSWORD)):
        accounts.create(name, password, second_factor=False)
    alice, mallory = accounts.users.by_name("alice"), stored_secret(accounts, "mallory")
    accounts.users.change(alice, lambda now: (now.user, mallory))
    with pytest.raises(PepperUnavailable):
        accounts.log_in("alice", OTHER)


def test_without_its_key_nobody_is_verified(make: Make, keys: KeyStore) -> None:
    """A missing, disabled or unsuitable key is 503, and counts as no user's failure."""
    accounts = make(pepper_key="pepper")
    accounts.create("alice", PASSWORD, second_factor=False)
    keys.create("signs", NewKey(type="P-256", purpose="sign"))
    for name in ("missing", "signs"):
        with pytest.raises(PepperUnavailable) as unavailable:
            make(pepper_key=name).create("bob", PASSWORD, second_factor=False)
        assert unavailable.value.retry_after
        with pytest.raises(PepperUnavailable):
            make(pepper_key=name).log_in("nobody", PASSWORD)
    keys.rotate("pepper")
    disabled = Changes(disabled_versions=[1])
    keys.change("pepper", lambda metadata: changed(metadata, disabled, utc_now()))
    for _ in range(6):
        with pytest.raises(PepperUnavailable):
            accounts.log_in("alice", "wrong")
    keys.change(
        "pepper", lambda metadata: changed(metadata, msgspec.structs.replace(disabled, disabled_versions=[]), utc_now())
    )
    assert accounts.log_in("alice", PASSWORD).user


def test_a_pepper_over_http(start_app: StartApp) -> None:
    """With a key from create-key named in the settings, users log in; a rotation rewraps their hashes."""
    key = f"pepper-{uuid4().hex[:12]}"
    name = f"user-{uuid4().hex}"
    app = start_app({"STRONGROOM_PEPPER_KEY": key})
    with app.client() as client:
        early = client.post("/api/hash-password", json={"user": name, "password": PASSWORD})
        assert (early.status_code, early.json()["code"]) == (503, "pepper-unavailable")
        assert client.get("/api/health/details").json()["services"]["pepper-key"]["status"] == "down"
        assert client.post("/api/keys", json={"name": key, "type": "AES-256"}).status_code == 201
        assert client.post("/api/hash-password", json={"user": name, "password": PASSWORD}).status_code == 201
        assert client.post("/api/verify-password", json={"user": name, "password": PASSWORD}).json()["valid"]
        assert client.post(f"/api/keys/{key}/rotate", json={}).is_success
        moved, cursor = 0, None
        while True:
            page = client.post("/api/rewrap-passwords", json={"limit": 1000, "cursor": cursor}).json()
            moved += page["rewrapped"]
            cursor = page["cursor"]
            if cursor is None:
                break
        assert moved >= 1
        assert client.post("/api/verify-password", json={"user": name, "password": PASSWORD}).json()["valid"]
    plain = start_app({})
    with plain.client() as client:  # Other tests share this storage and need their hashes unencrypted.
        cursor = None
        while True:
            page = client.post("/api/rewrap-passwords", json={"limit": 1000, "cursor": cursor}).json()
            cursor = page["cursor"]
            if cursor is None:
                break
        assert client.post("/api/verify-password", json={"user": name, "password": PASSWORD}).json()["valid"]
