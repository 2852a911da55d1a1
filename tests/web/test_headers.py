"""Accept, Accept-Encoding, If-Match and If-None-Match, as RFC 9110 defines them. Needs no server."""

import pytest

from shared.web.headers import accepts, names_etag, qualities


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", False),
        ("gzip, deflate, br, zstd", True),
        ("br;q=0", False),
        ("br; q=0.000", False),
        ("BR;Q=0.1", True),
        ("br;q=x", False),
        ("br;q=0.5, identity", False),
        ("*", False),
        ("brotli", False),
        ("gzip;q=1.0, br ; q=0.2", True),
    ],
)
def test_accept_encoding(header: str, expected: bool) -> None:
    """Only a header that names `br`, with a weight over 0 and not below the plain form's, gets it."""
    assert accepts("br", header) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("text/csv", [("text/csv", 1)]),
        ("TEXT/CSV; charset=utf-8", [("text/csv", 1)]),
        ("text/html;q=0.2, text/csv, */*;q=0.1", [("text/csv", 1), ("text/html", 0.2), ("*/*", 0.1)]),
        ("text/csv;q=2, text/html;q=x, text/plain;q=0", [("text/plain", 0)]),
        ('text/csv;a="x,y";q=0.5', [("text/csv", 0.5)]),
    ],
)
def test_qualities(header: str, expected: list[tuple[str, float]]) -> None:
    """The entries come with the best quality first; an entry whose quality is not a number from 0 to 1 is left out."""
    assert list(qualities(header).items()) == expected


@pytest.mark.parametrize(
    ("header", "strong", "weak"),
    [
        ("*", True, True),
        (" * ", True, True),
        ('"a"', True, True),
        ('W/"a"', False, True),
        ('"b"', False, False),
        ('"b", "a"', True, True),
        ('"b",W/"a"', False, True),
        ('"aa"', False, False),
        ('"a,b"', False, False),
        ('"b", *', False, False),
        ("a", True, True),
        ("b", False, False),
        ("", False, False),
    ],
)
def test_etags_are_compared(header: str, strong: bool, weak: bool) -> None:
    """If-Match compares strongly, If-None-Match weakly, with every entry of a list (RFC 9110, section 8.8.3.2)."""
    assert names_etag(header, '"a"', weak=False) is strong
    assert names_etag(header, '"a"', weak=True) is weak
