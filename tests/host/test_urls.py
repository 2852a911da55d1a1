"""Request targets that no recorded request covers."""

import pytest

from scripts.host.urls import BadTarget, params, read_query, read_target


def test_an_escaped_slash_and_an_escaped_escape_arrive_alike() -> None:
    """`%2F` stays and `%25` becomes `%`, so the two paths are equal."""
    assert read_target(b"/a%2Fb", "h").path == read_target(b"/a%252Fb", "h").path == "/a%2Fb"


@pytest.mark.parametrize(
    ("sent", "path"),
    [(b"/a/..", "/"), (b"/a/../../b", "/b"), (b"/a/.", "/a/"), (b"/a/%2e%2e/b", "/b"), (b"/a/..b", "/a/..b")],
)
def test_dot_segments_are_resolved(sent: bytes, path: str) -> None:
    """The host resolves dot segments before the app sees them, and none climbs over the root."""
    assert read_target(sent, "h").path == path


@pytest.mark.parametrize("sent", [b"", b"a", b"/a%00", b"/\xff", b"http://other/a", b"ftp://h/a"])
def test_targets_that_are_none(sent: bytes) -> None:
    """The host refuses targets that Kestrel refuses."""
    with pytest.raises(BadTarget):
        read_target(sent, "h")


def test_the_absolute_form_of_the_own_host_is_read() -> None:
    """A target that names the Host header's host is read as its path."""
    assert read_target(b"http://h:1/a?b", "h:1").url == "http://h:1/a?b"


@pytest.mark.parametrize(
    ("query", "decoded"),
    [("a=%ff%C3%A9%e2%82", "%ffé%e2%82"), ("a=%", "%"), ("a=%25FF", "%FF"), ("a=+%2B", " +")],
)
def test_only_utf_8_is_decoded(query: str, decoded: str) -> None:
    """An escape that is not UTF-8 stays unchanged."""
    assert params(read_query(query)) == {"a": decoded}
