"""The types of a route: access, request, response, operation.

They are msgspec structs: defining a dataclass would take half a millisecond of each cold start (decision 1).
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Protocol

import msgspec

from shared.errors import StrongroomError


class Access(Enum):
    """The callers whom a function accepts."""

    FUNCTION = "function"
    """Callers with a key of the function or of the app. The host checks it."""
    PUBLIC = "public"
    """Anybody."""
    SESSION = "session"
    """Callers with the access token of a session. The host checks nothing; the app checks the token."""


FUNCTION, PUBLIC, SESSION = Access.FUNCTION, Access.PUBLIC, Access.SESSION
GET, POST, PUT, PATCH, DELETE = ("GET",), ("POST",), ("PUT",), ("PATCH",), ("DELETE",)
GET_HEAD, GET_POST = ("GET", "HEAD"), ("GET", "POST")


HOST_PARAMETERS = frozenset({"code", "clientid"})
"""Query parameters, in lower case, that the host and the portal add to any call. They are not fields."""


class Fields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base class of the fields of a request, from its query string or its JSON body. Its repr shows no value."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class Request(msgspec.Struct, frozen=True):
    """An HTTP request, as the host passes it to the worker."""

    method: str
    url: str
    """As sent: percent-encoded, with the query string."""
    headers: Mapping[str, str]
    """Names in lower case."""
    path_fields: Mapping[str, str]
    """The values of the route's `{name}` parts, decoded."""
    body: bytes

    def __repr__(self) -> str:
        return f"Request({self.method}, …)"


class Response(msgspec.Struct, frozen=True):
    """An HTTP response. A handler returns one where a struct with status 200 is not enough."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = {}
    outcome: str = ""
    """The outcome of the call for the log, such as `wrong-password`, if the status does not show it. Never a name."""

    @staticmethod
    def json(value: object, status: int = 200, *, outcome: str = "") -> "Response":
        """`value` (a struct, or anything that msgspec encodes) as JSON."""
        return Response(status, msgspec.json.encode(value), outcome=outcome)


class Example(msgspec.Struct, frozen=True):
    """A request that works on the sample data, for the OpenAPI document."""

    summary: str
    fields: Mapping[str, Any]


class Operation(msgspec.Struct, frozen=True):
    """The handler of a function, and its description for the OpenAPI document."""

    handle: Callable[..., object]
    """Takes the decoded `request` (nothing if that is None). Returns a struct, which is sent as JSON, or a Response."""
    request: type[Fields] | None
    response: type[msgspec.Struct] | tuple[type[msgspec.Struct], ...] | None
    """The body of a success (or its alternatives), for the OpenAPI document; None if it is not one fixed JSON."""
    summary: str
    errors: tuple[type[StrongroomError], ...] = ()
    """The errors that it may return, in addition to those of any function."""
    examples: tuple[Example, ...] = ()
    statuses: Mapping[int, str] = msgspec.field(default_factory=lambda: {200: "Success."})
    """The statuses of success, each with its meaning."""
    media_types: tuple[str, ...] = ("application/json",)
    """The media types of a success."""
    cache_seconds: int = 0
    """How long a cache may keep a public document; 0 sends `no-store`."""
    in_items: tuple[str, ...] = ()
    """Fields that belong in the items of a `batch`: one of them beside it is an error."""
    headers: tuple[str, ...] = ()
    """Request headers, in lower case, that arrive as text fields with underscores: `if-match` as `if_match`."""
    raw: bool = False
    """The body is bytes of any type; fields are only in path, query and headers. `handle` takes the Request, too."""
    with_request: bool = False
    """`handle` takes the Request as its second argument."""
    form: bool = False
    """The body may also be a form (application/x-www-form-urlencoded)."""
    ignore_query: bool = False
    """Query parameters are ignored, whatever their names: others append their own (`utm_source`) to a public link."""
    error_member: bool = False
    """Problems carry their detail as `error`, too: clients of the Open Inference Protocol read it there."""
    timeout_bounds_call: bool = False
    """The field `timeout_ms` replaces STRONGROOM_CALL_SECONDS."""
    writes: bool = False
    """The function changes something, so it accepts an `Idempotency-Key`."""
    single_use: bool = False
    """The response holds secrets that only one caller may get, so an `Idempotency-Key` is an error."""

    def __post_init__(self) -> None:
        # msgspec examines a type at its first use, and the process can end if many threads do so at the same time.
        # Operations are built under their capability's lock, so its type hints are resolved here once.
        if self.request is not None:
            msgspec.json.Decoder(self.request)


class Session(Protocol):
    """The session of a call, as `Route.authenticate` returns it."""

    @property
    def caller(self) -> str:
        """Who calls: `user:<user id>`."""
        ...


class Route(msgspec.Struct, frozen=True):
    """One HTTP-triggered function: the facts that the host needs, and how to load the rest."""

    name: str
    """The name of the function: lower case, with hyphens."""
    path: str
    """The path below `/api/`, with fields in braces."""
    methods: tuple[str, ...]
    access: Access
    capability: Callable[[], Mapping[str, Operation]]
    """Loads the capability at the first call of one of its functions. Maps function names to operations."""
    reserved: frozenset[str] = HOST_PARAMETERS
    """Query parameters, in lower case, that are not fields. The callback of a sign-in reads `code` itself."""
    documented: bool = True
    """Whether the OpenAPI document shows the function."""
    public_by: str = ""
    """The setting that makes the access PUBLIC where it is FUNCTION by default; for the documentation."""
    authenticate: Callable[[str], Session] | None = None
    """For SESSION: the session of an access token, which `handle` takes as its last argument. Raises Unauthorized."""

    @property
    def operation(self) -> Operation:
        return self.capability()[self.name]

    def match(self, path: str) -> dict[str, str] | None:
        """The values of the `{name}` parts if `path` (below `/api/`, decoded) is one of this route, else None.

        It follows the host's rules: letter case and a slash at the end do not matter, and a value is never empty.
        """
        parts, segments = self.path.split("/"), path.removesuffix("/").split("/")
        if len(parts) != len(segments):
            return None
        values = {}
        for part, segment in zip(parts, segments, strict=True):
            if part.startswith("{") and segment:
                values[part[1:-1]] = segment
            elif part != segment.lower():
                return None
        return values
