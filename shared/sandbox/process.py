"""The app's side of the sandbox: starts child processes, exchanges framed messages with them, and ends them.

A child gets no credential, no descriptor but its two pipes, an environment of our own and an empty working directory.
It limits itself before it loads its engine (`child`). The app kills it at the deadline: nothing in it outlasts that.
"""

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from struct import Struct
from threading import Condition, Timer
from time import monotonic
from typing import NamedTuple

from shared.errors import Busy
from shared.sandbox.settings import SandboxSettings
from shared.settings import ROOT

HEADER = Struct(">I")
"""The length of a message, before it."""
MAX_MESSAGE_BYTES = 48 * 1024 * 1024
"""Of a message in either direction: what a request may contain, or rows of 8 MiB and one of 16, twice over."""
PIECE_BYTES = 1024 * 1024
START_SECONDS = 10.0
"""The most time that a child may take to start, on a machine that is busy."""
BOOT = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from shared.sandbox.child import main; main()"
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}
IDLE_SECONDS = 300.0
"""How long a child is kept after its last call."""
FAILURES = {-9: "memory or a limit of the instance", -11: "a fault of the engine", -24: "CPU time"}


class ChildDied(Exception):
    """The child ended by itself, or said what no child may say. Its argument says why, as far as that is known."""


class ChildLate(Exception):
    """The child did not respond before the deadline, and was killed."""


class Child:
    """A child process that serves `entry`: `module:function`, of a `child.Channel`. One thread at a time uses it."""

    def __init__(self, entry: str, memory_bytes: int) -> None:
        self.entry = entry
        self._folder = tempfile.mkdtemp(prefix="strongroom-")
        path = json.dumps([ROOT, *(os.path.abspath(each) for each in sys.path if each)])  # noqa: PTH100
        try:
            # Isolated (-I), without site: the path is the worker's own, which no variable of the environment gives.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", BOOT, path, entry, str(memory_bytes), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self._folder,
                env=ENVIRONMENT | {"TMPDIR": self._folder, "SQLITE_TMPDIR": self._folder},
                bufsize=0,
            )
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe.
        assert self._process.stdout is not None  # noqa: S101
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._input, False)
        os.set_blocking(self._output, False)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def send(self, message: bytes, deadline: float) -> None:
        """Send a message. Raises ChildLate and ChildDied; the child is dead then."""
        data = memoryview(HEADER.pack(len(message)) + message)
        while data:
            self._wait(self._input, selectors.EVENT_WRITE, deadline)
            try:
                data = data[os.write(self._input, data[:PIECE_BYTES]) :]
            except BlockingIOError:
                continue
            except OSError:
                raise self._died() from None

    def receive(self, deadline: float) -> bytes:
        """The next message, by `deadline` of the monotonic clock. Raises ChildLate and ChildDied; it is dead then."""
        (length,) = HEADER.unpack(self._read(HEADER.size, deadline))
        if length > MAX_MESSAGE_BYTES:
            self.kill()
            raise ChildDied("a response that is too large")
        return bytes(self._read(length, deadline))

    def _read(self, length: int, deadline: float) -> bytearray:
        data = bytearray()
        while len(data) < length:
            self._wait(self._output, selectors.EVENT_READ, deadline)
            try:
                piece = os.read(self._output, min(PIECE_BYTES, length - len(data)))
            except BlockingIOError:
                continue
            if not piece:
                raise self._died()
            data += piece
        return data

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            if not selector.select(max(0.0, deadline - monotonic())):
                self.kill()
                raise ChildLate

    def _died(self) -> ChildDied:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)  # Its pipe closes a little before it is gone.
        code = self._process.returncode
        self.kill()
        return ChildDied(FAILURES.get(code, "a fault of the engine"))

    def kill(self) -> None:
        """End it at once, and wait until it is gone. Raises nothing."""
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class _Idle(NamedTuple):
    child: Child
    key: str
    since: float
    """By the monotonic clock."""


class Sandbox:
    """Keeps at most so many children alive, in use or idle for the next call. Safe to use from many threads."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.memory_bytes = settings.memory_bytes
        self.processes = settings.processes
        self._changed = Condition()
        self._busy: dict[Child, str] = {}
        """The children in use, each with its key."""
        self._starting: list[str] = []
        """The keys of the children that calls are about to start."""
        self._idle: list[_Idle] = []
        """The one that was used longest ago first."""
        self._timer: Timer | None = None
        # The kernel ends a child when the thread that started it ends: this thread lasts as long as the process.
        self._starter = ThreadPoolExecutor(1, "sandbox")

    def take(self, entry: str, deadline: float, key: str = "") -> Child:
        """A child that serves `entry`. Raises Busy where none is free by `deadline` of the monotonic clock.

        With a `key`, it is the one child of this key: calls wait for each other. A child without a key serves any call
        of its entry. At the limit, the idle child that was used longest ago is ended.
        """
        ended: list[Child] = []
        found: Child | None = None
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(key), max(0.0, deadline - monotonic())):
                raise Busy("Too many calls run in processes of their own. Try again.", retry_after=1)
            for each in reversed(self._idle):
                if each.child.entry == entry and each.key == key:
                    self._idle.remove(each)
                    if each.child.alive:
                        found = each.child
                        break
                    ended.append(each.child)
            if found is None:
                self._starting.append(key)
                while self._idle and len(self._idle) + self._running > self.processes:
                    ended.append(self._idle.pop(0).child)
            else:
                self._busy[found] = key
        for child in ended:
            child.kill()
        if found is not None:
            return found
        started: Child | None = None
        try:
            started = self._starter.submit(Child, entry, self.memory_bytes).result()
        except BaseException:
            with self._changed:
                self._starting.remove(key)
                self._changed.notify_all()
            raise
        with self._changed:
            self._starting.remove(key)
            self._busy[started] = key
        return started

    @property
    def _running(self) -> int:
        return len(self._busy) + len(self._starting)

    def _is_free(self, key: str) -> bool:
        if key and (key in self._busy.values() or key in self._starting):
            return False
        return self._running < self.processes

    def give(self, child: Child, *, reusable: bool) -> None:
        """Bring back what `take` returned. One that is not `reusable` is killed; others end after IDLE_SECONDS."""
        keep = reusable and child.alive
        if not keep:
            child.kill()
        with self._changed:
            key = self._busy.pop(child, "")
            if keep:
                self._idle.append(_Idle(child, key, monotonic()))
                self._schedule(IDLE_SECONDS)
            self._changed.notify_all()

    def _schedule(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = Timer(seconds, self._end_idle)
            self._timer.daemon = True
            self._timer.start()

    def _end_idle(self) -> None:
        """End the children that were idle for too long."""
        limit = monotonic() - IDLE_SECONDS
        with self._changed:
            ended = [each.child for each in self._idle if each.since <= limit]
            self._idle = [each for each in self._idle if each.since > limit]
            self._timer = None
            if self._idle:
                self._schedule(max(0.1, self._idle[0].since - limit))
        for child in ended:
            child.kill()

    def close(self) -> None:
        """End every idle child."""
        with self._changed:
            idle, self._idle = self._idle, []
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for each in idle:
            each.child.kill()

    def __del__(self) -> None:
        self.close()
