"""The databases that the settings name: each with its engine and small pools of connections, opened at first use."""

import os.path
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from queue import Empty, SimpleQueue
from urllib.parse import unquote

from shared.errors import Busy, InvalidSetting, ReadOnly, StrongroomError, UnknownDatabase
from shared.settings import ROOT, DatabaseSettings
from shared.sql.engines import Outcome, Session, Statement

READERS, WRITERS = 8, 1
"""Connections that a SQLite database has at most. It takes one writer at a time: others wait here, in their order."""
WAIT_SECONDS = 10.0
"""How long a call waits for a connection before it is told to come back."""


class Pool:
    """At most `size` open connections, the last used first. Safe to use from many threads."""

    def __init__(self, open_session: Callable[[], Session], size: int) -> None:
        self._open = open_session
        self._places: SimpleQueue[None] = SimpleQueue()  # A semaphore, at a tenth of the price.
        for _ in range(size):
            self._places.put(None)
        self._idle: deque[Session] = deque()

    def session(self, seconds: float) -> "Lease":
        """A connection for the body of a `with`, for as many seconds from its start."""
        return Lease(self, seconds)

    def take(self) -> Session:
        """Raises Busy where no connection is free within WAIT_SECONDS."""
        try:
            self._places.get(timeout=WAIT_SECONDS)
        except Empty:
            raise Busy("All connections to this database are in use.", retry_after=1) from None
        try:
            while self._idle:
                session = self._idle.pop()
                if session.fresh():
                    return session
                session.close()
            return self._open()
        except BaseException:
            self._places.put(None)
            raise

    def give(self, session: Session) -> None:
        """Bring back what `take` gave. One that cannot let go of what it did is closed instead."""
        try:
            session.end()
            self._idle.append(session)
        except StrongroomError:
            session.close()
        finally:
            self._places.put(None)


class Lease:
    """Holds a connection of a pool, and brings it back with nothing open."""

    __slots__ = ("_pool", "_seconds", "_session")

    def __init__(self, pool: Pool, seconds: float) -> None:
        self._pool = pool
        self._seconds = seconds

    def __enter__(self) -> Session:
        self._session = session = self._pool.take()
        session.limit(self._seconds)
        return session

    def __exit__(self, *_error: object) -> None:
        self._pool.give(self._session)


class Database:
    """One database: reading for everyone who may call, writing where the settings name a writer."""

    def __init__(self, name: str, engine: str, reader: Pool, writer: Pool | None) -> None:
        self.name = name
        self.engine = engine
        self._reader = reader
        self._writer = writer

    @property
    def writable(self) -> bool:
        """Whether the settings name a writer."""
        return self._writer is not None

    def reading(self, seconds: float) -> Lease:
        """A connection that may only read, for as many seconds."""
        return self._reader.session(seconds)

    def execute(self, statements: list[Statement], *, max_rows: int, dry_run: bool, seconds: float) -> list[Outcome]:
        """Run `statements` in one transaction, all or none. Raises ReadOnly where the settings name no writer."""
        if self._writer is None:
            raise ReadOnly(f"Set DATABASE_{self.name.upper()}_WRITE to let this database be written.")
        with self._writer.session(seconds) as session:
            session.begin()
            outcomes = []
            for place, each in enumerate(statements):
                try:
                    outcomes.append(session.execute(each, max_rows))
                except StrongroomError as error:
                    if len(statements) > 1:
                        error.detail = f"statements[{place}]: {error.detail}"
                    raise
            if dry_run:
                session.rollback()
            else:
                session.commit()
            return outcomes

    def ping(self) -> None:
        """Ask for nothing, to see that the database answers."""
        with self.reading(2.0) as session:
            session.query("select 1", (), False).fetch(1)


class Databases:
    """Every database that the settings name."""

    def __init__(self, settings: Mapping[str, DatabaseSettings]) -> None:
        self._databases = {name: _database(name, each) for name, each in sorted(settings.items())}

    def __iter__(self) -> Iterator[Database]:
        return iter(self._databases.values())

    def get(self, name: str) -> Database:
        """Raises UnknownDatabase."""
        try:
            return self._databases[name]
        except KeyError:
            known = ", ".join(self._databases) or "none"
            raise UnknownDatabase(f"The settings name no database {name!r}. They name: {known}.") from None


def _database(name: str, settings: DatabaseSettings) -> Database:
    setting = f"DATABASE_{name.upper()}"
    reader = Pool(_sqlite(settings.url, setting, writes=False), READERS)
    writer = None
    if settings.write_url is not None:
        writer = Pool(_sqlite(settings.write_url, f"{setting}_WRITE", writes=True), WRITERS)
    return Database(name, "sqlite", reader, writer)


def _sqlite(url: str, setting: str, *, writes: bool) -> Callable[[], Session]:
    path = unquote(url.removeprefix("sqlite:///"))
    if path == url or not path:
        raise InvalidSetting(f"{setting} must be a URL such as sqlite:///.data/main.sqlite, or sqlite:////full/path.")

    full = os.path.join(ROOT, path)  # noqa: PTH118 - pathlib is loaded for nothing else.

    def open_session() -> Session:
        from shared.sql.engines.sqlite import SqliteSession

        return SqliteSession(full, writes=writes)

    return open_session
