"""Changes to stored keys: atomic under races and kills, and visible to other instances in time."""

import base64
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier, Event, Thread, Timer, current_thread
from time import monotonic
from typing import Any

import msgspec
import pytest
from requests import Session

from shared.errors import Busy, StorageUnavailable, StrongroomError
from shared.signing import algorithms, keyring
from shared.signing.errors import DamagedKey, KeyChanged, KeyExists, KeyNotDeletable, MasterKeyUnavailable, UnknownKey
from shared.signing.keyring import Changes
from shared.signing.routes import ciphertexts, published, signatures
from shared.signing.routes.describe import JwksResponse, key_set
from shared.signing.store import Key, KeyStore, NewKey
from shared.signing.store import keys as store
from shared.storage import Row
from shared.web import encode_base64
from shared.web.batch import BatchResponse
from tests.signing.conftest import Caller, NewStore, two_processes
from tests.support import ROOT

ED25519 = NewKey(type="Ed25519", purpose="sign", deletable=True)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def pass_days(self, days: float) -> None:
        """Move the clock."""
        self.now += timedelta(days=days)


def works(key: Key) -> None:
    """Check that each version of a key verifies its own signatures, and that the newest exists."""
    assert sorted(key.versions) == list(range(1, key.metadata.latest_version + 1))
    for version in key.versions.values():
        signature = algorithms.sign(version.private_key, "EdDSA", b"message")
        algorithms.verify(version.public_key, "EdDSA", b"message", signature)


def test_racing_rotations_make_one_version(new_store: NewStore) -> None:
    """Twenty callers on four instances rotate one version: one succeeds, the others get an error, the key is whole."""
    stores = [new_store() for _ in range(4)]
    stores[0].create("k", ED25519)
    barrier = Barrier(20)

    def rotate(number: int) -> bool:
        barrier.wait()
        try:
            stores[number % 4].rotate("k", 1)
        except KeyChanged:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(rotate, range(20))) == 1
    key = new_store().get("k")
    assert key.metadata.latest_version == 2
    works(key)


def test_racing_creations_make_one_key(new_store: NewStore) -> None:
    """Twenty callers create a key of the same name: one succeeds, the others get an error."""
    stores = [new_store() for _ in range(4)]
    barrier = Barrier(20)

    def create(number: int) -> bool:
        barrier.wait()
        try:
            stores[number % 4].create("k", ED25519)
        except KeyExists:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(create, range(20))) == 1
    works(new_store().get("k"))


def test_a_key_rotates_by_itself_once(new_store: NewStore) -> None:
    """After `rotation_days` the next use creates one version, even if twenty callers use the key at once."""
    clock = Clock()
    stores = [new_store(clock=clock) for _ in range(4)]
    stores[0].create("k", NewKey(type="Ed25519", purpose="sign", rotation_days=30))
    clock.pass_days(29.9)
    assert stores[1].rotate_if_due(stores[1].get("k")).metadata.latest_version == 1
    clock.pass_days(0.1)
    barrier = Barrier(20)

    def use(number: int) -> int:
        keys = stores[number % 4]
        key = keys.get("k")
        barrier.wait()
        return keys.rotate_if_due(key).metadata.latest_version

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(use, range(20))) == {2}
    clock.pass_days(30)
    assert stores[0].rotate_if_due(stores[0].get("k")).metadata.latest_version == 3
    works(new_store().get("k"))


def test_signing_and_encrypting_rotate_what_is_due(new_store: NewStore) -> None:
    """The first signature, and the first ciphertext, after `rotation_days` use a new version."""
    clock = Clock()
    keys = new_store(clock=clock)
    keys.create("s", NewKey(type="Ed25519", purpose="sign", rotation_days=1))
    keys.create("e", NewKey(type="AES-256", purpose="encrypt", rotation_days=1))
    old: Any = signatures.sign(keys, signatures.SignRequest(key="s", message="x"))
    sealed: Any = ciphertexts.encrypt(keys, ciphertexts.EncryptRequest(key="e", plaintext="x"))
    assert (old.version, sealed.version) == (1, 1)
    clock.pass_days(1)
    new: Any = signatures.sign(keys, signatures.SignRequest(key="s", message="x"))
    again: Any = ciphertexts.generate_data_key(keys, ciphertexts.GenerateDataKeyRequest(key="e"))
    assert (new.version, again.version) == (2, 2)
    verified: Any = signatures.verify(keys, signatures.VerifyRequest(key="s", message="x", signature=old.signature))
    assert (verified.valid, verified.version) == (True, 1)
    opened: Any = ciphertexts.decrypt(keys, ciphertexts.DecryptRequest(ciphertext=sealed.ciphertext))
    assert (opened.plaintext, opened.version) == ("x", 1)


def test_every_byte_of_the_data_key_counts(new_store: NewStore, table: Any) -> None:
    """If any byte of the wrapped data key, or of its master key's name, changes, nothing opens."""
    new_store().create("k", ED25519)
    entity = table.get_entity("_master", "data-key")
    for column in ("wrapped", "master_key"):
        value = entity[column]
        for at in range(0, len(value), 3):
            bent = bytes([value[at] ^ 1]) if isinstance(value, bytes) else chr(ord(value[at]) ^ 1)
            table.update_entity({**entity, column: value[:at] + bent + value[at + 1 :]}, mode="replace")
            with pytest.raises(MasterKeyUnavailable):
                new_store().get("k")
    table.update_entity(entity, mode="replace")
    works(new_store().get("k"))


def test_changes_by_many_are_all_kept(new_store: NewStore) -> None:
    """Concurrent changes of different fields do not undo each other."""
    stores = [new_store() for _ in range(4)]
    stores[0].create("k", ED25519)
    for _ in range(3):
        stores[0].rotate("k")
    changes = [
        Changes(published=True),
        Changes(rotation_days=9),
        Changes(minimum_sign_version=2),
        Changes(tags={"a": "b"}),
    ]

    def change(number: int) -> None:
        keys = stores[number]
        keys.change("k", lambda metadata: keyring.changed(metadata, changes[number], keys.clock()))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, range(4)))
    metadata = new_store().get("k").metadata
    assert (metadata.published, metadata.rotation_days, metadata.minimum_sign_version, metadata.tags) == (
        True,
        9,
        2,
        {"a": "b"},
    )


def test_a_change_reaches_others_within_the_age_of_the_cache(new_store: NewStore) -> None:
    """Another instance sees a revocation once its cache has expired, and sees a new version when a call needs it."""
    mine, theirs, at_once = new_store(), new_store(cache_seconds=3600), new_store(cache_seconds=0)
    mine.create("k", ED25519)
    theirs.get("k")
    at_once.get("k")
    mine.change("k", lambda metadata: keyring.revoked(metadata, "k", 1, None, "lost", mine.clock()))
    assert keyring.refusal(theirs.get("k").metadata, 1) is None
    assert keyring.refusal(at_once.get("k").metadata, 1) == "revoked"
    mine.rotate("k")
    assert theirs.refresh("k").metadata.latest_version == 2


@pytest.mark.parametrize("what", ["revoke", "delete"])
def test_a_read_that_began_before_a_change_does_not_outlive_it(
    what: str, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read from just before a revocation or deletion is neither returned nor cached."""
    keys = new_store(cache_seconds=3600)
    keys.create("k", ED25519)
    has_read, may_go_on = Event(), Event()
    row, write = keys.rows.row_etag, keys.rows.update

    def slow_row(*arguments: Any) -> Any:
        found = row(*arguments)
        if current_thread() is reader:
            has_read.set()
            assert may_go_on.wait(30)
        return found

    def late_write(*arguments: Any) -> None:
        reader.start()
        assert has_read.wait(30)
        write(*arguments)
        Timer(0.2, may_go_on.set).start()  # The reader is waiting by then; if not, the test fails.

    reader = Thread(target=keys.refresh, args=("k",))
    monkeypatch.setattr(keys.rows, "row_etag", slow_row)
    monkeypatch.setattr(keys.rows, "update", late_write)
    if what == "delete":
        keys.delete("k")
        reader.join(30)
        with pytest.raises(UnknownKey):
            keys.get("k")
    else:
        changed = keys.change("k", lambda metadata: keyring.revoked(metadata, "k", 1, None, "lost", keys.clock()))
        reader.join(30)
        assert keyring.refusal(changed.metadata, 1) == "revoked"
        assert keyring.refusal(keys.get("k").metadata, 1) == "revoked"


def test_deleted_keys_come_back_for_thirty_days(new_store: NewStore) -> None:
    """A deleted key is unknown; it can be restored whole for 30 days, and then it is gone and its name is free."""
    clock = Clock()
    keys = new_store(clock=clock)
    made = keys.create("k", ED25519)
    keys.rotate("k")
    keys.delete("k")
    with pytest.raises(UnknownKey):
        keys.get("k")
    with pytest.raises(KeyExists):
        keys.create("k", ED25519)
    assert keys.purge(clock.now) == 0
    clock.pass_days(29.9)
    restored = keys.restore("k")
    assert restored.versions[1].document == made.versions[1].document
    works(restored)

    keys.delete("k")
    clock.pass_days(30)
    with pytest.raises(UnknownKey):
        keys.restore("k")
    assert keys.page("", "", 10, "deleted") == ([], False)
    assert keys.create("k", ED25519).metadata.id != made.metadata.id
    assert keys.get("k").metadata.latest_version == 1


def test_the_purge_removes_what_is_past_its_time(new_store: NewStore, table: Any) -> None:
    """The purge removes the rows of keys deleted 30 days ago, also of many versions, and nothing else."""
    clock = Clock()
    keys = new_store(clock=clock)
    for name in ("old", "new", "kept"):
        keys.create(name, ED25519)
    for _ in range(3):
        keys.rotate("old")
    keys.delete("old")
    clock.pass_days(1)
    keys.delete("new")
    clock.pass_days(29)
    assert keys.purge(clock.now) == 1
    left = {row["PartitionKey"] for row in table.list_entities() if ":" not in row["PartitionKey"]}
    assert left == {"_master", "new", "kept"}
    keys.restore("new")
    assert keys.purge(clock.now) == 0


def test_a_purge_that_was_interrupted_goes_on(new_store: NewStore, table: Any) -> None:
    """A half-purged key cannot be restored, and the next purge, or a new key of the name, completes the removal."""
    clock = Clock()
    keys = new_store(clock=clock)
    for name in ("a", "b"):
        keys.create(name, ED25519)
        keys.rotate(name)
        keys.delete(name)
    clock.pass_days(30)
    for name in ("a", "b"):
        row = table.get_entity(name, "ring")
        stored = keys.rows.open_metadata(Row(row, ""))
        keys.rows.update(name, msgspec.structs.replace(stored.metadata, purging=True), row.metadata["etag"])
        table.delete_entity(name, "v00000001")
        with pytest.raises(UnknownKey):
            keys.restore(name)
    works(keys.create("a", ED25519))
    assert keys.purge(clock.now) == 1
    with pytest.raises(UnknownKey):
        keys.restore("b")


def test_only_deletable_keys_are_deleted(new_store: NewStore) -> None:
    """A key that is not deletable cannot be deleted."""
    keys = new_store()
    keys.create("k", NewKey(type="Ed25519", purpose="sign"))
    with pytest.raises(KeyNotDeletable):
        keys.delete("k")
    works(keys.get("k"))


def test_the_deleted_default_key_is_not_made_anew(new_store: NewStore) -> None:
    """Signing with `default` after its deletion is an error; the app creates no new key."""
    keys = new_store()
    keys.get_or_create_default()
    keys.change("default", lambda metadata: keyring.changed(metadata, Changes(deletable=True), keys.clock()))
    keys.delete("default")
    with pytest.raises(UnknownKey, match="restore"):
        keys.get_or_create_default()


def test_a_key_is_found_by_the_id_of_a_version(new_store: NewStore) -> None:
    """A `key_id` leads to its key and version, also on an instance that never loaded it; an unknown id to no key."""
    keys = new_store()
    keys.create("a", ED25519)
    first = keys.create("b", ED25519)
    second = keys.rotate("b")
    other = new_store()
    for version in (1, 2):
        found = next(other.find(second.versions[version].document.key_id, monotonic()), None)
        assert found is not None
        assert (found[0].name, found[1]) == ("b", version)
    assert first.versions[1].document.key_id != second.versions[2].document.key_id
    assert list(other.find("no-such-id", monotonic())) == []
    assert list(other.find("x' or '1' eq '1", monotonic())) == []


def test_a_version_is_found_where_its_key_is_now(new_store: NewStore) -> None:
    """If a key was imported under one name and later under another, look-ups use the name that still exists."""
    keys = new_store()
    material: Any = algorithms.generate("Ed25519")
    key_id = keys.import_key("a", ED25519, material).versions[1].document.key_id
    found = next(keys.find(key_id, monotonic()), None)
    assert found is not None
    assert found[0].name == "a"
    keys.import_key("b", ED25519, material)
    keys.delete("a")
    found = next(keys.find(key_id, monotonic()), None)
    assert found is not None
    assert found[0].name == "b"


def test_a_table_put_back_from_a_backup_is_read(new_store: NewStore, table: Any) -> None:
    """A running instance opens rows restored from a backup with the data key that was restored with them."""
    keys = new_store(cache_seconds=0)
    keys.create("k", ED25519)
    backup = [dict(row) for row in table.list_entities()]
    for row in backup:
        table.delete_entity(row["PartitionKey"], row["RowKey"])
    other = new_store(cache_seconds=0)
    made = other.create("k", ED25519)
    for row in list(table.list_entities()):
        table.delete_entity(row)
    for each in backup:
        table.create_entity(each)
    with pytest.raises(DamagedKey):
        other.get("k")
    assert other.get("k").metadata.id != made.metadata.id
    works(other.get("k"))


def test_a_false_id_in_the_row_leads_nowhere(new_store: NewStore, table: Any) -> None:
    """The app does not trust the column that indexes a version's id."""
    keys = new_store()
    keys.create("a", ED25519)
    row = table.get_entity("a", "v00000001")
    row["key_id"] = "false"
    table.update_entity(row, mode="replace")
    assert list(new_store().find("false", monotonic())) == []


def test_the_master_key_is_rotated(new_store: NewStore, master_key: Path, table: Any) -> None:
    """With a new master key before the old, one row is wrapped again; the old one may then go, and all keys open."""
    keys = new_store()
    made = keys.create("k", ED25519)
    before = {row["RowKey"]: dict(row) for row in table.list_entities()}
    old = master_key.read_text()
    master_key.write_text(base64.urlsafe_b64encode(bytes(range(32))).decode() + "\n" + old)
    name = keys.rotate_master_key()
    after = {row["RowKey"]: dict(row) for row in table.list_entities()}
    assert [row for row in before if before[row] != after[row]] == ["data-key"]
    assert after["data-key"]["master_key"] == name != before["data-key"]["master_key"]
    master_key.write_text(master_key.read_text().splitlines()[0])
    assert new_store().get("k").versions[1].document == made.versions[1].document
    works(new_store().get("k"))
    assert keys.rotate_master_key() == name


KILLED = """
import os, signal, sys
from pathlib import Path
from requests import Session
from shared.settings import StorageSettings
from shared.signing.master import FileMasterKey
from shared.signing.store import KeyStore, NewKey
from shared.storage import Storage

connection, table, master_key, doing, when, count = sys.argv[1:]
left = int(count)
send = Session.send

def send_or_die(self, request, **more):
    global left
    if request.method != "GET":
        left -= 1
        if left == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
    answer = send(self, request, **more)
    if request.method != "GET" and left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

Session.send = send_or_die
keys = KeyStore(Storage(StorageSettings(connection_string=connection)), FileMasterKey(master_key), 30, table)
if doing == "create":
    keys.create("k", NewKey(type="Ed25519", purpose="sign", deletable=True))
elif doing == "rotate":
    keys.rotate("k")
elif doing == "delete":
    keys.delete("k")
elif doing == "rotate-master-key":
    keys.rotate_master_key()
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("doing", ["create", "rotate", "delete", "rotate-master-key"])
def test_a_process_killed_at_any_write_leaves_a_key_that_works(
    new_store: NewStore, storage_connection: str, table_name: str, master_key: Path, doing: str, when: str
) -> None:
    """A process killed before or after any of its writes leaves the key in its old or new state, and usable."""
    if doing != "create":
        new_store().create("k", ED25519)
    for count in range(1, 10):
        arguments = [storage_connection, table_name, str(master_key), doing, when, str(count)]
        ran = subprocess.run(
            [sys.executable, "-c", KILLED, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        keys = new_store()
        try:
            works(keys.get("k"))
        except UnknownKey:
            if doing == "delete":
                works(keys.restore("k"))
            else:
                assert doing == "create"
        if ran.returncode == 0 or "KeyExists" in ran.stderr:
            break
        assert ran.returncode == -signal.SIGKILL, ran.stderr
    else:
        raise AssertionError("It writes more often than it should.")
    assert count > 1
    if is_deleted(new_store()):
        new_store().restore("k")
    works(new_store().rotate("k"))


def is_deleted(keys: KeyStore) -> bool:
    """Whether the key is currently deleted."""
    try:
        keys.get("k")
    except UnknownKey:
        return True
    return False


def test_two_processes_rotate_and_create_once(tmp_path: Path) -> None:
    """Two processes on one storage account: one of twenty racing rotations and one of twenty creations succeeds."""
    with two_processes(tmp_path) as (first, second), ThreadPoolExecutor(20) as pool:
        callers = [Caller(first), Caller(second)] * 10
        created = pool.map(lambda each: each.send("POST", "keys", {"name": "k", "type": "P-256"}).status_code, callers)
        assert sorted(created) == [201] + [409] * 19
        fields = {"expected_version": 1}
        rotated = pool.map(lambda each: each.send("POST", "keys/k/rotate", fields).status_code, callers)
        assert sorted(rotated) == [200] + [409] * 19
        signed = list(pool.map(lambda each: each.post("sign", key="k", message="x", version=2), callers))
        assert len({each["key_id"] for each in signed}) == 1
        for each, caller in zip(signed, callers[1:], strict=False):
            assert caller.post("verify", key="k", message="x", signature=each["signature"])["valid"]


@pytest.mark.parametrize("row", ["ring", "v00000001", "v00000002"])
def test_every_stored_byte_counts(new_store: NewStore, table: Any, row: str) -> None:
    """If any byte of any column changes, the key is not used, and the error names the damage."""
    keys = new_store()
    keys.create("k", ED25519)
    keys.rotate("k")
    entity = table.get_entity("k", row)
    for column in ("document", "seal", "sealed"):
        value = entity.get(column)
        if value is None:
            continue
        for at in range(0, len(value), 7):
            changed: Any = (
                value[:at]
                + (bytes([value[at] ^ 1]) if isinstance(value, bytes) else chr(ord(value[at]) ^ 1))
                + value[at + 1 :]
            )
            table.update_entity({**entity, column: changed}, mode="replace")
            with pytest.raises(DamagedKey):
                new_store().get("k")
        table.update_entity(entity, mode="replace")
    works(new_store().get("k"))


def test_a_call_asks_storage_once(new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of signatures and ciphertexts that match no key costs one look at storage, not one each."""
    keys = new_store()
    keys.create("k", ED25519)
    keys.create("e", NewKey(type="AES-256", purpose="encrypt"))
    reads = 0
    send = Session.send

    def count(*arguments: Any, **more: Any) -> Any:
        nonlocal reads
        reads += 1
        return send(*arguments, **more)

    monkeypatch.setattr(Session, "send", count)
    items = [{"message": "x", "signature": "A" * 86} for _ in range(50)]
    response = signatures.verify(keys, signatures.VerifyRequest(key="k", batch=items))
    assert isinstance(response, BatchResponse)
    assert {each.reason for each in response.results} == {"mismatch"}
    assert reads == 1
    made = ciphertexts.encrypt(keys, ciphertexts.EncryptRequest(key="e", plaintext="x"))
    foreign = made.ciphertext.split(".")  # type: ignore[union-attr]
    foreign[0] = encode_base64(b'{"alg":"A256KW","enc":"A256GCM","kid":"nobody"}')
    sealed = [{"ciphertext": ".".join(foreign)} for _ in range(50)]
    reads = 0
    failed = ciphertexts.decrypt(keys, ciphertexts.DecryptRequest(batch=sealed))
    assert isinstance(failed, BatchResponse)
    assert {each["code"] for each in failed.results} == {"not-decryptable"}
    assert reads == 1


def test_the_jwks_is_shared_for_a_moment(new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred simultaneous JWKS requests cost one look at storage, also when storage fails."""
    keys = new_store()
    keys.create("k", NewKey(type="Ed25519", purpose="sign", published=True))
    shared, reads = published.SharedKeySets(lambda: keys.rows.state), 0
    now = 100.0

    def make() -> JwksResponse:
        nonlocal reads
        reads += 1
        if reads > 1:
            raise StorageUnavailable("It is out.")
        return key_set(keys.published())

    monkeypatch.setattr(published, "monotonic", lambda: now)
    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(lambda _: shared.get("", make), range(100)))) == 1
    assert reads == 1
    now += 1
    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            shared.get("", make)
    assert reads == 2


def test_a_key_set_has_every_change_of_its_instance(new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key set that was requested before a change of this instance is not shared after it, nor is an error."""
    monkeypatch.setattr(published, "monotonic", lambda: 100.0)
    keys = new_store()
    operations = published.operations(keys)

    def kids(name: str = "") -> list[str]:
        if name:
            response: Any = operations["key-jwks"].handle(published.KeyJwksRequest(name=name))
        else:
            response = operations["jwks"].handle()
        return [each["kid"] for each in json.loads(response.body)["keys"]]

    assert kids() == []
    with pytest.raises(UnknownKey):
        kids("k")
    first = keys.create("k", NewKey(type="Ed25519", purpose="sign", published=True)).versions[1].document.key_id
    assert kids() == kids("k") == [first]
    keys.rotate("k", publish_only=True)
    assert len(kids()) == len(kids("k")) == 2
    keys.change("k", lambda key: keyring.changed(key, Changes(published=False), datetime.now(UTC)))
    assert kids() == []
    with pytest.raises(UnknownKey):
        kids("k")


def test_keys_are_made_one_at_a_time(new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that waits too long for other key generations gets "busy"; the next call succeeds."""
    monkeypatch.setattr(store, "MAKER_SECONDS", 0.05)
    keys = new_store()
    with keys.one_maker(), ThreadPoolExecutor(1) as pool, pytest.raises(Busy):
        pool.submit(keys.create, "k", ED25519).result()
    works(keys.create("k", ED25519))


def test_errors_belong_to_the_app(new_store: NewStore) -> None:
    """Every operation on a missing key raises the app's own error."""
    keys = new_store()
    for method in (keys.get, keys.refresh, keys.rotate, keys.delete, keys.restore):
        for name in ("nobody", "", "UPPER", "a'b", "a\n", "x" * 300):
            with pytest.raises(StrongroomError):
                method(name)
