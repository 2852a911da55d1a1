"""PostgreSQL, by psycopg: every call is one transaction, a reader's is read-only, and rows come through a cursor."""

from collections.abc import Callable
from functools import cache, lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any

from shared.errors import Busy, StrongroomError
from shared.sql.engines import (
    MAX_AGE_SECONDS,
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
    in_azure,
    sign_in,
    write_refused,
)
from shared.sql.errors import DatabaseUnavailable, MultipleStatements, QueryTimeout, ReadOnly, SqlError
from shared.sql.statements import (
    READING,
    TRANSACTIONS,
    Scanned,
    check_params,
    has_second,
    numbered,
    original_place,
    scan,
)
from shared.sql.values import Column, Columns, Json, Kind, Params, Row

if TYPE_CHECKING:
    import psycopg

GRACE_SECONDS = 1.0
"""After the time limit, for the server to say itself that it is over."""
OWN_SECONDS = 5.0
"""What a server may take to begin or end a transaction."""
DECLARE = "DECLARE strongroom NO SCROLL CURSOR FOR "
READER_RESET = "ROLLBACK; SELECT pg_advisory_unlock_all()"
"""All that a read-only transaction can leave behind."""
WRITER_RESET = (
    "ROLLBACK; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; DEALLOCATE ALL; UNLISTEN *; "
    "SELECT pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES"
)
"""What DISCARD ALL does, in one message with the end of the transaction, where DISCARD ALL itself may not stand."""
SESSION = "-c datestyle=ISO -c timezone=UTC -c intervalstyle=iso_8601 -c idle_in_transaction_session_timeout=90s"
"""What values look like, and how long a session of ours may hold a transaction without a word."""

NO_VALUES = [0]
"""A value that nothing uses: psycopg then speaks the extended protocol, which takes one statement at a time."""
EXPLAIN = "EXPLAIN "

NOT_A_CURSOR = frozenset({"0A000", "42601", "42P11"})
"""SQLSTATEs of what is a statement, but no cursor's: it is run as it is, so that the engine judges it."""
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


class PostgresSession:
    """One connection to PostgreSQL, by a role that reads or one that writes."""

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
        self._rest: list[Row] = []
        self._columns = Columns()
        try:
            given: dict[str, Any] = conninfo_to_dict(url)
            given.setdefault("connect_timeout", 5)
            given.setdefault("application_name", "strongroom")
            given |= {"keepalives_idle": 30, "keepalives_interval": 5, "keepalives_count": 3, "client_encoding": "utf8"}
            given["options"] = f"{given.get('options', '')} {SESSION}"
            if not writes:
                given["options"] += " -c default_transaction_read_only=on"
            if in_azure(given.get("host")):
                # Whatever the URL says: a token shown to another server would let that one in as us.
                given |= {"sslmode": "verify-full", "gssencmode": "disable"}
                given.setdefault("sslrootcert", _roots())
                given["password"] = given.get("password") or sign_in(token)
            self._db = _connection().connect(**given, autocommit=True, prepare_threshold=None, cursor_factory=RawCursor)
        except self._failures as error:
            raise DatabaseUnavailable("PostgreSQL lets nobody in.", retry_after=RETRY_AFTER_SECONDS) from error
        for name in TEXTS:
            self._db.adapters.register_loader(name, TextLoader)

    # ---- One call.

    def start(self, seconds: float) -> None:
        # The SELECT takes a snapshot: from then on a read-only transaction stays one (SET TRANSACTION is refused).
        self._db.deadline = monotonic() + OWN_SECONDS
        mode = "" if self._writes else " READ ONLY"
        self._own(f"BEGIN{mode}; SELECT set_config('statement_timeout', '{max(1, int(seconds * 1000))}', true)")
        self._deadline = monotonic() + seconds
        self._db.deadline = self._deadline + GRACE_SECONDS

    def query(self, sql: str, params: Params, *, rows: int, explain: bool) -> "PostgresSession":
        scanned = scan(sql, "postgresql")
        check_params(scanned, params)
        if not scanned.words:
            raise SqlError(NO_STATEMENT)
        if scanned.first not in READING:
            raise ReadOnly(f"{scanned.first} is not allowed here. {WRITES_ELSEWHERE}")
        text, values = numbered(scanned, params)
        count = min(rows, self.first_rows)
        self._more = False
        cursor = None if explain else self._declare(text, values, scanned, sql)
        if cursor is None:
            cursor = self._run(f"{EXPLAIN if explain else ''}{text}", values, scanned, sql, len(EXPLAIN) * explain)
            self._columns = self._described(cursor)
            self._rest = cursor.fetchall() if cursor.description else []
        else:
            self._more = True
            self._rest = self._fetch(count)
        return self

    def _declare(self, text: str, values: list[Any], scanned: Scanned, sql: str) -> "psycopg.Cursor[Row] | None":
        """A cursor for the statement; None where it can have none, with the transaction begun anew."""
        try:
            cursor: psycopg.Cursor[Row] = self._db.execute(DECLARE + text, values or NO_VALUES)
            return cursor
        except self._failures as error:
            if getattr(error, "sqlstate", None) not in NOT_A_CURSOR:
                raise self._ours(error, scanned, sql, len(DECLARE)) from error
        self._own("ROLLBACK")
        self.start(max(self._deadline - monotonic(), 0.001))
        return None

    @property
    def columns(self) -> Columns:
        return self._columns

    def fetch(self, count: int) -> list[Row]:
        rows, self._rest = self._rest[:count], self._rest[count:]
        if len(rows) < count and self._more:
            rows += self._fetch(count - len(rows))
        return rows

    def _fetch(self, count: int) -> list[Row]:
        try:
            cursor = self._db.execute(f"FETCH FORWARD {count} FROM strongroom")
            rows: list[Row] = cursor.fetchall()
        except self._failures as error:
            raise self._ours(error) from error
        if monotonic() > self._deadline:  # The server's own limit is that of each FETCH, not of all of them.
            raise QueryTimeout(OVER)
        self._columns = self._described(cursor)
        self._more = len(rows) == count
        return rows

    def execute(self, statement: Statement, *, alone: bool, max_rows: int) -> Outcome:  # noqa: ARG002
        scanned = scan(statement.sql, "postgresql")
        check_params(scanned, statement.params)
        if scanned.first in TRANSACTIONS:
            raise SqlError(f"{scanned.first} is not allowed here: the transaction is this call's own.")
        text, values = numbered(scanned, statement.params)
        cursor = self._run(text, values, scanned, statement.sql, 0)
        columns = self._described(cursor)
        rows = cursor.fetchmany(max_rows) if cursor.description else []
        changes = (cursor.statusmessage or "").split(" ")[0] in ("INSERT", "UPDATE", "DELETE", "MERGE")
        return Outcome(max(cursor.rowcount, 0) if changes else 0, None, columns, rows)

    def commit(self) -> None:
        self._own("COMMIT")

    def end(self) -> None:
        self._rest, self._more = [], False
        self._db.deadline = monotonic() + OWN_SECONDS
        self._own(WRITER_RESET if self._writes else READER_RESET)

    def tables(self) -> list[Table]:
        found: dict[str, Table] = {}
        for name, kind, estimate, column, declared, nullable, key in self._own(TABLES).fetchall():
            table = found.setdefault(name, Table(name, kind, [], [], [], estimate))
            table.columns.append(TableColumn(column, declared, nullable, key))
        for listed, group in ((INDEXES, grouped_indexes), (KEYS, grouped_keys)):
            by_table: dict[str, list[Row]] = {}
            for name, *row in self._own(listed).fetchall():
                by_table.setdefault(name, []).append(tuple(row))
            for name, rows in by_table.items():
                if name in found:
                    target: list[Any] = found[name].indexes if group is grouped_indexes else found[name].foreign_keys
                    target += group(rows)
        return list(found.values())

    def fresh(self) -> bool:
        return not self._db.closed and monotonic() - self._opened < MAX_AGE_SECONDS

    def close(self) -> None:
        self._db.close()

    def _run(self, text: str, values: list[Any], scanned: Scanned, sql: str, before: int) -> "psycopg.Cursor[Row]":
        try:
            cursor: psycopg.Cursor[Row] = self._db.execute(text, values or NO_VALUES)
            return cursor
        except self._failures as error:
            raise self._ours(error, scanned, sql, before) from error

    def _own(self, sql: str) -> "psycopg.Cursor[Row]":
        try:
            cursor: psycopg.Cursor[Row] = self._db.execute(sql)
            return cursor
        except self._failures as error:
            raise self._ours(error) from error

    def _described(self, cursor: "psycopg.Cursor[Row]") -> Columns:
        result = cursor.pgresult
        if result is None or not result.nfields:
            return Columns()
        # By hand: psycopg's own description takes as long as a short query.
        return _columns(tuple([(result.fname(place), result.ftype(place)) for place in range(result.nfields)]))

    def _ours(
        self, error: Exception, scanned: Scanned | None = None, sql: str = "", before: int = 0
    ) -> StrongroomError:
        """The error that a caller sees for what PostgreSQL said.

        https://www.postgresql.org/docs/current/errcodes-appendix.html
        """
        import psycopg

        if isinstance(error, psycopg.errors._WaitTimeout):
            self._db.close()  # What it is at, nobody knows.
            return QueryTimeout(OVER)
        state = getattr(error, "sqlstate", None) or ""
        if state == "57014":
            return QueryTimeout(OVER)
        if state == "25006":
            return write_refused(writes=self._writes)
        if state in RETRY:
            return Busy("Another transaction is in the way.", retry_after=1)
        if state[:2] in ("08", "28", "53", "57", "58", "XX") or (
            not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        ):
            return DatabaseUnavailable(f"PostgreSQL is out ({state or 'no answer'}).", retry_after=RETRY_AFTER_SECONDS)
        if not isinstance(error, psycopg.Error) or not state:
            return SqlError(str(error))
        if scanned is not None and state == "42601" and has_second(sql, "postgresql"):
            return MultipleStatements(ONE_STATEMENT)
        diag = error.diag
        place = ""
        if scanned is not None and diag.statement_position:
            place = f", at character {original_place(scanned, int(diag.statement_position) - before)}"
        hint = f" {diag.message_hint}" if diag.message_hint else ""
        return SqlError(f"{diag.message_primary}.{hint} ({state}{place})")


def _roots() -> str:
    """The file of the certificates that are trusted here; psycopg's own OpenSSL looks for them where there are none."""
    from ssl import get_default_verify_paths

    import certifi

    return get_default_verify_paths().cafile or certifi.where()


@cache
def _connection() -> Any:
    """psycopg's Connection, that waits for a server that says nothing until `deadline` (of the monotonic clock)."""
    import psycopg

    class TimedConnection(psycopg.Connection[Row]):
        deadline = float("inf")

        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            left = max(0.001, self.deadline - monotonic())
            return super().wait(gen, interval, left if timeout is None else min(left, timeout))

    return TimedConnection


@lru_cache(maxsize=1024)
def _columns(described: tuple[tuple[bytes | None, int], ...]) -> Columns:
    from psycopg import adapters

    def column(name: bytes | None, oid: int) -> Column:
        known = adapters.types.get(oid)
        is_array = known is not None and known.array_oid == oid
        return Column((name or b"").decode(), "json" if is_array else _KINDS.get(oid, "text"), _CONVERTS.get(oid))

    return Columns([column(name, oid) for name, oid in described])


def _decimal(value: str | None) -> str | float | None:
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value


def _timestamp(value: str | None) -> str | None:
    return value if value is None else value.replace(" ", "T", 1)


def _timestamp_tz(value: str | None) -> str | None:
    """UTC, as the session asks for: `+00` is `Z`."""
    return value if value is None else value.replace(" ", "T", 1).replace("+00", "Z", 1)


def _time_tz(value: str | None) -> str | None:
    return value.removesuffix("+00") + "Z" if value and value.endswith("+00") else value


def _json(value: str | None) -> Json | None:
    return None if value is None else Json.of(value)


_CONVERTS: dict[int, Callable[[Any], Any]] = {
    1700: _decimal, 1114: _timestamp, 1184: _timestamp_tz, 1266: _time_tz, 114: _json, 3802: _json,
}  # fmt: skip

_NAME = "case when n.nspname = any (current_schemas(false)) then c.relname else n.nspname || '.' || c.relname end"
_OURS = """
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
where {_OURS} and has_column_privilege(c.oid, a.attnum, 'select')
order by n.nspname, c.relname, a.attnum
"""  # noqa: S608 - put together of constants.
INDEXES = f"""
select {_NAME}, x.relname, i.indisunique, a.attname
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_index i on i.indrelid = c.oid join pg_class x on x.oid = i.indexrelid
cross join unnest(i.indkey) with ordinality as k (number, place)
left join pg_attribute a on a.attrelid = c.oid and a.attnum = k.number
where {_OURS} order by 1, x.relname, k.place
"""  # noqa: S608
KEYS = f"""
select {_NAME}, o.oid, a.attname, o.confrelid::regclass::text, b.attname
from pg_constraint o join pg_class c on c.oid = o.conrelid join pg_namespace n on n.oid = c.relnamespace
cross join unnest(o.conkey, o.confkey) with ordinality as k (number, there, place)
join pg_attribute a on a.attrelid = c.oid and a.attnum = k.number
join pg_attribute b on b.attrelid = o.confrelid and b.attnum = k.there
where o.contype = 'f' and {_OURS} order by 1, o.conname, k.place
"""  # noqa: S608
