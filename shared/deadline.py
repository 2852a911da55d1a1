"""One deadline per call, shared by all its requests to other services and their retries.

`web.respond` sets it around the handler; whoever waits for a storage account, a vault or a database asks for the time
that is left. It lives below everything else, so that every layer can use it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

DEFAULT_SECONDS = 10.0
"""For work outside of a call: timers, scripts, threads of our own."""

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""By the monotonic clock."""


@contextmanager
def call_limit(seconds: float) -> Iterator[None]:
    """Limit the work inside to `seconds` from now. An inner limit replaces the outer one, also by a later one."""
    token = _deadline.set(monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def deadline() -> float:
    """When the present call must end, by the monotonic clock; without a limit DEFAULT_SECONDS from now."""
    limit = _deadline.get()
    return monotonic() + DEFAULT_SECONDS if limit is None else limit


def seconds_left() -> float:
    """Seconds until the deadline; 0 or less once it has passed."""
    return deadline() - monotonic()
