"""A call to SQLite in a child process: `ChildSession` is the app's side, `serve` the child's.

Messages are MessagePack arrays: a method and its arguments, or true and a value, or false and an error.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from errno import EFBIG
from functools import partial
from threading import Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from shared.errors import Busy, StrongroomError
from shared.sql import errors
from shared.sql.engines import OVER, Load, Outcome, RowRefused, Statement, Table
from shared.sql.engines.sqlite import SqliteSession
from shared.sql.engines.sqlite_types import columns_of
from shared.sql.values import Columns, NotText, Params, Row

if TYPE_CHECKING:
    from shared.sandbox.child import Channel
    from shared.sandbox.process import Child, Sandbox

ENTRY = "shared.sql.engines.sqlite_child:serve"
TEMPORARY_BYTES = 256 * 1024 * 1024
"""The most bytes of a statement's temporary files, and of the growth of a database file in one call."""
LOOK_SECONDS = 0.05
"""Between two looks at the temporary files."""
TOO_MUCH = "The statement needs more temporary space than it may take. Select or sort less."
ERRORS: dict[str, type[StrongroomError]] = {
    each.__name__: each
    for each in (
        errors.SqlError, errors.ReadOnly, errors.QueryTimeout, errors.MultipleStatements, errors.RowTooLarge,
        errors.DatabaseUnavailable, errors.UnknownDatabase, Busy,
    )
}  # fmt: skip
_NOT_TEXT = 1
"""The code of a text that is not UTF-8, in a message."""
_ROWS = msgspec.msgpack.Decoder(tuple[bool, list[tuple[Any, ...]]], ext_hook=lambda _code, data: NotText(data))
_REPLY = msgspec.msgpack.Decoder(tuple[bool, Any])


class ChildSession:
    """One call of a reader or a writer, in a child process that is killed at the call's limit."""

    first_rows = 8

    def __init__(self, sandbox: "Sandbox", path: str, deadline: float, *, writes: bool, immutable: bool) -> None:
        self._sandbox = sandbox
        self._deadline = deadline
        self._columns = Columns()
        try:
            self._child: Child | None = sandbox.take(ENTRY, deadline)
        except OSError as error:
            raise errors.DatabaseUnavailable("A process for the statement could not start.", retry_after=1) from error
        self._call("open", path, writes, immutable, max(0.0, deadline - monotonic()))

    def query(self, sql: str, params: Params, *, rows: int, explain: bool) -> "ChildSession":
        self._columns = columns_of(tuple(tuple(each) for each in self._call("query", sql, params, rows, explain)))
        return self

    @property
    def columns(self) -> Columns:
        return self._columns

    def fetch(self, count: int) -> list[Row]:
        rows: list[Row] = self._call("fetch", count, decoder=_ROWS)
        return rows

    def execute(self, statement: Statement, *, alone: bool, max_rows: int) -> Outcome:
        affected, last_row_id, description, rows = self._call("execute", *statement, alone, max_rows)
        columns = columns_of(tuple(tuple(each) for each in description))
        return Outcome(affected, last_row_id, columns, [tuple(row) for row in rows])

    def load(self, load: Load, rows: Sequence[Row]) -> None:
        if (refused := self._call("load", load, rows)) is not None:
            index, kind, detail = refused
            raise RowRefused(index, None, ERRORS[kind](detail))

    def check_undoable(self, statements: Sequence[Statement]) -> None:
        """Do nothing: SQLite can undo every statement that a transaction may run."""

    def check_commit(self) -> None:
        self._call("check_commit")

    def commit(self) -> None:
        self._call("commit")

    def start(self, seconds: float) -> None:
        """Do nothing: the session starts when it is opened."""

    def end(self) -> None:
        """Do nothing: the session ends when it is closed."""

    def warnings(self) -> list[tuple[str, str]]:
        """Not used: the app uses its own connection."""
        raise NotImplementedError

    def fresh(self) -> bool:
        """Return False: the session serves one call."""
        return False

    def tables(self) -> list[Table]:
        """Not used: the app lists tables itself."""
        raise NotImplementedError

    def close(self) -> None:
        """End the call. A running statement is killed."""
        if self._child is not None:
            with suppress(StrongroomError):
                self._call("close", grace=1.0)
        child, self._child = self._child, None
        if child is not None:
            self._sandbox.give(child, reusable=True)

    def _call(self, *message: Any, decoder: msgspec.msgpack.Decoder[Any] = _REPLY, grace: float = 0.0) -> Any:
        from shared.sandbox.process import ChildDied, ChildLate

        if self._child is None:
            raise errors.DatabaseUnavailable("The process of this call has ended.", retry_after=1)
        deadline = max(self._deadline, monotonic() if message[0] == "close" else 0.0) + grace
        try:
            self._child.send(msgspec.msgpack.encode(message), deadline)
            reply = self._child.receive(deadline)
        except (ChildLate, ChildDied) as error:
            child, self._child = self._child, None
            self._sandbox.give(child, reusable=False)
            if isinstance(error, ChildLate) or monotonic() > self._deadline:
                raise errors.QueryTimeout(OVER) from error
            raise errors.SqlError(f"The statement ended its process. The reason was {error}.") from error
        try:
            is_good, value = decoder.decode(reply)
        except msgspec.ValidationError:
            is_good, value = _REPLY.decode(reply)
        if is_good:
            return value
        name, detail, retry_after = value
        raise ERRORS[name](detail, retry_after=retry_after)


# ---- The child's side.


def serve(channel: "Channel") -> None:
    """Serve calls, one after the other, until the app disconnects."""
    from shared.sandbox.child import limit_cpu, limit_files

    apsw.hard_heap_limit(_heap_bytes())
    session: SqliteSession | None = None
    watched = _TemporaryFiles()
    while (message := channel.receive()) is not None:
        method, *arguments = msgspec.msgpack.decode(message)
        reply: Any
        try:
            if method == "open":
                path, writes, immutable, seconds = arguments
                limit_cpu(seconds)
                limit_files(TEMPORARY_BYTES + (os.path.getsize(path) if writes and os.path.exists(path) else 0))  # noqa: PTH110, PTH202
                session = SqliteSession(partial(str, path) if immutable else path, writes=writes)
                watched.session = session
                session.start(seconds)
                reply = True, None
            elif session is None:
                raise errors.DatabaseUnavailable("The process has no call.")
            elif method == "close":
                watched.session = None
                session.close()
                session = None
                reply = True, None
            else:
                reply = True, _served(session, method, arguments)
        except StrongroomError as error:
            detail = error.detail
            kind = type(error).__name__
            if watched.is_over or (session is not None and session.system_errno == EFBIG):
                kind, detail = "SqlError", TOO_MUCH
            reply = False, (kind, detail, error.retry_after)
        watched.is_over = False
        channel.send(msgspec.msgpack.encode(reply))


def _served(session: SqliteSession, method: str, arguments: list[Any]) -> Any:
    if method == "query":
        sql, params, rows, explain = arguments
        session.query(sql, params, rows=rows, explain=explain)
        return session.description
    if method == "fetch":
        rows = session.fetch(*arguments)
        if any(type(value) is NotText for row in rows for value in row):
            rows = [tuple(map(_encoded, row)) for row in rows]
        return rows
    if method == "load":
        load, rows = arguments
        try:
            session.load(Load(*load), rows)
        except RowRefused as refused:
            return refused.index, type(refused.error).__name__, refused.error.detail
        return None
    if method == "execute":
        sql, params, alone, max_rows = arguments
        outcome = session.execute(Statement(sql, params), alone=alone, max_rows=max_rows)
        return outcome.rows_affected, outcome.last_row_id, session.description or (), outcome.rows
    return {"check_commit": session.check_commit, "commit": session.commit}[method]()


def _encoded(value: Any) -> Any:
    return msgspec.msgpack.Ext(_NOT_TEXT, bytes(value)) if type(value) is NotText else value


def _heap_bytes() -> int:
    """Return half of this process's memory: the rest is for Python and for the rows of a message."""
    import resource

    return min(resource.getrlimit(resource.RLIMIT_AS)[0] // 2, 512 * 1024 * 1024)


class _TemporaryFiles:
    """Interrupts a statement whose temporary files grow too large. SQLite has no limit of its own for them."""

    def __init__(self) -> None:
        self.session: SqliteSession | None = None
        self.is_over = False
        Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            sleep(LOOK_SECONDS)
            session = self.session
            if session is not None and _temporary_bytes() > TEMPORARY_BYTES:
                self.is_over = True
                session.interrupt()


def _temporary_bytes() -> int:
    size = 0
    with suppress(OSError):
        for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208
            with suppress(OSError):
                if "etilqs_" in os.readlink(f"/proc/self/fd/{descriptor}"):  # noqa: PTH115
                    size += os.fstat(int(descriptor)).st_size
    return size
