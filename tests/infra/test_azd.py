"""What azd runs around a deployment, run as azd runs it, with a stand-in for azd that keeps values in a file."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from scripts.azd import seconds_left
from tests.support import ROOT

PRINCIPAL = "55555555-5555-5555-5555-555555555555"
CLIENT = "66666666-6666-6666-6666-666666666666"
AZD = """#!/bin/sh
# azd env set <name> <value>
[ "$1 $2" = "env set" ] || exit 2
printf '%s=%s\\n' "$3" "$4" >> "$AZD_VALUES"
"""


class Azd:
    """An azd environment: its values, and a way to run a hook with them."""

    def __init__(self, folder: Path) -> None:
        self.values: dict[str, str] = {}
        self._folder = folder
        (folder / "azd").write_text(AZD)
        (folder / "azd").chmod(0o755)

    def run(self, hook: str) -> subprocess.CompletedProcess[str]:
        """Run a hook, and keep what it sets."""
        kept = self._folder / "values"
        kept.write_text("")
        path = f"{self._folder}:{os.environ['PATH']}"
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / "azd.py", hook],
            env={"PATH": path, "AZD_VALUES": str(kept), "NO_PROXY": "*", **self.values},
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        self.values |= dict(line.split("=", 1) for line in kept.read_text().splitlines())
        return done


@pytest.fixture
def azd(tmp_path: Path) -> Azd:
    """An azd environment without values."""
    return Azd(tmp_path)


@pytest.fixture
def says(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a service that answers every call with the text that the test names."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(request.param)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there.
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_nobody_is_let_in_unasked(azd: Azd) -> None:
    """Without ALLOW_MY_IP no address goes on the list, and the hook says how to get in."""
    done = azd.run("allow-my-ip")
    assert done.returncode == 0
    assert azd.values == {}
    assert "azd env set ALLOW_MY_IP true" in done.stdout


@pytest.mark.parametrize("says", [b"203.0.113.7", b" 203.0.113.7\n"], indirect=True)
def test_my_address_goes_on_the_list_and_off_again(azd: Azd, says: str) -> None:
    """ALLOW_MY_IP=true puts this machine's address on the list; false takes it off."""
    azd.values = {"ALLOW_MY_IP": "true", "WHAT_IS_MY_IP": says}
    assert azd.run("allow-my-ip").returncode == 0
    assert azd.values["MY_IP_RANGE"] == "203.0.113.7"
    azd.values["ALLOW_MY_IP"] = "false"
    assert azd.run("allow-my-ip").returncode == 0
    assert azd.values["MY_IP_RANGE"] == ""


def test_my_address_can_be_given(azd: Azd) -> None:
    """MY_IP names the address where no service is to be asked."""
    azd.values = {"ALLOW_MY_IP": "TRUE", "MY_IP": "198.51.100.9", "WHAT_IS_MY_IP": "http://127.0.0.1:9"}
    assert azd.run("allow-my-ip").returncode == 0
    assert azd.values["MY_IP_RANGE"] == "198.51.100.9"


@pytest.mark.parametrize(
    "says", [b"", b"<html>", b"203.0.113.0/24", b"0.0.0.0/0", b"2001:db8::1", b"1.2.3.4,0.0.0.0/0"], indirect=True
)
def test_an_answer_that_is_no_address_is_refused(azd: Azd, says: str) -> None:
    """Whatever the service answers, only one IPv4 address gets on the list."""
    azd.values = {"ALLOW_MY_IP": "true", "WHAT_IS_MY_IP": says}
    done = azd.run("allow-my-ip")
    assert done.returncode == 1
    assert "MY_IP" in done.stderr
    assert "MY_IP_RANGE" not in azd.values


def test_no_answer_is_refused(azd: Azd) -> None:
    """A service that cannot be reached stops the deployment, with what to do."""
    azd.values = {"ALLOW_MY_IP": "true", "WHAT_IS_MY_IP": "http://127.0.0.1:9"}
    done = azd.run("allow-my-ip")
    assert done.returncode == 1
    assert "set MY_IP yourself" in done.stderr


def test_neither_true_nor_false_is_refused(azd: Azd) -> None:
    """A value that is neither true nor false is not taken for one of them."""
    azd.values = {"ALLOW_MY_IP": "yes"}
    assert azd.run("allow-my-ip").returncode == 1


@pytest.mark.parametrize(
    ("since", "left"), [("1000", 180), ("900", 80), ("821", 1), ("820", 0), ("0", 0), ("", 0), ("x", 0), ("9999", 180)]
)
def test_roles_are_given_three_minutes(since: str, left: int) -> None:
    """The app is deployed three minutes after its identity got its roles, and never later than that."""
    assert seconds_left(since, 1000.5) == left


def test_the_same_identity_is_not_waited_for_again(azd: Azd) -> None:
    """An identity's roles are new once; another identity's are new again."""
    azd.values = {"IDENTITY_PRINCIPAL_ID": PRINCIPAL}
    assert azd.run("provisioned").returncode == 0
    assert azd.values["ROLES_OF"] == PRINCIPAL
    since = int(azd.values["ROLES_SINCE"])
    assert abs(since - time.time()) < 100
    azd.values["ROLES_SINCE"] = str(since - 1000)
    assert azd.run("wait-for-roles").stdout == ""
    assert azd.run("provisioned").returncode == 0
    assert azd.values["ROLES_SINCE"] == str(since - 1000)
    azd.values["IDENTITY_PRINCIPAL_ID"] = CLIENT
    assert azd.run("provisioned").returncode == 0
    assert int(azd.values["ROLES_SINCE"]) >= since


@pytest.mark.parametrize(("engine", "identity"), [("postgresql", PRINCIPAL), ("mysql", CLIENT)])
def test_the_roles_of_the_database_are_printed(engine: str, identity: str, azd: Azd) -> None:
    """After provisioning, the SQL of the app's reader and writer is printed with the identity and the host in it."""
    azd.values = {
        "SQL_ENGINE": engine,
        "SQL_HOST": "host.example.org",
        "IDENTITY_PRINCIPAL_ID": PRINCIPAL,
        "IDENTITY_CLIENT_ID": CLIENT,
    }
    printed = azd.run("provisioned").stdout
    assert f"'{identity}'" in printed
    assert "host.example.org" in printed
    assert "$(az account get-access-token" in printed
    assert "${" not in printed
    reader = [line for line in printed.splitlines() if "strongroom_reader" in line and line.startswith("GRANT")]
    assert reader
    assert not [
        line
        for line in reader
        if any(verb in line for verb in ("INSERT", "UPDATE", "DELETE", "CREATE", "ALL PRIVILEGES"))
    ]


@pytest.mark.parametrize("identity", ["", "x'; DROP TABLE fruit; --"])
def test_ids_that_are_none_do_not_get_into_sql(identity: str, azd: Azd) -> None:
    """What is no id is not put into SQL text."""
    azd.values = {"SQL_ENGINE": "postgresql", "IDENTITY_PRINCIPAL_ID": identity, "IDENTITY_CLIENT_ID": CLIENT}
    done = azd.run("database-roles")
    assert (done.returncode, done.stdout) == (1, "")
    assert "IDENTITY_PRINCIPAL_ID" in done.stderr


def test_azd_knows_the_hooks() -> None:
    """azure.yaml runs each hook before or after the step that it is for, on both kinds of shell."""
    text = (ROOT / "azure.yaml").read_text()
    for when, hook in (
        ("preprovision", "allow-my-ip"),
        ("postprovision", "provisioned"),
        ("predeploy", "wait-for-roles"),
    ):
        block = text.partition(f"  {when}:\n")[2].partition("\n  #")[0]
        assert block.count(f"scripts/azd.py {hook}\n") + block.endswith(f"scripts/azd.py {hook}") == 2, when
    for line in (
        "name: strongroom",
        "    project: .",
        "    language: python",
        "    host: function",
        "    remoteBuild: true",
    ):
        assert f"\n{line}\n" in text
