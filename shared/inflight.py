"""Bounds the bytes that all calls in progress hold in memory: beyond the bound, a call gets 429.

Bytes that pass through a function cost about nine times their size in memory, in the host and the worker together.
`web.respond` opens a call's account and books the request's body; a handler books the large buffers that it is about to
fill. It lives below everything else, so that every layer can use it.
"""

from contextvars import ContextVar, Token
from threading import Lock

from shared.errors import Busy
from shared.memory import instance_memory

COST = 9
"""Bytes of memory for each byte in flight."""
BASE_BYTES = 512 * 1024**2
"""What the host and the worker take without calls."""
MINIMUM_BYTES = 16 * 1024**2
SMALL_BYTES = 64 * 1024
"""Buffers up to this size are not worth the booking."""

_call: ContextVar["Call | None"] = ContextVar("call", default=None)


class Inflight:
    """The bytes of all calls in progress, at most `limit`. Safe to use from many threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = Lock()
        self._total = 0

    def book(self, size: int) -> None:
        """Book `size` bytes more for the present call, until it ends. Raises Busy if there is no room for them."""
        if size <= SMALL_BYTES or (call := _call.get()) is None:
            return
        with self._lock:
            # One call alone always has room: its own limits bound it.
            if self._total > call.booked and self._total + size > self.limit:
                raise Busy("Other calls hold too many bytes in memory. Try again, or send less at once.")
            call.booked += size
            self._total += size

    def release(self, size: int) -> None:
        """Return `size` booked bytes."""
        with self._lock:
            self._total -= size


class Call:
    """A context manager: the account of one call, whose bookings end with it."""

    __slots__ = ("_inflight", "_token", "booked")

    def __init__(self, inflight: Inflight) -> None:
        self._inflight = inflight
        self.booked = 0

    def __enter__(self) -> None:
        self._token: Token[Call | None] = _call.set(self)

    def __exit__(self, *_: object) -> None:
        _call.reset(self._token)
        if self.booked:
            self._inflight.release(self.booked)


inflight = Inflight(max(MINIMUM_BYTES, (instance_memory() - BASE_BYTES) // COST))
"""Of this process. A handler calls `inflight.book(size)` before it fills a large buffer."""
