"""Hashes and verifies on the hashing threads, within their memory."""

import secrets
from functools import partial

from shared.errors import HashTooLarge
from shared.passwords import hashing
from shared.passwords.admission import HashingThreads
from shared.passwords.argon2 import Parameters
from shared.passwords.errors import InvalidHash
from shared.passwords.hashing import Hash, Verdict


class Hasher:
    """Hashes for users, and for databases elsewhere (`for_user` false). Safe to use from many threads."""

    def __init__(self, threads: HashingThreads) -> None:
        self._threads = threads

    def hash(self, password: str, cost: Parameters, *, for_user: bool = False) -> str:
        """The hash of a password as a PHC string. Raises InvalidPassword, HashTooLarge, Busy."""
        encoded = hashing.encode_password(password)
        self._check_memory(cost.memory_kib)
        salt = secrets.token_bytes(hashing.SALT_BYTES)
        work = partial(hashing.hash_password, encoded, cost, salt)
        return self._threads.run(cost.memory_kib, work, for_user=for_user)

    def parse(self, text: str) -> Hash:
        """A hash that can be verified here. Raises InvalidHash."""
        stored = hashing.parse_hash(text)
        memory_kib = hashing.memory_of(stored)
        if memory_kib > self._threads.memory_kib:
            raise InvalidHash(
                f"The hash takes {memory_kib} KiB of memory; {self._threads.memory_kib} KiB are allowed here "
                "(STRONGROOM_HASH_MEMORY_MIB)."
            )
        return stored

    def verify_text(self, password: str, text: str, wanted: Parameters) -> Verdict:
        """Whether a hash is of this password. Raises InvalidPassword, InvalidHash, Busy."""
        hashing.encode_password(password)  # Refused before the call waits for anything.
        return self.verify(self.parse(text), password, wanted, as_typed=True, for_user=False)

    def verify(
        self, stored: Hash, password: str, wanted: Parameters, *, as_typed: bool, for_user: bool = True
    ) -> Verdict:
        """Whether a stored hash is of this password. Raises InvalidPassword, HashTooLarge, Busy."""
        self._check_memory(hashing.memory_of(stored))  # The limit may have been higher when a user was created.
        work = partial(hashing.verify, stored, password, wanted, as_typed=as_typed)
        return self._threads.run(hashing.memory_of(stored), work, mapped=hashing.is_mapped(stored), for_user=for_user)

    def _check_memory(self, memory_kib: int) -> None:
        if memory_kib > self._threads.memory_kib:
            raise HashTooLarge(
                f"The hash takes {memory_kib} KiB of memory; {self._threads.memory_kib} KiB are allowed here "
                "(STRONGROOM_HASH_MEMORY_MIB)."
            )
