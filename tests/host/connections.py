"""Listens, and has every request answered on a thread, as in Azure, so that no slow handler holds up another.

To hand a request from the thread that waits for requests to another, and the answer back, takes longer than most
answers take. So the thread that waits, the leader, answers what comes itself. Where an answer takes more than a moment,
a new leader goes on waiting, and the old one ends with its answer.
"""

import logging
import selectors
import signal
import socket
import threading
from collections.abc import Callable
from time import monotonic, sleep

from .answers import Answer
from .wire import CONTINUE, Reader, Refused, Request, write

MOMENT_SECONDS = 0.002
GRACE_SECONDS = 1.0
"""What is still running when the host is told to stop gets this long."""
_PIECE = 256 * 1024

_log = logging.getLogger("host")


class Connection:
    """One client's."""

    def __init__(self, client: socket.socket, answer: Callable[[Request], Answer]) -> None:
        self.socket = client
        self._answer = answer
        self._reader = Reader()

    def go_on(self) -> bool:
        """Read what is there, and answer each request that is complete. Whether the connection stays open."""
        data = self.socket.recv(_PIECE)
        for request in self._reader.feed(data):
            if isinstance(request, Refused):
                self.socket.sendall(write(Answer(request.status), "", keep_alive=False))
                return False
            answer = self._answer(request)
            keep_alive = request.keep_alive and ("connection", "close") not in answer.headers
            self.socket.sendall(write(answer, request.method, keep_alive=keep_alive))
            if not keep_alive:
                return False
        if self._reader.awaits_leave:
            self.socket.sendall(CONTINUE)
        return bool(data)


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
            while (self._running > 1 or self._served) and monotonic() < ends:
                sleep(0.01)

    def _replace_leader(self) -> None:
        """Called when the leader began to serve a moment ago."""
        with self._lock:
            if self._served and self._running < self._threads:
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
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._accept()
                elif not self._serve(key.data, leader):
                    return

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # It is gone already.
            return
        client.setblocking(True)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(client, selectors.EVENT_READ, Connection(client, self._answer))

    def _serve(self, connection: Connection, leader: int) -> bool:
        """Whether this thread still leads afterwards."""
        self._served = connection
        signal.setitimer(signal.ITIMER_REAL, MOMENT_SECONDS)
        try:
            stays = connection.go_on()
        except OSError:  # The client is gone.
            stays = False
        except Exception:  # noqa: BLE001 - whatever it is, the host goes on.
            _log.exception("A connection failed")
            stays = False
        with self._lock:
            leads = self._leader == leader
            if leads:
                self._served = None
                if not stays:
                    self._selector.unregister(connection.socket)
            else:
                self._running -= 1
                signal.setitimer(signal.ITIMER_REAL, MOMENT_SECONDS)  # The leader may wait for a thread to be free.
                if stays:
                    self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        if not stays:
            connection.socket.close()
        return leads
