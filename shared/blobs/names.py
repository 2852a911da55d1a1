"""Names of blobs: in the paths of requests, and as names of files that a browser saves."""

import re
from urllib.parse import quote, unquote, unquote_to_bytes

from shared.blobs.media_types import INLINE_TYPES
from shared.errors import NotUtf8

_FILE_UNSAFE = re.compile(r"[^A-Za-z0-9._ ()+-]")
_UNDECODED = re.compile(r"(?:%[89A-Fa-f][0-9A-Fa-f])+")
_PARAMETER = re.compile(r""";\s*(filename\*?)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]+))""", re.IGNORECASE)


def name_in_path(parameter: str) -> str:
    """The blob's name in a path, from the host's route parameter.

    The host decodes the parameter exactly once, but leaves `%2F` (which counts as a slash here, as a plain one does)
    and bytes that are not UTF-8. Such bytes may also be a name's own percent signs. Raises NotUtf8 for them.
    """
    for run in _UNDECODED.findall(parameter):
        try:
            unquote_to_bytes(run).decode()
        except UnicodeDecodeError:
            raise NotUtf8(
                f"The path contains {run[:60]}, which is not UTF-8 when it is decoded. Send the name as the query "
                "parameter name instead, percent-encoded."
            ) from None
    return parameter.replace("%2F", "/").replace("%2f", "/")


def disposition(name: str, media_type: str | None, stored: str, *, inline_html: bool) -> str:
    """The Content-Disposition (RFC 6266) under which a browser may have a blob: shown, or saved as a file.

    Only what cannot run as a page's script is shown, unless `inline_html`. `stored` is the blob's own header: it may
    restrict the browser further, never allow more, and its file name counts. `media_type` is `type/subtype`, None if
    it is not valid.
    """
    shown = media_type is not None and (inline_html or media_type in INLINE_TYPES)
    if stored.strip().lower().partition(";")[0].strip() not in ("", "inline"):
        shown = False
    file = stored_file_name(stored) or name.rstrip("/").rpartition("/")[2] or "blob"
    plain = _FILE_UNSAFE.sub("_", file)
    form = "inline" if shown else "attachment"
    return f"{form}; filename=\"{plain}\"; filename*=UTF-8''{quote(file, safe='', errors='replace')}"


def stored_file_name(header: str) -> str | None:
    """The file name in a Content-Disposition, `filename*` (RFC 8187) before `filename`; its last path segment."""
    parameters = {match[1].lower(): match[2] if match[3] is None else match[3] for match in _PARAMETER.finditer(header)}
    name = None
    if "filename*" in parameters:
        charset, _, rest = parameters["filename*"].partition("'")
        encoded = rest.partition("'")[2]
        if charset.lower() in ("utf-8", "iso-8859-1"):
            name = unquote(encoded, encoding=charset, errors="replace")
    if not name and "filename" in parameters:
        name = re.sub(r"\\(.)", r"\1", parameters["filename"])
    last = re.split(r"[/\\]", name)[-1] if name else ""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "", last) or None
