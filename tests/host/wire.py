"""HTTP/1.1 as bytes: reads requests and writes answers, and takes and refuses on the wire what Kestrel does."""

import re
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from time import time
from typing import NamedTuple

import httptools

from .answers import Answer
from .urls import Target, read_target

MAX_REQUEST_LINE = 8 * 1024
MAX_HEADERS = 32 * 1024
MAX_BODY = 100 * 1024 * 1024

_METHODS = (b"GET ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"HEAD ", b"OPTIONS ")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}")
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Request(NamedTuple):
    method: str
    """In upper case."""
    target: Target
    headers: dict[str, str]
    """Names in lower case."""
    keep_alive: bool
    body: bytes | None
    """None where it is over MAX_BODY. Empty where it came in chunks without a length: the host drops such a body."""


class Refused(Exception):
    """What Kestrel does not take for a request: it answers with this status, and ends the connection."""

    def __init__(self, status: int) -> None:
        self.status = status


class Reader:
    """The requests in the bytes of a connection."""

    def __init__(self) -> None:
        self._between_requests = True
        self._begun = b""
        self._method = ""
        self.awaits_leave = False
        """Whether the client waits for `100 Continue` before it sends the body."""
        self._found: list[Request | Refused] = []
        self._new_parser(self)

    def _new_parser(self, callbacks: object) -> None:
        self._parser = httptools.HttpRequestParser(callbacks)
        # Kestrel takes a chunked request with a length for a chunked one.
        self._parser.set_dangerous_leniencies(lenient_chunked_length=True)

    def feed(self, data: bytes) -> list[Request | Refused]:
        """The requests that end in `data`. Nothing comes after one that is refused."""
        if self._between_requests:
            data, self._begun = self._begun + data, b""
            if not data.startswith(_METHODS):
                # The parser knows its methods, in upper case; the host takes any word, in any case.
                method, space, rest = data.partition(b" ")
                if _TOKEN.fullmatch(method):
                    if not space:
                        self._begun = data
                        return []
                    self._method = method.decode().upper()
                    data = b"POST " + rest
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            told = error.__context__  # What a callback raised: this, or what makes a bad request.
            unknown_version = "version" in str(error).lower()
            self._found.append(told if isinstance(told, Refused) else Refused(505 if unknown_version else 400))
        found, self._found = self._found, []
        return found

    # ---- What the parser calls.

    def on_message_begin(self) -> None:
        self._between_requests = False
        self._url = b""
        self._headers: dict[str, str] = {}
        self._headers_size = 0
        self._pieces: list[bytes] = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, raw_name: bytes, raw_value: bytes) -> None:
        """Repeats are joined by commas. Raises UnicodeDecodeError for what is not UTF-8."""
        self._headers_size += len(raw_name) + len(raw_value) + len(": \r\n")
        name, value, headers = raw_name.lower().decode(), raw_value.decode().strip(" \t"), self._headers
        headers[name] = f"{headers[name]},{value}" if name in headers else value

    def on_headers_complete(self) -> None:
        method = self._method or self._parser.get_method().decode()
        self._method = ""
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise Refused(505)
        if len(method) + len(self._url) + len("  HTTP/1.1") > MAX_REQUEST_LINE:
            raise Refused(414)
        if self._headers_size > MAX_HEADERS:
            raise Refused(431)
        headers = self._headers
        host = headers.get("host", "")
        if "," in host or (not host and version == "1.1"):
            raise Refused(400)
        if "transfer-encoding" in headers:
            if not headers["transfer-encoding"].lower().endswith("chunked"):
                raise Refused(400)
            if "content-length" in headers:
                # As Kestrel does: the length does not count, and is kept under another name.
                headers["x-content-length"] = headers.pop("content-length")
        target = read_target(self._url, host)
        keep_alive = version == "1.1" and self._parser.should_keep_alive()
        self._head = method, target, headers, keep_alive
        self._keeps_body = "content-length" in headers
        self.awaits_leave = headers.get("expect", "").lower() == "100-continue"

    def on_body(self, piece: bytes) -> None:
        self.awaits_leave = False
        self._size += len(piece)
        if self._keeps_body and self._size <= MAX_BODY:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        self._between_requests = True
        self.awaits_leave = False
        body = b"".join(self._pieces) if self._size <= MAX_BODY else None
        self._found.append(Request(*self._head, body))

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """The host offers no other protocol. The parser has stopped before the body, so another reads that."""
        self._found.pop()
        self._between_requests = False
        self._head = (*self._head[:3], False)
        told = self._headers.items()
        framing = [f"{name}: {value}\r\n" for name, value in told if name in ("content-length", "transfer-encoding")]
        self._new_parser(_Body(self))
        self._parser.feed_data(f"POST / HTTP/1.1\r\n{''.join(framing)}\r\n".encode())
        self._parser.feed_data(rest)


class _Body:
    """What of a reader's callbacks a body needs."""

    def __init__(self, reader: Reader) -> None:
        self.on_body = reader.on_body
        self.on_message_complete = reader.on_message_complete


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def write(answer: Answer, method: str, *, keep_alive: bool) -> bytes:
    """`answer` as it goes to a client who asked by `method`."""
    status, headers, body = answer
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}", _date(int(time()))]
    lines += [f"{name}: {value}" for name, value in headers]
    # As Kestrel does: what a handler says of the connection is sent, whatever becomes of it.
    if not keep_alive and not any(name == "connection" for name, _ in headers):
        lines.append("connection: close")
    # The head has no length where there is no body to send; an empty body says so.
    if status in (204, 304) or method == "HEAD":
        body = b""
    else:
        lines.append(f"content-length: {len(body)}")
    lines.append("\r\n")
    return "\r\n".join(lines).encode() + body


@lru_cache(maxsize=1)
def _date(seconds: int) -> str:
    return f"date: {formatdate(seconds, usegmt=True)}"
