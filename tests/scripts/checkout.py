"""A copy of the project in a folder of its own, where `make start` runs as a user would run it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import ROOT, clean_environ, free_port

PYTHON = str(Path(sys.executable).resolve())
WAIT_SECONDS = 90


@dataclass
class Run:
    """One `make start` in its own session, as a terminal gives it one: `make` and the script share a process group."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until_running(self) -> str:
        """The output up to the examples, once the app runs."""
        return self.wait_for("Ctrl-C ends it.")

    def wait_for(self, text: str) -> str:
        """The output, once it contains the text."""
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)
        return self.output

    def press_ctrl_c(self) -> str:
        os.killpg(self.process.pid, signal.SIGINT)
        return self.wait_until_ended()

    def wait_until_ended(self) -> str:
        self.process.wait(WAIT_SECONDS)
        return self.output


@dataclass
class Checkout:
    """The copy, and what was started in it."""

    folder: Path
    runs: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        # What is to be committed counts too, and what is ignored does not.
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            # A file may be deleted but not yet committed so.
            if (ROOT / name).exists():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / name).write_bytes((ROOT / name).read_bytes())
        # What is installed is lent, with its stamps.
        self.venv.symlink_to(sys.prefix)
        self.node_modules.symlink_to(ROOT / "node_modules")

    @property
    def venv(self) -> Path:
        """The virtual environment, which make names by the interpreter."""
        return self.folder / f".venv-{Path(PYTHON).name.removeprefix('python')}"

    @property
    def node_modules(self) -> Path:
        return self.folder / "node_modules"

    def processes(self) -> dict[str, int]:
        """The processes of the run, as start wrote them down: each but the first leads a group of its own."""
        text = (self.folder / ".data" / "lock").read_text()
        return {name: int(pid) for name, pid in re.findall(r"(\w+): process (\d+)", text)}

    def start(self, port: int | None = None, environ: Mapping[str, str] | None = None, python: str = PYTHON) -> Run:
        port = port or free_port()
        log = self.folder / f"start-{time.monotonic_ns()}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["make", "--no-print-directory", "start", f"PORT={port}", f"PYTHON={python}"],
                cwd=self.folder,
                env=clean_environ() | {"CORE_TOOLS": "no"} | dict(environ or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        run = Run(process, log, port)
        self.runs.append(run)
        return run


def is_running(group: int) -> bool:
    """Whether a process of this group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
