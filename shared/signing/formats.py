"""Keys as the outside writes them: PEM, X.509 and JWK; and which public keys are too weak to trust. Pure."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from shared.errors import InvalidRequest, invalid_field
from shared.signing.errors import UnsupportedKey, WeakKey
from shared.web import decode_base64, encode_base64

if TYPE_CHECKING:
    from shared.signing.algorithms import AnyPrivateKey, AnyPublicKey

SERVED = "Use RSA, P-256, P-384, P-521, Ed25519, X25519 or ML-DSA."
MAX_RSA_BITS = 16384
"""OpenSSL's own limit."""
MAX_PRIVATE_RSA_BITS = 4096
"""The largest that is stored. To check one of 16,384 bits takes a core half a minute."""
AES_BYTES = 32
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})

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


def type_of(public_key: "AnyPublicKey") -> str:
    """The type of a key that we serve, as in `RSA-3072` or `P-256`. Raises UnsupportedKey."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa, x25519

    if isinstance(public_key, rsa.RSAPublicKey):
        return f"RSA-{public_key.key_size}"
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name in _CURVES:
        return _CURVES[public_key.curve.name]
    kinds = (
        (ed25519.Ed25519PublicKey, "Ed25519"),
        (x25519.X25519PublicKey, "X25519"),
        (mldsa.MLDSA44PublicKey, "ML-DSA-44"),
        (mldsa.MLDSA65PublicKey, "ML-DSA-65"),
        (mldsa.MLDSA87PublicKey, "ML-DSA-87"),
    )
    for kind, name in kinds:
        if isinstance(public_key, kind):
            return name
    raise UnsupportedKey(SERVED)


def check_strength(public_key: "AnyPublicKey") -> None:
    """Raise WeakKey where nobody should trust this key, UnsupportedKey where we serve no such type.

    RSA by FIPS 186-5, section 5.4 and appendix A.1.1: at least 2048 bits, and 2^16 < e < 2^256, odd.
    """
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa, x25519

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
    elif isinstance(public_key, x25519.X25519PublicKey):
        try:
            x25519.X25519PrivateKey.generate().exchange(public_key)
        except ValueError:  # RFC 7748, section 6.1: a shared secret of zeros.
            raise WeakKey("This X25519 key is a point of small order: anyone knows what it agrees upon.") from None


# Reading


def parse_public(given: str | Mapping[str, Any], field: str) -> "tuple[AnyPublicKey, str | None]":
    """A public key, and the algorithm that it names (only a JWK may).

    `given` is PEM (SubjectPublicKeyInfo, PKCS#1, or an X.509 certificate, whose key alone is looked at), or a JWK, as
    an object or as its text. Raises InvalidRequest where it is none of those, WeakKey and UnsupportedKey where it is
    one not to be used.
    """
    if isinstance(given, str) and not given.lstrip().startswith("{"):
        return _parse_public_pem(given, field), None
    jwk = _jwk(given, field)
    if jwk.keys() & _PRIVATE_MEMBERS:
        raise invalid_field(field, _PRIVATE_SENT)
    key = cast("AnyPublicKey", _from_jwk(jwk, field))
    check_strength(key)
    algorithm = jwk.get("alg")
    return key, algorithm if isinstance(algorithm, str) else None


def parse_private(given: str | Mapping[str, Any], field: str, passphrase: str | None) -> "AnyPrivateKey | bytes":
    """A private key: PKCS#8, PKCS#1 or SEC1 as PEM, which `passphrase` opens where it is encrypted, or a JWK.

    An AES key (only a JWK holds one) comes as its 32 bytes. Raises as `parse_public` does, naming `passphrase` where
    that is what is wrong.
    """
    if isinstance(given, str) and not given.lstrip().startswith("{"):
        private_key: AnyPrivateKey | bytes = _parse_private_pem(given, field, passphrase)
    else:
        jwk = _jwk(given, field)
        if passphrase is not None:
            raise invalid_field("passphrase", "goes with an encrypted PEM, and this is a JWK.")
        private_key = cast("AnyPrivateKey | bytes", _from_jwk(jwk, field))
        # Which member makes a key private depends on its kind, so the key itself is asked.
        if not isinstance(private_key, bytes) and not hasattr(private_key, "public_key"):
            raise invalid_field(field, "holds a public key: send it as public_key.")
    if not isinstance(private_key, bytes):
        check_strength(private_key.public_key())
    return private_key


_PRIVATE_SENT = "holds a private key: send its public half, and replace the key if it was sent by mistake."


def _parse_public_pem(text: str, field: str) -> "AnyPublicKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
    from cryptography.x509 import InvalidVersion, load_der_x509_certificate

    label, inner = _armoured(text, field)
    if label.endswith("PRIVATE KEY"):
        raise invalid_field(field, _PRIVATE_SENT)
    if label not in ("PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"):
        raise invalid_field(field, f"is PEM of a kind that is not read: {label}. Send PUBLIC KEY or CERTIFICATE.")
    der = _decoded(inner, field)
    try:
        key = load_der_x509_certificate(der).public_key() if label == "CERTIFICATE" else load_der_public_key(der)
    except UnsupportedAlgorithm:
        raise UnsupportedKey(SERVED) from None
    except (ValueError, InvalidVersion):
        raise WeakKey("This is no valid public key: its structure, its numbers or its point are not.") from None
    checked = cast("AnyPublicKey", key)
    check_strength(checked)  # Refuses all other types.
    if isinstance(checked, ec.EllipticCurvePublicKey) and not any(
        checked.public_bytes(Encoding.X962, form) in der
        for form in (PublicFormat.UncompressedPoint, PublicFormat.CompressedPoint)
    ):
        # OpenSSL reads it, and RFC 5480, section 2.2, says that it must be rejected.
        raise WeakKey(
            "This key's point is in the hybrid form. Send the key with its point uncompressed, as openssl does."
        )
    return checked


def _parse_private_pem(text: str, field: str, passphrase: str | None) -> "AnyPrivateKey":
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key

    from shared.signing.pbe import check_cost

    label, inner = _armoured(text, field)
    if not label.endswith("PRIVATE KEY") or label == "OPENSSH PRIVATE KEY":
        raise invalid_field(field, f"is PEM of a kind that is not read: {label}. Send PRIVATE KEY, in PKCS#8.")
    is_encrypted = label == "ENCRYPTED PRIVATE KEY" or "ENCRYPTED" in inner
    if is_encrypted != (passphrase is not None):
        raise invalid_field(
            "passphrase",
            "is missing: the key is encrypted." if is_encrypted else "is given, and the key is not encrypted.",
        )
    password = None if passphrase is None else passphrase.encode()
    try:
        if is_encrypted and label != "ENCRYPTED PRIVATE KEY":  # openssl's older form, whose headers are no DER.
            pem = f"-----BEGIN {label}-----\n{inner}\n-----END {label}-----\n"
            key = load_pem_private_key(pem.encode(), password, unsafe_skip_rsa_key_validation=True)
        else:
            der = _decoded(inner, field)
            if is_encrypted:
                check_cost(der, field)
            key = load_der_private_key(der, password, unsafe_skip_rsa_key_validation=True)
        if isinstance(key, rsa.RSAPrivateKey):  # Its check takes long where it is large, so the size comes first.
            _check_size(key.key_size)
            key = load_der_private_key(to_pkcs8(key), None)
    except UnsupportedAlgorithm:
        raise UnsupportedKey(SERVED) from None
    except (ValueError, TypeError, InternalError):  # OpenSSL's InternalError: an Ed448 key of another length.
        if is_encrypted:
            raise invalid_field("passphrase", "does not open the key, or the key is damaged.") from None
        raise WeakKey("This is no valid private key: its structure or its numbers are not.") from None
    return cast("AnyPrivateKey", key)


def _check_size(rsa_bits: int) -> None:
    if rsa_bits > MAX_PRIVATE_RSA_BITS:
        raise UnsupportedKey(
            f"Private RSA keys have at most {MAX_PRIVATE_RSA_BITS} bits here, and this has {rsa_bits}."
        )


def _armoured(text: str, field: str) -> tuple[str, str]:
    """Label and inner text of the first PEM structure in `text` (RFC 7468). Raises InvalidRequest."""
    begin = re.search("-----BEGIN ([A-Z0-9 ]{1,40})-----", text)
    end = text.find(f"-----END {begin[1]}-----", begin.end()) if begin else -1
    if begin is None or end < 0:
        raise invalid_field(field, "is neither PEM (from -----BEGIN … KEY----- to the END) nor a JWK ({…}).")
    return begin[1], text[begin.end() : end].strip()


def _decoded(inner: str, field: str) -> bytes:
    """The DER structure in the base64 of a PEM. Raises InvalidRequest."""
    if " " in inner:
        raise invalid_field(field, "has a space within its base64: in a URL a '+' means one. Write '+' as %2B.")
    try:
        der = base64.b64decode("".join(inner.split()), validate=True)
    except ValueError:
        der = b""
    if not _is_whole(der):
        raise invalid_field(field, "is no PEM: between its lines stands no base64 of a DER structure.")
    return der


def _is_whole(der: bytes) -> bool:
    """Whether this is one SEQUENCE, from its first byte to its last (X.690, section 8.1)."""
    if len(der) < 2 or der[0] != 0x30:
        return False
    if der[1] < 0x80:
        return len(der) == 2 + der[1]
    size = der[1] & 0x7F
    return len(der) == 2 + size + int.from_bytes(der[2 : 2 + size])


def _jwk(given: str | Mapping[str, Any], field: str) -> Mapping[str, Any]:
    if not isinstance(given, str):
        return given
    try:
        return msgspec.json.decode(given, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        raise invalid_field(field, "is no JWK: it does not parse as a JSON object.") from None


def _from_jwk(jwk: Mapping[str, Any], field: str) -> object:
    """The key that a JWK holds: private where it has a private member. RFC 7518 section 6, RFC 8037, RFC 9964."""
    from cryptography.exceptions import UnsupportedAlgorithm

    readers = {
        "RSA": _rsa_from_jwk,
        "EC": _ec_from_jwk,
        "OKP": _okp_from_jwk,
        "AKP": _akp_from_jwk,
        "oct": _aes_from_jwk,
    }
    kind = jwk.get("kty")
    if not isinstance(kind, str):
        raise invalid_field(field, "is no JWK: it has no kty.")
    if kind not in readers:
        raise UnsupportedKey(f"A JWK of kty {kind[:20]!r} is not served. {SERVED}")
    try:
        return readers[kind](jwk, field)
    except InvalidRequest:
        raise
    except (ValueError, UnsupportedAlgorithm):
        raise WeakKey("This is no valid key: its numbers or its point are not, or its halves do not fit.") from None


def _member(jwk: Mapping[str, Any], name: str, field: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise invalid_field(field, f"is no JWK of its kind: {name} is missing.")
    return decode_base64(value, field)


def _int(jwk: Mapping[str, Any], name: str, field: str) -> int:
    return int.from_bytes(_member(jwk, name, field))


def _rsa_from_jwk(jwk: Mapping[str, Any], field: str) -> object:
    from cryptography.hazmat.primitives.asymmetric import rsa

    public = rsa.RSAPublicNumbers(_int(jwk, "e", field), _int(jwk, "n", field))
    if public.n.bit_length() > MAX_RSA_BITS:
        raise WeakKey(f"This RSA key has over {MAX_RSA_BITS} bits.")
    if "d" not in jwk:
        return public.public_key()
    if "oth" in jwk:
        raise UnsupportedKey("RSA keys of more than two primes are not served.")
    _check_size(public.n.bit_length())
    d = _int(jwk, "d", field)
    if not 1 < d < public.n:  # RFC 8017, section 3.2. Looking for the primes takes as long as d is.
        raise ValueError("d is out of range")
    if "p" in jwk:
        p, q, dp, dq, qi = (_int(jwk, name, field) for name in ("p", "q", "dp", "dq", "qi"))
    else:
        p, q = rsa.rsa_recover_prime_factors(public.n, public.e, d)
        dp, dq, qi = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p=p, q=q, d=d, dmp1=dp, dmq1=dq, iqmp=qi, public_numbers=public).private_key()


def _ec_from_jwk(jwk: Mapping[str, Any], field: str) -> object:
    from cryptography.hazmat.primitives.asymmetric import ec

    curves: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    curve = curves.get(str(jwk.get("crv")))
    if curve is None:
        raise UnsupportedKey(SERVED)
    x, y = _member(jwk, "x", field), _member(jwk, "y", field)
    size = (curve.key_size + 7) // 8
    if len(x) != size or len(y) != size:  # RFC 7518, section 6.2.1.2.
        raise invalid_field(field, f"is no JWK of its kind: x and y of {jwk['crv']} have {size} bytes.")
    public = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve)
    if "d" not in jwk:
        return public.public_key()
    return ec.EllipticCurvePrivateNumbers(_int(jwk, "d", field), public).private_key()


def _okp_from_jwk(jwk: Mapping[str, Any], field: str) -> object:
    from cryptography.hazmat.primitives.asymmetric import ed25519, x25519

    x = _member(jwk, "x", field)
    if jwk.get("crv") == "Ed25519":
        if "d" not in jwk:
            return ed25519.Ed25519PublicKey.from_public_bytes(x)
        signing = ed25519.Ed25519PrivateKey.from_private_bytes(_member(jwk, "d", field))
        return _fitting(signing, signing.public_key().public_bytes_raw(), x)
    if jwk.get("crv") == "X25519":
        if "d" not in jwk:
            return x25519.X25519PublicKey.from_public_bytes(x)
        agreeing = x25519.X25519PrivateKey.from_private_bytes(_member(jwk, "d", field))
        return _fitting(agreeing, agreeing.public_key().public_bytes_raw(), x)
    raise UnsupportedKey(SERVED)


def _akp_from_jwk(jwk: Mapping[str, Any], field: str) -> object:
    from cryptography.hazmat.primitives.asymmetric import mldsa

    kinds: dict[str, tuple[Any, Any]] = {
        "ML-DSA-44": (mldsa.MLDSA44PublicKey, mldsa.MLDSA44PrivateKey),
        "ML-DSA-65": (mldsa.MLDSA65PublicKey, mldsa.MLDSA65PrivateKey),
        "ML-DSA-87": (mldsa.MLDSA87PublicKey, mldsa.MLDSA87PrivateKey),
    }
    kind = str(jwk.get("alg"))
    if kind not in kinds:
        raise UnsupportedKey(SERVED)
    public, private = kinds[kind]
    raw = _member(jwk, "pub", field)
    if "priv" not in jwk:
        return public.from_public_bytes(raw)
    key = private.from_seed_bytes(_member(jwk, "priv", field))
    return _fitting(key, key.public_key().public_bytes_raw(), raw)


def _aes_from_jwk(jwk: Mapping[str, Any], field: str) -> object:
    key = _member(jwk, "k", field)
    if len(key) != AES_BYTES:
        raise UnsupportedKey("An AES key must have 256 bits.")
    return key


def _fitting(private_key: object, its_public: bytes, given: bytes) -> object:
    if its_public != given:
        raise ValueError
    return private_key


# Writing


def to_jwk(public_key: "AnyPublicKey") -> dict[str, str]:
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


def thumbprint(public_key: "AnyPublicKey") -> str:
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


def spki_to_pem(spki: bytes) -> str:
    """SubjectPublicKeyInfo as PEM (RFC 7468, section 13)."""
    text = base64.b64encode(spki).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"


def to_pkcs8(private_key: Any) -> bytes:
    """`private_key` as PKCS#8, DER, not encrypted (RFC 5958)."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pkcs8: bytes = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return pkcs8


def to_encrypted_pem(private_key: Any, passphrase: str) -> str:
    """`private_key` as PKCS#8, PEM, encrypted under `passphrase` (PBES2 with AES-256, RFC 8018)."""
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

    encryption = BestAvailableEncryption(passphrase.encode())
    pem: bytes = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return pem.decode()
