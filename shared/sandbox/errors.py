"""The errors of engines in child processes: any capability that runs one may raise them."""

from shared.errors import Refused


class OutOfMemory(Refused):
    """The engine needs more memory than its process may take."""

    code = "out-of-memory"
    title = "The call needs more memory than its process may take"


class EngineFailed(Refused):
    """The engine's process ended: a fault of the engine, which no other call notices."""

    code = "engine-failed"
    title = "The engine ended without a result"
