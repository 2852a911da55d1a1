"""Password hashes as PHC strings: making, parsing and verifying them.

Argon2 is RFC 9106; the strings are https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md.
"""

import binascii
import hmac
import re
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from shared.errors import InvalidPassword
from shared.passwords import costs
from shared.passwords.argon2 import Parameters, Variant, argon2
from shared.passwords.errors import InvalidHash

if TYPE_CHECKING:
    from mmap import mmap

    from shared.passwords.foreign import ForeignHash

Profile = Literal["owasp", "owasp-46", "rfc9106-low", "rfc9106-high"]

MAX_PASSWORD_BYTES = 1024
SALT_BYTES, DIGEST_BYTES = 16, 32
"""Of the hashes made here (RFC 9106, section 4). A hash with less of either verifies, and needs a rehash."""

MAX_HASH_LENGTH = 512
"""Of a hash from outside, in characters."""

# An NFKC form that is short enough has at most this many bytes before: a letter of one byte may stand for one of four.
_MAX_UNNORMALISED_BYTES = 4 * MAX_PASSWORD_BYTES


class Argon2Hash(NamedTuple):
    """A parsed Argon2 hash."""

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

    Raises InvalidPassword if that is empty, or over `MAX_PASSWORD_BYTES`.
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
    r"\$([A-Za-z0-9+/]+)={0,2}\$([A-Za-z0-9+/]+)={0,2}"
)


_SCHEME = re.compile(
    r"\{(?:CRYPT|BCRYPT|BLF-CRYPT|MD5-CRYPT|SHA256-CRYPT|SHA512-CRYPT|ARGON2|ARGON2I|ARGON2ID)\}(?=\$)", re.IGNORECASE
)
"""How LDAP servers, Dovecot and Spring mark a hash that says by itself what it is."""


def parse_hash(text: str) -> Hash:
    """The hash in a string, of Argon2 or of another program.

    Raises InvalidHash if its form is not known, if it is damaged, or if it costs more than is allowed.
    """
    if len(text) > MAX_HASH_LENGTH:
        raise InvalidHash(f"The hash has {len(text)} characters; at most {MAX_HASH_LENGTH} are accepted.")
    plain = _SCHEME.sub("", text, count=1) if text.startswith("{") else text
    if plain.startswith("argon2$argon2"):  # As Django writes them.
        plain = plain.removeprefix("argon2")
    if match := _PHC.fullmatch(plain):
        name, version, memory, time, lanes, salt, digest = match.groups()
        parsed = Argon2Hash(
            _VARIANTS[name],
            int(version or 16),  # A string without a version is of the first one (argon2 1.2 and before).
            Parameters(int(memory), int(time), int(lanes)),
            _decode_base64(salt, "salt", 8, 48),
            _decode_base64(digest, "digest", 12, 64),
        )
        if parsed.version not in (16, 19):
            raise InvalidHash(f"The hash is of version {parsed.version} of Argon2; 16 and 19 are known.")
        costs.check_argon2(parsed.cost)
        return parsed
    from shared.passwords.foreign import ACCEPTED, parse_foreign  # Its patterns are compiled only where they are used.

    if foreign := parse_foreign(plain):
        return foreign
    raise InvalidHash(f"The form of the hash is not known. Accepted are: {ACCEPTED}.")


def algorithm_of(stored: Hash) -> str:
    """The name of the algorithm: `argon2id`, `bcrypt`, `pbkdf2-sha256`…"""
    return stored.variant if isinstance(stored, Argon2Hash) else stored.algorithm


def memory_of(stored: Hash) -> int:
    """The memory that verifying takes, in KiB."""
    return stored.cost.memory_kib if isinstance(stored, Argon2Hash) else stored.memory_kib


def is_mapped(stored: Hash) -> bool:
    """Whether verifying uses the memory of the hashing threads; the other algorithms allocate it themselves."""
    return isinstance(stored, Argon2Hash)


def _encode_base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode()


def _decode_base64(text: str, part: str, least: int, most: int) -> bytes:
    """The bytes behind unpadded base64, in its one canonical form; lengths as the PHC specification of Argon2 has."""
    try:
        data = binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except binascii.Error:
        data = b""
    if _encode_base64(data) != text:
        raise InvalidHash(f"The {part} in the hash is not base64.")
    if not least <= len(data) <= most:
        raise InvalidHash(f"The {part} in the hash has {len(data)} bytes; {least} to {most} are accepted.")
    return data


class Verdict(NamedTuple):
    """Whether the password is right, and whether it should be hashed anew while it is at hand."""

    valid: bool
    needs_rehash: bool


def verify(stored: Hash, password: str, wanted: Parameters, memory: "mmap", *, as_typed: bool = True) -> Verdict:
    """Whether `stored` was made of `password`, and whether it differs from what `hash_password` makes with `wanted`.

    `memory` has at least `memory_of(stored)`. A hash from elsewhere may be of the password as it was typed: with
    `as_typed`, if the NFKC form is another one and does not match, the typed form is compared, too.
    A hash of bcrypt never needs a rehash for a password of 72 bytes or more: bcrypt did not read the rest, so a new
    hash could be of another password than the user's.
    Raises InvalidPassword as `encode_password` does.
    """
    normalised, typed = encode_password(password), password.encode()
    if _matches(stored, normalised, memory):
        return Verdict(True, _is_outdated(stored, wanted, normalised))
    if as_typed and typed != normalised and _matches(stored, typed, memory):
        return Verdict(True, isinstance(stored, Argon2Hash) or stored.has_read(typed))
    return Verdict(False, False)


def _matches(stored: Hash, password: bytes, memory: "mmap") -> bool:
    if not isinstance(stored, Argon2Hash):
        return stored.matches(password)
    digest = argon2(password, stored.salt, stored.cost, len(stored.digest), stored.variant, stored.version, memory)
    return hmac.compare_digest(digest, stored.digest)


def _is_outdated(stored: Hash, wanted: Parameters, password: bytes) -> bool:
    """Whether it is anything but an Argon2id hash of today's version with `wanted`, or has less salt or digest."""
    if not isinstance(stored, Argon2Hash):
        return stored.has_read(password)
    return (
        (stored.variant, stored.version, stored.cost) != ("argon2id", 19, wanted)
        or len(stored.salt) < SALT_BYTES
        or len(stored.digest) < DIGEST_BYTES
    )
