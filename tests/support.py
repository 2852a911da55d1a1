"""Runs the real app for tests, as a process with its own folder, settings, keys and port."""

import base64
import hashlib
import json
import os
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from azure.data.tables import TableClient

from scripts.samples import (
    SAMPLE_KEYS,
    open_users,
    seed_container,
    seed_database,
    seed_keys,
    seed_models,
    seed_users,
)
from shared.errors import UnknownUser
from shared.signing.store import TABLE

ROOT = Path(__file__).resolve().parent.parent
SETTING_PREFIXES = (
    "AZURE",
    "AZURITE",
    "AzureWebJobs",
    "DATABASE_",
    "FUNCTIONS_",
    "MAKE",
    "MFLAGS",
    "PORT",
    "STRONGROOM_",
)
START_SECONDS = 60
STOP_SECONDS = 30


@dataclass(frozen=True)
class App:
    """A running app: its URL, keys, process and files."""

    url: str
    function_key: str = field(repr=False)
    master_key: str = field(repr=False)
    sign_key: str = field(repr=False)
    """A key of the function `sign`, which opens no other."""
    process: subprocess.Popen[bytes]
    log: Path
    """The output of the host and the app."""
    database: Path
    """The SQLite file of the database `main`."""

    def client(self, key: str | None = None) -> httpx.Client:
        """A client that sends the function key (or `key`; "" sends none). Close it, or use it in a `with`."""
        key = self.function_key if key is None else key
        headers = {"x-functions-key": key} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)


StartApp = Callable[..., App]


not_generated = pytest.mark.skipif(
    os.environ.get("GENERATED_TESTS") == "no",
    reason="GENERATED_TESTS=no: a run on another version of Python has these tests.",
)
"""For tests of thousands of generated calls, which do not depend on the version of Python."""


def session_token(app: App) -> str:
    """The access token of a new user's session."""
    with app.client() as client:
        fields = {"user": f"user-{secrets.token_hex(8)}", "password": "correct horse battery staple"}
        response = client.post("/api/sign-up", json=fields)
        assert response.status_code == 201, response.text
        return str(response.json()["access_token"])


def _free_ports() -> Iterator[int]:
    """Free ports, each only once, below the range from which the system takes ports by itself."""
    for port in random.sample(range(20_000, 32_000), 12_000):
        with socket.socket() as probe:
            is_taken = probe.connect_ex(("127.0.0.1", port)) == 0
        if not is_taken:
            yield port


_PORTS = _free_ports()


def free_port() -> int:
    """A port that is free now, and that no connection of this machine gets meanwhile."""
    return next(_PORTS)


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections, and that no other process gets while the context is open."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


def clean_environ() -> dict[str, str]:
    """The environment without the settings of the user, and without the variables of a make that runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTING_PREFIXES)}


def app_environ(folder: Path, storage: str) -> dict[str, str]:
    """The settings of an app whose data is in `folder` and the storage account `storage`."""
    master_key = folder / "master.key"
    if not master_key.exists():
        # Apps that share a storage account need the same master key.
        key = hashlib.sha256(storage.encode()).digest()
        master_key.write_bytes(base64.urlsafe_b64encode(key).rstrip(b"=") + b"\n")
    database = f"sqlite:///{folder / 'main.sqlite'}"
    return {
        "AzureWebJobsStorage": storage,
        "STRONGROOM_MASTER_KEY": str(master_key),
        "STRONGROOM_HASH_MEMORY_MIB": "128",
        # A busy machine may stop a process for seconds. Tests of the limit set their own.
        "STRONGROOM_CALL_SECONDS": "30",
        "DATABASE_MAIN": database,
        "DATABASE_MAIN_WRITE": database,
        "STRONGROOM_PUBLIC_DATABASES": "main",
    }


@contextmanager
def run_app(
    folder: Path, environ: Mapping[str, str], *, auth: bool = True, port: int = 0, cors: str = ""
) -> Iterator[App]:
    """Run the app with its files in `folder` until the context ends. With `auth` the host enforces keys.

    Port 0 takes a free one. `cors` lists origins that the host lets call it.
    """
    app_root = folder / "app"
    if not app_root.exists():
        # Links, so that the app does not read the local.settings.json of the user.
        app_root.mkdir(parents=True)
        for name in ("function_app.py", "host.json", "shared"):
            (app_root / name).symlink_to(ROOT / name)
    master_key, function_key, sign_key = (secrets.token_urlsafe(32) for _ in range(3))
    keys = folder / "keys.json"
    functions = {"sign": {"own": sign_key}}
    keys.write_text(json.dumps({"master": master_key, "function": {"default": function_key}, "functions": functions}))
    log = folder / "app.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "scripts.host",
                "--app-root",
                app_root,
                "--port",
                str(port),
                "--stop-seconds",
                "2",
                *(["--enable-auth", "--keys", str(keys)] if auth else []),
                *(["--cors", cors] if cors else []),
            ],
            cwd=ROOT,
            env=clean_environ() | dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{wait_for_port(process, log)}"
        yield App(url, function_key, master_key, sign_key, process, log, folder / "main.sqlite")
    finally:
        stop(process)


@contextmanager
def run_sample_app(folder: Path, storage: str) -> Iterator[App]:
    """Run the app with the sample data of `make start`."""
    seed_samples(folder, storage)
    with run_app(folder, app_environ(folder, storage)) as app:
        yield app


def seed_samples(folder: Path, storage: str) -> None:
    """Store the sample data of `make start` for an app with the settings `app_environ(folder, storage)`."""
    master_key = app_environ(folder, storage)["STRONGROOM_MASTER_KEY"]
    seed_database(folder / "main.sqlite")
    seed_container(storage)
    seed_users(storage, master_key)
    seed_keys(storage, master_key)
    seed_models(storage, master_key)


def wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port that a host prints into `log` once it listens. Raises AssertionError if the host does not start."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        ended = process.poll() is not None
        text = log.read_text(errors="replace")
        if found := re.search(r"^Listening on http://localhost:(\d+)\n", text, re.MULTILINE):
            return int(found[1])
        if ended or time.monotonic() > deadline:
            raise AssertionError(f"The app did not start:\n{text}")
        time.sleep(0.02)


def restore_users(storage: str, master_key: str) -> None:
    """Restore the users of the sample data after tests that called every function with its examples."""
    store = open_users(storage, master_key)
    for name in ("alice@example.org", "bob@example.org", "carol@example.org"):
        with suppress(UnknownUser):
            store.delete(store.by_name(name))
    seed_users(storage, master_key)


def restore_keys(storage: str, master_key: str) -> None:
    """Restore the keys of the sample data after tests that called every function with its examples."""
    with TableClient.from_connection_string(storage, TABLE) as table:
        for name in (*SAMPLE_KEYS, "invoices", "partner"):
            for row in table.query_entities(f"PartitionKey eq '{name}'", select=["PartitionKey", "RowKey"]):
                table.delete_entity(row)
    seed_keys(storage, master_key)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: SIGTERM first, SIGKILL if it does not end in time."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
