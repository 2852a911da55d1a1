"""The first call of each capability in a fresh process: its CPU beside that of only its libraries, loaded and used."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.report import Figure
from scripts.azurite import start_azurite
from scripts.samples import seed_container, seed_database, seed_keys, seed_users
from tests.support import ROOT, app_environ, clean_environ

ROUNDS = 9
CALLS = {
    "signing": ("sign", "POST", {"message": "hello"}),
    "passwords": ("hash-password", "POST", {"password": "correct horse battery staple"}),
    "sql": ("query-sql", "POST", {"sql": "select 1"}),
    "blobs": ("list-blobs", "POST", {"container": "samples"}),
}
"""Capability → function, method and fields of its first call."""
LIBRARIES = {
    "signing": """
import os
from azure.data.tables import TableClient
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
with TableClient.from_connection_string(os.environ["AzureWebJobsStorage"], "strongroomkeys") as table:
    next(iter(table.list_entities()))
""",
    "passwords": """
from argon2 import low_level
low_level.hash_secret(b"correct horse", b"0123456789abcdef", 2, 19456, 1, 32, low_level.Type.ID)
""",
    "sql": """
import apsw, orjson
orjson.dumps(apsw.Connection(":memory:").execute("select 1").fetchall())
""",
    "blobs": """
import os
from azure.storage.blob import ContainerClient
with ContainerClient.from_connection_string(os.environ["AzureWebJobsStorage"], "samples") as container:
    next(iter(container.list_blobs()))
""",
}
"""Capability → the libraries that do its work, and one piece of that work with them alone."""
FIRST = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
import function_app
from azure.functions.http import HttpRequest
name, method, fields = json.loads(sys.argv[2])
function = next(each for each in function_app.app.get_functions() if each.get_function_name() == name)
body = json.dumps(fields).encode()
headers = {"content-type": "application/json", "content-length": str(len(body))}
request = HttpRequest(
    method, f"http://localhost/api/{name}", headers=headers, params={}, route_params={}, body_type="bytes", body=body
)
handler = function.get_user_function()
started = time.process_time()
response = handler(request)
print(time.process_time() - started)
assert response.status_code == 200, response.get_body()
"""
IMPORT = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import function_app
function_app.app.get_functions()
started = time.process_time()
{libraries}
print(time.process_time() - started)
"""


def run() -> Iterator[Figure]:
    """Milliseconds of processor time, after indexing, with bytecode."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        azurite = start_azurite(folder / "azurite", in_memory=True)
        try:
            environ = app_environ(folder, azurite.connection_string)
            seed_database(folder / "main.sqlite")
            seed_container(azurite.connection_string)
            seed_users(azurite.connection_string, environ["STRONGROOM_MASTER_KEY"])
            seed_keys(azurite.connection_string, environ["STRONGROOM_MASTER_KEY"])
            for capability, call in CALLS.items():
                first = [_seconds(environ, FIRST, json.dumps(call)) for _ in range(ROUNDS)]
                imports = IMPORT.format(libraries=LIBRARIES[capability])
                beside = [_seconds(environ, imports) for _ in range(ROUNDS)]
                yield Figure(
                    f"{capability}: first {call[0]}",
                    statistics.median(first) * 1000,
                    "its libraries alone",
                    statistics.median(beside) * 1000,
                    "ms of CPU",
                )
        finally:
            azurite.stop()


def _seconds(environ: dict[str, str], script: str, *arguments: str) -> float:
    command = [sys.executable, "-c", script, str(ROOT), *arguments]
    settings = clean_environ() | environ | {"PYTHONDONTWRITEBYTECODE": ""}
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=True)
    return float(ran.stdout.split()[-1])
