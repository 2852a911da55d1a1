"""Every error that Strongroom answers with. One class an error; a route names the ones it can raise.

StrongroomError
├── BadRequest 400          InvalidRequest · InvalidJson · NotAnObject · NotUtf8 · NestedTooDeep · DuplicateParameter
│                           QueryBesideBody · UnexpectedBody · SecretInUrl
├── NotFound 404            UnknownKey · UnknownDatabase · UnknownContainer · UnknownQuery · UnknownBlob · UnknownShare
│                           UnknownUser
├── Conflict 409            KeyExists · KeyChanged · KeyNotDeletable · UserExists · UserChanged · ContainerExists
│                           ContainerNotEmpty · BlobConflict
├── LengthRequired 411
├── PreconditionFailed 412
├── BodyTooLarge 413
├── UnsupportedMediaType 415
├── RangeNotSatisfiable 416
├── Refused 422             WeakKey · UnfitAlgorithm · UnsupportedKey · KeyHasOtherPurpose · UnusableVersion
│                           KeyTooLarge · NotDecryptable · NotExportable · InvalidPassword · InvalidHash · HashTooLarge
│                           HashTooWeak · WeakPassword · WrongPassword · ReadOnly · SqlError · QueryTimeout
│                           MultipleStatements · AnswerTooLarge · KeyReused
├── Busy 429                TooManyAttempts
├── InternalError 500
├── DamagedKey 500
├── Unavailable 503         StorageUnavailable · StorageForbidden · StorageNetworkForbidden · MasterKeyUnavailable
│                           DatabaseUnavailable
│                           PepperUnavailable
├── InvalidSetting          raised at start, never answered
├── SealBroken              what rests in storage is not what was sealed; becomes DamagedKey or MasterKeyUnavailable
└── SignatureMismatch       MalformedSignature; answered as `"valid": false`
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple


class FieldError(NamedTuple):
    """What is wrong with one field of a request; `field` is its path, as in `params[0]`."""

    field: str
    detail: str


class StrongroomError(Exception):
    """The root. `detail` is shown to the caller: nothing secret goes in. A 5xx shows its class's `advice` instead."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    advice: ClassVar[str]
    retry_after: int | None = None
    """Whole seconds after which the same call may succeed."""
    headers: Mapping[str, str] = MappingProxyType({})
    """What the answer carries beside the problem."""

    def __init__(
        self, detail: str = "", *, errors: tuple[FieldError, ...] = (), retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
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
    """The error for a request in which one field is wrong."""
    return InvalidRequest(f"{field}: {detail}", errors=(FieldError(field, detail),))


class InvalidJson(BadRequest):
    """The body does not parse as JSON (RFC 8259)."""

    code = "invalid-json"
    title = "The body is not JSON"


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


class NotFound(StrongroomError):
    """There is no such thing."""

    status = 404


class UnknownKey(NotFound):
    """No key, or no version of it, has this name."""

    code = "unknown-key"
    title = "There is no such key"


class UnknownDatabase(NotFound):
    """No setting names this database, or its file is not there."""

    code = "unknown-database"
    title = "There is no such database"


class UnknownQuery(NotFound):
    """No query is saved under this name; or none that is public, where only such are run."""

    code = "unknown-query"
    title = "There is no such query"


class UnknownContainer(NotFound):
    """The storage account has no container of this name."""

    code = "unknown-container"
    title = "There is no such container"


class UnknownUser(NotFound):
    """No user has this name, or this id."""

    code = "unknown-user"
    title = "There is no such user"


class Conflict(StrongroomError):
    """What is there stands against what was asked."""

    status = 409


class UserExists(Conflict):
    """The name is taken."""

    code = "user-exists"
    title = "There is a user of this name"


class UserChanged(Conflict):
    """Others changed the user at the same time; the same call may succeed now."""

    code = "user-changed"
    title = "The user was changed at the same time"


class KeyExists(Conflict):
    """The name is taken, maybe by a key that was deleted and can still be restored."""

    code = "key-exists"
    title = "There is a key of this name"


class KeyChanged(Conflict):
    """Another call has changed the key since it was read."""

    code = "key-changed"
    title = "The key is not as this call expected it"


class KeyNotDeletable(Conflict):
    """A key is deleted only once it was marked as deletable."""

    code = "key-not-deletable"
    title = "This key is protected from deletion"


class UnknownBlob(NotFound):
    """The container has no blob of this name."""

    code = "unknown-blob"
    title = "There is no such blob"


class UnknownShare(NotFound):
    """No share has this id: it never had, was revoked or spent, or is over."""

    code = "unknown-share"
    title = "There is no such share"


class ContainerExists(Conflict):
    """A container of this name is there already, or still being deleted."""

    code = "container-exists"
    title = "There is such a container already"


class ContainerNotEmpty(Conflict):
    """A container that still holds blobs is deleted only when that is said."""

    code = "container-not-empty"
    title = "The container is not empty"


class BlobConflict(Conflict):
    """The blob is in a state that does not allow this; `detail` says which."""

    code = "blob-conflict"
    title = "The blob's state does not allow this"


class PreconditionFailed(StrongroomError):
    """If-Match, If-None-Match or their like do not hold (RFC 9110, section 13)."""

    status = 412
    code = "precondition-failed"
    title = "The condition does not hold"


class RangeNotSatisfiable(StrongroomError):
    """The range begins behind the end (RFC 9110, section 15.5.17)."""

    status = 416
    code = "range-not-satisfiable"
    title = "The range lies outside of what is there"


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


class WeakKey(Refused):
    """A public key that no signature should be trusted under."""

    code = "weak-key"
    title = "This key is too weak, or not valid"


class UnfitAlgorithm(Refused):
    """The algorithm does not go with the key's type; `detail` says which do."""

    code = "unfit-algorithm"
    title = "This algorithm does not fit the key"


class UnsupportedKey(Refused):
    """A public key that is valid, and of a type that is not served."""

    code = "unsupported-key"
    title = "Keys of this type are not supported"


class KeyHasOtherPurpose(Refused):
    """A key serves one purpose, and no other (NIST SP 800-57 part 1, section 5.2)."""

    code = "key-has-other-purpose"
    title = "This key was made for another purpose"


class UnusableVersion(Refused):
    """The version of the key is disabled, revoked, or below the minimum for what was asked."""

    code = "unusable-version"
    title = "This version of the key may not be used for this"


class KeyTooLarge(Refused):
    """The key has as many versions, tags or revocations as one may have."""

    code = "key-too-large"
    title = "The key cannot hold more"


class NotDecryptable(Refused):
    """The ciphertext does not open. Never says why: the difference helps whoever tries to forge one."""

    code = "not-decryptable"
    title = "The ciphertext cannot be decrypted"


class NotExportable(Refused):
    """The key was not made exportable, or there is nothing private to export."""

    code = "not-exportable"
    title = "This key does not leave the app"


class InvalidPassword(Refused):
    """A password that no hash may be made of: empty, or too long."""

    code = "invalid-password"
    title = "This password cannot be hashed"


class InvalidHash(Refused):
    """A stored hash that is not a PHC string we know, or that asks for more than the limits allow."""

    code = "invalid-hash"
    title = "This hash cannot be verified"


class HashTooLarge(Refused):
    """The hash that is asked for takes more memory than the settings grant."""

    code = "hash-too-large"
    title = "This hash takes more memory than is granted"


class HashTooWeak(Refused):
    """The parameters that are asked for are below OWASP's minimum."""

    code = "hash-too-weak"
    title = "This hash would be too weak"


class WeakPassword(Refused):
    """The password fails a rule for users' passwords; `errors` names each."""

    code = "weak-password"
    title = "This password is not acceptable"


class WrongPassword(Refused):
    """The user or the old password is not right; which of the two is not told."""

    code = "wrong-password"
    title = "The user or the password is not right"


class ReadOnly(Refused):
    """The statement would write where only reading is allowed."""

    code = "read-only"
    title = "This statement would write, and may only read"


class SqlError(Refused):
    """The database refused the statement; `detail` is its own message."""

    code = "sql-error"
    title = "The database refused the statement"


class QueryTimeout(Refused):
    """The statement ran into its time limit and was interrupted."""

    code = "query-timeout"
    title = "The statement took longer than its time limit"


class MultipleStatements(Refused):
    """More than one statement in a call that runs one."""

    code = "multiple-statements"
    title = "A call runs one statement"


class AnswerTooLarge(Refused):
    """One row alone is over the limit of bytes, so that no page can hold it."""

    code = "answer-too-large"
    title = "A row is too large to be answered"


class KeyReused(Refused):
    """An Idempotency-Key came before, with another request."""

    code = "idempotency-key-reused"
    title = "This Idempotency-Key belongs to another request"


class BlobTooLarge(Refused):
    """More bytes than are passed through a function, where no link can take its place."""

    code = "blob-too-large"
    title = "The blob is too large to pass through this function"


class UnsupportedByAccount(Refused):
    """The storage account does not offer this, or does not have it switched on."""

    code = "unsupported-by-account"
    title = "The storage account does not support this"


class Busy(StrongroomError):
    """All of a bounded resource is in use. Carries `Retry-After`."""

    status = 429
    retry_after = 1
    code = "busy"
    title = "Too much at once"


class TooManyAttempts(Busy):
    """This name has to wait after wrong passwords, whether or not there is such a user. Carries `Retry-After`."""

    code = "too-many-attempts"
    title = "Too many wrong passwords for this user"


class InternalError(StrongroomError):
    """What an unknown exception becomes."""

    status = 500
    code = "internal-error"
    title = "Something went wrong on our side"
    advice = "Try again, and give the request id to whoever runs this app: the log says more."


class DamagedKey(StrongroomError):
    """What is stored of a key is not what was stored there; the log names the row."""

    status = 500
    code = "damaged-key"
    title = "The stored key was changed by something other than this app"
    advice = "The key is out of use until its rows are restored from a backup. The log names them."


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


class MasterKeyUnavailable(Unavailable):
    """The master key cannot be read, or is not the one that wrapped our data key."""

    code = "master-key-unavailable"
    title = "The master key cannot be used"
    advice = "Keys are safe, and out of use until the master key named by STRONGROOM_MASTER_KEY is back."


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""

    code = "database-unavailable"
    title = "The database does not answer"


class PepperUnavailable(Unavailable):
    """The key that stored hashes are encrypted under cannot be used."""

    code = "pepper-unavailable"
    title = "The key of the stored hashes cannot be used"
    advice = "Users are safe, and cannot be verified until the key named by STRONGROOM_PEPPER_KEY can be used again."


class InvalidSetting(StrongroomError):
    """A setting that cannot be understood. Most are told when the app is indexed, with the setting's name."""

    status = 500
    code = "invalid-setting"
    title = "A setting of this app is not valid"
    advice = "Give the request id to whoever runs this app: the log names the setting."


class SealBroken(StrongroomError):
    """Sealed bytes do not open: they, their key, or what they are bound to are not what they were."""


class SignatureMismatch(StrongroomError):
    """The signature is none by this key over this message. Raised, so that nobody can forget to look."""


class MalformedSignature(SignatureMismatch):
    """The signature has a form that no key of this type makes."""


def all_errors() -> list[type[StrongroomError]]:
    """Every error with a code of its own, by status and code: what the OpenAPI document lists."""

    def below(cls: type[StrongroomError]) -> list[type[StrongroomError]]:
        return [cls, *(found for child in cls.__subclasses__() for found in below(child))]

    coded = {cls.code: cls for cls in below(StrongroomError) if "code" in vars(cls)}
    return sorted(coded.values(), key=lambda cls: (cls.status, cls.code))
