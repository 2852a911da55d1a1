"""Serves the indexed functions over HTTP with the Functions host's rules."""

import asyncio
import json
import logging
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from azure.functions.http import HttpRequest
from azure.functions.timer import TimerRequest

from .answers import Answer, BadAnswer, read_result
from .indexing import Function
from .keys import Keys
from .routing import Router
from .settings import Cors
from .urls import BadTarget, params, read_query, read_target

MAX_BODY = 100 * 1024 * 1024
MAX_REQUEST_LINE = 8 * 1024
MAX_HEADERS = 32 * 1024

_HOME = b"<!DOCTYPE html><title>Strongroom</title><p>Strongroom's local host, for development only.</p>\n"

_log = logging.getLogger("host")

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Context:
    """What a handler gets that asks for `context`, and reads as an azure.functions.Context."""

    function_name: str
    function_directory: str
    invocation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    thread_local_storage: threading.local = field(default_factory=threading.local)
    trace_context: None = None
    retry_context: None = None


class Gone(Exception):
    """The client went away before its body was read."""


class Host:
    """An ASGI application; its server hands over the request target unparsed, as `target` in the scope."""

    def __init__(
        self, functions: list[Function], prefix: str, keys: Keys | None, cors: Cors | None, pool: Executor
    ) -> None:
        self._functions = {function.name.lower(): function for function in functions}
        self._prefix = prefix
        self._router = Router(functions, prefix)
        self._keys = keys
        self._cors = cors
        self._pool = pool
        self._invoked: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, headers, body = await self._answer(scope, receive)
        except Gone:
            return
        sent = [(name.encode(), value.encode()) for name, value in headers]
        # The head has no length where there is no body to send; an empty body says so.
        if status not in (204, 304) and scope["method"] != "HEAD":
            sent.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        if scope["http_version"] not in ("1.0", "1.1"):
            return _refuse(505)
        if len(scope["method"]) + len(scope["target"]) + len("  HTTP/1.1") > MAX_REQUEST_LINE:
            return _refuse(414)
        if sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > MAX_HEADERS:
            return _refuse(431)
        try:
            headers = _join_headers(scope["headers"])
            host = headers.get("host", "")
            if "," in host or (not host and scope["http_version"] == "1.1"):
                return _refuse(400)
            if not headers.get("transfer-encoding", "chunked").lower().endswith("chunked"):
                return _refuse(400)
            if scope["target"] == b"*":
                return Answer(404)
            target = read_target(scope["target"], host)
        except (BadTarget, UnicodeDecodeError):
            return _refuse(400)
        cors = self._cors if "origin" in headers else None
        if cors and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            return Answer(204, cors.preflight(headers))
        answer = await self._route(scope["method"], target.path, target.url, target.query, headers, receive)
        return answer._replace(headers=answer.headers + cors.headers(headers)) if cors else answer

    async def _route(
        self, method: str, path: str, url: str, query: str, headers: dict[str, str], receive: Receive
    ) -> Answer:
        found = read_query(query) if query else {}
        # The header wins over the query, even when it is wrong or empty.
        given = headers.get("x-functions-key", found["code"][1][0] if "code" in found else None)
        match = self._router.find(method, path)
        if match is None:
            return await self._own_page(method, path, given, headers, receive)
        function, values = match
        if self._keys and not self._keys.open(function, given):
            return Answer(401)
        try:
            body = await _read_body(receive, headers)
        except OverflowError:
            return Answer(500)
        request = HttpRequest(
            method, url, headers=headers, params=params(found), route_params=values, body_type="bytes", body=body
        )
        return await self._run(function, request, lambda result: read_result(result, method))

    async def _run(self, function: Function, trigger: object, read: Callable[[object], Answer]) -> Answer:
        """Calls the handler, on a thread unless it is async; a failure is logged, and answered with 500."""
        arguments: dict[str, object] = {function.argument: trigger}
        if function.wants_context:
            arguments["context"] = Context(function.name, str(Path.cwd()))
        try:
            if function.is_async:
                return read(await function.handler(**arguments))
            call = lambda: read(function.handler(**arguments))  # noqa: E731
            return await asyncio.get_running_loop().run_in_executor(self._pool, call)
        except BadAnswer as error:
            _log.error("%s: %s", function.name, error)
        except Exception:  # noqa: BLE001 - whatever a handler raises is a 500
            _log.exception("%s failed", function.name)
        return Answer(500)

    async def _own_page(
        self, method: str, path: str, given: str | None, headers: dict[str, str], receive: Receive
    ) -> Answer:
        """The home page and the admin endpoints of the host itself."""
        path = path.lower().rstrip("/")
        if not path and method in ("GET", "HEAD"):
            return Answer(200, (("content-type", "text/html"),), _HOME)
        if path == "/admin/host/ping":
            return Answer(200, (("cache-control", "no-store,no-cache"), ("pragma", "no-cache")))
        name = path.removeprefix("/admin/functions/")
        known = {
            ("GET", "/admin/host/status"),
            ("GET", "/admin/host/keys"),
            ("GET", "/admin/functions"),
            ("GET", f"/admin/functions/{name}"),
            ("POST", f"/admin/functions/{name}"),
        }
        if (method, path) not in known:
            return Answer(404)
        if self._keys and not self._keys.is_master(given):
            return Answer(403) if self._keys.is_host_key(given) else Answer(401, (("www-authenticate", "Bearer"),))
        base = f"http://{headers.get('host', '')}"
        if path == "/admin/host/status":
            return _json({"id": "strongroom", "state": "Running", "version": "local", "processUptime": 0})
        if path == "/admin/host/keys":
            keys = self._keys.function if self._keys else {}
            listed = [{"name": name, "value": value} for name, value in keys.items()]
            return _json({"keys": listed, "links": [{"rel": "self", "href": f"{base}/admin/host/keys"}]})
        if path == "/admin/functions":
            return _json([self._describe(function, base) for function in self._functions.values()])
        function = self._functions.get(name)
        if function is None:
            return Answer(404)
        if method == "GET":
            return _json(self._describe(function, base))
        return await self._invoke(function, base, await _read_body(receive, headers))

    async def _invoke(self, function: Function, base: str, body: bytes) -> Answer:
        """Starts a run and does not wait for it: the answer says only that it was accepted."""
        try:
            given = json.loads(body or b"{}").get("input") or ""
        except (AttributeError, ValueError):
            return Answer(400)
        trigger: object
        if function.is_http:
            trigger = HttpRequest(
                (function.methods or ("POST",))[0],
                f"{base}/{self._prefix}/{function.route}",
                headers={},
                params={},
                route_params={},
                body_type="bytes",
                body=str(given).encode(),
            )
        elif function.trigger == "timerTrigger":
            trigger = TimerRequest(past_due=False)
        else:
            return Answer(400)

        async def run() -> None:
            await self._run(function, trigger, lambda _: Answer(202))

        task = asyncio.get_running_loop().create_task(run())
        self._invoked.add(task)
        task.add_done_callback(self._invoked.discard)
        return Answer(202)

    def _describe(self, function: Function, base: str) -> dict[str, object]:
        template = f"{base}/{self._prefix}/{function.route}".lower() if function.is_http else None
        return {
            "name": function.name,
            "href": f"{base}/admin/functions/{function.name}",
            "invoke_url_template": template,
            "language": "python",
            "config": json.loads(function.definition),
            "isDisabled": False,
        }


def _refuse(status: int) -> Answer:
    """What the server itself does not accept ends the connection."""
    return Answer(status, (("connection", "close"),))


def _json(told: object) -> Answer:
    body = json.dumps(told, separators=(",", ":")).encode()
    return Answer(200, (("content-type", "application/json; charset=utf-8"),), body)


def _join_headers(sent: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Repeats joined by commas. Raises UnicodeDecodeError for what is not UTF-8."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in sent:
        name, value = raw_name.decode(), raw_value.decode().strip(" \t")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    if "transfer-encoding" in headers and "content-length" in headers:
        # As Kestrel does: the length does not count, and is kept under another name.
        headers["x-content-length"] = headers.pop("content-length")
    return headers


async def _read_body(receive: Receive, headers: Mapping[str, str]) -> bytes:
    """The body, or nothing of a chunked one, which the host drops. Raises OverflowError after one that is too long."""
    length = headers.get("content-length")
    if length in (None, "0") and "transfer-encoding" not in headers:
        return b""
    pieces: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        piece = cast(bytes, message.get("body", b""))
        size += len(piece)
        if length is not None and size <= MAX_BODY:
            pieces.append(piece)
        more = message.get("more_body", False)
    if size > MAX_BODY:
        raise OverflowError
    return b"".join(pieces)
