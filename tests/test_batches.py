"""The functions that take a `batch`: one mechanism, so one behaviour."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest

from shared.app import build
from shared.web import Route
from tests.support import App

BCRYPT = "$2b$10$dCxPgPRGaZ7OTpCDhHI7ROTXzJ6W9yat8iVREvKHomwQ0N5IHTpeS"
ROUTES = {
    route.name: route
    for route in build({}).routes
    if route.operation.request is not None and "batch" in route.operation.request.__struct_fields__
}
Item = dict[str, Any]


@pytest.fixture(scope="module")
def client(running_app: App) -> Iterator[httpx.Client]:
    """Calls the app, with the function key."""
    with running_app.client() as client:
        for name, kind in (("batch-sign", "Ed25519"), ("batch-encrypt", "AES-256")):
            assert client.post("/api/keys", json={"name": name, "type": kind}).status_code in (201, 409)
        yield client


@pytest.fixture(scope="module")
def items(client: httpx.Client) -> dict[str, Callable[[], Item]]:
    """For each function a valid item; the first field is one that the item cannot lack."""
    encrypted = client.post("/api/encrypt", json={"key": "batch-encrypt", "plaintext": "x"}).json()["ciphertext"]
    return {
        "sign": lambda: {"message": "x", "key": "batch-sign"},
        "verify": lambda: {"signature": "A" * 86, "message": "x", "key": "batch-sign"},
        "encrypt": lambda: {"plaintext": "x", "key": "batch-encrypt"},
        "decrypt": lambda: {"ciphertext": encrypted},
        "generate-data-key": lambda: {"key": "batch-encrypt"},
        "rewrap": lambda: {"ciphertext": encrypted},
        "share-blob": lambda: {"container": "samples", "name": "welcome.txt"},
        "import-user": lambda: {"user": f"batch-{uuid4()}", "hash": BCRYPT},
    }


def call(client: httpx.Client, route: Route, fields: Item) -> httpx.Response:
    """The response of the function to a POST."""
    return client.post(f"/api/{route.path}", json=fields)


def wrong_fields(response: httpx.Response) -> dict[str, str]:
    """The wrong fields that a 400 names, with the details."""
    assert (response.status_code, response.json()["code"]) == (400, "invalid-request"), response.text
    return {each["field"]: each["detail"] for each in response.json()["errors"]}


WRONG: dict[str, tuple[Callable[[Item], object], Callable[[Item], str | None]]] = {
    "null": (lambda _: None, lambda _: None),
    "a number": (lambda _: 5, lambda _: None),
    "a text": (lambda _: "x", lambda _: None),
    "a list": (lambda item: [item], lambda _: None),
    "an unknown field": (lambda item: {**item, "colour": "red"}, lambda _: "colour"),
    "a wrong type": (lambda item: {**item, next(iter(item)): []}, lambda item: next(iter(item))),
    "a missing field": (lambda item: dict(list(item.items())[1:]), lambda item: next(iter(item))),
}
"""How an item is made wrong, and the field that its problem names."""


@pytest.mark.parametrize("position", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ROUTES)
def test_a_wrong_item_gets_a_problem_and_the_others_their_results(
    client: httpx.Client, items: dict[str, Callable[[], Item]], name: str, wrong: str, position: int
) -> None:
    """Whatever one item is, and wherever: it alone is a problem (400), and every other item succeeds, in its order."""
    change, field_of = WRONG[wrong]
    valid = items[name]()
    others = [items[name](), items[name]()]
    batch: list[object] = [*others]
    batch.insert(position, change(valid))
    response = call(client, ROUTES[name], {"batch": batch})
    assert response.status_code == 200, response.text
    assert list(response.json()) == ["results"]
    results = response.json()["results"]
    assert len(results) == 3
    problem = results.pop(position)
    assert (problem["status"], problem["code"]) == (400, "invalid-request")
    assert problem["detail"]
    field = field_of(valid)
    if field is not None:
        assert [each["field"] for each in problem["errors"]] == [field]
    assert not [each for each in results if "status" in each]
    if name == "import-user":
        assert [each["user"] for each in results] == [each["user"] for each in others]


@pytest.mark.parametrize("name", ROUTES)
def test_a_batch_has_1_to_1000_items(client: httpx.Client, name: str) -> None:
    """A thousand items each get a result or a problem; one more, none, and anything but a list are a bad request."""
    results = call(client, ROUTES[name], {"batch": [None] * 1000}).json()["results"]
    assert [each["status"] for each in results] == [400] * 1000
    wrong: list[object] = [[], [None] * 1001, {}, "x", 5]
    for batch in wrong:
        assert list(wrong_fields(call(client, ROUTES[name], {"batch": batch}))) == ["batch"]


@pytest.mark.parametrize("name", ROUTES)
def test_fields_of_items_are_refused_beside_a_batch(
    client: httpx.Client, items: dict[str, Callable[[], Item]], name: str
) -> None:
    """A field that belongs in the items is named if it is beside them, even with its default value."""
    operation = ROUTES[name].operation
    assert operation.in_items
    beside = dict.fromkeys(operation.in_items, False)
    details = wrong_fields(call(client, ROUTES[name], {"batch": [items[name]()], **beside}))
    assert details == {field: f"Move `{field}` into the items of the batch." for field in operation.in_items}


@pytest.mark.parametrize("name", ROUTES)
def test_items_are_described(name: str) -> None:
    """The schema of a batch has the fields of an item, which are fields of the call, too."""
    operation = ROUTES[name].operation
    assert operation.request is not None
    batch = next(each for each in msgspec.structs.fields(operation.request) if each.name == "batch")
    described = next(each for each in msgspec.json.schema(batch.type)["anyOf"] if each.get("type") == "array")
    assert (described["minItems"], described["maxItems"]) == (1, 1000)
    fields = set(described["items"]["anyOf"][0]["properties"])
    assert fields - {"reference"} == set(operation.request.__struct_fields__) - {"batch"}
