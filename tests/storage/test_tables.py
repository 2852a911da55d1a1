"""Rows are read and written as the docstring of `shared.storage.tables` says, also if storage fails."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.deadline import call_limit
from shared.errors import Busy, StorageForbidden, StorageUnavailable
from shared.settings import StorageSettings
from shared.storage import (
    Operation,
    RowConflict,
    Storage,
    Table,
    WriteUnconfirmed,
    create,
    delete,
    put,
    replace,
    retry_on_conflict,
)
from shared.storage.errors import TemporaryFailure
from tests.storage.proxy import HANG, LOSE_REQUEST, LOSE_RESPONSE, Proxy, Respond
from tests.support import closed_port

Failing = Callable[[Table], Table]
STALE = "W/\"datetime'2020-01-01T00%3A00%3A00.0000000Z'\""


def row(key: str = "a", **properties: Any) -> dict[str, Any]:
    """A row of the partition `p`."""
    return {"PartitionKey": "p", "RowKey": key, **properties}


def keys(table: Table, **options: Any) -> list[str]:
    """The row keys that a query of the partition `p` returns."""
    return [each["RowKey"] for each in table.query("PartitionKey eq @p", {"p": "p"}, **options)]


# Without failures


def test_a_table_that_does_not_exist_is_empty(table: Table) -> None:
    """Reading needs no table: a row is None, a query has no rows."""
    assert table.get("p", "a") is None
    assert keys(table) == []


def test_the_first_write_creates_the_table(table: Table) -> None:
    """The first write creates the table, and the row is read back with the ETag that `write` returned."""
    etags = table.write(create(row(n=1, data=b"\x00", text="é", yes=True)))
    stored = table.get("p", "a")
    assert stored is not None
    assert [stored.etag] == etags
    assert {name: stored[name] for name in ("n", "data", "text", "yes")} == {
        "n": 1,
        "data": b"\x00",
        "text": "é",
        "yes": True,
    }


def test_the_first_write_may_be_a_transaction(table: Table) -> None:
    """A transaction creates the table, too, and returns an ETag for each row."""
    assert all(table.write(create(row("a")), create(row("b"))))
    assert keys(table) == ["a", "b"]


def test_many_threads_may_make_the_first_write(table: Table) -> None:
    """Of many concurrent first writes, none fails."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: table.write(create(row(f"{n}"))), range(16)))
    assert len(keys(table)) == 16


@pytest.mark.parametrize(
    "operation",
    [
        create(row()),
        replace(row(), STALE),
        delete(row(), STALE),
        replace(row("gone")),
        replace(row("gone"), STALE),
        delete(row("gone")),
        delete(row("gone"), STALE),
    ],
    ids=lambda each: f"{each.action}-{each.row['RowKey']}-{'etag' if each.etag else 'any'}",
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_row_that_is_not_as_expected_is_a_conflict(table: Table, operation: Operation, alone: bool) -> None:
    """If the row is not as expected, alone or in a transaction, it is RowConflict, and nothing is written."""
    table.write(put(row(n=1)))
    with pytest.raises(RowConflict):
        table.write(operation, *([] if alone else [create(row("other"))]))
    assert keys(table) == ["a"]
    assert table.get("p", "a")["n"] == 1  # type: ignore[index]


def test_changes_of_a_table_that_does_not_exist_are_conflicts(table: Table) -> None:
    """Replacing and deleting do not create the table, because they need an existing row."""
    for operation in (replace(row()), delete(row())):
        with pytest.raises(RowConflict):
            table.write(operation)


def test_a_put_needs_no_row_and_replaces_one(table: Table) -> None:
    """`put` creates or replaces a row, and leaves no property of the old one."""
    table.write(put(row(a=1)))
    table.write(put(row(b=2)))
    stored = table.get("p", "a")
    assert stored is not None
    assert "a" not in stored
    assert stored["b"] == 2


def test_queries_read_page_by_page(table: Table) -> None:
    """Pages follow each other in order, and if the caller stops, no further page is read."""
    table.write(*(create(row(f"{n:03}")) for n in range(25)))
    assert keys(table, page_rows=10) == [f"{n:03}" for n in range(25)]
    assert next(table.query("RowKey gt @after", {"after": "004"}, page_rows=1))["RowKey"] == "005"


def test_selected_properties_alone_are_read(table: Table) -> None:
    """`select` omits the other properties, and keeps the ETag."""
    table.write(create(row(n=1, m=2)))
    stored = table.get("p", "a", ["n"])
    assert stored is not None
    assert stored["n"] == 1
    assert "m" not in stored
    assert stored.etag


def test_of_many_writers_none_loses_a_count(table: Table) -> None:
    """Sixteen threads that count under the ETag they read count to sixteen."""
    table.write(create(row(n=0)))

    def count(_: int) -> None:
        def once() -> None:
            stored = table.get("p", "a")
            assert stored is not None
            table.write(replace({**stored, "n": stored["n"] + 1}, stored.etag))

        retry_on_conflict(once)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(16)))
    assert table.get("p", "a")["n"] == 16  # type: ignore[index]


# Without a server


def test_a_change_that_never_wins_is_busy() -> None:
    """After many conflicts the caller has to wait: the error is 429."""

    def lose() -> None:
        raise RowConflict

    with pytest.raises(Busy):
        retry_on_conflict(lose)


def test_a_change_that_wins_later_succeeds() -> None:
    """After a conflict the change is repeated, and its result is returned."""
    outcomes = iter([RowConflict(), RowConflict(), 7])

    def change() -> int:
        outcome = next(outcomes)
        if isinstance(outcome, RowConflict):
            raise outcome
        return int(outcome)  # type: ignore[call-overload, no-any-return]

    assert retry_on_conflict(change) == 7


@pytest.mark.parametrize("operation", [create(row()), put(row()), replace(row()), delete(row())])
def test_a_refused_connection_changes_nothing(operation: Operation) -> None:
    """If nothing listens, the error is plain StorageUnavailable, because nothing can have been written."""
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/x"
        table = Table(Storage(StorageSettings(f"AccountName=x;AccountKey=eA==;TableEndpoint={url}")), "t")
        with pytest.raises(StorageUnavailable) as raised:
            table.write(operation)
    assert not isinstance(raised.value, WriteUnconfirmed)


def test_no_time_left_sends_nothing() -> None:
    """After the call's deadline, no request is sent."""
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/x"
        table = Table(Storage(StorageSettings(f"AccountName=x;AccountKey=eA==;TableEndpoint={url}")), "t")
        with call_limit(-1), pytest.raises(StorageUnavailable, match="time was over"):
            table.get("p", "a")


# With failures

WRITES = [
    ("create", lambda _: [create(row("new", n=2))]),
    ("put", lambda _: [put(row("a", n=2))]),
    ("replace", lambda etag: [replace(row("a", n=2), etag)]),
    ("delete", lambda etag: [delete(row("a"), etag)]),
    ("rename", lambda etag: [delete(row("a"), etag), create(row("new", n=2))]),
]


@pytest.mark.parametrize("operations", [each[1] for each in WRITES], ids=[each[0] for each in WRITES])
@pytest.mark.parametrize("fates", [(LOSE_RESPONSE,), (LOSE_REQUEST,), (Respond(503),), (LOSE_REQUEST, LOSE_RESPONSE)])
def test_a_write_whose_response_is_lost_is_reported_as_it_happened(
    table: Table, failing: Failing, table_proxy: Proxy, operations: Any, fates: tuple[Any, ...]
) -> None:
    """The write succeeds once, and returns ETags that the next write can use."""
    (etag,) = table.write(create(row(n=1)))
    through = failing(table)
    writes = operations(etag)
    lost = list(fates)

    def decide(method: str, path: str) -> Any:
        return lost.pop(0) if lost and method != "GET" else None

    table_proxy.decide = decide
    etags = through.write(*writes)
    assert lost == []
    for operation, new_etag in zip(writes, etags, strict=True):
        stored = table.get("p", operation.row["RowKey"])
        if operation.action == "delete":
            assert stored is None
        else:
            assert stored is not None
            assert stored["n"] == 2
            table.write(replace(row(operation.row["RowKey"], n=3), new_etag))


def test_a_conflict_behind_a_lost_response_is_still_a_conflict(
    table: Table, failing: Failing, table_proxy: Proxy
) -> None:
    """If another write came first, the retry does not mistake it for its own."""
    table.write(create(row(n=1)))
    table_proxy.fail(LOSE_REQUEST, method="POST")
    with pytest.raises(RowConflict):
        failing(table).write(create(row(n=2)))
    assert table.get("p", "a")["n"] == 1  # type: ignore[index]


def test_a_write_that_nothing_confirms_says_so(table: Table, failing: Failing, table_proxy: Proxy) -> None:
    """If storage is down after a write, the error says that the change may have been made."""
    table.write(create(row("first")))
    table_proxy.always(LOSE_RESPONSE)
    with pytest.raises(WriteUnconfirmed) as raised:
        failing(table).write(create(row(n=2)))
    assert "may have been made" in raised.value.advice


def test_a_write_that_was_not_made_is_plainly_unavailable(table: Table, failing: Failing, table_proxy: Proxy) -> None:
    """If storage refuses with 503 and a read shows no change, the error does not say that a change is possible."""
    table.write(create(row("first")))
    table_proxy.always(Respond(503), "POST")
    with pytest.raises(StorageUnavailable) as raised:
        failing(table).write(create(row(n=2)))
    assert not isinstance(raised.value, WriteUnconfirmed)
    assert table.get("p", "a") is None


def test_a_write_without_a_response_may_still_be_carried_out(
    table: Table, failing: Failing, table_proxy: Proxy
) -> None:
    """Without a response, a read that shows no change proves nothing: storage may execute the write later."""
    table.write(create(row("first")))
    table_proxy.always(LOSE_REQUEST, "POST")
    with pytest.raises(WriteUnconfirmed):
        failing(table).write(create(row(n=2)))


@pytest.mark.parametrize("status", [400, 405, 409, 412, 413, 418, 501])
@pytest.mark.parametrize("code", ["", "SomethingElse"])
def test_an_unexpected_status_is_unavailable(
    table: Table, failing: Failing, table_proxy: Proxy, status: int, code: str
) -> None:
    """A status that no request should get is 503, in reads, queries, writes and transactions alike."""
    table.write(create(row()))
    table_proxy.always(Respond(status, code))
    through = failing(table)
    for call in (
        lambda: through.get("p", "a"),
        lambda: keys(through),
        lambda: through.write(create(row("b"))),
        lambda: through.write(put(row("a"))),
        lambda: through.write(delete(row("a"))),
        lambda: through.write(create(row("b")), create(row("c"))),
    ):
        with pytest.raises(StorageUnavailable, match=str(status)):
            call()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_identity_is_forbidden(table: Table, failing: Failing, table_proxy: Proxy, status: int) -> None:
    """401 and 403 are StorageForbidden, which names the role."""
    table_proxy.always(Respond(status, "AuthorizationPermissionMismatch"))
    with pytest.raises(StorageForbidden):
        failing(table).get("p", "a")


@pytest.mark.parametrize("fate", [LOSE_RESPONSE, LOSE_REQUEST, Respond(500), Respond(503), Respond(429)])
def test_reads_are_repeated(table: Table, failing: Failing, table_proxy: Proxy, fate: Any) -> None:
    """Two failures in a row do not fail a read or a page of a query."""
    table.write(*(create(row(f"{n}")) for n in range(3)))
    table_proxy.fail(fate, fate)
    through = failing(table)
    assert through.get("p", "0") is not None
    table_proxy.fail(None, fate, fate)
    assert keys(through, page_rows=1) == ["0", "1", "2"]


@pytest.mark.parametrize("write", [False, True])
def test_storage_that_hangs_holds_a_call_to_its_deadline(
    table: Table, failing: Failing, table_proxy: Proxy, write: bool
) -> None:
    """All requests and retries of a call share its deadline."""
    table_proxy.always(HANG)
    through = failing(table)
    with call_limit(1), pytest.raises(StorageUnavailable):
        through.write(create(row())) if write else through.get("p", "a")
    assert len(table_proxy.requests) <= 1  # Without the limit there are three attempts, of 4 s each.


@pytest.mark.parametrize(
    ("call_seconds", "read_seconds", "fates", "cut_short"),
    [
        (0.3, 4.0, [HANG], True),
        (-1, 4.0, [], True),
        (60, 0.2, [HANG] * 3, False),
        (0.5, 4.0, [Respond(503), HANG], False),
        (5, 4.0, [Respond(503)] * 3, False),
    ],
)
def test_a_deadline_differs_from_a_failure_of_storage(
    table: Table,
    failing: Failing,
    table_proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    call_seconds: float,
    read_seconds: float,
    fates: list[Any],
    cut_short: bool,
) -> None:
    """`cut_short` is true where the call was over before one request had its time, and false where storage failed."""
    monkeypatch.setattr("shared.storage.requests.READ_SECONDS", read_seconds)
    table.write(create(row()))
    table_proxy.fail(*fates)
    through = failing(table)
    with call_limit(call_seconds), pytest.raises(TemporaryFailure) as caught:
        through.get("p", "a")
    assert caught.value.cut_short is cut_short
