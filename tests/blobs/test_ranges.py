"""Range and ETag headers."""

import pytest

from shared.blobs.ranges import ByteRange, is_simple, matches, parse_range


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("bytes=0-4", ByteRange(0, 4)),
        ("bytes=5-", ByteRange(5)),
        ("bytes=-3", ByteRange(suffix=3)),
        ("bytes=-0", ByteRange(suffix=0)),
        ("bytes= 0 - 4 ", ByteRange(0, 4)),
        ("bytes=4-0", None),
        ("bytes=0-1,3-4", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=٣-٤", None),
        ("lines=0-4", None),
        ("bytes=0-" + "9" * 30, None),
        ("", None),
        (None, None),
    ],
)
def test_one_range_of_bytes_is_understood(header: str | None, meant: ByteRange | None) -> None:
    """One range in bytes is understood in its three forms; anything else counts for nothing (RFC 9110, 14.2)."""
    assert parse_range(header) == meant


@pytest.mark.parametrize(
    ("header", "strong", "weak"),
    [
        ("*", True, True),
        ('"a"', True, True),
        ('W/"a"', False, True),
        ('"b"', False, False),
        ('"b", "a"', True, True),
        ('"b", W/"a"', False, True),
        ('"a,b"', False, False),
        ("a", False, False),
        ("", False, False),
    ],
)
def test_etags_are_compared(header: str, strong: bool, weak: bool) -> None:
    """If-Match compares strongly, If-None-Match weakly, with any of a list (RFC 9110, section 8.8.3.2)."""
    assert matches('"a"', header, weak=False) is strong
    assert matches('"a"', header, weak=True) is weak


@pytest.mark.parametrize(
    ("header", "simple"),
    [
        (None, True),
        ("*", True),
        ('"a"', True),
        (' "a" ', True),
        ('W/"a"', False),
        ('"a","b"', False),
        ("a", False),
        ('"é"', False),
    ],
)
def test_what_storage_understands_is_told_apart(header: str | None, simple: bool) -> None:
    """One strong ETag or a star goes to the service as it is; it understands nothing else."""
    assert is_simple(header) is simple
