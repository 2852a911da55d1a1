"""SQLite: the limits of a statement's time, memory and files, in this process and in a child."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from shared.sandbox.process import Sandbox
from shared.sandbox.settings import MIB, SandboxSettings
from shared.sql.databases import Database, Databases
from shared.sql.engines import Statement
from shared.sql.engines.sqlite import HEAP_BYTES
from shared.sql.engines.sqlite_rules import SHORT_FUNCTIONS
from shared.sql.errors import QueryTimeout, RowTooLarge, SqlError
from shared.sql.settings import DatabaseSettings
from shared.sql.values import Params
from shared.sql.writers import Style, read_page
from tests.sql.conftest import NO_FILES, no_token

LIMIT = 0.5
LATE = 0.2
"""The most that a statement may take beyond its limit."""
MACHINE = 30.0
"""What a test machine with other work to do may add: without the limit, each statement takes many minutes."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a few thousand rows, some of them large."""
    made = tmp_path_factory.mktemp("limits") / "shop.sqlite"
    with sqlite3.connect(made) as connection:
        connection.execute("create table a (i integer primary key, body text)")
        connection.executemany("insert into a values (?, ?)", [(i, f"row {i} " * 100) for i in range(3000)])
        connection.execute("create table big (i integer primary key, body text)")
        connection.executemany("insert into big values (?, ?)", [(i, "x" * 4_000_000) for i in range(20)])
        connection.execute("create table mixed (i integer primary key, body text)")
        rows = [(i, "small") for i in range(200)] + [(i, "y" * 3_000_000) for i in range(200, 203)]
        connection.executemany("insert into mixed values (?, ?)", rows)
        connection.execute("create view pages as select * from pragma_page_count")
        connection.execute("create virtual table words using fts5(word)")
    connection.close()
    return made


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """The file, with a child process for statements that can take long."""
    sandbox = Sandbox(SandboxSettings(processes=2, memory_bytes=512 * MIB))
    url = f"sqlite:///{path}"
    made = Databases({"main": DatabaseSettings(url, url)}, no_token, NO_FILES, lambda: sandbox).get("main")
    yield made
    made.close()
    sandbox.close()


def page(database: Database, sql: str, params: Params = (), *, seconds: float = 60, limit: int = 1000) -> list[object]:
    """The rows of a page; large rows make it shorter."""
    with database.reading(seconds) as session:
        cursor = session.query(sql, params, rows=limit + 1, explain=False)
        found = read_page(cursor, Style(), limit, 8 * MIB)
    return [found.row_count, found.truncated]


def write(database: Database, *statements: str, seconds: float = 60, dry_run: bool = False) -> list[int]:
    """The rows that each statement changed."""
    parsed = [Statement(each, ()) for each in statements]
    return [each.rows_affected for each in database.execute(parsed, 100, dry_run=dry_run, seconds=seconds)]


LONG = [
    ("select sum(length(randomblob(10000000))) from a, a as b", ()),
    ("select count(*) from a, a as b, a as c", ()),
    ("select instr(?, ?)", ("a" * 8_000_000, "a" * 4_000_000 + "b")),
    ("select trim(?, ?)", ("a" * 8_000_000, "bcdefghijklmnopqrstuvwxyz" * 40_000 + "a")),
    ("select ? like ?", ("a" * 8_000_000, "%" + "a%" * 450 + "b")),
    ("select count(*) from a, a as b where replace(a.body, 'row', b.body) = ''", ()),
    ("select count(*) from a, a as b, json_each('[1, 2, 3]')", ()),
    ("select max(a.body || b.body || c.body) from a, a as b, a as c", ()),
    ("with recursive t (i) as (select 1 union all select i + 1 from t) select max(i) from t", ()),
]


@pytest.mark.parametrize(("sql", "params"), LONG)
def test_the_limit_holds_for_every_statement(database: Database, sql: str, params: tuple[str, ...]) -> None:
    """The call ends at its limit in one long step, in many short ones, in functions and in operators."""
    page(database, "select 'a' like 'b'")  # The child has started.
    started = time.monotonic()
    with suppress(QueryTimeout):  # A fast machine may finish some of them within the limit.
        page(database, sql, params, seconds=LIMIT)
    assert time.monotonic() - started < LIMIT + LATE + MACHINE
    assert page(database, "select 1") == [1, False]


@pytest.mark.parametrize(
    "sql",
    [
        "update a set body = (select sum(length(randomblob(10000000))) from a, a as b)",
        "update a set body = (select count(*) from a, a as b, a as c)",
    ],
)
def test_a_write_that_is_late_is_undone(database: Database, sql: str) -> None:
    """A writer also ends at its limit, in either process, and leaves nothing."""
    started = time.monotonic()
    with pytest.raises(QueryTimeout):
        write(database, "update a set body = 'gone'", sql, seconds=LIMIT)
    assert time.monotonic() - started < LIMIT + LATE + MACHINE
    assert page(database, "select 1 from a where body = 'gone'") == [0, False]


def test_statements_in_a_child_are_the_same(database: Database) -> None:
    """A transaction moves to the child as a whole: it has the results, the errors and the commit of SQLite."""
    assert write(
        database, "insert into a values (9001, 'b')", "update a set body = replace(body, 'b', 'c') where i = 9001"
    ) == [1, 1]
    assert page(database, "select 1 from a where body = 'c'") == [1, False]
    assert write(database, "delete from a where body like 'c'", dry_run=True) == [1]
    assert write(database, "delete from a where body like 'c'") == [1]
    assert write(database, "delete from a where body like 'c'") == [0]
    with pytest.raises(SqlError) as caught:
        write(database, "delete from a where body like 'x'", "delete from nope where x like 'y'")
    assert caught.value.detail.startswith("statements[1]: no such table: nope")
    with pytest.raises(SqlError, match="ATTACH"):
        write(database, "attach 'x' as y")


def test_a_read_by_key_stays_in_the_process(path: Path) -> None:
    """Statements without a slow function need no child."""

    def no_sandbox() -> Sandbox:
        raise AssertionError

    url = f"sqlite:///{path}"
    database = Databases({"main": DatabaseSettings(url)}, no_token, NO_FILES, no_sandbox).get("main")
    assert page(database, "select * from a where i = ?", [5]) == [1, False]
    assert page(database, "select upper(body), count(*) from a where i < 9 group by 1 order by 2")[0] == 9
    database.close()


def test_a_definition_that_can_take_long_is_recognised(database: Database) -> None:
    """SQLite does not report functions in CHECK to the authorizer: tables with a slow one are written in the child."""
    write(database, "create table checked (body text check (instr(body, 'zz') = 0))")
    assert write(database, "insert into checked values ('abc')") == [1]
    with pytest.raises(SqlError, match="CHECK"):
        write(database, "insert into checked values ('zz')")
    write(database, "drop table checked")


def test_short_functions_are_functions_of_sqlite() -> None:
    """Every function in the list exists in SQLite."""
    known = {name for (name,) in apsw.Connection(":memory:").execute("select name from pragma_function_list")}
    assert known >= SHORT_FUNCTIONS


def test_rows_are_read_by_bytes(database: Database) -> None:
    """Large rows are not read ahead, and small rows before large ones are not read twice."""
    assert page(database, "select * from big") == [2, True]
    with database.reading(60) as session:
        cursor = session.query("select i, length(body), body from mixed order by i", (), rows=1000, explain=False)
        found = []
        while rows := cursor.fetch(1000):
            assert sum(len(row[2]) for row in rows) <= 8 * MIB
            found += [row[:2] for row in rows]
    assert found == [(i, 5) for i in range(200)] + [(i, 3_000_000) for i in range(200, 203)]


def test_a_row_is_at_most_16_mib(database: Database) -> None:
    """A larger row is 422."""
    with pytest.raises(RowTooLarge):
        page(database, "select a.body, b.body, c.body, d.body, e.body from big a, big b, big c, big d, big e")


def test_memory_is_bounded(database: Database) -> None:
    """A sort beyond SQLite's share of this process's memory runs in the child, on disk."""
    apsw.memory_high_water(True)
    assert page(database, "select a.body from a, a as b where b.i < 60 order by a.body desc limit 1") == [1, False]
    assert apsw.memory_high_water() <= HEAP_BYTES


def test_temporary_files_are_bounded(database: Database) -> None:
    """A sort over the limit of temporary space is 422, and leaves no file."""
    with pytest.raises(SqlError, match="temporary space"):
        page(database, "select a.body || b.body from a, a as b order by 1")


def test_like_patterns_are_bounded(database: Database) -> None:
    """A pattern of more than 1,000 characters is refused."""
    with pytest.raises(SqlError, match="pattern too complex"):
        page(database, "select 'a' like ?", ["a" * 1001])
    assert page(database, "select 'a' like ?", ["a" * 1000]) == [1, False]


def test_a_schema_is_not_trusted(database: Database) -> None:
    """A view cannot use a virtual table that could do more than its caller may."""
    with pytest.raises(SqlError, match="unsafe use of virtual table"):
        page(database, "select * from pages")


def test_the_files_own_tables_are_not_written(database: Database) -> None:
    """Neither the tables behind a virtual table nor the schema can be written."""
    for sql in ("delete from words_data", "update sqlite_schema set sql = ''"):
        with pytest.raises(SqlError, match="may not be modified"):
            write(database, sql)


def test_temporary_objects_end_with_their_call(database: Database) -> None:
    """A temporary table or trigger of one call does not affect the next one."""
    write(database, "create temp table a (i integer, body text)", "insert into a values (1, 'x')")
    write(database, "create table emptied (i integer)", "insert into emptied values (1)")
    write(database, "create temp trigger t after insert on a begin delete from emptied; end")
    assert write(database, "insert into a values (9002, 'kept')") == [1]
    assert page(database, "select 1 from a where i = 9002") == [1, False]
    assert page(database, "select * from emptied") == [1, False]
    write(database, "delete from a where i = 9002", "drop table emptied")


def test_a_dry_run_sees_deferred_constraints(database: Database) -> None:
    """A dry run refuses what a commit would refuse."""
    write(database, "create table parent (i integer primary key)")
    write(database, "create table child (i integer references parent deferrable initially deferred)")
    for dry_run in (True, False):
        with pytest.raises(SqlError, match="FOREIGN KEY"):
            write(database, "insert into child values (5)", dry_run=dry_run)
    write(database, "drop table child", "drop table parent")
