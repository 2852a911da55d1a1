"""`sign` and `verify`: their requests, answers and routes."""

from functools import partial
from typing import Annotated, Literal

import msgspec

from shared.errors import (
    DamagedKey,
    KeyHasOtherPurpose,
    MalformedSignature,
    MasterKeyUnavailable,
    SignatureMismatch,
    StorageForbidden,
    StorageUnavailable,
    UnfitAlgorithm,
    UnknownKey,
    UnsupportedKey,
    UnusableVersion,
    WeakKey,
    invalid_field,
)
from shared.signing import algorithms, formats, keyring
from shared.signing.algorithms import Algorithm
from shared.signing.store import DEFAULT_KEY, Key, KeyStore
from shared.web import Example, Fields, Operation, decode_base64, encode_base64

KeyName = Annotated[
    str,
    msgspec.Meta(
        description="Name of a key.",
        pattern="^[a-z0-9][a-z0-9-]{0,62}$",
        max_length=63,
        examples=["default", "invoices"],
    ),
]
GivenKey = Annotated[
    str,
    msgspec.Meta(
        description="Instead of key: a public key as PEM (SubjectPublicKeyInfo or PKCS#1), or an X.509 certificate, "
        "of which the key is taken and nothing else is looked at.",
        max_length=65536,
    ),
]
Message = Annotated[
    str | None, msgspec.Meta(description="The message, as text (UTF-8). This or message_base64, never both.")
]
MessageBase64 = Annotated[
    str | None,
    msgspec.Meta(description="The message, as base64 or base64url of its bytes. This or message, never both."),
]
VersionNumber = Annotated[int, msgspec.Meta(description="A version of the key.", ge=1, le=99999999)] | None
ChosenAlgorithm = Annotated[
    Algorithm | None,
    msgspec.Meta(description="One that fits the key's type; without it the type's default: PS256 for RSA."),
]
Prehashed = Annotated[
    bool, msgspec.Meta(description="The message is the digest, made with the algorithm's hash, of what is signed.")
]
Format = Annotated[
    Literal["raw", "der"],
    msgspec.Meta(
        description="`raw`: the signature's bytes, of ECDSA r‖s as in JOSE. `der`: as in X.509, of ECDSA an ASN.1 "
        "structure; all other signatures are the same in both."
    ),
]


class SignFields(Fields, frozen=True, kw_only=True):
    key: KeyName = DEFAULT_KEY
    message: Message = None
    message_base64: MessageBase64 = None
    algorithm: ChosenAlgorithm = None
    version: VersionNumber = None
    prehashed: Prehashed = False
    format: Format = "raw"


class SignAnswer(msgspec.Struct, frozen=True):
    """The signature, in base64url, and what made it. `key_id` is the RFC 7638 thumbprint of the public key."""

    key: str
    version: int
    key_id: str
    algorithm: Algorithm
    signature: str


class VerifyFields(Fields, frozen=True, kw_only=True):
    key: KeyName | None = None
    public_key: GivenKey | None = None
    message: Message = None
    message_base64: MessageBase64 = None
    signature: Annotated[str, msgspec.Meta(description="The signature, in base64 or base64url.")]
    algorithm: ChosenAlgorithm = None
    version: VersionNumber = None
    prehashed: Prehashed = False
    format: Format = "raw"


Reason = Literal["mismatch", "malformed", "unknown-version", "disabled", "revoked"]


class VerifyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`valid` alone is safe to act on. Where it is false, `reason` says why, and `signature_valid` whether the
    signature matches all the same, and only the state of the key's version refuses it."""

    valid: bool
    key: str | None
    version: int | None
    """The version that the signature matches, or that was asked for."""
    algorithm: Algorithm
    reason: Reason | msgspec.UnsetType = msgspec.UNSET
    signature_valid: bool | msgspec.UnsetType = msgspec.UNSET


def sign(keys: KeyStore, fields: SignFields) -> SignAnswer:
    message = _message(fields)
    key = keys.get_or_create_default() if fields.key == DEFAULT_KEY else keys.get(fields.key)
    _refuse_other_purpose(key)
    algorithm = algorithms.choose(key.ring.type, fields.algorithm)
    if fields.prehashed:
        _check_digest(algorithm, message, fields)
    if fields.version is not None and fields.version not in key.versions:
        key = keys.refresh(key.name)  # Another instance may have made it.
    number = _signing_version(key, fields.version)
    version = key.versions[number]
    signature = algorithms.sign(
        version.private_key, algorithm, message, prehashed=fields.prehashed, encoding=fields.format
    )
    return SignAnswer(key.name, number, version.document.key_id, algorithm, encode_base64(signature))


def verify(keys: KeyStore, fields: VerifyFields) -> VerifyAnswer:
    message = _message(fields)
    signature = decode_base64(fields.signature, "signature")
    if fields.public_key is not None:
        return _verify_by_given_key(fields, fields.public_key, message, signature)
    key = keys.get(fields.key or DEFAULT_KEY)
    _refuse_other_purpose(key)
    algorithm = algorithms.choose(key.ring.type, fields.algorithm)
    if fields.prehashed:
        _check_digest(algorithm, message, fields)
    try:
        form = algorithms.to_library(signature, key.ring.type, algorithm, fields.format)
    except MalformedSignature:
        return _invalid(key.name, fields.version, algorithm, "malformed")
    number = _matching_version(key, fields, algorithm, message, form, newer_than=0)
    if number is None and (fields.version is None or fields.version not in key.versions):
        # Another instance may have made a version that this one has not seen.
        seen, key = key.ring.latest_version, keys.refresh(key.name)
        number = _matching_version(key, fields, algorithm, message, form, newer_than=seen)
    if number is None:
        unknown = fields.version is not None and fields.version not in key.versions
        return _invalid(key.name, fields.version, algorithm, "unknown-version" if unknown else "mismatch")
    if refusal := keyring.refusal(key.ring, number):
        return _invalid(key.name, number, algorithm, refusal, signature_valid=True)
    return VerifyAnswer(valid=True, key=key.name, version=number, algorithm=algorithm)


def _matching_version(
    key: Key, fields: VerifyFields, algorithm: Algorithm, message: bytes, signature: bytes, *, newer_than: int
) -> int | None:
    """The version whose signature this is: the one asked for, else the newest that fits."""
    numbers = range(key.ring.latest_version, newer_than, -1)
    for number in numbers if fields.version is None else [fields.version] if fields.version in numbers else []:
        try:
            public_key = key.versions[number].public_key
            algorithms.verify(public_key, algorithm, message, signature, prehashed=fields.prehashed)
        except SignatureMismatch:
            continue
        return number
    return None


def _verify_by_given_key(fields: VerifyFields, pem: str, message: bytes, signature: bytes) -> VerifyAnswer:
    for name in ("key", "version"):
        if getattr(fields, name) is not None:
            raise invalid_field(name, "goes with a stored key, and public_key names one from outside: leave one out.")
    public_key = formats.parse_public_pem(pem, "public_key")
    key_type = formats.type_of(public_key)
    algorithm = algorithms.choose(key_type, fields.algorithm)
    if fields.prehashed:
        _check_digest(algorithm, message, fields)
    try:
        form = algorithms.to_library(signature, key_type, algorithm, fields.format)
        algorithms.verify(public_key, algorithm, message, form, prehashed=fields.prehashed)
    except MalformedSignature:
        return _invalid(None, None, algorithm, "malformed")
    except SignatureMismatch:
        return _invalid(None, None, algorithm, "mismatch")
    return VerifyAnswer(valid=True, key=None, version=None, algorithm=algorithm)


def _invalid(
    key: str | None, version: int | None, algorithm: Algorithm, reason: Reason, *, signature_valid: bool = False
) -> VerifyAnswer:
    return VerifyAnswer(
        valid=False, key=key, version=version, algorithm=algorithm, reason=reason, signature_valid=signature_valid
    )


def _message(fields: SignFields | VerifyFields) -> bytes:
    if fields.message is not None and fields.message_base64 is not None:
        raise invalid_field("message_base64", "stands beside message: send one of the two.")
    if fields.message is not None:
        return fields.message.encode()
    if fields.message_base64 is not None:
        return decode_base64(fields.message_base64, "message_base64")
    raise invalid_field("message", "is missing: send message, or message_base64.")


def _check_digest(algorithm: Algorithm, digest: bytes, fields: SignFields | VerifyFields) -> None:
    algorithms.check_digest(algorithm, digest, "message" if fields.message is not None else "message_base64")


def _refuse_other_purpose(key: Key) -> None:
    if key.ring.purpose != "sign":
        raise KeyHasOtherPurpose(f"Key {key.name} encrypts. Make one with the purpose sign.")


def _signing_version(key: Key, wanted: int | None) -> int:
    """The version that signs. Raises UnknownKey where there is none such, UnusableVersion where it may not."""
    if wanted is None:
        current = keyring.current_version(key.ring)
        if current is None:
            raise UnusableVersion(f"No version of key {key.name} may sign now: rotate it.")
        return current
    if wanted not in key.versions:
        raise UnknownKey(f"Key {key.name} has no version {wanted}.")
    if not keyring.may_sign(key.ring, wanted):
        raise UnusableVersion(f"Version {wanted} of key {key.name} is disabled, revoked, or too old to sign.")
    return wanted


_EXAMPLE_FROM_OUTSIDE = {
    "public_key": "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEA4gp/uwHpXrGp+2cmL0ylMlU44FNH8hiZZbs3Tyx41ZM=\n"
    "-----END PUBLIC KEY-----\n",
    "message": "hello",
    "signature": "fVGW2BJBGjnKSVNzeL6hdhRWRWUGEZybxg_um_bkyNrkAqE1LRXvoEcRNTw_dzd83F0Z8qnkAF5y_IKz8PFqDw",
}
_STORE_ERRORS = (UnknownKey, DamagedKey, MasterKeyUnavailable, StorageUnavailable, StorageForbidden)


def operations(keys: KeyStore) -> dict[str, Operation]:
    """`sign` and `verify`, with the keys of the store."""
    return {
        "sign": Operation(
            handle=partial(sign, keys),
            request=SignFields,
            answer=SignAnswer,
            summary="Sign a message with a stored key.\nThe first call with the key `default` makes it (RSA-3072).",
            errors=(*_STORE_ERRORS, KeyHasOtherPurpose, UnfitAlgorithm, UnusableVersion),
            examples=(
                Example("With the default key", {"message": "hello"}),
                Example("Bytes", {"message_base64": "aGVsbG8", "algorithm": "PS512"}),
            ),
        ),
        "verify": Operation(
            handle=partial(verify, keys),
            request=VerifyFields,
            answer=VerifyAnswer,
            summary="Verify a signature, by a stored key or by a public key from outside.\n"
            "A signature that does not match is answered with 200 and `valid: false`. Without `version` the key's "
            "versions are tried, the newest first.",
            errors=(*_STORE_ERRORS, KeyHasOtherPurpose, UnfitAlgorithm, UnsupportedKey, WeakKey),
            examples=(Example("With a public key from outside", _EXAMPLE_FROM_OUTSIDE),),
        ),
    }
