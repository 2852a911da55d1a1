"""Keys as JWK: RFC 7517, RFC 7518 section 6, RFC 8037 (OKP), RFC 9964 (AKP). Pure."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa, x25519

from shared.errors import InvalidRequest, invalid_field
from shared.signing import algorithms
from shared.signing.algorithms import AnyPublicKey
from shared.signing.errors import UnfitAlgorithm, UnsupportedKey, WeakKey
from shared.signing.keyring import Purpose
from shared.signing.pem import CURVES, private_from_numbers, private_on_curve
from shared.signing.rsa_numbers import RsaNumbers, check_public
from shared.signing.strength import SERVED, type_of
from shared.web import decode_base64, encode_base64

AES_BYTES = 32
MAX_KID = 256
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})

_DECODER = msgspec.json.Decoder(dict[str, Any])
_BOTH: frozenset[Purpose] = frozenset({"sign", "encrypt"})
_SIGN: frozenset[Purpose] = frozenset({"sign"})
_ENCRYPT: frozenset[Purpose] = frozenset({"encrypt"})
_NONE: frozenset[Purpose] = frozenset()
_AGREEMENT = frozenset({"ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A192KW", "ECDH-ES+A256KW"})
_ENCRYPTION = {
    "RSA": frozenset({"RSA-OAEP", "RSA-OAEP-256", "RSA-OAEP-384", "RSA-OAEP-512"}),
    "P-256": _AGREEMENT,
    "X25519": _AGREEMENT,
    "AES-256": frozenset({"A256KW", "A256GCMKW", "A256GCM", "dir"}),
}
_SECRET_OPERATIONS = frozenset({"decrypt", "unwrapKey", "deriveKey", "deriveBits"})
_PUBLIC_OPERATIONS = frozenset({"encrypt", "wrapKey", "deriveKey", "deriveBits"})


class Jwk(NamedTuple):
    """The key in a JWK, and the JWK's own statements about it."""

    key: Any
    is_private: bool
    type: str
    algorithm: str | None
    kid: str
    purposes: frozenset[Purpose]
    """The purposes that `use`, `key_ops` and `alg` allow."""


def is_jwk(value: str | Mapping[str, Any]) -> bool:
    """Whether a field holds a JWK, as an object or as its text, and not PEM."""
    return not isinstance(value, str) or value.lstrip().startswith("{")


def members(value: str | Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """The members of a JWK. Raises InvalidRequest."""
    if not isinstance(value, str):
        return value
    try:
        return _DECODER.decode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise invalid_field(field, f"`{field}` is not a JWK: it does not parse as a JSON object.") from None


def parse(jwk: Mapping[str, Any], field: str) -> Jwk:
    """The key that a JWK holds, private if it has the private member of its kind.

    Raises InvalidRequest if it is not a JWK, WeakKey, UnsupportedKey or UnfitAlgorithm.
    """
    kind = jwk.get("kty")
    if not isinstance(kind, str):
        raise invalid_field(field, f"`{field}` is not a JWK: it has no kty.")
    if kind not in _READERS:
        raise UnsupportedKey(f"A JWK of the kty {kind[:20]!a} is not supported. {SERVED}")
    for name in ("alg", "use", "kid"):
        if name in jwk and not isinstance(jwk[name], str):
            raise invalid_field(field, f"The member {name} of the JWK must be a text.")
    kid = jwk.get("kid", "")
    if len(kid) > MAX_KID:
        raise invalid_field(field, f"The kid of the JWK has over {MAX_KID} characters. Shorten it.")
    try:
        key = _READERS[kind](jwk, field)
    except InvalidRequest:
        raise
    except (ValueError, UnsupportedAlgorithm):
        raise WeakKey("This is not a valid key: its numbers or its point are wrong, or its halves differ.") from None
    is_private = isinstance(key, bytes) or hasattr(key, "public_key")
    key_type = "AES-256" if isinstance(key, bytes) else type_of(key.public_key() if is_private else key)
    by_algorithm = _purposes_of_algorithm(key_type, jwk.get("alg"))
    by_use = {"sig": _SIGN, "enc": _ENCRYPT, None: _BOTH}.get(jwk.get("use"), _NONE)
    by_operations = _purposes_of_operations(jwk.get("key_ops"), key_type, is_private, field)
    return Jwk(key, is_private, key_type, jwk.get("alg"), kid, by_algorithm & by_use & by_operations)


def _purposes_of_algorithm(key_type: str, algorithm: str | None) -> frozenset[Purpose]:
    if algorithm is None:
        return _BOTH
    if any(algorithms.same(algorithm, each) for each in algorithms.fitting(key_type)):
        return _SIGN
    if algorithm in _ENCRYPTION.get("RSA" if key_type.startswith("RSA-") else key_type, ()):
        return _ENCRYPT
    raise UnfitAlgorithm(f"The JWK names the algorithm {algorithm[:20]!a}, which does not fit its type {key_type}.")


def _purposes_of_operations(operations: object, key_type: str, is_private: bool, field: str) -> frozenset[Purpose]:
    """RFC 7517, section 4.3."""
    if operations is None:
        return _BOTH
    if not isinstance(operations, list) or not all(isinstance(each, str) for each in operations):
        raise invalid_field(field, "The member key_ops of the JWK must be a list of texts.")
    names = frozenset(operations)
    encrypting = _SECRET_OPERATIONS if is_private else _PUBLIC_OPERATIONS
    if key_type == "AES-256":
        encrypting = _SECRET_OPERATIONS & names and _PUBLIC_OPERATIONS  # It must do both.
    purposes = _SIGN if ("sign" if is_private else "verify") in names else _NONE
    # WebCrypto exports the public key of a key agreement with an empty list.
    if names & encrypting or (not names and not is_private and key_type in ("P-256", "X25519")):
        purposes |= _ENCRYPT
    return purposes


def _member(jwk: Mapping[str, Any], name: str, field: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise invalid_field(field, f"`{field}` is not a JWK of its kind: the member {name} is missing, or not a text.")
    return decode_base64(value, field)


def _number(jwk: Mapping[str, Any], name: str, field: str) -> int:
    return int.from_bytes(_member(jwk, name, field)) if name in jwk else 0


def _rsa(jwk: Mapping[str, Any], field: str) -> object:
    n, e = int.from_bytes(_member(jwk, "n", field)), int.from_bytes(_member(jwk, "e", field))
    if "d" not in jwk:
        check_public(n, e)
        return rsa.RSAPublicNumbers(e, n).public_key()
    if "oth" in jwk:
        raise UnsupportedKey("RSA keys of more than two primes are not supported.")
    others = (_number(jwk, name, field) for name in ("p", "q", "dp", "dq", "qi"))
    return private_from_numbers(RsaNumbers(n, e, int.from_bytes(_member(jwk, "d", field)), *others))


def _ec(jwk: Mapping[str, Any], field: str) -> object:
    name = jwk.get("crv")
    if not isinstance(name, str) or name not in CURVES:
        raise UnsupportedKey(f"Keys on this curve are not supported. {SERVED}")
    x, y = _member(jwk, "x", field), _member(jwk, "y", field)
    size = (CURVES[name][0].key_size + 7) // 8
    if len(x) != size or len(y) != size:  # RFC 7518, section 6.2.1.2.
        raise invalid_field(field, f"`{field}` is not a JWK of its kind: x and y of {name} have {size} bytes.")
    public = ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), CURVES[name][0]).public_key()
    if "d" not in jwk:
        return public
    return private_on_curve(name, _member(jwk, "d", field), b"\x04" + x + y)


def _okp(jwk: Mapping[str, Any], field: str) -> object:
    x = _member(jwk, "x", field)
    if jwk.get("crv") == "Ed25519":
        if "d" not in jwk:
            return ed25519.Ed25519PublicKey.from_public_bytes(x)
        signing = ed25519.Ed25519PrivateKey.from_private_bytes(_member(jwk, "d", field))
        return _with_public(signing, signing.public_key().public_bytes_raw(), x)
    if jwk.get("crv") == "X25519":
        if "d" not in jwk:
            return x25519.X25519PublicKey.from_public_bytes(x)
        agreeing = x25519.X25519PrivateKey.from_private_bytes(_member(jwk, "d", field))
        return _with_public(agreeing, agreeing.public_key().public_bytes_raw(), x)
    raise UnsupportedKey(f"Keys on this curve are not supported. {SERVED}")


def _akp(jwk: Mapping[str, Any], field: str) -> object:
    kinds: dict[str, tuple[Any, Any]] = {
        "ML-DSA-44": (mldsa.MLDSA44PublicKey, mldsa.MLDSA44PrivateKey),
        "ML-DSA-65": (mldsa.MLDSA65PublicKey, mldsa.MLDSA65PrivateKey),
        "ML-DSA-87": (mldsa.MLDSA87PublicKey, mldsa.MLDSA87PrivateKey),
    }
    kind = str(jwk.get("alg"))
    if kind not in kinds:
        raise UnsupportedKey(f"An AKP key of this alg is not supported. {SERVED}")
    public, private = kinds[kind]
    raw = _member(jwk, "pub", field)
    if "priv" not in jwk:
        return public.from_public_bytes(raw)
    key = private.from_seed_bytes(_member(jwk, "priv", field))
    return _with_public(key, key.public_key().public_bytes_raw(), raw)


def _aes(jwk: Mapping[str, Any], field: str) -> object:
    key = _member(jwk, "k", field)
    if len(key) != AES_BYTES:
        raise UnsupportedKey(f"An AES key has 256 bits here, and this one has {8 * len(key)}.")
    return key


_READERS: Mapping[str, Callable[[Mapping[str, Any], str], Any]] = {
    "RSA": _rsa,
    "EC": _ec,
    "OKP": _okp,
    "AKP": _akp,
    "oct": _aes,
}


def _with_public(private_key: object, its_public: bytes, sent: bytes) -> object:
    if its_public != sent:
        raise ValueError("the halves differ")
    return private_key


def to_jwk(public_key: AnyPublicKey) -> dict[str, str]:
    """`public_key` as a JWK, with the members that its type requires."""
    if isinstance(public_key, rsa.RSAPublicKey):
        rsa_numbers = public_key.public_numbers()
        return {"e": _encoded(rsa_numbers.e), "kty": "RSA", "n": _encoded(rsa_numbers.n)}
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        size = (public_key.key_size + 7) // 8
        ec_numbers = public_key.public_numbers()
        x, y = (encode_base64(number.to_bytes(size)) for number in (ec_numbers.x, ec_numbers.y))
        return {"crv": type_of(public_key), "kty": "EC", "x": x, "y": y}
    kind, raw = type_of(public_key), encode_base64(public_key.public_bytes_raw())
    if kind.startswith("ML-DSA"):
        return {"alg": kind, "kty": "AKP", "pub": raw}
    return {"crv": kind, "kty": "OKP", "x": raw}


def _encoded(number: int) -> str:
    """RFC 7518, section 2: big-endian, as short as possible."""
    return encode_base64(number.to_bytes((number.bit_length() + 7) // 8))
