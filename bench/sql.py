"""SQL: in process against the raw drivers, and over HTTP against Datasette, on a table of a million orders."""

import http.client
import json
import logging
import os
import random
import selectors
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
import psycopg

from bench.report import Figure, in_turns
from shared.settings import StorageSettings
from shared.sql.databases import Database, Databases
from shared.sql.exports import export
from shared.sql.responses import Ask, answer_query
from shared.sql.settings import DatabaseSettings
from shared.sql.store.files import Files
from shared.sql.values import Form
from shared.storage import Storage
from shared.web import Response
from tests.sql.servers import start_postgresql
from tests.support import app_environ, free_port, run_app, stop

ROWS = 1_000_000
KEY = "select * from orders where id = ?"
HUNDRED = "select * from orders where id >= ? limit 100"


class _NoCursors:
    """Nothing that is measured has a page after it."""

    def sign(self, data: bytes) -> bytes:
        raise AssertionError(data)


class _Nowhere:
    closed = False
    size = 0

    def write(self, data: bytes) -> int:
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is kept."""


def _orders(path: Path) -> None:
    random.seed(1)
    connection = sqlite3.connect(path)
    connection.execute(
        "create table orders (id integer primary key, customer text, product text, quantity integer, price real, "
        "ordered text, note text)"
    )
    connection.executemany(
        "insert into orders values (?, ?, ?, ?, ?, ?, ?)",
        (
            (
                number,
                f"customer {random.randrange(10_000)}",
                f"product {random.randrange(500)}",
                random.randrange(100),
                random.randrange(10_000) / 100,
                f"2026-{random.randrange(1, 13):02}-{random.randrange(1, 29):02}T10:00:00",
                None if number % 3 else f"note é {number}",
            )
            for number in range(1, ROWS + 1)
        ),
    )
    connection.commit()
    connection.close()


def _open(url: str) -> Database:
    def no_token(scope: str) -> str:
        raise AssertionError(scope)

    files = Files(Storage(StorageSettings()))
    return Databases({"orders": DatabaseSettings(url)}, no_token, files).get("orders")


def _asks(database: Database, sql: str) -> Callable[[], Response]:
    ask = Ask(sql=sql, params=[ROWS // 2], form=Form(), limit=1000, max_bytes=2**23, seconds=5.0, question=())
    return lambda: answer_query(database, _NoCursors(), ask)


def run() -> Iterator[Figure]:
    """Microseconds a query, milliseconds an export, and requests per second over HTTP."""
    logging.getLogger("strongroom").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "orders.sqlite"
        _orders(path)
        yield from _in_process(path)
        yield from _postgresql()
        yield from _over_http(folder, path)


def _in_process(path: Path) -> Iterator[Figure]:
    database, raw = _open(f"sqlite:///{path}"), sqlite3.connect(path)
    params = (ROWS // 2,)
    ours, theirs = in_turns(_asks(database, KEY), lambda: raw.execute(KEY, params).fetchall(), 21, 1000)
    yield Figure("a row by its key", ours * 1e6, "raw sqlite3, open connection", theirs * 1e6, "µs", "at most 2.5")
    fetched = in_turns(_asks(database, HUNDRED), lambda: orjson.dumps(raw.execute(HUNDRED, params).fetchall()), 21, 200)
    yield Figure("100 rows as JSON", fetched[0] * 1e6, "sqlite3, orjson", fetched[1] * 1e6, "µs", "at most 1.0")
    many = "select * from orders limit 100000"

    def to_csv() -> None:
        with database.reading(60) as session:
            export(session.query(many, (), rows=2**62, explain=False), "csv", "sqlite", _Nowhere())

    ours, theirs = in_turns(to_csv, lambda: raw.execute(many).fetchall(), 7, 1)
    yield Figure("100,000 rows to CSV", ours * 1000, "fetchall alone", theirs * 1000, "ms", "at most 1.5")
    tracemalloc.start()
    to_csv()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    kept = raw.execute(many).fetchall()
    theirs = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    del kept
    yield Figure("its memory", peak / 2**20, "fetchall", theirs / 2**20, "MiB", "at most 10 MiB")
    own = threading.local()

    def raw_in_threads() -> bytes:
        if not hasattr(own, "connection"):
            own.connection = sqlite3.connect(path)
        return orjson.dumps(own.connection.execute(HUNDRED, params).fetchall())

    ask = _asks(database, HUNDRED)
    for threads in (1, 16):
        rates = [(_rate(ask, threads), _rate(raw_in_threads, threads)) for _ in range(5)]
        ours, theirs = (statistics.median(each) for each in zip(*rates, strict=True))
        what = f"100 rows as JSON, {threads} thread{'s' * (threads > 1)}"
        yield Figure(what, ours, "sqlite3, orjson", theirs, "queries/s", "at least 1.0")


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
            for what, sql in (("a row by its key", KEY), ("100 rows as JSON", HUNDRED.replace("100", "99"))):
                text = sql.replace("?", "%s")
                declare = f"DECLARE strongroom NO SCROLL CURSOR FOR {text}"

                def theirs(declare: str = declare) -> bytes:
                    raw.execute("BEGIN READ ONLY; SELECT set_config('statement_timeout', '5000', true)")
                    raw.execute(declare, [50_000])
                    rows = raw.execute("FETCH FORWARD 100 FROM strongroom").fetchall()
                    raw.execute("ROLLBACK; SELECT pg_advisory_unlock_all()")
                    return orjson.dumps(rows, default=str)

                ask = Ask(
                    sql=sql, params=[50_000], form=Form(), limit=99, max_bytes=2**23, seconds=5.0, question=()
                )  # fmt: skip
                measured = in_turns(lambda ask=ask: answer_query(database, _NoCursors(), ask), theirs, 15, 100)  # type: ignore[misc]
                yield Figure(
                    f"PostgreSQL: {what}", measured[0] * 1e6, "psycopg, same statements", measured[1] * 1e6, "µs",
                    "at most 1.3",
                )  # fmt: skip
            database.close()
    finally:
        server.stop()


def _over_http(folder: Path, path: Path) -> Iterator[Figure]:
    environ = app_environ(folder, "UseDevelopmentStorage=true") | {"DATABASE_ORDERS": f"sqlite:///{path}"}
    port = free_port()
    command = [sys.executable, "-m", "datasette", "serve", str(path), "--port", str(port)]
    with run_app(folder, environ) as app, (folder / "datasette.log").open("wb") as log:
        datasette = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"NO_COLOR": "1"})
        try:
            _wait(port)
            own_port = urlsplit(app.url).port or 80
            queries = {KEY: "a row by its key", HUNDRED: "100 rows"}
            ours = {
                sql: _post(app.function_key, {"sql": sql, "params": [500_000], "database": "orders"}) for sql in queries
            }
            theirs = {sql: _get(f"/orders.json?{urlencode(_asked(sql))}") for sql in queries}
            for sql in queries:
                assert _rows(own_port, ours[sql]) == _rows(port, theirs[sql])
            row_page = _get("/orders/orders/500000.json")
            for sql, callers, against, request, aim in (
                (KEY, 4, "Datasette, by SQL", theirs[KEY], "at least 6"),
                (KEY, 16, "Datasette, by SQL", theirs[KEY], "at least 6"),
                (KEY, 1, "Datasette, by SQL", theirs[KEY], "at least 6"),
                (KEY, 4, "Datasette's page of that row", row_page, "at least 6"),
                (HUNDRED, 4, "Datasette, by SQL", theirs[HUNDRED], "at least 3"),
            ):
                rates = _rates((own_port, ours[sql], callers), (port, request, callers))
                what = f"over HTTP: {queries[sql]}, {callers} caller{'s' * (callers > 1)}"
                yield Figure(what, rates[0], against, rates[1], "requests/s", aim)
            for sql, what in queries.items():
                rates = _rates((own_port, ours[sql], 16), (own_port, ours[sql], 1))
                yield Figure(
                    f"over HTTP: {what}, 16 callers", rates[0], "one caller", rates[1], "requests/s", "at least 1.0"
                )
        finally:
            stop(datasette)


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _post(key: str, fields: dict[str, object]) -> bytes:
    body = json.dumps(fields)
    head = f"Host: localhost\r\nx-functions-key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"POST /api/query-sql HTTP/1.1\r\n{head}\r\n\r\n{body}".encode()


def _asked(sql: str) -> dict[str, object]:
    return {"sql": sql.replace("?", ":id"), "id": 500_000, "_shape": "arrays"}


def _rows(port: int, request: bytes) -> Any:
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.sendall(request)
        data = stream.recv(65536)
        while not _is_whole(data):
            data += stream.recv(65536)
    assert b" 200 " in data[:20], data
    return json.loads(data[data.index(b"{") : data.rindex(b"}") + 1])["rows"]


def _is_whole(data: bytes) -> bool:
    head, blank, body = data.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
    return bool(blank) and (len(body) >= int(length) if length else body.endswith(b"0\r\n\r\n"))


def _rates(*loads: tuple[int, bytes, int]) -> list[float]:
    """The median requests per second of each load, in turns, so that a machine that slows down slows all."""
    rates = [[_throughput(*load) for load in loads] for _ in range(5)]
    return [statistics.median(each) for each in zip(*rates, strict=True)]


def _throughput(port: int, request: bytes, callers: int, seconds: float = 1.0) -> float:
    """Requests per second, by some callers over connections that stay open, each asking again when it is answered.

    One thread is all the callers, with as little work as can be, since it runs on the machine that answers.
    """
    count = 0
    with selectors.DefaultSelector() as selector, ExitStack() as streams:
        for _ in range(callers):
            stream = streams.enter_context(socket.create_connection(("127.0.0.1", port)))
            selector.register(stream, selectors.EVENT_READ, [])
            stream.sendall(request)
        started = time.perf_counter()
        while time.perf_counter() < started + seconds:
            for key, _ in selector.select():
                key.data.append(key.fileobj.recv(65536))  # type: ignore[union-attr]
                if _is_whole(b"".join(key.data)):
                    assert b" 200 " in key.data[0][:20], key.data
                    key.data.clear()
                    key.fileobj.sendall(request)  # type: ignore[union-attr]
                    count += 1
        return count / (time.perf_counter() - started)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/-/versions.json")
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
