"""Names of blobs as paths of URLs, so that no name ever becomes another blob's URL."""

import re
from urllib.parse import quote

from shared.errors import invalid_field

_PLAIN = re.compile(r"[A-Za-z0-9_/ -]+(\.[A-Za-z0-9_ -][A-Za-z0-9_/ -]*)*")
_DOT_SEGMENT = re.compile(r"(^|/)\.{1,2}(/|\Z)")


def quote_name(name: str) -> str:
    """A blob's name as the path of its URL.

    Clients remove `.` and `..` segments from a URL before they send it (RFC 3986, section 5.2.4). Where a name has
    some, its slashes are encoded as well, so that the whole name is one segment. The names `.` and `..` have no URL:
    see `check_name`.
    """
    if _PLAIN.fullmatch(name):  # Most names are plain, and this takes a tenth of the time.
        return name.replace(" ", "%20")
    return quote(name, safe="" if has_dot_segments(name) else "/")


def has_dot_segments(name: str) -> bool:
    """Whether there is a `.` or a `..` between the slashes of a name."""
    return ("/." in name or name.startswith(".")) and _DOT_SEGMENT.search(name) is not None


def check_name(name: str, field: str = "name") -> None:
    """Raises InvalidRequest for the names `.` and `..`: any client or proxy turns their URLs into the container's."""
    if name in (".", ".."):
        raise invalid_field(field, "A blob cannot be named `.` or `..`: no URL leads to it. Choose another name.")


def exact_url(url: str, account_url: str) -> str:
    """The URL of a blob as `quote_name` writes it, from one whose dot segments are not protected."""
    path, mark, query = url.partition("?")
    container, slash, name = path.removeprefix(f"{account_url}/").partition("/")
    if not has_dot_segments(name):
        return url
    return f"{account_url}/{container}{slash}{name.replace('/', '%2F')}{mark}{query}"
