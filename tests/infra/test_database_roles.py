"""The SQL that makes the app's roles, run on a real PostgreSQL and MariaDB, and then the app with these roles."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import NamedTuple

import psycopg
import pymysql
import pytest

from tests.sql.servers import PASSWORD, Server, start_mariadb, start_postgresql
from tests.support import StartApp

from .bicep import INFRA

ADMIN_PASSWORD = "admin"
PRINCIPAL = "pgaadauth_create_principal_with_oid"


class Database(NamedTuple):
    """The addresses of the reader and the writer, and the output of the script."""

    reader: str
    writer: str
    printed: str


def script(name: str) -> str:
    """The script as the hook prints it."""
    ids = {"identity_principal_id": "55555555", "identity_client_id": "66666666", "host": "localhost"}
    return Template((INFRA / "database" / name).read_text()).substitute(ids)


def address(server: Server, user: str, password: str, database: str) -> str:
    """The URL of a database of `server`, for a user."""
    place = server.owner.rpartition("@")[2].partition("/")[0]
    scheme = server.owner.partition("://")[0]
    return f"{scheme}://{user}:{password}@{place}/{database}"


def run_psql(server: Server, user: str, password: str, path: Path) -> str:
    """The output of psql for a script. Fails if the script ends early."""
    port = server.owner.rpartition(":")[2].partition("/")[0]
    place = f"host=127.0.0.1 port={port} dbname=postgres user={user}"
    done = subprocess.run(
        ["psql", place, "--file", path],
        env=os.environ | {"PGPASSWORD": password},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=["superuser", "administrator"])
def postgresql(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A PostgreSQL with the script's roles: run by a superuser, and by an administrator such as Azure's."""
    server = start_postgresql()
    path = tmp_path_factory.mktemp("roles") / "roles.sql"
    path.write_text(script("postgresql.sql"))
    secret = server.owner.partition("owner:")[2].partition("@")[0]
    owner = address(server, "owner", secret, "postgres")
    try:
        with psycopg.connect(owner, autocommit=True) as connection:
            # The tests' replacement for Azure's extension: a role that signs in.
            connection.execute(
                f"create function {PRINCIPAL}(name text, oid text, kind text, is_admin boolean, mfa boolean) "
                "returns text language plpgsql security definer as "
                f"$$ begin execute format('create role %I login password %L', name, '{PASSWORD}'); return name; end $$"
            )
            connection.execute(f"create role admin login createrole createdb password '{ADMIN_PASSWORD}'")
            connection.execute("create database strongroom owner admin")
        who = ("owner", PASSWORD) if request.param == "superuser" else ("admin", ADMIN_PASSWORD)
        printed = run_psql(server, *who, path)
        # Run it again, as after a change: the output and the result are the same.
        again = run_psql(server, *who, path)
        assert [line for line in printed.splitlines() if line.startswith(("Done", "NOT DONE", "LEFT"))] == (
            again.splitlines()
        )
        reader = address(server, "strongroom_reader", secret, "strongroom")
        yield Database(reader, address(server, "strongroom_writer", secret, "strongroom"), printed)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def is_superuser(postgresql: Database, request: pytest.FixtureRequest) -> bool:
    """Whether the script was run by a superuser."""
    return "NOT DONE" not in postgresql.printed


def refused(connection: "psycopg.Connection[tuple[object, ...]]", statement: str) -> str:
    """The SQLSTATE that PostgreSQL refuses a statement with. Fails if it does not."""
    with pytest.raises(psycopg.Error) as raised:
        connection.execute(statement)
    return str(raised.value.sqlstate)


def test_the_script_says_what_it_could_not_do(postgresql: Database, is_superuser: bool) -> None:
    """For a superuser the script does everything; an administrator learns which limit and functions it left."""
    lines = postgresql.printed.splitlines()
    left = [line for line in lines if line.startswith(("NOT DONE", "LEFT"))]
    if is_superuser:
        assert left == []
    else:
        assert [line.partition(": ")[2] for line in left[:2]] == [
            f"ALTER ROLE {name} SET temp_file_limit = '1GB'" for name in ("strongroom_reader", "strongroom_writer")
        ]
        assert "pg_logical_emit_message" in left[2]
        assert len(left) == 3


def test_the_reader_reads_what_the_writer_makes(postgresql: Database) -> None:
    """The reader can read a new table of the writer at once, and only the writer can write to it."""
    with psycopg.connect(postgresql.writer, autocommit=True) as writer:
        writer.execute("create table pears (id serial primary key, name text)")
        writer.execute("insert into pears (name) values ('conference')")
        owner = writer.execute("select tableowner from pg_tables where tablename = 'pears'").fetchone()
        assert owner == ("strongroom_tables",)
    with psycopg.connect(postgresql.reader, autocommit=True) as reader:
        assert reader.execute("select name from pears").fetchall() == [("conference",)]
        assert refused(reader, "insert into pears (name) values ('x')") == "25006"
        reader.execute("set default_transaction_read_only = off")
        for statement in (
            "insert into pears (name) values ('x')",
            "create table mine (id integer)",
            "create temporary table mine (id integer)",
            "select nextval('pears_id_seq')",
            "select pg_read_file('/etc/hostname')",
        ):
            assert refused(reader, statement) == "42501", statement
    with psycopg.connect(postgresql.writer, autocommit=True) as writer:
        writer.execute("drop table pears")


def test_the_writer_cannot_alter_itself(postgresql: Database) -> None:
    """A caller of the writer cannot change its password or the settings of the next session."""
    with psycopg.connect(postgresql.writer, autocommit=True) as writer:
        assert writer.execute("select session_user, current_user").fetchone() == (
            "strongroom_writer",
            "strongroom_tables",
        )
        for statement in (
            "alter role strongroom_writer password 'x'",
            "alter role session_user set statement_timeout = 0",
            "alter role strongroom_reader set default_transaction_read_only = off",
            "create role mine",
            "drop role strongroom_reader",
            "alter database strongroom set work_mem = '1GB'",
            "alter system set work_mem = '1GB'",
        ):
            assert refused(writer, statement) == "42501", statement
        # This changes a role that nobody signs in as.
        writer.execute("alter role current_user set work_mem = '1GB'")
        # The app resets a session after each call, and the role stays.
        writer.execute("set session authorization default")
        writer.execute("reset all")
        assert writer.execute("select current_user").fetchone() == ("strongroom_tables",)
    with psycopg.connect(postgresql.writer, autocommit=True) as writer:
        assert writer.execute(
            "select current_setting('work_mem'), current_setting('statement_timeout')"
        ).fetchone() == (
            "16MB",
            "10min",
        )


def test_disk_and_memory_have_a_limit(postgresql: Database, is_superuser: bool) -> None:
    """A sort gets 16 MB of memory, and a gigabyte of disk where a superuser ran the script."""
    with psycopg.connect(postgresql.reader, autocommit=True) as reader:
        limits = reader.execute("select current_setting('work_mem'), current_setting('temp_file_limit')").fetchone()
        assert limits == ("16MB", "1GB" if is_superuser else "-1")
        if is_superuser:
            # 1.5 GB of rows to sort.
            rows = "select repeat(md5(i::text), 100) from generate_series(1, 500000) as i order by 1 offset 499999"
            assert refused(reader, rows) == "53400"


def test_functions_that_write_or_watch_are_revoked(postgresql: Database, is_superuser: bool) -> None:
    """If a superuser ran the script, the reader cannot write WAL, create large objects or see other sessions."""
    if not is_superuser:
        pytest.skip("only a superuser may revoke functions of pg_catalog; the script says which are left")
    with psycopg.connect(postgresql.reader, autocommit=True) as reader:
        for statement in (
            "select pg_logical_emit_message(false, 'a', repeat('x', 1000))",
            "select lo_from_bytea(0, 'x')",
            "select lo_creat(-1)",
            "select pg_notify('a', 'b')",
            "select pg_terminate_backend(1)",
            "select query_to_xml('select 1', true, true, '')",
            "select ts_rewrite('a'::tsquery, 'select 1')",
            "select * from pg_stat_activity",
            "select pg_stat_get_backend_activity(1)",
            "select setseed(0.5)",
        ):
            assert refused(reader, statement) == "42501", statement
        # Functions that many statements need are still allowed.
        reader.execute("select ts_rewrite('a'::tsquery, 'a'::tsquery, 'b'::tsquery), random(), pg_sleep(0)")
        # The app sets its time limit with this function.
        reader.execute("select set_config('statement_timeout', '1000', true)")


def test_the_app_works_with_these_roles(postgresql: Database, is_superuser: bool, start_app: StartApp) -> None:
    """The app writes as the writer and reads as the reader, call after call on the same connections."""
    app = start_app({"DATABASE_MAIN": postgresql.reader, "DATABASE_MAIN_WRITE": postgresql.writer})
    with app.client() as client:
        statements = [
            "create table plums (id integer primary key, name text)",
            "insert into plums values (1, 'mirabelle')",
        ]
        for statement in [*statements, "insert into plums values (2, 'zwetschge')"]:
            response = client.post("/api/execute-sql", json={"sql": statement})
            assert response.status_code == 200, response.text
        for _ in range(3):
            response = client.post("/api/query-sql", json={"sql": "select name from plums order by id"})
            assert response.json()["rows"] == [["mirabelle"], ["zwetschge"]], response.text
        names = [each["name"] for each in client.get("/api/databases").json()["databases"][0]["tables"]]
        assert "plums" in names
        assert client.post("/api/execute-sql", json={"sql": "drop table plums"}).status_code == 200
        details = client.get("/api/health/details").json()
        warnings = [each for each in details["warnings"] if each["subject"] == "main"]
    # The app warns of the changes that the script could not make.
    codes = set() if is_superuser else {"no-temp-file-limit", "reader-may-fill-the-log"}
    assert {each["code"] for each in warnings} == codes, warnings
    assert details["services"]["database-main"]["status"] == "ok"


@pytest.fixture(scope="module")
def mariadb() -> Iterator[Server]:
    """A MariaDB with the script's users; it has no Entra ID, so the two users have a password."""
    server = start_mariadb()
    try:
        text = script("mysql.sql").replace("SET aad_auth_validate_oids_in_tenant = OFF;", "")
        text = text.replace("CREATE AADUSER", "CREATE USER").replace("BY '66666666'", f"BY '{PASSWORD}'")
        statements = [part for part in (each.strip() for each in text.split(";\n")) if part]
        assert len(statements) == 6
        with connect(server, "root", "") as cursor:
            cursor.execute("create database strongroom character set utf8mb4")
            for _ in range(2):
                for statement in statements:
                    cursor.execute(statement)
        yield server
    finally:
        server.stop()


def connect(server: Server, user: str, password: str = PASSWORD) -> "pymysql.cursors.Cursor":
    """A cursor of a new connection, which closes with it."""
    port = int(server.owner.rpartition(":")[2].partition("/")[0])
    connection = pymysql.connect(host="127.0.0.1", port=port, user=user, password=password, autocommit=True)
    return connection.cursor()


def test_mysql_reader_and_writer_have_no_more_rights(mariadb: Server) -> None:
    """The reader reads tables of its database, the writer writes and makes them; neither reaches users or server."""
    with connect(mariadb, "strongroom_writer") as writer:
        writer.execute("create table strongroom.pears (id integer primary key, name text)")
        writer.execute("insert into strongroom.pears values (1, 'conference')")
        for statement in (
            "create user mine identified by 'x'",
            "alter user strongroom_writer with max_user_connections 0",
            "alter user strongroom_reader identified by 'x'",
            "set password for strongroom_reader = password('x')",
            "grant select on strongroom.* to strongroom_reader",
            "set global max_connections = 1",
            "create database mine",
            "create temporary table strongroom.mine (id integer)",
            "lock tables strongroom.pears write",
            "select * from mysql.user",
            "select 1 into outfile '/tmp/strongroom'",
            "create trigger strongroom.mine before insert on strongroom.pears for each row set @a = 1",
        ):
            with pytest.raises(pymysql.err.MySQLError) as raised:
                writer.execute(statement)
            assert raised.value.args[0] in (1044, 1045, 1142, 1227, 1370), (statement, raised.value)
    with connect(mariadb, "strongroom_reader") as reader, connect(mariadb, "strongroom_writer"):
        reader.execute("select name from strongroom.pears")
        assert reader.fetchall() == (("conference",),)
        for statement in ("insert into strongroom.pears values (2, 'x')", "create table strongroom.mine (id integer)"):
            with pytest.raises(pymysql.err.MySQLError) as raised:
                reader.execute(statement)
            assert raised.value.args[0] == 1142
        reader.execute("select load_file('/etc/hostname')")
        assert reader.fetchall() == ((None,),)
        reader.execute("show processlist")
        assert {row[1] for row in reader.fetchall()} == {"strongroom_reader"}
    with connect(mariadb, "root", "") as root:
        root.execute("select user, max_user_connections from mysql.user where user like 'strongroom%' order by user")
        assert root.fetchall() == (("strongroom_reader", 200), ("strongroom_writer", 100))
