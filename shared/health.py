"""Whether the app runs, and whether what it stands on does."""

from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from time import monotonic, perf_counter
from typing import Literal

import msgspec

from shared import __version__
from shared.web import Operation, Response

SHARED_SECONDS = 5.0
"""How long one round of probes answers for, so that asking cannot be used to load what is asked."""
PROBE_SECONDS = 5.0

Status = Literal["ok", "degraded", "down"]


class LiveResponse(msgspec.Struct, frozen=True):
    status: Literal["ok"] = "ok"


class Service(msgspec.Struct, frozen=True):
    """One backing service, and how long its probe took, in milliseconds."""

    status: Literal["ok", "down"]
    latency_ms: float


class HealthResponse(msgspec.Struct, frozen=True):
    """`down` where a service that is needed is out, `degraded` where another one is."""

    status: Status
    version: str
    services: dict[str, Service]


class Probe(msgspec.Struct, frozen=True):
    """How to ask one service: `ask` raises where it is out."""

    ask: Callable[[], object]
    needed: bool = True


class Health:
    """Asks every service at once, and shares the answer for `SHARED_SECONDS`."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._probes = probes
        self._lock = Lock()
        self._response: HealthResponse | None = None
        self._asked = 0.0

    def check(self) -> HealthResponse:
        """The newest answer, at most `SHARED_SECONDS` old; who asks meanwhile waits for the round under way."""
        with self._lock:
            if self._response is None or monotonic() - self._asked >= SHARED_SECONDS:
                self._response = self._ask()
                self._asked = monotonic()
            return self._response

    def _ask(self) -> HealthResponse:
        from concurrent.futures import ThreadPoolExecutor, wait  # Not needed to index the app.

        pool = ThreadPoolExecutor(max(1, len(self._probes)), thread_name_prefix="health")
        running = {name: pool.submit(_timed, probe.ask) for name, probe in self._probes.items()}
        wait(running.values(), timeout=PROBE_SECONDS)
        pool.shutdown(wait=False)
        services = {
            name: each.result() if each.done() else Service("down", PROBE_SECONDS * 1000)
            for name, each in running.items()
        }
        out = [self._probes[name].needed for name, service in services.items() if service.status == "down"]
        return HealthResponse("down" if any(out) else "degraded" if out else "ok", __version__, services)


def _timed(ask: Callable[[], object]) -> Service:
    started = perf_counter()
    status: Literal["ok", "down"] = "ok"
    try:
        ask()
    except Exception:  # noqa: BLE001 - whatever it is, the service is of no use now.
        status = "down"
    return Service(status, round((perf_counter() - started) * 1000, 1))


def live() -> LiveResponse:
    return LiveResponse()


def check_health(health: Health) -> Response:
    response = health.check()
    return Response.json(response, 503 if response.status == "down" else 200)


def operations(probes: Mapping[str, Probe]) -> dict[str, Operation]:
    """`live` and `health`, over a probe for each backing service."""
    return {
        "live": Operation(
            handle=live,
            request=None,
            response=LiveResponse,
            summary="Whether the app runs. Asks no other service.",
        ),
        "health": Operation(
            handle=partial(check_health, Health(probes)),
            request=None,
            response=HealthResponse,
            summary="Whether the services behind the app answer, and how quickly.",
            statuses={200: "All that is needed answers.", 503: "A service that is needed is out."},
        ),
    }
