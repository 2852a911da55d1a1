"""The bytes in flight: a limit over all calls, which a single call never reaches."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import Busy
from shared.inflight import SMALL_BYTES, Call, Inflight
from shared.memory import instance_memory

MIB = 1024**2


def is_free(inflight: Inflight, size: int) -> bool:
    """Whether two more calls can book `size` bytes together, one MiB of them in the first."""
    with Call(inflight):
        inflight.book(MIB)
        with Call(inflight):
            try:
                inflight.book(size - MIB)
            except Busy:
                return False
    return True


def test_calls_share_the_limit() -> None:
    """A call that does not fit beside the others is refused, and fits once one of them has ended."""
    inflight = Inflight(10 * MIB)
    with Call(inflight):
        inflight.book(6 * MIB)
        with Call(inflight):
            with pytest.raises(Busy):
                inflight.book(5 * MIB)
            inflight.book(4 * MIB)
    assert is_free(inflight, 10 * MIB)
    assert not is_free(inflight, 11 * MIB)


def test_one_call_alone_always_fits() -> None:
    """A call larger than the limit runs while no other call holds bytes, and may book more."""
    inflight = Inflight(MIB)
    with Call(inflight):
        inflight.book(5 * MIB)
        inflight.book(5 * MIB)
        with Call(inflight):
            with pytest.raises(Busy):
                inflight.book(SMALL_BYTES + 1)
            inflight.book(SMALL_BYTES)


def test_a_booking_ends_with_its_call() -> None:
    """The bytes that a handler books are free again after the call, also if the call fails."""
    inflight = Inflight(10 * MIB)

    def fail() -> None:
        with Call(inflight):
            inflight.book(10 * MIB)
            raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            fail()
    assert is_free(inflight, 10 * MIB)


def test_a_refused_booking_books_nothing() -> None:
    """A refused booking changes nothing."""
    inflight = Inflight(10 * MIB)
    with Call(inflight):
        inflight.book(MIB)
        with Call(inflight):
            with pytest.raises(Busy):
                inflight.book(10 * MIB)
            inflight.book(9 * MIB)
    assert is_free(inflight, 10 * MIB)


def test_outside_of_a_call_nothing_is_booked() -> None:
    """Bytes outside a call, as in timers and scripts, are not counted."""
    inflight = Inflight(10 * MIB)
    inflight.book(100 * MIB)
    assert is_free(inflight, 10 * MIB)


def test_threads_keep_the_sum() -> None:
    """After many concurrent calls the sum is zero."""
    inflight = Inflight(8 * MIB)
    gate = threading.Barrier(8)

    def run(_: int) -> None:
        gate.wait(timeout=30)
        for _ in range(200):
            with Call(inflight):
                try:
                    inflight.book(MIB)
                    inflight.book(MIB)
                except Busy:
                    continue

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run, range(8)))
    assert is_free(inflight, 8 * MIB)


def test_the_memory_is_that_of_the_machine_or_less() -> None:
    """The memory of the instance is positive, and never more than the machine has."""
    with open("/proc/meminfo") as file:  # noqa: PTH123 - the module itself reads it this way.
        total = int(file.readline().split()[1]) * 1024
    assert 0 < instance_memory() <= total
