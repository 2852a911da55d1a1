"""The operation that serves a path, where open routes that share a first segment are one function."""

import json
import re

from shared.app import build
from shared.web import FUNCTION, GET, Route
from tests.support import App, StartApp

OPEN = {"STRONGROOM_PUBLIC_SIGN_IN": "true", "STRONGROOM_PUBLIC_SIGN_UP": "true", "STRONGROOM_PUBLIC_LOG": "true"}
"""Settings that open functions at the host."""
RECORD = re.compile(r'\{"function":.*"request_id":".*"\}')


def called(app: App) -> dict[str, str]:
    """The operation that served each request, by the id of the request."""
    records = [json.loads(each) for each in RECORD.findall(app.log.read_text())]
    return {each["request_id"]: each["function"] for each in records}


def check_routes(app: App, settings: dict[str, str]) -> None:
    """Call every route with a field that no function accepts; the log names the operation that responded."""
    expected = {}
    with app.client() as client:
        for route in build(settings).routes:
            for method in route.methods:
                identifier = f"{route.name}-{method}"
                path = re.sub(r"\{\*?(\w+)\}", "a1", route.path)
                client.request(method, f"/api/{path}?no_such_field=1", headers={"x-request-id": identifier})
                expected[identifier] = route.name
    assert called(app) == expected


def test_no_route_swallows_another(start_app: StartApp) -> None:
    """Each method and path of the route table reaches its own operation, whatever the settings open."""
    check_routes(start_app(), {})
    check_routes(start_app(OPEN), OPEN)


def test_open_routes_of_one_segment_are_one_function(running_app: App) -> None:
    """The host lists one function for each first segment with several open routes, and one for any other route."""
    segments = [route.path.partition("/")[0] for route in build({}).routes if route.access is not FUNCTION]
    with running_app.client(key=running_app.master_key) as client:
        listed = {each["name"] for each in client.get("/admin/functions").json()}
    expected = {"purge"}
    for route in build({}).routes:
        segment = route.path.partition("/")[0]
        is_group = route.access is not FUNCTION and segments.count(segment) > 1
        expected.add(segment if is_group else route.name)
    assert listed == expected


def test_what_no_route_serves_is_404(running_app: App) -> None:
    """Below a shared segment, an unknown path and a wrong method get what the host responds elsewhere: 404, empty."""
    paths = [route.path for route in build({}).routes if route.access is not FUNCTION]
    segments = {path.partition("/")[0] for path in paths} - {path.partition("/")[0] for path in paths if "{*" in path}
    with running_app.client() as client:
        for segment in segments:
            response = client.get(f"/api/{segment}/no/such/path/at/all")
            assert (response.status_code, response.content) == (404, b""), segment


def test_match() -> None:
    """A route matches without regard to case and a slash at the end; a value is one segment and never empty."""
    route = Route("example", "me/sessions/{session_id}", GET, FUNCTION, dict)
    assert route.match("me/sessions/a1") == {"session_id": "a1"}
    assert route.match("ME/Sessions/A%2F1/") == {"session_id": "A%2F1"}
    for path in ("me/sessions", "me/sessions/", "me/sessions//", "me/sessions/a1/b", "me/session/a1", ""):
        assert route.match(path) is None, path
