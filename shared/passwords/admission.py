"""The bounded resource: how much memory hashes may take together, and the few threads that they run on."""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from shared.errors import Busy

if TYPE_CHECKING:
    from mmap import mmap

WAIT_SECONDS = 2.0
RETRY_AFTER_SECONDS = 2

KEPT_KIB = 64 * 1024
"""Memory up to this size is kept for the next hash that needs just as much: fetching it anew takes half its time."""

Result = TypeVar("Result")


class _Job(NamedTuple):
    memory_kib: int
    work: Callable[["mmap"], object]
    mapped: bool
    future: "Future[object]"


class HashingThreads:
    """Runs hashes in memory of a limited size, on one thread a core, in the order in which they come.

    The order is strict, so that a hash that needs much memory is not overtaken for ever by those that need little.
    Memory at work and memory kept for the next hash are within the limit together.
    """

    def __init__(self, memory_mib: int, threads: int | None = None, wait_seconds: float = WAIT_SECONDS) -> None:
        self.memory_kib = memory_mib * 1024
        self._threads = threads or os.cpu_count() or 1
        self._wait_seconds = wait_seconds
        self._free_kib = self.memory_kib
        self._kept: list[mmap] = []
        self._waiting: deque[_Job] = deque()
        self._changed = Condition()
        self._started = False

    def run(self, memory_kib: int, work: Callable[["mmap"], Result], *, mapped: bool = True) -> Result:
        """Call `work` with `memory_kib` of memory (of which there are `self.memory_kib`), and return what it returns.

        Work that finds as much memory by itself says `mapped=False`, and leaves what it is given alone.
        Raises Busy where there is no room for it within the time to wait.
        """
        if memory_kib > self.memory_kib:
            raise ValueError(f"{memory_kib} KiB never fit into {self.memory_kib} KiB.")
        job = _Job(memory_kib, work, mapped, Future())
        with self._changed:
            if not self._started:
                self._start()
            self._waiting.append(job)
            self._changed.notify_all()
        try:
            return cast(Result, job.future.result(self._wait_seconds))
        except TimeoutError:
            if job.future.cancel():  # It has not begun, and now never will.
                with self._changed:
                    self._changed.notify_all()
                raise Busy(
                    "Too many passwords are being hashed at once. Try again later.", retry_after=RETRY_AFTER_SECONDS
                ) from None
        return cast(Result, job.future.result())

    def _start(self) -> None:
        for number in range(self._threads):
            Thread(target=self._serve, name=f"hashing-{number}", daemon=True).start()
        self._started = True

    def _serve(self) -> None:
        while True:
            self._serve_one()  # In a frame of its own, so that nothing of a password stays while the thread waits.

    def _serve_one(self) -> None:
        from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

        with self._changed:
            self._changed.wait_for(self._is_next_fitting)
            job = self._waiting.popleft()
            if not job.future.set_running_or_notify_cancel():
                return
            self._free_kib -= job.memory_kib
            memory = self._take_kept(job.memory_kib, job.mapped)
        result: Any = None
        failure: BaseException | None = None
        try:
            if memory is None:
                memory = mmap(-1, job.memory_kib * 1024, flags=MAP_PRIVATE | MAP_ANONYMOUS)
            result = job.work(memory)
        except BaseException as error:  # noqa: BLE001 - it is raised again, where the result is waited for.
            failure = error
        with self._changed:
            if memory is not None and job.mapped and job.memory_kib <= KEPT_KIB:
                self._kept = [*self._kept, memory][-self._threads :]
            del memory
            self._free_kib += job.memory_kib
            self._changed.notify_all()
        if failure is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(failure)

    def _is_next_fitting(self) -> bool:
        while self._waiting and self._waiting[0].future.cancelled():
            self._waiting.popleft()
        return bool(self._waiting) and self._waiting[0].memory_kib <= self._free_kib

    def _take_kept(self, memory_kib: int, mapped: bool) -> "mmap | None":
        """Kept memory of just this size; where there is none, the oldest is given back until the new fits beside it."""
        for number in reversed(range(len(self._kept))):
            if mapped and len(self._kept[number]) == memory_kib * 1024:
                return self._kept.pop(number)
        while self._kept and sum(map(len, self._kept)) > self._free_kib * 1024:
            self._kept.pop(0).close()
        return None
