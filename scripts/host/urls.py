"""Reads a request target as Kestrel does: the decoded path, the URL that the worker gets, and the query."""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

_PLAIN_PATH = re.compile(r"/[\w\-~!$&'()*+,;=:@/]*", re.ASCII)
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_ESCAPES_BUT_SLASH = re.compile(r"(?:%(?!2[Ff])[0-9A-Fa-f]{2})+")
_NOT_IN_A_PATH = re.compile(r"%(?![0-9A-Fa-f]{2})|[^%\w\-.~!$&'()*+,;=:@/]+", re.ASCII)


class BadTarget(ValueError):
    """The target is not one that Kestrel accepts: 400."""


class Target(NamedTuple):
    path: str
    """Decoded, without dot segments; `%2F` stays as it is."""
    url: str
    """The value of `HttpRequest.url`: the path encoded again, the query as it was sent."""
    query: str


@lru_cache(maxsize=1024)
def read_target(raw: bytes, host: str) -> Target:
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError as error:
        raise BadTarget from error
    if text == "*":
        return Target(text, f"http://{host}/*", "")
    if not text.startswith("/"):
        # The absolute form is accepted when it names the host that the Host header names.
        scheme, _, rest = text.partition("://")
        authority, slash, rest = rest.partition("/")
        if scheme.lower() != "http" or not host or authority != host:
            raise BadTarget
        text = slash + rest or "/"
    path, mark, query = text.partition("?")
    query = query.replace("#", "%23")
    if _PLAIN_PATH.fullmatch(path):
        return Target(path, f"http://{host}{path}{mark}{query}", query)
    path = _ESCAPES_BUT_SLASH.sub(_decode, path)
    if "\0" in path:
        raise BadTarget
    if "/." in path:
        path = _without_dot_segments(path)
    encoded = _NOT_IN_A_PATH.sub(lambda match: quote(match[0], safe=""), path)
    return Target(path, f"http://{host}{encoded}{mark}{query}", query)


def read_query(query: str) -> dict[str, tuple[str, list[str]]]:
    """Every parameter under its name in lower case: the name as it was last spelt, and its values in order."""
    pairs: dict[str, tuple[str, list[str]]] = {}
    for pair in query.replace("+", " ").split("&"):
        if pair:
            name, _, value = pair.partition("=")
            name = _unescape(name)
            values = pairs.get(name.lower(), (name, []))[1]
            values.append(_unescape(value))
            pairs[name.lower()] = (name, values)
    return pairs


def _unescape(text: str) -> str:
    """Decodes the UTF-8 in `text`, and leaves escapes that are not UTF-8."""
    if "%" not in text:
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return _ESCAPES.sub(_decode, text)


def params(pairs: dict[str, tuple[str, list[str]]]) -> dict[str, str]:
    """The value of `HttpRequest.params`: repeats joined by commas, without empty values."""
    joined = {name: ",".join(filter(None, values)) for name, values in pairs.values()}
    return {name: value for name, value in joined.items() if value}


def _decode(escapes: re.Match[str]) -> str:
    """Decodes the UTF-8 in a run of escapes, and leaves all others as text."""
    text, raw, decoded, at = escapes[0], bytes.fromhex(escapes[0].replace("%", "")), "", 0
    while at < len(raw):
        try:
            return decoded + raw[at:].decode()
        except UnicodeDecodeError as error:
            start, end = at + error.start, at + error.end
            decoded += raw[at:start].decode() + text[3 * start : 3 * end]
            at = end
    return decoded


def _without_dot_segments(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
