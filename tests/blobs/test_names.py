"""Names of blobs in the paths of requests, and as names of files. No server is needed."""

import re
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.blobs.names import disposition, name_in_path, stored_file_name
from shared.errors import NotUtf8

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


def route_parameter(path: str) -> str:
    """The parameter that the Functions host makes of a path: decoded once, except `%2F` and invalid UTF-8."""

    def decoded(match: re.Match[str]) -> str:
        parts = re.split(r"(?i)(%2f)", match[0])
        return "".join(
            part if part.lower() == "%2f" else unquote(part, errors="strict") if _is_utf8(part) else part
            for part in parts
        )

    return re.sub(r"(?:%[0-9A-Fa-f]{2})+", decoded, path)


def _is_utf8(text: str) -> bool:
    try:
        unquote(text, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


@given(names, st.booleans())
def test_a_name_in_a_path_is_decoded_once(name: str, with_slashes: bool) -> None:
    """A name that the caller encodes once arrives unchanged, whether or not its slashes were encoded."""
    if re.search(r"(?i)%(2f|[89a-f])", name):
        return  # The host cannot distinguish these two: see below.
    assert name_in_path(route_parameter(quote(name, safe="/" if with_slashes else ""))) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a%2541", "a%41"),
        ("a%41", "aA"),
        ("a%252541", "a%2541"),
        ("a%2Fb", "a/b"),
        ("a%2fb", "a/b"),
        ("a%252Fb", "a/b"),
        ("a+b", "a+b"),
        ("a%20b", "a b"),
        ("%C3%A9", "é"),
        ("100%25", "100%"),
        ("%25C3%25A9", "%C3%A9"),
    ],
)
def test_a_name_is_what_the_route_parameter_says(path: str, name: str) -> None:
    """A correctly encoded percent sign belongs to the name; `%2F` is a slash."""
    assert name_in_path(route_parameter(path)) == name


@pytest.mark.parametrize("path", ["%FF", "a%C3", "a%25FFb", "%e9", "%C3%28"])
def test_bytes_that_are_not_utf8_are_refused(path: str) -> None:
    """They may be bytes or percent signs of a name, so the error says to use the query."""
    with pytest.raises(NotUtf8, match="query parameter name"):
        name_in_path(route_parameter(path))


kinds = st.sampled_from([None, "text/plain", "text/html"])


@given(names, kinds, names)
def test_a_disposition_is_a_safe_header(name: str, kind: str | None, stored: str) -> None:
    """For any name and stored header, the header is printable ASCII and has the whole file name."""
    header = disposition(name, kind, stored, inline_html=False)
    assert re.fullmatch(
        r"(inline|attachment); filename=\"[A-Za-z0-9._ ()+-]+\"; filename\*=UTF-8''[\x21-\x7e]+", header
    )
    file = stored_file_name(stored) or name.rstrip("/").rpartition("/")[2] or "blob"
    assert unquote(header.partition("UTF-8''")[2]) == file


@pytest.mark.parametrize(
    ("kind", "stored", "inline_html", "form"),
    [
        ("text/plain", "", False, "inline"),
        ("image/png", "inline", False, "inline"),
        ("image/png", "attachment; filename=x", False, "attachment"),
        ("image/png", "attachement", False, "attachment"),
        ("text/html", "", False, "attachment"),
        ("text/html", "inline", False, "attachment"),
        ("image/svg+xml", "", False, "attachment"),
        ("application/xhtml+xml", "", False, "attachment"),
        ("text/xml", "", False, "attachment"),
        ("application/javascript", "", False, "attachment"),
        (None, "inline", False, "attachment"),
        (None, "", True, "attachment"),
        ("text/html", "", True, "inline"),
        ("text/html", " Attachment", True, "attachment"),
    ],
)
def test_what_could_run_is_saved(kind: str | None, stored: str, inline_html: bool, form: str) -> None:
    """Only types that run no script in the page are shown, unless a setting allows more; never more than stored."""
    assert disposition("a/b.c", kind, stored, inline_html=inline_html).startswith(f"{form}; ")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("", None),
        ("attachment", None),
        ('attachment; filename="report 2026.pdf"', "report 2026.pdf"),
        ("attachment; filename=plain.txt", "plain.txt"),
        ("inline; FILENAME=plain.txt; x=y", "plain.txt"),
        ("attachment; filename*=UTF-8''na%C3%AFve.txt", "naïve.txt"),
        ("attachment; filename=fallback.txt; filename*=UTF-8'en'%E2%82%AC.txt", "€.txt"),
        ("attachment; filename*=iso-8859-1''%E9.txt", "é.txt"),
        ("attachment; filename*=nonsense; filename=x", "x"),
        ('attachment; filename="a\\"b.txt"', 'a"b.txt'),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="c:\\\\x\\\\y.txt"', "y.txt"),
        ('attachment; filename="a\r\nb"', "ab"),
    ],
)
def test_a_stored_file_name_survives(header: str, name: str | None) -> None:
    """The name is parsed by RFC 6266; only its last segment is kept, without control characters."""
    assert stored_file_name(header) == name
