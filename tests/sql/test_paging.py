# ruff: noqa: S608 - statements are put together of what the tests themselves say.
"""Pages: each row once, also where rows come and go meanwhile, over every engine."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidRequest, StorageUnavailable
from shared.sql.databases import Database
from shared.sql.engines import Statement
from shared.sql.paging import Term, order_of
from shared.sql.responses import PageQuery, chosen_format, page_response
from shared.sql.statements import clip
from shared.sql.values import Column, Style, sqlite_column
from shared.web import Cursors


def new_cursors() -> Cursors:
    """Cursors with a key of their own."""
    key = secrets.token_bytes(32)
    return Cursors(lambda: key)


def unavailable() -> bytes:
    """The key of cursors while storage is unavailable."""
    raise StorageUnavailable


CURSORS = new_cursors()


def ask(sql: str, limit: int, cursor: str | None = None, params: Any = ()) -> PageQuery:
    """A question with the usual limits."""
    return PageQuery(
        sql=sql, params=params, style=Style(), limit=limit, max_bytes=10**7, seconds=20.0, cursor=cursor,
        question=("shop", sql, params),
    )  # fmt: skip


def page(database: Database, sql: str, limit: int, cursor: str | None = None, params: Any = ()) -> dict[str, Any]:
    """One page, as the caller sees it."""
    response: dict[str, Any] = json.loads(page_response(database, CURSORS, ask(sql, limit, cursor, params)).body)
    return response


def pages(database: Database, sql: str, limit: int, params: Any = ()) -> Iterator[list[list[Any]]]:
    """Every page, in turn."""
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
    """Write."""
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
    """All pages together are the rows of the statement, in its order, whatever the order and the limit."""
    if numbers.engine == "mysql" and order == "order by part":
        pytest.skip("Which of two equal rows comes first, it decides anew for each limit.")
    sql = f"select id, part, gap, word from numbers {order}"
    found = [row for rows in pages(numbers, sql, limit) for row in rows]
    assert sorted(found, key=str) == sorted(page(numbers, sql, 100)["rows"], key=str)
    if "id" in order:
        assert found == page(numbers, sql, 100)["rows"]


@pytest.mark.parametrize("params", [[2], {"least": 2}])
def test_rows_that_come_and_go_disturb_no_page(numbers: Database, params: Any) -> None:
    """Where the statement says its order, rows written and deleted before the page repeat no row and hide none."""
    mark = "?" if isinstance(params, list) else ":least"
    sql = f"select id, word from numbers where id > {mark} order by id"
    given = pages(numbers, sql, 5, params)
    assert [row[0] for row in next(given)] == [3, 4, 5, 6, 7]
    run(numbers, "delete from numbers where id in (3, 4)")
    assert [row[0] for row in next(given)] == [8, 9, 10, 11, 12]
    run(numbers, "insert into numbers values (4, 0, 0, 'again')")
    run(numbers, "insert into numbers values (21, 0, 0, 'new')")
    assert [row[0] for rows in given for row in rows] == list(range(13, 22))


def test_a_cursor_is_ours_and_of_its_query(numbers: Database) -> None:
    """A cursor that was changed, made by another or for another query is refused, naming the field."""
    sql = "select id from numbers order by id"
    cursor = page(numbers, sql, 5)["cursor"]
    assert page(numbers, sql, 5, cursor)["rows"][0] == [6]
    changed = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
    for wrong, asked in ((changed, sql), (cursor, sql + " "), ("AAAA", sql), ("", sql), ("é", sql)):
        with pytest.raises(InvalidRequest) as caught:
            page(numbers, asked, 5, wrong)
        assert caught.value.errors[0].field == "cursor"
    with pytest.raises(InvalidRequest):
        page_response(numbers, new_cursors(), ask(sql, 5, cursor))


def test_without_a_secret_truncation_is_still_told(numbers: Database) -> None:
    """Where no cursor can be signed, the rows are answered all the same, and that there are more."""
    response = json.loads(page_response(numbers, Cursors(unavailable), ask("select id from numbers", 5)).body)
    assert (response["row_count"], response["truncated"], response["cursor"]) == (5, True, None)


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
    """An order is known where the statement ends in one, by columns of the answer that can be compared exactly."""
    assert order_of(sql, "sqlite", COLUMNS).terms == [Term(*each) for each in order]


def test_names_that_stand_twice_give_no_order() -> None:
    """Which of two columns of one name is meant is no guess of ours."""
    assert order_of("select id, id from a order by id", "sqlite", (COLUMNS[0], COLUMNS[0])).terms == []


@given(st.text(alphabet="ab'\"-/*;\n ", max_size=30))
def test_clip_takes_away_what_says_nothing(sql: str) -> None:
    """What is clipped off a statement is blank, and nothing more can be clipped."""
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
    """The media type that is wanted most decides, JSON where none is ours, and the field `format` beats it."""
    assert chosen_format(None, accept) == form
    assert chosen_format("objects", accept) == "objects"
