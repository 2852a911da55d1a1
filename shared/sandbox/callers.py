"""Marks calls without a key: they may not take every child process."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_anonymous: ContextVar[bool] = ContextVar("anonymous", default=False)


@contextmanager
def anonymous() -> Iterator[None]:
    """The call inside has no key: `Sandbox.take` leaves it all children but one, and none where there is only one."""
    token = _anonymous.set(True)
    try:
        yield
    finally:
        _anonymous.reset(token)


def is_anonymous() -> bool:
    """Whether the present call has no key."""
    return _anonymous.get()
