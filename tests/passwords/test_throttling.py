"""How long a name, and a password, must wait after wrong passwords."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.passwords.throttling import (
    CLOCK_SKEW,
    MAX_FAILURES,
    MAX_SPRAY_WAIT,
    MAX_WAIT,
    SPRAY_WINDOW,
    Failures,
    Tried,
    after_failure,
    after_spray,
    corrected,
    keeps_slot,
    seconds_until,
    spray_wait,
    wait_after,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("count", "seconds"),
    [(0, 0), (1, 0), (4, 0), (5, 1), (6, 2), (7, 4), (14, 512), (15, 900), (16, 900), (10**9, 900)],
)
def test_the_wait_doubles_from_the_fifth_failure_to_15_minutes(count: int, seconds: int) -> None:
    """Four failures cost nothing; the fifth costs one second, each further one twice as long, at most 900 s."""
    assert wait_after(count) == timedelta(seconds=seconds)


def test_failures_add_up_to_a_hundred_and_then_lock() -> None:
    """Failures in a row add up, however much time lies between them, and the hundredth locks."""
    failures = None
    moment = NOW
    for count in range(1, MAX_FAILURES + 1):
        failures = after_failure(failures, moment)
        assert failures == Failures(count, moment, moment + wait_after(count))
        assert failures.is_locked == (count == 100)
        moment = failures.until + timedelta(days=3)


def test_a_wait_is_in_whole_seconds() -> None:
    """The remaining wait is rounded up, and 0 once it is over."""
    until = NOW + timedelta(seconds=2)
    for later, seconds in ((0, 2), (0.1, 2), (1, 1), (1.9, 1), (2, 0), (500, 0)):
        assert seconds_until(until, NOW + timedelta(seconds=later)) == seconds


@given(st.integers(1, 10**6), st.timedeltas(timedelta(days=-400), timedelta(days=400)))
def test_no_wait_is_longer_than_15_minutes(count: int, later: timedelta) -> None:
    """Whatever the count, and however wrong an instance's clock, a wait ends within 15 minutes."""
    now = NOW + later
    failures = corrected(Failures(count, NOW, NOW + wait_after(count)), now)
    assert 0 <= seconds_until(failures.until, now) <= (MAX_WAIT + CLOCK_SKEW).total_seconds()
    assert failures.count == count


def test_a_wait_of_a_clock_ahead_counts_from_now() -> None:
    """A wait written by a clock a day ahead counts from now; one within the skew stays unchanged."""
    ahead = Failures(7, NOW + timedelta(days=1), NOW + timedelta(days=1, seconds=4))
    assert corrected(ahead, NOW) == Failures(7, NOW, NOW + timedelta(seconds=4))
    near = Failures(7, NOW + CLOCK_SKEW, NOW + CLOCK_SKEW + timedelta(seconds=4))
    assert corrected(near, NOW) is near


def spray(names: int, limit: int, start: Tried | None = None) -> Tried:
    """Return the state of a password after failures for this many names."""
    tried = start
    for number in range(names):
        tried = after_spray(tried, "digest", f"name-{number}", limit, NOW)
    assert tried is not None
    return tried


def test_a_password_waits_from_the_hundredth_name_on() -> None:
    """After 99 names a password does not wait; the hundredth costs 1 s, then each failure twice as long, up to 60 s."""
    assert spray_wait(spray(99, 100), "digest", NOW) == 0
    tried = spray(100, 100)
    waits = [spray_wait(tried, "digest", NOW)]
    for number in range(8):
        tried = after_spray(tried, "digest", f"name-{number}", 100, NOW)
        waits.append(spray_wait(tried, "digest", NOW))
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert spray_wait(tried, "another", NOW) == 0


def test_the_same_name_counts_once() -> None:
    """Repeating the same wrong password for one name counts as one name."""
    tried = None
    for _ in range(200):
        tried = after_spray(tried, "digest", "name", 100, NOW)
    assert spray_wait(tried, "digest", NOW) == 0


def test_names_count_for_an_hour() -> None:
    """Names older than an hour do not count."""
    early = spray(99, 100)
    late = after_spray(early, "digest", "one more", 100, NOW + SPRAY_WINDOW)
    assert late.names == {"one more": NOW + SPRAY_WINDOW}
    in_time = after_spray(early, "digest", "one more", 100, NOW + SPRAY_WINDOW - timedelta(seconds=1))
    assert len(in_time.names) == 100


def test_a_spray_wait_of_a_clock_ahead_is_ignored() -> None:
    """A wait written by a clock a day ahead does not block a password for a day."""
    ahead = Tried("digest", {"a": NOW}, 3, NOW + timedelta(days=1))
    assert spray_wait(ahead, "digest", NOW) == 0
    assert spray_wait(Tried("digest", {"a": NOW}, 3, NOW + MAX_SPRAY_WAIT), "digest", NOW) == 60


def test_a_sprayed_password_keeps_its_row() -> None:
    """Another password takes over the row only if the row is old or its password was tried for a single name."""
    assert not keeps_slot(None, "other", NOW)
    assert not keeps_slot(spray(1, 100), "other", NOW)
    assert keeps_slot(spray(2, 100), "other", NOW)
    assert not keeps_slot(spray(2, 100), "digest", NOW)
    assert not keeps_slot(spray(2, 100), "other", NOW + HOUR)
    assert after_spray(spray(1, 100), "other", "name", 100, NOW).names == {"name": NOW}
