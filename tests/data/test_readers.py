"""The SQL that reads data files, and what plans say of it. DuckDB parses it; needs no server."""

import json
from typing import Any

import duckdb
import pytest

from shared.data.plans import parameters_of, projected, reads_all, uses_only
from shared.data.readers import literal, partition_values, quoted, source_of, view_columns


@pytest.mark.parametrize("name", ["a", 'a"b', "a b", "select", "a.b", "é", "a'b", ""])
def test_names_and_literals_are_quoted(name: str) -> None:
    """A name is one identifier and a text one literal, whatever characters they have."""
    alias = name or "x"
    cursor = duckdb.execute(f"select {literal(name)} as {quoted(alias)}")
    assert cursor.description[0][0] == alias
    assert cursor.fetchall() == [(name,)]


@pytest.mark.parametrize(
    ("file_format", "options", "expected"),
    [
        ("parquet", {}, "read_parquet(['/a'], hive_partitioning = false)"),
        ("parquet", {"union_by_name": True}, "read_parquet(['/a'], union_by_name = true, hive_partitioning = false)"),
        ("ndjson", {"gzip": True}, "compression = 'gzip', format = 'newline_delimited'"),
        ("json", {"array": True}, "format = 'array'"),
        ("json", {"as_text": True}, "read_json_objects(['/a'], format = 'auto'"),
        ("csv", {"delimiter": "'"}, "delim = ''''"),
        ("csv", {"header": False}, "header = false"),
        ("csv", {"null_values": ["NA", ""]}, "nullstr = ['NA', '']"),
        ("csv", {"types": {"a'b": "INTEGER"}}, "types = {'a''b': 'INTEGER'}"),
        ("csv", {"as_text": True, "types": {"a": "INTEGER"}}, "all_varchar = true"),
    ],
)
def test_each_format_has_its_reader(file_format: str, options: dict[str, Any], expected: str) -> None:
    """The format chooses the table function, and each option becomes an argument of it."""
    source = source_of(file_format, options, [], ["/a"])
    assert expected in source
    assert json.loads(duckdb.execute("select json_serialize_sql(?)", [f"from {source}"]).fetchall()[0][0])["error"] is (
        False
    )


def test_partitions_have_their_types() -> None:
    """Hive partitions are read with the types that the app chose for them."""
    source = source_of("parquet", {}, [["year", "BIGINT"]], ["/year=2024/a"])
    assert 'hive_types = {"year": BIGINT}' in source
    assert view_columns("parquet", {"types": {"a": "DATE"}}, []) == '* replace ("a"::DATE as "a")'
    assert view_columns("csv", {"types": {"a": "DATE"}}, []) == "*"


def test_the_values_of_partitions() -> None:
    """The values of the files' partitions are a table that DuckDB reads; Hive's word for null is null."""
    text = partition_values(
        [["year", "BIGINT"], ["n'", "VARCHAR"]], [["2024", "a'"], ["2025", "__HIVE_DEFAULT_PARTITION__"]]
    )
    assert duckdb.execute(text).fetchall() == [(0, 2024, "a'"), (1, 2025, None)]


def condition(text: str) -> Any:
    """The WHERE of a statement, as DuckDB parses it."""
    sql = f"select * from t where {text}"  # noqa: S608 - the texts above.
    parsed = duckdb.execute("select json_serialize_sql(?)", [sql]).fetchall()[0][0]
    return json.loads(parsed)["statements"][0]["node"]["where_clause"]


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        ("year = 2024", True),
        ("YEAR between 1 and $a", True),
        ("t.year = 2024 or year is null", True),
        ("year = other", False),
        ("year in (select 1)", False),
        ("abs(year) = 1", False),
        ("year + 1 = 2", True),
        ("random() < 0.5", False),
    ],
)
def test_conditions_on_partitions_alone(text: str, usable: bool) -> None:
    """A condition can choose files only if it reads partitions and calls no function."""
    assert uses_only(condition(text), {"year"}) is usable


def test_the_parameters_of_a_condition() -> None:
    """The parameters of a condition are found at any depth."""
    assert parameters_of(condition("year = $a or (month > $b and not day = $a)")) == {"a", "b"}


def test_the_columns_of_a_plan() -> None:
    """The columns that the scans read are in the plan, whatever the case of their names."""
    scan = {"name": "READ_PARQUET ", "children": [], "extra_info": {"Projections": ["A", '"b c"']}}
    assert projected([{"name": "PROJECTION", "children": [scan]}]) == {"a", "b c"}


@pytest.mark.parametrize(
    ("operators", "filters", "expected"),
    [
        (["UNGROUPED_AGGREGATE"], "", True),
        (["ORDER_BY"], "", True),
        (["PROJECTION"], "", False),
        (["UNGROUPED_AGGREGATE", "STREAMING_LIMIT"], "", False),
        (["HASH_JOIN"], "", False),
        (["UNGROUPED_AGGREGATE"], "a > 1", False),
    ],
)
def test_which_plans_read_all_rows(operators: list[str], filters: str, expected: bool) -> None:
    """An operator that needs all rows makes a scan without a filter read all; a limit below it does not."""
    node: dict[str, Any] = {"name": "READ_PARQUET ", "children": [], "extra_info": {"Filters": filters}}
    for name in reversed(operators):
        node = {"name": name, "children": [node]}
    assert reads_all([node], blocked=False) is expected
