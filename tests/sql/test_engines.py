# ruff: noqa: S608 - the tests build statements from their own texts.
"""One contract for every engine: SQLite, PostgreSQL, MariaDB and MySQL return the same for the same call."""

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from time import monotonic
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import Busy, InvalidRequest
from shared.sql.databases import READERS, Database
from shared.sql.engines import Outcome, Statement
from shared.sql.errors import MultipleStatements, QueryTimeout, ReadOnly, SqlError
from shared.sql.values import Cursor
from shared.sql.writers import Page, Style, read_page
from shared.web import encode_base64

ENDLESS = {
    "sqlite": "with recursive t(i) as (select 1 union all select i + 1 from t) select count(*) from t",
    "postgresql": "with recursive t(i) as (select 1 union all select (i + 1) % 9 from t) select count(*) from t",
    "mysql": "select count(*) from information_schema.columns a, information_schema.columns b, "
    "information_schema.columns c, information_schema.columns d",
}
TYPES = {
    "sqlite": "id integer primary key, flag boolean, whole bigint, exact decimal(20, 4), near double precision, "
    "words text, bits blob, day date, hour time, moment timestamp, tree json",
    "postgresql": "id integer primary key, flag boolean, whole bigint, exact decimal(20, 4), near double precision, "
    "words text, bits bytea, day date, hour time, moment timestamp, tree json",
    "mysql": "id integer primary key, flag boolean, whole bigint, exact decimal(20, 4), near double precision, "
    "words longtext, bits longblob, day date, hour time(6), moment datetime(6), tree json",
}


def read(database: Database, sql: str, params: Any = (), seconds: float = 10.0, **more: Any) -> Page:
    """A page of a query."""
    with database.reading(seconds) as session:
        cursor = session.query(sql, params, rows=10_001, explain=more.pop("explain", False))
        return read_page(cursor, more.pop("form", Style()), more.pop("limit", 10_000), 10**8)


def rows(database: Database, sql: str, params: Any = (), seconds: float = 10.0) -> Any:
    """All rows of a query, as JSON values."""
    return json.loads(b"[" + read(database, sql, params, seconds).rows + b"]")


def write(database: Database, *statements: str | tuple[str, Any], **more: Any) -> list[Outcome]:
    """Run statements in one transaction."""
    parsed = [Statement(each, ()) if isinstance(each, str) else Statement(*each) for each in statements]
    return database.execute(parsed, 100, dry_run=more.get("dry_run", False), seconds=more.get("seconds", 10.0))


@pytest.fixture
def fruit(shop: Database) -> Iterator[Database]:
    """The database with a fresh table `fruit`."""
    write(shop, "drop table if exists fruit")
    write(shop, "create table fruit (id integer primary key, name varchar(100) not null, price double precision)")
    rows_of_fruit = [("apple", 0.45), ("apricot", 0.6), ("banana", 0.25), ("cherry", 0.12), ("fig", 0.7)]
    write(
        shop, *(("insert into fruit values (?, ?, ?)", [place, *each]) for place, each in enumerate(rows_of_fruit, 1))
    )
    yield shop
    write(shop, "drop table if exists fruit")


@pytest.fixture
def everything(shop: Database) -> Iterator[Database]:
    """The database with a fresh table `everything`, a column of each type."""
    write(shop, "drop table if exists everything")
    write(shop, f"create table everything ({TYPES[shop.engine]})")
    yield shop
    write(shop, "drop table if exists everything")


def test_one_table_is_the_same_json(everything: Database) -> None:
    """The published table: the same rows of every type give the same columns and the same JSON on every engine."""
    one = [
        1, True, 2**63 - 1, "1234567890123456.7800", 0.1, "é ❤ ' \\ \" % \n", b"\x00\xff", "2024-01-31",
        "09:30:00.250000", "2024-01-31 09:30:00.250000", '{"a": [1, null, "é"]}',
    ]  # fmt: skip
    if everything.engine == "sqlite":  # SQLite keeps only the digits of a double.
        one[3] = "1234567890.7800"
    marks = ", ".join("?" * len(one))
    write(everything, (f"insert into everything values ({marks})", one))
    write(everything, "insert into everything (id) values (2)")
    page = read(everything, "select * from everything order by id")
    assert [(each["name"], each["type"]) for each in page.columns] == [
        ("id", "integer"), ("flag", "boolean"), ("whole", "integer"), ("exact", "decimal"), ("near", "real"),
        ("words", "text"), ("bits", "bytes"), ("day", "date"), ("hour", "time"), ("moment", "timestamp"),
        ("tree", "json"),
    ]  # fmt: skip
    assert json.loads(b"[" + page.rows.replace(b".25,", b".250000,").replace(b'.25"', b'.250000"') + b"]") == [
        [
            1, True, 2**63 - 1, one[3], 0.1, "é ❤ ' \\ \" % \n", {"base64": "AP8"}, "2024-01-31",
            "09:30:00.250000", one[9] if everything.engine == "sqlite" else "2024-01-31T09:30:00.250000",
            {"a": [1, None, "é"]},
        ],
        [2, *[None] * 10],
    ]  # fmt: skip


JSON_TYPE = {"sqlite": "json", "postgresql": "jsonb", "mysql": "json"}


def test_a_table_made_by_another_is_reported_at_once(shop: Database) -> None:
    """An open connection reads a table correctly that another one has created, or recreated with other types."""
    assert rows(shop, "select 1") == [[1]]
    write(shop, "drop table if exists later")
    try:
        write(shop, f"create table later (tree {JSON_TYPE[shop.engine]})")
        write(shop, ("insert into later values (?)", ['{"a": 1}']))
        for _ in range(2):
            page = read(shop, "select tree from later")
            assert page.columns == [{"name": "tree", "type": "json"}]
            assert json.loads(page.rows) == [{"a": 1}]
        write(shop, "drop table later")
        write(shop, "create table later (tree text)")
        write(shop, ("insert into later values (?)", ["no JSON"]))
        assert json.loads(read(shop, "select tree from later").rows) == ["no JSON"]
    finally:
        write(shop, "drop table if exists later")


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "flag": st.booleans(),
    "whole": st.integers(-(2**63), 2**63 - 1),
    "exact": st.decimals(-(10**9), 10**9, places=4).map(str),
    "near": st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    "words": TEXT,
    "bits": st.binary(max_size=40),
    "day": st.dates().map(str),
    "hour": st.times().map(lambda each: each.replace(microsecond=0).isoformat()),
    "moment": st.datetimes().map(lambda each: each.replace(microsecond=0).isoformat(" ")),
    "tree": st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | TEXT, st.lists, max_leaves=5).map(json.dumps),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()}))
def test_every_value_comes_back(everything: Database, values: dict[str, Any]) -> None:
    """Every value written to a column of its type is read back exactly."""
    if everything.engine == "mysql":  # MySQL's years start at 1000.
        values["day"] = values["day"] and max(values["day"], "1000-01-01")
        values["moment"] = values["moment"] and max(values["moment"], "1000-01-01 00:00:00")
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    write(everything, "delete from everything", (f"insert into everything (id, {names}) values (1, {marks})", values))
    (found,) = rows(everything, f"select {names} from everything")
    got = dict(zip(values, found, strict=True))
    assert got["words"] == values["words"]
    assert got["whole"] == values["whole"]
    assert got["flag"] is values["flag"]
    assert got["day"] == values["day"]
    if values["near"] is not None:
        assert got["near"] == values["near"]
        assert math.copysign(1, got["near"]) == math.copysign(1, values["near"]) or everything.engine != "postgresql"
    if values["exact"] is not None:
        assert Decimal(got["exact"]) == Decimal(values["exact"])
        assert len(got["exact"].partition(".")[2]) == 4
    if values["bits"] is not None:
        assert got["bits"] == {"base64": encode_base64(values["bits"])}
    if values["hour"] is not None:
        assert got["hour"].removesuffix(".000000") == values["hour"]
    if values["moment"] is not None:
        written = values["moment"] if everything.engine == "sqlite" else values["moment"].replace(" ", "T")
        assert got["moment"].removesuffix(".000000") == written
    if values["tree"] is not None:
        assert got["tree"] == json.loads(values["tree"])


def test_parameters_by_position_and_by_name(fruit: Database) -> None:
    """Positional and named parameters work on every engine, whatever strings and comments contain."""
    sql = "select name, ':x ?' from fruit where id in (?, ?) /* ? :y */ order by id -- ?"
    assert rows(fruit, sql, [1, 2]) == [["apple", ":x ?"], ["apricot", ":x ?"]]
    sql = "select name from fruit where (id = :id and price < :price) or id = :id order by name"
    assert rows(fruit, sql, {"id": 2, "price": 0.5}) == [["apricot"]]
    assert rows(fruit, sql.replace(":", "$"), {"id": 2, "price": 0.5}) == [["apricot"]]
    assert rows(fruit, "select name from fruit where id = ?2 and price < ?1", [1, 3]) == [["banana"]]
    for params in ([], [1, 2], {"a": 1}):
        with pytest.raises(InvalidRequest) as caught:
            rows(fruit, "select * from fruit where id = ?", params)
        assert caught.value.errors[0].field.startswith("params")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(TEXT, min_size=1, max_size=4))
def test_no_text_breaks_out_of_its_parameter(fruit: Database, texts: list[str]) -> None:
    """A text stays a value, whatever it contains: quotes, backslashes, comments, placeholders."""
    marks = ", ".join("cast(? as char(200))" if fruit.engine == "mysql" else "cast(? as text)" for _ in texts)
    assert rows(fruit, f"select {marks}", texts) == [texts]


def test_duplicate_and_missing_rows(fruit: Database) -> None:
    """A response has every column of a repeated name, and an empty result has its columns."""
    page = read(fruit, "select id, name as id, price from fruit where id < 0")
    assert page.columns == [
        {"name": "id", "type": "integer"}, {"name": "id", "type": "text"}, {"name": "price", "type": "real"},
    ]  # fmt: skip
    assert page.rows == b""
    assert rows(fruit, "select id, name as id from fruit where id = 1") == [[1, "apple"]]


def test_more_rows_than_the_limit_are_cut_and_reported(fruit: Database) -> None:
    """A limit cuts the rows, reports it, and leaves the connection usable; without a limit every row is returned."""
    joined = "select a.id from fruit a, fruit b, fruit c, fruit d order by 1"
    for limit, truncated in ((1, True), (99, True), (624, True), (625, False), (626, False)):
        page = read(fruit, joined, limit=limit)
        assert (page.row_count, page.truncated) == (min(limit, 625), truncated)
    assert read(fruit, f"{joined} limit 100000", limit=5).truncated
    assert rows(fruit, "select count(*) from fruit") == [[5]]


WRITES = [
    "insert into fruit values (9, 'x', 1)",
    "/* select */ update fruit set price = 0",
    "delete from fruit",
    "drop table fruit",
    "create table other (a integer)",
    "create temporary table other (a integer)",
    "alter table fruit add column other integer",
    "create index other on fruit (name)",
    "create view other as select 1",
    "begin",
    "commit",
    "rollback",
    "savepoint a",
]


@pytest.mark.parametrize("sql", WRITES)
def test_a_reader_may_not_write(fruit: Database, sql: str) -> None:
    """A reader's statement that writes or changes the transaction is refused with that error."""
    with pytest.raises(ReadOnly):
        rows(fruit, sql)
    assert rows(fruit, "select count(*), sum(price) > 2 from fruit")[0][0] == 5


def test_one_statement_a_call(fruit: Database) -> None:
    """A second statement is refused, and neither one runs."""
    for sql in ("select 1; delete from fruit", "select 1; select 2", "select 1;\ncommit; delete from fruit"):
        with pytest.raises(MultipleStatements):
            rows(fruit, sql)
    for sql in ("select 1; delete from fruit", "delete from fruit; delete from fruit"):
        with pytest.raises(MultipleStatements):
            write(fruit, sql)
    assert rows(fruit, "select count(*) from fruit; -- done\n") == [[5]]


@pytest.mark.parametrize("sql", ["", " ", ";", "-- nothing", "/* nothing */"])
def test_no_statement(fruit: Database, sql: str) -> None:
    """Text without a statement is a statement error."""
    with pytest.raises(SqlError):
        rows(fruit, sql)


def test_errors_are_the_engines_own(fruit: Database) -> None:
    """An error has the engine's message, its code, and its position if the engine reports one."""
    with pytest.raises(SqlError) as caught:
        rows(fruit, "select ?, nope from fruit", ["x"])
    code = {"sqlite": "(SQLITE_ERROR, at character 11)", "postgresql": "(42703, at character 11)", "mysql": "(1054)"}
    assert "nope" in caught.value.detail
    assert caught.value.detail.endswith(code[fruit.engine])
    with pytest.raises(SqlError) as caught:
        write(fruit, "insert into fruit values (1, 'again', 1)")
    code = {"sqlite": "SQLITE_CONSTRAINT_PRIMARYKEY", "postgresql": "23505", "mysql": "1062"}
    assert code[fruit.engine] in caught.value.detail


def test_the_time_limit_interrupts(shop: Database) -> None:
    """An endless statement is interrupted soon after its limit, every time, and the connections stay usable."""
    for _ in range(READERS + 1):
        started = monotonic()
        with pytest.raises(QueryTimeout):
            rows(shop, ENDLESS[shop.engine], seconds=0.1)
        assert monotonic() - started < 30
    assert rows(shop, "select 1") == [[1]]


def test_the_time_limit_ends_rows_that_keep_coming(shop: Database) -> None:
    """An endless result whose rows arrive without a pause is also cut at the time limit."""
    numbers = "with recursive t(i) as (select 1 union all select i + 1 from t) select i from t"
    many = "with recursive t(i) as (select 1 union all select i + 1 from t where i < 1000) select 1 from t a, t b, t c"
    endless = {"sqlite": numbers, "postgresql": numbers, "mysql": many}

    def read_on(found: Cursor, over: float) -> None:
        read_late = 0
        while found.fetch(1000):
            read_late += monotonic() > over
            assert read_late <= 1

    with shop.reading(0.3) as session:
        over = monotonic() + 0.3
        with pytest.raises(QueryTimeout):
            read_on(session.query(endless[shop.engine], (), rows=10**9, explain=False), over)
    assert rows(shop, "select 1") == [[1]]


def test_explain_tells_a_plan(fruit: Database) -> None:
    """`explain` returns a plan, and does not run the statement."""
    assert read(fruit, "select * from fruit where id = ?", [1], explain=True).row_count >= 1


def test_writes_are_reported(fruit: Database) -> None:
    """A write reports the rows it matched; a transaction is all or nothing; a dry run changes nothing."""
    outcomes = write(
        fruit,
        ("update fruit set price = price where id <= ?", [3]),
        ("delete from fruit where name = :name", {"name": "fig"}),
        "select count(*) from fruit",
    )
    assert [each.rows_affected for each in outcomes] == [3, 1, 0]
    assert outcomes[2].rows == [(4,)]
    assert write(fruit, "delete from fruit", dry_run=True)[0].rows_affected == 4
    with pytest.raises(SqlError) as caught:
        write(fruit, "delete from fruit", "insert into nowhere values (1)")
    assert caught.value.detail.startswith("statements[1]: ")
    assert rows(fruit, "select count(*) from fruit") == [[4]]


def test_returning(fruit: Database) -> None:
    """RETURNING rows are in the response; MySQL itself has no RETURNING, refuses it and writes nothing."""
    if fruit.engine == "mysql" and "MariaDB" not in rows(fruit, "select version()")[0][0]:
        with pytest.raises(SqlError, match=r"returning id.* \(1064\)"):
            write(fruit, "insert into fruit values (6, 'kiwi', null) returning id, name")
        assert rows(fruit, "select count(*) from fruit") == [[5]]
        return
    (made,) = write(fruit, ("insert into fruit values (?, ?, ?) returning id, name", [6, "kiwi", None]))
    assert ([each.name for each in made.columns], made.rows, made.rows_affected) == (["id", "name"], [(6, "kiwi")], 1)
    (gone,) = write(fruit, "delete from fruit where id > 4 returning id", dry_run=True)
    assert (sorted(gone.rows), gone.rows_affected) == ([(5,), (6,)], 2)


@pytest.mark.parametrize("sql", ["commit", "rollback", "begin", "savepoint a", "start transaction"])
def test_the_transaction_belongs_to_the_app(fruit: Database, sql: str) -> None:
    """A caller's statement cannot end or open the transaction."""
    with pytest.raises(SqlError):
        write(fruit, "delete from fruit", sql)
    assert rows(fruit, "select count(*) from fruit") == [[5]]


def test_writers_wait_for_each_other(fruit: Database) -> None:
    """Concurrent writers and readers lose nothing."""

    def change(number: int) -> int:
        if number % 2:
            return len(rows(fruit, "select * from fruit", seconds=30))
        while True:
            try:
                write(fruit, "update fruit set price = price + 1 where id = 1", seconds=30)
            except Busy:
                continue  # The engine broke a deadlock, so the call is repeated.
            return 5

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(change, range(80))) == {5}
    assert rows(fruit, "select price from fruit where id = 1") == [[pytest.approx(40.45)]]


def test_a_time_limit_undoes_a_write(fruit: Database) -> None:
    """An interrupted write is rolled back with its transaction."""
    endless = ENDLESS[fruit.engine].replace("select count(*)", "select count(*) + 1000", 1)
    if fruit.engine == "mysql":
        slow = f"insert into fruit select 7, 'slow', ({endless})"
    elif fruit.engine == "sqlite":
        slow = f"insert into fruit select 7, 'slow', * from ({endless})"
    else:
        slow = f"insert into fruit select 7, 'slow', x.* from ({endless}) x"
    with pytest.raises(QueryTimeout):
        write(fruit, "delete from fruit", slow, seconds=0.3)
    assert rows(fruit, "select count(*) from fruit") == [[5]]


def test_tables_are_listed(fruit: Database) -> None:
    """Tables and views are listed with their columns, keys and nullability."""
    write(fruit, "drop view if exists cheap")
    write(fruit, "create view cheap as select name from fruit where price < 0.5")
    with fruit.reading(10) as session:
        found = {each.name: each for each in session.tables()}
    write(fruit, "drop view cheap")
    table, view = found["fruit"], found["cheap"]
    assert (table.type, view.type) == ("table", "view")
    assert [(each.name, each.nullable, each.primary_key) for each in table.columns] == [
        ("id", False, True), ("name", False, False), ("price", True, False),
    ]  # fmt: skip
    assert [each.name for each in view.columns] == ["name"]


TRICKY = st.lists(
    st.sampled_from(["?", ":a", "'", '"', "`", "\\", "--", "/*", "*/", "#", "$$", ";", "$1", "é", " ", "\n"]),
    max_size=6,
).map("".join)
COMMENT = TRICKY.map(lambda text: text.replace("*/", "").replace("/*", "").replace("/", "") + " ")


def literal(engine: str, form: int, text: str) -> str:
    """`text` as a string literal of the engine, in one of its forms."""
    doubled = text.replace("'", "''")
    if engine == "mysql":
        escaped = text.replace("\\", "\\\\")
        return '"' + escaped.replace('"', '\\"') + '"' if form == 0 else "'" + escaped.replace("'", "''") + "'"
    if engine == "postgresql" and form == 0 and "$" not in text:
        return f"$tag${text}$tag$"
    if engine == "postgresql" and form == 1:
        return "E'" + doubled.replace("\\", "\\\\") + "'"
    return f"'{doubled}'"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.booleans(), TRICKY, st.integers(0, 2), COMMENT), min_size=1, max_size=6), st.booleans())
def test_parameters_are_where_the_engine_has_them(
    shop: Database, items: list[tuple[bool, str, int, str]], by_name: bool
) -> None:
    """Among strings and comments of every form, the engine and the scanner see each parameter at the same position."""
    kind = "char(100)" if shop.engine == "mysql" else "text"
    parts, values = [], []
    for is_parameter, text, form, comment in items:
        if is_parameter:
            values.append(text)
            parts.append(f"cast({f':n{len(values)}' if by_name else '?'} as {kind})")
        else:
            parts.append(f"cast({literal(shop.engine, form, text)} as {kind})")
        lines = {"sqlite": ["-- {}\n"], "postgresql": ["-- {}\n", "/* /* {} */ {} */"], "mysql": ["-- {}\n", "# {}\n"]}
        forms = ["/* {} */", *lines[shop.engine]]
        parts[-1] += " " + forms[form % len(forms)].replace("{}", comment.replace("\n", " ") if form else comment)
    params: Any = {f"n{place}": value for place, value in enumerate(values, 1)} if by_name and values else values
    assert rows(shop, "select " + ", ".join(parts), params) == [[text for _, text, _, _ in items]]
