"""Users in Table Storage: rows with a digest, batches, and writes whose response is lost."""

import re
from collections.abc import Callable, Iterator
from uuid import uuid4

import msgspec
import pytest

from scripts.azurite import Azurite
from shared.errors import StorageUnavailable, UnknownUser, UserExists
from shared.passwords.accounts import Accounts, NewUser, Position
from shared.passwords.pepper import Secret
from shared.passwords.store.users import User
from shared.signing.store import KeyStore, NewKey
from shared.storage import EMULATOR_ACCOUNT, EMULATOR_KEY
from shared.storage.errors import DamagedRow
from shared.storage.records import Records
from shared.storage.tables import Row, Table, put, replace
from tests.passwords.conftest import SMALL, Clock, Make
from tests.storage.proxy import LOSE_REQUEST, LOSE_RESPONSE, Proxy, Respond, run_proxy

PASSWORD, OTHER = "correct horse battery staple", "another horse battery staple"
PLAIN = "$argon2id$v=19$m=64,t=1,p=1$" + "A" * 22 + "$" + "A" * 43


def row_of(accounts: Accounts, name: str) -> Row:
    """Return the user's row as stored in the table."""
    user_id = accounts.users.id_of(name)
    assert user_id is not None
    row = accounts.users.table.get(user_id, "user")
    assert row is not None
    return row


# Rows with a digest


def test_a_row_hides_nothing_and_takes_no_change(accounts: Accounts) -> None:
    """A user's row is readable, and a changed or added property makes it a damaged user."""
    user = accounts.create("alice", PASSWORD, second_factor=False)
    row = row_of(accounts, "alice")
    assert user.user_id in row["document"]
    table: Table = accounts.users.table
    changes = {
        "document": row["document"].replace('"disabled":false', '"disabled":true').replace("alice", "alicf"),
        "secret": PLAIN.encode(),
        "pepper": "other",
        "pepper_version": 1,
        "kind": "unknown-name",
        "digest": "0" * 64,
        "added": "x",
    }
    for name, value in changes.items():
        table.write(replace({**row, name: value}))
        with pytest.raises(DamagedRow):
            accounts.log_in("alice", PASSWORD)
        with pytest.raises(DamagedRow):
            accounts.users.by_id(user.user_id)
    table.write(replace(row))
    assert accounts.log_in("alice", PASSWORD).user


def test_a_row_cannot_be_moved(accounts: Accounts) -> None:
    """A user's row is refused under another name, and an id does not lead to another user."""
    alice, mallory = (accounts.create(name, PASSWORD, second_factor=False) for name in ("alice", "mallory"))
    table: Table = accounts.users.table
    table.write(put({**row_of(accounts, "mallory"), "PartitionKey": alice.user_id}))
    with pytest.raises(DamagedRow):
        accounts.log_in("alice", PASSWORD)
    with pytest.raises(DamagedRow):
        accounts.users.by_id(alice.user_id)
    pointer = table.get("names", accounts.users.key("mallory"))
    assert pointer is not None
    table.write(put({**pointer, "RowKey": accounts.users.key("alice")}))
    with pytest.raises(DamagedRow):
        accounts.log_in("alice", PASSWORD)
    assert accounts.log_in("mallory", PASSWORD).user == accounts.users.by_id(mallory.user_id).user


def test_counters_take_no_change(accounts: Accounts) -> None:
    """Lowering the count of an unknown name requires the key."""
    accounts.log_in("nobody", "wrong")
    table: Table = accounts.users.table
    (row,) = table.query("PartitionKey eq @p and kind eq 'unknown-name'", {"p": "names"})
    table.write(replace({**row, "document": row["document"].replace('"count":1', '"count":0')}))
    with pytest.raises(DamagedRow):
        accounts.log_in("nobody", "wrong")


class Document(msgspec.Struct):
    """The document in a row."""

    text: str


def test_another_key_opens_no_row() -> None:
    """A row that another key signed is damaged, and so is one without a digest."""
    one, other = Records(lambda: bytes(32)), Records(lambda: b"1" * 32)

    decoder = msgspec.json.Decoder(Document)
    row = Row(one.row("p", "r", Document("x"), n=1), "")
    assert one.open(row, decoder).text == "x"
    with pytest.raises(DamagedRow):
        other.open(row, decoder)
    with pytest.raises(DamagedRow):
        one.open(Row({name: value for name, value in row.items() if name != "digest"}, ""), decoder)


def plain(accounts: Accounts, name: str) -> None:
    """Give a user a plain hash, as an app without a pepper does."""
    accounts.users.change(accounts.users.by_name(name), lambda now: (now.user, Secret(PLAIN.encode())))


def test_after_the_migration_a_plain_hash_is_refused(make: Make, new_keys: Callable[[], KeyStore]) -> None:
    """With a pepper a plain hash is accepted until a pass over all users has found none."""
    new_keys().create("pepper", NewKey(type="AES-256", purpose="encrypt"))
    before = make()
    for name in ("alice", "bob", "carol"):
        before.create(name, PASSWORD, second_factor=False)
    accounts = make(pepper_key="pepper")
    assert accounts.log_in("alice", PASSWORD).user
    first = accounts.rewrap(Position(), 2)
    assert not first.migrated
    assert first.position is not None
    assert accounts.log_in("bob", PASSWORD).user
    assert accounts.rewrap(first.position, 2).migrated
    plain(accounts, "bob")
    for refused in (accounts, make(pepper_key="pepper")):
        with pytest.raises(DamagedRow):
            refused.log_in("bob", PASSWORD)
    assert accounts.log_in("alice", PASSWORD).user
    without = make()
    assert not without.rewrap(Position(), 10).migrated
    assert without.log_in("alice", PASSWORD).user
    plain(accounts, "bob")
    assert make(pepper_key="pepper").log_in("bob", "wrong").outcome == "wrong-password"


def test_a_pepper_can_be_required(make: Make, new_keys: Callable[[], KeyStore]) -> None:
    """STRONGROOM_PEPPER_REQUIRED refuses a plain hash without any pass, even if the pass's row is removed."""
    new_keys().create("pepper", NewKey(type="AES-256", purpose="encrypt"))
    accounts = make(pepper_key="pepper", pepper_required=True)
    accounts.create("alice", PASSWORD, second_factor=False)
    assert accounts.log_in("alice", PASSWORD).user
    plain(accounts, "alice")
    with pytest.raises(DamagedRow):
        accounts.log_in("alice", PASSWORD)


# Batches


def test_many_users_are_imported(accounts: Accounts, clock: Clock) -> None:
    """A batch creates each valid user, with its id and time; the other results give the reason."""
    text = accounts.hasher.hash(PASSWORD, SMALL)
    accounts.create("taken", PASSWORD, second_factor=False)
    ids = [str(uuid4()) for _ in range(120)]
    users = [NewUser(f"user-{number}", text, user_id=each) for number, each in enumerate(ids)]
    users[7] = NewUser("Taken", text)
    users[60] = NewUser("USER-3", text)
    users[61] = NewUser("same id", text, user_id=ids[3])
    users[119] = users[119]._replace(created=clock(), disabled=True, second_factor=True)
    results = accounts.import_users([accounts.imported(each) for each in users])
    wrong = {position for position, each in enumerate(results) if not isinstance(each, User)}
    assert wrong == {7, 60, 61}
    assert isinstance(results[7], UserExists)
    assert accounts.users.by_id(ids[3]).user.name == "user-3"
    last = accounts.users.by_id(ids[119].upper()).user
    assert (last.disabled, last.second_factor, last.created) == (True, True, clock())
    assert accounts.log_in("user-59", PASSWORD).user
    again = accounts.import_users([accounts.imported(each) for each in users[:3]])
    assert all(isinstance(each, UserExists) for each in again)
    with pytest.raises(UserExists, match="id"):
        accounts.import_user(NewUser("another", text, user_id=ids[0]))


def test_an_export_can_be_imported(make: Make, accounts: Accounts, new_keys: Callable[[], KeyStore]) -> None:
    """An export has every user with an unencrypted hash, which import-user accepts."""
    new_keys().create("pepper", NewKey(type="AES-256", purpose="encrypt"))
    peppered = make(pepper_key="pepper")
    for number in range(5):
        peppered.create(f"user-{number}", f"{PASSWORD} {number}", second_factor=False)
    exported = [*peppered.export("", 3)]
    exported += peppered.export(exported[-1][0].user_id, 3)
    assert len(exported) == 5
    for user, _ in exported:
        peppered.delete(user.user_id)
    users = [NewUser(user.name, text, user_id=user.user_id) for user, text in exported]
    peppered.import_users([peppered.imported(each) for each in users])
    for number in range(5):
        assert peppered.log_in(f"user-{number}", f"{PASSWORD} {number}").user


# Lost responses


@pytest.fixture
def proxy(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy in front of Azurite's tables, without pauses between retries."""
    monkeypatch.setattr("shared.storage.requests.PAUSE_SECONDS", (0.0, 0.0))
    with run_proxy(f"http://127.0.0.1:{azurite.table_port}/{EMULATOR_ACCOUNT}") as proxy:
        yield proxy


@pytest.fixture
def through(proxy: Proxy, make: Make, storage_connection: str) -> Accounts:
    """Accounts that reach the table through the proxy."""
    blobs = re.search(r"BlobEndpoint=[^;]+", storage_connection)
    assert blobs
    account = f"AccountName={EMULATOR_ACCOUNT};AccountKey={EMULATOR_KEY}"
    return make(connection=f"{account};{blobs[0]};TableEndpoint={proxy.url}", spray_names=0)


ACTS: dict[str, tuple[Callable[[Accounts, User], object], Callable[[Accounts, User], object]]] = {
    "create": (
        lambda accounts, _: accounts.create("bob", PASSWORD, second_factor=False),
        lambda accounts, _: accounts.log_in("bob", PASSWORD).user,
    ),
    "import": (
        lambda accounts, _: accounts.import_user(NewUser("bob", accounts.hasher.hash(PASSWORD, SMALL))),
        lambda accounts, _: accounts.log_in("bob", PASSWORD).user,
    ),
    "rename": (
        lambda accounts, _: accounts.rename("alice", "bob"),
        lambda accounts, user: accounts.users.by_id(user.user_id).user.name == "bob",
    ),
    "change": (
        lambda accounts, _: accounts.change_password("alice", PASSWORD, OTHER),
        lambda accounts, _: accounts.log_in("alice", OTHER).user,
    ),
    "reset": (
        lambda accounts, _: accounts.reset_password("alice", OTHER),
        lambda accounts, _: accounts.log_in("alice", OTHER).user,
    ),
    "disable": (
        lambda accounts, user: accounts.set_disabled(user.user_id, True),
        lambda accounts, _: accounts.log_in("alice", PASSWORD).outcome == "disabled",
    ),
    "delete": (
        lambda accounts, user: accounts.delete(user.user_id),
        lambda accounts, _: accounts.log_in("alice", PASSWORD).outcome == "unknown-user",
    ),
    "log in": (
        lambda accounts, _: accounts.log_in("alice", PASSWORD).user,
        lambda accounts, user: accounts.users.by_id(user.user_id).user.last_login is not None,
    ),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("fate", [LOSE_RESPONSE, LOSE_REQUEST, Respond(503)], ids=["response", "request", "503"])
def test_a_write_whose_response_is_lost_is_reported_as_it_happened(
    act: str, fate: str | Respond, accounts: Accounts, through: Accounts, proxy: Proxy
) -> None:
    """Every change of users succeeds once, even if its first write, or that write's response, is lost."""
    user = accounts.create("alice", PASSWORD, second_factor=False)
    fates: list[str | Respond] = [fate]
    proxy.decide = lambda method, _: fates.pop(0) if fates and method != "GET" else None
    change, holds = ACTS[act]
    change(through, user)
    assert fates == []
    assert holds(accounts, user)
    assert len(accounts.users.page("", 10)) == (0 if act == "delete" else 2 if act in ("create", "import") else 1)


def test_a_wrong_password_counts_once_though_the_response_is_lost(
    accounts: Accounts, through: Accounts, proxy: Proxy
) -> None:
    """A failure whose write got no response counts once, for known and unknown names."""
    accounts.create("alice", PASSWORD, second_factor=False)
    for name in ("alice", "nobody"):
        fates = [LOSE_RESPONSE]
        proxy.decide = lambda method, _, fates=fates: fates.pop(0) if fates and method != "GET" else None  # type: ignore[misc]
        through.log_in(name, "wrong")
        assert fates == []
    assert [each.failures.count for each in (accounts.users.by_name("alice"),) if each.failures] == [1]
    name_slot = accounts.users.find(accounts.users.key("nobody"))[1]
    assert name_slot is not None
    assert name_slot.name.failures.count == 1


def test_a_conflict_stays_a_conflict(accounts: Accounts, through: Accounts, proxy: Proxy) -> None:
    """If another call took the name, it stays taken, even if the first response was lost."""
    accounts.create("alice", PASSWORD, second_factor=False)
    fates = [LOSE_RESPONSE]
    proxy.decide = lambda method, _: fates.pop(0) if fates and method != "GET" else None
    with pytest.raises(UserExists):
        through.create("Alice", OTHER, second_factor=False)
    assert accounts.log_in("alice", PASSWORD).user


def test_storage_that_is_away_creates_nobody(accounts: Accounts, through: Accounts, proxy: Proxy) -> None:
    """If no write reaches storage, the call fails and no user exists."""
    proxy.decide = lambda method, _: None if method == "GET" else LOSE_REQUEST
    with pytest.raises(StorageUnavailable):
        through.create("bob", PASSWORD, second_factor=False)
    with pytest.raises(UnknownUser):
        accounts.users.by_name("bob")


def test_a_batch_that_fails_halfway_says_who_was_created(accounts: Accounts, through: Accounts, proxy: Proxy) -> None:
    """If storage fails during a batch, the results show which users were created: claimed, written and confirmed."""
    text = accounts.hasher.hash(PASSWORD, SMALL)
    users = [NewUser(f"user-{number}", text) for number in range(120)]
    through.log_in("makes", "the table")
    writes: list[str] = []

    def decide(method: str, _: str) -> str | None:
        if method != "GET":
            writes.append(method)
        return LOSE_REQUEST if method != "GET" and len(writes) > 1 + 100 + 1 else None

    proxy.decide = decide
    results = through.import_users([through.imported(each) for each in users])
    assert [isinstance(each, User) for each in results] == [True] * 100 + [False] * 20
    assert all(isinstance(each, StorageUnavailable) for each in results[100:])
    assert len(accounts.users.page("", 1000)) == 100


def test_known_and_unknown_names_take_the_same_requests(
    accounts: Accounts, make: Make, proxy: Proxy, storage_connection: str
) -> None:
    """A wrong password sends the same number of storage requests for known and unknown names."""
    blobs = re.search(r"BlobEndpoint=[^;]+", storage_connection)
    assert blobs
    account = f"AccountName={EMULATOR_ACCOUNT};AccountKey={EMULATOR_KEY}"
    through = make(connection=f"{account};{blobs[0]};TableEndpoint={proxy.url}")
    accounts.create("alice", PASSWORD, second_factor=False)
    through.log_in("warm", "wrong")
    counts = []
    for name in ("alice", "nobody", "alice", "nobody"):
        proxy.requests.clear()
        through.log_in(name, f"wrong {uuid4()}")
        counts.append(len(proxy.requests))
    assert counts == [counts[0]] * 4
