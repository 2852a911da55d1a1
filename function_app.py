"""The Azure edge: turns the route table into HTTP-triggered functions. Everything else is in `shared/`."""

# ruff: noqa: E402 - the imports come after gc.disable().

import gc

# Nearly all that indexing makes lasts as long as the process: looking for garbage in it takes a tenth of indexing.
gc.disable()

import os
from collections.abc import Mapping
from datetime import UTC, datetime

import azure.functions as func

from shared.app import build
from shared.web import Access, Request, Response, Route

app = func.FunctionApp()
_app = build(os.environ)


class _HttpResponse(func.HttpResponse):
    """A response with its headers in a dict: the `Headers` of the base class take 10 µs of each call."""

    def __init__(self, response: Response) -> None:
        self._response = response

    @property
    def status_code(self) -> int:
        return self._response.status

    @property
    def headers(self) -> dict[str, str]:  # type: ignore[override]  # The library only looks names up, and iterates.
        return self._response.headers

    def get_body(self) -> bytes:
        return self._response.body


def _respond(route: Route, req: func.HttpRequest, path_fields: Mapping[str, str]) -> func.HttpResponse:
    request = Request(req.method, req.url, req.headers, path_fields, req.get_body())
    response = _app.respond(route, request)
    if "set-cookie" in response.headers:  # The library reads cookies only from werkzeug's headers.
        return func.HttpResponse(response.body, status_code=response.status, headers=response.headers)
    return _HttpResponse(response)


def _register(route: Route, level: func.AuthLevel) -> None:
    """One route, one function: the host checks the function's own key."""

    def handle(req: func.HttpRequest) -> func.HttpResponse:
        return _respond(route, req, req.route_params)

    handle.__name__ = route.name  # The host's name of the function, without the cost of a decorator for it.
    app.route(route=route.path, methods=list(route.methods), auth_level=level)(handle)


def _register_group(segment: str, routes: list[Route]) -> None:
    """One function for the open routes below `segment`: each function that the host indexes adds to a cold start."""

    def handle(req: func.HttpRequest) -> func.HttpResponse:
        path = f"{segment}/{req.route_params.get('path', '')}"
        for route in routes:
            if req.method in route.methods and (path_fields := route.match(path)) is not None:
                return _respond(route, req, path_fields)
        return func.HttpResponse(status_code=404)  # As the host's, where no function serves a path.

    methods = list(dict.fromkeys(method for route in routes for method in route.methods))
    handle.__name__ = segment
    app.route(route=segment + "/{*path}", methods=methods, auth_level=func.AuthLevel.ANONYMOUS)(handle)


@app.function_name("purge")
@app.timer_trigger(arg_name="timer", schedule="0 30 3 * * *")  # Daily at 3:30 UTC.
def purge(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the name of the binding, which the host requires.
    """Remove expired records. The host logs a failure, and the next day's run tries again."""
    _app.purge(datetime.now(UTC))


_open_routes: dict[str, list[Route]] = {}
for _route in _app.routes:
    if _route.access is Access.FUNCTION:
        _register(_route, func.AuthLevel.FUNCTION)
    else:
        _open_routes.setdefault(_route.path.partition("/")[0], []).append(_route)
for _segment, _routes in _open_routes.items():
    if len(_routes) == 1:
        _register(_routes[0], func.AuthLevel.ANONYMOUS)
    else:
        _register_group(_segment, _routes)

gc.freeze()  # Collections within calls leave out what indexing made.
gc.enable()
