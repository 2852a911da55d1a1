"""Listens, and has every request answered on a thread, as in Azure, so that no slow handler holds up another.

To hand a request from the thread that waits for requests to another, and the answer back, takes longer than most
answers take. So the thread that waits, the leader, answers what comes itself. Where an answer takes more than a moment,
a new leader goes on waiting, and the old one ends with its answer.

To send to a client that sleeps takes a fifth of such a call, so answers to requests that came together go together.
"""

import logging
import selectors
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic, sleep

from .answers import Answer
from .wire import CONTINUE, Reader, Refused, Request, write

MOMENT_SECONDS = 0.002
GRACE_SECONDS = 1.0
"""What is still running when the host is told to stop gets this long."""
TOGETHER_SECONDS = 0.001
"""An answer waits no longer for others, except for the one that is being made."""
AWAKE_SECONDS = 0.0001
"""A caller who asks one thing after the other comes back within this; to be woken takes as much of a processor."""
_PIECE = 256 * 1024

_log = logging.getLogger("host")


class Connection:
    """One client's."""

    def __init__(self, client: socket.socket, answer: Callable[[Request], Answer]) -> None:
        self.socket = client
        self.stays = True
        """Whether it stays open when all is sent."""
        self._answer = answer
        self._reader = Reader()
        self._unsent = b""

    def go_on(self) -> None:
        """Read what is there, and answer each request that is complete. A short last answer is not sent yet."""
        data = self.socket.recv(_PIECE)
        self.stays = bool(data)
        for request in self._reader.feed(data):
            if self._unsent:
                self.send()
            if isinstance(request, Refused):
                self._unsent = write(Answer(request.status), "", keep_alive=False)
                self.stays = False
                return
            answer = self._answer(request)
            keep_alive = request.keep_alive and ("connection", "close") not in answer.headers
            self._unsent = write(answer, request.method, keep_alive=keep_alive)
            if len(self._unsent) > _PIECE:
                self.send()
            if not keep_alive:
                self.stays = False
                return
        if self._reader.awaits_leave:
            self._unsent += CONTINUE

    def send_at_once(self) -> bool:
        """Send what the client takes without delay. Whether that is all."""
        if self._unsent:
            try:
                self._unsent = self._unsent[self.socket.send(self._unsent, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                return False
            except OSError:
                self.give_up()
        return not self._unsent

    def send(self) -> None:
        """Send all, however long the client takes for it."""
        self.socket.sendall(self._unsent)
        self._unsent = b""

    def give_up(self) -> None:
        """The client is gone."""
        self._unsent = b""
        self.stays = False


class Server:
    """Serves on a socket that listens; at most `threads` requests at once."""

    def __init__(self, listener: socket.socket, answer: Callable[[Request], Answer], threads: int) -> None:
        self._listener = listener
        self._answer = answer
        self._threads = threads
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._running = 0
        """Threads: the leader, which waits for requests and serves them, and those that it took the place of."""
        self._leader = 0
        self._served: Connection | None = None
        """What the leader is busy with."""
        self._answered: deque[Connection] = deque()
        """Those whose answers the leader has yet to send."""

    def run(self, listening: Callable[[], None]) -> None:
        """Serve until the handler of a signal raises. Call it from the main thread, where those run."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        woken, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        signal.signal(signal.SIGALRM, lambda *_: None)  # The byte that it sends is what counts.
        self._start_leader()
        listening()
        try:
            while True:
                if woken.recv(1)[0] == signal.SIGALRM:
                    self._replace_leader()
        finally:
            self._selector.unregister(self._listener)
            self._listener.close()
            ends = monotonic() + GRACE_SECONDS
            while (self._running > 1 or self._served or self._answered) and monotonic() < ends:
                sleep(0.01)

    def _replace_leader(self) -> None:
        """Called when the leader began to serve a moment ago."""
        with self._lock:
            if self._served is None:
                return
            for each in self._answered:
                each.send_at_once()
            if self._running < self._threads:
                self._selector.unregister(self._served.socket)
                self._served = None
                self._start_leader()

    def _start_leader(self) -> None:
        self._running += 1
        self._leader += 1
        threading.Thread(target=self._lead, args=(self._leader,), daemon=True).start()

    def _lead(self, leader: int) -> None:
        # The alarm is for the main thread, and interrupts no handler.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        while self._send(leader):
            ready = self._wait()
            began = monotonic()
            for key, _ in ready:
                if key.data is None:
                    self._accept()
                elif not self._serve(key.data, leader, key.data.go_on):
                    return
                if monotonic() - began > TOGETHER_SECONDS:
                    if not self._send(leader):
                        return
                    began = monotonic()

    def _wait(self) -> list[tuple[selectors.SelectorKey, int]]:
        """What has something to read, once something has."""
        sleeps = monotonic() + AWAKE_SECONDS
        while monotonic() < sleeps:
            if ready := self._selector.select(0):
                return ready
        return self._selector.select()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # It is gone already.
            return
        client.setblocking(True)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(client, selectors.EVENT_READ, Connection(client, self._answer))

    def _serve(self, connection: Connection, leader: int, work: Callable[[], None]) -> bool:
        """Do for `connection` what may take its time. Whether this thread still leads afterwards."""
        self._served = connection
        signal.setitimer(signal.ITIMER_REAL, MOMENT_SECONDS)
        _guarded(connection, work)
        with self._lock:
            if self._leader == leader:
                self._served = None
                self._answered.append(connection)
                return True
        _guarded(connection, connection.send)
        with self._lock:
            self._running -= 1
            signal.setitimer(signal.ITIMER_REAL, MOMENT_SECONDS)  # The leader may wait for a thread to be free.
            if connection.stays:
                self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        if not connection.stays:
            connection.socket.close()
        return False

    def _send(self, leader: int) -> bool:
        """Send what is answered. Whether this thread still leads afterwards."""
        while self._answered:
            connection = self._answered[0]
            is_sent = connection.send_at_once()
            self._answered.popleft()
            if not is_sent:
                if not self._serve(connection, leader, connection.send):
                    return False
            elif not connection.stays:
                with self._lock:
                    self._selector.unregister(connection.socket)
                connection.socket.close()
        return True


def _guarded(connection: Connection, work: Callable[[], None]) -> None:
    try:
        work()
    except OSError:
        connection.give_up()
    except Exception:  # noqa: BLE001 - whatever it is, the host goes on.
        _log.exception("A connection failed")
        connection.stays = False
