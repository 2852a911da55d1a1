"""Blob Storage through its SDK: clients, requests with the app's time limits and retries, signed URLs, and errors."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from shared.errors import PreconditionFailed, StorageUnavailable, StrongroomError, UnknownContainer, invalid_field
from shared.storage.client import Storage
from shared.storage.containers import check_container
from shared.storage.errors import (
    BlobConflict,
    ContainerExists,
    RangeNotSatisfiable,
    UnknownBlob,
    UnsupportedByAccount,
)
from shared.storage.names import check_name, quote_name
from shared.storage.requests import confirmed_write, error_code, new_transport, retry

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient, BlobServiceClient, ContainerClient, UserDelegationKey

T = TypeVar("T")

DELEGATION_DAYS = 7
"""The longest life of a delegation key, and so of a URL signed with one."""
CLOCK_SKEW = timedelta(minutes=5)
LIST_API_VERSION = "2023-11-03"
"""Of our own requests for listings; those of the SDK have its version."""
LIST_MINUTES = 15
"""How long the signature of one of these requests is good for."""


def if_match(etag: str | None) -> dict[str, Any]:
    """The SDK's options for a request that needs a blob with this ETag; none where that is None."""
    from azure.core import MatchConditions

    return {} if etag is None else {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def if_exists() -> dict[str, Any]:
    """The SDK's options for a request that needs a blob, whatever its ETag."""
    from azure.core import MatchConditions

    return {"match_condition": MatchConditions.IfPresent}


def if_missing() -> dict[str, Any]:
    """The SDK's options for a write that must not replace a blob."""
    from azure.core import MatchConditions

    return {"match_condition": MatchConditions.IfMissing}


class Grant(msgspec.Struct, frozen=True):
    """The rights of a signed URL. `permissions` are the letters of a SAS: `r`, `c`, `cw`."""

    container: str
    name: str
    permissions: str
    expires: datetime
    ip_range: str | None = None
    content_disposition: str | None = None
    version_id: str | None = None
    snapshot: str | None = None


class Blobs:
    """The blobs of one storage account. Safe to use from many threads.

    `read` and `write` take a function of the SDK's options, which it passes on to one SDK call:

        blobs.read(lambda options: blobs.blob("samples", "a.txt").get_blob_properties(**options))

    Both raise StorageUnavailable, StorageForbidden and Busy, and the errors of `refusal`.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = Lock()
        self._delegation: tuple[UserDelegationKey, datetime] | None = None

    @property
    def service(self) -> "BlobServiceClient":
        """The SDK's client of the account."""
        return self._storage.blob_service

    def container(self, container: str) -> "ContainerClient":
        """The SDK's client of a container. Raises ReservedContainer."""
        check_container(container)
        return self.service.get_container_client(container)

    def blob(
        self, container: str, name: str, *, version_id: str | None = None, snapshot: str | None = None
    ) -> "BlobClient":
        """The SDK's client of a blob. Raises ReservedContainer, and InvalidRequest for the names `.` and `..`."""
        check_container(container)
        check_name(name)
        return self.service.get_blob_client(container, name, snapshot=snapshot, version_id=version_id)

    def read_range(self, container: str, name: str, etag: str, start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`, as they are stored, in one request.

        Raises PreconditionFailed where the blob has another ETag, and UnknownBlob.
        """
        check_container(container)
        check_name(name)
        client = self._storage.range_service.get_blob_client(container, name)

        def send(options: dict[str, Any]) -> bytes:
            stream = client.download_blob(start, end - start, decompress=False, **if_match(etag), **options)
            return bytes(stream.readall())

        return self.read(send)

    def read(self, request: Callable[[dict[str, Any]], T]) -> T:
        """Send a request that changes nothing, or that may be repeated without harm."""
        return retry(lambda: self._send(request))

    def write(self, request: Callable[[dict[str, Any]], T], find_result: Callable[[], T | None]) -> T:
        """Send a request that changes something; `find_result` as for `confirmed_write`."""
        return confirmed_write(lambda: self._send(request), find_result, (StrongroomError,))

    def _send(self, request: Callable[[dict[str, Any]], T]) -> T:
        from azure.core.exceptions import HttpResponseError

        service = self._storage.blob_requests
        try:
            return service.send(request)
        except HttpResponseError as error:
            raise (refusal(error) or service.unexpected(error)) from error
        except ValueError as error:  # The SDK's, for a response without a header that every response has.
            raise StorageUnavailable(f"{service.name} sent a response that cannot be read.") from error

    # URLs

    def url(self, container: str, name: str) -> str:
        """The URL of a blob at the storage account."""
        return f"{self._storage.account.blob_url}/{quote_name(container)}/{quote_name(name)}"

    @property
    def https_only(self) -> bool:
        """Whether signed URLs are for HTTPS alone: everywhere but in development."""
        return self._storage.account.blob_url.startswith("https://")

    def signed_url(self, grant: Grant, now: datetime) -> tuple[str, datetime]:
        """A URL that allows what `grant` says, and when it ends: with the delegation key at the latest.

        Raises ReservedContainer.
        """
        from azure.storage.blob import generate_blob_sas

        check_container(grant.container)
        check_name(grant.name)
        account = self._storage.account
        expires = grant.expires
        key: dict[str, Any]
        if account.key is not None:
            key = {"account_key": account.key}
        else:
            delegation, ends = self._delegation_key(expires, now)
            expires, key = min(expires, ends), {"user_delegation_key": delegation}
        token = generate_blob_sas(
            account.name,
            grant.container,
            grant.name,
            permission=grant.permissions,
            expiry=expires,
            ip=grant.ip_range,
            protocol="https" if self.https_only else "https,http",
            content_disposition=grant.content_disposition,
            version_id=grant.version_id,
            snapshot=grant.snapshot,
            **key,
        )
        of = {"versionid": grant.version_id, "snapshot": grant.snapshot}
        query = urlencode({name: value for name, value in of.items() if value and f"{name}=" not in token})
        return f"{self.url(grant.container, grant.name)}?{f'{query}&' if query else ''}{token}", expires

    def _delegation_key(self, until: datetime, now: datetime) -> "tuple[UserDelegationKey, datetime]":
        """The key that signs URLs where the app has an identity; a new one where it would end before `until`."""
        with self._lock:
            longest = now + timedelta(days=DELEGATION_DAYS) - CLOCK_SKEW
            if self._delegation is None or self._delegation[1] < min(until, longest - CLOCK_SKEW):
                try:
                    key = self.read(
                        lambda options: self.service.get_user_delegation_key(now - CLOCK_SKEW, longest, **options)
                    )
                except AttributeError:  # The SDK's, for a response without a body.
                    key = None
                if key is None or not (key.value and key.signed_oid and key.signed_tid):
                    raise StorageUnavailable("Blob Storage sent no delegation key.")
                self._delegation = key, longest
            return self._delegation

    # Listings

    @contextmanager
    def listing_page(self, container: str, query: dict[str, str], now: datetime) -> Iterator[Iterator[bytes]]:
        """The XML of one page of a listing (of the account, where `container` is ""), in pieces as they arrive.

        Our own request, because the SDK's reading of a listing costs twenty times the CPU; the SDK authorises it.
        Raises UnknownContainer, InvalidRequest, StorageUnavailable, StorageForbidden and Busy.
        """
        check_container(container)
        account = self._storage.account
        headers = {"x-ms-version": LIST_API_VERSION, "accept": "application/xml"}
        url = f"{account.blob_url}/{quote(container)}?{urlencode(query, quote_via=quote)}"
        if account.key is None:
            headers["authorization"] = f"Bearer {self._storage.storage_token()}"
        else:
            url += f"&{self._list_signature(now)}"
        opened, response = retry(lambda: self._open_page(url, headers, query))
        with opened:
            yield response.iter_raw()

    def _open_page(self, url: str, headers: dict[str, str], query: dict[str, str]) -> tuple[ExitStack, Any]:
        from azure.core.exceptions import HttpResponseError
        from azure.core.rest import HttpRequest

        service = self._storage.blob_requests
        try:
            with ExitStack() as stack:
                limits = stack.enter_context(service.connection())
                timeouts = {name: limits[name] for name in ("connection_timeout", "read_timeout")}
                response = self._transport.send(HttpRequest("GET", url, headers=headers), stream=True, **timeouts)
                stack.enter_context(response)
                if response.status_code != 200:
                    response.read()
                    raise HttpResponseError(response=response)
                return stack.pop_all(), response
        except HttpResponseError as error:
            raise (_listing_refusal(error, query) or service.unexpected(error)) from error

    @cached_property
    def _transport(self) -> Any:
        return new_transport()

    def _list_signature(self, now: datetime) -> str:
        from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

        account = self._storage.account
        return generate_account_sas(
            account.name,
            account.key or "",
            ResourceTypes(service=True, container=True),
            AccountSasPermissions(list=True, tag=True),
            now + timedelta(minutes=LIST_MINUTES),
        )


_CONFLICTS = {
    "BlobArchived": "The blob is archived: nobody can read or replace it. Move it to Hot, Cool or Cold with set-tier.",
    "BlobBeingRehydrated": "The blob is leaving the archive tier, which takes hours. Wait until it is back.",
    "CannotChangeToLowerTier": "The blob is leaving the archive tier, which takes hours. Wait until it is back.",
    "SnapshotsPresent": "The blob has snapshots. Send snapshots=true to delete them, too.",
    "PendingCopyOperation": "Another copy onto this blob is running. Wait until it ends.",
    "CopyAcrossAccountsNotSupported": "The source is in another storage account. Copy within one account.",
    "BlobImmutableDueToPolicy": "A retention policy protects the blob from changes.",
    "BlobImmutableDueToLegalHold": "A legal hold protects the blob from changes.",
    "ContainerImmutableStoragePolicy": "A retention policy protects the container from changes.",
    "InvalidBlobType": "The blob is a page or append blob, which does not support this.",
    "LeaseAlreadyBroken": "The lease is already broken. Leave break_lease out.",
    "LeaseNotPresentWithLeaseOperation": "The blob has no lease. Leave break_lease out.",
    "OperationNotAllowedOnRootBlob": "The current version of the blob does not allow this.",
}
_UNSUPPORTED = frozenset(
    {
        "APINotImplemented",
        "AccessTierNotSupportedForBlobType",
        "BlobTierInadequateForContentLength",
        "BlobTypeNotSupported",
        "FeatureNotSupported",
        "FeatureNotYetSupportedForHierarchicalNamespaceAccounts",
        "FeatureVersionMismatch",
        "InvalidBlobTier",
        "UnsupportedHeader",
    }
)
_FIELDS = {
    "Md5Mismatch": ("content_md5", "The bytes that arrived have another MD5 than Content-MD5 says. Send them again."),
    "InvalidMd5": ("content_md5", "The Content-MD5 is not the base64 of an MD5."),
    "Crc64Mismatch": (
        "x_ms_content_crc64",
        "The bytes that arrived have another CRC64 than x-ms-content-crc64 says. Send them again.",
    ),
    "InvalidCrc64": ("x_ms_content_crc64", "The header x-ms-content-crc64 is not the base64 of a CRC64."),
    "InvalidMetadata": ("metadata", "Metadata keys must be identifiers that differ in more than case."),
    "EmptyMetadataKey": ("metadata", "A metadata key must not be empty."),
    "MetadataTooLarge": ("metadata", "All metadata together must not exceed 8 KiB."),
    "InvalidResourceName": ("name", "Blob Storage does not accept this name. Choose another."),
    "OutOfRangeInput": ("name", "Blob Storage does not accept a name of this length. Choose a shorter one."),
    "InvalidUri": ("name", "Blob Storage does not accept this name. Choose another."),
}
_HEADER_FIELDS = {
    "x-ms-access-tier": "tier",
    "x-ms-blob-cache-control": "cache_control",
    "x-ms-blob-content-disposition": "content_disposition",
    "x-ms-blob-content-encoding": "content_encoding",
    "x-ms-blob-content-language": "content_language",
    "x-ms-blob-content-type": "content_type",
    "x-ms-content-crc64": "x_ms_content_crc64",
    "x-ms-rehydrate-priority": "rehydrate_priority",
    "content-md5": "content_md5",
    "if-match": "if_match",
    "if-none-match": "if_none_match",
}
_PARAMETER_FIELDS = {"versionid": "version_id", "snapshot": "snapshot"}


def refusal(error: Any) -> StrongroomError | None:
    """Our error for a status of Blob Storage, in a call that names a blob or a container; None where it is unexpected.

    https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
    """
    status, code = error.status_code, error_code(error)
    names_container = "restype=container" in error.response.request.url
    if status == 404:
        if code in ("ContainerNotFound", "ContainerDisabled") or (names_container and code != "BlobNotFound"):
            return UnknownContainer("The storage account has no container of this name. list-blobs lists them.")
        return UnknownBlob("The container has no such blob. list-blobs lists its blobs.")
    if code == "ContainerBeingDeleted":
        if names_container:
            return ContainerExists("The container is being deleted. Try again in a minute.", retry_after=30)
        return UnknownContainer("The container is being deleted. Try again in a minute.")
    if code == "ContainerAlreadyExists":
        return ContainerExists("The container exists. Use it, or choose another name.")
    if code in ("BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet", "SourceConditionNotMet"):
        return PreconditionFailed(
            "The blob exists already. Choose another name, or replace it: copy-blob with overwrite=true, put-blob "
            "without If-None-Match."
            if code == "BlobAlreadyExists"
            else "The blob is not in the state that the condition requires. Read it again."
        )
    if code in ("InvalidBlockList", "InvalidBlobOrBlock"):
        return BlobConflict("Another call wrote to this blob at the same time. Try again, or choose another name.")
    if status == 412 and code.startswith("Lease"):
        return PreconditionFailed("The blob has a lease. Its holder must release it, or delete with break_lease=true.")
    if status == 409 and code.startswith("Lease"):
        return BlobConflict(_CONFLICTS.get(code, "The blob has a lease. Its holder must release it first."))
    if status == 416:
        size = str(error.response.headers.get("content-range", "")).rpartition("/")[2]
        return RangeNotSatisfiable(int(size) if size.isdecimal() else None)
    if code in _UNSUPPORTED or status == 501:
        return UnsupportedByAccount(f"Blob Storage reports {code or status}.")
    if code in _CONFLICTS:
        return BlobConflict(_CONFLICTS[code])
    if status == 400:
        return _invalid(error, code)
    return None


def _invalid(error: Any, code: str) -> StrongroomError | None:
    """The error that names the field which Blob Storage refuses."""
    if code in _FIELDS:
        return invalid_field(*_FIELDS[code])
    more = getattr(error, "additional_info", None) or {}
    details = {str(name).lower(): str(value).lower() for name, value in more.items()}
    header, parameter = details.get("headername", ""), details.get("queryparametername", "")
    if header.startswith("x-ms-meta-"):
        return invalid_field("metadata", "Blob Storage does not accept this metadata.")
    field = _HEADER_FIELDS.get(header) or _PARAMETER_FIELDS.get(parameter)
    if field is None:
        return None
    return invalid_field(field, f"Blob Storage does not accept this {field}.")


def _listing_refusal(error: Any, query: dict[str, str]) -> StrongroomError | None:
    """Our error for a status of Blob Storage, for a listing; None where it is unexpected."""
    code = error_code(error)
    if "restype" in query and code in ("ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"):
        return UnknownContainer(
            "The storage account has no container of this name. Call list-blobs without container to list them."
        )
    if error.status_code != 400:
        return None
    if code in ("InvalidResourceName", "OutOfRangeInput") and "restype" in query:
        return invalid_field("container", "Blob Storage does not accept this name of a container. Choose another.")
    if "marker" in query:
        return invalid_field("cursor", "Blob Storage does not accept this cursor. Start without one.")
    if code in ("InvalidQueryParameterValue", "OutOfRangeQueryParameterValue", "InvalidInput"):
        return invalid_field("prefix", "Blob Storage does not accept this prefix.")
    return None
