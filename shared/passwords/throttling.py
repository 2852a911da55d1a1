"""How long a name has to wait after passwords that were wrong."""

from datetime import datetime, timedelta

import msgspec

FREE_FAILURES = 5
MAX_WAIT = timedelta(minutes=15)
FORGOTTEN_AFTER = timedelta(hours=24)


class Failures(msgspec.Struct, frozen=True):
    """Wrong passwords in a row for one name, whether or not there is such a user."""

    count: int
    last: datetime
    until: datetime
    """Before this no password is looked at, right or wrong."""


def wait_after(count: int) -> timedelta:
    """How long the name waits after `count` failures in a row: 1 s after the fifth, then twice as long each time."""
    if count < FREE_FAILURES:
        return timedelta(0)
    return min(MAX_WAIT, timedelta(seconds=2 ** min(count - FREE_FAILURES, 20)))


def after_failure(before: Failures | None, now: datetime) -> Failures:
    """The state after one more failure. Nothing that is tried during a wait gets here, so nothing prolongs one."""
    count = 1 if before is None or before.last + FORGOTTEN_AFTER <= now else before.count + 1
    return Failures(count, now, now + wait_after(count))


def seconds_to_wait(failures: Failures | None, now: datetime) -> int:
    """Whole seconds until the next password may be tried; 0 where it may be now."""
    if failures is None or failures.until <= now:
        return 0
    # Never more than the longest wait, even where another instance's clock is ahead of ours.
    left = min(failures.until - now, MAX_WAIT)
    return -(-left // timedelta(seconds=1))
