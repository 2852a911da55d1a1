"""Responses: every outcome has the common headers, and nothing secret leaks."""

import json
import logging
from typing import Any

import msgspec
import pytest

from shared import errors
from shared.web import Access, Fields, Operation, Request, Response, Route
from shared.web.respond import respond

SECRET = "hunter2-and-more"


class Sent(Fields, frozen=True):
    """The request of the route below."""

    text: str = ""


class Echo(msgspec.Struct):
    """The response of the route below."""

    text: str


def call(handle: Any, body: bytes = b"{}", headers: dict[str, str] | None = None, cache_seconds: int = 0) -> Response:
    """The response to a POST of a route with this handler."""
    operation = Operation(handle, Sent, Echo, "", cache_seconds=cache_seconds)
    route = Route("probe", "probe", ("POST",), Access.PUBLIC, lambda: {"probe": operation})
    return respond(route, Request("POST", "http://x/api/probe", headers or {}, {}, body), 1000)


def test_a_struct_becomes_json() -> None:
    """The struct that a handler returns becomes the JSON of a 200 with `no-store` and `nosniff`."""
    response = call(lambda sent: Echo(sent.text), b'{"text": "a"}')
    assert (response.status, response.content_type, json.loads(response.body)) == (
        200,
        "application/json",
        {"text": "a"},
    )
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_a_public_document_may_be_cached_and_a_problem_may_not() -> None:
    """Only a success of a route with `cache_seconds` may be cached."""
    assert call(lambda _: Echo(""), cache_seconds=60).headers["cache-control"] == "public, max-age=60"
    assert call(lambda _: Echo(""), b"[", cache_seconds=60).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("sent", ["abc-1.2_3~4", "a" * 128])
def test_a_sane_request_id_comes_back(sent: str) -> None:
    """The caller's own request id is echoed."""
    assert call(lambda _: Echo(""), headers={"x-request-id": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "a b", "a,b", "a" * 129, 'x"}', "é", "a\r\nb"])
def test_any_other_request_id_is_replaced(sent: str) -> None:
    """An id that could break a log line or a header is replaced by a new one."""
    headers = {"x-request-id": sent}
    ids = {call(lambda _: Echo(""), headers=headers).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    assert sent not in ids


COMMON = [each for each in errors.all_errors() if each.__init__ is errors.StrongroomError.__init__]
"""The errors without a constructor of their own."""


@pytest.mark.parametrize("error", COMMON)
def test_every_error_is_a_problem(error: type[errors.StrongroomError]) -> None:
    """Each error of the app becomes problem details (RFC 9457) with its code; a 5xx does not show its detail."""

    def handle(_: object) -> None:
        raise error(SECRET, errors=(errors.FieldError("a", "b"),), retry_after=7)

    response = call(handle)
    body = json.loads(response.body)
    assert response.content_type == "application/problem+json"
    assert (response.status, body["status"], body["code"]) == (error.status, error.status, error.code)
    assert body["title"] == error.title
    assert body["type"].endswith(error.code)
    assert body["errors"] == [{"field": "a", "detail": "b"}]
    assert response.headers["retry-after"] == "7"
    if error.status >= 500:
        assert SECRET not in response.body.decode()
        assert body["request_id"] == response.headers["x-request-id"]
        assert body["detail"]
    else:
        assert body["detail"] == SECRET


def test_an_unknown_exception_is_a_bare_500(caplog: pytest.LogCaptureFixture) -> None:
    """The response to an unexpected exception shows nothing of it; the log has its type, place and request id."""

    def handle(_: object) -> None:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise ValueError(SECRET) from error

    with caplog.at_level(logging.INFO):
        response = call(handle)
    assert response.status == 500
    assert set(json.loads(response.body)) == {"type", "title", "status", "detail", "code", "request_id"}
    assert SECRET not in response.body.decode() + caplog.text
    assert "builtins.ValueError at test_respond.py" in caplog.text
    assert "builtins.KeyError at test_respond.py" in caplog.text
    assert caplog.text.count(response.headers["x-request-id"]) == 2


def test_one_line_is_logged_for_a_request(caplog: pytest.LogCaptureFixture) -> None:
    """A request is one log line of JSON with function, status, duration and id, and nothing that the caller sent."""
    with caplog.at_level(logging.INFO):
        response = call(lambda _: Echo(SECRET), json.dumps({"text": SECRET}).encode(), {"x-functions-key": SECRET})
    (record,) = caplog.records
    line = json.loads(record.getMessage())
    assert line.pop("duration_ms") >= 0
    assert line == {
        "function": "probe",
        "method": "POST",
        "status": 200,
        "outcome": "",
        "request_id": response.headers["x-request-id"],
    }
    assert SECRET not in caplog.text


def test_the_record_of_a_call_is_a_whole_record(caplog: pytest.LogCaptureFixture) -> None:
    """The record of a call has every attribute that logging gives to one, and its own time, but no thread."""
    with caplog.at_level(logging.INFO):
        call(lambda _: Echo(""))
        logging.getLogger("strongroom").info("made by logging")
    record, made = caplog.records
    own, usual = vars(record), vars(made)
    assert own.keys() == usual.keys()
    own_facts = {"args", "created", "funcName", "lineno", "message", "msecs", "msg", "relativeCreated"}
    of_lines = {"asctime", "filename", "module", "pathname", "thread", "threadName"}
    assert {name for name in own if own[name] != usual[name]} <= own_facts | of_lines
    assert record.module == "respond"
    assert 0 <= made.created - record.created < 1
    assert made.relativeCreated - record.relativeCreated == pytest.approx((made.created - record.created) * 1000, abs=1)
    assert record.msecs == int(record.created * 1000) % 1000


def route_for(handle: Any, access: Access = Access.PUBLIC, authenticate: Any = None) -> Route:
    """A POST route with this handler."""
    operation = Operation(handle, Sent, Echo, "")
    return Route("probe", "probe", ("POST",), access, lambda: {"probe": operation}, authenticate=authenticate)


def post(route: Route, headers: dict[str, str]) -> Response:
    """The response to a POST with these headers."""
    sent = {"content-type": "application/json"} | headers
    return respond(route, Request("POST", "http://x/api/probe", sent, {}, b'{"text": "a"}'), 1000)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("authorization", "Bearer a, Bearer b"),
        ("authorization", "bearer a,b"),
        ("authorization", "Bearer a, Basic YTpi"),
        ("authorization", "Basic YTpi,Bearer a"),
        ("authorization", 'Digest username="a", realm="b", BEARER\ta'),
        ("authorization", "Bearer, Bearer"),
        ("origin", "https://a.example, https://b.example"),
    ],
)
def test_a_header_that_came_twice_is_refused(header: str, value: str) -> None:
    """The host joins repeated headers with a comma; where one value counts, the app refuses two."""
    response = post(route_for(lambda _: Echo("")), {header: value})
    assert (response.status, json.loads(response.body)["code"]) == (400, "duplicate-header")


@pytest.mark.parametrize(
    "value",
    [
        'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=SHA-256, qop=auth',
        "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c",
        "Negotiate YII=, Basic YTpi",
        'Digest username="bearer", realm="a"',
    ],
)
def test_a_credential_of_another_scheme_may_contain_commas(value: str) -> None:
    """One credential of another scheme may contain commas (RFC 9110, section 11.6.2); it opens no session."""
    assert post(route_for(lambda _: Echo("")), {"authorization": value}).status == 200
    session = route_for(lambda _: Echo(""), access=Access.SESSION, authenticate=lambda _: pytest.fail("no token"))
    assert post(session, {"authorization": value}).status == 401


@pytest.mark.parametrize(
    "sent", [{}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer"}, {"authorization": "Bearer  "}]
)
def test_a_session_route_needs_a_bearer_token(sent: dict[str, str]) -> None:
    """Without a bearer token, a session route responds 401 and names the scheme (RFC 6750, section 3)."""
    called: list[object] = []
    response = post(route_for(called.append, Access.SESSION, called.append), sent)
    assert (response.status, response.headers["www-authenticate"]) == (401, "Bearer")
    assert called == []


def test_a_session_route_gets_the_session() -> None:
    """The handler receives the session of the token, after the fields."""
    route = route_for(lambda sent, session: Echo(f"{sent.text} {session}"), Access.SESSION, str.upper)
    response = post(route, {"authorization": "bearer abc"})
    assert json.loads(response.body) == {"text": "a ABC"}


def test_a_body_has_its_length() -> None:
    """Every response with a body has a Content-Length, and one without a body has none."""
    assert call(lambda _: Echo("é")).headers["content-length"] == str(len('{"text":"é"}'.encode()))
    assert "content-length" not in call(lambda _: Response(204)).headers


def test_every_response_forbids_referrers() -> None:
    """A page that the app serves sends no Referer: a URL may contain a key."""
    assert call(lambda _: Echo("")).headers["referrer-policy"] == "no-referrer"
    assert call(lambda _: Echo(""), b"[").headers["referrer-policy"] == "no-referrer"


def test_the_outcome_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The log line of a call has the outcome that the handler sets, or the code of the problem."""
    with caplog.at_level(logging.INFO):
        call(lambda _: Response.json({}, outcome="wrong-password"))
        call(lambda _: Echo(""), b"[]")
    assert [json.loads(each.getMessage())["outcome"] for each in caplog.records] == ["wrong-password", "not-an-object"]
