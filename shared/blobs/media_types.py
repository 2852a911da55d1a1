"""Media types as HTTP defines them (RFC 9110, section 8.3.1), and headers that keep a blob from running as a page."""

import mimetypes
import re

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110, section 5.6.2.
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t \x21-\x7e])*"'
_MEDIA_TYPE = re.compile(rf"({_TOKEN})/({_TOKEN})((?:[ \t]*;[ \t]*(?:{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))?)*)")

OCTET_STREAM = "application/octet-stream"
INLINE_TYPES = frozenset(
    {
        *("text/plain", "text/csv", "text/markdown", "application/json", "application/x-ndjson", "application/pdf"),
        *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/x-icon"),
        *("audio/mpeg", "audio/ogg", "audio/wav", "audio/webm", "audio/mp4", "audio/flac"),
        *("video/mp4", "video/webm", "video/ogg"),
    }
)
"""What a browser may show from our origin: nothing in it runs as a page's script."""
SCRIPT_DESTINATIONS = frozenset(
    {
        *("script", "style", "xslt", "worker", "sharedworker", "serviceworker"),
        *("audioworklet", "paintworklet"),
    }
)
"""Values of Sec-Fetch-Dest (Fetch Metadata, section 2.1) with which a browser would run or apply the response."""
FORM_TYPE = "application/x-www-form-urlencoded"
"""The Content-Type that curl sends with `--data-binary` by default, whatever the bytes are."""

_BY_EXTENSION = mimetypes.MimeTypes()  # Python's own table alone: the machine's would differ from host to host.
for _extension, _type in {  # Python's table has these only from some version on, or never.
    ".avif": "image/avif",
    ".js": "text/javascript",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".ndjson": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
    ".webp": "image/webp",
}.items():
    _BY_EXTENSION.add_type(_type, _extension)


def essence(media_type: str) -> str | None:
    """`type/subtype` in lower case; None where the text is not exactly one media type."""
    match = _MEDIA_TYPE.fullmatch(media_type.strip(" \t"))
    return None if match is None else f"{match[1]}/{match[2]}".lower()


def implied(name: str) -> str:
    """The media type that a name's extension implies; `application/octet-stream` where it implies none."""
    guessed, encoding = _BY_EXTENSION.guess_type(f"/{name.rpartition('/')[2]}")
    return guessed if guessed and not encoding else OCTET_STREAM


def security_policy(media_type: str, *, inline_html: bool) -> str | None:
    """The Content-Security-Policy of a blob: a sandbox, so that it has no origin.

    None for PDF: in a sandbox, viewers of some browsers show nothing, and viewers run the script of a document outside
    of the app's origin (docs/blobs.md).

    With `inline_html`, scripts and styles of the blob itself may run in the sandbox, which still has no origin: it
    reads nothing of this app and sends no key.
    """
    if media_type.lower() == "application/pdf":
        return None
    if inline_html:
        return (
            "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
            "img-src data:"
        )
    return "sandbox; default-src 'none'"
