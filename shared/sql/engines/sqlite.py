"""SQLite, by apsw: it brings a current SQLite, gives declared types and error positions, and is twice as quick."""

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import islice
from time import monotonic, sleep
from typing import TYPE_CHECKING
from urllib.parse import quote

from shared.errors import Busy, StrongroomError
from shared.sql.engines import (
    NO_STATEMENT,
    ONE_STATEMENT,
    OVER,
    RETRY_AFTER_SECONDS,
    WRITES_ELSEWHERE,
    Outcome,
    Statement,
    Table,
    TableColumn,
    grouped_indexes,
    grouped_keys,
    write_refused,
)
from shared.sql.errors import DatabaseUnavailable, MultipleStatements, QueryTimeout, ReadOnly, SqlError, UnknownDatabase
from shared.sql.statements import check_params, is_blank, scan
from shared.sql.values import Columns, Params, Row, sqlite_column

if TYPE_CHECKING:
    import apsw

STEPS = 5_000
"""Of SQLite's machine between two looks at the clock: well under a millisecond."""
MAX_VALUE_BYTES = 16 * 1024 * 1024
"""Of one text, blob or row: twice what an answer may hold."""
HEAP_BYTES = 512 * 1024 * 1024
"""What SQLite may take of the process's memory, all connections together."""

PRAGMAS = frozenset(
    {
        "application_id",
        "collation_list",
        "compile_options",
        "data_version",
        "encoding",
        "foreign_key_check",
        "foreign_key_list",
        "freelist_count",
        "function_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "module_list",
        "page_count",
        "page_size",
        "pragma_list",
        "quick_check",
        "schema_version",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
    }
)
"""Those that may be asked, by anyone."""
PRAGMAS_WITH_ARGUMENT = frozenset(
    {
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
    }
)
"""Those whose argument only says what is asked about; with the others it sets something."""


class SqliteSession:
    """One open connection to a SQLite file: for reading alone, or for writing."""

    def __init__(self, path: str | Callable[[], str], *, writes: bool) -> None:
        import apsw

        self.first_rows = 8
        self._find = path if callable(path) else None
        self._path = path() if callable(path) else path
        self._writes = writes
        self._deadline = 0.0
        self._denied = ""
        self._sql = ""
        self._is_ours = False
        self._columns: Columns | None = None
        self._cursor: apsw.Cursor | None = None
        self._failures = (apsw.Error, KeyError, ValueError, OverflowError, MemoryError)
        self._read_only = apsw.ReadOnlyError
        self._unfinished = (apsw.SQLITE_READONLY_ROLLBACK, apsw.SQLITE_READONLY_RECOVERY)
        self._inode = _inode(self._path)
        if self._inode is None:
            raise UnknownDatabase("The setting names a file that is not there. Nothing makes it but you.")
        apsw.hard_heap_limit(HEAP_BYTES)
        try:
            flags = apsw.SQLITE_OPEN_READWRITE if writes else apsw.SQLITE_OPEN_READONLY
            name = self._path
            if self._find is not None:  # A copy that nobody changes: no locks, and no files beside it.
                name, flags = f"file:{quote(self._path)}?immutable=1", flags | apsw.SQLITE_OPEN_URI
            self._db = db = apsw.Connection(name, flags=flags)
            db.set_busy_handler(self._wait_for_lock)
            db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            db.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            db.config(apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, 0)
            db.config(apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, 0)
            db.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
            db.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
            db.limit(apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000)
            db.execute("pragma foreign_keys = on" if writes else "pragma query_only = on", can_cache=False)
            db.authorizer = self._may_write if writes else self._may_read
            db.exec_trace = self._check_write if writes else self._check_read
            db.set_progress_handler(self._is_late, STEPS)
        except self._failures as error:
            raise self._ours(error) from error

    # ---- What SQLite asks us.

    def _is_late(self) -> bool:
        return monotonic() > self._deadline

    def _wait_for_lock(self, tried: int) -> bool:
        left = self._deadline - monotonic()
        if left <= 0:
            return False
        sleep(min(left, 0.001 * (tried + 1), 0.02))
        return True

    def _may_read(self, action: int, first: str | None, second: str | None, _db: str | None, _by: str | None) -> int:
        """The authorizer of a reader. https://www.sqlite.org/c3ref/set_authorizer.html"""
        import apsw

        if action in (apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_RECURSIVE):
            return apsw.SQLITE_OK
        return self._may_call(action, first, second)

    def _may_write(self, action: int, first: str | None, second: str | None, _db: str | None, _by: str | None) -> int:
        """The authorizer of a writer: data and tables, but no other file, no extension, no transaction of its own."""
        import apsw

        special = (apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH, apsw.SQLITE_TRANSACTION, apsw.SQLITE_SAVEPOINT)
        if action in (*special, apsw.SQLITE_PRAGMA, apsw.SQLITE_FUNCTION):
            return self._may_call(action, first, second)
        return apsw.SQLITE_OK

    def _may_call(self, action: int, first: str | None, second: str | None) -> int:
        import apsw

        if action == apsw.SQLITE_FUNCTION and second != "load_extension":
            return apsw.SQLITE_OK
        if action == apsw.SQLITE_PRAGMA:
            pragma = (first or "").lower()
            if pragma in (PRAGMAS if second is None else PRAGMAS_WITH_ARGUMENT):
                return apsw.SQLITE_OK
        said = str(apsw.mapping_authorizer_function[action]).removeprefix("SQLITE_")
        if self._is_ours:
            return apsw.SQLITE_OK
        name = second if action == apsw.SQLITE_FUNCTION else first
        self._denied = f"{said} {name or ''}".strip()
        return apsw.SQLITE_DENY

    def _check_read(self, cursor: "apsw.Cursor", sql: str, _params: object) -> bool:
        self._check(cursor, sql)
        if not cursor.is_readonly:
            raise write_refused(writes=False)
        return True

    def _check_write(self, cursor: "apsw.Cursor", sql: str, _params: object) -> bool:
        self._check(cursor, sql)
        return True

    def _check(self, cursor: "apsw.Cursor", sql: str) -> None:
        """Called by apsw before the first step of each statement that it finds in the text."""
        if self._columns is not None:  # A statement ran before this one.
            if cursor.has_vdbe:
                raise MultipleStatements(ONE_STATEMENT)
            return
        if not cursor.has_vdbe:
            raise SqlError(NO_STATEMENT)
        if len(sql) < len(self._sql) and not is_blank(self._sql[len(sql) :]):
            raise MultipleStatements(ONE_STATEMENT)
        self._columns = _columns(cursor.get_description())

    # ---- What we ask SQLite.

    def start(self, seconds: float) -> None:
        self._deadline = monotonic() + seconds
        if self._writes:
            # At once for writing: one who starts by reading cannot wait for another who does the same.
            self._own("begin immediate")

    def query(self, sql: str, params: Params, *, rows: int, explain: bool) -> "SqliteSession":  # noqa: ARG002
        try:
            try:
                self._run(sql, params, 2 if explain else -1)
            except self._read_only as error:
                if getattr(error, "extendedresult", 0) not in self._unfinished:
                    raise
                self._recover()
                self._run(sql, params, 2 if explain else -1)
        except self._failures as error:
            raise self._ours(error) from error
        return self

    def _recover(self) -> None:
        """Let SQLite undo what a writer that was killed left half done: whoever only reads the file may not."""
        import apsw

        writer = apsw.Connection(self._path, flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            writer.set_busy_handler(self._wait_for_lock)
            writer.execute("select count(*) from sqlite_schema").fetchall()
        finally:
            writer.close(True)

    @property
    def columns(self) -> Columns:
        return self._columns or Columns()

    def fetch(self, count: int) -> list[Row]:
        assert self._cursor is not None  # noqa: S101 - a query ran before.
        try:
            return list(islice(self._cursor, count))
        except self._failures as error:
            raise self._ours(error) from error

    def execute(self, statement: Statement, *, alone: bool, max_rows: int) -> Outcome:  # noqa: ARG002
        try:
            before = self._db.total_changes()
            self._db.set_last_insert_rowid(0)
            cursor = self._run(statement.sql, statement.params, -1)
            rows = list(islice(cursor, max_rows))
            cursor.close(True)
            changed = self._db.changes() if self._db.total_changes() > before else 0
            return Outcome(changed, self._db.last_insert_rowid() or None, self.columns, rows)
        except self._failures as error:
            raise self._ours(error) from error

    def check_undoable(self, statements: Sequence[Statement]) -> None:
        """SQLite undoes all that a transaction may run."""

    def check_commit(self) -> None:
        import apsw

        if self._db.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
            raise SqlError("FOREIGN KEY constraint failed (SQLITE_CONSTRAINT_FOREIGNKEY)")

    def commit(self) -> None:
        self._own("commit")

    def end(self) -> None:
        if self._cursor is not None:
            self._cursor.close(True)
            self._cursor = None
        if self._writes and self._db.in_transaction:
            self._deadline = float("inf")
            self._own("rollback")

    def tables(self) -> list[Table]:
        found = self._rows(
            "select name, case type when 'virtual' then 'table' else type end from pragma_table_list "
            "where schema = 'main' and type in ('table', 'view', 'virtual') and name not like 'sqlite\\_%' escape '\\' "
            "order by name"
        )
        try:
            estimates = {table: int(str(stat).split(" ")[0]) for table, stat in self._rows(ESTIMATES)}
        except SqlError:
            estimates = {}  # Nobody ran ANALYZE.
        tables = []
        for name, kind in found:
            try:
                columns, indexes, keys = (self._rows(asked, (name,)) for asked in (COLUMNS, INDEXES, KEYS))
            except SqlError:  # A view of what is no longer there.
                columns, indexes, keys = [], [], []
            tables.append(
                Table(
                    name,
                    kind,
                    [
                        TableColumn(each, declared, not (must or key), bool(key))
                        for each, declared, must, key in columns
                    ],
                    grouped_indexes(indexes),
                    grouped_keys(keys),
                    estimates.get(name),
                )
            )
        return tables

    def _rows(self, sql: str, params: tuple[str, ...] = ()) -> list[Row]:
        try:
            return self._run(sql, params, -1).fetchall()
        except self._failures as error:
            raise self._ours(error) from error

    def fresh(self) -> bool:
        if self._find is not None:
            self._find()
        return self._inode == _inode(self._path)

    def close(self) -> None:
        self._db.close(True)

    def _run(self, sql: str, params: Params, explain: int) -> "apsw.Cursor":
        check_params(scan(sql, "sqlite"), params)
        self._sql, self._columns, self._denied = sql, None, ""
        self._cursor = cursor = self._db.cursor()
        cursor.execute(sql, params or None, explain=explain)
        return cursor

    def _own(self, sql: str) -> None:
        """Run a statement of ours that callers may not run; not cached, so that it is ours alone."""
        self._sql, self._columns, self._is_ours = sql, None, True
        try:
            try:
                self._db.execute(sql, can_cache=False)
            except self._failures as error:
                raise self._ours(error) from error
        finally:
            self._is_ours = False

    def _ours(self, error: Exception) -> StrongroomError:
        if self._denied and self._writes:
            return SqlError(f"{self._denied} is not allowed here (SQLITE_AUTH).")
        return _translate(error, self._sql, self._denied, writes=self._writes)


COLUMNS = 'select name, type, "notnull", pk from pragma_table_xinfo(?) where hidden <> 1 order by cid'
INDEXES = """
select i.name, i."unique", c.name from pragma_index_list(?) i, pragma_index_info(i.name) c order by i.seq, c.seqno
"""
KEYS = 'select id, "from", "table", "to" from pragma_foreign_key_list(?) order by id, seq'
ESTIMATES = "select tbl, max(stat) from sqlite_stat1 group by tbl"


def _inode(path: str) -> tuple[int, int] | None:
    """What tells a file from another that took its place; None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - asked at every call; a Path takes longer.
    except OSError:
        return None
    return found.st_dev, found.st_ino


@lru_cache(maxsize=1024)
def _columns(description: tuple[tuple[str, str | None], ...]) -> Columns:
    return Columns([sqlite_column(name, declared) for name, declared in description])


def _translate(error: Exception, sql: str, denied: str, *, writes: bool) -> StrongroomError:
    """The error that a caller sees for what SQLite said."""
    import apsw

    if isinstance(error, apsw.InterruptError):
        return QueryTimeout(OVER)
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return Busy("Another writer holds the database for longer than this call may wait.", retry_after=1)
    if denied:
        return ReadOnly(f"{denied} is not allowed here. {WRITES_ELSEWHERE}")
    if getattr(error, "extendedresult", 0) in (apsw.SQLITE_READONLY_ROLLBACK, apsw.SQLITE_READONLY_RECOVERY):
        return DatabaseUnavailable("A write was cut off, and the file cannot be written to undo it.", retry_after=5)
    if isinstance(error, apsw.ReadOnlyError):
        return write_refused(writes=writes)
    out = (apsw.CantOpenError, apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.FullError, apsw.PermissionsError)
    if isinstance(error, out):
        return DatabaseUnavailable(f"SQLite says {type(error).__name__}.", retry_after=RETRY_AFTER_SECONDS)
    if isinstance(error, UnicodeError):
        return SqlError("A text is not UTF-8. Read such a column by cast(… as blob).")
    if isinstance(error, apsw.NoMemError | MemoryError):
        return SqlError("The statement needs more memory than it may take (SQLITE_NOMEM).")
    if not isinstance(error, apsw.Error):
        return SqlError(str(error))
    code = apsw.mapping_extended_result_codes.get(getattr(error, "extendedresult", 0)) or apsw.mapping_result_codes.get(
        getattr(error, "result", 0), "SQLITE_ERROR"
    )
    offset = getattr(error, "error_offset", -1)
    place = f", at character {len(sql.encode()[:offset].decode(errors='ignore')) + 1}" if offset >= 0 else ""
    return SqlError(f"{error} ({code}{place})")
