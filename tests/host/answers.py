"""Turns what a handler returned into the answer that the Functions host would send."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from http.cookies import Morsel, SimpleCookie
from typing import Any, NamedTuple
from urllib.parse import quote

from azure.functions import HttpResponse

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TEXT = re.compile(r"[\t\x20-\x7e]*")
# The server decides on the framing, and says the date itself.
_SERVERS_OWN = {"date", "transfer-encoding"}


class Answer(NamedTuple):
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class BadAnswer(ValueError):
    """The handler returned what the host cannot send: 500."""


def read_result(result: object, method: str) -> Answer:
    """Raises BadAnswer for all that is neither a str nor an HttpResponse that can be sent."""
    if isinstance(result, str):
        return _checked(_from_text(result), method)
    if not isinstance(result, HttpResponse):
        raise BadAnswer(f"a handler returned {type(result).__name__}")
    # As azure.functions' own HttpResponseConverter does, which takes four times as long.
    told = dict(iter(result.headers))  # Of a name that repeats, the last counts.
    headers = [(name.lower(), value) for name, value in told.items()]
    names = {name for name, _ in headers}
    if "content-type" not in names:
        kind = result.mimetype
        headers.append(("content-type", f"{kind}; charset={result.charset}" if kind.startswith("text/") else kind))
    if "set-cookie" in names:
        headers = [each for each in headers if each[0] != "set-cookie"]
        cookies = [SimpleCookie(each) for each in result.headers.getlist("set-cookie")]
        headers += [("set-cookie", cookie) for cookie in _cookies(cookies)]
    return _checked(Answer(_status(result.status_code), tuple(headers), result.get_body()), method)


def _from_text(text: str) -> Answer:
    """The host reads a bare str as JSON, and JSON with a `body` as a response."""
    plain = ("content-type", "text/plain; charset=utf-8")
    try:
        content: object = json.loads(text) if text else None
    except ValueError:
        return Answer(200, (plain,), text.encode())
    status, headers = 200, {plain[0]: plain[1]}
    if isinstance(content, dict):
        told = {name.lower(): value for name, value in content.items()}
        if "body" in told:
            content = told["body"]
            status = _status(told.get("statuscode", told.get("status", 200)))
            given = told.get("headers")
            headers |= {name.lower(): str(value) for name, value in given.items()} if isinstance(given, dict) else {}
    if content is None:
        content = ""
    shown = json.dumps(content, indent=2, ensure_ascii=False) if isinstance(content, dict | list) else str(content)
    return Answer(status, tuple(headers.items()), shown.encode())


def _status(value: object) -> int:
    text = str(value)
    if not (len(text) == 3 and text.isascii() and text.isdecimal() and text[0] != "0"):
        raise BadAnswer(f"{text} is no status")
    return int(text)


def _checked(answer: Answer, method: str) -> Answer:
    status, headers, body = answer
    if status in (204, 205, 304):
        body = b""
    kept: list[tuple[str, str]] = []
    said: str | None = None
    for name, value in headers:
        if not (_is_token(name) and (value.isprintable() or _TEXT.fullmatch(value)) and value.isascii()):
            raise BadAnswer(f"the header {name!r} cannot be sent")
        if name == "content-length":
            said = value
        elif name not in _SERVERS_OWN:
            kept.append((name, value))
    if said is not None and status != 304:
        # An answer to HEAD may say the length of the body that GET would get.
        length = int(said) if said.isdecimal() else -1
        if length < len(body) or (length > len(body) and method != "HEAD"):
            raise BadAnswer("the Content-Length is not the body's")
        if method == "HEAD":
            kept.append(("content-length", said))
    return Answer(status, tuple(kept), body)


@lru_cache(maxsize=1024)
def _is_token(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None


def _cookies(cookies: Iterable[SimpleCookie]) -> Iterable[str]:
    for cookie in cookies:
        for morsel in cookie.values():
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
