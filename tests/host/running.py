"""Runs the local host as its own process, and sends it requests over raw sockets."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROBE = Path(__file__).parent / "probe"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class RunningHost:
    process: subprocess.Popen[str]
    port: int = 0
    printed: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def send(self, raw: bytes) -> Reply:
        """Send one request on its own connection."""
        with self.connect() as connection:
            connection.sendall(raw)
            return read_reply(connection, raw.partition(b" ")[0].decode("latin-1"))

    def call(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        lines = [f"{method} {target} HTTP/1.1", f"Host: localhost:{self.port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return self.send("\r\n".join([*lines, "", ""]).encode() + body)


def read_reply(connection: socket.socket, method: str) -> Reply:
    reply = http.client.HTTPResponse(connection, method=method.upper())
    reply.begin()
    return Reply(reply.status, [(name.lower(), value) for name, value in reply.getheaders()], reply.read())


@contextmanager
def running(app_root: Path, *options: str, environ: Mapping[str, str] | None = None) -> Iterator[RunningHost]:
    """Start the host on a free port, and yield once it listens."""
    host = RunningHost(start(app_root, "--port", "0", *options, environ=environ))
    assert host.process.stdout
    assert host.process.stderr
    log = threading.Thread(target=lambda: host.logged.extend(host.process.stderr or ()))
    log.start()
    try:
        for line in host.process.stdout:
            host.printed.append(line.rstrip("\n"))
            if line.startswith("Listening on "):
                host.port = int(line.rpartition(":")[2])
                break
        if not host.port:
            log.join()
            raise AssertionError("".join(host.logged))
        yield host
    finally:
        host.process.terminate()
        host.process.wait(30)
        log.join()
        host.process.stdout.close()
        host.process.stderr.close()


def wait_for(fact: Callable[[], object]) -> None:
    """Poll until the condition holds; the test fails if it never does."""
    deadline = time.monotonic() + 30
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def start(app_root: Path, *options: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.host", "--app-root", str(app_root), *options],
        cwd=ROOT,
        env={**os.environ, **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def write_app(folder: Path, functions: str, **files: str) -> Path:
    """Write an app of these functions; `files` are its other files, where `__` in a name is a dot."""
    head = "import azure.functions as func\n\napp = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)\n\n"
    (folder / "function_app.py").write_text(head + functions)
    (folder / "host.json").write_text('{"version": "2.0"}')
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder
