"""The hooks that azd runs around a deployment; a person can run each by hand. Standard library only.

    python scripts/azd.py check-hosting     before `azd up`: only flex takes the package that azd deploys
    python scripts/azd.py prepare           before provisioning
    python scripts/azd.py provisioned       after provisioning
    python scripts/azd.py before-deploy     before the app is deployed
    python scripts/azd.py deploy-image      builds, pushes and deploys the image, for every other hosting
    python scripts/azd.py database-roles    prints the SQL that makes the app's roles

azd passes the values of its environment, outputs of the template among them, as environment variables.
"""

import ipaddress
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
INFRA = ROOT / "infra"
ROLES_HOLD_AFTER = 180
"""Seconds. Azure documents that a role assignment can take minutes to take effect; one or two are usual."""
PROVIDERS_TAKE = 900
"""Seconds that the registration of resource providers may take; one or two minutes are usual."""
WHAT_IS_MY_IP = "https://api.ipify.org"
"""Responds with the caller's address as text: IPv4 only, which is what storage and vault take."""
BASE_IMAGE = "mcr.microsoft.com/azure-functions/python:4-python3.13"

Environ = Mapping[str, str]


def fail(message: str) -> NoReturn:
    """Print one line that describes the problem, and exit."""
    print(message, file=sys.stderr)
    raise SystemExit(1)


def run(*command: str) -> str:
    """Run a program and return its standard output. Exits with one line if the program is missing or fails."""
    try:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    except FileNotFoundError:
        fail(f"{command[0]} is not installed, or not on the PATH.")
    except subprocess.CalledProcessError as error:
        fail(f"{shlex.join(command[:3])} … failed with exit code {error.returncode}.")


def remember(name: str, value: str) -> None:
    """Keep a value in the azd environment."""
    run("azd", "env", "set", name, value)


class ResourceManager:
    """Azure Resource Manager, called with the token of the user who signed in to azd."""

    def __init__(self, environ: Environ) -> None:
        cloud = json.loads((INFRA / "cloud.json").read_text())
        self._url = environ.get("RESOURCE_MANAGER") or cloud["resourceManager"]
        scope = f"{cloud['resourceManager']}/.default"
        self._token = json.loads(run("azd", "auth", "token", "--output", "json", "--no-prompt", "--scope", scope))[
            "token"
        ]

    def call(self, method: str, path: str, version: str, body: object = None) -> Any:
        """Send a request and return the JSON of the response; None for 404. Exits with one line on any other error."""
        request = urllib.request.Request(  # noqa: S310 - the address is Azure's, or a test's.
            f"{self._url}{path}?api-version={version}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - as above.
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            fail(f"Azure refused {method} {path} with status {error.code}: {error.read(1000).decode(errors='replace')}")
        except OSError as error:
            fail(f"{self._url} cannot be reached: {error}")


# Before `azd up`, and before a deployment of the package.


def check_hosting(environ: Environ) -> None:
    """Refuse a hosting that azd cannot deploy: the package runs on flex only, every other hosting runs the image."""
    hosting = environ.get("HOSTING") or "flex"
    if hosting != "flex":
        fail(
            f"HOSTING is {hosting}, which runs an image: azd up and azd deploy are for flex alone. "
            "Run instead: azd provision && python3 scripts/azd.py deploy-image"
        )


# Before provisioning.


def prepare(environ: Environ) -> None:
    """Create the resource group, register the resource providers, and put this machine's address on the allow-list."""
    if environ.get("AZURE_SUBSCRIPTION_ID") and environ.get("AZURE_LOCATION"):
        manager = ResourceManager(environ)
        group = make_group(environ, manager)
        register_providers(environ["AZURE_SUBSCRIPTION_ID"], manager)
        if environ.get("SQL_ENGINE") == "mysql":
            make_mysql_password(environ, manager, group)
    else:
        print(
            "azd has no subscription and location yet, so resource group and resource providers were not "
            "prepared. If provisioning fails with MissingSubscriptionRegistration, run azd provision again."
        )
    allow_my_ip(environ)


def make_group(environ: Environ, manager: ResourceManager) -> str:
    """Create the resource group if it is missing: AZURE_RESOURCE_GROUP, or `rg-` and the name of the environment.

    Returns its path in Azure Resource Manager.
    """
    name = environ.get("AZURE_RESOURCE_GROUP", "")
    if not name:
        name = f"rg-{environ.get('AZURE_ENV_NAME', '')}"
        remember("AZURE_RESOURCE_GROUP", name)
    path = f"/subscriptions/{environ['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{name}"
    if manager.call("GET", path, "2021-04-01") is None:
        tags = {"azd-env-name": environ.get("AZURE_ENV_NAME", "")}
        manager.call("PUT", path, "2021-04-01", {"location": environ["AZURE_LOCATION"], "tags": tags})
        print(f"Created the resource group {name} in {environ['AZURE_LOCATION']}.")
    return path


def template_providers() -> set[str]:
    """The namespaces of all resources in the templates, such as Microsoft.App."""
    texts = [path.read_text() for path in INFRA.rglob("*.bicep")]
    return {name for text in texts for name in re.findall(r"^\s*resource \w+ '(Microsoft\.\w+)/", text, re.MULTILINE)}


def register_providers(subscription: str, manager: ResourceManager) -> None:
    """Register the providers that the templates use and a new subscription lacks, and wait until Azure has done so."""
    deadline = time.monotonic() + PROVIDERS_TAKE
    missing: list[str] = []
    for name in sorted(template_providers()):
        path = f"/subscriptions/{subscription}/providers/{name}"
        if (manager.call("GET", path, "2021-04-01") or {}).get("registrationState") != "Registered":
            manager.call("POST", f"{path}/register", "2021-04-01")
            missing.append(name)
    if missing:
        print(f"Registering the resource providers {', '.join(missing)} …", flush=True)
    while missing:
        path = f"/subscriptions/{subscription}/providers/{missing[0]}"
        if (manager.call("GET", path, "2021-04-01") or {}).get("registrationState") == "Registered":
            missing.pop(0)
        elif time.monotonic() > deadline:
            fail(f"Azure is still registering {missing[0]}: run azd provision again in a few minutes.")
        else:
            time.sleep(5)


def make_mysql_password(environ: Environ, manager: ResourceManager, group: str) -> None:
    """Make a random password if the MySQL server does not exist yet; an existing server keeps its password."""
    path = f"{group}/providers/Microsoft.DBforMySQL/flexibleServers"
    servers = (manager.call("GET", path, "2024-12-30") or {}).get("value", [])
    own_servers = [
        each for each in servers if each.get("tags", {}).get("azd-env-name") == environ.get("AZURE_ENV_NAME")
    ]
    # Azure requires three kinds of characters. Sign-in by password is off, so nobody can use it.
    remember("MYSQL_UNUSED_PASSWORD", "" if own_servers else f"aA1-{secrets.token_urlsafe(24)}")


def my_ip(environ: Environ) -> str:
    """Return this machine's public address: MY_IP, or the response of a lookup service."""
    source = environ.get("WHAT_IS_MY_IP") or WHAT_IS_MY_IP
    text = environ.get("MY_IP", "").strip()
    if not text:
        try:
            with urllib.request.urlopen(source, timeout=10) as response:  # noqa: S310 - the address is built in or set by the user.
                text = response.read(100).decode("ascii", "replace").strip()
        except OSError as error:
            fail(f"{source} does not say what this machine's address is ({error}); set MY_IP yourself.")
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        fail(f"{text!r} is not an IPv4 address; set MY_IP to the address that others see this machine at.")


def allow_my_ip(environ: Environ) -> None:
    """Put this machine's address on the allow-list if ALLOW_MY_IP is true; otherwise remove its entry."""
    allowed = environ.get("ALLOW_MY_IP", "").strip().lower()
    if allowed not in ("", "true", "false"):
        fail(f"ALLOW_MY_IP must be true or false, and is {allowed!r}.")
    if allowed == "true":
        address = my_ip(environ)
        remember("MY_IP_RANGE", address)
        print(
            f"{address} may call and deploy the app. To close it again: azd env set ALLOW_MY_IP false && azd provision"
        )
        return
    if environ.get("MY_IP_RANGE"):
        remember("MY_IP_RANGE", "")
        print("This machine's address is no longer on the allow-list.")
    if not environ.get("ALLOWED_IP_RANGES"):
        print(
            "Nobody may call or deploy the app (ALLOWED_IP_RANGES is empty): azd env set ALLOW_MY_IP true lets you in."
        )


# After provisioning.


def provisioned(environ: Environ) -> None:
    """Record when the identity got its roles (once for each identity), and print the SQL for a database."""
    principal = environ.get("IDENTITY_PRINCIPAL_ID", "")
    if principal and environ.get("ROLES_OF") != principal:
        remember("ROLES_OF", principal)
        remember("ROLES_SINCE", str(int(time.time())))
    if environ.get("MYSQL_UNUSED_PASSWORD"):
        remember("MYSQL_UNUSED_PASSWORD", "")
    if environ.get("SQL_ENGINE", "none") != "none":
        database_roles(environ)


def database_roles(environ: Environ) -> None:
    """Print the SQL that makes the reader and the writer; only an administrator of the database can run it."""
    engine, host = environ.get("SQL_ENGINE", ""), environ.get("SQL_HOST", "")
    if engine not in ("postgresql", "mysql"):
        fail("SQL_ENGINE must be postgresql or mysql.")
    ids = {}
    for name in ("IDENTITY_CLIENT_ID", "IDENTITY_PRINCIPAL_ID"):
        text = environ.get(name, "")
        # These values go into SQL text, so only hexadecimal digits and hyphens are allowed.
        if not text or text.strip("0123456789abcdef-"):
            fail(f"{name} must be the output of that name of the deployment, and is {text!r}.")
        ids[name.lower()] = text
    print(Template((INFRA / "database" / f"{engine}.sql").read_text()).substitute(ids, host=host))


# Deployment of the app.


def before_deploy(environ: Environ) -> None:
    """Refuse a hosting that runs an image; otherwise wait until the new roles have taken effect everywhere."""
    check_hosting(environ)
    left = seconds_left(environ.get("ROLES_SINCE", ""), time.time())
    if left > 0:
        print(f"The roles of the app's identity are new: waiting {left} s until they hold everywhere …", flush=True)
        time.sleep(left)


def seconds_left(since: str, now: float) -> int:
    """Seconds until roles assigned at `since` (epoch seconds; "" for never) have taken effect everywhere."""
    if not since.isdigit():
        return 0
    return max(0, min(ROLES_HOLD_AFTER, int(since) + ROLES_HOLD_AFTER - int(now)))


def deploy_image(_: Environ) -> None:
    """Build the image on the base that its tag refers to today, push it, and deploy it by the pushed digest.

    The image carries the base's digest as a label. The user who runs this needs AcrPush on the registry.
    """
    lines = [line.partition("=") for line in run("azd", "env", "get-values").splitlines()]
    values = {name: "".join(shlex.split(value)) for name, _, value in lines}
    registry = values.get("REGISTRY_SERVER", "")
    if not registry:
        fail(
            "The registry does not exist yet. Run azd env set HOSTING containerApp (or another hosting than flex), "
            "then azd provision."
        )
    manifest = run("docker", "buildx", "imagetools", "inspect", BASE_IMAGE, "--format", "{{json .Manifest}}")
    digest = json.loads(manifest)["digest"]
    base = f"{BASE_IMAGE.rpartition(':')[0]}@{digest}"
    revision = run("git", "-C", str(ROOT), "rev-parse", "HEAD")
    tag = f"{registry}/strongroom:{revision}"
    labels = {"base.digest": digest, "base.name": BASE_IMAGE, "revision": revision}
    arguments = [
        part for name, value in labels.items() for part in ("--label", f"org.opencontainers.image.{name}={value}")
    ]
    run("az", "acr", "login", "--name", registry.partition(".")[0])
    run("docker", "build", "--build-arg", f"BASE={base}", *arguments, "--tag", tag, str(ROOT))
    run("docker", "push", tag)
    image = run("docker", "inspect", "--format", "{{index .RepoDigests 0}}", tag).rpartition("/")[2]
    remember("IMAGE", image)
    run("azd", "provision", "--no-prompt")
    print(f"Deployed {image}, built on {base}.")


COMMANDS: dict[str, Callable[[Environ], None]] = {
    "check-hosting": check_hosting,
    "prepare": prepare,
    "provisioned": provisioned,
    "before-deploy": before_deploy,
    "deploy-image": deploy_image,
    "database-roles": database_roles,
}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        fail(f"Usage: python scripts/azd.py {'|'.join(COMMANDS)}")
    COMMANDS[sys.argv[1]](os.environ)
