"""When a request to storage is repeated, and what became of a write whose response was lost. Needs no server."""

from collections.abc import Callable

import pytest

from shared.deadline import call_limit
from shared.storage import RETRIES, RowConflict, WriteUnconfirmed
from shared.storage.errors import TemporaryFailure
from shared.storage.requests import confirmed_write, retry


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat at once."""
    monkeypatch.setattr("shared.storage.requests.PAUSE_SECONDS", (0.0, 0.0))


def failure(*, was_sent: bool = True, responded: bool = False) -> TemporaryFailure:
    """A failure of storage."""
    error = TemporaryFailure("Table Storage does not respond.")
    error.was_sent, error.responded = was_sent, responded
    return error


class Attempts:
    """Fails with each of `errors`, then returns "done"."""

    def __init__(self, *errors: Exception) -> None:
        self.count = 0
        self._errors = list(errors)

    def __call__(self) -> str:
        """One attempt."""
        self.count += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


def not_done() -> str | None:
    """Nothing is stored."""
    return None


def test_a_temporary_failure_is_repeated() -> None:
    """The request is sent again, up to RETRIES times."""
    attempts = Attempts(*[failure()] * RETRIES)
    assert retry(attempts) == "done"
    attempts = Attempts(*[failure()] * (RETRIES + 1))
    with pytest.raises(TemporaryFailure):
        retry(attempts)
    assert attempts.count == RETRIES + 1


def test_other_errors_are_not_repeated() -> None:
    """A conflict is a result, and not a failure."""
    attempts = Attempts(RowConflict(""))
    with pytest.raises(RowConflict):
        retry(attempts)
    assert attempts.count == 1


def test_nothing_is_repeated_after_the_deadline() -> None:
    """A call whose time is over does not wait for another attempt."""
    attempts = Attempts(failure(), failure())
    with call_limit(0), pytest.raises(TemporaryFailure):
        retry(attempts)
    assert attempts.count == 1


@pytest.mark.parametrize(
    ("errors", "find_result", "expected", "sent"),
    [
        ([], not_done, "done", 1),
        ([failure()], lambda: "stored", "stored", 1),  # The lost write was carried out.
        ([failure()], not_done, "done", 2),
        ([failure(was_sent=False)], lambda: "of another call", "done", 2),  # It was never sent.
        ([failure(), RowConflict("")], iter([None, "stored"]).__next__, "stored", 2),
        ([failure(), failure(), failure()], iter([None, None, "stored"]).__next__, "stored", 3),
    ],
    ids=["at once", "carried out", "repeated", "not sent", "conflict with itself", "found at the end"],
)
def test_a_lost_response_is_explained(
    errors: list[Exception], find_result: Callable[[], str | None], expected: str, sent: int
) -> None:
    """A write whose response was lost has the result that a read finds, and is repeated only if it has none."""
    attempts = Attempts(*errors)
    assert confirmed_write(attempts, find_result, (RowConflict,)) == expected
    assert attempts.count == sent


def test_a_conflict_with_another_call_remains_one() -> None:
    """Behind a lost response, a conflict that is not with the write itself is reported as one."""
    with pytest.raises(RowConflict):
        confirmed_write(Attempts(failure(), RowConflict("")), not_done, (RowConflict,))


def test_a_write_that_was_not_made_is_unavailable() -> None:
    """Where storage responded to the last attempt and nothing is stored, the write was not made."""
    with pytest.raises(TemporaryFailure):
        confirmed_write(Attempts(*[failure(responded=True)] * 3), not_done, (RowConflict,))
    with pytest.raises(TemporaryFailure):
        confirmed_write(Attempts(*[failure(was_sent=False)] * 3), not_done, (RowConflict,))


def test_a_write_that_no_read_explains_is_unconfirmed() -> None:
    """Without a response, or without a read, the caller learns that the write may have been made."""

    def unreadable() -> str | None:
        raise failure()

    with pytest.raises(WriteUnconfirmed):
        confirmed_write(Attempts(*[failure()] * 3), not_done, (RowConflict,))
    with pytest.raises(WriteUnconfirmed):
        confirmed_write(Attempts(failure()), unreadable, (RowConflict,))
