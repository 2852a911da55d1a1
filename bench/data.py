"""Data files: what the app adds to DuckDB's own time, its CPU, and what it reads of a large file."""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

import duckdb
from azure.storage.blob import ContainerClient

from bench.report import Figure
from scripts.azurite import start_azurite
from shared.blobs.store.listings import ListingStore
from shared.data.queries import Queries
from shared.data.store.files import DataFiles
from shared.data.store.queries import DataQuery
from shared.sandbox.process import Sandbox
from shared.sandbox.settings import MIB, SandboxSettings
from shared.settings import StorageSettings
from shared.storage import Storage

ROUNDS = 9
ROWS = 6_000_000
CONTAINER, LARGE, SMALL = "bench", "large.parquet", "small.parquet"
SPARE_SECONDS = 1.0
"""For a spare child to load its engine between two calls."""
SETTINGS = SandboxSettings(processes=2, memory_bytes=768 * MIB)
"""Of an instance of 2,048 MiB."""
GROUP = "select s, count(*), sum(amount), avg(v) from data where v < 0.9 group by s order by s"


def run() -> Iterator[Figure]:
    """The figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large, small = folder / LARGE, folder / SMALL
        columns = "i as id, (random() * 1e9)::int as amount, random()::float as v, 'name-' || (i % 5000) as s"
        for path, rows in ((large, ROWS), (small, 1000)):
            duckdb.execute(
                f"copy (select {columns} from range({rows}) t(i)) to '{path}' (format parquet, row_group_size 122880)"
            )
        azurite = start_azurite(folder / "azurite", in_memory=True)
        try:
            container = ContainerClient.from_connection_string(azurite.connection_string, CONTAINER)
            container.create_container()
            for path in (large, small):
                container.upload_blob(path.name, path.read_bytes(), max_concurrency=1)
            storage = Storage(StorageSettings(azurite.connection_string))
            files = DataFiles(storage, lambda: ListingStore(storage))
            yield from _overhead(files, small)
            yield from _reads(files, large)
            yield from _cpu(files, large)
        finally:
            azurite.stop()


def _query(queries: Queries, path: str, sql: str) -> DataQuery:
    with queries.open(queries.path(CONTAINER, path), monotonic() + 60) as query:
        query.check(sql)
        query.run(sql)
        while query.fetch(1000):
            pass
    return query


def _overhead(files: DataFiles, path: Path) -> Iterator[Figure]:
    sql = "select s, sum(amount) from data group by s order by s"

    def engine() -> None:
        with duckdb.connect(config={"threads": 1}) as db:
            db.execute(f"create view data as select * from '{path}'")
            db.execute(sql).fetchall()

    own = statistics.median(_seconds(engine) for _ in range(ROUNDS))
    sandbox = Sandbox(SETTINGS)
    queries = Queries(files, lambda: sandbox)
    _query(queries, SMALL, sql)
    warm = []
    for _ in range(ROUNDS):
        sleep(SPARE_SECONDS)
        with _storage_time(files) as spent:
            warm.append(_seconds(lambda: _query(queries, SMALL, sql)) - spent())
    sandbox.close()
    cold = []
    for _ in range(ROUNDS):
        sandbox = Sandbox(SETTINGS)
        queries = Queries(files, lambda: sandbox)  # noqa: B023 - called in this round.
        with _storage_time(files) as spent:
            cold.append(_seconds(lambda: _query(queries, SMALL, sql)) - spent())  # noqa: B023
        sandbox.close()
        sleep(SPARE_SECONDS / 2)
        sandbox.close()
    for label, times, aim in (("a spare child", warm, "20 ms more"), ("a cold child", cold, "400 ms more")):
        median = statistics.median(times) * 1000
        yield Figure(f"query with {label}, without storage", median, "engine", own * 1000, "ms", aim)


def _seconds(call: Callable[[], object]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


@contextmanager
def _storage_time(files: DataFiles) -> Iterator[Callable[[], float]]:
    """The seconds that listings and reads take meanwhile."""
    spent = 0.0
    kept = {name: getattr(files, name) for name in ("list", "read")}

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **fields: Any) -> Any:
            nonlocal spent
            started = perf_counter()
            try:
                return call(*arguments, **fields)
            finally:
                spent += perf_counter() - started

        return wrapped

    for name, call in kept.items():
        setattr(files, name, timed(call))
    try:
        yield lambda: spent
    finally:
        for name in kept:
            delattr(files, name)


def _reads(files: DataFiles, path: Path) -> Iterator[Figure]:
    size = path.stat().st_size
    groups = duckdb.execute(f"select count(distinct row_group_id) from parquet_metadata('{path}')").fetchall()[0][0]
    sandbox = Sandbox(SETTINGS)
    queries = Queries(files, lambda: sandbox)
    for label, sql, aim in (
        ("lookup", f"select * from data where id = {ROWS // 2}", "2.5 MB, 12 requests"),
        ("column sum", "select sum(amount) from data", "40 requests"),
        ("count(*)", "select count(*) from data", "the footer"),
    ):
        files._footers.clear()
        query = _query(queries, LARGE, sql)
        name = f"{label} over {groups} row groups in {query.requests} requests, read"
        yield Figure(name, query.bytes_scanned / 1e6, "file", size / 1e6, "MB", aim)
    sandbox.close()


def _cpu(files: DataFiles, path: Path) -> Iterator[Figure]:
    sandbox = Sandbox(SETTINGS)
    queries = Queries(files, lambda: sandbox)
    command = [str(Path(sys.executable).with_name("duckdb")), "-csv", "-c"]
    command.append(f"set threads = 1; create view data as select * from '{path}'; {GROUP}")
    child, cli = [], []
    for _ in range(5):
        with queries.open(queries.path(CONTAINER, LARGE), monotonic() + 60) as query:
            query.check(GROUP)
            assert query._child is not None
            before = _cpu_seconds(query._child.pid)
            query.run(GROUP)
            while query.fetch(1000):
                pass
            child.append(_cpu_seconds(query._child.pid) - before)
        sleep(SPARE_SECONDS)
        started = os.times()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        ended = os.times()
        cli.append(ended.children_user + ended.children_system - started.children_user - started.children_system)
    sandbox.close()
    name = f"group-by over {ROWS} rows, CPU of the child"
    yield Figure(name, statistics.median(child), "duckdb-cli", statistics.median(cli), "s", "1.3")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
