"""Serves the indexed functions over HTTP with the Functions host's rules."""

import json
import logging
import threading
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

from azure.functions.http import HttpRequest
from azure.functions.timer import TimerRequest

from .answers import Answer, BadAnswer, read_result
from .indexing import Function
from .keys import Keys
from .routing import Router
from .settings import Cors
from .urls import Target, params, read_query
from .wire import Request

_HOME = b"<!DOCTYPE html><title>Strongroom</title><p>Strongroom's local host, for development only.</p>\n"

_log = logging.getLogger("host")


@dataclass(frozen=True)
class Context:
    """What a handler gets that asks for `context`, and reads as an azure.functions.Context."""

    function_name: str
    function_directory: str
    invocation_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    thread_local_storage: threading.local = field(default_factory=threading.local)
    trace_context: None = None
    retry_context: None = None


class Host:
    """Answers requests. Safe to use from many threads."""

    def __init__(self, functions: list[Function], prefix: str, keys: Keys | None, cors: Cors | None) -> None:
        self._functions = {function.name.lower(): function for function in functions}
        self._prefix = prefix
        self._router = Router(functions, prefix)
        self._keys = keys
        self._cors = cors

    def answer(self, request: Request) -> Answer:
        method, target, headers = request.method, request.target, request.headers
        cors = self._cors if "origin" in headers else None
        if cors and method == "OPTIONS" and "access-control-request-method" in headers:
            return Answer(204, cors.preflight(headers))
        answer = self._route(method, target, headers, request.body)
        return answer._replace(headers=answer.headers + cors.headers(headers)) if cors else answer

    def _route(self, method: str, target: Target, headers: dict[str, str], body: bytes | None) -> Answer:
        found = read_query(target.query) if target.query else {}
        # The header wins over the query, even when it is wrong or empty.
        given = headers.get("x-functions-key", found["code"][1][0] if "code" in found else None)
        match = self._router.find(method, target.path)
        if match is None:
            return self._own_page(method, target.path, given, headers.get("host", ""), body)
        function, values = match
        if self._keys and not self._keys.open(function, given):
            return Answer(401)
        if body is None:
            return Answer(500)
        request = HttpRequest(
            method, target.url, headers=headers, params=params(found), route_params=values, body_type="bytes", body=body
        )
        return _run(function, request, lambda result: read_result(result, method))

    def _own_page(self, method: str, path: str, given: str | None, host: str, body: bytes | None) -> Answer:
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
            return Answer(404)
        if method == "GET":
            return _json(self._describe(function, base))
        return self._invoke(function, base, body or b"{}")

    def _invoke(self, function: Function, base: str, body: bytes) -> Answer:
        """Starts a run and does not wait for it: the answer says only that it was accepted."""
        try:
            given = json.loads(body).get("input") or ""
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

        threading.Thread(target=_run, args=(function, trigger, lambda _: Answer(202)), daemon=True).start()
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


def _run(function: Function, trigger: object, read: Callable[[object], Answer]) -> Answer:
    """Calls the handler; a failure is logged, and answered with 500."""
    arguments: dict[str, object] = {function.argument: trigger}
    if function.wants_context:
        arguments["context"] = Context(function.name, str(Path.cwd()))
    try:
        result = function.handler(**arguments)
        return read(_finished(result) if function.is_async else result)
    except BadAnswer as error:
        _log.error("%s: %s", function.name, error)
    except Exception:  # noqa: BLE001 - whatever a handler raises is a 500
        _log.exception("%s failed", function.name)
    return Answer(500)


def _finished(coroutine: Coroutine[object, object, object]) -> object:
    import asyncio  # Loaded only for an app that has such handlers.

    return asyncio.run(coroutine)


def _json(told: object) -> Answer:
    body = json.dumps(told, separators=(",", ":")).encode()
    return Answer(200, (("content-type", "application/json; charset=utf-8"),), body)
