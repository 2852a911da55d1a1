"""The console in Chromium: its first page over a slow network, and 1,000 rows beside Datasette's page for them."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.report import Figure
from scripts.azurite import start_azurite
from scripts.samples import seed_container, seed_database, seed_keys, seed_users
from tests.support import ROOT, app_environ, clean_environ, free_port, run_app

ROUNDS = 5
ROWS = 20_000


def run() -> Iterator[Figure]:
    """Throttled: 150 ms, 1.6 Mbit/s, a processor four times as slow."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("  skipped: install chromium, or set CHROMIUM to its path")
        return
    with tempfile.TemporaryDirectory() as folder:
        measured = _measure(Path(folder), chromium)
    first, rows, other = measured["first"], measured["rows"], measured["datasette"]
    slow, slow_other = measured["slowRows"], measured["slowDatasette"]
    page = "Datasette's page of the rows"
    yield Figure("first page, throttled: first paint", first["paint"], page, slow_other["paint"], "ms", "1000")
    yield Figure("first page, throttled: usable", first["usable"], page, slow_other["time"], "ms", "1500")
    yield Figure("first page: layout shift", first["shift"], "aim", 0.02, "", "0.02")
    yield Figure("first page, throttled: interaction", first["interaction"], "aim", 100, "ms", "100")
    yield Figure("first page: bytes", first["bytes"] / 1024, page, other["bytes"] / 1024, "KiB", "45")
    yield Figure("first page: requests", first["requests"], page, other["requests"], "", "4, and health")
    yield Figure("1,000 rows from the address: bytes", rows["bytes"] / 1024, "Datasette", other["bytes"] / 1024, "KiB")
    yield Figure("1,000 rows from the address: requests", rows["requests"], "Datasette", other["requests"], "")
    yield Figure("1,000 rows from the address: time", rows["time"], "Datasette", other["time"], "ms")
    yield Figure("the same, throttled", slow["time"], "Datasette", slow_other["time"], "ms")
    yield Figure("from 1,000 to 10,000 rows, from the click", rows["all"], "aim", 700, "ms", "700")


def _measure(folder: Path, chromium: str) -> dict[str, dict[str, float]]:
    azurite = start_azurite(folder / "azurite", in_memory=True)
    try:
        storage = azurite.connection_string
        environ = app_environ(folder, storage)
        seed_database(folder / "main.sqlite")
        _add_orders(folder / "main.sqlite")
        seed_container(storage)
        seed_users(storage, environ["STRONGROOM_MASTER_KEY"])
        seed_keys(storage, environ["STRONGROOM_MASTER_KEY"])
        port = free_port()
        command = [sys.executable, "-m", "datasette", "serve", str(folder / "main.sqlite"), "--port", str(port)]
        with (
            run_app(folder, environ) as app,
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as datasette,
        ):
            try:
                targets = {
                    "app": {"url": app.url, "key": app.function_key},
                    "datasette": f"http://127.0.0.1:{port}",
                    "rounds": ROUNDS,
                }
                _wait(port)
                script = ["node", str(ROOT / "bench" / "console.mjs"), json.dumps(targets)]
                done = subprocess.run(
                    script, cwd=ROOT, env=clean_environ() | {"CHROMIUM": chromium}, capture_output=True, check=True
                )
            finally:
                datasette.terminate()
        result: dict[str, dict[str, float]] = json.loads(done.stdout)
        return result
    finally:
        azurite.stop()


def _wait(port: int) -> None:
    """Wait until Datasette responds."""
    script = "until curl -sf -o /dev/null http://127.0.0.1:$0/-/versions.json; do sleep 0.1; done"
    subprocess.run(["timeout", "60", "bash", "-c", script, str(port)], check=True)


def _add_orders(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("create table orders (id integer primary key, customer text, price real, ordered text)")
    rows = ((n, f"customer {n % 997}", n % 10_000 / 100, "2026-11-29T10:00:00") for n in range(1, ROWS + 1))
    connection.executemany("insert into orders values (?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()


if __name__ == "__main__":
    for figure in run():
        print(figure)
