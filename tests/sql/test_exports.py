"""Exports to blobs, and datasets from blobs: over the real app; another program reads the files."""

import csv
import hashlib
import io
import json
import os
import signal
import sqlite3
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, ContainerClient

from shared.once import Once
from shared.sandbox.errors import OutOfMemory
from shared.sandbox.process import Sandbox
from shared.sandbox.settings import SandboxSettings
from shared.settings import StorageSettings
from shared.sql.databases import Database, Databases
from shared.sql.engines.parquet import ParquetFiles
from shared.sql.engines.sqlite_types import sqlite_column
from shared.sql.errors import DatasetTooLarge, ExportTooLarge, SqlError
from shared.sql.exports import ExportFormat, export
from shared.sql.settings import DatabaseSettings
from shared.sql.store.files import Dataset, Files
from shared.sql.values import Column, Columns, Rows
from shared.storage import Storage
from shared.storage.errors import BlobConflict
from tests.sql.conftest import no_token
from tests.support import App, StartApp

PARQUET = ParquetFiles(Once(lambda: Sandbox(SandboxSettings())))
MANY = (
    "with recursive t(i) as (select 1 union all select i + 1 from t where i < {}) select i, 'row ' || i as word from t"
)


@pytest.fixture
def container(storage_connection: str, request: pytest.FixtureRequest) -> ContainerClient:
    """A container of the test's own, read with Microsoft's client."""
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:20]
    return BlobServiceClient.from_connection_string(storage_connection).create_container(name)


def call(app: App, **fields: Any) -> httpx.Response:
    """A POST to `export-sql`."""
    with app.client() as client:
        return client.post("/api/export-sql", json=fields)


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_an_export_is_the_whole_result(running_app: App, container: ContainerClient, form: str) -> None:
    """The blob has every row; the response and its metadata have its size, digest and number of rows."""
    name = f"out/größe & 1.{form}"
    sql = MANY.format(150_000)
    response = call(running_app, sql=sql, container=container.container_name, name=name, format=form)
    assert response.status_code == 201
    exported = response.json()
    blob = container.get_blob_client(name).download_blob()
    data = blob.readall()
    assert (exported["name"], exported["row_count"], exported["size"]) == (name, 150_000, len(data))
    assert exported["sha256"] == hashlib.sha256(data).hexdigest()
    assert blob.properties.metadata == {"rowcount": "150000", "sha256": exported["sha256"]}
    if form == "csv":
        rows = [(int(number), word) for number, word in list(csv.reader(io.StringIO(data.decode(), newline="")))[1:]]
    elif form == "ndjson":
        rows = [(each["i"], each["word"]) for each in map(json.loads, data.splitlines())]
    else:
        table = pq.read_table(io.BytesIO(data))
        rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    assert rows == [(number, f"row {number}") for number in range(1, 150_001)]
    part = httpx.get(exported["url"], headers={"range": "bytes=0-3"}, timeout=60, trust_env=False)
    assert part.content == data[:4]


def test_parameters_and_values_are_exported(running_app: App, container: ContainerClient) -> None:
    """Parameters are bound, and values are written as query-sql writes them."""
    sql = "select :x as x, null as n, 1.5 as r, x'00ff' as b"
    response = call(running_app, sql=sql, params={"x": "a,é"}, container=container.container_name, name="a.csv")
    assert response.status_code == 201
    assert container.download_blob("a.csv").readall() == 'x,n,r,b\r\n"a,é",,1.5,AP8\r\n'.encode()


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"sql": "delete from fruit"}, 422, "read-only"),
        ({"sql": "select nope"}, 422, "sql-error"),
        ({"sql": MANY.format(10**9), "timeout_ms": 300}, 422, "query-timeout"),
        ({"sql": "select 1", "container": "not-there"}, 404, "unknown-container"),
        ({"sql": "select 1", "database": "not-there"}, 404, "unknown-database"),
        ({"sql": "select 1", "container": "Not_A_Name"}, 400, "invalid-request"),
        ({"sql": "select 1", "name": "../a.csv"}, 400, "invalid-request"),
        ({"sql": "select 1", "name": "a/./b"}, 400, "invalid-request"),
        ({"sql": "select 1", "name": ""}, 400, "invalid-request"),
        ({"sql": "select 1", "format": "xlsx"}, 400, "invalid-request"),
    ],
)
def test_a_failed_export_leaves_nothing(
    running_app: App, container: ContainerClient, fields: dict[str, Any], status: int, code: str
) -> None:
    """A failed export has its status and code, and leaves no blob, not even part of one."""
    request = {"container": container.container_name, "name": "a.csv"} | fields
    response = call(running_app, **request)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert list(container.list_blobs()) == []


def test_an_export_that_is_killed_leaves_what_was(start_app: StartApp, container: ContainerClient) -> None:
    """kill -9 during an export leaves the blob as it was before."""
    app = start_app()
    assert call(app, sql="select 1 as a", container=container.container_name, name="a.csv").status_code == 201
    fields = {"sql": MANY.format(10**9), "container": container.container_name, "name": "a.csv", "timeout_ms": 200_000}
    with app.client() as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/api/export-sql", json=fields, timeout=3)
        assert client.get("/api/live").status_code == 200
    deadline = time.monotonic() + 150
    while not container.get_blob_client("a.csv").get_block_list("uncommitted")[1]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(app.process.pid, signal.SIGKILL)
    app.process.wait()
    assert container.download_blob("a.csv").readall() == b"a\r\n1\r\n"


def uncommitted(container: ContainerClient, name: str) -> list[Any]:
    """The staged blocks, which Azure bills."""
    try:
        return list(container.get_blob_client(name).get_block_list("uncommitted")[1])
    except ResourceNotFoundError:
        return []


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize("before", [False, True])
def test_a_failed_export_leaves_no_blocks(
    running_app: App, container: ContainerClient, form: str, before: bool
) -> None:
    """An export that fails after many MiB leaves neither a blob nor blocks; an earlier export stays complete."""
    fields = {"container": container.container_name, "name": "a.csv", "format": form}
    if before:
        assert call(running_app, sql="select 1 as a", filename="b.csv", **fields).status_code == 201
        kept = container.download_blob("a.csv").readall()
    sql = MANY.format(300_000).replace(
        "i, 'row ' || i as word", "i, hex(randomblob(50)) as word, abs(-9223372036854775807 - (i / 290000)) as n"
    )
    response = call(running_app, sql=sql, **fields)
    assert (response.status_code, response.json()["code"]) == (422, "sql-error")
    assert uncommitted(container, "a.csv") == []
    if not before:
        assert list(container.list_blobs()) == []
        return
    blob = container.get_blob_client("a.csv").download_blob()
    assert blob.readall() == kept
    assert set(blob.properties.metadata) == {"rowcount", "sha256"}
    assert blob.properties.content_settings.content_disposition == "attachment; filename*=UTF-8''b.csv"


def test_an_export_has_a_limit_of_bytes(
    storage_connection: str, container: ContainerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export over its limit of bytes is refused, and its blocks are removed."""
    monkeypatch.setattr("shared.sql.store.files.MAX_EXPORT_BYTES", 12 * 1024 * 1024)
    files = Files(Storage(StorageSettings(storage_connection)))
    upload = files.write(container.container_name, "a.csv")

    def write_all() -> None:
        with upload:
            for _ in range(13):
                upload.write(bytes(1024 * 1024))

    with pytest.raises(ExportTooLarge):
        write_all()
    assert upload.size > 0
    assert uncommitted(container, "a.csv") == []
    assert list(container.list_blobs()) == []


def test_exports_to_one_name_do_not_mix(storage_connection: str, container: ContainerClient) -> None:
    """Of two concurrent exports to one name, the blob is wholly the last one to finish, or the first fails."""
    files = Files(Storage(StorageSettings(storage_connection)))
    first, second = (files.write(container.container_name, "a.csv") for _ in range(2))
    for letter, upload in ((b"a", first), (b"b", second)) * 10:
        upload.write(letter * 1024 * 1024)
    digest = second.commit("text/csv", 1, None)
    with pytest.raises(BlobConflict):
        first.commit("text/csv", 1, None)
    assert hashlib.sha256(container.download_blob("a.csv").readall()).hexdigest() == digest


def test_small_exports_to_one_name_both_succeed(storage_connection: str, container: ContainerClient) -> None:
    """Small concurrent exports to one name all succeed, and the blob is wholly one of them."""
    files = Files(Storage(StorageSettings(storage_connection)))
    uploads = [files.write(container.container_name, "small.csv") for _ in range(4)]
    for number, upload in enumerate(uploads):
        upload.write(b"%d" % number)
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(lambda upload: upload.commit("text/csv", 1, None), uploads))
    stored = hashlib.sha256(container.download_blob("small.csv").readall()).hexdigest()
    assert stored in digests
    assert len(set(digests)) == 4


@pytest.mark.parametrize("name", ["azure-webjobs-secrets", "app-package", "strongroom-x", "function-releases"])
def test_reserved_containers_take_no_export(running_app: App, name: str) -> None:
    """Containers of the host and of the app are refused before the query runs."""
    response = call(running_app, sql="select nope", container=name, name="a.csv")
    assert (response.status_code, response.json()["code"]) == (403, "reserved-container")


def test_options_of_an_export(running_app: App, container: ContainerClient) -> None:
    """Big integers, formulas and the download file name work as in query-sql."""
    sql = "select 9007199254740993 as n, '=1' as [=f]"
    fields = {"container": container.container_name, "name": "a", "big_integers": "string", "defuse_formulas": True}
    response = call(running_app, sql=sql, filename="é.csv", **fields)
    assert response.status_code == 201
    blob = container.get_blob_client("a").download_blob()
    assert blob.readall() == b"n,'=f\r\n9007199254740993,'=1\r\n"
    assert blob.properties.content_settings.content_disposition == "attachment; filename*=UTF-8''%C3%A9.csv"
    assert call(running_app, sql=sql, format="ndjson", **fields).status_code == 201
    assert container.download_blob("a").readall() == b'{"n":"9007199254740993","=f":"=1"}\n'


class Counter:
    """A file that counts the bytes of an export and drops them."""

    closed = False
    size = 0

    def write(self, data: bytes) -> int:
        """Count."""
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_an_export_takes_constant_memory(tmp_path: Path, storage_connection: str, form: ExportFormat) -> None:
    """An export of a hundred thousand rows uses only a few MiB, however many rows there are."""
    path = tmp_path / "empty.sqlite"
    path.touch()
    database = open_database(f"sqlite:///{path}", storage_connection)
    sql = MANY.format(100_000).replace("'row '", "'a row of some forty characters or so '")
    sink = Counter()
    with database.reading(60) as session:
        rows = session.query(sql, (), rows=2**62, explain=False)
        export(Rows(rows.columns, rows.fetch(10)), form, Counter(), PARQUET)  # Loads modules before the measurement.
        tracemalloc.start()
        assert export(rows, form, sink, PARQUET) == 100_000 - 10
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert sink.size > 100_000
    assert peak < 10 * 1024 * 1024


def parquet(columns: tuple[Column, ...], rows: list[tuple[Any, ...]]) -> pa.Table:
    """The rows in a Parquet file, which polars reads as the same rows; JSON is bytes to it."""
    sink = io.BytesIO()
    assert export(Rows(columns, rows), "parquet", sink, PARQUET) == len(rows)
    table = pq.read_table(io.BytesIO(sink.getvalue()))
    second = pl.read_parquet(io.BytesIO(sink.getvalue()))
    second = second.with_columns(pl.col(name).cast(pl.String) for name in ("j",) if name in second.columns)
    assert second.rows() == [tuple(row.values()) for row in table.to_pylist()]
    return table


def test_parquet_keeps_types() -> None:
    """Parquet columns have the declared types: decimals are exact, JSON is JSON, and null is null."""
    names = {"i": "INTEGER", "r": "REAL", "t": "TEXT", "b": "BLOB", "f": "BOOLEAN", "d": "DECIMAL(9,2)", "j": "JSON"}
    columns = tuple(sqlite_column(name, declared) for name, declared in names.items())
    row = (2**62, 1.5, "é", b"\x00", 1, 1.5, '{"a": 1}')
    table = parquet(columns, [row, (None,) * 7])
    assert [str(field.type) for field in table.schema] == [
        "int64", "double", "string", "binary", "bool", "decimal128(9, 2)", "extension<arrow.json>",
    ]  # fmt: skip
    assert table.to_pylist()[0] == {
        "i": 2**62, "r": 1.5, "t": "é", "b": b"\x00", "f": True, "d": Decimal("1.50"), "j": '{"a": 1}',
    }  # fmt: skip
    assert set(table.to_pylist()[1].values()) == {None}


def test_parquet_keeps_dates_and_times() -> None:
    """Dates, times, and timestamps with and without a time zone are those types, to the microsecond."""
    columns = (
        Column("d", "date"),
        Column("t", "time"),
        Column("z", "time", None, None, "zone"),
        Column("m", "timestamp"),
        Column("u", "timestamp", None, None, "utc"),
    )
    row = ("2024-02-29", "23:59:59.000001", "09:30:00+02:00", "2024-01-31T09:30:00.5", "1969-12-31T23:59:59.999999Z")
    table = parquet(columns, [row])
    assert [str(field.type) for field in table.schema] == [
        "date32[day]", "time64[us]", "string", "timestamp[us]", "timestamp[us, tz=UTC]",
    ]  # fmt: skip
    assert [str(value) for value in table.to_pylist()[0].values()] == [
        "2024-02-29", "23:59:59.000001", "09:30:00+02:00", "2024-01-31 09:30:00.500000",
        "1969-12-31 23:59:59.999999+00:00",
    ]  # fmt: skip


def test_a_type_holds_for_the_whole_file() -> None:
    """The first rows decide on a column that the database does not check; a later value that does not fit is refused,
    naming the column."""
    assert parquet((Column("i", "integer"),), [(1,), ("x",)]).to_pylist() == [{"i": "1"}, {"i": "x"}]
    many = Rows((Column("i", "integer"),), [(1,)] * 30_000 + [("x",)])
    many.first_rows = 1000
    with pytest.raises(SqlError, match="A value of the column i is not of its type, int64"):
        export(many, "parquet", io.BytesIO(), PARQUET)


def test_many_rows_keep_their_order() -> None:
    """Row groups end by their bytes, and the rows keep their order."""
    rows = [(number, "x" * 1000) for number in range(25_000)]
    sink = io.BytesIO()
    source = Rows((Column("i"), Column("t")), rows)
    source.first_rows = 1000
    export(source, "parquet", sink, PARQUET)
    file = pq.ParquetFile(io.BytesIO(sink.getvalue()))
    assert file.num_row_groups > 1
    assert file.read()["i"].to_pylist() == list(range(25_000))


def _same(sandbox: Sandbox) -> Sandbox:
    return sandbox


class Large:
    """A cursor over 20 rows of 15 MB."""

    first_rows = 1
    columns = Columns([Column("b")])
    left = 20

    def fetch(self, _count: int) -> list[tuple[Any, ...]]:
        """The next row."""
        self.left -= 1
        return [(bytes(15_000_000),)] if self.left >= 0 else []


def test_memory_that_does_not_suffice() -> None:
    """Values that the process cannot hold are `out-of-memory`; values of many MiB that it can hold are written."""
    for mebibytes in (230, 256):
        sandbox = Sandbox(SandboxSettings(1, mebibytes * 2**20))
        small = ParquetFiles(Once(partial(_same, sandbox)))
        with pytest.raises(OutOfMemory):
            export(Large(), "parquet", io.BytesIO(), small)
    assert export(Large(), "parquet", io.BytesIO(), PARQUET) == 20


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet"])
def test_data_files_are_exported(running_app: App, container: ContainerClient, form: str) -> None:
    """A query over data files is exported in every format; `database` beside `data` is refused."""
    container.upload_blob("in/a.csv", b"id,day,price\n1,2024-02-29,1.50\n2,,\n")
    fields = {
        "sql": "select id, day, price::decimal(9, 2) as price from data order by id",
        "data": {"container": container.container_name, "path": "in/*.csv"},
        "container": container.container_name,
        "name": f"out.{form}",
        "format": form,
    }
    response = call(running_app, **fields)
    assert (response.status_code, response.json().get("row_count")) == (201, 2), response.text
    data = container.download_blob(f"out.{form}").readall()
    if form == "parquet":
        rows = pq.read_table(io.BytesIO(data)).to_pylist()
        assert str(rows[0]) == "{'id': 1, 'day': datetime.date(2024, 2, 29), 'price': Decimal('1.50')}"
        assert rows[1] == {"id": 2, "day": None, "price": None}
    else:
        assert (
            data
            == {
                "csv": b"id,day,price\r\n1,2024-02-29,1.50\r\n2,,\r\n",
                "ndjson": b'{"id":1,"day":"2024-02-29","price":"1.50"}\n{"id":2,"day":null,"price":null}\n',
            }[form]
        )
    both = call(running_app, database="main", **fields)
    assert (both.status_code, both.json()["errors"][0]["field"]) == (400, "data")
    missing = call(running_app, **(fields | {"data": {"container": container.container_name, "path": "no/*.csv"}}))
    assert (missing.status_code, missing.json()["code"]) == (404, "no-files")
    reserved = call(running_app, **(fields | {"data": {"container": "azure-webjobs-secrets", "path": "*"}}))
    assert (reserved.status_code, reserved.json()["code"]) == (403, "reserved-container")


def test_no_rows_are_a_file_too() -> None:
    """An empty result is still a file, with its columns."""
    for form, expected in (("csv", b"a,b\r\n"), ("ndjson", b"")):
        sink = io.BytesIO()
        assert export(Rows((Column("a"), Column("b")), []), form, sink, PARQUET) == 0  # type: ignore[arg-type]
        assert sink.getvalue() == expected
    sink = io.BytesIO()
    export(Rows((Column("a"), Column("b")), []), "parquet", sink, PARQUET)
    assert pq.read_table(io.BytesIO(sink.getvalue())).column_names == ["a", "b"]


# ---- Datasets.


def open_database(url: str, connection: str) -> Database:
    """A database whose files are in the storage account of the tests."""
    files = Files(Storage(StorageSettings(connection)))
    return Databases({"data": DatabaseSettings(url)}, no_token, files).get("data")


def dataset(tmp_path: Path, *words: str) -> bytes:
    """A SQLite file with the table `words`."""
    path = tmp_path / f"{len(words)}.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("pragma journal_mode = wal")  # WAL is common; -wal and -shm are not uploaded.
    connection.execute("create table words (word)")
    connection.executemany("insert into words values (?)", [(word,) for word in words])
    connection.commit()
    connection.close()
    return path.read_bytes()


def test_a_dataset_is_read_where_it_rests(
    storage_connection: str, container: ContainerClient, tmp_path: Path, start_app: StartApp
) -> None:
    """A SQLite file in a container is a readable database; before the upload it is 404, with how to upload it."""
    app = start_app({"DATABASE_WORDS": f"blob://{container.container_name}/in/my%20words.sqlite"})
    with app.client() as client:
        missing = client.post("/api/query-sql", json={"sql": "select 1", "database": "words"})
        assert (missing.status_code, missing.json()["code"]) == (404, "unknown-database")
        assert "az storage blob upload" in missing.json()["detail"]
        container.upload_blob("in/my words.sqlite", dataset(tmp_path, "a", "b"))
        found = client.post("/api/query-sql", json={"sql": "select word from words", "database": "words"})
        assert found.json()["rows"] == [["a"], ["b"]]
        written = client.post("/api/query-sql", json={"sql": "delete from words", "database": "words"})
        assert (written.status_code, written.json()["code"]) == (422, "read-only")
        (listed,) = [each for each in client.get("/api/databases").json()["databases"] if each["name"] == "words"]
        assert (listed["writable"], [each["name"] for each in listed["tables"]]) == (False, ["words"])


def test_a_new_dataset_takes_over_without_breaking_who_reads(
    storage_connection: str, container: ContainerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed dataset is swapped under running queries: they finish on the old copy, the next one reads the new."""
    monkeypatch.setattr("shared.sql.store.files.CHECK_SECONDS", 0.0)
    container.upload_blob("a.sqlite", dataset(tmp_path, "old", "older"))
    database = open_database(f"blob://{container.container_name}/a.sqlite", storage_connection)
    with database.reading(30) as running:
        rows = running.query("select word from words", (), rows=9, explain=False)
        assert rows.fetch(1) == [("old",)]
        container.upload_blob("a.sqlite", dataset(tmp_path, "new"), overwrite=True)
        with database.reading(30) as session:
            assert session.query("select word from words", (), rows=9, explain=False).fetch(9) == [("new",)]
        assert rows.fetch(9) == [("older",)]
    with database.reading(30) as session:
        assert session.query("select word from words", (), rows=9, explain=False).fetch(9) == [("new",)]


def test_a_dataset_is_checked_now_and_then(storage_connection: str, container: ContainerClient, tmp_path: Path) -> None:
    """Within the check interval storage gets no request, and a copy that is still current is not downloaded again."""
    container.upload_blob("a.sqlite", dataset(tmp_path, "a"))
    files = Files(Storage(StorageSettings(storage_connection)))
    copy = Dataset(files, container.container_name, "a.sqlite")
    path = Path(copy.path())
    inode = path.stat().st_ino
    container.delete_blob("a.sqlite")
    assert Path(copy.path()).stat().st_ino == inode


def test_a_dataset_has_a_limit_of_bytes(
    storage_connection: str, container: ContainerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dataset that is too large is not downloaded, and no part of it stays on the disk."""
    container.upload_blob("a.sqlite", dataset(tmp_path, "a"))
    database = open_database(f"blob://{container.container_name}/a.sqlite", storage_connection)
    monkeypatch.setattr("shared.sql.store.files.MAX_DATASET_BYTES", 1000)
    with pytest.raises(DatasetTooLarge), database.reading(5):
        pass
    monkeypatch.undo()
    with database.reading(5) as session:
        assert session.query("select word from words", (), rows=9, explain=False).fetch(9) == [("a",)]


def test_a_dataset_outlives_its_storage(
    storage_connection: str, container: ContainerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a storage outage, the local copy stays readable."""
    monkeypatch.setattr("shared.sql.store.files.CHECK_SECONDS", 0.0)
    container.upload_blob("a.sqlite", dataset(tmp_path, "a"))
    storage = Storage(StorageSettings(storage_connection))
    copy = Dataset(Files(storage), container.container_name, "a.sqlite")
    path = copy.path()
    nowhere = storage_connection.replace("BlobEndpoint=http://127.0.0.1:", "BlobEndpoint=http://127.0.0.1:1")
    monkeypatch.setattr(copy, "_files", Files(Storage(StorageSettings(nowhere))))
    assert copy.path() == path
