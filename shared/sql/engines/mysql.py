"""MySQL and MariaDB, by PyMySQL: every call is one transaction, a reader's is read-only, and rows are streamed."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import pairwise
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

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
from shared.sql.engines.mysql_types import (
    BINARY,
    BLOB,
    DECODERS,
    INCORRECT_VALUE,
    VECTOR,
    column_of,
    has_offset,
    is_named,
    literal,
    literal_length,
    rejected_by,
    stored_column_of,
    with_converted,
)
from shared.sql.errors import DatabaseUnavailable, MultipleStatements, QueryTimeout, ReadOnly, RowTooLarge, SqlError
from shared.sql.statements import LOCKING, Scanned, check_params, filled, has_second, identifiers, scan, slot_values
from shared.sql.values import FETCH_BYTES, RETURNED_BYTES, Columns, Params, Row, Scalar

if TYPE_CHECKING:
    from pymysql.connections import Connection
    from pymysql.cursors import SSCursor

FACTS = DIALECTS["mysql"]
COM_RESET_CONNECTION = 0x1F
IN_TRANSACTION = 0x0001
"""The server's status flag: a transaction is open."""
NOT_THERE = 1305
"""The error number of a savepoint that does not exist."""
TEXT_MODES = frozenset({"NO_BACKSLASH_ESCAPES", "ANSI_QUOTES", "ANSI", "ORACLE", "MSSQL", "DB2", "MAXDB", "POSTGRESQL"})
"""SQL modes under which the server splits a text into tokens in another way than the scanner."""
MAX_PACKET = 0xFFFFFF
"""The length of a packet that another one continues: the row is longer than 16 MiB."""
GRACE_SECONDS = 0.1
"""The wait after the time limit, before the app cancels a statement that the server did not stop itself."""
OUT = frozenset({1040, 1042, 1043, 1044, 1045, 1049, 1053, 1077, 1078, 1079, 1129, 1152, 1153, 1158, 1159, 1160, 1161,
                 1203, 1226, 1927, 2002, 2003, 2005, 2006, 2012, 2013, 2026, 2027, 2055})  # fmt: skip
"""Errors of a server that does not respond, refuses the sign-in, or has no connection or disk space left."""

FILES = "INTO OUTFILE and INTO DUMPFILE write files, which is not allowed."
MAX_ATTEMPTS = 12
"""How often one statement is sent at most, with other texts converted."""
READS = frozenset({"USAGE", "SELECT", "SHOW VIEW"})
"""The rights that a reader needs."""
REST_SECONDS = 0.05
"""How long the end of a result may be on its way. It comes with the last row."""
LOAD_BYTES = 512 * 1024
"""About how long one statement of an import is. Servers accept 4 MiB or more (max_allowed_packet)."""
_AT_ROW = re.compile(r"[`']([^`']+)[`'] at row (\d+)")
"""The column and the row in a server's message."""


class MysqlSession:
    """One connection to MySQL or MariaDB, as the reading or the writing user."""

    def __init__(self, url: str, token: Callable[[str], str], *, writes: bool) -> None:
        import pymysql

        self.first_rows = 100
        self._writes = writes
        self._failures = (pymysql.MySQLError, OSError, ValueError, UnicodeError)
        self._opened = monotonic()
        self._deadline = 0.0
        self._columns = Columns()
        self._cursor: SSCursor | None = None
        self._ahead: list[Row] = []
        self._is_marked = False
        self._spoiled = False
        self._is_late = False
        self._connect = _connector(url, token)
        try:
            # PyMySQL's Connection; some members that we need are private.
            self._db: Any = self._connect()
            ((version, mode, self._database),) = self._fetch_all("select version(), @@sql_mode, database()")
            self._is_mariadb = "mariadb" in version.lower()
            self._mode = ",".join(each for each in mode.split(",") if each not in TEXT_MODES)
            self._is_json: dict[tuple[str, str, str], bool] = {}
        except self._failures as error:
            # A locked account, an insecure connection or a missing plugin: the statement is not at fault.
            raise DatabaseUnavailable(
                "Could not connect to MySQL, or authentication failed.", retry_after=RETRY_AFTER_SECONDS
            ) from error

    # ---- One call.

    def start(self, seconds: float) -> None:
        self._deadline = monotonic() + seconds
        self._is_marked = self._spoiled = False
        self._db._read_timeout = seconds + GRACE_SECONDS
        try:
            self._set_limits()
            # Some statements commit implicitly. The transaction after such a commit must be read-only, too.
            if not self._writes:
                self._fetch_all("set session transaction read only")
            self._fetch_all("start transaction" if self._writes else "start transaction read only")
        except self._failures as error:
            raise self._translated(error) from error

    def _set_limits(self, *, rows: int | None = None) -> None:
        """Set what an earlier statement could have changed: the time limit, and how the server reads texts."""
        left = self._deadline - monotonic()
        if left <= 0:
            raise QueryTimeout(OVER)
        if self._is_mariadb:
            limit = f"max_statement_time = {max(left, 0.001):.3f}"
        else:
            limit = f"max_execution_time = {max(1, int(left * 1000))}"
        if rows is not None:
            limit += f", sql_select_limit = {rows}"
        self._fetch_all(
            f"set character_set_client = utf8mb4, character_set_connection = utf8mb4, "
            f"character_set_results = utf8mb4, time_zone = '+00:00', sql_mode = '{self._mode}', {limit}"
        )

    def query(self, sql: str, params: Params, *, rows: int, explain: bool) -> "MysqlSession":
        scanned = scan(sql, "mysql")
        check_params(scanned, params)
        if not scanned.words and not scanned.forbidden:
            raise SqlError(NO_STATEMENT)
        if scanned.forbidden:
            raise not_allowed(scanned.forbidden) if "OUTFILE" not in scanned.forbidden else ReadOnly(FILES)
        if scanned.first not in FACTS.reads:
            raise ReadOnly(f"{scanned.first} is not allowed here. {WRITES_ELSEWHERE}")
        if not LOCKING.isdisjoint(pairwise(scanned.words)):
            raise ReadOnly(f"A query locks no rows. {WRITES_ELSEWHERE}")
        try:
            self._fetch_all(f"set sql_select_limit = {rows}")
            values = slot_values(scanned, params)
            self._ahead = []
            try:
                self._start_query(scanned, values, explain=explain)
                rejected = [] if explain else self._rejected(values, rows)
            except self._failures as error:
                rejected = rejected_by(error, values)
                if not rejected:
                    raise
            if rejected:
                self._start_query(scanned, with_converted(values, rejected), explain=explain)
        except self._failures as error:
            raise self._translated(error, sql) from error
        return self

    def _start_query(self, scanned: Scanned, values: list[Scalar], *, explain: bool) -> None:
        self._ahead = []
        self._cursor = cursor = self._db.cursor()
        text = filled(scanned, values, literal)
        cursor.execute(f"explain {text}" if explain else text)
        self._columns = self._described()

    def _rejected(self, values: list[Scalar], rows: int) -> list[int]:
        """Return the indexes of RFC 3339 texts in the server's warnings, and keep the rows that came with the warning.

        The warnings come after the last row, so only a result within FETCH_BYTES can be repeated.
        """
        if self._cursor is None or not self._columns or not any(map(has_offset, values)):
            return []
        self._ahead = self._read(self._cursor, rows + 1)[0]
        return self._warned(values)

    def _warned(self, values: list[Scalar]) -> list[int]:
        """Return the indexes of RFC 3339 texts in the last statement's warnings, if its result has ended."""
        result = self._db._result
        if result is None or result.unbuffered_active or not result.warning_count or not any(map(has_offset, values)):
            return []
        messages = [
            str(message) for _, number, message in self._fetch_all("show warnings") if number in INCORRECT_VALUE
        ]
        return [index for index, value in enumerate(values) if has_offset(value) and is_named(value, messages)]

    @property
    def columns(self) -> Columns:
        return self._columns

    def fetch(self, count: int) -> list[Row]:
        assert self._cursor is not None  # noqa: S101 - a query ran before.
        rows, self._ahead = self._ahead[:count], self._ahead[count:]
        if self._columns and not rows:
            rows = self._read(self._cursor, count)[0]
        if monotonic() > self._deadline:  # SLEEP and BENCHMARK end early when interrupted, and return a normal result.
            raise QueryTimeout(OVER)
        return rows

    def _read(self, cursor: "SSCursor", count: int, max_bytes: int = FETCH_BYTES) -> tuple[list[Row], int]:
        """The next rows, at most `count` and about `max_bytes` of them, and their bytes."""
        rows: list[Row] = []
        size = 0
        deadline = self._deadline
        self._db._read_timeout = max(deadline - monotonic(), 0.0) + GRACE_SECONDS
        try:
            while len(rows) < count and size < max_bytes and (row := cursor.fetchone()) is not None:
                rows.append(row)
                for value in row:
                    if type(value) is str or type(value) is bytes:
                        size += len(value)
                if monotonic() > deadline:  # Rows that arrive slowly never reach the timeout of a single read.
                    raise QueryTimeout(OVER)
        except self._failures as error:
            raise self._translated(error) from error
        return rows, size

    def execute(self, statement: Statement, *, alone: bool, max_rows: int) -> Outcome:
        scanned = scan(statement.sql, "mysql")
        check_params(scanned, statement.params)
        if not scanned.words and not scanned.forbidden:
            raise SqlError(NO_STATEMENT)
        self._check_allowed(scanned, alone=alone)
        if self._is_marked:
            self._check_transaction()
        left = self._deadline - monotonic()
        if left <= 0:
            raise QueryTimeout(OVER)
        self._db._read_timeout = left + GRACE_SECONDS  # The server applies its own limit to each statement separately.
        try:
            if not (alone or self._is_marked):
                # The server drops a savepoint with its transaction: whether it exists shows which transaction is open.
                self._fetch_all("savepoint strongroom")
                self._is_marked = True
            was_open = self._db.server_status & IN_TRANSACTION
            cursor = self._write(scanned, slot_values(scanned, statement.params))
            columns = self._described()
            rows = self._read(cursor, max_rows, RETURNED_BYTES)[0] if columns else []
            while columns and self._read(cursor, 1024)[0]:
                pass  # The statement writes until its last row is read.
            affected, last_row_id = max(cursor.rowcount, 0), cursor.lastrowid or None
            cursor.close()
        except self._failures as error:
            raise self._translated(error, statement.sql) from error
        if was_open and scanned.first in FACTS.undoable and not self._db.server_status & IN_TRANSACTION:
            raise SqlError(ENDED)
        if columns:
            return Outcome(len(rows) if scanned.first in ("INSERT", "DELETE", "REPLACE") else 0, None, columns, rows)
        return Outcome(affected, last_row_id, Columns(), [])

    def _write(self, scanned: Scanned, values: list[Scalar]) -> "SSCursor":
        """Run a statement. If the server refuses RFC 3339 texts in timestamp columns, convert them and run it again."""
        if any(map(has_offset, values)):
            self._fetch_all("savepoint strongroom_values")
        attempts: list[list[Scalar]] = [values]
        for number in range(MAX_ATTEMPTS):
            cursor: SSCursor = self._db.cursor()
            try:
                cursor.execute(filled(scanned, attempts[number], literal))
                rejected = [] if self._db._result.description else self._warned(attempts[number])
                if not rejected:
                    break
                # The statement compared with a wrong time: undo its changes.
                self._fetch_all("rollback to savepoint strongroom_values")
                attempts[number + 1 : number + 1] = [with_converted(attempts[number], rejected)]
            except self._failures as error:
                rejected = rejected_by(error, attempts[number])
                # The same text may also be in a text column, which keeps every character: try each text alone first.
                if rejected:
                    alone = [[index] for index in rejected] if 1 < len(rejected) <= 3 else []
                    more = [with_converted(attempts[number], each) for each in (*alone, rejected)]
                    attempts[number + 1 : number + 1] = [each for each in more if each not in attempts]
                if number + 1 >= min(len(attempts), MAX_ATTEMPTS) or error.args[0] not in INCORRECT_VALUE:
                    raise
        return cursor

    def load(self, load: Load, rows: Sequence[Row]) -> None:
        try:
            if not self._is_marked:
                self._fetch_all("savepoint strongroom")
                self._is_marked = True
            # Otherwise a server may store another value than the one it got.
            self._fetch_all(f"set sql_mode = '{self._mode},STRICT_ALL_TABLES'")
            if load.key:
                for index, row in enumerate(rows):
                    self._load_one(load, row, index)
                return
            start = 0
            for count in _fitting([sum(map(literal_length, row)) for row in rows]):
                self._insert(load, rows[start : start + count], start)
                start += count
        except self._failures as error:
            raise self._translated(error) from error

    def _insert(self, load: Load, rows: Sequence[Row], start: int) -> None:
        """Insert rows by one statement; `start` is the index of the first. Raises RowRefused."""
        self._fetch_all("savepoint strongroom_rows")
        try:
            self._send(load.insert(", ".join(f"({', '.join(map(literal, row))})" for row in rows)))
        except self._failures as error:
            translated = self._translated(error)
            if not isinstance(translated, SqlError):
                raise translated from error
            if match := _AT_ROW.search(translated.detail):
                raise RowRefused(start + int(match[2]) - 1, match[1], translated) from error
            # The message does not say which row: of a duplicate key, for example.
            self._fetch_all("rollback to savepoint strongroom_rows")
            for index, row in enumerate(rows, start):
                self._load_one(load, row, index)
            raise RowRefused(None, None, translated) from error

    def _load_one(self, load: Load, row: Row, index: int) -> None:
        """Insert a row, or, with a key, update the row that has it. Raises RowRefused."""
        literals = dict(zip(load.columns, map(literal, row), strict=True))
        try:
            # ON DUPLICATE KEY UPDATE would also take the row that another unique index finds.
            if load.key:
                changes = ", ".join(f"{each} = {literals[each]}" for each in load.changed or load.key)
                same = " and ".join(f"{each} = {literals[each]}" for each in load.key)
                if self._send(f"update {load.table} set {changes} where {same}"):  # noqa: S608 - quoted names, literals.
                    return
            self._send(load._replace(key=[]).insert(f"({', '.join(literals.values())})"))
        except self._failures as error:
            translated = self._translated(error)
            if not isinstance(translated, SqlError):
                raise translated from error
            match = _AT_ROW.search(translated.detail)
            raise RowRefused(index, match[1] if match else None, translated) from error

    def _send(self, sql: str) -> int:
        """Run a statement without rows, and return how many rows it matched."""
        left = self._deadline - monotonic()
        if left <= 0:
            raise QueryTimeout(OVER)
        self._db._read_timeout = left + GRACE_SECONDS
        with closing(self._db.cursor()) as cursor:
            cursor.execute(sql)
            return max(int(cursor.rowcount), 0)

    def _check_allowed(self, scanned: Scanned, *, alone: bool) -> None:
        second = (*scanned.words, "")[1]
        if scanned.forbidden:
            raise not_allowed(scanned.forbidden)
        if scanned.first not in FACTS.writes:
            raise not_allowed(scanned.first)
        if scanned.first in ("ALTER", "CREATE", "DROP", "RENAME") and second in ("USER", "ROLE", "SERVER"):
            raise not_allowed(f"{scanned.first} {second}")
        if not alone and scanned.first not in FACTS.undoable:
            raise SqlError(
                f"{scanned.first} cannot be undone by MySQL. Send it in a call of its own, and not as a dry run."
            )
        if second in ("DATABASE", "SCHEMA"):
            self._spoiled = True  # It may be the connection's own error.

    def _check_transaction(self) -> None:
        """Check with the server that this is still the transaction that was begun, and set its limits again.

        Raises SqlError if an earlier statement ended it without the scanner noticing.
        """
        try:
            self._fetch_all("release savepoint strongroom")
            self._fetch_all("savepoint strongroom")
            self._set_limits()
        except self._failures as error:
            if error.args and error.args[0] == NOT_THERE:
                raise SqlError(ENDED) from error
            raise self._translated(error) from error

    def check_undoable(self, statements: Sequence[Statement]) -> None:
        try:
            tables = {name.upper().casefold() for (name,) in self._fetch_all(NOT_TRANSACTIONAL)}
            if not tables:
                return
            code = [(name.upper().casefold(), text or "") for name, text in self._fetch_all(STORED_CODE)]
        except self._failures as error:
            raise self._translated(error) from error
        reached: set[str] = set()
        for statement in statements:
            reached |= identifiers(statement.sql, "mysql")
        while more := {name for name, _ in code} & reached:
            texts = [text for name, text in code if name in more]
            code = [each for each in code if each[0] not in more]
            for text in texts:
                reached |= identifiers(text, "mysql")
        if unsafe := tables & reached:
            raise SqlError(
                f"The table {min(unsafe)} has no transactions: MySQL could not undo a write to it. Send the statement "
                "alone and not as a dry run, or move the table to InnoDB."
            )

    def check_commit(self) -> None:
        """Do nothing: MySQL defers no constraint."""

    def commit(self) -> None:
        if self._is_marked:
            self._check_transaction()
        try:
            self._fetch_all("commit")
        except self._failures as error:
            raise self._translated(error) from error

    def end(self) -> None:
        try:
            if self._spoiled or not self._db.open or self._has_more():
                # Reading the remaining rows only to drop them takes longer than a new connection.
                raise DatabaseUnavailable("The connection is still busy.")
            self._cursor = None
            # This rolls back, unlocks, drops temporary tables, and resets session variables.
            self._db._execute_command(COM_RESET_CONNECTION, b"")
            self._db._read_ok_packet()
        except self._failures as error:
            raise self._translated(error) from error

    def _has_more(self) -> bool:
        """Whether rows are still coming. After the last row of a full page comes an end marker, not yet read."""
        result = self._db._result
        if result is None or not result.unbuffered_active:
            return False
        usual, self._db._read_timeout = self._db._read_timeout, REST_SECONDS
        has_more = self._cursor is None or self._cursor.fetchone() is not None
        self._db._read_timeout = usual
        return has_more

    def tables(self) -> list[Table]:
        try:
            if not self._is_mariadb:  # Otherwise MySQL reports row counts that are up to a day old.
                self._fetch_all("set information_schema_stats_expiry = 0")
            columns, indexes, keys = (self._fetch_all(listed) for listed in (TABLES, INDEXES, KEYS))
        except self._failures as error:
            raise self._translated(error) from error
        described: dict[str, Table] = {}
        for name, kind, estimate, column, declared, nullable, key in columns:
            table = described.setdefault(name, Table(name, "view" if kind == "VIEW" else "table", [], [], [], estimate))
            table.columns.append(TableColumn(column, declared, nullable == "YES", key == "PRI"))
        for name, table in described.items():
            table.indexes.extend(grouped_indexes(each[1:] for each in indexes if each[0] == name))
            table.foreign_keys.extend(grouped_keys(each[1:] for each in keys if each[0] == name))
        return list(described.values())

    def warnings(self) -> list[tuple[str, str]]:
        try:
            grants = [grant for (grant,) in self._fetch_all("show grants")]
        except self._failures as error:
            raise self._translated(error) from error
        rights = {
            each.strip() for grant in grants for each in grant.removeprefix("GRANT ").partition(" ON ")[0].split(",")
        }
        if more := sorted(each for each in rights if each not in READS and each.isupper()):
            return [
                ("reader-may-write", f"The reader's user has rights beyond reading: {', '.join(more)}. Revoke them.")
            ]
        return []

    def fresh(self) -> bool:
        return bool(self._db.open) and monotonic() - self._opened < MAX_AGE_SECONDS

    def close(self) -> None:
        result = self._db._result
        if self._is_late or (result is not None and result.unbuffered_active):
            self._kill()
        # Close at once: the remaining rows are not read, neither now nor when the result is collected.
        if result is not None:
            result.unbuffered_active = False
        self._db._force_close()

    def _fetch_all(self, sql: str) -> list[Row]:
        return _all_rows(self._db, sql)

    def _described(self) -> Columns:
        result = self._db._result
        if not result.description:
            return Columns()
        if self._is_mariadb:
            self._learn_json(result.fields)
        return Columns([column_of(each, self._is_json) for each in result.fields])

    def _learn_json(self, fields: Sequence[Any]) -> None:
        """Find out which long text columns, new to this connection, are JSON: MariaDB's JSON is text with a check."""
        texts = {stored_column_of(each) for each in fields if each.type_code == BLOB and each.charsetnr != BINARY}
        new = {each for each in texts if each[0] == self._database} - self._is_json.keys()
        if new:
            with closing(self._connect()) as other:  # Use a second connection: rows are still coming on this one.
                json = set(_all_rows(other, JSON_COLUMNS))
            self._is_json |= {each: each in json for each in new}

    def _translated(self, error: Exception, sql: str = "") -> StrongroomError:
        """Translate the server's error into the error that a caller sees.

        https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
        """
        import pymysql

        number, message = (*error.args, "", "")[:2] if isinstance(error, pymysql.MySQLError) else (0, str(error))
        if number in (1317, 1969, 3024):
            return QueryTimeout(OVER)
        late = self._deadline and monotonic() >= self._deadline
        if late and (number in (2006, 2013) or isinstance(error, OSError)):
            self._is_late = True
            self.close()
            return QueryTimeout(OVER)
        if number in (1290, 1792):
            return write_refused(writes=self._writes)
        if number in (1205, 1213, 3572):
            return Busy("Another transaction holds a lock that this one needs. Try again.", retry_after=1)
        if number in OUT or isinstance(error, OSError | pymysql.InterfaceError) or (number == 0 and not message):
            return DatabaseUnavailable(f"MySQL is unavailable ({number}).", retry_after=RETRY_AFTER_SECONDS)
        if number == 1064 and has_second(sql, "mysql"):
            return MultipleStatements(ONE_STATEMENT)
        return SqlError(f"{message} ({number})")

    def _kill(self) -> None:
        """Stop this connection's statement through another connection: closing alone leaves it running."""
        thread: int = self._db.thread_id()
        with suppress(*self._failures, DatabaseUnavailable), closing(self._connect()) as other:
            _all_rows(other, f"kill {int(thread)}")


def _fitting(lengths: Sequence[int]) -> Iterator[int]:
    """Split rows of these lengths into statements of about LOAD_BYTES: how many rows each one has."""
    count = size = 0
    for length in lengths:
        if count and size + length > LOAD_BYTES:
            yield count
            count = size = 0
        count += 1
        size += length
    if count:
        yield count


class _NoClearPassword:
    """Refuses to send a clear-text password: without TLS, anyone on the network could read it."""

    def __init__(self, _connection: object) -> None:
        pass

    def authenticate(self, _packet: object) -> None:
        """Raises OperationalError."""
        from pymysql import OperationalError

        raise OperationalError("The server requires the password in plain text: set ssl=true in the URL.")


def _connector(url: str, token: Callable[[str], str]) -> "Callable[[], Connection[Any]]":
    """Return a function that opens a connection. It raises PyMySQL's errors; DatabaseUnavailable without a token."""
    from pymysql.connections import TEXT_TYPES, Connection
    from pymysql.constants import CLIENT
    from pymysql.cursors import SSCursor

    TEXT_TYPES.add(VECTOR)  # Otherwise PyMySQL decodes a vector's bytes as ASCII.
    parts = urlsplit(url)
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    arguments: dict[str, Any] = {
        "host": parts.hostname or "127.0.0.1",
        "port": parts.port or 3306,
        "user": unquote(parts.username or ""),
        # Pass bytes: PyMySQL encodes text as Latin-1, but MySQL hashes UTF-8.
        "password": unquote(parts.password or "").encode(),
        "database": unquote(parts.path.lstrip("/")) or None,
        "charset": "utf8mb4",
        "connect_timeout": 5,
        "read_timeout": 5,
        "write_timeout": 30,
        "conv": DECODERS,
        "cursorclass": SSCursor,
        # Count the rows that match, as other databases do.
        "client_flag": CLIENT.FOUND_ROWS,
        "autocommit": True,
    }
    azure = in_azure(parts.hostname)
    if azure or "ssl_ca" in options or options.get("ssl", "").lower() in ("true", "1", "required"):
        import ssl

        # The certificate proves the server's identity. Azure requires the token in clear text (mysql_clear_password).
        arguments["ssl"] = ssl.create_default_context(cafile=options.get("ssl_ca"))
    else:
        arguments["auth_plugin_map"] = {"mysql_clear_password": _NoClearPassword, "dialog": _NoClearPassword}

    connection: Any = Connection  # Some members that we need are private.

    class BoundedConnection(connection):  # type: ignore[misc]
        def _read_bytes(self, num_bytes: int) -> bytes:
            if num_bytes == MAX_PACKET:
                self._force_close()
                raise RowTooLarge(ROW_TOO_LARGE)
            data: bytes = super()._read_bytes(num_bytes)
            return data

    def connect() -> "Connection[Any]":
        if azure and not arguments["password"]:
            return BoundedConnection(**(arguments | {"password": sign_in(token)}))
        return BoundedConnection(**arguments)

    return connect


def _all_rows(db: Any, sql: str) -> list[Row]:
    """Run an internal statement on PyMySQL's Connection, and return all of its rows."""
    with db.cursor() as cursor:
        cursor.execute(sql)
        rows: list[Row] = list(cursor.fetchall()) if cursor.description else []
        return rows


_SYSTEM = "('mysql', 'information_schema', 'performance_schema', 'sys')"
NOT_TRANSACTIONAL = f"""
select t.table_name from information_schema.tables t left join information_schema.engines e on e.engine = t.engine
where t.table_type = 'BASE TABLE' and coalesce(e.transactions, 'NO') <> 'YES' and t.table_schema not in {_SYSTEM}
"""  # noqa: S608 - built from constants.
STORED_CODE = f"""
select event_object_table, action_statement from information_schema.triggers where trigger_schema not in {_SYSTEM}
union all select routine_name, routine_definition from information_schema.routines
where routine_schema not in {_SYSTEM}
union all select table_name, view_definition from information_schema.views where table_schema not in {_SYSTEM}
"""  # noqa: S608
"""What runs where a statement names it, and its text: triggers by their table, routines, and views."""
JSON_COLUMNS = """
select constraint_schema, table_name, constraint_name from information_schema.check_constraints
where constraint_schema = database() and level = 'Column' and check_clause like 'json_valid(%'
"""
TABLES = """
select t.table_name, t.table_type, t.table_rows, c.column_name, c.column_type, c.is_nullable, c.column_key
from information_schema.tables t join information_schema.columns c using (table_schema, table_name)
where t.table_schema = database() order by t.table_name, c.ordinal_position
"""
INDEXES = """
select table_name, index_name, non_unique = 0, column_name from information_schema.statistics
where table_schema = database() order by table_name, index_name, seq_in_index
"""
KEYS = """
select table_name, constraint_name, column_name, referenced_table_name, referenced_column_name
from information_schema.key_column_usage where table_schema = database() and referenced_table_name is not null
order by table_name, constraint_name, ordinal_position
"""
