"""The root of all errors, the families by status, and the errors that any function may return.

Each capability declares its own errors in its `errors.py`, below the same families. A route names the errors it can
raise; `web.respond` turns each into a problem (RFC 9457).

StrongroomError
├── BadRequest 400          InvalidRequest · InvalidJson · NotAnObject · NotUtf8 · NestedTooDeep · DuplicateParameter
│                           DuplicateKey · DuplicateHeader · QueryBesideBody · UnexpectedBody · SecretInUrl
├── Unauthorized 401
├── NotFound 404            UnknownContainer
├── Conflict 409            StillRunning · ResponseNotKept
├── LengthRequired 411
├── PreconditionFailed 412
├── BodyTooLarge 413
├── UnsupportedMediaType 415
├── Refused 422             KeyReused
├── Busy 429
├── InternalError 500
├── InvalidSetting          stops the app at start; its message names the setting
└── Unavailable 503         StorageUnavailable · StorageForbidden · StorageNetworkForbidden
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple


class FieldError(NamedTuple):
    """One wrong field of a request. `field` is its path, such as `params[0]`; `detail` makes sense without it."""

    field: str
    detail: str


class StrongroomError(Exception):
    """The root. Callers see `detail`, so it contains nothing secret. A 5xx shows its class's `advice` instead."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    advice: ClassVar[str]
    retry_after: int | None = None
    """Whole seconds after which the same call may succeed."""
    headers: Mapping[str, str] = MappingProxyType({})
    """Response headers beside those of every problem."""

    def __init__(
        self,
        detail: str = "",
        *,
        errors: tuple[FieldError, ...] = (),
        error_count: int | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.error_count = len(errors) if error_count is None else error_count
        """How many fields are wrong; `errors` may list only the first."""
        if retry_after is not None:
            self.retry_after = retry_after


class BadRequest(StrongroomError):
    """The request is malformed: no retry of it can succeed."""

    status = 400


class InvalidRequest(BadRequest):
    """Fields are unknown, missing, mistyped or out of bounds; `errors` names each."""

    code = "invalid-request"
    title = "The request has fields that are missing, unknown or not valid"


def invalid_field(field: str, detail: str) -> InvalidRequest:
    """The error for a request in which one field is wrong. `detail` is a whole sentence, which names the field."""
    return InvalidRequest(detail, errors=(FieldError(field, detail),))


class InvalidJson(BadRequest):
    """The body does not parse as JSON (RFC 8259)."""

    code = "invalid-json"
    title = "The body is not JSON"


class DuplicateKey(BadRequest):
    """A JSON object contains the same key twice (RFC 8259, section 4: receivers disagree on its meaning)."""

    code = "duplicate-key"
    title = "The JSON contains a key twice"


class NotAnObject(BadRequest):
    """The body is JSON, but no object."""

    code = "not-an-object"
    title = "The body is JSON, but not an object"


class NotUtf8(BadRequest):
    """Text that is not UTF-8, in the body or behind percent-encoding."""

    code = "not-utf-8"
    title = "The request holds text that is not UTF-8"


class NestedTooDeep(BadRequest):
    """JSON nested deeper than the parser follows."""

    code = "nested-too-deep"
    title = "The JSON is nested too deep"


class DuplicateParameter(BadRequest):
    """A query parameter stands twice, so that what is meant is a guess."""

    code = "duplicate-parameter"
    title = "A query parameter is given more than once"


class QueryBesideBody(BadRequest):
    """A call that takes its fields from the body carries a query string, too."""

    code = "query-beside-body"
    title = "This call takes its fields from the JSON body alone"


class UnexpectedBody(BadRequest):
    """A call that takes its fields from the query string carries a body, too."""

    code = "unexpected-body"
    title = "This call takes its fields from the query string alone"


class SecretInUrl(BadRequest):
    """A password, private key or token in the query string, where it is logged on the way."""

    code = "secret-in-url"
    title = "A secret must not travel in a URL: URLs are logged"


class DuplicateHeader(BadRequest):
    """A header that may occur once came twice; the host joins the two values with a comma."""

    code = "duplicate-header"
    title = "A header occurs more than once"


class Unauthorized(StrongroomError):
    """The call needs a bearer token of a session (RFC 6750)."""

    status = 401
    code = "unauthorized"
    title = "This call needs the access token of a session"
    headers: Mapping[str, str] = MappingProxyType({"www-authenticate": "Bearer"})


class NotFound(StrongroomError):
    """There is no such thing."""

    status = 404


class UnknownContainer(NotFound):
    """The storage account has no container of this name."""

    code = "unknown-container"
    title = "There is no such container"


class Conflict(StrongroomError):
    """What is there stands against what was asked."""

    status = 409


class PreconditionFailed(StrongroomError):
    """If-Match, If-None-Match or their like do not hold (RFC 9110, section 13)."""

    status = 412
    code = "precondition-failed"
    title = "The condition does not hold"


class LengthRequired(StrongroomError):
    """The Functions host drops the body of a chunked request that has no Content-Length."""

    status = 411
    code = "length-required"
    title = "A chunked body does not arrive: send a Content-Length"


class BodyTooLarge(StrongroomError):
    """The body is over the limit of the settings."""

    status = 413
    code = "body-too-large"
    title = "The body is too large"


class UnsupportedMediaType(StrongroomError):
    """The Content-Type is neither absent nor JSON."""

    status = 415
    code = "unsupported-media-type"
    title = "The body must be JSON"


class Refused(StrongroomError):
    """Well-formed, and refused for a reason that the caller can mend."""

    status = 422


class KeyReused(Refused):
    """The same Idempotency-Key came with another request."""

    code = "idempotency-key-reused"
    title = "This Idempotency-Key belongs to another request"


class StillRunning(Conflict):
    """The first request with this Idempotency-Key has not ended. Carries `Retry-After`."""

    retry_after = 2
    code = "idempotency-key-running"
    title = "The first request with this Idempotency-Key is still running"


class ResponseNotKept(Conflict):
    """The first request with this Idempotency-Key succeeded, with a response that is too large to keep."""

    code = "idempotency-response-not-kept"
    title = "The response to the first request was too large to keep"


class Busy(StrongroomError):
    """All of a bounded resource is in use. Carries `Retry-After`."""

    status = 429
    retry_after = 1
    code = "busy"
    title = "Too much at once"


class InternalError(StrongroomError):
    """What an unknown exception becomes."""

    status = 500
    code = "internal-error"
    title = "Something went wrong on our side"
    advice = "Try again, and give the request id to whoever runs this app: the log says more."


class Unavailable(StrongroomError):
    """A backing service is out. Carries `Retry-After`."""

    status = 503
    retry_after = 5
    code = "unavailable"
    title = "A service that this call needs is out of reach"
    advice = "Nothing was changed. Try again after the seconds in Retry-After; /api/health says which service it is."


class StorageUnavailable(Unavailable):
    """Blob or Table Storage does not answer, or answers nonsense."""

    code = "storage-unavailable"
    title = "Azure Storage does not answer"


class StorageForbidden(Unavailable):
    """Storage refuses our identity; the log names the role that is missing."""

    code = "storage-forbidden"
    title = "Azure Storage refuses this app's identity"
    advice = "The app needs Storage Blob Data Contributor and Storage Table Data Contributor on its storage account."


class StorageNetworkForbidden(StorageForbidden):
    """Storage refuses where we come from, or what a key may do: the account's own rules, not a role."""

    code = "storage-network-forbidden"
    title = "The storage account's rules refuse this app"
    advice = "Let the app's subnet into the storage account's network rules, and allow what its key or identity does."


class InvalidSetting(StrongroomError):
    """A setting that cannot be understood. Most are told when the app is indexed, with the setting's name."""

    status = 500
    code = "invalid-setting"
    title = "A setting of this app is not valid"
    advice = "Give the request id to whoever runs this app: the log names the setting."


def all_errors() -> list[type[StrongroomError]]:
    """Every error with a code of its own, by status and code: what the OpenAPI document lists."""

    def below(cls: type[StrongroomError]) -> list[type[StrongroomError]]:
        return [cls, *(found for child in cls.__subclasses__() for found in below(child))]

    coded = {cls.code: cls for cls in below(StrongroomError) if "code" in vars(cls)}
    return sorted(coded.values(), key=lambda cls: (cls.status, cls.code))
