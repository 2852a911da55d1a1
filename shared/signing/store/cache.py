"""The keys in memory: each for a bounded time, and read once, however many threads need it at the same time."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Lock
from time import monotonic

from shared.errors import Unavailable
from shared.signing.store.rows import Key

MAX_CACHED = 1000
"""Keys in memory. The one that was read longest ago is dropped first."""


class KeyCache:
    """Keys by name, each as it was at most `seconds` ago. Safe to use from many threads.

    `read` reads one key; it gets the copy in memory, if there is one. Its exceptions reach everybody who waits.
    """

    def __init__(self, read: Callable[[str, Key | None], Key], seconds: float) -> None:
        self._read = read
        self._seconds = seconds
        self._lock = Lock()
        self._keys: dict[str, Key] = {}
        self._reads: dict[str, Future[Key]] = {}

    def get(self, name: str) -> Key:
        """The key, at most `seconds` old."""
        key = self._keys.get(name)
        if key is None:
            return self.refresh(name)
        oldest = monotonic() - self._seconds
        return key if key.read_at > oldest else self._shared_read(name, oldest)

    def peek(self, name: str) -> Key | None:
        """The key in memory, however old."""
        return self._keys.get(name)

    def is_fresh(self, name: str) -> bool:
        """Whether `get` needs no request."""
        key = self._keys.get(name)
        return key is not None and monotonic() - key.read_at < self._seconds

    def refresh(self, name: str, began: float | None = None) -> Key:
        """The key as it was at `began` (monotonic clock), by default now, or later. Concurrent callers share reads."""
        began = monotonic() if began is None else began
        self.await_read(name)
        return self._shared_read(name, began)

    def await_read(self, name: str) -> None:
        """Wait for a read that is running: its result may be outdated already."""
        with self._lock:
            reading = self._reads.get(name)
        if reading is not None:
            wait([reading])

    def put(self, key: Key) -> None:
        """Keep a key that was read in another way."""
        with self._lock:
            self._put(key)

    def forget(self, name: str) -> None:
        """Drop a key from memory."""
        with self._lock:
            self._keys.pop(name, None)

    def _put(self, key: Key) -> None:
        self._keys.pop(key.name, None)
        self._keys[key.name] = key
        if len(self._keys) > MAX_CACHED:
            del self._keys[next(iter(self._keys))]

    def _shared_read(self, name: str, began: float) -> Key:
        """The key in memory if it was read since `began`, else the result of the read that is running or begins now."""
        with self._lock:
            known = self._keys.get(name)
            if known is not None and known.read_at >= began:
                return known
            reading = self._reads.get(name)
            if reading is None:
                own = self._reads[name] = Future()
        if reading is not None:
            return reading.result()
        try:
            key = self._read(name, known)
        except BaseException as error:
            with self._lock:
                del self._reads[name]
                if not isinstance(error, Unavailable):
                    self._keys.pop(name, None)
            own.set_exception(error)
            raise
        with self._lock:
            del self._reads[name]
            self._put(key)
        own.set_result(key)
        return key
