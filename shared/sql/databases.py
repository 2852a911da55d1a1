"""The databases that the settings name: each with its engine and small pools of connections, opened at first use."""

import os.path
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from queue import Empty, SimpleQueue
from time import time
from typing import Literal, NamedTuple
from urllib.parse import unquote

from shared.errors import Busy, InvalidSetting, KeyReused, StrongroomError
from shared.settings import ROOT
from shared.sql.engines import Outcome, Session, Statement
from shared.sql.errors import DatabaseUnavailable, ReadOnly, SqlError, UnknownDatabase
from shared.sql.settings import DatabaseSettings
from shared.sql.store.files import Dataset, Files

READERS, WRITERS, SQLITE_WRITERS = 8, 4, 1
"""Connections that a database has at most. SQLite takes one writer at a time: others wait here, in their order."""
Engine = Literal["sqlite", "postgresql", "mysql"]
ENGINES: Mapping[str, Engine] = {
    "sqlite": "sqlite",
    "blob": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
}
"""By the schemes of URLs."""
WAIT_SECONDS = 10.0
"""How long a call waits for a connection before it is told to come back."""


DAY = 24 * 60 * 60
_ANSWERS = (
    "create table if not exists strongroom_answers (id varchar(64) primary key, digest varchar(64) not null, "
    "answer {}, created bigint not null)"
)
ANSWERS: Mapping[Engine, str] = {
    "sqlite": _ANSWERS.format("text"),
    "postgresql": _ANSWERS.format("text"),
    "mysql": _ANSWERS.format("longtext character set utf8mb4"),
}
"""Where the first answers to requests with an Idempotency-Key are kept: beside the data that they tell of."""
FIND_ANSWER = "select digest, answer from strongroom_answers where id = ?"
FORGET_ANSWERS = "delete from strongroom_answers where created < ?"
MAKE_ANSWER = "insert into strongroom_answers (id, digest, created) values (?, ?, ?)"
KEEP_ANSWER = "update strongroom_answers set answer = ? where id = ?"


class Pool:
    """At most `size` open connections, the last used first. Safe to use from many threads."""

    def __init__(self, open_session: Callable[[], Session], size: int) -> None:
        self._open = open_session
        self._places: SimpleQueue[None] = SimpleQueue()  # A semaphore, at a tenth of the price.
        for _ in range(size):
            self._places.put(None)
        self._idle: deque[Session] = deque()

    def take(self, seconds: float) -> Session:
        """A connection whose transaction has started. Raises Busy where none is free within WAIT_SECONDS."""
        try:
            self._places.get(timeout=WAIT_SECONDS)
        except Empty:
            raise Busy("All connections to this database are in use.", retry_after=1) from None
        try:
            return self._started(seconds)
        except BaseException:
            self._places.put(None)
            raise

    def _started(self, seconds: float) -> Session:
        while True:
            try:
                session = self._idle.pop()
            except IndexError:
                return _start(self._open(), seconds)
            if not session.fresh():
                session.close()
                continue
            try:
                return _start(session, seconds)
            except DatabaseUnavailable:
                continue  # It died in the pool: another takes its place.

    def give(self, session: Session) -> None:
        """Bring back what `take` gave. One that cannot be brought back to its beginning is closed instead."""
        try:
            session.end()
            self._idle.append(session)
        except StrongroomError:
            session.close()
        finally:
            self._places.put(None)

    def close(self) -> None:
        """Close every connection that nobody uses now."""
        while self._idle:
            self._idle.pop().close()


def _start(session: Session, seconds: float) -> Session:
    try:
        session.start(seconds)
    except BaseException:
        session.close()
        raise
    return session


class Lease:
    """Holds a connection of a pool, and brings it back with nothing open."""

    __slots__ = ("_pool", "_seconds", "_session")

    def __init__(self, pool: Pool, seconds: float) -> None:
        self._pool = pool
        self._seconds = seconds

    def __enter__(self) -> Session:
        self._session = session = self._pool.take(self._seconds)
        return session

    def __exit__(self, *_error: object) -> None:
        self._pool.give(self._session)


class Database:
    """One database: reading for everyone who may call, writing where the settings name a writer."""

    def __init__(self, name: str, engine: Engine, reader: Pool, writer: Pool | None) -> None:
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
        return Lease(self._reader, seconds)

    def execute(self, statements: list[Statement], max_rows: int, *, dry_run: bool, seconds: float) -> list[Outcome]:
        """Run `statements` in one transaction, all or none. Raises ReadOnly where the settings name no writer."""
        with self._writing(seconds) as session:
            outcomes = _run(session, statements, max_rows, dry_run=dry_run)
            if not dry_run:
                session.commit()
            return outcomes

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
        """Run `statements` unless `key` came within a day: what `tell` made of it, and whether that was then, not now.

        The answer is written by the very transaction that it tells of, so that one is there if and only if the other
        is. Raises KeyReused where the key came with another request.
        """
        row, digest = sha256(key.encode()).hexdigest(), sha256(request).hexdigest()
        for attempt in range(4):
            with self._writing(seconds) as session:
                try:
                    found = session.execute(Statement(FIND_ANSWER, [row]), alone=False, max_rows=1).rows
                except SqlError:
                    if attempt == 3:
                        raise
                    found = None  # There is no such table yet.
                if found:
                    if found[0][0] != digest:
                        raise KeyReused("Take a new Idempotency-Key for each new request.")
                    return str(found[0][1]).encode(), True
                if found is not None:
                    now = int(time())
                    session.execute(Statement(FORGET_ANSWERS, [now - DAY]), alone=False, max_rows=1)
                    try:
                        made = Statement(MAKE_ANSWER, [row, digest, now])
                        session.execute(made, alone=False, max_rows=1)
                    except SqlError:
                        if attempt == 3:
                            raise
                        continue  # Another call with this key was quicker: what it did is there now.
                    body = tell(_run(session, statements, max_rows, dry_run=False))
                    session.execute(Statement(KEEP_ANSWER, [body.decode(), row]), alone=False, max_rows=1)
                    session.commit()
                    return body, False
            with suppress(SqlError):  # Another call may make it at the same time.
                self.execute([Statement(ANSWERS[self.engine], ())], 1, dry_run=False, seconds=seconds)
        raise AssertionError("The table of answers was made and is not there.")

    def _writing(self, seconds: float) -> Lease:
        if self._writer is None:
            raise ReadOnly(f"Set DATABASE_{self.name.upper()}_WRITE to let this database be written.")
        return Lease(self._writer, seconds)

    def close(self) -> None:
        """Close every connection that nobody uses now; the next call opens one again."""
        self._reader.close()
        if self._writer is not None:
            self._writer.close()

    def ping(self) -> None:
        """Ask for nothing, to see that the database answers."""
        with self.reading(2.0) as session:
            session.query("select 1", (), rows=1, explain=False).fetch(1)


def _run(session: Session, statements: list[Statement], max_rows: int, *, dry_run: bool) -> list[Outcome]:
    outcomes = []
    alone = len(statements) == 1 and not dry_run
    for place, each in enumerate(statements):
        try:
            outcomes.append(session.execute(each, alone=alone, max_rows=max_rows))
        except StrongroomError as error:
            if len(statements) > 1:
                error.detail = f"statements[{place}]: {error.detail}"
            raise
    return outcomes


class Databases:
    """Every database that the settings name.

    `token` gets an access token of the app's identity for a scope; `files` are the blobs that datasets come from.
    """

    def __init__(self, settings: Mapping[str, DatabaseSettings], token: Callable[[str], str], files: Files) -> None:
        means = _Means(token, files)
        self._databases = {name: _database(name, each, means) for name, each in sorted(settings.items())}

    def __iter__(self) -> Iterator[Database]:
        return iter(self._databases.values())

    def get(self, name: str) -> Database:
        """Raises UnknownDatabase."""
        try:
            return self._databases[name]
        except KeyError:
            known = ", ".join(self._databases) or "none"
            raise UnknownDatabase(f"The settings name no database {name!r}. They name: {known}.") from None


class _Means(NamedTuple):
    """What connections are opened with."""

    token: Callable[[str], str]
    files: Files


def _database(name: str, settings: DatabaseSettings, means: _Means) -> Database:
    setting = f"DATABASE_{name.upper()}"
    engine = ENGINES[settings.url.partition("://")[0]]
    reader = Pool(_opener(engine, settings.url, means, writes=False), READERS)
    writer = None
    if settings.write_url is not None:
        if ENGINES[settings.write_url.partition("://")[0]] != engine:
            raise InvalidSetting(f"{setting}_WRITE must name a database of the same kind as {setting}.")
        opener = _opener(engine, settings.write_url, means, writes=True)
        writer = Pool(opener, SQLITE_WRITERS if engine == "sqlite" else WRITERS)
    return Database(name, engine, reader, writer)


def _opener(engine: Engine, url: str, means: _Means, *, writes: bool) -> Callable[[], Session]:
    """What opens a connection. Drivers load at the first one."""

    def sqlite() -> Session:
        from shared.sql.engines.sqlite import SqliteSession

        return SqliteSession(path, writes=writes)

    def postgresql() -> Session:
        from shared.sql.engines.postgresql import PostgresSession

        return PostgresSession(url, means.token, writes=writes)

    def mysql() -> Session:
        from shared.sql.engines.mysql import MysqlSession

        return MysqlSession(url, means.token, writes=writes)

    if engine == "sqlite":
        path = _dataset(url, means.files) if url.startswith("blob://") else _sqlite_path(url)
        return sqlite
    return postgresql if engine == "postgresql" else mysql


def _dataset(url: str, files: Files) -> Callable[[], str]:
    container, _, name = url.removeprefix("blob://").partition("/")
    return Dataset(files, container, unquote(name)).path


def _sqlite_path(url: str) -> str:
    path = unquote(url.removeprefix("sqlite:///"))
    return os.path.join(ROOT, path)  # noqa: PTH118 - pathlib is loaded for nothing else.
