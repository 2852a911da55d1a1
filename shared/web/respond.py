"""The path of a request through a route: access, decode, call, respond. Only this module turns errors into problems
and records calls."""

import logging
import re
import traceback
from collections.abc import Callable, Mapping
from logging import LogRecord
from random import getrandbits
from time import perf_counter, time
from typing import Protocol

import msgspec

from shared.deadline import DEFAULT_SECONDS, call_limit
from shared.errors import DuplicateHeader, InternalError, StrongroomError, Unauthorized, invalid_field
from shared.inflight import Call, inflight
from shared.web.decoding import MAX_ERRORS, decode, query_pairs, refuse_secrets
from shared.web.route import Access, Operation, Request, Response, Route, Session

log = logging.getLogger("strongroom")

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")

_LINE = '{"function":"%s","method":"%s","status":%d,"outcome":"%s","duration_ms":%.3f,"request_id":"%s"}'
_RECORD = {
    **vars(log.makeRecord(log.name, logging.INFO, __file__, 0, _LINE, (), None)),
    "thread": None,  # As with `logging.logThreads = False`.
    "threadName": None,
}
"""The attributes of the record of a call, as far as all have the same."""
_BEARER_IN_LIST = re.compile(r"(?:^|,)[ \t]*bearer(?![^ \t,])", re.IGNORECASE)
"""A Bearer credential at the beginning of a list, or within it."""
_WITHOUT_BODY = frozenset({204, 205, 304})


class Replays(Protocol):
    """Keeps the first success of a request with an `Idempotency-Key`, and returns it to later ones."""

    def once(self, route: Route, request: Request, call: Callable[[], Response], caller: str) -> Response:
        """The response to the first such request of a caller. Raises KeyReused, StillRunning, InvalidRequest."""
        ...


def respond(
    route: Route,
    request: Request,
    max_body_bytes: int,
    *,
    call_seconds: float = DEFAULT_SECONDS,
    replays: Callable[[], Replays] | None = None,
) -> Response:
    """Respond to `request` by `route`. Never raises: every failure is a problem (RFC 9457).

    The call may wait `call_seconds` for other services. Without `replays`, an `Idempotency-Key` is ignored.
    """
    started = perf_counter()
    # Without `get`: for a missing header the worker's class raises and catches an exception, which is slow.
    sent_id = "x-request-id" in request.headers and _SANE_REQUEST_ID.fullmatch(request.headers["x-request-id"])
    request_id = sent_id[0] if sent_id else f"{getrandbits(128):032x}"  # Unique; nothing depends on its secrecy.
    cache_seconds = 0
    error_member = False
    try:
        operation = route.operation
        error_member = operation.error_member
        with call_limit(call_seconds), Call(inflight):
            response = _call(route, operation, request, max_body_bytes, replays)
        cache_seconds = operation.cache_seconds
    except StrongroomError as error:
        response = problem(error, request_id, error_member=error_member)
        if error.status >= 500:
            log_cause(error, request_id)
    except Exception as error:  # noqa: BLE001 - the last resort: the caller gets a problem in any case.
        response = problem(InternalError(), request_id, error_member=error_member)
        log_cause(error, request_id)
    cacheable = cache_seconds and response.status == 200
    headers = {
        "content-type": response.content_type,
        **response.headers,
        "x-request-id": request_id,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": f"public, max-age={cache_seconds}"
        if cacheable
        else response.headers.get("cache-control", "no-store"),
    }
    if response.body and response.status not in _WITHOUT_BODY:
        # Without it the host sends the body in chunks, and a download shows no size.
        headers["content-length"] = str(len(response.body))
    _record(route, request, response, request_id, (perf_counter() - started) * 1000)
    return Response(response.status, response.body, response.content_type, headers, response.outcome)


def _call(
    route: Route,
    operation: Operation,
    request: Request,
    max_body_bytes: int,
    replays: Callable[[], Replays] | None,
) -> Response:
    _refuse_repeated(request.headers)
    inflight.book(len(request.body))
    session = _session(route, request) if route.access is Access.SESSION else None

    def run() -> Response:
        fields = decode(route, operation, request, max_body_bytes)
        arguments: list[object] = [] if fields is None else [fields]
        if operation.raw or operation.with_request:
            arguments.append(request)
        if session is not None:
            arguments.append(session)
        if operation.timeout_bounds_call:
            with call_limit(getattr(fields, "timeout_ms") / 1000):  # noqa: B009 - a field of such functions.
                result = operation.handle(*arguments)
        else:
            result = operation.handle(*arguments)
        return result if isinstance(result, Response) else Response.json(result)

    if operation.single_use and "idempotency-key" in request.headers:
        raise invalid_field(
            "idempotency_key", "This function takes no Idempotency-Key, because its response must not be kept."
        )
    if operation.writes and replays is not None and "idempotency-key" in request.headers:
        return replays().once(route, request, run, session.caller if session else "")
    return run()


def _refuse_repeated(headers: Mapping[str, str]) -> None:
    """Raise DuplicateHeader if Authorization or Origin came twice: choosing one of them would be a guess.

    The host joins two headers with a comma. A Bearer token contains no comma (RFC 6750, section 2.1), but one
    credential of another scheme may (RFC 9110, section 11.6.2): a gateway's Digest is let through, and authorises
    nothing here.
    """
    if "origin" in headers and "," in headers["origin"]:
        raise DuplicateHeader("Send the header Origin once.")
    if "authorization" in headers:
        value = headers["authorization"]
        if "," in value and _BEARER_IN_LIST.search(value):
            raise DuplicateHeader(
                "Send the header Authorization once, with one Bearer token and no other credential. If a gateway adds "
                "its own credential, configure it to leave the header Authorization alone."
            )


def _session(route: Route, request: Request) -> Session:
    """The session of the request's bearer token (RFC 6750, section 2.1); a token in the URL is refused as a secret."""
    refuse_secrets(query_pairs(request.url, route.reserved))
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip() or route.authenticate is None:
        raise Unauthorized("Send the access token of a session in the header Authorization: Bearer.")
    return route.authenticate(token.strip())


def _record(route: Route, request: Request, response: Response, request_id: str, duration_ms: float) -> None:
    """Log one line per call: the function and its outcome, and nothing that the caller sent."""
    if log.isEnabledFor(logging.INFO):
        # As log.info does it, without its search for the calling line, the thread, the process and the task: that takes
        # as long as all the rest of it.
        now = time()
        record = LogRecord.__new__(LogRecord)
        record.__dict__ = {
            **_RECORD,
            "args": (route.name, request.method, response.status, response.outcome, duration_ms, request_id),
            "created": now,
            "msecs": now * 1000 // 1 % 1000,
            "relativeCreated": _RECORD["relativeCreated"] + (now - _RECORD["created"]) * 1000,
        }
        log.handle(record)


def problem(error: StrongroomError, request_id: str, *, error_member: bool = False) -> Response:
    """`error` as problem details (RFC 9457). A 5xx shows nothing of the exception."""
    body = problem_fields(error)
    if error_member:
        body["error"] = body["detail"] or body["title"]
    if error.status >= 500:
        body["request_id"] = request_id
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    return Response(error.status, msgspec.json.encode(body), "application/problem+json", headers, error.code)


def problem_fields(error: StrongroomError) -> dict[str, object]:
    """The members of `error` as problem details, without a request id: the form of a problem in a batch's results."""
    body: dict[str, object] = {
        "type": f"urn:strongroom:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.advice if error.status >= 500 else error.detail,
        "code": error.code,
    }
    if error.errors:
        body["errors"] = [each._asdict() for each in error.errors[:MAX_ERRORS]]
        body["error_count"] = error.error_count
    return body


def log_cause(error: BaseException, request_id: str) -> None:
    """Log each exception of the chain with the code that raised it.

    It leaves out the messages of other libraries' exceptions: they quote URLs, rows and request bodies.
    """
    causes = []
    cause: BaseException | None = error
    while cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)[-5:]
        calls = " < ".join(f"{each.filename.rpartition('/')[2]}:{each.lineno} {each.name}" for each in reversed(frames))
        detail = f" ({cause.detail})" if isinstance(cause, StrongroomError) and cause.detail else ""
        causes.append(f"{type(cause).__module__}.{type(cause).__qualname__}{detail} at {calls}")
        cause = cause.__cause__ or cause.__context__
    log.error('{"request_id":"%s","error":%s}', request_id, msgspec.json.encode(" | from ".join(causes)).decode())
