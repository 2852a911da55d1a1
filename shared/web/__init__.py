"""HTTP as the capabilities see it: what a route is, how a request is decoded, and how everything is answered."""

from shared.web.base64url import decode_base64, encode_base64
from shared.web.cursor import decode_cursor, encode_cursor
from shared.web.route import Access, Answer, Example, Fields, Operation, Request, Route
from shared.web.times import rfc3339

__all__ = [
    "Access",
    "Answer",
    "Example",
    "Fields",
    "Operation",
    "Request",
    "Route",
    "decode_base64",
    "decode_cursor",
    "encode_base64",
    "encode_cursor",
    "rfc3339",
]
