"""Keys as PEM and DER: which structure it is, judged by its bytes, and the key in it. Pure.

Reads what common tools write: parameters or certificates before the key, indentation, blanks at the end of lines, all
of it in one line. RFC 7468 (PEM), RFC 5280 (SubjectPublicKeyInfo, certificates), RFC 5958 (PKCS#8), RFC 8017 (PKCS#1),
RFC 5915 (SEC1), RFC 8410 (Ed25519, X25519), RFC 9881 (ML-DSA).
"""

import base64
import re
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from shared.errors import invalid_field
from shared.signing import der, pbe
from shared.signing.algorithms import AnyPrivateKey, AnyPublicKey
from shared.signing.errors import UnsupportedKey, WeakKey
from shared.signing.rsa_numbers import RsaNumbers, check_public, completed
from shared.signing.strength import SERVED

MAX_KEY_BYTES = 16_384
"""The largest structure that is read; a key of ML-DSA-87 takes 5 KB."""

_RSA, _RSA_PSS, _EC = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.10", "1.2.840.10045.2.1"
_ED25519, _X25519 = "1.3.101.112", "1.3.101.110"
_ML_DSA = frozenset({"2.16.840.1.101.3.4.3.17", "2.16.840.1.101.3.4.3.18", "2.16.840.1.101.3.4.3.19"})
CURVES: dict[str, tuple[ec.EllipticCurve, int]] = {
    "P-256": (ec.SECP256R1(), 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551),
    "P-384": (
        ec.SECP384R1(),
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    ),
    "P-521": (
        ec.SECP521R1(),
        0x01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
    ),
}
"""The curves, and the orders of their base points (SP 800-186, section 3.2.1)."""
_CURVE_OIDS = {"1.2.840.10045.3.1.7": "P-256", "1.3.132.0.34": "P-384", "1.3.132.0.35": "P-521"}
_PUBLIC_LABELS = ("PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
_BEGIN = re.compile("-----BEGIN ([A-Z0-9 ]{1,40})-----")

PRIVATE_SENT = (
    "This field is for a public key, and holds a private key. Send the public half. If the private key was sent by "
    "mistake, replace it."
)


class Block(NamedTuple):
    """One structure of a PEM text: its label, and the text between its lines."""

    label: str
    inner: str


def blocks(text: str, field: str) -> list[Block]:
    """The structures in `text`, in order. Raises InvalidRequest if there is none."""
    parsed = []
    at = 0
    text = text.replace("\\n", "\n")  # A PEM in an environment variable is often written so.
    while begin := _BEGIN.search(text, at):
        end = text.find(f"-----END {begin[1]}-----", begin.end())
        if end < 0:
            break
        parsed.append(Block(begin[1], text[begin.end() : end].strip()))
        at = end + len(begin[1])
        if len(parsed) > 100:
            break
    if not parsed:
        raise invalid_field(
            field,
            f"`{field}` is neither PEM, with whole lines -----BEGIN … KEY----- and -----END … KEY-----, nor a JWK.",
        )
    return parsed


def parse_public(text: str, field: str) -> AnyPublicKey:
    """The first public key, or certificate's key, in PEM. Its strength is not judged yet, except for RSA's numbers.

    Raises InvalidRequest, WeakKey and UnsupportedKey.
    """
    parsed = blocks(text, field)
    if any(each.label.endswith("PRIVATE KEY") for each in parsed):
        raise invalid_field(field, PRIVATE_SENT)
    block = next((each for each in parsed if each.label in _PUBLIC_LABELS), None)
    if block is None:
        raise invalid_field(
            field, f"`{field}` is PEM of another kind ({parsed[0].label}). Send a PUBLIC KEY or a CERTIFICATE."
        )
    data = _decoded(block.inner, field)
    try:
        return _public(_certified(data) if "CERTIFICATE" in block.label else data)
    except UnsupportedAlgorithm:
        raise UnsupportedKey(f"Keys of this type are not supported. {SERVED}") from None
    except (ValueError, TypeError, IndexError, InternalError):
        raise WeakKey("This is not a valid public key: its structure, its numbers or its point are wrong.") from None


def parse_private(text: str, field: str, passphrase: str | None) -> AnyPrivateKey:
    """The first private key in PEM, decrypted by `passphrase` if it is encrypted.

    Raises InvalidRequest, naming `passphrase` if that is wrong, WeakKey and UnsupportedKey.
    """
    parsed = blocks(text, field)
    block = next((each for each in parsed if each.label.endswith("PRIVATE KEY")), None)
    if block is None or block.label == "OPENSSH PRIVATE KEY":
        label = parsed[0].label if block is None else block.label
        raise invalid_field(field, f"`{field}` is PEM of another kind ({label}). Send a PRIVATE KEY, in PKCS#8.")
    headers, body = _headers(block.inner)
    data = _decoded(body, field, is_der=not headers)
    encrypted = "ENCRYPTED" in headers or pbe.is_encrypted(data)
    if not headers and encrypted != (block.label == "ENCRYPTED PRIVATE KEY"):
        right, actual = ("ENCRYPTED PRIVATE KEY", "an encrypted") if encrypted else ("PRIVATE KEY", "a plain")
        raise invalid_field(
            field, f"The PEM is labelled {block.label} and holds {actual} key. Correct both labels to {right}."
        )
    if encrypted and passphrase is None:
        raise invalid_field("passphrase", "The key is encrypted. Send its `passphrase`.")
    if not encrypted and passphrase is not None:
        raise invalid_field("passphrase", "The key is not encrypted. Leave `passphrase` out.")
    try:
        if headers:
            data = pbe.decrypt_pem(headers, data, passphrase or "")
        elif encrypted:
            data = pbe.decrypt(data, passphrase or "", field)
    except (pbe.WrongPassphrase, ValueError, IndexError):
        raise invalid_field("passphrase", "The `passphrase` does not decrypt the key, or the key is damaged.") from None
    try:
        return _private(data)
    except UnsupportedAlgorithm:
        raise UnsupportedKey(f"Keys of this type are not supported. {SERVED}") from None
    except (ValueError, TypeError, IndexError, InternalError):
        if encrypted:  # A wrong passphrase leaves a right padding in one of 256 cases.
            raise invalid_field(
                "passphrase", "The `passphrase` does not decrypt the key, or the key is damaged."
            ) from None
        raise WeakKey("This is not a valid private key: its structure or its numbers are wrong.") from None


def private_from_numbers(numbers: RsaNumbers) -> rsa.RSAPrivateKey:
    """An RSA key of these numbers. Raises WeakKey and UnsupportedKey, and ValueError if p or q is not prime."""
    n, e, d, p, q, dp, dq, qi = completed(numbers)
    return rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, rsa.RSAPublicNumbers(e, n)).private_key()


def private_on_curve(name: str, scalar: bytes, point: bytes | None) -> ec.EllipticCurvePrivateKey:
    """An EC key. Raises WeakKey if `scalar` is out of range, or `point` is not its public half (SP 800-56A, 5.6.2)."""
    curve, order = CURVES[name]
    if len(scalar) > (curve.key_size + 7) // 8 or not 1 <= int.from_bytes(scalar) < order:
        raise WeakKey(f"The private number of this {name} key is not between 1 and the order of the curve.")
    key = ec.derive_private_key(int.from_bytes(scalar), curve)
    if point is not None and key.public_key() != public_on_curve(name, point):
        raise WeakKey(f"The public half of this {name} key does not belong to its private half.")
    return key


def public_on_curve(name: str, point: bytes) -> ec.EllipticCurvePublicKey:
    """The key at a point, uncompressed or compressed. Raises WeakKey for the hybrid form, ValueError off the curve."""
    if point[:1] in (b"\x06", b"\x07"):  # OpenSSL reads it, and RFC 5480, section 2.2, says to reject it.
        raise WeakKey("The point of this key is in the hybrid form. Send it uncompressed, as openssl writes it.")
    return ec.EllipticCurvePublicKey.from_encoded_point(CURVES[name][0], point)


def _headers(inner: str) -> tuple[str, str]:
    """The headers of a PEM in OpenSSL's own encryption (`Proc-Type`, `DEK-Info`), and its body."""
    if "Proc-Type:" not in inner:
        return "", inner
    lines = [line.strip() for line in inner.splitlines()]
    headers = [line for line in lines if ":" in line]
    return "\n".join(headers), "\n".join(line for line in lines if ":" not in line)


def _decoded(inner: str, field: str, *, is_der: bool = True) -> bytes:
    """The bytes in the base64 of a PEM; with `is_der` one whole SEQUENCE. Raises InvalidRequest."""
    try:
        data = base64.b64decode("".join(inner.split()), validate=True)
    except ValueError:
        data = b""
    if not data or (is_der and not _is_whole(data)):
        raise invalid_field(field, "The text between the lines of the PEM is not base64 of a DER structure.")
    if len(data) > MAX_KEY_BYTES:
        raise UnsupportedKey(f"The PEM holds {len(data)} bytes. The largest key here takes {MAX_KEY_BYTES}.")
    return data


def _is_whole(data: bytes) -> bool:
    """Whether this is one SEQUENCE, from its first byte to its last. Its content is checked later."""
    if len(data) < 2 or data[0] != der.SEQUENCE:
        return False
    if data[1] < 0x80:
        return len(data) == 2 + data[1]
    size = data[1] & 0x7F
    return len(data) == 2 + size + int.from_bytes(data[2 : 2 + size])


def _certified(data: bytes) -> bytes:
    """The SubjectPublicKeyInfo in a certificate of version 1 or 3 (RFC 5280, section 4.1)."""
    to_sign, *_ = der.sequence(data)
    fields = der.elements(der.expect(to_sign, der.SEQUENCE))
    if fields[0].tag == 0xA0 and der.integer(der.elements(fields.pop(0).content)[0]) not in (0, 2):
        raise ValueError("a version that does not exist")
    return fields[5].whole


def _public(data: bytes) -> AnyPublicKey:
    parts = der.sequence(data)
    if parts[0].tag == der.INTEGER:  # PKCS#1
        n, e = map(der.integer, parts)
        return _rsa_public(n, e)
    algorithm, key = parts
    oid, *parameters = der.elements(der.expect(algorithm, der.SEQUENCE))
    raw = der.bits(der.expect(key, der.BIT_STRING))
    kind = _served(der.oid(oid))
    if kind == _RSA:
        n, e = map(der.integer, der.sequence(raw))
        return _rsa_public(n, e)
    if kind == _EC:
        return public_on_curve(_curve(parameters[0]), raw)
    if kind == _ED25519:
        return ed25519.Ed25519PublicKey.from_public_bytes(raw)
    if kind == _X25519:
        return x25519.X25519PublicKey.from_public_bytes(raw)
    return cast(AnyPublicKey, load_der_public_key(data))


def _rsa_public(n: int, e: int) -> rsa.RSAPublicKey:
    check_public(n, e)
    return rsa.RSAPublicNumbers(e, n).public_key()


def _private(data: bytes) -> AnyPrivateKey:
    version, *parts = der.sequence(data)
    number = der.integer(version)
    if parts[0].tag == der.INTEGER:  # PKCS#1, of two primes
        if number != 0:
            raise UnsupportedKey("RSA keys of more than two primes are not supported.")
        return private_from_numbers(_rsa_numbers(parts))
    if parts[0].tag == der.OCTET_STRING:  # SEC1
        return _sec1(data, None)
    if number > 1:
        raise ValueError("a version of PKCS#8 that does not exist")
    oid, *parameters = der.elements(der.expect(parts[0], der.SEQUENCE))
    inner = der.expect(parts[1], der.OCTET_STRING)
    kind = _served(der.oid(oid))
    if kind == _RSA:
        pkcs1_version, *numbers = der.sequence(inner)
        if der.integer(pkcs1_version) != 0:
            raise UnsupportedKey("RSA keys of more than two primes are not supported.")
        return private_from_numbers(_rsa_numbers(numbers))
    if kind == _EC:
        return _sec1(inner, _curve(parameters[0]))
    public = next((der.bits(each.content) for each in parts[2:] if each.tag == 0x81), None)
    if kind in (_ED25519, _X25519):
        from_bytes: Callable[[bytes], Any] = (
            ed25519.Ed25519PrivateKey.from_private_bytes
            if kind == _ED25519
            else x25519.X25519PrivateKey.from_private_bytes
        )
        seed, *more = der.elements(inner)
        key = from_bytes(der.expect(seed, der.OCTET_STRING))
        if more or (public is not None and key.public_key().public_bytes_raw() != public):
            raise WeakKey("The public half of this key does not belong to its private half. Export the key again.")
        return cast(AnyPrivateKey, key)
    return cast(AnyPrivateKey, load_der_private_key(data, None))


def _rsa_numbers(parts: list[der.Element]) -> RsaNumbers:
    n, e, d, p, q, dp, dq, qi = map(der.integer, parts)
    if not (p and q and dp and dq and qi):
        raise ValueError("a number is zero")
    return RsaNumbers(n, e, d, p, q, dp, dq, qi)


def _sec1(data: bytes, curve: str | None) -> ec.EllipticCurvePrivateKey:
    version, scalar, *optional = der.sequence(data)
    if der.integer(version) != 1:
        raise ValueError("a version of SEC1 that does not exist")
    named = point = None
    for each in optional:
        inner = der.elements(each.content)[0]
        if each.tag == 0xA0:
            named = _curve(inner)
        elif each.tag == 0xA1:
            point = der.bits(der.expect(inner, der.BIT_STRING))
    name = curve or named
    if name is None or (named is not None and named != name):
        raise ValueError("no curve, or two")
    return private_on_curve(name, der.expect(scalar, der.OCTET_STRING), point)


def _curve(parameters: der.Element) -> str:
    if parameters.tag != der.OID:  # Parameters that the sender chose, with any curve (CVE-2020-0601).
        raise UnsupportedKey("The EC key spells its curve out. Name it, as `openssl ec -param_enc named_curve` does.")
    name = _CURVE_OIDS.get(der.oid(parameters))
    if name is None:
        raise UnsupportedKey(f"Keys on this curve are not supported. {SERVED}")
    return name


def _served(oid: str) -> str:
    if oid == _RSA_PSS:
        raise UnsupportedKey(
            "Keys of the type RSASSA-PSS are not supported. Use an RSA key, which signs with PSS by default here."
        )
    if oid not in (_RSA, _EC, _ED25519, _X25519) and oid not in _ML_DSA:
        raise UnsupportedKey(f"Keys of this type are not supported. {SERVED}")
    return oid
