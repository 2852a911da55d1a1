"""Names of blobs in URLs and as names of files."""

import re
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.blobs.names import disposition, name_in_path, quote_name
from shared.errors import NotUtf8

BASE = "https://myaccount.blob.core.windows.net/mycontainer/"
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


@given(names)
def test_the_url_is_the_name_and_no_client_shortens_it(name: str) -> None:
    """The path of a blob's URL decodes to its name, is plain ASCII, and has no segments that clients resolve."""
    url = BASE + quote_name(name)
    assert unquote(urlsplit(url).path.removeprefix("/mycontainer/"), errors="strict") == name
    assert url.isascii()
    assert re.search(r"[\s\\\"<>^`{|}?#]", url) is None
    if name not in (".", ".."):
        assert not {".", ".."}.intersection(urlsplit(url).path.split("/"))


@pytest.mark.parametrize("name", ["a/../b", "../b", "a/..", "a/./b", "./b", "a/.", "/../..", "a/.b/../c"])
def test_dot_segments_are_encoded_away(name: str) -> None:
    """A name with `.` or `..` between slashes has no such segment in its URL, which clients would resolve."""
    assert quote_name(name) == quote(name, safe="")


@pytest.mark.parametrize("name", ["a/b.c", "a..b/c", ".hidden/...", "a./b", "a/.b/c", "..a/b", "é/ü"])
def test_other_names_keep_their_slashes(name: str) -> None:
    """Dots that are no segment of their own leave the slashes of a URL as they are."""
    assert quote_name(name) == quote(name)


@given(names, st.booleans())
def test_a_name_in_a_path_is_decoded_once(name: str, with_slashes: bool) -> None:
    """What a caller encodes once arrives as it was, whether its slashes were encoded or not."""
    path = quote(name, safe="/" if with_slashes else "")
    assert name_in_path(f"https://x/api/blobs/container/{path}?a=b/c#d", "blobs", 1) == name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://x/api/blobs/c", ""),
        ("https://x/api/blobs/c/", ""),
        ("https://x/api/BLOBS/c/a", "a"),
        ("https://x/api/%62lobs/c/a", "a"),
        ("https://x/api/blobs/blobs/blobs/a", "blobs/a"),
        ("https://x/api/blobs/c/a//b/", "a//b/"),
        ("https://x/api/blobs/c/a%252Fb", "a%2Fb"),
        ("https://x/api/blobs/c/a%2Fb", "a/b"),
        ("https://x/api/blobs/c/a+b", "a+b"),
        ("https://x/api/blobs/c?name=x", ""),
        ("https://x/elsewhere", ""),
    ],
)
def test_a_name_begins_behind_its_container(url: str, name: str) -> None:
    """The name is all that stands behind the container, whatever it looks like; a plus sign is a plus sign."""
    assert name_in_path(url, "blobs", 1) == name


def test_a_path_that_is_not_utf8_is_refused() -> None:
    """Bytes that are no UTF-8 are no name."""
    with pytest.raises(NotUtf8):
        name_in_path("https://x/api/blobs/c/%FF", "blobs", 1)


@given(names, names, names)
def test_a_disposition_is_a_safe_header(name: str, kind: str, stored: str) -> None:
    """Whatever the name, the header is printable ASCII and holds the file's name whole in its extended form."""
    header = disposition(name, kind, stored, inline_html=False)
    assert re.fullmatch(
        r"(inline|attachment); filename=\"[A-Za-z0-9._ ()+-]+\"; filename\*=UTF-8''[\x21-\x7e]+", header
    )
    file = name.rstrip("/").rpartition("/")[2] or "blob"
    assert unquote(header.partition("UTF-8''")[2]) == file


@pytest.mark.parametrize(
    ("kind", "stored", "inline_html", "form"),
    [
        ("text/plain", "", False, "inline"),
        ("TEXT/Plain; charset=utf-8", "", False, "inline"),
        ("image/png", "inline", False, "inline"),
        ("image/png", "attachment; filename=x", False, "attachment"),
        ("text/html", "", False, "attachment"),
        ("text/html", "inline", False, "attachment"),
        ("text/html; charset=utf-8", "inline", False, "attachment"),
        ("image/svg+xml", "", False, "attachment"),
        ("application/xhtml+xml", "", False, "attachment"),
        ("text/xml", "", False, "attachment"),
        ("application/javascript", "", False, "attachment"),
        ("", "", False, "attachment"),
        ("text/html", "", True, "inline"),
        ("text/html", " Attachment", True, "attachment"),
    ],
)
def test_what_could_run_is_saved(kind: str, stored: str, inline_html: bool, form: str) -> None:
    """Only what no browser runs as a page's script is shown, unless a setting allows more; never more than stored."""
    assert disposition("a/b.c", kind, stored, inline_html=inline_html).startswith(f"{form}; ")
