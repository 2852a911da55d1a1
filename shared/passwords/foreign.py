"""Password hashes that other programs made: bcrypt, scrypt, PBKDF2 and salted SHA, in the forms that they write.

Each is verified as its maker does it, and wants a rehash. What a string asks for is bounded before any work.
"""

import binascii
import hmac
import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from shared.passwords.errors import InvalidHash

MAX_BCRYPT_COST = 15
"""About three seconds."""
MAX_PBKDF2_ITERATIONS = 10_000_000
"""Over all blocks of the digest: about four seconds."""
MAX_SCRYPT_WORK_KIB = 1024 * 1024
"""Memory (128 · N · r) times lanes: about three seconds."""
BCRYPT_BYTES = 72
"""What bcrypt reads of a password: two that agree so far are the same to it."""

_DIGEST_BYTES = {"sha1": 20, "sha256": 32, "sha512": 64}


class ForeignHash(NamedTuple):
    """A hash that was not made here: how to make it again, and what should come out."""

    algorithm: str
    memory_kib: int
    """What making it takes; scrypt finds that itself."""
    digest: bytes
    derive: Callable[[bytes], bytes]

    def __repr__(self) -> str:
        return f"ForeignHash({self.algorithm}, …)"

    def matches(self, password: bytes) -> bool:
        """Whether it was made of `password`."""
        return hmac.compare_digest(self.derive(password), self.digest)


def parse_foreign(text: str) -> ForeignHash | None:
    """The hash in `text`, or None where its form is none that is known here.

    Raises InvalidHash where it is damaged, or asks for more than is granted.
    """
    for form, parse in _forms():
        if found := form.fullmatch(text):
            return parse(**found.groupdict())
    return None


# bcrypt


def _bcrypt(cost: str, salt: str, digest: str) -> ForeignHash:
    return _bcrypt_of(lambda password: password, "bcrypt", cost, salt, digest)


def _bcrypt_of(prepare: Callable[[bytes], bytes], algorithm: str, cost: str, salt: str, digest: str) -> ForeignHash:
    if not 4 <= int(cost) <= MAX_BCRYPT_COST:
        raise InvalidHash(f"The hash asks for a bcrypt cost of {int(cost)}; 4 to {MAX_BCRYPT_COST} are granted.")
    settings = f"$2b${int(cost):02}${salt}".encode()

    def derive(password: bytes) -> bytes:
        import bcrypt

        # All its makers cut the password off there, but for the library, which leaves that to us.
        try:
            return bcrypt.hashpw(prepare(password)[:BCRYPT_BYTES], settings)[-31:]
        except ValueError:
            raise InvalidHash("The salt in the hash is none of bcrypt.") from None

    return ForeignHash(algorithm, 4, digest.encode(), derive)


def _django_bcrypt_sha256(cost: str, salt: str, digest: str) -> ForeignHash:
    return _bcrypt_of(_hex_sha256, "bcrypt-sha256", cost, salt, digest)


def _passlib_bcrypt_sha256(cost: str, salt: str, digest: str) -> ForeignHash:
    def prepare(password: bytes) -> bytes:
        return binascii.b2a_base64(hmac.digest(salt.encode(), password, "sha256"), newline=False)

    return _bcrypt_of(prepare, "bcrypt-sha256", cost, salt, digest)


def _passlib_bcrypt_sha256_v1(cost: str, salt: str, digest: str) -> ForeignHash:
    return _bcrypt_of(
        lambda password: binascii.b2a_base64(_sha("sha256", password), newline=False),
        "bcrypt-sha256",
        cost,
        salt,
        digest,
    )


def _hex_sha256(password: bytes) -> bytes:
    return binascii.hexlify(_sha("sha256", password))


# scrypt


def _scrypt(n: int, r: int, p: int, salt: bytes, digest: bytes) -> ForeignHash:
    if n < 2 or n & (n - 1) or r < 1 or p < 1:
        raise InvalidHash("The hash asks for an scrypt cost that is none: N is a power of 2, r and p are at least 1.")
    # RFC 7914, section 5: N blocks of 128 · r bytes; and p of them before and after.
    memory_kib = 128 * r * (n + p + 2) // 1024 + 1
    if memory_kib * p > MAX_SCRYPT_WORK_KIB:
        raise InvalidHash(
            f"The hash asks for {memory_kib} KiB of memory (128 · N · r) times {p} lanes (p) of scrypt; "
            f"at most {MAX_SCRYPT_WORK_KIB} KiB in all are granted."
        )
    _check_lengths(salt, digest)

    def derive(password: bytes) -> bytes:
        import hashlib

        _give_back_freed_memory()
        return hashlib.scrypt(
            password, salt=salt, n=n, r=r, p=p, maxmem=memory_kib * 1024 + 1024 * 1024, dklen=len(digest)
        )

    return ForeignHash("scrypt", memory_kib, digest, derive)


@cache
def _give_back_freed_memory() -> None:
    """From now on, let glibc map blocks of 4 MiB and more by themselves, so that they are gone when they are freed.

    Else it would keep up to 32 MiB of what scrypt has freed on each thread. Other C libraries keep none.
    """
    import ctypes

    m_mmap_threshold = -3  # malloc.h
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(m_mmap_threshold, 4 * 1024 * 1024)


def _phc_scrypt(ln: str, r: str, p: str, salt: str, digest: str) -> ForeignHash:
    if int(ln) > 30:
        raise InvalidHash(f"The hash asks for an scrypt cost (ln) of {ln}; at most 30 can be told.")
    return _scrypt(2 ** int(ln), int(r), int(p), _base64(salt), _base64(digest))


def _django_scrypt(n: str, salt: str, r: str, p: str, digest: str) -> ForeignHash:
    return _scrypt(int(n), int(r), int(p), salt.encode(), _base64(digest))


def _werkzeug_scrypt(n: str, r: str, p: str, salt: str, digest: str) -> ForeignHash:
    return _scrypt(int(n), int(r), int(p), salt.encode(), _hex(digest))


# PBKDF2


def _pbkdf2(hash_name: str, iterations: int, salt: bytes, digest: bytes) -> ForeignHash:
    _check_lengths(salt, digest)
    blocks = -(-len(digest) // _DIGEST_BYTES[hash_name])
    if not 1 <= iterations * blocks <= MAX_PBKDF2_ITERATIONS:
        raise InvalidHash(
            f"The hash asks for {iterations} iterations of PBKDF2, for {blocks} blocks each; "
            f"1 to {MAX_PBKDF2_ITERATIONS} in all are granted."
        )

    def derive(password: bytes) -> bytes:
        import hashlib

        return hashlib.pbkdf2_hmac(hash_name, password, salt, iterations, len(digest))

    return ForeignHash(f"pbkdf2-{hash_name}", 4, digest, derive)


def _phc_pbkdf2(name: str | None, iterations: str, length: str | None, salt: str, digest: str) -> ForeignHash:
    tag = _base64(digest)
    if length is not None and int(length) != len(tag):
        raise InvalidHash(f"The hash says that it has {length} bytes, and has {len(tag)}.")
    return _pbkdf2(name or "sha1", int(iterations), _base64(salt), tag)


def _ldap_pbkdf2(name: str | None, iterations: str, salt: str, digest: str) -> ForeignHash:
    return _pbkdf2((name or "sha1").lower(), int(iterations), _base64(salt), _base64(digest))


def _django_pbkdf2(name: str, iterations: str, salt: str, digest: str) -> ForeignHash:
    return _pbkdf2(name, int(iterations), salt.encode(), _base64(digest))


def _werkzeug_pbkdf2(name: str, iterations: str, salt: str, digest: str) -> ForeignHash:
    return _pbkdf2(name, int(iterations), salt.encode(), _hex(digest))


# Salted SHA of LDAP servers


def _ldap_sha(name: str | None, data: str) -> ForeignHash:
    hash_name = f"sha{name or '1'}"
    decoded = _base64(data)
    length = _DIGEST_BYTES[hash_name]
    digest, salt = decoded[:length], decoded[length:]
    if not 4 <= len(salt) <= 64:
        raise InvalidHash(f"The salt in the hash has {len(salt)} bytes; 4 to 64 are taken.")
    return ForeignHash(f"salted-{hash_name}", 1, digest, lambda password: _sha(hash_name, password + salt))


def _sha(hash_name: str, data: bytes) -> bytes:
    import hashlib

    return hashlib.new(hash_name, data).digest()


# What they have in common


def _check_lengths(salt: bytes, digest: bytes) -> None:
    if not 1 <= len(salt) <= 128:
        raise InvalidHash(f"The salt in the hash has {len(salt)} bytes; 1 to 128 are taken.")
    if not 16 <= len(digest) <= 128:
        raise InvalidHash(f"The digest in the hash has {len(digest)} bytes; 16 to 128 are taken.")


def _base64(text: str) -> bytes:
    """Base64 as PHC strings, Django and passlib (which writes '.' for '+') have it, padded or not."""
    plain = text.replace(".", "+").rstrip("=")
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except binascii.Error:
        raise InvalidHash("The salt or the digest in the hash is not base64.") from None


def _hex(text: str) -> bytes:
    return bytes.fromhex(text) if len(text) % 2 == 0 else b""


_N = "[0-9]{1,10}"
_TEXT = "[!-#%-~]{1,128}"
_B64 = "[A-Za-z0-9+/.]+={0,2}"
_BCRYPT = r"(?P<cost>[0-9]{2})\$(?P<salt>[A-Za-z0-9./]{22})(?P<digest>[A-Za-z0-9./]{31})"
_FORMS: tuple[tuple[str, Callable[..., ForeignHash]], ...] = (
    (rf"(?:bcrypt\$|\{{CRYPT\}})?\$2[aby]\${_BCRYPT}", _bcrypt),
    (rf"bcrypt_sha256\$\$2[aby]\${_BCRYPT}", _django_bcrypt_sha256),
    (
        (
            r"\$bcrypt-sha256\$v=2,t=2b,r=(?P<cost>[0-9]{1,2})\$(?P<salt>[A-Za-z0-9./]{22})"
            r"\$(?P<digest>[A-Za-z0-9./]{31})"
        ),
        _passlib_bcrypt_sha256,
    ),
    (
        r"\$bcrypt-sha256\$2[ab],(?P<cost>[0-9]{1,2})\$(?P<salt>[A-Za-z0-9./]{22})\$(?P<digest>[A-Za-z0-9./]{31})",
        _passlib_bcrypt_sha256_v1,
    ),
    (
        rf"\$scrypt\$ln=(?P<ln>[0-9]{{1,2}}),r=(?P<r>{_N}),p=(?P<p>{_N})\$(?P<salt>{_B64})\$(?P<digest>{_B64})",
        _phc_scrypt,
    ),
    (
        rf"scrypt\$(?P<n>{_N})\$(?P<salt>{_TEXT})\$(?P<r>{_N})\$(?P<p>{_N})\$(?P<digest>{_B64})",
        _django_scrypt,
    ),
    (
        rf"scrypt:(?P<n>{_N}):(?P<r>{_N}):(?P<p>{_N})\$(?P<salt>{_TEXT})\$(?P<digest>[0-9a-f]+)",
        _werkzeug_scrypt,
    ),
    (
        (
            rf"\$pbkdf2(?:-(?P<name>sha1|sha256|sha512))?\$(?:i=)?(?P<iterations>{_N})(?:,l=(?P<length>[0-9]{{1,3}}))?"
            rf"\$(?P<salt>{_B64})\$(?P<digest>{_B64})"
        ),
        _phc_pbkdf2,
    ),
    (
        rf"\{{PBKDF2(?:-(?P<name>SHA256|SHA512))?\}}(?P<iterations>{_N})\$(?P<salt>{_B64})\$(?P<digest>{_B64})",
        _ldap_pbkdf2,
    ),
    (
        rf"pbkdf2_(?P<name>sha1|sha256)\$(?P<iterations>{_N})\$(?P<salt>{_TEXT})\$(?P<digest>{_B64})",
        _django_pbkdf2,
    ),
    (
        (
            rf"pbkdf2:(?P<name>sha1|sha256|sha512):(?P<iterations>{_N})\$(?P<salt>{_TEXT})"
            r"\$(?P<digest>[0-9a-f]+)"
        ),
        _werkzeug_pbkdf2,
    ),
    (rf"\{{SSHA(?P<name>256|512)?\}}(?P<data>{_B64})", _ldap_sha),
)


@cache
def _forms() -> list[tuple[re.Pattern[str], Callable[..., ForeignHash]]]:
    return [(re.compile(form, re.ASCII), parse) for form, parse in _FORMS]
