"""Creates the virtual environment and installs the npm packages; does nothing if both match the lock files.

make runs it with the interpreter that the environment is for: `python -m scripts.setup <folder> venv|test|start|infra`.
It uses only the standard library, because it runs before anything is installed.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import signal
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
    """Print one line that explains the problem, and exit with status 1."""
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


def run_quietly(command: list[str], log: str, name: str) -> None:
    """Run a command that installs `name`, with its output in a log file; exit with one line if it fails."""
    path = ROOT / ".data" / log
    with path.open("wb") as output:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT, check=False)
    if result.returncode:
        text = path.read_text(errors="replace")
        signs = ("Retrying (", "ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "network ")
        reason = "the package index is unreachable" if any(sign in text for sign in signs) else "see the log"
        fail(f"Could not install {name}: {reason} (full output: .data/{log}).")


def refuse_while_running() -> None:
    """Fail in one line if `make start` runs here, with the packages that this command would remove."""
    with contextlib.suppress(FileNotFoundError), (ROOT / ".data" / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            processes = lock.read().strip()
            fail(f"This checkout is running already ({processes}), with another Python. End it with Ctrl-C first.")


def create_venv(folder: Path, requirements: tuple[str, ...]) -> None:
    """Create the environment if it is missing or belongs to another interpreter; install changed lock files."""
    stamp_path = folder / "strongroom.json"
    # The folder is part of the identity: an environment does not survive a move.
    identity = (
        f"{os.path.realpath(sys.executable)} {sys.version_info[0]}.{sys.version_info[1]} {os.path.realpath(folder)}"
    )
    stamp = read_stamp(stamp_path)
    if stamp.get("interpreter") != identity:
        if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
            version = f"{sys.version_info[0]}.{sys.version_info[1]}"
            fail(f"This Python cannot create virtual environments. Debian, Ubuntu: apt install python{version}-venv")
        if stamp:
            refuse_while_running()
        run_quietly([sys.executable, "-m", "venv", "--clear", str(folder)], "venv.log", "the virtual environment")
        stamp = {"interpreter": identity}
    expected = {name: digest(name) for name in requirements}
    if any(stamp.get(name) != value for name, value in expected.items()):
        print("Installing the Python packages (only the first time) …", flush=True)
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        command += ["--quiet", "--retries", "2", "--require-hashes"]
        for name in requirements:
            command += ["-r", name]
        run_quietly(command, "pip.log", "the Python packages")
        stamp_path.write_text(json.dumps(stamp | expected))


def check_node() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        fail(f"Install Node {MINIMUM_NODE} or newer, with npm (Azurite needs it): it is not on the PATH.")
    result = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    version = result.stdout.strip()
    if result.returncode or int(version.lstrip("v").split(".")[0]) < MINIMUM_NODE:
        fail(f"Install Node {MINIMUM_NODE} or newer (Azurite needs it); this one is {version or 'broken'}.")


def choose_npm_cache() -> list[str]:
    """npm fails if it cannot write to its cache in the home folder, which is read-only in some containers."""
    if any(name.lower() == "npm_config_cache" and value for name, value in os.environ.items()):
        return []
    cache = Path.home() / ".npm"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        is_writable = os.access(cache, os.W_OK)
    except OSError:
        is_writable = False
    return [] if is_writable else ["--cache", str(ROOT / ".data" / "npm-cache")]


def install_npm_packages(*, development: bool) -> None:
    """Install the packages of package-lock.json without their install scripts (only Core Tools needs its script).

    Without `development` install only what `make start` runs: Azurite and Core Tools. Development packages that are
    installed already stay, at the versions of the lock file.
    """
    stamp_path = ROOT / "node_modules" / "strongroom.json"
    stamp = read_stamp(stamp_path)
    development = development or "devDependencies" in stamp
    lock = f"{digest('package.json')} {digest('package-lock.json')}"
    expected = {"dependencies": lock} | ({"devDependencies": lock} if development else {})
    if any(stamp.get(name) != value for name, value in expected.items()):
        name = "Azurite and the development packages" if development else "Azurite"
        print(f"Installing {name} (only the first time) …", flush=True)
        # `npm ci` empties the folder first. `npm install` adds what is missing, and leaves Core Tools' binary, and the
        # files of an Azurite that runs, where they are.
        only_adds = stamp.get("dependencies") == lock
        command = ["npm", "install", "--no-save", "--no-audit", "--no-fund"] if only_adds else ["npm", "ci"]
        command += ["--ignore-scripts", "--loglevel=error", "--prefer-offline"]
        # npm omits them by itself under NODE_ENV=production, and installs them by itself elsewhere.
        command += ["--include=dev"] if development else ["--omit=dev"]
        command += choose_npm_cache()
        # By default npm retries for three minutes without a network.
        command += ["--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]
        run_quietly(command, "npm.log", f"{name} (npm)")
        stamp_path.write_text(json.dumps(expected))


def download_core_tools() -> None:
    """Let Core Tools download their binary, once. They are optional: without a network the setup still succeeds.

    If the file has not grown for 20 s, the network drops packets, and the download is stopped.
    """
    stamp_path = CORE_TOOLS / "strongroom.json"
    if os.environ.get("CORE_TOOLS") == "no" or shutil.which("func") or not CORE_TOOLS.exists() or stamp_path.exists():
        return
    print("Downloading Azure Functions Core Tools (optional, only the first time) …", flush=True)
    with (ROOT / ".data" / "core-tools.log").open("wb") as log:
        command = ["node", str(CORE_TOOLS / "lib" / "install.js")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        size, grown_at = -1, time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            current_size = sum(path.stat().st_size for path in CORE_TOOLS.glob("bin/**/*") if path.is_file())
            if current_size != size:
                size, grown_at = current_size, time.monotonic()
            elif time.monotonic() - grown_at > 20:
                process.kill()
                process.wait()
    if process.returncode:
        shutil.rmtree(CORE_TOOLS / "bin", ignore_errors=True)
        print("Could not download Core Tools; using this project's local host instead (log: .data/core-tools.log).")
    stamp_path.write_text("{}")


def main(folder: str, purpose: str) -> None:
    (ROOT / ".data").mkdir(mode=0o700, exist_ok=True)
    # Two makes at once wait for each other: the second finds nothing left to do.
    with (ROOT / "requirements.txt").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if purpose not in ("venv", "infra"):
            check_node()
        create_venv(ROOT / folder, {"start": RUNTIME, "infra": INFRA}.get(purpose, EVERYTHING))
        if purpose not in ("venv", "infra"):
            install_npm_packages(development=purpose != "start")
        if purpose == "start":
            download_core_tools()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        fail("Stopped.")
