"""Links: signed URLs, and shares that are counted, listed and revoked."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient

from shared.blobs.downloads import Delivery
from shared.blobs.errors import UnknownShare
from shared.blobs.routes.sharing import base_of
from shared.blobs.shares import (
    MAX_DOWNLOADS,
    Share,
    candidates,
    is_allowed,
    is_download,
    is_open,
    spend,
)
from shared.blobs.store.shares import ShareStore
from shared.errors import Busy, StorageUnavailable
from shared.settings import StorageSettings
from shared.storage import Storage, create
from shared.web import Request
from shared.web.addresses import caller_address
from tests.blobs.support import account_at, container_sas, respond, server
from tests.support import App, StartApp

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SHARE = Share(id="x", container="c", name="dir/n.txt", prefix=None, created=NOW, expires=NOW + timedelta(hours=1))


def changed(share: Share, **fields: object) -> Share:
    """A share with some fields changed."""
    return msgspec.structs.replace(share, **fields)


# --- The rules of a share, without a network


def test_a_share_of_a_blob_opens_that_blob() -> None:
    """The share opens its blob, with or without the file's name after it, and no other."""
    assert [candidates(SHARE, rest) for rest in ("", "n.txt", "dir/n.txt", "other")] == [
        ["dir/n.txt"],
        ["dir/n.txt"],
        [],
        [],
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
    """The share opens a blob whose name begins with the prefix, and no detour opens another blob."""
    assert candidates(changed(SHARE, name=None, prefix="dir/"), rest) == ([] if name is None else [name])


@pytest.mark.parametrize(
    ("prefix", "rest", "names"),
    [
        ("notes", "/a.txt", ["notes/a.txt", "notes//a.txt"]),
        ("notes", "a.txt", ["notesa.txt", "notes/a.txt"]),
        ("notes", "notes/a.txt", ["notesnotes/a.txt", "notes/notes/a.txt", "notes/a.txt"]),
        ("notes/2026", "-01.txt", ["notes/2026-01.txt", "notes/2026/-01.txt"]),
        ("notes/2026", "2026-01.txt", ["notes/20262026-01.txt", "notes/2026/2026-01.txt", "notes/2026-01.txt"]),
        ("notes/2026", "", ["notes/2026"]),
        ("notes/2026", "../x", ["notes/2026../x"]),
        ("notes/2026", "/../x", []),
        ("", "a.txt", ["a.txt"]),
        ("", "", []),
    ],
)
def test_a_prefix_without_a_slash_opens_what_it_lists(prefix: str, rest: str, names: list[str]) -> None:
    """The rest of the path may continue the prefix, or be a path below it or from its last folder on."""
    assert candidates(changed(SHARE, name=None, prefix=prefix), rest) == names


def test_a_share_ends() -> None:
    """A share is open until its end, or until its uses or its bytes are spent."""
    assert is_open(SHARE, NOW)
    assert not is_open(SHARE, SHARE.expires)
    assert not is_open(changed(SHARE, max_uses=2, uses=2), NOW)
    assert is_open(changed(SHARE, max_uses=2, uses=1), NOW)
    assert not is_open(changed(SHARE, one_shot=True, uses=1), NOW)
    assert not is_open(changed(SHARE, max_bytes=10, bytes=10), NOW)


def test_spending_keeps_to_the_budget() -> None:
    """A use counts as one and spends its bytes; a use that exceeds the remaining bytes is refused."""
    limited = changed(SHARE, max_uses=2, max_bytes=10)
    once = spend(limited, "n", '"a"', 6, 6, NOW)
    assert once is not None
    assert (once.uses, once.bytes) == (1, 6)
    assert spend(once, "n", '"a"', 5, 5, NOW) is None
    twice = spend(once, "n", '"a"', 4, 4, NOW)
    assert twice is not None
    assert spend(twice, "n", '"a"', 0, 0, NOW) is None
    assert spend(SHARE, "n", '"a"', 0, 0, SHARE.expires) is None


def test_ranges_of_one_download_are_one_use() -> None:
    """Ranges of one blob and ETag within an hour, together no larger than the blob, count as one use."""
    limited = changed(SHARE, max_uses=1)
    half = spend(limited, "n", '"a"', 100, 50, NOW)
    assert half is not None
    assert (half.uses, half.bytes) == (1, 50)
    assert is_open(half, NOW)  # For the rest of this download.
    assert spend(half, "n", '"a"', 100, 100, NOW) is None  # A second whole download is another use.
    assert spend(half, "n", '"a"', 100, 51, NOW) is None
    assert spend(half, "n", '"b"', 100, 50, NOW) is None
    assert spend(half, "m", '"a"', 100, 50, NOW) is None
    assert spend(half, "n", '"a"', 100, 50, NOW + timedelta(minutes=60)) is None
    done = spend(half, "n", '"a"', 100, 50, NOW + timedelta(minutes=59))
    assert done is not None
    assert (done.uses, done.bytes) == (1, 100)
    assert not is_open(done, NOW)


def test_downloads_at_the_same_time_are_a_use_each() -> None:
    """Ranges of several callers and blobs, and a whole response between them, count one use per download."""
    share = changed(SHARE, max_uses=4)
    for name, count in (("n", 50), ("n", 60), ("m", 30), ("n", 100), ("n", 50), ("n", 40), ("m", 70)):
        spent = spend(share, name, '"a"', 100, count, NOW)
        assert spent is not None, (name, count)
        share = spent
    assert (share.uses, share.bytes, share.downloads) == (4, 400, ())
    assert not is_open(share, NOW)


def test_the_downloads_under_way_are_bounded() -> None:
    """The row does not grow with the number of uses."""
    share = changed(SHARE, max_uses=100)
    for _ in range(20):
        spent = spend(share, "n", '"a"', 100, 60, NOW)
        assert spent is not None
        share = spent
    assert (share.uses, len(share.downloads)) == (20, MAX_DOWNLOADS)


def test_a_download_from_the_future_does_not_last() -> None:
    """A start time from the wrong clock of another instance keeps a link open for at most an hour."""
    half = spend(changed(SHARE, max_uses=1), "n", '"a"', 100, 50, NOW + timedelta(minutes=59))
    assert half is not None
    assert is_open(half, NOW)
    (download,) = half.downloads
    far = changed(half, downloads=(msgspec.structs.replace(download, started=NOW + timedelta(hours=2)),))
    assert not is_open(far, NOW)


BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.mark.parametrize(
    ("headers", "download"),
    [
        ({}, True),
        ({"accept": "*/*"}, True),
        ({"user-agent": "curl/8.5.0"}, True),
        ({"user-agent": "Wget/1.21.4"}, True),
        ({"user-agent": "python-requests/2.32.3"}, True),
        ({"user-agent": "python-httpx/0.28.1"}, True),
        ({"user-agent": "Go-http-client/1.1"}, True),
        ({"user-agent": BROWSER, "sec-fetch-dest": "empty"}, True),
        ({"user-agent": BROWSER, "accept": "application/octet-stream"}, True),
        ({"user-agent": BROWSER, "accept": "text/html,application/octet-stream"}, False),
        ({"user-agent": BROWSER, "accept": "text/html"}, False),
        ({"user-agent": BROWSER, "sec-fetch-dest": "document"}, False),
        ({"user-agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1"}, False),
        ({"user-agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"}, False),
        ({"user-agent": "WhatsApp/2.23.20.0"}, False),
        ({"user-agent": "Microsoft Office/16.0 (Windows NT 10.0)"}, False),
        ({"user-agent": "Mozilla/4.0 (compatible; curl/8.5.0)"}, False),
        ({"user-agent": "curl/8.5.0", "x-office-version": "16.0"}, False),
        ({"user-agent": "curl/8.5.0", "x-forefront-antispam-report": "x"}, False),
        ({"user-agent": "curl/8.5.0", "purpose": "prefetch"}, False),
        ({"user-agent": BROWSER, "sec-purpose": "prefetch;prerender", "sec-fetch-dest": "empty"}, False),
    ],
)
def test_a_download_is_recognised(headers: dict[str, str], download: bool) -> None:
    """A clear download gets the bytes; browsers, phones, Office and previews get the page."""
    assert is_download(headers) is download


@pytest.mark.parametrize(
    ("header", "proxies", "address"),
    [
        ("192.0.2.1", 1, "192.0.2.1"),
        ("192.0.2.1:4711", 1, "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1", 1, "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1, 10.0.0.1", 2, "192.0.2.1"),
        ("[2001:db8::1]:4711", 1, "2001:db8::1"),
        ("2001:db8::1", 1, "2001:db8::1"),
        ("192.0.2.1", 0, None),
        ("192.0.2.1", 2, None),
        ("", 1, ""),
    ],
)
def test_the_callers_address_is_the_trusted_entry(header: str, proxies: int, address: str | None) -> None:
    """Entries before those of trusted proxies come from the caller, and are ignored."""
    assert caller_address(header, proxies) == address


@pytest.mark.parametrize(
    ("ip_range", "address", "allowed"),
    [
        (None, None, True),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.0-192.0.2.255", "192.0.2.9", True),
        ("192.0.2.9-192.0.2.10", "192.0.2.100", False),
        ("192.0.2.1", "2001:db8::1", False),
        ("192.0.2.1", None, False),
        ("192.0.2.1", "x", False),
    ],
)
def test_an_address_is_in_a_range_or_not(ip_range: str | None, address: str | None, allowed: bool) -> None:
    """Addresses are compared as numbers; an unknown address is in no range."""
    assert is_allowed(ip_range, address) is allowed


@pytest.mark.parametrize(
    ("setting", "url", "base"),
    [
        ("", "http://host:7071/api/share-blob?code=x", "http://host:7071/api/"),
        ("", "https://h/api/shares/", "https://h/api/"),
        ("", "https://h/share-blob", "https://h/"),
        ("", "https://h/a/b/share-blob", "https://h/a/b/"),
        ("https://keys.example.org", "http://evil/api/share-blob", "https://keys.example.org/api/"),
    ],
)
def test_links_begin_with_the_setting(setting: str, url: str, base: str) -> None:
    """If `STRONGROOM_URL` is set, links start with it, whatever the Host header says."""
    assert base_of(Delivery(most=1, url=setting), Request("POST", url, {"host": "evil"}, {}, b"")) == base


# --- In Table Storage


KEY = b"k" * 32


@pytest.fixture
def links(storage_connection: str) -> ShareStore:
    """Shares in a table that only this test uses."""
    storage = Storage(StorageSettings(storage_connection))
    return ShareStore(storage, lambda: KEY, f"shares{datetime.now(UTC):%H%M%S%f}")


def test_a_share_is_kept_as_it_is(links: ShareStore) -> None:
    """A share is read as it was stored, in a table that its first use creates."""
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


@pytest.mark.parametrize(
    "change",
    [
        lambda row: {**row, "document": row["document"].replace('"c"', '"d"')},
        lambda row: {**row, "RowKey": "y"},
        lambda row: {**row, "digest": ""},
        lambda row: {name: value for name, value in row.items() if name != "digest"},
        lambda row: {**row, "document": "{}"},
        lambda row: {**row, "document": 5},
    ],
    ids=["other-container", "moved", "empty-digest", "no-digest", "no-share", "number"],
)
def test_only_this_app_makes_a_link(links: ShareStore, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """A row that was added or changed in the table opens nothing, and is not listed; revoking removes it."""
    links.add(SHARE)
    row = links._table.get("share", "x")
    assert row is not None
    forged = change(dict(row))
    links.remove("x")
    links._table.write(create(forged))
    for attempt in (links.get, lambda share_id: links.update(share_id, lambda share: share)):
        with pytest.raises(UnknownShare):
            attempt(forged["RowKey"])
    assert links.list("", 10, lambda _: True) == ([], "")
    links.remove(forged["RowKey"])


def test_every_use_is_counted_once(links: ShareStore) -> None:
    """Each of many concurrent uses counts, and their number stays within the limit."""
    links.add(changed(SHARE, max_uses=12))

    def use(_: int) -> bool:
        try:
            links.update("x", lambda share: spend(share, "n", '"a"', 1, 1, NOW))
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
    """Following the pages returns every matching share once."""
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
    """Shares that can no longer open anything are removed; the others stay."""
    links.add(changed(SHARE, id="over", expires=NOW))
    links.add(changed(SHARE, id="spent", one_shot=True, uses=1))
    links.add(SHARE)
    assert links.purge(NOW) == 2
    assert [share.id for share in links.list("", 10, lambda _: True)[0]] == ["x"]


def test_a_table_that_is_out_is_reported() -> None:
    """If Table Storage fails, every call raises StorageUnavailable."""
    with server(respond(503, b"")) as url:
        links = ShareStore(Storage(StorageSettings(account_at(url))), lambda: KEY)
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
    """A client without a key."""
    with httpx.Client(timeout=60, trust_env=False) as anyone:
        yield anyone


def share(client: httpx.Client, **fields: object) -> dict[str, object]:
    """The response of share-blob."""
    response = client.post("/api/share-blob", json={"container": "shared", **fields})
    assert response.status_code == 200, response.text
    made: dict[str, object] = response.json()
    return made


def code_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem."""
    return response.status_code, response.json()["code"]


def test_a_link_reads_its_blob_until_it_ends(client: httpx.Client, anyone: httpx.Client) -> None:
    """A plain link reads its blob without a key, writes nothing, and its response has its end and permissions."""
    before = datetime.now(UTC).replace(microsecond=0)
    made = share(client, name="dir/a + b.txt", minutes=5)
    ends = datetime.fromisoformat(str(made["expires"]))
    assert timedelta(minutes=5) <= ends - before <= timedelta(minutes=6)
    assert made == made | {
        "permissions": "read",
        "container": "shared",
        "name": "dir/a + b.txt",
        "method": "GET",
        "https_only": False,
        "network": "public",
    }
    url = str(made["url"])
    assert anyone.get(url).content == b"dir/a + b.txt"
    assert anyone.put(url, content=b"", headers={"x-ms-blob-type": "BlockBlob"}).status_code == 403
    assert anyone.get(url.replace("b.txt", "c.txt")).status_code == 403


def test_a_link_writes_its_blob(client: httpx.Client, anyone: httpx.Client) -> None:
    """A write link stores a blob with the method and headers of the response, and reads nothing."""
    made = share(client, name="new/up load.bin", permissions="write")
    headers = made["headers"]
    assert isinstance(headers, dict)
    assert anyone.request(str(made["method"]), str(made["url"]), content=b"new", headers=headers).status_code == 201
    assert anyone.get(str(made["url"])).status_code == 403
    assert client.get("/api/blobs/shared/new/up%20load.bin").content == b"new"


def test_a_link_is_for_an_address_and_a_disposition(client: httpx.Client, anyone: httpx.Client) -> None:
    """A link may be limited to addresses, and may set the file name under which a browser saves the blob."""
    made = share(
        client, name="other.txt", ip_range="127.0.0.0-127.0.0.255", content_disposition='attachment; filename="x"'
    )
    assert made["ip_range"] == "127.0.0.0-127.0.0.255"
    got = anyone.get(str(made["url"]))
    assert (got.content, got.headers["content-disposition"]) == (b"other.txt", 'attachment; filename="x"')


def test_a_batch_keeps_its_order(client: httpx.Client, anyone: httpx.Client) -> None:
    """Each item of a batch becomes a link or a problem, in the same order."""
    batch = [{"container": "shared", "name": name} for name in ("other.txt", "nothing", "dir/c.txt")]
    response = client.post("/api/share-blob", json={"batch": batch})
    first, second, third = response.json()["results"]
    assert anyone.get(first["url"]).content == b"other.txt"
    assert (second["status"], second["code"]) == (404, "unknown-blob")
    assert anyone.get(third["url"]).content == b"dir/c.txt"


def test_a_batch_of_revocable_links_is_stored(client: httpx.Client, anyone: httpx.Client) -> None:
    """Revocable links of a batch are stored together, more than fit into one transaction, beside plain links."""
    owner = f"batch-{secrets.token_hex(8)}"
    link = {"container": "shared", "name": "other.txt", "revocable": True, "owner": owner}
    plain = {"container": "shared", "name": "other.txt"}
    batch = [*([link] * 120), plain, link]
    results = client.post("/api/share-blob", json={"batch": batch}).json()["results"]
    ids = [each["id"] for each in results if "id" in each]
    assert len(results) == 122
    assert "id" not in results[120]
    listed = client.get("/api/shares", params={"owner": owner, "limit": 1000}).json()["shares"]
    assert [each["id"] for each in listed] == sorted(ids)
    assert len(set(ids)) == 121
    assert anyone.get(results[121]["url"]).status_code == 307
    assert anyone.get(results[120]["url"]).content == b"other.txt"


def test_a_revocable_link_leads_to_the_blob(client: httpx.Client, anyone: httpx.Client) -> None:
    """A revocable link is a URL of the app that redirects any caller to the blob for a minute, until it is revoked."""
    made = share(client, name="dir/a + b.txt", revocable=True, minutes=60 * 24 * 30)
    url = str(made["url"])
    assert url == f"http://localhost:{client.base_url.port}/api/s/{made['id']}"
    response = anyone.get(url)
    assert (response.status_code, response.content) == (307, b"")
    assert response.headers["referrer-policy"] == "no-referrer"
    assert anyone.get(response.headers["location"]).content == b"dir/a + b.txt"
    assert anyone.get(f"{url}/a%20+%20b.txt").status_code == 307
    assert code_of(anyone.get(f"{url}/c.txt")) == (404, "unknown-share")
    head = anyone.head(url)
    assert (head.status_code, head.headers["content-length"]) == (200, "13")
    assert client.delete(f"/api/shares/{made['id']}").status_code == 204
    assert code_of(anyone.get(url)) == (404, "unknown-share")
    assert anyone.head(url).status_code == 404
    assert code_of(client.delete(f"/api/shares/{made['id']}")) == (404, "unknown-share")


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
    """A link opens at most its number of uses and bytes; a HEAD or a preview spends none."""
    counted = str(share(client, name="other.txt", revocable=True, max_uses=2)["url"])
    assert anyone.head(counted).status_code == 200
    assert anyone.get(counted, headers={"user-agent": "Slackbot 1.0"}).status_code == 200
    assert [anyone.get(counted).status_code for _ in range(3)] == [200, 200, 404]
    weighed = str(share(client, name="other.txt", revocable=True, max_bytes=20)["url"])
    assert [anyone.get(weighed).status_code for _ in range(3)] == [200, 200, 404]


BROWSING = {
    "user-agent": "Mozilla/5.0 (Windows NT 10.0) Chrome/140",
    "accept": "text/html",
    "sec-fetch-dest": "document",
}


def test_a_browser_gets_a_page_with_a_button(client: httpx.Client, anyone: httpx.Client) -> None:
    """Opening a limited link in a browser is free, however often; the POST of the page's button is the use."""
    made = share(client, name="other.txt", revocable=True, max_uses=1)
    url = str(made["url"])
    for query in ("", "?fbclid=x&utm_source=y&name=z&id=1&id=2&code=x&x=%ff"):
        page = anyone.get(url + query, headers=BROWSING)
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["content-security-policy"] == "default-src 'none'; form-action 'self'"
        assert "<script" not in page.text
        # Otherwise a browser sends the form with `Origin: null`, which the host refuses.
        assert '<meta name="referrer" content="same-origin">' in page.text
        assert '<form method="post">' in page.text
        assert "other.txt" not in page.text
    form = {**BROWSING, "content-type": "application/x-www-form-urlencoded"}
    response = anyone.post(f"{url}?fbclid=x", headers=form, content=b"")
    assert (response.status_code, response.content) == (200, b"other.txt")
    assert code_of(anyone.post(url, headers=form)) == (404, "unknown-share")
    assert code_of(anyone.get(url, headers=BROWSING)) == (404, "unknown-share")


def test_an_unlimited_link_needs_no_page(client: httpx.Client, anyone: httpx.Client) -> None:
    """An unlimited link opens at once for a browser, too; a POST gets 303."""
    url = str(share(client, name="other.txt", revocable=True)["url"])
    assert anyone.get(f"{url}?utm_source=x", headers=BROWSING).status_code == 307
    after_post = anyone.post(url, headers=BROWSING)
    assert after_post.status_code == 303
    assert anyone.get(after_post.headers["location"]).content == b"other.txt"


def test_what_gives_nothing_costs_nothing(client: httpx.Client, anyone: httpx.Client) -> None:
    """A 304, a 412, a 416 and a HEAD spend nothing of a link for one download; two halves are one download."""
    url = str(share(client, name="other.txt", one_shot=True)["url"])
    etag = anyone.head(url).headers["etag"]
    assert anyone.get(url, headers={"if-none-match": etag}).status_code == 304
    assert anyone.get(url, headers={"if-match": '"x"'}).status_code == 412
    assert anyone.get(url, headers={"range": "bytes=99-"}).status_code == 416
    assert code_of(anyone.get(url, headers={"sec-fetch-dest": "script"})) == (403, "script-destination")
    first = anyone.get(url, headers={"range": "bytes=0-3"})
    assert (first.status_code, first.content, first.headers["content-range"]) == (206, b"othe", "bytes 0-3/9")
    rest = anyone.get(url, headers={"range": "bytes=4-", "if-range": etag})
    assert (rest.status_code, rest.content) == (206, b"r.txt")
    assert code_of(anyone.get(url)) == (404, "unknown-share")


def test_a_resumed_download_never_joins_two_files(
    client: httpx.Client, anyone: httpx.Client, container: ContainerClient
) -> None:
    """With If-Range, the app itself returns a changed blob whole, through a revocable link of any kind."""
    container.upload_blob("changing", b"1" * 10, overwrite=True)
    url = str(share(client, name="changing", revocable=True)["url"])
    etag = anyone.head(url).headers["etag"]
    resume = {"range": "bytes=5-", "if-range": etag}
    assert anyone.get(url, headers=resume).content == b"1" * 5
    container.upload_blob("changing", b"2" * 10, overwrite=True)
    changed_since = anyone.get(url, headers=resume)
    assert (changed_since.status_code, changed_since.content) == (200, b"2" * 10)


def test_a_prefix_without_a_slash_is_a_folder_too(client: httpx.Client, anyone: httpx.Client) -> None:
    """A link to `dir` opens the blobs that list-blobs lists for that prefix."""
    url = str(share(client, prefix="dir", revocable=True)["url"])
    assert anyone.get(f"{url}c.txt", follow_redirects=True).content == b"dir/c.txt"
    assert anyone.get(f"{url}dir/c.txt", follow_redirects=True).content == b"dir/c.txt"


def test_an_archived_blob_is_reported_first(
    client: httpx.Client, anyone: httpx.Client, container: ContainerClient
) -> None:
    """No link to an archived blob is created, and a link from before the archiving is not spent."""
    container.upload_blob("cold", b"x", overwrite=True)
    url = str(share(client, name="cold", one_shot=True)["url"])
    container.get_blob_client("cold").set_standard_blob_tier("Archive")
    assert code_of(anyone.get(url)) == (409, "blob-conflict")
    for fields in ({}, {"revocable": True}, {"one_shot": True}):
        response = client.post("/api/share-blob", json={"container": "shared", "name": "cold", **fields})
        assert code_of(response) == (409, "blob-conflict")
        assert "archived" in response.json()["detail"]
    container.get_blob_client("cold").set_standard_blob_tier("Hot")
    assert anyone.get(url).content == b"x"


def test_a_header_that_the_host_cannot_send_spends_nothing(
    client: httpx.Client, anyone: httpx.Client, container: ContainerClient
) -> None:
    """A stored header outside ASCII, which another tool may have written, is omitted, and the bytes arrive."""
    container.upload_blob("odd", b"x", overwrite=True)
    signed = f"{container.url}/odd?comp=properties&{container_sas('shared')}"
    put = httpx.put(
        signed,
        headers={b"x-ms-blob-content-language": "é".encode("latin-1"), b"x-ms-version": b"2023-11-03"},
        timeout=60,
        trust_env=False,
    )
    assert put.status_code == 200, put.text
    assert client.get("/api/blobs/shared/odd").content == b"x"
    assert anyone.get(str(share(client, name="odd", one_shot=True)["url"])).content == b"x"


def test_a_write_link_only_creates(client: httpx.Client, anyone: httpx.Client, container: ContainerClient) -> None:
    """A write link stores one new blob. It takes no lease, and replaces a blob only if `overwrite` is sent."""
    made = share(client, name="created-once", permissions="write")
    headers = {"x-ms-blob-type": "BlockBlob"}
    url = str(made["url"])
    assert "sp=c&" in url
    assert anyone.put(url, content=b"1", headers=headers).status_code == 201
    assert anyone.put(url, content=b"2", headers=headers).status_code == 403
    assert anyone.put(
        f"{url}&comp=lease", headers={"x-ms-lease-action": "acquire", "x-ms-lease-duration": "-1"}
    ).is_error
    assert anyone.put(f"{url}&comp=tier", headers={"x-ms-access-tier": "Archive"}).is_error
    assert anyone.put(f"{url}&comp=metadata", headers={"x-ms-meta-a": "b"}).is_error
    response = client.post(
        "/api/share-blob", json={"container": "shared", "name": "created-once", "permissions": "write"}
    )
    assert code_of(response) == (409, "blob-exists")
    replacing = share(client, name="created-once", permissions="write", overwrite=True)
    assert "sp=cw&" in str(replacing["url"])
    assert anyone.put(str(replacing["url"]), content=b"3", headers=headers).status_code == 201
    assert container.download_blob("created-once").readall() == b"3"


def test_addresses_need_a_trusted_proxy(client: httpx.Client, start_app: StartApp) -> None:
    """A revocable link for an address is refused if the app cannot know addresses, and checked if it can."""
    fields = {"container": "shared", "name": "other.txt", "ip_range": "192.0.2.1", "revocable": True, "max_uses": 1}
    assert code_of(client.post("/api/share-blob", json=fields)) == (422, "address-unknown")
    assert client.post("/api/share-blob", json={**fields, "revocable": False, "max_uses": None}).status_code == 200
    with start_app({"STRONGROOM_PROXIES": "1", "STRONGROOM_URL": "https://k.example"}).client() as behind:
        made = behind.post("/api/share-blob", json=fields).json()
        assert made["url"] == f"https://k.example/api/s/{made['id']}"
        path = f"/api/s/{made['id']}"
        for address in ("192.0.2.2", "192.0.2.1, 198.51.100.1", ""):
            assert code_of(behind.get(path, headers={"x-forwarded-for": address})) == (404, "unknown-share")
        assert behind.get(path, headers={"x-forwarded-for": "6.6.6.6, 192.0.2.1:99"}).content == b"other.txt"


def test_a_link_that_works_once_works_once(client: httpx.Client, anyone: httpx.Client) -> None:
    """Of many concurrent callers one gets the bytes; a HEAD and a preview before that spend nothing."""
    url = str(share(client, name="page.html", one_shot=True)["url"])
    assert anyone.head(url).status_code == 200
    preview = anyone.get(url, headers={"user-agent": "Slackbot 1.0"})
    assert preview.status_code == 200
    assert b"page.html" not in preview.content
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: httpx.get(url, trust_env=False, timeout=30), range(16)))
    assert sorted(each.status_code for each in responses) == [200] + [404] * 15
    (response,) = (each for each in responses if each.status_code == 200)
    assert response.content == b"page.html"
    assert response.headers["content-disposition"].startswith("attachment")
    assert anyone.head(url).status_code == 404


def test_a_failure_spends_nothing(client: httpx.Client, anyone: httpx.Client, container: ContainerClient) -> None:
    """A single-use link is still valid after its blob could not be read."""
    container.upload_blob("for-later", b"x")
    url = str(share(client, name="for-later", one_shot=True)["url"])
    container.delete_blob("for-later")
    assert code_of(anyone.get(url)) == (404, "unknown-blob")
    container.upload_blob("for-later", b"back")
    assert anyone.get(url).content == b"back"


def test_what_cannot_pass_cannot_work_once(start_app: StartApp, container: ContainerClient) -> None:
    """A blob over the limit gets no single-use link, because the app itself passes the bytes of such links."""
    container.upload_blob("large", b"x" * 2000, overwrite=True)
    with start_app({"STRONGROOM_MAX_BODY_BYTES": "1024", "STRONGROOM_STORAGE_PRIVATE": "true"}).client() as client:
        response = client.post("/api/share-blob", json={"container": "shared", "name": "large", "one_shot": True})
        assert code_of(response) == (422, "blob-too-large")
        assert share(client, name="large")["network"] == "private"


def test_shares_are_listed(client: httpx.Client, anyone: httpx.Client) -> None:
    """list-shares returns each link's blob or prefix, its owner and its uses; without a key it returns nothing."""
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
        ({"name": "a", "ip_range": "192.0.2.9-192.0.2.1"}, "ip_range"),
        ({"name": "a", "one_shot": True, "max_uses": 2}, "max_uses"),
        ({"prefix": "a", "one_shot": True}, "prefix"),
        ({"name": "a", "content_disposition": "a\r\nb"}, "content_disposition"),
        ({"name": "a\x01b", "permissions": "write"}, "name"),
        ({"name": "a\n", "permissions": "write"}, "name"),
        ({"name": "..", "permissions": "write"}, "name"),
        ({"name": "."}, "name"),
        ({"name": "a", "overwrite": True}, "overwrite"),
        ({"name": "a", "batch": []}, "batch"),
        ({"batch": [{"container": "shared", "name": "other.txt"}]}, "container"),
    ],
)
def test_fields_that_do_not_go_together_are_named(fields: dict[str, object], field: str, client: httpx.Client) -> None:
    """For an impossible combination of fields, the response is a bad request that names the field."""
    response = client.post("/api/share-blob", json={"container": "shared", **fields})
    assert code_of(response) == (400, "invalid-request")
    assert [each["field"] for each in response.json()["errors"]] == [field]


@pytest.mark.parametrize("path", ["x", "a" * 22, "a" * 23, "%2F", "..%2Fshares", "'", "%00x"])
def test_no_share_is_guessed(path: str, running_app: App, anyone: httpx.Client) -> None:
    """An id that was never issued is 404, whatever characters it has."""
    assert anyone.get(f"{running_app.url}/api/s/{path}").status_code in (404, 400)
