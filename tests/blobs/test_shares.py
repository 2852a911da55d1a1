"""Links: signed URLs, and shares that are counted, listed and revoked."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient

from shared.blobs.errors import UnknownShare
from shared.blobs.shares import Share, blob_of, is_open, is_preview, spend
from shared.blobs.store.shares import ShareStore
from shared.errors import Busy, StorageUnavailable
from shared.settings import StorageSettings
from shared.storage import Storage
from tests.blobs.support import account_at, respond, server
from tests.support import App, StartApp

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SHARE = Share(id="x", container="c", name="dir/n.txt", prefix=None, created=NOW, expires=NOW + timedelta(hours=1))


def changed(share: Share, **fields: object) -> Share:
    """A share with some fields changed."""
    return msgspec.structs.replace(share, **fields)


# --- What a share allows, without a network


def test_a_share_of_a_blob_opens_that_blob() -> None:
    """It opens its blob, with or without the file's name behind it, and no other."""
    assert [blob_of(SHARE, rest) for rest in ("", "n.txt", "dir/n.txt", "other")] == [
        "dir/n.txt",
        "dir/n.txt",
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("rest", "name"),
    [
        ("a.txt", "dir/a.txt"),
        ("b/c", "dir/b/c"),
        ("..a", "dir/..a"),
        ("", None),
        ("../x", None),
        ("b/../../x", None),
        ("..\\x", None),
        ("./x", None),
        (".", None),
    ],
)
def test_a_share_of_a_prefix_opens_what_begins_with_it(rest: str, name: str | None) -> None:
    """It opens a blob whose name begins with the prefix, and none by a way around it."""
    assert blob_of(changed(SHARE, name=None, prefix="dir/"), rest) == name


def test_a_share_ends() -> None:
    """A share is open until its end, its count or its bytes are used up."""
    assert is_open(SHARE, NOW)
    assert not is_open(SHARE, SHARE.expires)
    assert not is_open(changed(SHARE, max_uses=2, uses=2), NOW)
    assert is_open(changed(SHARE, max_uses=2, uses=1), NOW)
    assert not is_open(changed(SHARE, one_shot=True, uses=1), NOW)
    assert not is_open(changed(SHARE, max_bytes=10, bytes=10), NOW)


def test_spending_keeps_to_the_budget() -> None:
    """A use counts itself and its bytes; one that is more than what is left is none."""
    limited = changed(SHARE, max_uses=2, max_bytes=10)
    once = spend(limited, 6, NOW)
    assert once is not None
    assert (once.uses, once.bytes) == (1, 6)
    assert spend(once, 5, NOW) is None
    twice = spend(once, 4, NOW)
    assert twice is not None
    assert spend(twice, 0, NOW) is None
    assert spend(SHARE, 0, SHARE.expires) is None


@pytest.mark.parametrize(
    ("headers", "preview"),
    [
        ({"user-agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}, True),
        ({"user-agent": "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)"}, True),
        ({"user-agent": "WhatsApp/2.23.20.0"}, True),
        ({"user-agent": "facebookexternalhit/1.1"}, True),
        ({"user-agent": "TelegramBot (like TwitterBot)"}, True),
        ({"user-agent": "Mozilla/5.0 Firefox/140.0", "sec-purpose": "prefetch;prerender"}, True),
        ({"user-agent": "Mozilla/5.0 Chrome/140", "purpose": "prefetch"}, True),
        ({"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}, False),
        ({"user-agent": "curl/8.5.0"}, False),
        ({"user-agent": "python-httpx/0.28.1"}, False),
        ({}, False),
    ],
)
def test_previews_are_told_from_people(headers: dict[str, str], preview: bool) -> None:
    """Programs that look at links before people do are known by what they say of themselves."""
    assert is_preview(headers) is preview


# --- In Table Storage


@pytest.fixture
def links(storage_connection: str) -> ShareStore:
    """Shares in a table that only this test uses."""
    return ShareStore(Storage(StorageSettings(storage_connection)), f"shares{datetime.now(UTC):%H%M%S%f}")


def test_a_share_is_kept_as_it_is(links: ShareStore) -> None:
    """What is stored is what is read, in a table that is made when it is needed first."""
    with pytest.raises(UnknownShare):
        links.get("x")
    assert links.list("", 10, lambda _: True) == ([], "")
    share = changed(SHARE, owner="me 😀", max_bytes=2**53, ip_range="1.2.3.4", content_disposition="inline")
    links.add(share)
    assert links.get("x") == share
    links.remove("x")
    for gone in (links.get, links.remove):
        with pytest.raises(UnknownShare):
            gone("x")


def test_every_use_is_counted_once(links: ShareStore) -> None:
    """Of many uses at once each counts, and no more than the budget."""
    links.add(changed(SHARE, max_uses=12))

    def use(_: int) -> bool:
        try:
            links.update("x", lambda share: spend(share, 1, NOW))
        except (UnknownShare, Busy):
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        used = sum(pool.map(use, range(24)))
    assert used == links.get("x").uses <= 12
    while use(0):
        pass
    assert links.get("x").uses == 12


def test_shares_are_listed_page_by_page(links: ShareStore) -> None:
    """Page by page every share that is wanted comes once."""
    for n in range(7):
        links.add(changed(SHARE, id=f"id{n}", owner="a" if n % 2 else "b"))
    found, after = [], ""
    while True:
        page, after = links.list(after, 2, lambda share: share.owner == "b")
        assert len(page) <= 2
        found += [share.id for share in page]
        if not after:
            break
    assert found == ["id0", "id2", "id4", "id6"]


def test_what_is_over_is_purged(links: ShareStore) -> None:
    """Shares that open nothing any more are removed, the others stay."""
    links.add(changed(SHARE, id="over", expires=NOW))
    links.add(changed(SHARE, id="spent", one_shot=True, uses=1))
    links.add(SHARE)
    assert links.purge(NOW) == 2
    assert [share.id for share in links.list("", 10, lambda _: True)[0]] == ["x"]


def test_a_table_that_is_out_is_told() -> None:
    """A Table Storage that fails is StorageUnavailable for every call."""
    with server(respond(503, b"")) as url:
        links = ShareStore(Storage(StorageSettings(account_at(url))))
        with pytest.raises(StorageUnavailable):
            links.get("x")
        with pytest.raises(StorageUnavailable):
            links.add(SHARE)
        with pytest.raises(StorageUnavailable):
            links.list("", 10, lambda _: True)


# --- Over HTTP


@pytest.fixture(scope="module")
def container(storage_connection: str) -> ContainerClient:
    """A container with a few blobs."""
    made = BlobServiceClient.from_connection_string(storage_connection).create_container("shared")
    for name in ("dir/a + b.txt", "dir/c.txt", "other.txt", "page.html"):
        made.upload_blob(name, name.encode())
    return made


@pytest.fixture
def client(running_app: App, container: ContainerClient) -> Iterator[httpx.Client]:
    """A client of the running app, with its key."""
    with running_app.client() as client:
        yield client


@pytest.fixture
def anyone() -> Iterator[httpx.Client]:
    """Somebody without a key."""
    with httpx.Client(trust_env=False) as anyone:
        yield anyone


def share(client: httpx.Client, **fields: object) -> dict[str, object]:
    """What share-blob answers."""
    response = client.post("/api/share-blob", json={"container": "shared", **fields})
    assert response.status_code == 200, response.text
    told: dict[str, object] = response.json()
    return told


def code_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem."""
    return response.status_code, response.json()["code"]


def test_a_link_reads_its_blob_until_it_ends(client: httpx.Client, anyone: httpx.Client) -> None:
    """A plain link fetches its blob without a key, writes nothing, and says when it ends and what it allows."""
    before = datetime.now(UTC).replace(microsecond=0)
    told = share(client, name="dir/a + b.txt", minutes=5)
    ends = datetime.fromisoformat(str(told["expires"]))
    assert timedelta(minutes=5) <= ends - before <= timedelta(minutes=6)
    assert told == told | {
        "permissions": "read",
        "container": "shared",
        "name": "dir/a + b.txt",
        "method": "GET",
        "https_only": False,
        "network": "public",
    }
    url = str(told["url"])
    assert anyone.get(url).content == b"dir/a + b.txt"
    assert anyone.put(url, content=b"", headers={"x-ms-blob-type": "BlockBlob"}).status_code == 403
    assert anyone.get(url.replace("b.txt", "c.txt")).status_code == 403


def test_a_link_writes_its_blob(client: httpx.Client, anyone: httpx.Client) -> None:
    """A link to write stores a blob by the method and the headers that the answer tells, and reads nothing."""
    told = share(client, name="new/up load.bin", permissions="write")
    headers = told["headers"]
    assert isinstance(headers, dict)
    assert anyone.request(str(told["method"]), str(told["url"]), content=b"new", headers=headers).status_code == 201
    assert anyone.get(str(told["url"])).status_code == 403
    assert client.get("/api/blobs/shared/new/up%20load.bin").content == b"new"


def test_a_link_is_for_an_address_and_a_disposition(client: httpx.Client, anyone: httpx.Client) -> None:
    """A link may be bound to addresses, and may say as what a browser saves the blob."""
    told = share(
        client, name="other.txt", ip_range="127.0.0.0-127.0.0.255", content_disposition='attachment; filename="x"'
    )
    assert told["ip_range"] == "127.0.0.0-127.0.0.255"
    got = anyone.get(str(told["url"]))
    assert (got.content, got.headers["content-disposition"]) == (b"other.txt", 'attachment; filename="x"')


def test_a_batch_is_answered_in_order(client: httpx.Client, anyone: httpx.Client) -> None:
    """Each item of a batch is answered in its place, by a link or by a problem."""
    batch = [{"container": "shared", "name": name} for name in ("other.txt", "nothing", "dir/c.txt")]
    response = client.post("/api/share-blob", json={"batch": batch})
    first, second, third = response.json()["results"]
    assert anyone.get(first["url"]).content == b"other.txt"
    assert (second["status"], second["code"]) == (404, "unknown-blob")
    assert anyone.get(third["url"]).content == b"dir/c.txt"


def test_a_revocable_link_leads_to_the_blob(client: httpx.Client, anyone: httpx.Client) -> None:
    """A revocable link is a URL of this app that leads anyone to the blob for a minute, until it is revoked."""
    told = share(client, name="dir/a + b.txt", revocable=True, minutes=60 * 24 * 30)
    url = str(told["url"])
    assert url == f"{client.base_url}/api/s/{told['id']}"
    response = anyone.get(url)
    assert (response.status_code, response.content) == (307, b"")
    assert response.headers["referrer-policy"] == "no-referrer"
    assert anyone.get(response.headers["location"]).content == b"dir/a + b.txt"
    assert anyone.get(f"{url}/a%20+%20b.txt").status_code == 307
    assert code_of(anyone.get(f"{url}/c.txt")) == (404, "unknown-share")
    head = anyone.head(url)
    assert (head.status_code, head.headers["content-length"]) == (200, "13")
    assert client.delete(f"/api/shares/{told['id']}").status_code == 204
    assert code_of(anyone.get(url)) == (404, "unknown-share")
    assert anyone.head(url).status_code == 404
    assert code_of(client.delete(f"/api/shares/{told['id']}")) == (404, "unknown-share")


def test_a_link_to_a_prefix_opens_blob_by_blob(client: httpx.Client, anyone: httpx.Client) -> None:
    """A link to a prefix opens each blob below it, by the rest of its name, and nothing else."""
    url = str(share(client, prefix="dir/", revocable=True)["url"])
    assert anyone.get(f"{url}a%20+%20b.txt", follow_redirects=True).content == b"dir/a + b.txt"
    assert anyone.get(f"{url}c.txt", follow_redirects=True).content == b"dir/c.txt"
    location = anyone.get(f"{url}c.txt").headers["location"]
    assert anyone.get(location.replace("c.txt", "a%20+%20b.txt")).status_code == 403
    for rest in ("", "..%2Fother.txt", "%2E%2E%2Fother.txt", "..%5Cother.txt"):
        assert code_of(anyone.get(url + rest)) == (404, "unknown-share")
    assert code_of(anyone.get(f"{url}nothing")) == (404, "unknown-blob")


def test_uses_and_bytes_are_limited(client: httpx.Client, anyone: httpx.Client) -> None:
    """A link opens as often, and gives as many bytes, as it was made for; a HEAD or a preview uses nothing up."""
    counted = str(share(client, name="other.txt", revocable=True, max_uses=2)["url"])
    assert anyone.head(counted).status_code == 200
    assert anyone.get(counted, headers={"user-agent": "Slackbot 1.0"}).status_code == 200
    assert [anyone.get(counted).status_code for _ in range(3)] == [307, 307, 404]
    weighed = str(share(client, name="other.txt", revocable=True, max_bytes=20)["url"])
    assert [anyone.get(weighed).status_code for _ in range(3)] == [307, 307, 404]


def test_a_link_that_works_once_works_once(client: httpx.Client, anyone: httpx.Client) -> None:
    """Of many who ask at the same moment one gets the bytes; a HEAD and a preview before have used nothing up."""
    url = str(share(client, name="page.html", one_shot=True)["url"])
    assert anyone.head(url).status_code == 200
    preview = anyone.get(url, headers={"user-agent": "Slackbot 1.0"})
    assert preview.status_code == 200
    assert b"page.html" not in preview.content
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: httpx.get(url, trust_env=False, timeout=30), range(16)))
    assert sorted(each.status_code for each in responses) == [200] + [404] * 15
    (given,) = (each for each in responses if each.status_code == 200)
    assert given.content == b"page.html"
    assert given.headers["content-disposition"].startswith("attachment")
    assert anyone.head(url).status_code == 404


def test_a_failure_spends_nothing(client: httpx.Client, anyone: httpx.Client, container: ContainerClient) -> None:
    """A link that works once is still good after its blob could not be read."""
    container.upload_blob("for-later", b"x")
    url = str(share(client, name="for-later", one_shot=True)["url"])
    container.delete_blob("for-later")
    assert code_of(anyone.get(url)) == (404, "unknown-blob")
    container.upload_blob("for-later", b"back")
    assert anyone.get(url).content == b"back"


def test_what_cannot_pass_cannot_work_once(start_app: StartApp, container: ContainerClient) -> None:
    """A blob over the limit gets no link that works once, since that one passes the bytes itself."""
    container.upload_blob("large", b"x" * 2000, overwrite=True)
    with start_app({"STRONGROOM_MAX_BODY_BYTES": "1024", "STRONGROOM_STORAGE_PRIVATE": "true"}).client() as client:
        response = client.post("/api/share-blob", json={"container": "shared", "name": "large", "one_shot": True})
        assert code_of(response) == (422, "blob-too-large")
        assert share(client, name="large")["network"] == "private"


def test_shares_are_listed(client: httpx.Client, anyone: httpx.Client) -> None:
    """list-shares tells what each link is for, whose, and what was used of it; never to those without a key."""
    made = [share(client, name="other.txt", revocable=True, owner="lister", max_uses=3) for _ in range(3)]
    anyone.get(str(made[0]["url"]))
    found: list[dict[str, object]] = []
    more: dict[str, str] = {}
    while True:
        page = client.get("/api/shares", params={"owner": "lister", "limit": 2, **more}).json()
        found += page["shares"]
        if page["cursor"] is None:
            break
        more = {"cursor": page["cursor"]}
    assert {each["id"] for each in found} == {each["id"] for each in made}
    first = next(each for each in found if each["id"] == made[0]["id"])
    assert first == first | {
        "url": made[0]["url"],
        "container": "shared",
        "name": "other.txt",
        "prefix": None,
        "open": True,
        "one_shot": False,
        "uses": 1,
        "max_uses": 3,
        "bytes": 9,
    }
    assert client.get("/api/shares", params={"container": "samples-2"}).json() == {"shares": [], "cursor": None}
    for path in ("/api/shares", f"/api/shares/{made[0]['id']}"):
        assert anyone.get(str(client.base_url.join(path))).status_code in (401, 404)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "name"),
        ({"name": "a", "prefix": "b", "revocable": True}, "name"),
        ({"prefix": "a"}, "prefix"),
        ({"name": "a", "max_uses": 1}, "max_uses"),
        ({"name": "a", "owner": "me"}, "owner"),
        ({"name": "a", "minutes": 0}, "minutes"),
        ({"name": "a", "minutes": 10081}, "minutes"),
        ({"name": "a", "minutes": 10**6, "revocable": True}, "minutes"),
        ({"name": "a", "permissions": "delete"}, "permissions"),
        ({"name": "a", "permissions": "write", "revocable": True}, "revocable"),
        ({"name": "a", "permissions": "write", "one_shot": True}, "one_shot"),
        ({"name": "a", "ip_range": "300.0.0.1"}, "ip_range"),
        ({"name": "a", "ip_range": "127.0.0.1/8"}, "ip_range"),
        ({"name": "a", "one_shot": True, "max_uses": 2}, "max_uses"),
        ({"prefix": "a", "one_shot": True}, "prefix"),
        ({"name": "a", "content_disposition": "a\r\nb"}, "content_disposition"),
        ({"name": "a", "batch": []}, "batch"),
        ({"batch": [{"container": "shared", "name": "other.txt"}]}, "container"),
    ],
)
def test_fields_that_do_not_go_together_are_named(fields: dict[str, object], field: str, client: httpx.Client) -> None:
    """What a link cannot be is a bad request that names the field."""
    response = client.post("/api/share-blob", json={"container": "shared", **fields})
    assert code_of(response) == (400, "invalid-request")
    assert [each["field"] for each in response.json()["errors"]] == [field]


@pytest.mark.parametrize("path", ["x", "a" * 22, "a" * 23, "%2F", "..%2Fshares", "'", "%00x"])
def test_no_share_is_guessed(path: str, running_app: App, anyone: httpx.Client) -> None:
    """An id that was never given is 404, whatever characters it has."""
    assert anyone.get(f"{running_app.url}/api/s/{path}").status_code in (404, 400)
