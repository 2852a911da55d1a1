"""The app's own signing keys, such as `_tokens`: created at first use, and never used for a caller's message."""

from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep
from typing import Any

from shared.signing import algorithms, keyring
from shared.signing.errors import KeyChanged
from shared.signing.keyring import KeyType
from shared.signing.routes.describe import key_set
from shared.signing.store import Key, KeyStore, NewKey

SEARCH_SECONDS = 0.25
"""How long after a read of the key a call without a credential may cause the next."""


class OwnKey:
    """One signing key of the app. Safe to use from many threads and instances. Raises the errors of the key store."""

    def __init__(self, keys: KeyStore, name: str, key_type: KeyType) -> None:
        self._keys = keys
        self._name = name
        self._new = NewKey(type=key_type, purpose="sign", published=True)
        self._algorithm = algorithms.choose(key_type, None)

    def signer(self) -> tuple[str, Callable[[bytes], bytes]]:
        """The `key_id` of the current version, and its signatures in JOSE's form."""
        key = self._get()
        if key.current_version is None:
            with suppress(KeyChanged):  # Another call was faster.
                self._keys.rotate(self._name)
            key = self._keys.refresh(self._name)
        number = keyring.version_to_use(key.metadata, self._name, None)
        version = key.versions[number]
        return (
            version.document.key_id,
            lambda message: algorithms.sign(version.private_key, self._algorithm, message),
        )

    def public_key(self, key_id: str, began: float) -> Any:
        """The public key of a version; None if there is none, or if it is revoked.

        `began` is when the call began (monotonic clock): another instance may have created the version since this one
        read the key.
        """
        key = self._get()
        if key_id not in key.numbers and key.read_at < began:
            key = self._current(began)
        number = key.numbers.get(key_id)
        if number is None or keyring.refusal(key.metadata, number) is not None:
            return None
        return key.versions[number].public_key

    def public_jwks(self) -> list[dict[str, str]]:
        """The public keys of all versions that are trusted, as JWKs (RFC 7517), as they are now."""
        return key_set([self._current(monotonic())]).keys

    def _current(self, began: float) -> Key:
        """The key as it is at or after `began`. Anybody can cause this read, so calls wait for each other's."""
        sleep(max(0.0, self._get().read_at + SEARCH_SECONDS - monotonic()))
        return self._keys.refresh(self._name, began)

    def _get(self) -> Key:
        return self._keys.get_or_create(self._name, self._new)
