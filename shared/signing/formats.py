"""Keys as the outside writes them: PEM, X.509 and JWK; and which public keys are too weak to trust. Pure."""

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Any, cast

import msgspec

from shared.errors import UnsupportedKey, WeakKey, invalid_field
from shared.web import encode_base64

if TYPE_CHECKING:
    from shared.signing.algorithms import PublicKey

SERVED = "Use RSA, P-256, P-384, P-521, Ed25519 or ML-DSA."
MAX_RSA_BITS = 16384
"""OpenSSL's own limit."""
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}

# The points of small order on edwards25519, whose "signatures" fit many messages, in all of their encodings
# (the sign bit is cleared before looking): RFC 8032, section 5.1.3, decodes more than the eight canonical ones.
_SMALL_ORDER = frozenset(
    bytes.fromhex(each)
    for each in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)


def type_of(public_key: "PublicKey") -> str:
    """The type of a key that we serve, as in `RSA-3072` or `P-256`. Raises UnsupportedKey."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

    if isinstance(public_key, rsa.RSAPublicKey):
        return f"RSA-{public_key.key_size}"
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name in _CURVES:
        return _CURVES[public_key.curve.name]
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return "Ed25519"
    kinds = ((mldsa.MLDSA44PublicKey, "44"), (mldsa.MLDSA65PublicKey, "65"), (mldsa.MLDSA87PublicKey, "87"))
    for kind, size in kinds:
        if isinstance(public_key, kind):
            return f"ML-DSA-{size}"
    raise UnsupportedKey(SERVED)


def parse_public_pem(text: str, field: str) -> "PublicKey":
    """The public key in `text`: SubjectPublicKeyInfo or PKCS#1, or an X.509 certificate, whose key alone is looked at.

    Raises InvalidRequest where it is no PEM of those, WeakKey and UnsupportedKey where it is one not to be used.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key
    from cryptography.x509 import load_der_x509_certificate

    label, der = _unarmoured(text, field)
    if label.endswith("PRIVATE KEY"):
        raise invalid_field(
            field, "holds a private key: send its public half, and replace the key if it was sent by mistake."
        )
    if label not in ("PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"):
        raise invalid_field(field, f"is PEM of a kind that is not read: {label}. Send PUBLIC KEY or CERTIFICATE.")
    try:
        key = load_der_x509_certificate(der).public_key() if label == "CERTIFICATE" else load_der_public_key(der)
    except UnsupportedAlgorithm:
        raise UnsupportedKey(SERVED) from None
    except ValueError:
        raise WeakKey("This is no valid public key: its structure, its numbers or its point are not.") from None
    checked = cast("PublicKey", key)
    check_strength(checked)  # Refuses all other types.
    return checked


def _unarmoured(text: str, field: str) -> tuple[str, bytes]:
    """Label and content of the first PEM structure in `text` (RFC 7468). Raises InvalidRequest."""
    begin = re.search("-----BEGIN ([A-Z0-9 ]{1,40})-----", text)
    end = text.find(f"-----END {begin[1]}-----", begin.end()) if begin else -1
    if begin is None or end < 0:
        raise invalid_field(field, "is no PEM: it must begin with -----BEGIN PUBLIC KEY-----, and end in the same way.")
    inner = text[begin.end() : end].strip()
    if " " in inner:
        raise invalid_field(field, "has a space within its base64: in a URL a '+' means one. Write '+' as %2B.")
    try:
        der = base64.b64decode("".join(inner.split()), validate=True)
    except ValueError:
        der = b""
    if not _is_whole(der):
        raise invalid_field(field, "is no PEM: between its lines stands no base64 of a DER structure.")
    return begin[1], der


def _is_whole(der: bytes) -> bool:
    """Whether this is one SEQUENCE, from its first byte to its last (X.690, section 8.1)."""
    if len(der) < 2 or der[0] != 0x30:
        return False
    if der[1] < 0x80:
        return len(der) == 2 + der[1]
    size = der[1] & 0x7F
    return len(der) == 2 + size + int.from_bytes(der[2 : 2 + size])


def check_strength(public_key: "PublicKey") -> None:
    """Raise WeakKey where nobody should trust a signature under this key, UnsupportedKey where we serve no such type.

    RSA by FIPS 186-5, section 5.4 and appendix A.1.1: at least 2048 bits, and 2^16 < e < 2^256, odd.
    """
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    type_of(public_key)
    if isinstance(public_key, rsa.RSAPublicKey):
        if not 2048 <= public_key.key_size <= MAX_RSA_BITS:
            raise WeakKey(f"This RSA key has {public_key.key_size} bits, and must have 2048 to {MAX_RSA_BITS}.")
        numbers = public_key.public_numbers()
        if not (numbers.e % 2 and 1 << 16 < numbers.e < 1 << 256):
            raise WeakKey("This RSA key's exponent must be odd, over 2^16 and under 2^256; 65537 is usual.")
        if numbers.n % 2 == 0:
            raise WeakKey("This RSA key's modulus is even, which no product of two large primes is.")
    elif isinstance(public_key, ed25519.Ed25519PublicKey):
        raw = public_key.public_bytes_raw()
        if raw[:-1] + bytes([raw[-1] & 0x7F]) in _SMALL_ORDER:
            raise WeakKey("This Ed25519 key is a point of small order: it verifies what nobody signed.")


def to_jwk(public_key: "PublicKey") -> dict[str, str]:
    """`public_key` as a JWK, with the members that its type requires (RFC 7518 section 6, RFC 8037, RFC 9964)."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(public_key, rsa.RSAPublicKey):
        rsa_numbers = public_key.public_numbers()
        return {"e": _number(rsa_numbers.e), "kty": "RSA", "n": _number(rsa_numbers.n)}
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        size = (public_key.key_size + 7) // 8
        ec_numbers = public_key.public_numbers()
        x, y = (encode_base64(number.to_bytes(size)) for number in (ec_numbers.x, ec_numbers.y))
        return {"crv": type_of(public_key), "kty": "EC", "x": x, "y": y}
    kind, raw = type_of(public_key), encode_base64(public_key.public_bytes_raw())
    if kind.startswith("ML-DSA"):
        return {"alg": kind, "kty": "AKP", "pub": raw}
    return {"crv": kind, "kty": "OKP", "x": raw}


def thumbprint(public_key: "PublicKey") -> str:
    """The JWK thumbprint (RFC 7638), SHA-256 in base64url: what `key_id` is."""
    # The required members, in order of their names, without white space.
    return encode_base64(hashlib.sha256(msgspec.json.encode(to_jwk(public_key), order="sorted")).digest())


def _number(number: int) -> str:
    """RFC 7518, section 2: big-endian, as short as it goes."""
    return encode_base64(number.to_bytes((number.bit_length() + 7) // 8))


def to_spki(public_key: Any) -> bytes:
    """`public_key` as SubjectPublicKeyInfo, DER (RFC 5280, section 4.1)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    spki: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return spki


def to_pkcs8(private_key: Any) -> bytes:
    """`private_key` as PKCS#8, DER, not encrypted (RFC 5958)."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pkcs8: bytes = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return pkcs8
