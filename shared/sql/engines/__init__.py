"""What a database engine offers, whatever its kind. Each module beside this one is the only one to touch its driver."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from shared.sql.values import Column, Cursor, Row, Scalar

Params = Sequence[Scalar] | Mapping[str, Scalar]
"""By position, or by name."""


class Statement(NamedTuple):
    """A statement and what is bound to it, by position or by name."""

    sql: str
    params: Params


class Outcome(NamedTuple):
    """What a statement did. `rows_affected` is 0 for one that changes no rows; `columns` is empty without RETURNING."""

    rows_affected: int
    last_row_id: int | None
    columns: tuple[Column, ...]
    rows: list[Row]


class TableColumn(msgspec.Struct, frozen=True):
    """A column: `type` as the database declares it."""

    name: str
    type: str
    nullable: bool
    primary_key: bool


class Table(msgspec.Struct, frozen=True):
    """A table or a view, with its columns in their order."""

    name: str
    type: str
    columns: list[TableColumn]


class Session(Protocol):
    """An open connection, used by one thread at a time. No exception of the driver leaves it."""

    def limit(self, seconds: float) -> None:
        """From now on, whatever runs is interrupted when `seconds` are over, with QueryTimeout."""

    def query(self, sql: str, params: Params, explain: bool) -> Cursor:
        """Run one statement that reads, or say how it would be run. Raises ReadOnly where it would write."""

    def end(self) -> None:
        """Let go of whatever the last query holds, and undo a transaction that is not committed. Raises nothing."""

    def begin(self) -> None:
        """Start a transaction that may write."""

    def execute(self, statement: Statement, max_rows: int) -> Outcome:
        """Run one statement inside the transaction, and read what it returns, at most `max_rows`."""

    def commit(self) -> None:
        """Make what the transaction did last."""

    def rollback(self) -> None:
        """Undo what the transaction did."""

    def tables(self) -> list[Table]:
        """Every table and view that the caller of this app may read."""

    def fresh(self) -> bool:
        """Whether this connection may serve once more."""

    def close(self) -> None:
        """Close the connection. Raises nothing."""
