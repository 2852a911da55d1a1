"""PostgreSQL and MariaDB: the guard reads the text as the engine does, and no call outlasts or outgrows its limits."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import shared.sql.engines.mysql as mysql_module
import shared.sql.engines.postgresql as postgresql_module
from shared.errors import InvalidRequest, InvalidSetting, StrongroomError
from shared.sql.databases import Database
from shared.sql.engines import Outcome, Statement
from shared.sql.errors import QueryTimeout, ReadOnly, RowTooLarge, SqlError
from shared.sql.settings import load_settings
from shared.sql.statements import Scanned, scan
from shared.sql.writers import Style, read_page
from tests.sql.servers import Server
from tests.sql.test_engines import rows, write
from tests.sql.test_servers import (  # noqa: F401 - fixtures.
    ask_mysql,
    ask_postgresql,
    my_server,
    my_shop,
    open_database,
    postgres_shop,
)

MIB = 1024 * 1024

# ---- The text.


@pytest.mark.parametrize("hidden", ["-- \rcommit", "/* /* */ */ commit", "$$ $$ commit"])
def test_postgresql_hides_no_statement(postgres_shop: Database, hidden: str) -> None:  # noqa: F811
    """The scanner ends a comment where PostgreSQL does: neither a dry run nor a failure leaves a row."""
    for more in ([], ["nope"]):
        statements = [Statement(each, ()) for each in ("insert into fruit values (2, 'b')", hidden, *more)]
        with pytest.raises(SqlError):
            postgres_shop.execute(statements, 10, dry_run=not more, seconds=30)
    assert rows(postgres_shop, "select * from fruit") == [[1, "apple"]]


def test_postgresql_reads_harmless_texts(postgres_shop: Database) -> None:  # noqa: F811
    """A comment that a carriage return ends, a slice, and identifiers that resemble refused words all run."""
    assert rows(postgres_shop, "-- comment\rselect 1") == [[1]]
    assert rows(postgres_shop, "select a[i:j] from (select array[5, 6, 7] as a, 1 as i, 2 as j) t") == [[[5, 6]]]
    assert rows(postgres_shop, "select array[:a, :b]", {"a": 1, "b": 2}) == [[[1, 2]]]


@pytest.mark.parametrize("sql", ["--\x01select '\n commit -- '", "--\x7fselect '\n commit -- '"])
def test_mariadb_hides_no_statement(my_shop: Database, sql: str) -> None:  # noqa: F811
    """For MySQL and the scanner, two hyphens and a control character begin a comment."""
    with pytest.raises(SqlError, match="COMMIT is not allowed"):
        write(my_shop, "insert into fruit values (2, 'b')", sql)
    assert rows(my_shop, "select * from fruit") == [[1, "apple"]]


def test_nul_is_refused(shop: Database) -> None:
    """NUL is refused, because only some engines end the statement there."""
    for sql in ("select 1\0 where false", "select '\0'"):
        with pytest.raises(InvalidRequest):
            rows(shop, sql)
        with pytest.raises(InvalidRequest):
            write(shop, sql)


# ---- The transaction, as the engine reports it.


@contextmanager
def blinded(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A scanner that takes every statement for an INSERT, as if the engine read the text differently."""

    def blind(sql: str, dialect: Any) -> Scanned:
        return scan(sql, dialect)._replace(words=("INSERT",), forbidden="")

    with monkeypatch.context() as patch:
        patch.setattr(module, "scan", blind)
        yield


ENDS = ["commit", "rollback", "commit and chain", "rollback and chain"]


@pytest.mark.parametrize("end", ENDS)
def test_postgresql_reports_an_end(postgres_shop: Database, monkeypatch: pytest.MonkeyPatch, end: str) -> None:  # noqa: F811
    """A commit that the scanner missed is an error, never a success."""
    with blinded(postgresql_module, monkeypatch), pytest.raises(SqlError, match="ended the call's transaction"):
        write(postgres_shop, "insert into fruit values (2, 'b')", end, "insert into fruit values (3, 'c')")
    assert [3, "c"] not in rows(postgres_shop, "select * from fruit")


@pytest.mark.parametrize("end", ENDS)
def test_mysql_reports_an_end(my_shop: Database, monkeypatch: pytest.MonkeyPatch, end: str) -> None:  # noqa: F811
    """A commit that the scanner missed is an error, never a success."""
    with blinded(mysql_module, monkeypatch), pytest.raises(SqlError, match="ended the call's transaction"):
        write(my_shop, "insert into fruit values (2, 'b')", end, "insert into fruit values (3, 'c')")
    assert [3, "c"] not in rows(my_shop, "select * from fruit")


# ---- Statements that callers may not run.

POSTGRESQL = [
    "set statement_timeout = 0", "set role reader", "set session authorization reader", "reset all",
    "discard all",
    "alter role current_user set work_mem = '1GB'", "alter user writer password 'x'",
    "alter database shop set a.b = 1",
    "alter system set work_mem = '1GB'", "do $$begin end$$", "prepare a as select 1",
    "select set_config('a.b', 'c', false)",
    "select \"set_config\" ('a.b', 'c', false)",
    "update pg_settings set setting = '0' where name = 'statement_timeout'",
    "select pg_terminate_backend(1)", "select pg_catalog . PG_Terminate_Backend /* a */ (1)",
    "select pg_cancel_backend(1)",
    "select * from U&\"pg!005fcatalog\" uescape '!'.pg_stat_activity",
    r'select U&"pg_terminate\005fbackend"(1)', "select U&\"pg_terminate!005fbackend\" uescape '!' (1)",
    "select * from pg_stat_activity", "table pg_stat_activity", 'select * from fruit, pg_catalog."pg_stat_activity"',
    "select * from fruit a join pg_stat_activity b on true", "select * from (pg_stat_activity)",
    "select query_to_xml('select 1', true, true, '')", "select * from ts_stat('select 1')",
    "select table_to_xml('pg_stat_activity', true, true, '')", "select * from dblink('a', 'b') as t (i integer)",
]  # fmt: skip
MYSQL = [
    "set @a = 1", "set password = 'x'", "set role none", "set statement max_statement_time = 0 for select 1",
    "kill 1",
    "execute immediate 'commit'", "prepare a from 'commit'", "use information_schema", "begin not atomic commit; end",
    "if 1 then commit; end if", "flush tables", "xa start 'a'", "alter user writer identified by 'x'",
    "show processlist",
    "show full processlist", "show grants", "show create user", "show engine innodb status", "explain for connection 1",
    "select * from information_schema.processlist", "select * from INFORMATION_SCHEMA . `PROCESSLIST`",
    "select * from \u0131nformation_\u017fchema.processlist", "select * from performance_schema.threads",
    "select 1 /*! into @a */", "select 1 /*M! into @a */", "select 1 into outfile '/tmp/strongroom-way'",
]  # fmt: skip


@pytest.mark.parametrize("sql", POSTGRESQL)
def test_postgresql_refuses_what_outlasts_a_call(postgres_shop: Database, sql: str) -> None:  # noqa: F811
    """Settings, roles, other sessions and functions that run SQL text are refused, however they are written."""
    for run in (rows, write):
        with pytest.raises((SqlError, ReadOnly), match="not allowed"):
            run(postgres_shop, sql)


@pytest.mark.parametrize("sql", MYSQL)
def test_mysql_refuses_what_outlasts_a_call(my_shop: Database, sql: str) -> None:  # noqa: F811
    """Settings, users, other sessions and statements that run SQL text are refused, however they are written."""
    for run in (rows, write):
        with pytest.raises((SqlError, ReadOnly), match="not allowed"):
            run(my_shop, sql)


def test_names_are_only_names(postgres_shop: Database, my_shop: Database) -> None:  # noqa: F811
    """A column, an alias, a table or a text may have a refused word as its name."""
    assert rows(postgres_shop, "select 1 as pg_stat_activity, 'pg_stat_activity', 2 as dblink") == [
        [1, "pg_stat_activity", 2]
    ]
    assert rows(postgres_shop, "select pg_stat_activity.id from fruit as pg_stat_activity") == [[1]]
    assert rows(postgres_shop, "select pg_stat_activity from (select 1 as pg_stat_activity) t") == [[1]]
    write(
        postgres_shop,
        "create table dblink (ts_stat integer)",
        "insert into dblink (ts_stat) values (1)",
        "drop table dblink",
    )
    assert rows(my_shop, "select 1 as processlist, 'information_schema.processlist'")[0][0] == 1
    write(my_shop, "create table processlist (grants integer)")
    assert rows(my_shop, "select grants from processlist") == []
    assert rows(my_shop, "show columns from processlist")[0][0] == "grants"
    write(my_shop, "drop table processlist")


def test_harmless_commands_run(postgres_shop: Database, my_shop: Database) -> None:  # noqa: F811
    """`set constraints` and commands that only show structure run."""
    write(postgres_shop, "set constraints all immediate")
    for sql in (
        "show tables",
        "show full columns from fruit",
        "show create table fruit",
        "show variables like 'version'",
    ):
        assert rows(my_shop, sql)


def test_the_writers_role_is_that_of_its_settings(postgresql: Server) -> None:
    """A writer whose settings name another role uses that role in every call, not only in a connection's first."""
    ask_postgresql(
        postgresql, "create role tables nologin; grant tables to writer; alter role writer set role = tables"
    )
    database = open_database(postgresql)
    try:
        found = [write(database, "select current_user::text")[0].rows for _ in range(3)]
        assert found == [[("tables",)]] * 3
    finally:
        database.close()
        ask_postgresql(postgresql, "alter role writer reset role; drop role tables")


def test_the_seed_of_random_numbers_is_not_the_next_callers(postgres_shop: Database) -> None:  # noqa: F811
    """A caller who seeds random() cannot predict the numbers of another call."""
    (expected,) = rows(postgres_shop, "select setseed(0.5), random()")
    rows(postgres_shop, "select setseed(0.5)")
    assert rows(postgres_shop, "select random()") != [[expected[1]]]


# ---- Statements that run on, and rows that are too large.


def test_postgresql_runs_nothing_on(postgresql: Server, postgres_shop: Database) -> None:  # noqa: F811
    """A statement that lifts its own limit ends with its call, also on the server."""
    write(
        postgres_shop,
        "create or replace function forever() returns integer language plpgsql as $$ begin "
        "perform set_config('statement_timeout', '0', true); loop end loop; end $$",
    )
    for sql in (["select forever()"], ["select 1", "select forever()"]):
        with pytest.raises(QueryTimeout):
            postgres_shop.execute([Statement(each, ()) for each in sql], 1, dry_run=False, seconds=0.5)
    with pytest.raises(QueryTimeout):
        rows(postgres_shop, "select case when i > 1 then forever() end from generate_series(1, 300) i", seconds=0.5)
    busy = "select query from pg_stat_activity where usename in ('reader', 'writer') and state <> 'idle'"
    assert soon(lambda: ask_postgresql(postgresql, busy) == [])


def test_mysql_runs_nothing_on(my_server: Server, my_shop: Database) -> None:  # noqa: F811
    """A procedure that lifts the limit ends with its call, also on the server, and its settings end with it."""
    write(my_shop, "drop procedure if exists forever")
    write(
        my_shop,
        "create procedure forever() begin set session max_statement_time = 0; "
        "set session sql_mode = 'NO_BACKSLASH_ESCAPES'; select benchmark(100000000000, sha1('a')); end",
    )
    with pytest.raises(QueryTimeout):
        my_shop.execute([Statement("call forever()", ())], 1, dry_run=False, seconds=0.5)
    busy = "select info from information_schema.processlist where user in ('reader', 'writer') and command <> 'Sleep'"
    assert soon(lambda: ask_mysql(my_server, busy) == [])
    assert write(my_shop, ("select ?", ["\\' "]))[0].rows == [("\\' ",)]


def soon(holds: Callable[[], bool]) -> bool:
    """Whether the condition holds soon, also on a busy machine."""
    deadline = time.monotonic() + 30
    while not (found := holds()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def growth(call: Callable[[], object]) -> int:
    """The peak memory of the process while `call` runs, in bytes above its start."""
    statm = Path("/proc/self/statm")
    most, done = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, int(statm.read_text().split()[1]) * 4096)
            done.wait(0.001)

    before = int(statm.read_text().split()[1]) * 4096
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        call()
    finally:
        done.set()
        watcher.join()
    return most - before


LARGE = {
    "postgresql": "select repeat('x', 4000000) from generate_series(1, 100)",
    "mariadb": "select repeat('x', 4000000) from seq_1_to_100",
}


@pytest.mark.parametrize("name", LARGE)
def test_large_rows_are_read_by_bytes(name: str, request: pytest.FixtureRequest) -> None:
    """A hundred rows of 4 MB use at most 64 MiB beside the response and one row; a row over 16 MiB is 422."""
    database = open_database(request.getfixturevalue(name))

    def page() -> None:
        with database.reading(60) as session:
            cursor = session.query(LARGE[name], (), rows=101, explain=False)
            assert read_page(cursor, Style(), 100, 8 * MIB).truncated

    page()
    assert growth(page) < (64 + 8 + 4) * MIB
    with pytest.raises(RowTooLarge):
        rows(database, "select repeat('x', 9000000), repeat('y', 9000000)")
    assert rows(database, "select 1") == [[1]]
    database.close()


# ---- Writes that cannot be undone.


def test_tables_without_transactions(my_shop: Database) -> None:  # noqa: F811
    """A dry run and `statements` refuse such tables before the first write, also behind a trigger or a view."""
    for sql in ("drop view if exists seen", "drop table if exists plain", "drop table if exists heap"):
        write(my_shop, sql)
    write(my_shop, "create table plain (id integer) engine = myisam")
    write(my_shop, "create table heap (id integer) engine = memory")
    write(my_shop, "create view seen as select * from plain")
    write(my_shop, "create trigger copies after insert on fruit for each row insert into heap values (new.id)")
    try:
        for sql in ("insert into plain values (1)", "insert into `Plain` values (1)", "insert into seen values (1)",
                    "insert into fruit values (7, 'g')", "delete from heap"):  # fmt: skip
            with pytest.raises(SqlError, match="has no transactions"):
                my_shop.execute([Statement(sql, ())], 1, dry_run=True, seconds=30)
            with pytest.raises(SqlError, match="has no transactions"):
                write(my_shop, "update fruit set name = 'late'", sql)
        assert rows(my_shop, "select count(*) from plain") == rows(my_shop, "select count(*) from heap") == [[0]]
        assert rows(my_shop, "select name from fruit") == [["apple"]]
        assert write(my_shop, "insert into plain values (1)")[0].rows_affected == 1
    finally:
        for sql in ("drop trigger copies", "drop view seen", "drop table plain", "drop table heap"):
            write(my_shop, sql)


def test_deferred_constraints(postgres_shop: Database) -> None:  # noqa: F811
    """A dry run reports the errors that the commit would report."""
    write(postgres_shop, "drop table if exists part")
    write(postgres_shop, "create table part (id integer references fruit deferrable initially deferred)")
    statements = [Statement("insert into part values (99)", ())]
    for dry_run in (True, False):
        with pytest.raises(SqlError, match="foreign key"):
            postgres_shop.execute(statements, 1, dry_run=dry_run, seconds=30)
    write(postgres_shop, "drop table part")


def test_a_failed_definition_fails_again(my_shop: Database) -> None:  # noqa: F811
    """MySQL commits before a DDL statement: one that fails under an Idempotency-Key leaves no record of success."""

    def once(key: str, sql: str) -> tuple[bytes, bool]:
        def tell(outcomes: list[Outcome]) -> bytes:
            return str(len(outcomes)).encode()

        return my_shop.execute_once(key, sql.encode(), [Statement(sql, ())], 10, tell=tell, seconds=30)

    with suppress(SqlError):
        write(my_shop, "drop table strongroom_answers")
    for _ in range(2):
        with pytest.raises(SqlError, match="already exists"):
            once("definition", "create table fruit (id integer)")
    write(my_shop, "drop table if exists later")
    assert [once("good", "create table later (id integer)") for _ in range(2)] == [(b"1", False), (b"1", True)]
    write(my_shop, "drop table later")


# ---- Warnings and settings.


def test_readers_with_more_rights_are_warned_of(postgresql: Server, postgres_shop: Database) -> None:  # noqa: F811
    """The details of `health` list the rights of the reader beyond reading."""
    before = {code for code, _ in postgres_shop.warnings()}
    assert "reader-may-write" not in before
    ask_postgresql(postgresql, "grant insert on fruit to reader")
    try:
        assert "reader-may-write" in {code for code, _ in postgres_shop.warnings()}
    finally:
        ask_postgresql(postgresql, "revoke insert on fruit from reader")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p#w@host/db", "postgresql://host:port/db", "postgresql://host/db?sslmod=require",
        "mysql://host", "mysql://u:p@host:99999/db", "mysql://host/db?tls=1", "mysql://[::1/db", "sqlite:///", "sqlite://a",
        "oracle://host/db", "blob://container", "sqlite:///a%00b",
    ],
)  # fmt: skip
def test_a_broken_url_stops_the_app(url: str) -> None:
    """A broken URL is an InvalidSetting at start; the error names the setting and does not show the URL."""
    with pytest.raises(InvalidSetting, match="DATABASE_MAIN") as caught:
        load_settings({"DATABASE_MAIN": url})
    assert "p#w" not in str(caught.value)


def test_a_writer_is_of_its_readers_kind() -> None:
    """A writer on another engine than its reader is an InvalidSetting at start."""
    with pytest.raises(StrongroomError, match="same kind"):
        load_settings({"DATABASE_MAIN": "mysql://host/db", "DATABASE_MAIN_WRITE": "postgresql://host/db"})
