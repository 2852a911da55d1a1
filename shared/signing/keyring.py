"""A key, its versions and their states: which version may do what, and how each change alters the key. Pure.

The rules for what a version may produce, verify and decrypt are here and nowhere else. A version that the key would
refuse to verify or decrypt never signs or encrypts.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Literal

import msgspec

from shared.errors import invalid_field
from shared.signing.errors import (
    KeyChanged,
    KeyNotDeletable,
    KeyTooLarge,
    UnknownKey,
    UnsupportedKey,
    UnusableVersion,
    VersionInUse,
    VersionPending,
)

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
MAX_DOCUMENT = 300_000
"""In UTF-16 code units, two bytes each. A row of Table Storage holds 1 MiB; the rest is for revocations."""
MAX_CACHE_SECONDS = 3600
"""The longest that an instance may use its copy of a key (STRONGROOM_KEY_CACHE_SECONDS)."""

_SIGNING = frozenset({"P-256", "P-384", "P-521", "Ed25519", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"})
_ENCRYPTING = frozenset({"P-256", "X25519", "AES-256"})


class Revocation(msgspec.Struct, frozen=True):
    """A permanent revocation: effective from `at`, reported at `recorded`."""

    at: datetime
    recorded: datetime
    reason: str


class Version(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The facts about one version of a key that never change. Stored beside its sealed private key."""

    number: int
    created: datetime
    key_id: str
    """RFC 7638 thumbprint of the public key; a random text for an AES key."""
    public_key: bytes
    """SubjectPublicKeyInfo, DER; empty for AES."""
    origin: Literal["made", "imported"]
    has_private: bool = True
    alias: str = ""
    """The `kid` of the JWK from which the version was imported."""


class KeyMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything about a key that may change, its versions' states included. Stored as one document."""

    id: str
    """Random; distinguishes a key from a later one of the same name."""
    type: KeyType
    purpose: Purpose
    created: datetime
    latest_version: int
    rotated: datetime
    """When the current version took over."""
    algorithm: str | None = None
    """The only algorithm that the key signs with; None: any that fits its type."""
    has_private: bool = True
    pending: bool = False
    """The latest version is published and does not sign or encrypt yet."""
    published: bool = False
    exportable: bool = False
    deletable: bool = False
    rotation_days: int | None = None
    tags: dict[str, str] = {}
    callers: list[str] | None = None
    """The callers who may use the private key; None: everybody with a function key."""
    minimum_sign_version: int = 1
    minimum_verify_version: int = 1
    disabled: dict[int, datetime] = {}
    """When each disabled version was disabled."""
    revoked: dict[int, Revocation] = {}
    replaced: dict[int, datetime] = {}
    """When a version stopped to be the current one, as long as another instance's cache may still use it."""
    deleted: datetime | None = None
    purging: bool = False
    """Its rows are being removed, so it cannot be restored."""


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """The changes for `changed`. An unset member keeps its value."""

    published: bool | msgspec.UnsetType = msgspec.UNSET
    deletable: bool | msgspec.UnsetType = msgspec.UNSET
    algorithm: str | msgspec.UnsetType | None = msgspec.UNSET
    rotation_days: int | msgspec.UnsetType | None = msgspec.UNSET
    tags: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    callers: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    minimum_sign_version: int | msgspec.UnsetType = msgspec.UNSET
    minimum_verify_version: int | msgspec.UnsetType = msgspec.UNSET
    disabled_versions: list[int] | msgspec.UnsetType = msgspec.UNSET
    disable: list[int] | msgspec.UnsetType = msgspec.UNSET
    enable: list[int] | msgspec.UnsetType = msgspec.UNSET


def purpose_of(key_type: KeyType, wanted: Purpose | None) -> Purpose:
    """`wanted` if keys of `key_type` can serve it; without it, the type's own purpose. Raises UnsupportedKey."""
    is_rsa = key_type.startswith("RSA-")
    if wanted is None:
        return "sign" if is_rsa or key_type in _SIGNING else "encrypt"
    if is_rsa or key_type in (_SIGNING if wanted == "sign" else _ENCRYPTING):
        return wanted
    supported = "sign" if key_type in _SIGNING else "encrypt"
    raise UnsupportedKey(f"Keys of type {key_type} can only {supported}. Choose the purpose {supported}.")


def state_of(key: KeyMetadata, version: int) -> State:
    """The state of a version that exists."""
    if version in key.revoked:
        return "revoked"
    return "disabled" if version in key.disabled else "enabled"


def may_produce(key: KeyMetadata, version: int) -> bool:
    """Whether `version` may sign or encrypt: only if the key would verify or decrypt the result."""
    return (
        max(key.minimum_sign_version, key.minimum_verify_version) <= version <= newest_active(key)
        and version not in key.disabled
        and version not in key.revoked
    )


def newest_active(key: KeyMetadata) -> int:
    """The newest version that was rotated in: the latest, unless that is only published."""
    return key.latest_version - 1 if key.pending else key.latest_version


def current_version(key: KeyMetadata) -> int | None:
    """The version that signs or encrypts: the newest that may."""
    lowest = max(key.minimum_sign_version, key.minimum_verify_version, 1)
    return next((each for each in range(newest_active(key), lowest - 1, -1) if may_produce(key, each)), None)


def version_to_use(key: KeyMetadata, name: str, wanted: int | None) -> int:
    """The version that signs or encrypts: `wanted`, else the current one. Raises UnknownKey and UnusableVersion."""
    if wanted is None:
        current = current_version(key)
        if current is None:
            raise UnusableVersion(
                f"No version of key {name} may be used: each is disabled, revoked or below a minimum version. "
                "Rotate the key, or enable a version."
            )
        return current
    if wanted > key.latest_version:
        raise UnknownKey(f"Key {name} has no version {wanted}.")
    if not may_produce(key, wanted):
        state = state_of(key, wanted)
        why = "below a minimum version, or not rotated in yet" if state == "enabled" else state
        raise UnusableVersion(f"Version {wanted} of key {name} is {why}. Leave the version out to use the current one.")
    return wanted


def refusal(key: KeyMetadata, version: int) -> Literal["disabled", "revoked"] | None:
    """Why a matching signature by `version` is not trusted; None if it is."""
    state = state_of(key, version)
    if state != "enabled":
        return state
    return "disabled" if version < key.minimum_verify_version else None


def may_decrypt(key: KeyMetadata, version: int) -> bool:
    """Whether ciphertexts of `version` may be decrypted. A revoked version still decrypts: its data would be lost."""
    return version not in key.disabled and version >= key.minimum_verify_version


def published_versions(key: KeyMetadata) -> Iterable[int]:
    """The versions whose public keys others should use, the newest first: those that are trusted."""
    return [each for each in range(key.latest_version, 0, -1) if refusal(key, each) is None]


def is_due(key: KeyMetadata, now: datetime) -> bool:
    """Whether the next use rotates the key. A key without a usable version stays off."""
    if key.rotation_days is None or (key.latest_version >= MAX_VERSIONS and not key.pending):
        return False
    return now >= key.rotated + timedelta(days=key.rotation_days) and current_version(key) is not None


def check_rotatable(key: KeyMetadata, name: str, *, publish_only: bool = False) -> None:
    """Raise UnsupportedKey, VersionPending or KeyTooLarge if the key cannot get another version."""
    if not key.has_private:
        raise UnsupportedKey(
            f"Key {name} has only its public half here. Import the next version with version_of instead."
        )
    if key.pending:
        if publish_only:
            raise VersionPending(
                f"Version {key.latest_version} of key {name} is published already. "
                "Call rotate-key without publish_only to make it current."
            )
    elif key.latest_version >= MAX_VERSIONS:
        raise KeyTooLarge(f"A key has at most {MAX_VERSIONS} versions. Create a new key.")


def activated(key: KeyMetadata, now: datetime) -> KeyMetadata:
    """The pending version becomes current."""
    return _settled(key, msgspec.structs.replace(key, pending=False, rotated=now), now)


def with_version(key: KeyMetadata, now: datetime, *, publish_only: bool = False) -> KeyMetadata:
    """With one more version, which is current at once unless `publish_only`. Raises KeyTooLarge."""
    if key.latest_version >= MAX_VERSIONS:
        raise KeyTooLarge(f"A key has at most {MAX_VERSIONS} versions. Create a new key.")
    return _settled(
        key,
        msgspec.structs.replace(
            key,
            latest_version=key.latest_version + 1,
            pending=publish_only,
            rotated=key.rotated if publish_only else now,
        ),
        now,
    )


def check_expected(key: KeyMetadata, name: str, expected: int | None) -> None:
    """Raise KeyChanged if the current version is not `expected`."""
    current = current_version(key)
    if expected is not None and expected != current:
        raise KeyChanged(f"The current version of key {name} is {current}, not {expected}. Read the key again.")


def changed(key: KeyMetadata, changes: Changes, now: datetime, cache_seconds: float = 0) -> KeyMetadata:
    """With `changes`.

    `cache_seconds` is how long another instance may still use a version that was current. Raises InvalidRequest for
    versions that do not exist, UnsupportedKey, VersionInUse and KeyTooLarge.
    """
    values = {name: value for name, value in msgspec.structs.asdict(changes).items() if value is not msgspec.UNSET}
    for field in ("minimum_sign_version", "minimum_verify_version"):
        if values.get(field, 1) > key.latest_version:
            raise invalid_field(field, f"`{field}` is over the latest version, {key.latest_version}.")
    if values.get("rotation_days") is not None and not key.has_private:
        raise UnsupportedKey("A key with only its public half here cannot rotate. Leave rotation_days out.")
    if (minimum := values.get("minimum_verify_version")) is not None:
        _check_in_use(key, minimum, now, cache_seconds)
    disabled = _disabled(key, values, now)
    for field in ("disabled_versions", "disable", "enable"):
        values.pop(field, None)
    return _checked(_settled(key, msgspec.structs.replace(key, disabled=disabled, **values), now))


def _disabled(key: KeyMetadata, values: Mapping[str, list[int]], now: datetime) -> dict[int, datetime]:
    present = [field for field in ("disabled_versions", "disable", "enable") if field in values]
    for field in present:
        if unknown := sorted(each for each in values[field] if not 1 <= each <= key.latest_version)[:20]:
            raise invalid_field(field, f"`{field}` names versions that the key does not have: {unknown}.")
    if "disabled_versions" in present:
        if len(present) > 1:
            raise invalid_field(
                "disabled_versions",
                "Send either `disabled_versions`, which replaces the list, or `disable` and `enable`.",
            )
        numbers = set(values["disabled_versions"])
    else:
        disable, enable = set(values.get("disable", ())), set(values.get("enable", ()))
        if both := sorted(disable & enable)[:20]:
            raise invalid_field("enable", f"The same version cannot be in `disable` and in `enable`: {both}.")
        numbers = (set(key.disabled) | disable) - enable
    return {each: key.disabled.get(each, now) for each in sorted(numbers)}


def _check_in_use(key: KeyMetadata, minimum: int, now: datetime, cache_seconds: float) -> None:
    """Raise VersionInUse if an instance may still produce something with a version below `minimum`."""
    if cache_seconds <= 0 or minimum <= key.minimum_verify_version:
        return
    current = current_version(key)
    if current is not None and current < minimum:
        raise VersionInUse(
            f"Version {current} is the current version. Rotate the key first, then retry after the seconds in "
            "Retry-After. To stop a version at once, disable or revoke it.",
            retry_after=ceil(cache_seconds),
        )
    left = [
        (at + timedelta(seconds=cache_seconds) - now).total_seconds()
        for version, at in key.replaced.items()
        if version < minimum and version not in key.disabled and version not in key.revoked
    ]
    # A clock that was ahead must not make anybody wait for longer than a cache lives.
    wait = min(max(left, default=0.0), cache_seconds)
    if wait > 0:
        raise VersionInUse(
            "Another instance may still use a version below this minimum, from its cache. Retry after the seconds in "
            "Retry-After. To stop a version at once, disable or revoke it.",
            retry_after=ceil(wait),
        )


def revoked(key: KeyMetadata, name: str, version: int, at: datetime | None, reason: str, now: datetime) -> KeyMetadata:
    """With `version` revoked from `at` (default: now), permanently. A revocation always fits.

    Raises UnknownKey for a version that does not exist, KeyChanged if it is revoked already, and InvalidRequest if
    `at` is in the future.
    """
    if version > key.latest_version:
        raise UnknownKey(f"Key {name} has no version {version}.")
    if version in key.revoked:
        raise KeyChanged(f"Version {version} of key {name} is revoked already.")
    if at is not None and at > now:
        raise invalid_field("at", "`at` is in the future. A revocation takes effect at once: leave it out.")

    def with_reason(text: str) -> KeyMetadata:
        revocations = {**key.revoked, version: Revocation(at or now, now, text)}
        return _settled(key, msgspec.structs.replace(key, revoked=revocations), now)

    whole = with_reason(reason)
    return whole if _size(whole) <= MAX_DOCUMENT else with_reason("")


def deleted(key: KeyMetadata, name: str, now: datetime) -> KeyMetadata:
    """Deleted, and restorable for 30 days. Raises KeyNotDeletable."""
    check_deletable(key, name)
    return msgspec.structs.replace(key, deleted=now)


def check_deletable(key: KeyMetadata, name: str) -> None:
    """Raise KeyNotDeletable."""
    if not key.deletable:
        raise KeyNotDeletable(f"Key {name} is not deletable. Set `deletable` with update-key first.")


def gone_at(key: KeyMetadata) -> datetime | None:
    """When a deleted key can no longer be restored; None if it is not deleted."""
    return None if key.deleted is None else key.deleted + RESTORABLE


def is_gone(key: KeyMetadata, now: datetime) -> bool:
    """Whether a deleted key can no longer be restored."""
    at = gone_at(key)
    return key.purging or (at is not None and now >= at)


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise InvalidRequest if there are too many tags, or they are too long."""
    if len(tags) > 50 or any(not 1 <= len(name) <= 128 or len(value) > 256 for name, value in tags.items()):
        raise invalid_field(
            "tags", "`tags` holds at most 50 names of 1 to 128 characters, with values of at most 256 characters."
        )


def _settled(before: KeyMetadata, after: KeyMetadata, now: datetime) -> KeyMetadata:
    """`after`, with a note of when the version that was current stopped to be so."""
    horizon = now - timedelta(seconds=MAX_CACHE_SECONDS)
    replaced = {version: at for version, at in before.replaced.items() if at > horizon}
    current = current_version(before)
    if current is not None and current != current_version(after):
        replaced[current] = now
    return msgspec.structs.replace(after, replaced=replaced)


def _checked(key: KeyMetadata) -> KeyMetadata:
    check_tags(key.tags)
    if _size(key) > MAX_DOCUMENT:
        raise KeyTooLarge("The key's metadata is full. Shorten its tags or its list of callers.")
    return key


def _size(key: KeyMetadata) -> int:
    return len(msgspec.json.encode(key).decode().encode("utf-16-le")) // 2
