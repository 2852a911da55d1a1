"""What a key encrypted under a passphrase costs to open: whoever sends it chooses that, and a worker has one core.

The ASN.1 of EncryptedPrivateKeyInfo (RFC 5958, section 3) and of its parameters (RFC 8018, appendix A; RFC 7914,
section 7), as far as it says the cost. Loaded where such a key comes in.
"""

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from shared.errors import invalid_field

MAX_ITERATIONS = 1_000_000
"""A fifth of a second of a core; OWASP asks for 600,000 of PBKDF2, and openssl takes 2,048."""
MAX_SCRYPT_KIB = 128 * 1024
"""Memory times lanes; openssl takes 16 MiB."""

_PBES2 = ObjectIdentifier("1.2.840.113549.1.5.13")
_SCRYPT = ObjectIdentifier("1.3.6.1.4.1.11591.4.11")


@asn1.sequence
class _Algorithm:
    algorithm: ObjectIdentifier
    parameters: asn1.TLV


@asn1.sequence
class _EncryptedPrivateKeyInfo:
    algorithm: _Algorithm
    encrypted_data: bytes


@asn1.sequence
class _Pbes1:
    salt: bytes
    iterations: int


@asn1.sequence
class _Pbes2:
    derivation: _Algorithm
    cipher: _Algorithm


@asn1.sequence
class _Prf:
    algorithm: ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class _Pbkdf2:
    salt: bytes
    iterations: int
    key_length: int | None
    prf: _Prf | None


@asn1.sequence
class _Scrypt:
    salt: bytes
    n: int
    r: int
    p: int
    key_length: int | None


def check_cost(der: bytes, field: str) -> None:
    """Raise InvalidRequest where opening this EncryptedPrivateKeyInfo costs too much, ValueError where it is none."""
    algorithm = asn1.decode_der(_EncryptedPrivateKeyInfo, der).algorithm
    if algorithm.algorithm != _PBES2:
        iterations = algorithm.parameters.parse(_Pbes1).iterations
    else:
        derivation = algorithm.parameters.parse(_Pbes2).derivation
        if derivation.algorithm == _SCRYPT:
            scrypt = derivation.parameters.parse(_Scrypt)
            kib = scrypt.n * scrypt.r * scrypt.p // 8
            if kib > MAX_SCRYPT_KIB:
                asked = f"{kib} KiB of scrypt (128 · N · r · p), and at most {MAX_SCRYPT_KIB}"
                raise invalid_field(field, f"asks for {asked} are computed here. {_ANEW}")
            return
        iterations = derivation.parameters.parse(_Pbkdf2).iterations
    if iterations > MAX_ITERATIONS:
        asked = f"{iterations} iterations of its passphrase, and at most {MAX_ITERATIONS}"
        raise invalid_field(field, f"asks for {asked} are computed here. {_ANEW}")


_ANEW = "Encrypt it anew, as `openssl pkcs8 -topk8` does."
