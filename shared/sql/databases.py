"""The databases of the settings: each reads and writes through small pools of connections, opened at first use."""

import hmac
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from secrets import token_bytes
from typing import TYPE_CHECKING, TypeVar

from shared.errors import StrongroomError
from shared.once import Once
from shared.sql.dialects import DIALECTS, Dialect
from shared.sql.engines import NeedsSandbox, Outcome, Session, Statement, Table
from shared.sql.errors import ReadOnly, SqlError, UnknownDatabase
from shared.sql.pools import Lease, Pool
from shared.sql.records import Record
from shared.sql.settings import DatabaseSettings
from shared.sql.store.files import Files
from shared.sql.urls import Resources, engine_of, folder_of, opener

if TYPE_CHECKING:
    from shared.sandbox.process import Sandbox
    from shared.sql.engines.blobs import Data

READERS, WRITERS, SQLITE_WRITERS = 8, 4, 1
"""The most connections of a database. SQLite has one writer at a time: other calls wait here, in their order."""
ATTEMPTS = 4
"""How often a call under an Idempotency-Key starts again, after it created the table of records or lost a race."""


NO_TABLE, RACED = "no table", "raced"
"""Results of an attempt: the table of records does not exist yet; another call with the same key was first."""
T = TypeVar("T")


class Database:
    """One database: reading for everyone who may call, writing where the settings name a writer."""

    def __init__(
        self, name: str, engine: Dialect, reader: Pool, writer: Pool | None, derive_key: Callable[[str], bytes]
    ) -> None:
        """`derive_key` returns 32 bytes for a purpose."""
        self._derive_key = derive_key
        self.name = name
        self.engine = engine
        self._reader = reader
        self._writer = writer
        self.check: Callable[[], None] | None = None
        """Checks the container of data files."""

    @property
    def writable(self) -> bool:
        """Whether the settings name a writer."""
        return self._writer is not None

    def reading(self, seconds: float) -> Lease:
        """A connection that may only read, for as many seconds."""
        return Lease(self._reader, seconds)

    def execute(self, statements: list[Statement], max_rows: int, *, dry_run: bool, seconds: float) -> list[Outcome]:
        """Run `statements` in one transaction, all or none. Raises ReadOnly where the settings name no writer."""

        def work(session: Session) -> list[Outcome]:
            outcomes = _run(session, statements, max_rows, dry_run=dry_run)
            if dry_run:
                session.check_commit()
            else:
                session.commit()
            return outcomes

        return self.write(work, seconds)

    def execute_once(
        self,
        key: str,
        request: bytes,
        statements: list[Statement],
        max_rows: int,
        *,
        tell: Callable[[list[Outcome]], bytes],
        seconds: float,
    ) -> tuple[bytes, bool]:
        """Run `statements` unless `key` came within a day: the response that `tell` makes, and whether it is old.

        Raises KeyReused if the key came with another request, and StillRunning while its first call runs.
        """
        record = Record(key, request, self._derive_key)

        def once(session: Session, *, last: bool) -> tuple[bytes, bool] | str:
            try:
                response = record.find(session)
            except SqlError:
                if last:
                    raise
                return NO_TABLE
            if response:
                return response, True
            try:
                record.reserve(session)
            except SqlError:
                if last:
                    raise
                return RACED
            body = tell(_run(session, statements, max_rows, dry_run=False))
            record.keep(session, body)
            session.commit()
            return body, False

        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                result = self.write(partial(once, last=last), seconds)
                if isinstance(result, tuple):
                    return result
                if result is RACED:
                    continue
            except StrongroomError:
                self._release(record, seconds)
                raise
            with suppress(SqlError):  # Another call may create it at the same time.
                self.execute([Statement(DIALECTS[self.engine].records, ())], 1, dry_run=False, seconds=seconds)
        raise AssertionError("The table of records was created and is not there.")

    def _release(self, record: Record, seconds: float) -> None:
        """Remove the reservation of a call that failed, where a statement committed it, so that a retry runs."""
        if self.engine == "mysql":
            with suppress(StrongroomError), self._writing(seconds) as session:
                record.release(session)
                session.commit()

    def write(self, work: Callable[[Session], T], seconds: float) -> T:
        """The result of `work` on a writer's connection, or, where that needs it, again from its beginning in a child
        process. Nothing is kept unless `work` commits. Raises ReadOnly where the settings name no writer."""
        with self._writing(seconds) as session:
            try:
                return work(session)
            except NeedsSandbox as needed:
                result = work(needed.session)
        # A definition may call what can take long: only a connection that is opened now knows.
        self.close()
        return result

    def _writing(self, seconds: float) -> Lease:
        if self._writer is None:
            if self.engine == "blobs":
                raise ReadOnly("Data files are only read. put-blob and export-sql write blobs.")
            raise ReadOnly(f"The database has no writer. Set DATABASE_{self.name.upper()}_WRITE to allow writing.")
        return Lease(self._writer, seconds)

    def close(self) -> None:
        """Close every connection that no call uses now; the next call opens one again."""
        self._reader.close()
        if self._writer is not None:
            self._writer.close()

    def tables(self, seconds: float) -> list[Table]:
        """Every table and view that the writer may read."""
        with self._writing(seconds) as session:
            return session.tables()

    def warnings(self) -> list[tuple[str, str]]:
        """The rights of the reader that it should not have: a code and a sentence for each."""
        with self.reading(2.0) as session:
            return session.warnings()

    def ping(self) -> None:
        """Run an empty query, to see whether the database responds; of data files only the container is checked."""
        if self.check is not None:
            self.check()
            return
        with self.reading(2.0) as session:
            session.query("select 1", (), rows=1, explain=False).fetch(1)


def _run(session: Session, statements: list[Statement], max_rows: int, *, dry_run: bool) -> list[Outcome]:
    outcomes = []
    alone = len(statements) == 1 and not dry_run
    if not alone:
        session.check_undoable(statements)
    for index, each in enumerate(statements):
        try:
            outcomes.append(session.execute(each, alone=alone, max_rows=max_rows))
        except StrongroomError as error:
            if len(statements) > 1:
                error.detail = f"statements[{index}]: {error.detail}"
            raise
    return outcomes


class Databases:
    """Every database that the settings name.

    `token` gets an access token of the app's identity for a scope; `files` are the blobs that datasets come from.
    """

    def __init__(
        self,
        settings: Mapping[str, DatabaseSettings],
        token: Callable[[str], str],
        files: Files,
        sandbox: Callable[[], "Sandbox"] | None = None,
        derive_key: Callable[[str], bytes] | None = None,
        data: "Callable[[], Data] | None" = None,
    ) -> None:
        """Without a `sandbox` they share one of their own; without `derive_key` the keys last as long as they do."""
        if derive_key is None:
            secret = token_bytes(32)

            def derive_key(purpose: str) -> bytes:
                return hmac.digest(secret, purpose.encode(), "sha256")

        resources = Resources(token, files, sandbox or Once(_default_sandbox), data)
        self._databases = {
            name: _database(name, each, resources, derive_key) for name, each in sorted(settings.items())
        }

    def __iter__(self) -> Iterator[Database]:
        return iter(self._databases.values())

    def get(self, name: str) -> Database:
        """Raises UnknownDatabase."""
        try:
            return self._databases[name]
        except KeyError:
            known = ", ".join(self._databases) or "none"
            raise UnknownDatabase(f"The settings have no database {name!r}. They have: {known}.") from None


def _default_sandbox() -> "Sandbox":
    from shared.sandbox.process import Sandbox
    from shared.sandbox.settings import SandboxSettings

    return Sandbox(SandboxSettings())


def _database(
    name: str, settings: DatabaseSettings, resources: Resources, derive_key: Callable[[str], bytes]
) -> Database:
    engine = engine_of(settings.url)
    reader = Pool(opener(settings.url, resources, writes=False), READERS)
    writer = None
    if settings.write_url is not None:
        size = SQLITE_WRITERS if engine == "sqlite" else WRITERS
        writer = Pool(opener(settings.write_url, resources, writes=True), size)
    database = Database(name, engine, reader, writer, derive_key)
    if engine == "blobs" and (data := resources.data) is not None:
        database.check = lambda: data().check_container(folder_of(settings.url)[0])
    return database
