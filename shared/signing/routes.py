"""`sign` and `verify`: their requests and answers."""

from functools import partial
from time import monotonic
from typing import Annotated, Any, Literal

import msgspec

from shared.errors import invalid_field
from shared.signing import algorithms, formats, jws, keyring
from shared.signing.algorithms import Algorithm
from shared.signing.errors import (
    KeyHasOtherPurpose,
    MalformedSignature,
    SignatureMismatch,
    UnfitAlgorithm,
    UnsupportedKey,
    UnusableVersion,
    WeakKey,
)
from shared.signing.fields import (
    KEY_ERRORS,
    MAX_BATCH,
    BatchResponse,
    KeyName,
    Reference,
    VersionNumber,
    refuse_beside_batch,
    respond_batch,
)
from shared.signing.store import DEFAULT_KEY, Key, KeyStore
from shared.web import Example, Fields, Operation, decode_base64, encode_base64, rfc3339

Format = Literal["raw", "der", "jws", "jws-detached"]

Message = Annotated[str, msgspec.Meta(description="The message, as text (UTF-8). This or message_base64, never both.")]
MessageBase64 = Annotated[
    str, msgspec.Meta(description="The message, as base64 or base64url of its bytes. This or message, never both.")
]
ChosenAlgorithm = Annotated[
    Algorithm, msgspec.Meta(description="One that fits the key's type; without it the type's default: PS256 for RSA.")
]
Prehashed = Annotated[
    bool, msgspec.Meta(description="The message is the digest, made with the algorithm's hash, of what is signed.")
]
ChosenFormat = Annotated[
    Format,
    msgspec.Meta(
        description="`raw`: the signature's bytes, of ECDSA r‖s as in JOSE. `der`: as in X.509, of ECDSA an ASN.1 "
        "structure; all others are the same in both. `jws`: a compact JWS (RFC 7515), which holds the message. "
        "`jws-detached`: a JWS without it (RFC 7797)."
    ),
]
Signature = Annotated[
    str, msgspec.Meta(description="The signature, in base64 or base64url; with the formats of JWS, the JWS.")
]
GivenKey = Annotated[
    str,
    msgspec.Meta(
        description="Instead of key: a public key as PEM (SubjectPublicKeyInfo or PKCS#1), as a JWK, or in an X.509 "
        "certificate, of which the key is taken and nothing else is looked at.",
        max_length=65536,
    ),
]


class SignItem(Fields, frozen=True, kw_only=True):
    key: KeyName | None = None
    message: Message | None = None
    message_base64: MessageBase64 | None = None
    algorithm: ChosenAlgorithm | None = None
    version: VersionNumber | None = None
    prehashed: Prehashed | None = None
    format: ChosenFormat | None = None
    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class SignFields(Fields, frozen=True, kw_only=True):
    """One message, or a batch, whose items may leave to these fields what is the same for all."""

    key: KeyName = DEFAULT_KEY
    message: Message | None = None
    message_base64: MessageBase64 | None = None
    algorithm: ChosenAlgorithm | None = None
    version: VersionNumber | None = None
    prehashed: Prehashed = False
    format: ChosenFormat = "raw"
    batch: Annotated[list[SignItem], msgspec.Meta(min_length=1, max_length=MAX_BATCH)] | None = None


class SignResponse(msgspec.Struct, frozen=True):
    """The signature, in base64url (or the JWS), and what made it. `key_id` is the RFC 7638 thumbprint of the public
    key."""

    key: str
    version: int
    key_id: str
    algorithm: Algorithm
    signature: str
    reference: str | msgspec.UnsetType = msgspec.UNSET


class VerifyItem(Fields, frozen=True, kw_only=True):
    signature: Signature
    key: KeyName | None = None
    public_key: GivenKey | dict[str, Any] | None = None
    message: Message | None = None
    message_base64: MessageBase64 | None = None
    algorithm: ChosenAlgorithm | None = None
    version: VersionNumber | None = None
    prehashed: Prehashed | None = None
    format: ChosenFormat | None = None
    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class VerifyFields(Fields, frozen=True, kw_only=True):
    """One signature, or a batch, whose items may leave to these fields what is the same for all."""

    key: KeyName | None = None
    public_key: GivenKey | dict[str, Any] | None = None
    message: Message | None = None
    message_base64: MessageBase64 | None = None
    signature: Signature | None = None
    algorithm: ChosenAlgorithm | None = None
    version: VersionNumber | None = None
    prehashed: Prehashed = False
    format: ChosenFormat = "raw"
    batch: Annotated[list[VerifyItem], msgspec.Meta(min_length=1, max_length=MAX_BATCH)] | None = None


Reason = Literal["mismatch", "malformed", "unknown-version", "disabled", "revoked"]


class VerifyResponse(msgspec.Struct, frozen=True, kw_only=True):
    """`valid` alone is safe to act on. Where it is false, `reason` says why, and `signature_valid` whether the
    signature matches all the same, and only the state of the key's version refuses it: since when, the times say."""

    valid: bool
    key: str | None
    version: int | None
    """The version that the signature matches, or that was asked for."""
    algorithm: Algorithm
    reason: Reason | msgspec.UnsetType = msgspec.UNSET
    signature_valid: bool | msgspec.UnsetType = msgspec.UNSET
    created: str | msgspec.UnsetType = msgspec.UNSET
    """When the refused version was made."""
    disabled_at: str | msgspec.UnsetType = msgspec.UNSET
    revoked_at: str | msgspec.UnsetType = msgspec.UNSET
    """Since when signatures by this version are not to be trusted."""
    revocation_reason: str | msgspec.UnsetType = msgspec.UNSET
    message: str | msgspec.UnsetType = msgspec.UNSET
    """What a valid JWS holds, where it is UTF-8 and the call did not bring it."""
    message_base64: str | msgspec.UnsetType = msgspec.UNSET
    reference: str | msgspec.UnsetType = msgspec.UNSET


_NO_DIGEST = "goes with the formats raw and der: a JWS is over the message itself."


def sign(keys: KeyStore, fields: SignFields) -> SignResponse | BatchResponse:
    if fields.batch is None:
        return _sign(keys, fields, fields)
    refuse_beside_batch(fields, "message", "message_base64")
    return respond_batch(fields.batch, lambda item: _sign(keys, item, fields))


def _sign(keys: KeyStore, item: SignItem | SignFields, common: SignFields) -> SignResponse:
    name = item.key or common.key
    prehashed = common.prehashed if item.prehashed is None else item.prehashed
    form = item.format or common.format
    message = _message(item.message, item.message_base64)
    if message is None:
        raise invalid_field("message", "is missing: send message, or message_base64.")
    key = keys.get_or_create_default() if name == DEFAULT_KEY else keys.get(name)
    if key.ring.rotation_days is not None:
        key = keys.rotate_if_due(key)
    _refuse_other_purpose(key)
    algorithm = algorithms.choose(key.ring.type, item.algorithm or common.algorithm)
    wanted = item.version or common.version
    if wanted is not None and wanted not in key.versions:
        key = keys.refresh(name)  # Another instance may have made it.
    number = key.current_version if wanted is None else wanted
    if number is None or wanted is not None:
        number = keyring.version_to_make(key.ring, name, wanted)
    version = key.versions[number]
    document = version.document
    if not document.has_private:
        raise UnsupportedKey(f"Of key {name} only the public half is here: it verifies.")
    if form == "raw" or form == "der":
        if prehashed:
            _check_digest(algorithm, message, item)
        raw = algorithms.sign(version.private_key, algorithm, message, prehashed=prehashed, encoding=form)
        signature = encode_base64(raw)
    else:
        if prehashed:
            raise invalid_field("prehashed", _NO_DIGEST)
        detached = form == "jws-detached"
        begun, signed = jws.begin(jws.header(algorithm, document.key_id, detached), message, detached)
        signature = jws.finish(begun, algorithms.sign(version.private_key, algorithm, signed))
    reference = item.reference if isinstance(item, SignItem) else msgspec.UNSET
    return SignResponse(name, number, document.key_id, algorithm, signature, reference)


def verify(keys: KeyStore, fields: VerifyFields) -> VerifyResponse | BatchResponse:
    asked = monotonic()
    if fields.batch is None:
        return _verify(keys, fields, fields, asked)
    refuse_beside_batch(fields, "message", "message_base64", "signature")
    return respond_batch(fields.batch, lambda item: _verify(keys, item, fields, asked))


class _Claim(msgspec.Struct, frozen=True):
    """What is to be verified: that `signature`, as the library takes it, is one over `signed`."""

    algorithm: Algorithm
    signed: bytes
    signature: bytes
    prehashed: bool
    token: jws.Token | None

    def check(self, public_key: Any) -> None:
        """Raises SignatureMismatch. A PSS salt of any length is taken, but in a JWS."""
        algorithms.verify(
            public_key,
            self.algorithm,
            self.signed,
            self.signature,
            prehashed=self.prehashed,
            any_salt=self.token is None,
        )


def _verify(keys: KeyStore, item: VerifyItem | VerifyFields, common: VerifyFields, asked: float) -> VerifyResponse:
    if item.signature is None:
        raise invalid_field("signature", "is missing.")
    wanted = item.version or common.version
    message = _message(item.message, item.message_base64)
    reference = item.reference if isinstance(item, VerifyItem) else msgspec.UNSET
    given = item.public_key if item.public_key is not None or item.key is not None else common.public_key
    name = item.key or (common.key if given is None or given is common.public_key else None)
    key: Key | None = None
    if given is None:
        key = keys.get(name or DEFAULT_KEY)
        name, key_type = key.name, str(key.ring.type)
        _refuse_other_purpose(key)
        algorithm = algorithms.choose(key_type, item.algorithm or common.algorithm)
    else:
        for field, value in (("key", name), ("version", wanted)):
            if value is not None:
                raise invalid_field(field, "goes with a stored key, and public_key is one from outside: leave one out.")
        public_key, its_algorithm = formats.parse_public(given, "public_key")
        key_type = formats.type_of(public_key)
        algorithm = _algorithm_of_given(key_type, its_algorithm, item.algorithm or common.algorithm)
    number: int | None = None
    try:
        claim = _claim(item, common, item.signature, message, key_type, algorithm)
        if key is None:
            claim.check(public_key)
        else:
            number, key = _matching_version(keys, key, claim, wanted, asked)
    except SignatureMismatch as error:
        reason: Reason = "malformed" if isinstance(error, MalformedSignature) else "mismatch"
        if (
            key is not None
            and wanted is not None
            and reason == "mismatch"
            and wanted not in keys.get(key.name).versions
        ):
            reason = "unknown-version"
        return VerifyResponse(
            valid=False,
            key=name,
            version=wanted,
            algorithm=algorithm,
            reason=reason,
            signature_valid=False,
            reference=reference,
        )
    if key is not None and number is not None and (refusal := keyring.refusal(key.ring, number)):
        return _refused(key, number, algorithm, refusal, reference)
    if claim.token is None or message is not None:
        return VerifyResponse(valid=True, key=name, version=number, algorithm=algorithm, reference=reference)
    return VerifyResponse(
        valid=True,
        key=name,
        version=number,
        algorithm=algorithm,
        message=_as_text(claim.token.payload),
        message_base64=claim.token.encoded_payload,
        reference=reference,
    )


def _claim(
    item: VerifyItem | VerifyFields,
    common: VerifyFields,
    given: str,
    message: bytes | None,
    key_type: str,
    algorithm: Algorithm,
) -> _Claim:
    """What the request says is signed, and by what. Raises InvalidRequest and SignatureMismatch."""
    form = item.format or common.format
    prehashed = common.prehashed if item.prehashed is None else item.prehashed
    if form == "raw" or form == "der":
        if message is None:
            raise invalid_field("message", "is missing: send message, or message_base64.")
        if prehashed:
            _check_digest(algorithm, message, item)
        signature = algorithms.to_library(decode_base64(given, "signature"), key_type, algorithm, form)
        return _Claim(algorithm, message, signature, prehashed, None)
    if prehashed:
        raise invalid_field("prehashed", _NO_DIGEST)
    if message is None and form == "jws-detached":
        raise invalid_field("message", "is missing: a detached JWS does not hold it.")
    token = jws.parse(given, message if form == "jws-detached" else None)
    # The key says which algorithm it is; what the token says must agree (RFC 8725, section 3.1).
    if not jws.names(token.algorithm, algorithm) or (message is not None and message != token.payload):
        raise SignatureMismatch
    signature = algorithms.to_library(token.signature, key_type, algorithm, "raw")
    return _Claim(algorithm, token.signed, signature, False, token)


def _matching_version(keys: KeyStore, key: Key, claim: _Claim, wanted: int | None, asked: float) -> tuple[int, Key]:
    """The version whose signature this is, and the key as it was seen then: the version asked for, or the one that a
    JWS names by its `kid`, or the newest that matches. `asked` is when the call came. Raises SignatureMismatch."""
    seen = 0
    for last in (False, True):
        numbers = range(key.ring.latest_version, seen, -1)
        if wanted is not None:
            candidates = [wanted] if wanted in numbers else []
        elif claim.token is not None and claim.token.key_id is not None:
            named = [each for each in numbers if key.versions[each].document.key_id == claim.token.key_id]
            candidates = named or list(numbers)
        else:
            candidates = list(numbers)
        for number in candidates:
            try:
                claim.check(key.versions[number].public_key)
            except SignatureMismatch:
                continue
            return number, key
        if last or wanted in key.versions or key.read_at >= asked:
            break
        # Another instance may have made a version that this one has not seen.
        seen, key = key.ring.latest_version, keys.refresh(key.name)
    raise SignatureMismatch


def _refused(
    key: Key, number: int, algorithm: Algorithm, reason: Reason, reference: str | msgspec.UnsetType
) -> VerifyResponse:
    disabled_at, revocation = key.ring.disabled.get(number), key.ring.revoked.get(number)
    return VerifyResponse(
        valid=False,
        key=key.name,
        version=number,
        algorithm=algorithm,
        reason=reason,
        signature_valid=True,
        created=rfc3339(key.versions[number].document.created),
        disabled_at=msgspec.UNSET if disabled_at is None else rfc3339(disabled_at),
        revoked_at=msgspec.UNSET if revocation is None else rfc3339(revocation.at),
        revocation_reason=msgspec.UNSET if revocation is None else revocation.reason,
        reference=reference,
    )


def _algorithm_of_given(key_type: str, its_own: str | None, wanted: Algorithm | None) -> Algorithm:
    """The algorithm of a key from outside: the one that its JWK names binds (RFC 7517, section 4.4)."""
    if its_own is None:
        return algorithms.choose(key_type, wanted)
    for each in algorithms.fitting(key_type):
        if jws.names(its_own, each) and wanted in (None, each):
            return each
    raise UnfitAlgorithm(f"The JWK of type {key_type} is for {its_own[:20]!r}, and not for {wanted or 'that'}.")


def _message(text: str | None, in_base64: str | None) -> bytes | None:
    if text is not None:
        if in_base64 is not None:
            raise invalid_field("message_base64", "stands beside message: send one of the two.")
        return text.encode()
    return None if in_base64 is None else decode_base64(in_base64, "message_base64")


def _as_text(data: bytes) -> str | msgspec.UnsetType:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return msgspec.UNSET


def _check_digest(algorithm: Algorithm, digest: bytes, item: SignItem | SignFields | VerifyItem | VerifyFields) -> None:
    algorithms.check_digest(algorithm, digest, "message" if item.message is not None else "message_base64")


def _refuse_other_purpose(key: Key) -> None:
    if key.ring.purpose != "sign":
        raise KeyHasOtherPurpose(f"Key {key.name} encrypts. Make one with the purpose sign.")


_EXAMPLE_FROM_OUTSIDE = {
    "public_key": "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEA4gp/uwHpXrGp+2cmL0ylMlU44FNH8hiZZbs3Tyx41ZM=\n"
    "-----END PUBLIC KEY-----\n",
    "message": "hello",
    "signature": "fVGW2BJBGjnKSVNzeL6hdhRWRWUGEZybxg_um_bkyNrkAqE1LRXvoEcRNTw_dzd83F0Z8qnkAF5y_IKz8PFqDw",
}


def operations(keys: KeyStore) -> dict[str, Operation]:
    """`sign` and `verify`, with the keys of the store."""
    return {
        "sign": Operation(
            handle=partial(sign, keys),
            request=SignFields,
            response=(SignResponse, BatchResponse),
            summary="Sign a message with a stored key, or up to 1000 in a batch.\n"
            "The first call with the key `default` makes it (RSA-3072).",
            errors=(*KEY_ERRORS, KeyHasOtherPurpose, UnfitAlgorithm, UnsupportedKey, UnusableVersion),
            examples=(
                Example("With the default key", {"message": "hello"}),
                Example("Bytes", {"message_base64": "aGVsbG8", "algorithm": "PS512"}),
                Example("A JWS", {"message": '{"sub":"alice"}', "format": "jws"}),
            ),
        ),
        "verify": Operation(
            handle=partial(verify, keys),
            request=VerifyFields,
            response=(VerifyResponse, BatchResponse),
            summary="Verify a signature, by a stored key or by a public key from outside; or up to 1000 in a batch.\n"
            "A signature that does not match is answered with 200 and `valid: false`. Without `version` the key's "
            "versions are tried, the newest first. Which algorithm is expected, the key and the call say, never a JWS.",
            errors=(*KEY_ERRORS, KeyHasOtherPurpose, UnfitAlgorithm, UnsupportedKey, WeakKey),
            examples=(Example("With a public key from outside", _EXAMPLE_FROM_OUTSIDE),),
        ),
    }
