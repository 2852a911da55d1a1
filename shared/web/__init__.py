"""HTTP for the capabilities: routes, decoding of requests, responses, cursors, the OpenAPI document."""

from shared.web.base64url import decode_base64, decode_strictly, encode_base64
from shared.web.cursor import Cursors
from shared.web.decoding import convert, parse_object
from shared.web.fields import Cursor
from shared.web.route import (
    DELETE,
    FUNCTION,
    GET,
    GET_HEAD,
    GET_POST,
    PATCH,
    POST,
    PUBLIC,
    PUT,
    SESSION,
    Access,
    Example,
    Fields,
    Operation,
    Request,
    Response,
    Route,
    Session,
)
from shared.web.times import rfc3339

__all__ = [
    "DELETE",
    "FUNCTION",
    "GET",
    "GET_HEAD",
    "GET_POST",
    "PATCH",
    "POST",
    "PUBLIC",
    "PUT",
    "SESSION",
    "Access",
    "Cursor",
    "Cursors",
    "Example",
    "Fields",
    "Operation",
    "Request",
    "Response",
    "Route",
    "Session",
    "convert",
    "decode_base64",
    "decode_strictly",
    "encode_base64",
    "parse_object",
    "rfc3339",
]
