"""Suggests the cost of a password hash for this machine: `python -m scripts.calibrate [milliseconds]`.

The more a hash costs the app, the more each guess costs a thief. Memory costs a thief most, so the suggestion takes as
much memory as fits into the time, with two passes; then as many passes as still fit.
"""

import os
import statistics
import sys
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from time import perf_counter

from scripts.setup import fail
from shared.passwords.argon2 import Parameters
from shared.passwords.costs import LIMITS, MAX_TIME_COST, PROFILES
from shared.passwords.hashing import hash_password
from shared.passwords.settings import load_settings

TARGET_MS = 100.0
ROUNDS = 5


def milliseconds(cost: Parameters, memory: mmap) -> float:
    """The time of one hash, without fetching its memory from the system: the median of a few."""
    taken = []
    for number in range(ROUNDS + 1):
        started = perf_counter()
        hash_password(b"correct horse battery staple", cost, os.urandom(16), memory)
        if number:  # The first one fetches the memory from the system.
            taken.append((perf_counter() - started) * 1000)
    return statistics.median(taken)


def suggest(target_ms: float, limit_kib: int) -> tuple[Parameters, float]:
    """The highest cost below the target (but at least OWASP's), and its time in milliseconds."""
    memory = mmap(-1, limit_kib * 1024, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    best = PROFILES["owasp"]
    best_ms = milliseconds(best, memory)
    limit_kib = min(limit_kib, LIMITS["argon2"] // (best.time_cost + 1))
    while best_ms < target_ms and best.memory_kib < limit_kib:
        # Time grows with memory, but unevenly because of caches, so go step by step.
        grown = best.memory_kib * min(2.0, max(1.05, target_ms / best_ms))
        tried = best._replace(memory_kib=min(limit_kib, int(grown) // 1024 * 1024))
        taken = milliseconds(tried, memory)
        if taken > target_ms or tried == best:
            break
        best, best_ms = tried, taken
    while best.time_cost < min(MAX_TIME_COST, LIMITS["argon2"] // best.memory_kib - 1):
        tried = best._replace(time_cost=best.time_cost + 1)
        taken = milliseconds(tried, memory)
        if taken > target_ms:
            break
        best, best_ms = tried, taken
    return best, best_ms


def main(arguments: list[str]) -> None:
    """Print the times of the profiles, and the suggestion."""
    try:
        target_ms = float(arguments[0]) if arguments else TARGET_MS
    except ValueError:
        target_ms = 0
    if not 1 <= target_ms <= 10_000:
        fail("TARGET_MS must be a number of milliseconds from 1 to 10000, such as: make calibrate TARGET_MS=100")
    settings = load_settings(os.environ)
    # A quarter of the memory, so that four hashes run at once.
    limit_kib = max(PROFILES["owasp"].memory_kib, settings.hash_memory_mib * 1024 // 4)
    for name, profile in PROFILES.items():
        if profile.memory_kib <= settings.hash_memory_mib * 1024:
            memory = mmap(-1, profile.memory_kib * 1024, flags=MAP_PRIVATE | MAP_ANONYMOUS)
            print(f"{name}: {milliseconds(profile, memory):.0f} ms")
    cost, duration_ms = suggest(target_ms, limit_kib)
    print(f"for {target_ms:.0f} ms: {duration_ms:.0f} ms with")
    print(
        f'  "parameters": {{"memory_kib": {cost.memory_kib}, "time_cost": {cost.time_cost}, '
        f'"parallelism": {cost.parallelism}}}'
    )


if __name__ == "__main__":
    main(sys.argv[1:])
