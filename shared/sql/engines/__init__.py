"""The interface of every database engine. Each module in this package is the only one that touches its driver."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from shared.errors import StrongroomError, Unavailable
from shared.sql.errors import DatabaseUnavailable, ReadOnly, SqlError
from shared.sql.values import Columns, Cursor, Params, Row

NO_STATEMENT = "The text contains no statement. Send one SQL statement."
ONE_STATEMENT = "Send one statement in each call; execute-sql runs several in `statements`."
WRITES_ELSEWHERE = "Use execute-sql to write."
OVER = "The time limit is over. Raise timeout_ms, or select less."
ENDED = (
    "A statement ended the call's transaction, or changed how texts are read. What ran before it may have been kept: "
    "check the data before you send the call again."
)
ROW_TOO_LARGE = "One row has more than 16 MiB. Select fewer columns, or parts of them."
RETRY_AFTER_SECONDS = 5
TOKEN_SCOPE = "https://ossrdbms-aad.database.windows.net/.default"  # noqa: S105 - the name of a scope.
"""The scope of the token with which the app's identity signs in to Azure Database for PostgreSQL or MySQL."""
MAX_AGE_SECONDS = 1800.0
"""An open connection to a server is replaced then: its token and its server may have changed."""


def in_azure(host: str | None) -> bool:
    """Whether `host` is an Azure Database, which takes a token as the password and requires TLS."""
    return (host or "").lower().endswith(".database.azure.com")


def sign_in(token: Callable[[str], str]) -> str:
    """Return the token that signs the app in to an Azure Database. Raises DatabaseUnavailable if there is none."""
    try:
        return token(TOKEN_SCOPE)
    except Unavailable as error:
        raise DatabaseUnavailable("The app's identity got no token.", retry_after=RETRY_AFTER_SECONDS) from error


def not_allowed(command: str) -> SqlError:
    """The error for a statement that callers may not run: it outlasts the call, or shows other callers' activity."""
    return SqlError(f"{command} is not allowed: each call runs in the app's own transaction and session.")


def write_refused(*, writes: bool) -> ReadOnly:
    """The error for a refused write: the caller is a reader, or the database takes no writes at the moment."""
    if writes:
        return ReadOnly("The database takes no writes now: it is a replica, or was made read-only.")
    return ReadOnly(f"The statement writes. {WRITES_ELSEWHERE}")


class NeedsSandbox(Exception):
    """The call must run in a child process, from its beginning, on `session`, which is already started."""

    def __init__(self, session: "Session") -> None:
        super().__init__()
        self.session = session


class RowRefused(Exception):
    """The database refused a row: its index in the rows that `load` got, and the column; None where it named none."""

    def __init__(self, index: int | None, column: str | None, error: StrongroomError) -> None:
        super().__init__(index, column)
        self.index = index
        self.column = column
        self.error = error


class Load(NamedTuple):
    """The target of rows: the quoted names of a table and its columns, and of the key's columns if it is an upsert."""

    table: str
    columns: list[str]
    key: list[str]

    @property
    def changed(self) -> list[str]:
        """The columns that an upsert changes in a row that is there."""
        return [each for each in self.columns if each not in self.key]

    def insert(self, values: str) -> str:
        """The statement that inserts `values`, or, with a key, updates the row that has it (not in MySQL's form)."""
        text = f"insert into {self.table} ({', '.join(self.columns)}) values {values}"  # noqa: S608 - quoted names.
        if self.key:
            changes = ", ".join(f"{each} = excluded.{each}" for each in self.changed)
            action = f"update set {changes}" if changes else "nothing"
            text += f" on conflict ({', '.join(self.key)}) do {action}"
        return text


class Statement(NamedTuple):
    """A statement and its bound values, by position or by name."""

    sql: str
    params: Params


class Outcome(NamedTuple):
    """The result of a statement. `rows_affected` is 0 if it changes no rows; `columns` is empty without RETURNING."""

    rows_affected: int
    last_row_id: int | None
    columns: Columns
    rows: list[Row]


class TableColumn(msgspec.Struct, frozen=True):
    """A column: `type` as the database declares it."""

    name: str
    type: str
    nullable: bool
    primary_key: bool


class Index(msgspec.Struct, frozen=True):
    """An index; a column that is an expression is null."""

    name: str
    unique: bool
    columns: list[str | None]


class ForeignKey(msgspec.Struct, frozen=True):
    """Columns that refer to those of another table. `references` holds nulls where they are its primary key's."""

    columns: list[str]
    table: str
    references: list[str | None]


class Table(msgspec.Struct, frozen=True):
    """A table or a view. `row_estimate` is the database's own, and null where it has none."""

    name: str
    type: str
    columns: list[TableColumn]
    indexes: list[Index]
    foreign_keys: list[ForeignKey]
    row_estimate: int | None


def grouped_indexes(rows: Iterable[Row]) -> list[Index]:
    """Group rows of (index name, unique, column) into indexes. The columns keep their order."""
    indexes: dict[str, Index] = {}
    for name, unique, column in rows:
        indexes.setdefault(name, Index(name, bool(unique), [])).columns.append(column)
    return list(indexes.values())


def grouped_keys(rows: Iterable[Row]) -> list[ForeignKey]:
    """Group rows of (id, column, table, referenced column) into foreign keys. The columns keep their order."""
    foreign_keys: dict[Any, ForeignKey] = {}
    for key, column, table, reference in rows:
        each = foreign_keys.setdefault(key, ForeignKey([], table, []))
        each.columns.append(column)
        each.references.append(reference)
    return list(foreign_keys.values())


class Session(Protocol):
    """An open connection, used by one thread at a time. It raises no exception of the driver."""

    def start(self, seconds: float) -> None:
        """Start the call's only transaction. A statement that outlasts `seconds` is interrupted (QueryTimeout)."""

    def query(self, sql: str, params: Params, *, rows: int, explain: bool) -> Cursor:
        """Run one statement that reads, or explain it. The caller needs at most `rows` of its rows.

        Raises ReadOnly if the statement would write, and SqlError if the database refuses it.
        """

    def execute(self, statement: Statement, *, alone: bool, max_rows: int) -> Outcome:
        """Run one statement inside the transaction, and read the rows that it returns, at most `max_rows`.

        Unless it is `alone`, a statement that a rollback cannot undo is refused.
        """

    def load(self, load: Load, rows: Sequence[Row]) -> None:
        """Insert `rows`, or update those whose key is there, inside the transaction.

        Raises RowRefused with the row at fault: the transaction is then unusable.
        """

    def check_undoable(self, statements: Sequence[Statement]) -> None:
        """Raise SqlError, before any of `statements` runs, if the database could not undo one of them."""

    def check_commit(self) -> None:
        """Raise the error that a commit would raise: constraints and triggers may be deferred to it."""

    def commit(self) -> None:
        """Commit the transaction. Raises SqlError if it is not the transaction that `start` began."""

    def end(self) -> None:
        """Roll back uncommitted changes, and return the connection to its initial state.

        Raises DatabaseUnavailable if that fails: the connection is then unusable.
        """

    def tables(self) -> list[Table]:
        """Return every table and view that the session may read."""

    def warnings(self) -> list[tuple[str, str]]:
        """Return a code and a sentence for each permission that the session has and a reader should not have."""

    def fresh(self) -> bool:
        """Whether this connection may serve another call."""

    def close(self) -> None:
        """Close the connection. Raises nothing."""
