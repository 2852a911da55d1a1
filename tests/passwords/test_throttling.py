"""How long a name has to wait after wrong passwords."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.passwords.throttling import FORGOTTEN_AFTER, MAX_WAIT, Failures, after_failure, seconds_to_wait, wait_after

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "seconds"),
    [(0, 0), (1, 0), (4, 0), (5, 1), (6, 2), (7, 4), (14, 512), (15, 900), (16, 900), (10**9, 900)],
)
def test_the_wait_doubles_from_the_fifth_failure_to_15_minutes(count: int, seconds: int) -> None:
    """Four failures are free; the fifth makes the name wait a second, each further one twice as long, at most 900 s."""
    assert wait_after(count) == timedelta(seconds=seconds)


def test_failures_add_up_and_are_forgotten() -> None:
    """Failures in a row count together, until a day has passed without one."""
    failures = None
    moment = NOW
    for count in range(1, 20):
        failures = after_failure(failures, moment)
        assert failures == Failures(count, moment, moment + wait_after(count))
        moment = failures.until
    assert failures is not None
    assert after_failure(failures, failures.last + FORGOTTEN_AFTER).count == 1
    assert after_failure(failures, failures.last + FORGOTTEN_AFTER - timedelta(seconds=1)).count == 20


def test_the_wait_is_told_in_whole_seconds() -> None:
    """What is left of a wait is told, rounded up, and 0 once it is over."""
    failures = Failures(6, NOW, NOW + timedelta(seconds=2))
    for later, seconds in ((0, 2), (0.1, 2), (1, 1), (1.9, 1), (2, 0), (500, 0)):
        assert seconds_to_wait(failures, NOW + timedelta(seconds=later)) == seconds
    assert seconds_to_wait(None, NOW) == 0


@given(st.integers(1, 10**6), st.timedeltas(timedelta(days=-400), timedelta(days=400)))
def test_no_wait_is_longer_than_15_minutes(count: int, later: timedelta) -> None:
    """Whatever the count, and however wrong an instance's clock is, a wait is told as 900 s at most."""
    failures = Failures(count, NOW, NOW + wait_after(count))
    assert 0 <= seconds_to_wait(failures, NOW + later) <= MAX_WAIT.total_seconds()
