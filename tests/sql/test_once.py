"""`Idempotency-Key`: a repeated request gets the first response and runs no second time, whatever happened between."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from shared.errors import Busy, KeyReused
from shared.sql.databases import Database
from shared.sql.engines import Outcome, Statement
from shared.sql.errors import SqlError
from tests.sql.test_engines import rows, write
from tests.support import StartApp


def once(database: Database, key: str, *statements: str, request: bytes = b"") -> tuple[bytes, bool]:
    """Run statements under a key; return the row counts as JSON, and whether the response is a replay."""

    def tell(outcomes: list[Outcome]) -> bytes:
        return str([each.rows_affected for each in outcomes]).encode()

    parsed = [Statement(each, ()) for each in statements]
    return database.execute_once(key, request or repr(parsed).encode(), parsed, 10, tell=tell, seconds=30)


@pytest.fixture
def counter(shop: Database) -> Database:
    """The database with a fresh table `counter` of one row, and no stored responses."""
    write(shop, "drop table if exists counter")
    write(shop, "drop table if exists strongroom_answers")
    write(shop, "create table counter (n integer)")
    write(shop, "insert into counter values (0)")
    return shop


ADD = "update counter set n = n + 1"


def test_a_key_does_it_once(counter: Database) -> None:
    """The same key and request get the first response and change nothing more; another key runs the request again."""
    assert once(counter, "a", ADD) == (b"[1]", False)
    assert once(counter, "a", ADD) == (b"[1]", True)
    assert once(counter, "b", ADD, "delete from counter where n < 0") == (b"[1, 0]", False)
    assert rows(counter, "select n from counter") == [[2]]


def test_a_key_belongs_to_its_request(counter: Database) -> None:
    """A key that comes with another request is refused, and nothing runs."""
    once(counter, "a", ADD)
    with pytest.raises(KeyReused):
        once(counter, "a", "delete from counter")
    assert rows(counter, "select n from counter") == [[1]]


def test_what_failed_is_not_kept(counter: Database) -> None:
    """A failed request leaves no stored response: a repetition runs again."""
    once(counter, "first", ADD)
    with pytest.raises(SqlError):
        once(counter, "a", ADD, "insert into later values (1)")
    write(counter, "create table later (a integer)")
    assert once(counter, "a", ADD, "insert into later values (1)") == (b"[1, 1]", False)
    write(counter, "drop table later")
    assert rows(counter, "select n from counter") == [[2]]


def test_a_day_later_it_is_done_again(counter: Database) -> None:
    """A response is stored for a day."""
    once(counter, "a", ADD)
    write(counter, "update strongroom_answers set created = created - 86390")
    assert once(counter, "b", ADD) == (b"[1]", False)
    assert once(counter, "a", ADD) == (b"[1]", True)
    write(counter, "update strongroom_answers set created = created - 100")
    assert once(counter, "b", ADD) == (b"[1]", True)
    once(counter, "c", ADD)
    assert once(counter, "a", ADD) == (b"[1]", False)


def test_racing_calls_do_it_once(counter: Database) -> None:
    """Of many concurrent calls with one key, one runs, and all get the same response."""

    def call(_: int) -> bytes:
        while True:
            try:
                return once(counter, "race", ADD)[0]
            except Busy:
                continue  # The engine broke a deadlock, so the call is repeated.

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(call, range(24))) == {b"[1]"}
    assert rows(counter, "select n from counter") == [[1]]


def test_a_killed_app_did_it_once_or_not_at_all(start_app: StartApp, tmp_path: Path) -> None:
    """kill -9 during writes leaves each one done with its response, or not done; after repetition each is done once."""
    folder = tmp_path / "app"
    app = start_app(folder=folder)
    with app.client() as client:
        client.post("/api/execute-sql", json={"sql": "create table log (n integer)"}).raise_for_status()
    statements = [{"sql": "insert into log values (?)", "params": [1]}, {"sql": MUCH}, {"sql": ENDLESS}]

    def call(number: int) -> None:
        body = {"statements": statements, "timeout_ms": 60_000} if number % 8 == 7 else single(number)
        try:
            with app.client() as client:
                client.post("/api/execute-sql", json=body, headers={"idempotency-key": f"k{number}"})
        except httpx.HTTPError:
            pass

    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(call, number) for number in range(64)]
        deadline = time.monotonic() + 60
        while (folder / "main.sqlite").stat().st_size < HALF and time.monotonic() < deadline:
            time.sleep(0.001)
        os.kill(app.process.pid, signal.SIGKILL)
        app.process.wait()
        for each in calls:
            each.result()
    again = start_app(folder=folder)
    with again.client() as client:
        assert client.post("/api/query-sql", json={"sql": "pragma integrity_check"}).json()["rows"] == [["ok"]]
        half = client.post("/api/query-sql", json={"sql": "select count(*) from log where n = 1"}).json()["rows"]
        assert half in ([[0]], [[1]])  # 1 is also the count of a single call.
        for number in range(64):
            if number % 8 != 7:
                headers = {"idempotency-key": f"k{number}"}
                client.post("/api/execute-sql", json=single(number), headers=headers).raise_for_status()
        found = client.post("/api/query-sql", json={"sql": "select n from log order by n"}).json()["rows"]
    assert [row[0] for row in found] == [number for number in range(64) if number % 8 != 7]


T = "insert into log with recursive t(i) as (select 1 union all select i + 1 from t) select 1000 + i from t"
MUCH, HALF = f"{T} limit 500000", 2**20
"""More than SQLite keeps in memory: half a transaction makes the file as large as that."""
ENDLESS = f"{T} where i < 0"


def single(number: int) -> dict[str, object]:
    """A request that writes one row."""
    return {"sql": "insert into log values (?)", "params": [number], "timeout_ms": 60_000}


def test_the_header_over_http(start_app: StartApp) -> None:
    """A repetition replays the first response, with a header that says so; a dry run stores nothing."""
    app = start_app()
    body = {"sql": "insert into fruit (name, price) values (?, ?)", "params": ["quince", 1]}
    with app.client() as client:
        client.headers["idempotency-key"] = "key-1"
        tried = client.post("/api/execute-sql", json=body | {"dry_run": True})
        first = client.post("/api/execute-sql", json=body)
        again = client.post("/api/execute-sql", json=body)
        assert (tried.json()["dry_run"], first.json()["dry_run"]) == (True, False)
        assert again.content == first.content
        assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
        other = client.post("/api/execute-sql", json=body | {"params": ["medlar", 1]})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
        found = client.post("/api/query-sql", json={"sql": "select count(*) from fruit where name = 'quince'"})
    assert found.json()["rows"] == [[1]]
