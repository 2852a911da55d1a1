"""Bombs and escapes: what a caller with a key for query-blobs, or the writer of a file, can try."""

import gzip
import io
import json
import os
import signal
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from shared.blobs.store.listings import ListingStore
from shared.data.queries import Queries
from shared.data.store.files import DataFiles
from shared.sandbox.errors import EngineFailed, OutOfMemory
from shared.sandbox.process import Sandbox
from shared.sandbox.settings import SandboxSettings
from shared.settings import StorageSettings
from shared.storage import Storage
from tests.data.conftest import CONTAINER, Caller

MOST_GROWTH = 64 * 1024 * 1024
"""Of this process, beside the response."""
TIMEOUT_MS = 400
STOPPED = {
    "out-of-memory", "query-timeout", "engine-failed", "sql-error", "unreadable-data", "answer-too-large",
    "too-much-to-read",
}  # fmt: skip


def memory(field: str) -> int:
    """A value of this process's memory, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


@pytest.fixture(scope="module", autouse=True)
def nothing_leaks(caller: Caller, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After all attacks, few files are open that were not, and only living children have folders."""
    folder = tmp_path_factory.mktemp("children")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        caller.put("attacks/one.csv", b"a,b\n1,2\n")
        caller.rows("attacks/one.csv", "select 1")
        before = len(list(Path("/proc/self/fd").iterdir()))
        yield
        caller.rows("attacks/one.csv", "select 1")
        # A spare has two pipes; connections to storage are kept.
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 16
        assert len(list(folder.iterdir())) <= 2


def attack(caller: Caller, path: str, sql: str, **fields: Any) -> dict[str, Any]:
    """The problem that a bomb gets. This process does not grow, and the next call works."""
    Path("/proc/self/clear_refs").write_text("5")  # From here on, VmHWM is the peak.
    before = memory("VmRSS")
    fields = {"timeout_ms": TIMEOUT_MS, **fields, "container": CONTAINER, "path": path, "sql": sql}
    response = caller.raw("query-blobs", fields)
    assert memory("VmHWM") - before - len(response.body) < MOST_GROWTH
    assert caller.rows("attacks/one.csv", "select a from data") == [[1]]
    assert response.status == 422, response.body[:500]
    body = json.loads(response.body)
    assert body["code"] in STOPPED
    return dict(body)


STATEMENTS = {
    "a text of 3 GB": "select repeat('x', 3000000000)",
    "a list of 500 million": "select len(range(500000000))",
    "a list made larger": "select list_resize([1], 2000000000)",
    "a padded text": "select lpad('x', 2000000000, 'y')",
    "a formatted number": "select printf('%2000000000d', 1)",
    "a product": "select count(*) from range(100000) a, range(100000) b, range(100000) c",
    "a recursion": "with recursive r(n) as (select 1 union all select n + 1 from r) select sum(n) from r",
    "a recursion that doubles": "with recursive r(n) as (select 'x' union select n || n from r) select max(n) from r",
    "parentheses": f"select {'(' * 5000}1{')' * 5000}",
    "calls in calls": f"select {'abs(' * 3000}1{')' * 3000}",
    "a sort": "select * from range(1000000000) t(i) order by hash(i)",
    "groups": "select i, count(*) from range(300000000) t(i) group by i",
    "a text of many": "select string_agg(repeat('x', 1000), '') from range(100000000)",
    "rows of rows": "select unnest(range(4000000000))",
    "a slow function": "select levenshtein(repeat('ab', 100000), repeat('ba', 100000)) from range(1000)",
    "wide rows": "select repeat('x', 12000000), repeat('y', 12000000)",
}


@pytest.mark.parametrize("sql", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_bombs_in_statements(caller: Caller, sql: str) -> None:
    """A statement without end, or beyond any memory, is stopped in its own process."""
    attack(caller, "attacks/one.csv", sql)


def deflated(piece: bytes, count: int) -> bytes:
    """`piece`, `count` times, packed by gzip."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(piece) for _ in range(count)) + packer.flush()


def parquet(compression: str) -> bytes:
    """A small table as Parquet."""
    file = io.BytesIO()
    pq.write_table(pa.table({"a": list(range(100))}), file, compression=compression)
    return file.getvalue()


def lying(place: int, value: bytes) -> bytes:
    """A Parquet file with other bytes at a place, counted from its end."""
    data = bytearray(parquet("snappy"))
    data[len(data) - place : len(data) - place + len(value)] = value
    return bytes(data)


def bombs() -> dict[str, bytes]:
    """Files that are small, and large or endless inside."""
    member = deflated(b"1,2\n" * 65536, 160)  # 40 MB in 40 kB; gzip joins members.
    return {
        "members.csv.gz": member * 100,
        "line.csv": b"a" * 5_000_000,
        "deep.json": b'[{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        "wide.csv": b",".join(b"c%d" % i for i in range(200_000)) + b"\n",
        "wide.ndjson": b"{" + b",".join(b'"c%d":1' % i for i in range(100_000)) + b"}\n",
        "footer.parquet": lying(8, struct.pack("<I", 0x7FFFFFFF)),
        "metadata.parquet": lying(60, b"\xff" * 24),
        "brotli.parquet": parquet("brotli"),
        "cut.csv.gz": gzip.compress(os.urandom(100_000))[:50_000],
    }


@pytest.mark.parametrize("name", bombs().keys())
def test_bombs_in_files(caller: Caller, name: str) -> None:
    """A file that is another inside than outside is refused, or stopped."""
    caller.put(f"attacks/{name}", bombs()[name])
    attack(caller, f"attacks/{name}", "select max(columns(*)::varchar) from data")


ESCAPES = {
    "file": "select * from '/etc/passwd'",
    "file of the call by another name": "select * from 'sr://data/0.csv'",
    "text": "select content from read_text('/etc/passwd')",
    "csv": "select * from read_csv('/etc/passwd')",
    "names of files": "select * from glob('/*')",
    "web": "select * from 'https://example.org/a.csv'",
    "azure": "select * from read_parquet('az://strongroom-keys/a.parquet')",
    "environment": "select getenv('PATH')",
    "setting": "select current_setting('temp_directory')",
    "settings": "select * from duckdb_settings()",
    "secrets": "from duckdb_secrets()",
    "catalogue": "select * from information_schema.tables",
    "query in a text": "from query('select 1')",
    "log file": "select * from enable_logging(storage = 'file', storage_path = '/tmp/log')",
    "log": "select write_log('x')",
    "set": "set enable_external_access = true",
    "profiler": "pragma enable_profiling",
    "install": "install httpfs",
    "attach": "attach '/tmp/other.db'",
    "copy": "copy (select 1) to '/tmp/out.csv'",
    "two statements": "select 1; copy (select 1) to '/tmp/out.csv'",
    "insert in a with": "with x as (insert into data values (1) returning *) select * from x",
    "describe": "describe data",
    "show": "show all tables",
    "deep inside": "select * from data where a in (select list_transform([1], lambda x: getenv('PATH'))[1]::int)",
    "variable": "select getvariable('x')",
    "sleep": "select sleep_ms(1000)",
}


@pytest.mark.parametrize("sql", ESCAPES.values(), ids=ESCAPES.keys())
def test_escapes_in_statements(caller: Caller, sql: str) -> None:
    """A statement reaches nothing but the files of the call; the response says why, and shows nothing else."""
    body = caller.query("attacks/one.csv", sql, 422)
    assert body["code"] in ("read-only", "sql-error", "multiple-statements")
    assert "root:" not in str(body)
    assert len(body["detail"]) > 20


@pytest.mark.parametrize(
    ("place", "path", "status"),
    [
        (CONTAINER, "../azure-webjobs-secrets/host.json", 400),
        (CONTAINER, "attacks/../../x", 400),
        (CONTAINER, "**/../**", 400),
        (CONTAINER, "attacks\\..\\x", 400),
        ("azure-webjobs-hosts", "**", 403),
        ("strongroom-keys", "*", 403),
        ("no-such-container", "*", 404),
        ("$logs", "**", 403),
    ],
)
def test_escapes_in_paths(caller: Caller, place: str, path: str, status: int) -> None:
    """A path stays in its container, and no reserved container is read."""
    caller.call("query-blobs", status, container=place, path=path, sql="select 1")


def test_sql_in_names(caller: Caller) -> None:
    """The names of blobs, folders, columns and options are names, whatever they contain."""
    caller.put('lake/x" as select 1; --.csv', b'"a"" from b; --","c\'d"\n1,2\n')
    sql = 'select * from "x"" as select 1; --"'
    body = caller.call("query-sql", timeout_ms=60_000, database="lake", sql=sql)
    assert [each["name"] for each in body["columns"]] == ['a" from b; --', "c'd"]
    caller.put("attacks/p/k'}) --=v'); select 1; --/a.csv", b"a\n1\n")
    row = caller.rows("attacks/p/**", "select * from data")
    assert row == [[1, "v'); select 1; --"]]
    options = {"null_values": ["']); select 1; --"], "delimiter": "'", "types": {"a'": "VARCHAR"}}
    caller.put("attacks/options.csv", b"a''b\n1'2\n")
    caller.query("attacks/options.csv", "select 1 from data", 422, options=options)
    caller.query("attacks/one.csv", "select 1", 400, options={"types": {"a": "VARCHAR}); select 1; --"}})
    caller.container.delete_blob('lake/x" as select 1; --.csv')


@pytest.mark.parametrize(("number", "error"), [(signal.SIGSEGV, EngineFailed), (signal.SIGKILL, OutOfMemory)])
def test_a_process_that_ends_is_a_clear_refusal(
    caller: Caller, storage_connection: str, number: int, error: type[Exception]
) -> None:
    """Where the engine fails, or the kernel needs its memory, the call says so and the next one works."""
    storage = Storage(StorageSettings(storage_connection))
    sandbox = Sandbox(SandboxSettings())
    queries = Queries(DataFiles(storage, lambda: ListingStore(storage)), lambda: sandbox)
    source = queries.path(CONTAINER, "attacks/one.csv")
    deadline = monotonic() + 60
    with queries.open(source, deadline) as query:
        query.check("select 1 from data")
        assert query._child is not None
        os.kill(query._child.pid, number)
        with pytest.raises(error):
            query.run("select 1 from data")
    with queries.open(source, deadline) as query:
        query.check("select 1 from data")
        query.run("select 1 from data")
        assert query.fetch(1) == [(1,)]
    sandbox.close()
