"""`make start`, run as a user runs it, in copies of the project."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from azure.storage.blob import BlobServiceClient

from scripts import start
from scripts.azurite import Azurite, connection_string, start_azurite
from scripts.start import is_old
from tests.scripts.checkout import PYTHON, Checkout, Run, is_running

NewCheckout = Callable[[], Checkout]

# Nothing listens on port 1, and pip finds nothing elsewhere.
_NO_INDEX = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_FIND_LINKS": "",
    "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
    "PIP_NO_CACHE_DIR": "1",
}


@pytest.fixture
def new_checkout(tmp_path: Path) -> Iterator[NewCheckout]:
    """Makes copies of the project, and ends what still runs in them after the test."""
    made: list[Checkout] = []

    def make() -> Checkout:
        folder = tmp_path / f"checkout {len(made)}"
        folder.mkdir()
        made.append(Checkout(folder))
        return made[-1]

    yield make
    for checkout in made:
        for run in checkout.runs:
            if run.process.poll() is None:
                run.press_ctrl_c()


@pytest.fixture
def checkout(new_checkout: NewCheckout) -> Checkout:
    """One copy of the project."""
    return new_checkout()


def _blobs_of(run: Run) -> BlobServiceClient:
    ports = re.search(r"blob (\d+), queue (\d+), table (\d+)", run.output)
    assert ports
    return BlobServiceClient.from_connection_string(connection_string([int(port) for port in ports.groups()]))


def _get(url: str, **params: str) -> dict[str, object]:
    response = httpx.get(url, params=params or None, timeout=60, trust_env=False)
    assert response.status_code == 200, response.text
    decoded = response.json()
    assert isinstance(decoded, dict)
    return decoded


def test_a_first_start_leads_to_four_calls_that_work(checkout: Checkout) -> None:
    """A first start lists the functions, and each of the curl lines that it prints works on real data."""
    run = checkout.start()
    output = run.wait_until_running()
    assert f"list-blobs: [GET,POST] http://localhost:{run.port}/api/list-blobs" in output
    responses = []
    for line in re.findall(r"^  curl .*", output, re.MULTILINE):
        words = [word for word in shlex.split(line) if not word.startswith("-")]
        if "content-type: application/json" in words:
            headers = {"content-type": "application/json"}
            response = httpx.post(words[1], content=words[-1], headers=headers, timeout=60, trust_env=False)
            responses.append(response.json())
        else:
            responses.append(_get("?".join(words[1:])))
    assert len(responses) == 4
    signed, queried, listed, predicted = responses
    assert signed["key"] == "default"
    assert queried["row_count"] == 12
    assert "notes/crème brûlée.txt" in str(listed["blobs"])
    assert "setosa" in str(predicted["predictions"])


def test_warnings(checkout: Checkout) -> None:
    """Start prints the warnings about the settings, with keys required, too, and serves."""
    run = checkout.start(environ={"AUTH": "true", "STRONGROOM_PUBLIC_DATABASES": "main,mian"})
    line = "Warning: STRONGROOM_PUBLIC_DATABASES contains 'mian', which no setting DATABASE_<NAME> defines."
    run.wait_for(line)
    assert run.output.count("Warning: ") == 1


def test_data_is_kept(checkout: Checkout) -> None:
    """What a user changed, added or deleted is so after Ctrl-C and a second start, which installs and seeds nothing."""
    run = checkout.start()
    run.wait_until_running()
    signature = _get(f"{run.url}/sign", message="hello")["signature"]
    statements = [
        {"sql": "delete from fruit where name = 'fig'"},
        {"sql": "insert into fruit values (99, 'yuzu', 2.5)"},
    ]
    response = httpx.post(f"{run.url}/execute-sql", json={"statements": statements}, timeout=60, trust_env=False)
    assert response.status_code == 200, response.text
    with _blobs_of(run) as blobs:
        blobs.get_blob_client("samples", "welcome.txt").delete_blob()
        blobs.get_blob_client("samples", "mine.txt").upload_blob(b"mine")
    output = run.press_ctrl_c()
    assert "Traceback" not in output

    run = checkout.start()
    output = run.wait_until_running()
    assert "Installing" not in output
    assert "Wrote" not in output
    assert _get(f"{run.url}/verify", message="hello", signature=str(signature))["valid"] is True
    rows = _get(f"{run.url}/query-sql", sql="select name from fruit where name in ('fig', 'yuzu')")["rows"]
    assert rows == [["yuzu"]]
    with _blobs_of(run) as blobs:
        names = set(blobs.get_container_client("samples").list_blob_names())
    assert "mine.txt" in names
    assert "welcome.txt" not in names


def test_ctrl_c_ends_every_process(checkout: Checkout) -> None:
    """After Ctrl-C no process of the run is left, and its port is free for the next."""
    run = checkout.start()
    run.wait_until_running()
    processes = checkout.processes()
    assert set(processes) == {"start", "host", "Azurite"}
    run.press_ctrl_c()
    assert not any(is_running(group) for group in (run.process.pid, processes["host"], processes["Azurite"]))
    again = checkout.start(run.port)
    again.wait_until_running()


def test_the_signal_handler_sets_a_flag_alone() -> None:
    """The handler calls nothing: a second signal may interrupt the first one's handler, and a lock would deadlock."""
    assert start._stop.__code__.co_names == ("_is_stopping",)


def test_many_signals_end_it_too(checkout: Checkout) -> None:
    """Hundreds of signals in quick succession end the run like one."""
    run = checkout.start()
    run.wait_until_running()
    processes = checkout.processes()
    with contextlib.suppress(ProcessLookupError):  # It may end before the last.
        for _ in range(400):
            os.kill(processes["start"], signal.SIGINT)
    run.wait_until_ended()
    assert not any(is_running(group) for group in (run.process.pid, processes["host"], processes["Azurite"]))


def test_ctrl_c_lets_a_call_finish(checkout: Checkout) -> None:
    """A call in flight at Ctrl-C still gets its response: the host stops first, and waits for it."""
    run = checkout.start()
    run.wait_until_running()
    head = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 31\r\n\r\n"
    address = ("127.0.0.1", run.port)
    with socket.create_connection(address, 60) as idle, socket.create_connection(address, 60) as calling:
        idle.sendall(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(1000).startswith(b"HTTP/1.1 200")
        calling.sendall(b"POST /api/query-sql HTTP/1.1\r\nConnection: close\r\n" + head + b'{"sql": "select ')
        os.killpg(run.process.pid, signal.SIGINT)
        while idle.recv(1000):  # The host closes it when it begins to stop.
            pass
        calling.sendall(b'count(*) as n"}')
        assert calling.recv(1000).startswith(b"HTTP/1.1 200")
    output = run.wait_until_ended()
    assert "Traceback" not in output


def test_auth_requires_keys(checkout: Checkout) -> None:
    """With AUTH=true a function needs a key; start prints one, with which the printed calls work, and keeps it."""
    keys = []
    for _ in range(2):
        run = checkout.start(environ={"AUTH": "true"})
        output = run.wait_until_running()
        keys += re.findall(r"^Function key \(x-functions-key\): (\S+)$", output, re.MULTILINE)
        url = f"{run.url}/sign?message=hello"
        assert httpx.get(url, timeout=60, trust_env=False).status_code == 401
        assert httpx.get(url, headers={"x-functions-key": keys[-1]}, timeout=60, trust_env=False).status_code == 200
        assert output.count(f"-H 'x-functions-key: {keys[-1]}'") == 4
        assert f"Console: http://localhost:{run.port}/api/console/#key={keys[-1]}\n" in output
        assert "server-timing" not in httpx.get(f"{run.url}/console/", timeout=60, trust_env=False).headers
        _get(f"{run.url}/live")
        run.press_ctrl_c()
    assert len(keys) == 2
    assert keys[0] == keys[1]


def test_auth_that_is_neither(checkout: Checkout) -> None:
    """Another value of AUTH is one clear line."""
    _assert_refused(checkout.start(environ={"AUTH": "yes"}), "AUTH must be true .* or false, and is 'yes'.")


def test_the_apps_origins_may_call(checkout: Checkout) -> None:
    """Pages of STRONGROOM_ORIGINS and of the file's CORS may call, and read the response."""
    run = checkout.start(environ={"STRONGROOM_ORIGINS": "https://a.example, https://b.example"})
    run.wait_until_running()
    for origin in ("https://a.example", "https://b.example", "https://portal.azure.com"):
        response = httpx.get(f"{run.url}/live", headers={"Origin": origin}, timeout=60, trust_env=False)
        assert response.headers["access-control-allow-origin"] == origin
    assert (
        httpx.get(f"{run.url}/live", headers={"Origin": "https://c.example"}, timeout=60, trust_env=False).status_code
        == 403
    )


FUNC = """#!/bin/sh
# Behaves like Core Tools as far as start needs it: a version, and `start`, which serves and ends at SIGINT alone.
if [ "$1" = --version ]; then echo 4.15.1; exit; fi
echo "func $*"
echo "secrets: $AzureWebJobsSecretStorageType $FUNCTIONS_SECRETS_PATH"
trap '' TERM
exec python -m scripts.host --port "$3"
"""


def test_core_tools_are_used_where_they_work(checkout: Checkout, tmp_path: Path) -> None:
    """Where `func` works, start runs it, with the origins, the keys in the host's format, and an end by SIGINT."""
    (tmp_path / "func").write_text(FUNC)
    (tmp_path / "func").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environ = {"PATH": path, "CORE_TOOLS": "", "AUTH": "true", "STRONGROOM_ORIGINS": "https://a.example"}
    run = checkout.start(environ=environ)
    output = run.wait_until_running()
    origins = "https://portal.azure.com,https://a.example"
    assert f"func start --port {run.port} --cors {origins} --enableAuth" in output
    (folder,) = re.findall(r"^secrets: files (.*)$", output, re.MULTILINE)
    written = json.loads(Path(folder, "host.json").read_text())
    assert written["functionKeys"][0]["value"] in output
    assert stat.S_IMODE(Path(folder, "host.json").stat().st_mode) == 0o600
    run.press_ctrl_c()


@pytest.mark.skipif(shutil.which("func") is not None, reason="Core Tools are installed")
def test_start_says_which_host_runs(checkout: Checkout) -> None:
    """Without Core Tools one line says so, and on an older Node why npm left them out."""
    run = checkout.start(environ={"CORE_TOOLS": ""})
    output = run.wait_until_running()
    lines = re.findall(r"^Core Tools \(func\) are not installed.*: using this project's local host\.$", output, re.M)
    assert len(lines) == 1
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    assert (f"need Node 22; this is Node {node}" in lines[0]) == is_old(node)


@pytest.mark.parametrize(("node", "old"), [("v20.20.2", True), ("v22.0.0", False), ("v24.1.0", False), ("", False)])
def test_which_node_is_too_old_for_core_tools(node: str, old: bool) -> None:
    """Version 4.15 of Core Tools needs Node 22."""
    assert is_old(node) is old


def test_sigterm_ends_every_process(checkout: Checkout) -> None:
    """A SIGTERM to make alone, as a supervisor sends it, ends the run as Ctrl-C does."""
    run = checkout.start()
    run.wait_until_running()
    processes = checkout.processes()
    run.process.send_signal(signal.SIGTERM)
    run.wait_until_ended()
    assert not any(is_running(group) for group in (run.process.pid, processes["host"], processes["Azurite"]))


@pytest.mark.parametrize(
    ("victim", "line"), [("host", "The Functions host has ended"), ("Azurite", "Azurite has ended")]
)
def test_one_ends_all_end(checkout: Checkout, victim: str, line: str) -> None:
    """Where the host or Azurite dies, start says so in a line, ends the other, and fails."""
    run = checkout.start()
    run.wait_until_running()
    processes = checkout.processes()
    os.kill(processes[victim], signal.SIGKILL)
    output = run.wait_until_ended()
    assert len(re.findall(f"^{line}", output, re.MULTILINE)) == 1
    assert run.process.returncode != 0
    assert not any(is_running(group) for group in (run.process.pid, processes["host"], processes["Azurite"]))


def test_master_key(checkout: Checkout) -> None:
    """The master key is 32 random bytes that only the user can read; a second start leaves it as it is."""
    run = checkout.start()
    run.wait_until_running()
    run.press_ctrl_c()
    path = checkout.folder / ".data" / "master.key"
    key = path.read_text()
    assert re.fullmatch(r"[\w-]{43}\n", key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    checkout.start().wait_until_running()
    assert path.read_text() == key


def test_lost_master_key(checkout: Checkout) -> None:
    """If the key is missing and data encrypted under it is not, start says so and creates no other key."""
    (checkout.folder / ".data" / "azurite").mkdir(parents=True)
    _assert_refused(checkout.start(), r"\.data/master\.key is missing, .*")
    assert not (checkout.folder / ".data" / "master.key").exists()


def _assert_refused(run: Run, line: str) -> None:
    """Start has failed with this one line, besides those of make."""
    output = run.wait_until_ended()
    lines = [text for text in output.splitlines() if not re.match("make: |Wrote |Installing |Azurite listens", text)]
    assert len(lines) == 1, output
    assert re.fullmatch(line, lines[0]), output
    assert run.process.returncode != 0


def test_port_in_use(checkout: Checkout) -> None:
    """A port in use is one clear line."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        _assert_refused(checkout.start(port), rf"Port {port} is in use\. .* make start PORT=7080")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b'{\n  "Values": {,}\n}\n', "local.settings.json is broken at line 2, column 14: .*"),
        (b"", "local.settings.json is broken at line 1, column 1: .*"),
        (b"[]", "local.settings.json is broken: it must be an object.*"),
        (b'{"Values": []}', "local.settings.json is broken: it must be an object.*"),
        (b'{"Host": {"LocalHttpPort": "x"}}', 'local.settings.json is broken: "LocalHttpPort" must be a number.'),
        (b'{"Values": {}} // a comment\n', "local.settings.json is broken at line 1, .* without comments."),
        (b'{"IsEncrypted": true}', ".* encrypted. Decrypt it with: func settings decrypt"),
        (b'{"Values": {}}', 'AzureWebJobsStorage is not set. Add .* "Values" in local.settings.json.'),
        (b'{"Values": {"AzureWebJobsStorage": ""}}', "AzureWebJobsStorage is not set. .*"),
        (b"\xff\xfe", "local.settings.json is broken: it is not UTF-8."),
    ],
)
def test_broken_settings(checkout: Checkout, text: bytes, line: str) -> None:
    """A broken local.settings.json is one clear line, with the place where that is known, and stays as it is."""
    path = checkout.folder / "local.settings.json"
    path.write_bytes(text)
    _assert_refused(checkout.start(), line)
    assert path.read_bytes() == text


@pytest.mark.parametrize(
    ("version", "line"),
    [
        (None, "Install Node 20 or newer.* is not on the PATH."),
        ("v18.20.1", "Install Node 20 .*; this one is v18.20.1."),
    ],
)
def test_no_node(checkout: Checkout, tmp_path: Path, version: str | None, line: str) -> None:
    """A missing Node is one clear line, and so is one that is too old."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("make", "sh"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    if version:
        for name in ("node", "npm"):
            (tools / name).write_text(f"#!/bin/sh\necho {version}\n")
            (tools / name).chmod(0o755)
    _assert_refused(checkout.start(environ={"PATH": str(tools)}), line)


def test_old_python(checkout: Checkout, tmp_path: Path) -> None:
    """A Python that is too old, or not there, is one clear line."""
    _assert_refused(checkout.start(python=str(tmp_path / "python")), "Install Python 3.11 or newer; .* was not found.")


def test_no_network_for_pip(checkout: Checkout) -> None:
    """Where pip cannot reach its index, what failed is one clear line; the environment is tried anew the next time."""
    checkout.venv.unlink()
    for _ in range(2):
        run = checkout.start(environ=_NO_INDEX)
        _assert_refused(run, r"Could not install the Python packages: the package index is unreachable .*")


def test_no_network_for_npm(checkout: Checkout, tmp_path: Path) -> None:
    """Where npm cannot reach its registry, what failed is one clear line."""
    checkout.node_modules.unlink()
    environ = {"npm_config_cache": str(tmp_path / "cache"), "npm_config_registry": "http://127.0.0.1:1/"}
    run = checkout.start(environ=environ)
    _assert_refused(run, r"Could not install Azurite \(npm\): the package index is unreachable .*")


def test_another_interpreters_environment(checkout: Checkout) -> None:
    """An environment that another interpreter made, or one that has gone, is made again."""
    checkout.venv.unlink()
    checkout.venv.mkdir()
    (checkout.venv / "strongroom.json").write_text('{"interpreter": "/gone/python3.11 3.11"}')
    (checkout.venv / "bin").mkdir()
    (checkout.venv / "bin" / "python").symlink_to("/gone/python3.11")
    run = checkout.start(environ=_NO_INDEX)
    _assert_refused(run, "Could not install the Python packages: .*")
    assert (checkout.venv / "bin" / "python").resolve() == Path(PYTHON)


def test_two_checkouts_side_by_side(new_checkout: NewCheckout) -> None:
    """Two checkouts run at once, each with its own Azurite, data and master key."""
    first, second = new_checkout(), new_checkout()
    runs = [first.start(), second.start()]
    for run in runs:
        run.wait_until_running()
    with _blobs_of(runs[0]) as blobs, _blobs_of(runs[1]) as others:
        blobs.create_container("only-here")
        assert "only-here" not in [container.name for container in others.list_containers()]
    keys = [(checkout.folder / ".data" / "master.key").read_text() for checkout in (first, second)]
    assert keys[0] != keys[1]
    _get(f"{runs[1].url}/live")


def test_one_checkout_twice(checkout: Checkout) -> None:
    """A second start in the same checkout says that the first runs, and does it no harm."""
    run = checkout.start()
    run.wait_until_running()
    _assert_refused(checkout.start(), r"This checkout is running already \(start: process \d+, .*\)\.")
    _get(f"{run.url}/live")


@pytest.fixture
def other_azurite(tmp_path: Path) -> Iterator[Azurite]:
    """An Azurite of this test alone: what the checkout writes there is under its own master key."""
    running = start_azurite(tmp_path / "azurite", in_memory=True)
    yield running
    running.stop()


def test_external_azurite(checkout: Checkout, other_azurite: Azurite) -> None:
    """With AZURITE=external a running one is used and left running."""
    blob, queue, table = map(str, other_azurite.ports)
    environ = {"AZURITE_BLOB_PORT": blob, "AZURITE_QUEUE_PORT": queue, "AZURITE_TABLE_PORT": table}
    run = checkout.start(environ={"AZURITE": "external", **environ})
    run.wait_until_running()
    assert set(checkout.processes()) == {"start", "host"}
    assert not (checkout.folder / ".data" / "azurite").exists()
    _get(f"{run.url}/list-blobs", container="samples")
    run.press_ctrl_c()
    assert other_azurite.process.poll() is None


def test_external_azurite_that_is_not_there(checkout: Checkout) -> None:
    """With AZURITE=external and none running, start says so."""
    environ = {"AZURITE": "external", "AZURITE_BLOB_PORT": "1"}
    _assert_refused(checkout.start(environ=environ), r"AZURITE=external, but nothing listens on port 1 \(blob\)\.")


def test_azurite_port_that_is_taken(checkout: Checkout) -> None:
    """A port chosen for Azurite is not exchanged for another when it is taken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        _assert_refused(checkout.start(environ={"AZURITE_TABLE_PORT": port}), f"AZURITE_TABLE_PORT={port}: .* in use.")


def test_azurite_that_cannot_start(checkout: Checkout) -> None:
    """Where Azurite does not start, start says why in a line."""
    (checkout.folder / ".data").mkdir()
    (checkout.folder / ".data" / "master.key").write_text("x")
    (checkout.folder / ".data" / "azurite").mkdir()
    (checkout.folder / ".data" / "azurite" / "__azurite_db_table__.json").write_text("{broken")
    _assert_refused(checkout.start(), "Azurite did not start: .*")


def test_a_storage_account_of_the_users(checkout: Checkout, azurite: Azurite) -> None:
    """Where the settings name a storage account, Azurite is not started, and the account gets no samples."""
    run = checkout.start(environ={"AzureWebJobsStorage": azurite.connection_string})
    assert "Azurite is not started" in run.wait_until_running()
    assert set(checkout.processes()) == {"start", "host"}


def test_a_database_of_the_users(checkout: Checkout) -> None:
    """A database file that is there is the user's: start adds no table to it."""
    path = checkout.folder / ".data" / "main.sqlite"
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("create table mine (x)")
    connection.close()
    run = checkout.start()
    run.wait_until_running()
    assert _get(f"{run.url}/query-sql", sql="select name from sqlite_master")["rows"] == [["mine"]]
