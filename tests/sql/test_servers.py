"""PostgreSQL, MariaDB and MySQL: ways around read-only, state that a call may leave behind, and failing servers."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import psycopg
import pymysql
import pytest

from shared.errors import Busy, StrongroomError
from shared.sql.databases import READERS, WRITERS, Database, Databases
from shared.sql.engines.mysql import _connector
from shared.sql.errors import DatabaseUnavailable, MultipleStatements, QueryTimeout, ReadOnly, SqlError
from shared.sql.settings import DatabaseSettings
from tests.sql.conftest import NO_FILES, no_token
from tests.sql.servers import MYSQLS, STARTS, Server, start_postgresql
from tests.sql.test_engines import ENDLESS, read, rows, write
from tests.support import StartApp, stop


def open_database(server: Server, reader: str | None = None, writer: str | None = None) -> Database:
    """The server's database, with the roles of the README, or with others."""
    settings = DatabaseSettings(reader or server.reader, writer or server.writer)
    return Databases({"shop": settings}, no_token, NO_FILES).get("shop")


@pytest.fixture
def postgres_shop(postgresql: Server) -> Iterator[Database]:
    """PostgreSQL, with the roles of the README."""
    database = open_database(postgresql)
    write(database, "drop table if exists fruit")
    write(database, "create table fruit (id integer primary key, name text)", "insert into fruit values (1, 'apple')")
    yield database
    database.close()


@pytest.fixture(params=MYSQLS)
def my_server(request: pytest.FixtureRequest) -> Server:
    """MariaDB and MySQL, in turn."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def my_shop(my_server: Server) -> Iterator[Database]:
    """MariaDB and MySQL in turn, with the users of the README."""
    database = open_database(my_server)
    write(database, "drop table if exists fruit")
    write(database, "create table fruit (id integer primary key, name varchar(20))")
    write(database, "insert into fruit values (1, 'apple')")
    yield database
    database.close()


def ask_postgresql(server: Server, sql: str) -> list[Any]:
    """The rows that the owner sees."""
    with psycopg.connect(server.owner, autocommit=True) as connection:
        found = connection.execute(sql.encode())
        return found.fetchall() if found.description else []


def ask_mysql(server: Server, sql: str) -> list[Any]:
    """The rows that the owner sees."""
    connection = _connector(server.owner, no_token)()
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())
    finally:
        connection.close()


# ---- Ways around read-only.

POSTGRES_WAYS = [
    "copy fruit to program 'touch /tmp/strongroom-way'",
    "copy (select 1) to '/tmp/strongroom-way'",
    "copy fruit from program 'echo 2'",
    "copy fruit to stdout",
    "select pg_read_file('/etc/passwd')",
    "select pg_ls_dir('/')",
    "select lo_import('/etc/passwd')",
    "select lo_export(1, '/tmp/strongroom-way')",
    "do $$ begin delete from fruit; end $$",
    "do $$ begin set transaction read write; delete from fruit; end $$",
    "set transaction read write",
    "set session characteristics as transaction read write",
    "select set_config('transaction_read_only', 'off', true)",
    "select set_config('transaction_read_only', 'off', false), sneak()",
    "select sneak()",
    "call sneaky()",
    "with gone as (delete from fruit returning *) select * from gone",
    "explain analyze delete from fruit",
    "explain (analyze) insert into fruit values (2, 'x')",
    "select * into other from fruit",
    "select * from fruit for update",
    "select nextval('way_numbers')",
    "create temporary table other (a integer)",
    "prepare way as delete from fruit",
    "execute way",
    "listen way",
    "notify way",
    "lock table fruit",
    "vacuum fruit",
    "reset all",
    "discard all",
    "refresh materialized view other",
    "alter role reader superuser",
    "set role writer",
    "select 1; delete from fruit",
    "select 1; commit; delete from fruit",
    "commit and chain",
    "commit; begin; delete from fruit",
    "prepare transaction 'way'",
    "load 'auto_explain'",
    "checkpoint",
    "declare way cursor with hold for select 1",
    "fetch all from strongroom",
    "select 1) as x; delete from fruit; --",
]


@pytest.mark.parametrize("sql", POSTGRES_WAYS)
def test_postgresql_has_no_way_round(postgresql: Server, postgres_shop: Database, sql: str) -> None:
    """No known way around a read-only transaction writes, reads files, runs programs or changes the connection."""
    write(
        postgres_shop, "create or replace function sneak() returns int language sql as 'delete from fruit returning 1'"
    )
    write(postgres_shop, "create or replace procedure sneaky() language sql as 'delete from fruit'")
    write(postgres_shop, "create sequence if not exists way_numbers")
    for _ in range(2):
        with pytest.raises((ReadOnly, SqlError, MultipleStatements)):
            rows(postgres_shop, sql)
    assert rows(postgres_shop, "select * from fruit") == [[1, "apple"]]
    assert rows(postgres_shop, "show transaction_read_only") == [["on"]]
    assert not os.path.exists("/tmp/strongroom-way")  # noqa: PTH110


def test_postgresql_reads_alone_even_as_its_owner(postgresql: Server, postgres_shop: Database) -> None:
    """If the reader is a role that may write, the transaction prevents it from writing."""
    owner = open_database(postgresql, reader=postgresql.owner)
    for sql in ("select sneak()", "with a as (delete from fruit returning 1) select * from a",
                "copy fruit to program 'touch /tmp/strongroom-way'", "select setval('way_numbers', 5)"):  # fmt: skip
        with pytest.raises((ReadOnly, SqlError, MultipleStatements)):
            rows(owner, sql)
    owner.close()
    assert rows(postgres_shop, "select * from fruit") == [[1, "apple"]]


MYSQL_WAYS = [
    "select * from fruit into outfile '/tmp/strongroom-way'",
    "select 1 into dumpfile '/tmp/strongroom-way'",
    "select 1 /*! into outfile '/tmp/strongroom-way' */",
    "select 1 /*M! into outfile '/tmp/strongroom-way' */",
    "select sneak()",
    "call sneaky()",
    "set transaction read write",
    "set session transaction read write",
    "set @@session.tx_read_only = 0",
    "start transaction read write",
    "begin not atomic delete from fruit; end",
    "execute immediate 'delete from fruit'",
    "prepare way from 'delete from fruit'",
    "create temporary table other (a integer)",
    "load data infile '/etc/passwd' into table fruit",
    "handler fruit open",
    "lock tables fruit write",
    "select * from fruit for update",
    "select * from fruit for share",
    "select * from fruit lock in share mode",
    "select next value for way_numbers",
    "do sneak()",
    "flush tables",
    "kill 1",
    "analyze table fruit",
    "explain delete from fruit; delete from fruit",
    "select 1; delete from fruit",
    "with a as (select 1) delete from fruit",
    "with a as (select 1) update fruit set id = 5",
    "grant all on *.* to reader",
    "use mysql",
    "delimiter //",
    "table fruit into outfile '/tmp/strongroom-way'",
    "values row(1) into outfile '/tmp/strongroom-way'",
    "with a as (select 1) select * from a into outfile '/tmp/strongroom-way'",
    "explain analyze delete from fruit",
    "explain analyze update fruit a, fruit b set a.name = 'x'",
    "explain analyze select sneak()",
    "select /*+ set_var(transaction_read_only = off) */ sneak()",
    "clone local data directory '/tmp/strongroom-way'",
    "set persist read_only = 1",
    "install component 'file://component_query_attributes'",
    "restart",
    "shutdown",
]


def make_sneaky(database: Database) -> None:
    """A function and a procedure that write, and a sequence if the engine has sequences."""
    write(database, "drop function if exists sneak")
    write(database, "create function sneak() returns int modifies sql data begin delete from fruit; return 1; end")
    write(database, "drop procedure if exists sneaky")
    write(database, "create procedure sneaky() begin start transaction read write; delete from fruit; end")
    with suppress(SqlError):
        write(database, "create sequence if not exists way_numbers")


@pytest.mark.parametrize("sql", MYSQL_WAYS)
def test_mysql_has_no_way_round(my_server: Server, my_shop: Database, sql: str) -> None:
    """No known way around a read-only transaction writes, writes files or changes the connection."""
    make_sneaky(my_shop)
    for _ in range(2):
        with pytest.raises((ReadOnly, SqlError, MultipleStatements)):
            rows(my_shop, sql)
    assert rows(my_shop, "select * from fruit") == [[1, "apple"]]


def test_mysql_reads_alone_even_as_its_owner(my_server: Server, my_shop: Database) -> None:
    """If the reader is a user who may write, the transaction prevents it from writing."""
    make_sneaky(my_shop)
    owner = open_database(my_server, reader=my_server.owner)
    for sql in ("select sneak()", "select 1 into outfile '/tmp/strongroom-way'", "select next value for way_numbers"):
        with pytest.raises((ReadOnly, SqlError, MultipleStatements)):
            rows(owner, sql)
    owner.close()
    assert rows(my_shop, "select * from fruit") == [[1, "apple"]]


def test_a_file_is_not_read_by_the_readers_role(my_shop: Database) -> None:
    """Without the FILE right, LOAD_FILE returns nothing."""
    assert rows(my_shop, "select load_file('/etc/passwd')") == [[None]]


# ---- State that a call may leave behind.


def test_postgresql_forgets_a_call(postgresql: Server, postgres_shop: Database) -> None:
    """Locks, temporary tables, settings and the seed of random numbers end with the call."""
    rows(postgres_shop, "select pg_advisory_lock(5)")
    assert ask_postgresql(postgresql, "select count(*) from pg_locks where locktype = 'advisory'") == [(0,)]
    assert rows(postgres_shop, "select name from fruit") == [["apple"]]
    write(
        postgres_shop,
        "create function lose() returns void language sql set work_mem = '1MB' as 'select 1'",
        "drop function lose()",
    )
    write(postgres_shop, "select pg_advisory_lock(5)")
    write(postgres_shop, "create temporary table fruit (other integer)")
    assert ask_postgresql(postgresql, "select count(*) from pg_locks where locktype = 'advisory'") == [(0,)]
    assert write(postgres_shop, "select name from fruit")[0].rows == [("apple",)]
    assert write(postgres_shop, "select current_user")[0].rows == [("writer",)]


def test_postgresql_undoes_what_its_read_only_lets_through(postgresql: Server, postgres_shop: Database) -> None:
    """Older versions write large objects in a read-only transaction; they end with it."""
    with suppress(SqlError, ReadOnly):
        rows(postgres_shop, "select lo_create(0)")
    assert ask_postgresql(postgresql, "select count(*) from pg_largeobject_metadata") == [(0,)]


def test_mysql_forgets_a_call(my_server: Server, my_shop: Database) -> None:
    """Variables, locks and temporary tables of a call end with it."""
    rows(my_shop, "select get_lock('way', 1), @way := 5")
    assert ask_mysql(my_server, "select is_free_lock('way')") == [(1,)]
    assert rows(my_shop, "select @way") == [[None]]
    write(my_shop, "create temporary table fruit (other integer)")
    assert write(my_shop, "select name from fruit")[0].rows == [("apple",)]


ACTIVITY = """
select count(*), count(*) filter (where state <> 'idle') from pg_stat_activity where usename in ('reader', 'writer')
"""
PROCESSES = """
select count(*), count(if(command <> 'Sleep', 1, null)) from information_schema.processlist
where user in ('reader', 'writer')
"""
COUNTS: dict[str, tuple[Callable[[Server, str], list[Any]], str]] = {
    "postgresql": (ask_postgresql, ACTIVITY),
    "mariadb": (ask_mysql, PROCESSES),
    "mysql": (ask_mysql, PROCESSES),
}


@pytest.mark.parametrize("name", STARTS)
def test_nothing_leaks(name: str, request: pytest.FixtureRequest) -> None:
    """After limits, errors and cut results, at most the pools' connections are open, and none runs a statement."""
    server: Server = request.getfixturevalue(name)
    database = open_database(server)
    run, count = COUNTS[name]
    before = run(server, count)[0][0]  # Connections of other tests' pools.

    def disturb(number: int) -> None:
        what = number % 4
        try:
            if what == 0:
                rows(database, ENDLESS[database.engine], seconds=0.05)
            elif what == 1:
                rows(database, "select nope")
            elif what == 2:
                read(database, "select a.* from information_schema.columns a, information_schema.columns b", limit=2)
            else:
                write(database, "create table if not exists other (a integer)", "select nope", seconds=1)
        except StrongroomError:
            pass

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(disturb, range(32)))
    at_rest(server, run, count, before + READERS + WRITERS)
    assert rows(database, "select 1") == [[1]]
    database.close()


def at_rest(server: Server, run: Callable[[Server, str], list[Any]], count: str, most: int) -> None:
    """Wait until no connection runs a statement and at most `most` are open: servers report a close a little late."""
    deadline = time.monotonic() + 60
    while (found := run(server, count)[0])[1] or found[0] > most:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


LONG = "select repeat('x', 10000) as x from information_schema.columns limit 780"
"""A response of nearly 8 MiB: far more than a connection buffers while nobody reads from it."""


def test_a_full_page_leaves_the_connection_at_rest(my_shop: Database) -> None:
    """After the last row of a full page the connection is reused; if more rows follow, a new one replaces it."""
    write(my_shop, *(("insert into fruit values (?, 'x')", [number]) for number in range(2, 10)))

    def connection() -> object:
        return rows(my_shop, "select connection_id()")

    first = connection()
    for _ in range(3):
        with my_shop.reading(10) as session:
            assert len(session.query("select * from fruit order by id", (), rows=4, explain=False).fetch(4)) == 4
        assert connection() == first
    with my_shop.reading(10) as session:
        assert len(session.query("select * from fruit order by id limit 9", (), rows=4, explain=False).fetch(4)) == 4
    assert connection() != first


@pytest.mark.parametrize("name", STARTS)
def test_callers_who_stall_or_leave_hold_no_connection(
    name: str, request: pytest.FixtureRequest, start_app: StartApp
) -> None:
    """Twice as many callers as the pool has connections do not read their responses, or leave before they get one:
    others get responses, every connection returns at rest, and callers that resume reading get the whole response."""
    server: Server = request.getfixturevalue(name)
    run, count = COUNTS[name]
    before = run(server, count)[0][0]
    app = start_app({"DATABASE_SHOP": server.reader})
    port = httpx.URL(app.url).port or 80
    query = {"sql": "select 1", "database": "shop"}

    def call(calls: ExitStack, sql: str, seconds: int) -> socket.socket:
        fields = urlencode({"sql": sql, "database": "shop", "timeout_ms": seconds * 1000, "code": app.function_key})
        caller = calls.enter_context(socket.socket())
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.settimeout(60)
        caller.connect(("127.0.0.1", port))
        caller.sendall(f"GET /api/query-sql?{fields} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return caller

    with ExitStack() as stalled, app.client() as client:
        waiting = [call(stalled, LONG, 60) for _ in range(2 * READERS)]
        with ExitStack() as left:
            for _ in range(2 * READERS):
                call(left, ENDLESS["postgresql" if name == "postgresql" else "mysql"], 1)
        deadline = time.monotonic() + 60
        while (response := client.post("/api/query-sql", json=query)).status_code == 429:  # All slots are in use.
            assert time.monotonic() < deadline
        assert response.json()["rows"] == [[1]]
        at_rest(server, run, count, before + READERS)
        for caller in waiting:
            late = http.client.HTTPResponse(caller)
            late.begin()
            assert json.loads(late.read())["row_count"] == 780
            late.close()


# ---- Servers that go away.


@pytest.mark.parametrize("name", STARTS)
def test_a_connection_that_died_is_replaced(name: str, request: pytest.FixtureRequest) -> None:
    """Connections that the server ended while they were idle are replaced, and no caller notices."""
    server: Server = request.getfixturevalue(name)
    database = open_database(server)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: rows(database, "select 1"), range(8)))
    write(database, "select 1")
    if name == "postgresql":
        ends = "select pg_terminate_backend(pid) from pg_stat_activity where usename in ('reader', 'writer')"
        ask_postgresql(server, ends)
    else:
        waiting = "select id from information_schema.processlist where user in ('reader', 'writer')"
        for (thread,) in ask_mysql(server, waiting):
            with pytest.MonkeyPatch.context():
                try:
                    ask_mysql(server, f"kill {thread}")
                except pymysql.MySQLError as error:
                    assert error.args[0] == 1094  # noqa: PT017 - the connection ended itself.
    for _ in range(8):
        assert rows(database, "select 1") == [[1]]
    assert write(database, "select 1")[0].rows == [(1,)]
    database.close()


@pytest.mark.parametrize("start", STARTS.values())
def test_a_server_that_is_down_is_reported_and_comes_back(start: Callable[[], Server], start_app: StartApp) -> None:
    """A server that is down is 503 with Retry-After, does not reveal its URL, and is used again once it is up."""
    server = start()
    app = start_app({"DATABASE_SHOP": server.reader, "DATABASE_SHOP_WRITE": server.writer})
    with app.client() as client:
        fields = {"sql": "select 1 as one", "database": "shop"}
        assert client.post("/api/query-sql", json=fields).json()["rows"] == [[1]]
        assert client.post("/api/execute-sql", json=fields).json()["rows"] == [[1]]
        server.stop()
        for function in ("query-sql", "execute-sql"):
            response = client.post(f"/api/{function}", json=fields)
            assert (response.status_code, response.json()["code"]) == (503, "database-unavailable")
            assert int(response.headers["retry-after"]) > 0
            assert "127.0.0.1" not in response.text
        listed = {each["name"]: each for each in client.get("/api/databases").json()["databases"]}
        assert (listed["shop"]["available"], listed["main"]["available"]) == (False, True)
        health = client.get("/api/health").json()
        assert (health["status"], health["services"]["databases"]["status"]) == ("degraded", "down")
        again = subprocess.Popen(
            server.process.args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd="/",
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 120
            while (response := client.post("/api/query-sql", json=fields)).status_code != 200:
                assert time.monotonic() < deadline, response.text
                time.sleep(0.1)
            assert response.json()["rows"] == [[1]]
        finally:
            os.killpg(again.pid, signal.SIGINT if start is start_postgresql else signal.SIGTERM)
            stop(again)
    assert "s3cret" not in app.log.read_text()


@pytest.mark.parametrize("name", STARTS)
def test_a_server_that_hangs_holds_nobody(name: str, request: pytest.FixtureRequest) -> None:
    """If a server accepts a call and never responds, the app gives up on it, and closes the connection."""
    server: Server = request.getfixturevalue(name)
    database = open_database(server)
    assert rows(database, "select 1") == [[1]]
    if name == "postgresql":
        ((backend,),) = rows(database, "select pg_backend_pid()")
    else:
        backend = server.process.pid
    os.kill(backend, signal.SIGSTOP)
    try:
        with pytest.raises((QueryTimeout, DatabaseUnavailable)):
            rows(database, "select 1", seconds=0.2)
    finally:
        os.kill(backend, signal.SIGCONT)
    assert rows(database, "select 1") == [[1]]
    database.close()


@pytest.mark.parametrize("name", STARTS)
def test_a_password_that_is_wrong_is_not_shown(name: str, request: pytest.FixtureRequest) -> None:
    """If authentication fails, the caller learns that, and the error does not show the URL."""
    server: Server = request.getfixturevalue(name)
    wrong = server.reader.replace("reader:", "reader:not-", 1)
    with pytest.raises(DatabaseUnavailable) as caught:
        rows(open_database(server, reader=wrong), "select 1")
    assert "reader" not in caught.value.detail


def test_mysql_is_stopped_where_it_does_not_stop_itself(my_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a server has no time limit of its own, another connection cancels the statement, and it stops."""
    database = open_database(my_server)
    with database.reading(5) as session:
        monkeypatch.setattr(type(session), "start", _without_limit(type(session).start))
    started = time.monotonic()
    with pytest.raises(QueryTimeout):
        rows(database, ENDLESS["mysql"], seconds=0.3)
    assert time.monotonic() - started < 20
    deadline = time.monotonic() + 10
    running = "select count(*) from information_schema.processlist where user = 'reader' and info like '%columns a%'"
    while ask_mysql(my_server, running) != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    monkeypatch.undo()
    assert rows(database, "select 1") == [[1]]
    database.close()


def _without_limit(start: Callable[[Any, float], None]) -> Callable[[Any, float], None]:
    def started(session: Any, seconds: float) -> None:
        start(session, seconds)
        limit = "max_statement_time" if session._is_mariadb else "max_execution_time"
        session._fetch_all(f"set {limit} = 0")

    return started


# ---- MySQL and MariaDB, where they differ from each other or from their driver.


def test_a_connection_that_idled_too_long_is_replaced(my_server: Server, my_shop: Database) -> None:
    """A connection that the server closed for idleness, which MySQL reports in a message, is replaced unnoticed."""
    ((usual,),) = ask_mysql(my_server, "select @@global.wait_timeout")
    ask_mysql(my_server, "set global wait_timeout = 1")
    database = open_database(my_server)
    try:
        own = {rows(database, "select connection_id()")[0][0]}
        own |= {write(database, "select connection_id()")[0].rows[0][0]}
        deadline = time.monotonic() + 20
        while own & {each for (each,) in ask_mysql(my_server, "select id from information_schema.processlist")}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        ask_mysql(my_server, f"set global wait_timeout = {usual}")
    assert rows(database, "select name from fruit") == [["apple"]]
    assert write(database, "update fruit set name = name")[0].rows_affected == 1
    database.close()


@pytest.mark.parametrize(
    "sql",
    ["select /*+ max_execution_time(0) */ sleep(30)", f"select /*+ max_execution_time(0) */ ({ENDLESS['mysql']})"],
)
def test_no_hint_lengthens_the_time_limit(my_shop: Database, sql: str) -> None:
    """A hint that removes MySQL's own time limit does not remove the app's."""
    started = time.monotonic()
    with pytest.raises(QueryTimeout):
        rows(my_shop, sql, seconds=0.3)
    assert time.monotonic() - started < 20
    assert rows(my_shop, "select name from fruit") == [["apple"]]


def test_a_wait_for_a_lock_ends(my_server: Server, my_shop: Database) -> None:
    """A call that waits for a row lock ends at its time limit; one with `nowait` fails at once."""
    other = _connector(my_server.owner, no_token)()
    with closing(other), other.cursor() as cursor:
        cursor.execute("start transaction")
        cursor.execute("update fruit set name = 'other' where id = 1")
        with pytest.raises(QueryTimeout):
            write(my_shop, "update fruit set name = 'ours' where id = 1", seconds=0.3)
        with pytest.raises(Busy):
            write(my_shop, "select * from fruit where id = 1 for update nowait")
    assert write(my_shop, "update fruit set name = 'ours' where id = 1")[0].rows_affected == 1


def open_with_table(server: Server, name: str) -> Database:
    """The server's database, with an empty table of this name."""
    database = open_database(server)
    write(database, f"drop table if exists {name}")
    write(database, f"create table {name} (id integer)")
    return database


@pytest.mark.parametrize("name", STARTS)
def test_the_time_limit_is_that_of_all_statements(name: str, request: pytest.FixtureRequest) -> None:
    """Statements that are each below the limit, and together above it, are interrupted and rolled back."""
    server: Server = request.getfixturevalue(name)
    database = open_with_table(server, "waited")
    wait = "select pg_sleep(0.4)" if name == "postgresql" else "select sleep(0.4)"
    started = time.monotonic()
    with pytest.raises(QueryTimeout):
        write(database, "insert into waited values (1)", *[wait] * 30, seconds=1)
    assert time.monotonic() - started < 30 * 0.4
    assert rows(database, "select * from waited") == []
    database.close()


@pytest.mark.parametrize("name", STARTS)
def test_a_server_that_takes_no_writes_says_so(name: str, request: pytest.FixtureRequest) -> None:
    """If the writer's server is a replica, the error says that it takes no writes."""
    server: Server = request.getfixturevalue(name)
    database = open_with_table(server, "kept")
    database.close()
    if name == "postgresql":
        ask_postgresql(server, "alter role writer set default_transaction_read_only = on")
    else:
        ask_mysql(server, "set global read_only = 1")
    try:
        with pytest.raises(ReadOnly, match="takes no writes"):
            write(database, "insert into kept values (1)")
    finally:
        if name == "postgresql":
            ask_postgresql(server, "alter role writer reset all")
        else:
            ask_mysql(server, "set global read_only = 0")
    database.close()
    assert write(database, "insert into kept values (1)")[0].rows_affected == 1
    database.close()


def test_an_account_that_is_locked_is_503(my_server: Server) -> None:
    """If the account is locked, the database is unavailable; this is not an error of the statement."""
    ask_mysql(my_server, "drop user if exists locked")
    ask_mysql(my_server, "create user locked identified by 'x' account lock")
    url = my_server.reader.partition("@")[2]
    with pytest.raises(DatabaseUnavailable):
        rows(open_database(my_server, reader=f"mysql://locked:x@{url}"), "select 1")


def test_a_password_may_hold_any_letter(my_server: Server) -> None:
    """Passwords beyond ASCII and beyond Latin-1 sign in, because MySQL hashes them as UTF-8."""
    url = my_server.reader.partition("@")[2]
    for password in ("pässwörd", "пароль❤"):
        ask_mysql(my_server, "drop user if exists letters")
        ask_mysql(my_server, f"create user letters identified by '{password}'")
        ask_mysql(my_server, "grant select on shop.* to letters")
        database = open_database(my_server, reader=f"mysql://letters:{quote(password)}@{url}")
        assert rows(database, "select 1") == [[1]]
        database.close()


def test_the_servers_modes_do_not_move_a_text(my_server: Server) -> None:
    """If the server's own mode parses texts differently, parameters stay values."""
    ((usual,),) = ask_mysql(my_server, "select @@global.sql_mode")
    ask_mysql(my_server, "set global sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES'")
    database = open_database(my_server)
    try:
        text = "\\' or 1 = 1 -- \""
        assert rows(database, 'select ?, "x"', [text]) == [[text, "x"]]
        assert write(database, ("select ?", [text]))[0].rows == [(text,)]
        hinted = "select /*+ set_var(sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES') */ ?, \"x\""
        assert rows(database, hinted, [text]) == [[text, "x"]]
    finally:
        ask_mysql(my_server, f"set global sql_mode = '{usual}'")
        database.close()


def test_an_estimate_of_rows_is_of_today(my_server: Server, my_shop: Database) -> None:
    """The row estimate follows the table once the engine counts again: it is not a cached one."""
    ask_mysql(my_server, "select table_rows from information_schema.tables where table_name = 'fruit'")
    numbers = "with recursive t(i) as (select 2 union all select i + 1 from t where i < 1000) select i, 'x' from t"
    write(my_shop, f"insert into fruit {numbers}")
    deadline = time.monotonic() + 60
    while True:
        with my_shop.reading(10) as session:
            estimates = {each.name: each.row_estimate for each in session.tables()}
        if (estimates["fruit"] or 0) > 500:
            return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_vector_is_bytes(mysql: Server) -> None:
    """MySQL's vectors are returned as their stored bytes."""
    database = open_database(mysql)
    if int(rows(database, "select version()")[0][0].partition(".")[0]) < 9:
        pytest.skip("This MySQL has no vectors: they came with version 9.")
    write(database, "drop table if exists vectors")
    write(database, "create table vectors (v vector(2))")
    write(database, "insert into vectors values (string_to_vector('[1,2]'))")
    assert read(database, "select v from vectors").columns == [{"name": "v", "type": "bytes"}]
    assert rows(database, "select v from vectors") == [[{"base64": "AACAPwAAAEA"}]]
    write(database, "drop table vectors")
    database.close()
