"""Bounds the bytes that all calls in progress hold in memory: beyond the bound, a call gets 429.

Bytes that pass through a function cost about nine times their size in memory, in the host and the worker together.
`web.respond` opens a call's account and books the request's body; a handler books the large buffers that it is about to
fill. It lives below everything else, so that every layer can use it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock

from shared.errors import Busy

COST = 9
"""Bytes of memory for each byte in flight."""
BASE_BYTES = 512 * 1024**2
"""What the host and the worker take without calls."""
MINIMUM_BYTES = 16 * 1024**2
SMALL_BYTES = 64 * 1024
"""Buffers up to this size are not worth the booking."""

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

_account: ContextVar[list[int] | None] = ContextVar("account", default=None)


def memory_bytes() -> int:
    """The memory of this instance: the cgroup's limit, or the machine's memory if that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUP_LIMITS:
        try:
            with open(path) as file:  # noqa: PTH123 - pathlib takes 2 ms to load.
                text = file.read().strip()
        except OSError:
            continue
        if text.isdigit():
            memory = min(memory, int(text))
    return memory


class Inflight:
    """The bytes of all calls in progress, at most `limit`. Safe to use from many threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = Lock()
        self._total = 0

    @contextmanager
    def call(self, size: int) -> Iterator[None]:
        """The account of one call, with `size` bytes booked. Raises Busy if there is no room for them."""
        account = [0]
        token = _account.set(account)
        try:
            self._book(account, size)
            yield
        finally:
            _account.reset(token)
            with self._lock:
                self._total -= account[0]

    def book(self, size: int) -> None:
        """Book `size` bytes more for the present call, until it ends. Raises Busy if there is no room for them."""
        account = _account.get()
        if account is not None:
            self._book(account, size)

    def _book(self, account: list[int], size: int) -> None:
        if size <= SMALL_BYTES:
            return
        with self._lock:
            # One call alone always has room: its own limits bound it.
            if self._total > account[0] and self._total + size > self.limit:
                raise Busy("Other calls hold too many bytes in memory. Try again, or send less at once.")
            account[0] += size
            self._total += size


inflight = Inflight(max(MINIMUM_BYTES, (memory_bytes() - BASE_BYTES) // COST))
"""Of this process. A handler calls `inflight.book(size)` before it fills a large buffer."""
