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
from tests.support import ROOT, app_environ, clean_environ, seed_samples

ROUNDS = 9
CALLS = {
    "signing": ("sign", "POST", {"message": "hello"}),
    "passwords": ("hash-password", "POST", {"password": "correct horse battery staple"}),
    "sql": ("query-sql", "POST", {"sql": "select 1"}),
    "blobs": ("list-blobs", "POST", {"container": "samples"}),
    "identity": ("sign-in", "POST", {"user": "alice@example.org", "password": "correct horse battery staple"}),
    "data": ("describe-data", "POST", {"container": "samples", "path": "orchard/harvest.csv"}),
    "models": ("predict", "POST", {"model": "iris", "rows": [[5.1, 3.5, 1.4, 0.2]]}),
    "console": ("console", "GET", None),
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
    "identity": """
import os
from argon2 import low_level
from azure.data.tables import TableClient
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
low_level.hash_secret(b"correct horse", b"0123456789abcdef", 2, 19456, 1, 32, low_level.Type.ID)
ec.generate_private_key(ec.SECP256R1()).sign(b"token", ec.ECDSA(hashes.SHA256()))
with TableClient.from_connection_string(os.environ["AzureWebJobsStorage"], "strongroomusers") as table:
    next(iter(table.list_entities()))
""",
    "data": """
import os
from azure.storage.blob import BlobClient
with BlobClient.from_connection_string(os.environ["AzureWebJobsStorage"], "samples", "orchard/harvest.csv") as blob:
    blob.download_blob().readall()
""",
    "models": """
import os
from azure.data.tables import TableClient
from azure.storage.blob import BlobClient
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
with TableClient.from_connection_string(os.environ["AzureWebJobsStorage"], "strongroomkeys") as table:
    next(iter(table.list_entities()))
with BlobClient.from_connection_string(os.environ["AzureWebJobsStorage"], "samples", "models/iris.onnx") as blob:
    blob.download_blob().readall()
""",
    "console": """
from pathlib import Path
[each.read_bytes() for each in Path(sys.argv[1], "shared", "console", "static").rglob("*") if each.is_file()]
""",
}
"""Capability → the libraries that do its work, and one piece of that work with them alone."""
FIRST = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
import function_app
from azure.functions.http import HttpRequest
name, method, fields = json.loads(sys.argv[2])
route = {"path": ""} if name == "console" else {}
function = next(each for each in function_app.app.get_functions() if each.get_function_name() == name)
body = b"" if fields is None else json.dumps(fields).encode()
headers = {"content-type": "application/json", "content-length": str(len(body))}
request = HttpRequest(
    method,
    f"http://localhost/api/{name}{'/' if route else ''}",
    headers=headers,
    params={},
    route_params=route,
    body_type="bytes",
    body=body,
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
    """Milliseconds of processor time of the worker, after indexing, with bytecode; without that of child processes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        azurite = start_azurite(folder / "azurite", in_memory=True)
        try:
            environ = app_environ(folder, azurite.connection_string) | {"STRONGROOM_URL": "http://localhost:7071"}
            seed_samples(folder, azurite.connection_string)
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
