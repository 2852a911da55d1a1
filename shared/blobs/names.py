"""Names of blobs: in URLs, in the paths of requests, and as names of files that a browser saves."""

import re
from urllib.parse import quote, unquote

from shared.errors import NotUtf8

_PLAIN = re.compile(r"[A-Za-z0-9_/ -]+(\.[A-Za-z0-9_ -][A-Za-z0-9_/ -]*)*")
_DOT_SEGMENT = re.compile(r"(^|/)\.{1,2}(/|$)")
_FILE_UNSAFE = re.compile(r"[^A-Za-z0-9._ ()+-]")

INLINE_TYPES = frozenset(
    {
        *("text/plain", "text/csv", "text/markdown", "application/json", "application/x-ndjson", "application/pdf"),
        *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/x-icon"),
        *("audio/mpeg", "audio/ogg", "audio/wav", "audio/webm", "audio/mp4", "audio/flac"),
        *("video/mp4", "video/webm", "video/ogg"),
    }
)
"""What a browser may show from our origin: nothing in it runs as a page's script."""


def quote_name(name: str) -> str:
    """A blob's name as the path of its URL.

    Clients resolve `.` and `..` segments away before they send a URL. Where a name has some, its slashes are encoded,
    too, so that they are no segments.
    """
    if _PLAIN.fullmatch(name):  # Most names are, and this is a tenth of the work.
        return name.replace(" ", "%20")
    return quote(name, safe="" if has_dot_segments(name) else "/")


def has_dot_segments(name: str) -> bool:
    """Whether there is a `.` or a `..` between the slashes of a name."""
    return ("/." in name or name.startswith(".")) and _DOT_SEGMENT.search(name) is not None


def name_in_path(url: str, function: str, segments: int) -> str:
    """The blob's name in the path of `url`: what stands `segments` segments after the function's, decoded once.

    Empty where nothing stands there. Read from the URL, because in the host's own parameters `a%2Fb` and `a%252Fb` are
    alike. Raises NotUtf8.
    """
    parts = url.partition("?")[0].partition("#")[0].partition("://")[2].split("/")[1:]
    own = next((at for at, part in enumerate(parts) if unquote(part).lower() == function), len(parts))
    try:
        return unquote("/".join(parts[own + 1 + segments :]), errors="strict")
    except UnicodeDecodeError:
        raise NotUtf8("The name in the path is not percent-encoded UTF-8.") from None


def disposition(name: str, content_type: str, stored: str, *, inline_html: bool) -> str:
    """The Content-Disposition (RFC 6266) under which a browser may have a blob: shown, or saved as a file.

    Only what cannot run as a page's script is shown, unless `inline_html`; `stored` is the blob's own, which may ask
    for less, never for more.
    """
    kind = content_type.partition(";")[0].strip().lower()
    shown = (inline_html or kind in INLINE_TYPES) and not stored.strip().lower().startswith("attachment")
    file = name.rstrip("/").rpartition("/")[2] or "blob"
    plain = _FILE_UNSAFE.sub("_", file)
    form = "inline" if shown else "attachment"
    return f"{form}; filename=\"{plain}\"; filename*=UTF-8''{quote(file, safe='')}"
