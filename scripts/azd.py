"""What azd runs around a deployment, and a person by hand. It uses the standard library alone.

    python scripts/azd.py allow-my-ip       before provisioning
    python scripts/azd.py provisioned       after it
    python scripts/azd.py wait-for-roles    before the app is deployed
    python scripts/azd.py database-roles    prints the SQL that makes the app's roles

azd gives its environment's values as environment variables, the outputs of the template among them.
"""

import ipaddress
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from typing import NoReturn

DATABASE = Path(__file__).resolve().parent.parent / "infra" / "database"
ROLES_HOLD_AFTER = 180
"""Seconds. Azure says that a role assignment may take minutes to hold; one or two are usual."""
WHAT_IS_MY_IP = "https://api.ipify.org"
"""Answers with the caller's address as text, IPv4 alone, which is what storage and vault take."""


def fail(message: str) -> NoReturn:
    """End with one line that says what is wrong."""
    print(message, file=sys.stderr)
    raise SystemExit(1)


def remember(name: str, value: str) -> None:
    """Keep a value in the azd environment."""
    try:
        subprocess.run(["azd", "env", "set", name, value], check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        fail(f"azd env set {name} did not work: {error}")


def my_ip(environ: Mapping[str, str]) -> str:
    """The address that this machine is seen by from outside: MY_IP, or what a service answers."""
    source = environ.get("WHAT_IS_MY_IP") or WHAT_IS_MY_IP
    text = environ.get("MY_IP", "").strip()
    if not text:
        try:
            with urllib.request.urlopen(source, timeout=10) as answer:  # noqa: S310 - the address is ours or the user's.
                text = answer.read(100).decode("ascii", "replace").strip()
        except OSError as error:
            fail(f"{source} does not say what this machine's address is ({error}); set MY_IP yourself.")
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        fail(f"{text!r} is no IPv4 address; set MY_IP to the one that this machine is seen by from outside.")


def allow_my_ip(environ: Mapping[str, str]) -> None:
    """Put this machine's address on the allow-list when ALLOW_MY_IP is true, else take the one that is there away."""
    asked = environ.get("ALLOW_MY_IP", "").strip().lower()
    if asked not in ("", "true", "false"):
        fail(f"ALLOW_MY_IP must be true or false, and is {asked!r}.")
    if asked == "true":
        address = my_ip(environ)
        remember("MY_IP_RANGE", address)
        print(
            f"{address} may call and deploy the app. To close it again: azd env set ALLOW_MY_IP false && azd provision"
        )
        return
    if environ.get("MY_IP_RANGE"):
        remember("MY_IP_RANGE", "")
        print("This machine's address is taken off the allow-list.")
    if not environ.get("ALLOWED_IP_RANGES"):
        print(
            "Nobody may call or deploy the app (ALLOWED_IP_RANGES is empty): azd env set ALLOW_MY_IP true lets you in."
        )


def provisioned(environ: Mapping[str, str]) -> None:
    """Remember when the identity got its roles (once an identity), and print the SQL for a database."""
    principal = environ.get("IDENTITY_PRINCIPAL_ID", "")
    if principal and environ.get("ROLES_OF") != principal:
        remember("ROLES_OF", principal)
        remember("ROLES_SINCE", str(int(time.time())))
    if environ.get("SQL_ENGINE", "none") != "none":
        database_roles(environ)


def wait_for_roles(environ: Mapping[str, str]) -> None:
    """Wait until the roles are old enough to hold everywhere; a second deployment does not wait."""
    left = seconds_left(environ.get("ROLES_SINCE", ""), time.time())
    if left > 0:
        print(f"The roles of the app's identity are new: {left} s until they hold everywhere …", flush=True)
        time.sleep(left)


def seconds_left(since: str, now: float) -> int:
    """How long roles given at `since` (seconds of the epoch; "" for never) still may not hold."""
    if not since.isdigit():
        return 0
    return max(0, min(ROLES_HOLD_AFTER, int(since) + ROLES_HOLD_AFTER - int(now)))


def database_roles(environ: Mapping[str, str]) -> None:
    """Print the SQL that makes the reader and the writer; only an administrator of the database can run it."""
    engine, host = environ.get("SQL_ENGINE", ""), environ.get("SQL_HOST", "")
    if engine not in ("postgresql", "mysql"):
        fail("SQL_ENGINE must be postgresql or mysql.")
    ids = {}
    for name in ("IDENTITY_CLIENT_ID", "IDENTITY_PRINCIPAL_ID"):
        text = environ.get(name, "")
        # They go into SQL text: nothing but hexadecimal digits and hyphens may.
        if not text or text.strip("0123456789abcdef-"):
            fail(f"{name} must be the output of that name of the deployment, and is {text!r}.")
        ids[name.lower()] = text
    print(Template((DATABASE / f"{engine}.sql").read_text()).substitute(ids, host=host))


COMMANDS: dict[str, Callable[[Mapping[str, str]], None]] = {
    "allow-my-ip": allow_my_ip,
    "provisioned": provisioned,
    "wait-for-roles": wait_for_roles,
    "database-roles": database_roles,
}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        fail(f"Usage: python scripts/azd.py {'|'.join(COMMANDS)}")
    COMMANDS[sys.argv[1]](os.environ)
