"""Batches: results in order, and what an error of one item means for the others."""

import logging

import msgspec
import pytest

from shared.errors import InvalidRequest, StorageUnavailable, UnknownUser
from shared.web import Fields
from shared.web.batch import Reference, check_alone, respond_batch, respond_together


class NumberItem(Fields, frozen=True):
    """An item of the batches here."""

    number: int
    text: str
    note: str | None = None


class NumberRequest(NumberItem, frozen=True):
    """A call with one item, or a batch."""

    number: int | None = None  # type: ignore[assignment]
    text: str | None = None  # type: ignore[assignment]


def items(*numbers: object) -> list[object]:
    """Items with these numbers."""
    return [{"number": number, "text": "x"} for number in numbers]


def test_an_unexpected_error_is_a_problem_of_its_item(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that is not ours makes its item a 500 without details; the others succeed, and the log has it."""
    with caplog.at_level(logging.ERROR):
        results = respond_batch(items(2, 0, 4), NumberItem, lambda item: 8 // item.number).results
    assert (results[0], results[2]) == (4, 2)
    assert (results[1]["status"], results[1]["code"]) == (500, "internal-error")
    assert "zero" not in str(results[1])
    assert "ZeroDivisionError" in caplog.text


def test_a_failing_service_fails_the_batch() -> None:
    """If a backing service is down, the whole call fails, so that it can be repeated."""

    def respond(item: NumberItem) -> int:
        if item.number == 3:
            raise StorageUnavailable("down")
        return item.number

    with pytest.raises(StorageUnavailable):
        respond_batch(items(1, "x", 3, 4), NumberItem, respond)


def test_items_handled_together_keep_their_order() -> None:
    """Only valid items are handled together; each result and each problem is where its item was."""
    handled: list[list[int]] = []

    def respond(numbers: list[int]) -> list[object]:
        handled.append(numbers)
        return [UnknownUser("No such number.") if number == 2 else number * 10 for number in numbers]

    results = respond_together(items(1, "x", 2, None, 3), NumberItem, lambda item: item.number, respond).results
    assert handled == [[1, 2, 3]]
    assert [each["status"] if isinstance(each, dict) else each for each in results] == [10, 400, 404, 400, 30]
    assert respond_together([None], NumberItem, lambda item: item.number, respond).results[0]["status"] == 400
    assert len(handled) == 1


def test_a_call_without_a_batch_needs_the_fields_of_an_item() -> None:
    """Each required field of an item that is missing beside no batch is named."""
    check_alone(NumberRequest(number=1, text="x"), NumberItem)
    with pytest.raises(InvalidRequest) as raised:
        check_alone(NumberRequest(), NumberItem)
    assert [each.field for each in raised.value.errors] == ["number", "text"]


class ReferencedItem(NumberItem, frozen=True):
    """An item with a reference."""

    reference: Reference | msgspec.UnsetType = msgspec.UNSET


class Doubled(msgspec.Struct, frozen=True):
    """The result of an item."""

    number: int
    reference: str | msgspec.UnsetType = msgspec.UNSET


def test_a_reference_comes_back_with_the_result_or_the_problem() -> None:
    """The reference of an item is in its result, and in its problem if it is valid itself."""
    batch = [
        {"number": 1, "text": "x", "reference": "one"},
        {"number": 2, "text": "x"},
        {"number": "3", "text": "x", "reference": "three"},
        {"number": 4, "text": "x", "reference": 4},
        {"number": 5, "text": "x", "reference": "5" * 257},
    ]
    results = respond_batch(batch, ReferencedItem, lambda item: Doubled(item.number * 2)).results
    assert results[:2] == [Doubled(2, "one"), Doubled(4)]
    assert [each.get("reference") for each in results[2:]] == ["three", None, None]
