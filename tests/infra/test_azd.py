"""The hooks of azd, run as azd runs them, with programs that record their calls instead of azd, az and docker.

A server that keeps resource groups and resource providers replaces Azure Resource Manager.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from scripts.azd import seconds_left, template_providers
from tests.support import ROOT

from .bicep import INFRA

PRINCIPAL = "55555555-5555-5555-5555-555555555555"
CLIENT = "66666666-6666-6666-6666-666666666666"
SUBSCRIPTION = "22222222-2222-2222-2222-222222222222"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-orchard"
DIGEST = "sha256:" + "a" * 64
PUSHED = "sha256:" + "b" * 64
PROGRAM = """#!/bin/sh
# Keeps every call, and prints what the project reads of it.
printf '%s\\n' "${0##*/} $*" >> "$CALLS"
case "${0##*/} $1 $2" in
  "azd auth token") echo '{"token": "a-token", "expiresOn": "2026-12-01T00:00:00Z"}' ;;
  "azd env set") printf '%s=%s\\n' "$3" "$4" >> "$AZD_VALUES" ;;
  "azd env get-values") printf 'REGISTRY_SERVER="%s"\\n' "$REGISTRY" ;;
  "docker buildx imagetools") echo '{"digest": "BASE"}' ;;
  "docker inspect "*) echo "$REGISTRY/strongroom@PUSHED" ;;
  "git -C "*) echo 0123456789abcdef0123456789abcdef01234567 ;;
esac
""".replace("BASE", DIGEST).replace("PUSHED", PUSHED)


class Azd:
    """An azd environment: its values, and a way to run a hook with them."""

    def __init__(self, folder: Path) -> None:
        self.values: dict[str, str] = {}
        self.calls: list[str] = []
        self._folder = folder
        for name in ("azd", "az", "docker", "git"):
            (folder / name).write_text(PROGRAM)
            (folder / name).chmod(0o755)

    def run(self, hook: str) -> subprocess.CompletedProcess[str]:
        """Run a hook, and keep the values that it sets."""
        kept, calls = self._folder / "values", self._folder / "calls"
        kept.write_text("")
        calls.write_text("")
        path = f"{self._folder}:{os.environ['PATH']}"
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / "azd.py", hook],
            env={"PATH": path, "AZD_VALUES": str(kept), "CALLS": str(calls), "NO_PROXY": "*", **self.values},
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        self.values |= dict(line.split("=", 1) for line in kept.read_text().splitlines())
        self.calls = calls.read_text().splitlines()
        return done


class Azure:
    """Resource groups, resource providers and MySQL servers of a subscription, as Azure Resource Manager shows them."""

    def __init__(self) -> None:
        self.groups: dict[str, Any] = {}
        self.registered: set[str] = set()
        self.polls: dict[str, int] = {}
        """How often Azure still reports a provider as being registered."""
        self.mysql_servers: list[dict[str, Any]] = []
        self.refuses = False
        self.requests: list[str] = []

    def respond(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """The status and the JSON of a response."""
        if self.refuses:
            return 403, {"error": {"code": "AuthorizationFailed"}}
        if provider := re.fullmatch(f"/subscriptions/{SUBSCRIPTION}/providers/([\\w.]+)(/register)?", path):
            name = provider[1]
            if method == "POST" and provider[2]:
                self.registered.add(name)
            elif self.polls.get(name) and name in self.registered:
                self.polls[name] -= 1
                return 200, {"namespace": name, "registrationState": "Registering"}
            state = "Registered" if name in self.registered else "NotRegistered"
            return 200, {"namespace": name, "registrationState": state}
        if path.endswith("/providers/Microsoft.DBforMySQL/flexibleServers"):
            return 200, {"value": self.mysql_servers}
        if method == "PUT":
            self.groups[path] = body
        return (200, self.groups[path]) if path in self.groups else (404, {"error": {"code": "ResourceGroupNotFound"}})


@pytest.fixture
def azure() -> Iterator[tuple[Azure, str]]:
    """A subscription, and the address of its Azure Resource Manager."""
    azure = Azure()

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            path, _, query = self.path.partition("?")
            azure.requests.append(f"{self.command} {path}")
            allowed = self.headers["Authorization"] == "Bearer a-token" and query.startswith("api-version=20")
            status, found = azure.respond(self.command, path, body) if allowed else (401, {})
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        do_GET = do_POST = do_PUT = respond  # noqa: N815 - http.server's names.

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there.
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield azure, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def environment(url: str) -> dict[str, str]:
    """The variables that azd passes to a hook once it knows the subscription and the location."""
    return {
        "AZURE_ENV_NAME": "orchard",
        "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        "AZURE_LOCATION": "westeurope",
        "RESOURCE_MANAGER": url,
    }


@pytest.fixture
def azd(tmp_path: Path) -> Azd:
    """An azd environment without values."""
    return Azd(tmp_path)


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a service that responds to every call with the text of the test."""

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


def test_by_default_the_list_stays_empty(azd: Azd) -> None:
    """Without ALLOW_MY_IP the hook adds no address, and says how to add one."""
    done = azd.run("prepare")
    assert done.returncode == 0
    assert azd.values == {}
    assert "azd env set ALLOW_MY_IP true" in done.stdout


@pytest.mark.parametrize("service", [b"203.0.113.7", b" 203.0.113.7\n"], indirect=True)
def test_my_address_goes_on_the_list_and_off_again(azd: Azd, service: str) -> None:
    """ALLOW_MY_IP=true adds this machine's address to the list; false removes it."""
    azd.values = {"ALLOW_MY_IP": "true", "WHAT_IS_MY_IP": service}
    assert azd.run("prepare").returncode == 0
    assert azd.values["MY_IP_RANGE"] == "203.0.113.7"
    azd.values["ALLOW_MY_IP"] = "false"
    assert azd.run("prepare").returncode == 0
    assert azd.values["MY_IP_RANGE"] == ""


def test_my_ip_states_the_address(azd: Azd) -> None:
    """With MY_IP the hook calls no service."""
    azd.values = {"ALLOW_MY_IP": "TRUE", "MY_IP": "198.51.100.9", "WHAT_IS_MY_IP": "http://127.0.0.1:9"}
    assert azd.run("prepare").returncode == 0
    assert azd.values["MY_IP_RANGE"] == "198.51.100.9"


@pytest.mark.parametrize(
    "service", [b"", b"<html>", b"203.0.113.0/24", b"0.0.0.0/0", b"2001:db8::1", b"1.2.3.4,0.0.0.0/0"], indirect=True
)
def test_only_one_address_is_accepted(azd: Azd, service: str) -> None:
    """A response that is not one IPv4 address is refused."""
    azd.values = {"ALLOW_MY_IP": "true", "WHAT_IS_MY_IP": service}
    done = azd.run("prepare")
    assert done.returncode == 1
    assert "MY_IP" in done.stderr
    assert "MY_IP_RANGE" not in azd.values


def test_an_unreachable_service_is_an_error(azd: Azd) -> None:
    """If the service cannot be reached, the deployment stops and says what to do."""
    azd.values = {"ALLOW_MY_IP": "true", "WHAT_IS_MY_IP": "http://127.0.0.1:9"}
    done = azd.run("prepare")
    assert done.returncode == 1
    assert "set MY_IP yourself" in done.stderr


def test_neither_true_nor_false_is_refused(azd: Azd) -> None:
    """ALLOW_MY_IP accepts only true and false."""
    azd.values = {"ALLOW_MY_IP": "yes"}
    assert azd.run("prepare").returncode == 1


@pytest.mark.parametrize(
    ("since", "left"), [("1000", 180), ("900", 80), ("821", 1), ("820", 0), ("0", 0), ("", 0), ("x", 0), ("9999", 180)]
)
def test_the_first_deployment_waits_three_minutes(since: str, left: int) -> None:
    """The hook waits until three minutes after the identity got its roles, and never longer."""
    assert seconds_left(since, 1000.5) == left


def test_the_same_identity_is_not_waited_for_again(azd: Azd) -> None:
    """An identity's roles are new once; those of another identity are new again."""
    azd.values = {"IDENTITY_PRINCIPAL_ID": PRINCIPAL}
    assert azd.run("provisioned").returncode == 0
    assert azd.values["ROLES_OF"] == PRINCIPAL
    since = int(azd.values["ROLES_SINCE"])
    assert abs(since - time.time()) < 100
    azd.values["ROLES_SINCE"] = str(since - 1000)
    assert azd.run("before-deploy").stdout == ""
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
def test_only_ids_reach_sql(identity: str, azd: Azd) -> None:
    """A value that is not an id never reaches SQL text."""
    azd.values = {"SQL_ENGINE": "postgresql", "IDENTITY_PRINCIPAL_ID": identity, "IDENTITY_CLIENT_ID": CLIENT}
    done = azd.run("database-roles")
    assert (done.returncode, done.stdout) == (1, "")
    assert "IDENTITY_PRINCIPAL_ID" in done.stderr


def test_a_new_subscription_is_prepared(azd: Azd, azure: tuple[Azure, str]) -> None:
    """The hook creates the resource group, and registers the providers that the subscription lacks."""
    subscription, url = azure
    subscription.registered = {"Microsoft.Storage", "Microsoft.Authorization"}
    subscription.polls = {"Microsoft.App": 1}
    azd.values = environment(url)
    done = azd.run("prepare")
    assert done.returncode == 0, done.stderr
    assert subscription.groups == {GROUP: {"location": "westeurope", "tags": {"azd-env-name": "orchard"}}}
    assert azd.values["AZURE_RESOURCE_GROUP"] == "rg-orchard"
    assert subscription.registered == template_providers()
    posted = {request.split("/")[-2] for request in subscription.requests if request.startswith("POST")}
    assert posted == template_providers() - {"Microsoft.Storage", "Microsoft.Authorization"}
    assert "Microsoft.App" in done.stdout
    assert subscription.polls == {"Microsoft.App": 0}


def test_the_providers_are_those_of_the_templates(bicep: None, compiled: dict[str, Any]) -> None:
    """The hook finds the same namespaces in the text as the compiled template has."""
    types = re.findall(r'"type": "(Microsoft\.\w+)/', json.dumps(compiled))
    assert template_providers() == set(types) - {"Microsoft.Resources"}


def test_what_is_there_is_left(azd: Azd, azure: tuple[Azure, str]) -> None:
    """An existing resource group of any name is not changed, and no provider is registered twice."""
    subscription, url = azure
    subscription.registered = template_providers()
    path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/orchard-production"
    subscription.groups = {path: {"location": "northeurope"}}
    azd.values = environment(url) | {"AZURE_RESOURCE_GROUP": "orchard-production"}
    assert azd.run("prepare").returncode == 0
    assert subscription.groups == {path: {"location": "northeurope"}}
    assert {request.split()[0] for request in subscription.requests} == {"GET"}
    assert azd.values["AZURE_RESOURCE_GROUP"] == "orchard-production"


def test_a_refusal_of_azure_is_one_line(azd: Azd, azure: tuple[Azure, str]) -> None:
    """If Azure refuses a request, the hook ends with one line that says which and why, without the token."""
    subscription, url = azure
    subscription.refuses = True
    azd.values = environment(url)
    done = azd.run("prepare")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "AuthorizationFailed" in done.stderr
    assert "a-token" not in done.stderr + done.stdout


def test_without_a_subscription_nothing_is_prepared(azd: Azd) -> None:
    """Before azd knows the subscription, the hook prepares nothing, says so, and succeeds."""
    done = azd.run("prepare")
    assert done.returncode == 0
    assert "not prepared" in done.stdout
    assert azd.calls == []


def test_mysql_gets_a_password_once(azd: Azd, azure: tuple[Azure, str]) -> None:
    """A MySQL server is created with a random password, which is forgotten, and never gets another."""
    subscription, url = azure
    subscription.registered = template_providers()
    azd.values = environment(url) | {"SQL_ENGINE": "mysql"}
    # A server of another environment in the same group does not count.
    subscription.mysql_servers = [{"name": "mysql-other", "tags": {"azd-env-name": "other"}}]
    passwords = set()
    for _ in range(2):
        assert azd.run("prepare").returncode == 0
        passwords.add(azd.values["MYSQL_UNUSED_PASSWORD"])
    assert len(passwords) == 2
    assert all(len(password) > 30 for password in passwords)
    azd.values |= {"IDENTITY_CLIENT_ID": CLIENT, "IDENTITY_PRINCIPAL_ID": PRINCIPAL, "SQL_HOST": "host"}
    assert azd.run("provisioned").returncode == 0
    assert azd.values["MYSQL_UNUSED_PASSWORD"] == ""
    subscription.mysql_servers = [{"name": "mysql-orchard", "tags": {"azd-env-name": "orchard"}}]
    assert azd.run("prepare").returncode == 0
    assert azd.values["MYSQL_UNUSED_PASSWORD"] == ""


@pytest.mark.parametrize("hook", ["check-hosting", "before-deploy"])
def test_azd_up_is_for_flex(hook: str, azd: Azd) -> None:
    """With another hosting, `azd up` and `azd deploy` stop, and name the command that deploys the image."""
    for hosting in ("", "flex"):
        azd.values["HOSTING"] = hosting
        assert azd.run(hook).returncode == 0
    for hosting in ("containerApp", "containerInstance", "virtualMachine", "appService"):
        azd.values["HOSTING"] = hosting
        done = azd.run(hook)
        assert done.returncode == 1
        assert "azd provision && python3 scripts/azd.py deploy-image" in done.stderr


def test_the_image_is_deployed_by_its_digest(azd: Azd) -> None:
    """The image is built on the base by digest, pushed, and deployed by the digest that the push returned."""
    azd.values = {"REGISTRY": "cr123.azurecr.io"}
    done = azd.run("deploy-image")
    assert done.returncode == 0, done.stderr
    assert azd.values["IMAGE"] == f"strongroom@{PUSHED}"
    steps = [
        "az acr login --name cr123",
        f"docker build --build-arg BASE=mcr.microsoft.com/azure-functions/python@{DIGEST} ",
        "docker push cr123.azurecr.io/strongroom:0123456789abcdef",
        f"azd env set IMAGE strongroom@{PUSHED}",
        "azd provision",
    ]
    found = [next(index for index, call in enumerate(azd.calls) if call.startswith(step)) for step in steps]
    assert found == sorted(found)
    assert f"org.opencontainers.image.base.digest={DIGEST}" in azd.calls[found[1]]


def test_without_a_registry_no_image_is_built(azd: Azd) -> None:
    """If the registry does not exist, the command says how to create it, and builds nothing."""
    azd.values = {"REGISTRY": ""}
    done = azd.run("deploy-image")
    assert done.returncode == 1
    assert "azd provision" in done.stderr
    assert not [call for call in azd.calls if call.startswith("docker")]


def test_azd_knows_the_hooks() -> None:
    """azure.yaml runs each hook before or after the step that it is for, on both kinds of shell."""
    text = (ROOT / "azure.yaml").read_text()
    for when, hook in (
        ("preup", "check-hosting"),
        ("preprovision", "prepare"),
        ("postprovision", "provisioned"),
        ("predeploy", "before-deploy"),
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
    # azd would deploy the app to that group whatever AZURE_RESOURCE_GROUP says.
    assert not re.search(r"^\s*resourceGroup:", text, re.MULTILINE)


def test_the_pipeline_passes_every_parameter() -> None:
    """azd copies every parameter into the repository's variables, and the workflow passes each on: a run keeps them."""
    template = set(re.findall(r"\$\{(\w+)", (INFRA / "main.parameters.json").read_text()))
    # The hooks set these; azd itself sets those that begin with AZURE.
    parameters = template - {"MY_IP_RANGE", "MYSQL_UNUSED_PASSWORD", "IMAGE", "AZURE_ENV_NAME", "AZURE_LOCATION"}
    text = (ROOT / "azure.yaml").read_text()
    copied = set(re.findall(r"^    - (\w+)$", text.partition("variables:\n")[2].partition("hooks:")[0], re.MULTILINE))
    assert copied == parameters | {"AZURE_RESOURCE_GROUP"}
    workflow = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()
    shared = workflow.partition("\nenv:\n")[2].partition("\njobs:")[0]
    passed = re.findall(r"^  (\w+): \$\{\{ vars\.(\w+) \}\}$", shared, re.MULTILINE)
    ids = {"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_SUBSCRIPTION_ID"}
    assert {name for name, _ in passed} == template - {"MY_IP_RANGE", "MYSQL_UNUSED_PASSWORD", "IMAGE"} | ids | {
        "AZURE_RESOURCE_GROUP"
    }
    assert all(name == variable for name, variable in passed)


def test_the_address_is_removed_on_another_runner() -> None:
    """A second job provisions without the runner's address, even if the job that added it failed or died."""
    workflow = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()
    deploy, _, close = workflow.partition("\n  close:\n")
    assert "ALLOW_MY_IP" in deploy.partition("\njobs:")[2]
    assert "ALLOW_MY_IP" not in close + deploy.partition("\njobs:")[0]
    assert re.search(r"^    if: always\(\) && ", close, re.MULTILINE)
    assert "    needs: deploy\n" in close
    assert "azd provision --no-prompt" in close
    # `azd pipeline config` creates trust for a branch; an environment's tokens have another subject.
    assert "environment:" not in workflow.replace("azd environment", "")


def test_every_action_is_pinned() -> None:
    """Each action of the workflows is named by the hash of a commit, with its version beside it."""
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for use in re.findall(r"uses: (.*)", path.read_text()):
            assert use.startswith("./") or re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+(\.\d+)*", use), use
