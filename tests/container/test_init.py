"""The container's first process, scripts/init.sh, with a program that treats signals as Microsoft's host does."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.skipif(
    shutil.which("env") is None
    or "GNU" not in subprocess.run(["env", "--version"], capture_output=True, text=True, check=False).stdout,
    reason="the image has GNU env, and this machine does not",
)
# Serves on after SIGTERM. At SIGINT it lets its call finish, and ends. Like .NET, it keeps ignoring SIGINT if that was
# ignored when it started.
HOST = """
import signal, sys
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    print("SIGINT is ignored", flush=True)
    sys.exit(70)
signal.signal(signal.SIGTERM, lambda *_: print("serves on", flush=True))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
print("listening", flush=True)
signal.sigwait({signal.SIGINT})
print("the call is finished", flush=True)
sys.exit(int(sys.argv[1]))
"""


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[str]]:
    """The init with this command, in a session of its own."""
    process = subprocess.Popen(
        ["sh", str(ROOT / "scripts" / "init.sh"), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("code", [0, 3])
def test_the_host_ends_gracefully(number: signal.Signals, code: int) -> None:
    """At SIGTERM (Azure) and at SIGINT (STOPSIGNAL) the host gets SIGINT, finishes its call, and its code is kept."""
    with started(sys.executable, "-c", HOST, str(code)) as process:
        assert process.stdout
        assert process.stdout.readline() == "listening\n"
        process.send_signal(number)
        assert process.stdout.read() == "the call is finished\n"
        assert process.wait(30) == code


def test_the_host_alone_serves_on_after_sigterm() -> None:
    """The program above behaves like Microsoft's host: SIGTERM does not end it."""
    command = [sys.executable, "-c", HOST, "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "listening\n"
        process.send_signal(signal.SIGTERM)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert "the call is finished" in process.stdout.read()


@pytest.mark.parametrize("code", [0, 1, 137])
def test_the_hosts_own_end_ends_the_container(code: int) -> None:
    """A host that ends by itself ends the init with the same code, so that the restart policy starts it again."""
    with started("sh", "-c", f"exit {code}") as process:
        assert process.wait(30) == code


def test_many_signals_lose_nothing() -> None:
    """Signals in quick succession end the host like one, with its own exit code."""
    with started(sys.executable, "-c", HOST, "3") as process:
        assert process.stdout
        assert process.stdout.readline() == "listening\n"
        for _ in range(50):
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 3


def test_compose_restarts_and_stops_as_the_host_needs() -> None:
    """Compose restarts a host that ended with exit code 0, too, and stops it by SIGINT with time for its calls."""
    text = (ROOT / "compose.yaml").read_text()
    app = text.partition("\n  app:\n")[2].partition("\nvolumes:")[0]
    for line in ("    restart: always\n", "    stop_signal: SIGINT\n", "    stop_grace_period: 30s\n"):
        assert line in app
    assert "unless-stopped" not in text
    assert "on-failure" not in text
