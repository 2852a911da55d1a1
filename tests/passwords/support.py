"""What the tests of passwords share: hashing and verifying, in memory enough for all of them."""

from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

from shared.passwords import hashing
from shared.passwords.argon2 import Parameters
from shared.passwords.hashing import Argon2Hash, Verdict

MEMORY = mmap(-1, 256 * 1024 * 1024, flags=MAP_PRIVATE | MAP_ANONYMOUS)


def hash_password(password: bytes, cost: Parameters, salt: bytes) -> str:
    """The hash of a password as a PHC string."""
    return hashing.hash_password(password, cost, salt, MEMORY)


def verify(stored: Argon2Hash, password: str, wanted: Parameters) -> Verdict:
    """Whether a password is the one, and whether its hash needs to be made anew."""
    return hashing.verify(stored, password, wanted, MEMORY)
