"""Conditional requests and ranges, as RFC 9110 defines them. Needs no server."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.blobs.conditions import (
    ByteRange,
    Conditions,
    State,
    evaluate,
    parse_date,
    parse_range,
    range_applies,
    resolve_range,
)
from shared.blobs.downloads import Delivery, Plan, plan
from shared.blobs.errors import BlobTooLarge
from shared.errors import PreconditionFailed
from shared.storage.errors import RangeNotSatisfiable


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-4", ByteRange(0, 4)),
        ("bytes=5-", ByteRange(5)),
        ("bytes=-3", ByteRange(suffix=3)),
        ("bytes=-0", ByteRange(suffix=0)),
        ("bytes= 0 - 4 ", ByteRange(0, 4)),
        ("Bytes=0-4", ByteRange(0, 4)),
        ("bytes=-00", ByteRange(suffix=0)),
        ("bytes=4-0", None),
        ("bytes=0-1,3-4", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=٣-٤", None),
        ("lines=0-4", None),
        ("bytes=0-" + "9" * 30, None),
        ("bytes=" + "9" * 30 + "-", None),
        ("bytes=-" + "9" * 5000, None),
        ("", None),
        (None, None),
    ],
)
def test_one_range_of_bytes_is_understood(header: str | None, expected: ByteRange | None) -> None:
    """One range in bytes is parsed in its three forms; any other header is ignored (RFC 9110, section 14.2)."""
    assert parse_range(header) == expected


AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BEFORE, THEN, LATER = (f"Fri, 02 Jan 2026 03:04:{second:02} GMT" for second in (4, 5, 6))
STATE = State('"a"', AT, 20)
SMALL = Delivery(most=10)


@pytest.mark.parametrize(
    ("conditions", "reading", "writing"),
    [
        (Conditions(), "proceed", "proceed"),
        (Conditions(if_match='"a"'), "proceed", "proceed"),
        (Conditions(if_match='"b", "a"'), "proceed", "proceed"),
        (Conditions(if_match="*"), "proceed", "proceed"),
        (Conditions(if_match='W/"a"'), 412, 412),
        (Conditions(if_match='"b"'), 412, 412),
        (Conditions(if_match=""), 412, 412),
        (Conditions(if_none_match='"a"'), "not-modified", 412),
        (Conditions(if_none_match='"b", W/"a"'), "not-modified", 412),
        (Conditions(if_none_match="*"), "not-modified", 412),
        (Conditions(if_none_match='"b"'), "proceed", "proceed"),
        (Conditions(if_modified_since=THEN), "not-modified", "proceed"),
        (Conditions(if_modified_since=BEFORE), "proceed", "proceed"),
        (Conditions(if_modified_since=THEN, if_none_match='"b"'), "proceed", "proceed"),
        (Conditions(if_unmodified_since=THEN), "proceed", "proceed"),
        (Conditions(if_unmodified_since=LATER), "proceed", "proceed"),
        (Conditions(if_unmodified_since=BEFORE), 412, 412),
        (Conditions(if_unmodified_since=BEFORE, if_match='"a"'), "proceed", "proceed"),
        (Conditions(if_unmodified_since="yesterday"), "proceed", "proceed"),
        (Conditions(if_modified_since="Fri, 02 Jan 99999 03:04:05 GMT"), "proceed", "proceed"),
        (Conditions(if_unmodified_since="Fri, 02 Jan 2026 03:04:05 +9999"), "proceed", "proceed"),
    ],
)
def test_conditions_are_evaluated_in_order(conditions: Conditions, reading: str | int, writing: str | int) -> None:
    """Each condition has the outcome of RFC 9110, section 13.2.2, and takes precedence as defined there."""
    for expected, is_reading in ((reading, True), (writing, False)):
        if expected == 412:
            with pytest.raises(PreconditionFailed):
                evaluate(conditions, STATE, reading=is_reading)
        else:
            assert evaluate(conditions, STATE, reading=is_reading) == expected


@given(st.text(max_size=40))
def test_any_text_is_a_date_or_none(text: str) -> None:
    """No text in a Date header causes a failure: a date that Python cannot represent is ignored."""
    moment = parse_date(text)
    assert moment is None or moment.tzinfo is not None


@pytest.mark.parametrize("text", ["Fri, 31 Dec 9999 23:59:59 -2359", "Mon, 32 Jan 2026 00:00:00 GMT", "1", "\x00"])
def test_extreme_dates_are_none(text: str) -> None:
    """Dates that overflow are ignored."""
    assert parse_date(text) is None


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [(None, True), ('"a"', True), ('"b"', False), ('W/"a"', False), (THEN, True), (LATER, False), ("x", False)],
)
def test_if_range_needs_this_very_state(if_range: str | None, applies: bool) -> None:
    """A Range applies only if If-Range has the strong ETag or the exact date (section 13.1.5)."""
    assert range_applies(if_range, STATE) is applies


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("bytes=0-4", 20, (0, 4)),
        ("bytes=15-99", 20, (15, 19)),
        ("bytes=5-", 20, (5, 19)),
        ("bytes=-3", 20, (17, 19)),
        ("bytes=-99", 20, (0, 19)),
        ("bytes=20-", 20, None),
        ("bytes=-0", 20, None),
        ("bytes=0-", 0, None),
        ("bytes=-1", 0, None),
    ],
)
def test_ranges_are_resolved(header: str, size: int, expected: tuple[int, int] | None) -> None:
    """A range becomes its first and last byte; a range without a byte is 416 with the size."""
    wanted = parse_range(header)
    assert wanted is not None
    if expected is not None:
        assert resolve_range(wanted, size) == expected
        return
    with pytest.raises(RangeNotSatisfiable) as raised:
        resolve_range(wanted, size)
    assert raised.value.headers == {"content-range": f"bytes */{size}"}


@pytest.mark.parametrize(
    ("conditions", "header", "expected"),
    [
        (Conditions(), None, Plan("redirect", 0, 19)),
        (Conditions(), "bytes=0-9", Plan("part", 0, 9)),
        (Conditions(), "bytes=0-10", Plan("redirect", 0, 10)),
        (Conditions(if_match='"a"'), "bytes=0-", Plan("redirect", 0, 19)),
        # Storage would ignore these conditions after a redirect:
        (Conditions(), "bytes=-15", Plan("part", 5, 14)),
        (Conditions(if_range='"a"'), "bytes=5-", Plan("part", 5, 14)),
        (Conditions(if_range=THEN), "bytes=0-4", Plan("part", 0, 4)),
        (Conditions(if_match='"b", "a"'), "bytes=5-", Plan("part", 5, 14)),
        (Conditions(if_none_match='"a"'), None, Plan("not-modified")),
        (Conditions(if_none_match='"b", "a"'), "bytes=5-", Plan("not-modified")),
        (Conditions(if_range='"b"'), "bytes=5-", 412),
        (Conditions(if_match='"b"'), None, 412),
        (Conditions(if_match='"a", "b"'), None, 422),
        (Conditions(if_none_match='W/"b"'), None, 422),
        (Conditions(if_unmodified_since=THEN), None, Plan("redirect", 0, 19)),
    ],
)
def test_a_redirect_is_only_for_what_storage_understands(
    conditions: Conditions, header: str | None, expected: Plan | int
) -> None:
    """A client repeats its headers at the new location, so no redirect has headers that storage reads differently."""
    if expected == 412:
        with pytest.raises(PreconditionFailed):
            plan(conditions, header, STATE, SMALL)
    elif expected == 422:
        with pytest.raises(BlobTooLarge):
            plan(conditions, header, STATE, SMALL)
    else:
        assert plan(conditions, header, STATE, SMALL) == expected


@given(
    st.builds(
        Conditions,
        if_match=st.sampled_from([None, '"a"', "*", '"a", "b"']),
        if_range=st.sampled_from([None, '"a"', '"b"', THEN, "x"]),
    ),
    st.sampled_from([None, "bytes=0-", "bytes=3-7", "bytes=-4", "bytes=-18", "bytes=0-19", "bytes=1-1"]),
    st.integers(1, 30),
    st.booleans(),
)
def test_no_plan_mixes_states_or_exceeds_the_limit(
    conditions: Conditions, header: str | None, most: int, private: bool
) -> None:
    """A plan passes at most `most` bytes, all of them in the requested range, and If-Range never redirects."""
    try:
        chosen = plan(conditions, header, STATE, Delivery(most=most, private=private))
    except (PreconditionFailed, BlobTooLarge):
        return
    if chosen.kind == "redirect":
        assert not private
        assert conditions.if_range is None or header is None
        assert conditions.is_simple or header is None
        return
    assert chosen.length <= most
    assert 0 <= chosen.first <= chosen.last < STATE.size
    if chosen.kind == "part":
        wanted = parse_range(header)
        assert wanted is not None
        first, last = resolve_range(wanted, STATE.size)
        assert chosen.first == first
        assert chosen.last <= last
        assert conditions.if_range in (None, '"a"', THEN)


@pytest.mark.parametrize(
    ("conditions", "simple"),
    [
        (Conditions(), True),
        (Conditions(if_match='"a"'), True),
        (Conditions(if_match='"a"', if_unmodified_since="Sun, 22 Nov 2026 12:00:00 GMT"), True),
        (Conditions(if_none_match='"a"', if_modified_since="Sun, 22 Nov 2026 12:00:00 GMT"), True),
        (Conditions(if_match='"a"', if_none_match='"b"'), False),
        (Conditions(if_none_match='"a"', if_unmodified_since="Sun, 22 Nov 2026 12:00:00 GMT"), False),
        (Conditions(if_none_match=" *"), False),
        (Conditions(if_modified_since="yesterday"), False),
        (Conditions(if_unmodified_since="Mon, 01 Jan 99999 00:00:00 GMT"), False),
    ],
)
def test_only_what_storage_evaluates_as_http_does_may_reach_it(conditions: Conditions, simple: bool) -> None:
    """Storage refuses dates that HTTP ignores, and all pairs of conditions except two."""
    assert conditions.is_simple is simple
