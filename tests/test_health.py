"""Health: how the state of each service determines the state of the app, and the cost of probes."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from shared import health
from shared.health import Health, Probe, check_details, check_health
from shared.identity.settings import issuer_warnings, load_other_issuers
from tests.support import App, StartApp


def fail() -> None:
    """A probe of a service that is down."""
    raise ConnectionError("the secret host db.internal is down")


def probe(name: str, run: Any = lambda: None, *, needed: bool = True, group: health.Group = "storage") -> Probe:
    """A probe that succeeds unless `run` fails."""
    return Probe(name, group, run, needed)


@pytest.mark.parametrize(
    ("probes", "status", "http"),
    [
        ([], "ok", 200),
        ([probe("a")], "ok", 200),
        ([probe("a"), probe("b", fail, needed=False)], "degraded", 200),
        ([probe("a", fail), probe("b")], "down", 503),
    ],
)
def test_a_needed_service_takes_the_app_down(probes: list[Probe], status: str, http: int) -> None:
    """Only a service that the app needs makes it `down` (503); another one makes it `degraded` (200)."""
    checks = Health(probes)
    assert checks.status() == status
    response = check_health(checks)
    assert response.status == http
    assert b"internal" not in response.body


def test_anybody_sees_groups_and_no_names() -> None:
    """`health` always has the same four services, each down if one of its members is; the names are in the details."""
    checks = Health([probe("database-secret", fail, needed=False, group="databases"), probe("tables")])
    shown = json.loads(check_health(checks).body)
    assert set(shown) == {"status", "version", "services"}
    assert {name: each["status"] for name, each in shown["services"].items()} == {
        "storage": "ok",
        "master-key": "ok",
        "databases": "down",
        "keys": "ok",
    }
    details = check_details(checks, lambda: [("reader-writes", "main", "Use a role that only reads.")])
    assert {name: each.status for name, each in details.services.items()} == {"database-secret": "down", "tables": "ok"}
    assert details.warnings == [health.Advice("reader-writes", "main", "Use a role that only reads.")]


def test_concurrent_callers_share_one_round() -> None:
    """Fifty callers at the same moment, and one after them, cost each service one probe."""
    runs = []
    started = threading.Barrier(50)
    checks = Health([probe("a", lambda: runs.append(1))])

    def call(_: int) -> str:
        started.wait(timeout=30)
        return checks.status()

    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(call, range(50))) == {"ok"}
    assert checks.status() == "ok"
    assert len(runs) == 1


def test_old_results_are_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the shared time is over, the services are probed again."""
    runs = []
    checks = Health([probe("a", lambda: runs.append(1))])
    checks.services()
    monkeypatch.setattr(health, "SHARED_SECONDS", 0.0)
    checks.services()
    assert len(runs) == 2


def test_a_probe_that_hangs_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that never responds is down once the probe's time is over, and delays the response no longer."""
    monkeypatch.setattr(health, "PROBE_SECONDS", 2.0)
    gate = threading.Event()
    services = Health([probe("slow", lambda: gate.wait(60)), probe("quick")]).services()
    gate.set()
    assert (services["slow"].status, services["quick"].status) == ("down", "ok")


@pytest.mark.parametrize("path", ["/api/live", "/api/health"])
def test_head_responds_as_get(running_app: App, path: str) -> None:
    """HEAD works for monitors: it has the status and headers of GET, without a body."""
    with httpx.Client(base_url=running_app.url, timeout=60, trust_env=False) as client:
        head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_the_details_need_a_key(start_app: StartApp) -> None:
    """Without a key `health` has only the groups; `health-details` needs a key, and names the databases."""
    app = start_app({"DATABASE_PAYROLL": "sqlite:////nowhere/payroll.sqlite"})
    with app.client() as client, app.client("") as anonymous:
        shown = anonymous.get("/api/health")
        assert "payroll" not in shown.text
        assert (shown.status_code, shown.json()["status"]) == (200, "degraded")
        assert anonymous.get("/api/health/details").status_code == 401
        details = client.get("/api/health/details").json()
    assert details["services"]["database-payroll"]["status"] == "down"
    assert details["services"]["database-main"]["status"] == "ok"
    assert details["warnings"] == []


def test_wrong_references_are_warnings(start_app: StartApp) -> None:
    """health-details names each setting that refers to something that is not there: a database, a key, a domain."""
    app = start_app(
        {
            "STRONGROOM_PUBLIC_DATABASES": "main, mian",
            "STRONGROOM_PEPPER_KEY": "no-such-key",
            "STRONGROOM_URL": "https://app.example.org",
            "STRONGROOM_RP_ID": "example.com",
        }
    )
    with app.client() as client:
        warnings = client.get("/api/health/details").json()["warnings"]
    listed = {(each["code"], each["subject"]): each["detail"] for each in warnings}
    assert listed.keys() == {
        ("unknown-public-database", "STRONGROOM_PUBLIC_DATABASES"),
        ("pepper-key-unusable", "STRONGROOM_PEPPER_KEY"),
        ("rp-id-without-origin", "STRONGROOM_RP_ID"),
    }
    assert "'mian'" in listed["unknown-public-database", "STRONGROOM_PUBLIC_DATABASES"]


@pytest.mark.parametrize("rp_id", ["app.example.org", "example.org"])
def test_right_references_are_no_warnings(start_app: StartApp, rp_id: str) -> None:
    """A defined public database, and an RP ID that is the host of STRONGROOM_URL or its parent domain, are right."""
    settings = {"STRONGROOM_PUBLIC_DATABASES": "MAIN", "STRONGROOM_RP_ID": rp_id}
    with start_app(settings | {"STRONGROOM_URL": "https://app.example.org"}).client() as client:
        assert client.get("/api/health/details").json()["warnings"] == []


def test_an_issuer_without_an_audience_is_a_warning() -> None:
    """A trusted issuer without an audience is a warning where this app has none of its own."""
    others = load_other_issuers({"TRUSTED_ISSUER_A": "https://login.example.org"})
    assert [(code, name) for code, name, _ in issuer_warnings(others, "")] == [
        ("issuer-without-audience", "TRUSTED_ISSUER_A")
    ]
    assert not list(issuer_warnings(others, "https://app.example.org/api"))
