"""How long a name, and a password, has to wait after wrong passwords.

NIST SP 800-63B-4, section 3.2.2: at most 100 failures in a row for one account. Until then the waits grow.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

FREE_FAILURES = 5
MAX_WAIT = timedelta(minutes=15)
MAX_FAILURES = 100
LOCKED_RETRY_SECONDS = 3600
MAX_DEVICE_FAILURES = 10
SPRAY_WINDOW = timedelta(hours=1)
MAX_SPRAY_WAIT = timedelta(minutes=1)
CLOCK_SKEW = timedelta(minutes=1)
"""How far the clocks of two instances may differ before a time counts as wrong."""


class Failures(msgspec.Struct, frozen=True):
    """Wrong passwords in a row for one user, or for a name that no user has."""

    count: int
    last: datetime
    until: datetime
    """Before this no password is compared, right or wrong."""

    @property
    def is_locked(self) -> bool:
        """Whether the limit of failures in a row is reached, so that waiting no longer helps."""
        return self.count >= MAX_FAILURES


class Tried(msgspec.Struct, frozen=True):
    """One wrong password, tried for several names within an hour."""

    digest: str
    """A truncated HMAC of the password."""
    names: Mapping[str, datetime]
    """A truncated HMAC of each name, and when the password was last wrong for it."""
    further: int
    """How many failures since there were too many names."""
    until: datetime
    """Before this no one logs in with this password."""


def wait_after(count: int) -> timedelta:
    """How long a name waits after `count` failures in a row: 1 s after the fifth, then twice as long each time."""
    if count < FREE_FAILURES:
        return timedelta(0)
    return min(MAX_WAIT, timedelta(seconds=2 ** min(count - FREE_FAILURES, 20)))


def after_failure(before: Failures | None, now: datetime) -> Failures:
    """The state after one more failure. Nothing that is tried during a wait gets here, so nothing prolongs one."""
    count = 1 if before is None else before.count + 1
    return Failures(count, now, now + wait_after(count))


def corrected(failures: Failures, now: datetime) -> Failures:
    """`failures`, whose wait counts from now if it lies too far ahead: another instance's clock was wrong."""
    wait = wait_after(failures.count)
    if failures.until - now <= wait + CLOCK_SKEW:
        return failures
    return Failures(failures.count, now, now + wait)


def seconds_until(until: datetime, now: datetime) -> int:
    """Whole seconds from `now` until `until`, rounded up; 0 once it is past."""
    return 0 if until <= now else -((now - until) // timedelta(seconds=1))


def after_spray(before: Tried | None, digest: str, name: str, limit: int, now: datetime) -> Tried:
    """The state of a password after it was wrong for `name`. From the `limit`-th name on, each failure costs a wait."""
    if before is None or before.digest != digest:
        before = Tried(digest, {}, 0, now)
    recent = {each: min(moment, now) for each, moment in before.names.items() if now - moment < SPRAY_WINDOW}
    is_sprayed = len(recent) >= limit
    if not is_sprayed:
        # More names than the limit tell nothing more.
        recent |= {name: now}
    if len(recent) < limit:
        return Tried(digest, recent, 0, now)
    further = before.further + 1 if is_sprayed else 1
    wait = min(MAX_SPRAY_WAIT, timedelta(seconds=2 ** min(further - 1, 10)))
    # The hour counts from the last failure, so that a password which is still sprayed keeps waiting.
    return Tried(digest, dict.fromkeys(recent, now), further, now + wait)


def spray_wait(tried: Tried | None, digest: str, now: datetime) -> int:
    """Whole seconds until this password may be tried again, never more than a minute."""
    if tried is None or tried.digest != digest or tried.until - now > MAX_SPRAY_WAIT + CLOCK_SKEW:
        return 0
    return seconds_until(tried.until, now)


def keeps_slot(occupant: Tried | None, digest: str, now: datetime) -> bool:
    """Whether another password, tried for several names within the hour, keeps its row from this one."""
    return (
        occupant is not None
        and occupant.digest != digest
        and len(occupant.names) > 1
        and any(now - moment < SPRAY_WINDOW for moment in occupant.names.values())
    )
