"""How a key is shown: whole, in a listing, and as JWK."""

from datetime import datetime
from typing import Any

import msgspec

from shared.signing import algorithms, formats, jwe, keyring
from shared.signing.keyring import KeyMetadata, KeyType, Purpose, State
from shared.signing.store import Key, KeyVersion
from shared.web import rfc3339


class VersionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a key. Public keys are null for AES, which has none."""

    version: int
    state: State
    created: str
    key_id: str
    aliases: list[str]
    """Other `kid`s of this version, from the JWK that was imported."""
    public_key_pem: str | None
    public_key_jwk: dict[str, str] | None
    has_private_key: bool
    disabled_at: str | msgspec.UnsetType = msgspec.UNSET
    revoked_at: str | msgspec.UnsetType = msgspec.UNSET
    revocation_reason: str | msgspec.UnsetType = msgspec.UNSET


class KeyHead(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a key that a listing shows, too."""

    name: str
    type: KeyType
    purpose: Purpose
    algorithm: str | None
    """The only algorithm that the key signs with; null if any that fits its type."""
    current_version: int | None
    latest_version: int
    created: str
    published: bool
    exportable: bool
    deletable: bool
    rotation_days: int | None
    tags: dict[str, str]
    callers: list[str] | None
    """The callers who may use the private key; null without such a list."""


class ListedKey(KeyHead, frozen=True, kw_only=True):
    """A key without its versions. `current_version` is the one that signs or encrypts now; null if none may."""

    deleted: str | msgspec.UnsetType = msgspec.UNSET
    restorable_until: str | msgspec.UnsetType = msgspec.UNSET


class KeyResponse(KeyHead, frozen=True, kw_only=True):
    """A key with its versions, the newest last. `current_version` is the one that signs or encrypts now; null if none
    may."""

    minimum_sign_version: int
    minimum_verify_version: int
    aliases: list[str]
    """The `kid`s of imported JWKs, by which JWKS and look-ups also name versions."""
    versions: list[VersionResponse]


class JwksResponse(msgspec.Struct, frozen=True):
    """A JWK Set (RFC 7517, section 5)."""

    keys: list[dict[str, str]]


def head(name: str, metadata: KeyMetadata) -> dict[str, Any]:
    """The members of KeyHead."""
    return {
        "name": name,
        "type": metadata.type,
        "purpose": metadata.purpose,
        "algorithm": metadata.algorithm,
        "current_version": keyring.current_version(metadata),
        "latest_version": metadata.latest_version,
        "created": rfc3339(metadata.created),
        "published": metadata.published,
        "exportable": metadata.exportable,
        "deletable": metadata.deletable,
        "rotation_days": metadata.rotation_days,
        "tags": metadata.tags,
        "callers": metadata.callers,
    }


def listed(name: str, metadata: KeyMetadata) -> ListedKey:
    """A key in a listing."""
    return ListedKey(
        **head(name, metadata), deleted=_time(metadata.deleted), restorable_until=_time(keyring.gone_at(metadata))
    )


def described(key: Key) -> KeyResponse:
    """A whole key."""
    metadata = key.metadata
    versions = [_version(key, number) for number in range(1, metadata.latest_version + 1)]
    return KeyResponse(
        **head(key.name, metadata),
        minimum_sign_version=metadata.minimum_sign_version,
        minimum_verify_version=metadata.minimum_verify_version,
        aliases=[alias for version in versions for alias in version.aliases],
        versions=versions,
    )


def key_set(keys: list[Key]) -> JwksResponse:
    """The trusted public keys of `keys`: one entry for each `kid`, aliases included."""
    jwks: dict[str, dict[str, str]] = {}
    for key in keys:
        for number in keyring.published_versions(key.metadata):
            version = key.versions[number]
            public = jwk(key.metadata, version)
            if public is not None:
                for kid in (version.document.key_id, version.document.alias):
                    if kid:
                        jwks.setdefault(kid, {**public, "kid": kid})
    return JwksResponse(list(jwks.values()))


def jwk(metadata: KeyMetadata, version: KeyVersion) -> dict[str, str] | None:
    """The public key as a JWK; None for AES. `alg` is in it if the key uses one algorithm only."""
    document = version.document
    if not document.public_key:
        return None
    if metadata.purpose == "encrypt":
        more = {"use": "enc", "alg": jwe.algorithms_for(metadata.type)[0]}
    else:
        fitting = algorithms.fitting(metadata.type)
        algorithm = metadata.algorithm or (fitting[0] if len(fitting) == 1 else None)
        more = {"use": "sig"} | ({"alg": algorithm} if algorithm else {})
    return {**formats.to_jwk(version.public_key), "kid": document.key_id, **more}


def _version(key: Key, number: int) -> VersionResponse:
    version = key.versions[number]
    document = version.document
    revocation = key.metadata.revoked.get(number)
    return VersionResponse(
        version=number,
        state=keyring.state_of(key.metadata, number),
        created=rfc3339(document.created),
        key_id=document.key_id,
        aliases=[document.alias] if document.alias else [],
        public_key_pem=formats.spki_to_pem(document.public_key) if document.public_key else None,
        public_key_jwk=jwk(key.metadata, version),
        has_private_key=document.has_private,
        disabled_at=_time(key.metadata.disabled.get(number)),
        revoked_at=_time(None if revocation is None else revocation.at),
        revocation_reason=msgspec.UNSET if revocation is None else revocation.reason,
    )


def _time(moment: datetime | None) -> str | msgspec.UnsetType:
    return msgspec.UNSET if moment is None else rfc3339(moment)
