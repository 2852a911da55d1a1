"""The child's side of the sandbox: limits itself, then serves messages until its standard input ends."""

import os
import signal
import sys
from collections.abc import Callable
from errno import EPERM
from importlib import import_module
from struct import Struct
from threading import Thread

HEADER = Struct(">I")
"""The length of a message, before it."""
MAX_MESSAGE_BYTES = 48 * 1024 * 1024
"""The most bytes of a message in either direction: a request, or rows of 8 MiB and one of 16, twice over."""
INTERRUPT = signal.SIGUSR1 if sys.platform != "win32" else signal.SIGTERM
"""The signal by which the app interrupts an engine."""
DESCRIPTORS = 64
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
CPU_MARGIN_SECONDS = 2


class Channel:
    """The messages of the app, and the responses."""

    def __init__(self) -> None:
        self._interrupt: Callable[[], None] = lambda: None
        # What a library prints (DuckDB a progress bar) must not come between the messages.
        self._output = os.dup(1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
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
            data = data[os.write(self._output, data) :]


def main() -> None:
    """Run as `python -c BOOT path entry memory_bytes parent`."""
    _, _, entry, memory_bytes, parent = sys.argv
    _limit(int(memory_bytes), int(parent))
    channel = Channel()
    module, _, name = entry.partition(":")
    serve: Callable[[Channel], None] = getattr(import_module(module), name)
    serve(channel)


def _limit(memory_bytes: int, parent: int) -> None:
    """Limit this process, before it loads an engine. Limits that the system does not offer are left out."""
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


# ---- Linux: system calls that an engine which only computes does not need.

_MACHINES = {
    # arch, seccomp, openat, open, and what is refused: socket, socketpair, connect, execve, execveat, ptrace,
    # process_vm_readv and _writev, io_uring_setup, openat2, and what creates, renames, cuts or removes files.
    # https://github.com/torvalds/linux/blob/master/arch/x86/entry/syscalls/syscall_64.tbl
    "x86_64": (
        0xC000003E, 317, 257, 2,
        (41, 42, 53, 59, 322, 101, 310, 311, 425, 437, 85, 82, 264, 316, 76, 83, 258, 86, 265, 88, 266, 87, 263),
    ),
    # https://github.com/torvalds/linux/blob/master/include/uapi/asm-generic/unistd.h
    "aarch64": (
        0xC00000B7, 277, 56, None,
        (198, 199, 203, 221, 281, 117, 270, 271, 425, 437, 38, 276, 45, 34, 37, 36, 35),
    ),
}  # fmt: skip
_INSTRUCTION = Struct("HBBI")
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | EPERM
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def confine() -> None:
    """Let this process write no file, open no socket and start no program, until its end.

    For an engine that reads and writes through the app alone, once it is loaded.
    """
    forbid_system_calls()
    limit_files(0)


def forbid_system_calls() -> bool:
    """Refuse (EPERM) sockets, other programs, other processes' memory, and opening files for writing, until the end.

    For an engine that reads and writes nothing by itself; it calls this once it is loaded. Returns whether the kernel
    does it: the sandbox does not depend on it. https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
    """
    if sys.platform != "linux" or os.uname().machine not in _MACHINES:
        return False
    import ctypes

    arch, seccomp, openat, open_, refused = _MACHINES[os.uname().machine]
    refuse = (_RETURN, 0, 0, _REFUSE)
    # The call's number is at 0, the architecture at 4, and the low half of argument n at 16 + 8 n.
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, arch), refuse, (_LOAD, 0, 0, 0), (_AT_LEAST, 0, 1, 0x40000000), refuse]
    for number in refused:
        program += [(_EQUAL, 0, 1, number), refuse]
    opening: list[tuple[int | None, int]] = [(openat, 32), (open_, 24)]
    for opens, flags in opening:
        if opens is not None:  # There is no `open` on aarch64.
            program += [(_EQUAL, 0, 3, opens), (_LOAD, 0, 0, flags), (_ANY_BIT, 0, 1, _WRITING), refuse]
            program.append((_LOAD, 0, 0, 0))
    program.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*each) for each in program))
    header = ctypes.create_string_buffer(Struct("HxxxxxxP").pack(len(program), ctypes.addressof(code)))
    # 1, 1: set a filter, for all threads.
    return bool(ctypes.CDLL(None).syscall(seccomp, 1, 1, ctypes.byref(header)) == 0)
