"""Data files in Blob Storage as a database: statements run where the data capability runs them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from time import monotonic
from typing import Any, NamedTuple, Protocol

from shared.errors import StrongroomError
from shared.sql.engines import WRITES_ELSEWHERE, Load, Outcome, Statement, Table
from shared.sql.errors import ReadOnly
from shared.sql.statements import check_params, clip, numbered, scan
from shared.sql.values import BigInteger, Column, Columns, Json, Params, Row


class ResultColumn(Protocol):
    """A column of a result: its name, its kind, and the details that the kind leaves out."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Any: ...
    @property
    def detail(self) -> str: ...


class Query(Protocol):
    """One statement over data files. `sql` has parameters `$1`, `$2`, …"""

    @property
    def digest(self) -> str:
        """A digest of the names and ETags of all files of the views that the statement names."""

    @property
    def bytes_scanned(self) -> int: ...
    @property
    def requests(self) -> int: ...
    def check(self, sql: str, params: Sequence[Any]) -> None: ...
    def run(self, sql: str, params: Sequence[Any], *, explain: bool) -> Sequence[ResultColumn]: ...
    def fetch(self, count: int) -> list[Row]: ...
    def estimate(self, sql: str, params: Sequence[Any]) -> Mapping[str, Any]:
        """The reads of the statement: `files`, `file_count`, `bytes_to_read`, `requests_to_make`, `plan`."""


class Data(Protocol):
    """The functions over data files that this capability needs."""

    def path(
        self, container: str, path: str, file_format: Any = None, options: Any = None, *, as_text: bool = False
    ) -> Any:
        """Files by their path. `as_text` keeps every value's text: CSV in columns, JSON in one column."""

    def text(self, contents: bytes, file_format: Any = "csv", options: Any = None, *, as_text: bool = False) -> Any:
        """Data that the call itself brought."""

    def folder(self, container: str, prefix: str) -> Any: ...
    def open(self, source: Any, deadline: float) -> AbstractContextManager[Query]: ...
    def tables(self, source: Any, deadline: float) -> Sequence[tuple[str, Sequence[tuple[str, str]]]]:
        """The views of a folder, with the names and types of their columns."""

    def check_container(self, container: str) -> None: ...


def columns_of(columns: Sequence[tuple[str, Any, str]]) -> Columns:
    """The columns of a query over data files, from the name, kind and detail of each."""
    return Columns([Column(name, kind, _CONVERTS.get(kind), None, detail) for name, kind, detail in columns])


class Scan(NamedTuple):
    """The amount that a statement has read so far."""

    bytes_scanned: int
    requests: int
    digest: str


NOTHING_SCANNED = Scan(0, 0, "")


class BlobsSession:
    """One call's statement over data files. Nothing is open before and after."""

    first_rows = 64

    def __init__(self, data: Data, source: Callable[[], Any]) -> None:
        """`source` returns the files that a call reads."""
        self._data = data
        self._source = source
        self._deadline = 0.0
        self._opened: AbstractContextManager[Query] | None = None
        self._query: Query | None = None
        self._columns = Columns()

    def start(self, seconds: float) -> None:
        self._deadline = monotonic() + seconds

    def query(self, sql: str, params: Params, *, rows: int, explain: bool) -> "BlobsSession":  # noqa: ARG002 - rows are read as they are fetched.
        text, values = self._prepare(sql, params)
        query = self._open()
        query.check(text, values)
        columns = query.run(text, values, explain=explain)
        self._columns = columns_of([(each.name, each.kind, each.detail) for each in columns])
        return self

    def estimate(self, sql: str, params: Params) -> Mapping[str, Any]:
        """Return the files that the statement would read, without running it."""
        text, values = self._prepare(sql, params)
        query = self._open()
        query.check(text, values)
        return query.estimate(text, values)

    def _prepare(self, sql: str, params: Params) -> tuple[str, list[Any]]:
        scanned = scan(clip(sql, "blobs"), "blobs")
        check_params(scanned, params)
        return numbered(scanned, params)

    def _open(self) -> Query:
        self._opened = opened = self._data.open(self._source(), self._deadline)
        self._query = query = opened.__enter__()
        return query

    @property
    def columns(self) -> Columns:
        return self._columns

    @property
    def scan(self) -> Scan:
        """The amount that the statement has read so far."""
        query = self._query
        return Scan(query.bytes_scanned, query.requests, query.digest) if query is not None else NOTHING_SCANNED

    def fetch(self, count: int) -> list[Row]:
        return self._query.fetch(count) if self._query is not None else []

    def execute(self, statement: Statement, *, alone: bool, max_rows: int) -> Outcome:  # noqa: ARG002
        raise ReadOnly(f"Data files are only read. {WRITES_ELSEWHERE}")

    def load(self, load: Load, rows: Sequence[Row]) -> None:  # noqa: ARG002
        raise ReadOnly(f"Data files are only read. {WRITES_ELSEWHERE}")

    def check_undoable(self, statements: Sequence[Statement]) -> None:
        """Do nothing: nothing is written."""

    def check_commit(self) -> None:
        """Do nothing: nothing is written."""

    def commit(self) -> None:
        """Do nothing: nothing is written."""

    def end(self) -> None:
        opened, self._opened, self._query = self._opened, None, None
        if opened is not None:
            opened.__exit__(None, None, None)

    def tables(self) -> list[Table]:
        from shared.sql.engines import TableColumn

        described = self._data.tables(self._source(), self._deadline)
        return [
            Table(name, "view", [TableColumn(column, kind, True, False) for column, kind in columns], [], [], None)
            for name, columns in described
        ]

    def warnings(self) -> list[tuple[str, str]]:
        return []

    def fresh(self) -> bool:
        return True

    def close(self) -> None:
        with suppress(StrongroomError):
            self.end()


def _integer(value: Any) -> Any:
    return BigInteger(value) if type(value) is str else value  # More digits than 64 bits hold.


def _json(value: Any) -> Any:
    return value if value is None else Json.of(value)


_CONVERTS: Mapping[str, Callable[[Any], Any]] = {"integer": _integer, "json": _json}
