"""The table of orders that SQL is measured on, and Datasette in this process: its ASGI app, without a server."""

import asyncio
import importlib
import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROWS = 1_000_000
ROW = "select * from orders where id = ?"
HUNDRED = "select * from orders where id >= ? limit 100"


def create_orders(path: Path) -> None:
    """Write a SQLite file with a table of a million orders, always the same."""
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


def datasette_caller(loop: asyncio.AbstractEventLoop, database: Path, sql: str) -> Callable[[], bytes]:
    """A function that calls Datasette's ASGI app once, and returns the JSON."""
    datasette = importlib.import_module("datasette.app").Datasette([str(database)])  # It has no types.
    loop.run_until_complete(datasette.invoke_startup())
    app = datasette.app()
    query = urlencode({"sql": sql.replace("?", ":id"), "id": ROWS // 2, "_shape": "arrays"})
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": f"/{database.stem}.json",
        "raw_path": f"/{database.stem}.json".encode(),
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    def call() -> bytes:
        parts: list[bytes] = []

        async def send(message: dict[str, Any]) -> None:
            parts.append(message.get("body", b""))

        loop.run_until_complete(app(dict(scope), receive, send))
        return b"".join(parts)

    body = call()
    assert json.loads(body)["rows"], body

    return call
