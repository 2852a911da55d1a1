"""Every type of DuckDB on its way into a response."""

import json
from typing import Any

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from shared.data.child import Engine
from shared.sql import arrow
from shared.sql.engines.blobs import _CONVERTS
from shared.sql.values import Column, Columns, Rows
from shared.sql.writers import Format, Style, read_page


class NoApp:
    """A channel to no app: the statements here read no file."""

    def on_interrupt(self, interrupt: object) -> None:
        """Do nothing: nothing interrupts."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    """The engine of the child process, in this one."""
    return Engine(NoApp())  # type: ignore[arg-type]


def result(engine: Engine, sql: str) -> Rows:
    """The rows of a statement, as they reach the app through a message."""
    columns = engine.query(sql, [], explain=False)
    rows = msgspec.msgpack.decode(msgspec.msgpack.encode(engine.fetch(100)))
    described = [Column(name, kind, _CONVERTS.get(kind), None, detail) for name, kind, detail in columns]  # type: ignore[arg-type]
    return Rows(Columns(described), [tuple(row) for row in rows])


ALL = "select * from test_all_types()"


@pytest.mark.parametrize("form", ["json", "objects", "ndjson", "csv"])
def test_all_types_survive_as_text(engine: Engine, form: Format) -> None:
    """Each of `test_all_types()` has three rows in each format, and JSON is JSON."""
    page = read_page(result(engine, ALL), Style(form), 100, 10_000_000)
    assert page.row_count == 3
    if form in ("json", "objects"):
        assert len(json.loads(b"[%b]" % page.rows)) == 3
    if form == "ndjson":
        assert len([json.loads(line) for line in page.rows.splitlines()]) == 3


def test_all_types_survive_as_arrow(engine: Engine) -> None:
    """The stream opens in pyarrow; exact decimals and nanoseconds keep their types."""
    page, _ = arrow.read_page(result(engine, ALL), 100, 10_000_000, [])
    table = pa.ipc.open_stream(page.rows).read_all()
    assert table.num_rows == 3
    assert table.schema.field("dec38_10").type == pa.decimal128(38, 10)
    assert table.schema.field("timestamp_ns").type == pa.timestamp("ns")
    assert table.schema.field("ubigint").type == pa.uint64()


@pytest.mark.parametrize(
    ("expression", "kind", "value"),
    [
        ("170141183460469231731687303715884105727::hugeint", "integer", 170141183460469231731687303715884105727),
        ("12345678901234567890123::bignum", "integer", 12345678901234567890123),
        ("sum(1::bigint)", "integer", 1),
        ("interval '1 month 2 days'", "text", "1 month 2 days"),
        ("'b'::enum ('a', 'b')", "text", "b"),
        ("'11111111-2222-4333-8444-555555555555'::uuid", "text", "11111111-2222-4333-8444-555555555555"),
        ("0.1::float", "real", 0.1),
        ("1.50::decimal(5, 2)", "decimal", "1.50"),
        ("'\\xAA'::blob", "bytes", {"base64": "qg"}),
        ("date '2026-01-31'", "date", "2026-01-31"),
        ("date '0044-03-15 (BC)'", "date", "0044-03-15 BC"),
        ("time '09:30:00.5'", "time", "09:30:00.5"),
        ("timestamp_ns '2026-01-31 09:30:00.123456789'", "timestamp", "2026-01-31T09:30:00.123456789"),
        ("timestamptz '2026-01-31 09:30:00+02'", "timestamp", "2026-01-31T07:30:00Z"),
        ("timestamp '0044-03-15 (BC) 12:00:00'", "timestamp", "0044-03-15T12:00:00 BC"),
        ("[1, null]", "json", [1, None]),
        ("{'a': interval 1 month, 'c': 'nan'::double}", "json", {"a": "1 month", "c": None}),
        ("{'n': 18446744073709551616::hugeint}", "json", {"n": 18446744073709551616}),
        ("map {date '2026-01-31': 1.5::decimal(3, 1)}", "json", {"2026-01-31": "1.5"}),
        ("map {[1]: 2}", "json", {"[1]": 2}),
        ("union_value(n := 5)", "json", 5),
        ("'{\"k\": [1, 2]}'::json", "json", {"k": [1, 2]}),
        ("null", "null", None),
    ],
)  # fmt: skip
def test_values(engine: Engine, expression: str, kind: str, value: Any) -> None:
    """Each value has its type and every digit."""
    rows = result(engine, f"select {expression} as it")
    assert rows.columns[0].kind == kind
    page = read_page(rows, Style(), 10, 10_000)
    assert json.loads(page.rows) == [value]


def test_big_integers_as_text(engine: Engine) -> None:
    """An integer beyond 64 bits is a text where the caller requests texts."""
    rows = result(engine, "select 2::hugeint * 9223372036854775807 * 4 as it")
    assert read_page(rows, Style("json", big_integers_as_text=True), 10, 10_000).rows == b'["73786976294838206456"]'
