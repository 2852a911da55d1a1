"""SQL over data files, from the function to a real child process and a real Azurite."""

import gzip
from pathlib import Path

import duckdb
import pytest

from tests.data.conftest import CONTAINER, Caller


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
    assert caller.call("query-sql", database="lake", sql=sql)["rows"] == [["fig", 1], ["kiwi", 2]]
    body = caller.call("query-sql", 422, database="lake", sql="select * from nothing")
    assert "fruit, sales" in body["detail"]
    listed = {each["name"]: each for each in caller.call("list-databases")["databases"]}["lake"]
    assert listed["engine"] == "blobs"
    assert {each["name"] for each in listed["tables"]} == {"fruit", "sales"}


def test_a_description(caller: Caller) -> None:
    """A description has files, columns and rows; Parquet states the number of rows."""
    body = caller.call("describe-data", container=CONTAINER, path="q/t.parquet")
    assert (body["file_count"], body["row_count"], body["format"]) == (1, 100_000, "parquet")
    assert body["sample"][1] == {"id": 1, "s": "n1"}
    body = caller.call("describe-data", container=CONTAINER, path="q/a.csv")
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
