"""How long a user waits after wrong codes, and when a ticket has had too many. Pure.

A code has a million values, so this count prevents guessing. Only a caller who knows the password reaches it.
NIST SP 800-63B-4, section 3.2.2: at most 100 failures in a row.
"""

from datetime import datetime, timedelta

import msgspec

FREE = 5
MAX_WAIT = timedelta(minutes=15)
MAX_COUNT = 100
LOCKED_RETRY_SECONDS = 3600
PER_TICKET = 10
CLOCK_SKEW = timedelta(minutes=1)
"""How far the clocks of two instances may differ before a time counts as wrong."""


class TicketCount(msgspec.Struct, frozen=True):
    """The wrong codes that came with one ticket."""

    count: int
    expires: datetime


class WrongCodes(msgspec.Struct, frozen=True):
    """The wrong codes of one user."""

    count: int = 0
    """In a row, since the last success."""
    until: datetime | None = None
    """Before this, no code is compared, right or wrong."""
    tickets: dict[str, TicketCount] = {}
    """By the id of the ticket."""


def wait_after(count: int) -> timedelta:
    """How long a user waits after `count` wrong codes in a row: 1 s after the fifth, then twice as long each time."""
    if count < FREE:
        return timedelta(0)
    return min(MAX_WAIT, timedelta(seconds=2 ** min(count - FREE, 20)))


def retry_after(codes: WrongCodes, now: datetime) -> int:
    """Whole seconds until a code is compared again, rounded up; 0 if one is compared now."""
    if codes.count >= MAX_COUNT:
        return LOCKED_RETRY_SECONDS
    # A time too far ahead was written by an instance whose clock was wrong.
    if codes.until is None or codes.until <= now or codes.until - now > wait_after(codes.count) + CLOCK_SKEW:
        return 0
    return -((now - codes.until) // timedelta(seconds=1))


def has_ended(codes: WrongCodes, ticket_id: str) -> bool:
    """Whether ten wrong codes came with the ticket."""
    return ticket_id in codes.tickets and codes.tickets[ticket_id].count >= PER_TICKET


def after_wrong(codes: WrongCodes, ticket_id: str, expires: datetime, now: datetime) -> WrongCodes:
    """The state after one more wrong code. During a wait no code is compared, so nothing prolongs a wait."""
    tickets = _unexpired(codes, now)
    before = tickets[ticket_id].count if ticket_id in tickets else 0
    count = codes.count + 1
    return WrongCodes(count, now + wait_after(count), tickets | {ticket_id: TicketCount(before + 1, expires)})


def after_success(codes: WrongCodes, now: datetime) -> WrongCodes:
    """The state after a right code: the count is clear, and ended tickets stay ended."""
    return WrongCodes(tickets=_unexpired(codes, now))


def _unexpired(codes: WrongCodes, now: datetime) -> dict[str, TicketCount]:
    return {ticket_id: each for ticket_id, each in codes.tickets.items() if now < each.expires}
