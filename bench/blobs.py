"""Listing blobs: CPU, time and memory beside the official library's, and beside a raw GET that is thrown away."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, process_time

import msgspec
from azure.storage.blob import ContainerClient, generate_container_sas

from bench.report import Figure
from scripts.azurite import start_azurite
from shared.app import build
from shared.blobs.conditions import Conditions
from shared.blobs.store.blobs import BlobStore, Properties, Target
from shared.settings import StorageSettings
from shared.storage import Account, Storage
from shared.storage.blobs import Blobs
from shared.web import Request
from shared.web.respond import respond
from tests.support import ROOT, app_environ

ROUNDS = 9
SIZES = (5_000, 20_000)
# Prints a process's peak memory in KiB, before and after it has listed a container page by page.
MEMORY = """
import json, sys
from shared.app import build
from shared.web import Request
from shared.web.respond import respond

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1])

route = next(each for each in build(json.loads(sys.argv[1])).routes if each.name == "list-blobs")
def call(**fields):
    return respond(route, Request("POST", "http://x/api/list-blobs", {}, {}, json.dumps(fields).encode()), 1 << 23)

call(container=sys.argv[2], limit=1)
before, count, cursor = peak(), 0, None
while count == 0 or cursor:
    response = call(container=sys.argv[2], format="names", **({"cursor": cursor} if cursor else {}))
    count, cursor = count + response.body.count(b"\\n"), response.headers.get("x-cursor")
names = peak()
cursor = None
while True:
    response = call(container=sys.argv[2], **({"cursor": cursor} if cursor else {}))
    cursor = json.loads(response.body[response.body.rindex(b'"cursor":') + 9 : -1])
    if cursor is None:
        break
print(count, (peak() - before) / 1024)
"""
SDK_MEMORY = """
import sys
from azure.storage.blob import ContainerClient

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1])

client = ContainerClient.from_connection_string(sys.argv[1], sys.argv[2])
list(client.list_blobs(results_per_page=1, name_starts_with="none"))
before = peak()
print(sum(1 for _ in client.list_blobs(results_per_page=5000)), (peak() - before) / 1024)
"""
FIRST_CALL = """
import json, sys, time
from shared.app import build
from shared.web import Request
from shared.web.respond import respond

route = next(each for each in build(json.loads(sys.argv[1])).routes if each.name == "list-blobs")
request = Request("GET", "http://x/api/list-blobs?container=%s&limit=1" % sys.argv[2], {}, {}, b"")
started = time.process_time()
assert respond(route, request, 1 << 23).status == 200
print(time.process_time() - started)
"""
SDK_IMPORT = """
import sys, time
import functools, logging, re, secrets, msgspec
started = time.process_time()
import azure.storage.blob
print(time.process_time() - started)
"""


def _fill(connection: str, container: str, count: int) -> None:
    blobs = BlobStore(Storage(StorageSettings(connection)))
    blobs.create_container(container, {})

    def put(number: int) -> None:
        name = f"folder{number % 50:02}/report {number:06} final.txt"
        blobs.put(Target(container, name), b"x" * (number % 100), Properties("text/plain"), Conditions())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(count)))


def _measure(*calls: Callable[[], object]) -> list[tuple[float, float]]:
    """Median CPU and wall seconds of each call, timed in turns."""
    taken: list[tuple[list[float], list[float]]] = [([], []) for _ in calls]
    for call in calls:
        call()
    for _ in range(ROUNDS):
        for call, (cpu, wall) in zip(calls, taken, strict=True):
            started, cpu_started = perf_counter(), process_time()
            call()
            cpu.append(process_time() - cpu_started)
            wall.append(perf_counter() - started)
    return [(statistics.median(cpu), statistics.median(wall)) for cpu, wall in taken]


def _child(script: str, *arguments: str) -> list[float]:
    command = [sys.executable, "-c", script, *arguments]
    # Compiled modules are kept, app_value as well as the SDK's, which were compiled when they were installed.
    environ = os.environ | {"MALLOC_ARENA_MAX": "1", "PYTHONDONTWRITEBYTECODE": ""}
    ran = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    return [float(each) for each in ran.stdout.split()]


def run() -> Iterator[Figure]:
    """Milliseconds of CPU and wall, and MiB, on containers of 5,000 and 20,000 blobs in Azurite."""
    with tempfile.TemporaryDirectory() as folder:
        azurite = start_azurite(Path(folder, "azurite"), in_memory=True)
        try:
            connection = azurite.connection_string
            environ = app_environ(Path(folder), connection)
            for count in SIZES:
                _fill(connection, f"bench-{count}", count)
            yield from _listing(connection, environ, f"bench-{SIZES[0]}", SIZES[0])
            settings = msgspec.json.encode(environ).decode()
            for count in SIZES:
                app_value = _child(MEMORY, settings, f"bench-{count}")
                baseline = _child(SDK_MEMORY, connection, f"bench-{count}")
                assert app_value[0] == baseline[0] == count
                what = f"memory to list {count:,} blobs"
                yield Figure(what, app_value[1], "azure-storage-blob", baseline[1], "MiB", "at most 16 MiB")
            first = statistics.median(_child(FIRST_CALL, settings, "bench-5000")[0] for _ in range(ROUNDS))
            baseline_first = statistics.median(_child(SDK_IMPORT)[0] for _ in range(ROUNDS))
            yield Figure(
                "CPU of the first call (with a key, whose signature needs the library)",
                first * 1000,
                "import azure.storage.blob",
                baseline_first * 1000,
                "ms",
                "at most 1.7",
            )
        finally:
            azurite.stop()


def _listing(connection: str, environ: dict[str, str], container: str, count: int) -> Iterator[Figure]:
    route = next(each for each in build(environ).routes if each.name == "list-blobs")
    request = Request("GET", f"http://x/api/list-blobs?container={container}", {}, {}, b"")
    storage = Storage(StorageSettings(connection))

    def list_by_app() -> None:
        response = respond(route, request, 1 << 23)
        assert response.body.count(b'"name":') == count

    with ContainerClient.from_connection_string(connection, container) as client:

        def list_by_sdk() -> None:
            fields = [
                (
                    each.name,
                    each.size,
                    each.content_settings.content_type,
                    each.last_modified,
                    each.etag,
                    each.blob_tier,
                )
                for each in client.list_blobs(results_per_page=5000)
            ]
            assert len(fields) == count

        def raw() -> None:
            query = {"restype": "container", "comp": "list"}
            with Blobs(storage).listing_page(container, query, datetime.now(UTC)) as pieces:
                for _ in pieces:
                    pass

        (app_cpu, app_wall), (sdk_cpu, sdk_wall), (_, raw_wall) = _measure(list_by_app, list_by_sdk, raw)
    rclone = _rclone(storage.account, container, count)
    rclone_wall = _measure(rclone)[0][1] if rclone else None
    library = "azure-storage-blob"
    what = f"{count:,} blobs"
    yield Figure(f"CPU to list {what}", app_cpu * 1000, library, sdk_cpu * 1000, "ms", "at most 0.067, better 0.05")
    yield Figure(f"time to list {what}", app_wall * 1000, library, sdk_wall * 1000, "ms", "at most 0.5")
    yield Figure(f"time to list {what}", app_wall * 1000, "a raw GET", raw_wall * 1000, "ms", "at most 1.15")
    if rclone_wall:
        yield Figure(f"time to list {what}", app_wall * 1000, "rclone lsjson", rclone_wall * 1000, "ms", "at most 1.0")
    else:
        print("  (rclone is not installed: not compared)", flush=True)


def _rclone(account: Account, container: str, count: int) -> Callable[[], None] | None:
    """Lists by rclone, as a process of its own; None where it is not installed."""
    program = shutil.which("rclone")
    ends = datetime.now(UTC) + timedelta(hours=1)
    sas = generate_container_sas(account.name, container, account.key, permission="rl", expiry=ends)
    remote = {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_BENCH_TYPE": "azureblob",
        "RCLONE_CONFIG_BENCH_SAS_URL": f"{account.blob_url}/{container}?{sas}",
    }

    def listed() -> None:
        command = [program or "", "lsjson", "--recursive", "--fast-list", f"bench:{container}"]
        ran = subprocess.run(command, env=os.environ | remote, capture_output=True, check=True)
        assert ran.stdout.count(b'"IsDir":false') == count, ran.stdout[:200]

    return listed if program else None
