"""The types of keys that are served, and the public keys that are too weak to trust. Pure."""

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa, x25519

from shared.signing.algorithms import AnyPublicKey
from shared.signing.errors import UnsupportedKey, WeakKey
from shared.signing.rsa_numbers import check_public

SERVED = "Use RSA, P-256, P-384, P-521, Ed25519, X25519 or ML-DSA."
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}

# The points of small order on edwards25519, whose "signatures" fit many messages, in all of their encodings
# (without the sign bit): RFC 8032, section 5.1.3, decodes more than the eight canonical ones.
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
_ANY_SCALAR = bytes([8] * 32)


def type_of(public_key: AnyPublicKey) -> str:
    """The type of a key that is served, such as `RSA-3072` or `P-256`. Raises UnsupportedKey."""
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
    raise UnsupportedKey(f"Keys of this type are not supported. {SERVED}")


def check_strength(public_key: AnyPublicKey) -> None:
    """Raise WeakKey for a key that nobody should trust, UnsupportedKey for a type that is not served."""
    type_of(public_key)
    if isinstance(public_key, rsa.RSAPublicKey):
        numbers = public_key.public_numbers()
        check_public(numbers.n, numbers.e)
    elif isinstance(public_key, ed25519.Ed25519PublicKey):
        raw = public_key.public_bytes_raw()
        if raw[:-1] + bytes([raw[-1] & 0x7F]) in _SMALL_ORDER:
            raise WeakKey("This Ed25519 key is a point of small order: it verifies signatures that nobody made.")
    elif isinstance(public_key, x25519.X25519PublicKey):
        try:
            x25519.X25519PrivateKey.from_private_bytes(_ANY_SCALAR).exchange(public_key)
        except ValueError:  # RFC 7748, section 6.1: the shared secret is zero, whatever the private key.
            raise WeakKey("This X25519 key is a point of small order: everybody knows its shared secrets.") from None
