"""The functions with a `cursor`: one scheme, so one behaviour."""

from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from shared.app import build
from shared.web import Route
from tests.support import App

DETAIL = (
    "This cursor does not belong to this listing. Use the cursor of the previous page, with the same fields, or leave "
    "it out to start again."
)
ROUTES = {
    route.name: route
    for route in build({}).routes
    if route.operation.request is not None and "cursor" in route.operation.request.__struct_fields__
}


class Call(NamedTuple):
    """A call of a function whose listing has a second page."""

    fields: dict[str, Any]
    others: dict[str, Any] | None
    """Fields with which the cursor is refused; None where no other field chooses what is listed."""
    paged: bool = True
    """Whether one page is small enough here: some functions go on until their time is up."""


FRUIT = {"sql": "select name from fruit order by name", "limit": 1}
PREDICTED = {
    "model": "iris",
    "source": {"container": "samples", "path": "iris/*.csv"},
    "target": {"container": "samples", "prefix": "predicted/"},
}
CALLS = {
    "list-keys": Call({"limit": 1}, {"deleted": True}),
    "list-users": Call({"limit": 1}, None),
    "export-users": Call({"limit": 1}, None),
    "rewrap-passwords": Call({"limit": 1}, None),
    "query-sql": Call(FRUIT, {"sql": "select name from fruit order by name desc"}),
    "query-blobs": Call(
        {"container": "samples", "path": "orchard/harvest.csv", "sql": "select * from data", "limit": 1},
        {"sql": "select 1"},
    ),
    "list-queries": Call({"limit": 1}, {"prefix": "cursor-"}),
    "run-query": Call({"query_name": "cursor-one", "limit": 1}, {"query_name": "cursor-two"}),
    "public-query": Call({"query_name": "cursor-one", "limit": 1}, {"query_name": "cursor-two"}),
    "list-blobs": Call({"container": "samples", "limit": 1}, {"prefix": "orchard/"}),
    "summarize-blobs": Call({"container": "samples"}, None, paged=False),
    "list-shares": Call({"limit": 1}, {"container": "samples"}),
    "list-models": Call({"limit": 1}, {"prefix": "i"}),
    "predict-batch": Call(PREDICTED, None, paged=False),
    "identify-blobs": Call({"container": "samples", "limit": 1}, {"prefix": "orchard/"}),
}
METHODS = [(name, method) for name, route in ROUTES.items() for method in route.methods]


@pytest.fixture(scope="module")
def client(running_app: App) -> Iterator[httpx.Client]:
    """Calls the app, in which each listing has at least two items."""
    with running_app.client() as client:
        for name in ("cursor-one", "cursor-two"):
            query = {"sql": "select name from fruit order by name", "public": True}
            assert client.put(f"/api/queries/{name}", json=query).status_code in (200, 201)
            share = {"container": "samples", "name": "welcome.txt", "revocable": True}
            assert client.post("/api/share-blob", json=share).status_code == 200
            key = {"name": f"cursor-{uuid4()}", "type": "Ed25519", "deletable": True}
            assert client.post("/api/keys", json=key).status_code == 201
        yield client


def call(client: httpx.Client, route: Route, method: str, fields: dict[str, Any]) -> httpx.Response:
    """The response of the function by this method."""
    path = f"/api/{route.path}"
    if "query_name" in fields:
        fields = dict(fields)
        path = path.replace("{query_name}", fields.pop("query_name"))
    if method == "GET":
        return client.get(path, params={name: str(value).replace("True", "true") for name, value in fields.items()})
    return client.request(method, path, json=fields)


@pytest.fixture(scope="module")
def first_pages(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """The first page of each listing."""
    return {
        name: call(client, route, route.methods[0], CALLS[name].fields).json()
        for name, route in ROUTES.items()
        if name in CALLS and CALLS[name].paged
    }


def refusal(response: httpx.Response) -> tuple[int, str, list[dict[str, str]]]:
    """The status, the code and the fields of a problem."""
    body = response.json()
    return response.status_code, body["code"], body["errors"]


REFUSED = (400, "invalid-request", [{"field": "cursor", "detail": DETAIL}])


def items(page: dict[str, Any]) -> object:
    """What a page lists; if it only counts, where it ends."""
    return [each for each in page.values() if isinstance(each, list)] or page["cursor"]


@pytest.mark.parametrize(("name", "method"), [each for each in METHODS if each[0] not in CALLS or CALLS[each[0]].paged])
def test_a_cursor_continues_its_listing_and_no_other(
    client: httpx.Client, first_pages: dict[str, dict[str, Any]], name: str, method: str
) -> None:
    """The cursor of a page fetches the next one, with other rows; with other fields it is refused."""
    fields, others, _ = CALLS[name]
    first = first_pages[name]
    assert isinstance(first["cursor"], str)
    response = call(client, ROUTES[name], method, {**fields, "cursor": first["cursor"]})
    assert response.status_code == 200, response.text
    assert items(response.json()) != items(first)
    if others is not None:
        assert refusal(call(client, ROUTES[name], method, {**fields, **others, "cursor": first["cursor"]})) == REFUSED


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_any_other_text_is_refused(
    client: httpx.Client, first_pages: dict[str, dict[str, Any]], name: str, method: str
) -> None:
    """The cursor of every other function, a broken one, an empty one and any other text get the same error."""
    texts = [page["cursor"] for other, page in first_pages.items() if other != name]
    own = first_pages[name]["cursor"] if name in first_pages else texts[0]
    broken = [own[:-1], own + "A", own.swapcase(), "", " ", "x", "AAAA", "null", "é", "A" * 5000]
    for cursor in (*texts, *broken):
        response = call(client, ROUTES[name], method, {**CALLS[name].fields, "cursor": cursor})
        assert refusal(response) == REFUSED, cursor
