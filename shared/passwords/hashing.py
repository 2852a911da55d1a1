"""Password hashes as PHC strings: what is made, what is taken, and within which limits.

Argon2 is RFC 9106; the strings are https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md.
"""

import binascii
import hmac
import re
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from shared.passwords.argon2 import Parameters, Variant, argon2
from shared.passwords.errors import HashTooLarge, HashTooWeak, InvalidHash, InvalidPassword

if TYPE_CHECKING:
    from mmap import mmap

    from shared.passwords.foreign import ForeignHash

Profile = Literal["owasp", "owasp-46", "rfc9106-low", "rfc9106-high"]

MAX_PASSWORD_BYTES = 1024
SALT_BYTES, DIGEST_BYTES = 16, 32
"""Of the hashes made here (RFC 9106, section 4). A hash with less of either is taken, and needs a rehash."""

# What a hash from outside may ask for. Memory is bounded by the limit of the settings too.
MAX_HASH_LENGTH = 512
MAX_TIME_COST = 64
MAX_PARALLELISM = 16
MAX_WORK_KIB = 4 * 1024 * 1024
"""Memory times passes, which is what a hash costs in time: 4 GiB take a core about three seconds."""

# An NFKC form that is short enough has at most this many bytes before: a letter of one byte may stand for one of four.
_MAX_UNNORMALISED_BYTES = 4 * MAX_PASSWORD_BYTES

# Explicit parameters: no less than the least that the cheat sheet has as equally strong (7 MiB, 5 passes), and no more
# than is verified.
MIN_MEMORY_KIB = 7 * 1024
MIN_WORK_KIB = 35 * 1024

PROFILES: dict[str, Parameters] = {
    # OWASP Password Storage Cheat Sheet, Argon2id: two of its equally strong settings.
    "owasp": Parameters(19 * 1024, 2, 1),
    "owasp-46": Parameters(46 * 1024, 1, 1),
    # RFC 9106, section 4: the second recommended option, and the first.
    "rfc9106-low": Parameters(64 * 1024, 3, 4),
    "rfc9106-high": Parameters(2 * 1024 * 1024, 1, 4),
}


class Argon2Hash(NamedTuple):
    """An Argon2 hash, taken apart."""

    variant: Variant
    version: int
    cost: Parameters
    salt: bytes
    digest: bytes

    def __repr__(self) -> str:
        return f"Argon2Hash({self.variant}, …)"


Hash: TypeAlias = "Argon2Hash | ForeignHash"


def encode_password(password: str) -> bytes:
    """`password` as it is hashed: NFKC, then UTF-8 (NIST SP 800-63B-4, section 3.1.1.2).

    Raises InvalidPassword where that is empty, or over `MAX_PASSWORD_BYTES`.
    """
    import unicodedata

    # Checked before normalising too, because the time that takes grows with the square of the length.
    if len(password.encode()) <= _MAX_UNNORMALISED_BYTES:
        encoded = unicodedata.normalize("NFKC", password).encode()
        if not encoded:
            raise InvalidPassword("The password is empty.")
        if len(encoded) <= MAX_PASSWORD_BYTES:
            return encoded
    raise InvalidPassword(f"The password has more than {MAX_PASSWORD_BYTES} bytes in UTF-8.")


def hash_password(password: bytes, cost: Parameters, salt: bytes, memory: "mmap") -> str:
    """The Argon2id hash of `password` as a PHC string. `salt` is random, of `SALT_BYTES`."""
    return encode_hash(cost, salt, argon2(password, salt, cost, DIGEST_BYTES, "argon2id", 19, memory))


def encode_hash(cost: Parameters, salt: bytes, digest: bytes) -> str:
    """An Argon2id hash as a PHC string."""
    costs = f"m={cost.memory_kib},t={cost.time_cost},p={cost.parallelism}"
    return f"$argon2id$v=19${costs}${_encode_base64(salt)}${_encode_base64(digest)}"


_VARIANTS: dict[str, Variant] = {"argon2id": "argon2id", "argon2i": "argon2i", "argon2d": "argon2d"}
_PHC = re.compile(
    r"\$(argon2id|argon2i|argon2d)(?:\$v=([0-9]{1,3}))?\$m=([0-9]{1,10}),t=([0-9]{1,10}),p=([0-9]{1,10})"
    r"\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)


def parse_hash(text: str) -> Hash:
    """The hash in a string, of Argon2 or of another program.

    Raises InvalidHash where it is none that is known, or asks for more than is granted.
    """
    if len(text) > MAX_HASH_LENGTH:
        raise InvalidHash(f"The hash has {len(text)} characters; at most {MAX_HASH_LENGTH} are taken.")
    plain = text.removeprefix("argon2") if text.startswith("argon2$argon2") else text  # As Django writes them.
    if found := _PHC.fullmatch(plain):
        name, version, memory, time, lanes, salt, digest = found.groups()
        parsed = Argon2Hash(
            _VARIANTS[name],
            int(version or 16),  # A string without a version is of the first one (argon2 1.2 and before).
            Parameters(int(memory), int(time), int(lanes)),
            _decode_base64(salt, "salt", 8, 48),
            _decode_base64(digest, "digest", 12, 64),
        )
        _check_limits(parsed)
        return parsed
    from shared.passwords.foreign import parse_foreign  # Its patterns are made where there is a use for them.

    if foreign := parse_foreign(text):
        return foreign
    raise InvalidHash(
        "The hash is no PHC string of Argon2, such as $argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>, and none of "
        "bcrypt, scrypt, PBKDF2 or salted SHA in a form that is known here."
    )


def _check_limits(parsed: Argon2Hash) -> None:
    cost = parsed.cost
    if parsed.version not in (16, 19):
        raise InvalidHash(f"The hash is of version {parsed.version} of Argon2; 16 and 19 are known.")
    for name, value, most in (
        ("a time cost (t)", cost.time_cost, MAX_TIME_COST),
        ("a parallelism (p)", cost.parallelism, MAX_PARALLELISM),
    ):
        if not 1 <= value <= most:
            raise InvalidHash(f"The hash asks for {name} of {value}; 1 to {most} are granted.")
    if cost.memory_kib < 8 * cost.parallelism:
        raise InvalidHash("The hash asks for less memory (m) than 8 KiB a lane (RFC 9106, section 3.1).")
    if cost.memory_kib * cost.time_cost > MAX_WORK_KIB:
        raise InvalidHash(
            f"The hash asks for {cost.memory_kib} KiB of memory (m) times {cost.time_cost} passes (t); "
            f"at most {MAX_WORK_KIB} KiB in all are granted."
        )


def check_cost(cost: Parameters) -> None:
    """Raises HashTooWeak or HashTooLarge where no password should be hashed at this cost."""
    work_kib = cost.memory_kib * cost.time_cost
    if work_kib < MIN_WORK_KIB:
        raise HashTooWeak(
            f"{cost.memory_kib} KiB times {cost.time_cost} passes are {work_kib} KiB; OWASP asks for {MIN_WORK_KIB}, "
            "as in 19456 KiB and 2 passes."
        )
    if work_kib > MAX_WORK_KIB:
        raise HashTooLarge(
            f"{cost.memory_kib} KiB times {cost.time_cost} passes are {work_kib} KiB; {MAX_WORK_KIB} are granted."
        )


def algorithm_of(stored: Hash) -> str:
    """The name of the algorithm: `argon2id`, `bcrypt`, `pbkdf2-sha256`…"""
    return stored.variant if isinstance(stored, Argon2Hash) else stored.algorithm


def memory_of(stored: Hash) -> int:
    """What verifying takes, in KiB."""
    return stored.cost.memory_kib if isinstance(stored, Argon2Hash) else stored.memory_kib


def is_mapped(stored: Hash) -> bool:
    """Whether verifying uses the memory that is handed in; what does not, finds it by itself."""
    return isinstance(stored, Argon2Hash)


def _encode_base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode()


def _decode_base64(text: str, what: str, least: int, most: int) -> bytes:
    """The bytes behind unpadded base64, in its one canonical form; lengths as the PHC specification of Argon2 has."""
    try:
        data = binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        data = b""
    if _encode_base64(data) != text:
        raise InvalidHash(f"The {what} in the hash is not base64.")
    if not least <= len(data) <= most:
        raise InvalidHash(f"The {what} in the hash has {len(data)} bytes; {least} to {most} are taken.")
    return data


class Verdict(NamedTuple):
    """Whether the password is the one, and whether its hash should be made anew now that the password is at hand."""

    valid: bool
    needs_rehash: bool


def verify(stored: Hash, password: str, wanted: Parameters, memory: "mmap", *, as_typed: bool = True) -> Verdict:
    """Whether `stored` was made of `password`, and whether it is what `hash_password` makes with `wanted`.

    `memory` has at least `memory_of(stored)`. A hash from elsewhere may be of the password as it was typed: with
    `as_typed`, where its NFKC form is another one and does not match, that is tried too.
    Raises InvalidPassword as `encode_password` does.
    """
    normalised, typed = encode_password(password), password.encode()
    if _matches(stored, normalised, memory):
        return Verdict(True, _is_outdated(stored, wanted))
    if as_typed and typed != normalised and _matches(stored, typed, memory):
        return Verdict(True, True)
    return Verdict(False, False)


def _matches(stored: Hash, password: bytes, memory: "mmap") -> bool:
    if not isinstance(stored, Argon2Hash):
        return stored.matches(password)
    digest = argon2(password, stored.salt, stored.cost, len(stored.digest), stored.variant, stored.version, memory)
    return hmac.compare_digest(digest, stored.digest)


def _is_outdated(stored: Hash, wanted: Parameters) -> bool:
    """Whether it is anything but an Argon2id hash of today's version with `wanted`, or has less salt or digest."""
    return (
        not isinstance(stored, Argon2Hash)
        or (stored.variant, stored.version, stored.cost) != ("argon2id", 19, wanted)
        or len(stored.salt) < SALT_BYTES
        or len(stored.digest) < DIGEST_BYTES
    )
