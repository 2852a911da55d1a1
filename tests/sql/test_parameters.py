# ruff: noqa: S608 - the tests build statements from their own texts.
"""Values as parameters: a value of a response finds its row again, and every parameter has a type."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.sql.databases import Database, Databases
from shared.sql.engines.mysql_types import has_offset, mysql_timestamp
from shared.sql.errors import ReadOnly, SqlError
from shared.sql.responses import check_tables
from shared.sql.routes.databases import _describe
from shared.sql.saved import Parameter, bind
from shared.sql.settings import DatabaseSettings
from shared.sql.values import Json, Typed
from shared.sql.writers import Style
from shared.web import decode_base64
from tests.sql.conftest import NO_FILES, no_token
from tests.sql.servers import Server
from tests.sql.test_engines import read, rows, write

SAME = {
    "sqlite": "numeric(10, 2), small real, large double precision, day date, hour time, moment timestamp, "
    "zoned datetime",
    "postgresql": "numeric(10, 2), small real, large double precision, day date, hour time, moment timestamp, "
    "zoned timestamptz",
    "mysql": "numeric(10, 2), small double, large double precision, day date, hour time(3), moment datetime(3), "
    "zoned timestamp(3) null",
}


@pytest.fixture
def things(shop: Database) -> Iterator[Database]:
    """The database with a table of one row, with a value of each type whose text has more than one form."""
    write(shop, "drop table if exists things")
    write(
        shop,
        f"create table things (id integer primary key, flag boolean, word varchar(40), bits "
        f"{'bytea' if shop.engine == 'postgresql' else 'blob'}, price {SAME[shop.engine]})",
    )
    values = [True, "é", b"\x00\xff", "1.50", 1.1, 1e300, "2026-01-31", "09:30:00.250", "2026-01-31 09:30:00.250",
              "2026-01-31 09:30:00.250"]  # fmt: skip
    write(shop, (f"insert into things values (1, {', '.join('?' * len(values))})", values))
    yield shop
    write(shop, "drop table if exists things")


def test_a_value_of_a_response_finds_its_row(things: Database) -> None:
    """Each value of a response, sent back as a parameter, equals the column it came from, on every engine."""
    page = read(things, "select * from things")
    (row,) = json.loads(b"[" + page.rows + b"]")
    for column, value in zip(page.columns, row, strict=True):
        sent = b"\x00\xff" if isinstance(value, dict) else value
        found = rows(things, f"select id from things where {column['name']} = ?", [sent])
        assert found == [[1]], (column, value)
        assert rows(things, f"select id from things where (:v is null or {column['name']} = :v)", {"v": sent}) == [[1]]


def test_declared_parameters_find_their_row(things: Database) -> None:
    """A value of a response, sent as a parameter of a saved query with the column's type, finds its row."""
    page = read(things, "select * from things")
    (row,) = json.loads(b"[" + page.rows + b"]")
    for column, value in zip(page.columns, row, strict=True):
        declared = [Parameter("v", column["type"])]  # type: ignore[arg-type]
        for sent, by_url in ((value, False), (value["base64"] if isinstance(value, dict) else str(value), True)):
            params = bind(declared, {"v": sent}, things.engine, by_url=by_url)
            found = rows(things, f"select id from things where (:v is null or {column['name']} = :v)", params)
            assert found == [[1]], (column, sent)
        nothing = bind(declared, {"v": None}, things.engine, by_url=False)
        assert rows(things, f"select id from things where (:v is null or {column['name']} = :v)", nothing) == [[1]]


def test_decimals_compare_with_sums(things: Database) -> None:
    """A declared decimal is a number to every engine: `having sum(price) > :m` is true where it should be."""
    for text, expected in (("1.49", [[1]]), ("1.5", []), ("1.51", [])):
        params = bind([Parameter("m", "decimal")], {"m": text}, things.engine, by_url=True)
        assert rows(things, "select id from things group by id having sum(price) > :m", params) == expected


def test_nul_in_a_bound_text(things: Database) -> None:
    """A text with NUL comes back unchanged from an engine that stores it; PostgreSQL refuses it."""
    if things.engine == "postgresql":
        with pytest.raises(SqlError, match="NUL"):
            rows(things, "select ?", ["a\0b"])
        with pytest.raises(SqlError, match="NUL"):
            write(things, ("update things set word = ?", ["a\0b"]))
    else:
        write(things, ("update things set word = ?", ["a\0b"]))
        assert rows(things, "select word from things where word = ?", ["a\0b"]) == [["a\0b"]]


def test_the_apps_own_table_is_out_of_reach(shop: Database) -> None:
    """Queries, exports and listings do not show the table that stores the responses of other callers."""
    for name in ("strongroom_answers", "STRONGROOM_Answers", "main.strongroom_answers"):
        with pytest.raises(SqlError, match="belongs to the app"):
            check_tables(f"select * from {name}", shop.engine)
    if shop.engine == "postgresql":
        with pytest.raises(SqlError, match="belongs to the app"):
            check_tables('select * from U&"\\0073trongroom_answers"', shop.engine)
    else:
        with pytest.raises(SqlError, match="belongs to the app"):
            check_tables("select * from `strongroom_answers`", shop.engine)
    check_tables("select 'strongroom_answers', strongroom_answer from t -- strongroom_answers", shop.engine)


# ---- PostgreSQL.


@pytest.fixture
def postgres(postgresql: Server) -> Iterator[Database]:
    """A PostgreSQL with a table whose columns have types of their own."""
    settings = DatabaseSettings(postgresql.reader, postgresql.writer)
    database = Databases({"shop": settings}, no_token, NO_FILES).get("shop")
    write(database, "drop table if exists typed")
    write(
        database,
        "create table typed (id integer primary key, name text, whole smallint, exact numeric, near real, "
        "moment timestamptz, tree jsonb, key uuid, kept json)",
    )
    key = "c0a8c1d2-0000-0000-0000-000000000000"
    row = [1, "a", 3, 1.1, 1.1, "2026-01-31T09:30:00Z", '{"a": 1}', key, '{"a":"\\ud800",\n"b":1}']
    write(database, (f"insert into typed values ({', '.join('?' * len(row))})", row))
    yield database
    write(database, "drop table typed")
    database.close()


@pytest.mark.parametrize(
    ("sql", "params", "expected"),
    [
        ("select id from typed where (:q is null or name = :q)", {"q": "a"}, [[1]]),
        ("select id from typed where (:q is null or name = :q)", {"q": None}, [[1]]),
        ("select id from typed where (:q is null or id = :q)", {"q": "1"}, [[1]]),
        ("select id from typed where (:q is null or id = :q)", {"q": 1}, [[1]]),
        ("select id from typed where (:q is null or key = :q)", {"q": "C0A8C1D2-0000-0000-0000-000000000000"}, [[1]]),
        ("select ? * ?", [200, 200], [[40_000]]),
        ("select ? * ?", [100_000, 100_000], [[10**10]]),
        ("select ? * ?", [2**31, 2], [[2**32]]),
        ("select concat(?, 'x'), concat(?, ?)", ["a", 1, None], [["ax", "1"]]),
        ("select jsonb_build_object('a', ?, 'b', ?, 'c', ?)", ["x", 1, 1.5], [[{"a": "x", "b": 1, "c": 1.5}]]),
        ("select ? / 2, ? + 1, ?", [5.0, 1.5, 1.5], [[2.5, 2.5, 1.5]]),
        ("select substr('abc', ?), date '2026-01-31' + ?", [2, 1], [["bc", "2026-02-01"]]),
        ("select tree -> 'a', '[7,8]'::jsonb -> ? from typed where whole = ?", [1, 3], [[1, 8]]),
        ("select id from typed where exact = ? and near = ?", [1.1, 1.1], [[1]]),
        ("select :a || id, count(*) from typed group by :a || id", {"a": "x"}, [["x1", 1]]),
        ("select id from typed where name in (?, ?) limit ?", ["a", "b", 5], [[1]]),
        ("select coalesce(?, ?), ?::int, ? is null", [None, "b", "5", None], [["b", 5, True]]),
        ("select ?, ?, ?", [True, b"\x01", None], [[True, {"base64": "AQ"}, None]]),
        ("select interval '1 day' * ?, generate_series(1, ?)", [2, 1], [["P2D", 1]]),
    ],
)
def test_postgresql_finds_a_type_for_every_parameter(postgres: Database, sql: str, params: Any, expected: Any) -> None:
    """Each statement runs with values of any type, in its first call on a connection and in later ones."""
    for _ in range(2):
        assert rows(postgres, sql, params) == expected


@pytest.mark.parametrize(
    ("sql", "value", "expected"),
    [
        ("select :v + 1", Typed("2026-01-31", "date"), "2026-02-01"),
        ("select :v", Typed("2026-01-31T09:30:00+02:00", "timestamp"), "2026-01-31T07:30:00Z"),
        ("select :v", Typed("1.50", "decimal"), "1.50"),
        ("select :v -> 'a'", Typed('{"a":1}', "json"), 1),
        ("select count(*) from typed where name = :v", Typed("2026-01-31", "date"), 0),
        ("select concat(:v, 1)", Typed("a", "text"), "a1"),
        ("select :v is null", Typed(None, "integer"), True),
        ("select substr('abc', :v)", Typed(2, "integer"), "bc"),
    ],
)
def test_postgresql_uses_declared_types(postgres: Database, sql: str, value: Typed, expected: Any) -> None:
    """A parameter of a saved query has its declared type, or the one that the statement needs."""
    assert rows(postgres, sql, {"v": value}) == [[expected]]


def test_types_follow_a_table_that_changes(postgres: Database) -> None:
    """A statement still runs after the type of a column has changed."""
    for kind in ("char(4)", "name", "text", "char(4)"):
        write(postgres, "drop table if exists changing", f"create table changing (v {kind})")
        write(postgres, ("insert into changing values (?)", ["a"]))
        assert rows(postgres, "select v = 'a' from changing where v = ?", ["a   " if "(" in kind else "a"]) == [[True]]
    for kind, value in (("integer", 5), ("text", "5"), ("jsonb", "5")):
        write(postgres, "drop table if exists changing", f"create table changing (v {kind})")
        write(postgres, ("insert into changing values (?)", ["5"]))
        assert rows(postgres, "select v from changing where v = ?", ["5"]) == [[5 if kind == "jsonb" else value]]
    write(postgres, "drop table changing")


def test_arrays_are_written_as_scalars_are(postgres: Database) -> None:
    """The elements of an array, nested or not, are written as a column of their type is; dates may be BC."""
    scalars = [
        "timestamptz '2026-01-31 09:30:00.5+00'", "timestamp '2026-01-31 09:30'", "timestamptz '0044-03-15 09:30 BC'",
        "date '0044-03-15 BC'", "1.50::numeric", "'NaN'::numeric", """'{"a": [1]}'::jsonb""", "true", "'\\x00'::bytea",
        "time '09:30'", "timetz '09:30+00'", "interval '1 day'", "null::timestamptz", "1.5::real",
    ]  # fmt: skip
    for scalar in scalars:
        ((value, array, nested),) = rows(postgres, f"select {scalar}, array[{scalar}], array[array[{scalar}]]")
        assert (array, nested) == ([value], [[value]]), scalar
    moment = "0044-03-15T09:30:00Z BC"
    assert rows(postgres, f"select '{moment}'::timestamptz") == [[moment]]


def test_json_that_no_parser_accepts(postgres: Database) -> None:
    """JSON with lone surrogates or of any depth is written as PostgreSQL stores it, on one line."""
    assert read(postgres, "select kept from typed").rows == b'[{"a":"\\ud800", "b":1}]'
    depth = 3000
    deep = read(postgres, f"select (repeat('[', {depth}) || chr(10) || repeat(']', {depth}))::json").rows
    assert deep.count(b"[") == depth + 1
    assert b"\n" not in deep


def test_json_on_one_line() -> None:
    """JSON keeps its digits, and loses its line breaks, whether or not a parser accepts it."""
    assert Json.of('{"a":\r\n 1.50}').text == '{"a":1.50}'
    assert Json.of('["\\ud800",\r\n1.50]').text == '["\\ud800",  1.50]'


# ---- MariaDB.


@pytest.fixture
def maria(mariadb: Server) -> Iterator[Database]:
    """A MariaDB with a table of timestamps and texts."""
    settings = DatabaseSettings(mariadb.reader, mariadb.writer)
    database = Databases({"shop": settings}, no_token, NO_FILES).get("shop")
    write(database, "drop table if exists moments")
    write(database, "create table moments (id int primary key, at datetime(3), stamp timestamp(3) null, note text)")
    write(database, "insert into moments values (1, '2026-01-31 09:30', '2026-01-31 09:30', '2026-01-31T09:30:00Z')")
    yield database
    write(database, "drop table moments")
    database.close()


@pytest.mark.parametrize("declared", ["bit(1)", "bit(12)", "binary(4)", "varbinary(4)", "blob"])
def test_bytes_find_their_row_in_mariadb(maria: Database, declared: str) -> None:
    """Bytes of a response, sent back, equal the column they came from; so does an empty value."""
    write(maria, "drop table if exists pieces")
    write(maria, f"create table pieces (v {declared})")
    write(maria, "insert into pieces values (b'1')")
    page = read(maria, "select v from pieces")
    ((value,),) = json.loads(b"[" + page.rows + b"]")
    sent = decode_base64(value["base64"], "v")
    assert rows(maria, "select count(*) from pieces where v = ?", [sent]) == [[1]]
    assert rows(maria, "select ? = '', length(?)", [b"", b"ab"]) == [[1, 2]]
    write(maria, "drop table pieces")


FORMS = ["2026-01-31T09:30:00Z", "2026-01-31T09:30:00.000Z", "2026-01-31T11:30:00+02:00", "2026-01-31T04:00:00-05:30"]


@pytest.mark.parametrize("text", FORMS)
def test_mariadb_accepts_rfc_3339(maria: Database, text: str) -> None:
    """Timestamps with an offset are written and compared in UTC, and a column of texts keeps every character."""
    for column in ("at", "stamp"):
        assert rows(maria, f"select id from moments where {column} = ?", [text]) == [[1]]
        assert rows(maria, f"select count(*) from moments where {column} = ?", [text]) == [[1]]
        write(maria, (f"insert into moments (id, {column}, note) values (2, :t, :t)", {"t": text}))
        write(maria, (f"insert into moments (id, note, {column}) values (3, ?, ?)", [text, text]))
        expected = "2026-01-31T09:30:00.000" + ("Z" if column == "stamp" else "")
        sql = f"select {column}, note from moments where id > 1 order by id"
        assert rows(maria, sql) == [[expected, text]] * 2
        write(maria, (f"update moments set note = ? where id > 1 and {column} = ?", [text, text]))
        assert rows(maria, sql) == [[expected, text]] * 2
        write(maria, (f"delete from moments where id > 1 and {column} = ?", [text]))
        assert rows(maria, sql) == []
    write(maria, ("update moments set note = ?", [text]))
    assert rows(maria, "select note from moments where note = ?", [text]) == [[text]]


def test_a_wrong_timestamp_remains_an_error(maria: Database) -> None:
    """A text that is not a timestamp is refused, and nothing is written."""
    for text in ("2026-02-31T09:30:00Z", "2026-01-31T09:30:00Z!", "nonsense"):
        with pytest.raises(SqlError, match="1292"):
            write(maria, ("insert into moments (id, at) values (2, ?)", [text]))
    assert rows(maria, "select count(*) from moments") == [[1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T09:30:00Z", "2026-01-31 09:30:00"), ("2026-01-31T11:30:00.5+02:00", "2026-01-31 09:30:00.500000"),
        ("2026-01-31T09:30:00", "2026-01-31 09:30:00"), ("2026-01-31", "2026-01-31 00:00:00"),
        ("0001-01-01T00:00:00+02:00", "0001-01-01T00:00:00+02:00"),
        ("9999-12-31T23:59:59-02:00", "9999-12-31T23:59:59-02:00"), ("2026-01-31t09:30:00z", "2026-01-31 09:30:00"),
    ],
)  # fmt: skip
def test_timestamps_as_mysql_writes_them(text: str, expected: str) -> None:
    """An offset is applied; a time outside the years 1 to 9999 is left to the server."""
    assert mysql_timestamp(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("2026-01-31T09:30:00Z", True), ("2026-01-31T09:30:00", False), ("2026-01-31T09:30:00Z\n", False), (5, False),
     ("2026-01-31 09:30:00+02:00", True)],
)  # fmt: skip
def test_texts_with_an_offset(value: object, expected: bool) -> None:
    """Only a whole RFC 3339 timestamp with an offset may be converted."""
    assert has_offset(value) is expected


# ---- SQLite.


@pytest.mark.parametrize("sql", ["select * from mixed", "select id, replace(word, 'x', 'y') as word, bits from mixed",
                                 "select m.id, m.word, m.bits from mixed m where :no is null"])  # fmt: skip
def test_texts_that_are_not_utf_8(tmp_path: Path, sql: str) -> None:
    """A text that is not UTF-8 is base64 with a note in its column; every other row and value stays as it is."""
    path = tmp_path / "mixed.sqlite"
    path.touch()
    settings = DatabaseSettings(f"sqlite:///{path}", f"sqlite:///{path}")
    database = Databases({"shop": settings}, no_token, NO_FILES).get("shop")
    write(database, "create table mixed (id integer primary key, word text, bits blob)")
    for place in range(1, 61):
        word = "cast(x'e9' as text)" if place in (2, 33) else "'é'"
        write(database, f"insert into mixed values ({place}, {word}, x'e9')")
    params = {"no": None} if ":no" in sql else ()
    page = read(database, sql, params)
    found = json.loads(b"[" + page.rows + b"]")
    assert [row[0] for row in found] == list(range(1, 61))
    assert {json.dumps(row[2]) for row in found} == {'{"base64": "6Q"}'}
    assert [row[0] for row in found if row[1] != "é"] == [2, 33]
    assert found[1][1] == {"base64": "6Q"}
    assert [("note" in each, each["type"]) for each in page.columns][:2] == [(False, "integer"), (True, "text")]
    text = read(database, sql, params, form=Style("csv")).rows.decode()
    assert text.splitlines()[2] == "2,6Q,6Q"
    database.close()


def test_sqlite_reads_no_responses_of_others(tmp_path: Path) -> None:
    """The app's own table is unreachable however its name is written, and is not listed."""
    path = tmp_path / "kept.sqlite"
    path.touch()
    settings = DatabaseSettings(f"sqlite:///{path}", f"sqlite:///{path}")
    database = Databases({"shop": settings}, no_token, NO_FILES).get("shop")
    write(database, "create table strongroom_answers (id text)", "create view seen as select * from strongroom_answers")
    for name in (
        "strongroom_answers",
        "'strongroom_answers'",
        '"Strongroom_Answers"',
        "seen",
        "main.strongroom_answers",
    ):
        for sql in (f"select * from {name}", f"select count(*) from {name}"):
            with pytest.raises(ReadOnly, match="strongroom_answers"):
                rows(database, sql)
    assert [each.name for each in _describe(database).tables] == ["seen"]
    database.close()
