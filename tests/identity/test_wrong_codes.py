"""The count of wrong codes: what is free, how long a user waits, and when a ticket ends."""

from datetime import UTC, datetime, timedelta

from shared.identity.wrong_codes import (
    LOCKED_RETRY_SECONDS,
    WrongCodes,
    after_success,
    after_wrong,
    has_ended,
    retry_after,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXPIRES = NOW + timedelta(minutes=5)


def test_five_are_free_then_the_wait_doubles() -> None:
    """The waits after the wrong codes are 0, 0, 0, 0, 1, 2, 4 … seconds, up to 15 minutes."""
    codes, now, waits = WrongCodes(), NOW, []
    for number in range(20):
        codes = after_wrong(codes, f"ticket {number}", now + timedelta(minutes=5), now)
        waits.append(retry_after(codes, now))
        now += timedelta(seconds=waits[-1])
        assert retry_after(codes, now) == 0
    assert waits == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *[900] * 6]


def test_the_wait_is_rounded_up() -> None:
    """A part of a second counts as a whole one: a caller who waits for `Retry-After` seconds need not wait again."""
    codes = WrongCodes(5, NOW + timedelta(seconds=1))
    assert retry_after(codes, NOW + timedelta(milliseconds=999)) == 1
    assert retry_after(codes, NOW + timedelta(seconds=1)) == 0


def test_a_hundred_lock() -> None:
    """After 100 wrong codes in a row, waiting no longer helps."""
    codes = WrongCodes(99)
    codes = after_wrong(codes, "ticket", EXPIRES, NOW)
    assert retry_after(codes, NOW + timedelta(days=1)) == LOCKED_RETRY_SECONDS


def test_success_clears_the_count() -> None:
    """A success clears the count and the wait, and an ended ticket stays ended until it expires."""
    codes = WrongCodes()
    for _ in range(10):
        codes = after_wrong(codes, "ticket", EXPIRES, NOW)
    codes = after_success(codes, NOW)
    assert (codes.count, retry_after(codes, NOW)) == (0, 0)
    assert has_ended(codes, "ticket")
    assert after_success(codes, EXPIRES).tickets == {}


def test_ten_end_a_ticket() -> None:
    """The tenth wrong code ends its ticket, and no other."""
    codes = WrongCodes()
    for number in range(10):
        assert not has_ended(codes, "a")
        codes = after_wrong(codes, "a", EXPIRES, NOW)
        if number < 9:
            codes = after_wrong(codes, "b", EXPIRES, NOW)
    assert has_ended(codes, "a")
    assert not has_ended(codes, "b")
    assert not has_ended(codes, "c")


def test_a_wrong_clock_locks_nobody() -> None:
    """A wait that an instance with a wrong clock has put far ahead does not count."""
    assert retry_after(WrongCodes(5, NOW + timedelta(days=1)), NOW) == 0
