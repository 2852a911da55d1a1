"""Password hashes that other programs made, in the forms that they write.

A hash is parsed to the end, and its cost is checked, before it is accepted: what `parse_foreign` returns can be
verified. Each form is verified as its maker does it, and a valid password should be hashed anew.
"""

import binascii
import hmac
import re
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from shared.passwords import costs
from shared.passwords.errors import InvalidHash

BCRYPT_BYTES = 72
"""bcrypt reads this much of a password: two passwords that agree so far are the same to it."""

ACCEPTED = (
    "Argon2 as a PHC string; bcrypt ($2a$, $2b$, $2y$); crypt(3) ($1$, $5$, $6$); phpass ($P$, $H$); scrypt and PBKDF2 "
    "as PHC strings or as Django, Werkzeug, passlib and Kratos write them; Firebase's scrypt ($firescrypt$ with the "
    "project's parameters); ASP.NET Identity v2 and v3; LDAP's {SSHA}, {SSHA256}, {SSHA384}, {SSHA512}, {PBKDF2-…}, "
    "{CRYPT}, {BCRYPT} and {ARGON2}"
)
"""The accepted forms, for an error."""

_DIGEST_BYTES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}


class ForeignHash(NamedTuple):
    """A hash that was not made here, and how to compare a password with it."""

    algorithm: str
    memory_kib: int
    """Verifying takes this much memory; scrypt allocates it itself."""
    matches: Callable[[bytes], bool]
    """Whether the hash was made of this password."""
    reads: int | None = None
    """How many bytes of a password the algorithm reads; None for all."""

    def __repr__(self) -> str:
        return f"ForeignHash({self.algorithm}, …)"

    def has_read(self, password: bytes) -> bool:
        """Whether a match covers all of the password, and all of the password that the hash was made of."""
        return self.reads is None or len(password) < self.reads


def parse_foreign(text: str) -> ForeignHash | None:
    """The hash in `text`, or None if its form is not known here.

    Raises InvalidHash if it is damaged, or costs more than is allowed.
    """
    for form, parse in _forms():
        if match := form.fullmatch(text):
            return parse(**match.groupdict())
    return None


def _derived(
    algorithm: str, digest: bytes, derive: Callable[[bytes], bytes], memory_kib: int = 4, reads: int | None = None
) -> ForeignHash:
    return ForeignHash(
        algorithm, memory_kib, lambda password: hmac.compare_digest(derive(password), digest), reads=reads
    )


# bcrypt

_BCRYPT_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _bcrypt(cost: str, salt: str, digest: str) -> ForeignHash:
    return _bcrypt_of(lambda password: password, "bcrypt", cost, salt, digest, reads=BCRYPT_BYTES)


def _bcrypt_of(
    prepare: Callable[[bytes], bytes],
    algorithm: str,
    cost: str,
    salt: str,
    digest: str,
    reads: int | None = None,
) -> ForeignHash:
    if int(cost) < 4:
        raise InvalidHash(f"The hash needs a bcrypt cost of {int(cost)}; the least is 4.")
    costs.check("bcrypt", int(cost), f"a bcrypt cost of {int(cost)}")
    settings = f"$2b${int(cost):02}${_without_padding(salt, 0x30)}".encode()
    wanted = _without_padding(digest, 0x3C).encode()

    def derive(password: bytes) -> bytes:
        import bcrypt

        prepared = prepare(password)
        if b"\0" in prepared:
            # bcrypt repeats the password with a NUL between: `a` and `a\0a` are the same to it. C ends it at the NUL.
            return b""
        return bcrypt.hashpw(prepared[:BCRYPT_BYTES], settings)[-31:]

    return _derived(algorithm, wanted, derive, reads=reads)


def _without_padding(text: str, used_bits: int) -> str:
    """bcrypt's base64 with the unused bits of the last character cleared, which older versions of passlib set."""
    last = _BCRYPT_ALPHABET.index(text[-1]) & used_bits
    return text[:-1] + _BCRYPT_ALPHABET[last]


def _django_bcrypt_sha256(cost: str, salt: str, digest: str) -> ForeignHash:
    return _bcrypt_of(lambda password: binascii.hexlify(_sha("sha256", password)), "bcrypt-sha256", cost, salt, digest)


def _passlib_bcrypt_sha256(cost: str, salt: str, digest: str) -> ForeignHash:
    key = _without_padding(salt, 0x30).encode()

    def prepare(password: bytes) -> bytes:
        return binascii.b2a_base64(hmac.digest(key, password, "sha256"), newline=False)

    return _bcrypt_of(prepare, "bcrypt-sha256", cost, salt, digest)


def _passlib_bcrypt_sha256_v1(cost: str, salt: str, digest: str) -> ForeignHash:
    def prepare(password: bytes) -> bytes:
        return binascii.b2a_base64(_sha("sha256", password), newline=False)

    return _bcrypt_of(prepare, "bcrypt-sha256", cost, salt, digest)


# crypt(3) and phpass, which libpass computes

_CRYPT_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


_CRYPT_FORM = re.compile(
    r"\$1\$[!-#%-9;-~]{0,8}\$[./0-9A-Za-z]{22}|\$5\$(rounds=[0-9]+\$)?[!-#%-9;-~]{0,16}\$[./0-9A-Za-z]{43}"
    r"|\$6\$(rounds=[0-9]+\$)?[!-#%-9;-~]{0,16}\$[./0-9A-Za-z]{86}|\$[PH]\$[./0-9A-Za-z]{31}"
)


@cache
def _crypt_handlers() -> dict[str, tuple[str, Any]]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # It looks for the module crypt, which is deprecated.
        from passlib import hash as handlers  # type: ignore[import-untyped]

        for handler in (handlers.md5_crypt, handlers.sha256_crypt, handlers.sha512_crypt):
            handler.set_backend("builtin")  # Not the C library's: alike on every system and every Python.
        return {
            "$1$": ("md5-crypt", handlers.md5_crypt),
            "$5$": ("sha256-crypt", handlers.sha256_crypt),
            "$6$": ("sha512-crypt", handlers.sha512_crypt),
            "$P$": ("phpass", handlers.phpass),
            "$H$": ("phpass", handlers.phpass),
        }


def _crypt(text: str) -> ForeignHash:
    name, handler = _crypt_handlers()[text[:3]]
    try:
        parsed = handler.from_string(text) if _CRYPT_FORM.fullmatch(text) else None
    except ValueError:
        parsed = None
    # The last character holds 4 bits of a SHA-256, and 2 bits of the others: with more set, no password matches.
    last = 16 if name == "sha256-crypt" else 4
    if parsed is None or parsed.checksum is None or _CRYPT_ALPHABET.index(text[-1]) >= last:
        raise InvalidHash(f"The hash begins as one of {name}, and is damaged.")
    rounds = getattr(parsed, "rounds", None)
    if rounds is not None:
        costs.check(name, rounds, f"{'2^' if name == 'phpass' else ''}{rounds} rounds of {name}")

    def matches(password: bytes) -> bool:
        if len(password) > costs.MAX_CRYPT_BYTES or b"\0" in password:  # C ends the password at the NUL.
            return False
        return bool(handler.verify(password, text))

    return ForeignHash(name, 4, matches)


def _kratos_crypt(name: str, rest: str) -> ForeignHash:
    return _crypt({"md5": "$1", "sha256": "$5", "sha512": "$6"}[name] + rest)


# scrypt


def _scrypt_key(n: int, r: int, p: int, salt: bytes, length: int) -> tuple[int, Callable[[bytes], bytes]]:
    """The memory in KiB and the function of RFC 7914, within its bounds and the app's. Raises InvalidHash."""
    if n < 2 or n & (n - 1) or r < 1 or p < 1:
        raise InvalidHash("The hash has an invalid scrypt cost: N must be a power of 2, and r and p at least 1.")
    costs.check("scrypt", 128 * r * p * (n + 8) // 1024, f"N = {n}, r = {r}, p = {p} of scrypt")
    if n.bit_length() - 1 >= 16 * r:  # RFC 7914, section 2.
        raise InvalidHash(f"The hash has an invalid scrypt cost: N must be less than 2^(16 · r), which is 2^{16 * r}.")
    # RFC 7914, section 5: N blocks of 128 · r bytes; and p of them before and after.
    memory_kib = 128 * r * (n + p + 2) // 1024 + 1

    def derive(password: bytes) -> bytes:
        import hashlib

        _give_back_freed_memory()
        return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=(memory_kib + 1024) * 1024, dklen=length)

    return memory_kib, derive


def _scrypt(n: int, r: int, p: int, salt: bytes, digest: bytes) -> ForeignHash:
    _check_lengths(salt, digest)
    memory_kib, derive = _scrypt_key(n, r, p, salt, len(digest))
    return _derived("scrypt", digest, derive, memory_kib)


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
    # PHC and passlib write the exponent. Kratos writes N itself, which is never so small.
    n = 2 ** int(ln) if int(ln) < 64 else int(ln)
    return _scrypt(n, int(r), int(p), _base64(salt), _base64(digest))


def _django_scrypt(n: str, salt: str, r: str, p: str, digest: str) -> ForeignHash:
    return _scrypt(int(n), int(r), int(p), salt.encode(), _base64(digest))


def _werkzeug_scrypt(n: str, r: str, p: str, salt: str, digest: str) -> ForeignHash:
    return _scrypt(int(n), int(r), int(p), salt.encode(), _hex(digest))


def _firebase_scrypt(ln: str, r: str, p: str | None, salt: str, digest: str, separator: str, key: str) -> ForeignHash:
    """Firebase encrypts the project's signer key under a key that scrypt derives (github.com/firebase/scrypt)."""
    wanted, signer_key = _base64(digest), _base64(key)
    if len(wanted) != len(signer_key):
        raise InvalidHash("The digest in the hash is not as long as the signer key.")
    _check_lengths(_base64(salt), wanted)
    if not 1 <= int(ln) <= 30:
        raise InvalidHash(f"The hash has a memory cost (ln) of {ln}; 1 to 30 are accepted.")
    salt_bytes = _base64(salt) + (_base64(separator) if separator else b"")
    memory_kib, scrypt = _scrypt_key(2 ** int(ln), int(r), int(p or "1"), salt_bytes, 32)

    def derive(password: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import CTR

        return Cipher(AES(scrypt(password)), CTR(bytes(16))).encryptor().update(signer_key)

    return _derived("firebase-scrypt", wanted, derive, memory_kib)


# PBKDF2


def _pbkdf2(hash_name: str, iterations: int, salt: bytes, digest: bytes) -> ForeignHash:
    _check_lengths(salt, digest)
    if iterations < 1:
        raise InvalidHash("The hash needs 0 iterations of PBKDF2; the least is 1.")
    blocks = -(-len(digest) // _DIGEST_BYTES[hash_name])
    request = f"{iterations} iterations of PBKDF2-{hash_name.upper()} for each of {blocks} blocks"
    costs.check(f"pbkdf2-{hash_name}", iterations * blocks, request)

    def derive(password: bytes) -> bytes:
        import hashlib

        return hashlib.pbkdf2_hmac(hash_name, password, salt, iterations, len(digest))

    return _derived(f"pbkdf2-{hash_name}", digest, derive)


def _phc_pbkdf2(name: str | None, iterations: str, length: str | None, salt: str, digest: str) -> ForeignHash:
    tag = _base64(digest)
    if length is not None and int(length) != len(tag):
        raise InvalidHash(f"The hash declares a digest of {length} bytes, and has {len(tag)}.")
    return _pbkdf2(name or "sha1", int(iterations), _base64(salt), tag)


def _ldap_pbkdf2(name: str | None, iterations: str, salt: str, digest: str) -> ForeignHash:
    return _pbkdf2((name or "sha1").lower(), int(iterations), _base64(salt), _base64(digest))


def _django_pbkdf2(name: str, iterations: str, salt: str, digest: str) -> ForeignHash:
    return _pbkdf2(name, int(iterations), salt.encode(), _base64(digest))


def _werkzeug_pbkdf2(name: str, iterations: str, salt: str, digest: str) -> ForeignHash:
    return _pbkdf2(name, int(iterations), salt.encode(), _hex(digest))


def _aspnet_identity(data: str) -> ForeignHash:
    """ASP.NET Core Identity's PasswordHasher: a format byte, then salt and digest; in v3 also digest and iterations."""
    decoded = _base64(data)
    if decoded[:1] == b"\0":
        if len(decoded) != 49:
            raise InvalidHash("The hash begins as one of ASP.NET Identity v2, and does not have its 49 bytes.")
        return _pbkdf2("sha1", 1000, decoded[1:17], decoded[17:])
    if decoded[:1] != b"\1" or len(decoded) < 13:
        raise InvalidHash(f"The form of the hash is not known. Accepted are: {ACCEPTED}.")
    prf, iterations, salt_length = struct.unpack(">III", decoded[1:13])
    if prf > 2 or salt_length > len(decoded) - 13:
        raise InvalidHash("The hash begins as one of ASP.NET Identity v3, and is damaged.")
    hash_name = ("sha1", "sha256", "sha512")[prf]
    return _pbkdf2(hash_name, iterations, decoded[13 : 13 + salt_length], decoded[13 + salt_length :])


# Salted SHA of LDAP servers


def _ldap_sha(name: str | None, data: str) -> ForeignHash:
    hash_name = f"sha{name or '1'}"
    decoded = _base64(data)
    length = _DIGEST_BYTES[hash_name]
    digest, salt = decoded[:length], decoded[length:]
    if not 4 <= len(salt) <= 64:
        raise InvalidHash(f"The salt in the hash has {len(salt)} bytes; 4 to 64 are accepted.")
    return _derived(f"salted-{hash_name}", digest, lambda password: _sha(hash_name, password + salt), 1)


def _kratos_sha(name: str, pattern: str, salt: str, digest: str) -> ForeignHash:
    """Kratos writes how salt and password are joined: `{SALT}{PASSWORD}` in base64, for example."""
    hash_name, wanted, salt_bytes = f"sha{name}", _base64(digest), _base64(salt)
    parts = [part.replace(b"{SALT}", salt_bytes) for part in _base64(pattern).split(b"{PASSWORD}")]
    if len(parts) != 2 or len(wanted) != _DIGEST_BYTES[hash_name] or b"{SALT}" not in _base64(pattern):
        raise InvalidHash("The hash needs a pattern (pf) with {SALT} and one {PASSWORD}, and a digest of its length.")
    return _derived(f"salted-{hash_name}", wanted, lambda password: _sha(hash_name, password.join(parts)), 1)


def _sha(hash_name: str, data: bytes) -> bytes:
    import hashlib

    return hashlib.new(hash_name, data).digest()


# What they have in common


def _check_lengths(salt: bytes, digest: bytes) -> None:
    if not 1 <= len(salt) <= 128:
        raise InvalidHash(f"The salt in the hash has {len(salt)} bytes; 1 to 128 are accepted.")
    if not 16 <= len(digest) <= 128:
        raise InvalidHash(f"The digest in the hash has {len(digest)} bytes; 16 to 128 are accepted.")


def _base64(text: str) -> bytes:
    """Base64, padded or not, standard, URL-safe, or with '.' for '+' as passlib writes it."""
    plain = text.rstrip("=").translate(_TO_STANDARD)
    try:
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
    except binascii.Error:
        raise InvalidHash("The salt or the digest in the hash is not base64.") from None


_TO_STANDARD = str.maketrans(".-_", "++/")


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InvalidHash("The digest in the hash has an odd number of hexadecimal digits.") from None


_N = "[0-9]{1,10}"
_TEXT = "[!-#%-~]{1,128}"
_B64 = "[A-Za-z0-9+/._-]+={0,2}"
_BCRYPT = r"(?P<cost>[0-9]{2})\$(?P<salt>[A-Za-z0-9./]{22})(?P<digest>[A-Za-z0-9./]{31})"
_SALT_AND_DIGEST = r"\$(?P<salt>[A-Za-z0-9./]{22})\$(?P<digest>[A-Za-z0-9./]{31})"
_FORMS: tuple[tuple[str, Callable[..., ForeignHash]], ...] = (
    (rf"(?:bcrypt\$)?\$2[aby]\${_BCRYPT}", _bcrypt),
    (rf"bcrypt_sha256\$\$2[aby]\${_BCRYPT}", _django_bcrypt_sha256),
    (rf"\$bcrypt-sha256\$v=2,t=2b,r=(?P<cost>[0-9]{{1,2}}){_SALT_AND_DIGEST}", _passlib_bcrypt_sha256),
    (rf"\$bcrypt-sha256\$2[ab],(?P<cost>[0-9]{{1,2}}){_SALT_AND_DIGEST}", _passlib_bcrypt_sha256_v1),
    (r"(?P<text>\$[156PH]\$[ -~]+)", _crypt),
    (r"\$(?P<name>md5|sha256|sha512)-crypt(?P<rest>\$[ -~]+)", _kratos_crypt),
    (rf"\$sha(?P<name>1|256|512)\$pf=(?P<pattern>{_B64})\$(?P<salt>{_B64})\$(?P<digest>{_B64})", _kratos_sha),
    (
        rf"\$scrypt\$ln=(?P<ln>{_N}),r=(?P<r>{_N}),p=(?P<p>{_N})\$(?P<salt>{_B64})\$(?P<digest>{_B64})",
        _phc_scrypt,
    ),
    (
        rf"scrypt\$(?P<n>{_N})\$(?P<salt>{_TEXT})\$(?P<r>{_N})\$(?P<p>{_N})\$(?P<digest>{_B64})",
        _django_scrypt,
    ),
    (
        rf"scrypt:(?P<n>{_N}):(?P<r>{_N}):(?P<p>{_N})\$(?P<salt>{_TEXT})\$(?P<digest>[0-9A-Fa-f]+)",
        _werkzeug_scrypt,
    ),
    (
        (
            rf"\$firescrypt\$ln=(?P<ln>{_N}),r=(?P<r>{_N})(?:,p=(?P<p>{_N}))?\$(?P<salt>{_B64})\$(?P<digest>{_B64})"
            rf"\$(?P<separator>(?:{_B64})?)\$(?P<key>{_B64})"
        ),
        _firebase_scrypt,
    ),
    (
        # As Supabase writes it.
        (
            rf"\$fbscrypt\$v=1,n=(?P<ln>{_N}),r=(?P<r>{_N}),p=(?P<p>{_N})"
            rf",ss=(?P<separator>(?:{_B64})?),sk=(?P<key>{_B64})\$(?P<salt>{_B64})\$(?P<digest>{_B64})"
        ),
        _firebase_scrypt,
    ),
    (
        (
            rf"\$pbkdf2(?:-(?P<name>sha1|sha256|sha512))?\$(?:i=)?(?P<iterations>{_N})(?:,l=(?P<length>[0-9]{{1,3}}))?"
            rf"\$(?P<salt>{_B64})\$(?P<digest>{_B64})"
        ),
        _phc_pbkdf2,
    ),
    (
        rf"(?i:\{{PBKDF2(?:-(?P<name>SHA1|SHA256|SHA512))?\}})(?P<iterations>{_N})\$(?P<salt>{_B64})\$(?P<digest>{_B64})",
        _ldap_pbkdf2,
    ),
    (
        rf"pbkdf2_(?P<name>sha1|sha256)\$(?P<iterations>{_N})\$(?P<salt>{_TEXT})\$(?P<digest>{_B64})",
        _django_pbkdf2,
    ),
    (
        rf"pbkdf2:(?P<name>sha1|sha256|sha512):(?P<iterations>{_N})\$(?P<salt>{_TEXT})\$(?P<digest>[0-9A-Fa-f]+)",
        _werkzeug_pbkdf2,
    ),
    (rf"(?i:\{{SSHA(?P<name>256|384|512)?\}})(?P<data>{_B64})", _ldap_sha),
    (r"(?P<data>A[A-Za-z0-9+/]{40,}={0,2})", _aspnet_identity),
)


@cache
def _forms() -> list[tuple[re.Pattern[str], Callable[..., ForeignHash]]]:
    return [(re.compile(form, re.ASCII), parse) for form, parse in _FORMS]
