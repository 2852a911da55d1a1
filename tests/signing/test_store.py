"""Stored keys: created once, sealed, cached for a bounded time, and refused after tampering."""

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from shared.errors import StorageUnavailable
from shared.signing import algorithms
from shared.signing.errors import DamagedKey, MasterKeyUnavailable, UnknownKey
from shared.signing.store import KeyStore, NewKey, cache
from tests.signing.conftest import NewStore
from tests.support import closed_port


def fingerprint(keys: KeyStore, name: str = "default") -> str:
    """Return a value that identifies a key."""
    return keys.get(name).versions[1].document.key_id


def test_the_first_use_makes_the_default_key(new_store: NewStore) -> None:
    """The first use creates the default key; afterwards every instance has the same one."""
    with pytest.raises(UnknownKey, match="first sign"):
        new_store().get("default")
    made = new_store().get_or_create_default()
    assert (made.metadata.type, made.metadata.latest_version, made.metadata.published) == ("RSA-3072", 1, True)
    assert new_store().get("default").versions[1].document == made.versions[1].document


@pytest.mark.parametrize("name", ["other", "", "Default", "a" * 64, "_master", "x\n", "a/b", "ü", "default'"])
def test_no_other_key_is_there(new_store: NewStore, name: str) -> None:
    """Any other name, even an invalid one, is an unknown key."""
    keys = new_store()
    keys.get_or_create_default()
    with pytest.raises(UnknownKey):
        keys.get(name)


def test_twenty_first_uses_make_one_key(new_store: NewStore, table: Any) -> None:
    """Twenty threads on four instances race for the first use: they create one key, under one data key."""
    stores = [new_store() for _ in range(4)]
    barrier = Barrier(20)

    def use(number: int) -> str:
        barrier.wait()
        return stores[number % 4].get_or_create_default().versions[1].document.key_id

    with ThreadPoolExecutor(20) as pool:
        key_ids = set(pool.map(use, range(20)))
    assert len(key_ids) == 1
    rows = [(row["PartitionKey"], row["RowKey"]) for row in table.list_entities() if ":" not in row["PartitionKey"]]
    assert sorted(rows) == [("_master", "data-key"), ("default", "ring"), ("default", "v00000001")]


def test_no_private_key_stands_in_storage(new_store: NewStore, table: Any) -> None:
    """No stored value contains the private key, or the data key that opens it."""
    key = new_store().get_or_create_default()
    private: Any = key.versions[1].private_key
    prime = private.private_numbers().p
    for row in table.list_entities():
        for value in row.values():
            assert prime.to_bytes(192) not in (value if isinstance(value, bytes) else str(value).encode())


def test_a_key_is_read_once_and_kept(new_store: NewStore, table: Any) -> None:
    """Until it expires, a cached key needs no storage: the cache does not see that the rows are gone."""
    keys = new_store(cache_seconds=3600)
    made = keys.get_or_create_default()
    table.delete_entity("default", "ring")
    assert keys.get("default") is made
    with pytest.raises(DamagedKey):
        keys.refresh("default")


def test_an_aged_key_is_read_again_and_its_objects_kept(new_store: NewStore) -> None:
    """An expired key is checked again; if nothing has changed, the loaded key objects stay."""
    keys = new_store(cache_seconds=0)
    private = keys.get_or_create_default().versions[1].private_key
    again = keys.get("default")
    assert again.versions[1].private_key is private


def test_what_another_instance_made_is_found_at_once(new_store: NewStore) -> None:
    """An unknown key is not cached."""
    keys = new_store(cache_seconds=3600)
    with pytest.raises(UnknownKey):
        keys.get("default")
    made = fingerprint_of_new(new_store())
    assert fingerprint(keys) == made


def fingerprint_of_new(keys: KeyStore) -> str:
    """Create the default key."""
    return keys.get_or_create_default().versions[1].document.key_id


def test_the_cache_is_bounded(new_store: NewStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the cache is full, it drops the oldest key; the next use reads that key again."""
    monkeypatch.setattr(cache, "MAX_CACHED", 2)
    keys = new_store(cache_seconds=3600)
    first = keys.get_or_create_default()
    for name in ("a", "b"):
        keys.create(name, NewKey(type="P-256", purpose="sign"))
        keys.get(name)
    assert keys.get("b") is keys.get("b")
    again = keys.get("default")
    assert again is not first
    assert again.metadata == first.metadata


CHANGES = [
    ("default", "ring", "document", lambda value: value.replace('"latest_version":1', '"latest_version":2')),
    ("default", "ring", "document", lambda value: value + " "),
    ("default", "ring", "document", lambda _: "{}"),
    ("default", "ring", "document", lambda value: value.encode()),
    ("default", "ring", "seal", lambda value: value[:-1] + bytes([value[-1] ^ 1])),
    ("default", "ring", "seal", lambda _: b""),
    ("default", "v00000001", "document", lambda value: value.replace('"made"', '"imported"')),
    ("default", "v00000001", "sealed", lambda value: value[:50] + bytes([value[50] ^ 1]) + value[51:]),
    ("default", "v00000001", "sealed", lambda _: None),
    ("_master", "data-key", "wrapped", lambda value: bytes([value[0] ^ 1]) + value[1:]),
    ("_master", "data-key", "wrapped", lambda _: "text"),
    ("_master", "data-key", "master_key", lambda value: value[:-1]),
]


@pytest.mark.parametrize(("partition", "row", "column", "change"), CHANGES)
def test_a_changed_row_is_noticed(
    new_store: NewStore, table: Any, partition: str, row: str, column: str, change: Callable[[Any], Any]
) -> None:
    """A row changed from outside makes the key unusable; the error says so, and the row stays unchanged."""
    new_store().get_or_create_default()
    entity = table.get_entity(partition, row)
    entity[column] = change(entity[column])
    if entity[column] is None:
        del entity[column]
    table.update_entity(entity, mode="replace")
    changed = dict(table.get_entity(partition, row))
    with pytest.raises(MasterKeyUnavailable if partition == "_master" else DamagedKey):
        new_store().get_or_create_default()
    assert dict(table.get_entity(partition, row)) == changed


@pytest.mark.parametrize(("partition", "row"), sorted({change[:2] for change in CHANGES}))
def test_a_row_that_is_gone_is_noticed(new_store: NewStore, table: Any, partition: str, row: str) -> None:
    """A deleted row is an error, and no new key replaces the remaining rows."""
    new_store().get_or_create_default()
    left = [dict(each) for each in table.list_entities() if (each["PartitionKey"], each["RowKey"]) != (partition, row)]
    table.delete_entity(partition, row)
    with pytest.raises(DamagedKey):
        new_store().get_or_create_default()
    assert [dict(each) for each in table.list_entities()] == left


def test_no_new_data_key_beside_old_keys(new_store: NewStore, table: Any) -> None:
    """If keys exist without their data key, a new key is refused: it would hide the loss."""
    new_store().get_or_create_default()
    table.delete_entity("_master", "data-key")
    with pytest.raises(DamagedKey, match="data-key"):
        new_store().create("other", NewKey(type="P-256", purpose="sign"))


def test_a_row_moved_to_another_key_is_noticed(new_store: NewStore, table: Any) -> None:
    """The rows of one key under another key's name are refused."""
    new_store().get_or_create_default()
    for row in ("ring", "v00000001"):
        table.create_entity(table.get_entity("default", row) | {"PartitionKey": "other"})
    with pytest.raises(DamagedKey):
        new_store().get("other")


def test_a_wrong_master_key_opens_nothing_and_changes_nothing(new_store: NewStore, table: Any, tmp_path: Path) -> None:
    """With another master key, or none, keys are unavailable, all rows stay, and the right one opens them again."""
    made = fingerprint_of_new(new_store())
    before = [dict(row) for row in table.list_entities()]
    wrong = tmp_path / "wrong.key"
    wrong.write_bytes(base64.urlsafe_b64encode(bytes(32)))
    for path in (wrong, tmp_path / "missing.key"):
        keys = new_store(key=path)
        with pytest.raises(MasterKeyUnavailable):
            keys.get_or_create_default()
        with pytest.raises(MasterKeyUnavailable):
            keys.probe_master_key()
        keys.probe()
    assert [dict(row) for row in table.list_entities()] == before
    assert fingerprint(new_store()) == made


def test_no_master_key_makes_no_data_key(new_store: NewStore, table: Any, tmp_path: Path) -> None:
    """Without a master key the first use stores nothing."""
    with pytest.raises(MasterKeyUnavailable):
        new_store(key=tmp_path / "missing.key").get_or_create_default()
    from azure.core.exceptions import ResourceNotFoundError

    with pytest.raises(ResourceNotFoundError):
        list(table.list_entities())


def test_the_probes_pass_before_and_after_the_first_key(new_store: NewStore) -> None:
    """Health is good before the table exists, and afterwards."""
    keys = new_store()
    keys.probe()
    keys.probe_master_key()
    keys.get_or_create_default()
    keys.probe()
    keys.probe_master_key()


def test_storage_that_is_down_is_unavailable_for_all_who_wait(new_store: NewStore) -> None:
    """If storage is down, every caller gets an error with a retry time, and cached keys work until they expire."""
    with closed_port() as port, ThreadPoolExecutor(10) as pool:
        connection = (
            "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=AAAA;"
            f"TableEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
        )
        keys = new_store(connection=connection)
        waiting = [pool.submit(keys.get, "default") for _ in range(10)]
        for each in waiting:
            with pytest.raises(StorageUnavailable) as caught:
                each.result()
            assert caught.value.retry_after
        keys.probe_master_key()
        with pytest.raises(StorageUnavailable):
            keys.probe()


def test_the_keys_sign(new_store: NewStore) -> None:
    """A signature of one instance with the stored key verifies on another."""
    version = new_store().get_or_create_default().versions[1]
    signature = algorithms.sign(version.private_key, "PS256", b"message")
    algorithms.verify(new_store().get("default").versions[1].public_key, "PS256", b"message", signature)
