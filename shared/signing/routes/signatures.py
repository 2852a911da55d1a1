"""`sign` and `verify`, with stored keys or, to verify, a public key from the request."""

from functools import partial
from time import monotonic
from typing import Annotated, Any, Literal

import msgspec

from shared.errors import InvalidRequest, invalid_field
from shared.signing import algorithms, formats, jws, keyring
from shared.signing.algorithms import Algorithm
from shared.signing.errors import (
    ContradictoryKey,
    KeyHasOtherPurpose,
    MalformedSignature,
    SignatureMismatch,
    TooCostly,
    UnfitAlgorithm,
    UnsupportedKey,
    UnusableVersion,
    WeakKey,
)
from shared.signing.routes.fields import (
    KEY_ERRORS,
    NOBODY,
    USE_ERRORS,
    Caller,
    CallerLists,
    Effort,
    KeyName,
    VersionNumber,
    refuse_own,
    refuse_unlisted,
)
from shared.signing.store import DEFAULT_KEY, Key, KeyStore
from shared.web import Example, Fields, Operation, Request, decode_base64, encode_base64, rfc3339
from shared.web.batch import BatchResponse, Reference, batch_of, respond_batch

Format = Literal["raw", "der", "jws", "jws-detached"]

Message = Annotated[str, msgspec.Meta(description="The message, as text (UTF-8). Send this or message_base64.")]
MessageBase64 = Annotated[
    str, msgspec.Meta(description="The message, as base64 or base64url of its bytes. Send this or message.")
]
ChosenAlgorithm = Annotated[
    Algorithm,
    msgspec.Meta(
        description="An algorithm that fits the key's type. Default: the one that the key is bound to, else the type's "
        "default (PS256 for RSA)."
    ),
]
Prehashed = Annotated[
    bool,
    msgspec.Meta(
        description="The message is a digest by the algorithm's hash function. The signature covers the hashed message."
    ),
]
ChosenFormat = Annotated[
    Format,
    msgspec.Meta(
        description="`raw`: the signature's bytes; for ECDSA r‖s, as in JOSE. `der`: as in X.509; for ECDSA an ASN.1 "
        "structure, for all others the same as `raw`. `jws`: a compact JWS (RFC 7515), which contains the message. "
        "`jws-detached`: a JWS without the message (RFC 7797)."
    ),
]
StrictSalt = Annotated[
    bool,
    msgspec.Meta(
        description="Accept a PSS signature only if its salt has the digest's length, as JOSE requires. A JWS always "
        "must have such a salt."
    ),
]
Signature = Annotated[
    str,
    msgspec.Meta(description="The signature, in base64 or base64url; with the formats jws and jws-detached, the JWS."),
]
GivenKey = Annotated[
    str,
    msgspec.Meta(
        description="Instead of key: a public key as PEM (SubjectPublicKeyInfo or PKCS#1), as a JWK, or in an X.509 "
        "certificate. Only the certificate's key is used; its dates and issuer are not checked.",
        max_length=65536,
    ),
]


class SignShared(Fields, frozen=True, kw_only=True):
    """The fields of a message, alone or in a batch."""

    key: KeyName | None = None
    message: Message | None = None
    message_base64: MessageBase64 | None = None
    algorithm: ChosenAlgorithm | None = None
    version: VersionNumber | None = None
    prehashed: Prehashed | None = None
    format: ChosenFormat | None = None


class SignItem(SignShared, frozen=True, kw_only=True):
    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class SignRequest(SignShared, frozen=True, kw_only=True):
    """One message, or a batch. A field beside `batch` is the default for its items."""

    key: KeyName = DEFAULT_KEY
    prehashed: Prehashed = False
    format: ChosenFormat = "raw"
    batch: Annotated[list[Any], batch_of(SignItem)] | None = None


class SignResponse(msgspec.Struct, frozen=True):
    """The signature in base64url, or the JWS; and the key, version and algorithm that made it. `key_id` is the RFC 7638
    thumbprint of the public key."""

    key: str
    version: int
    key_id: str
    algorithm: Algorithm
    signature: str
    reference: str | msgspec.UnsetType = msgspec.UNSET


class VerifyShared(Fields, frozen=True, kw_only=True):
    """The fields of a signature, alone or in a batch."""

    key: KeyName | None = None
    public_key: GivenKey | dict[str, Any] | None = None
    message: Message | None = None
    message_base64: MessageBase64 | None = None
    signature: Signature | None = None
    algorithm: ChosenAlgorithm | None = None
    version: VersionNumber | None = None
    prehashed: Prehashed | None = None
    format: ChosenFormat | None = None
    strict_salt: StrictSalt | None = None


class VerifyItem(VerifyShared, frozen=True, kw_only=True):
    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class VerifyRequest(VerifyShared, frozen=True, kw_only=True):
    """One signature, or a batch. A field beside `batch` is the default for its items."""

    prehashed: Prehashed = False
    format: ChosenFormat = "raw"
    strict_salt: StrictSalt = False
    batch: Annotated[list[Any], batch_of(VerifyItem)] | None = None


Reason = Literal["mismatch", "malformed", "unknown-version", "disabled", "revoked"]


class VerifyResponse(msgspec.Struct, frozen=True, kw_only=True):
    """It is safe to act on `valid` alone. If it is false, `reason` says why, and `signature_valid` is true if the
    signature matches and only the state of the key's version refuses it."""

    valid: bool
    key: str | None
    version: int | None
    """The version that the signature matches, or the one in the request."""
    algorithm: Algorithm
    reason: Reason | msgspec.UnsetType = msgspec.UNSET
    signature_valid: bool | msgspec.UnsetType = msgspec.UNSET
    created: str | msgspec.UnsetType = msgspec.UNSET
    """When the refused version was created."""
    disabled_at: str | msgspec.UnsetType = msgspec.UNSET
    revoked_at: str | msgspec.UnsetType = msgspec.UNSET
    """From when on signatures by this version are not trusted."""
    revocation_reason: str | msgspec.UnsetType = msgspec.UNSET
    message: str | msgspec.UnsetType = msgspec.UNSET
    """The message in a valid JWS, if it is UTF-8 and the request did not contain it."""
    message_base64: str | msgspec.UnsetType = msgspec.UNSET
    reference: str | msgspec.UnsetType = msgspec.UNSET


_NO_DIGEST = "Leave `prehashed` out, or use the format raw or der: a JWS is over the message itself."
_PEM = "public_key"
_NO_MESSAGE = "Send the message as `message` or `message_base64`."


def sign(keys: KeyStore, fields: SignRequest, caller: Caller = NOBODY) -> SignResponse | BatchResponse:
    if fields.batch is None:
        return _sign(keys, caller, fields, fields)
    return respond_batch(fields.batch, SignItem, lambda item: _sign(keys, caller, item, fields))


def _sign(keys: KeyStore, caller: Caller, item: SignShared, common: SignRequest) -> SignResponse:
    name = item.key or common.key
    prehashed = common.prehashed if item.prehashed is None else item.prehashed
    form = item.format or common.format
    message = _message(item.message, item.message_base64)
    if message is None:
        raise invalid_field("message", _NO_MESSAGE)
    key, number = _signing_version(keys, caller, name, item.version or common.version)
    algorithm = algorithms.choose(key.metadata.type, item.algorithm or common.algorithm, key.metadata.algorithm)
    version = key.versions[number]
    document = version.document
    if not document.has_private:
        raise UnsupportedKey(f"Key {name} has only its public half here, so it can only verify.")
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
    return SignResponse(name, number, document.key_id, algorithm, signature)


def _signing_version(keys: KeyStore, caller: Caller, name: str, wanted: int | None) -> tuple[Key, int]:
    """The key, and the version that signs: `wanted`, else the current one."""
    refuse_own(name)
    key = keys.get_or_create_default() if name == DEFAULT_KEY else keys.get(name)
    refuse_unlisted(key, caller)
    if key.metadata.rotation_days is not None:
        key = keys.rotate_if_due(key)
    _refuse_other_purpose(key)
    if wanted is not None and wanted not in key.versions:
        key = keys.refresh(name)  # Another instance may have created it.
    if wanted is None and key.current_version is not None:
        return key, key.current_version
    return key, keyring.version_to_use(key.metadata, name, wanted)


def verify(keys: KeyStore, fields: VerifyRequest, request: Request | None = None) -> VerifyResponse | BatchResponse:
    call = _Call(keys)
    if fields.batch is None:
        try:
            return _verify(call, fields, fields)
        except InvalidRequest as error:
            if request is None or request.method != "GET" or "+" not in request.url or error.errors[0].field != _PEM:
                raise
            raise invalid_field(_PEM, f"{error.detail} In a URL a + is a space: write it as %2B.") from None
    return respond_batch(fields.batch, VerifyItem, lambda item: _verify(call, item, fields))


class _Call:
    """The state that the items of one call share: the keys, the start of the call, and the bound on its cost."""

    def __init__(self, keys: KeyStore) -> None:
        self.keys = keys
        self.began = monotonic()
        self.effort = Effort()


class _Expected(msgspec.Struct, frozen=True):
    """The key that a signature should be by: a stored one, with its name, or a public key from the request."""

    key: Key | None
    public_key: Any
    type: str
    algorithm: Algorithm
    version: int | None

    @property
    def name(self) -> str | None:
        return None if self.key is None else self.key.name


class _Claim(msgspec.Struct, frozen=True):
    """The claim to verify: that `signature`, in the library's form, is one over `signed`."""

    algorithm: Algorithm
    signed: bytes
    signature: bytes
    prehashed: bool
    any_salt: bool
    token: jws.Token | None

    def check(self, public_key: Any) -> None:
        """Raise SignatureMismatch if it does not hold."""
        algorithms.verify(
            public_key,
            self.algorithm,
            self.signed,
            self.signature,
            prehashed=self.prehashed,
            any_salt=self.any_salt,
        )


def _verify(call: _Call, item: VerifyShared, common: VerifyRequest) -> VerifyResponse:
    if item.signature is None:
        raise invalid_field("signature", "`signature` is missing.")
    message = _message(item.message, item.message_base64)
    expected = _expected(call.keys, item, common)
    number: int | None = None
    key = expected.key
    try:
        claim = _claim(item, common, item.signature, message, expected)
        if key is None:
            claim.check(expected.public_key)
        else:
            number, key = _matching_version(call, key, claim, expected.version)
    except SignatureMismatch as error:
        return _mismatch(call.keys, expected, error)
    if key is not None and number is not None and (refusal := keyring.refusal(key.metadata, number)):
        return _refused(key, number, expected.algorithm, refusal)
    if claim.token is None or message is not None:
        return VerifyResponse(valid=True, key=expected.name, version=number, algorithm=expected.algorithm)
    return VerifyResponse(
        valid=True,
        key=expected.name,
        version=number,
        algorithm=expected.algorithm,
        message=_as_text(claim.token.payload),
        message_base64=claim.token.encoded_payload,
    )


def _expected(keys: KeyStore, item: VerifyShared, common: VerifyRequest) -> _Expected:
    """The key and algorithm that the request names. A key in an item replaces either kind of key beside the batch."""
    algorithm, version = item.algorithm or common.algorithm, item.version or common.version
    if item.key is None and item.public_key is None:
        name, public_key = common.key, common.public_key
    else:
        name, public_key = item.key, item.public_key
    if public_key is None:
        name = name or DEFAULT_KEY
        refuse_own(name)
        key = keys.get(name)
        _refuse_other_purpose(key)
        metadata = key.metadata
        # Older signatures may be by another algorithm than the one that the key is bound to now.
        bound = metadata.algorithm if algorithm is None else None
        return _Expected(key, None, metadata.type, algorithms.choose(metadata.type, algorithm, bound), version)
    for field, value in (("key", name), ("version", version)):
        if value is not None:
            raise invalid_field(field, f"Send either `{field}` for a stored key, or `public_key`.")
    parsed, its_algorithm = formats.parse_public(public_key, _PEM, "sign")
    key_type = formats.type_of(parsed)
    return _Expected(None, parsed, key_type, _algorithm_of_jwk(key_type, its_algorithm, algorithm), None)


def _claim(item: VerifyShared, common: VerifyRequest, text: str, message: bytes | None, expected: _Expected) -> _Claim:
    """The claim in the request. Raises InvalidRequest and SignatureMismatch."""
    algorithm = expected.algorithm
    form = item.format or common.format
    prehashed = common.prehashed if item.prehashed is None else item.prehashed
    strict_salt = common.strict_salt if item.strict_salt is None else item.strict_salt
    if form == "raw" or form == "der":
        if message is None:
            raise invalid_field("message", _NO_MESSAGE)
        if prehashed:
            _check_digest(algorithm, message, item)
        signature = algorithms.to_library(decode_base64(text, "signature"), expected.type, algorithm, form)
        return _Claim(algorithm, message, signature, prehashed, not strict_salt, None)
    if prehashed:
        raise invalid_field("prehashed", _NO_DIGEST)
    if message is None and form == "jws-detached":
        raise invalid_field("message", f"{_NO_MESSAGE} A detached JWS does not contain it.")
    token = jws.parse(text, message if form == "jws-detached" else None)
    # The key determines the algorithm; the token must agree (RFC 8725, section 3.1).
    if not algorithms.same(token.algorithm, algorithm) or (message is not None and message != token.payload):
        raise SignatureMismatch
    signature = algorithms.to_library(token.signature, expected.type, algorithm, "raw")
    return _Claim(algorithm, token.signed, signature, False, False, token)


def _matching_version(call: _Call, key: Key, claim: _Claim, wanted: int | None) -> tuple[int, Key]:
    """The version whose signature this is, and the key with that version: the version in the request, or the one that
    a JWS names by its `kid`, or the newest that matches. Raises SignatureMismatch and TooCostly."""
    tried = 0
    for last in (False, True):
        numbers = range(key.metadata.latest_version, tried, -1)
        kid = None if claim.token is None else claim.token.key_id
        if wanted is not None:
            candidates = [wanted] if wanted in numbers else []
        elif kid is not None and kid in key.numbers:
            candidates = [key.numbers[kid]] if key.numbers[kid] in numbers else []
        else:
            candidates = list(numbers)
        for number in call.effort.over(candidates, f"Key {key.name} has many versions. Send `version`."):
            try:
                claim.check(key.versions[number].public_key)
            except SignatureMismatch:
                continue
            return number, key
        if last or wanted in key.versions or key.read_at >= call.began:
            break
        # Another instance may have created a version that this one has not read.
        tried, key = key.metadata.latest_version, call.keys.refresh(key.name)
    raise SignatureMismatch


def _mismatch(keys: KeyStore, expected: _Expected, error: SignatureMismatch) -> VerifyResponse:
    reason: Reason = "malformed" if isinstance(error, MalformedSignature) else "mismatch"
    if (
        reason == "mismatch"
        and expected.key is not None
        and expected.version is not None
        and expected.version not in keys.get(expected.key.name).versions
    ):
        reason = "unknown-version"
    return VerifyResponse(
        valid=False,
        key=expected.name,
        version=expected.version,
        algorithm=expected.algorithm,
        reason=reason,
        signature_valid=False,
    )


def _refused(key: Key, number: int, algorithm: Algorithm, reason: Reason) -> VerifyResponse:
    disabled_at, revocation = key.metadata.disabled.get(number), key.metadata.revoked.get(number)
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
    )


def _algorithm_of_jwk(key_type: str, named: str | None, wanted: Algorithm | None) -> Algorithm:
    """The algorithm for a public key in the request. The one that its JWK names is binding (RFC 7517, section 4.4)."""
    if named is None:
        return algorithms.choose(key_type, wanted)
    for each in algorithms.fitting(key_type):
        if algorithms.same(named, each) and wanted in (None, each):
            return each
    raise UnfitAlgorithm(
        f"The JWK of type {key_type} names the algorithm {named[:20]!a}, "
        f"which does not fit {wanted or 'a key of this type'}."
    )


def _message(text: str | None, in_base64: str | None) -> bytes | None:
    if text is not None:
        if in_base64 is not None:
            raise invalid_field("message_base64", "Send either `message` or `message_base64`.")
        return text.encode()
    return None if in_base64 is None else decode_base64(in_base64, "message_base64")


def _as_text(data: bytes) -> str | msgspec.UnsetType:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return msgspec.UNSET


def _check_digest(algorithm: Algorithm, digest: bytes, item: SignShared | VerifyShared) -> None:
    algorithms.check_digest(algorithm, digest, "message" if item.message is not None else "message_base64")


def _refuse_other_purpose(key: Key) -> None:
    if key.metadata.purpose != "sign":
        raise KeyHasOtherPurpose(f"Key {key.name} encrypts. Create a key with the purpose sign.")


_EXAMPLE_FROM_OUTSIDE = {
    "public_key": "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEA4gp/uwHpXrGp+2cmL0ylMlU44FNH8hiZZbs3Tyx41ZM=\n"
    "-----END PUBLIC KEY-----\n",
    "message": "hello",
    "signature": "fVGW2BJBGjnKSVNzeL6hdhRWRWUGEZybxg_um_bkyNrkAqE1LRXvoEcRNTw_dzd83F0Z8qnkAF5y_IKz8PFqDw",
}


def operations(keys: KeyStore, lists: CallerLists) -> dict[str, Operation]:
    """`sign` and `verify`, with the keys of the store."""
    return {
        "sign": Operation(
            handle=lambda fields, request: sign(keys, fields, lists.caller(request.headers)),
            with_request=True,
            request=SignRequest,
            in_items=("message", "message_base64"),
            response=(SignResponse, BatchResponse),
            summary="Sign a message with a stored key, or up to 1000 in a batch.\n"
            "The first call with the key `default` creates it (RSA-3072, bound to PS256).",
            errors=(*USE_ERRORS, KeyHasOtherPurpose, UnfitAlgorithm, UnsupportedKey, UnusableVersion),
            examples=(
                Example("With the default key", {"message": "hello"}),
                Example("Bytes", {"message_base64": "aGVsbG8", "algorithm": "PS256"}),
                Example("A JWS", {"message": '{"sub":"alice"}', "format": "jws"}),
            ),
        ),
        "verify": Operation(
            handle=partial(verify, keys),
            with_request=True,
            request=VerifyRequest,
            in_items=("message", "message_base64", "signature"),
            response=(VerifyResponse, BatchResponse),
            summary="Verify a signature by a stored key or by a public key in the request, or up to 1000 in a batch.\n"
            "A signature that does not match gets 200 with `valid: false`. Without `version`, the app tries the key's "
            "versions, the newest first. The key and the request determine the algorithm, never a JWS.",
            errors=(
                *KEY_ERRORS,
                ContradictoryKey,
                KeyHasOtherPurpose,
                TooCostly,
                UnfitAlgorithm,
                UnsupportedKey,
                WeakKey,
            ),
            examples=(Example("With a public key from outside", _EXAMPLE_FROM_OUTSIDE),),
        ),
    }
