"""A key, its versions and their states: which one signs, and what a signature by one is worth. Pure."""

from datetime import datetime
from typing import Literal

import msgspec

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


class Revocation(msgspec.Struct, frozen=True):
    """That a version is not to be trusted since `at`, for ever."""

    at: datetime
    reason: str


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What is fixed about one version of a key when it is made. Stored beside its sealed private key."""

    number: int
    created: datetime
    key_id: str
    """RFC 7638 thumbprint of the public key."""
    public_key: bytes
    """SubjectPublicKeyInfo, DER."""
    origin: Literal["made", "imported"]


class Ring(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key: what may change about it, and about its versions. Stored as one document, so that a change is whole."""

    id: str
    """Random; tells a key from a later one of the same name."""
    type: KeyType
    purpose: Purpose
    created: datetime
    latest_version: int
    published: bool = False
    minimum_sign_version: int = 1
    minimum_verify_version: int = 1
    disabled: dict[int, datetime] = {}
    """Since when a version is disabled."""
    revoked: dict[int, Revocation] = {}


def state_of(ring: Ring, version: int) -> State:
    """The state of a version that exists."""
    if version in ring.revoked:
        return "revoked"
    return "disabled" if version in ring.disabled else "enabled"


def may_sign(ring: Ring, version: int) -> bool:
    """Whether new signatures may be made with `version`."""
    return (
        ring.minimum_sign_version <= version <= ring.latest_version
        and version not in ring.disabled
        and version not in ring.revoked
    )


def current_version(ring: Ring) -> int | None:
    """The version that signs: the newest that may."""
    return next((each for each in range(ring.latest_version, 0, -1) if may_sign(ring, each)), None)


def refusal(ring: Ring, version: int) -> Literal["disabled", "revoked"] | None:
    """Why a signature by `version` is not to be trusted though it matches; None where it is."""
    state = state_of(ring, version)
    if state != "enabled":
        return state
    return "disabled" if version < ring.minimum_verify_version else None
