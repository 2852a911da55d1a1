# ruff: noqa: S608 - the tests build statements from their own texts.
"""import-sql over the running app, on SQLite, PostgreSQL, MariaDB and MySQL: all rows or none, and what they become."""

import gzip
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import polars as pl
import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient

from tests.sql.conftest import ENGINES
from tests.support import App, StartApp, app_environ, run_app

TYPES = {
    "sqlite": "id integer primary key, flag boolean, whole bigint, exact decimal(20, 4), near double precision, "
    "words text, bits blob, day date, hour time, moment timestamp, tree json",
    "postgresql": "id integer primary key, flag boolean, whole bigint, exact decimal(20, 4), near double precision, "
    "words text, bits bytea, day date, hour time, moment timestamptz, tree jsonb, list integer[], names text[], "
    "span interval, u uuid, small real",
    "mysql": "id integer primary key, flag boolean, whole bigint, exact decimal(20, 4), near double precision, "
    "words longtext, bits longblob, day date, hour time(6), moment datetime(6), tree json, u bigint unsigned, "
    "kind enum('a', 'b'), few bit(4), stamp timestamp(6) null",
}
ROWS: dict[str, list[list[Any]]] = {
    "sqlite": [],
    "postgresql": [["{1,NULL,3}", '{"a,b","","x\\"y"}', "P1Y2M3DT4H", "1f0e7a3e-0000-4000-8000-000000000001", 0.1]],
    "mysql": [["18446744073709551615", "b", {"base64": "Cg"}, "2024-02-29 09:30:00.25"]],
}
ONE = [1, True, 2**63 - 1, "1234567890.7800", 0.1, "é,\"'\\ \r\n\n", {"base64": "AP8"}, "2024-02-29", "23:59:59.25",
       "2024-02-29 09:30:00.25", '{"a": [1, null, "é"]}']  # fmt: skip
TWO = [
    2,
    False,
    -(2**63),
    "-0.0001",
    -1e-300,
    "",
    {"base64": ""},
    "1999-12-31",
    "00:00:00",
    "1999-12-31 23:59:59",
    "null",
]


@pytest.fixture(scope="module", params=ENGINES)
def engine(
    request: pytest.FixtureRequest, storage_connection: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[App, str]]:
    """A running app with the database `shop` of each engine in turn, and the engine's dialect."""
    folder = tmp_path_factory.mktemp("import")
    if request.param == "sqlite":
        (folder / "shop.sqlite").touch()
        reader = writer = f"sqlite:///{folder / 'shop.sqlite'}"
    else:
        server = request.getfixturevalue(request.param)
        reader, writer = server.reader, server.writer
    settings = {"DATABASE_SHOP": reader, "DATABASE_SHOP_WRITE": writer}
    with run_app(folder, app_environ(folder, storage_connection) | settings) as app:
        yield app, {"mariadb": "mysql"}.get(request.param, request.param)


@pytest.fixture(scope="module")
def container(storage_connection: str) -> ContainerClient:
    """A container for files of this module."""
    service = BlobServiceClient.from_connection_string(storage_connection)
    client = service.get_container_client("imports")
    if not client.exists():
        client.create_container()
    return client


class Shop:
    """The database `shop` of a running app."""

    def __init__(self, app: App, dialect: str) -> None:
        self.app = app
        self.dialect = dialect

    def post(self, function: str, **fields: Any) -> httpx.Response:
        """A POST."""
        headers = {"idempotency-key": fields.pop("key_of_call")} if "key_of_call" in fields else {}
        with self.app.client() as client:
            return client.post(f"/api/{function}", json={"database": "shop"} | fields, headers=headers)

    def run(self, sql: str, params: Any = ()) -> None:
        """Run a statement."""
        response = self.post("execute-sql", sql=sql, params=list(params))
        assert response.status_code == 200, response.text

    def rows(self, sql: str) -> list[Any]:
        """All rows of a query."""
        response = self.post("query-sql", sql=sql)
        assert response.status_code == 200, response.text
        return list(response.json()["rows"])

    def load(self, table: str, data: str | None = None, **fields: Any) -> Any:
        """An import that succeeds."""
        response = self.post("import-sql", table=table, **({"data": data} if data is not None else {}), **fields)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, table: str, data: str | None = None, **fields: Any) -> tuple[int, str, str]:
        """The status, code and detail of an import that fails."""
        response = self.post("import-sql", table=table, **({"data": data} if data is not None else {}), **fields)
        problem = response.json()
        return response.status_code, problem["code"], problem["detail"]


@pytest.fixture
def shop(engine: tuple[App, str]) -> Iterator[Shop]:
    """The database with a fresh table `fruit`, whose names are unique besides its key."""
    found = Shop(*engine)
    for table in ("fruit", "everything", "copy", "made"):
        found.run(f"drop table if exists {table}")
    found.run(
        "create table fruit (id integer primary key, name varchar(100) not null, price double precision default 7)"
    )
    found.run("create unique index fruit_name on fruit (name)")
    found.run("insert into fruit values (1, 'apple', 0.5), (2, 'fig', 0.7)")
    yield found
    for table in ("fruit", "everything", "copy", "made"):
        found.run(f"drop table if exists {table}")


ON_SQLITE = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
"""For what no engine decides."""
BEFORE = [[1, "apple", 0.5], [2, "fig", 0.7]]
ALL = "select id, name, price from fruit order by id"


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_rows_come_back(shop: Shop, container: ContainerClient, form: str) -> None:
    """Every type, nulls, empty texts and empty bytes are equal after an export and an import."""
    shop.run(f"create table everything ({TYPES[shop.dialect]})")
    extra = ROWS[shop.dialect]
    for row in (ONE, TWO):
        values = row + (extra[0] if extra else [])
        shop.run(f"insert into everything values ({', '.join('?' * len(values))})", values)
    shop.run("insert into everything (id) values (3)")
    fields = {"container": "imports", "name": f"{shop.dialect}.{form}"}
    exported = shop.post("export-sql", sql="select * from everything order by id", format=form, **fields)
    assert exported.status_code == 201, exported.text
    shop.run(f"create table copy ({TYPES[shop.dialect]})")
    assert shop.load("copy", **fields)["row_count"] == 3
    before = shop.rows("select * from everything order by id")
    if form == "parquet" and shop.dialect == "sqlite":  # SQLite's timestamps are texts; those of Parquet are not.
        before = json.loads(json.dumps(before).replace("-29 09", "-29T09").replace("-31 23", "-31T23"))
    assert shop.rows("select * from copy order by id") == before
    copied = shop.post(
        "export-sql", sql="select * from copy order by id", format=form, container="imports", name="second"
    )
    if form != "parquet":
        assert copied.json()["sha256"] == exported.json()["sha256"]


@ON_SQLITE
def test_append_matches_columns_by_name(shop: Shop) -> None:
    """Columns are matched by name, ignoring case and order; a column that is missing takes its default."""
    assert shop.load("fruit", 'NAME,Id\r\nquince,3\r\n"a ""b"",\r\nc",4\r\n')["row_count"] == 2
    assert shop.rows(ALL) == [*BEFORE, [3, "quince", 7.0], [4, 'a "b",\r\nc', 7.0]]


@ON_SQLITE
def test_the_response_describes_the_columns(shop: Shop) -> None:
    """The response has the number of rows, and the columns with the types of the table."""
    response = shop.load("fruit", "id,name,price\n3,quince,0.9\n")
    response.pop("elapsed_ms")
    assert response == {
        "row_count": 1,
        "columns": [
            {"name": "id", "type": "integer"}, {"name": "name", "type": "text"}, {"name": "price", "type": "real"},
        ],
        "created": False,
        "dry_run": False,
    }  # fmt: skip


@ON_SQLITE
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_are_noticed(shop: Shop, delimiter: str) -> None:
    """A file whose header clearly has another delimiter is read with it; `options` can set it."""
    text = "id,name,price\n3,quince,0.9\n4,medlar,1.1\n".replace(",", delimiter)
    assert shop.load("fruit", text)["row_count"] == 2
    assert shop.load("fruit", text, mode="replace", options={"delimiter": delimiter})["row_count"] == 2


def test_null_and_the_empty_text(shop: Shop) -> None:
    """Nothing is null and `""` is the empty text, also in a file with one column."""
    shop.run("create table copy (a varchar(50), b varchar(50))")
    shop.load("copy", 'a,b\n,""\n"",\n')
    assert sorted(shop.rows("select a, b from copy"), key=str) == [["", None], [None, ""]]
    shop.load("copy", 'a\n""\n\nx\n', mode="replace")
    assert sorted(shop.rows("select a from copy"), key=str) == [[""], ["x"], [None]]


def test_replace_keeps_the_definition(shop: Shop) -> None:
    """`replace` deletes and inserts in one transaction: the table keeps its index, and a failure keeps the old rows."""
    assert shop.load("fruit", "id,name\n1,plum\n", mode="replace")["row_count"] == 1
    assert shop.rows(ALL) == [[1, "plum", 7.0]]
    status, code, detail = shop.refused("fruit", "id,name\n1,plum\n2,plum\n", mode="replace")
    assert (status, code) == (422, "invalid-row")
    assert detail.startswith("Line 3")
    assert shop.rows(ALL) == [[1, "plum", 7.0]]


@pytest.mark.parametrize("key", [["id"], ["NAME"]])
def test_upsert_changes_and_adds(shop: Shop, key: list[str]) -> None:
    """`upsert` changes the row that has the key and adds the others; a column that is missing keeps its value."""
    assert shop.load("fruit", "id,name\n2,fig\n3,quince\n", mode="upsert", key=key)["row_count"] == 2
    assert shop.rows(ALL) == [*BEFORE, [3, "quince", 7.0]]
    shop.load("fruit", "id,name,price\n2,fig,9\n", mode="upsert", key=key)
    assert shop.rows(ALL)[1] == [2, "fig", 9.0]


def test_any_other_conflict_undoes_everything(shop: Shop) -> None:
    """An upsert that conflicts with another unique index than its key changes nothing, and names the line."""
    status, code, detail = shop.refused("fruit", "id,name\n5,plum\n6,apple\n", mode="upsert", key=["id"])
    assert (status, code) == (422, "invalid-row")
    assert detail.startswith("Line 3")
    status, code, detail = shop.refused("fruit", "id,name\n5,plum\n2,apple\n", mode="upsert", key=["id"])
    assert (status, code) == (422, "invalid-row")
    assert detail.startswith("Line 3")
    assert shop.rows(ALL) == BEFORE


def test_a_key_is_a_whole_index(shop: Shop) -> None:
    """`key` must be exactly the columns of a primary key or unique index, and be in the data."""
    for key in (["price"], ["id", "name"], ["nope"]):
        assert shop.refused("fruit", "id,name,price\n5,plum,1\n", mode="upsert", key=key)[:2] == (422, "not-a-key")
    assert shop.refused("fruit", "id,price\n5,1\n", mode="upsert", key=["name"])[:2] == (422, "not-a-key")
    assert shop.refused("fruit", "id,name\n5,plum\n", mode="upsert")[:2] == (400, "invalid-request")
    assert shop.refused("fruit", "id,name\n5,plum\n", key=["id"])[:2] == (400, "invalid-request")
    assert shop.refused("fruit", "id,name\n5,plum\n", mode="upsert", key=["id", "ID"])[:2] == (400, "invalid-request")


def test_a_key_occurs_once(shop: Shop) -> None:
    """A key that occurs twice in the data is refused with both lines, also where it is written differently."""
    status, code, detail = shop.refused("fruit", 'id,name\n5,"a\nb"\n6,x\n05,y\n', mode="upsert", key=["id"])
    assert (status, code) == (422, "repeated-key")
    assert "Line 2 and line 5" in detail
    if shop.dialect == "mysql":  # Its collations ignore case.
        assert shop.refused("fruit", "id,name\n5,x\n6,X\n", mode="upsert", key=["name"])[1] == "repeated-key"
    else:
        assert shop.load("fruit", "id,name\n5,x\n6,X\n", mode="upsert", key=["name"])["row_count"] == 2


@pytest.mark.parametrize(
    ("data", "start"),
    [
        ("id,name,price\n3,quince,0.9\nx,medlar,1\n", "Line 3, column id: 'x' is not an integer"),
        ('id,name,price\n3,"a\nb\r\nc",0.9\n4,medlar,cheap\n', "Line 5, column price: 'cheap' is not a number"),
        ("id,name\n3,quince\n4,\n", "Line 3"),
        ("id,name\n3,quince\n3,medlar\n", "Line 3"),
        ("id,name\n3,quince\n4,fig\n", "Line 3"),
        ("id,name\n3,quince\n4\n", "Line 3: Expected Number of Columns: 2 Found: 1"),
        ("id,name\n3,quince,1\n", "Line 2: Expected Number of Columns: 2 Found: 3"),
        ('id,name\n3,quince\n4,"medlar\n', "Line 3: Value with unterminated quote found"),
        ('id,name\n3,"quince"s\n', "Line 2: Value with unterminated quote found"),
        (f"id,name\n3,{'x' * 1000},1\n", "Line 2: Expected Number of Columns: 2 Found: 3"),
    ],
)
def test_a_bad_row_has_a_line(shop: Shop, data: str, start: str) -> None:
    """The error names the line and column of a bad row, whether the app or the database refused it; none is kept."""
    status, code, detail = shop.refused("fruit", data)
    assert (status, code) == (422, "invalid-row")
    assert detail.startswith(start), detail
    dry = shop.load("fruit", data, dry_run=True)
    assert dry["error"]["detail"].startswith(start)
    if "ound" not in start:  # What follows such a line cannot be read.
        assert dry["row_count"] == data.count("\n") - 1 - data.count("a\nb\r\nc") * 2
    assert shop.rows(ALL) == BEFORE


def test_a_bad_date_has_a_line(shop: Shop) -> None:
    """A date that is none is refused by its line and column, by the app on SQLite and by the others themselves."""
    shop.run("create table copy (id integer primary key, day date)")
    status, code, detail = shop.refused("copy", "id,day\n1,2024-02-29\n2,2023-02-29\n")
    assert (status, code) == (422, "invalid-row")
    assert detail.startswith("Line 3, column day: "), detail


def test_a_dry_run_keeps_nothing(shop: Shop) -> None:
    """A dry run reports rows, types and no error where the import would succeed, and keeps nothing."""
    for fields in ({}, {"mode": "replace"}, {"mode": "upsert", "key": ["id"]}):
        dry = shop.load("fruit", "id,name\n3,quince\n", dry_run=True, **fields)
        assert (dry["row_count"], dry["error"], dry["dry_run"]) == (1, None, True)
    made = shop.load("made", "a,b\n1,x\n", create=True, dry_run=True)
    assert (made["created"], made["row_count"], made["error"]) == (True, 1, None)
    assert shop.refused("made", "a,b\n1,x\n")[:2] == (404, "unknown-table")
    assert shop.rows(ALL) == BEFORE


@ON_SQLITE
def test_unknown_columns_and_tables(shop: Shop) -> None:
    """An unknown column is 400, naming it; an unknown table is 404; the app's own table is unknown."""
    status, code, detail = shop.refused("fruit", "id,name,colour\n3,quince,red\n")
    assert (status, code) == (400, "invalid-request")
    assert "no column colour" in detail
    assert shop.refused("nope", "id\n3\n")[:2] == (404, "unknown-table")
    assert shop.refused("strongroom_answers", "id\n3\n", create=True)[:2] == (404, "unknown-table")
    assert shop.refused("fruit", "id\n3\n", container="imports", name="x.csv")[:2] == (400, "invalid-request")
    assert shop.refused("fruit", container="imports")[:2] == (400, "invalid-request")
    assert shop.refused("fruit")[:2] == (400, "invalid-request")
    assert shop.refused("fruit", container="imports", name="not-there.csv")[:2] == (404, "no-files")
    assert shop.refused("fruit", container="not-there", name="a.csv")[:2] == (404, "unknown-container")


def test_create_takes_the_types_of_the_data(shop: Shop) -> None:
    """`create` makes a table of the data's types; the key of an upsert becomes its primary key."""
    data = (
        "id,Name,price,ok,day,moment,note\n"
        '1,"a",0.5,true,2024-01-31,2024-01-31 09:30:00,31/01/2024\n'
        "2,b,1,false,2024-02-29,2024-02-29 00:00:00,01/02/2024\n"
    )
    made = shop.load("made", data, create=True, mode="upsert", key=["id"])
    assert made["created"] is True
    assert {each["name"]: each["type"] for each in made["columns"]} == {
        "id": "integer", "Name": "text", "price": "real", "ok": "boolean", "day": "date", "moment": "timestamp",
        "note": "text",
    }  # fmt: skip
    rows = shop.rows("select * from made order by id")
    assert rows[0][:5] == [1, "a", 0.5, True, "2024-01-31"]
    assert rows[0][5].replace(" ", "T")[:19] == "2024-01-31T09:30:00"
    again = shop.load("made", data, create=True, mode="upsert", key=["id"])
    assert (again["created"], len(shop.rows("select id from made"))) == (False, 2)


@ON_SQLITE
def test_a_header_is_never_a_row(shop: Shop) -> None:
    """Text before the header is refused, also where the table takes any text: the header would become a row."""
    shop.run("create table copy (id text, name text)")
    for start in ("\n", "\r\n\r\n", "\ufeff\n", "# made by hand\n", "# made, by hand\n"):
        assert shop.refused("copy", f"{start}id,name\n3,quince\n")[0] in (400, 422)
    shop.load("copy", "id,name\n#3,quince\n")
    assert shop.rows("select * from copy") == [["#3", "quince"]]


@ON_SQLITE
def test_types_of_a_new_table_can_be_set(shop: Shop) -> None:
    """`options.types` decides on the types of a new table; a table that exists has its own, and ignores them."""
    options = {"types": {"zip": "VARCHAR", "sum": "DECIMAL(9, 2)"}}
    for data, form in (("zip,sum\n007,1.5\n", "csv"), ('{"zip": "007", "sum": 1.5}\n', "ndjson")):
        fields = {"options": options, "file_format": form, "create": True}
        made = shop.load("made", data, **fields)
        assert [each["type"] for each in made["columns"]] == ["text", "decimal"]
        shop.load("made", data, **fields)
        assert shop.rows("select * from made") == [["007", "1.50"]] * 2
        shop.run("drop table made")


def test_a_new_table_keeps_every_digit(shop: Shop) -> None:
    """Numbers that the widest number of an engine cannot hold become texts, also where the sniffer sees reals."""
    digits = "123456789012345678901"
    shop.load("made", f"a\n{digits}\n", create=True)
    assert shop.rows("select a from made") == [[digits]]
    shop.run("drop table made")
    made = shop.load("made", '{"a": 12345678901234567891}', create=True, file_format="ndjson")
    assert [each["type"] for each in made["columns"]] == ["text" if shop.dialect == "sqlite" else "decimal"]
    assert shop.rows("select a from made") == [["12345678901234567891"]]


@ON_SQLITE
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_byte_order_mark_is_no_data(shop: Shop, container: ContainerClient, pack: Callable[[bytes], bytes]) -> None:
    """CSV, NDJSON and a JSON array may begin with a byte order mark, also inside of gzip."""
    files = {
        "csv": "id,name\n3,quince\n",
        "ndjson": '{"id": 3, "name": "quince"}',
        "json": ' [{"id":3,"name":"quince"}]',
    }
    for form, text in files.items():
        name = f"marked.{form}{'' if pack is bytes else '.gz'}"
        container.upload_blob(name, pack(f"\ufeff{text}".encode()), overwrite=True)
        assert shop.load("fruit", container="imports", name=name, mode="replace")["row_count"] == 1
        assert shop.rows("select id, name from fruit") == [[3, "quince"]]


def test_a_failed_import_leaves_no_table(shop: Shop) -> None:
    """An import that fails leaves no table that it created, on MariaDB and MySQL, too."""
    data = "a\n" + "1\n" * 3000
    assert shop.refused("made", data, create=True, mode="upsert", key=["a"])[:2] == (422, "repeated-key")
    assert shop.refused("made", "a\n1\n")[:2] == (404, "unknown-table")


def test_ndjson_keeps_every_digit(shop: Shop) -> None:
    """NDJSON is read to the last digit, objects stay as they are, and a row that is none is refused by its line."""
    shop.run(f"create table everything ({TYPES[shop.dialect]})")
    lines = [
        {"id": 1, "exact": "1234567890123.4567", "tree": {"b": 1, "a": {"c": []}}, "words": "2024-01-31 09:30"},
        {"words": None, "id": 2, "tree": [1.5]},
    ]
    data = "\n".join(map(json.dumps, lines)).replace('"1234567890123.4567"', "12345.4567")
    assert shop.load("everything", data, file_format="ndjson")["row_count"] == 2
    rows = shop.rows("select id, exact, words, tree from everything order by id")
    assert rows == [
        [1, "12345.4567", "2024-01-31 09:30", {"b": 1, "a": {"c": []}}], [2, None, None, [1.5]],
    ]  # fmt: skip
    bad = data.replace("[1.5]}", '[1.5], "nope": 1}').replace('"id": 2', '"id": 7')
    assert shop.refused("everything", bad, file_format="ndjson")[0] == 400
    status, code, detail = shop.refused("everything", '{"id": 8}\n[1]\n', file_format="ndjson")
    assert (status, code) == (422, "invalid-row")
    assert detail.startswith("Line 2")


@ON_SQLITE
def test_files_are_packed_or_parquet(shop: Shop, container: ContainerClient) -> None:
    """A gzip file and a Parquet file are read; an error of Parquet names the row."""
    container.upload_blob("a.csv.gz", gzip.compress(b"id,name\n3,quince\n"), overwrite=True)
    assert shop.load("fruit", container="imports", name="a.csv.gz")["row_count"] == 1
    sink = io.BytesIO()
    pl.DataFrame({"id": [4, 5], "name": ["medlar", None], "price": [1, 2]}).write_parquet(sink)
    container.upload_blob("a.parquet", sink.getvalue(), overwrite=True)
    status, code, detail = shop.refused("fruit", container="imports", name="a.parquet")
    assert (status, code) == (422, "invalid-row")
    assert detail.startswith("Row 2")
    assert shop.rows(ALL) == [*BEFORE, [3, "quince", 7.0]]


def test_many_rows(shop: Shop) -> None:
    """Ten thousand rows are imported; a bad one near the end is named by its line, and none is kept."""
    lines = [f"{number},name {number},{number / 8}" for number in range(10, 10_010)]
    data = "id,name,price\n" + "\n".join(lines) + "\n"
    status, code, detail = shop.refused("fruit", data.replace("\n10000,name", "\n9,name").replace("\n9999,", "\n1,"))
    assert (status, code) == (422, "invalid-row")
    assert detail.startswith("Line 9991")
    assert shop.rows(ALL) == BEFORE
    assert shop.load("fruit", data)["row_count"] == 10_000
    assert shop.rows("select count(*), sum(price) from fruit")[0][0] == 10_002
    assert shop.load("fruit", data.replace(".5\n", ".25\n"), mode="upsert", key=["id"])["row_count"] == 10_000
    assert shop.rows("select count(*), sum(price) from fruit")[0][0] == 10_002


@ON_SQLITE
def test_an_import_runs_once(shop: Shop) -> None:
    """With an Idempotency-Key, the same import is not repeated."""
    first = shop.post(
        "import-sql", table="fruit", data="id,name\n3,quince\n", key_of_call=f"import-{shop.dialect}-{id(shop)}"
    )
    second = shop.post(
        "import-sql", table="fruit", data="id,name\n3,quince\n", key_of_call=f"import-{shop.dialect}-{id(shop)}"
    )
    assert (first.status_code, second.headers.get("idempotent-replayed")) == (200, "true")
    assert first.json() == second.json()


def test_a_time_limit_undoes_the_import(shop: Shop) -> None:
    """An import that reaches its time limit keeps nothing."""
    data = "id,name\n" + "\n".join(f"{number},name {number}" for number in range(10, 30_000))
    response = shop.post("import-sql", table="fruit", data=data, mode="upsert", key=["id"], timeout_ms=100)
    assert response.status_code in (422, 429)
    assert shop.rows(ALL) == BEFORE


def test_imports_and_batches_may_take_longer(running_app: App) -> None:
    """`timeout_ms` of imports, exports and several statements reaches 200,000; that of one statement 60,000."""
    longest = {"timeout_ms": 200_000}
    with running_app.client() as client:
        for fields, status in (
            ({"sql": "select 1"}, 400),
            ({"statements": [{"sql": "select 1"}]}, 200),
            ({"statements": [{"sql": "select 1"}], "timeout_ms": 200_001}, 400),
        ):
            assert client.post("/api/execute-sql", json=longest | fields).status_code == status
        data = {"table": "fruit", "data": "name\nquince\n", "dry_run": True}
        assert client.post("/api/import-sql", json=longest | data).status_code == 200
        assert client.post("/api/import-sql", json=data | {"timeout_ms": 200_001}).status_code == 400


def test_a_reader_imports_nothing(running_app: App, start_app: StartApp) -> None:
    """A database without a writer is 422 `read-only`; one that is not there is 404."""
    reading = start_app({"DATABASE_MAIN_WRITE": ""})
    with reading.client() as client:
        refused = client.post("/api/import-sql", json={"table": "fruit", "data": "id\n1\n"})
    assert (refused.status_code, refused.json()["code"]) == (422, "read-only")
    with running_app.client() as client:
        response = client.post("/api/import-sql", json={"table": "a", "data": "a\n1\n", "database": "nope"})
    assert (response.status_code, response.json()["code"]) == (404, "unknown-database")
