"""Shared helpers of the password tests: hashing and verifying, with enough memory for each test."""

import base64
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

from shared.passwords import hashing
from shared.passwords.argon2 import Parameters
from shared.passwords.hashing import Argon2Hash, Hash, Verdict

MEMORY = mmap(-1, 256 * 1024 * 1024, flags=MAP_PRIVATE | MAP_ANONYMOUS)


def hash_password(password: bytes, cost: Parameters, salt: bytes) -> str:
    """Return the hash of a password as a PHC string."""
    return hashing.hash_password(password, cost, salt, MEMORY)


def verify(stored: Hash, password: str, wanted: Parameters) -> Verdict:
    """Return whether the password is right, and whether its hash needs a rehash."""
    return hashing.verify(stored, password, wanted, MEMORY)


def parse_argon2(text: str) -> Argon2Hash:
    """Parse the Argon2 hash in a string."""
    parsed = hashing.parse_hash(text)
    assert isinstance(parsed, Argon2Hash)
    return parsed


def phc(variant: str, version: int, wanted: Parameters, salt: bytes, digest: bytes) -> str:
    """Build a PHC string from its parts."""
    parts = [base64.b64encode(each).decode().rstrip("=") for each in (salt, digest)]
    cost = f"m={wanted.memory_kib},t={wanted.time_cost},p={wanted.parallelism}"
    return "$".join(["", variant, f"v={version}", cost, *parts])
