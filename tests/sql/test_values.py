"""Rows as bytes in each format, and the meaning of declared types."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sql.engines.sqlite_types import sqlite_column
from shared.sql.values import Column, Columns, NotText, Row, Rows, unique
from shared.sql.writers import INFINITE, NOT_TEXT, Format, RowOverLimit, Style, read_page
from shared.web import decode_base64

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.binary(),
)
TABLES = st.integers(1, 5).flatmap(lambda width: st.lists(st.tuples(*[SCALARS] * width), max_size=40))


def columns_for(rows: list[Row]) -> tuple[Column, ...]:
    """Columns without a declared type, as many as the rows have."""
    return tuple(Column(f"c{place}") for place in range(len(rows[0]) if rows else 2))


def read_all(rows: list[Row], form: Format, columns: tuple[Column, ...] | None = None) -> bytes:
    """All rows in one page."""
    page = read_page(Rows(columns or columns_for(rows), rows), Style(form), 10_000, 10**9)
    assert page.row_count == len(rows)
    assert not page.truncated
    return page.rows


def plain(value: Any) -> Any:
    """A value converted to JSON and parsed again."""
    return {"base64": value} if isinstance(value, bytes) else value


def back(value: Any) -> Any:
    """A value of the response, with its bytes decoded."""
    return {"base64": decode_base64(value["base64"], "")} if isinstance(value, dict) else value


@given(TABLES)
def test_json_keeps_every_value(rows: list[Row]) -> None:
    """Every value of a row comes back from its JSON, with the same type and every digit."""
    found = json.loads(b"[" + read_all(rows, "json") + b"]")
    assert [[repr(back(value)) for value in row] for row in found] == [
        [repr(plain(value)) for value in row] for row in rows
    ]


@given(TABLES)
def test_objects_and_lines_hold_the_same_as_arrays(rows: list[Row]) -> None:
    """`objects` and `ndjson` hold the rows of `json`, under the columns' names."""
    arrays = json.loads(b"[" + read_all(rows, "json") + b"]")
    objects = json.loads(b"[" + read_all(rows, "objects") + b"]")
    lines = [json.loads(line) for line in read_all(rows, "ndjson").split(b"\n")[:-1]]
    assert objects == lines
    assert [list(each.values()) for each in objects] == arrays


INTEGERS = st.integers(-(2**63), 2**64 - 1)


@given(st.lists(st.tuples(st.text(), INTEGERS, st.text()), max_size=20))
def test_csv_keeps_every_text(rows: list[Row]) -> None:
    """Another reader of RFC 4180 reads back every text."""
    text = read_all(rows, "csv", tuple(Column(name) for name in ("a", "b,\r\n", 'c"'))).decode()
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert found[0] == ["a", "b,\r\n", 'c"']
    assert found[1:] == [[str(value) for value in row] for row in rows]


WORDS = st.text(min_size=1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.lists(st.tuples(INTEGERS, FINITE, WORDS, st.none() | INTEGERS, st.one_of(FINITE, INTEGERS, WORDS))),
    st.integers(1, 5),
)
def test_csv_is_as_python_writes_it(rows: list[Row], width: int) -> None:
    """The bytes are those of Python's own CSV writer, which does not tell null from the empty text."""
    rows = [row[-width:] for row in rows]
    written = io.StringIO(newline="")
    csv.writer(written).writerows([tuple(f"c{place}" for place in range(width)), *rows])
    assert read_all(rows, "csv", tuple(Column(f"c{place}") for place in range(width))) == written.getvalue().encode()


def test_csv_has_lines_of_rfc_4180() -> None:
    """Lines end in CRLF; null is empty, booleans are lower case, bytes are base64url, infinities are empty."""
    row = (None, True, False, 1.5, 1e300, float("inf"), b"\xfb\xff", "a,b", 'a"b', "a\r\nb")
    expected = b',true,false,1.5,1e+300,,-_8,"a,b","a""b","a\r\nb"\r\n'
    assert read_all([row], "csv").partition(b"\r\n")[2] == expected


def test_csv_tells_null_from_the_empty_text() -> None:
    """Null is nothing; the empty text and empty bytes are `""`, also among texts only, and as the only column."""
    assert read_all([(None, "", b"", "a"), ("", None, None, "")], "csv").partition(b"\r\n")[2] == (
        b',"","",a\r\n"",,,""\r\n'
    )
    assert read_all([(None,), ("",)], "csv") == b'c0\r\n\r\n""\r\n'


@pytest.mark.parametrize("number", [1e-4, 1e-5, 1.5e-05, 1e-7, 9.99e15, 1e16, 1e17, 100.0001])
def test_a_number_is_written_alike_beside_any_other(number: float) -> None:
    """A column of only numbers is written like a mixed one, exponents too."""
    alone, beside = ([(value,) for value in values] for values in ([number, -number], [number, -number, None]))
    assert read_all(beside, "csv").startswith(read_all(alone, "csv"))
    assert read_all(alone, "csv") == f"c0\r\n{number!r}\r\n{-number!r}\r\n".encode()


def test_infinity_is_null() -> None:
    """JSON has no infinity, so it becomes null."""
    assert read_all([(float("inf"), float("-inf"), float("nan"))], "json") == b"[null,null,null]"


def test_json_columns_are_json_as_written() -> None:
    """Text of a JSON column is JSON, with every digit and on one line; invalid JSON stays text."""
    columns = (sqlite_column("j", "JSON"),)
    rows = [('{"a": 1.50}',), ("[1,\n 2]",), ("nope",), (None,), (7,), ("12345678901234567890123",)]
    assert read_all(rows, "json", columns) == b'[{"a": 1.50}],[[1,2]],["nope"],[null],[7],[12345678901234567890123]'
    assert read_all(rows[:2], "ndjson", columns) == b'{"j":{"a": 1.50}}\n{"j":[1,2]}\n'
    assert read_all(rows[:4], "csv", columns) == b'j\r\n"{""a"": 1.50}"\r\n"[1,2]"\r\nnope\r\n\r\n'


@pytest.mark.parametrize(
    ("declared", "kind", "stored", "result"),
    [
        ("BOOLEAN", "boolean", [0, 1, 2, None, "x"], [False, True, 2, None, "x"]),
        ("decimal(10, 2)", "decimal", [1, 1.5, 0.125, -3.25, "x", None], ["1.00", "1.50", "0.125", "-3.25", "x", None]),
        ("NUMERIC", "decimal", [1, 1.5, 2.0, 1e21], ["1", "1.5", "2", "1000000000000000000000"]),
        ("DATETIME", "timestamp", ["2024-01-31 09:30:00", "2024-01-31", 5], ["2024-01-31 09:30:00", "2024-01-31", 5]),
        ("timestamp with time zone", "timestamp", ["2024-01-31T09:30:00Z"], ["2024-01-31T09:30:00Z"]),
        ("DATE", "date", ["2024-01-31", 5], ["2024-01-31", 5]),
        ("TIME", "time", ["09:30:00"], ["09:30:00"]),
        ("JSON", "json", ["[1]"], [[1]]),
        ("BIGINT", "integer", [2**62, "x"], [2**62, "x"]),
        ("DOUBLE PRECISION", "real", [1.0], [1.0]),
        ("VARCHAR(20)", "text", ["a"], ["a"]),
        ("BLOB", "bytes", [b"", "x"], [{"base64": ""}, "x"]),
    ],
)  # fmt: skip
def test_the_declared_type_decides(declared: str, kind: str, stored: list[Any], result: list[Any]) -> None:
    """A declared type sets the type of the column and of its values; a value that does not fit stays unchanged."""
    page = read_page(Rows((sqlite_column("a", declared),), [(value,) for value in stored]), Style(), 100, 10_000)
    assert page.columns == [{"name": "a", "type": kind}]
    assert json.loads(b"[" + page.rows + b"]") == [[value] for value in result]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], "null"), ([None], "null"), ([1, None], "integer"), ([1, 2.5], "real"), (["a"], "text"),
        ([b"a"], "bytes"), ([1, "a"], "text"), ([True], "boolean"),
    ],
)  # fmt: skip
def test_without_a_declared_type_the_values_decide(values: list[Any], kind: str) -> None:
    """An expression's column has the type of its values, or `null` if there are none."""
    page = read_page(Rows((Column("a"),), [(value,) for value in values]), Style(), 100, 10_000)
    assert page.columns == [{"name": "a", "type": kind}]


@given(st.lists(st.sampled_from(["a", "b", "a_2", "a_3", "", "a_2_2"]), max_size=8))
def test_names_of_objects_are_unique(names: list[str]) -> None:
    """Repeated names get a number; a unique name stays, and no column is lost."""
    found = unique(names)
    assert len(set(found)) == len(found) == len(names)
    assert all(new == old for new, old in zip(found, names, strict=True) if names.count(old) == 1)


@given(
    st.lists(st.text(max_size=50), max_size=60),
    st.integers(1, 50),
    st.sampled_from(["json", "objects", "ndjson", "csv"]),
)
def test_limits_cut_between_rows(texts: list[str], limit: int, form: Format) -> None:
    """A page returns the first rows within the limits, and says whether more follow."""
    rows: list[Row] = [(text,) for text in texts]
    page = read_page(Rows((Column("a"),), rows), Style(form), limit, 400)
    assert page.row_count <= limit
    assert len(page.rows) <= 400
    assert page.truncated == (page.row_count < len(rows))
    assert page.rows == read_all(rows[: page.row_count], form, (Column("a"),))


def test_a_row_over_the_limit_is_an_error() -> None:
    """If not even one row fits, no page could continue, so it is an error."""
    with pytest.raises(RowOverLimit):
        read_page(Rows((Column("a"),), [("x" * 500,)]), Style(), 10, 400)


def test_what_is_read_at_once_is_bounded() -> None:
    """Large rows are read a few at a time."""

    class Large:
        first_rows = 8
        columns = Columns([Column("a", "text")])
        counts: list[int] = []  # noqa: RUF012

        def fetch(self, count: int) -> list[Row]:
            self.counts.append(count)
            return [("x" * 500_000,)] * count

    page = read_page(Large(), Style(), 10_000, 8 * 1024 * 1024)
    assert page.truncated
    assert max(Large.counts) <= 8


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 0, True])
def test_integers_beyond_2_to_the_53(number: int) -> None:
    """Up to 2^53, in both directions, integers stay numbers; beyond that, they are texts on request."""
    page = read_page(Rows((Column("a"),), [(number,)]), Style("json", big_integers_as_text=True), 10, 1000)
    assert json.loads(page.rows) == [str(number) if abs(number) > 2**53 else number]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\tx", "\rx", "x=1", " =1", "", "'=1"])
def test_formulas_are_defused_in_values_and_names(text: str) -> None:
    """In CSV, a text or a column name that a spreadsheet would run gets an apostrophe; other formats add none."""
    expected = f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and text else text
    page = read_page(Rows((Column(text), Column("b")), [(text, -1)]), Style("csv", defuse_formulas=True), 10, 1000)
    assert list(csv.reader(io.StringIO(page.rows.decode(), newline=""))) == [[expected, "b"], [expected, "-1"]]
    lines = read_page(Rows((Column(text),), [(text,)]), Style("ndjson", defuse_formulas=True), 10, 1000).rows
    assert json.loads(lines) == {text: text}


def test_a_column_has_all_its_notes() -> None:
    """A column with infinite numbers and with texts that are not UTF-8 has both notes."""
    rows: list[Row] = [(float("inf"),), (NotText(b"\xff"),), ("a",), (b"\xff",)]
    page = read_page(Rows((Column("a"),), rows), Style(), 10, 1000)
    assert page.columns == [{"name": "a", "type": "text", "note": f"{INFINITE} {NOT_TEXT}"}]
    assert json.loads(b"[" + page.rows + b"]") == [[None], [{"base64": "_w"}], ["a"], [{"base64": "_w"}]]


def test_many_columns_of_one_name() -> None:
    """Repeated names get unique numbers in linear time."""
    found = unique(["a", "a_2"] + ["a"] * 20_000)
    assert len(set(found)) == 20_002
    assert found[:4] == ["a", "a_2", "a_3", "a_4"]
