"""The pepper: stored hashes rest encrypted under a versioned key, so that a copy of the table alone is worth nothing.

A pepper that is mixed into the hash could never be changed without every user's password; this one is rotated like any
other key (OWASP Password Storage Cheat Sheet, Peppering).
"""

from typing import NamedTuple, Protocol

from shared.errors import PepperUnavailable

RETRY_AFTER_SECONDS = 30


class Encryptor(Protocol):
    """What the pepper needs of a key store: AES-256 keys by name, in versions."""

    def encrypt(self, key_name: str, plaintext: bytes, associated_data: bytes) -> tuple[int, bytes]:
        """The version that is newest now, and the ciphertext under it."""
        ...

    def decrypt(self, key_name: str, version: int, ciphertext: bytes, associated_data: bytes) -> bytes:
        """What was encrypted under that version of the key, with the same associated data."""
        ...


class Secret(NamedTuple):
    """A user's hash as it rests: in the clear, or encrypted under a version of a key."""

    data: bytes
    key_name: str = ""
    version: int = 0

    def __repr__(self) -> str:
        return f"Secret({self.key_name!r}, {self.version})"


class Pepper:
    """Seals hashes under the newest version of `key_name`; with "" it seals none, and still opens those that are."""

    def __init__(self, encryptor: Encryptor | None, key_name: str) -> None:
        self._encryptor = encryptor
        self._key_name = key_name

    def seal(self, user_id: str, text: str) -> Secret:
        """The hash of this user (and no other's: it cannot be opened as another's), ready to rest."""
        if not self._key_name:
            return Secret(text.encode())
        version, data = self._keys.encrypt(self._key_name, text.encode(), _bound_to(user_id))
        return Secret(data, self._key_name, version)

    def open(self, user_id: str, secret: Secret) -> str:
        """The hash of this user."""
        if not secret.key_name:
            return secret.data.decode()
        return self._keys.decrypt(secret.key_name, secret.version, secret.data, _bound_to(user_id)).decode()

    @property
    def _keys(self) -> Encryptor:
        if self._encryptor is None:
            raise PepperUnavailable("There is no key store.", retry_after=RETRY_AFTER_SECONDS)
        return self._encryptor

    def is_current(self, user_id: str, secret: Secret) -> bool:
        """Whether it rests as `seal` would have it rest now."""
        now = self.seal(user_id, "")
        return (secret.key_name, secret.version) == (now.key_name, now.version)


def _bound_to(user_id: str) -> bytes:
    return f"password of {user_id}".encode()
