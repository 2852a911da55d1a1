"""Health: what each service's state makes of the app's, and that asking is cheap."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared import health
from shared.health import Health, Probe, check_health


def fail() -> None:
    """A probe of a service that is out."""
    raise ConnectionError("the secret host db.internal is out")


@pytest.mark.parametrize(
    ("probes", "status", "http"),
    [
        ({}, "ok", 200),
        ({"a": Probe(lambda: None)}, "ok", 200),
        ({"a": Probe(lambda: None), "b": Probe(fail, needed=False)}, "degraded", 200),
        ({"a": Probe(fail), "b": Probe(lambda: None)}, "down", 503),
    ],
)
def test_a_service_that_is_needed_takes_the_app_down(probes: dict[str, Probe], status: str, http: int) -> None:
    """Only a service that is needed makes the app `down` (503); another one makes it `degraded` (200)."""
    checks = Health(probes)
    assert checks.check().status == status
    response = check_health(checks)
    assert response.status == http
    assert b"internal" not in response.body


def test_who_asks_at_once_shares_one_round() -> None:
    """Fifty callers at the same moment, and one after them, cost each service one probe."""
    asked = []
    started = threading.Barrier(50)
    checks = Health({"a": Probe(lambda: asked.append(1))})

    def ask(_: int) -> str:
        started.wait(timeout=30)
        return checks.check().status

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(ask, range(50))) == {"ok"}
    assert checks.check().status == "ok"
    assert len(asked) == 1


def test_an_old_answer_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the shared time is over, the services are asked anew."""
    asked = []
    checks = Health({"a": Probe(lambda: asked.append(1))})
    checks.check()
    monkeypatch.setattr(health, "SHARED_SECONDS", 0.0)
    checks.check()
    assert len(asked) == 2


def test_a_probe_that_hangs_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that never answers is down once the probe's time is over, and holds up nobody longer."""
    monkeypatch.setattr(health, "PROBE_SECONDS", 2.0)
    gate = threading.Event()
    response = Health({"slow": Probe(lambda: gate.wait(60)), "quick": Probe(lambda: None)}).check()
    gate.set()
    assert response.services["slow"].status == "down"
    assert response.services["quick"].status == "ok"
