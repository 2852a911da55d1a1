"""The master key in Key Vault: rotations take effect, and failures give clear errors."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import InvalidSetting
from shared.settings import StorageSettings
from shared.signing.errors import MasterKeyUnavailable
from shared.signing.master import FileMasterKey, VaultMasterKey, Wrapped, master_key
from shared.signing.settings import load_settings
from shared.signing.store import KeyStore, NewKey
from shared.storage import Storage
from shared.storage.credential import IdentityEndpoint
from tests.signing.conftest import Caller
from tests.signing.vault import Vault, run_vault
from tests.support import StartApp, closed_port

DATA_KEY = b"d" * 32


def credential() -> IdentityEndpoint:
    """Return the app's identity at the endpoint in the environment."""
    return IdentityEndpoint(os.environ["IDENTITY_ENDPOINT"], os.environ["IDENTITY_HEADER"], None)


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    """A vault that this process reaches as an app does."""
    with run_vault(tmp_path) as vault:
        for name, value in vault.environ.items():
            monkeypatch.setenv(name, value)
        yield vault


def test_the_setting_says_which_it_is() -> None:
    """The URL of a key selects a vault, a path a file; a URL with a version, or of no key, is refused."""
    url = "https://example.vault.azure.net/keys/strongroom"
    for setting in (url, url + "/"):
        assert load_settings({"STRONGROOM_MASTER_KEY": setting}).master_key == url
    assert isinstance(master_key(url), VaultMasterKey)
    assert isinstance(master_key("/some/file"), FileMasterKey)
    for wrong in (url + "/0123", "http://example.org/keys/x", "https://example.org/x", "https://a@example.org/keys/x"):
        with pytest.raises(InvalidSetting, match="STRONGROOM_MASTER_KEY"):
            load_settings({"STRONGROOM_MASTER_KEY": wrong})


def test_what_is_wrapped_unwraps(vault: Vault) -> None:
    """The newest version wraps and is named; another instance unwraps by the stored name, through the vault."""
    wrapped = VaultMasterKey(vault.url, credential).wrap(DATA_KEY)
    assert wrapped.master_key == f"{vault.url}/{list(vault.versions)[-1]}"
    assert DATA_KEY not in wrapped.data
    assert VaultMasterKey(vault.url, credential).unwrap(wrapped) == DATA_KEY
    assert "unwrapkey" in vault.operations


def test_a_rotation_is_followed(vault: Vault) -> None:
    """After a rotation in the vault the same instance wraps under the new version, and old wraps open."""
    key = VaultMasterKey(vault.url, credential)
    old = key.wrap(DATA_KEY)
    version = vault.rotate()
    new = key.wrap(DATA_KEY)
    assert new.master_key.endswith(version)
    assert not old.master_key.endswith(version)
    assert key.unwrap(old) == key.unwrap(new) == DATA_KEY


def test_a_name_from_storage_is_not_followed_elsewhere(vault: Vault) -> None:
    """A stored wrap that names another key, in this or another vault, is refused without any request."""
    wrapped = VaultMasterKey(vault.url, credential).wrap(DATA_KEY)
    vault.operations.clear()
    for name in (vault.url, vault.url + "2/v", "https://evil.example.org/keys/strongroom/v", "file:abc"):
        with pytest.raises(MasterKeyUnavailable, match="Restore the setting"):
            VaultMasterKey(vault.url, credential).unwrap(Wrapped(name, wrapped.data))
    assert vault.operations == []


def test_a_refusal_says_what_to_do(vault: Vault) -> None:
    """Without the role, with a disabled or deleted version, or with damaged data the error names the cause."""
    key = VaultMasterKey(vault.url, credential)
    wrapped = key.wrap(DATA_KEY)
    with pytest.raises(MasterKeyUnavailable, match="400"):
        key.unwrap(Wrapped(wrapped.master_key, wrapped.data[:-1] + bytes([wrapped.data[-1] ^ 1])))
    vault.forbidden = {"unwrapkey"}
    with pytest.raises(MasterKeyUnavailable, match="Crypto Service Encryption User"):
        key.unwrap(wrapped)
    vault.forbidden = {"get"}
    assert key.unwrap(wrapped) == DATA_KEY
    with pytest.raises(MasterKeyUnavailable, match="keys/get"):
        key.wrap(DATA_KEY)
    vault.forbidden = set()
    version = wrapped.master_key.rpartition("/")[2]
    vault.disabled = {version}
    with pytest.raises(MasterKeyUnavailable, match="disabled"):
        key.unwrap(wrapped)
    vault.disabled = set()
    vault.rotate()
    del vault.versions[version]
    with pytest.raises(MasterKeyUnavailable, match="deleted"):
        key.unwrap(wrapped)


def test_throttling_is_waited_out(vault: Vault) -> None:
    """A request to a throttled vault is retried."""
    vault.busy = 2
    assert VaultMasterKey(vault.url, credential).wrap(DATA_KEY).master_key.startswith(vault.url)


def test_no_identity_is_an_error_that_says_so(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the identity gets no token, the error says so."""
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with pytest.raises(MasterKeyUnavailable, match="no token"):
        VaultMasterKey(vault.url, credential).wrap(DATA_KEY)


def test_a_vault_that_is_out_is_an_error_that_says_so(vault: Vault) -> None:
    """If the vault does not respond, the error names the key."""
    with closed_port() as port:
        url = f"https://127.0.0.1:{port}/keys/strongroom"
        with pytest.raises(MasterKeyUnavailable, match=url):
            VaultMasterKey(url, credential).wrap(DATA_KEY)


def test_rotating_the_master_key_rewraps_one_row(vault: Vault, storage_connection: str, table_name: str) -> None:
    """After a rotation in the vault, the data key is wrapped again; the old version may then be disabled."""

    def new_store() -> KeyStore:
        storage = Storage(StorageSettings(connection_string=storage_connection))
        return KeyStore(storage, master_key(vault.url, credential), 30, table_name)

    first = next(iter(vault.versions))
    made = new_store().create("k", NewKey(type="Ed25519", purpose="sign"))
    new_store().probe_master_key()
    version = vault.rotate()
    assert new_store().rotate_master_key() == f"{vault.url}/{version}"
    vault.disabled = {first}
    assert new_store().get("k").versions[1].document == made.versions[1].document
    vault.disabled = {first, version}
    with pytest.raises(MasterKeyUnavailable):
        new_store().get("k")
    with pytest.raises(MasterKeyUnavailable):
        new_store().probe_master_key()
    with pytest.raises(MasterKeyUnavailable):
        new_store().rotate_master_key()
    vault.disabled = set()
    assert new_store().get("k").versions[1].document == made.versions[1].document


def test_the_app_runs_on_a_vault(vault: Vault, start_app: StartApp, tmp_path: Path) -> None:
    """With a vault key in its settings the app signs, rotates its master key, and is healthy; without, it says so."""
    from scripts.azurite import start_azurite

    azurite = start_azurite(tmp_path / "azurite", in_memory=True)
    try:
        app = start_app({**vault.environ, "AzureWebJobsStorage": azurite.connection_string})
        with app.client() as client:
            caller = Caller(client)
            signature = caller.get("sign", message="hello")["signature"]
            assert caller.get("health")["services"]["master-key"]["status"] == "ok"
            version = vault.rotate()
            assert caller.post("rotate-master-key") == {"master_key_version": f"{vault.url}/{version}"}
            assert caller.get("verify", message="hello", signature=signature)["valid"]
    finally:
        azurite.stop()
