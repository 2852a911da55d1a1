"""Single blobs over HTTP: read, stored, deleted, copied and moved between tiers."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import httpx
import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient, ContentSettings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.blobs.support import container_sas
from tests.support import App, StartApp

TEXT = b"0123456789abcdefghij"


@pytest.fixture(scope="module")
def container(storage_connection: str) -> ContainerClient:
    """A container with one blob, read by the official library."""
    made = BlobServiceClient.from_connection_string(storage_connection).create_container("objects")
    settings = ContentSettings(content_type="text/plain; charset=utf-8", content_language="en")
    made.upload_blob("text.txt", TEXT, content_settings=settings, metadata={"k": "v"})
    return made


@pytest.fixture
def client(running_app: App, container: ContainerClient) -> Iterator[httpx.Client]:
    """A client of the running app, with its key."""
    with running_app.client() as client:
        yield client


def problem_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem."""
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


def fields_of(response: httpx.Response) -> list[str]:
    """The fields that a problem names."""
    return [each["field"] for each in response.json()["errors"]]


def test_a_blob_is_got(client: httpx.Client, container: ContainerClient) -> None:
    """GET returns a blob's bytes and its properties; HEAD returns the same headers and no bytes."""
    got = client.get("/api/blobs/objects/text.txt")
    properties = container.get_blob_client("text.txt").get_blob_properties()
    assert (got.status_code, got.content) == (200, TEXT)
    assert got.headers["etag"] == f'"{properties.etag.strip(chr(34))}"'
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert got.headers["content-language"] == "en"
    assert got.headers["accept-ranges"] == "bytes"
    assert got.headers["content-disposition"] == "inline; filename=\"text.txt\"; filename*=UTF-8''text.txt"
    assert got.headers["cache-control"] == "no-store"
    head = client.head("/api/blobs/objects/text.txt")
    assert (head.status_code, head.content) == (200, b"")
    own = ("date", "x-request-id")
    assert {n: v for n, v in head.headers.items() if n not in own} == {
        n: v for n, v in got.headers.items() if n not in own
    }


def test_html_is_not_shown_from_our_origin(client: httpx.Client, start_app: StartApp) -> None:
    """A browser saves a page or an image with scripts and does not show it, unless a setting allows that."""
    for name, kind in (("page.html", "text/html"), ("image.svg", "image/svg+xml")):
        assert client.put(f"/api/blobs/objects/{name}", content=b"<", headers={"content-type": kind}).status_code == 201
        got = client.get(f"/api/blobs/objects/{name}")
        assert got.headers["content-type"] == kind
        assert got.headers["content-disposition"].startswith("attachment")
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["content-security-policy"] == "sandbox; default-src 'none'"
    with start_app({"STRONGROOM_INLINE_HTML": "true"}).client() as other:
        got = other.get("/api/blobs/objects/page.html")
        assert got.headers["content-disposition"].startswith("inline")
        assert got.headers["content-security-policy"].startswith("sandbox allow-scripts; default-src 'none'")


@pytest.mark.parametrize(
    ("header", "content", "content_range"),
    [
        ("bytes=0-4", TEXT[:5], "bytes 0-4/20"),
        ("bytes=15-", TEXT[15:], "bytes 15-19/20"),
        ("bytes=15-99", TEXT[15:], "bytes 15-19/20"),
        ("bytes=-3", TEXT[-3:], "bytes 17-19/20"),
        ("bytes=-99", TEXT, "bytes 0-19/20"),
    ],
)
def test_a_range_is_got(header: str, content: bytes, content_range: str, client: httpx.Client) -> None:
    """A range in each of its forms returns exactly these bytes."""
    got = client.get("/api/blobs/objects/text.txt", headers={"range": header})
    assert (got.status_code, got.content, got.headers["content-range"]) == (206, content, content_range)


@pytest.mark.parametrize("header", ["bytes=20-", "bytes=20-30", "bytes=-0"])
def test_a_range_behind_the_end_is_416(header: str, client: httpx.Client) -> None:
    """A range after the end of the blob is refused, with the size."""
    got = client.get("/api/blobs/objects/text.txt", headers={"range": header})
    assert problem_of(got) == (416, "range-not-satisfiable")
    assert got.headers["content-range"] == "bytes */20"


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1"])
def test_an_empty_blob_has_no_ranges(header: str, client: httpx.Client) -> None:
    """An empty blob has no ranges, and a GET of the whole returns no bytes."""
    client.put("/api/blobs/objects/empty", content=b"")
    assert problem_of(client.get("/api/blobs/objects/empty", headers={"range": header})) == (
        416,
        "range-not-satisfiable",
    )
    assert client.get("/api/blobs/objects/empty").content == b""


@pytest.mark.parametrize("header", ["bytes=0-1,3-4", "lines=0-1", "bytes=x"])
def test_a_range_that_is_not_understood_is_passed_over(header: str, client: httpx.Client) -> None:
    """Several ranges, other units and invalid ranges return the whole blob (RFC 9110, section 14.2)."""
    got = client.get("/api/blobs/objects/text.txt", headers={"range": header})
    assert (got.status_code, got.content) == (200, TEXT)


def test_conditions_on_reading(client: httpx.Client) -> None:
    """If-Match, If-None-Match, If-Modified-Since and If-Range work as RFC 9110 defines, for GET and HEAD."""
    url = "/api/blobs/objects/text.txt"
    head = client.head(url)
    etag, modified = head.headers["etag"], head.headers["last-modified"]
    unchanged: list[dict[str, str]] = [
        {"if-none-match": etag},
        {"if-none-match": f'"other", W/{etag}'},
        {"if-none-match": "*"},
        {"if-modified-since": modified},
        {"if-none-match": etag, "if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    ]
    for headers in unchanged:
        for method in ("GET", "HEAD"):
            response = client.request(method, url, headers=headers)
            assert (response.status_code, response.content) == (304, b""), headers
    assert client.get(url, headers={"if-none-match": etag}).headers["etag"] == etag
    changed: list[dict[str, str]] = [
        {"if-none-match": '"other"'},
        {"if-none-match": '"other", "another"'},
        {"if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"if-modified-since": "yesterday"},
        {"if-none-match": '"other"', "if-modified-since": modified},
        {"if-match": etag},
        {"if-match": "*"},
        {"if-match": f'"other", {etag}'},
    ]
    for headers in changed:
        assert client.get(url, headers=headers).content == TEXT, headers
    for other in ('"other"', f"W/{etag}"):
        assert problem_of(client.get(url, headers={"if-match": other})) == (412, "precondition-failed")
    for other, whole in ((etag, False), (modified, False), ('"other"', True), (f"W/{etag}", True)):
        got = client.get(url, headers={"range": "bytes=0-1", "if-range": other})
        assert got.status_code == (200 if whole else 206)


def test_a_blob_that_changes_between_two_ranges_is_noticed(client: httpx.Client) -> None:
    """The second range, requested with the ETag of the first, is refused if the blob has changed."""
    url = "/api/blobs/objects/changing"
    client.put(url, content=b"old bytes")
    first = client.get(url, headers={"range": "bytes=0-3"})
    client.put(url, content=b"new bytes")
    etag = first.headers["etag"]
    assert problem_of(client.get(url, headers={"range": "bytes=4-", "if-match": etag})) == (412, "precondition-failed")
    whole = client.get(url, headers={"range": "bytes=4-", "if-range": etag})
    assert (whole.status_code, whole.content) == (200, b"new bytes")


@pytest.mark.parametrize("header", ["if-match", "if-none-match", "if-modified-since", "if-range", "range"])
def test_a_header_may_hold_anything(header: str, client: httpx.Client) -> None:
    """A header with characters of any script is compared or ignored, and causes no failure."""
    headers = {header.encode(): '"日本"'.encode()}
    for method in ("GET", "HEAD"):
        response = client.request(method, "/api/blobs/objects/text.txt", headers=headers)
        assert response.status_code == (412 if header == "if-match" else 200)
    if header in ("if-match", "if-none-match"):
        assert fields_of(client.put("/api/blobs/objects/text.txt", headers=headers)) == [header.replace("-", "_")]


def test_a_large_blob_is_fetched_from_storage(start_app: StartApp, container: ContainerClient) -> None:
    """A blob over the limit does not pass through the app: the response redirects to it, for ranges, too."""
    container.upload_blob("large.html", b"x" * 5000, overwrite=True, content_settings=ContentSettings("text/html"))
    with start_app({"STRONGROOM_MAX_BODY_BYTES": "1024"}).client() as client:
        response = client.get("/api/blobs/objects/large.html")
        assert (response.status_code, response.content) == (307, b"")
        with httpx.Client(timeout=60, trust_env=False) as storage:
            fetched = storage.get(response.headers["location"])
            assert fetched.content == b"x" * 5000
            assert fetched.headers["content-disposition"].startswith("attachment")
            refused = storage.put(response.headers["location"], content=b"", headers={"x-ms-blob-type": "BlockBlob"})
            assert refused.status_code == 403
        assert client.get("/api/blobs/objects/large.html", headers={"range": "bytes=0-"}).status_code == 307
        assert client.get("/api/blobs/objects/large.html", headers={"range": "bytes=0-1023"}).status_code == 206
        assert client.get("/api/blobs/objects/large.html", follow_redirects=True).content == b"x" * 5000
        assert client.head("/api/blobs/objects/large.html").headers["content-length"] == "5000"


def test_on_a_private_network_ranges_pass_through(start_app: StartApp, container: ContainerClient) -> None:
    """If callers cannot reach storage, they read a large blob range by range, each up to the limit."""
    container.upload_blob("large", bytes(range(250)) * 20, overwrite=True)
    settings = {"STRONGROOM_MAX_BODY_BYTES": "1024", "STRONGROOM_STORAGE_PRIVATE": "true"}
    with start_app(settings).client() as client:
        whole = client.get("/api/blobs/objects/large")
        assert problem_of(whole) == (422, "blob-too-large")
        assert "5000 bytes" in whole.json()["detail"]
        got = b""
        while len(got) < 5000:
            response = client.get("/api/blobs/objects/large", headers={"range": f"bytes={len(got)}-"})
            assert response.status_code == 206
            assert response.headers["content-range"] == f"bytes {len(got)}-{len(got) + len(response.content) - 1}/5000"
            got += response.content
        assert got == bytes(range(250)) * 20


def test_a_blob_is_put(client: httpx.Client, container: ContainerClient) -> None:
    """PUT stores bytes, type, metadata and tier, as the official library reads them, and returns the properties."""
    data = bytes(range(256))
    md5 = base64.b64encode(hashlib.md5(data).digest()).decode()  # noqa: S324 - the header is defined as MD5
    metadata = json.dumps({"A_b": "x y", "c": "1"})
    stored = client.put(
        "/api/blobs/objects/put/it.bin",
        params={"tier": "Cool", "metadata": metadata},
        content=data,
        headers={"content-type": "image/png", "content-md5": md5},
    )
    properties = container.get_blob_client("put/it.bin").get_blob_properties()
    assert stored.status_code == 201
    assert stored.json() == {
        "container": "objects",
        "name": "put/it.bin",
        "size": 256,
        "content_type": "image/png",
        "etag": f'"{properties.etag.strip(chr(34))}"',
        "last_modified": properties.last_modified.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "content_md5": md5,
        "url": f"{container.url}/put/it.bin",
    }
    assert properties.metadata == {"A_b": "x y", "c": "1"}
    assert properties.blob_tier == "Cool"
    assert properties.content_settings.content_type == "image/png"
    assert bytes(properties.content_settings.content_md5 or b"") == hashlib.md5(data).digest()  # noqa: S324
    assert container.download_blob("put/it.bin").readall() == data


def test_metadata_is_signed_in_any_order(client: httpx.Client, container: ContainerClient) -> None:
    """Metadata names with underscores, digits and capitals are stored, although the service has its own sort order."""
    metadata = {name: name for name in ("a", "A1", "a_b", "ab", "a1b", "a_1", "aa", "_a", "z", "B_", "b2")}
    response = client.put("/api/blobs/objects/meta", params={"metadata": json.dumps(metadata)}, content=b"")
    assert response.status_code == 201
    assert container.get_blob_client("meta").get_blob_properties().metadata == metadata


def test_conditions_on_writing(client: httpx.Client) -> None:
    """If-None-Match: * stores only a new blob; If-Match replaces and deletes only the state that it names."""
    url = "/api/blobs/objects/conditional"
    first = client.put(url, content=b"1", headers={"if-none-match": "*"})
    assert first.status_code == 201
    assert problem_of(client.put(url, content=b"2", headers={"if-none-match": "*"})) == (412, "precondition-failed")
    second = client.put(url, content=b"3", headers={"if-match": first.json()["etag"]})
    assert second.status_code == 201
    stale = {"if-match": first.json()["etag"]}
    assert problem_of(client.put(url, content=b"4", headers=stale)) == (412, "precondition-failed")
    assert problem_of(client.delete(url, headers=stale)) == (412, "precondition-failed")
    assert client.get(url).content == b"3"
    assert client.delete(url, headers={"if-match": second.json()["etag"]}).status_code == 204
    assert problem_of(client.get(url)) == (404, "unknown-blob")
    assert problem_of(client.put(url, content=b"5", headers={"if-match": "*"})) == (412, "precondition-failed")
    assert fields_of(client.put(url, content=b"6", headers={"if-match": 'W/"a"'})) == ["if_match"]


def test_one_of_many_writers_wins(client: httpx.Client) -> None:
    """Of many concurrent writers with If-None-Match: *, exactly one succeeds."""
    url = "/api/blobs/objects/race"
    with ThreadPoolExecutor(8) as pool:
        responses = pool.map(lambda n: client.put(url, content=b"%d" % n, headers={"if-none-match": "*"}), range(16))
        statuses = [each.status_code for each in responses]
    assert sorted(statuses) == [201] + [412] * 15


def test_bytes_that_were_damaged_on_the_way_are_refused(client: httpx.Client) -> None:
    """A body that does not match its Content-MD5 is not stored."""
    response = client.put(
        "/api/blobs/objects/damaged", content=b"x", headers={"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    )
    assert problem_of(response) == (400, "invalid-request")
    assert fields_of(response) == ["content_md5"]
    assert problem_of(client.get("/api/blobs/objects/damaged")) == (404, "unknown-blob")


def test_a_body_over_the_limit_goes_elsewhere(start_app: StartApp, container: ContainerClient) -> None:
    """A body over the limit is 413, and the response says how to store it; a body at the limit is stored."""
    with start_app({"STRONGROOM_MAX_BODY_BYTES": "1024"}).client() as client:
        response = client.put("/api/blobs/objects/too-large", content=b"x" * 1025)
        assert problem_of(response) == (413, "body-too-large")
        assert "share-blob" in response.json()["detail"]
        assert client.put("/api/blobs/objects/too-large", content=b"x" * 1024).status_code == 201


storable = st.text(
    st.characters(codec="utf-8", exclude_characters="\ufffe\uffff\\", exclude_categories=["Cc"]),
    min_size=1,
    max_size=40,
).filter(lambda name: name not in (".", ".."))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=storable)
def test_any_name_goes_in_and_out(name: str, client: httpx.Client) -> None:
    """A blob of any name is stored, listed with a URL that share-blob can sign to fetch it, read, and deleted."""
    query = {"name": name}
    stored = client.put("/api/blobs/objects", params=query, content=name.encode())
    assert stored.json()["name"] == name
    assert client.get("/api/blobs/objects", params=query).content == name.encode()
    listed = client.get("/api/list-blobs", params={"container": "objects", "prefix": name, "limit": 1}).json()["blobs"]
    assert listed[0]["url"] == stored.json()["url"]
    shared = client.post("/api/share-blob", json={"container": "objects", "name": name}).json()
    assert shared["url"].startswith(listed[0]["url"] + "?")
    with httpx.Client(timeout=60, trust_env=False) as storage:
        assert storage.get(shared["url"]).content == name.encode()
    assert client.delete("/api/blobs/objects", params=query).status_code == 204


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=storable.filter(lambda name: not re.search("%[0-9A-Fa-f]{2}", name)))
def test_a_name_in_the_path_is_decoded_once(name: str, client: httpx.Client) -> None:
    """In the path, the fully encoded text after the container is the blob's name, slashes included."""
    url = "/api/blobs/objects/" + quote(name, safe="")
    assert client.put(url, content=b"x").json()["name"] == name
    assert client.head(url).status_code == 200
    assert client.delete(url).status_code == 204


def test_a_name_that_looks_encoded_is_decoded_once(client: httpx.Client) -> None:
    """A name that contains an escape is the same blob in the path, encoded once, and in the query."""
    query = {"name": "escaped%20name"}
    assert client.put("/api/blobs/objects", params=query, content=b"x").json()["name"] == "escaped%20name"
    assert client.get("/api/blobs/objects/escaped%2520name").content == b"x"
    assert client.get("/api/blobs/objects", params=query).content == b"x"
    assert client.delete("/api/blobs/objects", params=query).status_code == 204


def test_a_name_stands_in_one_place(client: httpx.Client) -> None:
    """A name in both the path and the query, or in neither, is a bad request."""
    for method in ("GET", "PUT", "DELETE"):
        assert fields_of(client.request(method, "/api/blobs/objects/text.txt?name=text.txt")) == ["name"]
        assert fields_of(client.request(method, "/api/blobs/objects")) == ["name"]
        assert fields_of(client.request(method, "/api/blobs/objects/")) == ["name"]


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "/api/blobs/No/x", "container"),
        ("GET", "/api/blobs/objects/x?if_match=a", "if_match"),
        ("PUT", "/api/blobs/objects/a%01b", "name"),
        ("PUT", "/api/blobs/objects/" + "x" * 1025, "name"),
        ("PUT", "/api/blobs/objects/x?tier=Frozen", "tier"),
        ("PUT", "/api/blobs/objects/x?metadata=%7B%22a-b%22:%22c%22%7D", "metadata"),
        ("PUT", "/api/blobs/objects/x?metadata=text", "metadata"),
        ("DELETE", "/api/blobs/objects/x?snapshots=yes", "snapshots"),
        ("DELETE", "/api/blobs/objects/x?force=true", "force"),
    ],
)
def test_a_bad_field_is_named(method: str, path: str, field: str, client: httpx.Client) -> None:
    """The error for an invalid field names it."""
    response = client.request(method, path)
    assert problem_of(response) == (400, "invalid-request")
    assert fields_of(response) == [field]


def test_what_is_not_there_is_404(client: httpx.Client) -> None:
    """Every function distinguishes a missing blob from a missing container."""
    for method in ("GET", "DELETE"):
        assert problem_of(client.request(method, "/api/blobs/objects/nothing")) == (404, "unknown-blob")
        assert problem_of(client.request(method, "/api/blobs/never-made/x")) == (404, "unknown-container")
    assert client.head("/api/blobs/objects/nothing").status_code == 404
    assert problem_of(client.put("/api/blobs/never-made/x", content=b"")) == (404, "unknown-container")
    for path, fields in (("set-tier", {"tier": "Hot"}), ("copy-blob", {"to_name": "x"}), ("share-blob", {})):
        for container, code in (("objects", "unknown-blob"), ("never-made", "unknown-container")):
            response = client.post(f"/api/{path}", json={"container": container, "name": "nothing", **fields})
            assert problem_of(response) == (404, code), path


def test_snapshots_are_deleted_on_request(client: httpx.Client, container: ContainerClient) -> None:
    """A blob with snapshots is not deleted, unless the request also deletes the snapshots."""
    blob = container.upload_blob("snapped", b"x")
    blob.create_snapshot()
    assert problem_of(client.delete("/api/blobs/objects/snapped")) == (409, "blob-conflict")
    assert client.delete("/api/blobs/objects/snapped?snapshots=true").status_code == 204


def test_a_leased_blob_is_left_alone(client: httpx.Client, container: ContainerClient) -> None:
    """A blob with a lease is neither replaced nor deleted."""
    lease = container.upload_blob("leased", b"x").acquire_lease()
    for method in ("PUT", "DELETE"):
        response = client.request(method, "/api/blobs/objects/leased")
        assert problem_of(response) == (412, "precondition-failed")
        assert "lease" in response.json()["detail"]
    lease.break_lease()


def test_a_blob_is_copied(client: httpx.Client, container: ContainerClient) -> None:
    """A copy has the same bytes, in the same container or another, and replaces a blob only with `overwrite`."""
    fields = {"container": "objects", "name": "text.txt", "to_name": "copies/é + %.txt"}
    copied = client.post("/api/copy-blob", json=fields)
    assert copied.status_code == 200
    assert copied.json()["status"] == "success"
    with httpx.Client(timeout=60, trust_env=False) as storage:
        assert storage.get(f"{copied.json()['url']}?{container_sas('objects')}").content == TEXT
    assert problem_of(client.post("/api/copy-blob", json=fields)) == (412, "precondition-failed")
    assert client.post("/api/copy-blob", json={**fields, "overwrite": True}).status_code == 200
    client.post("/api/containers", json={"container": "objects-2"})
    assert (
        client.post("/api/copy-blob", json={**fields, "to_container": "objects-2"}).json()["container"] == "objects-2"
    )
    assert client.get(f"/api/blobs/objects-2/{quote(fields['to_name'])}").content == TEXT


def test_a_blob_moves_between_tiers(client: httpx.Client, container: ContainerClient) -> None:
    """set-tier moves a blob; an archived blob cannot be read, and the error says so."""
    client.put("/api/blobs/objects/tiered", content=b"x")
    fields = {"container": "objects", "name": "tiered"}
    for tier in ("Cool", "Cold", "Archive"):
        response = client.post("/api/set-tier", json={**fields, "tier": tier})
        assert response.json() == {**fields, "tier": tier, "pending": False}
        assert container.get_blob_client("tiered").get_blob_properties().blob_tier == tier
    response = client.get("/api/blobs/objects/tiered")
    assert problem_of(response) == (409, "blob-conflict")
    assert "archive" in response.json()["detail"]


def test_restoring_needs_soft_delete(client: httpx.Client) -> None:
    """If the account has no soft delete, like Azurite, restore-blob says that it is not supported."""
    response = client.post("/api/restore-blob", json={"container": "objects", "name": "text.txt"})
    assert problem_of(response) == (422, "unsupported-by-account")


def test_containers_are_made_and_deleted(client: httpx.Client, storage_connection: str) -> None:
    """A container is created once, private, and deleted if it is empty, or with `force`."""
    made = client.post("/api/containers", json={"container": "made-here", "metadata": {"team": "blue"}})
    assert made.status_code == 201
    container = ContainerClient.from_connection_string(storage_connection, "made-here")
    properties = container.get_container_properties()
    assert made.json()["etag"] == properties.etag
    assert made.json()["url"] == container.url
    assert (properties.metadata, properties.public_access) == ({"team": "blue"}, None)
    assert problem_of(client.post("/api/containers", json={"container": "made-here"})) == (409, "container-exists")
    client.put("/api/blobs/made-here/x", content=b"")
    assert problem_of(client.delete("/api/containers/made-here")) == (409, "container-not-empty")
    assert client.get("/api/blobs/made-here/x").status_code == 200
    assert client.delete("/api/containers/made-here?force=true").status_code == 204
    assert problem_of(client.delete("/api/containers/made-here")) == (404, "unknown-container")
    assert client.post("/api/containers", json={"container": "made-here"}).status_code == 201
    assert client.delete("/api/containers/made-here").status_code == 204
    assert fields_of(client.post("/api/containers", json={"container": "A"})) == ["container"]


RESERVED = ("app-package", "azure-webjobs-secrets", "scm-releases", "$logs", "insights-logs-x", "strongroom-data")


@pytest.mark.parametrize("name", RESERVED)
def test_no_key_reaches_the_hosts_containers(name: str, client: httpx.Client, storage_connection: str) -> None:
    """Every function refuses the containers of the host and the app, and listings omit them."""
    if not name.startswith("$"):
        made = ContainerClient.from_connection_string(storage_connection, name)
        if not made.exists():
            made.create_container()
    path = f"/api/blobs/{quote(name)}/x"
    blob = {"container": name, "name": "x"}
    own = {"container": "objects", "name": "text.txt"}
    for response in (
        client.get(path),
        client.put(path, content=b"x"),
        client.delete(path),
        client.post("/api/share-blob", json=blob),
        client.post("/api/share-blob", json={**blob, "permissions": "write"}),
        client.post("/api/share-blob", json={"container": name, "prefix": "", "revocable": True}),
        client.post("/api/copy-blob", json={**blob, "to_container": "objects", "to_name": "y"}),
        client.post("/api/copy-blob", json={**own, "to_container": name, "to_name": "y"}),
        client.post("/api/set-tier", json={**blob, "tier": "Cool"}),
        client.post("/api/restore-blob", json=blob),
        client.post("/api/containers", json={"container": name}),
        client.delete(f"/api/containers/{quote(name)}"),
        client.delete(f"/api/containers/{quote(name)}", params={"force": "true"}),
        client.get("/api/list-blobs", params={"container": name}),
        client.post("/api/summarize-blobs", json={"container": name}),
        client.post(
            "/api/export-sql",
            json={
                "container": name.replace("$logs", "app-package"),
                "name": "x",
                "database": "main",
                "sql": "select 1",
                "format": "csv",
            },
        ),
    ):
        assert problem_of(response) == (403, "reserved-container"), response.request
    head = client.head(path)
    assert head.status_code == 403
    batch = client.post("/api/share-blob", json={"batch": [blob, own]}).json()["results"]
    assert (batch[0]["status"], batch[0]["code"]) == (403, "reserved-container")
    assert "url" in batch[1]
    assert name not in client.get("/api/list-blobs", params={"format": "names"}).text.splitlines()
    assert client.get("/api/list-blobs", params={"prefix": name[:5], "limit": 1}).json()["containers"] == []


@pytest.mark.parametrize("name", [".", ".."])
def test_dots_alone_are_no_name(name: str, client: httpx.Client) -> None:
    """`.` and `..` would become the URL of the container or the account, so every function refuses them."""
    for method in ("GET", "PUT", "DELETE"):
        response = client.request(method, "/api/blobs/objects", params={"name": name})
        assert fields_of(response) == ["name"]
    copy = {"container": "objects", "name": "text.txt", "to_name": name}
    assert fields_of(client.post("/api/copy-blob", json=copy)) == ["to_name"]
    for function, fields in (("share-blob", {}), ("set-tier", {"tier": "Cool"}), ("restore-blob", {})):
        response = client.post(f"/api/{function}", json={"container": "objects", "name": name, **fields})
        assert fields_of(response) == ["name"]


@pytest.mark.parametrize("name", ["x/../../app-package/y", "../objects/text.txt", "a/./b", "x/../.."])
def test_steps_upwards_stay_in_the_name(name: str, client: httpx.Client, container: ContainerClient) -> None:
    """A name with dot segments refers only to its own blob, in storing, copying, sharing, reading and deleting."""
    assert client.put("/api/blobs/objects", params={"name": name}, content=b"steps").status_code == 201
    assert client.get("/api/blobs/objects", params={"name": name}).content == b"steps"
    copy = {"container": "objects", "name": name, "to_name": f"{name}/../z"}
    assert client.post("/api/copy-blob", json=copy).json()["status"] == "success"
    url = client.post("/api/share-blob", json={"container": "objects", "name": f"{name}/../z"}).json()["url"]
    assert httpx.get(url, timeout=60, trust_env=False).content == b"steps"
    assert name in client.get("/api/list-blobs", params={"container": "objects", "format": "names"}).text
    for each in (name, f"{name}/../z"):
        assert client.delete("/api/blobs/objects", params={"name": each}).status_code == 204
    assert container.download_blob("text.txt").readall() == TEXT


def test_a_percent_sign_is_the_names_own(client: httpx.Client) -> None:
    """`a%41`, correctly sent as `a%2541`, is not the blob `aA`."""
    client.put("/api/blobs/objects/aA", content=b"other")
    assert client.put("/api/blobs/objects/a%2541", content=b"x").json()["name"] == "a%41"
    assert client.get("/api/blobs/objects/aA").content == b"other"
    assert client.get("/api/blobs/objects/a%2541").content == b"x"
    assert client.delete("/api/blobs/objects/a%2541").status_code == 204
    assert client.get("/api/blobs/objects/aA").content == b"other"


def test_stored_properties_come_back(client: httpx.Client, container: ContainerClient) -> None:
    """Headers that describe the bytes are stored with them, and returned with them, also by a signed URL."""
    sent = {
        "content-type": "text/plain; charset=utf-8",
        "content-encoding": "gzip",
        "content-language": "de",
        "content-disposition": 'attachment; filename="report 2026.txt"',
        "cache-control": "max-age=60",
        "x-ms-meta-colour": "blue",
        "x-ms-meta-empty": "",
        "x-ms-access-tier": "Cool",
    }
    data = gzip.compress(b"hello")
    assert client.put("/api/blobs/objects/described", content=data, headers=sent).status_code == 201
    got = client.get("/api/blobs/objects/described")
    expected = sent | {
        "content-disposition": "attachment; filename=\"report 2026.txt\"; filename*=UTF-8''report%202026.txt"
    }
    del expected["x-ms-access-tier"]
    assert {name: got.headers[name] for name in expected} == expected
    assert got.content == b"hello"  # The client decoded these from the same bytes.
    assert got.headers["content-length"] == str(len(data))
    assert got.headers["vary"] == "x-functions-key"
    properties = container.get_blob_client("described").get_blob_properties()
    assert properties.blob_tier == "Cool"
    assert properties.metadata == {"colour": "blue", "empty": ""}
    url = client.post("/api/share-blob", json={"container": "objects", "name": "described"}).json()["url"]
    assert httpx.get(url, timeout=60, trust_env=False).headers["content-disposition"] == sent["content-disposition"]


@pytest.mark.parametrize(
    ("headers", "params", "field"),
    [
        ({"content-range": "bytes 0-0/9"}, {}, "content_range"),
        ({"content-type": "application/pdf;,text/html"}, {}, "content_type"),
        ({"content-type": "nonsense"}, {}, "content_type"),
        ({"x-ms-meta-a-b": "x"}, {}, "metadata"),
        ({"x-ms-meta-a": "x"}, {"metadata": '{"b":"y"}'}, "metadata"),
        ({}, {"metadata": '{"a":"x","A":"y"}'}, "metadata"),
        ({}, {"metadata": '{"a\\n":"x"}'}, "metadata.a\n"),
        ({}, {"metadata": '{"a":" x"}'}, "metadata"),
        ({"x-ms-access-tier": "Cool"}, {"tier": "Hot"}, "tier"),
        ({"x-ms-access-tier": "Lukewarm"}, {}, "x_ms_access_tier"),
        ({"x-ms-lease-id": "x"}, {}, "x-ms-lease-id"),
        ({"x-ms-tags": "a=b"}, {}, "x-ms-tags"),
        ({"x-ms-expiry-time": "60000"}, {}, "x-ms-expiry-time"),
        ({"x-ms-structured-body": "XSM/1.0; properties=crc64"}, {}, "x-ms-structured-body"),
        ({"x-ms-blob-type": "PageBlob"}, {}, "x-ms-blob-type"),
        ({"if-match": "x"}, {}, "if_match"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    headers: dict[str, str], params: dict[str, str], field: str, client: httpx.Client
) -> None:
    """A header that the function does not support is refused by name, and nothing is stored."""
    response = client.put("/api/blobs/objects/refused", content=b"x", headers=headers, params=params)
    assert response.status_code == 400, response.text
    assert fields_of(response)[0].startswith(field.partition(".")[0])
    assert client.get("/api/blobs/objects/refused").status_code == 404


@pytest.mark.parametrize("sent", [{}, {"content-type": "application/x-www-form-urlencoded"}])
def test_a_type_that_nobody_chose_is_the_names(sent: dict[str, str], client: httpx.Client) -> None:
    """Without a type, or with the default type of curl, the name's extension decides."""
    stored = client.put("/api/blobs/objects/chosen.csv", content=b"a,b", headers=sent)
    assert stored.json()["content_type"] == "text/csv"


def test_conditions_are_never_ignored(client: httpx.Client) -> None:
    """Dates, lists and stars are honoured by GET, PUT and DELETE, whether or not storage supports them."""
    url = "/api/blobs/objects/guarded"
    etag = client.put(url, content=b"1").json()["etag"]
    long_ago, later = "Thu, 01 Jan 2015 00:00:00 GMT", "Sun, 01 Jan 2090 00:00:00 GMT"
    refused: list[dict[str, str]] = [
        {"if-unmodified-since": long_ago},
        {"if-match": '"x", "y"'},
        {"if-none-match": f'"x", {etag}'},
        {"if-none-match": "*"},
    ]
    for headers in refused:
        expected = 304 if "if-none-match" in headers else 412
        assert client.get(url, headers=headers).status_code == expected
        assert problem_of(client.put(url, content=b"2", headers=headers)) == (412, "precondition-failed")
        assert problem_of(client.delete(url, headers=headers)) == (412, "precondition-failed")
    assert client.get(url).content == b"1"
    assert problem_of(client.delete("/api/blobs/objects/nothing", headers={"if-none-match": "*"})) == (
        404,
        "unknown-blob",
    )
    for headers in ({"if-unmodified-since": later}, {"if-match": f'"x", {etag}'}, {"if-none-match": '"x", "y"'}):
        assert client.get(url, headers=headers).status_code == 200
    assert client.put(url, content=b"3", headers={"if-match": f'"x", {etag}'}).status_code == 201
    assert client.delete(url, headers={"if-unmodified-since": later}).status_code == 204


def test_a_large_blob_keeps_its_conditions(start_app: StartApp, container: ContainerClient) -> None:
    """Over the limit, the app evaluates conditions that storage would ignore, and a changed blob is never resumed."""
    container.upload_blob("larger", b"x" * 3000, overwrite=True)
    with start_app({"STRONGROOM_MAX_BODY_BYTES": "1024"}).client() as client:
        url = "/api/blobs/objects/larger"
        etag = client.head(url).headers["etag"]
        plain = client.get(url)
        assert plain.status_code == 307
        location = client.get(url, params={"redirect": "false"})
        assert location.status_code == 200
        assert location.json().keys() == {"url", "expires", "size", "etag"}
        assert (location.json()["size"], location.json()["etag"]) == (3000, etag)
        assert httpx.get(location.json()["url"], timeout=60, trust_env=False).content == b"x" * 3000
        suffix = client.get(url, headers={"range": "bytes=-2000"})
        assert (suffix.status_code, suffix.headers["content-range"]) == (206, "bytes 1000-2023/3000")
        resumed = client.get(url, headers={"range": "bytes=100-", "if-range": etag})
        assert (resumed.status_code, resumed.headers["content-range"]) == (206, "bytes 100-1123/3000")
        assert problem_of(client.get(url, headers={"range": "bytes=100-", "if-range": '"x"'}))[0] == 412
        assert client.get(url, headers={"if-none-match": f'"x", {etag}'}).status_code == 304
        assert client.get(url, headers={"if-match": '"x", "y"'}).status_code == 412
        assert problem_of(client.get(url, headers={"if-match": f'"x", {etag}'})) == (422, "blob-too-large")


def test_no_blob_is_a_script_of_this_app(client: httpx.Client) -> None:
    """If a browser requests a blob as a script, it is 403; every other blob has its sandbox and stays in its origin."""
    client.put("/api/blobs/objects/evil.js", content=b"alert(1)", headers={"content-type": "text/javascript"})
    for destination in ("script", "style", "worker", "serviceworker", "xslt"):
        response = client.get("/api/blobs/objects/evil.js", headers={"sec-fetch-dest": destination})
        assert problem_of(response) == (403, "script-destination")
    got = client.get("/api/blobs/objects/evil.js", headers={"sec-fetch-dest": "document"})
    assert got.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert got.headers["cross-origin-resource-policy"] == "same-origin"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["referrer-policy"] == "no-referrer"


def test_a_lease_can_be_broken(client: httpx.Client, container: ContainerClient) -> None:
    """A blob with an infinite lease can be deleted with `break_lease`."""
    container.upload_blob("held", b"x").acquire_lease()
    assert problem_of(client.delete("/api/blobs/objects/held")) == (412, "precondition-failed")
    assert client.delete("/api/blobs/objects/held", params={"break_lease": "true"}).status_code == 204
    assert problem_of(client.delete("/api/blobs/objects/held", params={"break_lease": "true"})) == (404, "unknown-blob")


def test_a_snapshot_is_read_and_copied(client: httpx.Client, container: ContainerClient) -> None:
    """get-blob and copy-blob accept a snapshot, as list-blobs names it."""
    blob = container.upload_blob("older", b"1", overwrite=True)
    blob.create_snapshot()
    container.upload_blob("older", b"2", overwrite=True)
    listed = client.get("/api/list-blobs", params={"container": "objects", "prefix": "older", "include": "snapshots"})
    (snapshot,) = (each["snapshot"] for each in listed.json()["blobs"] if "snapshot" in each)
    assert client.get("/api/blobs/objects/older", params={"snapshot": snapshot}).content == b"1"
    assert client.get("/api/blobs/objects/older").content == b"2"
    fields = {"container": "objects", "name": "older", "to_name": "older", "snapshot": snapshot, "overwrite": True}
    assert client.post("/api/copy-blob", json=fields).json()["status"] == "success"
    assert client.get("/api/blobs/objects/older").content == b"1"
    both = {"snapshot": snapshot, "version_id": "2026-01-01T00:00:00.0000000Z"}
    assert fields_of(client.get("/api/blobs/objects/older", params=both)) == ["snapshot"]


def test_a_version_is_never_another_state(client: httpx.Client) -> None:
    """Azurite ignores the version and returns the current blob: the app responds 422, without that blob."""
    version = {"version_id": "2026-01-01T00:00:00.0000000Z"}
    assert problem_of(client.get("/api/blobs/objects/text.txt", params=version)) == (422, "unsupported-by-account")
    fields = {"container": "objects", "name": "text.txt", "to_name": "from-version", **version}
    assert problem_of(client.post("/api/copy-blob", json=fields)) == (422, "unsupported-by-account")
