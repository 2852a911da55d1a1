"""The parts of a capability that the app composes: its routes, probes, warnings and expiring records."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import msgspec

from shared.web import Route

if TYPE_CHECKING:
    from shared.health import Probe


class Expiring(Protocol):
    """A store with records that expire."""

    def purge(self, now: datetime) -> int:
        """Remove the records that have expired; returns their number."""
        ...


class Capability(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a capability's `build`. A subclass adds fields for the capabilities that depend on this one."""

    routes: tuple[Route, ...]
    expiring: Mapping[str, Callable[[], Expiring]] = {}
    """Its stores with records that expire, by the names that the log of the daily task has."""
    probes: "Callable[[], Iterable[Probe]]" = tuple
    """The probes of the services behind it."""
    warnings: Callable[[], Iterable[tuple[str, str, str]]] = tuple
    """Advice for the operator: a code, its subject (such as the name of a database), and a sentence."""
