"""The root of all errors, the families by status, and the errors that any function may return.

Each capability declares its own errors in its `errors.py`, below the same families. A route names the errors it can
raise; `web.respond` turns each into a problem (RFC 9457).

StrongroomError
├── BadRequest 400          InvalidRequest · InvalidJson · NotAnObject · NotUtf8 · NestedTooDeep · DuplicateParameter
│                           DuplicateKey · DuplicateHeader · TooManyValues · QueryBesideBody · UnexpectedBody
│                           SecretInUrl
├── Unauthorized 401
├── NotAllowed 403
├── NotFound 404            UnknownContainer · UnknownUser
├── Conflict 409            StillRunning · ResponseNotKept · UserExists · UserChanged
├── LengthRequired 411
├── PreconditionFailed 412
├── BodyTooLarge 413
├── UnsupportedMediaType 415
├── Refused 422             KeyReused · ReadOnly · SqlError · QueryTimeout · MultipleStatements · RowTooLarge
│                           InvalidPassword · HashTooLarge · WeakPassword · SamePassword · WrongPassword · UserDisabled
├── Busy 429
├── TooManyAttempts 429
├── UserLocked 429
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
        """The number of wrong fields; `errors` may list only the first."""
        if retry_after is not None:
            self.retry_after = retry_after


class BadRequest(StrongroomError):
    """The request is malformed: a retry cannot succeed."""

    status = 400


class InvalidRequest(BadRequest):
    """Fields are unknown, missing, mistyped or out of bounds; `errors` names each of them."""

    code = "invalid-request"
    title = "Fields of the request are missing, unknown or invalid"


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
    title = "A JSON object contains a key twice"


class NotAnObject(BadRequest):
    """The body is JSON, but not an object."""

    code = "not-an-object"
    title = "The body is JSON, but not an object"


class NotUtf8(BadRequest):
    """Text that is not UTF-8, in the body or percent-encoded in the URL."""

    code = "not-utf-8"
    title = "The request contains text that is not UTF-8"


class NestedTooDeep(BadRequest):
    """JSON that is nested deeper than the parser allows."""

    code = "nested-too-deep"
    title = "The JSON is nested too deeply"


class TooManyValues(BadRequest):
    """The JSON has so many objects, lists and values that they would take many times its size in memory."""

    code = "too-many-values"
    title = "The JSON contains too many values"


class DuplicateParameter(BadRequest):
    """A query parameter occurs twice; choosing one of the values would be a guess."""

    code = "duplicate-parameter"
    title = "A query parameter occurs more than once"


class QueryBesideBody(BadRequest):
    """A call that takes its fields from the body also has a query string."""

    code = "query-beside-body"
    title = "This call takes its fields only from the JSON body"


class UnexpectedBody(BadRequest):
    """A call that takes its fields from the query string also has a body."""

    code = "unexpected-body"
    title = "This call takes its fields only from the query string"


class SecretInUrl(BadRequest):
    """A password, private key or token in the query string, where servers and proxies log it."""

    code = "secret-in-url"
    title = "Secrets are not allowed in a URL, because URLs are logged"


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


class NotAllowed(StrongroomError):
    """The key or saved query has a list of callers, and the call has no token of one of them."""

    status = 403
    code = "not-allowed"
    title = "Only callers on a list may do this"


class NotFound(StrongroomError):
    """The named object does not exist."""

    status = 404


class UnknownContainer(NotFound):
    """The storage account has no container of this name."""

    code = "unknown-container"
    title = "The container does not exist"


class Conflict(StrongroomError):
    """The current state conflicts with the request."""

    status = 409


class PreconditionFailed(StrongroomError):
    """If-Match, If-None-Match or another condition is false (RFC 9110, section 13)."""

    status = 412
    code = "precondition-failed"
    title = "A condition of the request is false"


class LengthRequired(StrongroomError):
    """The Functions host drops the body of a chunked request that has no Content-Length."""

    status = 411
    code = "length-required"
    title = "The request needs a Content-Length"


class BodyTooLarge(StrongroomError):
    """The body is larger than STRONGROOM_MAX_BODY_BYTES."""

    status = 413
    code = "body-too-large"
    title = "The body is too large"


class UnsupportedMediaType(StrongroomError):
    """The Content-Type is neither absent nor JSON."""

    status = 415
    code = "unsupported-media-type"
    title = "The body must be JSON"


class Refused(StrongroomError):
    """The request is well-formed, but the app refuses it for a reason that the caller can correct."""

    status = 422


class KeyReused(Refused):
    """The same Idempotency-Key came with another request."""

    code = "idempotency-key-reused"
    title = "This Idempotency-Key belongs to another request"


class ReadOnly(Refused):
    """The statement would write, and the call may only read."""

    code = "read-only"
    title = "This statement would write, and this call may only read"


class SqlError(Refused):
    """The database refused the statement; `detail` is its own message."""

    code = "sql-error"
    title = "The database refused the statement"


class QueryTimeout(Refused):
    """The statement reached its time limit and was stopped."""

    code = "query-timeout"
    title = "The statement took longer than its time limit"


class MultipleStatements(Refused):
    """The call has more than one statement, and may have one."""

    code = "multiple-statements"
    title = "A call runs one statement"


class RowTooLarge(Refused):
    """A single row is over the limit of bytes, so no page can contain it."""

    code = "answer-too-large"
    title = "A row is too large for a response"


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
    title = "Too many calls at the same time"


class InternalError(StrongroomError):
    """Any exception that the app does not expect."""

    status = 500
    code = "internal-error"
    title = "The app failed unexpectedly"
    advice = "Try again. If it fails again, give the request id to the operator of this app: the log has the details."


class Unavailable(StrongroomError):
    """A backing service is unavailable. Carries `Retry-After`."""

    status = 503
    retry_after = 5
    code = "unavailable"
    title = "A service that this call needs is unavailable"
    advice = "Nothing was changed. Try again after the seconds in Retry-After; /api/health shows which service it is."


class StorageUnavailable(Unavailable):
    """Blob or Table Storage does not respond, or its response makes no sense."""

    code = "storage-unavailable"
    title = "Azure Storage does not respond"


class StorageForbidden(Unavailable):
    """Storage refuses the app's identity; the log names the missing role."""

    code = "storage-forbidden"
    title = "Azure Storage refuses this app's identity"
    advice = "The app needs Storage Blob Data Contributor and Storage Table Data Contributor on its storage account."


class StorageNetworkForbidden(StorageForbidden):
    """The account's network or key rules refuse the app; no role is missing."""

    code = "storage-network-forbidden"
    title = "The storage account's rules refuse this app"
    advice = "Allow the app's subnet in the storage account's network rules, and what its key or identity does."


class InvalidSetting(StrongroomError):
    """A setting is invalid. Most stop the app when the host indexes it, with one line that names the setting."""

    status = 500
    code = "invalid-setting"
    title = "A setting of this app is invalid"
    advice = "Give the request id to the operator of this app: the log names the setting."


# Users and their passwords: the errors that both password functions and sign-in have.


class UnknownUser(NotFound):
    """No user has this name, or this id."""

    code = "unknown-user"
    title = "The user does not exist"


class UserExists(Conflict):
    """Another user has this name, or this id."""

    code = "user-exists"
    title = "The user exists already"


class UserChanged(Conflict):
    """Another call changed the user at the same time; the same call may succeed now."""

    code = "user-changed"
    title = "Another call changed the user at the same time"


class InvalidPassword(Refused):
    """A password that cannot be hashed: empty, or too long."""

    code = "invalid-password"
    title = "This password cannot be hashed"


class HashTooLarge(Refused):
    """The hash takes more memory than the settings allow, or more than a second."""

    code = "hash-too-large"
    title = "This hash takes more memory or time than is allowed"


class WeakPassword(Refused):
    """The password fails a rule for users' passwords; `errors` names each."""

    code = "weak-password"
    title = "This password is not acceptable"


class SamePassword(Refused):
    """The new password is the old one."""

    code = "same-password"
    title = "The new password is the old one"


class WrongPassword(Refused):
    """The user or the old password is wrong; the app does not say which."""

    code = "wrong-password"
    title = "The user or the password is wrong"


class UserDisabled(Refused):
    """The password is right, and an operator has disabled the user."""

    code = "user-disabled"
    title = "The user is disabled"


class TooManyAttempts(StrongroomError):
    """This name or this password has to wait, whether or not the user exists. Carries `Retry-After`."""

    status = 429
    code = "too-many-attempts"
    title = "Too many wrong passwords"


class UserLocked(StrongroomError):
    """100 wrong passwords in a row for this name, whether or not the user exists. `reset-password` ends it."""

    status = 429
    code = "user-locked"
    title = "Too many wrong passwords in a row for this user"


def all_errors() -> list[type[StrongroomError]]:
    """Every error with its own code, ordered by status and code, for the OpenAPI document."""

    def below(cls: type[StrongroomError]) -> list[type[StrongroomError]]:
        return [cls, *(each for child in cls.__subclasses__() for each in below(child))]

    coded = {cls.code: cls for cls in below(StrongroomError) if "code" in vars(cls)}
    return sorted(coded.values(), key=lambda cls: (cls.status, cls.code))
