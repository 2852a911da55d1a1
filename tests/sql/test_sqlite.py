"""SQLite: what readers and writers may do, for how long, and how many at once. The files are real."""

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.samples import seed_database
from shared.errors import Busy
from shared.sql import pools as pools_module
from shared.sql.databases import READERS, Database, Databases
from shared.sql.engines import Outcome, Statement
from shared.sql.errors import DatabaseUnavailable, MultipleStatements, QueryTimeout, ReadOnly, SqlError, UnknownDatabase
from shared.sql.settings import DatabaseSettings
from shared.sql.writers import Style, read_page
from tests.sql.conftest import NO_FILES, no_token

NOBODY = 65534
ENDLESS = "with recursive t(i) as (select 1 union all select i + 1 from t) select count(*) from t"


def open_database(settings: DatabaseSettings) -> Database:
    """The database that the settings name `main`."""
    return Databases({"main": settings}, no_token, NO_FILES).get("main")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the table `fruit`."""
    seed_database(tmp_path / "main.sqlite")
    return tmp_path / "main.sqlite"


@pytest.fixture
def database(path: Path) -> Database:
    """The same file as a database with a writer."""
    return Databases({"main": DatabaseSettings(f"sqlite:///{path}", f"sqlite:///{path}")}, no_token, NO_FILES).get(
        "main"
    )


def query(
    database: Database, sql: str, params: Any = (), seconds: float = 5.0, explain: bool = False
) -> list[list[Any]]:
    """All rows of a query, as JSON values."""
    with database.reading(seconds) as session:
        page = read_page(session.query(sql, params, rows=10_001, explain=explain), Style(), 10_000, 10**8)
    rows: list[list[Any]] = json.loads(b"[" + page.rows + b"]")
    return rows


def execute(
    database: Database, *statements: str | Statement, dry_run: bool = False, seconds: float = 5.0
) -> list[Outcome]:
    """Run statements in one transaction."""
    parsed = [Statement(each, ()) if isinstance(each, str) else each for each in statements]
    return database.execute(parsed, 100, dry_run=dry_run, seconds=seconds)


HOSTILE = [
    "insert into fruit (name, price) values ('x', 1)",
    "insert into fruit (name, price) values ('x', 1) returning *",
    "with a as (select 1) insert into fruit (name, price) select 'a', 1",
    "replace into fruit values (1, 'a', 1)",
    "update fruit set price = 0",
    "delete from fruit",
    "/* select */ delete from fruit",
    "explain delete from fruit",
    "drop table fruit",
    "alter table fruit add column x",
    "create table x (a)",
    "create temp table x (a)",
    "create temp view x as select 1",
    "create view x as select 1",
    "create index x on fruit (name)",
    "create virtual table x using fts5(a)",
    "create trigger x after insert on fruit begin delete from fruit; end",
    "attach ':memory:' as x",
    "attach '/tmp/strongroom-attached.sqlite' as x",
    "detach main",
    "vacuum",
    "vacuum into '/tmp/strongroom-vacuum.sqlite'",
    "analyze",
    "begin",
    "begin immediate",
    "commit",
    "rollback",
    "savepoint x",
    "release x",
    "pragma query_only = off",
    "pragma journal_mode = wal",
    "pragma writable_schema = on",
    "pragma user_version = 5",
    "pragma user_version(5)",
    "pragma main.user_version = 5",
    "pragma wal_checkpoint",
    "pragma incremental_vacuum",
    "pragma temp_store_directory = '/tmp'",
    "pragma database_list",
    "select * from pragma_database_list",
    "pragma trusted_schema = on",
    "pragma cache_size = 1000000000",
    "pragma hard_heap_limit = 0",
    "pragma busy_timeout = 1000000",
    "select load_extension('/tmp/x')",
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_a_reader_may_not(database: Database, path: Path, sql: str) -> None:
    """A statement that writes, leaves the file or changes the connection is refused, and changes nothing."""
    before = path.read_bytes()
    for _ in range(2):  # The second run uses the cached statement.
        with pytest.raises(ReadOnly):
            query(database, sql)
    assert path.read_bytes() == before
    assert query(database, "select count(*) from fruit") == [[12]]


def test_what_is_refused_is_named(database: Database) -> None:
    """The error names the refused action: the table, the pragma or the function."""
    for sql, named in (
        ("delete from fruit", "DELETE fruit"),
        ("pragma journal_mode = wal", "PRAGMA journal_mode"),
        ("select load_extension('/tmp/x')", "FUNCTION load_extension"),
    ):
        with pytest.raises(ReadOnly, match=f"^{named} is not allowed here"):
            query(database, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "select 1; delete from fruit",
        "select 1; select 2",
        "select 1;\n-- then\nselect 2 -- more",
        "delete from fruit; select 1",
    ],
)
def test_a_second_statement_is_refused(database: Database, sql: str) -> None:
    """A call runs one statement: of two statements neither runs."""
    with pytest.raises((MultipleStatements, ReadOnly)):
        query(database, sql)
    with pytest.raises(MultipleStatements):
        execute(database, sql)
    assert query(database, "select count(*) from fruit") == [[12]]


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from fruit;",
        "select count(*) from fruit ; -- done",
        "/* first */ select count(*) from fruit;;",
        "select count(*) from (select * from fruit where name <> 'insert;drop')",
        "values (12)",
        "with a as (select 12) select * from a",
    ],
)
def test_one_statement_may_end_in_comments(database: Database, sql: str) -> None:
    """Semicolons and comments after a statement are not a second statement."""
    assert query(database, sql) == [[12]]


@pytest.mark.parametrize("sql", ["", ";", "-- nothing", "/* nothing */"])
def test_no_statement_is_an_error(database: Database, sql: str) -> None:
    """Text without a statement is an error, not an empty result."""
    with pytest.raises(SqlError, match="no statement"):
        query(database, sql)


def test_harmless_pragmas_run(database: Database) -> None:
    """Pragmas that a client uses to read the schema return their rows."""
    assert [row[1] for row in query(database, "pragma table_info(fruit)")] == ["id", "name", "price"]
    assert query(database, "select name from pragma_table_list('fruit')") == [["fruit"]]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select nope from fruit", r"no such column: nope \(SQLITE_ERROR, at character 8\)"),
        ("select 'ü', nope from fruit", r"no such column: nope \(SQLITE_ERROR, at character 13\)"),
        ("select * from nope", r"no such table: nope \(SQLITE_ERROR\)"),
        ("selec 1", r'near "selec": syntax error \(SQLITE_ERROR, at character 1\)'),
        ("select zeroblob(100000000)", r"string or blob too big \(SQLITE_TOOBIG\)"),
        ("select abs(-9223372036854775808)", r"integer overflow \(SQLITE_ERROR\)"),
    ],
)
def test_an_error_is_sqlites_own(database: Database, sql: str, message: str) -> None:
    """A statement error has SQLite's message and code, and the position if SQLite reports one."""
    with pytest.raises(SqlError, match=message):
        query(database, sql)


def test_the_time_limit_interrupts(database: Database) -> None:
    """An endless statement is interrupted, and its connection runs the next one."""
    for _ in range(READERS + 1):
        with pytest.raises(QueryTimeout):
            query(database, ENDLESS, seconds=0.05)
    with pytest.raises(QueryTimeout):
        query(database, ENDLESS.replace("count(*)", "i") + " where i < 0", seconds=0.05)
    assert query(database, "select 1") == [[1]]


def test_a_late_write_is_undone(database: Database) -> None:
    """An interrupted writer leaves nothing of its transaction."""
    endless = "insert into fruit (name, price) " + ENDLESS.replace("count(*)", "'x', i")
    with pytest.raises(QueryTimeout):
        execute(database, "delete from fruit", endless, seconds=0.1)
    assert query(database, "select count(*) from fruit") == [[12]]


def test_explain_does_not_run(database: Database) -> None:
    """`explain` returns a plan without running the statement."""
    (row,) = query(database, ENDLESS.replace("from t)", "from t) ", 1), explain=True)[:1]
    assert len(row) == 4


def test_a_file_that_is_not_there_stays_away(tmp_path: Path) -> None:
    """A database without its file is not found, and no empty file is created."""
    url = f"sqlite:///{tmp_path / 'none.sqlite'}"
    database = open_database(DatabaseSettings(url, url))
    with pytest.raises(UnknownDatabase) as caught:
        query(database, "select 1")
    assert str(tmp_path) not in caught.value.detail
    with pytest.raises(UnknownDatabase):
        execute(database, "create table a (b)")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """A file of another kind is an unavailable database, not a statement error."""
    (tmp_path / "text.sqlite").write_text("This is not a database. " * 100)
    database = Databases({"text": DatabaseSettings(f"sqlite:///{tmp_path / 'text.sqlite'}")}, no_token, NO_FILES).get(
        "text"
    )
    with pytest.raises(DatabaseUnavailable):
        query(database, "select * from sqlite_schema")


def test_a_file_that_is_replaced_is_read_anew(database: Database, path: Path) -> None:
    """After a file is replaced, open connections read the new one; after it is removed, the database is not found."""
    assert query(database, "select count(*) from fruit") == [[12]]
    other = path.with_name("other.sqlite")
    connection = sqlite3.connect(other)
    connection.execute("create table fruit (id)")
    connection.close()
    other.rename(path)
    assert query(database, "select count(*) from fruit") == [[0]]
    path.unlink()
    with pytest.raises(UnknownDatabase):
        query(database, "select 1")


def test_an_unknown_name_is_not_found() -> None:
    """A name without a setting is not found; the error lists the names that exist."""
    with pytest.raises(UnknownDatabase, match="They have: main"):
        Databases({"main": DatabaseSettings("sqlite:///x")}, no_token, NO_FILES).get("Main")


def test_without_a_writer_nothing_is_written(path: Path) -> None:
    """A database without DATABASE_<NAME>_WRITE is read-only."""
    database = open_database(DatabaseSettings(f"sqlite:///{path}"))
    with pytest.raises(ReadOnly, match="DATABASE_MAIN_WRITE"):
        execute(database, "delete from fruit")


def test_a_write_is_reported(database: Database) -> None:
    """A write returns the number of changed rows, the id of the new row, and the RETURNING rows."""
    made, changed, queried, table = execute(
        database,
        Statement("insert into fruit (name, price) values (:name, 1)", {"name": "quince"}),
        Statement("update fruit set price = price where id > ?", [10]),
        "select count(*) from fruit",
        "create table other (a)",
    )
    assert (made.rows_affected, made.last_row_id) == (1, 13)
    assert (changed.rows_affected, changed.last_row_id) == (3, None)
    assert (queried.rows_affected, queried.rows) == (0, [(13,)])
    assert table.rows_affected == 0
    (returned,) = execute(database, "delete from fruit where id >= 12 returning id, name")
    assert returned.rows_affected == 2
    assert [each.name for each in returned.columns] == ["id", "name"]
    assert returned.rows == [(12, "plum"), (13, "quince")]


def test_a_dry_run_changes_nothing(database: Database, path: Path) -> None:
    """A dry run reports its effect, and leaves every byte as it was."""
    before = path.read_bytes()
    (outcome,) = execute(database, "delete from fruit", dry_run=True)
    assert outcome.rows_affected == 12
    assert path.read_bytes() == before


def test_statements_are_one_transaction(database: Database) -> None:
    """If one of several statements fails, all are rolled back, and the error says which one failed."""
    with pytest.raises(SqlError) as caught:
        execute(database, "insert into fruit values (20, 'a', 1)", "insert into fruit values (1, 'b', 1)")
    assert caught.value.detail == "statements[1]: UNIQUE constraint failed: fruit.id (SQLITE_CONSTRAINT_PRIMARYKEY)"
    assert query(database, "select count(*) from fruit") == [[12]]


@pytest.mark.parametrize(
    "sql",
    [
        "commit", "rollback", "begin", "savepoint a", "attach ':memory:' as x", "pragma journal_mode = off",
        "pragma writable_schema = on", "vacuum into '/tmp/strongroom-vacuum.sqlite'", "select load_extension('/tmp/x')",
    ],
)  # fmt: skip
def test_a_writer_may_not(database: Database, sql: str) -> None:
    """A writer may not end its transaction, reach other files, load code or loosen the connection."""
    for _ in range(2):
        with pytest.raises(SqlError):
            execute(database, "delete from fruit", sql)
    assert query(database, "select count(*) from fruit") == [[12]]


def test_foreign_keys_hold(database: Database) -> None:
    """Foreign keys are enforced for a writer."""
    execute(database, "create table basket (fruit references fruit)")
    with pytest.raises(SqlError, match="FOREIGN KEY constraint failed"):
        execute(database, "insert into basket values (99)")


def test_writers_wait_for_each_other(database: Database, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent readers and writers, connected as from two processes, lose nothing and never fail."""
    monkeypatch.setattr(pools_module, "WAIT_SECONDS", 120.0)  # Each write may take long on a slow disk.
    other = Databases({"main": DatabaseSettings(f"sqlite:///{path}", f"sqlite:///{path}")}, no_token, NO_FILES).get(
        "main"
    )

    def write(number: int) -> None:
        execute((database, other)[number % 2], "update fruit set price = price + 1 where id = 1", seconds=120)

    def read(_number: int) -> int:
        return len(query(database, "select * from fruit", seconds=120))

    before = query(database, "select price from fruit where id = 1")[0][0]
    with ThreadPoolExecutor(16) as threads:
        writes = [threads.submit(write, number) for number in range(100)]
        reads = [threads.submit(read, number) for number in range(100)]
        assert {each.result() for each in reads} == {12}
        for each in writes:
            each.result()
    assert query(database, "select price from fruit where id = 1")[0][0] == pytest.approx(before + 100)


def test_a_lock_that_lasts_is_busy(database: Database, path: Path) -> None:
    """A writer that never ends makes the others wait until their time limit, and no longer."""
    # With apsw, as in the app: two SQLite libraries in one process do not see each other's locks.
    with closing(apsw.Connection(str(path))) as holder:
        holder.execute("begin immediate")
        with pytest.raises(Busy) as caught:
            execute(database, "update fruit set price = price where id = 1", seconds=0.1)
        assert caught.value.retry_after == 1
        holder.execute("rollback")
    execute(database, "update fruit set price = price where id = 1")


def test_connections_are_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """If there are more callers than connections, they wait briefly, and then get the error to retry later."""
    monkeypatch.setattr(pools_module, "WAIT_SECONDS", 0.05)
    with ExitStack() as taken:
        for _ in range(READERS):
            taken.enter_context(database.reading(30))
        with pytest.raises(Busy):
            query(database, "select 1")
    assert query(database, "select 1") == [[1]]


SCALARS = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.binary(max_size=50),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(SCALARS, min_size=1, max_size=8))
def test_parameters_come_back(database: Database, values: list[Any]) -> None:
    """A bound value is returned unchanged, of the same type, by position and by name."""
    marks = ", ".join("?" * len(values))
    with database.reading(5) as session:
        assert session.query(f"select {marks}", values, rows=2, explain=False).fetch(2) == [tuple(values)]
    names = {f"n{place}": value for place, value in enumerate(values)}
    with database.reading(5) as session:
        found = session.query("select " + ", ".join(f":{name}" for name in names), names, rows=2, explain=False).fetch(
            2
        )
    assert [list(map(repr, row)) for row in found] == [list(map(repr, values))]


def test_duplicate_names_survive(database: Database) -> None:
    """A response has every column of a repeated name, also without a row."""
    with database.reading(5) as session:
        assert [
            each.name for each in session.query("select 1 as a, 2 as a where 0", (), rows=1, explain=False).columns
        ] == ["a", "a"]


def test_tables_are_described(database: Database) -> None:
    """Tables, views and virtual tables are listed with their columns; a broken view has none."""
    execute(
        database,
        "create view cheap as select name from fruit",
        "create virtual table words using fts5(word)",
        "create table gone (a)",
        "create view broken as select a from gone",
        "drop table gone",
    )
    with database.reading(5) as session:
        found = {each.name: each for each in session.tables()}
    assert list(found) == ["broken", "cheap", "fruit", "words"]
    assert [(each.name, each.type, each.nullable, each.primary_key) for each in found["fruit"].columns] == [
        ("id", "INTEGER", False, True),
        ("name", "TEXT", False, False),
        ("price", "REAL", False, False),
    ]
    assert (found["cheap"].type, [each.name for each in found["cheap"].columns]) == ("view", ["name"])
    assert (found["words"].type, [each.name for each in found["words"].columns]) == ("table", ["word"])
    assert found["broken"].columns == []


def test_a_write_that_was_cut_off_is_undone(database: Database, path: Path) -> None:
    """A journal that a killed writer left behind is rolled back, and readers see the rows from before."""
    script = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("pragma cache_size = 1")
connection.execute("begin")
connection.execute("update fruit set name = hex(randomblob(20000))")
connection.execute("insert into fruit (name, price) select hex(randomblob(20000)), 1 from fruit, fruit")
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", script, path], check=False)
    assert path.with_name(path.name + "-journal").stat().st_size > 512
    assert query(database, "select count(*), min(name) from fruit") == [[12, "apple"]]
    assert not path.with_name(path.name + "-journal").exists()


def test_a_writer_of_a_file_that_takes_no_writes_is_reported() -> None:
    """If the file can be read but not written, the error says that the file is the cause, not the statement."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as undone:
        path = Path(folder, "main.sqlite")
        seed_database(path)
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        undone.callback(Path(folder).chmod, 0o755)
        if os.geteuid() == 0:  # Root may write every file, so become another user.
            os.seteuid(NOBODY)
            undone.callback(os.seteuid, 0)
        database = open_database(DatabaseSettings(f"sqlite:///{path}", f"sqlite:///{path}"))
        assert query(database, "select count(*) from fruit") == [[12]]
        with pytest.raises(ReadOnly, match="takes no writes now"):
            database.execute([Statement("delete from fruit", ())], 10, dry_run=False, seconds=5)
        database.close()
