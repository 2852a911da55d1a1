"""SQLite, by apsw, which ships a current SQLite, reports declared types and error positions, and is twice as fast.

A statement runs in this process if no single step of it can take long: an interrupt then ends it at its limit. Any
other runs in a child process (`sqlite_child`), which can be killed. SQLite's authorizer names the functions it calls.
"""

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import apsw

from shared.errors import Busy, StrongroomError
from shared.sql.engines import (
    ENDED,
    NO_STATEMENT,
    ONE_STATEMENT,
    OVER,
    RETRY_AFTER_SECONDS,
    ROW_TOO_LARGE,
    WRITES_ELSEWHERE,
    Load,
    NeedsSandbox,
    Outcome,
    RowRefused,
    Statement,
    Table,
    TableColumn,
    grouped_indexes,
    grouped_keys,
    write_refused,
)
from shared.sql.engines.sqlite_rules import LONG_SCHEMA, LONG_TABLES, PRAGMAS, PRAGMAS_WITH_ARGUMENT, SHORT_FUNCTIONS
from shared.sql.engines.sqlite_types import columns_of
from shared.sql.engines.sqlite_watch import WATCH
from shared.sql.errors import (
    DatabaseUnavailable,
    MultipleStatements,
    QueryTimeout,
    ReadOnly,
    RowTooLarge,
    SqlError,
    UnknownDatabase,
)
from shared.sql.statements import check_params, clip, is_blank, scan
from shared.sql.values import FETCH_BYTES, MAX_ROW_BYTES, RETURNED_BYTES, Columns, Cursor, NotText, Params, Row

if TYPE_CHECKING:
    from shared.sandbox.process import Sandbox
    from shared.sql.engines.sqlite_child import ChildSession

RECORDS = "strongroom_answers"
"""The app's own table, which no query may read."""
INTERRUPT_SECONDS = 0.02
"""Between two interrupts of a statement that is over its limit."""
MAX_VALUE_BYTES = MAX_ROW_BYTES
"""The most bytes of one text, blob or row."""
HEAP_BYTES = 64 * 1024 * 1024
"""The most memory that SQLite may take in the worker, all connections together. Sorts and temporary tables are in it; a
statement that needs more starts again in a child process, which has a disk."""
CAREFUL_ROWS = 2
"""Rows that are read at once while each may have MAX_VALUE_BYTES."""
MOST_ROWS = 64
READ_BYTES = 32 * 1024 * 1024
"""The most bytes that the rows read at once may have: with more rows, each may have less."""
PAGE_BYTES = 4096
"""SQLite reads values up to about this length without taking memory for them."""
SMALL_BYTES = 256 * 1024
"""Of memory that SQLite took for the rows just read: more rows at once are safe."""

FAILURES = (apsw.Error, KeyError, ValueError, OverflowError, MemoryError)
"""The exceptions that apsw raises."""
UNFINISHED = (apsw.SQLITE_READONLY_ROLLBACK, apsw.SQLITE_READONLY_RECOVERY)
"""The errors of a reader that finds the unfinished write of a killed writer."""


class SqliteSession:
    """One open connection to a SQLite file, read-only or read-write."""

    first_rows = 8

    def __init__(
        self, path: str | Callable[[], str], sandbox: "Callable[[], Sandbox] | None" = None, *, writes: bool
    ) -> None:
        """Without a `sandbox` this is the child process itself, which may run every function."""
        self._sandbox = sandbox
        self._child: ChildSession | None = None
        self._is_long = self._is_spoiled = False
        self._lock = Lock()
        self._find = path if callable(path) else None
        self._path = path() if callable(path) else path
        self._writes = writes
        self.deadline = 0.0
        """When the running statement reaches its limit, on the monotonic clock."""
        self._denied = ""
        self._sql = ""
        self._is_ours = False
        self._columns: Columns | None = None
        self._cursor: apsw.Cursor | None = None
        self._current: tuple[str, Params, int] = ("", (), -1)
        self._at_once, self._fetched, self._base = CAREFUL_ROWS, 0, 0
        self._careful = self._is_held = self._is_done = self._is_raw = self._is_prepared_again = (
            self._has_long_schema
        ) = self._is_checked = False
        self.description: Any = ()
        if not os.path.exists(self._path):  # noqa: PTH110 - `pathlib` is not loaded here.
            raise UnknownDatabase("The database file does not exist; it is never created automatically.")
        if sandbox is not None:
            apsw.hard_heap_limit(HEAP_BYTES)
        try:
            flags = apsw.SQLITE_OPEN_READWRITE if writes else apsw.SQLITE_OPEN_READONLY
            name = self._path
            if self._find is not None:  # An immutable copy: no locks, and no files beside it.
                name, flags = f"file:{quote(self._path)}?immutable=1", flags | apsw.SQLITE_OPEN_URI
            self._db = db = apsw.Connection(name, flags=flags)
            self._moved = array("i", [0])  # https://www.sqlite.org/c3ref/c_fcntl_begin_atomic_write.html
            self._has_moved = partial(
                db.file_control, "main", apsw.SQLITE_FCNTL_HAS_MOVED, self._moved.buffer_info()[0]
            )
            db.set_busy_handler(self._wait_for_lock)
            db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
            db.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            db.config(apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, 0)
            db.config(apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, 0)
            db.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
            db.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
            db.limit(apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000)
            db.execute("pragma foreign_keys = on" if writes else "pragma query_only = on", can_cache=False)
            if sandbox is not None:
                db.execute("pragma temp_store = memory", can_cache=False)
            db.authorizer = self._may_write if writes else self._may_read
            db.exec_trace = self._check
        except FAILURES as error:
            raise self._translated(error) from error

    # ---- SQLite's callbacks.

    def _wait_for_lock(self, tried: int) -> bool:
        left = self.deadline - monotonic()
        if left <= 0:
            return False
        sleep(min(left, 0.001 * (tried + 1), 0.02))
        return True

    def _may_read(self, action: int, first: str | None, second: str | None, _db: str | None, _by: str | None) -> int:
        """The authorizer of a reader. https://www.sqlite.org/c3ref/set_authorizer.html"""
        # SQLite prepares a running statement again if the schema has changed.
        self._is_prepared_again = self._columns is not None
        if action == apsw.SQLITE_READ:
            if first is not None and first.lower() == RECORDS and not self._is_ours:
                self._denied = f"READ {RECORDS}"
                return apsw.SQLITE_DENY
            return self._may_take_long(first not in LONG_TABLES)
        if action in (apsw.SQLITE_SELECT, apsw.SQLITE_RECURSIVE):
            return apsw.SQLITE_OK
        return self._may_call(action, first, second)

    def _may_take_long(self, is_short: bool) -> int:
        """Refuse a function that can take long, except in the child process, which runs it."""
        if is_short or self._sandbox is None or self._is_ours:
            return apsw.SQLITE_OK
        self._is_long = True
        return apsw.SQLITE_DENY

    def _may_write(self, action: int, first: str | None, second: str | None, db: str | None, _by: str | None) -> int:
        """The authorizer of a writer: data and tables, but no other file, no extension and no transaction control."""
        self._is_prepared_again = self._columns is not None
        if db == "temp":
            self._is_spoiled = True  # Temporary objects would change the data that later calls read and write.
        if action == apsw.SQLITE_READ:
            return self._may_take_long(first not in LONG_TABLES)
        special = (apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH, apsw.SQLITE_TRANSACTION, apsw.SQLITE_SAVEPOINT)
        if action in (*special, apsw.SQLITE_PRAGMA, apsw.SQLITE_FUNCTION):
            return self._may_call(action, first, second)
        return apsw.SQLITE_OK

    def _may_call(self, action: int, first: str | None, second: str | None) -> int:
        if action == apsw.SQLITE_FUNCTION and second != "load_extension":
            return self._may_take_long(second in SHORT_FUNCTIONS)
        if action == apsw.SQLITE_PRAGMA:
            pragma = (first or "").lower()
            if pragma in (PRAGMAS if second is None else PRAGMAS_WITH_ARGUMENT):
                return apsw.SQLITE_OK
        label = str(apsw.mapping_authorizer_function[action]).removeprefix("SQLITE_")
        if self._is_ours:
            return apsw.SQLITE_OK
        name = second if action == apsw.SQLITE_FUNCTION else first
        self._denied = f"{label} {name or ''}".strip()
        return apsw.SQLITE_DENY

    def _check(self, cursor: apsw.Cursor, sql: str, _params: object) -> bool:
        """Called by apsw before the first step of each statement that it finds in the text."""
        if self._columns is not None:  # A statement ran before this one.
            if cursor.has_vdbe:
                raise MultipleStatements(ONE_STATEMENT)
            return True
        if not cursor.has_vdbe:
            raise SqlError(NO_STATEMENT)
        if len(sql) < len(self._sql) and not is_blank(self._sql[len(sql) :]):
            raise MultipleStatements(ONE_STATEMENT)
        self._base = apsw.memory_used()
        self.description = cursor.get_description()
        self._columns = columns_of(self.description)
        if not (self._writes or cursor.is_readonly):
            raise write_refused(writes=False)
        return True

    # ---- One call.

    def start(self, seconds: float) -> None:
        with self._lock:
            self.deadline = monotonic() + seconds
        WATCH.add(self)
        if self._writes:
            # Lock for writing at once: a transaction that starts by reading cannot wait for another that does the same.
            self._own("begin immediate")
        if self._sandbox is not None and not self._is_checked:
            self._has_long_schema = any(LONG_SCHEMA.search(str(sql)) for (sql,) in self._definitions())
            self._is_checked = True

    def _definitions(self) -> list[Row]:
        try:
            return self._run(DEFINITIONS, (), -1).fetchall()
        except FAILURES as error:
            if self._is_unfinished(error):
                self._recover()
                return self._definitions()
            raise self._translated(error) from error

    def _is_unfinished(self, error: Exception) -> bool:
        """Whether a killed writer left an unfinished write behind."""
        return isinstance(error, apsw.ReadOnlyError) and getattr(error, "extendedresult", 0) in UNFINISHED

    def interrupt_if_late(self, now: float) -> float:
        """Interrupt the running statement if its time is over. Returns when to check again, on the monotonic clock."""
        with self._lock:
            if now < self.deadline:
                return self.deadline
            self._db.interrupt()
            return now + INTERRUPT_SECONDS

    def query(self, sql: str, params: Params, *, rows: int, explain: bool) -> Cursor:
        mode = 2 if explain else -1
        if self._has_long_schema:
            return self._move().query(sql, params, rows=rows, explain=explain)
        try:
            self._run(sql, params, mode)
        except FAILURES as error:
            if self._is_unfinished(error):
                self._recover()
                return self.query(sql, params, rows=rows, explain=explain)
            if self._needs_child(error):
                return self._move().query(sql, params, rows=rows, explain=explain)
            raise self._translated(error) from error
        self._current = (sql, params, mode)
        self._fetched, self._is_held, self._is_done, self._is_raw = 0, False, False, False
        return self

    def _needs_child(self, error: Exception) -> bool:
        return self._sandbox is not None and (self._is_long or isinstance(error, apsw.NoMemError))

    def _move(self) -> "ChildSession":
        """Repeat the call from its beginning in a child process."""
        from shared.sql.engines.sqlite_child import ChildSession

        assert self._sandbox is not None  # noqa: S101 - only a session with a sandbox moves.
        self._reset()
        self._child = ChildSession(
            self._sandbox(), self._path, self.deadline, writes=self._writes, immutable=self._find is not None
        )
        return self._child

    def _recover(self) -> None:
        """Let SQLite roll back a killed writer's unfinished write: a read-only connection may not."""
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
        if self._is_done:
            return []
        rows: list[Row] = []
        size = 0
        while len(rows) < count and size < FETCH_BYTES:
            wanted = min(count - len(rows), self._at_once)
            try:
                more = self._next(wanted)
            except FAILURES as error:
                raise self._translated(error) from error
            if not more:
                break
            rows += more
            size += self._grown(more)
            if len(more) < wanted:
                break
        if monotonic() > self.deadline:
            raise QueryTimeout(OVER)
        return rows

    def _next(self, wanted: int) -> list[Row]:
        """Return the next rows. If one is larger than `_at_once` rows may be, read it again in smaller steps."""
        assert self._cursor is not None  # noqa: S101 - a query ran before.
        try:
            rows = list(islice(self._cursor, wanted))
        except UnicodeDecodeError:
            self._read_as_bytes()
            return self._next_again(wanted)
        except apsw.TooBigError:
            if self._at_once == CAREFUL_ROWS:
                raise
            self._careful = True
            self._set_at_once(CAREFUL_ROWS)
            if self._is_raw:
                self._read_as_bytes()
            else:
                self._run(*self._current)
            return self._next_again(min(wanted, CAREFUL_ROWS))
        self._is_done = len(rows) < wanted
        self._fetched += len(rows)
        return [_with_texts(row) for row in rows] if self._is_raw else rows

    def _next_again(self, wanted: int) -> list[Row]:
        """Return the next rows after the statement was started again."""
        assert self._cursor is not None  # noqa: S101 - it was.
        for _ in range(self._fetched):
            next(self._cursor)
        return self._next(wanted)

    def _grown(self, rows: list[Row]) -> int:
        """Return the approximate bytes of `rows`. If they are few, read more rows at once from now on."""
        grown = max(apsw.memory_used() - self._base, PAGE_BYTES)
        if grown < SMALL_BYTES:
            if not (self._is_done or self._careful) and self._at_once < MOST_ROWS:
                if not self._is_held:
                    # The same rows can be read again only from the same snapshot.
                    self._is_held = True
                    if not self._db.in_transaction:
                        self._own("begin")
                self._set_at_once(self._at_once * 4)
            return grown * len(rows)
        sizes = [sum(len(value) for value in row if type(value) is str or type(value) is bytes) for row in rows]
        if max(sizes) > MAX_ROW_BYTES:
            raise RowTooLarge(ROW_TOO_LARGE)
        return sum(sizes)

    def _set_at_once(self, rows: int) -> None:
        self._at_once = rows
        self._db.limit(apsw.SQLITE_LIMIT_LENGTH, min(MAX_VALUE_BYTES, READ_BYTES // rows))

    def execute(self, statement: Statement, *, alone: bool, max_rows: int) -> Outcome:  # noqa: ARG002
        if self._has_long_schema:
            raise NeedsSandbox(self._move())
        try:
            before = self._db.total_changes()
            self._db.set_last_insert_rowid(0)
            cursor = self._run(statement.sql, statement.params, -1)
            rows: list[Row] = []
            size = 0
            while len(rows) < max_rows and size < RETURNED_BYTES and (more := list(islice(cursor, CAREFUL_ROWS))):
                rows += more
                size += sum(len(value) for row in more for value in row if type(value) in (str, bytes))
            cursor.close(True)
            changed = self._db.changes() if self._db.total_changes() > before else 0
            last_row_id = self._db.last_insert_rowid() or None
        except FAILURES as error:
            if self._needs_child(error):
                raise NeedsSandbox(self._move()) from None
            raise self._translated(error) from error
        if not self._db.in_transaction:
            raise SqlError(ENDED)
        if monotonic() > self.deadline:
            raise QueryTimeout(OVER)
        return Outcome(changed, last_row_id, self.columns, rows[:max_rows])

    def load(self, load: Load, rows: Sequence[Row]) -> None:
        if self._has_long_schema:
            raise NeedsSandbox(self._move())
        self._is_long = False
        count = 0

        def counted() -> Iterator[Row]:
            nonlocal count
            for row in rows:
                count += 1
                yield row

        # The trace is called for every row, and takes each for a statement of the caller.
        trace, self._db.exec_trace = self._db.exec_trace, None
        try:
            statement = load.insert(f"({', '.join('?' * len(load.columns))})")
            self._db.cursor().executemany(statement, counted())
        except FAILURES as error:
            if self._needs_child(error):
                raise NeedsSandbox(self._move()) from None
            translated = self._translated(error)
            if isinstance(translated, SqlError):
                raise RowRefused(max(count - 1, 0), None, translated) from error
            raise translated from error
        finally:
            self._db.exec_trace = trace
        if monotonic() > self.deadline:
            raise QueryTimeout(OVER)

    def check_undoable(self, statements: Sequence[Statement]) -> None:
        """Do nothing: SQLite can undo every statement that a transaction may run."""

    def check_commit(self) -> None:
        if self._db.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0]:
            raise SqlError("FOREIGN KEY constraint failed (SQLITE_CONSTRAINT_FOREIGNKEY)")

    def commit(self) -> None:
        if not self._db.in_transaction:
            raise SqlError(ENDED)
        with self._lock:
            self.deadline = float("inf")  # From here on the write is kept, however long that takes.
        self._own("commit")

    def end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()
        WATCH.remove(self)
        self._reset()
        if self._is_spoiled:
            raise DatabaseUnavailable("The connection has temporary objects.")

    def _reset(self) -> None:
        """Roll back uncommitted changes, and reset the state of reading rows."""
        if self._cursor is not None:
            self._cursor.close(True)
            self._cursor = None
        if self._at_once != CAREFUL_ROWS:
            self._set_at_once(CAREFUL_ROWS)
        self._careful = False
        if self._db.in_transaction:
            with self._lock:
                deadline, self.deadline = self.deadline, float("inf")
            self._own("rollback")
            self.deadline = deadline

    def tables(self) -> list[Table]:
        listed = self._rows(
            "select name, case type when 'virtual' then 'table' else type end from pragma_table_list "
            "where schema = 'main' and type in ('table', 'view', 'virtual') and substr(name, 1, 7) <> 'sqlite_' "
            "order by name"
        )
        try:
            estimates = {table: int(str(stat).split(" ")[0]) for table, stat in self._rows(ESTIMATES)}
        except SqlError:
            estimates = {}  # The table has no statistics: nobody ran ANALYZE.
        tables = []
        for name, kind in listed:
            try:
                columns, indexes, keys = (self._rows(statement, (name,)) for statement in (COLUMNS, INDEXES, KEYS))
            except SqlError:  # A view of a table that no longer exists.
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
        except FAILURES as error:
            raise self._translated(error) from error

    def warnings(self) -> list[tuple[str, str]]:
        return []

    def fresh(self) -> bool:
        if self._find is not None:
            self._find()
        self._has_moved()
        return not self._moved[0]

    def interrupt(self) -> None:
        """Interrupt the running statement, from another thread."""
        self._db.interrupt()

    @property
    def system_errno(self) -> int:
        """Return the system's number of the last error, if it was a system error."""
        return self._db.system_errno

    def close(self) -> None:
        WATCH.remove(self)
        self._db.close(True)

    def _run(self, sql: str, params: Params, explain: int) -> apsw.Cursor:
        check_params(scan(sql, "sqlite"), params)
        self._sql, self._columns, self._denied, self._is_long = sql, None, "", False
        self._is_prepared_again = False
        self._cursor = cursor = self._db.cursor()
        cursor.execute(sql, params or None, explain=explain)
        if self._is_prepared_again:
            # get_description returned the columns from before the schema changed.
            with suppress(apsw.ExecutionCompleteError):
                self.description = tuple([each[:2] for each in cursor.description])
                self._columns = columns_of(self.description)
        return cursor

    def _read_as_bytes(self) -> None:
        """Restart the statement, and read each text as bytes with its type, since one is not UTF-8.

        The authorizer has allowed the statement already; the added text reads nothing more.
        """
        columns, description = self._columns, self.description
        names = [f"c{index}" for index in range(len(description))]
        values = ", ".join(
            f"typeof({name}), iif(typeof({name}) = 'text', cast({name} as blob), {name})" for name in names
        )
        sql, params, mode = self._current
        self._is_ours = True
        try:
            # https://www.sqlite.org/lang_with.html
            self._run(
                f"with strongroom({', '.join(names)}) as (\n{clip(sql, 'sqlite')}\n) select {values} from strongroom",  # noqa: S608
                params,
                mode,
            )
        finally:
            self._is_ours = False
            self._columns, self.description = columns, description
        self._is_raw = True

    def _own(self, sql: str) -> None:
        """Run an internal statement that callers may not run. It is not cached, so callers cannot reuse it."""
        kept = self._sql, self._columns, self.description
        self._sql, self._columns, self._is_ours = sql, None, True
        try:
            try:
                self._db.execute(sql, can_cache=False)
            except FAILURES as error:
                raise self._translated(error) from error
        finally:
            self._is_ours = False
            self._sql, self._columns, self.description = kept

    def _translated(self, error: Exception) -> StrongroomError:
        if self._denied and self._writes:
            return SqlError(f"{self._denied} is not allowed here (SQLITE_AUTH).")
        return _translate(error, self._sql, self._denied, writes=self._writes)


DEFINITIONS = "select sql from sqlite_schema where type in ('table', 'index')"
COLUMNS = 'select name, type, "notnull", pk from pragma_table_xinfo(?) where hidden <> 1 order by cid'
INDEXES = """
select i.name, i."unique", c.name from pragma_index_list(?) i, pragma_index_info(i.name) c order by i.seq, c.seqno
"""
KEYS = 'select id, "from", "table", "to" from pragma_foreign_key_list(?) order by id, seq'
ESTIMATES = "select tbl, max(stat) from sqlite_stat1 group by tbl"


def _with_texts(row: Row) -> Row:
    """Convert a row of (type, value) pairs: UTF-8 texts become text, the others are marked."""
    return tuple(_text(value) if kind == "text" else value for kind, value in zip(row[::2], row[1::2], strict=True))


def _text(data: bytes) -> str | NotText:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return NotText(data)


def _translate(error: Exception, sql: str, denied: str, *, writes: bool) -> StrongroomError:
    """Translate SQLite's error into the error that a caller sees."""
    if isinstance(error, apsw.InterruptError):
        return QueryTimeout(OVER)
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return Busy("Another writer locks the database for longer than this call may wait. Try again.", retry_after=1)
    if denied:
        return ReadOnly(f"{denied} is not allowed here. {WRITES_ELSEWHERE}")
    if getattr(error, "extendedresult", 0) in UNFINISHED:
        return DatabaseUnavailable("A write was cut off, and the file cannot be written to undo it.", retry_after=5)
    if isinstance(error, apsw.ReadOnlyError):
        return write_refused(writes=writes)
    out = (apsw.CantOpenError, apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.FullError, apsw.PermissionsError)
    if isinstance(error, out):
        return DatabaseUnavailable(f"SQLite reports {type(error).__name__}.", retry_after=RETRY_AFTER_SECONDS)
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
    position = f", at character {len(sql.encode()[:offset].decode(errors='ignore')) + 1}" if offset >= 0 else ""
    return SqlError(f"{error} ({code}{position})")
