"""`Idempotency-Key`: one effect for one request, however often it is sent, on a real Azurite."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from shared import idempotency
from shared.errors import InvalidRequest, KeyReused, ResponseNotKept, StillRunning
from shared.idempotency import Idempotency
from shared.settings import StorageSettings
from shared.storage import Storage
from shared.web import Access, Fields, Operation, Request, Response, Route
from tests.support import App

SECRET = "hunter2-and-more"


class Name(Fields, frozen=True):
    """The fields of the function below."""

    name: str = ""


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        """The time now."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of the records."""
    return Clock()


@pytest.fixture
def records(storage_connection: str, clock: Clock) -> Iterator[Idempotency]:
    """Records in a table of this test's own."""
    storage = Storage(StorageSettings(storage_connection))
    table = f"idempotency{uuid4().hex[:12]}"
    yield Idempotency(lambda: storage, lambda purpose: purpose.encode().ljust(32, b"."), clock, table)
    storage.table(table).delete_table()


def route(name: str = "make") -> Route:
    """A writing function."""
    operation = Operation(lambda _: None, Name, None, "", writes=True, headers=("if-match",))
    return Route(name, name, ("POST",), Access.FUNCTION, lambda: {name: operation})


def request(body: bytes = b"{}", key: str = "k1", **headers: str) -> Request:
    """A POST with an Idempotency-Key."""
    return Request("POST", "http://x/api/make", {"idempotency-key": key} | headers, {}, body)


def test_a_repetition_gets_the_first_response(records: Idempotency) -> None:
    """The function runs once; a repetition gets the same status, headers and body, and is marked as a replay."""
    runs: list[int] = []

    def call() -> Response:
        runs.append(1)
        return Response(201, b'{"n": 1}', headers={"etag": '"1"'})

    first = records.once(route(), request(), call)
    again = records.once(route(), request(), call)
    assert len(runs) == 1
    assert (again.status, again.body, again.content_type) == (first.status, first.body, first.content_type)
    assert again.headers == {"etag": '"1"', "idempotent-replayed": "true"}


@pytest.mark.parametrize(("other", "headers"), [(b'{"name": "b"}', {}), (b"{} ", {}), (b"{}", {"if-match": '"1"'})])
def test_another_request_is_refused(records: Idempotency, other: bytes, headers: dict[str, str]) -> None:
    """The same key with another body or another condition is a mistake, and does not run."""
    records.once(route(), request(), lambda: Response(200))
    with pytest.raises(KeyReused):
        records.once(route(), request(other, **headers), lambda: pytest.fail("it ran"))


def test_each_function_has_its_own_keys(records: Idempotency) -> None:
    """The same key may be used for another function."""
    records.once(route("make"), request(), lambda: Response(200, b"made"))
    assert records.once(route("break"), request(), lambda: Response(200, b"broken")).body == b"broken"


def test_each_user_has_their_own_keys(records: Idempotency) -> None:
    """Nobody gets the response of another user's request, though key and request are the same."""
    assert records.once(route(), request(), lambda: Response(200, b"alice's"), "user:alice").body == b"alice's"
    assert records.once(route(), request(), lambda: Response(200, b"bob's"), "user:bob").body == b"bob's"
    assert records.once(route(), request(), lambda: Response(200, b"a key's")).body == b"a key's"


def test_a_failure_is_not_kept(records: Idempotency) -> None:
    """After an exception, or a response that is not a success, a repetition runs again."""
    with pytest.raises(ZeroDivisionError):
        records.once(route(), request(), lambda: Response(1 // 0))
    assert records.once(route(), request(), lambda: Response(412)).status == 412
    assert records.once(route(), request(), lambda: Response(200, b"done")).body == b"done"


def test_a_repetition_waits_for_the_first(records: Idempotency, clock: Clock) -> None:
    """While the first request runs, a repetition is refused with Retry-After; one that never ended is run again."""

    def during() -> Response:
        with pytest.raises(StillRunning) as running:
            records.once(route(), request(), lambda: pytest.fail("it ran"))
        assert running.value.retry_after
        clock.now += idempotency.ABANDONED
        records.once(route(), request(), lambda: Response(200, b"second"))
        return Response(200, b"first")

    records.once(route(), request(), during)
    # The second run took over: its record is the one that stays.
    assert records.once(route(), request(), lambda: pytest.fail("it ran")).body == b"second"


@pytest.mark.parametrize("days", [1, 400, -1, -400])
def test_a_record_holds_for_a_day(records: Idempotency, clock: Clock, days: int) -> None:
    """After a day the key may be used again, also if the clock that wrote the record was far ahead."""
    records.once(route(), request(), lambda: Response(200, b"old"))
    clock.now += timedelta(days=days)
    assert records.once(route(), request(b'{"name": "b"}'), lambda: Response(200, b"new")).body == b"new"


def test_one_of_many_at_once_runs(records: Idempotency) -> None:
    """Of twenty equal requests at the same moment one runs; every other is refused or gets its response."""
    runs: list[int] = []
    gate = threading.Barrier(20)

    def call() -> Response:
        runs.append(1)
        return Response(200, b"done")

    def send(_: int) -> bytes:
        gate.wait(timeout=30)
        try:
            return records.once(route(), request(), call).body
        except StillRunning:
            return b"running"

    with ThreadPoolExecutor(20) as pool:
        bodies = set(pool.map(send, range(20)))
    assert len(runs) == 1
    assert bodies <= {b"done", b"running"}


def test_a_record_shows_neither_request_nor_response(records: Idempotency, storage_connection: str) -> None:
    """The row contains no word of the key, the request or the response."""
    sent = json.dumps({"name": SECRET}).encode()
    records.once(route(), request(sent, key=SECRET), lambda: Response(200, SECRET.encode(), headers={"x": SECRET}))
    rows = list(Storage(StorageSettings(storage_connection)).table(records._table_name).list_entities())
    assert len(rows) == 1
    assert SECRET not in repr(rows)


def test_a_large_response_is_kept_and_a_huge_one_never_runs_twice(records: Idempotency) -> None:
    """A response over one property's size comes back whole; one over a row's size is named as not kept."""
    large = bytes(range(256)) * 2048
    records.once(route(), request(key="large"), lambda: Response(200, large))
    assert records.once(route(), request(key="large"), lambda: pytest.fail("it ran")).body == large
    records.once(route(), request(key="huge"), lambda: Response(200, large * 2))
    with pytest.raises(ResponseNotKept):
        records.once(route(), request(key="huge"), lambda: pytest.fail("it ran"))


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "a" * 201, "a\n", "\x7f"])
def test_a_key_is_visible_ascii(records: Idempotency, key: str) -> None:
    """A key has 1 to 200 visible ASCII characters."""
    with pytest.raises(InvalidRequest) as problem:
        records.once(route(), request(key=key), lambda: pytest.fail("it ran"))
    assert [each.field for each in problem.value.errors] == ["idempotency_key"]


def test_old_records_are_purged(records: Idempotency, clock: Clock, storage_connection: str) -> None:
    """The daily task removes records older than a day, and nothing else."""
    records.once(route(), request(key="old"), lambda: Response(200))
    clock.now += timedelta(days=2)
    records.once(route(), request(key="new"), lambda: Response(200))
    assert records.purge(clock.now) == 1
    rows = list(Storage(StorageSettings(storage_connection)).table(records._table_name).list_entities())
    assert len(rows) == 1


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/api/keys", {"name": "idem-a", "type": "P-256"}),
    ("POST", "/api/containers", {"container": "idem-a"}),
    ("POST", "/api/hash-password", {"user": "idem-a", "password": "a long and unlikely passphrase 17"}),
    ("PUT", "/api/queries/idem-a", {"sql": "select 1"}),
]


@pytest.mark.parametrize(("method", "path", "fields"), CALLS)
def test_writing_functions_accept_a_key(running_app: App, method: str, path: str, fields: dict[str, Any]) -> None:
    """Over HTTP: a repetition gets 201 again instead of a conflict; another request with the key is 422."""
    with running_app.client() as client:
        headers = {"idempotency-key": uuid4().hex}

        def send(**changed: Any) -> httpx.Response:
            return client.request(method, path, json=fields | changed, headers=headers)

        first, again = send(), send()
        assert (first.status_code, again.status_code) == (201, 201), (first.text, again.text)
        assert again.content == first.content
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
        name = next(iter(fields))
        other = client.request(method, path, json=fields | {name: f"{fields[name]}  "}, headers=headers)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
