"""Runs an import: from a data file, through the types of a table, into one transaction."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from shared.datafiles import FileFormat, Options, UnreadableData
from shared.deadline import seconds_left
from shared.errors import StrongroomError
from shared.sql.databases import Database
from shared.sql.engines import RowRefused, Session, Statement, Table, TableColumn
from shared.sql.engines.blobs import BlobsSession, Data
from shared.sql.errors import InvalidRow, RepeatedKey, SqlError, UnknownTable
from shared.sql.imports import (
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
from shared.sql.values import Column, Cursor, Json, Kind, Row
from shared.sql.writers import converted

if TYPE_CHECKING:
    from shared.sql.routes.imports import ImportSqlRequest

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


class Import:
    """One import: from its file, through the types of its table, into one transaction."""

    def __init__(self, database: Database, data: Data, request: "ImportSqlRequest") -> None:
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
            batches = Batches(cursor, self._format)
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
            batches = Batches(cursor, self._format)
            return self._read(batches, self._target(table, batches.names, {}), lambda _rows: None)

    def _target(self, table: Table, names: list[str], collations: Mapping[str, str]) -> Target:
        target = match(table, names, self._request.key or (), self._dialect, collations)
        self.columns = list(zip(target.names, target.kinds, strict=True))
        return target

    def _read(self, batches: "Batches", target: Target, insert: Callable[[list[Row]], None]) -> int:
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


class Batches:
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
