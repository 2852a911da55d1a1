"""Whether the app runs, and whether the services behind it respond."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from threading import Lock
from time import monotonic, perf_counter
from typing import Literal

import msgspec

from shared import __version__
from shared.web import Operation, Response

SHARED_SECONDS = 5.0
"""Callers share the results of one round of probes for this long, so that frequent calls do not load the services."""
PROBE_SECONDS = 5.0

Group = Literal["storage", "master-key", "databases", "keys"]
GROUPS: tuple[Group, ...] = ("storage", "master-key", "databases", "keys")


class LiveResponse(msgspec.Struct, frozen=True):
    status: Literal["ok"] = "ok"


class Service(msgspec.Struct, frozen=True):
    """The status of one backing service, and the duration of its probe in milliseconds."""

    status: Literal["ok", "down"]
    latency_ms: float


class HealthResponse(msgspec.Struct, frozen=True):
    """`down` if a service that the app needs is down, `degraded` if another one is."""

    status: Literal["ok", "degraded", "down"]
    version: str
    services: dict[str, Service]
    """Four groups, without the names of databases or settings: anybody may read this."""


class Advice(msgspec.Struct, frozen=True):
    """Advice on a configuration that works and should be changed: a stable code, its subject, and the change."""

    code: str
    subject: str
    detail: str


class HealthDetailsResponse(msgspec.Struct, frozen=True):
    """As `health`, with every service by its own name, and warnings about the configuration."""

    status: Literal["ok", "degraded", "down"]
    version: str
    services: dict[str, Service]
    warnings: list[Advice]


class Probe(msgspec.Struct, frozen=True):
    """How to probe one service: `run` raises an exception if the service is down."""

    name: str
    group: Group
    run: Callable[[], object]
    needed: bool = True


class Health:
    """Runs all probes at once, and shares the results for SHARED_SECONDS."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self._probes = probes
        self._lock = Lock()
        self._results: dict[str, Service] = {}
        self._checked = float("-inf")

    def services(self) -> dict[str, Service]:
        """Every service by its name, at most SHARED_SECONDS ago. Concurrent callers share one round."""
        with self._lock:
            if monotonic() - self._checked >= SHARED_SECONDS:
                self._results = self._run()
                self._checked = monotonic()
            return self._results

    def groups(self) -> dict[str, Service]:
        """The services by group: down if one of them is, with the longest latency."""
        services = self.services()
        groups = {}
        for group in GROUPS:
            members = [services[probe.name] for probe in self._probes if probe.group == group]
            is_down = any(member.status == "down" for member in members)
            latency_ms = max((member.latency_ms for member in members), default=0.0)
            groups[str(group)] = Service("down" if is_down else "ok", latency_ms)
        return groups

    def status(self) -> Literal["ok", "degraded", "down"]:
        services = self.services()
        down = [probe.needed for probe in self._probes if services[probe.name].status == "down"]
        return "down" if any(down) else "degraded" if down else "ok"

    def _run(self) -> dict[str, Service]:
        from concurrent.futures import ThreadPoolExecutor, wait  # Indexing does not need it.

        pool = ThreadPoolExecutor(max(1, len(self._probes)), thread_name_prefix="health")
        running = {probe.name: pool.submit(_timed, probe.run) for probe in self._probes}
        wait(running.values(), timeout=PROBE_SECONDS)
        pool.shutdown(wait=False)
        return {
            name: each.result() if each.done() else Service("down", PROBE_SECONDS * 1000)
            for name, each in running.items()
        }


def _timed(run: Callable[[], object]) -> Service:
    started = perf_counter()
    status: Literal["ok", "down"] = "ok"
    try:
        run()
    except Exception:  # noqa: BLE001 - after any exception the service counts as down.
        status = "down"
    return Service(status, round((perf_counter() - started) * 1000, 1))


def live() -> LiveResponse:
    return LiveResponse()


def check_health(health: Health) -> Response:
    status = health.status()
    response = HealthResponse(status, __version__, health.groups())
    return Response.json(response, 503 if status == "down" else 200)


def check_details(health: Health, warnings: Callable[[], Iterable[tuple[str, str, str]]]) -> HealthDetailsResponse:
    listed = [Advice(code, subject, detail) for code, subject, detail in warnings()]
    return HealthDetailsResponse(health.status(), __version__, health.services(), listed)


def operations(probes: Sequence[Probe], warnings: Callable[[], Iterable[tuple[str, str, str]]]) -> dict[str, Operation]:
    """`live`, `health` and `health-details`. `warnings` returns a code, a subject and a detail for each."""
    health = Health(probes)
    return {
        "live": Operation(
            handle=live,
            request=None,
            response=LiveResponse,
            summary="Report that the app runs. Calls no other service.",
        ),
        "health": Operation(
            handle=partial(check_health, health),
            request=None,
            response=HealthResponse,
            summary="Report whether the services behind the app respond, and how quickly.\n"
            "The app probes them at most every five seconds, however many callers there are.",
            statuses={200: "Every service that the app needs responds.", 503: "A service that the app needs is down."},
        ),
        "health-details": Operation(
            handle=partial(check_details, health, warnings),
            request=None,
            response=HealthDetailsResponse,
            summary="Every service behind the app by its name, and warnings about the configuration.",
        ),
    }
