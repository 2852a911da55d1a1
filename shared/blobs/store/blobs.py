"""Single blobs, and containers: read, written, changed, and opened by signed URLs."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from shared.blobs.errors import BlobConflict, ContainerExists, RangeNotSatisfiable, UnknownBlob, UnsupportedByAccount
from shared.blobs.names import quote_name
from shared.blobs.sas import DelegationKey, Grant, sign
from shared.errors import (
    PreconditionFailed,
    StorageForbidden,
    StorageUnavailable,
    StrongroomError,
    UnknownContainer,
    invalid_field,
)
from shared.storage import Storage
from shared.web import rfc3339

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

READ_SECONDS = 60.0
"""How long the bytes of one blob may take to arrive, however slowly they drip."""
MAX_ANSWER_BYTES = 64 * 1024
"""Of what the service answers to anything but the reading of a blob."""
DELEGATION_DAYS = 7
"""The longest that the service gives a delegation key, and so a URL signed by one."""

_CONFLICTS = {
    "BlobArchived": "It rests in the archive tier: set its tier to Hot, Cool or Cold, and wait until it is back.",
    "BlobBeingRehydrated": "It is on its way out of the archive tier: wait until it is back.",
    "SnapshotsPresent": "It has snapshots: say snapshots=true to delete them, too.",
    "PendingCopyOperation": "A copy onto it is under way.",
    "BlobImmutableDueToPolicy": "A policy or a legal hold protects it from changes.",
    "BlobImmutableDueToLegalHold": "A legal hold protects it from changes.",
}
_UNSUPPORTED = frozenset(
    {
        *("FeatureNotSupported", "APINotImplemented", "OperationNotAllowedOnRootBlob", "UnsupportedHeader"),
        *("FeatureNotYetSupportedForHierarchicalNamespaceAccounts", "BlobTypeNotSupported"),
        *("AccessTierNotSupportedForBlobType", "InvalidBlobTier", "BlobTierInadequateForContentLength"),
    }
)


class Condition(msgspec.Struct, frozen=True):
    """Under which state of a blob something is done (RFC 9110, section 13), as the service takes it."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None

    def headers(self) -> dict[str, str]:
        given = {
            "if-match": self.if_match,
            "if-none-match": self.if_none_match,
            "if-modified-since": self.if_modified_since,
        }
        return {name: value for name, value in given.items() if value is not None}


ANY = Condition()
"""No condition at all."""


class Found(msgspec.Struct, frozen=True):
    """A blob as it was read: 200, 206 or 304, its headers in lower case, and its bytes, unless there are too many."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None

    @property
    def size(self) -> int:
        """Bytes of the whole blob. Raises StorageUnavailable where the service did not tell."""
        told = self.headers.get("content-range", "").rpartition("/")[2] or self.headers.get("content-length", "")
        if not told.isdecimal():
            raise StorageUnavailable("Blob Storage told no size.")
        return int(told)


class BlobStore:
    """The blobs and containers of one storage account. Safe to use from many threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = Lock()
        self._delegation: tuple[DelegationKey, datetime] | None = None

    # --- Blobs

    def head(self, container: str, name: str, condition: Condition = ANY) -> Found:
        """What the service tells of a blob. Raises UnknownBlob, UnknownContainer, PreconditionFailed."""
        with self._asked("HEAD", _path(container, name), headers=condition.headers()) as response:
            return Found(response.status, _lower(response), b"")

    def read(
        self, container: str, name: str, condition: Condition = ANY, *, byte_range: str | None = None, most: int
    ) -> Found:
        """A blob, or one range of it (`bytes=0-99`, `bytes=100-`); its body is None where it is over `most` bytes.

        Raises as `head` does, RangeNotSatisfiable, and BlobConflict where the blob is archived.
        """
        headers = condition.headers() | ({"range": byte_range} if byte_range else {})
        with self._asked("GET", _path(container, name), headers=headers) as response:
            length = response.headers.get("content-length", "")
            if response.status != 304 and not length.isdecimal():
                raise StorageUnavailable("Blob Storage told no length.")
            body = None if length.isdecimal() and int(length) > most else _body(response, most)
            found = Found(response.status, _lower(response), body)
            if found.status == 206 and found.body == b"":
                raise unsatisfiable(found.size)  # Azurite answers a range at the end with no bytes.
            return found

    def put(
        self,
        container: str,
        name: str,
        data: bytes,
        condition: Condition,
        *,
        content_type: str,
        tier: str | None = None,
        metadata: Mapping[str, str] = {},
        crc64: str | None = None,
    ) -> Mapping[str, str]:
        """Store a block blob whole or not at all; the service checks its MD5, or the CRC64 given. Its headers.

        Raises UnknownContainer, PreconditionFailed, BlobConflict; InvalidRequest where the service refuses a field.
        """
        headers = {
            "x-ms-blob-type": "BlockBlob",
            "x-ms-blob-content-type": content_type,
            "content-type": "application/octet-stream",
            **condition.headers(),
            **{f"x-ms-meta-{key}": value for key, value in metadata.items()},
        }
        # The service takes one checksum, not two.
        if crc64 is None:
            md5 = hashlib.md5(data, usedforsecurity=False).digest()
            headers["content-md5"] = base64.b64encode(md5).decode()
        else:
            headers["x-ms-content-crc64"] = crc64
        if tier:
            headers["x-ms-access-tier"] = tier
        with self._asked("PUT", _path(container, name), headers=headers, body=data) as response:
            return _lower(response)

    def delete(self, container: str, name: str, condition: Condition, *, snapshots: bool) -> None:
        """Delete a blob, its snapshots too where that is said. Raises UnknownBlob, PreconditionFailed, BlobConflict."""
        headers = condition.headers() | ({"x-ms-delete-snapshots": "include"} if snapshots else {})
        with self._asked("DELETE", _path(container, name), headers=headers):
            pass

    def restore(self, container: str, name: str) -> None:
        """Bring back a blob that soft delete has kept. Raises UnknownBlob, UnsupportedByAccount."""
        with self._asked("PUT", _path(container, name), {"comp": "undelete"}):
            pass

    def set_tier(self, container: str, name: str, tier: str, priority: str | None) -> bool:
        """Move a blob to a tier; whether that takes hours. Raises UnknownBlob, UnsupportedByAccount, BlobConflict."""
        headers = {"x-ms-access-tier": tier} | ({"x-ms-rehydrate-priority": priority} if priority else {})
        with self._asked("PUT", _path(container, name), {"comp": "tier"}, headers) as response:
            return response.status == 202

    def copy(self, source: str, container: str, name: str, *, overwrite: bool, tier: str | None) -> Mapping[str, str]:
        """Copy from the URL `source`, which is open to be read, onto a blob of this account; the answer's headers.

        Raises UnknownBlob where the source is not there, UnknownContainer, PreconditionFailed, BlobConflict.
        """
        headers = {"x-ms-copy-source": source}
        if not overwrite:
            headers["if-none-match"] = "*"
        if tier:
            headers["x-ms-access-tier"] = tier
        with self._asked("PUT", _path(container, name), headers=headers) as response:
            return _lower(response)

    # --- Containers

    def check_container(self, container: str) -> None:
        """Raises UnknownContainer where it is not there."""
        with self._asked("HEAD", quote_name(container), {"restype": "container"}):
            pass

    def create_container(self, container: str, metadata: Mapping[str, str]) -> Mapping[str, str]:
        """Make a container, private; its headers. Raises ContainerExists."""
        headers = {f"x-ms-meta-{key}": value for key, value in metadata.items()}
        with self._asked("PUT", quote_name(container), {"restype": "container"}, headers) as response:
            return _lower(response)

    def delete_container(self, container: str) -> None:
        """Delete a container with all that is in it. Raises UnknownContainer."""
        with self._asked("DELETE", quote_name(container), {"restype": "container"}):
            pass

    # --- URLs

    def url(self, container: str, name: str) -> str:
        """Where a blob is, at the storage account."""
        return f"{self._storage.account.blob_url}/{_path(container, name)}"

    @property
    def https_only(self) -> bool:
        """Whether signed URLs are for HTTPS alone: everywhere but in development."""
        return self._storage.account.blob_url.startswith("https://")

    def signed_url(self, grant: Grant, now: datetime) -> tuple[str, datetime]:
        """A URL that opens what `grant` says, and when it ends: with the delegation key at the latest."""
        account = self._storage.account
        key: str | DelegationKey
        if account.key is not None:
            key = account.key
        else:
            key, ends = self._delegation_key(grant.expires, now)
            grant = msgspec.structs.replace(grant, expires=min(grant.expires, ends))
        return f"{self.url(grant.container, grant.name)}?{sign(grant, account.name, key)}", grant.expires

    def _delegation_key(self, until: datetime, now: datetime) -> tuple[DelegationKey, datetime]:
        """The key by which URLs are signed, asked for again when it would end before `until`."""
        with self._lock:
            longest = now + timedelta(days=DELEGATION_DAYS, minutes=-5)  # The service's clock may be behind ours.
            if self._delegation is None or self._delegation[1] < min(until, longest - timedelta(minutes=5)):
                start, expiry = rfc3339(now - timedelta(minutes=5)), rfc3339(longest)
                body = f"<KeyInfo><Start>{start}</Start><Expiry>{expiry}</Expiry></KeyInfo>".encode()
                query = {"restype": "service", "comp": "userdelegationkey"}
                with self._asked("POST", "", query, {"content-type": "application/xml"}, body) as response:
                    self._delegation = _read_delegation(_body(response, MAX_ANSWER_BYTES)), longest
            return self._delegation

    # --- HTTP

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] = {},
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
    ) -> Iterator["BaseHTTPResponse"]:
        response = self._storage.blob_request(method, path, query, headers, body)
        try:
            if response.status >= 300 and response.status != 304:
                _body(response, MAX_ANSWER_BYTES)
                raise _refusal(response, query)
            yield response
            if method != "GET":
                _body(response, MAX_ANSWER_BYTES)  # To its end, so that the connection can be used again.
        finally:
            response.close()
            response.release_conn()


def _path(container: str, name: str) -> str:
    return f"{quote_name(container)}/{quote_name(name)}"


def _lower(response: "BaseHTTPResponse") -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _body(response: "BaseHTTPResponse", most: int) -> bytes:
    """The whole body. Raises StorageUnavailable where it breaks off, drips for too long, or is over `most` bytes."""
    import urllib3

    ends = monotonic() + READ_SECONDS
    pieces = bytearray()
    try:
        while piece := response.read1(256 * 1024, decode_content=False):
            pieces += piece
            if len(pieces) > most or monotonic() > ends:
                raise StorageUnavailable("Blob Storage is too slow, or sends more than it said.")
    except urllib3.exceptions.HTTPError as error:
        raise StorageUnavailable("Blob Storage broke off.") from error
    return bytes(pieces)


def _read_delegation(body: bytes) -> DelegationKey:
    from xml.etree.ElementTree import fromstring

    if b"<!" in body:
        raise StorageUnavailable("Blob Storage answered nonsense.")
    try:
        told = {each.tag: each.text or "" for each in fromstring(body)}  # noqa: S314 - no declarations, see above
        return DelegationKey(
            told["SignedOid"],
            told["SignedTid"],
            told["SignedStart"],
            told["SignedExpiry"],
            told["SignedService"],
            told["SignedVersion"],
            told["Value"],
        )
    except (SyntaxError, KeyError) as error:
        raise StorageUnavailable("Blob Storage answered nonsense for a delegation key.") from error


def _refusal(response: "BaseHTTPResponse", query: Mapping[str, str]) -> StrongroomError:
    """What a status that is no success means."""
    status, code = response.status, response.headers.get("x-ms-error-code", "")
    if status == 404:
        if code in ("ContainerNotFound", "ContainerDisabled") or query.get("restype") == "container":
            return UnknownContainer("The storage account has no container of this name.")
        # Of a source that cannot be copied the service says more than a code.
        if code in ("BlobNotFound", "ResourceNotFound", "CannotVerifyCopySource", ""):
            return UnknownBlob("The container has no blob of this name.")
    if code == "ContainerBeingDeleted":
        if query.get("restype") == "container":
            return ContainerExists("It is being deleted, which takes a while: try again in a minute.", retry_after=30)
        return UnknownContainer("The container is being deleted.")
    if code == "ContainerAlreadyExists":
        return ContainerExists("Take another name, or use this container.")
    if status == 412 or code in ("BlobAlreadyExists", "ConditionNotMet"):
        return PreconditionFailed(_precondition(code))
    if status == 416:
        size = response.headers.get("content-range", "").rpartition("/")[2]
        return unsatisfiable(int(size) if size.isdecimal() else None)
    if code in _UNSUPPORTED or status == 501:
        return UnsupportedByAccount(f"Blob Storage says {code or status}.")
    if status == 409:
        return BlobConflict(_CONFLICTS.get(code, f"Blob Storage says {code}."))
    if status == 400:
        if code == "Md5Mismatch":
            return invalid_field("content_md5", "is not that of the bytes that arrived.")
        if code in ("Crc64Mismatch", "InvalidCrc64"):
            return invalid_field("x_ms_content_crc64", "is not that of the bytes that arrived.")
        if code in ("InvalidMetadata", "EmptyMetadataKey", "MetadataTooLarge", "InvalidHeaderValue"):
            return invalid_field("metadata", "has a name that is no identifier, or is over 8 KiB.")
        return invalid_field("name", f"is not taken by Blob Storage ({code or 'no reason given'}).")
    if status in (401, 403):
        return StorageForbidden(f"Blob Storage answered {status} {code}.")
    return StorageUnavailable(f"Blob Storage answered {status} {code}.")


def unsatisfiable(size: int | None) -> RangeNotSatisfiable:
    """The error for a range of which a blob of `size` bytes has nothing."""
    error = RangeNotSatisfiable("Ask for bytes that are there.")
    if size is not None:
        error.headers = {"content-range": f"bytes */{size}"}
    return error


def _precondition(code: str) -> str:
    if code.startswith("Lease"):
        return "The blob has a lease: whoever holds it must release it first."
    if code == "BlobAlreadyExists":
        return "There is such a blob already."
    return "The blob is not in the state that the condition asks for."
