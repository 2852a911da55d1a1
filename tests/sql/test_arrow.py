# ruff: noqa: S608 - the tests build statements from their own texts.
"""Arrow from every engine: pyarrow and polars read the same values that the database has, with their types."""

import base64
import datetime as dt
import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from shared.sql.arrow import read_page
from shared.sql.databases import Database
from shared.sql.errors import SqlError
from shared.sql.values import BigInteger, Column, Rows
from shared.sql.writers import RowOverLimit
from tests.sql.test_engines import TYPES, write
from tests.support import App

ENOUGH = 2**25


def table_of(body: bytes) -> pa.Table:
    """The table in an Arrow stream, which polars reads as the same rows."""
    table = pa.ipc.open_stream(body).read_all()
    if table.num_columns:
        assert pl.read_ipc_stream(io.BytesIO(body)).rows() == [tuple(row.values()) for row in table.to_pylist()]
    return table


def read(database: Database, sql: str) -> pa.Table:
    """The rows of a query, by Arrow."""
    with database.reading(10) as session:
        page, _ = read_page(session.query(sql, (), rows=1001, explain=False), 1000, ENOUGH, [])
    return table_of(page.rows)


def of(columns: list[Column], rows: list[tuple[Any, ...]], types: list[str] | None = None) -> pa.Table:
    """Rows in memory, by Arrow."""
    return table_of(read_page(Rows(columns, rows), 1000, ENOUGH, types or [])[0].rows)


@pytest.fixture
def everything(shop: Database) -> Iterator[Database]:
    """The database with a fresh table `everything`, a column of each type, one row of values and one of nulls."""
    write(shop, "drop table if exists everything")
    write(shop, f"create table everything ({TYPES[shop.engine]})")
    row = [1, True, 2**62, "1234567890.7800", 0.1, "é,\n", b"\0\xff", "2024-02-29", "23:59:59.25",
           "2024-02-29 09:30:00.25", '{"a": 1}']  # fmt: skip
    write(shop, (f"insert into everything values ({', '.join('?' * len(row))})", row))
    write(shop, "insert into everything (id) values (2)")
    yield shop
    write(shop, "drop table if exists everything")


def test_every_type_has_its_arrow_type(everything: Database) -> None:
    """The Arrow types and values are the same from every engine, for a row of values and for a row of nulls."""
    table = read(everything, "select * from everything order by id")
    assert [str(each.type) for each in table.schema] == [
        "int64", "bool", "int64", "decimal128(20, 4)", "double", "string",
        "binary", "date32[day]", "time64[us]", "timestamp[us]", "string",
    ]  # fmt: skip
    one, nulls = table.to_pylist()
    assert one | {"tree": one["tree"].replace(" ", "")} == {
        "id": 1, "flag": True, "whole": 2**62, "exact": Decimal("1234567890.7800"), "near": 0.1, "words": "é,\n",
        "bits": b"\0\xff", "day": dt.date(2024, 2, 29), "hour": dt.time(23, 59, 59, 250000),
        "moment": dt.datetime(2024, 2, 29, 9, 30, 0, 250000), "tree": '{"a":1}',  # noqa: DTZ001
    }  # fmt: skip
    assert [value for name, value in nulls.items() if name != "id"] == [None] * 10


def test_an_empty_result_has_its_types(everything: Database) -> None:
    """A result without rows still has the declared types."""
    empty = read(everything, "select * from everything where id > 9")
    assert (empty.num_rows, empty.schema) == (0, read(everything, "select * from everything where id < 9").schema)


def test_times_keep_their_zone(shop: Database) -> None:
    """A timestamp with a time zone is in UTC; a time with an offset, which Arrow has no type for, is text."""
    if shop.engine == "postgresql":
        sql = "select '2024-01-01 02:00:00+02'::timestamptz as m, '09:30+02'::timetz as t, 'infinity'::timestamp as i"
    elif shop.engine == "mysql":
        sql = "select from_unixtime(1704067200) as m, '09:30:00+02' as t, 'infinity' as i"
    else:
        write(shop, "drop table if exists moments", "create table moments (m timestamptz, t text, i timestamp)")
        write(shop, "insert into moments values ('2024-01-01T02:00:00+02:00', '09:30:00+02', 'infinity')")
        sql = "select * from moments"
    (row,) = read(shop, sql).to_pylist()
    assert row == {"m": row["m"], "t": "09:30:00+02", "i": "infinity"}
    assert row["m"].replace(tzinfo=None) == dt.datetime(2024, 1, 1)  # noqa: DTZ001
    assert (row["m"].tzinfo is None) == (shop.engine == "mysql")


def test_integers_without_a_sign(shop: Database) -> None:
    """MySQL's unsigned integers keep all 64 bits; a decimal of more than 38 digits is text."""
    if shop.engine != "mysql":
        pytest.skip("only MySQL has integers without a sign")
    table = read(shop, "select cast(18446744073709551615 as unsigned) as u, cast(1 as decimal(60, 2)) as d")
    assert table.to_pylist() == [{"u": 2**64 - 1, "d": "1.00"}]
    assert [str(each.type) for each in table.schema] == ["uint64", "string"]


def test_numbers_without_a_scale_are_texts(shop: Database) -> None:
    """PostgreSQL's numeric without a scale is text, to the last digit; NaN of one with a scale is null."""
    if shop.engine != "postgresql":
        pytest.skip("only PostgreSQL has numbers without a scale")
    digits = "1234567890123456789012345678901234567890.123456789"
    table = read(shop, f"select {digits} as n, 'NaN'::numeric(5, 2) as x, 1.50::numeric(5, 2) as y")
    assert table.to_pylist() == [{"n": digits, "x": None, "y": Decimal("1.50")}]


def test_values_decide_where_nothing_is_declared() -> None:
    """A column without a type has that of its values: the wider of two numbers, otherwise text, also for nulls only."""
    columns = [Column(name) for name in "irmtbnf"]
    table = of(columns, [(1, 1, 1, "a", b"x", None, True), (None, 0.5, "b", None, None, None, None)])
    assert [str(each.type) for each in table.schema] == [
        "int64", "double", "string", "string", "binary", "string", "bool",
    ]  # fmt: skip
    assert table.to_pylist()[1] == {
        "i": None, "r": 0.5, "m": "b", "t": None, "b": None, "n": None, "f": None,
    }  # fmt: skip
    assert table.to_pylist()[0]["m"] == "1"


@pytest.mark.parametrize(
    ("column", "value", "kind", "read_as"),
    [
        (Column("c", "integer"), "x", "string", "x"),
        (Column("c", "integer"), 1.5, "double", 1.5),
        (Column("c", "integer", None, None, "big"), BigInteger(str(2**64)), "string", str(2**64)),
        (Column("c", "integer", None, None, "big"), 2**63, "string", str(2**63)),
        (Column("c", "integer", None, None, "big"), 2**63 - 1, "int64", 2**63 - 1),
        (Column("c", "boolean"), 2, "int64", 2),
        (Column("c", "date"), "0000-00-00", "string", "0000-00-00"),
        (Column("c", "date"), "20240101", "string", "20240101"),
        (Column("c", "time"), "838:59:59", "string", "838:59:59"),
        (Column("c", "timestamp"), "0044-03-15T00:00:00 BC", "string", "0044-03-15T00:00:00 BC"),
        (Column("c", "decimal", None, None, "decimal(5,2)"), "1.234", "string", "1.234"),
        (Column("c", "decimal", None, None, "decimal(5,2)"), "-1.50", "decimal128(5, 2)", Decimal("-1.50")),
        (Column("c", "decimal", None, None, "decimal(5,2)"), "1000.00", "string", "1000.00"),
        (Column("c", "decimal", None, None, "decimal(2,0)"), 7, "decimal128(2, 0)", Decimal(7)),
        (Column("c", "real"), float("inf"), "double", float("inf")),
    ],
)
def test_a_value_that_does_not_fit_widens_its_column(column: Column, value: Any, kind: str, read_as: Any) -> None:
    """On the first page, a value that its declared type cannot hold makes the column wider: text holds everything."""
    table = of([column], [(None,), (value,)])
    assert (str(table.schema[0].type), table.to_pylist()[1]["c"]) == (kind, read_as)


def test_nanoseconds_keep_nine_digits() -> None:
    """A timestamp of nanoseconds keeps nine digits."""
    body = read_page(
        Rows([Column("c", "timestamp", None, None, "ns")], [("2024-01-01T00:00:00.123456789",)]), 9, ENOUGH, []
    )[0].rows
    assert pa.ipc.open_stream(body).read_all()["c"].cast(pa.int64()).to_pylist() == [1704067200123456789]


def test_every_page_has_the_first_pages_types() -> None:
    """Later pages keep the first page's types; a value that does not fit them is refused, naming its column."""
    page, types = read_page(Rows([Column("a"), Column("b")], [(1, None)]), 9, ENOUGH, [])
    assert types == ["int64", "string"]
    second = of([Column("a"), Column("b")], [(None, 2.5)], types)
    assert second.schema == table_of(page.rows).schema
    assert second.to_pylist() == [{"a": None, "b": "2.5"}]
    with pytest.raises(SqlError, match="A value of the column a is not of its type, int64"):
        of([Column("a"), Column("b")], [(1.5, None)], types)
    with pytest.raises(SqlError, match="columns have changed"):
        of([Column("a")], [(1,)], types)


def test_a_page_has_limits() -> None:
    """A page ends at its rows or bytes, and says what follows; a row over the limit of bytes is refused."""
    rows = [(number, "x" * 1000) for number in range(100)]
    page, _ = read_page(Rows([Column("i"), Column("t")], rows), 30, ENOUGH, [])
    assert (page.row_count, page.truncated, page.last, page.following) == (30, True, rows[29], rows[30])
    page, _ = read_page(Rows([Column("i"), Column("t")], rows), 100, 20_240, [])
    assert (page.row_count, page.truncated, page.following) == (20, True, rows[20])
    page, _ = read_page(Rows([Column("i"), Column("t")], rows), 100, ENOUGH, [])
    assert (page.row_count, page.truncated) == (100, False)
    with pytest.raises(RowOverLimit):
        read_page(Rows([Column("t")], [("x" * 1000,)]), 9, 500, [])


def test_repeated_names_are_numbered() -> None:
    """Columns of one name get a number, because polars refuses repeated names."""
    assert of([Column("a"), Column("a")], [(1, 2)]).column_names == ["a", "a_2"]


# ---- Over the running app.

COUNT = "with recursive t(i) as (select 1 union all select i + 1 from t where i < {}) select i, i * 0.5 as r from t"


def pages(app: App, **fields: Any) -> Iterator[pa.Table]:
    """Every page of a query, by its cursors."""
    with app.client() as client:
        cursor = None
        while True:
            sent = fields | ({"cursor": cursor} if cursor else {})
            response = client.post("/api/query-sql", json={"format": "arrow"} | sent)
            assert response.status_code == 200, response.text
            assert response.headers["content-type"] == "application/vnd.apache.arrow.stream"
            yield table_of(response.content)
            cursor = response.headers.get("x-cursor")
            assert (response.headers.get("x-truncated") == "true") == (cursor is not None)
            if cursor is None:
                return


@pytest.mark.parametrize("order", ["", " order by i"])
def test_pages_are_one_table(running_app: App, order: str) -> None:
    """The pages of a query, put together, are its result, whether the cursor counts rows or continues after a key."""
    found = pa.concat_tables(pages(running_app, sql=COUNT.format(2500) + order, limit=1000))
    assert found.to_pylist() == [{"i": number, "r": number * 0.5} for number in range(1, 2501)]


def test_a_hundred_thousand_rows(running_app: App) -> None:
    """One response has up to 100,000 rows in Arrow; other formats have up to 10,000."""
    (table,) = pages(running_app, sql=COUNT.format(100_000), limit=100_000)
    assert table.num_rows == 100_000
    with running_app.client() as client:
        for form in ("json", "csv", "ndjson", "objects"):
            refused = client.post("/api/query-sql", json={"sql": "select 1", "limit": 10_001, "format": form})
            assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "limit")
        over = client.post("/api/query-sql", json={"sql": "select 1", "limit": 100_001, "format": "arrow"})
        assert over.status_code == 400


def test_a_page_has_32_mib(running_app: App) -> None:
    """A page of Arrow has at most 32 MiB, and the next page continues after it."""
    sql = COUNT.format(40).replace("i * 0.5 as r", "zeroblob(1048576) as b")
    with running_app.client() as client:
        response = client.post("/api/query-sql", json={"sql": sql, "format": "arrow"})
    assert len(response.content) <= 32 * 2**20
    assert response.headers["x-truncated"] == "true"
    assert [each.num_rows for each in pages(running_app, sql=sql)] == [31, 9]


def test_arrow_by_accept_and_saved(running_app: App) -> None:
    """The Accept header selects Arrow; saved and public queries return it too, and errors are problems."""
    kind = "application/vnd.apache.arrow.stream"
    with running_app.client() as client:
        found = client.get("/api/query-sql", params={"sql": "select 1 as a"}, headers={"accept": kind})
        assert table_of(found.content).to_pylist() == [{"a": 1}]
        saved = {"sql": "select name, price from fruit order by id", "public": True}
        assert client.put("/api/queries/arrow-fruit", json=saved).status_code in (200, 201)
        for path in ("queries", "public"):
            page = client.get(
                f"/api/{path}/arrow-fruit", params={"format": "arrow", "limit": 2, "filename": "a.arrows"}
            )
            assert table_of(page.content).column_names == ["name", "price"]
            assert (page.headers["x-truncated"], page.headers["content-type"]) == ("true", kind)
            assert page.headers["content-disposition"] == "attachment; filename*=UTF-8''a.arrows"
        error = client.post("/api/query-sql", json={"sql": "select nope", "format": "arrow"})
        assert (error.status_code, error.headers["content-type"]) == (422, "application/problem+json")


def test_dry_run_is_the_plan(running_app: App) -> None:
    """On a database server or file, `dry_run` returns what `explain` returns."""
    sql = "select * from fruit where id = 1"
    with running_app.client() as client:
        plans = [client.post("/api/query-sql", json={"sql": sql, name: True}).json() for name in ("dry_run", "explain")]
    assert plans[0]["rows"] == plans[1]["rows"]
    assert "SEARCH fruit" in str(plans[0]["rows"])


def test_bytes_are_binary(running_app: App) -> None:
    """Bytes are binary in Arrow, without base64."""
    (table,) = pages(running_app, sql="select x'00ff' as b")
    assert table.to_pylist() == [{"b": base64.b16decode("00FF")}]
