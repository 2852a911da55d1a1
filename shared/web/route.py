"""What a route is, and what goes in and out of one.

These are msgspec's structs, where a dataclass would do as well, because each dataclass takes half a millisecond to
define, and every cold start pays for that.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import msgspec

from shared.errors import StrongroomError


class Access(Enum):
    """Who may call: whoever has a key of the function (or of the app), or everyone."""

    FUNCTION = "function"
    PUBLIC = "public"


FUNCTION, PUBLIC = Access.FUNCTION, Access.PUBLIC
GET, POST, PUT, PATCH, DELETE = ("GET",), ("POST",), ("PUT",), ("PATCH",), ("DELETE",)
GET_HEAD, GET_POST = ("GET", "HEAD"), ("GET", "POST")


class Fields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what a request may hold, in its query string or in its JSON body. Its repr shows no value."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class Request(msgspec.Struct, frozen=True):
    """An HTTP request, as the host hands it on."""

    method: str
    url: str
    """As sent: percent-encoded, query string included."""
    headers: Mapping[str, str]
    """Names in lower case."""
    path_fields: Mapping[str, str]
    """What stands in the path where the route has `{name}`, decoded."""
    body: bytes

    def __repr__(self) -> str:
        return f"Request({self.method}, …)"


class Response(msgspec.Struct, frozen=True):
    """An HTTP response. Handlers return one where a struct and status 200 do not say it."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = {}

    @staticmethod
    def json(value: object, status: int = 200) -> "Response":
        """`value` (a struct, or anything msgspec encodes) as JSON."""
        return Response(status, msgspec.json.encode(value))


class Example(msgspec.Struct, frozen=True):
    """A request that really works on the sample data, for the OpenAPI document."""

    summary: str
    fields: Mapping[str, Any]


class Operation(msgspec.Struct, frozen=True):
    """What a function does with a request, and how the OpenAPI document tells of it."""

    handle: Callable[..., object]
    """Takes the decoded `request` (nothing where that is None), returns a struct to answer as JSON, or a Response."""
    request: type[Fields] | None
    response: type[msgspec.Struct] | tuple[type[msgspec.Struct], ...] | None
    """What a success holds (or which of several), for the OpenAPI document; None where it is no fixed JSON."""
    summary: str
    errors: tuple[type[StrongroomError], ...] = ()
    """Beside those that any function may answer."""
    examples: tuple[Example, ...] = ()
    statuses: Mapping[int, str] = msgspec.field(default_factory=lambda: {200: "Answered."})
    """The statuses of success, each with what it means."""
    media_types: tuple[str, ...] = ("application/json",)
    """What a success may be answered as."""
    cache_seconds: int = 0
    """How long a public document may be cached; 0 means `no-store`."""
    headers: tuple[str, ...] = ()
    """Request headers, in lower case, that arrive as text fields named with underscores: `if-match` as `if_match`."""
    raw: bool = False
    """The body is bytes of any type, fields are in path, query and headers alone; `handle` takes the Request, too."""
    with_request: bool = False
    """`handle` takes the Request as second argument."""


class Route(msgspec.Struct, frozen=True):
    """One HTTP-triggered function: what the host must know of it, and where the rest is."""

    name: str
    """Of the function: lower case, with hyphens."""
    path: str
    """Below `/api/`; fields in it stand in braces."""
    methods: tuple[str, ...]
    access: Access
    capability: Callable[[], Mapping[str, Operation]]
    """Loads the capability at the first call of one of its functions; its operations go by the functions' names."""

    @property
    def operation(self) -> Operation:
        return self.capability()[self.name]
