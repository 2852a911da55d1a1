"""The Azure edge: turns the route table into HTTP-triggered functions. Everything else is in `shared/`."""

import os
from collections.abc import Callable
from datetime import UTC, datetime

import azure.functions as func

from shared.app import build
from shared.web import Access, Request, Route

app = func.FunctionApp()
_app = build(os.environ)
_AUTH_LEVELS = {
    Access.FUNCTION: func.AuthLevel.FUNCTION,
    Access.PUBLIC: func.AuthLevel.ANONYMOUS,
    Access.SESSION: func.AuthLevel.ANONYMOUS,
}


def _handler(route: Route) -> Callable[[func.HttpRequest], func.HttpResponse]:
    def handle(req: func.HttpRequest) -> func.HttpResponse:
        request = Request(req.method, req.url, req.headers, req.route_params, req.get_body())
        response = _app.respond(route, request)
        return func.HttpResponse(response.body, status_code=response.status, headers=response.headers)

    return handle


@app.function_name("purge")
@app.timer_trigger(arg_name="timer", schedule="0 30 3 * * *")  # Daily at 3:30 UTC.
def purge(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the name of the binding, which the host requires.
    """Remove expired records. The host logs a failure, and the next day's run tries again."""
    _app.purge(datetime.now(UTC))


for _route in _app.routes:
    _register = app.route(route=_route.path, methods=list(_route.methods), auth_level=_AUTH_LEVELS[_route.access])
    app.function_name(_route.name)(_register(_handler(_route)))
