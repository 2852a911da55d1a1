"""PostgreSQL, by psycopg: every call is one transaction, a reader's is read-only, and rows come through a cursor."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, lru_cache, partial
from random import random
from time import monotonic
from typing import TYPE_CHECKING, Any

from shared.errors import Busy, StrongroomError
from shared.sql.dialects import DIALECTS
from shared.sql.engines import (
    ENDED,
    MAX_AGE_SECONDS,
    NO_STATEMENT,
    ONE_STATEMENT,
    OVER,
    RETRY_AFTER_SECONDS,
    ROW_TOO_LARGE,
    WRITES_ELSEWHERE,
    Load,
    Outcome,
    RowRefused,
    Statement,
    Table,
    TableColumn,
    grouped_indexes,
    grouped_keys,
    in_azure,
    not_allowed,
    sign_in,
    write_refused,
)
from shared.sql.engines.postgresql_types import UNKNOWN, Bound, ParameterTypes
from shared.sql.errors import DatabaseUnavailable, MultipleStatements, QueryTimeout, ReadOnly, RowTooLarge, SqlError
from shared.sql.statements import Scanned, check_params, has_second, original_position, scan
from shared.sql.values import (
    FETCH_BYTES,
    MAX_ROW_BYTES,
    RETURNED_BYTES,
    Column,
    Columns,
    Compared,
    Json,
    Kind,
    Params,
    Row,
)

if TYPE_CHECKING:
    import psycopg

FACTS = DIALECTS["postgresql"]
GRACE_SECONDS = 0.2
"""After the time limit, before the app cancels a statement that the server has not ended itself."""
CANCEL_SECONDS = 2.0
"""The most time that cancelling may take."""
OWN_SECONDS = 5.0
"""The most time that beginning or ending a transaction may take."""
DECLARE = "DECLARE strongroom NO SCROLL CURSOR FOR "
READER_RESET = "ROLLBACK; SELECT pg_advisory_unlock_all()"
"""A rollback undoes every setting; locks and the seed of random() outlive it."""
WRITER_RESET = (
    "ROLLBACK; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; CLOSE ALL; DEALLOCATE ALL; UNLISTEN *; "
    "SELECT pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES"
)
"""What DISCARD ALL does, in one message with the end of the transaction, where DISCARD ALL itself is refused."""
SEED_RESET = "; SELECT setseed({:.9f})"
"""DISCARD ALL keeps the seed of random()."""
SESSION = (
    "-c datestyle=ISO -c timezone=UTC -c intervalstyle=iso_8601 -c standard_conforming_strings=on "
    "-c idle_in_transaction_session_timeout=90s"
)
"""The form of values and of strings (the scanner relies on it), and how long a session may hold a transaction idle."""
ENDS = frozenset({"BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "PREPARE", "SET", "RESET", "DISCARD"})
"""First words of the tags that PostgreSQL reports for statements that end a transaction or change the session."""
UNCHANGEABLE = frozenset({"ROLE", "USER", "GROUP", "DATABASE", "SYSTEM"})
"""Behind ALTER: their settings outlive the call."""

ACTIVE, IN_TRANSACTION = 1, 2
"""libpq's states of a connection: a statement runs; a transaction is open, and nothing runs."""
MAY_SEED = "select has_function_privilege('setseed(double precision)', 'execute')"
NO_VALUES = [0]
"""A value that nothing uses: psycopg then speaks the extended protocol, which takes one statement at a time."""
EXPLAIN = "EXPLAIN "
CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
"""Statements that change rows, and no table."""

_COPY_POSITION = re.compile(r"^COPY .*?, \w+ (\d+)(?:, \w+ (.+?)(?::|$))?", re.MULTILINE)
"""The line, and the column, in the context of an error of COPY, in any language of the server."""

NOT_A_CURSOR = frozenset({"0A000", "42601", "42P11"})
"""SQLSTATEs of statements that cannot have a cursor: the app runs them directly, and the engine decides."""
RETRY = frozenset({"40001", "40P01", "55P03"})
"""SQLSTATEs of what another transaction is in the way of."""

TEXTS = (
    "numeric", "date", "time", "timetz", "timestamp", "timestamptz", "interval", "json", "jsonb", "uuid", "inet",
    "cidr", "int4range", "int8range", "numrange", "daterange", "tsrange", "tstzrange",
    "int4multirange", "int8multirange", "nummultirange", "datemultirange", "tsmultirange", "tstzmultirange",
)  # fmt: skip
"""Types whose values stay the text that PostgreSQL writes: quicker than an object, and to the last digit."""

_KINDS: dict[int, Kind] = {
    16: "boolean", 20: "integer", 21: "integer", 23: "integer", 26: "integer", 700: "real", 701: "real",
    1700: "decimal", 17: "bytes", 1082: "date", 1083: "time", 1266: "time", 1114: "timestamp", 1184: "timestamp",
    114: "json", 3802: "json", 2249: "json",
}  # fmt: skip
"""Our types of PostgreSQL's, by their numbers. Arrays are JSON, everything else is text as PostgreSQL writes it."""
_COMPARED: dict[int, Compared] = {
    20: "number", 21: "number", 23: "number", 26: "number", 1700: "number", 1082: "exact", 1083: "exact",
    1114: "exact", 1184: "exact", 2950: "exact", 19: "text", 25: "text", 1043: "text",
}  # fmt: skip
"""How to compare values for equality. Different texts of other types (citext, char, interval) may be equal values."""
_DETAILS: dict[int, str] = {1184: "utc", 1266: "zone"}
"""The details that Arrow needs of timestamptz and timetz."""


class PostgresSession:
    """One connection to PostgreSQL, as the reading or the writing role."""

    def __init__(self, url: str, token: Callable[[str], str], *, writes: bool) -> None:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
        from psycopg.raw_cursor import RawCursor
        from psycopg.types.string import TextLoader

        self.first_rows = 100
        self._writes = writes
        self._failures = (psycopg.Error, ValueError, UnicodeError)
        self._opened = monotonic()
        self._deadline = 0.0
        self._more = False
        self._columns = Columns()
        self._stream: Any = None
        self._sent = 0
        self._transaction: str | None = None
        try:
            arguments: dict[str, Any] = conninfo_to_dict(url)
            arguments.setdefault("connect_timeout", 5)
            arguments.setdefault("application_name", "strongroom")
            arguments |= {
                "keepalives_idle": 30,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "client_encoding": "utf8",
            }
            arguments["options"] = f"{arguments.get('options', '')} {SESSION}"
            if not writes:
                arguments["options"] += " -c default_transaction_read_only=on"
            if in_azure(arguments.get("host")):
                # Whatever the URL says: a server that received the token could sign in with it as the app.
                arguments |= {"sslmode": "verify-full", "gssencmode": "disable"}
                arguments.setdefault("sslrootcert", _roots())
                arguments["password"] = arguments.get("password") or sign_in(token)
            self._db = _connection().connect(
                **arguments, autocommit=True, prepare_threshold=None, cursor_factory=RawCursor
            )
            (self._may_seed,) = self._db.execute(MAY_SEED).fetchone()
        except self._failures as error:
            raise DatabaseUnavailable(
                "Could not connect to PostgreSQL, or authentication failed.", retry_after=RETRY_AFTER_SECONDS
            ) from error
        for name in TEXTS:
            self._db.adapters.register_loader(name, TextLoader)
        self._types = ParameterTypes(self._db)

    # ---- One call.

    def start(self, seconds: float) -> None:
        # The SELECT takes a snapshot: after it a read-only transaction stays read-only (SET TRANSACTION is refused).
        self._db.deadline = monotonic() + OWN_SECONDS
        self._sent, self._transaction = 0, None
        if self._writes:
            self._types.forget()
        mode = "" if self._writes else " READ ONLY"
        self._own(f"BEGIN{mode}; SELECT {self._limits(seconds)}")
        self._deadline = monotonic() + seconds
        self._db.deadline = self._deadline + GRACE_SECONDS

    def _limits(self, seconds: float) -> str:
        """Return expressions that set the transaction's limits. An earlier statement could have lifted them."""
        limits = f"set_config('statement_timeout', '{max(1, int(seconds * 1000))}', true)"
        if self._db.info.server_version >= 140000:
            # The server ends a statement when its client disconnects.
            limits += ", set_config('client_connection_check_interval', '1000', true)"
        return limits

    def query(self, sql: str, params: Params, *, rows: int, explain: bool) -> "PostgresSession":
        try:
            return self._query(sql, params, rows=rows, explain=explain)
        except SqlError:
            if not self._types.may_be_stale:
                raise
        # A table may have changed since the types were deduced.
        self._types.forget()
        self._restart()
        return self._query(sql, params, rows=rows, explain=explain)

    def _query(self, sql: str, params: Params, *, rows: int, explain: bool) -> "PostgresSession":
        scanned = scan(sql, "postgresql")
        check_params(scanned, params)
        if not scanned.words:
            raise SqlError(NO_STATEMENT)
        if scanned.first not in FACTS.reads:
            raise ReadOnly(f"{scanned.first} is not allowed here. {WRITES_ELSEWHERE}")
        if scanned.forbidden:
            raise not_allowed(scanned.forbidden)
        self._more = False
        text, values = self._bind(scanned, params, sql, self._restart)
        if explain or not self._declare(text, values, scanned, sql):
            self._send(f"{EXPLAIN if explain else ''}{text}", values, scanned, sql, len(EXPLAIN) * explain)
        else:
            self._more = True
            self._fetch_forward(min(rows, self.first_rows))
        return self

    def _declare(self, text: str, values: list[Any], scanned: Scanned, sql: str) -> bool:
        """Declare a cursor for the statement. Returns False if it can have none; the transaction is then begun anew."""
        try:
            self._db.execute(DECLARE + text, values or NO_VALUES)
        except self._failures as error:
            if getattr(error, "sqlstate", None) not in NOT_A_CURSOR:
                raise self._translated(error, scanned, sql, len(DECLARE)) from error
        else:
            return True
        self._restart()
        return False

    def _restart(self) -> None:
        self._own("ROLLBACK")
        self.start(max(self._deadline - monotonic(), 0.001))

    def _bind(
        self,
        scanned: Scanned,
        params: Params,
        sql: str,
        undo: Callable[[], object],
        protect: Callable[[], object] = lambda: None,
    ) -> tuple[str, list[Any]]:
        """Return the statement, and its values with their types. If PostgreSQL has to deduce them, call `protect`
        before, and `undo` after each failed attempt."""
        try:
            return self._types.bind(scanned, params, protect, undo)
        except self._failures as error:
            raise self._translated(error, scanned, sql) from error

    @property
    def columns(self) -> Columns:
        return self._columns

    def fetch(self, count: int) -> list[Row]:
        rows = self._read(count)
        while self._more and self._stream.done:
            self._more = self._stream.row_count == self._stream.most
            if rows or not self._more:
                break
            # PostgreSQL applies the limit to each statement, and this one may have lifted it.
            self._own(f"SELECT {self._limits(self._deadline - monotonic())}")
            self._fetch_forward(count)
            rows = self._read(count)
        return rows

    def _fetch_forward(self, count: int) -> None:
        self._send(f"FETCH FORWARD {count} FROM strongroom")
        self._stream.most = count

    def _send(
        self, text: str, values: list[Any] | None = None, scanned: Scanned | None = None, sql: str = "", before: int = 0
    ) -> None:
        """Run a statement, and read up to its columns."""
        try:
            self._stream = _stream_cursor()(self._db)
            self._stream.start(text, values or NO_VALUES)
        except self._failures as error:
            raise self._translated(error, scanned, sql, before) from error
        self._columns = self._described(self._stream.pgresult)

    def _read(self, count: int) -> list[Row]:
        """Return the next rows of the running statement, bounded by bytes and by `count`."""
        try:
            rows: list[Row] = self._stream.read(count)
        except self._failures as error:
            raise self._translated(error) from error
        if monotonic() > self._deadline:  # The server applies its own limit to each FETCH, not to all of them together.
            raise QueryTimeout(OVER)
        return rows

    def execute(self, statement: Statement, *, alone: bool, max_rows: int) -> Outcome:
        scanned = scan(statement.sql, "postgresql")
        check_params(scanned, statement.params)
        if not scanned.words:
            raise SqlError(NO_STATEMENT)
        second = (*scanned.words, "")[1]
        if (
            scanned.first not in FACTS.writes
            or (scanned.first == "SET" and second != "CONSTRAINTS")
            or (scanned.first == "ALTER" and second in UNCHANGEABLE)
        ):
            raise not_allowed(f"{scanned.first} {second}".strip())
        if scanned.forbidden:
            raise not_allowed(scanned.forbidden)
        if not alone:
            self._check_transaction()
        self._sent += 1
        if scanned.first not in CHANGES:
            self._types.forget()
        text, values = self._bind(
            scanned,
            statement.params,
            statement.sql,
            undo=lambda: self._own("ROLLBACK TO SAVEPOINT strongroom"),
            protect=lambda: self._own("SAVEPOINT strongroom"),
        )
        self._send(text, values, scanned, statement.sql)
        columns = self._columns
        rows: list[Row] = []
        size = 0
        while columns and len(rows) < max_rows and size < RETURNED_BYTES and (more := self._read(max_rows - len(rows))):
            rows += more
            size += self._stream.read_bytes
        count = self._finish()
        tag = (self._stream.pgresult.command_status or b"").decode().split(" ")[0]
        if self._db.info.transaction_status != IN_TRANSACTION or (tag in ENDS and scanned.first != "SET"):
            raise SqlError(ENDED)
        return Outcome(count if tag in CHANGES else 0, None, columns, rows)

    def load(self, load: Load, rows: Sequence[Row]) -> None:
        self._sent += 1
        if load.key:
            self._upsert(load, rows)
            return
        count = 0
        try:
            with self._db.cursor().copy(f"COPY {load.table} ({', '.join(load.columns)}) FROM STDIN") as copy:
                for row in rows:
                    count += 1
                    copy.write_row(row)
        except self._failures as error:
            match = _COPY_POSITION.search(getattr(getattr(error, "diag", None), "context", None) or "")
            index = int(match[1]) - 1 if match else None if getattr(error, "sqlstate", None) else count - 1
            translated = self._translated(error)
            if isinstance(translated, SqlError):
                raise RowRefused(index, match[2] if match else None, translated) from error
            raise translated from error

    def _upsert(self, load: Load, rows: Sequence[Row]) -> None:
        text = load.insert(f"({', '.join(f'${number}' for number in range(1, len(load.columns) + 1))})")
        values = [[each if isinstance(each, bytes) else Bound(each, UNKNOWN) for each in row] for row in rows]
        self._own("SAVEPOINT strongroom_rows")
        try:
            self._db.cursor().executemany(text, values)
        except self._failures as error:
            translated = self._translated(error)
            if not isinstance(translated, SqlError):
                raise translated from error
            # The driver sends many rows at once, and does not say which one failed.
            self._own("ROLLBACK TO SAVEPOINT strongroom_rows")
            for index, each in enumerate(values):
                try:
                    self._db.cursor().execute(text, each)
                except self._failures as again:
                    raise RowRefused(index, None, self._translated(again)) from again
            raise RowRefused(None, None, translated) from error

    def _finish(self) -> int:
        """Read the rest of a statement's result, and return the number of changed rows."""
        while self._read(1024):
            pass
        return max(int(self._stream.rowcount), 0)

    def _check_transaction(self) -> None:
        """Check with PostgreSQL that this is still the transaction that was begun, and set its limits again.

        Raises SqlError if an earlier statement ended it without the scanner noticing.
        """
        if self._sent == 0:
            return
        limits = self._limits(max(self._deadline - monotonic(), 0.001))
        ((transaction, *_),) = self._own(f"SELECT txid_current_if_assigned()::text, {limits}").fetchall()
        strings = self._db.info.parameter_status("standard_conforming_strings")
        if self._transaction not in (None, transaction) or strings != "on":
            raise SqlError(ENDED)
        self._transaction = transaction

    def check_undoable(self, statements: Sequence[Statement]) -> None:
        """Do nothing: PostgreSQL can undo every statement that a transaction may run."""

    def check_commit(self) -> None:
        self._own("SET CONSTRAINTS ALL IMMEDIATE")

    def commit(self) -> None:
        if self._sent > 1:
            self._check_transaction()
        if self._own("COMMIT").statusmessage != "COMMIT":
            raise SqlError(ENDED)

    def end(self) -> None:
        self._more, self._stream = False, None
        if self._db.info.transaction_status == ACTIVE:
            # Reading the remaining rows only to drop them takes longer than a new connection.
            raise DatabaseUnavailable("The connection is still busy.")
        self._db.deadline = monotonic() + OWN_SECONDS
        reset = WRITER_RESET if self._writes else READER_RESET
        self._own(reset + SEED_RESET.format(random()) if self._may_seed else reset)  # noqa: S311

    def tables(self) -> list[Table]:
        described: dict[str, Table] = {}
        for name, kind, estimate, column, declared, nullable, key in self._own(TABLES).fetchall():
            table = described.setdefault(name, Table(name, kind, [], [], [], estimate))
            table.columns.append(TableColumn(column, declared, nullable, key))
        for listed, group in ((INDEXES, grouped_indexes), (KEYS, grouped_keys)):
            by_table: dict[str, list[Row]] = {}
            for name, *row in self._own(listed).fetchall():
                by_table.setdefault(name, []).append(tuple(row))
            for name, rows in by_table.items():
                if name in described:
                    table = described[name]
                    target: list[Any] = table.indexes if group is grouped_indexes else table.foreign_keys
                    target += group(rows)
        return list(described.values())

    def warnings(self) -> list[tuple[str, str]]:
        return [(code, detail) for code, detail in self._own(WARNINGS).fetchall()]

    def fresh(self) -> bool:
        return not self._db.closed and monotonic() - self._opened < MAX_AGE_SECONDS

    def close(self) -> None:
        """Cancel, then close: closing alone leaves a statement running on the server."""
        if not self._db.closed and self._db.info.transaction_status == ACTIVE:
            with suppress(*self._failures):
                self._db.cancel_safe(timeout=CANCEL_SECONDS)
        self._db.close()

    def _own(self, sql: str) -> "psycopg.Cursor[Row]":
        try:
            cursor: psycopg.Cursor[Row] = self._db.execute(sql)
            return cursor
        except self._failures as error:
            raise self._translated(error) from error

    def _described(self, result: Any) -> Columns:
        if result is None or not result.nfields:
            return Columns()
        # Written by hand: psycopg's own description takes as long as a short query.
        return _columns(
            tuple([(result.fname(index), result.ftype(index), result.fmod(index)) for index in range(result.nfields)])
        )

    def _translated(
        self, error: Exception, scanned: Scanned | None = None, sql: str = "", before: int = 0
    ) -> StrongroomError:
        """Translate PostgreSQL's error into the error that a caller sees.

        https://www.postgresql.org/docs/current/errcodes-appendix.html
        """
        import psycopg

        if isinstance(error, psycopg.errors._WaitTimeout):
            self.close()
            return QueryTimeout(OVER)
        state = getattr(error, "sqlstate", None) or ""
        if state == "57014":
            return QueryTimeout(OVER)
        if state == "25006":
            return write_refused(writes=self._writes)
        if state in RETRY:
            return Busy("Another transaction holds a lock that this one needs. Try again.", retry_after=1)
        if state[:2] in ("08", "28", "53", "57", "58", "XX") or (
            not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        ):
            return DatabaseUnavailable(
                f"PostgreSQL is unavailable ({state or 'no response'}).", retry_after=RETRY_AFTER_SECONDS
            )
        if not isinstance(error, psycopg.Error) or not state:
            return SqlError(str(error))
        if scanned is not None and state == "42601" and has_second(sql, "postgresql"):
            return MultipleStatements(ONE_STATEMENT)
        self._types.failed(state)
        diag = error.diag
        position = ""
        if scanned is not None and diag.statement_position:
            position = f", at character {original_position(scanned, int(diag.statement_position) - before)}"
        hint = f" {diag.message_hint}" if diag.message_hint else ""
        return SqlError(f"{diag.message_primary}.{hint} ({state}{position})")


def _roots() -> str:
    """Return the file of trusted certificates; psycopg's own OpenSSL looks in a path that may not exist here."""
    from ssl import get_default_verify_paths

    import certifi

    return get_default_verify_paths().cafile or certifi.where()


@cache
def _connection() -> Any:
    """Return psycopg's Connection class, extended: it waits for a silent server until `deadline` (monotonic clock)."""
    import psycopg

    class TimedConnection(psycopg.Connection[Row]):
        deadline = float("inf")

        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            left = max(0.001, self.deadline - monotonic())
            return super().wait(gen, interval, left if timeout is None else min(left, timeout))

    return TimedConnection


@cache
def _stream_cursor() -> Any:
    """Return a cursor class that reads rows one by one as the server sends them, so memory holds only a few."""
    from psycopg import pq
    from psycopg.errors import error_from_result
    from psycopg.generators import fetch
    from psycopg.raw_cursor import RawCursor

    row_follows = pq.ExecStatus.SINGLE_TUPLE

    class StreamCursor(RawCursor[Row]):
        done = False
        row_count = 0
        most = -1
        """The most rows that the statement returns, where that is known."""
        read_bytes = 0

        def start(self, text: str, values: list[Any]) -> None:
            """Run a statement, and wait for its first row or its end."""
            self._conn.wait(self._stream_send_gen(text, values, size=1))
            self._held = self._conn.wait(self._next())
            self._tx.set_pgresult(self._held or self.pgresult, set_loaders=True)

        def read(self, count: int) -> list[Row]:
            """Return the next rows: at most `count`, and at most about FETCH_BYTES; none at the end."""
            return [] if self.done else self._conn.wait(self._some(count))

        def _some(self, count: int) -> Any:
            rows: list[Row] = []
            size, load = 0, self._tx
            while len(rows) < count and size < FETCH_BYTES:
                result, self._held = self._held, None
                if result is None and (result := (yield from self._next())) is None:
                    break
                load.set_pgresult(result, set_loaders=False)
                row = load.load_row(0, tuple)
                row_bytes = 0
                for index, value in enumerate(row):
                    kind = type(value)
                    if kind is str or kind is bytes:
                        row_bytes += len(value)
                    elif kind is list or kind is tuple:
                        row_bytes += len(result.get_value(0, index) or b"")
                if row_bytes > MAX_ROW_BYTES:
                    raise RowTooLarge(ROW_TOO_LARGE)
                size += row_bytes
                rows.append(row)
                self.row_count += 1
                if self.row_count == self.most:  # Only the end can follow.
                    yield from self._next()
            self.read_bytes = size
            return rows

        def _next(self) -> Any:
            """Return the result that holds the next row; None at the end, and `pgresult` is then the end."""
            result = yield from fetch(self._pgconn)
            self.pgresult = result
            if result is not None and result.status == row_follows:
                return result
            self.done = True
            error = result is not None and result.status == pq.ExecStatus.FATAL_ERROR
            while (more := (yield from fetch(self._pgconn))) is not None:
                error = error or more.status == pq.ExecStatus.FATAL_ERROR
            if error:
                raise error_from_result(result, encoding=self._encoding)
            if result is not None:
                self._rowcount = result.command_tuples if result.command_tuples is not None else -1
            return None

    return StreamCursor


@lru_cache(maxsize=1024)
def _columns(described: tuple[tuple[bytes | None, int, int], ...]) -> Columns:
    from psycopg import adapters

    def column(name: bytes | None, oid: int, modifier: int) -> Column:
        known = adapters.types.get(oid)
        text = (name or b"").decode()
        if known is not None and known.array_oid == oid:
            convert = _CONVERTS.get(known.oid)
            return Column(text, "json", None if convert is None else partial(_array, convert))
        detail = _DETAILS.get(oid, "")
        if oid == 1700 and modifier >= 0:
            precision, scale = divmod(modifier - 4, 65536)
            detail = f"decimal({precision},{scale})" if scale <= precision else ""  # It may be negative, too.
        return Column(text, _KINDS.get(oid, "text"), _CONVERTS.get(oid), _COMPARED.get(oid), detail)

    return Columns([column(*each) for each in described])


def _array(convert: Callable[[Any], Any], value: Any) -> Any:
    """Decode an array. Its elements have the form of a column's values."""
    return [_array(convert, each) for each in value] if isinstance(value, list) else convert(value)


def _decimal(value: str | None) -> str | float | None:
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


def _timestamp(value: str | None) -> str | None:
    return value if value is None else value.replace(" ", "T", 1)


def _timestamp_tz(value: str | None) -> str | None:
    """Decode a timestamp in UTC, which the session requests: `+00` becomes `Z`."""
    return value if value is None else value.replace(" ", "T", 1).replace("+00", "Z", 1)


def _time_tz(value: str | None) -> str | None:
    return value.removesuffix("+00") + "Z" if value and value.endswith("+00") else value


def _json(value: str | None) -> Json | None:
    return None if value is None else Json.of(value)


_CONVERTS: dict[int, Callable[[Any], Any]] = {
    1700: _decimal, 1114: _timestamp, 1184: _timestamp_tz, 1266: _time_tz, 114: _json, 3802: _json,
}  # fmt: skip

WARNINGS = """
select 'reader-is-privileged', 'The role ' || current_user || ' has rights of an administrator: ' || string_agg(r, ', ')
from (
  select 'superuser' as r from pg_roles where rolname = current_user and rolsuper
  union all select 'createrole' from pg_roles where rolname = current_user and rolcreaterole
  union all select 'createdb' from pg_roles where rolname = current_user and rolcreatedb
  union all select 'replication' from pg_roles where rolname = current_user and rolreplication
  union all select 'bypassrls' from pg_roles where rolname = current_user and rolbypassrls
  union all select rolname from pg_roles
  where rolname in ('pg_monitor', 'pg_read_all_stats', 'pg_signal_backend', 'pg_read_server_files',
    'pg_write_server_files', 'pg_execute_server_program', 'pg_write_all_data', 'pg_checkpoint')
    and pg_has_role(current_user, oid, 'usage')
) rights having count(*) > 0
union all
select 'reader-may-write', 'The role ' || current_user || ' may write to ' || count(*) || ' tables. The app''s '
  || 'transactions are read-only, but revoke these rights.'
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_t'
  and has_table_privilege(c.oid, 'insert, update, delete, truncate') having count(*) > 0
union all
select 'reader-may-create', 'The role ' || current_user || ' may create tables, temporary ones included. Revoke CREATE '
  || 'and TEMPORARY.'
where has_database_privilege(current_database(), 'create, temporary')
  or exists (select from pg_namespace where nspname !~ '^pg_' and has_schema_privilege(oid, 'create'))
union all
select 'reader-may-fill-the-log', 'The role ' || current_user || ' may call pg_logical_emit_message, which writes to '
  || 'the log without bound, even in a read-only transaction. Revoke EXECUTE from PUBLIC.'
from pg_proc where proname = 'pg_logical_emit_message' and has_function_privilege(oid, 'execute') having count(*) > 0
union all
select 'no-temp-file-limit', 'Temporary files of the role ' || current_user || ' have no limit. Set temp_file_limit.'
where current_setting('temp_file_limit') = '-1'
"""
"""What the reader's role may do beyond reading, or without a bound: a code and a sentence for each."""
_NAME = "case when n.nspname = any (current_schemas(false)) then c.relname else n.nspname || '.' || c.relname end"
_USER_RELATIONS = """
c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg_toast%'
"""
TABLES = f"""
select {_NAME}, case when c.relkind in ('v', 'm') then 'view' else 'table' end,
       case when c.reltuples >= 0 and c.relkind in ('r', 'p', 'm') then c.reltuples::bigint end,
       a.attname, format_type(a.atttypid, a.atttypmod), not a.attnotnull,
       exists (select 1 from pg_index i where i.indrelid = c.oid and i.indisprimary and a.attnum = any (i.indkey))
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where {_USER_RELATIONS} and has_column_privilege(c.oid, a.attnum, 'select')
order by n.nspname, c.relname, a.attnum
"""  # noqa: S608 - built from constants.
INDEXES = f"""
select {_NAME}, x.relname, i.indisunique, a.attname
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_index i on i.indrelid = c.oid join pg_class x on x.oid = i.indexrelid
cross join unnest(i.indkey) with ordinality as k (number, place)
left join pg_attribute a on a.attrelid = c.oid and a.attnum = k.number
where {_USER_RELATIONS} order by 1, x.relname, k.place
"""  # noqa: S608
KEYS = f"""
select {_NAME}, o.oid, a.attname, o.confrelid::regclass::text, b.attname
from pg_constraint o join pg_class c on c.oid = o.conrelid join pg_namespace n on n.oid = c.relnamespace
cross join unnest(o.conkey, o.confkey) with ordinality as k (number, there, place)
join pg_attribute a on a.attrelid = c.oid and a.attnum = k.number
join pg_attribute b on b.attrelid = o.confrelid and b.attnum = k.there
where o.contype = 'f' and {_USER_RELATIONS} order by 1, o.conname, k.place
"""  # noqa: S608
