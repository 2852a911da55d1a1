"""Names, formats, partitions and reading ahead, without a store."""

import re
from typing import Any

import duckdb
import pytest

from shared.data.functions import FUNCTIONS, OPERATORS, TABLE_FUNCTIONS
from shared.data.gate import Refused, check
from shared.data.names import (
    File,
    check_path,
    find_view,
    format_of,
    glob_pattern,
    matching,
    partition_type,
    partitions,
    views,
)
from shared.data.ranges import Reading
from shared.data.sources import select
from shared.data.types import wire
from shared.datafiles import ColumnsDiffer, MixedFormats, NoFiles, Options
from shared.errors import InvalidRequest


@pytest.mark.parametrize(
    ("glob", "name", "fits"),
    [
        ("a/*.csv", "a/b.csv", True),
        ("a/*.csv", "a/b/c.csv", False),
        ("a/**/*.csv", "a/b/c.csv", True),
        ("a/**/*.csv", "a/c.csv", True),
        ("a/**", "a/x/y", True),
        ("a/**", "b/x", False),
        ("a/**.csv", "a/b/c.csv", True),
        ("y=[0-9]?/*", "y=20/a", True),
        ("[!a]*", "b", True),
        ("[!a]*", "a", False),
        ("a/**/b/**/c", "a/x/b/y/b/c", True),
        ("*a*a*b", "xaayb", True),
        ("x[/]y", "x/y", False),
        ("a[", "a[", True),
    ],
)
def test_globs(glob: str, name: str, fits: bool) -> None:
    """Asterisks stop at a slash, two of them do not, and sets are sets."""
    assert bool(glob_pattern(glob).match(name)) is fits


@pytest.mark.parametrize("path", ["../a", "a/..", "a/./b", "a\\..\\b", "a\0b", "a\x1fb", "\uffff"])
def test_paths_that_are_refused(path: str) -> None:
    """A path with dots between slashes, or a character that no listing carries, is 400."""
    with pytest.raises(InvalidRequest):
        check_path(path)


def test_globs_take_linear_time() -> None:
    """A glob of many asterisks and a long name that almost fits end at once."""
    pattern = glob_pattern("*a" * 40 + "/**/" * 10 + "*a*b" * 30)
    assert pattern.match("a" * 500 + "/" + "a/" * 250) is None


def test_an_exact_name_comes_before_a_glob() -> None:
    """A blob whose name has glob characters is found by its name; hidden and empty files are not part of a glob."""
    files = [File("a[1].csv", 1, ""), File("a1.csv", 1, ""), File("_SUCCESS", 1, ""), File("empty.csv", 0, "")]
    assert [each.name for each in matching("a[1].csv", files)] == ["a[1].csv"]
    assert [each.name for each in matching("*", files)] == ["a[1].csv", "a1.csv"]


def test_formats_and_partitions() -> None:
    """The extension names the format, gzip included; folders name partitions, percent-decoded."""
    names = ["a.CSV", "a.tsv.gz", "b.jsonl", "c.json.gz", "d.parquet", "e.parquet.gz", "f.txt"]
    assert [format_of(each) for each in names] == ["csv", "csv", "ndjson", "json", "parquet", None, None]
    assert partitions("s/year=2026/city=New%20York/a.csv") == (("year", "2026"), ("city", "New York"))
    assert [partition_type(each) for each in (["1", "02"], ["2026-01-31"], ["2026-01-32"], ["x"], [])] == [
        "BIGINT", "DATE", "VARCHAR", "VARCHAR", "VARCHAR",
    ]  # fmt: skip


def test_names_of_views() -> None:
    """A file and a folder have short names, unless two would be the same ignoring case; whole names always work."""
    found = views(["sales.csv", "fruit.parquet", "Sales.json", "README.md"], ["sales/", "logs/"])
    assert [each.name for each in found] == ["sales.csv", "fruit", "Sales.json", "sales/", "logs"]
    for name in ("FRUIT", "fruit.parquet"):
        view = find_view(name, found)
        assert view is not None
        assert view.path == "fruit.parquet"
    assert find_view("sales", found) is None


def test_files_of_one_view() -> None:
    """Files of several formats, of other partitions, or none at all are refused, with a file's name."""
    with pytest.raises(NoFiles):
        select("data", "x", [], None, Options())
    with pytest.raises(MixedFormats):
        select("data", "*", [File("a.csv", 1, ""), File("b.json", 1, "")], None, Options())
    with pytest.raises(ColumnsDiffer, match=re.escape("b=1/a.csv")):
        select("data", "*", [File("a=1/a.csv", 1, ""), File("b=1/a.csv", 1, "")], None, Options())
    with pytest.raises(InvalidRequest):
        select("data", "*", [File("a.parquet", 1, "")], None, Options(delimiter=";"))


def test_reading_ahead() -> None:
    """Reads one after the other grow; the same column of each row group is read with that of the next."""
    reading = Reading(100_000_000)
    sizes = []
    offset = 0
    for _ in range(10):
        wanted = reading.next_range(offset, 32_768)
        sizes.append(wanted.end - wanted.start)
        offset = wanted.end
    assert sizes[0] < sizes[4] < sizes[8] <= 4 * 1024 * 1024
    reading = Reading(100_000_000)
    count, place = 0, 0
    for group in range(50):
        start = 1_000_000 + group * 1_650_000
        if start >= place:
            wanted = reading.next_range(start, 600_000)
            place, count = wanted.end, count + 1
    assert count <= 27


def tree(sql: str) -> dict[str, Any]:
    """DuckDB's own tree of a text."""
    import json

    return dict(json.loads(duckdb.execute("select json_serialize_sql(?)", [sql]).fetchall()[0][0]))


@pytest.mark.parametrize(
    "sql",
    [
        "select sum(a) filter (where b > 1) over (partition by c order by d) from data",
        "select lag(a, 1) over w from data window w as (order by a)",
        "select a::decimal(3,1), case when a then b end, a between 1 and 2, a in (1, 2), exists (select 1) from data",
        "select * exclude (a) replace (b + 1 as b), columns('x.*'), list_transform(l, x -> x + 1), $1 from data",
        "select * from data a join data b using (x) left join lateral (select a.x) on true",
        "select * from data a asof join data c on a.t >= c.t",
        "with t as (select * from data) select 1 union all by name from t order by all limit 10 offset 2",
        "with recursive r(n) as (select 1 union all select n + 1 from r where n < 5) select * from r",
        "from (pivot data on a in (1, 2) using sum(b))",
        "select unnest([1, 2]), a[1:2], {'k': 1}, map {'a': 1}, a ->> '$.x' from data",
        "select extract(year from d), a at time zone 'UTC' from data",
        "values (1), (2)",
        "from range(3), generate_series(1, 2), unnest([1])",
        "select count(*) from data group by cube(a, b) having count(*) > 1 qualify row_number() over () > 1",
    ],
)
def test_statements_that_run(sql: str) -> None:
    """One SELECT over views with functions that compute values is accepted."""
    assert set(check(tree(sql)).tables) <= {"data", "t", "r"}


@pytest.mark.parametrize(
    "sql",
    [
        "select 1; select 2",
        "describe data",
        "show tables",
        "summarize data",
        "from query('select 1')",
        "from query_table('data')",
        "select * from read_csv('x.csv')",
        "select * from main.data",
        "select * from information_schema.tables",
        "select * from duckdb_settings()",
        "select getenv('HOME')",
        "select current_setting('home_directory')",
        "select main.abs(1)",
        "with x as (insert into data values (1) returning *) select * from x",
        "select * from data at (version => 1)",
        "select * from data where id in (select getvariable('x'))",
        "select sum(a) over (order by write_log('x')) from data",
        "select list_transform(l, x -> getenv(x)) from data",
        "select * from data limit (select sleep_ms(5))",
    ],
)
def test_statements_that_do_not_run(sql: str) -> None:
    """Anything else is refused, wherever in the statement it is."""
    with pytest.raises(Refused):
        check(tree(sql))


def test_the_list_of_functions_is_of_this_version() -> None:
    """Every name in the lists is a function of the DuckDB that is installed."""
    rows = duckdb.execute("select distinct lower(function_name) from duckdb_functions()").fetchall()
    known = {name for (name,) in rows}
    special = {"grouping", "grouping_id", "if"}
    assert known >= FUNCTIONS - special
    assert known >= OPERATORS
    assert known >= TABLE_FUNCTIONS


def test_types() -> None:
    """Integers of any size are integers; what JSON and Python do not have is text; what is nested is JSON."""
    sql = "select 1::hugeint, interval 1 month, uuid(), [1], {'a': date '2026-01-31'}, 1.5::float"
    kinds = [wire(each[1], str(each[1])).kind for each in duckdb.execute(sql).description]
    assert kinds == ["integer", "text", "text", "json", "json", "real"]
