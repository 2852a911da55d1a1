"""Sessions in Table Storage, with a clock that a test moves: their ends, their number, their rows, their requests."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from scripts.azurite import Azurite
from shared.identity.errors import InvalidToken, UrlNotSet
from shared.identity.settings import IdentitySettings, load_settings
from shared.identity.store.partitions import Partition, read_partition
from shared.identity.store.sessions import Issued, SessionStore
from shared.passwords.pepper import Secret
from shared.passwords.store.users import User, UserStore
from shared.settings import Settings, StorageSettings
from shared.signing import algorithms
from shared.storage import EMULATOR_ACCOUNT, EMULATOR_KEY, Storage
from shared.storage.errors import DamagedRow
from shared.storage.records import Records
from shared.storage.tables import put, replace
from tests.storage.proxy import Proxy, run_proxy

SETTINGS: IdentitySettings = load_settings({}, Settings(url="https://keys.example.org"))


class Key:
    """A key in memory, with the interface of the app's own."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())

    def signer(self) -> tuple[str, Callable[[bytes], bytes]]:
        """The key's id, and its signatures."""
        return "kid-1", lambda message: algorithms.sign(self._private, "ES256", message)

    def public_key(self, key_id: str, began: float) -> ec.EllipticCurvePublicKey | None:  # noqa: ARG002
        """The public key."""
        return self._private.public_key() if key_id == "kid-1" else None

    def public_jwks(self) -> list[dict[str, str]]:
        """Nothing that these tests use."""
        return []


class World:
    """A table with one user, sessions, and a clock."""

    def __init__(self, storage: Storage, table: str) -> None:
        self.now = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
        self.users = UserStore(storage, Records(lambda: bytes(32)), table)
        self.sessions = SessionStore(self.users, Key(), lambda: bytes(32), SETTINGS, lambda: self.now)
        self.user_id = str(uuid4())
        user = User(self.user_id, "alice", self.now, "argon2id", "", self.now)
        self.users.create(user, Secret(b"hash"))

    def partition(self) -> Partition:
        """All rows of the user."""
        partition = read_partition(self.users, self.user_id)
        assert partition is not None
        return partition

    def begin(self) -> Issued:
        """A new session."""
        partition = self.partition()
        return self.sessions.begin(partition, ("pwd",), partition.user.signed_out_at)

    def refresh(self, token: str) -> Issued:
        """The next tokens, which exist."""
        issued = self.sessions.refresh(token)
        assert isinstance(issued, Issued), issued
        return issued


@pytest.fixture(scope="module")
def proxy(azurite: Azurite) -> Iterator[Proxy]:
    """A proxy before the tables, which notes every request."""
    with run_proxy(f"http://127.0.0.1:{azurite.table_port}/{EMULATOR_ACCOUNT}") as proxy:
        yield proxy


@pytest.fixture
def world(proxy: Proxy) -> Iterator[World]:
    """One user in a table of this test's own."""
    connection = f"AccountName={EMULATOR_ACCOUNT};AccountKey={EMULATOR_KEY};TableEndpoint={proxy.url}"
    table = f"users{uuid4().hex[:20]}"
    storage = Storage(StorageSettings(connection))
    yield World(storage, table)
    storage.table(table).delete_table()


def test_a_session_ends_after_its_idle_time(world: World) -> None:
    """A session that is refreshed in time lives on; after the idle time its refresh token is expired."""
    tokens = world.begin()
    for _ in range(3):
        world.now += SETTINGS.session_idle - timedelta(seconds=1)
        tokens = world.refresh(tokens.refresh_token)
    world.now += SETTINGS.session_idle
    assert world.sessions.refresh(tokens.refresh_token) == "expired"
    assert world.sessions.listed(world.user_id) == []


def test_a_session_ends_after_its_days(world: World) -> None:
    """Refreshes do not prolong a session beyond its days, and the last access token ends with it."""
    tokens = world.begin()
    end = world.now + SETTINGS.session_length
    while world.now < end - timedelta(days=1):
        world.now += timedelta(days=1)
        tokens = world.refresh(tokens.refresh_token)
        assert tokens.expires_in == 600
    world.now = end - timedelta(seconds=100)
    tokens = world.refresh(tokens.refresh_token)
    assert tokens.expires_in == 100
    assert world.sessions.authenticate(tokens.access_token).session_id == tokens.session_id
    world.now = end
    assert world.sessions.refresh(tokens.refresh_token) == "expired"
    with pytest.raises(InvalidToken):
        world.sessions.authenticate(tokens.access_token)


def test_the_grace_of_a_refresh(world: World) -> None:
    """For 30 s the previous token returns the same successor without a write; later it ends the session."""
    first = world.begin()
    second = world.refresh(first.refresh_token)
    world.now += timedelta(seconds=30)
    assert world.refresh(first.refresh_token).refresh_token == second.refresh_token
    world.now += timedelta(seconds=0.1)
    assert world.sessions.refresh(first.refresh_token) == "reused"
    assert world.sessions.refresh(second.refresh_token) == "expired"


def test_the_requests_of_a_session(world: World, proxy: Proxy) -> None:
    """A refresh is one read and one write, a repeated one and a check one read each; nothing else is requested."""
    tokens = world.begin()

    def requests(call: Callable[[], object]) -> list[str]:
        proxy.requests.clear()
        call()
        return [method for method, _ in proxy.requests]

    assert requests(lambda: world.sessions.refresh(tokens.refresh_token)) == ["GET", "PUT"]
    assert requests(lambda: world.sessions.refresh(tokens.refresh_token)) == ["GET"]
    assert requests(lambda: world.sessions.authenticate(tokens.access_token)) == ["GET"]
    assert requests(lambda: world.sessions.check_token(tokens.access_token)) == []
    assert requests(lambda: world.sessions.refresh("x")) == []


def test_a_token_needs_an_issuer(world: World) -> None:
    """Without STRONGROOM_URL, on a host that gives the app no name, nobody gets a token, and the setting is named."""
    world.sessions._settings = load_settings({}, Settings())
    with pytest.raises(UrlNotSet) as caught:
        world.sessions.check_issuer()
    assert "STRONGROOM_URL" in caught.value.advice


def test_a_user_has_a_bounded_number_of_sessions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A further session ends that which was used longest ago."""
    monkeypatch.setattr("shared.identity.store.sessions.MAX_SESSIONS", 3)
    tokens = []
    for _ in range(3):
        tokens.append(world.begin())
        world.now += timedelta(minutes=1)
    tokens[0] = world.refresh(tokens[0].refresh_token)
    world.now += timedelta(minutes=1)
    tokens.append(world.begin())
    listed = world.sessions.listed(world.user_id)
    assert listed is not None
    assert {each.session_id for each in listed} == {tokens[number].session_id for number in (0, 2, 3)}


def test_old_rows_are_purged(world: World) -> None:
    """The daily task removes the rows of sessions that are over, and no other."""
    world.begin()
    world.now += SETTINGS.session_length
    kept = world.begin()
    assert world.sessions.purge(world.now + timedelta(days=2)) == 1
    assert [row["RowKey"] for row in world.partition().below("s|")] == [f"s|{kept.session_id}"]
    assert world.sessions.authenticate(kept.access_token).user.name == "alice"


def test_a_row_of_a_session_cannot_be_made_or_moved(world: World) -> None:
    """Without the app's key, nobody who can write to the table makes a session, or prolongs one."""
    tokens = world.begin()
    (row,) = world.partition().below("s|")
    other = "0" * 32
    world.users.table.write(put({**row, "RowKey": f"s|{other}"}))
    with pytest.raises(DamagedRow):
        world.sessions.listed(world.user_id)
    changed = row["document"].replace('"pwd"', '"mfa"')
    world.users.table.write(replace({**row, "document": changed}))
    with pytest.raises(DamagedRow):
        world.sessions.authenticate(tokens.access_token)


def test_a_session_after_a_sign_out_does_not_count(world: World) -> None:
    """If a user is signed out between the proof of a password and the session's row, the session is over at once."""
    partition = world.partition()
    world.sessions.end_all(world.user_id)
    late = world.sessions.begin(partition, ("pwd",), partition.user.signed_out_at)
    with pytest.raises(InvalidToken):
        world.sessions.authenticate(late.access_token)
    assert world.sessions.refresh(late.refresh_token) == "expired"
    # A clock that stands still, or is behind, does not matter.
    again = world.begin()
    world.now -= timedelta(hours=1)
    world.sessions.end_all(world.user_id)
    assert world.sessions.refresh(again.refresh_token) == "expired"
