"""The bound on the cost of one hash: at most one second of work on one core of the reference machine.

The sender of a hash chooses the cost of verifying it, so every algorithm and digest has a limit here, checked before
any work. `bench/passwords.py` runs each algorithm at its limit. The reference machine computes 1.5 million iterations
of PBKDF2-SHA256 in a second at worst, and an Argon2id hash of the profile `owasp` in 30 ms. Hashes of this app's own
profiles are verified in any case.
"""

from shared.errors import HashTooLarge
from shared.passwords.argon2 import Parameters
from shared.passwords.errors import HashTooWeak, InvalidHash

PROFILES: dict[str, Parameters] = {
    # OWASP Password Storage Cheat Sheet, Argon2id: two of its equally strong settings.
    "owasp": Parameters(19 * 1024, 2, 1),
    "owasp-46": Parameters(46 * 1024, 1, 1),
    # RFC 9106, section 4: the second recommended option, and the first.
    "rfc9106-low": Parameters(64 * 1024, 3, 4),
    "rfc9106-high": Parameters(2 * 1024 * 1024, 1, 4),
}

LIMITS: dict[str, int] = {
    # KiB of memory times (passes + 1): fetching new memory takes as long as a pass over it.
    "argon2": 1024 * 1024,
    # The exponent: each step doubles the time.
    "bcrypt": 14,
    # KiB: 128 · r · p · (N + 8), because the lanes' PBKDF2 takes as long as eight of the N steps (RFC 7914, section 6).
    "scrypt": 400 * 1024,
    # Iterations times blocks of the digest (RFC 8018, section 5.2).
    "pbkdf2-sha1": 2_000_000,
    "pbkdf2-sha256": 1_500_000,
    "pbkdf2-sha512": 800_000,
    # Rounds, with a password of MAX_CRYPT_BYTES.
    "sha256-crypt": 700_000,
    "sha512-crypt": 700_000,
    # The exponent of the rounds.
    "phpass": 19,
}

MAX_TIME_COST = 64
MAX_PARALLELISM = 16
MAX_MEMORY_KIB = 4 * 1024 * 1024
MAX_CRYPT_BYTES = 256
"""The time of crypt(3) and phpass grows with the password: no longer one is compared with such a hash."""

# Explicit parameters of a new hash: at least the weakest of the cheat sheet's equally strong ones (7 MiB, 5 passes).
MIN_MEMORY_KIB = 7 * 1024
MIN_WORK_KIB = 35 * 1024


def check(algorithm: str, work: int, request: str) -> None:
    """Raise InvalidHash if `work`, in the unit of LIMITS, is over the limit. `request` says what the hash needs."""
    if work > LIMITS[algorithm]:
        raise InvalidHash(
            f"The hash needs {request}. The limit of {algorithm} is {LIMITS[algorithm]}: about one second of work."
        )


def check_argon2(cost: Parameters) -> None:
    """Raise InvalidHash if verifying an Argon2 hash of this cost takes more than is allowed."""
    for name, value, most in (
        ("a time cost (t)", cost.time_cost, MAX_TIME_COST),
        ("a parallelism (p)", cost.parallelism, MAX_PARALLELISM),
    ):
        if not 1 <= value <= most:
            raise InvalidHash(f"The hash needs {name} of {value}; 1 to {most} are allowed.")
    if cost.memory_kib < 8 * cost.parallelism:
        raise InvalidHash("The hash needs less memory (m) than 8 KiB a lane (RFC 9106, section 3.1).")
    if cost not in PROFILES.values():
        request = f"{cost.memory_kib} KiB of memory (m) times {cost.time_cost} passes (t) and one"
        check("argon2", cost.memory_kib * (cost.time_cost + 1), request)


def check_new(cost: Parameters) -> None:
    """Raise HashTooWeak or HashTooLarge if no new hash should be made at this cost."""
    work_kib = cost.memory_kib * cost.time_cost
    if work_kib < MIN_WORK_KIB:
        raise HashTooWeak(
            f"{cost.memory_kib} KiB times {cost.time_cost} passes are {work_kib} KiB; OWASP requires {MIN_WORK_KIB}, "
            "as in 19456 KiB and 2 passes."
        )
    if cost not in PROFILES.values() and cost.memory_kib * (cost.time_cost + 1) > LIMITS["argon2"]:
        raise HashTooLarge(
            f"{cost.memory_kib} KiB times {cost.time_cost} passes take more than a second. Memory times (passes + 1) "
            f"may be {LIMITS['argon2']} KiB; beyond that use the profile rfc9106-high."
        )
