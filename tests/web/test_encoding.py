"""Accept-Encoding and If-None-Match."""

import pytest

from shared.web.encoding import accepts, is_current


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


def test_if_none_match() -> None:
    """A list of tags, weak tags and `*` match."""
    assert is_current('"a", W/"b"', '"b"')
    assert is_current("*", '"b"')
    assert not is_current('"bb"', '"b"')
