"""A key, its versions and their states: what may be done with which, and what becomes of it. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from shared.errors import invalid_field
from shared.signing.errors import KeyChanged, KeyNotDeletable, KeyTooLarge, UnknownKey, UnsupportedKey, UnusableVersion

KeyType = Literal[
    "RSA-2048",
    "RSA-3072",
    "RSA-4096",
    "P-256",
    "P-384",
    "P-521",
    "Ed25519",
    "X25519",
    "AES-256",
    "ML-DSA-44",
    "ML-DSA-65",
    "ML-DSA-87",
]
Purpose = Literal["sign", "encrypt"]
State = Literal["enabled", "disabled", "revoked"]

RESTORABLE = timedelta(days=30)
"""How long a deleted key can be restored."""
MAX_VERSIONS = 1000
MAX_DOCUMENT = 30_000
"""In UTF-16 code units; a text column of Table Storage holds 32 K of them."""

_SIGNING = frozenset({"P-256", "P-384", "P-521", "Ed25519", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"})
_ENCRYPTING = frozenset({"P-256", "X25519", "AES-256"})


class Revocation(msgspec.Struct, frozen=True):
    """That a version is not to be trusted since `at`; it was said at `recorded`, and holds for ever."""

    at: datetime
    recorded: datetime
    reason: str


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What is fixed about one version of a key when it is made. Stored beside its sealed private key."""

    number: int
    created: datetime
    key_id: str
    """RFC 7638 thumbprint of the public key; of an AES key a random text."""
    public_key: bytes
    """SubjectPublicKeyInfo, DER; empty for AES."""
    origin: Literal["made", "imported"]
    has_private: bool = True


class Ring(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key: what may change about it, and about its versions. Stored as one document, so that a change is whole."""

    id: str
    """Random; tells a key from a later one of the same name."""
    type: KeyType
    purpose: Purpose
    created: datetime
    latest_version: int
    latest_created: datetime
    published: bool = False
    exportable: bool = False
    deletable: bool = False
    rotation_days: int | None = None
    tags: dict[str, str] = {}
    minimum_sign_version: int = 1
    minimum_verify_version: int = 1
    disabled: dict[int, datetime] = {}
    """Since when a version is disabled."""
    revoked: dict[int, Revocation] = {}
    deleted: datetime | None = None
    purging: bool = False
    """That its rows are being removed, so that it cannot be restored any more."""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What `changed` sets; what is not given stays."""

    published: bool | msgspec.UnsetType = msgspec.UNSET
    deletable: bool | msgspec.UnsetType = msgspec.UNSET
    rotation_days: int | msgspec.UnsetType | None = msgspec.UNSET
    tags: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    minimum_sign_version: int | msgspec.UnsetType = msgspec.UNSET
    minimum_verify_version: int | msgspec.UnsetType = msgspec.UNSET
    disabled_versions: list[int] | msgspec.UnsetType = msgspec.UNSET


def purpose_of(key_type: KeyType, wanted: Purpose | None) -> Purpose:
    """`wanted` where keys of `key_type` serve it, else the type's own. Raises UnsupportedKey."""
    is_rsa = key_type.startswith("RSA-")
    if wanted is None:
        return "sign" if is_rsa or key_type in _SIGNING else "encrypt"
    if is_rsa or key_type in (_SIGNING if wanted == "sign" else _ENCRYPTING):
        return wanted
    does = "signing" if key_type in _SIGNING else "encryption"
    raise UnsupportedKey(f"Keys of type {key_type} are for {does} alone.")


def state_of(ring: Ring, version: int) -> State:
    """The state of a version that exists."""
    if version in ring.revoked:
        return "revoked"
    return "disabled" if version in ring.disabled else "enabled"


def may_make(ring: Ring, version: int) -> bool:
    """Whether `version` may make anything new: a signature, or a ciphertext."""
    return (
        ring.minimum_sign_version <= version <= ring.latest_version
        and version not in ring.disabled
        and version not in ring.revoked
    )


def current_version(ring: Ring) -> int | None:
    """The version that signs or encrypts: the newest that may."""
    if may_make(ring, ring.latest_version):
        return ring.latest_version
    return next((each for each in range(ring.latest_version - 1, 0, -1) if may_make(ring, each)), None)


def version_to_make(ring: Ring, name: str, wanted: int | None) -> int:
    """The version that signs or encrypts: `wanted`, else the current one. Raises UnknownKey and UnusableVersion."""
    if wanted is None:
        current = current_version(ring)
        if current is None:
            raise UnusableVersion(f"No version of key {name} is enabled and new enough: rotate it, or enable one.")
        return current
    if wanted > ring.latest_version:
        raise UnknownKey(f"Key {name} has no version {wanted}.")
    if not may_make(ring, wanted):
        raise UnusableVersion(f"Version {wanted} of key {name} is {state_of(ring, wanted)}, or too old to be used.")
    return wanted


def refusal(ring: Ring, version: int) -> Literal["disabled", "revoked"] | None:
    """Why a signature by `version` is not to be trusted though it matches; None where it is."""
    state = state_of(ring, version)
    if state != "enabled":
        return state
    return "disabled" if version < ring.minimum_verify_version else None


def may_decrypt(ring: Ring, version: int) -> bool:
    """Whether what `version` encrypted may be read. A revoked version's may: else its data would be lost for ever."""
    return version not in ring.disabled and version >= ring.minimum_verify_version


def is_due(ring: Ring, now: datetime) -> bool:
    """Whether the key is to be rotated at its next use."""
    if ring.rotation_days is None or ring.latest_version >= MAX_VERSIONS:
        return False
    return now >= ring.latest_created + timedelta(days=ring.rotation_days)


def rotated(ring: Ring, now: datetime) -> Ring:
    """With one version more. Raises KeyTooLarge where it has as many as a key may."""
    if ring.latest_version >= MAX_VERSIONS:
        raise KeyTooLarge(f"A key has at most {MAX_VERSIONS} versions: make a new key.")
    return msgspec.structs.replace(ring, latest_version=ring.latest_version + 1, latest_created=now)


def check_expected(ring: Ring, name: str, expected: int | None) -> None:
    """Raise KeyChanged where `expected` is given, and is not the current version (any more)."""
    current = current_version(ring)
    if expected is not None and expected != current:
        raise KeyChanged(f"The current version of key {name} is {current}, not {expected}: it was rotated meanwhile.")


def changed(ring: Ring, changes: Changes, now: datetime) -> Ring:
    """With `changes`. Raises InvalidRequest where they name versions that are not there."""
    given = {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not msgspec.UNSET}
    for name in ("minimum_sign_version", "minimum_verify_version"):
        if given.get(name, 1) > ring.latest_version:
            raise invalid_field(name, f"is over the latest version, {ring.latest_version}.")
    disabled = given.pop("disabled_versions", None)
    if disabled is not None:
        if unknown := sorted(each for each in disabled if not 1 <= each <= ring.latest_version):
            raise invalid_field("disabled_versions", f"names versions that the key has not: {unknown}.")
        given["disabled"] = {each: ring.disabled.get(each, now) for each in sorted(set(disabled))}
    return _checked(msgspec.structs.replace(ring, **given))


def revoked(ring: Ring, name: str, version: int, at: datetime | None, reason: str, now: datetime) -> Ring:
    """With `version` revoked since `at` (now, where that is None), for ever.

    Raises UnknownKey where there is no such version, KeyChanged where it is revoked already, InvalidRequest where
    `at` is still to come.
    """
    if version > ring.latest_version:
        raise UnknownKey(f"Key {name} has no version {version}.")
    if version in ring.revoked:
        raise KeyChanged(f"Version {version} of key {name} is revoked already.")
    if at is not None and at > now:
        raise invalid_field("at", "is in the future: a revocation holds at once.")
    revocation = Revocation(at or now, now, reason)
    return _checked(msgspec.structs.replace(ring, revoked={**ring.revoked, version: revocation}))


def deleted(ring: Ring, name: str, now: datetime) -> Ring:
    """Deleted, and restorable for a while. Raises KeyNotDeletable."""
    if not ring.deletable:
        raise KeyNotDeletable(f"Key {name} is not deletable. If it is to go, set deletable by update-key first.")
    return msgspec.structs.replace(ring, deleted=now)


def gone_at(ring: Ring) -> datetime | None:
    """When a deleted key is gone for good; None for one that is not deleted."""
    return None if ring.deleted is None else ring.deleted + RESTORABLE


def is_gone(ring: Ring, now: datetime) -> bool:
    """Whether a deleted key cannot be restored any more."""
    at = gone_at(ring)
    return ring.purging or (at is not None and now >= at)


def verifying_versions(ring: Ring) -> Iterable[int]:
    """The versions whose signatures are trusted, the newest first."""
    numbers = range(ring.latest_version, 0, -1)
    return [each for each in numbers if refusal(ring, each) is None] if ring.purpose == "sign" else []


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise InvalidRequest where there are too many tags, or they are too long."""
    if len(tags) > 50 or any(not 1 <= len(name) <= 128 or len(value) > 256 for name, value in tags.items()):
        raise invalid_field("tags", "may be 50 at most, of 1 to 128 characters, with values of at most 256.")


def _checked(ring: Ring) -> Ring:
    check_tags(ring.tags)
    if len(msgspec.json.encode(ring).decode().encode("utf-16-le")) // 2 > MAX_DOCUMENT:
        raise KeyTooLarge("There is no room for more: shorten the tags or the reasons of revocations.")
    return ring
