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
class _Pbes2:
    derivation: _Algorithm
    cipher: _Algorithm


@asn1.sequence
class _Prf:
    algorithm: ObjectIdentifier
    parameters: asn1.Null | None


@asn1.sequence
class _Pbkdf2:
    """Of PBES1, which is older, the parameters are the first two alone."""

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
    if algorithm.algorithm == _PBES2:
        algorithm = algorithm.parameters.parse(_Pbes2).derivation
    if algorithm.algorithm == _SCRYPT:
        scrypt = algorithm.parameters.parse(_Scrypt)
        cost, most, unit = scrypt.n * scrypt.r * scrypt.p // 8, MAX_SCRYPT_KIB, "KiB of scrypt (128 · N · r · p)"
    else:
        cost, most = algorithm.parameters.parse(_Pbkdf2).iterations, MAX_ITERATIONS
        unit = "iterations of its passphrase"
    if cost > most:
        raise invalid_field(
            field,
            f"asks for {cost} {unit}, and at most {most} are computed here. "
            "Encrypt it anew, as `openssl pkcs8 -topk8` does.",
        )
