"""What a benchmark measures, how two things are timed fairly, and how it is printed."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True)
class Figure:
    """One measured thing beside what it is compared with. `aim` says what we hold ourselves to."""

    what: str
    ours: float
    against: str
    theirs: float
    unit: str
    aim: str = ""

    def __str__(self) -> str:
        ratio = self.ours / self.theirs if self.theirs else float("nan")
        aim = f"  (aim: {self.aim})" if self.aim else ""
        return (
            f"{self.what}: {self.ours:.4g} {self.unit}, {self.against}: {self.theirs:.4g} {self.unit}, "
            f"ratio {ratio:.2f}{aim}"
        )


def in_turns(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int,
    calls: int,
    clock: Callable[[], float] = perf_counter,
) -> tuple[float, float]:
    """The median seconds of one call of each, timed in turns, so that a machine that slows down slows both.

    With `time.process_time` as the clock, these are seconds of processor time, of all threads of this process.
    """
    ours(), theirs()
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, times in zip((ours, theirs), taken, strict=True):
            started = clock()
            for _ in range(calls):
                call()
            times.append((clock() - started) / calls)
    return statistics.median(taken[0]), statistics.median(taken[1])
