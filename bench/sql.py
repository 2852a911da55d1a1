"""SQL in this process: against the raw drivers, and against Datasette, on a table of a million orders."""

import asyncio
import io
import json
import logging
import sqlite3
import statistics
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import process_time

import orjson
import psycopg

from bench.datasette import HUNDRED, ROW, ROWS, create_orders, datasette_caller
from bench.report import Figure, in_turns
from shared.app import build
from shared.once import Once
from shared.sandbox.process import Sandbox
from shared.sandbox.settings import SandboxSettings
from shared.settings import StorageSettings
from shared.sql.databases import Database, Databases
from shared.sql.engines.parquet import ParquetFiles
from shared.sql.exports import export
from shared.sql.responses import PageQuery, page_response
from shared.sql.settings import DatabaseSettings
from shared.sql.store.files import Files
from shared.sql.writers import Format, Style
from shared.storage import Storage
from shared.web import Cursors, Request, Response
from shared.web.respond import respond
from tests.sql.servers import start_postgresql
from tests.support import app_environ

PARQUET = ParquetFiles(Once(lambda: Sandbox(SandboxSettings())))


def _no_cursors() -> bytes:
    """Raises if it is called: no measured query has a next page, so none needs the key of cursors."""
    raise AssertionError


class _Nowhere:
    closed = False
    size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing."""


def _open(url: str) -> Database:
    def no_token(scope: str) -> str:
        raise AssertionError(scope)

    files = Files(Storage(StorageSettings()))
    return Databases({"orders": DatabaseSettings(url)}, no_token, files).get("orders")


def _query(database: Database, sql: str) -> Callable[[], Response]:
    query = PageQuery(
        sql=sql, params=[ROWS // 2], style=Style(), limit=1000, max_bytes=2**23, seconds=5.0, scope=("bench",)
    )
    return lambda: page_response(database, Cursors(_no_cursors), query)


def run() -> Iterator[Figure]:
    """Microseconds per query, milliseconds per export, and queries per second of some threads."""
    logging.getLogger("strongroom").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "orders.sqlite"
        create_orders(path)
        yield from _in_process(path)
        yield from _to_pandas(path)
        yield from _postgresql()
        yield from _beside_datasette(folder, path)


def _to_pandas(path: Path) -> Iterator[Figure]:
    """100,000 rows to a DataFrame: one page in Arrow, and pages of 10,000 rows in the other formats."""
    import pandas as pd  # type: ignore[import-untyped]
    import pyarrow as pa  # type: ignore[import-untyped]

    database, cursors = _open(f"sqlite:///{path}"), Cursors(lambda: bytes(32))
    sql = "select * from orders where id <= 100000 order by id"

    def pages(form: Format, limit: int) -> Iterator[Response]:
        cursor: str | None = None
        while True:
            query = PageQuery(
                sql=sql, params=(), style=Style(form), limit=limit, max_bytes=2**25, seconds=60.0, scope=("bench",),
                cursor=cursor,
            )  # fmt: skip
            page = page_response(database, cursors, query)
            yield page
            cursor = json.loads(page.body)["cursor"] if form == "json" else page.headers.get("x-cursor")
            if cursor is None:
                return

    def arrow() -> object:
        return pd.concat([pa.ipc.open_stream(each.body).read_pandas() for each in pages("arrow", 100_000)])

    def csv() -> object:
        return pd.concat([pd.read_csv(io.BytesIO(each.body)) for each in pages("csv", 10_000)])

    def as_json() -> object:
        responses = [json.loads(each.body) for each in pages("json", 10_000)]
        return pd.concat(
            [pd.DataFrame(each["rows"], columns=[one["name"] for one in each["columns"]]) for each in responses]
        )

    for name, other in (("CSV", csv), ("JSON", as_json)):
        app_value, baseline = in_turns(arrow, other, 5, 1)
        yield Figure("100,000 rows to pandas by Arrow", app_value * 1000, name, baseline * 1000, "ms", "at most 1.0")


def _in_process(path: Path) -> Iterator[Figure]:
    database, raw = _open(f"sqlite:///{path}"), sqlite3.connect(path)
    params = (ROWS // 2,)
    app_value, baseline = in_turns(_query(database, ROW), lambda: raw.execute(ROW, params).fetchall(), 21, 1000)
    yield Figure(
        "a row by its key", app_value * 1e6, "raw sqlite3, open connection", baseline * 1e6, "µs", "at most 2.5"
    )
    fetched = in_turns(
        _query(database, HUNDRED), lambda: orjson.dumps(raw.execute(HUNDRED, params).fetchall()), 21, 200
    )
    yield Figure("100 rows as JSON", fetched[0] * 1e6, "sqlite3, orjson", fetched[1] * 1e6, "µs", "at most 1.0")
    many = "select * from orders limit 100000"

    def to_csv() -> None:
        with database.reading(60) as session:
            export(session.query(many, (), rows=2**62, explain=False), "csv", _Nowhere(), PARQUET)

    app_value, baseline = in_turns(to_csv, lambda: raw.execute(many).fetchall(), 7, 1)
    yield Figure("100,000 rows to CSV", app_value * 1000, "fetchall alone", baseline * 1000, "ms", "at most 1.5")
    tracemalloc.start()
    to_csv()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    kept = raw.execute(many).fetchall()
    baseline = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del kept
    yield Figure("its memory", peak / 2**20, "fetchall", baseline / 2**20, "MiB", "at most 10 MiB")
    own = threading.local()

    def raw_in_threads() -> bytes:
        if not hasattr(own, "connection"):
            own.connection = sqlite3.connect(path)
        return orjson.dumps(own.connection.execute(HUNDRED, params).fetchall())

    query = _query(database, HUNDRED)
    for threads in (1, 16):
        rates = [(_rate(query, threads), _rate(raw_in_threads, threads)) for _ in range(5)]
        app_value, baseline = (statistics.median(each) for each in zip(*rates, strict=True))
        what = f"100 rows as JSON, {threads} thread{'s' * (threads > 1)}"
        yield Figure(what, app_value, "sqlite3, orjson", baseline, "queries/s", "at least 1.0")


def _rate(call: Callable[[], object], threads: int, calls: int = 3200) -> float:
    """Calls per second, by some threads of this process."""

    def some(number: int) -> None:
        for _ in range(number):
            call()

    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        list(pool.map(some, [calls // threads] * threads))
        return calls / (time.perf_counter() - started)


def _postgresql() -> Iterator[Figure]:
    server = start_postgresql()
    try:
        with psycopg.connect(server.owner, autocommit=True) as raw:
            raw.execute(
                "create table orders as select i as id, 'customer ' || i % 10000 as customer, i % 100 as quantity, "
                "i / 100.0 as price, now() as ordered from generate_series(1, 100000) i"
            )
            raw.execute("alter table orders add primary key (id)")
            raw.execute("grant select on orders to reader")
            database = _open(server.reader)
            for what, sql in (("a row by its key", ROW), ("100 rows as JSON", HUNDRED.replace("100", "99"))):
                text = sql.replace("?", "%s")
                declare = f"DECLARE strongroom NO SCROLL CURSOR FOR {text}"

                def baseline(declare: str = declare) -> bytes:
                    raw.execute("BEGIN READ ONLY; SELECT set_config('statement_timeout', '5000', true)")
                    raw.execute(declare, [50_000])
                    rows = raw.execute("FETCH FORWARD 100 FROM strongroom").fetchall()
                    raw.execute("ROLLBACK; SELECT pg_advisory_unlock_all()")
                    return orjson.dumps(rows, default=str)

                query = PageQuery(
                    sql=sql, params=[50_000], style=Style(), limit=99, max_bytes=2**23, seconds=5.0, scope=("bench",)
                )  # fmt: skip
                app_call = partial(page_response, database, Cursors(_no_cursors), query)
                measured = in_turns(app_call, baseline, 15, 100)
                yield Figure(
                    f"PostgreSQL: {what}", measured[0] * 1e6, "psycopg, same statements", measured[1] * 1e6, "µs",
                    "at most 1.3",
                )  # fmt: skip
            database.close()
    finally:
        server.stop()


def _beside_datasette(folder: Path, path: Path) -> Iterator[Figure]:
    """Both apps in this process, from the bytes of a request to the bytes of the response: no server, no socket."""
    environ = app_environ(folder, "UseDevelopmentStorage=true") | {"DATABASE_ORDERS": f"sqlite:///{path}"}
    route = next(each for each in build(environ).routes if each.name == "query-sql")
    loop = asyncio.new_event_loop()
    for sql, what, aim in ((ROW, "a row by key", "at most 0.17"), (HUNDRED, "100 rows", "at most 0.33")):
        body = json.dumps({"sql": sql, "params": [ROWS // 2], "database": "orders"}).encode()
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        request = Request("POST", "http://localhost/api/query-sql", headers, {}, body)
        baseline = datasette_caller(loop, path, sql)
        response = respond(route, request, 2**23)
        assert json.loads(response.body)["rows"] == json.loads(baseline())["rows"], response.body
        measured = in_turns(partial(respond, route, request, 2**23), baseline, 21, 50, process_time)
        yield Figure(
            f"query-sql, {what}", measured[0] * 1e6, "Datasette's ASGI app", measured[1] * 1e6, "µs of CPU", aim
        )
    loop.close()
