"""The bounded resource: the memory that hashes may take together, and the few threads that they run on."""

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
    for_user: bool
    future: "Future[object]"


class HashingThreads:
    """Runs hashes in memory of a limited size, on one thread more than there are cores, first come first served.

    The order is strict, so that a hash that needs much memory is not overtaken for ever by those that need little.
    Memory at work and memory kept for the next hash are within the limit together.

    Logins of users always get their turn: the first thread, and the memory `reserved_kib`, are for them alone. Hashes
    that a caller sends along take the rest.
    """

    def __init__(
        self,
        memory_mib: int,
        threads: int | None = None,
        wait_seconds: float = WAIT_SECONDS,
        reserved_kib: int = 0,
    ) -> None:
        self.memory_kib = memory_mib * 1024
        self._reserved_kib = reserved_kib
        self._threads = max(2, threads or 1 + (os.cpu_count() or 1))
        self._wait_seconds = wait_seconds
        self._free_kib = self.memory_kib
        self._kept: list[mmap] = []
        self._waiting: deque[_Job] = deque()
        self._changed = Condition()
        self._started = False

    def run(
        self, memory_kib: int, work: Callable[["mmap"], Result], *, mapped: bool = True, for_user: bool = True
    ) -> Result:
        """Call `work` with `memory_kib` of memory (at most `self.memory_kib`), and return its result.

        Work that allocates as much memory by itself passes `mapped=False`, and does not touch the memory it gets.
        Raises Busy if there is no room for it within the time to wait.
        """
        if memory_kib > self.memory_kib:
            raise ValueError(f"{memory_kib} KiB never fit into {self.memory_kib} KiB.")
        job = _Job(memory_kib, work, mapped, for_user, Future())
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
                    if job in self._waiting:
                        self._waiting.remove(job)
                    self._changed.notify_all()
                raise Busy(
                    "Too many passwords are being hashed at once. Try again after the seconds in Retry-After.",
                    retry_after=RETRY_AFTER_SECONDS,
                ) from None
        return cast(Result, job.future.result())

    def _start(self) -> None:
        for number in range(self._threads):
            for_users = number == 0
            Thread(target=self._serve, args=(for_users,), name=f"hashing-{number}", daemon=True).start()
        self._started = True

    def _serve(self, for_users: bool) -> None:
        while True:
            self._serve_one(for_users)  # In a frame of its own, so that no password remains while the thread waits.

    def _serve_one(self, for_users: bool) -> None:
        from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap

        with self._changed:
            self._changed.wait_for(lambda: self._next(for_users) is not None)
            job = self._next(for_users)
            if job is None:
                return
            self._waiting.remove(job)
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
        except BaseException as error:  # noqa: BLE001 - the caller, who waits for the result, raises it again.
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

    def _next(self, for_users: bool) -> _Job | None:
        """The job that a thread may start now: the first one, unless it is not for this thread, or does not fit yet."""
        overtakes = False
        for job in self._waiting:
            if job.future.cancelled():
                continue
            if job.for_user:
                return job if job.memory_kib <= self._free_kib else None
            if for_users or overtakes:
                continue
            if self._fits_beside_users(job):
                return job
            overtakes = True  # A job of a user may start before it; another caller's hash may not.
        return None

    def _fits_beside_users(self, job: _Job) -> bool:
        is_idle = self._free_kib == self.memory_kib
        return job.memory_kib <= self._free_kib - (0 if is_idle else self._reserved_kib)

    def _take_kept(self, memory_kib: int, mapped: bool) -> "mmap | None":
        """Kept memory of just this size. If there is none, the oldest is unmapped until the new one fits beside it."""
        for number in reversed(range(len(self._kept))):
            if mapped and len(self._kept[number]) == memory_kib * 1024:
                return self._kept.pop(number)
        while self._kept and sum(map(len, self._kept)) > self._free_kib * 1024:
            self._kept.pop(0).close()
        return None
