"""Saved queries: save, list, run, publish and delete them over HTTP; and the values that their parameters accept."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
from azure.data.tables import TableClient
from msgspec import UNSET

from shared.errors import InvalidRequest
from shared.settings import StorageSettings
from shared.sql.errors import ReadOnly, UnknownQuery
from shared.sql.saved import RESERVED, Parameter, ParameterType, SavedQuery, bind, check
from shared.sql.store.queries import QueryStore
from shared.storage import Storage
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
    """A query is saved under a name, run by URL and by POST, listed, replaced and deleted."""
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
    """Limit, cursor, format and Accept work as in query-sql."""
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
    """If a parameter is missing, unknown or of another type, the error names it."""
    save(client, "cheap-two", **CHEAP)
    response = client.get("/api/queries/cheap-two", params=params)
    assert (response.status_code, [each["field"] for each in response.json()["errors"]]) == (400, [field])


@pytest.mark.parametrize(
    ("fields", "status", "message"),
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
def test_what_cannot_be_saved(client: httpx.Client, fields: dict[str, Any], status: int, message: str) -> None:
    """A query that could never run is refused when it is saved, with the reason."""
    response = save(client, "wrong", **fields)
    assert response.status_code == status
    assert message in response.text
    assert client.get("/api/queries/wrong").status_code == 404


@pytest.mark.parametrize("name", ["Cheap", "a b", "-a", "a.b", "ä", "a" * 65])
def test_names_of_queries(client: httpx.Client, name: str) -> None:
    """A name with other characters is refused, and the error names the field."""
    response = save(client, name, sql="select 1")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (400, "query_name")


def test_queries_are_listed_in_pages(client: httpx.Client) -> None:
    """A listing is sorted by name, filtered by prefix, and its pages return each query once."""
    names = [f"list-{letter}" for letter in "cabed"]
    for name in names:
        save(client, name, sql="select 1")
    found, cursor = [], None
    while True:
        fields: dict[str, str] = {"prefix": "list-", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        response = client.get("/api/queries", params=fields).json()
        found += [each["name"] for each in response["queries"]]
        if (cursor := response["cursor"]) is None:
            break
    assert found == sorted(names)


def test_everyone_may_run_what_is_public_and_nothing_else(running_app: App, client: httpx.Client) -> None:
    """Without a key only public queries run, with tighter limits, and their responses may be cached for a while."""
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
    """A public query has a shorter time limit."""
    endless = "with recursive t(i) as (select 1 union all select i + 1 from t) select count(*) from t"
    save(client, "endless", sql=endless, public=True)
    with running_app.client("") as everyone:
        response = everyone.get("/api/public/endless")
    assert (response.status_code, response.json()["code"]) == (422, "query-timeout")


def test_another_instance_sees_what_is_saved(start_app: StartApp, client: httpx.Client) -> None:
    """One instance runs a query that another has saved, and continues with its cursor."""
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
    """Each type parses its texts."""
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
    """A text that is not a value of the type is refused, and the error names the parameter."""
    with pytest.raises(InvalidRequest) as caught:
        bind([Parameter("a", kind)], {"a": text}, "sqlite", by_url=True)
    assert [each.field for each in caught.value.errors] == ["a"]


def test_a_plus_that_became_a_space() -> None:
    """In a URL the + of base64 becomes a space: the error says how to write it."""
    with pytest.raises(InvalidRequest, match="%2B"):
        bind([Parameter("a", "bytes")], {"a": " /8="}, "sqlite", by_url=True)


def test_values_of_a_body_have_their_types() -> None:
    """In JSON a number is a number: no text is parsed as one, and null is null."""
    assert bind([Parameter("a", "integer")], {"a": 5}, "sqlite", by_url=False) == {"a": 5}
    assert bind([Parameter("a", "integer")], {"a": None}, "sqlite", by_url=False) == {"a": None}
    assert bind([Parameter("a", "bytes")], {"a": {"base64": "AP8"}}, "sqlite", by_url=False) == {"a": b"\x00\xff"}
    assert bind([Parameter("a", "json")], {"a": {"b": [1]}}, "sqlite", by_url=False) == {"a": '{"b":[1]}'}
    for value in ("5", 5.0, True, [5]):
        with pytest.raises(InvalidRequest):
            bind([Parameter("a", "integer")], {"a": value}, "sqlite", by_url=False)


def test_what_a_saved_query_may_be() -> None:
    """A saved query only reads, in every dialect."""
    check("select :a", "postgresql", [Parameter("a", default=UNSET)])
    check("pragma table_info(fruit)", "sqlite", [])
    with pytest.raises(ReadOnly):
        check("update fruit set price = :a", "mysql", [Parameter("a")])


# ---- Rows, races, and callers without a key.


@pytest.fixture
def store(storage_connection: str, request: pytest.FixtureRequest) -> QueryStore:
    """A store with a table for this test only."""
    return new_store(storage_connection, request.node.name)


def new_store(connection: str, name: str, key: bytes = bytes(32)) -> QueryStore:
    """A store that shares its table with others of this name, as several instances do."""
    table = f"t{hashlib.sha256(name.encode()).hexdigest()[:20]}"
    return QueryStore(Storage(StorageSettings(connection)), lambda: key, table)


def query_named(name: str, sql: str = "select 1") -> SavedQuery:
    """A query without parameters."""
    return SavedQuery(name, sql, "main", [], False, "", "2026-01-31T09:30:00Z")


def test_rows_that_the_app_did_not_write_are_ignored(
    storage_connection: str, store: QueryStore, request: pytest.FixtureRequest
) -> None:
    """A row without a valid digest, or moved to another name, is ignored; saving the query again replaces it."""
    store.save(query_named("kept"))
    store.save(query_named("changed"))
    name = f"t{hashlib.sha256(request.node.name.encode()).hexdigest()[:20]}"
    with TableClient.from_connection_string(storage_connection, name) as table:
        row = table.get_entity("query", "changed")
        table.upsert_entity({**row, "document": str(row["document"]).replace("select 1", "select 2")})
        kept = table.get_entity("query", "kept")
        table.upsert_entity({**kept, "RowKey": "moved"})
        table.upsert_entity({"PartitionKey": "query", "RowKey": "added", "document": row["document"], "digest": "é"})
        table.upsert_entity({"PartitionKey": "query", "RowKey": "bare"})
    other = new_store(storage_connection, request.node.name)
    for bad in ("changed", "moved", "added", "bare"):
        with pytest.raises(UnknownQuery):
            other.get(bad)
    assert [each.name for each in other.list("", "", 10)] == ["kept"]
    assert other.get("kept").sql == "select 1"
    assert other.save(query_named("changed", "select 3")) is False
    assert new_store(storage_connection, request.node.name).get("changed").sql == "select 3"
    with pytest.raises(UnknownQuery):
        new_store(storage_connection, request.node.name, b"\1" * 32).get("kept")


def test_saving_deleting_and_running_race(
    storage_connection: str, store: QueryStore, request: pytest.FixtureRequest
) -> None:
    """If three instances save, delete and read one query at once, no call fails in an unexpected way."""
    stores = [store, *(new_store(storage_connection, request.node.name) for _ in range(2))]

    def call(number: int) -> str:
        one = stores[number % 3]
        try:
            if number % 2:
                one.save(query_named("raced", f"select {number}"))
            elif number % 4:
                one.delete("raced")
            else:
                one.get("raced")
        except UnknownQuery:
            return "unknown"
        return "good"

    with ThreadPoolExecutor(9) as threads:
        assert set(threads.map(call, range(90))) <= {"good", "unknown"}
    store.save(query_named("raced"))
    assert [each.name for each in store.list("", "", 10)] == ["raced"]


def test_only_databases_of_the_setting_are_public(start_app: StartApp, tmp_path: Path) -> None:
    """A public query over a database outside the setting cannot be saved; one that was saved before no longer runs."""
    path = tmp_path / "other.sqlite"
    path.touch()
    databases = {"DATABASE_OTHER": f"sqlite:///{path}"}
    with start_app(databases | {"STRONGROOM_PUBLIC_DATABASES": "main, OTHER"}).client() as client:
        assert save(client, "other", sql="select 1", database="other", public=True).status_code == 201
        assert client.get("/api/public/other").json()["rows"] == [[1]]
    with start_app(databases).client() as client:
        assert client.get("/api/public/other").status_code == 404
        assert client.get("/api/queries/other").json()["rows"] == [[1]]
        refused = save(client, "other", sql="select 2", database="other", public=True)
        assert (refused.status_code, refused.json()["code"]) == (422, "not-public")
        assert client.get("/api/queries/other").json()["rows"] == [[1]]
    with start_app({"STRONGROOM_PUBLIC_DATABASES": ""}).client() as client:
        assert save(client, "main-too", sql="select 1", public=True).status_code == 422
        assert client.get("/api/public/other").status_code == 404


def test_callers_without_a_key_see_no_names_and_no_values(start_app: StartApp, tmp_path: Path) -> None:
    """A query that is missing, not public or without its database gives the same error; errors show no row's values."""
    path = tmp_path / "gone.sqlite"
    path.touch()
    settings = {"DATABASE_GONE": f"sqlite:///{path}", "STRONGROOM_PUBLIC_DATABASES": "main,gone"}
    with start_app(settings).client() as client:
        save(client, "gone", sql="select 1", database="gone", public=True)
        save(client, "private", sql="select 1")
        save(client, "failing", sql="select json_extract(name, '$.x') from fruit", public=True)
        path.unlink()
        details = set()
        for name in ("gone", "private", "nothing"):
            response = client.get(f"/api/public/{name}")
            assert (response.status_code, response.json()["code"]) == (404, "unknown-query")
            details.add(response.json()["detail"].replace(name, ""))
        assert len(details) == 1
        response = client.get("/api/public/failing")
        assert (response.status_code, response.json()["code"]) == (422, "sql-error")
        assert "apple" not in response.text
        assert "malformed" not in response.text


def test_options_are_the_same_everywhere(running_app: App, client: httpx.Client) -> None:
    """Big integers, formulas, the time limit and the file name work in run-query and public-query as in query-sql."""
    save(client, "options", sql="select 9007199254740993 as n, '=1' as [=f]", public=True)
    options = {"format": "csv", "big_integers": "string", "defuse_formulas": "true", "filename": "é.csv"}
    for path, limit in (("/api/queries/options", "60000"), ("/api/public/options", "2000")):
        response = client.get(path, params=options | {"timeout_ms": limit})
        assert response.text == "n,'=f\r\n9007199254740993,'=1\r\n"
        assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%A9.csv"
        assert client.get(path, params={"timeout_ms": int(limit) + 1}).status_code == 400
        assert client.get(path, params={"big_integers": "string"}).json()["rows"] == [["9007199254740993", "=1"]]


@pytest.mark.parametrize("name", sorted(RESERVED | {"clientId", "Code", "TIMEOUT_MS"}))
def test_reserved_names(name: str) -> None:
    """A parameter cannot have the name of a field, in any case of letters."""
    with pytest.raises(InvalidRequest, match="Rename"):
        check(f"select :{name}", "sqlite", [Parameter(name)])


EXTREMES: list[Any] = [
    10**309, 10**310, -(10**310), 10**4000, 2**63, -(2**63), -(2**63) - 1, 2**1024, 1e308, 5e-324, -0.0, 1e400, "", " ",
    "9" * 310, "9" * 400, "9" * 5000, "1e999", "-1e-999", "1e400", "nan", "inf", "-Infinity", "٣", "1_000", "+1", ".5",
    "5.", "0x10", "0000-00-00", "0001-01-01", "9999-12-31", "10000-01-01", "-0001-01-01", "2026-W02-1", "20260105",
    "2026-01-31\n", "2026-02-30", "2026-1-1", "24:00:00", "23:59:60", "09:30:00\n", "2026-01-31T09:30:00+99:99",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-31T09:30:00." + "1" * 400 + "Z", "[" * 5000,
    "[" * 5000 + "]" * 5000, '{"a":' * 2000, '"\\ud800"', "\0", "a\0b", "\ud7ff", "😀" * 1000, True, None, [], {},
    {"base64": "*"}, {"base64": ["x"]}, {"base64": ""}, [[[[]]]], {"a": {"b": 1}}, "AA=", "A", "====",
]  # fmt: skip


def refused_fields(parameter: Parameter, value: Any, dialect: Any, *, by_url: bool) -> list[str]:
    """The fields that an error names; none if the value has the parameter's type."""
    try:
        bind([parameter], {parameter.name: value}, dialect, by_url=by_url)
    except InvalidRequest as error:
        return [each.field for each in error.errors]
    return []


@pytest.mark.parametrize("kind", get_args(ParameterType))
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_no_value_breaks_a_parameter(kind: Any, dialect: Any) -> None:
    """Every extreme value becomes a value of the type, or a refusal that names the parameter."""
    for value in EXTREMES:
        for by_url in (False, True):
            if by_url and not isinstance(value, str):
                continue
            fields = refused_fields(Parameter("a", kind), value, dialect, by_url=by_url)
            assert fields in ([], ["a"], ["a.base64"])
        if value is None or isinstance(value, bool | int | float | str):
            with suppress(InvalidRequest):
                check("select :a", dialect, [Parameter("a", kind, value)])


@pytest.mark.parametrize(
    "value", ["2026-W02-1", "20260105", "2026-1-5", "2026-01-05T00:00", "2026-01-05\n", "26-01-05"]
)
def test_dates_have_one_form(value: str) -> None:
    """A date is YYYY-MM-DD; other forms that Python or an engine would accept are refused."""
    for kind in ("date", "timestamp") if value != "2026-01-05T00:00" else ("date",):
        with pytest.raises(InvalidRequest):
            bind([Parameter("a", kind)], {"a": value}, "sqlite", by_url=True)


def test_unknown_parameters_are_counted_not_listed() -> None:
    """However many parameters are unknown, the error names the first ones and counts all, in linear time."""
    sent = {f"{'x' * 100}{number}": "1" for number in range(50_000)}
    with pytest.raises(InvalidRequest) as caught:
        bind([Parameter("a", default=None)], sent, "sqlite", by_url=True)
    assert (len(caught.value.errors), caught.value.error_count) == (20, 50_000)
    assert max(len(each.field) for each in caught.value.errors) == 64


def test_extremes_over_http(client: httpx.Client) -> None:
    """No extreme value of a parameter, a default or a body is a 500."""
    types = get_args(ParameterType)
    sql = "select " + ", ".join(f":{kind}" for kind in types)
    declared = [{"name": kind, "type": kind, "default": None} for kind in types]
    assert save(client, "extremes", sql=sql, parameters=declared).status_code in (200, 201)
    numbers = ["1" + "0" * 309, "9" * 5000, "-" + "9" * 4400, "1e400", "[" * 900 + "]" * 900, '"\\ud800"', "1" * 310]
    for kind in types:
        for text in numbers:
            for body in (f'{{"{kind}": {text}}}', f'{{"{kind}": "{text.strip(chr(34))}"}}'):
                response = client.post(
                    "/api/queries/extremes", content=body, headers={"content-type": "application/json"}
                )
                assert response.status_code in (200, 400), (kind, text[:20], response.text[:200])
            parameter = f'{{"name": "{kind}", "type": "{kind}", "default": {text}}}'
            default = f'{{"sql": "select :{kind}", "parameters": [{parameter}]}}'
            response = client.put("/api/queries/never", content=default, headers={"content-type": "application/json"})
            assert response.status_code in (200, 201, 400), (kind, text[:20], response.text[:200])
            response = client.post(
                "/api/query-sql", content=f'{{"sql": "select ?", "params": [{text}]}}',
                headers={"content-type": "application/json"},
            )  # fmt: skip
            assert response.status_code in (200, 400), (text[:20], response.text[:200])
