"""SQL over data files, from the function to a real child process and a real Azurite."""

import gzip
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from shared.data.store.files import DataFiles
from shared.errors import InvalidSetting
from shared.settings import StorageSettings
from shared.storage import account_of
from shared.web import Request
from tests.data.conftest import CONTAINER, Build, Caller
from tests.storage.proxy import HANG, run_proxy


@pytest.fixture(scope="module", autouse=True)
def files(caller: Caller, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Files of every format."""
    caller.put("q/a.csv", b'id,name,day\n1,x,2020-01-01\n2,"y,z",2020-01-02\n')
    caller.put("q/n.ndjson", b'{"a":1,"b":{"c":[1,2]}}\n{"a":2,"b":null}\n')
    caller.put("q/j.json", b'[{"a": 1}, {"a": 2}]')
    caller.put("q/g.csv.gz", gzip.compress(b"id;v\n1;2\n"))
    caller.put("q/mix/a.csv", b"a,b\n1,2\n")
    caller.put("q/mix/b.csv", b"a,c\n1,2\n")
    for year in (2023, 2024):
        for month in ("01", "02"):
            name = f"q/sales/year={year}/month={month}/part.csv"
            caller.put(name, f"x\n{year}{month}\n".encode() if year > 2023 else b"no table\n\x00\xff")
    path: Path = tmp_path_factory.mktemp("parquet") / "t.parquet"
    duckdb.execute(f"copy (select i as id, 'n' || i as s from range(100000) t(i)) to '{path}' (format parquet)")  # noqa: S608
    caller.put("q/t.parquet", path.read_bytes())
    caller.put("lake/fruit.csv", b"id,name\n1,fig\n2,kiwi\n")
    caller.put("lake/sales/a.csv", b"n\n1\n")
    caller.put("lake/sales/b.csv", b"n\n2\n")


def test_every_format(caller: Caller) -> None:
    """CSV (plain and gzip), NDJSON, JSON arrays and Parquet are read, each with its types."""
    body = caller.query("q/a.csv", "select * from data where id = ?", params=[2])
    assert body["rows"] == [[2, "y,z", "2020-01-02"]]
    assert [each["type"] for each in body["columns"]] == ["integer", "text", "date"]
    assert (body["bytes_scanned"], body["requests"]) == (46, 1)
    assert caller.rows("q/n.ndjson", "select a, b from data") == [[1, {"c": [1, 2]}], [2, None]]
    assert caller.rows("q/j.json", "select sum(a) from data where a < $most", params={"most": 2}) == [[1]]
    assert caller.rows("q/g.csv.gz", "select v from data", options={"delimiter": ";", "header": True}) == [[2]]
    assert caller.rows("q/t.parquet", "select s from data where id = :id", params={"id": 7}) == [["n7"]]


def test_partitions_are_columns_and_leave_files_out(caller: Caller) -> None:
    """A condition on the folders' values reads only the files that it leaves, so another may be no table at all."""
    body = caller.query("q/sales/**/*.csv", "select x, month from data where year = ? and month > 1", params=[2024])
    assert body["rows"] == [[202402, 2]]
    assert body["requests"] == 1


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("select month, (select count(*) from data) from data where month = 2", [[2, 2]]),
        ("with x as (select count(*) as n from data) select month, n from data, x where month = 2", [[2, 2]]),
        ("with x as (select count(*) as n from data) select month, (from x) from data where month = 2", [[2, 2]]),
        ("select month from data where month = 2 and exists (from data where month = 1)", [[2]]),
        ("select month from data where month = 2 and x in (select x + 1 from Data where month = 1)", [[2]]),
        ("select count(*) from data where month = 2 having count(*) < (select count(*) from data)", [[1]]),
        ("select m from data as d(month, m) where month = 202402", [[2]]),
        ("select m from data as d(x, m, y) where y = 2024 and m = 2", [[2]]),
        ("select 7 as month, x from data where month = 2", [[7, 202402]]),
        ("select x as month from data where month = 2", [[202402]]),
        ("select month from data where month = 2 union all (select month from data order by 1)", [[2], [1], [2]]),
    ],
)
def test_partitions_leave_out_no_file_that_is_needed(caller: Caller, sql: str, rows: list[list[int]]) -> None:
    """A condition of one part of a statement leaves out no file that another part reads, whatever its columns are."""
    assert caller.rows("q/sales/year=2024/**/*.csv", sql) == rows


def test_columns_must_be_equal_unless_they_are_united(caller: Caller) -> None:
    """Files with other columns are refused, naming the file; by names they are read together."""
    body = caller.query("q/mix/*.csv", "select * from data", 422)
    assert body["code"] == "columns-differ"
    assert "q/mix/b.csv" in body["detail"]
    rows = caller.rows("q/mix/*.csv", "select * from data", options={"union_by_name": True})
    assert rows == [[1, 2, None], [1, None, 2]]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("q/none*", 404, "no-files"), ("q/../a.csv", 400, "invalid-request"), ("q/*", 422, "mixed-formats")],
)
def test_paths(caller: Caller, path: str, status: int, code: str) -> None:
    """A path without a match is 404, one with dots 400, and one of several formats 422."""
    assert caller.query(path, "select 1", status)["code"] == code


def test_reserved_containers_are_refused(caller: Caller) -> None:
    """No path leads into a container of the host or of the app."""
    for function in ("query-blobs", "describe-data"):
        fields = {"sql": "select 1"} if function == "query-blobs" else {}
        body = caller.call(function, 403, container="azure-webjobs-secrets", path="**", **fields)
        assert body["code"] == "reserved-container"


def test_views_of_a_database(caller: Caller) -> None:
    """A file and a folder are views by their short and whole names; others are refused with the list of names."""
    sql = 'select f.name, s.n from fruit f join "sales/" s on f.id = s.n order by 1'
    assert caller.call("query-sql", timeout_ms=60_000, database="lake", sql=sql)["rows"] == [["fig", 1], ["kiwi", 2]]
    body = caller.call("query-sql", 422, timeout_ms=60_000, database="lake", sql="select * from nothing")
    assert "fruit, sales" in body["detail"]
    listed = {each["name"]: each for each in caller.call("list-databases")["databases"]}["lake"]
    assert listed["engine"] == "blobs"
    assert {each["name"] for each in listed["tables"]} == {"fruit", "sales"}


def test_a_description(caller: Caller) -> None:
    """A description has files, columns and rows; Parquet states the number of rows."""
    body = caller.call("describe-data", timeout_ms=60_000, container=CONTAINER, path="q/t.parquet")
    assert (body["file_count"], body["row_count"], body["format"]) == (1, 100_000, "parquet")
    assert body["sample"][1] == {"id": 1, "s": "n1"}
    body = caller.call("describe-data", timeout_ms=60_000, container=CONTAINER, path="q/a.csv")
    assert body["row_count"] is None
    assert body["files"][0]["size"] == 46


def test_pages_and_changed_files(caller: Caller) -> None:
    """A cursor continues after the last row; when a file has changed, it is refused."""
    caller.put("q/pages.csv", b"n\n1\n2\n3\n")
    sql = "select n from data order by n"
    first = caller.query("q/pages.csv", sql, limit=2)
    assert (first["rows"], first["truncated"]) == ([[1], [2]], True)
    assert caller.rows("q/pages.csv", sql, limit=2, cursor=first["cursor"]) == [[3]]
    caller.put("q/pages.csv", b"n\n1\n2\n4\n")
    assert caller.query("q/pages.csv", sql, 409, limit=2, cursor=first["cursor"])["code"] == "data-changed"


def test_files_are_read_ahead_and_counted(caller: Caller) -> None:
    """Many files are all read, each once, and every byte is counted."""
    for number in range(30):
        caller.put(f"q/many/{number:02}.csv", f"n\n{number}\n".encode())
    body = caller.query("q/many/*.csv", "select count(*), sum(n) from data")
    assert body["rows"] == [[30, sum(range(30))]]
    assert body["requests"] == 30
    assert body["bytes_scanned"] == sum(len(f"n\n{number}\n") for number in range(30))


def test_too_much_is_refused_before_it_is_read(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that needs every row of too much is refused at once; one that needs a few rows runs."""
    caller.put("q/large.csv", b"n,t\n" + b"1,xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n" * 200_000)
    monkeypatch.setattr("shared.data.store.queries.MAX_BYTES", 8_000_000)
    monkeypatch.setattr("shared.data.store.files.MAX_BYTES", 8_000_000)
    reads: list[object] = []
    read = DataFiles.read

    def counted(self: DataFiles, *arguments: Any) -> bytes:
        reads.append(arguments)
        return read(self, *arguments)

    monkeypatch.setattr(DataFiles, "read", counted)
    body = caller.query("q/large.csv", "select sum(n) from data", 422)
    assert body["code"] == "too-much-to-read"
    assert len(reads) == 1
    assert caller.rows("q/large.csv", "select n from data limit 3") == [[1], [1], [1]]
    assert caller.query("q/large.csv", "select n from data where n = 2", 422)["code"] == "too-much-to-read"


@pytest.mark.parametrize(
    ("sql", "code", "reason"),
    [
        ("pivot data on name using count(*)", "sql-error", "in (1, 2)"),
        ("explain select 1", "sql-error", "explain"),
        ("-- nothing", "sql-error", "no statement"),
        ("select 1; select 2", "multiple-statements", "one statement"),
        ("insert into data values (1)", "read-only", "SELECT"),
        ("select * from data where", "sql-error", "syntax error"),
        ("select * from other", "sql-error", "view other does not exist"),
    ],
)
def test_refusals_say_what_to_do(caller: Caller, sql: str, code: str, reason: str) -> None:
    """Each refusal has its code, and a sentence that leads on."""
    body = caller.query("q/a.csv", sql, 422)
    assert (body["code"], reason in body["detail"]) == (code, True), body


def test_errors_name_no_settings_of_the_engine(caller: Caller) -> None:
    """An error about a file has the reason, also behind a long line, and the options of the call."""
    for name, data, reason in (
        ("long.csv", b"a,b\n1," + b"x" * 2_200_000 + b"\n", "Maximum line size of"),
        ("latin.csv", "a,b\n\u00fc,1\n".encode("latin-1"), "not utf-8 encoded"),
        ("late.csv", b"a\n" + b"1\n" * 30_000 + b"x\n", "Could not convert string"),
    ):
        caller.put(f"q/{name}", data)
        body = caller.query(f"q/{name}", "select max(a) from data", 422)
        detail = body["detail"]
        assert (body["code"], reason in detail) == ("unreadable-data", True)
        assert "options" in detail
        assert not any(word in detail for word in ("max_line_size", "ignore_errors", "sample_size", "Auto-Detected"))
    damaged = bytearray((caller.container.download_blob("q/t.parquet")).readall())
    damaged[1000:2000] = bytes(1000)
    caller.put("q/damaged.parquet", bytes(damaged))
    body = caller.query("q/damaged.parquet", "select max(length(s)), sum(id) from data", 422)
    assert (body["code"], "q/damaged.parquet" in body["detail"]) == ("unreadable-data", True)
    for cut in (b'[{"a":1},', b'\xef\xbb\xbf [{"a":1},\n ', b'[{"a":1}', b'[{"a":1},{"a', b"["):
        caller.put("q/cut.json", cut)
        assert caller.query("q/cut.json", "select a from data", 422)["code"] == "unreadable-data", cut
    caller.put("q/twice.ndjson", b'{"a":1,"a":2}\n')
    body = caller.call("describe-data", 422, timeout_ms=60_000, container=CONTAINER, path="q/twice.ndjson")
    assert (body["code"], "sample_size" in body["detail"]) == ("unreadable-data", False)
    assert 'duplicate key "a"' in body["detail"]


def test_parameters_and_what_looks_like_them(caller: Caller) -> None:
    """Slices, structs, casts and dollar quotes are not parameters; names with a dollar or a colon are."""
    sql = "select [1, 2, 3][1:2], {k: $v, 'l': 2}, '5'::int, $$a :b ? $c$$, :v + 1, e'it\\'s ?' from data limit 1"
    row = caller.rows("q/a.csv", sql, params={"v": 7})[0]
    assert row == [[1, 2], {"k": 7, "l": 2}, 5, "a :b ? $c", 8, "it's ?"]
    sql = "select list_transform([1], lambda x:x+:v), list_reduce([1, 2], lambda x,y:x+y), [i + :v for i in [1]]"
    assert caller.rows("q/a.csv", f"{sql} from data limit 1", params={"v": 1}) == [[[2], 3, [2]]]
    assert caller.rows("q/a.csv", "select ?, ? || 'x', ?", params=[2**40, "a", None]) == [[2**40, "ax", None]]
    body = caller.query("q/a.csv", "select ? from data", 400, params=[1, 2])
    assert body["errors"][0]["field"] == "params"


def test_formats_of_responses(caller: Caller) -> None:
    """csv, ndjson and arrow say in headers what was read, and where the rest begins."""
    for form in ("csv", "ndjson", "arrow"):
        fields = {
            "container": CONTAINER,
            "path": "q/t.parquet",
            "sql": "select id from data",
            "format": form,
            "limit": 2,
        }
        response = caller.raw("query-blobs", fields)
        assert response.status == 200
        assert response.headers["x-truncated"] == "true"
        assert response.headers["x-cursor"]
        assert int(response.headers["x-bytes-scanned"]) > 0
        assert int(response.headers["x-requests"]) >= 1


def test_a_dry_run(caller: Caller) -> None:
    """A dry run names the files, an upper bound of what is read, and the plan."""
    body = caller.query("q/t.parquet", "select sum(id) from data", dry_run=True)
    assert [each["name"] for each in body["files"]] == ["q/t.parquet"]
    run = caller.query("q/t.parquet", "select sum(id) from data")
    assert run["requests"] <= body["requests_to_make"]
    assert run["bytes_scanned"] <= body["bytes_to_read"] <= body["files"][0]["size"]
    assert "Aggregate" in body["plan"]
    body = caller.call("query-sql", timeout_ms=60_000, database="lake", sql="select * from sales", dry_run=True)
    assert body["file_count"] == 2


def test_saved_and_public_queries(caller: Caller) -> None:
    """Saved queries run over data files, and public ones without a key."""
    route = next(each for each in caller.app.routes if each.name == "save-query")
    fields = {
        "sql": "from fruit where id = :id",
        "database": "lake",
        "public": True,
        "parameters": [{"name": "id", "type": "integer"}],
    }
    request = Request(
        "PUT", "http://x/api/queries/lake-fruit", {}, {"query_name": "lake-fruit"}, json.dumps(fields).encode()
    )
    assert caller.app.respond(route, request).status in (200, 201)
    route = next(each for each in caller.app.routes if each.name == "public-query")
    request = Request("GET", "http://x/api/public/lake-fruit?id=2", {}, {"query_name": "lake-fruit"}, b"")
    for _ in range(20):  # Two seconds, the limit of a public query, are little on a busy machine.
        body = json.loads(caller.app.respond(route, request).body)
        if body.get("code") not in ("query-timeout", "busy"):
            break
    assert body["rows"] == [[2, "kiwi"]]


def test_public_queries_show_no_row_and_no_file(caller: Caller) -> None:
    """Where a file cannot be read, the public response has neither its name nor what is in it."""
    caller.put("lake/broken.csv", b"n\n" + b"1\n" * 30_000 + b"the secret\n")
    fields = {"sql": "select sum(n::bigint) from broken", "database": "lake", "public": True}
    path = {"query_name": "lake-broken"}
    routes = {each.name: each for each in caller.app.routes}
    request = Request("PUT", "http://x/api/queries/lake-broken", {}, path, json.dumps(fields).encode())
    assert caller.app.respond(routes["save-query"], request).status in (200, 201)
    request = Request("GET", "http://x/api/public/lake-broken", {}, path, b"")
    response = caller.app.respond(routes["public-query"], request)
    assert response.status in (422, 429)
    assert b"secret" not in response.body
    assert b"broken.csv" not in response.body
    caller.container.delete_blob("lake/broken.csv")


def test_a_container_of_the_app_is_refused_at_start(build_app: Build) -> None:
    """A database over a reserved container, or with a path that leaves it, stops the app."""
    for url in ("blobs://azure-webjobs-secrets/", "blobs://lake/../x/", "blobs://lake/a*/", "blobs://L/"):
        with pytest.raises(InvalidSetting, match="DATABASE_BAD"):
            build_app(DATABASE_BAD=url)
    with pytest.raises(InvalidSetting, match="DATABASE_LAKE_WRITE"):
        build_app(DATABASE_LAKE="blobs://lake/", DATABASE_LAKE_WRITE="blobs://lake/")


@pytest.mark.parametrize(
    ("read_seconds", "timeout_ms", "status", "code"),
    [(0.2, 60_000, 503, "storage-unavailable"), (4.0, 300, 422, "query-timeout")],
)
def test_storage_that_hangs_is_not_a_slow_query(
    build_app: Build,
    storage_connection: str,
    monkeypatch: pytest.MonkeyPatch,
    read_seconds: float,
    timeout_ms: int,
    status: int,
    code: str,
) -> None:
    """503 where storage had its time and did not respond; 422 where the call's own limit came first."""
    monkeypatch.setattr("shared.storage.requests.READ_SECONDS", read_seconds)
    account = account_of(StorageSettings(storage_connection))
    with run_proxy(account.blob_url) as proxy:
        proxy.always(HANG)
        app = build_app(AzureWebJobsStorage=storage_connection.replace(account.blob_url, proxy.url))
        calls: dict[str, dict[str, Any]] = {
            "query-blobs": {"container": CONTAINER, "path": "q/a.csv", "sql": "select * from data"},
            "describe-data": {"container": CONTAINER, "path": "q/a.csv"},
            "export-sql": {"sql": "select 1", "container": CONTAINER, "name": "out/a.csv"},
            "import-sql": {"table": "fruit", "container": CONTAINER, "name": "q/a.csv", "mode": "append"},
        }
        for function, fields in calls.items():
            body = app.call(function, status, **fields, timeout_ms=timeout_ms)
            assert body["code"] == code, function


def test_health_checks_the_container_alone(build_app: Build) -> None:
    """A missing container is a database that is down; no process is started for the check."""
    app = build_app(DATABASE_LAKE=f"blobs://{CONTAINER}/lake/", DATABASE_GONE="blobs://no-such-container/")
    body = app.call("health-details")
    states = {name: each["status"] for name, each in body["services"].items()}
    assert (states["database-lake"], states["database-gone"]) == ("ok", "down")
