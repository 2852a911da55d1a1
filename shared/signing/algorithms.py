"""The signature algorithms: which types of key they fit, signing and verifying. Pure, but for `generate`.

Names are those of JOSE: RFC 7518 section 3.1 (RS, PS, ES), RFC 8037 (EdDSA), RFC 9964 (ML-DSA, which FIPS 204 defines).

The imports are at the top: this module loads with the first call that signs or verifies, and an import within a
function costs a microsecond in each call.
"""

import secrets
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, TypeAlias, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa, utils, x25519

from shared.errors import invalid_field
from shared.signing.errors import MalformedSignature, SignatureMismatch, UnfitAlgorithm

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
AnyPrivateKey: TypeAlias = PrivateKey | x25519.X25519PrivateKey
AnyPublicKey: TypeAlias = PublicKey | x25519.X25519PublicKey

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
_ECDSA_BYTES = {"ES256": 32, "ES384": 48, "ES512": 66}
"""Of r, and of s."""
_DIGEST_BYTES = {"256": 32, "384": 48, "512": 64}


def fitting(key_type: str) -> tuple[Algorithm, ...]:
    """The algorithms that fit keys of `key_type` (`RSA-3072`, `P-256`…), the default first; none for other types."""
    return _RSA if key_type.startswith("RSA-") else _FITTING.get(key_type, ())


@cache
def choose(key_type: str, wanted: Algorithm | None, bound: str | None = None) -> Algorithm:
    """`wanted` if it fits `key_type`, else the default. `bound` is the only algorithm that the key allows.

    Raises UnfitAlgorithm, naming the algorithms that fit.
    """
    fit = fitting(key_type) if bound is None else tuple(each for each in fitting(key_type) if each == bound)
    if wanted is None and fit:
        return fit[0]
    if wanted is None or wanted not in fit:
        if bound is not None:
            raise UnfitAlgorithm(f"This key is bound to {bound}. Leave the algorithm out, or send {bound}.")
        if not fit:
            raise UnfitAlgorithm(f"A key of type {key_type} does not sign.")
        raise UnfitAlgorithm(f"{wanted} does not fit a key of type {key_type}. Use one of {', '.join(fit)}.")
    return wanted


def same(named: str, algorithm: str) -> bool:
    """Whether `named`, in a header or a JWK, is `algorithm`. RFC 9864 has a second name for EdDSA with Ed25519."""
    return named == algorithm or (named == "Ed25519" and algorithm == "EdDSA")


def check_digest(algorithm: Algorithm, digest: bytes, field: str) -> None:
    """Raise UnfitAlgorithm if `algorithm` takes no digest, InvalidRequest if it takes one of another length."""
    size = _DIGEST_BYTES.get(algorithm[2:])
    if size is None:
        raise UnfitAlgorithm(f"{algorithm} signs the message itself, so it takes no digest. Leave `prehashed` out.")
    if len(digest) != size:
        raise invalid_field(
            field, f"`{field}` has {len(digest)} bytes; a digest for {algorithm} has {size} (SHA-{algorithm[2:]})."
        )


def sign(
    private_key: PrivateKey,
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
    size = _ECDSA_BYTES.get(algorithm)
    if size is None or encoding == "der":
        return signature
    return _to_raw(signature, size)


def _to_raw(signature: bytes, size: int) -> bytes:
    """r‖s of what the library made: SEQUENCE { INTEGER r, INTEGER s }, by its lengths (X.690, section 8.3)."""
    at = 4 if signature[1] < 0x80 else 5  # The length of the whole takes a second byte from 128 on.
    end = at + signature[at - 1]
    # An integer has a leading zero if its first bit is set, and fewer bytes if it is small.
    return signature[at:end][-size:].rjust(size, b"\0") + signature[end + 2 :][-size:].rjust(size, b"\0")


def verify(
    public_key: AnyPublicKey,
    algorithm: Algorithm,
    message: bytes,
    signature: bytes,
    *,
    prehashed: bool = False,
    any_salt: bool = False,
) -> None:
    """Raise SignatureMismatch unless `signature`, in the form of `to_library`, is one over `message`.

    In JOSE, a PSS salt is as long as the digest (RFC 7518, section 3.5). With `any_salt` it may have any length, as
    openssl and others make it (RFC 8017, section 9.1).
    """
    try:
        cast(PublicKey, public_key).verify(signature, message, *_arguments(algorithm, prehashed, any_salt))
    except InvalidSignature:
        raise SignatureMismatch from None


def to_library(signature: bytes, key_type: str, algorithm: Algorithm, encoding: Encoding) -> bytes:
    """`signature` as `verify` takes it. Raises MalformedSignature if no key of `key_type` makes such a signature."""
    size = _ECDSA_BYTES.get(algorithm)
    if size is not None:
        if encoding == "raw":
            if len(signature) != 2 * size:
                raise MalformedSignature
            return utils.encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
        try:
            numbers = utils.decode_dss_signature(signature)
        except ValueError:
            raise MalformedSignature from None
        # The library compares with its own encoding; numbers that no key of this type makes do not form a signature.
        if not all(0 <= number < 1 << (8 * size) for number in numbers):
            raise MalformedSignature
        return signature
    size = (int(key_type[4:]) + 7) // 8 if key_type.startswith("RSA-") else _SIGNATURE_BYTES[key_type]
    if len(signature) != size:
        raise MalformedSignature
    return signature


@cache
def _arguments(algorithm: Algorithm, prehashed: bool, any_salt: bool = False) -> tuple[Any, ...]:
    """The arguments of the library's `sign` and `verify` after the message."""

    family, bits = algorithm[:2], algorithm[2:]
    if bits not in _DIGEST_BYTES:
        return ()
    sha2 = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[bits]
    digest = utils.Prehashed(sha2) if prehashed else sha2
    if family == "ES":
        return (ec.ECDSA(digest),)
    if family == "RS":
        return (padding.PKCS1v15(), digest)
    salt = padding.PSS.AUTO if any_salt else padding.PSS.DIGEST_LENGTH
    return (padding.PSS(padding.MGF1(sha2), salt), digest)


def generate(key_type: str) -> AnyPrivateKey | bytes:
    """A new private key of `key_type`; for AES its 32 bytes."""

    if key_type.startswith("RSA-"):
        return rsa.generate_private_key(65537, int(key_type[4:]))
    makers: dict[str, Callable[[], AnyPrivateKey | bytes]] = {
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "X25519": x25519.X25519PrivateKey.generate,
        "ML-DSA-44": mldsa.MLDSA44PrivateKey.generate,
        "ML-DSA-65": mldsa.MLDSA65PrivateKey.generate,
        "ML-DSA-87": mldsa.MLDSA87PrivateKey.generate,
        "AES-256": lambda: secrets.token_bytes(32),
    }
    return makers[key_type]()
