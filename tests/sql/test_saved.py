"""Saved queries: saved, listed, run, made public and deleted, over HTTP; and what their parameters take."""

from typing import Any

import httpx
import pytest
from msgspec import UNSET

from shared.errors import InvalidRequest
from shared.sql.errors import ReadOnly
from shared.sql.saved import Parameter, bind, check
from tests.support import App, StartApp

CHEAP = {
    "sql": "select name, price from fruit where price <= :most and name <> coalesce(:but, '') order by price",
    "parameters": [{"name": "most", "type": "real"}, {"name": "but", "default": None}],
}


@pytest.fixture
def client(running_app: App) -> Any:
    """A client with the app's function key."""
    with running_app.client() as client:
        yield client


def save(client: httpx.Client, name: str, **fields: Any) -> httpx.Response:
    """A PUT of `save-query`."""
    return client.put(f"/api/queries/{name}", json=fields)


def test_a_query_is_saved_run_replaced_and_deleted(client: httpx.Client) -> None:
    """A query has a life: saved under a name, run by URL and by POST, listed, replaced, deleted."""
    assert client.get("/api/queries/cheap", params={"most": 1}).status_code == 404
    saved = save(client, "cheap", **CHEAP)
    assert saved.status_code == 201
    assert saved.json()["parameters"] == [{"name": "most", "type": "real"}, {"name": "but", "default": None}]
    by_url = client.get("/api/queries/cheap", params={"most": "0.3", "but": "plum"})
    by_body = client.post("/api/queries/cheap", json={"most": 0.3, "but": "plum"})
    assert by_url.json()["rows"] == by_body.json()["rows"] == [["cherry", 0.12], ["banana", 0.25]]
    assert "cheap" in [each["name"] for each in client.get("/api/queries").json()["queries"]]
    assert save(client, "cheap", sql="select 1 as one").status_code == 200
    assert client.get("/api/queries/cheap").json()["rows"] == [[1]]
    assert client.delete("/api/queries/cheap").status_code == 204
    for response in (client.delete("/api/queries/cheap"), client.get("/api/queries/cheap")):
        assert (response.status_code, response.json()["code"]) == (404, "unknown-query")


def test_a_saved_query_has_pages_and_formats(client: httpx.Client) -> None:
    """Limit, cursor, format and Accept are those of query-sql."""
    save(client, "all", sql="select id, name from fruit where id > :after order by id",
         parameters=[{"name": "after", "type": "integer", "default": 0}])  # fmt: skip
    first = client.get("/api/queries/all", params={"limit": 10}).json()
    rest = client.get("/api/queries/all", params={"cursor": first["cursor"]}).json()
    assert [row[0] for row in first["rows"] + rest["rows"]] == list(range(1, 13))
    other = client.get("/api/queries/all", params={"cursor": first["cursor"], "after": 1})
    assert (other.status_code, other.json()["errors"][0]["field"]) == (400, "cursor")
    assert client.get("/api/queries/all", params={"format": "csv", "limit": 1}).text == "id,name\r\n1,apple\r\n"
    accepted = client.get("/api/queries/all", params={"limit": 1}, headers={"accept": "application/x-ndjson"})
    assert accepted.text == '{"id":1,"name":"apple"}\n'
    client.delete("/api/queries/all")


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "most"), ({"most": "much"}, "most"), ({"most": ""}, "most"), ({"most": "1", "least": "1"}, "least"),
        ({"most": "1", "limit": "0"}, "limit"), ({"most": "nan"}, "most"), ({"most": "1", "explain": "1"}, "explain"),
    ],
)  # fmt: skip
def test_wrong_parameters_are_named(client: httpx.Client, params: dict[str, str], field: str) -> None:
    """A parameter that is missing, unknown or not of its type is refused by name."""
    save(client, "cheap-two", **CHEAP)
    response = client.get("/api/queries/cheap-two", params=params)
    assert (response.status_code, [each["field"] for each in response.json()["errors"]]) == (400, [field])


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"sql": "delete from fruit"}, 422, "read-only"),
        ({"sql": "select ?"}, 400, "instead of ?"),
        ({"sql": "select :a"}, 400, "Declare the parameter a"),
        ({"sql": "select 1", "parameters": [{"name": "a"}]}, 400, "does not use"),
        ({"sql": "select :Code", "parameters": [{"name": "Code"}]}, 400, "Rename the parameter"),
        ({"sql": "select :limit", "parameters": [{"name": "limit"}]}, 400, "Rename the parameter"),
        ({"sql": "select :a", "parameters": [{"name": "a"}, {"name": "a"}]}, 400, "once"),
        ({"sql": "select :a", "parameters": [{"name": "a", "type": "integer", "default": "x"}]}, 400, "default"),
        ({"sql": "select :a", "parameters": [{"name": "a", "kind": "integer"}]}, 400, "parameters"),
        ({"sql": "select 1", "database": "nope"}, 404, "unknown-database"),
        ({"sql": ""}, 400, "sql"),
    ],
)
def test_what_cannot_be_saved(client: httpx.Client, fields: dict[str, Any], status: int, said: str) -> None:
    """A query that could never run well is refused when it is saved, with the reason."""
    response = save(client, "wrong", **fields)
    assert response.status_code == status
    assert said in response.text
    assert client.get("/api/queries/wrong").status_code == 404


@pytest.mark.parametrize("name", ["Cheap", "a b", "-a", "a.b", "ä", "a" * 65])
def test_names_of_queries(client: httpx.Client, name: str) -> None:
    """A name that is not plain is refused, naming the field."""
    response = save(client, name, sql="select 1")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (400, "query_name")


def test_queries_are_listed_in_pages(client: httpx.Client) -> None:
    """A listing goes by name, by prefix, in pages that hold each query once."""
    names = [f"list-{letter}" for letter in "cabed"]
    for name in names:
        save(client, name, sql="select 1")
    found, cursor = [], None
    while True:
        given: dict[str, str] = {"prefix": "list-", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        response = client.get("/api/queries", params=given).json()
        found += [each["name"] for each in response["queries"]]
        if (cursor := response["cursor"]) is None:
            break
    assert found == sorted(names)


def test_everyone_may_run_what_is_public_and_nothing_else(running_app: App, client: httpx.Client) -> None:
    """Without a key only public queries run, under tighter limits, and their answers may be cached for a while."""
    save(client, "open", sql="select name from fruit where id = :id", public=True,
         parameters=[{"name": "id", "type": "integer"}])  # fmt: skip
    save(client, "shut", sql="select 1")
    with running_app.client("") as everyone:
        response = everyone.get("/api/public/open", params={"id": 1})
        assert (response.status_code, response.json()["rows"]) == (200, [["apple"]])
        assert response.headers["cache-control"] == "public, max-age=60"
        for name in ("shut", "none"):
            hidden = everyone.get(f"/api/public/{name}")
            assert (hidden.status_code, hidden.json()["code"]) == (404, "unknown-query")
            assert hidden.headers["cache-control"] == "no-store"
        assert everyone.get("/api/public/open", params={"id": 1, "limit": 1001}).status_code == 400
        assert everyone.get("/api/queries/open", params={"id": 1}).status_code == 401
    save(client, "open", sql="select 1")
    with running_app.client("") as everyone:
        assert everyone.get("/api/public/open").status_code == 404


def test_a_public_query_is_interrupted_early(running_app: App, client: httpx.Client) -> None:
    """Everyone's queries have less time."""
    endless = "with recursive t(i) as (select 1 union all select i + 1 from t) select count(*) from t"
    save(client, "endless", sql=endless, public=True)
    with running_app.client("") as everyone:
        response = everyone.get("/api/public/endless")
    assert (response.status_code, response.json()["code"]) == (422, "query-timeout")


def test_another_instance_sees_what_is_saved(start_app: StartApp, client: httpx.Client) -> None:
    """What one instance saves, another runs, and goes on with the cursor of the first."""
    save(client, "shared", sql="select id from fruit order by id")
    first = client.get("/api/queries/shared", params={"limit": 5}).json()
    with start_app().client() as other:
        rest = other.get("/api/queries/shared", params={"cursor": first["cursor"]}).json()
    assert [row[0] for row in rest["rows"]] == list(range(6, 13))


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "-5", -5), ("integer", "9223372036854775807", 2**63 - 1), ("real", "1e3", 1000.0),
        ("real", "5", 5.0), ("decimal", "1.50", 1.5), ("text", "", ""), ("text", "é", "é"),
        ("boolean", "true", True), ("boolean", "0", False), ("bytes", "AP8", b"\x00\xff"),
        ("date", "2024-01-31", "2024-01-31"),
        ("time", "09:30:00", "09:30:00"), ("json", "[1]", "[1]"),
        ("timestamp", "2024-01-31T09:30:00", "2024-01-31T09:30:00"),
    ],
)  # fmt: skip
def test_texts_of_a_url_become_values(kind: Any, text: str, value: Any) -> None:
    """Each type reads its texts."""
    found = bind([Parameter("a", kind)], {"a": text}, "sqlite", by_url=True)
    assert (found, type(found["a"])) == ({"a": value}, type(value))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("integer", "1.5"), ("integer", "9223372036854775808"), ("integer", " 1"), ("integer", "١"), ("integer", ""),
        ("real", "nan"), ("real", "inf"), ("real", "1e9999"), ("decimal", "1,5"), ("boolean", "yes"), ("bytes", "*"),
        ("date", "31.1.2024"), ("date", "2024-02-30"), ("time", "25:00"), ("timestamp", "today"), ("json", "{"),
    ],
)  # fmt: skip
def test_texts_that_are_no_value(kind: Any, text: str) -> None:
    """What is no value of the type is refused, naming the parameter."""
    with pytest.raises(InvalidRequest) as caught:
        bind([Parameter("a", kind)], {"a": text}, "sqlite", by_url=True)
    assert [each.field for each in caught.value.errors] == ["a"]


def test_values_of_a_body_have_their_types() -> None:
    """In JSON a number is a number: no text is read as one, and null is null."""
    assert bind([Parameter("a", "integer")], {"a": 5}, "sqlite", by_url=False) == {"a": 5}
    assert bind([Parameter("a", "integer")], {"a": None}, "sqlite", by_url=False) == {"a": None}
    assert bind([Parameter("a", "bytes")], {"a": {"base64": "AP8"}}, "sqlite", by_url=False) == {"a": b"\x00\xff"}
    assert bind([Parameter("a", "json")], {"a": {"b": [1]}}, "sqlite", by_url=False) == {"a": '{"b":[1]}'}
    for value in ("5", 5.0, True, [5]):
        with pytest.raises(InvalidRequest):
            bind([Parameter("a", "integer")], {"a": value}, "sqlite", by_url=False)


def test_what_a_saved_query_may_be() -> None:
    """A saved query reads, in every dialect."""
    check("select :a", "postgresql", [Parameter("a", default=UNSET)])
    check("pragma table_info(fruit)", "sqlite", [])
    with pytest.raises(ReadOnly):
        check("update fruit set price = :a", "mysql", [Parameter("a")])
