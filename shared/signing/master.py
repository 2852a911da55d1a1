"""The master key: it wraps the one data key, which seals all private keys."""

import base64
import hashlib
import os
from pathlib import Path
from typing import Protocol

import msgspec

from shared.errors import MasterKeyUnavailable, SealBroken
from shared.signing.envelope import NONCE_BYTES, open_sealed, seal

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


def master_key(setting: str) -> MasterKey:
    """The master key that the setting names."""
    return FileMasterKey(setting)


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


def _decoded(line: bytes) -> bytes:
    try:
        return base64.b64decode(line + b"=" * (-len(line) % 4), b"-_", validate=True)
    except ValueError:
        return b""


def _name(key: bytes) -> str:
    """A name that tells master keys apart, and says nothing of the key."""
    return "file:" + hashlib.sha256(b"strongroom master key " + key).hexdigest()[:16]
