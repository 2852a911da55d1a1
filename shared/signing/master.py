"""The master key: it wraps the one data key, which seals all private keys."""

import base64
import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from shared.signing.envelope import NONCE_BYTES, open_sealed, seal
from shared.signing.errors import MasterKeyUnavailable, SealBroken

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.keyvault.keys.crypto import CryptographyClient

KEY_BYTES = 32
_PURPOSE = "strongroom data key"


class Wrapped(msgspec.Struct, frozen=True):
    """A wrapped data key, and which master key opens it."""

    master_key: str
    data: bytes


class MasterKey(Protocol):
    """Wraps and unwraps; never hands itself out. Both raise MasterKeyUnavailable."""

    def wrap(self, data_key: bytes) -> Wrapped: ...

    def unwrap(self, wrapped: Wrapped) -> bytes: ...


def master_key(setting: str, client_id: str | None = None) -> MasterKey:
    """The master key that the setting names: a Key Vault key by its URL, or a file by its path.

    `client_id` is that of a user-assigned identity, which the vault is asked with.
    """
    return VaultMasterKey(setting, client_id) if setting.startswith("https://") else FileMasterKey(setting)


class FileMasterKey:
    """Master keys in a file, one a line: 32 random bytes in base64url. The first wraps, all of them unwrap."""

    def __init__(self, path: str) -> None:
        self._path = path

    def wrap(self, data_key: bytes) -> Wrapped:
        name, key = next(iter(self._read().items()))
        return Wrapped(name, seal(key, os.urandom(NONCE_BYTES), data_key, _PURPOSE, name))

    def unwrap(self, wrapped: Wrapped) -> bytes:
        keys = self._read()
        if wrapped.master_key not in keys:
            raise MasterKeyUnavailable(
                f"The data key was wrapped by master key {wrapped.master_key}, and {self._path} holds "
                f"{', '.join(keys)}: put the right file back. Without it the stored keys cannot be opened."
            )
        try:
            return open_sealed(keys[wrapped.master_key], wrapped.data, _PURPOSE, wrapped.master_key)
        except SealBroken as error:
            raise MasterKeyUnavailable(
                "The stored data key is damaged: it does not open under the master key that wrapped it. "
                "Restore the row data-key of the table strongroomkeys from a backup."
            ) from error

    def _read(self) -> dict[str, bytes]:
        """The keys by name, newest first. Read at each use: it happens once a process, and at a health check."""
        if not self._path:
            raise MasterKeyUnavailable("Set STRONGROOM_MASTER_KEY to the path of the file that holds the master key.")
        try:
            lines = Path(self._path).read_bytes().split()
        except OSError as error:
            raise MasterKeyUnavailable(f"The master key's file cannot be read: {error}.") from error
        keys = [_decoded(line) for line in lines]
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise MasterKeyUnavailable(f"{self._path} must hold {KEY_BYTES} bytes in base64url, alone on a line.")
        return {_name(key): key for key in keys}


class VaultMasterKey:
    """An RSA key in Azure Key Vault, by its URL without a version; the app's managed identity asks for it.

    The newest version wraps; what an older one wrapped opens under that one, as long as the vault has it enabled.
    """

    def __init__(self, url: str, client_id: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._client_id = client_id

    def wrap(self, data_key: bytes) -> Wrapped:
        with self._vault_errors("wrapKey"):
            result = self._client(self._url).wrap_key(_RSA_OAEP_256, data_key)
        version = str(result.key_id)
        if not version.startswith(f"{self._url}/"):
            raise MasterKeyUnavailable(
                f"Key Vault does not say which version of {self._url} wraps: the app's identity needs keys/get. {_ROLE}"
            )
        return Wrapped(version, result.encrypted_key)

    def unwrap(self, wrapped: Wrapped) -> bytes:
        # The name comes from storage: what does not begin with ours is no place to send our token to.
        if not wrapped.master_key.startswith(f"{self._url}/"):
            raise MasterKeyUnavailable(
                f"The data key was wrapped by master key {wrapped.master_key}, and STRONGROOM_MASTER_KEY names "
                f"{self._url}: set it back. Without that key the stored keys cannot be opened."
            )
        with self._vault_errors("unwrapKey"):
            result = self._client(wrapped.master_key).unwrap_key(_RSA_OAEP_256, wrapped.data)
        if len(result.key) != KEY_BYTES:
            raise MasterKeyUnavailable("The stored data key is damaged. Restore its row from a backup.")
        return result.key

    def _client(self, key_id: str) -> "CryptographyClient":
        """A client of its own for each use, which happens once a process: it would keep the version that it saw."""
        from azure.keyvault.keys.crypto import CryptographyClient

        return CryptographyClient(
            key_id,
            self._credential,
            connection_timeout=2,
            read_timeout=5,
            retry_total=3,
            # Many cold instances ask at the same time; they shall not all try again at the same time, too.
            retry_backoff_factor=random.uniform(0.2, 0.8),  # noqa: S311
        )

    @cached_property
    def _credential(self) -> "TokenCredential":
        from azure.identity import ManagedIdentityCredential

        return ManagedIdentityCredential(client_id=self._client_id)

    @contextmanager
    def _vault_errors(self, doing: str) -> Iterator[None]:
        from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

        try:
            yield
        except ClientAuthenticationError as error:
            raise MasterKeyUnavailable(
                f"The app's identity got no token for Key Vault, or is refused ({doing} with {self._url}). {_ROLE}"
            ) from error
        except HttpResponseError as error:
            said = getattr(error.error, "code", None) or "no code"
            hint = {403: _ROLE + " Or the key, or this version of it, is disabled or expired.", 404: _GONE}.get(
                error.status_code or 0, ""
            )
            raise MasterKeyUnavailable(
                f"Key Vault answered {error.status_code} ({said}) to {doing} with {self._url}. {hint}"
            ) from error
        except (AzureError, ValueError) as error:  # ValueError: an answer that is none of Key Vault's.
            raise MasterKeyUnavailable(f"Key Vault does not answer to {doing} with {self._url}.") from error


_RSA_OAEP_256: Any = "RSA-OAEP-256"
"""The name of the algorithm; the SDK's own constant would load the SDK."""
_ROLE = "It needs the role Key Vault Crypto Service Encryption User on this key."
_GONE = "The key or the version that wrapped was deleted: recover it, Key Vault keeps it for a while."


def _decoded(line: bytes) -> bytes:
    try:
        return base64.b64decode(line + b"=" * (-len(line) % 4), b"-_", validate=True)
    except ValueError:
        return b""


def _name(key: bytes) -> str:
    """A name that tells master keys apart, and says nothing of the key."""
    return "file:" + hashlib.sha256(b"strongroom master key " + key).hexdigest()[:16]
