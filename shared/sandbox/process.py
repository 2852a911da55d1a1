"""The app's side of the sandbox: starts child processes, exchanges framed messages with them, and ends them.

A child gets no credential, no descriptor but its two pipes, an environment of our own and an empty working directory.
It limits itself before it loads its engine (`child`). At the deadline the app interrupts it, and kills it KILL_SECONDS
later: nothing in it outlasts that.
"""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Condition, Timer
from time import monotonic
from typing import NamedTuple

from shared.errors import Busy, Unavailable
from shared.sandbox.callers import is_anonymous
from shared.sandbox.child import HEADER, INTERRUPT, MAX_MESSAGE_BYTES
from shared.sandbox.settings import SandboxSettings
from shared.settings import ROOT

PIECE_BYTES = 1024 * 1024
START_SECONDS = 10.0
"""The most time that a child may take to start, on a machine that is busy."""
BOOT = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from shared.sandbox.child import main; main()"
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}
KILL_SECONDS = 0.2
"""After the deadline, for the engine to end the call by itself."""
WAIT_SECONDS = 2.0
"""The most time that a call waits for a child while all of them are in use."""
IDLE_SECONDS = 300.0
"""How long a child is kept after its last call."""
MEMORY, TIME, ENGINE = "the memory of its process", "CPU time", "a fault of the engine"
"""Why a child ended by itself."""
FAILURES = {} if sys.platform == "win32" else {-signal.SIGKILL: MEMORY, -signal.SIGXCPU: TIME}
"""By exit status. The kernel kills a child where the instance runs out of memory; every other end is the engine's."""


class ChildDied(Exception):
    """The child ended by itself, or sent an invalid message. Its argument is the reason: MEMORY, TIME or ENGINE."""


class ChildLate(Exception):
    """The child did not respond before the deadline, and was killed."""


class Child:
    """A child process that serves `entry`: `module:function`, of a `child.Channel`. One thread at a time uses it."""

    def __init__(self, entry: str, memory_bytes: int) -> None:
        if sys.platform == "win32":  # Its pipes cannot be waited for, and it has no limits of a process.
            raise Unavailable("Engines in child processes need Linux or macOS.")
        self.entry = entry
        self._folder = tempfile.mkdtemp(prefix="strongroom-")
        path = json.dumps([ROOT, *(os.path.abspath(each) for each in sys.path if each)])  # noqa: PTH100
        try:
            # Isolated (-I), without site: the path is the worker's own, which no environment variable contains.
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
        for pipe in (self._input, self._output):
            _widen(pipe)
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
        """The next message. Raises ChildLate and ChildDied; the child is dead then.

        At `deadline`, of the monotonic clock, the engine is interrupted; its process may respond KILL_SECONDS longer.
        """
        if not self._is_ready(self._output, selectors.EVENT_READ, deadline):
            self.interrupt()
        deadline += KILL_SECONDS
        (length,) = HEADER.unpack(self._read(HEADER.size, deadline))
        if length > MAX_MESSAGE_BYTES:
            self.kill()
            raise ChildDied(ENGINE)
        return bytes(self._read(length, deadline))

    def interrupt(self) -> None:
        """Call the function that the child's entry passed to `Channel.on_interrupt`. Raises nothing."""
        with suppress(OSError):
            self._process.send_signal(INTERRUPT)

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
        if not self._is_ready(descriptor, event, deadline):
            self.kill()
            raise ChildLate

    def _is_ready(self, descriptor: int, event: int, deadline: float) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            return bool(selector.select(max(0.0, deadline - monotonic())))

    def _died(self) -> ChildDied:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)  # Its pipe closes a little before it is gone.
        code = self._process.returncode
        self.kill()
        return ChildDied(FAILURES.get(code, ENGINE))

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


def _widen(pipe: int) -> None:
    """Let a pipe hold a piece of a message, so that app and child need not take turns for every 64 KiB of it."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # A limit of the system.
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIECE_BYTES)


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
        self._anonymous = 0
        """How many calls without a key have a child, or start one."""
        self._anonymous_children: set[Child] = set()
        self._starting: list[str] = []
        """The keys of the children that calls are about to start."""
        self._idle: list[_Idle] = []
        """The one that was used longest ago first."""
        self._timer: Timer | None = None
        self._is_closed = False
        # The kernel ends a child when the thread that started it ends: this thread lasts as long as the process.
        self._starter = ThreadPoolExecutor(1, "sandbox")

    def take(self, entry: str, deadline: float, key: str = "") -> Child:
        """A child that serves `entry`. Raises Busy where none is free within WAIT_SECONDS, or by `deadline`.

        With a `key`, it is the one child of this key: calls wait for each other. A child without a key serves any call
        of its entry. At the limit, the idle child that was used longest ago is ended. Calls of `callers.anonymous`
        leave one child to callers with a key. `deadline` is of the monotonic clock.
        """
        ended: list[Child] = []
        idle: Child | None = None
        anonymous = is_anonymous()
        if anonymous and self.processes == 1:
            raise Busy("The one process of this instance that can run this query is for callers with a key.")
        seconds = min(WAIT_SECONDS, max(0.0, deadline - monotonic()))
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(key, anonymous=anonymous), seconds):
                raise Busy("Too many calls run in processes of their own. Try again.", retry_after=1)
            self._anonymous += anonymous
            for each in reversed(self._idle):
                if each.child.entry == entry and each.key == key:
                    self._idle.remove(each)
                    if each.child.alive:
                        idle = each.child
                        break
                    ended.append(each.child)
            if idle is None:
                self._starting.append(key)
                while self._idle and len(self._idle) + self._running > self.processes:
                    ended.append(self._idle.pop(0).child)
            else:
                self._note(idle, key, anonymous=anonymous)
        for child in ended:
            child.kill()
        if idle is not None:
            return idle
        started: Child | None = None
        try:
            started = self._starter.submit(Child, entry, self.memory_bytes).result()
        except BaseException:
            with self._changed:
                self._starting.remove(key)
                self._anonymous -= anonymous
                self._changed.notify_all()
            raise
        with self._changed:
            self._starting.remove(key)
            self._note(started, key, anonymous=anonymous)
        return started

    def _note(self, child: Child, key: str, *, anonymous: bool) -> None:
        self._busy[child] = key
        if anonymous:
            self._anonymous_children.add(child)

    @property
    def _running(self) -> int:
        return len(self._busy) + len(self._starting)

    def _is_free(self, key: str, *, anonymous: bool) -> bool:
        if anonymous and self._anonymous >= self.processes - 1:
            return False
        if key and (key in self._busy.values() or key in self._starting):
            return False
        return self._running < self.processes

    def give(self, child: Child, *, reusable: bool, spare: bool = False) -> None:
        """Bring back what `take` returned. One that is not `reusable` is killed; others end after IDLE_SECONDS.

        With `spare`, another child of the same entry starts at once, for the next call, where there is room for it.
        """
        keep = reusable and child.alive
        if not keep:
            child.kill()
        with self._changed:
            key = self._busy.pop(child, "")
            if child in self._anonymous_children:
                self._anonymous_children.remove(child)
                self._anonymous -= 1
            if keep:
                self._idle.append(_Idle(child, key, monotonic()))
                self._schedule(IDLE_SECONDS)
            self._changed.notify_all()
        if spare and not keep:
            self.start_spare(child.entry)

    def start_spare(self, entry: str) -> None:
        """Start a child for the next call of `entry`, in the background, where there is room and none waits."""
        self._starter.submit(self._start_spare, entry)

    def _start_spare(self, entry: str) -> None:
        with self._changed:
            is_full = len(self._idle) + self._running >= self.processes
            if self._is_closed or is_full or any(each.child.entry == entry for each in self._idle):
                return
            # Under the lock: it takes a few milliseconds, and a call that comes now had to start a child itself.
            self._idle.append(_Idle(Child(entry, self.memory_bytes), "", monotonic()))
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
        """End every idle child, and start no spare any more."""
        with self._changed:
            self._is_closed = True
            idle, self._idle = self._idle, []
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for each in idle:
            each.child.kill()

    def __del__(self) -> None:
        self.close()
