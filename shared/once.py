"""Builds a value at its first use, once, however many threads use it at the same time."""

from collections.abc import Callable
from threading import RLock
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Once(Generic[Value]):
    """Calls `build` at the first call and returns the same value ever after. A failed build is tried again."""

    def __init__(self, build: Callable[[], Value]) -> None:
        self._build = build
        self._lock = RLock()
        self._values: list[Value] = []

    def __call__(self) -> Value:
        if not self._values:
            with self._lock:
                if not self._values:
                    self._values.append(self._build())
        return self._values[0]
