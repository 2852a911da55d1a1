"""Makes the virtual environment and fetches the npm packages; does nothing where both are as the lock files say.

Run by make, with the interpreter that the environment is for: `python -m scripts.setup <folder> venv|test|start|infra`.
It uses the standard library alone, because it runs before anything is installed.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
MINIMUM_NODE = 20
CORE_TOOLS = ROOT / "node_modules" / "azure-functions-core-tools"
RUNTIME = ("requirements.txt", "requirements-local.txt")
EVERYTHING = (*RUNTIME, "requirements-dev.txt")
INFRA = ("infra/requirements.txt",)


def fail(message: str) -> NoReturn:
    """End with one line that says what is wrong."""
    print(message, file=sys.stderr)
    raise SystemExit(1)


def digest(name: str) -> str:
    return hashlib.sha256((ROOT / name).read_bytes()).hexdigest()


def read_stamp(path: Path) -> dict[str, str]:
    try:
        stamp = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def run_quietly(command: list[str], log: str, what: str) -> None:
    """Run a command with its output in a log file; where it fails, say in one line what failed."""
    path = ROOT / ".data" / log
    with path.open("wb") as output:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT, check=False)
    if result.returncode:
        text = path.read_text(errors="replace")
        signs = ("Retrying (", "ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "network ")
        why = "the package index cannot be reached" if any(sign in text for sign in signs) else "see the log"
        fail(f"{what} could not be installed: {why} (all of the output: .data/{log}).")


def make_venv(folder: Path, requirements: tuple[str, ...]) -> None:
    """Make the environment where it is missing or another interpreter's, and install what changed in the lock files."""
    stamp_path = folder / "strongroom.json"
    # The folder counts too: an environment does not survive a move.
    identity = (
        f"{os.path.realpath(sys.executable)} {sys.version_info[0]}.{sys.version_info[1]} {os.path.realpath(folder)}"
    )
    stamp = read_stamp(stamp_path)
    if stamp.get("interpreter") != identity:
        if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
            version = f"{sys.version_info[0]}.{sys.version_info[1]}"
            fail(f"This Python cannot make virtual environments; on Debian or Ubuntu: apt install python{version}-venv")
        run_quietly([sys.executable, "-m", "venv", "--clear", str(folder)], "venv.log", "The virtual environment")
        stamp = {"interpreter": identity}
    wanted = {name: digest(name) for name in requirements}
    if any(stamp.get(name) != value for name, value in wanted.items()):
        print("Installing the Python packages (once) …", flush=True)
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        command += ["--quiet", "--retries", "2", "--require-hashes"]
        for name in requirements:
            command += ["-r", name]
        run_quietly(command, "pip.log", "The Python packages")
        stamp_path.write_text(json.dumps(stamp | wanted))


def check_node() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        fail(f"Node {MINIMUM_NODE} or newer with npm is needed (for Azurite), and is not on the PATH.")
    result = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    version = result.stdout.strip()
    if result.returncode or int(version.lstrip("v").split(".")[0]) < MINIMUM_NODE:
        fail(f"Node {MINIMUM_NODE} or newer is needed (for Azurite); this one is {version or 'broken'}.")


def fetch_npm_packages() -> None:
    """Fetch what package-lock.json names, without running install scripts (only Core Tools has one that we want)."""
    stamp_path = ROOT / "node_modules" / "strongroom.json"
    wanted = {name: digest(name) for name in ("package.json", "package-lock.json")}
    stamp = read_stamp(stamp_path)
    if any(stamp.get(name) != value for name, value in wanted.items()):
        print("Installing Azurite (once) …", flush=True)
        command = ["npm", "ci", "--ignore-scripts", "--loglevel=error", "--prefer-offline"]
        # npm's own patience is three minutes where there is no network at all.
        command += ["--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]
        run_quietly(command, "npm.log", "Azurite (npm)")
        stamp_path.write_text(json.dumps(wanted))


def fetch_core_tools() -> None:
    """Let Core Tools download their binary, once. They are optional: a closed network is no failure.

    A network that drops packets in silence is told from a slow one by whether the file grows.
    """
    stamp_path = CORE_TOOLS / "strongroom.json"
    if os.environ.get("CORE_TOOLS") == "no" or shutil.which("func") or not CORE_TOOLS.exists() or stamp_path.exists():
        return
    print("Downloading Azure Functions Core Tools (optional, once) …", flush=True)
    with (ROOT / ".data" / "core-tools.log").open("wb") as log:
        command = ["node", str(CORE_TOOLS / "lib" / "install.js")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        size, grew = -1, time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            now = sum(path.stat().st_size for path in CORE_TOOLS.glob("bin/**/*") if path.is_file())
            if now != size:
                size, grew = now, time.monotonic()
            elif time.monotonic() - grew > 20:
                process.kill()
                process.wait()
    if process.returncode:
        shutil.rmtree(CORE_TOOLS / "bin", ignore_errors=True)
        print("Core Tools could not be downloaded; the local host takes their place (see .data/core-tools.log).")
    stamp_path.write_text("{}")


def main(folder: str, purpose: str) -> None:
    (ROOT / ".data").mkdir(mode=0o700, exist_ok=True)
    # Two makes at once wait for each other: the second finds everything done.
    with (ROOT / "requirements.txt").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if purpose not in ("venv", "infra"):
            check_node()
        make_venv(ROOT / folder, {"start": RUNTIME, "infra": INFRA}.get(purpose, EVERYTHING))
        if purpose not in ("venv", "infra"):
            fetch_npm_packages()
        if purpose == "start":
            fetch_core_tools()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        fail("Stopped.")
