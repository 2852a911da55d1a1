"""Serves the indexed functions over HTTP with the Functions host's rules: routes, keys, and conversions."""

import asyncio
import json
import logging
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h11
from azure.functions.http import HttpRequest
from azure.functions.timer import TimerRequest
from uvicorn.protocols.http.h11_impl import H11Protocol

from .callers import Callers
from .indexing import Function
from .keys import Keys
from .responses import BadResponse, Response, read_result
from .routing import Router
from .settings import Cors
from .urls import BadTarget, Target, params, read_query, read_target

MAX_REQUEST_LINE = 8 * 1024
MAX_HEADERS = 32 * 1024
MAX_BODY = 100 * 1024 * 1024

Message = MutableMapping[str, Any]
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_HOME = b"<!DOCTYPE html><title>Strongroom</title><p>Strongroom's local host, for development only.</p>\n"

_log = logging.getLogger("host")


@dataclass(frozen=True)
class Context:
    """The value of a handler's `context` parameter. It has the attributes of an azure.functions.Context."""

    function_name: str
    function_directory: str
    invocation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    thread_local_storage: threading.local = field(default_factory=threading.local)
    trace_context: None = None
    retry_context: None = None


class Protocol(H11Protocol):
    """uvicorn's protocol, which responds to a malformed request as Kestrel does: 400 with an empty body."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature.
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        self.transport.write((self.conn.send(response) or b"") + (self.conn.send(h11.EndOfMessage()) or b""))
        self.transport.close()


class _Rejected(Exception):
    """The request is not one that Kestrel, the real host's server, accepts."""

    def __init__(self, status: int) -> None:
        self.response = _empty(status, ("connection", "close"))


class Host:
    """The ASGI app. Plain handlers run on a pool of threads, async ones on the event loop."""

    def __init__(
        self,
        functions: list[Function],
        prefix: str,
        keys: Keys | None,
        cors: Cors | None,
        callers: Callers,
        threads: int,
    ) -> None:
        self._functions = {function.name.lower(): function for function in functions}
        self._prefix = prefix
        self._router = Router(functions, prefix)
        self._keys = keys
        self._cors = cors
        self._callers = callers
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="handler")
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            method, target, headers = _read_head(scope)
        except _Rejected as rejected:
            await _send(send, rejected.response)
            return
        try:
            body = await _read_body(receive)
        except ConnectionError:
            return
        if "content-length" not in headers:
            # The real host drops the body of a chunked request before the worker sees it.
            body = b""
        try:
            response = await self._respond(method, target, headers, body)
        except asyncio.CancelledError:
            _log.warning("A call was still running when the host ended; it gets 503.")
            response = _empty(503)
        if method == "HEAD" and not response.body:
            # The real host's own pages state no length for HEAD.
            response = response._replace(headers=tuple(h for h in response.headers if h != ("content-length", "0")))
        await _send(send, response)

    async def _respond(self, method: str, target: Target, headers: dict[str, str], body: bytes | None) -> Response:
        cors = self._cors if "origin" in headers else None
        if cors and method == "OPTIONS" and "access-control-request-method" in headers:
            return _empty(204, *cors.preflight(headers))
        if problem := self._callers.problem(headers):
            return _text(403, problem)
        response = await self._route(method, target, headers, body)
        return response._replace(headers=response.headers + cors.headers(headers)) if cors else response

    async def _route(self, method: str, target: Target, headers: dict[str, str], body: bytes | None) -> Response:
        query = read_query(target.query) if target.query else {}
        # The header beats the query, even when it is wrong or empty.
        key = headers.get("x-functions-key", query["code"][1][0] if "code" in query else None)
        match = self._router.find(method, target.path)
        if match is None:
            return self._own_page(method, target.path, key, headers.get("host", ""), body)
        function, values = match
        if self._keys and not self._keys.open(function, key):
            return _empty(401)
        if body is None:
            return _empty(500)
        request = HttpRequest(
            method, target.url, headers=headers, params=params(query), route_params=values, body_type="bytes", body=body
        )
        return await self._run(function, request, lambda result: read_result(result, method))

    def _own_page(self, method: str, path: str, key: str | None, host: str, body: bytes | None) -> Response:
        """The home page and the admin endpoints of the host itself."""
        path = path.lower().rstrip("/")
        if not path and method in ("GET", "HEAD"):
            return Response(200, (("content-type", "text/html"),), _HOME)
        if path == "/admin/host/ping":
            return _empty(200, ("cache-control", "no-store,no-cache"), ("pragma", "no-cache"))
        name = path.removeprefix("/admin/functions/")
        known = {
            ("GET", "/admin/host/status"),
            ("GET", "/admin/host/keys"),
            ("GET", "/admin/functions"),
            ("GET", f"/admin/functions/{name}"),
            ("POST", f"/admin/functions/{name}"),
        }
        if (method, path) not in known:
            return _empty(404)
        if self._keys and not self._keys.is_master(key):
            return _empty(403) if self._keys.is_host_key(key) else _empty(401, ("www-authenticate", "Bearer"))
        base = f"http://{host}"
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
            return _empty(404)
        if method == "GET":
            return _json(self._describe(function, base))
        return self._invoke(function, base, body or b"{}")

    def _invoke(self, function: Function, base: str, body: bytes) -> Response:
        """Starts a run and does not wait for it: the response says only that the host accepted it."""
        try:
            value = json.loads(body).get("input") or ""
        except (AttributeError, ValueError):
            return _empty(400)
        trigger: object
        if function.is_http:
            trigger = HttpRequest(
                (function.methods or ("POST",))[0],
                f"{base}/{self._prefix}/{function.route}",
                headers={},
                params={},
                route_params={},
                body_type="bytes",
                body=str(value).encode(),
            )
        elif function.trigger == "timerTrigger":
            trigger = TimerRequest(past_due=False)
        else:
            return _empty(400)

        async def run() -> None:
            await self._run(function, trigger, lambda _: _empty(202))

        # The event loop keeps weak references to its tasks alone.
        task = asyncio.get_running_loop().create_task(run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return _empty(202)

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

    async def _run(self, function: Function, trigger: object, read: Callable[[object], Response]) -> Response:
        """Calls the handler. A failure is logged, and the response is 500."""
        arguments: dict[str, object] = {function.argument: trigger}
        if function.wants_context:
            arguments["context"] = Context(function.name, str(Path.cwd()))
        try:
            if function.is_async:
                return read(await function.handler(**arguments))
            call = partial(copy_context().run, function.handler, **arguments)
            return read(await asyncio.get_running_loop().run_in_executor(self._pool, call))
        except BadResponse as error:
            _log.error("%s: %s", function.name, error)
        except Exception:  # noqa: BLE001 - any exception of a handler is a 500
            _log.exception("%s failed", function.name)
        return _empty(500)


def _read_head(scope: Scope) -> tuple[str, Target, dict[str, str]]:
    """Method, target, and headers (names in lower case, repeats joined by commas). Raises _Rejected."""
    method = str(scope["method"]).upper()
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    if scope["http_version"] not in ("1.0", "1.1"):
        raise _Rejected(505)
    if len(method) + len(target) + len("  HTTP/1.1") > MAX_REQUEST_LINE:
        raise _Rejected(414)
    if sum(len(name) + len(value) + len(": \r\n") for name, value in scope["headers"]) > MAX_HEADERS:
        raise _Rejected(431)
    headers: dict[str, str] = {}
    try:
        for name, value in scope["headers"]:
            text = value.decode()
            headers[name.decode()] = f"{headers[name.decode()]},{text}" if name.decode() in headers else text
        if "transfer-encoding" in headers and "content-length" in headers:
            # As Kestrel does: the length does not count, and is kept under another name.
            headers["x-content-length"] = headers.pop("content-length")
        return method, read_target(target, headers.get("host", "")), headers
    except (UnicodeDecodeError, BadTarget) as error:
        raise _Rejected(400) from error


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body; None for one over MAX_BODY, which is read to its end all the same, as the real host does.

    Raises ConnectionError if the client leaves before its end: the handler then must not run with half a body.
    """
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left")
        piece = message.get("body", b"")
        size += len(piece)
        if size <= MAX_BODY:
            pieces.append(piece)
        else:
            pieces.clear()
        if not message.get("more_body"):
            return b"".join(pieces) if size <= MAX_BODY else None


async def _send(send: Send, response: Response) -> None:
    """Without a Content-Length, the server sends a body in chunks, as the real host does."""
    headers = [(name.encode(), value.encode()) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


def _empty(status: int, *headers: tuple[str, str]) -> Response:
    return Response(status, headers if status == 204 else (*headers, ("content-length", "0")))


def _json(content: object) -> Response:
    body = json.dumps(content, separators=(",", ":")).encode()
    return Response(200, (("content-type", "application/json; charset=utf-8"),), body)


def _text(status: int, text: str) -> Response:
    return Response(status, (("content-type", "text/plain; charset=utf-8"),), f"{text}\n".encode())
