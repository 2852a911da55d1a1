"""`encrypt`, `decrypt`, `generate-data-key` and `rewrap`: JWE with stored keys."""

import secrets
from functools import partial
from time import monotonic
from typing import Annotated, Any

import msgspec

from shared.errors import invalid_field
from shared.signing import jwe, keyring
from shared.signing.errors import KeyHasOtherPurpose, NotDecryptable, UnsupportedKey, UnusableVersion
from shared.signing.fields import (
    KEY_ERRORS,
    MAX_BATCH,
    BatchResponse,
    KeyName,
    Reference,
    refuse_beside_batch,
    respond_batch,
)
from shared.signing.jwe import Ciphertext
from shared.signing.store import Key, KeyStore
from shared.web import Example, Fields, Operation, decode_base64, encode_base64

DATA_KEY_BYTES = 32

Plaintext = Annotated[str, msgspec.Meta(description="What is to be encrypted, as text. This or plaintext_base64.")]
PlaintextBase64 = Annotated[str, msgspec.Meta(description="What is to be encrypted, as base64 or base64url.")]
AssociatedData = Annotated[
    str,
    msgspec.Meta(
        description="Bound to the ciphertext, and needed again to decrypt it: say, where it belongs. Not encrypted."
    ),
]
GivenCiphertext = Annotated[str, msgspec.Meta(description="A JWE, as encrypt answers it.")] | dict[str, Any]
WrappedOnly = Annotated[bool, msgspec.Meta(description="Answer without the plaintext, for whoever may only store it.")]


class EncryptItem(Fields, frozen=True, kw_only=True):
    key: KeyName | None = None
    plaintext: Plaintext | None = None
    plaintext_base64: PlaintextBase64 | None = None
    associated_data: AssociatedData | None = None
    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class EncryptFields(Fields, frozen=True, kw_only=True):
    key: KeyName | None = None
    plaintext: Plaintext | None = None
    plaintext_base64: PlaintextBase64 | None = None
    associated_data: AssociatedData | None = None
    batch: Annotated[list[EncryptItem], msgspec.Meta(min_length=1, max_length=MAX_BATCH)] | None = None


class EncryptResponse(msgspec.Struct, frozen=True):
    """A JWE: compact, or flattened JSON where there is associated data. Its `kid` is `key_id`."""

    key: str
    version: int
    key_id: str
    algorithm: str
    ciphertext: Ciphertext
    reference: str | msgspec.UnsetType = msgspec.UNSET


class DecryptItem(Fields, frozen=True, kw_only=True):
    ciphertext: GivenCiphertext
    key: KeyName | None = None
    associated_data: AssociatedData | None = None
    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class DecryptFields(Fields, frozen=True, kw_only=True):
    """Without `key` the ciphertext's `kid` says which it is."""

    key: KeyName | None = None
    ciphertext: GivenCiphertext | None = None
    associated_data: AssociatedData | None = None
    batch: Annotated[list[DecryptItem], msgspec.Meta(min_length=1, max_length=MAX_BATCH)] | None = None


class DecryptResponse(msgspec.Struct, frozen=True, kw_only=True):
    """`plaintext` stands beside the bytes where they are UTF-8."""

    key: str
    version: int
    plaintext_base64: str
    plaintext: str | msgspec.UnsetType = msgspec.UNSET
    reference: str | msgspec.UnsetType = msgspec.UNSET


class DataKeyItem(Fields, frozen=True, kw_only=True):
    key: KeyName | None = None
    wrapped_only: WrappedOnly | None = None
    associated_data: AssociatedData | None = None
    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class DataKeyFields(Fields, frozen=True, kw_only=True):
    key: KeyName | None = None
    wrapped_only: WrappedOnly = False
    associated_data: AssociatedData | None = None
    batch: Annotated[list[DataKeyItem], msgspec.Meta(min_length=1, max_length=MAX_BATCH)] | None = None


class DataKeyResponse(msgspec.Struct, frozen=True, kw_only=True):
    """256 random bits, and a JWE of them, which `decrypt` opens."""

    key: str
    version: int
    ciphertext: Ciphertext
    plaintext_base64: str | msgspec.UnsetType = msgspec.UNSET
    reference: str | msgspec.UnsetType = msgspec.UNSET


class RewrapItem(Fields, frozen=True, kw_only=True):
    ciphertext: GivenCiphertext
    key: KeyName | None = None
    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class RewrapFields(Fields, frozen=True, kw_only=True):
    key: KeyName | None = None
    ciphertext: GivenCiphertext | None = None
    batch: Annotated[list[RewrapItem], msgspec.Meta(min_length=1, max_length=MAX_BATCH)] | None = None


class RewrapResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The same plaintext, encrypted by the current version of the same key; its associated data stays."""

    key: str
    version: int
    ciphertext: Ciphertext
    reference: str | msgspec.UnsetType = msgspec.UNSET


def encrypt(keys: KeyStore, fields: EncryptFields) -> EncryptResponse | BatchResponse:
    if fields.batch is None:
        return _encrypt(keys, fields, fields)
    refuse_beside_batch(fields, "plaintext", "plaintext_base64", "associated_data")
    return respond_batch(fields.batch, lambda item: _encrypt(keys, item, fields))


def _encrypt(keys: KeyStore, item: EncryptItem | EncryptFields, common: EncryptFields) -> EncryptResponse:
    key, number = _encrypting(keys, item.key or common.key)
    if (item.plaintext is None) == (item.plaintext_base64 is None):
        raise invalid_field("plaintext", "or plaintext_base64: send one of the two.")
    if item.plaintext is not None:
        plaintext = item.plaintext.encode()
    else:
        plaintext = decode_base64(item.plaintext_base64 or "", "plaintext_base64")
    ciphertext = _sealed(key, number, plaintext, _bytes(item.associated_data))
    return EncryptResponse(
        key.name,
        number,
        key.versions[number].document.key_id,
        jwe.algorithms_for(key.ring.type)[0],
        ciphertext,
        item.reference if isinstance(item, EncryptItem) else msgspec.UNSET,
    )


def decrypt(keys: KeyStore, fields: DecryptFields) -> DecryptResponse | BatchResponse:
    finder = Finder(keys)
    if fields.batch is None:
        return _decrypt(finder, fields, fields)
    refuse_beside_batch(fields, "ciphertext", "associated_data")
    return respond_batch(fields.batch, lambda item: _decrypt(finder, item, fields))


def _decrypt(finder: "Finder", item: DecryptItem | DecryptFields, common: DecryptFields) -> DecryptResponse:
    ciphertext, envelope = _read(item.ciphertext)
    if envelope.associated_data != _bytes(item.associated_data):
        raise NotDecryptable(_REFUSED)
    key, number, plaintext = _opened(finder, item.key or common.key, ciphertext, envelope)
    try:
        text: str | msgspec.UnsetType = plaintext.decode()
    except UnicodeDecodeError:
        text = msgspec.UNSET
    return DecryptResponse(
        key=key.name,
        version=number,
        plaintext_base64=encode_base64(plaintext),
        plaintext=text,
        reference=item.reference if isinstance(item, DecryptItem) else msgspec.UNSET,
    )


def generate_data_key(keys: KeyStore, fields: DataKeyFields) -> DataKeyResponse | BatchResponse:
    if fields.batch is None:
        return _generate_data_key(keys, fields, fields)
    refuse_beside_batch(fields, "associated_data")
    return respond_batch(fields.batch, lambda item: _generate_data_key(keys, item, fields))


def _generate_data_key(keys: KeyStore, item: DataKeyItem | DataKeyFields, common: DataKeyFields) -> DataKeyResponse:
    key, number = _encrypting(keys, item.key or common.key)
    wrapped_only = common.wrapped_only if item.wrapped_only is None else item.wrapped_only
    data_key = secrets.token_bytes(DATA_KEY_BYTES)
    return DataKeyResponse(
        key=key.name,
        version=number,
        ciphertext=_sealed(key, number, data_key, _bytes(item.associated_data)),
        plaintext_base64=msgspec.UNSET if wrapped_only else encode_base64(data_key),
        reference=item.reference if isinstance(item, DataKeyItem) else msgspec.UNSET,
    )


def rewrap(keys: KeyStore, fields: RewrapFields) -> RewrapResponse | BatchResponse:
    finder = Finder(keys)
    if fields.batch is None:
        return _rewrap(finder, fields, fields)
    refuse_beside_batch(fields, "ciphertext")
    return respond_batch(fields.batch, lambda item: _rewrap(finder, item, fields))


def _rewrap(finder: "Finder", item: RewrapItem | RewrapFields, common: RewrapFields) -> RewrapResponse:
    ciphertext, envelope = _read(item.ciphertext)
    key, _, plaintext = _opened(finder, item.key or common.key, ciphertext, envelope)
    key, number = _encrypting(finder.keys, key.name)
    return RewrapResponse(
        key=key.name,
        version=number,
        ciphertext=_sealed(key, number, plaintext, envelope.associated_data),
        reference=item.reference if isinstance(item, RewrapItem) else msgspec.UNSET,
    )


def _encrypting(keys: KeyStore, name: str | None) -> tuple[Key, int]:
    """The key, and the version that encrypts."""
    if name is None:
        raise invalid_field("key", "is missing.")
    key = keys.get(name)
    if key.ring.rotation_days is not None:
        key = keys.rotate_if_due(key)
    _refuse_other_purpose(key)
    return key, keyring.version_to_make(key.ring, name, None)


def _sealed(key: Key, number: int, plaintext: bytes, associated_data: bytes | None) -> Ciphertext:
    version = key.versions[number]
    return jwe.encrypt(version.public_key, key.ring.type, version.document.key_id, plaintext, associated_data)


class Finder:
    """Finds the keys for the ciphertexts of one call; asks storage once for each, however many they are."""

    def __init__(self, keys: KeyStore) -> None:
        self.keys = keys
        self._asked = monotonic()
        self._unknown: set[str] = set()

    def by_id(self, key_id: str) -> tuple[Key, int] | None:
        """The key and version that a `kid` names."""
        found = None if key_id in self._unknown else self.keys.find(key_id)
        if found is None:
            self._unknown.add(key_id)
        return found

    def by_name(self, name: str, key_id: str | None) -> tuple[Key, list[int]]:
        """The key, and the versions to try: the one that a `kid` names, else all, the newest first."""
        key = self.keys.get(name)
        if not _named(key, key_id) and key.read_at < self._asked:
            key = self.keys.refresh(name)  # Another instance may have made it.
        return key, _named(key, key_id) or list(range(key.ring.latest_version, 0, -1))


def _opened(finder: Finder, name: str | None, ciphertext: Ciphertext, envelope: jwe.Envelope) -> tuple[Key, int, bytes]:
    """The key, the number of the version and the plaintext. The version is the one that `kid` names, or any."""
    if name is None:
        if envelope.key_id is None:
            raise invalid_field("key", "is missing, and the ciphertext names none by a kid.")
        found = finder.by_id(envelope.key_id)
        if found is None:
            raise NotDecryptable(_REFUSED)
        key, candidates = found[0], [found[1]]
    else:
        key, candidates = finder.by_name(name, envelope.key_id)
    _refuse_other_purpose(key)
    for number in candidates:
        if not keyring.may_decrypt(key.ring, number):
            if len(candidates) == 1:
                raise UnusableVersion(f"Version {number} of key {key.name} is disabled, or too old to decrypt.")
            continue
        if not key.versions[number].document.has_private:
            raise UnsupportedKey(f"Of key {key.name} only the public half is here: it encrypts.")
        try:
            return key, number, jwe.decrypt(ciphertext, key.versions[number].private_key, key.ring.type)
        except NotDecryptable:
            continue
    raise NotDecryptable(_REFUSED)


def _named(key: Key, key_id: str | None) -> list[int]:
    return [number for number, version in key.versions.items() if version.document.key_id == key_id]


def _read(given: Ciphertext | None) -> tuple[Ciphertext, jwe.Envelope]:
    if given is None:
        raise invalid_field("ciphertext", "is missing.")
    return jwe.read(given, "ciphertext")


def _bytes(text: str | None) -> bytes | None:
    """Associated data; of an empty text there is none."""
    return text.encode() if text else None


def _refuse_other_purpose(key: Key) -> None:
    if key.ring.purpose != "encrypt":
        raise KeyHasOtherPurpose(f"Key {key.name} signs. Make one with the purpose encrypt.")


_REFUSED = "It was not made for this key, is not as it was made, or belongs to other associated data."


_SAMPLE = (
    "eyJhbGciOiJBMjU2S1ciLCJlbmMiOiJBMjU2R0NNIn0.esjlirN46bCXZiufTLi27yjAEXC4vNsOjv7SuuYb4KKGQQtDP45W-w."
    "owX4CK3OeZvdzz0k.QaGkUS8.K8uBsPGvry6hnbLnX8YqXA"
)


def operations(keys: KeyStore) -> dict[str, Operation]:
    """Encryption with stored keys."""
    errors = (*KEY_ERRORS, KeyHasOtherPurpose, UnusableVersion)
    return {
        "encrypt": Operation(
            handle=partial(encrypt, keys),
            request=EncryptFields,
            response=(EncryptResponse, BatchResponse),
            summary="Encrypt with a stored key, as a JWE (RFC 7516); or up to 1000 in a batch.",
            errors=errors,
            examples=(
                Example("A text", {"key": "sample-aes", "plaintext": "hello"}),
                Example("Bound", {"key": "sample-aes", "plaintext": "hello", "associated_data": "customer 7"}),
            ),
        ),
        "decrypt": Operation(
            handle=partial(decrypt, keys),
            request=DecryptFields,
            response=(DecryptResponse, BatchResponse),
            summary="Decrypt a JWE with the key and version that it was made for, or up to 1000 in a batch.",
            errors=(*errors, NotDecryptable, UnsupportedKey),
            examples=(Example("A text", {"key": "sample-aes", "ciphertext": _SAMPLE}),),
        ),
        "generate-data-key": Operation(
            handle=partial(generate_data_key, keys),
            request=DataKeyFields,
            response=(DataKeyResponse, BatchResponse),
            summary="Make a data key, to encrypt large things with where they are, and its JWE to keep beside them.",
            errors=errors,
            examples=(Example("For a large file", {"key": "sample-aes"}),),
        ),
        "rewrap": Operation(
            handle=partial(rewrap, keys),
            request=RewrapFields,
            response=(RewrapResponse, BatchResponse),
            summary="Encrypt a JWE's plaintext anew, by the current version of its key, without showing it.",
            errors=(*errors, NotDecryptable, UnsupportedKey),
            examples=(Example("After a rotation", {"key": "sample-aes", "ciphertext": _SAMPLE}),),
        ),
    }
