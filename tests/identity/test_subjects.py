"""Users of providers in Table Storage: one user for each issuer and subject, also if instances die or race."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.deadline import call_limit
from shared.errors import StorageUnavailable, UserExists
from shared.identity.store.subjects import SUBJECTS, Subjects
from shared.passwords.accounts import Accounts, new_accounts
from shared.passwords.settings import load_settings
from shared.passwords.store.attempts import AttemptStore
from shared.settings import StorageSettings
from shared.signing.encryption import NamedKeys
from shared.signing.master import master_key
from shared.signing.store import KeyStore
from shared.storage import Storage, account_of
from shared.storage.records import Records
from tests.storage.proxy import LOSE_REQUEST, LOSE_RESPONSE, Proxy, run_proxy

ISSUER = "https://login.example.org"

NewAccounts = Callable[..., Accounts]


@pytest.fixture
def new_instance(storage_connection: str, tmp_path: Path) -> Iterator[NewAccounts]:
    """Makes instances of the app's users over the same tables."""
    tables, path = uuid4().hex[:20], tmp_path / "master.key"
    path.write_text("A" * 43)

    def make(connection: str = storage_connection) -> Accounts:
        storage = Storage(StorageSettings(connection))
        keys = KeyStore(storage, master_key(str(path)), 30, f"keys{tables}")
        attempts = AttemptStore(storage, Records(lambda: keys.derive_key("users")), f"attempts{tables}")

        def removed(rows: object) -> None:
            Subjects(accounts).forget(rows)  # type: ignore[arg-type]

        accounts = new_accounts(
            load_settings({}),
            storage,
            attempts,
            lambda: NamedKeys(keys),
            keys.derive_key,
            table=f"users{tables}",
            removed=removed,
        )
        return accounts

    yield make
    storage = Storage(StorageSettings(storage_connection))
    for name in ("keys", "users"):
        storage.table(f"{name}{tables}").delete_table()


@pytest.fixture
def accounts(new_instance: NewAccounts) -> Accounts:
    """One instance."""
    return new_instance()


@pytest.fixture
def proxy(storage_connection: str) -> Iterator[Proxy]:
    """A proxy before the tables."""
    with run_proxy(account_of(StorageSettings(storage_connection)).table_url) as proxy:
        yield proxy


def through(proxy: Proxy, connection: str) -> str:
    """The connection string of the same account, through the proxy."""
    account = account_of(StorageSettings(connection))
    return (
        f"AccountName={account.name};AccountKey={account.key};BlobEndpoint={account.blob_url};TableEndpoint={proxy.url}"
    )


def index_rows(accounts: Accounts) -> int:
    """How many rows find users by issuer and subject."""
    return len(list(accounts.users.table.query("PartitionKey eq @p", {"p": SUBJECTS})))


def test_issuer_and_subject_are_one_user(accounts: Accounts) -> None:
    """The same issuer and subject are the same user; another issuer, slash, case or part of the pair is another."""
    subjects = Subjects(accounts)
    user = subjects.find_or_create(ISSUER, "alice", "acme:alice").user
    assert subjects.find_or_create(ISSUER, "alice", "acme:alice").user == user
    found = subjects.find(ISSUER, "alice")
    assert found is not None
    assert found.user == user
    for issuer, subject in (
        (ISSUER + "/", "alice"),
        (ISSUER, "Alice"),
        (ISSUER, "alic"),
        ("https://login.example.or", "galice"),
    ):
        assert subjects.find(issuer, subject) is None


def test_the_row_of_a_subject_names_nobody(accounts: Accounts) -> None:
    """Neither the issuer nor the subject can be read in the table."""
    Subjects(accounts).find_or_create(ISSUER, "a-very-private-subject", "acme:x")
    for row in accounts.users.table.query("PartitionKey eq @p", {"p": SUBJECTS}):
        assert "private" not in str(row)
        assert "login.example" not in str(row)


def test_a_deleted_user_leaves_no_row(accounts: Accounts) -> None:
    """Deleting a user removes the row by which it was found, and the next sign-in creates another user."""
    subjects = Subjects(accounts)
    user = subjects.find_or_create(ISSUER, "alice", "acme:alice").user
    accounts.delete(user.user_id)
    assert index_rows(accounts) == 0
    assert subjects.find(ISSUER, "alice") is None
    assert subjects.find_or_create(ISSUER, "alice", "acme:alice").user.user_id != user.user_id


def test_a_name_of_another_user_stays_theirs(accounts: Accounts) -> None:
    """Where another user has the name, nobody is created and nobody is signed in as that user."""
    accounts.create("acme:alice", "correct horse battery staple", second_factor=False)
    with pytest.raises(UserExists):
        Subjects(accounts).find_or_create(ISSUER, "alice", "acme:alice")
    assert Subjects(accounts).find(ISSUER, "alice") is None


def test_first_sign_ins_at_once_are_one_user(new_instance: NewAccounts) -> None:
    """Of many first sign-ins on two instances, all get the same user, who is still there afterwards."""
    instances = [Subjects(new_instance()) for _ in range(2)]
    for round_number in range(3):
        subject = f"alice{round_number}"

        def sign_in(number: int, subject: str = subject) -> str:
            return instances[number % 2].find_or_create(ISSUER, subject, f"acme:{subject}").user.user_id

        with ThreadPoolExecutor(6) as threads:
            (user_id,) = set(threads.map(sign_in, range(6)))
        found = instances[0].find(ISSUER, subject)
        assert found is not None
        assert found.user.user_id == user_id


def test_a_user_whom_two_calls_create_is_not_undone(new_instance: NewAccounts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that claims the name for the same user, and loses, does not undo the user whom others already read."""
    first, second, user_id = new_instance(), new_instance(), str(uuid4())
    confirm = first.users._confirm

    def after_the_other(claims: Any) -> list[bool]:
        with pytest.raises(UserExists):
            second.create_without_password("acme:alice", user_id)
        return confirm(claims)

    monkeypatch.setattr(first.users, "_confirm", after_the_other)
    user = first.create_without_password("acme:alice", user_id)
    assert second.users.by_name("acme:alice").user == user


@pytest.mark.parametrize("fate", [LOSE_REQUEST, LOSE_RESPONSE])
def test_an_instance_that_dies_locks_nobody_out(
    new_instance: NewAccounts, proxy: Proxy, storage_connection: str, fate: str
) -> None:
    """Whichever write of a first sign-in is the last, the next sign-in succeeds, as one user whose rows all go."""
    accounts = new_instance()
    dying = Subjects(new_instance(through(proxy, storage_connection)))
    dying.find_or_create(ISSUER, "first", "acme:first")  # Its keys are read.
    proxy.requests.clear()
    dying.find_or_create(ISSUER, "second", "acme:second")
    writes = sum(method != "GET" for method, _ in proxy.requests)
    assert writes >= 4
    for last in range(writes):
        subject, left = f"alice{last}", [last]

        def decide(method: str, _: str, left: list[int] = left) -> str | None:
            if method == "GET" and left[0] >= 0:
                return None
            left[0] -= 1
            return LOSE_REQUEST if left[0] < -1 else fate if left[0] == -1 else None

        proxy.decide = decide
        with call_limit(0.5), pytest.raises(StorageUnavailable):
            dying.find_or_create(ISSUER, subject, f"acme:{subject}")
        proxy.decide = lambda *_: None
        partition = Subjects(accounts).find_or_create(ISSUER, subject, f"acme:{subject}")
        assert partition.user.name == f"acme:{subject}"
        again = Subjects(accounts).find_or_create(ISSUER, subject, f"acme:{subject}")
        assert again.user.user_id == partition.user.user_id
        rows = index_rows(accounts)
        accounts.delete(partition.user.user_id)
        assert index_rows(accounts) == rows - 1
