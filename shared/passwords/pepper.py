"""The pepper: stored hashes rest encrypted under a versioned key, so that a copy of the table alone is worth nothing.

A pepper that is mixed into the hash could never be changed without every user's password; this one is rotated like any
other key (OWASP Password Storage Cheat Sheet, Peppering).
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from shared.errors import StrongroomError, Unavailable
from shared.passwords.errors import PepperUnavailable

RETRY_AFTER_SECONDS = 30

Result = TypeVar("Result")


class Encryptor(Protocol):
    """What the pepper needs of a key store: AES-256 keys by name, in versions."""

    def current_version(self, key_name: str) -> int:
        """The version that encrypts now."""
        ...

    def encrypt(self, key_name: str, plaintext: bytes, associated_data: bytes) -> tuple[int, bytes]:
        """The version that encrypts now, and the ciphertext."""
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

    def __init__(self, encryptor: Encryptor, key_name: str) -> None:
        self._encryptor = encryptor
        self._key_name = key_name

    def seal(self, user_id: str, text: str) -> Secret:
        """The hash of this user (and no other's: it cannot be opened as another's), ready to rest."""
        if not self._key_name:
            return Secret(text.encode())
        version, data = self._call(lambda: self._encryptor.encrypt(self._key_name, text.encode(), _bound_to(user_id)))
        return Secret(data, self._key_name, version)

    def open(self, user_id: str, secret: Secret) -> str:
        """The hash of this user."""
        if not secret.key_name:
            return secret.data.decode()
        return self._call(
            lambda: self._encryptor.decrypt(secret.key_name, secret.version, secret.data, _bound_to(user_id))
        ).decode()

    def _call(self, act: Callable[[], Result]) -> Result:
        """What `act` returns; a key that is not there or not usable is ours to answer for, not the caller's."""
        try:
            return act()
        except Unavailable:
            raise
        except StrongroomError as error:
            raise PepperUnavailable(
                f"The key {self._key_name or 'of a stored hash'} cannot be used.", retry_after=RETRY_AFTER_SECONDS
            ) from error

    def is_current(self, secret: Secret) -> bool:
        """Whether it rests as `seal` would have it rest now."""
        version = self._call(lambda: self._encryptor.current_version(self._key_name)) if self._key_name else 0
        return (secret.key_name, secret.version) == (self._key_name, version)


def _bound_to(user_id: str) -> bytes:
    return f"password of {user_id}".encode()
