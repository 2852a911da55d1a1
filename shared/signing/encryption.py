"""Encryption with named AES-256 keys for the app's own stored data, such as password hashes."""

import os
from typing import TYPE_CHECKING

from shared.signing.envelope import NONCE_BYTES, open_sealed, seal
from shared.signing.errors import KeyHasOtherPurpose, UnknownKey, UnusableVersion
from shared.signing.keyring import may_decrypt, version_to_use

if TYPE_CHECKING:
    from shared.signing.store import Key, KeyStore

USE = "strongroom's own"
"""Bound to every ciphertext of this module, so that none opens as a ciphertext of the function `encrypt`."""


class NamedKeys:
    """Encrypts and decrypts with the AES-256 keys of a key store. Raises its errors, too."""

    def __init__(self, keys: "KeyStore") -> None:
        self._keys = keys

    def current_version(self, key_name: str) -> int:
        """The version that encrypts now. Raises UnknownKey, KeyHasOtherPurpose, UnusableVersion."""
        return self._encrypting(key_name)[1]

    def encrypt(self, key_name: str, plaintext: bytes, associated_data: bytes) -> tuple[int, bytes]:
        """The version that encrypts now, and the ciphertext (AES-256-GCM). Raises as `current_version` does."""
        key, version = self._encrypting(key_name)
        bound = (USE, key_name, version, associated_data)
        return version, seal(key.versions[version].private_key, os.urandom(NONCE_BYTES), plaintext, *bound)

    def decrypt(self, key_name: str, version: int, ciphertext: bytes, associated_data: bytes) -> bytes:
        """The plaintext. Raises UnknownKey, KeyHasOtherPurpose, UnusableVersion, SealBroken."""
        key = self._keys.get(key_name)
        if version not in key.versions:
            key = self._keys.refresh(key_name)  # Another instance has created the version.
        _check(key)
        if version not in key.versions:
            raise UnknownKey(f"Key {key_name} has no version {version}.")
        if not may_decrypt(key.metadata, version):
            raise UnusableVersion(f"Version {version} of key {key_name} is disabled or below minimum_verify_version.")
        bound = (USE, key_name, version, associated_data)
        return open_sealed(key.versions[version].private_key, ciphertext, *bound)

    def _encrypting(self, key_name: str) -> tuple["Key", int]:
        key = self._keys.get(key_name)
        if key.metadata.rotation_days is not None:
            key = self._keys.rotate_if_due(key)
        _check(key)
        return key, version_to_use(key.metadata, key_name, None)


def _check(key: "Key") -> None:
    if key.metadata.type != "AES-256":
        raise KeyHasOtherPurpose(f"Key {key.name} is of type {key.metadata.type}, and this use needs an AES-256 key.")
