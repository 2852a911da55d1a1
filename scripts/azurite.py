"""Starts and ends Azurite, Microsoft's storage emulator, for `make start` and for the tests."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.storage import EMULATOR_ACCOUNT, EMULATOR_KEY

PROGRAM = Path(__file__).resolve().parent.parent / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
SERVICES = ("blob", "queue", "table")
USUAL_PORTS = (10000, 10001, 10002)
START_SECONDS = 60
STOP_SECONDS = 20


class AzuriteFailed(Exception):
    """Azurite did not start; the message is one line with the reason."""


def connection_string(ports: Sequence[int]) -> str:
    """The connection string of an Azurite on these ports (blob, queue, table)."""
    endpoints = "".join(
        f"{service.title()}Endpoint=http://127.0.0.1:{port}/{EMULATOR_ACCOUNT};"
        for service, port in zip(SERVICES, ports, strict=True)
    )
    return f"DefaultEndpointsProtocol=http;AccountName={EMULATOR_ACCOUNT};AccountKey={EMULATOR_KEY};{endpoints}"


@dataclass
class Azurite:
    """A running Azurite: its process, and the ports it listens on."""

    process: subprocess.Popen[bytes]
    ports: tuple[int, ...]

    @property
    def connection_string(self) -> str:
        return connection_string(self.ports)

    @property
    def blob_port(self) -> int:
        return self.ports[0]

    @property
    def table_port(self) -> int:
        return self.ports[2]

    def stop(self) -> None:
        """End it, and wait until it has saved its data."""
        # One signal only: Azurite saves at the first, and dies in the middle of that at a second.
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_azurite(
    folder: Path,
    ports: Sequence[int] = (0, 0, 0),
    *,
    in_memory: bool = False,
    keep_open: Sequence[int] = (),
) -> Azurite:
    """Start Azurite with its data in `folder`, and return when its three services listen.

    `ports` are those of blob, queue and table; 0 takes a free one. Its output goes to a log beside the folder.
    With `in_memory` it stores nothing on disk. It keeps the file descriptors `keep_open` open as long as it runs.
    Raises AzuriteFailed.
    """
    node = shutil.which("node")
    if node is None or not PROGRAM.exists():
        raise AzuriteFailed("Azurite is not installed: run make setup.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [node, str(PROGRAM), "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    command += ["--inMemoryPersistence"] if in_memory else ["--location", str(folder)]
    for service, port in zip(SERVICES, ports, strict=True):
        command += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(port)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AZURITE_")}
    log = folder.with_name(folder.name + ".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
            cwd=folder,
            pass_fds=keep_open,
            start_new_session=True,  # Ctrl-C must not reach Azurite: the host ends first.
        )
    azurite = Azurite(process, ())
    try:
        azurite.ports = _wait_for_ports(process, log)
    except BaseException:
        azurite.stop()
        raise
    return azurite


def _wait_for_ports(process: subprocess.Popen[bytes], log: Path) -> tuple[int, ...]:
    # Read the ports from Azurite's output: a connection could reach another server on one of them.
    deadline = time.monotonic() + START_SECONDS
    while True:
        ended = process.poll() is not None
        text = log.read_text(errors="replace")
        listening = dict(
            re.findall(r"Azurite (\w+) service is successfully listening at http://127\.0\.0\.1:(\d+)\n", text)
        )
        if len(listening) == len(SERVICES):
            return tuple(int(listening[service.title()]) for service in SERVICES)
        if ended:
            lines = [line for line in text.splitlines() if line.strip() and " service " not in line]
            raise AzuriteFailed(f"Azurite did not start: {lines[0] if lines else 'it printed nothing'} (see {log}).")
        if time.monotonic() > deadline:
            raise AzuriteFailed(f"Azurite did not start within {START_SECONDS} s (see {log}).")
        time.sleep(0.02)


def is_free(port: int) -> bool:
    """Whether nothing listens on this port of the loopback address."""
    with socket.socket() as probe:
        # As servers do it, so that a port that a server has just closed counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    """Whether something listens on this port of the loopback address."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False
