"""A request's whole way through a route: decode, call, answer; and the one place where errors become problems."""

import logging
import os
import re
import traceback
from time import perf_counter

import msgspec

from shared.errors import InternalError, StrongroomError
from shared.web.decoding import decode
from shared.web.route import Request, Response, Route

log = logging.getLogger("strongroom")

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")


_LINE = '{"function":"%s","method":"%s","status":%d,"duration_ms":%.3f,"request_id":"%s"}'


def respond(route: Route, request: Request, max_body_bytes: int) -> Response:
    """Answer `request` by `route`. Never raises: what goes wrong is a problem (RFC 9457)."""
    started = perf_counter()
    # Not by `get`, to which a missing header is an exception in the worker's headers.
    given = "x-request-id" in request.headers and _SANE_REQUEST_ID.fullmatch(request.headers["x-request-id"])
    request_id = given[0] if given else os.urandom(16).hex()
    cache_seconds = 0
    try:
        operation = route.operation
        fields = decode(operation.request, request, max_body_bytes, headers=operation.headers, raw=operation.raw)
        with_request = operation.raw or operation.with_request
        arguments = () if fields is None else (fields, request) if with_request else (fields,)
        result = operation.handle(*arguments)
        cache_seconds = operation.cache_seconds
        response = result if isinstance(result, Response) else Response.json(result)
    except StrongroomError as error:
        response = problem(error, request_id)
        if error.status >= 500:
            _log_cause(error, request_id)
    except Exception as error:  # noqa: BLE001 - the last resort: whatever it is, the caller gets a problem.
        response = problem(InternalError(), request_id)
        _log_cause(error, request_id)
    cacheable = cache_seconds and response.status == 200
    headers = {
        "content-type": response.content_type,
        **response.headers,
        "x-request-id": request_id,
        "x-content-type-options": "nosniff",
        "cache-control": f"public, max-age={cache_seconds}" if cacheable else "no-store",
    }
    if log.isEnabledFor(logging.INFO):
        # As log.info does it, but for the search for the calling line, which takes as long as all the rest of it.
        told = (route.name, request.method, response.status, (perf_counter() - started) * 1000, request_id)
        log.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, _LINE, told, None))
    return Response(response.status, response.body, response.content_type, headers)


def problem(error: StrongroomError, request_id: str) -> Response:
    """`error` as problem details (RFC 9457). A 5xx shows nothing of the exception."""
    body = problem_fields(error)
    if error.status >= 500:
        body["request_id"] = request_id
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    return Response(error.status, msgspec.json.encode(body), "application/problem+json", headers)


def problem_fields(error: StrongroomError) -> dict[str, object]:
    """The members of `error` as problem details, without a request id: as they stand in the results of a batch."""
    body: dict[str, object] = {
        "type": f"urn:strongroom:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.advice if error.status >= 500 else error.detail,
        "code": error.code,
    }
    if error.errors:
        body["errors"] = [each._asdict() for each in error.errors]
    return body


def _log_cause(error: BaseException, request_id: str) -> None:
    """Log what went wrong and where, for each exception of the chain.

    The messages of exceptions that are not ours stay out: they quote URLs, rows and request bodies.
    """
    seen = []
    cause: BaseException | None = error
    while cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)[-5:]
        places = " < ".join(
            f"{each.filename.rpartition('/')[2]}:{each.lineno} {each.name}" for each in reversed(frames)
        )
        said = f" ({cause.detail})" if isinstance(cause, StrongroomError) and cause.detail else ""
        seen.append(f"{type(cause).__module__}.{type(cause).__qualname__}{said} at {places}")
        cause = cause.__cause__ or cause.__context__
    log.error('{"request_id":"%s","error":%s}', request_id, msgspec.json.encode(" | from ".join(seen)).decode())
