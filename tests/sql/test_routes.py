"""`query-sql`, `execute-sql` and `list-databases`, called over HTTP."""

import base64
import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import App, StartApp

ENDLESS = "with recursive t(i) as (select 1 union all select i + 1 from t) select count(*) from t"
FIRST = "select id, name, price from fruit order by id"


def query(app: App, **fields: Any) -> httpx.Response:
    """A POST to `query-sql`."""
    with app.client() as client:
        return client.post("/api/query-sql", json=fields)


def execute(app: App, **fields: Any) -> httpx.Response:
    """A POST to `execute-sql`."""
    with app.client() as client:
        return client.post("/api/execute-sql", json=fields)


def by_url(app: App, **fields: Any) -> httpx.Response:
    """A GET of `query-sql`: values that are not strings are sent as JSON."""
    params = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    with app.client() as client:
        return client.get("/api/query-sql", params=params)


@pytest.mark.parametrize("call", [query, by_url])
def test_rows_are_returned(running_app: App, call: Any) -> None:
    """GET and POST take the same fields and return the response that the contract describes."""
    response = call(running_app, sql="select name, price from fruit where price > ? order by price", params=[0.9])
    assert response.status_code == 200
    found = response.json()
    assert found.pop("elapsed_ms") > 0
    assert found == {
        "columns": [{"name": "name", "type": "text"}, {"name": "price", "type": "real"}],
        "rows": [["grapefruit", 0.95], ["mango", 1.8]],
        "row_count": 2,
        "truncated": False,
        "cursor": None,
    }


@pytest.mark.parametrize("call", [query, by_url])
def test_values_by_name(running_app: App, call: Any) -> None:
    """Named parameters are sent as an object."""
    response = call(running_app, sql="select name from fruit where id = :id", params={"id": 1}, format="objects")
    assert response.json()["rows"] == [{"name": "apple"}]


def test_bytes_and_unicode_go_through_a_url(running_app: App) -> None:
    """Text of any script and bytes pass through a URL; the error says so if a `+` became a space."""
    data = base64.b64encode(b"\xfb\xff\xfe").decode()
    response = by_url(running_app, sql="select ? as a, ? as b, '+' as c", params=["é❤ + &", {"base64": data}])
    assert response.json()["rows"] == [["é❤ + &", {"base64": "-__-"}, "+"]]
    with running_app.client() as client:
        raw = client.get(f'/api/query-sql?sql=select+?&params=[{{"base64":"{data}"}}]')
    assert raw.status_code == 400
    assert "%2B" in raw.json()["errors"][0]["detail"]


@pytest.mark.parametrize("call", [query, by_url])
def test_every_format(running_app: App, call: Any) -> None:
    """The four formats hold the same rows, each under its media type."""
    arrays = call(running_app, sql=FIRST, limit=3)
    objects = call(running_app, sql=FIRST, limit=3, format="objects")
    lines = call(running_app, sql=FIRST, limit=3, format="ndjson")
    table = call(running_app, sql=FIRST, limit=3, format="csv")
    rows = arrays.json()["rows"]
    assert [list(each.values()) for each in objects.json()["rows"]] == rows
    assert [list(json.loads(line).values()) for line in lines.text.splitlines()] == rows
    assert list(csv.reader(io.StringIO(table.text, newline=""))) == [
        ["id", "name", "price"],
        *[[str(value) for value in row] for row in rows],
    ]
    kinds = [each.headers["content-type"] for each in (arrays, objects, lines, table)]
    assert kinds == ["application/json", "application/json", "application/x-ndjson", "text/csv; charset=utf-8"]
    for each in (lines, table):
        assert each.headers["x-truncated"] == "true"
        assert each.headers["x-cursor"]


@pytest.mark.parametrize("form", ["json", "objects", "ndjson", "csv"])
def test_pages_hold_every_row_once(running_app: App, form: str) -> None:
    """Following the cursor shows each row once, and the last page has no cursor."""
    found: list[int] = []
    cursor: str | None = None
    pages = 0
    while True:
        more = {"cursor": cursor} if cursor else {}
        response = query(running_app, sql=FIRST, limit=5, format=form, **more)
        assert response.status_code == 200
        if form in ("json", "objects"):
            body = response.json()
            cursor = body["cursor"]
            assert body["truncated"] == bool(cursor)
            found += [row["id"] if form == "objects" else row[0] for row in body["rows"]]
        else:
            cursor = response.headers.get("x-cursor")
            assert ("x-truncated" in response.headers) == bool(cursor)
            text = response.text.splitlines()
            found += (
                [json.loads(line)["id"] for line in text]
                if form == "ndjson"
                else [int(line.split(",")[0]) for line in text[1:]]
            )
        pages += 1
        if not cursor:
            break
    assert pages == 3
    assert found == list(range(1, 13))


def test_a_cursor_belongs_to_its_query(running_app: App) -> None:
    """A cursor of another statement, of other values, or a forged one is refused, and the error names the field."""
    cursor = query(running_app, sql=FIRST, limit=1).json()["cursor"]
    for wrong in (cursor[:-1], "x", "é", ""):
        response = query(running_app, sql=FIRST, cursor=wrong)
        assert (response.status_code, response.json()["errors"][0]["field"]) == (400, "cursor")
    response = query(running_app, sql=FIRST + " desc", cursor=cursor)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (400, "cursor")


def test_a_response_has_a_limit_of_bytes(running_app: App) -> None:
    """Rows beyond 8 MiB are cut between rows, the response says so, and the cursor returns the rest."""
    sql = "select value, hex(zeroblob(500000)) from json_each('[1,2,3,4,5,6,7,8,9,10,11,12]')"
    first = query(running_app, sql=sql)
    assert len(first.content) < 8 * 1024 * 1024 + 1000
    assert first.json()["truncated"]
    rest = query(running_app, sql=sql, cursor=first.json()["cursor"])
    assert [row[0] for each in (first, rest) for row in each.json()["rows"]] == list(range(1, 13))
    assert not rest.json()["truncated"]


def test_a_row_that_no_response_holds(running_app: App) -> None:
    """One row over the limit is refused, because no cursor could get past it."""
    response = query(running_app, sql="select hex(zeroblob(5000000))")
    assert (response.status_code, response.json()["code"]) == (422, "answer-too-large")


def test_no_rows_have_columns(running_app: App) -> None:
    """An empty result has its columns, in every format that has columns."""
    response = query(running_app, sql="select id, name as name, name as name, 1 + 1 from fruit where 0").json()
    assert [each["name"] for each in response["columns"]] == ["id", "name", "name", "1 + 1"]
    assert [each["type"] for each in response["columns"]] == ["integer", "text", "text", "null"]
    assert response["rows"] == []
    assert query(running_app, sql="select id, name from fruit where 0", format="csv").text == "id,name\r\n"
    assert query(running_app, sql="select id from fruit where 0", format="ndjson").text == ""


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"sql": "delete from fruit"}, 422, "read-only"),
        ({"sql": "select 1; select 2"}, 422, "multiple-statements"),
        ({"sql": "select nope"}, 422, "sql-error"),
        ({"sql": ENDLESS, "timeout_ms": 50}, 422, "query-timeout"),
        ({"sql": "select 1", "database": "nope"}, 404, "unknown-database"),
        ({"sql": ""}, 400, "invalid-request"),
        ({}, 400, "invalid-request"),
        ({"sql": "select ?", "params": []}, 400, "invalid-request"),
        ({"sql": "select ?", "params": [18446744073709551616]}, 400, "invalid-request"),
        ({"sql": "select ?", "params": [[1]]}, 400, "invalid-request"),
        ({"sql": "select 1", "limit": 0}, 400, "invalid-request"),
        ({"sql": "select 1", "limit": 10001}, 400, "invalid-request"),
        ({"sql": "select 1", "timeout_ms": 60001}, 400, "invalid-request"),
        ({"sql": "select 1", "format": "xml"}, 400, "invalid-request"),
        ({"sql": "select 1", "limt": 1}, 400, "invalid-request"),
    ],
)  # fmt: skip
def test_problems(running_app: App, fields: dict[str, Any], status: int, code: str) -> None:
    """Each invalid call has its status and its code, by GET and by POST."""
    for call in (query, by_url):
        response = call(running_app, **fields)
        assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_write_and_its_undoing(start_app: StartApp) -> None:
    """A write is reported and read back; a dry run is reported and changes nothing."""
    app = start_app()
    tried = execute(app, sql="delete from fruit where id < :id returning name", params={"id": 3}, dry_run=True).json()
    assert (tried["rows_affected"], tried["rows"], tried["dry_run"]) == (2, [["apple"], ["apricot"]], True)
    made = execute(app, sql="insert into fruit (name, price) values (?, ?)", params=["quince", 0.9]).json()
    assert (made["rows_affected"], made["last_row_id"], made["dry_run"]) == (1, 13, False)
    both = execute(
        app,
        statements=[
            {"sql": "update fruit set price = ? where id = ?", "params": [1, 13]},
            {"sql": "delete from fruit where id = :id", "params": {"id": 1}},
        ],
    ).json()
    assert both["rows_affected"] == 2
    assert [each["rows_affected"] for each in both["results"]] == [1, 1]
    assert query(app, sql="select count(*), max(price) from fruit where id in (1, 13)").json()["rows"] == [[1, 1.0]]
    wrong: list[dict[str, Any]] = [{}, {"sql": "select 1", "statements": [{"sql": "select 1"}]}, {"statements": []}]
    for fields in wrong:
        assert execute(app, **fields).status_code == 400


def test_without_a_writer_execute_is_read_only(start_app: StartApp, tmp_path: Path) -> None:
    """A database without a writer is read-only; one whose file is missing is not found, and is not created."""
    app = start_app({"DATABASE_MAIN_WRITE": "", "DATABASE_GONE": f"sqlite:///{tmp_path}/gone.sqlite"})
    response = execute(app, sql="delete from fruit")
    assert (response.status_code, response.json()["code"]) == (422, "read-only")
    response = query(app, sql="select 1", database="gone")
    assert (response.status_code, response.json()["code"]) == (404, "unknown-database")
    assert str(tmp_path) not in response.text
    assert not (tmp_path / "gone.sqlite").exists()
    with app.client() as client:
        listed = {each["name"]: each for each in client.get("/api/databases").json()["databases"]}
        services = client.get("/api/health/details").json()["services"]
    assert (listed["main"]["writable"], listed["main"]["available"], listed["gone"]["available"]) == (
        False,
        True,
        False,
    )
    assert (services["database-main"]["status"], services["database-gone"]["status"]) == ("ok", "down")


def test_databases_are_listed(running_app: App) -> None:
    """Databases are listed with their engine, tables and columns, and without their location."""
    with running_app.client() as client:
        response = client.get("/api/databases")
    (main,) = response.json()["databases"]
    assert (main["name"], main["engine"], main["writable"], main["available"]) == ("main", "sqlite", True, True)
    fruit = next(each for each in main["tables"] if each["name"] == "fruit")
    assert [each["name"] for each in fruit["columns"]] == ["id", "name", "price"]
    assert "main.sqlite" not in response.text


def test_many_callers_at_once(start_app: StartApp) -> None:
    """Concurrent readers and writers all succeed, and no write is lost."""
    app = start_app()

    def call(number: int) -> int:
        if number % 2:
            return execute(app, sql="update fruit set price = price + 1 where id = 1", timeout_ms=30_000).status_code
        return query(app, sql=FIRST).status_code

    with ThreadPoolExecutor(24) as threads:
        assert set(threads.map(call, range(40))) == {200}
    assert query(app, sql="select round(price, 2) from fruit where id = 1").json()["rows"] == [[20.45]]


def test_accept_chooses_where_no_format_does(running_app: App) -> None:
    """The header Accept chooses the format, and the field `format` wins over it."""
    with running_app.client() as client:
        client.headers["accept"] = "text/csv"
        fields = {"sql": "select 1 as a"}
        assert client.get("/api/query-sql", params=fields).text == "a\r\n1\r\n"
        assert client.post("/api/query-sql", json=fields).text == "a\r\n1\r\n"
        assert client.post("/api/query-sql", json=fields | {"format": "ndjson"}).text == '{"a":1}\n'
        assert client.post("/api/query-sql", json=fields | {"accept": "text/csv"}).status_code == 400


def test_a_response_as_a_file(running_app: App) -> None:
    """The browser gets a file name in any script."""
    response = query(running_app, sql="select 1", format="csv", filename='größe "1".csv')
    expected = "attachment; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%221%22.csv"
    assert response.headers["content-disposition"] == expected


def test_integers_that_doubles_would_round(running_app: App) -> None:
    """Integers are exact; on request, those beyond 2^53 are texts."""
    sql = "select 9007199254740993 as a, -9007199254740993 as b, 9007199254740992 as c"
    assert "[9007199254740993,-9007199254740993,9007199254740992]" in query(running_app, sql=sql).text
    found = query(running_app, sql=sql, big_integers="string").json()["rows"]
    assert found == [["9007199254740993", "-9007199254740993", 9007199254740992]]


def test_formulas_are_defused(running_app: App) -> None:
    """On request, texts that a spreadsheet would run are defused in CSV; numbers and other formats stay unchanged."""
    sql = "select '=1+1' as a, -1 as b, '@x' as c, 'x' as d"
    assert query(running_app, sql=sql, format="csv").text.splitlines()[1] == "=1+1,-1,@x,x"
    assert query(running_app, sql=sql, format="csv", defuse_formulas=True).text.splitlines()[1] == "'=1+1,-1,'@x,x"
    assert query(running_app, sql=sql, defuse_formulas=True).json()["rows"] == [["=1+1", -1, "@x", "x"]]


def test_what_is_infinite_is_noted(running_app: App) -> None:
    """An infinite number becomes null, and its column has a note."""
    response = query(running_app, sql="select 9e999 as a, null as b, 1.5 as c").json()
    assert response["rows"] == [[None, None, 1.5]]
    assert [("note" in each) for each in response["columns"]] == [True, False, False]
