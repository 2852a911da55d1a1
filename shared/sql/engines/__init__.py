"""What a database engine offers, whatever its kind. Each module beside this one is the only one to touch its driver."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from shared.errors import Unavailable
from shared.sql.errors import DatabaseUnavailable, ReadOnly, SqlError
from shared.sql.values import Columns, Cursor, Params, Row

NO_STATEMENT = "The text contains no statement."
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
"""What the app's identity asks a token for, to sign in to Azure Database for PostgreSQL or MySQL."""
MAX_AGE_SECONDS = 1800.0
"""An open connection to a server is replaced then: its token and its server may have changed."""


def in_azure(host: str | None) -> bool:
    """Whether `host` is an Azure Database, which takes a token for a password, and TLS alone."""
    return (host or "").lower().endswith(".database.azure.com")


def sign_in(token: Callable[[str], str]) -> str:
    """What the app's identity signs in to an Azure Database with. Raises DatabaseUnavailable where it gets no token."""
    try:
        return token(TOKEN_SCOPE)
    except Unavailable as error:
        raise DatabaseUnavailable("The app's identity gets no token.", retry_after=RETRY_AFTER_SECONDS) from error


def not_allowed(command: str) -> SqlError:
    """The error for what callers may not run, since it outlasts the call, or shows what other callers do."""
    return SqlError(f"{command} is not allowed: each call runs in the app's own transaction and session.")


def write_refused(*, writes: bool) -> ReadOnly:
    """Why the database let nothing be written: it is a reader who asked, or a writer of what takes no writes now."""
    if writes:
        return ReadOnly("The database takes no writes now: it is a replica, or was made read-only.")
    return ReadOnly(f"The statement writes. {WRITES_ELSEWHERE}")


class NeedsSandbox(Exception):
    """The call must run in a child process, from its beginning, on `session`, which has been started."""

    def __init__(self, session: "Session") -> None:
        super().__init__()
        self.session = session


class Statement(NamedTuple):
    """A statement and what is bound to it, by position or by name."""

    sql: str
    params: Params


class Outcome(NamedTuple):
    """What a statement did. `rows_affected` is 0 for one that changes no rows; `columns` is empty without RETURNING."""

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
    """Indexes of rows of name, whether it is unique, and one of its columns, in their order."""
    found: dict[str, Index] = {}
    for name, unique, column in rows:
        found.setdefault(name, Index(name, bool(unique), [])).columns.append(column)
    return list(found.values())


def grouped_keys(rows: Iterable[Row]) -> list[ForeignKey]:
    """Foreign keys of rows of id, column, table and the column there, in their order."""
    found: dict[Any, ForeignKey] = {}
    for key, column, table, reference in rows:
        each = found.setdefault(key, ForeignKey([], table, []))
        each.columns.append(column)
        each.references.append(reference)
    return list(found.values())


class Session(Protocol):
    """An open connection, used by one thread at a time. No exception of the driver leaves it."""

    def start(self, seconds: float) -> None:
        """Start the one transaction of a call. Whatever runs when `seconds` are over is interrupted (QueryTimeout)."""

    def query(self, sql: str, params: Params, *, rows: int, explain: bool) -> Cursor:
        """Run one statement that reads, or say how it would be run. No more than `rows` of its rows are wanted.

        Raises ReadOnly where it would write, and SqlError where the database refuses it.
        """

    def execute(self, statement: Statement, *, alone: bool, max_rows: int) -> Outcome:
        """Run one statement inside the transaction, and read what it returns, at most `max_rows`.

        Where it is not `alone`, what cannot be undone with the transaction is refused.
        """

    def check_undoable(self, statements: Sequence[Statement]) -> None:
        """Raise SqlError, before any of `statements` runs, where the database could not undo one of them."""

    def check_commit(self) -> None:
        """Raise the error that a commit would: constraints and triggers may be deferred to it."""

    def commit(self) -> None:
        """Commit the transaction. Raises SqlError where it is not the one that `start` began."""

    def end(self) -> None:
        """Undo what is not committed, and leave the connection as it was when it was opened.

        Raises DatabaseUnavailable where that fails: then the connection is of no more use.
        """

    def tables(self) -> list[Table]:
        """Every table and view that the session may read."""

    def warnings(self) -> list[tuple[str, str]]:
        """A code and a sentence for each thing that the session may do and a reader should not."""

    def fresh(self) -> bool:
        """Whether this connection may serve once more."""

    def close(self) -> None:
        """Close the connection. Raises nothing."""
