"""The headers that real clients send when they fetch a large blob from storage: curl, requests, and fetch in Node."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from azure.storage.blob import ContainerClient

from scripts.azurite import Azurite
from shared.storage import EMULATOR_ACCOUNT
from tests.storage.proxy import Proxy, run_proxy
from tests.support import App, StartApp

DATA = b"x" * 3000
REQUESTS = """
import json, sys, requests
session = requests.Session()
session.trust_env = False
headers = {"x-functions-key": sys.argv[2]}
if sys.argv[3] == "follow":
    print(len(session.get(sys.argv[1], headers=headers).content))
else:
    location = session.get(sys.argv[1] + "?redirect=false", headers=headers).json()
    print(len(session.get(location["url"]).content))
"""
FETCH = """
const [url, key, way] = process.argv.slice(1);
const headers = { "x-functions-key": key };
const follow = async () => (await fetch(url, { headers })).arrayBuffer();
const fetchLocation = async () => {
  const location = await (await fetch(url + "?redirect=false", { headers })).json();
  return (await fetch(location.url)).arrayBuffer();
};
(way === "follow" ? follow() : fetchLocation()).then((data) => console.log(data.byteLength));
"""


@pytest.fixture
def storage(azurite: Azurite) -> Iterator[Proxy]:
    """The storage host, as clients reach it: it records every header that they send."""
    with run_proxy(f"http://127.0.0.1:{azurite.blob_port}/{EMULATOR_ACCOUNT}") as proxy:
        yield proxy


@pytest.fixture
def app(start_app: StartApp, storage: Proxy, azurite: Azurite) -> App:
    """An app whose limit is below the size of the blob."""
    with ContainerClient.from_connection_string(azurite.connection_string, "clients") as container:
        if not container.exists():
            container.create_container()
        container.upload_blob("large.bin", DATA, overwrite=True)
    connection = ";".join(
        f"BlobEndpoint={storage.url}" if part.startswith("BlobEndpoint=") else part
        for part in azurite.connection_string.split(";")
    )
    return start_app({"AzureWebJobsStorage": connection, "STRONGROOM_MAX_BODY_BYTES": "1024"})


def commands(client: str, url: str, key: str, way: str) -> list[str]:
    """The command with which this client gets the blob."""
    if client == "requests":
        return [sys.executable, "-c", REQUESTS, url, key, way]
    node = shutil.which("node")
    assert node
    return [node, "-e", FETCH, "--", url, key, way] if client == "fetch" else []


@pytest.mark.parametrize("client", ["curl", "requests", "fetch"])
def test_the_key_stays_with_the_app(client: str, app: App, storage: Proxy) -> None:
    """With redirect=false no client sends the function key to the storage host, and each gets the bytes."""
    url = f"{app.url}/api/blobs/clients/large.bin"
    if client == "curl":
        program = shutil.which("curl")
        assert program
        quiet = [program, "--silent", "--fail", "--noproxy", "*"]
        location = json.loads(
            subprocess.run(
                [*quiet, "-H", f"x-functions-key: {app.function_key}", f"{url}?redirect=false"],
                capture_output=True,
                check=True,
            ).stdout
        )
        size = len(subprocess.run([*quiet, location["url"]], capture_output=True, check=True).stdout)
    else:
        command = commands(client, url, app.function_key, "location")
        size = int(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert size == len(DATA)
    assert [each for each in storage.requests if "sig=" in each[1]], "the client did not reach the storage host"
    assert not [each for each in storage.headers if "x-functions-key" in each]


def test_curl_sends_its_headers_along_a_redirect(app: App, storage: Proxy) -> None:
    """curl -L repeats the key at the new location: this is why redirect=false exists."""
    program = shutil.which("curl")
    assert program
    url = f"{app.url}/api/blobs/clients/large.bin"
    command = [program, "--silent", "--noproxy", "*", "-L", "-H", f"x-functions-key: {app.function_key}", url]
    assert subprocess.run(command, capture_output=True, check=True).stdout == DATA
    assert [each for each in storage.headers if "x-functions-key" in each]
