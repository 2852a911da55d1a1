"""The master key: it wraps the data key, which seals all private keys."""

import base64
import hashlib
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from shared.deadline import seconds_left
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
    """Wraps and unwraps, and never leaves. Both methods raise MasterKeyUnavailable."""

    def wrap(self, data_key: bytes) -> Wrapped: ...

    def unwrap(self, wrapped: Wrapped) -> bytes: ...


def _no_credential() -> "TokenCredential":
    raise MasterKeyUnavailable("A master key in Key Vault needs the app's managed identity.")


def master_key(setting: str, credential: Callable[[], "TokenCredential"] = _no_credential) -> MasterKey:
    """The master key that the setting names: a Key Vault key by its URL, or a file by its path.

    `credential` returns the app's managed identity, for Key Vault; it is called at first use.
    """
    return VaultMasterKey(setting, credential) if setting.startswith("https://") else FileMasterKey(setting)


class FileMasterKey:
    """Master keys in a file, one per line: 32 random bytes in base64url. The first wraps, all of them unwrap."""

    def __init__(self, path: str) -> None:
        self._path = path

    def wrap(self, data_key: bytes) -> Wrapped:
        name, key = next(iter(self._read().items()))
        return Wrapped(name, seal(key, os.urandom(NONCE_BYTES), data_key, _PURPOSE, name))

    def unwrap(self, wrapped: Wrapped) -> bytes:
        keys = self._read()
        if wrapped.master_key not in keys:
            raise MasterKeyUnavailable(
                f"The data key was wrapped by master key {wrapped.master_key}, and {self._path} contains "
                f"{', '.join(keys)}. Restore the right file: without it the stored keys cannot be opened."
            )
        try:
            return open_sealed(keys[wrapped.master_key], wrapped.data, _PURPOSE, wrapped.master_key)
        except SealBroken as error:
            raise MasterKeyUnavailable(
                "The stored data key is damaged: it does not open under the master key that wrapped it. "
                "Restore the row data-key of the table strongroomkeys from a backup."
            ) from error

    def _read(self) -> dict[str, bytes]:
        """The keys by name, newest first. Read at each use: once per process, and at health checks."""
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
    """An RSA key in Azure Key Vault, by its URL without a version, reached with the app's managed identity.

    The newest version wraps. An older version unwraps what it has wrapped, as long as it is enabled in the vault.
    """

    def __init__(self, url: str, credential: Callable[[], "TokenCredential"]) -> None:
        self._url = url.rstrip("/")
        self._credential = credential

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
        # The name comes from storage. The app sends its token only to its own key.
        if not wrapped.master_key.startswith(f"{self._url}/"):
            raise MasterKeyUnavailable(
                f"The data key was wrapped by master key {wrapped.master_key}, and STRONGROOM_MASTER_KEY names "
                f"{self._url}. Restore the setting: without that key the stored keys cannot be opened."
            )
        with self._vault_errors("unwrapKey"):
            result = self._client(wrapped.master_key).unwrap_key(_RSA_OAEP_256, wrapped.data)
        if len(result.key) != KEY_BYTES:
            raise MasterKeyUnavailable("The stored data key is damaged. Restore its row from a backup.")
        return result.key

    def _client(self, key_id: str) -> "CryptographyClient":
        """A new client for each use, which is once per process: a client would keep the version that it saw first."""
        from azure.keyvault.keys.crypto import CryptographyClient

        return CryptographyClient(
            key_id,
            self._credential(),
            connection_timeout=max(0.1, min(2.0, seconds_left())),
            read_timeout=max(0.1, min(5.0, seconds_left())),
            retry_total=3,
            # Many cold instances call at the same time. They should not retry at the same time, too.
            retry_backoff_factor=random.uniform(0.2, 0.8),  # noqa: S311
        )

    @contextmanager
    def _vault_errors(self, operation: str) -> Iterator[None]:
        from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

        try:
            yield
        except ClientAuthenticationError as error:
            raise MasterKeyUnavailable(
                f"The app's identity got no token, or Key Vault refused it ({operation} with {self._url}). {_ROLE}"
            ) from error
        except HttpResponseError as error:
            code = getattr(error.error, "code", None) or "no code"
            hint = {403: _ROLE + " Or the key, or this version of it, is disabled or expired.", 404: _GONE}.get(
                error.status_code or 0, ""
            )
            raise MasterKeyUnavailable(
                f"Key Vault responded {error.status_code} ({code}) to {operation} with {self._url}. {hint}"
            ) from error
        except (AzureError, ValueError) as error:  # ValueError: a response that is not Key Vault's.
            raise MasterKeyUnavailable(f"Key Vault did not respond to {operation} with {self._url}.") from error


_RSA_OAEP_256: Any = "RSA-OAEP-256"
"""The name of the algorithm; the SDK's own constant would load the SDK."""
_ROLE = "The identity needs the role Key Vault Crypto Service Encryption User on this key."
_GONE = "The key, or the version that wrapped the data key, was deleted. Recover it: Key Vault keeps it for a while."


def _decoded(line: bytes) -> bytes:
    try:
        return base64.b64decode(line + b"=" * (-len(line) % 4), b"-_", validate=True)
    except ValueError:
        return b""


def _name(key: bytes) -> str:
    """A name that distinguishes master keys, and reveals nothing about the key."""
    return "file:" + hashlib.sha256(b"strongroom master key " + key).hexdigest()[:16]
