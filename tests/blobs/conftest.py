"""Retries in these tests do not pause."""

import pytest


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow without a pause, and a service on a busy machine is not late."""
    monkeypatch.setattr("shared.storage.requests.PAUSE_SECONDS", (0.0, 0.0))
    monkeypatch.setattr("shared.storage.requests.READ_SECONDS", 60.0)
