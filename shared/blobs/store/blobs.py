"""Single blobs, and containers: read, written and changed in Blob Storage."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from shared.blobs.conditions import Conditions, State, evaluate, parse_date
from shared.errors import PreconditionFailed, StorageUnavailable, UnknownContainer
from shared.inflight import inflight
from shared.storage import Storage
from shared.storage.blobs import Blobs, Grant, if_exists, if_match, if_missing
from shared.storage.errors import BlobConflict, UnknownBlob, UnsupportedByAccount

if TYPE_CHECKING:
    from azure.storage.blob import ContentSettings

T = TypeVar("T")

COPY_MINUTES = 60
_ARCHIVE = "Archive"


class Target(msgspec.Struct, frozen=True):
    """A blob: its current state, or a version or snapshot of it."""

    container: str
    name: str
    version_id: str | None = None
    snapshot: str | None = None


class Found(msgspec.Struct, frozen=True):
    """A blob as it was read: its headers in lower case, and its bytes (None where there are too many)."""

    headers: Mapping[str, str]
    body: bytes | None = None

    @property
    def size(self) -> int:
        """Bytes of the whole blob. Raises StorageUnavailable where the service did not send it."""
        text = self.headers.get("content-range", "").rpartition("/")[2] or self.headers.get("content-length", "")
        if not text.isdecimal():
            raise StorageUnavailable("Blob Storage sent no size.")
        return int(text)

    @property
    def etag(self) -> str:
        return self.headers.get("etag", "")

    @property
    def last_modified(self) -> datetime:
        """Raises StorageUnavailable where the service did not send it."""
        time = parse_date(self.headers.get("last-modified"))
        if time is None:
            raise StorageUnavailable("Blob Storage sent no time.")
        return time

    @property
    def state(self) -> State:
        return State(self.etag, self.last_modified, self.size)

    def check_readable(self) -> None:
        """Raises BlobConflict where the blob is archived, so that its bytes cannot be read."""
        if self.headers.get("x-ms-access-tier") != _ARCHIVE:
            return
        if self.headers.get("x-ms-archive-status"):
            raise BlobConflict("The blob is leaving the archive tier, which takes hours. Wait until it is back.")
        raise BlobConflict(
            "The blob is archived and cannot be read. Move it to Hot, Cool or Cold with set-tier, and wait."
        )


class Properties(msgspec.Struct, frozen=True):
    """The properties that are stored with the bytes of a blob."""

    content_type: str
    content_encoding: str | None = None
    content_language: str | None = None
    content_disposition: str | None = None
    cache_control: str | None = None
    metadata: Mapping[str, str] = {}
    tier: str | None = None


class BlobStore:
    """The blobs and containers of one storage account. Safe to use from many threads.

    Every method that names a container raises ReservedContainer and UnknownContainer.
    """

    def __init__(self, storage: Storage) -> None:
        self._blobs = Blobs(storage)

    # Reading

    def head(self, target: Target) -> Found:
        """The headers of a blob. Raises UnknownBlob."""
        headers = self._read(lambda options: self._client(target).get_blob_properties(**options))
        _check_version(target, headers)
        return Found(headers, b"")

    def read(
        self, target: Target, *, most: int, etag: str | None = None, first: int = 0, count: int | None = None
    ) -> Found:
        """A blob, or `count` bytes of it from `first` on; its body is None where that is over `most` bytes.

        Raises UnknownBlob, BlobConflict where the blob is archived, PreconditionFailed where it has no longer this
        `etag`, and RangeNotSatisfiable.
        """
        body: list[bytes | None] = []

        def download(options: dict[str, Any]) -> None:
            length = {"offset": first, "length": count or most + 1} if first or count is not None else {}
            stream = self._client(target).download_blob(**length, **if_match(etag), decompress=False, **options)
            if stream.size > most:
                body[:] = [None]
                return
            inflight.book(stream.size)
            body[:] = [stream.readall()]

        headers = self._read(download)
        _check_version(target, headers)
        return Found(headers, body[0])

    def exists(self, target: Target) -> bool:
        """Whether the blob exists. Raises UnknownContainer."""
        return self.find(target) is not None

    def check_container(self, container: str) -> None:
        """Raises UnknownContainer where it does not exist."""
        self._blobs.read(lambda options: self._blobs.container(container).get_container_properties(**options))

    # Writing

    def put(
        self, target: Target, data: bytes, properties: Properties, conditions: Conditions, crc64: str | None = None
    ) -> Found:
        """Store a block blob, whole or not at all; the service checks its MD5 or CRC64. Returns its headers.

        Raises PreconditionFailed, BlobConflict; InvalidRequest where the service refuses a field.
        """
        from azure.storage.blob import ContentSettings

        condition = self._bound(target, conditions, writing=True)
        settings = ContentSettings(
            content_type=properties.content_type,
            content_encoding=properties.content_encoding,
            content_language=properties.content_language,
            content_disposition=properties.content_disposition,
            cache_control=properties.cache_control,
        )
        checksum: dict[str, Any] = (
            {"validate_content": True} if crc64 is None else {"headers": {"x-ms-content-crc64": crc64}}
        )
        md5 = hashlib.md5(data, usedforsecurity=False).digest()

        def upload(options: dict[str, Any]) -> Any:
            return self._client(target).upload_blob(
                data,
                length=len(data),
                overwrite=True,
                metadata=dict(properties.metadata),
                content_settings=settings,
                standard_blob_tier=_tier(properties.tier),
                **condition,
                **checksum,
                **options,
            )

        def stored() -> Found | None:
            blob = self.find(target)
            return blob if blob is not None and _has_content(blob, md5, len(data), settings) else None

        return self._write(upload, stored)

    def delete(self, target: Target, conditions: Conditions, *, snapshots: bool, break_lease: bool) -> None:
        """Delete a blob, with its snapshots if requested. Raises UnknownBlob, PreconditionFailed, BlobConflict."""
        condition = self._bound(target, conditions, writing=False)
        client = self._client(target)
        if break_lease:
            self._break_lease(target)
        self._write(
            lambda options: client.delete_blob(
                **({"delete_snapshots": "include"} if snapshots else {}), **condition, **options
            ),
            lambda: Found({}) if self.find(target) is None else None,
        )

    def _break_lease(self, target: Target) -> None:
        """End another's lease on a blob at once, where there is one."""
        from azure.storage.blob import BlobLeaseClient

        if self.head(target).headers.get("x-ms-lease-state") in ("leased", "breaking"):
            lease = BlobLeaseClient(self._client(target))
            self._blobs.read(lambda options: lease.break_lease(lease_break_period=0, **options))

    def set_tier(self, target: Target, tier: str, priority: str | None) -> bool:
        """Move a blob to a tier; whether that takes hours. Raises UnknownBlob, UnsupportedByAccount, BlobConflict."""
        statuses: list[int] = []

        def send(options: dict[str, Any]) -> None:
            self._client(target).set_standard_blob_tier(
                tier,
                rehydrate_priority=priority,
                raw_response_hook=lambda response: statuses.append(response.http_response.status_code),
                **options,
            )

        self._blobs.read(send)
        return statuses[-1] == 202

    def copy(
        self,
        source: Target,
        target: Target,
        *,
        overwrite: bool,
        tier: str | None,
        priority: str | None,
        now: datetime,
    ) -> Found:
        """Copy a blob, a version or a snapshot onto a blob of this account; the headers of the copy.

        Raises UnknownBlob where the source does not exist, PreconditionFailed, BlobConflict.
        """
        grant = Grant(
            source.container,
            source.name,
            "r",
            now + timedelta(minutes=COPY_MINUTES),
            version_id=source.version_id,
            snapshot=source.snapshot,
        )
        url, _ = self.signed_url(grant, now)
        condition = {} if overwrite else if_missing()
        before = self.find(target)

        def send(options: dict[str, Any]) -> Any:
            return self._client(target).start_copy_from_url(
                url, standard_blob_tier=_tier(tier), rehydrate_priority=priority, **condition, **options
            )

        def copied() -> Found | None:
            blob = self.find(target)
            is_new = blob is not None and (before is None or blob.etag != before.etag)
            is_ours = (
                blob is not None
                and blob.headers.get("x-ms-copy-source", "").partition("?")[0] == (url.partition("?")[0])
            )
            return blob if is_new and is_ours else None

        return self._write(send, copied)

    def restore(self, target: Target, now: datetime) -> Found:
        """Bring back a deleted blob: from soft delete, or by promoting its newest version. Its headers.

        Raises UnknownBlob where there is nothing to bring back, and UnsupportedByAccount.
        """
        with suppress(UnknownBlob):  # Where versions are on, a deleted blob is gone and its versions are not.
            self._blobs.read(lambda options: self._client(target).undelete_blob(**options))
        blob = self.find(target)
        if blob is not None:
            return blob
        newest = self._newest_version(target)
        if newest is None:
            raise UnknownBlob(
                "No deleted blob and no version has this name. list-blobs with include=deleted,versions lists them."
            )
        version = msgspec.structs.replace(target, version_id=newest)
        with suppress(PreconditionFailed):  # Another call has brought it back meanwhile.
            self.copy(version, target, overwrite=False, tier=None, priority=None, now=now)
        return self.head(target)

    def _newest_version(self, target: Target) -> str | None:
        def find(options: dict[str, Any]) -> str | None:
            listed = self._blobs.container(target.container).list_blobs(
                name_starts_with=target.name, include=["versions"], results_per_page=1000, **options
            )
            newest = None
            for blob in listed:  # By name, then by version, oldest first.
                if blob.name != target.name:
                    break
                newest = max(newest or "", blob.version_id or "") or newest
            return newest

        return self._blobs.read(find)

    # Containers

    def create_container(self, container: str, metadata: Mapping[str, str]) -> Found:
        """Create a private container; its headers. Raises ContainerExists."""
        client = self._blobs.container(container)
        return self._write(
            lambda options: client.create_container(metadata=dict(metadata), **options),
            lambda: self._new_container(container),
        )

    def _new_container(self, container: str) -> Found | None:
        """The container, where it was created within this call: both times are of the service's own clock."""
        try:
            headers = self._read(lambda options: self._blobs.container(container).get_container_properties(**options))
        except UnknownContainer:
            return None
        state = Found(headers)
        now = parse_date(headers.get("date"))
        return state if now is not None and now - state.last_modified < timedelta(seconds=30) else None

    def delete_container(self, container: str) -> None:
        """Delete a container with all that is in it. Raises UnknownContainer."""
        client = self._blobs.container(container)
        self._write(lambda options: client.delete_container(**options), lambda: self._gone(container))

    def _gone(self, container: str) -> Found | None:
        try:
            self.check_container(container)
        except UnknownContainer:
            return Found({})
        return None

    # URLs

    def url(self, container: str, name: str) -> str:
        """The URL of a blob at the storage account."""
        return self._blobs.url(container, name)

    @property
    def https_only(self) -> bool:
        """Whether signed URLs are for HTTPS alone: everywhere but in development."""
        return self._blobs.https_only

    def signed_url(self, grant: Grant, now: datetime) -> tuple[str, datetime]:
        """A URL that allows what `grant` says, and when it ends: with the delegation key at the latest."""
        return self._blobs.signed_url(grant, now)

    # Requests

    def _client(self, target: Target) -> Any:
        return self._blobs.blob(target.container, target.name, version_id=target.version_id, snapshot=target.snapshot)

    def _read(self, request: Callable[[dict[str, Any]], object]) -> dict[str, str]:
        responses = _Responses()
        with responses:
            self._blobs.read(lambda options: request(options | {"raw_response_hook": responses.add}))
        return responses.headers

    def _write(self, request: Callable[[dict[str, Any]], object], find_result: Callable[[], Found | None]) -> Found:
        def send(options: dict[str, Any]) -> Found:
            with _Responses() as responses:
                request(options | {"raw_response_hook": responses.add})
            return Found(responses.headers)

        return self._blobs.write(send, find_result)

    def find(self, target: Target) -> Found | None:
        """The headers of a blob; None where it does not exist."""
        try:
            return self.head(target)
        except UnknownBlob:
            return None

    def _bound(self, target: Target, conditions: Conditions, *, writing: bool) -> dict[str, Any]:
        """The SDK's options for the conditions of a write: as they are where the service can evaluate them at once,
        else evaluated here and bound to the state that was read."""
        if conditions.is_empty:
            return {}
        match, none_match = (each and each.strip() for each in (conditions.if_match, conditions.if_none_match))
        if conditions == Conditions(if_match=match) and conditions.is_simple:
            if match == "*":
                return if_exists()
            return if_match(match)
        if writing and conditions == Conditions(if_none_match="*"):
            return if_missing()
        blob = self.find(target)
        if blob is None:
            if match is not None:
                raise PreconditionFailed("The blob does not exist, and If-Match requires it.")
            return if_missing() if writing and none_match else {}
        evaluate(conditions, blob.state, reading=False)
        return if_match(blob.etag)


def _tier(tier: str | None) -> Any:
    from azure.storage.blob import StandardBlobTier

    return tier and StandardBlobTier(tier)


class _Responses:
    """The responses to one call of the SDK: a large blob arrives in several."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        """The headers of the first success, with names in lower case."""
        self._open: list[Any] = []

    def add(self, response: Any) -> None:
        """Takes a response from the SDK, before its body is read."""
        http_response = response.http_response
        self._open.append(http_response)
        if not self.headers and http_response.status_code < 300:
            self.headers = {name.lower(): value for name, value in http_response.headers.items()}

    def __enter__(self) -> "_Responses":
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open:  # One whose body was not read to its end would keep its connection.
            each.internal_response.close()


def _check_version(target: Target, headers: Mapping[str, str]) -> None:
    """Raises UnsupportedByAccount where the service has ignored the version and returned the blob itself."""
    if target.version_id is not None and headers.get("x-ms-version-id") != target.version_id:
        raise UnsupportedByAccount("The storage account keeps no versions. Leave out version_id.")


def _has_content(blob: Found, md5: bytes, size: int, settings: "ContentSettings") -> bool:
    return (
        blob.headers.get("content-md5") == base64.b64encode(md5).decode()
        and blob.size == size
        and blob.headers.get("content-type") == settings.content_type
    )
