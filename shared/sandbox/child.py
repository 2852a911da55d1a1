"""The child's side of the sandbox: limits itself, then serves messages until its standard input ends."""

import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from struct import Struct
from threading import Thread

HEADER = Struct(">I")
"""The length of a message, before it."""
MAX_MESSAGE_BYTES = 48 * 1024 * 1024
"""Of a message in either direction: what a request may contain, or rows of 8 MiB and one of 16, twice over."""
INTERRUPT = signal.SIGUSR1 if sys.platform != "win32" else signal.SIGTERM
"""The signal by which the app interrupts an engine."""
DESCRIPTORS = 64
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
CPU_MARGIN_SECONDS = 2


class Channel:
    """The messages of the app, and the responses."""

    def __init__(self) -> None:
        self._interrupt: Callable[[], None] = lambda: None
        if sys.platform != "win32":
            # The engine's threads inherit the mask, so that only this thread receives the signal.
            signal.pthread_sigmask(signal.SIG_BLOCK, {INTERRUPT})
            Thread(target=self._watch, daemon=True).start()

    def on_interrupt(self, interrupt: Callable[[], None]) -> None:
        """Call `interrupt` at the deadline of the app, in a thread of its own: it should end the engine's work soon."""
        self._interrupt = interrupt

    def _watch(self) -> None:
        while sys.platform != "win32":
            signal.sigwait({INTERRUPT})
            self._interrupt()

    def receive(self) -> bytes | None:
        """The next message; None when the app has gone."""
        header = self._read(HEADER.size)
        return self._read(HEADER.unpack(header)[0]) if header else None

    def _read(self, length: int) -> bytes | None:
        data = bytearray()
        while len(data) < length:
            piece = os.read(0, min(1 << 20, length - len(data)))
            if not piece:
                return None
            data += piece
        return bytes(data)

    def send(self, message: bytes) -> None:
        """Send a response. Raises ValueError if it is too large."""
        if len(message) > MAX_MESSAGE_BYTES:
            raise ValueError("The response is too large.")
        data = memoryview(HEADER.pack(len(message)) + message)
        while data:
            data = data[os.write(1, data) :]


def main() -> None:
    """Run as `python -c BOOT path entry memory_bytes parent`."""
    _, _, entry, memory_bytes, parent = sys.argv
    _limit(int(memory_bytes), int(parent))
    channel = Channel()
    module, _, name = entry.partition(":")
    serve: Callable[[Channel], None] = getattr(import_module(module), name)
    serve(channel)


def _limit(memory_bytes: int, parent: int) -> None:
    """Limit this process, before it loads an engine. What the system does not offer is left out."""
    if sys.platform == "linux":
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if os.getppid() != parent:  # It died before the kernel knew.
            os._exit(1)
        try:
            with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
                file.write("1000")  # If memory runs out, this process ends, not the worker.
        except OSError:
            pass
    if sys.platform != "win32":
        import resource

        _set(resource.RLIMIT_AS, memory_bytes)
        _set(resource.RLIMIT_CORE, 0)
        _set(resource.RLIMIT_NOFILE, DESCRIPTORS)


def limit_cpu(seconds: float) -> None:
    """Let this process take `seconds` more of CPU, and a margin: a backstop of the deadline that the app keeps."""
    if sys.platform != "win32":
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime + seconds) + CPU_MARGIN_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def limit_files(file_bytes: int) -> None:
    """Let no file grow beyond `file_bytes`: writing fails with EFBIG, as Python ignores the signal."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _set(limit: int, value: int) -> None:
    import resource

    hard = resource.getrlimit(limit)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))
