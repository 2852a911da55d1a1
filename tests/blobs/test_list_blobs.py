"""`list-blobs` over HTTP: by GET and by POST, on the sample data and on a container with hostile names."""

import csv
import io
import json
from urllib.parse import quote

import httpx
import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient

from tests.blobs.support import container_sas, put
from tests.support import App, StartApp

NAMES = ["a/1.txt", "a/2.txt", "a/b/3.csv", "line\nbreak", "top.csv", "é + % # ?.txt"]


@pytest.fixture(scope="session")
def container(storage_connection: str) -> ContainerClient:
    """A container with a few blobs."""
    made = BlobServiceClient.from_connection_string(storage_connection).create_container("over-http")
    for name in NAMES:
        put(made, name, name.encode(), **{"content-type": "text/plain", "x-ms-meta-k": "v"})
    return made


def list_over_http(client: httpx.Client, method: str, **fields: object) -> httpx.Response:
    """Call list-blobs by GET or by POST, with the same fields."""
    if method == "POST":
        return client.post("/api/list-blobs", json=fields)
    query = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return client.get("/api/list-blobs", params=query)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_container_is_listed(method: str, running_app: App, container: ContainerClient) -> None:
    """A listing has all the fields of the contract, and each URL fetches its blob."""
    with running_app.client() as client, httpx.Client(timeout=60, trust_env=False) as storage:
        response = list_over_http(client, method, container="over-http")
        assert response.status_code == 200
        found = response.json()
        assert (found["prefixes"], found["cursor"]) == ([], None)
        assert [each["name"] for each in found["blobs"]] == NAMES
        for each in found["blobs"]:
            assert set(each) == {"name", "size", "content_type", "last_modified", "etag", "tier", "url"}
            assert (each["size"], each["content_type"], each["tier"]) == (
                len(each["name"].encode()),
                "text/plain",
                "Hot",
            )
            fetched = storage.get(f"{each['url']}?{container_sas('over-http')}")
            assert (fetched.content, fetched.headers["etag"]) == (each["name"].encode(), each["etag"])


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_one_level_is_listed(method: str, running_app: App, container: ContainerClient) -> None:
    """With a delimiter the folders become prefixes, and listing a prefix lists one of them."""
    with running_app.client() as client:
        top = list_over_http(client, method, container="over-http", delimiter="/").json()
        assert top["prefixes"] == ["a/"]
        assert [each["name"] for each in top["blobs"]] == NAMES[3:]
        below = list_over_http(client, method, container="over-http", delimiter="/", prefix="a/").json()
        assert below["prefixes"] == ["a/b/"]
        assert [each["name"] for each in below["blobs"]] == ["a/1.txt", "a/2.txt"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("fields", [{}, {"match": "*.txt"}, {"delimiter": "/"}, {"prefix": "a/"}])
def test_the_cursor_goes_through_all(
    method: str, fields: dict[str, str], running_app: App, container: ContainerClient
) -> None:
    """With two items per page, the cursor returns the same items as one call for all."""

    def items(found: dict[str, list[object]]) -> list[object]:
        return found["prefixes"] + found["blobs"]

    with running_app.client() as client:
        whole = items(list_over_http(client, method, container="over-http", **fields).json())
        gathered: list[object] = []
        more: dict[str, object] = {}
        while True:
            page = list_over_http(client, method, container="over-http", limit=2, **fields, **more).json()
            assert len(items(page)) <= 2
            gathered += items(page)
            if page["cursor"] is None:
                break
            more = {"cursor": page["cursor"]}
        assert sorted(map(json.dumps, gathered)) == sorted(map(json.dumps, whole))


def test_the_containers_are_listed(running_app: App, container: ContainerClient) -> None:
    """Without a container the containers are listed; a cursor and a glob work there, too."""
    with running_app.client() as client:
        found = list_over_http(client, "GET", match="*ver-htt*").json()
        assert set(found) == {"containers", "cursor"}
        (only,) = found["containers"]
        assert set(only) == {"name", "last_modified", "etag", "url", "public_access"}
        assert (only["name"], only["url"]) == ("over-http", container.url)
        first = list_over_http(client, "POST", limit=1).json()
        second = list_over_http(client, "POST", limit=1, cursor=first["cursor"]).json()
        assert first["containers"][0]["name"] < second["containers"][0]["name"]


@pytest.mark.parametrize("include", ["metadata,tags", ["tags", "metadata"]])
def test_include_returns_more(include: object, running_app: App, container: ContainerClient) -> None:
    """`include` adds metadata, as a comma-separated text or as a list."""
    with running_app.client() as client:
        found = list_over_http(client, "POST", container="over-http", include=include).json()
        assert all(each["metadata"] == {"k": "v"} for each in found["blobs"])


def test_each_format_has_every_blob(running_app: App, container: ContainerClient) -> None:
    """ndjson, csv and names return the same blobs as json, and their headers say that more follow."""
    with running_app.client() as client:
        blobs = list_over_http(client, "GET", container="over-http").json()["blobs"]
        lines = list_over_http(client, "GET", container="over-http", format="ndjson")
        assert lines.headers["content-type"] == "application/x-ndjson"
        assert [json.loads(line) for line in lines.content.split(b"\n") if line] == blobs
        table = list_over_http(client, "POST", container="over-http", format="csv")
        assert table.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(table.content.decode(), newline="")))
        assert [{**row, "size": int(row["size"])} for row in rows] == blobs
        names = list_over_http(client, "GET", container="over-http", format="names")
        assert names.headers["content-type"] == "text/plain; charset=utf-8"
        assert names.text == "".join(name.replace("\n", "\\n") + "\n" for name in NAMES)
        for kind in ("ndjson", "csv", "names"):
            first = list_over_http(client, "GET", container="over-http", format=kind, limit=4)
            assert first.headers["x-truncated"] == "true"
            rest = list_over_http(client, "GET", container="over-http", format=kind, cursor=first.headers["x-cursor"])
            assert "x-truncated" not in rest.headers
            assert "x-cursor" not in rest.headers
            whole = list_over_http(client, "GET", container="over-http", format=kind).content
            assert first.content + rest.content.removeprefix(table.content.split(b"\n")[0] + b"\n") == whole


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"container": "No"}, "container"),
        ({"container": "a--b"}, "container"),
        ({"container": "../etc"}, "container"),
        ({"container": ""}, "container"),
        ({"container": "over-http", "limit": 0}, "limit"),
        ({"container": "over-http", "limit": 50001}, "limit"),
        ({"container": "over-http", "limit": "many"}, "limit"),
        ({"container": "over-http", "prefix": "x" * 1025}, "prefix"),
        ({"container": "over-http", "prefix": "\x00"}, "prefix"),
        ({"container": "over-http", "cursor": ""}, "cursor"),
        ({"container": "over-http", "cursor": "AAAA"}, "cursor"),
        ({"container": "over-http", "include": "everything"}, "include"),
        ({"container": "over-http", "include": "metadata,"}, "include"),
        ({"container": "over-http", "format": "xml"}, "format"),
        ({"container": "over-http", "match": ""}, "match"),
        ({"container": "over-http", "delimeter": "/"}, "delimeter"),
        ({"delimiter": "/"}, "delimiter"),
        ({"include": "tags"}, "include"),
    ],
)
def test_a_bad_field_is_named(
    method: str, fields: dict[str, object], field: str, running_app: App, container: ContainerClient
) -> None:
    """A field that is out of bounds, unknown, or not applicable is a 400 that names it."""
    with running_app.client() as client:
        response = list_over_http(client, method, **fields)
        assert (response.status_code, response.json()["code"]) == (400, "invalid-request")
        assert [each["field"] for each in response.json()["errors"]] == [field]


def test_a_cursor_serves_its_own_listing_only(running_app: App, container: ContainerClient) -> None:
    """A cursor that was changed, or belongs to a listing with other fields, is refused; the error names the field."""
    with running_app.client() as client:
        cursor = list_over_http(client, "GET", container="over-http", limit=1).json()["cursor"]
        changed = [
            cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :] for at in range(len(cursor) - 1)
        ]
        others: list[dict[str, object]] = [
            {"container": "over-http", "prefix": "a"},
            {"container": "over-http", "delimiter": "/"},
            {"container": "over-http", "match": "*"},
            {"container": "over-http", "include": "metadata"},
            {"container": "samples"},
            {},
        ]
        for fields in [*({"container": "over-http", "cursor": each} for each in changed), *others]:
            response = list_over_http(client, "POST", **{"cursor": cursor, **fields})
            assert response.status_code == 400
            assert [each["field"] for each in response.json()["errors"]] == ["cursor"]


def test_a_cursor_survives_a_restart(start_app: StartApp, container: ContainerClient) -> None:
    """A cursor of one process is valid in another."""
    with start_app().client() as client:
        cursor = list_over_http(client, "GET", container="over-http", limit=4).json()["cursor"]
    with start_app().client() as client:
        rest = list_over_http(client, "GET", container="over-http", cursor=cursor).json()
    assert [each["name"] for each in rest["blobs"]] == NAMES[4:]


def test_an_unknown_container_is_404(running_app: App) -> None:
    """A missing container is 404, with its code."""
    with running_app.client() as client:
        response = client.get("/api/list-blobs?container=never-made")
        assert (response.status_code, response.json()["code"]) == (404, "unknown-container")


def test_a_query_string_is_decoded_once(running_app: App, container: ContainerClient) -> None:
    """A prefix with a plus sign, a percent sign and the like arrives unchanged."""
    with running_app.client() as client:
        prefix = NAMES[5]
        response = client.get("/api/list-blobs?container=over-http&prefix=" + quote(prefix, safe=""))
        assert [each["name"] for each in response.json()["blobs"]] == [prefix]
        assert client.get("/api/list-blobs?container=over-http&prefix=%C3%A9+%2B").json() == response.json()


def test_health_includes_blob_storage(running_app: App) -> None:
    """The health of the app includes Blob Storage."""
    with running_app.client() as client:
        assert client.get("/api/health/details").json()["services"]["blob-storage"]["status"] == "ok"
