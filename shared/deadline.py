"""One deadline per call, shared by all its requests to other services and their retries.

`web.respond` sets it around the handler; code that waits for storage, a vault or a database
reads the remaining time here. The module is below all others, so that every layer can use it.
"""

from contextvars import ContextVar, Token
from time import monotonic

DEFAULT_SECONDS = 10.0
"""The limit of work outside a call: timers, scripts, the app's own threads."""

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""On the monotonic clock."""


class call_limit:  # noqa: N801 - named for its use in a `with`; a generator would cost every call two microseconds.
    """Limit the work inside to `seconds` from now. An inner limit replaces the outer one, even if it ends later."""

    __slots__ = ("_seconds", "_token")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        self._token: Token[float | None] = _deadline.set(monotonic() + self._seconds)

    def __exit__(self, *_: object) -> None:
        _deadline.reset(self._token)


def deadline() -> float:
    """When the current call must end, on the monotonic clock; without a limit DEFAULT_SECONDS from now."""
    limit = _deadline.get()
    return monotonic() + DEFAULT_SECONDS if limit is None else limit


def seconds_left() -> float:
    """Seconds until the deadline; 0 or less once it has passed."""
    return deadline() - monotonic()
