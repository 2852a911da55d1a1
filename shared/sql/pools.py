"""A pool of a database's open connections, and the lease that brings a connection back as new."""

from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

from shared.errors import Busy, StrongroomError
from shared.sql.engines import Session
from shared.sql.errors import DatabaseUnavailable

WAIT_SECONDS = 10.0
"""How long a call waits for a connection before it is refused as Busy."""


class Pool:
    """At most `size` open connections, the last used first. Safe to use from many threads."""

    def __init__(self, open_session: Callable[[], Session], size: int) -> None:
        self._open = open_session
        self._slots: SimpleQueue[None] = SimpleQueue()  # A semaphore, at a tenth of the cost.
        for _ in range(size):
            self._slots.put(None)
        self._idle: deque[Session] = deque()

    def take(self, seconds: float) -> Session:
        """A connection whose transaction has started. Raises Busy where none is free within WAIT_SECONDS."""
        try:
            self._slots.get(timeout=WAIT_SECONDS)
        except Empty:
            raise Busy(
                "All connections to this database are in use. Try again after the seconds in Retry-After.",
                retry_after=1,
            ) from None
        try:
            while True:
                try:
                    session, is_new = self._idle.pop(), False
                except IndexError:
                    session, is_new = self._open(), True
                try:
                    if is_new or session.fresh():
                        session.start(seconds)
                        return session
                    session.close()
                except BaseException as error:
                    session.close()
                    if is_new or not isinstance(error, DatabaseUnavailable):
                        raise
                    # It died in the pool: try another.
        except BaseException:
            self._slots.put(None)
            raise

    def give(self, session: Session) -> None:
        """Bring back what `take` returned. A connection that cannot be made as new is closed instead."""
        try:
            session.end()
            self._idle.append(session)
        except StrongroomError:
            session.close()
        finally:
            self._slots.put(None)

    def close(self) -> None:
        """Close every connection that no call uses now."""
        while self._idle:
            self._idle.pop().close()


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
