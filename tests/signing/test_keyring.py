"""Which version signs, and how the state of a version affects its signatures."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.signing import keyring
from shared.signing.errors import UnsupportedKey, UnusableVersion, VersionInUse, VersionPending
from shared.signing.keyring import Changes, KeyMetadata, Revocation

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def metadata(latest: int = 3, **more: Any) -> KeyMetadata:
    """Return a key's metadata with `latest` versions."""
    return KeyMetadata(id="x", type="P-256", purpose="sign", created=NOW, latest_version=latest, rotated=NOW, **more)


@pytest.mark.parametrize(
    ("key", "current"),
    [
        (metadata(), 3),
        (metadata(disabled={3: NOW}), 2),
        (metadata(revoked={3: Revocation(NOW, NOW, "lost")}, disabled={2: NOW}), 1),
        (metadata(disabled={3: NOW}, minimum_sign_version=3), None),
        (metadata(minimum_sign_version=2), 3),
    ],
)
def test_the_newest_enabled_version_signs(key: KeyMetadata, current: int | None) -> None:
    """The newest version that is neither disabled, revoked nor below the minimum signs; there may be none."""
    assert keyring.current_version(key) == current


@pytest.mark.parametrize(
    ("key", "version", "reason"),
    [
        (metadata(), 1, None),
        (metadata(disabled={1: NOW}), 1, "disabled"),
        (metadata(disabled={1: NOW}), 2, None),
        (metadata(disabled={1: NOW}, revoked={1: Revocation(NOW, NOW, "lost")}), 1, "revoked"),
        (metadata(minimum_verify_version=2), 1, "disabled"),
        (metadata(minimum_verify_version=2), 2, None),
        (metadata(minimum_sign_version=3), 1, None),
    ],
)
def test_a_signature_is_worth_what_its_version_is(key: KeyMetadata, version: int, reason: str | None) -> None:
    """Signatures of disabled, revoked and too old versions fail; a version too old to sign still verifies."""
    assert keyring.refusal(key, version) == reason


def test_a_ring_survives_storage() -> None:
    """A stored key reads back unchanged."""
    kept = metadata(disabled={1: NOW}, revoked={2: Revocation(NOW, NOW, "lost")}, published=True)
    assert msgspec.json.decode(msgspec.json.encode(kept), type=KeyMetadata) == kept


@pytest.mark.parametrize("off", [{"disabled": {2: NOW}}, {"revoked": {2: Revocation(NOW, NOW, "lost")}}])
def test_nothing_is_produced_that_the_key_would_refuse(off: dict[str, Any]) -> None:
    """A version below `minimum_verify_version` never signs, even if every other version is off."""
    key = metadata(2, minimum_verify_version=2, **off)
    assert keyring.current_version(key) is None
    assert not any(keyring.may_produce(key, version) for version in (1, 2))
    for wanted in (None, 1, 2):
        with pytest.raises(UnusableVersion):
            keyring.version_to_use(key, "k", wanted)


@given(
    latest=st.integers(1, 4),
    disabled=st.sets(st.integers(1, 4)),
    revoked=st.sets(st.integers(1, 4)),
    minimum_sign=st.integers(1, 4),
    minimum_verify=st.integers(1, 4),
    pending=st.booleans(),
)
def test_whatever_produces_also_verifies_and_decrypts(
    latest: int, disabled: set[int], revoked: set[int], minimum_sign: int, minimum_verify: int, pending: bool
) -> None:
    """In every state of a key, a version that may sign or encrypt also verifies and decrypts."""
    key = metadata(
        latest,
        pending=pending and latest > 1,
        disabled=dict.fromkeys(disabled, NOW),
        revoked={each: Revocation(NOW, NOW, "") for each in revoked},
        minimum_sign_version=minimum_sign,
        minimum_verify_version=minimum_verify,
    )
    for version in range(1, latest + 1):
        if keyring.may_produce(key, version):
            assert keyring.refusal(key, version) is None
            assert keyring.may_decrypt(key, version)
            assert version in keyring.published_versions(key)
    current = keyring.current_version(key)
    assert current == max((each for each in range(1, latest + 1) if keyring.may_produce(key, each)), default=None)


def test_a_key_that_is_off_does_not_turn_itself_on() -> None:
    """`rotation_days` creates no version for a key whose versions are all disabled."""
    later = NOW + timedelta(days=400)
    assert keyring.is_due(metadata(1, rotation_days=1), later)
    assert not keyring.is_due(metadata(1, rotation_days=1, disabled={1: NOW}), later)
    assert not keyring.is_due(metadata(1, rotation_days=1), NOW + timedelta(hours=23))


def test_a_key_without_its_private_half_does_not_rotate() -> None:
    """Neither a rotation nor `rotation_days` is possible, on any route."""
    public = metadata(1, has_private=False)
    with pytest.raises(UnsupportedKey):
        keyring.changed(public, Changes(rotation_days=1), NOW)
    with pytest.raises(UnsupportedKey):
        keyring.check_rotatable(public, "k")


def test_versions_are_disabled_and_enabled_one_by_one() -> None:
    """`disable` and `enable` leave other versions unchanged; together with `disabled_versions` they are refused."""
    key = keyring.changed(metadata(3), Changes(disable=[1]), NOW)
    key = keyring.changed(key, Changes(disable=[2]), NOW + timedelta(days=1))
    assert key.disabled == {1: NOW, 2: NOW + timedelta(days=1)}
    assert list(keyring.changed(key, Changes(enable=[1], disable=[3]), NOW).disabled) == [2, 3]
    for wrong in (
        Changes(disable=[1], disabled_versions=[]),
        Changes(enable=[1], disabled_versions=[]),
        Changes(enable=[1], disable=[1]),
        Changes(disable=[4]),
        Changes(enable=[0]),
    ):
        with pytest.raises(InvalidRequest):
            keyring.changed(key, wrong, NOW)


def test_a_version_that_a_cache_may_still_use_is_not_refused_yet() -> None:
    """`minimum_verify_version` waits until no instance uses the version; disabling and revoking never wait."""
    key = keyring.with_version(metadata(1), NOW)
    raised = Changes(minimum_verify_version=2)
    with pytest.raises(VersionInUse) as caught:
        keyring.changed(key, raised, NOW + timedelta(seconds=10), 30)
    assert caught.value.retry_after == 20
    assert keyring.changed(key, raised, NOW + timedelta(seconds=30), 30).minimum_verify_version == 2
    assert keyring.changed(key, raised, NOW, 0).minimum_verify_version == 2
    with pytest.raises(VersionInUse) as caught:  # An instance whose clock is a day ahead wrote the time.
        keyring.changed(keyring.with_version(metadata(1), NOW + timedelta(days=1)), raised, NOW, 30)
    assert caught.value.retry_after == 30
    with pytest.raises(VersionInUse, match="Rotate"):
        keyring.changed(metadata(2, disabled={2: NOW}), raised, NOW, 30)
    off = keyring.changed(key, Changes(disable=[1]), NOW, 30)
    assert keyring.changed(off, raised, NOW, 30).minimum_verify_version == 2


def test_a_version_is_published_before_it_signs() -> None:
    """A published version is in the key set but does not sign; the next rotation makes it current and adds none."""
    key = keyring.with_version(metadata(1), NOW, publish_only=True)
    assert (keyring.current_version(key), list(keyring.published_versions(key))) == (1, [2, 1])
    with pytest.raises(UnusableVersion):
        keyring.version_to_use(key, "k", 2)
    with pytest.raises(VersionPending):
        keyring.check_rotatable(key, "k", publish_only=True)
    keyring.check_rotatable(key, "k")
    key = keyring.activated(key, NOW)
    assert (keyring.current_version(key), key.latest_version) == (2, 2)


def test_a_revocation_always_fits() -> None:
    """All versions of the largest key can be revoked, with the longest tags; reasons without room are dropped."""
    tags = {f"{number:03}" + "\x01" * 125: "\x01" * 256 for number in range(50)}
    now = NOW.replace(microsecond=123456)
    every = dict.fromkeys(range(1, 1001), now)
    key = metadata(1000, tags=tags, disabled=every, replaced=every)
    for version in range(1, 1001):
        key = keyring.revoked(key, "k", version, None, "\x01" * 256, now)
    assert len(key.revoked) == 1000
    assert key.revoked[1].reason
    # A row of Table Storage holds 1 MiB, and each character takes two bytes.
    assert 2 * len(msgspec.json.encode(key).decode()) <= 1_000_000
