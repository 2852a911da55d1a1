"""The keys themselves: made, imported, listed, rotated, changed, revoked, deleted, restored and exported; and JWKS."""

from datetime import datetime
from functools import partial
from threading import Lock
from time import monotonic
from typing import Annotated, Any

import msgspec

from shared.errors import StrongroomError, invalid_field
from shared.signing import algorithms, formats, keyring
from shared.signing.errors import (
    KeyChanged,
    KeyExists,
    KeyNotDeletable,
    KeyTooLarge,
    NotExportable,
    UnknownKey,
    UnsupportedKey,
    WeakKey,
)
from shared.signing.fields import KEY_ERRORS, STORE_ERRORS, KeyName, VersionNumber
from shared.signing.keyring import Changes, KeyType, Purpose, State
from shared.signing.store import Key, KeyStore, KeyVersion, NewKey
from shared.web import Cursors, Example, Fields, Operation, Response, rfc3339

JWKS_SECONDS = 60
"""How long others may keep the JWKS; a revocation reaches them no later."""

NewName = Annotated[
    str,
    msgspec.Meta(
        description="Name of the new key: lower-case letters, digits and hyphens.",
        pattern="^[a-z0-9][a-z0-9-]{0,62}\\Z",
        max_length=63,
        examples=["invoices"],
    ),
]
Published = Annotated[bool, msgspec.Meta(description="Whether its public keys stand in the JWKS, for everyone to see.")]
Exportable = Annotated[
    bool, msgspec.Meta(description="Whether the private key may be exported. Cannot be changed later.")
]
Deletable = Annotated[bool, msgspec.Meta(description="Whether the key may be deleted.")]
RotationDays = Annotated[
    int, msgspec.Meta(description="After how many days the next use makes a new version.", ge=1, le=3650)
]
Tags = Annotated[
    dict[str, str], msgspec.Meta(description="At most 50 names with values, for whatever they are good for.")
]
Passphrase = Annotated[
    str,
    msgspec.Meta(description="Encrypts the private key.", min_length=1, max_length=1000, examples=["correct horse"]),
]


class CreateKeyFields(Fields, frozen=True, kw_only=True):
    name: NewName
    type: Annotated[KeyType, msgspec.Meta(description="What kind of key.")] = "RSA-3072"
    purpose: (
        Annotated[
            Purpose,
            msgspec.Meta(description="One of two, for ever. By default what the type is for; RSA and P-256 sign."),
        ]
        | None
    ) = None
    published: Published = False
    exportable: Exportable = False
    deletable: Deletable = False
    rotation_days: RotationDays | None = None
    tags: Tags = msgspec.field(default_factory=dict)


class ImportKeyFields(Fields, frozen=True, kw_only=True):
    name: NewName
    private_key: (
        Annotated[
            str,
            msgspec.Meta(
                description="PKCS#8, PKCS#1 or SEC1 as PEM, encrypted or not, or a JWK. This or public_key.",
                max_length=65536,
            ),
        ]
        | dict[str, Any]
        | None
    ) = None
    public_key: (
        Annotated[
            str,
            msgspec.Meta(
                description="PEM (SubjectPublicKeyInfo, PKCS#1, certificate) or a JWK, of a key that only verifies.",
                max_length=65536,
            ),
        ]
        | dict[str, Any]
        | None
    ) = None
    passphrase: Annotated[str, msgspec.Meta(description="Opens an encrypted PEM.", max_length=1000)] | None = None
    type: Annotated[KeyType, msgspec.Meta(description="What is expected; another key is refused.")] | None = None
    purpose: Annotated[Purpose, msgspec.Meta(description="One of two, for ever.")] | None = None
    published: Published = False
    exportable: Exportable = False
    deletable: Deletable = False
    rotation_days: RotationDays | None = None
    tags: Tags = msgspec.field(default_factory=dict)


class ListKeysFields(Fields, frozen=True, kw_only=True):
    prefix: Annotated[str, msgspec.Meta(description="Only keys whose name begins so.", max_length=63)] = ""
    limit: Annotated[int, msgspec.Meta(description="Keys a page.", ge=1, le=1000)] = 100
    cursor: Annotated[str, msgspec.Meta(description="From the page before.")] | None = None
    deleted: Annotated[bool, msgspec.Meta(description="The deleted keys that can be restored, instead.")] = False


class NamedKeyFields(Fields, frozen=True, kw_only=True):
    name: KeyName


class RotateKeyFields(Fields, frozen=True, kw_only=True):
    name: KeyName
    expected_version: (
        Annotated[
            int,
            msgspec.Meta(
                description="The current version, as the caller knows it: if it is another one, nothing happens.", ge=1
            ),
        ]
        | None
    ) = None


class UpdateKeyFields(Fields, frozen=True, kw_only=True):
    """What is not given stays as it is."""

    name: KeyName
    published: Published | msgspec.UnsetType = msgspec.UNSET
    deletable: Deletable | msgspec.UnsetType = msgspec.UNSET
    rotation_days: RotationDays | msgspec.UnsetType | None = msgspec.UNSET
    tags: Tags | msgspec.UnsetType = msgspec.UNSET
    minimum_sign_version: (
        Annotated[int, msgspec.Meta(description="Older versions sign and encrypt no more.", ge=1)] | msgspec.UnsetType
    ) = msgspec.UNSET
    minimum_verify_version: (
        Annotated[int, msgspec.Meta(description="Older versions verify and decrypt no more.", ge=1)] | msgspec.UnsetType
    ) = msgspec.UNSET
    disabled_versions: (
        Annotated[
            list[int],
            msgspec.Meta(description="All versions that are to be disabled; the others are enabled.", max_length=1000),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET


class RevokeKeyFields(Fields, frozen=True, kw_only=True):
    name: KeyName
    version: VersionNumber
    at: (
        Annotated[datetime, msgspec.Meta(description="Since when it is not to be trusted; now, if left out.", tz=True)]
        | None
    ) = None
    reason: Annotated[str, msgspec.Meta(description="For whoever asks later.", min_length=1, max_length=256)]


class ExportKeyFields(Fields, frozen=True, kw_only=True):
    name: KeyName
    passphrase: Passphrase
    version: VersionNumber | None = None


class VersionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a key. Public keys are null for AES, which has none."""

    version: int
    state: State
    created: str
    key_id: str
    public_key_pem: str | None
    public_key_jwk: dict[str, str] | None
    has_private_key: bool
    disabled_at: str | msgspec.UnsetType = msgspec.UNSET
    revoked_at: str | msgspec.UnsetType = msgspec.UNSET
    revocation_reason: str | msgspec.UnsetType = msgspec.UNSET


class KeyHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is, whether it is listed or shown whole."""

    name: str
    type: KeyType
    purpose: Purpose
    current_version: int | None
    latest_version: int
    created: str
    published: bool
    exportable: bool
    deletable: bool
    rotation_days: int | None
    tags: dict[str, str]


class ListedKey(KeyHead, frozen=True, kw_only=True):
    """A key without its versions. `current_version` is the one that signs or encrypts now; null where none may."""

    deleted: str | msgspec.UnsetType = msgspec.UNSET
    restorable_until: str | msgspec.UnsetType = msgspec.UNSET


class KeyResponse(KeyHead, frozen=True, kw_only=True):
    """A key with its versions, the newest last. `current_version` is the one that signs or encrypts now; null where
    none may."""

    minimum_sign_version: int
    minimum_verify_version: int
    versions: list[VersionResponse]


class ListKeysResponse(msgspec.Struct, frozen=True):
    keys: list[ListedKey]
    cursor: str | None


class ExportKeyResponse(msgspec.Struct, frozen=True):
    """A version's private key: PKCS#8, PEM, encrypted under the passphrase."""

    name: str
    version: int
    key_id: str
    private_key: str


class JwksResponse(msgspec.Struct, frozen=True):
    """A JWK Set (RFC 7517)."""

    keys: list[dict[str, str]]


class MasterKeyResponse(msgspec.Struct, frozen=True):
    master_key_version: str


def create_key(keys: KeyStore, fields: CreateKeyFields) -> Response:
    key = keys.create(fields.name, _new_key(fields, fields.type))
    return Response.json(_described(key), 201)


def import_key(keys: KeyStore, fields: ImportKeyFields) -> Response:
    if (fields.private_key is None) == (fields.public_key is None):
        raise invalid_field("private_key", "or public_key: send one of the two.")
    material: Any
    if fields.private_key is not None:
        material = formats.parse_private(fields.private_key, "private_key", fields.passphrase)
        public = None if isinstance(material, bytes) else material.public_key()
    elif fields.passphrase is not None:
        raise invalid_field("passphrase", "goes with a private key.")
    else:
        public, _ = formats.parse_public(fields.public_key or "", "public_key")
        material = public
        for name in ("exportable", "rotation_days"):
            if getattr(fields, name):
                raise invalid_field(name, "goes with a private key.")
    found = "AES-256" if public is None else formats.type_of(public)
    try:
        key_type = msgspec.convert(found, KeyType)
    except msgspec.ValidationError:
        raise UnsupportedKey(f"Keys of type {found} cannot be stored; RSA keys have 2048, 3072 or 4096 bits.") from None
    if fields.type not in (None, key_type):
        raise UnsupportedKey(f"The key is of type {key_type}, not {fields.type}.")
    return Response.json(_described(keys.import_key(fields.name, _new_key(fields, key_type), material)), 201)


def _new_key(fields: CreateKeyFields | ImportKeyFields, key_type: KeyType) -> NewKey:
    return NewKey(
        type=key_type,
        purpose=keyring.purpose_of(key_type, fields.purpose),
        published=fields.published,
        exportable=fields.exportable,
        deletable=fields.deletable,
        rotation_days=fields.rotation_days,
        tags=fields.tags,
    )


def list_keys(keys: KeyStore, cursors: Cursors, fields: ListKeysFields) -> ListKeysResponse:
    question = ("keys", fields.prefix, fields.deleted)
    after = "" if fields.cursor is None else cursors.decode(fields.cursor, str, "list-keys", *question)
    found, more = keys.page(fields.prefix, after, fields.limit, "deleted" if fields.deleted else "active")
    listed = [
        ListedKey(**_head(name, ring), deleted=_time(ring.deleted), restorable_until=_time(keyring.gone_at(ring)))
        for name, ring in found
    ]
    return ListKeysResponse(listed, cursors.encode(found[-1][0], "list-keys", *question) if more else None)


def get_key(keys: KeyStore, fields: NamedKeyFields) -> KeyResponse:
    return _described(keys.refresh(fields.name))


def rotate_key(keys: KeyStore, fields: RotateKeyFields) -> KeyResponse:
    return _described(keys.rotate(fields.name, fields.expected_version))


def update_key(keys: KeyStore, fields: UpdateKeyFields) -> KeyResponse:
    given = {name: value for name, value in msgspec.structs.asdict(fields).items() if name != "name"}
    changes = Changes(**given)
    return _described(keys.change(fields.name, lambda ring: keyring.changed(ring, changes, keys.clock())))


def revoke_key(keys: KeyStore, fields: RevokeKeyFields) -> KeyResponse:
    return _described(
        keys.change(
            fields.name,
            lambda ring: keyring.revoked(ring, fields.name, fields.version, fields.at, fields.reason, keys.clock()),
        )
    )


def delete_key(keys: KeyStore, fields: NamedKeyFields) -> Response:
    keys.delete(fields.name)
    return Response(204)


def restore_key(keys: KeyStore, fields: NamedKeyFields) -> KeyResponse:
    return _described(keys.restore(fields.name))


def export_key(keys: KeyStore, fields: ExportKeyFields) -> ExportKeyResponse:
    key = keys.refresh(fields.name)
    if not key.ring.exportable:
        raise NotExportable(f"Key {fields.name} was not made exportable, and this cannot be changed.")
    number = fields.version or key.ring.latest_version
    if number not in key.versions:
        raise UnknownKey(f"Key {fields.name} has no version {number}.")
    version = key.versions[number]
    if key.ring.type == "AES-256":
        raise NotExportable("There is no PKCS#8 form of an AES key.")
    private_key = formats.to_encrypted_pem(version.private_key, fields.passphrase)
    return ExportKeyResponse(fields.name, number, version.document.key_id, private_key)


def jwks(shared: "SharedJwks") -> Response:
    return Response(body=shared.get(), content_type="application/json")


def rotate_master_key(keys: KeyStore) -> MasterKeyResponse:
    return MasterKeyResponse(keys.rotate_master_key())


class SharedJwks:
    """The JWK Set, made at most once a second: anyone may ask for it, and that must not load the storage.

    A failure is shared as long, so that those who wait do not try one after the other.
    """

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._lock = Lock()
        self._made_at = -1.0
        self._made: bytes | StrongroomError = b""

    def get(self) -> bytes:
        """The set as JSON. Raises what the store raises."""
        with self._lock:
            if self._made_at < 0 or monotonic() - self._made_at >= 1:
                try:
                    self._made = msgspec.json.encode(JwksResponse(self._find()))
                except StrongroomError as error:
                    self._made = error
                self._made_at = monotonic()
            if isinstance(self._made, StrongroomError):
                raise self._made
            return self._made

    def _find(self) -> list[dict[str, str]]:
        return [
            jwk
            for key in self._keys.published()
            for number in keyring.verifying_versions(key.ring)
            if (jwk := _jwk(key, key.versions[number])) is not None
        ]


def _head(name: str, ring: keyring.Ring) -> dict[str, Any]:
    """The members of KeyHead."""
    return {
        "name": name,
        "type": ring.type,
        "purpose": ring.purpose,
        "current_version": keyring.current_version(ring),
        "latest_version": ring.latest_version,
        "created": rfc3339(ring.created),
        "published": ring.published,
        "exportable": ring.exportable,
        "deletable": ring.deletable,
        "rotation_days": ring.rotation_days,
        "tags": ring.tags,
    }


def _described(key: Key) -> KeyResponse:
    ring = key.ring
    return KeyResponse(
        **_head(key.name, ring),
        minimum_sign_version=ring.minimum_sign_version,
        minimum_verify_version=ring.minimum_verify_version,
        versions=[_described_version(key, number) for number in range(1, ring.latest_version + 1)],
    )


def _described_version(key: Key, number: int) -> VersionResponse:
    version = key.versions[number]
    document = version.document
    revocation = key.ring.revoked.get(number)
    return VersionResponse(
        version=number,
        state=keyring.state_of(key.ring, number),
        created=rfc3339(document.created),
        key_id=document.key_id,
        public_key_pem=formats.spki_to_pem(document.public_key) if document.public_key else None,
        public_key_jwk=_jwk(key, version),
        has_private_key=document.has_private,
        disabled_at=_time(key.ring.disabled.get(number)),
        revoked_at=_time(None if revocation is None else revocation.at),
        revocation_reason=msgspec.UNSET if revocation is None else revocation.reason,
    )


def _jwk(key: Key, version: KeyVersion) -> dict[str, str] | None:
    """The public key as a JWK; `alg` stands in it where only one algorithm fits the key (RSA serves several)."""
    if not version.document.public_key:
        return None
    use = "sig" if key.ring.purpose == "sign" else "enc"
    fitting = algorithms.fitting(key.ring.type) if use == "sig" else ()
    alg = {"alg": str(fitting[0])} if len(fitting) == 1 else {}
    return {**formats.to_jwk(version.public_key), "kid": version.document.key_id, "use": use, **alg}


def _time(moment: datetime | None) -> str | msgspec.UnsetType:
    return msgspec.UNSET if moment is None else rfc3339(moment)


def operations(keys: KeyStore, cursors: Cursors) -> dict[str, Operation]:
    """What is done with the keys themselves."""
    return {
        "create-key": Operation(
            writes=True,
            handle=partial(create_key, keys),
            request=CreateKeyFields,
            response=KeyResponse,
            summary="Make a key.",
            statuses={201: "The key was made."},
            errors=(*STORE_ERRORS, KeyExists, UnsupportedKey),
            examples=(Example("For signatures", {"name": "invoices", "type": "Ed25519", "published": True}),),
        ),
        "list-keys": Operation(
            handle=partial(list_keys, keys, cursors),
            request=ListKeysFields,
            response=ListKeysResponse,
            summary="List the keys, by name.",
            errors=STORE_ERRORS,
            examples=(Example("All of them", {"limit": 10}),),
        ),
        "import-key": Operation(
            writes=True,
            handle=partial(import_key, keys),
            request=ImportKeyFields,
            response=KeyResponse,
            summary="Take in a key that was made elsewhere.",
            statuses={201: "The key was taken in."},
            errors=(*STORE_ERRORS, KeyExists, UnsupportedKey, WeakKey),
            examples=(
                Example(
                    "A public key, to verify with",
                    {
                        "name": "partner",
                        "public_key": {
                            "kty": "OKP",
                            "crv": "Ed25519",
                            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                        },
                    },
                ),
            ),
        ),
        "get-key": Operation(
            handle=partial(get_key, keys),
            request=NamedKeyFields,
            response=KeyResponse,
            summary="A key: its options, and its versions with their public keys.",
            errors=KEY_ERRORS,
            examples=(Example("A key", {"name": "sample-ed25519"}),),
        ),
        "update-key": Operation(
            writes=True,
            handle=partial(update_key, keys),
            request=UpdateKeyFields,
            response=KeyResponse,
            summary="Change options of a key, or disable and enable versions.",
            errors=(*KEY_ERRORS, KeyChanged, KeyTooLarge),
            examples=(Example("Let it rotate by itself", {"name": "sample-ed25519", "rotation_days": 365}),),
        ),
        "delete-key": Operation(
            writes=True,
            handle=partial(delete_key, keys),
            request=NamedKeyFields,
            response=None,
            summary="Delete a key that is marked as deletable. It can be restored for 30 days.",
            statuses={204: "The key is deleted."},
            errors=(*KEY_ERRORS, KeyNotDeletable, KeyChanged),
            examples=(Example("A key", {"name": "sample-ed25519"}),),
        ),
        "rotate-key": Operation(
            writes=True,
            handle=partial(rotate_key, keys),
            request=RotateKeyFields,
            response=KeyResponse,
            summary="Make a new version of a key, which signs and encrypts from now on.\n"
            "Older versions go on verifying and decrypting.",
            errors=(*KEY_ERRORS, KeyChanged, KeyTooLarge, UnsupportedKey),
            examples=(Example("A key", {"name": "sample-ed25519"}),),
        ),
        "revoke-key": Operation(
            writes=True,
            handle=partial(revoke_key, keys),
            request=RevokeKeyFields,
            response=KeyResponse,
            summary="Revoke a version, for ever.\n"
            "It signs and encrypts no more, and its signatures are not trusted any more, whenever they were made: a "
            "signature does not prove its time. What it encrypted can still be decrypted.",
            errors=(*KEY_ERRORS, KeyChanged, KeyTooLarge),
            examples=(Example("A lost laptop", {"name": "sample-ed25519", "version": 1, "reason": "laptop lost"}),),
        ),
        "restore-key": Operation(
            writes=True,
            handle=partial(restore_key, keys),
            request=NamedKeyFields,
            response=KeyResponse,
            summary="Bring a deleted key back.",
            errors=(*KEY_ERRORS, KeyExists, KeyChanged),
            examples=(Example("A deleted key", {"name": "sample-deleted"}),),
        ),
        "export-key": Operation(
            handle=partial(export_key, keys),
            request=ExportKeyFields,
            response=ExportKeyResponse,
            summary="The private key of a version (the latest one, by default), if the key was made exportable.",
            errors=(*KEY_ERRORS, NotExportable),
            examples=(Example("A key", {"name": "sample-ed25519", "passphrase": "correct horse battery staple"}),),
        ),
        "rotate-master-key": Operation(
            writes=True,
            handle=partial(rotate_master_key, keys),
            request=None,
            response=MasterKeyResponse,
            summary="Wrap the data key anew, under the newest master key. Nothing else changes.",
            errors=(*STORE_ERRORS, KeyChanged),
        ),
        "jwks": Operation(
            handle=partial(jwks, SharedJwks(keys)),
            request=None,
            response=JwksResponse,
            summary="The public keys, of all published signing keys, that verify (RFC 7517).",
            errors=STORE_ERRORS,
            cache_seconds=JWKS_SECONDS,
        ),
    }
