"""`encrypt`, `decrypt`, `generate-data-key` and `rewrap`: JWE with stored keys."""

import secrets
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Annotated, Any

import msgspec

from shared.errors import NotAllowed, invalid_field
from shared.signing import jwe, keyring
from shared.signing.errors import (
    KeyHasOtherPurpose,
    NotDecryptable,
    TooCostly,
    UnfitAlgorithm,
    UnsupportedKey,
    UnusableVersion,
)
from shared.signing.jwe import Ciphertext
from shared.signing.routes.fields import (
    NOBODY,
    USE_ERRORS,
    Caller,
    CallerLists,
    Effort,
    KeyName,
    refuse_own,
    refuse_unlisted,
)
from shared.signing.store import Key, KeyStore
from shared.web import Example, Fields, Operation, Request, decode_base64, encode_base64
from shared.web.batch import BatchResponse, Reference, batch_of, respond_batch

DATA_KEY_BYTES = 32
MAX_UNKNOWN_KIDS = 3
"""Look-ups without a result that one call may cause, with all items of its batch."""

Plaintext = Annotated[str, msgspec.Meta(description="The plaintext, as text. Send this or plaintext_base64.")]
PlaintextBase64 = Annotated[str, msgspec.Meta(description="The plaintext, as base64 or base64url of its bytes.")]
AssociatedData = Annotated[
    str,
    msgspec.Meta(
        description="Bound to the ciphertext and not encrypted, such as the id of the row that holds it. Decrypting "
        "needs the same again."
    ),
]
GivenCiphertext = Annotated[str, msgspec.Meta(description="A JWE, compact or flattened JSON.")] | dict[str, Any]
WrappedOnly = Annotated[bool, msgspec.Meta(description="Return no plaintext, for callers that only store data keys.")]


class EncryptShared(Fields, frozen=True, kw_only=True):
    """The fields of a plaintext, alone or in a batch."""

    key: KeyName | None = None
    plaintext: Plaintext | None = None
    plaintext_base64: PlaintextBase64 | None = None
    associated_data: AssociatedData | None = None


class EncryptItem(EncryptShared, frozen=True, kw_only=True):
    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class EncryptRequest(EncryptShared, frozen=True, kw_only=True):
    """One, or a batch. A field beside `batch` is the default for its items."""

    batch: Annotated[list[Any], batch_of(EncryptItem)] | None = None


class EncryptResponse(msgspec.Struct, frozen=True):
    """A JWE: compact, or flattened JSON if there is associated data. Its `kid` is `key_id`."""

    key: str
    version: int
    key_id: str
    algorithm: str
    ciphertext: Ciphertext
    reference: str | msgspec.UnsetType = msgspec.UNSET


class DecryptShared(Fields, frozen=True, kw_only=True):
    """The fields of a ciphertext, alone or in a batch. Without `key`, the `kid` of the ciphertext names the key."""

    key: KeyName | None = None
    ciphertext: GivenCiphertext | None = None
    associated_data: AssociatedData | None = None


class DecryptItem(DecryptShared, frozen=True, kw_only=True):
    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class DecryptRequest(DecryptShared, frozen=True, kw_only=True):
    """One, or a batch. A field beside `batch` is the default for its items."""

    batch: Annotated[list[Any], batch_of(DecryptItem)] | None = None


class DecryptResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The plaintext as bytes, and as text if they are UTF-8."""

    key: str
    version: int
    plaintext_base64: str
    plaintext: str | msgspec.UnsetType = msgspec.UNSET
    reference: str | msgspec.UnsetType = msgspec.UNSET


class GenerateDataKeyShared(Fields, frozen=True, kw_only=True):
    """The fields of a data key, alone or in a batch."""

    key: KeyName | None = None
    wrapped_only: WrappedOnly | None = None
    associated_data: AssociatedData | None = None


class GenerateDataKeyItem(GenerateDataKeyShared, frozen=True, kw_only=True):
    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class GenerateDataKeyRequest(GenerateDataKeyShared, frozen=True, kw_only=True):
    """One, or a batch. A field beside `batch` is the default for its items."""

    wrapped_only: WrappedOnly = False
    batch: Annotated[list[Any], batch_of(GenerateDataKeyItem)] | None = None


class GenerateDataKeyResponse(msgspec.Struct, frozen=True, kw_only=True):
    """256 random bits, and a JWE of them, which `decrypt` opens."""

    key: str
    version: int
    ciphertext: Ciphertext
    plaintext_base64: str | msgspec.UnsetType = msgspec.UNSET
    reference: str | msgspec.UnsetType = msgspec.UNSET


class RewrapShared(Fields, frozen=True, kw_only=True):
    """The fields of a ciphertext to encrypt again, alone or in a batch."""

    key: KeyName | None = None
    ciphertext: GivenCiphertext | None = None


class RewrapItem(RewrapShared, frozen=True, kw_only=True):
    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class RewrapRequest(RewrapShared, frozen=True, kw_only=True):
    """One, or a batch. A field beside `batch` is the default for its items."""

    batch: Annotated[list[Any], batch_of(RewrapItem)] | None = None


class RewrapResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The same plaintext, encrypted by the current version of the same key, with the same associated data."""

    key: str
    version: int
    ciphertext: Ciphertext
    reference: str | msgspec.UnsetType = msgspec.UNSET


def encrypt(keys: KeyStore, fields: EncryptRequest, caller: Caller = NOBODY) -> EncryptResponse | BatchResponse:
    if fields.batch is None:
        return _encrypt(keys, caller, fields, fields)
    return respond_batch(fields.batch, EncryptItem, lambda item: _encrypt(keys, caller, item, fields))


def _encrypt(keys: KeyStore, caller: Caller, item: EncryptShared, common: EncryptRequest) -> EncryptResponse:
    key, number = _encrypting(keys, caller, item.key or common.key)
    if (item.plaintext is None) == (item.plaintext_base64 is None):
        raise invalid_field("plaintext", "Send exactly one of `plaintext` and `plaintext_base64`.")
    if item.plaintext is not None:
        plaintext = item.plaintext.encode()
    else:
        plaintext = decode_base64(item.plaintext_base64 or "", "plaintext_base64")
    ciphertext = _sealed(key, number, plaintext, _bytes(item.associated_data))
    return EncryptResponse(
        key.name,
        number,
        key.versions[number].document.key_id,
        jwe.algorithms_for(key.metadata.type)[0],
        ciphertext,
    )


def decrypt(keys: KeyStore, fields: DecryptRequest, caller: Caller = NOBODY) -> DecryptResponse | BatchResponse:
    finder = Finder(keys, caller)
    if fields.batch is None:
        return _decrypt(finder, fields, fields)
    return respond_batch(fields.batch, DecryptItem, lambda item: _decrypt(finder, item, fields))


def _decrypt(finder: "Finder", item: DecryptShared, common: DecryptRequest) -> DecryptResponse:
    name = _key_name(item, common)
    ciphertext, envelope = _read(item.ciphertext)
    if envelope.associated_data != _bytes(item.associated_data):
        raise NotDecryptable(_REFUSED)
    key, number, plaintext = _opened(finder, name, ciphertext, envelope)
    try:
        text: str | msgspec.UnsetType = plaintext.decode()
    except UnicodeDecodeError:
        text = msgspec.UNSET
    return DecryptResponse(
        key=key.name,
        version=number,
        plaintext_base64=encode_base64(plaintext),
        plaintext=text,
    )


def _key_name(item: DecryptShared | RewrapShared, common: DecryptRequest | RewrapRequest) -> str | None:
    """The key that the call names. Raises ReservedKey."""
    name = item.key or common.key
    if name is not None:
        refuse_own(name)
    return name


def generate_data_key(
    keys: KeyStore, fields: GenerateDataKeyRequest, caller: Caller = NOBODY
) -> GenerateDataKeyResponse | BatchResponse:
    if fields.batch is None:
        return _generate_data_key(keys, caller, fields, fields)
    return respond_batch(fields.batch, GenerateDataKeyItem, lambda item: _generate_data_key(keys, caller, item, fields))


def _generate_data_key(
    keys: KeyStore, caller: Caller, item: GenerateDataKeyShared, common: GenerateDataKeyRequest
) -> GenerateDataKeyResponse:
    key, number = _encrypting(keys, caller, item.key or common.key)
    wrapped_only = common.wrapped_only if item.wrapped_only is None else item.wrapped_only
    data_key = secrets.token_bytes(DATA_KEY_BYTES)
    return GenerateDataKeyResponse(
        key=key.name,
        version=number,
        ciphertext=_sealed(key, number, data_key, _bytes(item.associated_data)),
        plaintext_base64=msgspec.UNSET if wrapped_only else encode_base64(data_key),
    )


def rewrap(keys: KeyStore, fields: RewrapRequest, caller: Caller = NOBODY) -> RewrapResponse | BatchResponse:
    finder = Finder(keys, caller)
    if fields.batch is None:
        return _rewrap(finder, fields, fields)
    return respond_batch(fields.batch, RewrapItem, lambda item: _rewrap(finder, item, fields))


def _rewrap(finder: "Finder", item: RewrapShared, common: RewrapRequest) -> RewrapResponse:
    name = _key_name(item, common)
    ciphertext, envelope = _read(item.ciphertext)
    key, _, plaintext = _opened(finder, name, ciphertext, envelope)
    key, number = _encrypting(finder.keys, finder.caller, key.name)
    return RewrapResponse(
        key=key.name,
        version=number,
        ciphertext=_sealed(key, number, plaintext, envelope.associated_data),
    )


def _encrypting(keys: KeyStore, caller: Caller, name: str | None) -> tuple[Key, int]:
    """The key, and the version that encrypts."""
    if name is None:
        raise invalid_field("key", "`key` is missing.")
    refuse_own(name)
    key = keys.get(name)
    refuse_unlisted(key, caller)
    if key.metadata.rotation_days is not None:
        key = keys.rotate_if_due(key)
    _refuse_other_purpose(key)
    return key, keyring.version_to_use(key.metadata, name, None)


def _sealed(key: Key, number: int, plaintext: bytes, associated_data: bytes | None) -> Ciphertext:
    version = key.versions[number]
    return jwe.encrypt(version.public_key, key.metadata.type, version.document.key_id, plaintext, associated_data)


class Finder:
    """Finds the keys for the ciphertexts of one call by `caller`, and bounds the cost of all of them together."""

    def __init__(self, keys: KeyStore, caller: Caller) -> None:
        self.keys = keys
        self.caller = caller
        self.effort = Effort()
        self._began = monotonic()
        self._unknown: set[str] = set()

    def by_kid(self, kid: str) -> Iterator[tuple[Key, int]]:
        """The keys and versions that have this `kid`. Raises TooCostly."""
        if kid in self._unknown:
            return
        if len(self._unknown) >= MAX_UNKNOWN_KIDS and not self.keys.knows(kid):
            raise TooCostly("Several ciphertexts of this call have a kid that no key has. Send `key`.")
        is_known = False
        for candidate in self.keys.find(kid, self._began):
            is_known = True
            yield candidate
        if not is_known:
            self._unknown.add(kid)

    def by_name(self, name: str, kid: str | None) -> tuple[Key, list[int]]:
        """The key, and the versions to try: the one that has the `kid`, else all, the newest first."""
        key = self.keys.get(name)
        if kid not in key.numbers and key.read_at < self._began:
            key = self.keys.refresh(name)  # Another instance may have created the version.
        if kid is not None and kid in key.numbers:
            return key, [key.numbers[kid]]
        return key, list(range(key.metadata.latest_version, 0, -1))


def _opened(finder: Finder, name: str | None, ciphertext: Ciphertext, envelope: jwe.Envelope) -> tuple[Key, int, bytes]:
    """The key, the number of the version and the plaintext."""
    if name is not None:
        key, candidates = finder.by_name(name, envelope.key_id)
        return _opened_by(finder, key, candidates, ciphertext, envelope)
    if envelope.key_id is None:
        raise invalid_field("key", "Send `key`: the ciphertext has no kid that names one.")
    refusal: Exception | None = None
    for key, number in finder.by_kid(envelope.key_id):
        try:
            return _opened_by(finder, key, [number], ciphertext, envelope)
        except _REFUSALS as error:  # The same key may have another name, under which it may decrypt.
            if refusal is None or isinstance(error, NotAllowed):
                refusal = error
    raise refusal or NotDecryptable(_REFUSED)


def _opened_by(
    finder: Finder, key: Key, candidates: list[int], ciphertext: Ciphertext, envelope: jwe.Envelope
) -> tuple[Key, int, bytes]:
    refuse_unlisted(key, finder.caller)
    _refuse_other_purpose(key)
    metadata = key.metadata
    if not metadata.has_private:
        raise UnsupportedKey(f"Key {key.name} has only its public half here, so it cannot decrypt.")
    jwe.check_algorithms(envelope, metadata.type)
    usable = [each for each in candidates if keyring.may_decrypt(metadata, each)]
    if not usable and len(candidates) == 1:
        raise UnusableVersion(
            f"Version {candidates[0]} of key {key.name} is disabled or below minimum_verify_version. "
            "Enable it to decrypt."
        )
    for number in finder.effort.over(
        usable, "The ciphertext names no version by its kid, and the key has many. Send a kid."
    ):
        try:
            return key, number, jwe.decrypt(ciphertext, key.versions[number].private_key, metadata.type)
        except NotDecryptable:
            continue
    raise NotDecryptable(_REFUSED)


_REFUSALS = (KeyHasOtherPurpose, NotAllowed, NotDecryptable, UnfitAlgorithm, UnsupportedKey, UnusableVersion)


def _read(ciphertext: Ciphertext | None) -> tuple[Ciphertext, jwe.Envelope]:
    if ciphertext is None:
        raise invalid_field("ciphertext", "`ciphertext` is missing.")
    return jwe.read(ciphertext, "ciphertext")


def _bytes(text: str | None) -> bytes | None:
    """Associated data; an empty text is none."""
    return text.encode() if text else None


def _refuse_other_purpose(key: Key) -> None:
    if key.metadata.purpose != "encrypt":
        raise KeyHasOtherPurpose(f"Key {key.name} signs. Create a key with the purpose encrypt.")


_REFUSED = "The ciphertext is for another key, was changed, or belongs to other associated data."


_SAMPLE = (
    "eyJhbGciOiJBMjU2S1ciLCJlbmMiOiJBMjU2R0NNIn0.esjlirN46bCXZiufTLi27yjAEXC4vNsOjv7SuuYb4KKGQQtDP45W-w."
    "owX4CK3OeZvdzz0k.QaGkUS8.K8uBsPGvry6hnbLnX8YqXA"
)


def operations(keys: KeyStore, lists: CallerLists) -> dict[str, Operation]:
    """Encryption with stored keys."""

    def by_caller(handle: Callable[..., object]) -> Callable[[Fields, Request], object]:
        return lambda fields, request: handle(keys, fields, lists.caller(request.headers))

    errors = (*USE_ERRORS, KeyHasOtherPurpose, UnusableVersion)
    decrypting = (*errors, NotDecryptable, TooCostly, UnfitAlgorithm, UnsupportedKey)
    return {
        "encrypt": Operation(
            handle=by_caller(encrypt),
            with_request=True,
            request=EncryptRequest,
            in_items=("plaintext", "plaintext_base64", "associated_data"),
            response=(EncryptResponse, BatchResponse),
            summary="Encrypt with a stored key, as a JWE (RFC 7516), or up to 1000 plaintexts in a batch.",
            errors=errors,
            examples=(
                Example("A text", {"key": "sample-aes", "plaintext": "hello"}),
                Example("Bound", {"key": "sample-aes", "plaintext": "hello", "associated_data": "customer 7"}),
            ),
        ),
        "decrypt": Operation(
            handle=by_caller(decrypt),
            with_request=True,
            request=DecryptRequest,
            in_items=("ciphertext", "associated_data"),
            response=(DecryptResponse, BatchResponse),
            summary="Decrypt a JWE with the key and version that its kid names, or up to 1000 in a batch.",
            errors=decrypting,
            examples=(Example("A text", {"key": "sample-aes", "ciphertext": _SAMPLE}),),
        ),
        "generate-data-key": Operation(
            handle=by_caller(generate_data_key),
            with_request=True,
            request=GenerateDataKeyRequest,
            in_items=("associated_data",),
            response=(GenerateDataKeyResponse, BatchResponse),
            summary="Create a data key for encrypting large data where it is, and a JWE of it to store with the data.",
            errors=errors,
            examples=(Example("For a large file", {"key": "sample-aes"}),),
        ),
        "rewrap": Operation(
            handle=by_caller(rewrap),
            with_request=True,
            request=RewrapRequest,
            in_items=("ciphertext",),
            response=(RewrapResponse, BatchResponse),
            summary="Encrypt the plaintext of a JWE again, with the current version of its key, without showing it.",
            errors=decrypting,
            examples=(Example("After a rotation", {"key": "sample-aes", "ciphertext": _SAMPLE}),),
        ),
    }
