"""The pepper: hashes are stored encrypted under a versioned key, so that a copy of the table alone is worth nothing.

A pepper that is mixed into the hash could never be changed without every user's password; this one is rotated like any
other key (OWASP Password Storage Cheat Sheet, Peppering).
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from shared.errors import StrongroomError, Unavailable
from shared.passwords.errors import PepperUnavailable
from shared.storage.errors import DamagedRow

RETRY_AFTER_SECONDS = 30

Result = TypeVar("Result")


class Encryptor(Protocol):
    """The part of a key store that the pepper needs: AES-256 keys by name, in versions."""

    def current_version(self, key_name: str) -> int:
        """The version that encrypts now."""
        ...

    def encrypt(self, key_name: str, plaintext: bytes, associated_data: bytes) -> tuple[int, bytes]:
        """The version that encrypts now, and the ciphertext."""
        ...

    def decrypt(self, key_name: str, version: int, ciphertext: bytes, associated_data: bytes) -> bytes:
        """The plaintext that was encrypted under that version of the key, with the same associated data."""
        ...


class Secret(NamedTuple):
    """A user's hash as it is stored: plain, or encrypted under a version of a key."""

    data: bytes
    key_name: str = ""
    version: int = 0

    def __repr__(self) -> str:
        return f"Secret({self.key_name!r}, {self.version})"


class Pepper:
    """Encrypts hashes under the newest version of `key_name`; with "" it encrypts none, and still opens those that are.
    `encryptor` is called only for that, since it loads the keys.

    `required` says whether a hash that is not encrypted is refused; the app calls it only for such a hash. An attacker
    who can write to the table could otherwise replace a user's hash by one of a known password.
    """

    def __init__(
        self, encryptor: Callable[[], Encryptor], key_name: str, required: Callable[[], bool] = lambda: False
    ) -> None:
        self._encryptor = encryptor
        self.key_name = key_name
        self._required = required

    def seal(self, user_id: str, text: str) -> Secret:
        """The hash of this user as it is stored. It cannot be opened as another user's."""
        if not self.key_name:
            return Secret(text.encode())
        version, data = self._call(lambda: self._encryptor().encrypt(self.key_name, text.encode(), _bound_to(user_id)))
        return Secret(data, self.key_name, version)

    def open(self, user_id: str, secret: Secret) -> str:
        """The hash of this user. Raises PepperUnavailable, and DamagedRow for a plain hash that is refused."""
        if not secret.key_name:
            if self.key_name and self._required():
                raise DamagedRow(f"The hash of user {user_id} is not encrypted, though all hashes must be.")
            return secret.data.decode()
        return self._call(
            lambda: self._encryptor().decrypt(secret.key_name, secret.version, secret.data, _bound_to(user_id))
        ).decode()

    def current(self) -> tuple[str, int]:
        """The name and version of the key that encrypts now. Raises PepperUnavailable if it cannot."""
        version = self._call(lambda: self._encryptor().current_version(self.key_name)) if self.key_name else 0
        return self.key_name, version

    def is_current(self, secret: Secret) -> bool:
        """Whether it is stored as `seal` would store it now."""
        return (secret.key_name, secret.version) == self.current()

    def _call(self, act: Callable[[], Result]) -> Result:
        """The result of `act`. A key that is missing or not usable is this app's failure, not the caller's."""
        try:
            return act()
        except Unavailable:
            raise
        except StrongroomError as error:
            raise PepperUnavailable(
                f"The key {self.key_name or 'of a stored hash'} cannot be used.", retry_after=RETRY_AFTER_SECONDS
            ) from error


def _bound_to(user_id: str) -> bytes:
    return f"password of {user_id}".encode()
