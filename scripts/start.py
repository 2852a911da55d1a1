"""Runs the app on this machine: Azurite, sample data and the Functions host, which all end with it.

Run by `make start`, which has installed what it needs. It reads PORT, AZURITE (`external`: one that runs already),
AZURITE_BLOB_PORT, AZURITE_QUEUE_PORT, AZURITE_TABLE_PORT, and CORE_TOOLS (`no`: the local host, whatever is installed).
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
import threading
from collections.abc import Mapping
from pathlib import Path

from urllib3.exceptions import HTTPError

from scripts.azurite import SERVICES, USUAL_PORTS, Azurite, AzuriteFailed, connection_string, is_free, responses
from scripts.azurite import start_azurite as start_azurite_process
from scripts.samples import seed_container, seed_database, seed_keys, seed_users
from scripts.setup import CORE_TOOLS, ROOT, fail
from shared.errors import StrongroomError
from shared.signing.errors import MasterKeyUnavailable

DATA = ROOT / ".data"
SETTINGS = ROOT / "local.settings.json"
MASTER_KEY = ".data/master.key"
DATABASE = ".data/main.sqlite"
HOST_STOP_SECONDS = 15


def main() -> int:
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    values, default_port = read_settings()
    DATA.mkdir(mode=0o700, exist_ok=True)
    lock = take_lock()
    port = read_port("PORT", default_port)
    if not is_free(port):
        other = 7080 if port != 7080 else 7090
        fail(f"Port {port} is in use: end what listens there, or take another: make start PORT={other}")

    if values.get("STRONGROOM_MASTER_KEY") == MASTER_KEY:
        make_master_key()
    if values.get("DATABASE_MAIN") == f"sqlite:///{DATABASE}":
        seed_database(ROOT / DATABASE)
    azurite, storage = start_azurite(values.get("AzureWebJobsStorage", ""), lock)
    host: subprocess.Popen[bytes] | None = None
    try:
        if storage:
            try:
                if seed_container(storage):
                    seed_users(storage)
                    if values.get("STRONGROOM_MASTER_KEY") == MASTER_KEY:
                        seed_keys(storage, str(ROOT / MASTER_KEY))
            except MasterKeyUnavailable as error:  # An Azurite that another checkout's keys are in.
                print(f"No sample keys were made: {error}", flush=True)
            except (OSError, HTTPError, StrongroomError) as error:
                fail(f"The sample data could not be stored: {error}")
        if not stopping.is_set():
            host = start_host(port, storage)
            write_lock(lock, start=os.getpid(), host=host.pid, **({"Azurite": azurite.process.pid} if azurite else {}))
            return watch(host, azurite, port, stopping)
        return 0
    finally:
        # The host first: what it is still writing, Azurite then saves.
        if host:
            stop_host(host)
        if azurite:
            azurite.stop()


def read_settings() -> tuple[Mapping[str, str], int]:
    """The settings as the host will see them, and its port; writes local.settings.json where there is none."""
    if not SETTINGS.exists():
        shutil.copyfile(ROOT / "local.settings.json.example", SETTINGS)
        print("Wrote local.settings.json, from local.settings.json.example.", flush=True)
    try:
        settings = json.loads(SETTINGS.read_text("utf-8-sig"))
    except UnicodeDecodeError:
        fail("local.settings.json is broken: it is not UTF-8.")
    except json.JSONDecodeError as error:
        fail(f"local.settings.json is broken at line {error.lineno}, column {error.colno}: {error.msg}.")
    values, host = (settings.get(part, {}) if isinstance(settings, dict) else None for part in ("Values", "Host"))
    if not isinstance(values, dict) or not isinstance(host, dict):
        fail('local.settings.json is broken: it must be an object, and "Values" and "Host" in it objects too.')
    port = host.get("LocalHttpPort", 7071)
    if not isinstance(port, int):
        fail('local.settings.json is broken: "LocalHttpPort" must be a number.')
    # The environment beats the file, as with Core Tools.
    return {name: str(value) for name, value in values.items()} | dict(os.environ), port


def read_port(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        fail(f"{name} must be a port from 1 to 65535, and is {text!r}.")
    return int(text)


def take_lock() -> int:
    """Hold .data for this run. Azurite holds it too: one that has outlived its start is not joined by another."""
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
    """Make the local master key, once."""
    path = ROOT / MASTER_KEY
    if path.exists():
        return
    if (DATA / "azurite").exists():
        fail(f"{MASTER_KEY} is gone, and .data/azurite holds keys under it: put it back, or remove .data/azurite too.")
    # Whole or not at all, as an interrupted start may leave it.
    unfinished = path.with_name("master.key.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=") + b"\n")
    unfinished.rename(path)


def start_azurite(storage: str, lock: int) -> tuple[Azurite | None, str]:
    """Start Azurite where the settings ask for it. Returns it, and its connection string ("" where it is not asked)."""
    if storage.strip().rstrip(";").lower() != "usedevelopmentstorage=true":
        print("AzureWebJobsStorage names an account: Azurite is not started.", flush=True)
        return None, ""
    names = [f"AZURITE_{service.upper()}_PORT" for service in SERVICES]
    ports = [read_port(name, usual) for name, usual in zip(names, USUAL_PORTS, strict=True)]
    if os.environ.get("AZURITE", "") not in ("", "external"):
        fail("AZURITE must be unset, or external: use one that runs already.")
    if os.environ.get("AZURITE"):
        for service, port in zip(SERVICES, ports, strict=True):
            if service != "queue" and not responses(port):
                fail(f"AZURITE=external, but nothing answers on port {port} ({service}).")
        return None, connection_string(ports)
    given = [bool(os.environ.get(name)) for name in names]
    for name, port, is_given in zip(names, ports, given, strict=True):
        if is_given and not is_free(port):
            fail(f"{name}={port}: this port is in use.")
    free = [port if is_given or is_free(port) else 0 for port, is_given in zip(ports, given, strict=True)]
    try:
        try:
            azurite = start_azurite_process(DATA / "azurite", free, keep_open=[lock])
        except AzuriteFailed as error:
            if "EADDRINUSE" not in str(error):
                raise
            # Another was quicker to take a usual port.
            free = [port if is_given else 0 for port, is_given in zip(ports, given, strict=True)]
            azurite = start_azurite_process(DATA / "azurite", free, keep_open=[lock])
    except AzuriteFailed as error:
        fail(str(error))
    where = ", ".join(f"{service} {port}" for service, port in zip(SERVICES, azurite.ports, strict=True))
    print(f"Azurite listens on the ports {where}; its data is in .data/azurite.", flush=True)
    return azurite, azurite.connection_string


def core_tools() -> str | None:
    """The `func` command, where it really works."""
    if os.environ.get("CORE_TOOLS") == "no":
        return None
    for command in (shutil.which("func"), str(CORE_TOOLS / "bin" / "func")):
        if command and Path(command).exists():
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                # Its npm wrapper tries to download the program when it is asked for its version.
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
    return None


def start_host(port: int, storage: str) -> subprocess.Popen[bytes]:
    """Start the Functions host: Core Tools where they work, else the local host."""
    func = core_tools()
    command = [func, "start"] if func else [sys.executable, "-m", "scripts.host"]
    environ = dict(os.environ, VIRTUAL_ENV=sys.prefix, PATH=f"{sys.prefix}/bin:{os.environ.get('PATH', '')}")
    environ.setdefault("FUNCTIONS_CORE_TOOLS_TELEMETRY_OPTOUT", "1")
    if storage:
        environ["AzureWebJobsStorage"] = storage
    return subprocess.Popen(
        [*command, "--port", str(port)], cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, start_new_session=True
    )


def stop_host(host: subprocess.Popen[bytes]) -> None:
    """End the host and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(host.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        host.wait(HOST_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(host.pid, signal.SIGKILL)
    host.wait()


def watch(host: subprocess.Popen[bytes], azurite: Azurite | None, port: int, stopping: threading.Event) -> int:
    """Wait until we are told to stop, or one of the two has ended. Returns the exit code."""
    alive = False
    while not stopping.is_set():
        if host.poll() is not None:
            print(f"The Functions host has ended (exit code {host.returncode}).", file=sys.stderr)
            return 1
        if azurite and azurite.process.poll() is not None:
            print(f"Azurite has ended (exit code {azurite.process.returncode}).", file=sys.stderr)
            return 1
        if not alive and is_alive(port):
            alive = True
            print_examples(port)
        stopping.wait(0.2)
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


def print_examples(port: int) -> None:
    api = f"http://localhost:{port}/api"
    print("\nTry, in another terminal:\n")
    print(f"  curl '{api}/sign?message=hello'")
    print(f"  curl -G '{api}/query-sql' -d 'sql=select+name,price+from+fruit+order+by+price'")
    print(f"  curl '{api}/list-blobs?container=samples'")
    print("\nCtrl-C ends it.\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
