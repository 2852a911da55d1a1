"""Features that Azurite lacks: soft delete, versions and rehydration, from a server with the documented responses.

https://learn.microsoft.com/rest/api/storageservices/undelete-blob
https://learn.microsoft.com/azure/storage/blobs/versioning-overview
"""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from shared.blobs.downloads import Delivery
from shared.blobs.routes import changing, reading
from shared.blobs.store.blobs import BlobStore
from shared.settings import StorageSettings
from shared.storage import Storage
from shared.storage.errors import BlobConflict, UnknownBlob
from shared.web import Request
from tests.blobs.support import account_at

OLD, NEW = "2026-01-01T00:00:00.0000000Z", "2026-01-02T00:00:00.0000000Z"


class Account:
    """A container with one blob `a.txt`: its versions by id, the id of the current one, and its soft-deleted state."""

    def __init__(self, *, versions: bool, deleted: bool = True) -> None:
        self.versions = {OLD: b"old", NEW: b"newest"} if versions else {}
        self.keeps_versions = versions
        self.base: bytes | None = None if deleted else b"newest"
        self.soft_deleted = None if versions else b"newest"
        self.tier = "Hot"
        self.archive_status = ""
        self.requests: list[str] = []
        self.copy_headers: dict[str, str] = {}


@contextmanager
def running(account: Account) -> Iterator[BlobStore]:
    """A store on this account."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            self.rfile.read(length)
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
            account.requests.append(f"{self.command} {unquote(url.path)} {query.get('comp', '')}".strip())
            if query.get("comp") == "undelete":
                if account.soft_deleted is not None:
                    account.base, account.soft_deleted = account.soft_deleted, None
                return self.respond(200)  # Also if versions are on: then it only restores deleted versions.
            if query.get("comp") == "list":
                return self.respond(200, body=self.listing())
            if self.command == "PUT" and "x-ms-copy-source" in self.headers:
                account.copy_headers = {name.lower(): value for name, value in self.headers.items()}
                source = parse_qs(urlsplit(self.headers["x-ms-copy-source"]).query)
                account.base = account.versions[source["versionid"][0]]
                return self.respond(202, {"x-ms-copy-status": "success", "x-ms-copy-id": "1"})
            data = account.versions.get(query["versionid"]) if "versionid" in query else account.base
            if data is None:
                return self.respond(404, {"x-ms-error-code": "BlobNotFound"})
            properties = {"x-ms-access-tier": account.tier}
            if "versionid" in query:
                properties["x-ms-version-id"] = query["versionid"]
            if account.archive_status:
                properties["x-ms-archive-status"] = account.archive_status
            if self.command == "GET":
                return self.respond(206, {"content-range": f"bytes 0-{len(data) - 1}/{len(data)}", **properties}, data)
            return self.respond(200, properties, length=len(data))

        def listing(self) -> bytes:
            other = {("a.txt.bak", "2027-01-01T00:00:00.0000000Z"): b""}
            blobs = {("a.txt", version): data for version, data in account.versions.items()} | other
            items = "".join(
                f"<Blob><Name>{name}</Name><VersionId>{version}</VersionId><Properties><Etag>0x1</Etag>"
                f"<Last-Modified>Fri, 02 Jan 2026 03:04:05 GMT</Last-Modified><BlobType>BlockBlob</BlobType>"
                f"<Content-Length>{len(data)}</Content-Length></Properties></Blob>"
                for (name, version), data in blobs.items()
            )
            start, end = (
                '<?xml version="1.0"?><EnumerationResults><Blobs>',
                "</Blobs><NextMarker/></EnumerationResults>",
            )
            return f"{start}{items}{end}".encode()

        def respond(
            self, status: int, headers: Mapping[str, str] = {}, body: bytes = b"", length: int | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("content-type", "application/xml" if body.startswith(b"<?xml") else "text/plain")
            self.send_header("etag", '"0x1"')
            self.send_header("last-modified", "Fri, 02 Jan 2026 03:04:05 GMT")
            self.send_header("content-length", str(len(body) if length is None else length))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = handle_request  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield BlobStore(Storage(StorageSettings(account_at(f"http://127.0.0.1:{server.server_address[1]}"))))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


RESTORE = changing.RestoreBlobRequest(container="container", name="a.txt")


def test_soft_delete_alone_brings_the_blob_back() -> None:
    """Without versions, undelete alone restores the blob."""
    account = Account(versions=False)
    with running(account) as blobs:
        assert changing.restore_blob(blobs, RESTORE).size == len(b"newest")
    assert account.base == b"newest"
    assert account.requests == ["PUT /a/container/a.txt undelete", "HEAD /a/container/a.txt"]


def test_with_versions_the_newest_becomes_the_blob() -> None:
    """With versions, undelete leaves no blob, so the newest version of exactly this name is copied onto it."""
    account = Account(versions=True)
    with running(account) as blobs:
        assert changing.restore_blob(blobs, RESTORE).size == len(b"newest")
    assert account.base == b"newest"
    assert account.copy_headers["if-none-match"] == "*"  # A blob that was created meanwhile is not replaced.
    assert re.search(r"[?&]versionid=2026-01-02T00%3A00%3A00.0000000Z", account.copy_headers["x-ms-copy-source"])


def test_a_blob_that_exists_stays_as_it_is() -> None:
    """Restoring a blob that is not deleted changes nothing."""
    account = Account(versions=True, deleted=False)
    with running(account) as blobs:
        changing.restore_blob(blobs, RESTORE)
    assert account.copy_headers == {}


def test_what_never_was_cannot_come_back() -> None:
    """Without a version of exactly this name, restore-blob is 404."""
    account = Account(versions=True)
    account.versions = {}
    with running(account) as blobs, pytest.raises(UnknownBlob):
        changing.restore_blob(blobs, RESTORE)


def test_a_version_is_read_and_copied() -> None:
    """get-blob and copy-blob pass the version on to storage."""
    account = Account(versions=True)
    request = Request("GET", "http://x/api/blobs/container/a.txt", {}, {"container": "container", "name": "a.txt"}, b"")
    with running(account) as blobs:
        fields = reading.GetBlobRequest(container="container", name="a.txt", version_id=OLD)
        assert reading.get_blob(blobs, Delivery(most=100), fields, request).body == b"old"
        copy = changing.CopyBlobRequest(container="container", name="a.txt", to_name="b.txt", version_id=OLD)
        assert changing.copy_blob(blobs, copy).status == "success"
    assert account.base == b"old"


@pytest.mark.parametrize("status", ["", "rehydrate-pending-to-hot"])
def test_an_archived_blob_says_what_to_do(status: str) -> None:
    """A blob in the archive, or being rehydrated, is a conflict; a copy to another tier accepts a priority."""
    account = Account(versions=True, deleted=False)
    account.tier, account.archive_status = "Archive", status
    fields = {"container": "container", "name": "a.txt", "to_name": "b.txt"}
    with running(account) as blobs:
        with pytest.raises(BlobConflict, match="Wait until it is back" if status else "set-tier"):
            changing.copy_blob(blobs, changing.CopyBlobRequest(**fields))  # type: ignore[arg-type]
        account.versions[NEW] = b"newest"
        copy = changing.CopyBlobRequest(**fields, tier="Hot", rehydrate_priority="High", version_id=NEW)  # type: ignore[arg-type]
        assert changing.copy_blob(blobs, copy).status == "success"
    assert account.copy_headers["x-ms-rehydrate-priority"] == "High"
    assert account.copy_headers["x-ms-access-tier"] == "Hot"
