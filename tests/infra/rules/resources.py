"""Rules for the deployment as a whole: its resources, expressions, secrets, locks and tags."""

import base64
import re
from collections.abc import Iterator

from tests.infra.bicep import INFRA, LOCATION, Snapshot
from tests.infra.cases import CONTAINER_APP, NAME, SITE, Case
from tests.infra.cases import GROUP as CONTAINER_GROUP

from .app import settings_of
from .common import (
    CLIENT_ID,
    CONNECTION,
    ENVIRONMENT_ADDRESS,
    MYSQL_PASSWORD,
    PREFIX,
    PRINCIPAL_ID,
    different,
    short,
    strings,
)

INTERFACE = f"{PREFIX}Microsoft.Network/networkInterfaces/nic-{NAME}"
MACHINE_ADDRESS = f"reference('{INTERFACE}', '2025-09-01').ipConfigurations[0].properties.privateIPAddress"
FIRST_DATA = base64.b64encode((INFRA / "modules" / "hosting" / "cloud-init.yaml").read_bytes()).decode()
"""The custom data of a machine, in base64: a file of this repository that contains no secret."""
UNRESOLVED = {
    MYSQL_PASSWORD,
    ENVIRONMENT_ADDRESS,
    f"[{CLIENT_ID}]",
    f"[{PRINCIPAL_ID}]",
    f"[format('ClientId={{0}};Authorization=AAD', {CLIENT_ID})]",
    CONNECTION,
    f"[format('https://{{0}}', reference('{PREFIX}{SITE}', '2025-03-01').defaultHostName)]",
    f"[format('https://{{0}}', reference('{PREFIX}{CONTAINER_APP}', '2026-01-01').configuration.ingress.fqdn)]",
    f"[format('http://{{0}}:8080', reference('{PREFIX}{CONTAINER_GROUP}', '2026-07-01').ipAddress.ip)]",
    f"[format('http://{{0}}:8080', {MACHINE_ADDRESS})]",
}
"""Expressions that only Azure can evaluate: ids, the telemetry address, and the hosts of sites and environments."""


def exactly_these_resources(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The deployment has exactly the resources that the case lists, each once."""
    assignments = "Microsoft.Authorization/roleAssignments"
    found = [short(resource["id"]) for resource in snapshot.resources if resource["type"] != assignments]
    wanted = case.all_resources
    yield from (f"{each} is missing" for each in sorted(wanted - set(found)))
    yield from (f"{each} is unexpected" for each in sorted(set(found) - wanted))
    yield from (f"{each} is listed twice" for each in {each for each in found if found.count(each) > 1})


def nothing_unresolved(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Azure evaluates only the expressions of UNRESOLVED, the names of role assignments and a machine's script."""
    assignments = snapshot.of_type("Microsoft.Authorization/roleAssignments")
    others = [each for each in snapshot.resources if each not in assignments]
    for text in strings([others, [each["properties"] for each in assignments], snapshot.outputs]):
        script = case.hosting == "virtualMachine" and text.startswith("[replace('#!/bin/sh")
        if text.startswith("[") and not text.startswith("[[") and text not in UNRESOLVED and not script:
            yield f"unresolved: {text}"


def no_secret(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """No setting, output or property contains a key, a password or a connection string."""
    secret = re.compile(
        r"(AccountKey|SharedAccessKey|SharedAccessSignature|Password|Pwd)\s*=|[?&]sig=|BEGIN [A-Z ]*PRIVATE KEY"
        r"|list\w*(Keys|Secrets|Sas|Credentials)\(|InstrumentationKey=|://[^/@\s]+:[^/@\s]+@"
        r"|(?<![\w/.+-])(?=[\w+/]*[A-Z])(?=[\w+/]*[0-9])[A-Za-z0-9+/]{40,}={0,2}(?![\w/.+-])",
        re.IGNORECASE,
    )
    for resource in snapshot.resources:
        if resource["type"] != "Microsoft.Insights/workbooks":
            held = [text for text in strings(resource) if secret.search(text) and text != FIRST_DATA]
            yield from (f"{short(resource['id'])} contains {text!r}" for text in held)
    for name, value in snapshot.outputs.items():
        yield from (f"output {name} contains {text!r}" for text in strings(value) if secret.search(text))
        if re.search("key|secret|password|token|connection", name, re.IGNORECASE):
            yield f"output {name} is named like a secret"
    for name, value in settings_of(snapshot, case).items():
        secretive = re.search("KEY|SECRET|PASSWORD|TOKEN|CONNECTION", name)
        address = value == f"https://kv-{NAME}.vault.azure.net/keys/master"
        reference = re.fullmatch(r"@Microsoft\.KeyVault\(SecretUri=https://[\w.-]+/secrets/[\w-]+\)", str(value))
        if secretive and not address and not reference and value != CONNECTION:
            yield f"setting {name} contains {value!r}"


def locks_forbid_deletion(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """A lock forbids deletion, and allows changes."""
    for lock in snapshot.of_type("Microsoft.Authorization/locks"):
        yield from different(lock, {"level": "CanNotDelete"})


def everything_is_tagged(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Every resource with a location is in the region or global, and has the environment's name and the tags."""
    extra = case.parameter("tags", {})
    assert isinstance(extra, dict)
    tags = {"azd-env-name": "test", **extra}
    for resource in snapshot.resources:
        location = resource.get("location")
        if location is None:
            continue
        if location not in (LOCATION, "global"):
            yield f"{short(resource['id'])} is in {location}"
        if not tags.items() <= resource.get("tags", {}).items():
            yield f"{short(resource['id'])} is tagged {resource.get('tags')!r}"
