"""Which signature algorithms fit which type of key, and what they do. Pure.

Names are those of JOSE: RFC 7518 section 3.1 (RS, PS, ES), RFC 8037 (EdDSA), RFC 9964 (ML-DSA, which FIPS 204 defines).
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from shared.errors import MalformedSignature, SignatureMismatch, UnfitAlgorithm, invalid_field

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

    PrivateKey: TypeAlias = (
        rsa.RSAPrivateKey
        | ec.EllipticCurvePrivateKey
        | ed25519.Ed25519PrivateKey
        | mldsa.MLDSA44PrivateKey
        | mldsa.MLDSA65PrivateKey
        | mldsa.MLDSA87PrivateKey
    )
    PublicKey: TypeAlias = (
        rsa.RSAPublicKey
        | ec.EllipticCurvePublicKey
        | ed25519.Ed25519PublicKey
        | mldsa.MLDSA44PublicKey
        | mldsa.MLDSA65PublicKey
        | mldsa.MLDSA87PublicKey
    )

Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "ML-DSA-44",
    "ML-DSA-65",
    "ML-DSA-87",
]
Encoding = Literal["raw", "der"]
"""`raw`: as JOSE writes it, an ECDSA signature as r‖s. `der`: as X.509 does, an ECDSA signature as ASN.1 (RFC 3279,
section 2.2.3). All other signatures are the same in both."""

_RSA: tuple[Algorithm, ...] = ("PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
_FITTING: Mapping[str, tuple[Algorithm, ...]] = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
    "ML-DSA-44": ("ML-DSA-44",),
    "ML-DSA-65": ("ML-DSA-65",),
    "ML-DSA-87": ("ML-DSA-87",),
}
_SIGNATURE_BYTES = {
    "P-256": 64,
    "P-384": 96,
    "P-521": 132,
    "Ed25519": 64,
    "ML-DSA-44": 2420,
    "ML-DSA-65": 3309,
    "ML-DSA-87": 4627,
}
_DIGEST_BYTES = {"256": 32, "384": 48, "512": 64}


def fitting(key_type: str) -> tuple[Algorithm, ...]:
    """The algorithms that fit keys of `key_type` (`RSA-3072`, `P-256`…), the default first; none for other types."""
    return _RSA if key_type.startswith("RSA-") else _FITTING.get(key_type, ())


def choose(key_type: str, wanted: Algorithm | None) -> Algorithm:
    """`wanted` where it fits `key_type`, else the default. Raises UnfitAlgorithm, saying which fit."""
    fit = fitting(key_type)
    if wanted is None and fit:
        return fit[0]
    if wanted is None or wanted not in fit:
        which = f"which takes {', '.join(fit)}" if fit else "which does not sign"
        raise UnfitAlgorithm(f"{wanted or 'Signing'} does not go with a key of type {key_type}, {which}.")
    return wanted


def check_digest(algorithm: Algorithm, digest: bytes, field: str) -> None:
    """Raise UnfitAlgorithm where `algorithm` takes no digest, and InvalidRequest where it takes another length."""
    size = _DIGEST_BYTES.get(algorithm[2:])
    if size is None:
        raise UnfitAlgorithm(f"{algorithm} signs the message itself, and takes no digest: leave prehashed out.")
    if len(digest) != size:
        raise invalid_field(
            field, f"has {len(digest)} bytes, and a digest for {algorithm} has {size} (SHA-{algorithm[2:]})."
        )


def sign(
    private_key: "PrivateKey",
    algorithm: Algorithm,
    message: bytes,
    *,
    prehashed: bool = False,
    encoding: Encoding = "raw",
) -> bytes:
    """The signature over `message` (with `prehashed`: over the message whose digest it is).

    `algorithm` fits the key (`choose`), and a digest has its length (`check_digest`).
    """
    signature: bytes = private_key.sign(message, *_arguments(algorithm, prehashed))
    return (
        _to_raw(signature, algorithm)
        if algorithm[0] == "E" and algorithm != "EdDSA" and encoding == "raw"
        else signature
    )


def verify(
    public_key: "PublicKey",
    algorithm: Algorithm,
    message: bytes,
    signature: bytes,
    *,
    prehashed: bool = False,
) -> None:
    """Return where `signature`, in the form that `to_library` gives, is one over `message`; else raise
    SignatureMismatch."""
    from cryptography.exceptions import InvalidSignature

    try:
        public_key.verify(signature, message, *_arguments(algorithm, prehashed))
    except InvalidSignature:
        raise SignatureMismatch from None


def to_library(signature: bytes, key_type: str, algorithm: Algorithm, encoding: Encoding) -> bytes:
    """`signature` as `verify` takes it. Raises MalformedSignature where no key of `key_type` makes such a one."""
    if algorithm in ("ES256", "ES384", "ES512"):
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

        size = _SIGNATURE_BYTES[key_type] // 2
        if encoding == "raw":
            if len(signature) != 2 * size:
                raise MalformedSignature
            return encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
        try:
            numbers = decode_dss_signature(signature)
        except ValueError:
            raise MalformedSignature from None
        # The library compares with its own encoding; numbers that no key of this type makes are no signature.
        if not all(0 <= number < 1 << (8 * size) for number in numbers):
            raise MalformedSignature
        return signature
    size = (int(key_type[4:]) + 7) // 8 if key_type.startswith("RSA-") else _SIGNATURE_BYTES[key_type]
    if len(signature) != size:
        raise MalformedSignature
    return signature


def _to_raw(signature: bytes, algorithm: Algorithm) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    size = {"ES256": 32, "ES384": 48, "ES512": 66}[algorithm]
    r, s = decode_dss_signature(signature)
    return r.to_bytes(size) + s.to_bytes(size)


@cache
def _arguments(algorithm: Algorithm, prehashed: bool) -> tuple[Any, ...]:
    """What `sign` and `verify` of the library's keys take after the message."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

    family, bits = algorithm[:2], algorithm[2:]
    if bits not in _DIGEST_BYTES:
        return ()
    sha2 = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[bits]
    digest = utils.Prehashed(sha2) if prehashed else sha2
    if family == "ES":
        return (ec.ECDSA(digest),)
    if family == "RS":
        return (padding.PKCS1v15(), digest)
    # RFC 7518, section 3.5: the salt is as long as the digest.
    return (padding.PSS(padding.MGF1(sha2), padding.PSS.DIGEST_LENGTH), digest)


def generate(key_type: str) -> "PrivateKey":
    """A new private key of `key_type`."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

    if key_type.startswith("RSA-"):
        return rsa.generate_private_key(65537, int(key_type[4:]))
    makers: dict[str, Callable[[], PrivateKey]] = {
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "ML-DSA-44": mldsa.MLDSA44PrivateKey.generate,
        "ML-DSA-65": mldsa.MLDSA65PrivateKey.generate,
        "ML-DSA-87": mldsa.MLDSA87PrivateKey.generate,
    }
    return makers[key_type]()
