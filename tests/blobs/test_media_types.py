"""Media types, and what a browser may do with a blob. No server is needed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.blobs.downloads import blob_headers, check_destination, is_visible
from shared.blobs.errors import ScriptDestination
from shared.blobs.media_types import SCRIPT_DESTINATIONS, essence, implied


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("text/plain", "text/plain"),
        ("Text/HTML; Charset=utf-8", "text/html"),
        ("text/plain ;charset=utf-8", "text/plain"),
        ('multipart/form-data; boundary="a b;c,d"', "multipart/form-data"),
        ("text/plain;", "text/plain"),
        ("application/vnd.a+json;a=b;c=d", "application/vnd.a+json"),
        ("application/pdf;,text/html", None),
        ("application/pdf,text/html", None),
        ("application/pdf; a=b,text/html", None),
        ('application/pdf; a="b,text/html', None),
        ("application/pdf text/html", None),
        ("application/pdf; text/html", None),
        ("text", None),
        ("text/", None),
        ("/plain", None),
        ("text / plain", None),
        ("text/plain; a = b", None),
        ("text/plain\n", None),
        ("text/plain\r\nx: y", None),
        ("", None),
        ("*/*", "*/*"),
        ("text/é", None),
    ],
)
def test_a_media_type_is_one_type(text: str, expected: str | None) -> None:
    """A media type is one type, one subtype, and parameters of tokens or quoted strings (RFC 9110, section 8.3.1)."""
    assert essence(text) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/report.pdf", "application/pdf"),
        ("a.TXT", "text/plain"),
        ("data.json", "application/json"),
        ("page.html", "text/html"),
        ("app.js", "text/javascript"),
        ("README.md", "text/markdown"),
        ("photo.webp", "image/webp"),
        ("rows.parquet", "application/vnd.apache.parquet"),
        ("archive.tar.gz", "application/octet-stream"),
        ("none", "application/octet-stream"),
        ("a.txt/b", "application/octet-stream"),
        ("http://x/y.png", "image/png"),
        ("data:text/html,x", "application/octet-stream"),
    ],
)
def test_a_name_implies_a_type(name: str, expected: str) -> None:
    """Only the extension of the last segment decides, on every version of Python."""
    assert implied(name) == expected


def csp(content_type: str, *, inline_html: bool = False) -> str | None:
    """The Content-Security-Policy of a blob that was stored with this type."""
    return blob_headers({"content-type": content_type}, "a", inline_html=inline_html).get("content-security-policy")


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "image/svg+xml", "text/plain", "application/pdf; a=b", "application/pdf;,text/html", ""],
)
def test_every_blob_but_pdf_has_a_sandbox(content_type: str) -> None:
    """A blob has no origin in a browser; with the setting its own scripts run, still without an origin."""
    assert csp(content_type) == "sandbox; default-src 'none'"
    allowed = csp(content_type, inline_html=True)
    assert allowed is not None
    assert allowed.startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in allowed


def test_a_pdf_is_shown_without_a_sandbox() -> None:
    """A sandbox breaks the PDF viewers of browsers, and these run no script in the origin."""
    assert csp("application/pdf") is None
    assert csp("Application/PDF") is None


@pytest.mark.parametrize("content_type", ["application/pdf;,text/html", "text", "", "text/plain\x01", "é/é"])
def test_what_does_not_parse_is_saved_as_bytes(content_type: str) -> None:
    """A stored type that browsers would read differently becomes application/octet-stream, saved as a file."""
    headers = blob_headers({"content-type": content_type}, "a.pdf", inline_html=True)
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"].startswith("attachment")


@given(st.dictionaries(st.sampled_from(["etag", "content-language", "content-encoding", "x-ms-meta-a"]), st.text()))
def test_no_stored_header_breaks_a_response(stored: dict[str, str]) -> None:
    """Whatever another tool has stored, every header is empty or visible ASCII, because the host can only send that."""
    assert all(not value or is_visible(value) for value in blob_headers(stored, "ü\n", inline_html=False).values())


@pytest.mark.parametrize("destination", sorted(SCRIPT_DESTINATIONS))
def test_no_blob_is_a_script_of_this_origin(destination: str) -> None:
    """If a browser would run the blob or apply it as a style, the response is 403."""
    with pytest.raises(ScriptDestination):
        check_destination({"sec-fetch-dest": destination.title()})


@pytest.mark.parametrize("destination", ["", "document", "empty", "image", "video", "iframe", "object", "track"])
def test_other_destinations_are_served(destination: str) -> None:
    """Documents, images and fetches are the purpose of blobs, so they are served."""
    check_destination({"sec-fetch-dest": destination} if destination else {})
