"""The keys themselves: created, imported, listed, changed, rotated, revoked, deleted, restored and exported."""

import secrets
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import msgspec

from shared.errors import PreconditionFailed, invalid_field
from shared.signing import algorithms, formats, keyring, pbe
from shared.signing.algorithms import Algorithm
from shared.signing.errors import (
    ContradictoryKey,
    KeyChanged,
    KeyExists,
    KeyHasOtherPurpose,
    KeyNotDeletable,
    KeyNotRotatable,
    KeyTooLarge,
    KeyUsedOtherwise,
    KidTaken,
    NotExportable,
    ReservedKey,
    UnfitAlgorithm,
    UnknownKey,
    UnsupportedKey,
    VersionInUse,
    VersionPending,
    WeakKey,
)
from shared.signing.formats import Imported
from shared.signing.keyring import Changes, KeyType, Purpose
from shared.signing.routes.describe import KeyResponse, ListedKey, described, listed
from shared.signing.routes.fields import (
    KEY_ERRORS,
    NOBODY,
    STORE_ERRORS,
    USE_ERRORS,
    Caller,
    CallerList,
    CallerLists,
    KeyName,
    VersionNumber,
    refuse_own,
    refuse_unlisted,
)
from shared.signing.store import Key, KeyStore, NewKey
from shared.web import Cursor, Cursors, Example, Fields, Operation, Response
from shared.web.fields import NamePrefix, PageLimit

MIN_EXPORT_PASSPHRASE = 15
"""Characters. NIST SP 800-63B, section 3.1.1.2, for a secret that is the only factor."""

Published = Annotated[bool, msgspec.Meta(description="Whether JWKS contains its public keys, for everybody to read.")]
Exportable = Annotated[
    bool, msgspec.Meta(description="Whether the private key may be exported. Cannot be changed later. Not for AES-256.")
]
Deletable = Annotated[bool, msgspec.Meta(description="Whether the key may be deleted.")]
RotationDays = Annotated[
    int, msgspec.Meta(description="The first use after this many days creates a new version.", ge=1, le=3650)
]
Tags = Annotated[dict[str, str], msgspec.Meta(description="At most 50 names with values, for your own use.")]
BoundAlgorithm = Annotated[
    Algorithm,
    msgspec.Meta(
        description="The only algorithm that the key signs with. JWK and JWKS name it, so that others need not guess."
    ),
]
Versions = Annotated[list[int], msgspec.Meta(max_length=keyring.MAX_VERSIONS)]
IfMatch = Annotated[
    str,
    msgspec.Meta(description="The ETag of the key as the caller knows it. With another ETag: 412.", max_length=2000),
]


class CreateKeyRequest(Fields, frozen=True, kw_only=True):
    name: KeyName
    type: Annotated[KeyType, msgspec.Meta(description="The type of the key.")] = "RSA-3072"
    purpose: (
        Annotated[
            Purpose,
            msgspec.Meta(
                description="Cannot be changed later. Default: the type's own; RSA and P-256 sign by default."
            ),
        ]
        | None
    ) = None
    algorithm: BoundAlgorithm | None = None
    published: Published = False
    exportable: Exportable = False
    deletable: Deletable = False
    rotation_days: RotationDays | None = None
    tags: Tags = msgspec.field(default_factory=dict)
    callers: CallerList | None = None


class ImportKeyRequest(Fields, frozen=True, kw_only=True):
    """A key from elsewhere, under a new `name`, or as the next version of the key `version_of`."""

    name: KeyName | None = None
    version_of: (
        Annotated[
            KeyName,
            msgspec.Meta(description="An existing key of the same type, whose next version this key becomes."),
        ]
        | None
    ) = None
    private_key: (
        Annotated[
            str,
            msgspec.Meta(
                description="PKCS#8, PKCS#1 or SEC1 as PEM, encrypted or not, or a JWK. Send this or public_key.",
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
                description="PEM (SubjectPublicKeyInfo, PKCS#1, certificate) or a JWK, for a key that only verifies or "
                "encrypts.",
                max_length=65536,
            ),
        ]
        | dict[str, Any]
        | None
    ) = None
    passphrase: (
        Annotated[str, msgspec.Meta(description="The passphrase of an encrypted PEM.", max_length=1000)] | None
    ) = None
    type: Annotated[KeyType, msgspec.Meta(description="The expected type. Another key is refused.")] | None = None
    purpose: (
        Annotated[
            Purpose,
            msgspec.Meta(
                description="Cannot be changed later. Default: the one that a JWK allows, else the type's own."
            ),
        ]
        | None
    ) = None
    algorithm: BoundAlgorithm | None = None
    published: Published = False
    exportable: Exportable = False
    deletable: Deletable = False
    rotation_days: RotationDays | None = None
    tags: Tags = msgspec.field(default_factory=dict)
    callers: CallerList | None = None


class ListKeysRequest(Fields, frozen=True, kw_only=True):
    prefix: NamePrefix = ""
    limit: PageLimit = 100
    cursor: Cursor | None = None
    deleted: Annotated[bool, msgspec.Meta(description="List the deleted keys that can be restored instead.")] = False


class GetKeyRequest(Fields, frozen=True, kw_only=True):
    name: KeyName


class RestoreKeyRequest(Fields, frozen=True, kw_only=True):
    name: KeyName


class DeleteKeyRequest(Fields, frozen=True, kw_only=True):
    name: KeyName
    if_match: IfMatch | None = None


class RotateKeyRequest(Fields, frozen=True, kw_only=True):
    name: KeyName
    expected_version: (
        Annotated[
            int,
            msgspec.Meta(description="The current version as the caller knows it. With another version: 409.", ge=1),
        ]
        | None
    ) = None
    publish_only: Annotated[
        bool,
        msgspec.Meta(
            description="Publish the new version in JWKS now, without using it. The next rotate-key makes it current "
            "and creates none."
        ),
    ] = False
    if_match: IfMatch | None = None


class UpdateKeyRequest(Fields, frozen=True, kw_only=True):
    """A field that is not sent keeps its value."""

    name: KeyName
    published: Published | msgspec.UnsetType = msgspec.UNSET
    deletable: Deletable | msgspec.UnsetType = msgspec.UNSET
    algorithm: BoundAlgorithm | msgspec.UnsetType | None = msgspec.UNSET
    rotation_days: RotationDays | msgspec.UnsetType | None = msgspec.UNSET
    tags: Tags | msgspec.UnsetType = msgspec.UNSET
    callers: CallerList | msgspec.UnsetType | None = msgspec.UNSET
    minimum_sign_version: (
        Annotated[int, msgspec.Meta(description="Older versions no longer sign or encrypt.", ge=1)] | msgspec.UnsetType
    ) = msgspec.UNSET
    minimum_verify_version: (
        Annotated[int, msgspec.Meta(description="Older versions no longer verify or decrypt.", ge=1)]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    disabled_versions: (
        Annotated[Versions, msgspec.Meta(description="All disabled versions; the others become enabled.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    disable: (
        Annotated[Versions, msgspec.Meta(description="Versions to disable; the others stay as they are.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    enable: (
        Annotated[Versions, msgspec.Meta(description="Versions to enable; the others stay as they are.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    if_match: IfMatch | None = None


class RevokeKeyRequest(Fields, frozen=True, kw_only=True):
    name: KeyName
    version: VersionNumber
    at: (
        Annotated[
            datetime, msgspec.Meta(description="Signatures are not trusted from this time on. Default: now.", tz=True)
        ]
        | None
    ) = None
    reason: Annotated[
        str, msgspec.Meta(description="The reason, which get-key and verify return.", min_length=1, max_length=256)
    ]
    if_match: IfMatch | None = None


class ExportKeyRequest(Fields, frozen=True, kw_only=True):
    name: KeyName
    passphrase: Annotated[
        str,
        msgspec.Meta(
            description="The passphrase that encrypts the private key.",
            max_length=1000,
            extra_json_schema={"minLength": MIN_EXPORT_PASSPHRASE, "examples": ["correct horse battery staple"]},
        ),
    ]
    version: VersionNumber | None = None


class ListKeysResponse(msgspec.Struct, frozen=True):
    keys: list[ListedKey]
    cursor: str | None


class ExportKeyResponse(msgspec.Struct, frozen=True):
    """The private key of a version: PKCS#8, PEM, encrypted under the passphrase."""

    name: str
    version: int
    key_id: str
    private_key: str


class RotateMasterKeyResponse(msgspec.Struct, frozen=True):
    master_key_version: str


def create_key(keys: KeyStore, lists: CallerLists, fields: CreateKeyRequest) -> Response:
    refuse_own(fields.name)
    lists.check(fields.callers or ())
    purpose = keyring.purpose_of(fields.type, fields.purpose)
    _refuse_exportable_aes(fields, fields.type)
    return _response(keys.create(fields.name, _new_key(fields, fields.type, purpose, fields.algorithm)), 201)


def import_key(keys: KeyStore, lists: CallerLists, fields: ImportKeyRequest) -> Response:
    lists.check(fields.callers or ())
    name = fields.version_of or fields.name
    if name is None or (fields.version_of is not None and fields.name not in (None, fields.version_of)):
        raise invalid_field("name", "Send either `name` for a new key, or `version_of` for a new version.")
    refuse_own(name)
    imported = _imported(keys, fields)
    try:
        key_type = msgspec.convert(imported.type, KeyType)
    except msgspec.ValidationError:
        raise UnsupportedKey(
            f"Keys of type {imported.type} cannot be stored. RSA keys have 2048, 3072 or 4096 bits."
        ) from None
    if fields.type not in (None, key_type):
        raise UnsupportedKey(f"The key is of type {key_type}, not {fields.type}. Correct `type`, or leave it out.")
    if fields.version_of is not None:
        return _response(_import_version(keys, fields, key_type, imported), 201)
    purpose = keyring.purpose_of(key_type, imported.purpose(fields.purpose))
    _refuse_exportable_aes(fields, key_type)
    algorithm = _bound_algorithm(fields.algorithm, imported, key_type, purpose)
    new = _new_key(fields, key_type, purpose, algorithm)
    return _response(keys.import_key(name, new, imported.key, imported.kid), 201)


def _imported(keys: KeyStore, fields: ImportKeyRequest) -> Imported:
    """The key in the request. One call at a time computes with such a key: its sender chose the cost."""
    if (fields.private_key is None) == (fields.public_key is None):
        raise invalid_field("private_key", "Send exactly one of `private_key` and `public_key`.")
    if fields.public_key is not None:
        for field in ("passphrase", "exportable", "rotation_days"):
            if getattr(fields, field):
                raise invalid_field(field, f"`{field}` belongs to a private key. Leave it out.")
        return formats.read_public(fields.public_key, "public_key")
    with keys.one_maker():
        return formats.read_private(fields.private_key or "", "private_key", fields.passphrase)


def _import_version(keys: KeyStore, fields: ImportKeyRequest, key_type: KeyType, imported: Imported) -> Key:
    for field in ("algorithm", "published", "exportable", "deletable", "rotation_days", "tags", "callers"):
        if getattr(fields, field) not in (None, False, {}):
            raise invalid_field(field, f"The key exists, with its own `{field}`. Leave it out, or use update-key.")
    metadata = keys.refresh(fields.version_of or "").metadata
    if fields.purpose not in (None, metadata.purpose):
        raise KeyHasOtherPurpose(f"Key {fields.version_of} has the purpose {metadata.purpose}.")
    imported.purpose(metadata.purpose)
    if metadata.algorithm is not None:
        _bound_algorithm(None, imported, key_type, metadata.purpose, metadata.algorithm)
    return keys.add_version(fields.version_of or "", key_type, imported.key, imported.kid)


def _bound_algorithm(
    wanted: Algorithm | None, imported: Imported, key_type: KeyType, purpose: Purpose, bound: str | None = None
) -> str | None:
    """The algorithm that an imported key is bound to: `wanted`, else the one that its JWK names."""
    own = imported.algorithm if purpose == "sign" else None
    named = next((each for each in algorithms.fitting(key_type) if own and algorithms.same(own, each)), None)
    expected = wanted or bound
    if expected is not None and named is not None and named != expected:
        raise UnfitAlgorithm(f"The JWK names the algorithm {named}, not {expected}.")
    return wanted or named


def _new_key(
    fields: CreateKeyRequest | ImportKeyRequest, key_type: KeyType, purpose: Purpose, algorithm: str | None
) -> NewKey:
    _check_algorithm(key_type, purpose, algorithm)
    return NewKey(
        type=key_type,
        purpose=purpose,
        algorithm=algorithm,
        published=fields.published,
        exportable=fields.exportable,
        deletable=fields.deletable,
        rotation_days=fields.rotation_days,
        tags=fields.tags,
        callers=fields.callers,
    )


def _check_algorithm(key_type: KeyType, purpose: Purpose, algorithm: str | None) -> None:
    if algorithm is None:
        return
    if purpose != "sign":
        raise UnfitAlgorithm("A key with the purpose encrypt has no signature algorithm. Leave `algorithm` out.")
    algorithms.choose(key_type, algorithm)


def _refuse_exportable_aes(fields: CreateKeyRequest | ImportKeyRequest, key_type: KeyType) -> None:
    if fields.exportable and key_type == "AES-256":
        raise NotExportable("There is no export format for AES keys. Leave `exportable` out.")


def list_keys(keys: KeyStore, cursors: Cursors, fields: ListKeysRequest) -> ListKeysResponse:
    scope = ("list-keys", fields.prefix, fields.deleted)
    after = "" if fields.cursor is None else cursors.decode(fields.cursor, str, *scope)
    page, more = keys.page(fields.prefix, after, fields.limit, "deleted" if fields.deleted else "active")
    cursor = cursors.encode(page[-1].name, *scope) if more else None
    return ListKeysResponse([listed(each.name, each.metadata) for each in page], cursor)


def get_key(keys: KeyStore, fields: GetKeyRequest) -> Response:
    return _response(keys.refresh(fields.name))


def rotate_key(keys: KeyStore, fields: RotateKeyRequest) -> Response:
    return _response(
        keys.rotate(fields.name, fields.expected_version, publish_only=fields.publish_only, if_match=fields.if_match)
    )


def update_key(keys: KeyStore, lists: CallerLists, fields: UpdateKeyRequest) -> Response:
    refuse_own(fields.name)
    if isinstance(fields.callers, list):
        lists.check(fields.callers)
    values = {name: getattr(fields, name) for name in Changes.__struct_fields__}
    changes = Changes(**values)

    def change(metadata: keyring.KeyMetadata) -> keyring.KeyMetadata:
        if isinstance(changes.algorithm, str):
            _check_algorithm(metadata.type, metadata.purpose, changes.algorithm)
        return keyring.changed(metadata, changes, keys.clock(), keys.cache_seconds)

    return _response(keys.change(fields.name, change, fields.if_match))


def revoke_key(keys: KeyStore, fields: RevokeKeyRequest) -> Response:
    def revoke(metadata: keyring.KeyMetadata) -> keyring.KeyMetadata:
        return keyring.revoked(metadata, fields.name, fields.version, fields.at, fields.reason, keys.clock())

    return _response(keys.change(fields.name, revoke, fields.if_match))


def delete_key(keys: KeyStore, fields: DeleteKeyRequest) -> Response:
    refuse_own(fields.name)
    keys.delete(fields.name, fields.if_match)
    return Response(204)


def restore_key(keys: KeyStore, fields: RestoreKeyRequest) -> Response:
    refuse_own(fields.name)
    return _response(keys.restore(fields.name))


def export_key(keys: KeyStore, fields: ExportKeyRequest, caller: Caller = NOBODY) -> ExportKeyResponse:
    refuse_own(fields.name)
    key = keys.refresh(fields.name)
    refuse_unlisted(key, caller)
    if not key.metadata.exportable:
        raise NotExportable(f"Key {fields.name} was not created as exportable, and this cannot be changed.")
    number = fields.version or key.metadata.latest_version
    if number not in key.versions:
        raise UnknownKey(f"Key {fields.name} has no version {number}.")
    version = key.versions[number]
    if not version.document.public_key:
        raise NotExportable("There is no export format for AES keys.")
    if len(fields.passphrase) < MIN_EXPORT_PASSPHRASE:
        raise invalid_field("passphrase", f"`passphrase` must have at least {MIN_EXPORT_PASSPHRASE} characters.")
    salt, iv = secrets.token_bytes(pbe.SALT_BYTES), secrets.token_bytes(pbe.IV_BYTES)
    private_key = formats.to_encrypted_pem(version.private_key, fields.passphrase, salt, iv)
    return ExportKeyResponse(fields.name, number, version.document.key_id, private_key)


def rotate_master_key(keys: KeyStore) -> RotateMasterKeyResponse:
    return RotateMasterKeyResponse(keys.rotate_master_key())


def _response(key: Key, status: int = 200) -> Response:
    body = Response.json(described(key), status)
    return Response(status, body.body, headers={"etag": key.etag})


def operations(keys: KeyStore, lists: CallerLists, cursors: Cursors) -> dict[str, Operation]:
    """The functions that manage keys."""

    def managing(handle: Callable[..., object], request: type[Fields], summary: str, **more: Any) -> Operation:
        """A function that changes a key and returns it."""
        return Operation(
            **{"writes": True, "handle": handle, "request": request, "response": KeyResponse, **more},
            summary=summary,
        )

    return {
        "create-key": managing(
            partial(create_key, keys, lists),
            CreateKeyRequest,
            "Create a key.",
            statuses={201: "The key was created."},
            errors=(*STORE_ERRORS, KeyExists, NotExportable, ReservedKey, UnfitAlgorithm, UnsupportedKey),
            examples=(Example("For signatures", {"name": "invoices", "type": "Ed25519", "published": True}),),
        ),
        "list-keys": Operation(
            handle=partial(list_keys, keys, cursors),
            request=ListKeysRequest,
            response=ListKeysResponse,
            summary="List the keys, by name.",
            errors=STORE_ERRORS,
            examples=(Example("All keys", {"limit": 10}),),
        ),
        "import-key": managing(
            partial(import_key, keys, lists),
            ImportKeyRequest,
            "Import a key that was created elsewhere, as a new key or as the next version of one.",
            statuses={201: "The key was imported."},
            errors=(
                *KEY_ERRORS,
                ContradictoryKey,
                KeyExists,
                KeyHasOtherPurpose,
                KeyTooLarge,
                KeyUsedOtherwise,
                KidTaken,
                NotExportable,
                UnfitAlgorithm,
                UnsupportedKey,
                VersionPending,
                WeakKey,
            ),
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
        "get-key": managing(
            partial(get_key, keys),
            GetKeyRequest,
            "A key: its options, its versions and their public keys. The ETag changes with each change of the key.",
            writes=False,
            errors=KEY_ERRORS,
            examples=(Example("A key", {"name": "sample-ed25519"}),),
        ),
        "update-key": managing(
            partial(update_key, keys, lists),
            UpdateKeyRequest,
            "Change options of a key, or disable and enable versions.",
            headers=("if-match",),
            errors=(*KEY_ERRORS, KeyTooLarge, PreconditionFailed, UnfitAlgorithm, UnsupportedKey, VersionInUse),
            examples=(Example("Rotate every year", {"name": "sample-ed25519", "rotation_days": 365}),),
        ),
        "delete-key": managing(
            partial(delete_key, keys),
            DeleteKeyRequest,
            "Delete a key that is deletable. It can be restored for 30 days.\n"
            "A damaged key is removed for good; if its metadata are damaged, whether or not it was deletable.",
            response=None,
            statuses={204: "The key is deleted."},
            headers=("if-match",),
            errors=(*KEY_ERRORS, KeyNotDeletable, PreconditionFailed),
            examples=(Example("A key", {"name": "sample-ed25519"}),),
        ),
        "rotate-key": managing(
            partial(rotate_key, keys),
            RotateKeyRequest,
            "Create a new version of a key, which signs and encrypts from now on.\n"
            "Older versions still verify and decrypt.",
            headers=("if-match",),
            errors=(
                *KEY_ERRORS,
                KeyChanged,
                KeyNotRotatable,
                KeyTooLarge,
                PreconditionFailed,
                UnsupportedKey,
                VersionPending,
            ),
            examples=(Example("A key", {"name": "sample-ed25519"}),),
        ),
        "revoke-key": managing(
            partial(revoke_key, keys),
            RevokeKeyRequest,
            "Revoke a version permanently.\n"
            "It no longer signs or encrypts, and its signatures are not trusted, whenever they were made: a signature "
            "does not prove its time. Its ciphertexts can still be decrypted.",
            headers=("if-match",),
            errors=(*KEY_ERRORS, KeyChanged, PreconditionFailed),
            examples=(Example("A lost laptop", {"name": "sample-ed25519", "version": 1, "reason": "laptop lost"}),),
        ),
        "restore-key": managing(
            partial(restore_key, keys),
            RestoreKeyRequest,
            "Restore a deleted key.",
            errors=(*KEY_ERRORS, KeyExists),
            examples=(Example("A deleted key", {"name": "sample-deleted"}),),
        ),
        "export-key": managing(
            lambda fields, request: export_key(keys, fields, lists.caller(request.headers)),
            ExportKeyRequest,
            "The private key of a version (default: the latest), encrypted, if the key is exportable.",
            response=ExportKeyResponse,
            # It changes nothing, and no private key is kept for repetitions, which need not have the caller's token.
            writes=False,
            with_request=True,
            errors=(*USE_ERRORS, NotExportable),
            examples=(Example("A key", {"name": "sample-ed25519", "passphrase": "correct horse battery staple"}),),
        ),
        "rotate-master-key": Operation(
            writes=True,
            handle=partial(rotate_master_key, keys),
            request=None,
            response=RotateMasterKeyResponse,
            summary="Wrap the data key under the newest master key. Nothing else changes.",
            errors=STORE_ERRORS,
        ),
    }
