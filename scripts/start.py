"""Runs the app on this machine: starts Azurite, stores the sample data, and starts the Functions host. Ctrl-C ends all.

`make start` runs it, after the set-up. It reads these variables: PORT, AUTH (`true`: require keys, as Azure does),
AZURITE (`external`: use one that runs already), AZURITE_BLOB_PORT, AZURITE_QUEUE_PORT, AZURITE_TABLE_PORT,
CORE_TOOLS (`no`: use the local host even where Core Tools are installed), and CONSOLE (`modules`: serve the console's
sources, so that an edit shows after a reload).
"""

import base64
import contextlib
import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError

from scripts.azurite import SERVICES, USUAL_PORTS, Azurite, AzuriteFailed, connection_string, is_free, is_listening
from scripts.azurite import start_azurite as start_azurite_process
from scripts.host.keys import load_keys, make_keys
from scripts.samples import allow_uploads, seed_container, seed_database, seed_keys, seed_models, seed_users
from scripts.setup import CORE_TOOLS, ROOT, fail
from shared.errors import StrongroomError
from shared.signing.errors import MasterKeyUnavailable

DATA = ROOT / ".data"
SETTINGS = ROOT / "local.settings.json"
MASTER_KEY = ".data/master.key"
DATABASE = ".data/main.sqlite"
KEYS = DATA / "host-keys.json"
HOST_STOP_SECONDS = 15
GROUP_STOP_SECONDS = 2
WARNINGS_SECONDS = 5
CORE_TOOLS_NODE = 22
"""The Node that version 4.15 of Core Tools requires; npm leaves the package out, without a message, on an older one."""

_is_stopping = False
"""Set by a signal. A plain flag: a handler that takes a lock can deadlock with the code that it interrupts."""


class Settings(NamedTuple):
    """The settings as the host will read them."""

    values: Mapping[str, str]
    port: int
    cors: str


def main() -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    settings = read_settings()
    values = settings.values
    DATA.mkdir(mode=0o700, exist_ok=True)
    lock = take_lock()
    port = read_port("PORT", settings.port)
    requires_keys = read_auth()
    if not is_free(port):
        other = 7080 if port != 7080 else 7090
        fail(f"Port {port} is in use. End the program that listens there, or use another port: make start PORT={other}")
    check_storage(values)

    if values.get("STRONGROOM_MASTER_KEY") == MASTER_KEY:
        make_master_key()
    if values.get("DATABASE_MAIN") == f"sqlite:///{DATABASE}":
        seed_database(ROOT / DATABASE)
    azurite, storage = start_azurite(values.get("AzureWebJobsStorage", ""), lock)
    host: subprocess.Popen[bytes] | None = None
    try:
        if storage:
            try:
                allow_uploads(storage, [f"http://localhost:{port}", f"http://127.0.0.1:{port}"])
                if seed_container(storage) and values.get("STRONGROOM_MASTER_KEY") == MASTER_KEY:
                    seed_users(storage, str(ROOT / MASTER_KEY))
                    seed_keys(storage, str(ROOT / MASTER_KEY))
                    seed_models(storage, str(ROOT / MASTER_KEY))
            except MasterKeyUnavailable as error:  # The Azurite of another checkout, with keys under its master key.
                print(f"Could not create the sample keys, users and models: {error}", flush=True)
            except (OSError, HTTPError, StrongroomError) as error:
                fail(f"Could not store the sample data: {error}")
        if not _is_stopping:
            key = load_function_key() if requires_keys else ""
            host = start_host(port, storage, settings, requires_keys=requires_keys)
            write_lock(lock, start=os.getpid(), host=host.pid, **({"Azurite": azurite.process.pid} if azurite else {}))
            return watch(host, azurite, port, key, settings)
        return 0
    finally:
        # The host first: Azurite then saves everything that the host has written.
        if host:
            stop_host(host)
        if azurite:
            azurite.stop()


def _stop(_signal: int, _frame: object) -> None:
    global _is_stopping
    _is_stopping = True


def read_settings() -> Settings:
    """Read local.settings.json and the environment. Creates local.settings.json from the example if it is missing."""
    if not SETTINGS.exists():
        shutil.copyfile(ROOT / "local.settings.json.example", SETTINGS)
        print("Wrote local.settings.json, a copy of local.settings.json.example.", flush=True)
    try:
        settings = json.loads(SETTINGS.read_text("utf-8-sig"))
    except UnicodeDecodeError:
        fail("local.settings.json is broken: it is not UTF-8.")
    except json.JSONDecodeError as error:
        position = f"line {error.lineno}, column {error.colno}"
        fail(f"local.settings.json is broken at {position}: {error.msg}. It must be JSON, without comments.")
    values, host = (settings.get(part, {}) if isinstance(settings, dict) else None for part in ("Values", "Host"))
    if not isinstance(values, dict) or not isinstance(host, dict):
        fail('local.settings.json is broken: it must be an object, and so must its "Values" and "Host".')
    if settings.get("IsEncrypted"):
        fail("local.settings.json is encrypted. Decrypt it with: func settings decrypt")
    port = host.get("LocalHttpPort", 7071)
    if not isinstance(port, int):
        fail('local.settings.json is broken: "LocalHttpPort" must be a number.')
    # As with Core Tools: the environment beats the file, and an empty variable does not.
    environ = {name: value for name, value in os.environ.items() if value}
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}
    return Settings(texts | environ, port, str(host.get("CORS") or ""))


def check_storage(values: Mapping[str, str]) -> None:
    """The host and the app need a storage account: say so now, and not at the first call."""
    if not any(
        name == "AzureWebJobsStorage" or name.startswith("AzureWebJobsStorage__") for name in values if values[name]
    ):
        fail(
            'AzureWebJobsStorage is not set. Add "AzureWebJobsStorage": "UseDevelopmentStorage=true" (Azurite) or the '
            'connection string of an account to "Values" in local.settings.json.'
        )


def read_auth() -> bool:
    text = os.environ.get("AUTH", "").lower()
    if text not in ("", "true", "false"):
        fail(f"AUTH must be true (require keys, as Azure does) or false, and is {text!r}.")
    return text == "true"


def load_function_key() -> str:
    """The function key of the local host, which is created at the first start with AUTH=true."""
    if not KEYS.exists():
        make_keys(KEYS)
    return load_keys(KEYS).function.get("default", "")


def read_port(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        fail(f"{name} must be a port from 1 to 65535, and is {text!r}.")
    return int(text)


def take_lock() -> int:
    """Lock .data for this run. Azurite holds the lock, too: if it outlives this run, no second one starts."""
    lock = os.open(DATA / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(f"This checkout is running already ({os.read(lock, 1000).decode().strip()}).")
    write_lock(lock, start=os.getpid())
    return lock


def write_lock(lock: int, **processes: int) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, ", ".join(f"{name}: process {pid}" for name, pid in processes.items()).encode(), 0)


def make_master_key() -> None:
    """Create the local master key if it is missing."""
    path = ROOT / MASTER_KEY
    if path.exists():
        return
    if (DATA / "azurite").exists():
        fail(
            f"{MASTER_KEY} is missing, and .data/azurite holds keys under it. Restore it, or remove .data/azurite, too."
        )
    # Renamed when complete: an interrupted start leaves no half of a key.
    unfinished = path.with_name("master.key.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=") + b"\n")
    unfinished.rename(path)


def start_azurite(storage: str, lock: int) -> tuple[Azurite | None, str]:
    """Start Azurite if the settings name it. Returns it and its connection string, or None and "" for an account."""
    if storage.strip().rstrip(";").lower() != "usedevelopmentstorage=true":
        print("AzureWebJobsStorage names an account: Azurite is not started.", flush=True)
        return None, ""
    names = [f"AZURITE_{service.upper()}_PORT" for service in SERVICES]
    ports = [read_port(name, usual) for name, usual in zip(names, USUAL_PORTS, strict=True)]
    if os.environ.get("AZURITE", "") not in ("", "external"):
        fail("AZURITE must be unset, or external (use one that runs already).")
    if os.environ.get("AZURITE"):
        for service, port in zip(SERVICES, ports, strict=True):
            if service != "queue" and not is_listening(port):
                fail(f"AZURITE=external, but nothing listens on port {port} ({service}).")
        return None, connection_string(ports)
    fixed = [bool(os.environ.get(name)) for name in names]
    for name, port, is_fixed in zip(names, ports, fixed, strict=True):
        if is_fixed and not is_free(port):
            fail(f"{name}={port}: this port is in use.")
    free = [port if is_fixed or is_free(port) else 0 for port, is_fixed in zip(ports, fixed, strict=True)]
    try:
        try:
            azurite = start_azurite_process(DATA / "azurite", free, keep_open=[lock])
        except AzuriteFailed as error:
            if "EADDRINUSE" not in str(error):
                raise
            # Another program has taken a usual port meanwhile.
            free = [port if is_fixed else 0 for port, is_fixed in zip(ports, fixed, strict=True)]
            azurite = start_azurite_process(DATA / "azurite", free, keep_open=[lock])
    except AzuriteFailed as error:
        fail(str(error))
    listing = ", ".join(f"{service} {port}" for service, port in zip(SERVICES, azurite.ports, strict=True))
    print(f"Azurite listens on the ports {listing}; its data is in .data/azurite.", flush=True)
    return azurite, azurite.connection_string


def core_tools() -> str | None:
    """The `func` command, if it works."""
    if os.environ.get("CORE_TOOLS") == "no":
        return None
    for command in (shutil.which("func"), str(CORE_TOOLS / "bin" / "func")):
        if command and Path(command).exists():
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                # The npm wrapper tries to download the program even for its version.
                result = subprocess.run(
                    [command, "--version"],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=30,
                    check=False,
                )
                if result.returncode == 0 and re.match(r"\d+\.\d+", result.stdout):
                    return command
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    reason = f" (Core Tools 4.15 need Node {CORE_TOOLS_NODE}; this is Node {node})" if is_old(node) else ""
    print(f"Core Tools (func) are not installed{reason}: using this project's local host.", flush=True)
    return None


def is_old(node: str) -> bool:
    """Whether this version of Node (`v20.20.2`) is too old for Core Tools."""
    major = node.removeprefix("v").partition(".")[0]
    return major.isdecimal() and int(major) < CORE_TOOLS_NODE


def start_host(port: int, storage: str, settings: Settings, *, requires_keys: bool) -> subprocess.Popen[bytes]:
    """Start the Functions host: Core Tools if they work, else the local host."""
    environ = dict(os.environ, VIRTUAL_ENV=sys.prefix, PATH=f"{sys.prefix}/bin:{os.environ.get('PATH', '')}")
    environ.setdefault("FUNCTIONS_CORE_TOOLS_TELEMETRY_OPTOUT", "1")
    if storage:
        environ["AzureWebJobsStorage"] = storage
    if os.environ.get("CONSOLE") == "modules":
        environ["STRONGROOM_CONSOLE"] = "modules"
    func = core_tools()
    command = [func, "start"] if func else [sys.executable, "-m", "scripts.host"]
    command += ["--port", str(port)]
    if origins := cors_origins(settings):
        command += ["--cors", origins]
    if not requires_keys:
        environ.setdefault("STRONGROOM_CONSOLE_OPEN", "true")
    elif func:
        command.append("--enableAuth")
        environ |= write_core_tools_keys()
    else:
        command += ["--enable-auth", "--keys", str(KEYS)]
    return subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, start_new_session=True)


def cors_origins(settings: Settings) -> str:
    """The origins for the host's `--cors`: those of the file and the app's own. "" leaves it to the file."""
    own = [origin.strip() for origin in settings.values.get("STRONGROOM_ORIGINS", "").split(",")]
    if url := settings.values.get("STRONGROOM_URL", "").strip():
        own.append(f"{urlsplit(url).scheme}://{urlsplit(url).netloc}")
    own = [origin for origin in own if origin]
    listed = [origin for origin in settings.cors.split(",") if origin]
    if not own or listed == ["*"]:
        return ""
    return ",".join(dict.fromkeys(listed + own))


def write_core_tools_keys() -> dict[str, str]:
    """Give the keys to Core Tools in the host's own format for keys in files. Returns the settings that name them."""
    keys = load_keys(KEYS)
    folder = DATA / "host-secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    content = {
        "masterKey": {"name": "master", "value": keys.master, "encrypted": False},
        "functionKeys": [{"name": name, "value": key, "encrypted": False} for name, key in keys.function.items()],
        "systemKeys": [],
    }
    path = folder / "host.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
    return {"AzureWebJobsSecretStorageType": "files", "FUNCTIONS_SECRETS_PATH": str(folder)}


def stop_host(host: subprocess.Popen[bytes]) -> None:
    """End the host, which lets calls in flight finish; then everything that it started."""
    # The host alone first: a signal for its worker, too, would cut off the calls that the host waits for. And SIGINT,
    # because Microsoft's host serves on after SIGTERM.
    host.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        host.wait(HOST_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(host.pid, signal.SIGINT)
        deadline = time.monotonic() + GROUP_STOP_SECONDS
        while time.monotonic() < deadline:
            host.poll()
            os.killpg(host.pid, 0)  # Raises when the group is empty.
            time.sleep(0.05)
        os.killpg(host.pid, signal.SIGKILL)
    host.wait()


def watch(host: subprocess.Popen[bytes], azurite: Azurite | None, port: int, key: str, settings: Settings) -> int:
    """Wait for a signal to stop, or for the end of one of the two processes. Returns the exit code."""
    alive = False
    while not _is_stopping:
        if host.poll() is not None:
            print(f"The Functions host has ended (exit code {host.returncode}).", file=sys.stderr)
            return 1
        if azurite and azurite.process.poll() is not None:
            print(f"Azurite has ended (exit code {azurite.process.returncode}).", file=sys.stderr)
            return 1
        if not alive and is_alive(port):
            alive = True
            print_examples(port, key, console=settings.values.get("STRONGROOM_CONSOLE", "").lower() != "false")
            print_warnings(port, key)
        time.sleep(0.2)
    return 0


def is_alive(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/api/live")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def print_warnings(port: int, key: str) -> None:
    """Print what `health-details` says about wrong settings and services that are down."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WARNINGS_SECONDS)
    try:
        connection.request("GET", "/api/health/details", headers={"x-functions-key": key} if key else {})
        details = json.loads(connection.getresponse().read())
        down = [name for name, service in details["services"].items() if service["status"] == "down"]
        lines = [f"The service {name} is down. Check its settings: docs/settings.md." for name in down]
        lines += [advice["detail"] for advice in details["warnings"]]
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return  # The app serves; a slow database must not hold up the start.
    finally:
        connection.close()
    for line in lines:
        print(f"Warning: {line}", flush=True)


def console_link(api: str, key: str) -> str:
    """The address of the console, with the key in its fragment, which no server sees."""
    return f"{api}/console/#key={key}" if key else f"{api}/console/"


def print_examples(port: int, key: str, *, console: bool) -> None:
    api = f"http://localhost:{port}/api"
    header = f"-H 'x-functions-key: {key}' " if key else ""
    if key:
        print(f"\nFunction key (x-functions-key): {key}")
    if console:
        print(f"\nConsole: {console_link(api, key)}")
    print("\nTry, in another terminal:\n")
    print(f"  curl {header}'{api}/sign?message=hello'")
    print(f"  curl {header}-G '{api}/query-sql' -d 'sql=select+name,price+from+fruit+order+by+price'")
    print(f"  curl {header}'{api}/list-blobs?container=samples'")
    iris = '{"model": "iris", "rows": [[5.1, 3.5, 1.4, 0.2]]}'
    print(f"  curl {header}'{api}/predict' -H 'content-type: application/json' -d '{iris}'")
    print("\nCtrl-C ends it.\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
