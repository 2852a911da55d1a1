"""The figures of the benchmarks: timed in turns with a baseline, and printed as a ratio."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True)
class Figure:
    """A measured value of the app beside its baseline. `aim` is the bound that the project sets itself."""

    name: str
    value: float
    baseline_name: str
    baseline: float
    unit: str
    aim: str = ""

    def __str__(self) -> str:
        ratio = self.value / self.baseline if self.baseline else float("nan")
        aim = f"  (aim: {self.aim})" if self.aim else ""
        return (
            f"{self.name}: {self.value:.4g} {self.unit}, {self.baseline_name}: {self.baseline:.4g} {self.unit}, "
            f"ratio {ratio:.2f}{aim}"
        )


def in_turns(
    call: Callable[[], object],
    baseline: Callable[[], object],
    rounds: int,
    calls: int,
    clock: Callable[[], float] = perf_counter,
) -> tuple[float, float]:
    """The median seconds of one call of each, timed in turns, so that a machine that slows down slows both.

    With `time.process_time` as the clock, these are seconds of processor time, of all threads of this process.
    """
    call(), baseline()
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for each, times in zip((call, baseline), taken, strict=True):
            started = clock()
            for _ in range(calls):
                each()
            times.append((clock() - started) / calls)
    return statistics.median(taken[0]), statistics.median(taken[1])
