"""Concurrent hashes: how many run, in which order they start, and how much memory they use."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from mmap import mmap
from pathlib import Path
from threading import Event, Lock, local

import pytest

from shared.errors import Busy
from shared.passwords.admission import HashingThreads

ROOT = Path(__file__).resolve().parent.parent.parent


class Job:
    """A job that records its start, and ends when the test lets it."""

    def __init__(self, name: str, starts: list[str]) -> None:
        self.name, self.starts = name, starts
        self.started, self.may_end = Event(), Event()

    def __call__(self, _memory: mmap) -> str:
        """Run the job."""
        self.starts.append(self.name)
        self.started.set()
        assert self.may_end.wait(30)
        return self.name


@pytest.fixture
def callers() -> "ThreadPoolExecutor":
    """Call from threads, as the host does."""
    return ThreadPoolExecutor(32)


def until(holds: Callable[[], bool]) -> None:
    """Wait until another thread makes the condition true."""
    waiter = Event()
    for _ in range(3000):
        if holds():
            return
        waiter.wait(0.01)
    raise AssertionError


def test_it_returns_what_the_work_returns() -> None:
    """The result of the work, or its exception, reaches the caller."""
    threads = HashingThreads(10)
    assert threads.run(1024, lambda _: "done") == "done"
    with pytest.raises(ZeroDivisionError):
        threads.run(1024, lambda _: 1 // 0)
    assert threads.run(1024, lambda _: "still here") == "still here"


def test_never_more_than_the_memory_at_once(callers: ThreadPoolExecutor) -> None:
    """Concurrent work stays within the memory limit, and every job runs."""
    threads = HashingThreads(10, threads=8, wait_seconds=60)
    lock, now, most = Lock(), 0, 0

    def work(memory: int) -> int:
        nonlocal now, most
        with lock:
            now += memory
            most = max(most, now)
        Event().wait(0.001)
        with lock:
            now -= memory
        return memory

    sizes = [(number * 7919) % 10240 + 1 for number in range(300)]
    done = [callers.submit(threads.run, size, lambda memory: work(len(memory) // 1024)) for size in sizes]
    assert [each.result(60) for each in done] == sizes
    assert most <= 10 * 1024


def test_no_more_at_once_than_threads(callers: ThreadPoolExecutor) -> None:
    """However little memory hashes use, no more of them run than there are threads."""
    threads = HashingThreads(1000, threads=2, wait_seconds=60)
    starts: list[str] = []
    jobs = [Job(str(number), starts) for number in range(5)]
    done = [callers.submit(threads.run, 1, job) for job in jobs]
    until(lambda: len(starts) == 2 and len(threads._waiting) == 3)
    for job in jobs:
        job.may_end.set()
    assert [each.result(30) for each in done] == ["0", "1", "2", "3", "4"]


def test_a_big_one_is_not_overtaken(callers: ThreadPoolExecutor) -> None:
    """A hash that needs much memory starts before a small one that came later, even if the small one would fit."""
    threads = HashingThreads(100, threads=3, wait_seconds=60)
    starts: list[str] = []
    first, big, small = (Job(name, starts) for name in ("first", "big", "small"))
    running: list[Future[str]] = []
    for job, mib in ((first, 60), (big, 60), (small, 10)):
        running.append(callers.submit(threads.run, mib * 1024, job))
        if job is first:
            assert first.started.wait(30)
        else:
            until(lambda: 1 + len(threads._waiting) == len(running))
    assert starts == ["first"]
    first.may_end.set()
    assert big.started.wait(30)
    assert small.started.wait(30)
    assert sorted(starts[1:]) == ["big", "small"]  # Each job records its own start, so the order does not matter.
    big.may_end.set()
    small.may_end.set()
    assert [each.result(30) for each in running] == ["first", "big", "small"]


def test_what_waits_too_long_is_busy_and_never_runs(callers: ThreadPoolExecutor) -> None:
    """A hash that finds no room in time is refused with a retry time, never runs, and blocks no other call."""
    threads = HashingThreads(100, threads=2, wait_seconds=60)
    starts: list[str] = []
    first, late = Job("first", starts), Job("late", starts)
    running = callers.submit(threads.run, 60 * 1024, first)
    assert first.started.wait(30)
    threads._wait_seconds = 0.2
    with pytest.raises(Busy) as busy:
        threads.run(60 * 1024, late)
    threads._wait_seconds = 60
    assert busy.value.retry_after == 2
    assert threads.run(40 * 1024, lambda _: "fits beside") == "fits beside"
    first.may_end.set()
    assert running.result(30) == "first"
    assert threads.run(100 * 1024, lambda _: "all of it") == "all of it"
    assert starts == ["first"]


def test_other_callers_never_take_all_threads(callers: ThreadPoolExecutor) -> None:
    """However many hashes callers submit, one thread and the reserved memory stay free for users' logins."""
    threads = HashingThreads(100, threads=3, wait_seconds=60, reserved_kib=20 * 1024)
    starts: list[str] = []
    sent = [Job(f"sent {number}", starts) for number in range(6)]
    running = [callers.submit(threads.run, 10 * 1024, job, for_user=False) for job in sent]
    until(lambda: len(starts) == 2)
    assert threads.run(20 * 1024, lambda _: "a login") == "a login"
    assert len(starts) == 2
    for job in sent:
        job.may_end.set()
    assert [each.result(30) for each in running] == [job.name for job in sent]


def test_other_callers_leave_the_reserved_memory(callers: ThreadPoolExecutor) -> None:
    """A submitted hash waits if it would use the memory reserved for users."""
    threads = HashingThreads(100, threads=4, wait_seconds=60, reserved_kib=30 * 1024)
    starts: list[str] = []
    first, second = Job("first", starts), Job("second", starts)
    running = [callers.submit(threads.run, 60 * 1024, first, for_user=False)]
    assert first.started.wait(30)
    running.append(callers.submit(threads.run, 20 * 1024, second, for_user=False))
    until(lambda: len(threads._waiting) == 1)
    assert threads.run(40 * 1024, lambda _: "a login") == "a login"
    assert starts == ["first"]
    first.may_end.set()
    second.may_end.set()
    assert [each.result(30) for each in running] == ["first", "second"]


class Patience(HashingThreads):
    """Waits as long as each thread sets in `mine.seconds`."""

    mine = local()

    @property
    def _wait_seconds(self) -> float:
        return float(self.mine.seconds)

    @_wait_seconds.setter
    def _wait_seconds(self, _: float) -> None: ...


def test_one_that_gives_up_lets_the_next_start(callers: ThreadPoolExecutor) -> None:
    """When the big job at the head gives up, the small one behind it starts at once."""
    threads = Patience(100, threads=2)
    starts: list[str] = []
    first, small = Job("first", starts), Job("small", starts)

    def run(seconds: float, mib: int, work: Callable[[mmap], str]) -> str:
        threads.mine.seconds = seconds
        return threads.run(mib * 1024, work)

    running = callers.submit(run, 60, 60, first)
    assert first.started.wait(30)
    big = callers.submit(run, 2, 60, lambda _: "never")
    until(lambda: len(threads._waiting) == 1 or big.done())  # It may have given up already, on a slow machine.
    behind = callers.submit(run, 60, 1, small)
    with pytest.raises(Busy):
        big.result(30)
    assert small.started.wait(30)
    for job in (first, small):
        job.may_end.set()
    assert (running.result(30), behind.result(30)) == ("first", "small")


def test_what_never_fits_is_no_call_to_make() -> None:
    """Work larger than all of the memory raises ValueError at once."""
    with pytest.raises(ValueError, match="never fit"):
        HashingThreads(1).run(1025, lambda _: None)


MEASURE = """
import re, threading
from mmap import mmap
from pathlib import Path
from shared.passwords import hashing
from shared.passwords.admission import HashingThreads

def memory(field):
    return int(re.search(field + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

threads = HashingThreads({mib}, threads=4, wait_seconds=600)
costs = [hashing.Parameters(kib, 1, 1) for kib in {sizes}]
threads.run(64, lambda memory: hashing.hash_password(b"warm", hashing.Parameters(64, 1, 1), bytes(16), memory))
before = memory("VmRSS")

def call(number):
    for round in range({rounds}):
        cost = costs[(number * 31 + round * 17) % len(costs)]
        threads.run(cost.memory_kib, lambda memory: hashing.hash_password(b"password", cost, bytes(16), memory))

callers = [threading.Thread(target=call, args=(number,)) for number in range(64)]
for each in callers: each.start()
for each in callers: each.join()
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell a process's memory so")
@pytest.mark.parametrize(
    ("mib", "sizes", "rounds"),
    [(40, [19456], 4), (128, [19456, 47104, 65536, 1024, 30000, 90000], 3)],
    ids=["one size", "mixed"],
)
def test_64_callers_stay_within_the_memory(mib: int, sizes: list[int], rounds: int) -> None:
    """With 64 concurrent callers the process uses at most the limit plus 10 MiB, for any mix of sizes."""
    script = MEASURE.format(mib=mib, sizes=sizes, rounds=rounds)
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(ran.stdout) <= (mib + 10) * 1024
