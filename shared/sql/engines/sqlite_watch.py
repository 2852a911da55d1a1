"""Ends statements of SQLite at their time limits."""

from threading import Event, Lock, Thread
from time import monotonic
from typing import Protocol


class Limited(Protocol):
    """A session whose statement has a time limit."""

    @property
    def deadline(self) -> float:
        """When the running statement reaches its limit, on the monotonic clock."""
        ...

    def interrupt_if_late(self, now: float) -> float:
        """Interrupt the statement if its time is over. Returns when to check again."""
        ...


class Watch:
    """Interrupts statements at their limits from its own thread: one long step never checks a clock."""

    def __init__(self) -> None:
        self._running: dict[int, Limited] = {}
        self._wake = Event()
        self._wakes_at = float("-inf")
        self._lock = Lock()

    def add(self, session: Limited) -> None:
        """Watch a session until it is removed."""
        self._running[id(session)] = session
        if session.deadline < self._wakes_at:
            self._wake.set()
        elif self._wakes_at == float("-inf"):
            self._begin()

    def remove(self, session: Limited) -> None:
        """Stop watching a session."""
        self._running.pop(id(session), None)

    def _begin(self) -> None:
        with self._lock:
            if self._wakes_at == float("-inf"):
                self._wakes_at = float("inf")
                Thread(target=self._run, name="sqlite-watch", daemon=True).start()
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wakes_at = float("inf")  # A session added from now on wakes this thread.
            self._wake.clear()
            now = monotonic()
            earliest = min([each.interrupt_if_late(now) for each in list(self._running.values())], default=float("inf"))
            self._wakes_at = earliest
            self._wake.wait(None if earliest == float("inf") else max(0.0, earliest - now))


WATCH = Watch()
