"""Names of blobs in URLs. No server is needed."""

import re
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest
from shared.storage.names import check_name, exact_url, quote_name

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
    """If a name has `.` or `..` between slashes, its URL has no such segment, because clients would resolve it."""
    assert quote_name(name) == quote(name, safe="")


@pytest.mark.parametrize("name", ["a/b.c", "a..b/c", ".hidden/...", "a./b", "a/.b/c", "..a/b", "é/ü"])
def test_other_names_keep_their_slashes(name: str) -> None:
    """Dots that are not a whole segment leave the slashes of a URL unchanged."""
    assert quote_name(name) == quote(name)


@pytest.mark.parametrize("name", [".", ".."])
def test_names_without_a_url_are_refused(name: str) -> None:
    """Clients resolve `.` and `..` in every encoding, so blobs with these names are not read, written or deleted."""
    with pytest.raises(InvalidRequest) as raised:
        check_name(name)
    assert raised.value.errors[0].field == "name"


@given(names)
def test_a_url_is_made_exact_or_stays_as_it_is(name: str) -> None:
    """The SDK's URL of a name is replaced with that of `quote_name`, and keeps its query."""
    account, query = BASE.removesuffix("/mycontainer/"), "?comp=x&marker=/../"
    if name in (".", ".."):
        return
    made = exact_url(BASE + quote(name, safe="~/") + query, account)
    assert unquote(urlsplit(made).path, errors="strict") == f"/mycontainer/{name}"
    assert urlsplit(made).query == query[1:]
    assert not {".", ".."}.intersection(urlsplit(made).path.split("/"))
