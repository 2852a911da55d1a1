"""The function that loads data files into a table."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from threading import BoundedSemaphore
from time import perf_counter
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.datafiles import FILE_ERRORS, FileFormat, FilesPath, Options, UnreadableData
from shared.deadline import seconds_left
from shared.errors import Busy, StrongroomError, Unavailable, UnknownContainer, invalid_field
from shared.sandbox.errors import EngineFailed, OutOfMemory
from shared.sql.databases import Database, Databases
from shared.sql.engines import OVER, RowRefused, Session, Statement, Table, TableColumn
from shared.sql.engines.blobs import BlobsSession, Data
from shared.sql.errors import InvalidRow, NotAKey, QueryTimeout, RepeatedKey, SqlError, UnknownTable
from shared.sql.imports import (
    Mode,
    Rows,
    Target,
    create_table,
    declared,
    find_table,
    fits,
    load_of,
    match,
    quoted_table,
)
from shared.sql.responses import RECORDS
from shared.sql.routes.databases import ERRORS
from shared.sql.routes.fields import DatabaseName, TransferMs
from shared.sql.values import Column, Cursor, Json, Kind, Row
from shared.sql.writers import converted
from shared.storage import ReservedContainer
from shared.storage.errors import TemporaryFailure
from shared.storage.fields import ContainerName
from shared.web import Example, Fields, Operation

IMPORT_WAIT_SECONDS = 5.0
BATCH_ROWS = 1024
_CSV_LINE = re.compile(
    r"CSV Error on Line: (\d+).*?(Expected Number of Columns: \d+ Found: \d+|Value with unterminated quote found)",
    re.DOTALL,
)
"""The line and the fault in a message of DuckDB's."""
SAMPLE_ROWS = 1024
"""How many rows decide on the types of a new table, beside the data's own types."""
COLLATIONS: Mapping[str, str] = {
    "sqlite": "select c.name, x.coll from pragma_index_list(?) i, pragma_index_xinfo(i.name) x, "
    "pragma_table_xinfo(?) c where c.cid = x.cid",
    "mysql": "select column_name, collation_name from information_schema.columns "
    "where table_schema = database() and table_name = ?",
}


class ImportSqlRequest(Fields, frozen=True, kw_only=True):
    table: Annotated[str, Meta(description="The table that gets the rows.", min_length=1, max_length=200)]
    database: DatabaseName = "main"
    mode: Annotated[
        Mode,
        Meta(
            description="`append` adds the rows; `replace` deletes the table's rows first; `upsert` changes the row "
            "that has the same `key`, and adds the others."
        ),
    ] = "append"
    key: (
        Annotated[
            list[Annotated[str, Meta(min_length=1, max_length=200)]],
            Meta(
                description="For `upsert`: exactly the columns of a primary key or unique index. A new table gets them "
                "as its primary key.",
                min_length=1,
                max_length=32,
            ),
        ]
        | None
    ) = None
    container: ContainerName | None = None
    name: FilesPath | None = None
    data: Annotated[str, Meta(description="The rows as text, instead of a blob.", min_length=1)] | None = None
    file_format: (
        Annotated[
            FileFormat,
            Meta(description="The format. By default it follows from the blob's extension; `data` is `csv`."),
        ]
        | None
    ) = None
    options: Options | None = None
    create: Annotated[bool, Meta(description="Create the table if there is none, with the types of the data.")] = False
    dry_run: Annotated[bool, Meta(description="Report the rows, their types and the first bad row. Keep nothing.")] = (
        False
    )
    timeout_ms: TransferMs = 120_000


class ImportedColumn(msgspec.Struct, frozen=True):
    """A column of the table that the data fills."""

    name: str
    type: Kind


class InvalidRowResponse(msgspec.Struct, frozen=True):
    """Why the import would fail: the code and the detail of its error."""

    code: str
    detail: str


class ImportSqlResponse(msgspec.Struct, frozen=True):
    """The imported rows. In a dry run, `error` is null if the import would succeed."""

    row_count: int
    columns: list[ImportedColumn]
    created: bool
    dry_run: bool
    elapsed_ms: float
    error: InvalidRowResponse | UnsetType | None = UNSET


def import_sql(
    databases: Databases, data: Callable[[], Data], slot: BoundedSemaphore, request: ImportSqlRequest
) -> ImportSqlResponse:
    started = perf_counter()
    if (request.data is None) == (request.container is None) or (request.name is None) != (request.container is None):
        raise invalid_field("data", "Send either `container` and `name`, or `data`.")
    if request.key is not None and request.mode != "upsert":
        raise invalid_field("key", "Send `key` only with the mode upsert.")
    if request.key is None and request.mode == "upsert":
        raise invalid_field("key", "Send `key`: the columns of a primary key or a unique index.")
    if request.key is not None and len({each.lower() for each in request.key}) < len(request.key):
        raise invalid_field("key", "Name each column of the `key` once.")
    database = databases.get(request.database)
    if not slot.acquire(timeout=IMPORT_WAIT_SECONDS):
        raise Busy("Another import or export holds the process that it needs. Try again.", retry_after=10)
    try:
        job = _Import(database, data(), request)
        row_count = job.run()
    except Unavailable as unavailable:
        is_over = unavailable.cut_short if isinstance(unavailable, TemporaryFailure) else seconds_left() <= 0
        if is_over:
            raise QueryTimeout(OVER) from unavailable
        raise
    except InvalidRow as invalid:
        if not request.dry_run:
            raise
        job.error, row_count = invalid, 0
    finally:
        slot.release()
    columns = [ImportedColumn(name, kind) for name, kind in job.columns]
    elapsed = round((perf_counter() - started) * 1000, 3)
    error: InvalidRowResponse | UnsetType | None = UNSET
    if request.dry_run:
        error = None if job.error is None else InvalidRowResponse(job.error.code, job.error.detail)
    return ImportSqlResponse(row_count, columns, job.creates, request.dry_run, elapsed, error)


class _Import:
    """One import: from its file, through the types of its table, into one transaction."""

    def __init__(self, database: Database, data: Data, request: ImportSqlRequest) -> None:
        self._database = database
        self._dialect = database.engine
        self._data = data
        self._request = request
        self.creates = False
        self.columns: list[tuple[str, Kind]] = []
        self.error: StrongroomError | None = None

    def run(self) -> int:
        """The number of rows. Raises what an import raises; a dry run keeps the error of a row in `error`."""
        request, dialect = self._request, self._dialect
        tables = self._database.tables(_left())
        table = find_table(tables, request.table, dialect)
        if request.table.rpartition(".")[2].lower() == RECORDS:
            raise UnknownTable(f"The database has no table {request.table}.")
        if table is not None and table.type != "table":
            raise SqlError(f"{table.name} is a {table.type}. Import into a table.")
        source = self._source(request.options or Options(), as_text=True)
        source.prepare()
        self._format = source.selection.format
        self._files = len(source.selection.files)
        self._options = self._csv_options() if self._format == "csv" else request.options or Options()
        create = None
        if table is None:
            if not request.create:
                raise UnknownTable(f"The database has no table {request.table}. Send `create` to create it.")
            columns = self._new_columns()
            create = create_table(request.table, columns, request.key or (), dialect)
            table = _described(request.table, columns, request.key or (), dialect)
            self.creates = True
        if create is None or dialect != "mysql":
            return self._database.write(partial(self._load, table, create), _left())
        if request.dry_run:
            return self._database.write(partial(self._check, table), _left())
        # MySQL commits a new table by itself.
        self._database.execute([Statement(create, ())], 1, dry_run=False, seconds=_left())
        try:
            return self._database.write(partial(self._load, table, None), _left())
        except BaseException:
            drop = Statement(f"drop table {quoted_table(table.name, dialect)}", ())
            with suppress(StrongroomError):
                self._database.execute([drop], 1, dry_run=False, seconds=10.0)
            raise

    # ---- The file.

    def _source(self, options: Options, *, as_text: bool) -> Any:
        request = self._request
        if request.data is not None:
            contents = request.data.encode("utf-8", "surrogatepass")
            return self._data.text(contents, request.file_format or "csv", options, as_text=as_text)
        return self._data.path(
            request.container or "", request.name or "", request.file_format, options, as_text=as_text
        )

    @contextmanager
    def _opened(self, options: Options, *, as_text: bool) -> Iterator[Cursor]:
        session = BlobsSession(self._data, lambda: self._source(options, as_text=as_text))
        session.start(_left())
        try:
            yield session.query("select * from data", (), rows=0, explain=False)
        except (SqlError, UnreadableData) as error:
            match = _CSV_LINE.search(error.detail)
            if match is None:
                raise
            raise InvalidRow(f"Line {match[1]}: {match[2].strip()}.") from error
        finally:
            session.end()

    def _csv_options(self) -> Options:
        """The options of a CSV file: a header unless the call says otherwise; commas unless it clearly has others."""
        options = self._request.options or Options()
        if options.header is None:
            options = msgspec.structs.replace(options, header=True)
        if options.delimiter is not None:
            return options
        commas = msgspec.structs.replace(options, delimiter=",")
        if self._request.data is not None:
            names = self._request.data.partition("\n")[0].split(",")
        else:
            with self._opened(commas, as_text=True) as cursor:
                names = cursor.columns.names
        return options if len(names) == 1 and any(each in names[0] for each in ";\t|") else commas

    def _new_columns(self) -> list[Column]:
        """The columns of a table that the data makes: of the types of its values."""
        with self._opened(self._options, as_text=False) as cursor:
            columns = [each._replace(convert=None) for each in cursor.columns]
        if self._format != "csv":
            return columns
        # The reader also takes 31/01/2024 as a date. The values that are imported are the texts themselves.
        with self._opened(self._options, as_text=True) as cursor:
            rows = cursor.fetch(SAMPLE_ROWS)
        chosen = {name.lower() for name in self._options.types or ()}
        return [
            column
            if column.name.lower() in chosen or fits(column, [row[index] for row in rows])
            else Column(column.name, "text")
            for index, column in enumerate(columns)
        ]

    # ---- The rows.

    def _load(self, table: Table, create: str | None, session: Session) -> int:
        request, dialect = self._request, self._dialect
        name = quoted_table(table.name, dialect)
        session.check_undoable([Statement(f"insert into {name}", ())])
        collations = {} if create or not request.key else self._collations(table.name, session)
        with self._opened(self._options, as_text=True) as cursor:
            batches = _Batches(cursor, self._format)
            target = self._target(table, batches.names, collations)
            if create:
                session.execute(Statement(create, ()), alone=False, max_rows=1)
            elif request.mode == "replace":
                delete = Statement(f"delete from {name}", ())  # noqa: S608 - a quoted name.
                session.execute(delete, alone=False, max_rows=1)
            load = load_of(target, dialect)

            def insert(rows: list[Row]) -> None:
                session.load(load, rows)

            row_count = self._read(batches, target, insert)
        if self.error is None:
            if request.dry_run:
                session.check_commit()
            else:
                session.commit()
        return row_count

    def _check(self, table: Table, _session: Session) -> int:
        """Read all rows as `table` would take them, without a database's own checks."""
        with self._opened(self._options, as_text=True) as cursor:
            batches = _Batches(cursor, self._format)
            return self._read(batches, self._target(table, batches.names, {}), lambda _rows: None)

    def _target(self, table: Table, names: list[str], collations: Mapping[str, str]) -> Target:
        target = match(table, names, self._request.key or (), self._dialect, collations)
        self.columns = list(zip(target.names, target.kinds, strict=True))
        return target

    def _read(self, batches: "_Batches", target: Target, insert: Callable[[list[Row]], None]) -> int:
        by_line = self._format in ("csv", "ndjson") and self._files == 1
        first = 2 if self._format == "csv" and self._options.header is not False and by_line else 1
        rows = Rows(target, by_line=by_line, first_line=first)
        self.error = None
        row_count = 0
        while True:
            try:
                batch = batches.fetch(rows)
                row_count += len(batch)
                if not batch:
                    return row_count
                if self.error is None:
                    converted_rows, lines = rows.convert(batch)
                    try:
                        insert(converted_rows)
                    except RowRefused as refused:
                        raise _refused(refused, rows, lines) from refused.error
            except (InvalidRow, RepeatedKey, SqlError) as error:
                if not self._request.dry_run:
                    raise
                self.error = self.error or error

    def _collations(self, table: str, session: Session) -> dict[str, str]:
        sql = COLLATIONS.get(self._dialect)
        if sql is None:
            return {}
        outcome = session.execute(Statement(sql, [table] * sql.count("?")), alone=True, max_rows=10_000)
        return {str(name): str(collation) for name, collation in outcome.rows if collation is not None}


class _Batches:
    """The rows of a file, and the names of its columns. JSON has a name for each member of the first rows' objects."""

    def __init__(self, cursor: Cursor, file_format: FileFormat) -> None:
        self._cursor = cursor
        self._is_json = file_format in ("ndjson", "json")
        self._decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._first: list[Row] = []
        self.names = cursor.columns.names
        if self._is_json:
            self._first = cursor.fetch(BATCH_ROWS)
            objects = [self._object(row) for row in self._first]
            self.names = list(dict.fromkeys(name for each in objects for name in each or ()))

    def fetch(self, rows: Rows) -> list[Row]:
        """The next rows; empty at the end. Raises InvalidRow for JSON that is not an object of these columns."""
        batch = self._first or self._cursor.fetch(BATCH_ROWS)
        self._first = []
        if not self._is_json:
            return converted(batch, self._cursor.columns.converts) if batch else batch
        known = set(self.names)
        read: list[Row] = []
        for index, row in enumerate(batch):
            each = self._object(row)
            if each is None:
                raise InvalidRow(f"{rows.name(rows.line + index)} is not a JSON object.")
            if not known >= each.keys():
                extra = next(name for name in each if name not in known)
                raise InvalidRow(
                    f"{rows.name(rows.line + index)} has the column {extra[:60]!r}, which no row among the first "
                    f"{BATCH_ROWS} has. Add it to the first row, as null."
                )
            read.append(tuple([_value(each.get(name)) for name in self.names]))
        return read

    def _object(self, row: Row) -> dict[str, msgspec.Raw] | None:
        text = row[0].text if type(row[0]) is Json else row[0]
        try:
            return self._decode(text or "null")
        except (msgspec.MsgspecError, RecursionError):
            return None


def _value(raw: msgspec.Raw | None) -> Any:
    """A member of an object: numbers with a fraction, and objects and arrays, stay as they are written."""
    if raw is None:
        return None
    data = bytes(raw)
    if data[:1] in b"{[":
        return Json(data.decode())
    if data[:1] in b'"tfn':
        return msgspec.json.decode(data)
    return int(data) if data.lstrip(b"-").isdigit() else data.decode()


def _refused(refused: RowRefused, rows: Rows, lines: list[int]) -> StrongroomError:
    """The error of a row that the database refused, with its line."""
    if not lines:
        return refused.error
    if refused.index is None or not 0 <= refused.index < len(lines):
        return InvalidRow(f"{rows.name(lines[0])} or one of the {len(lines) - 1} after it: {refused.error.detail}")
    column = f", column {refused.column}" if refused.column else ""
    return InvalidRow(f"{rows.name(lines[refused.index])}{column}: {refused.error.detail}")


def _described(name: str, columns: list[Column], key: Any, dialect: Any) -> Table:
    """A table that is about to be created."""
    wanted = {each.lower() for each in key}
    return Table(
        name,
        "table",
        [
            TableColumn(
                each.name, declared(each, dialect), each.name.lower() not in wanted, each.name.lower() in wanted
            )
            for each in columns
        ],
        [],
        [],
        None,
    )


def _left() -> float:
    return max(seconds_left(), 0.001)


def operations(databases: Databases, data: Callable[[], Data], slot: BoundedSemaphore) -> dict[str, Operation]:
    """`slot` limits the calls that hold a child process for long."""
    return {
        "import-sql": Operation(
            writes=True,
            timeout_bounds_call=True,
            handle=partial(import_sql, databases, data, slot),
            request=ImportSqlRequest,
            response=ImportSqlResponse,
            summary="Load a data file, or rows in the call, into a table: all rows or none.\n"
            "The columns of the data are matched with those of the table by name, ignoring case; a column that the "
            "data does not have takes its default. The values become the types of the table. In CSV, nothing between "
            'two commas is null and `""` is the empty text, as `export-sql` writes them; bytes are base64. An error '
            "names the row by its line and column. A dry run reports the rows, their types and the first bad row.",
            errors=(
                *ERRORS,
                *FILE_ERRORS,
                UnknownTable,
                InvalidRow,
                RepeatedKey,
                NotAKey,
                OutOfMemory,
                EngineFailed,
                UnknownContainer,
                ReservedContainer,
            ),
            examples=(
                Example(
                    "Try rows of CSV",
                    {"table": "fruit", "data": "name,price\nquince,0.9\nmedlar,1.1\n", "dry_run": True},
                ),
                Example(
                    "A new table from a file",
                    {
                        "table": "harvest",
                        "container": "samples",
                        "name": "orchard/harvest.csv",
                        "create": True,
                        "mode": "replace",
                    },
                ),
            ),
        )
    }
