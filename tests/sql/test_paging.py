# ruff: noqa: S608 - the tests build statements from their own texts.
"""Pages return each row once on every engine, also if rows are added and deleted in between."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest, StorageUnavailable
from shared.sql.databases import Database
from shared.sql.engines import Statement
from shared.sql.engines.sqlite_types import sqlite_column
from shared.sql.paging import Term, certainly_differ, order_of
from shared.sql.responses import PageQuery, chosen_format, page_response
from shared.sql.statements import clip
from shared.sql.values import Column
from shared.sql.writers import Style
from shared.web import Cursors


def new_cursors() -> Cursors:
    """Cursors with their own key."""
    key = secrets.token_bytes(32)
    return Cursors(lambda: key)


def unavailable() -> bytes:
    """The key of cursors while storage is unavailable."""
    raise StorageUnavailable


CURSORS = new_cursors()


def query(sql: str, limit: int, cursor: str | None = None, params: Any = ()) -> PageQuery:
    """A page query with the usual limits."""
    return PageQuery(
        sql=sql, params=params, style=Style(), limit=limit, max_bytes=10**7, seconds=20.0, cursor=cursor,
        scope=("query-sql", "shop", sql, params),
    )  # fmt: skip


def page(database: Database, sql: str, limit: int, cursor: str | None = None, params: Any = ()) -> dict[str, Any]:
    """One page, as the caller sees it."""
    response: dict[str, Any] = json.loads(page_response(database, CURSORS, query(sql, limit, cursor, params)).body)
    return response


def pages(database: Database, sql: str, limit: int, params: Any = ()) -> Iterator[list[list[Any]]]:
    """Every page in turn."""
    cursor = None
    while True:
        response = page(database, sql, limit, cursor, params)
        yield response["rows"]
        cursor = response["cursor"]
        if cursor is None:
            assert not response["truncated"]
            return


@pytest.fixture
def numbers(shop: Database) -> Iterator[Database]:
    """The database with a fresh table of numbers: `id` from 1 to 20, `part` with ties, `gap` with nulls."""
    run(shop, "drop table if exists numbers")
    run(shop, "create table numbers (id integer primary key, part integer not null, gap integer, word varchar(20))")
    for number in range(1, 21):
        run(shop, "insert into numbers values (?, ?, ?, ?)", [number, number % 3, number % 4 or None, f"w{number % 5}"])
    yield shop
    run(shop, "drop table if exists numbers")


def run(database: Database, sql: str, params: Any = ()) -> None:
    """Run a writing statement."""
    database.execute([Statement(sql, params)], 1, dry_run=False, seconds=10)


@pytest.mark.parametrize(
    "order",
    [
        "", "order by id", "order by id desc", "order by part, id", "order by part desc, id asc", "order by gap, id",
        "order by gap desc, id desc", "order by word, id", "order by part", "order by id -- last\n;", "order by 1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("limit", [1, 3, 7, 20, 21])
def test_pages_hold_each_row_once(numbers: Database, order: str, limit: int) -> None:
    """All pages together are the rows of the statement, in its order, for every order and limit."""
    if numbers.engine == "mysql" and order == "order by part":
        pytest.skip("Which of two equal rows comes first, it decides anew for each limit.")
    sql = f"select id, part, gap, word from numbers {order}"
    found = [row for rows in pages(numbers, sql, limit) for row in rows]
    assert sorted(found, key=str) == sorted(page(numbers, sql, 100)["rows"], key=str)
    if "id" in order:
        assert found == page(numbers, sql, 100)["rows"]


@pytest.mark.parametrize("params", [[2], {"least": 2}])
def test_rows_that_come_and_go_disturb_no_page(numbers: Database, params: Any) -> None:
    """If the statement has an order, rows written and deleted before the page repeat no row and hide none."""
    mark = "?" if isinstance(params, list) else ":least"
    sql = f"select id, word from numbers where id > {mark} order by id"
    returned = pages(numbers, sql, 5, params)
    assert [row[0] for row in next(returned)] == [3, 4, 5, 6, 7]
    run(numbers, "delete from numbers where id in (3, 4)")
    assert [row[0] for row in next(returned)] == [8, 9, 10, 11, 12]
    run(numbers, "insert into numbers values (4, 0, 0, 'again')")
    run(numbers, "insert into numbers values (21, 0, 0, 'new')")
    assert [row[0] for rows in returned for row in rows] == list(range(13, 22))


def test_a_cursor_belongs_to_the_app_and_its_query(numbers: Database) -> None:
    """A cursor that was changed, forged or made for another query is refused, and the error names the field."""
    sql = "select id from numbers order by id"
    cursor = page(numbers, sql, 5)["cursor"]
    assert page(numbers, sql, 5, cursor)["rows"][0] == [6]
    changed = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
    for wrong, statement in ((changed, sql), (cursor, sql + " "), ("AAAA", sql), ("", sql), ("é", sql)):
        with pytest.raises(InvalidRequest) as caught:
            page(numbers, statement, 5, wrong)
        assert caught.value.errors[0].field == "cursor"
    with pytest.raises(InvalidRequest):
        page_response(numbers, new_cursors(), query(sql, 5, cursor))


def test_without_a_secret_truncation_is_still_reported(numbers: Database) -> None:
    """If no cursor can be signed, the response still has the rows, and says that there are more."""
    response = json.loads(page_response(numbers, Cursors(unavailable), query("select id from numbers", 5)).body)
    assert (response["row_count"], response["truncated"], response["cursor"]) == (5, True, None)


SETUPS: dict[str, list[tuple[str, str]]] = {
    "sqlite": [
        ("k text collate nocase", "k"), ("k date collate nocase", "k"), ("k text collate rtrim", "k desc"),
        ("k text", "k"), ("k numeric", "k"), ("k", "k"), ("k decimal(10, 2)", "k desc"), ("k blob", "k"),
        ("k integer collate nocase", "k"), ("k timestamp", "k"), ("k real", "k"),
    ],
    "postgresql": [
        ("k citext", "k"), ("k text", "k"), ("k text collate folded", "k"), ("k varchar(20) collate folded", "k desc"),
        ("k numeric", "k"), ("k interval", "k"), ("k char(8)", "k"), ("k timestamptz", "k"), ("k date", "k desc"),
        ("k double precision", "k"), ("k real", "k"), ("k uuid", "k"), ("k time", "k"), ("k timetz", "k"),
    ],
    "mysql": [
        ("k varchar(20)", "k"), ("k varchar(20) character set utf8mb4 collate utf8mb4_bin", "k"), ("k date", "k"),
        ("k decimal(10, 2)", "k"), ("k datetime", "k desc"), ("k time", "k"), ("k float", "k"), ("k bigint", "k"),
        ("k varchar(20)", '"k"'), ("k varchar(20)", "`k`"),
    ],
}  # fmt: skip
TEXTS = ["a", "A", "a", "b", "B ", "b", "B", "c", "", " ", "é", "E", "e", "1", "1.0", "01", None, None]
NUMBERS = ["1", "1.0", "1.00", "2", "2.0", "10", "9", "0", "-1", None]
STORED: dict[str, list[str | None]] = {
    "numeric": [*NUMBERS, "NaN", "NaN"], "interval": ["P1D", "PT24H", "P30D", "P1M", "PT0S", "P1D", "PT23H", None],
    "decimal(10,": NUMBERS, "double": [*NUMBERS, "1e300"], "real": NUMBERS, "float": NUMBERS,
    "bigint": ["1", "2", "2", "3"], "date": ["2026-01-31", "2026-01-31", "2026-02-01", "1999-01-01", None],
    "timestamptz": ["2026-01-31T09:30:00Z", "2026-01-31T10:30:00+01:00", "2026-01-31T09:30:00.5Z", None],
    "datetime": ["2026-01-31 09:30:00", "2026-01-31 09:30:00", "2026-02-01 00:00:00", None],
    "uuid": ["c0a8c1d2-0000-0000-0000-000000000000", "c0a8c1d2-0000-0000-0000-000000000001", None],
    "time": ["09:30:00", "10:30:00", "09:30:00", None], "timetz": ["09:30:00+00", "10:30:00+01", "09:30:00+02", None],
}  # fmt: skip


def keys_for(engine: str, declared: str) -> list[str | None]:
    """Values for a column of this declaration; SQLite accepts any of them in any column."""
    if engine == "sqlite":
        return [*TEXTS, *NUMBERS, "2026-01-31t09:30z", "2026-01-31T09:30Z"]
    return STORED.get(declared.split()[1], TEXTS)


@pytest.fixture
def folded(shop: Database, request: pytest.FixtureRequest) -> Database:
    """The database; in PostgreSQL with citext, and with a collation that ignores case."""
    if shop.engine == "postgresql":
        with psycopg.connect(request.getfixturevalue("postgresql").owner, autocommit=True) as owner:
            owner.execute("create extension if not exists citext")
            owner.execute(
                "create collation if not exists folded (provider = icu, locale = 'und-u-ks-level2', "
                "deterministic = false)"
            )
    return shop


@pytest.mark.parametrize("number", range(14))
@pytest.mark.parametrize("tail", ["", ", id", ", id desc"])
def test_values_that_the_engine_takes_as_equal_lose_no_row(folded: Database, number: int, tail: str) -> None:
    """Pages return each row once, whichever values the engine considers equal: case, scales, zones, units."""
    if number >= len(SETUPS[folded.engine]):
        return
    declared, order = SETUPS[folded.engine][number]
    keys = keys_for(folded.engine, declared)
    run(folded, "drop table if exists keyed")
    run(folded, f"create table keyed (id integer, {declared})")
    for place, key in enumerate(keys * 2):
        run(folded, "insert into keyed values (?, ?)", [place, key])
    if folded.engine == "sqlite":
        run(folded, "insert into keyed values (100, ?), (101, ?), (102, x'00'), (103, 9e999)", [1, 1.0])
    sql = f"select id, k from keyed order by {order}{tail}"
    if folded.engine == "mysql" and not tail:
        sql += ", id"  # The engine may order two equal rows differently for each limit.
    whole = page(folded, sql, 1000)["rows"]
    for limit in (1, 2, 3, 5):
        found = [row for rows in pages(folded, sql, limit) for row in rows]
        assert sorted(row[0] for row in found) == sorted(row[0] for row in whole), (declared, limit)
        if tail:
            assert found == whole
    run(folded, "drop table keyed")


def test_a_collation_of_an_expression_is_kept(shop: Database) -> None:
    """If the statement names a collation for its order column, no row is lost either."""
    if shop.engine != "sqlite":
        return
    run(shop, "drop table if exists keyed")
    run(shop, "create table keyed (k text)")
    for key in ("b", "A", "a", "B", "c", "a ", "C"):
        run(shop, "insert into keyed values (?)", [key])
    for collation in ("nocase", "rtrim", "binary"):
        sql = f"select k collate {collation} as n, rowid as r from keyed order by n, r"
        found = [row for rows in pages(shop, sql, 1) for row in rows]
        assert found == page(shop, sql, 100)["rows"]
    run(shop, "drop table keyed")


def test_a_parameter_may_have_any_name(numbers: Database) -> None:
    """The values of a cursor never replace a parameter of the caller."""
    sql = "select id from numbers where id > :strongroom_key_1 order by id"
    found = [row[0] for rows in pages(numbers, sql, 5, {"strongroom_key_1": 4}) for row in rows]
    assert found == list(range(5, 21))


@pytest.mark.parametrize(
    ("sql", "names", "terms"),
    [
        ('select a as "ID", b as x from t order by id', ["ID", "x"], []),
        ('select a as "ID" from t order by "ID"', ["ID"], [('"ID"', False)]),
        ("select id from t order by ID", ["id"], [("ID", False)]),
    ],
)
def test_names_in_postgresql(sql: str, names: list[str], terms: list[tuple[str, bool]]) -> None:
    """PostgreSQL folds a name without quotes to lower case, so it may be another column than the returned one."""
    columns = [Column(name, "integer", None, "number") for name in names]
    assert order_of(sql, "postgresql", columns).terms == [Term(*each) for each in terms]


def test_a_text_is_no_order() -> None:
    """MySQL and MariaDB read double quotes as a text, which gives rows no order."""
    columns = [Column("id", "integer", None, "number")]
    assert order_of('select id from t order by "id"', "mysql", columns).terms == []
    assert order_of("select id from t order by `id`", "mysql", columns).terms == [Term("`id`", False)]


@pytest.mark.parametrize(
    ("first", "second", "compared", "expected"),
    [
        ("1.0", "1.00", "number", False), ("1.0", "1.01", "number", True), ("NaN", "1", "number", False),
        ("Infinity", "Infinity", "number", False), (None, 1, "number", True), (None, None, "number", False),
        ("1" * 40, "1" * 39 + "2", "number", True), ("a", "A", "text", True), ("a", "A", "sqlite", False),
        ("a", "a ", "sqlite", False), ("a", "b", "sqlite", True), ("a\0b", "a\0c", "sqlite", False),
        ("1", "2", "sqlite", False), (1, 1.0, "sqlite", False), (1, 2, "sqlite", True), (1, "a", "sqlite", True),
        (float("inf"), 1, "sqlite", False), ("É", "é", "sqlite", True), ("2026-01-31", "2026-02-01", "date", True),
        ("2026-00-31", "2026-02-01", "date", False), ("0000-00-00", "2026-02-01", "date", False),
    ],
)  # fmt: skip
def test_what_is_certainly_different(first: Any, second: Any, compared: Any, expected: bool) -> None:
    """Two values are certainly different only if no rule of the engine makes them equal."""
    assert certainly_differ(first, second, compared) is expected


COLUMNS = (
    sqlite_column("id", "integer"),
    sqlite_column("Word", "text"),
    sqlite_column("day", "date"),
    Column("x", "json"),
)


@pytest.mark.parametrize(
    ("sql", "order"),
    [
        ("select * from a order by id", [("id", False)]),
        ("select * from a ORDER\nBY id DESC , Day asc; -- x", [("id", True), ("Day", False)]),
        ('select * from a order by "id"', [('"id"', False)]),
        ("select * from a", []),
        ("select * from a order by id limit 5", []),
        ("select * from (select * from a order by id)", []),
        ("select row_number() over (order by id)", []),
        ("select * from a order by a.id", []),
        ("select * from a order by id + 1", []),
        ("select * from a order by nope", []),
        ("select * from a order by id collate nocase", []),
        ("select * from a order by x", []),
        ("select * from a order by word", [("word", False)]),
        ("select id from a union select id from b order by id", []),
        ("select 1 -- order by id", []),
    ],
)
def test_the_order_of_a_statement(sql: str, order: list[tuple[str, bool]]) -> None:
    """An order is known if the statement ends in ORDER BY with columns of the response that compare exactly."""
    assert order_of(sql, "sqlite", COLUMNS).terms == [Term(*each) for each in order]


def test_names_that_stand_twice_give_no_order() -> None:
    """If two columns have the same name, the order is unknown."""
    assert order_of("select id, id from a order by id", "sqlite", (COLUMNS[0], COLUMNS[0])).terms == []


@given(st.text(alphabet="ab'\"-/*;\n ", max_size=30))
def test_clip_takes_away_what_says_nothing(sql: str) -> None:
    """`clip` removes only the end of a statement, and a second run removes nothing more."""
    clipped = clip(sql, "sqlite")
    assert sql.startswith(clipped)
    assert clip(clipped, "sqlite") == clipped


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "json"), ("", "json"), ("*/*", "json"), ("text/csv", "csv"), ("text/html, */*;q=0.1", "json"),
        ("application/json;q=0.5, text/csv", "csv"), ("text/csv;q=0.2, application/x-ndjson;q=0.9", "ndjson"),
        ("text/csv;q=nan", "json"), ("text/csv;q=0", "json"), ("image/png", "json"), (";;,,q=", "json"),
    ],
)  # fmt: skip
def test_accept_chooses_the_format(accept: str | None, form: str) -> None:
    """The media type of the highest quality decides, JSON if the app has none; the field `format` wins over Accept."""
    assert chosen_format(None, accept) == form
    assert chosen_format("objects", accept) == "objects"
