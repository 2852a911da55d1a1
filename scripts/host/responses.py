"""Turns the return value of a handler into the response that the Functions host would send."""

import json
import re
from collections.abc import Iterable, Mapping
from http.cookies import Morsel, SimpleCookie
from typing import Any, NamedTuple
from urllib.parse import quote

from azure.functions import HttpResponse

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TEXT = re.compile(r"[\t\x20-\x7e]*")
_SET_BY_THE_SERVER = {"date", "transfer-encoding"}


class Response(NamedTuple):
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    """Names in lower case. Without a `content-length`, the body goes out in chunks."""
    body: bytes = b""


class BadResponse(ValueError):
    """The handler returned something that the host cannot send. The response is 500."""


def read_result(result: object, method: str) -> Response:
    """Raises BadResponse for everything but a str, and an HttpResponse that can be sent."""
    if isinstance(result, str):
        return _checked(_from_text(result), method)
    if not isinstance(result, HttpResponse):
        raise BadResponse(f"a handler returned {type(result).__name__}")
    # Of a name that repeats, the last value counts, but for cookies.
    headers = {name.lower(): value for name, value in result.headers.items()}
    if "content-type" not in headers:
        kind = result.mimetype
        headers["content-type"] = f"{kind}; charset={result.charset}" if kind.startswith("text/") else kind
    pairs = [pair for pair in headers.items() if pair[0] != "set-cookie"]
    if "set-cookie" in headers:
        pairs += [("set-cookie", cookie) for cookie in _cookies(result.headers.getlist("set-cookie"))]
    return _checked(Response(_status(result.status_code), tuple(pairs), result.get_body()), method)


def _from_text(text: str) -> Response:
    """The host reads a bare str as JSON, and JSON with a `body` as a response."""
    plain = ("content-type", "text/plain; charset=utf-8")
    try:
        content: object = json.loads(text) if text else None
    except ValueError:
        return Response(200, (plain,), text.encode())
    status, headers = 200, {plain[0]: plain[1]}
    if isinstance(content, dict):
        parts = {name.lower(): value for name, value in content.items()}
        if "body" in parts:
            content = parts["body"]
            status = _status(parts.get("statuscode", parts.get("status", 200)))
            more = parts.get("headers")
            headers |= {name.lower(): str(value) for name, value in more.items()} if isinstance(more, dict) else {}
    if content is None:
        content = ""
    shown = json.dumps(content, indent=2, ensure_ascii=False) if isinstance(content, dict | list) else str(content)
    return Response(status, tuple(headers.items()), shown.encode())


def _status(value: object) -> int:
    text = str(value)
    if not (len(text) == 3 and text.isascii() and text.isdecimal() and text[0] != "0"):
        raise BadResponse(f"the status {text} has not three digits")
    if not 200 <= int(text) <= 599:
        # Below, the real host's response breaks; above, Kestrel sends what RFC 9110, section 15, does not define.
        raise BadResponse(f"the status {text} is not from 200 to 599")
    return int(text)


def _checked(response: Response, method: str) -> Response:
    status, headers, body = response
    if status in (204, 205, 304):
        body = b""
    kept: list[tuple[str, str]] = []
    declared: str | None = None
    for name, value in headers:
        if not (_TOKEN.fullmatch(name) and (value.isprintable() or _TEXT.fullmatch(value)) and value.isascii()):
            raise BadResponse(f"the header {name!r} cannot be sent")
        if name == "content-length":
            declared = value
        elif name not in _SET_BY_THE_SERVER:
            kept.append((name, value.strip(" \t")))  # Blanks around a value are not part of it (RFC 9110, 5.5).
    if status in (204, 304):
        return Response(status, tuple(kept), b"")
    if declared is not None:
        # A response to HEAD may state the length of the body of a GET.
        length = int(declared) if declared.isdecimal() else -1
        if length < len(body) or (length > len(body) and method != "HEAD"):
            raise BadResponse("the Content-Length is not the body's")
        kept.append(("content-length", declared))
    elif not body and method != "HEAD":
        kept.append(("content-length", "0"))
    return Response(status, tuple(kept), body)


def _cookies(values: Iterable[str]) -> Iterable[str]:
    for value in values:
        for morsel in SimpleCookie(value).values():
            yield _cookie(morsel)


def _cookie(morsel: Morsel[str]) -> str:
    """In the host's own order, with a domain and a path even where they are empty."""
    attributes: Mapping[str, Any] = morsel
    parts = [f"{quote(morsel.key, safe='')}={quote(morsel.value, safe='')}"]
    parts += [f"{name}={attributes[name]}" for name in ("expires", "max-age") if attributes[name]]
    parts += [f"domain={attributes['domain']}", f"path={attributes['path']}"]
    parts += ["secure"] if attributes["secure"] else []
    parts += [f"samesite={attributes['samesite'].lower()}"] if attributes["samesite"] else []
    parts += ["httponly"] if attributes["httponly"] else []
    return "; ".join(parts)
