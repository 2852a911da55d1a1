"""Which version signs, and what a signature by another is worth."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from shared.signing import keyring
from shared.signing.keyring import KeyMetadata, Revocation

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def metadata(latest: int = 3, **more: Any) -> KeyMetadata:
    """A key with `latest` versions."""
    return KeyMetadata(id="x", type="P-256", purpose="sign", created=NOW, latest_version=latest, rotated=NOW, **more)


@pytest.mark.parametrize(
    ("given", "current"),
    [
        (metadata(), 3),
        (metadata(disabled={3: NOW}), 2),
        (metadata(revoked={3: Revocation(NOW, NOW, "lost")}, disabled={2: NOW}), 1),
        (metadata(disabled={3: NOW}, minimum_sign_version=3), None),
        (metadata(minimum_sign_version=2), 3),
    ],
)
def test_the_newest_enabled_version_signs(given: KeyMetadata, current: int | None) -> None:
    """The newest version that is neither disabled, revoked nor below the minimum signs; maybe none."""
    assert keyring.current_version(given) == current


@pytest.mark.parametrize(
    ("given", "version", "reason"),
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
def test_a_signature_is_worth_what_its_version_is(given: KeyMetadata, version: int, reason: str | None) -> None:
    """Disabled, revoked and too old versions are not trusted; one too old to sign still verifies."""
    assert keyring.refusal(given, version) == reason


def test_a_ring_survives_storage() -> None:
    """What is stored of a key reads back as it was."""
    kept = metadata(disabled={1: NOW}, revoked={2: Revocation(NOW, NOW, "lost")}, published=True)
    assert msgspec.json.decode(msgspec.json.encode(kept), type=KeyMetadata) == kept
