"""Rules for the app on every hosting: its settings and its health checks."""

import re
from collections.abc import Iterator

from tests.infra.bicep import TENANT, Snapshot
from tests.infra.cases import NAME, Case

from .common import CLIENT_ID, CONNECTION, ENVIRONMENT_ADDRESS

HOST_SETTINGS = {
    "AzureWebJobsStorage__credential",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID",
    "WEBSITE_AUTH_AAD_ALLOWED_TENANTS",
    "AzureFunctionsJobHost__extensions__http__maxConcurrentRequests",
    "AzureFunctionsWebHost__hostid",
    "AzureWebJobsSecretStorageType",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_WORKER_RUNTIME",
    "WEBSITES_ENABLE_APP_SERVICE_STORAGE",
    "WEBSITES_PORT",
}
"""Settings for the Functions host and for sign-in; the app does not read them."""
CONCURRENCY: dict[object, str] = {512: "4", 2048: "16", 4096: "32"}
"""Concurrent requests per instance, by its memory in MB; the platform and the host have the same limit."""


def settings_of(snapshot: Snapshot, case: Case) -> dict[str, str]:
    """Read the settings of the app on any hosting, by name. They are empty if there is no image yet.

    Raises ValueError if a setting is listed twice.
    """
    if not case.has_host:
        return {}
    if case.is_site:
        listed = snapshot.only("Microsoft.Web/sites")["properties"]["siteConfig"]["appSettings"]
    elif case.hosting == "containerApp":
        listed = snapshot.only("Microsoft.App/containerApps")["properties"]["template"]["containers"][0]["env"]
    elif case.hosting == "containerInstance":
        group = snapshot.only("Microsoft.ContainerInstance/containerGroups")["properties"]
        listed = group["containers"][0]["properties"]["environmentVariables"]
    else:
        listed = settings_in_script(
            snapshot.only("Microsoft.Compute/virtualMachines/runCommands")["properties"]["source"]["script"]
        )
    settings = {each["name"]: each["value"] for each in listed}
    if len(settings) != len(listed):
        raise ValueError("A setting is listed twice.")
    return settings


def settings_in_script(script: str) -> list[dict[str, str]]:
    """Read the settings from a machine's script.

    The script stays an expression: a setting is a line `name=value`, or `format('{0}={1}', name, value)`.
    """
    written = script.partition("base64(join(createArray(")[2].rpartition("), '")[0]
    parts, depth, quoted = [""], 0, False
    for letter in written:
        quoted ^= letter == "'"
        depth += (letter == "(") - (letter == ")") if not quoted else 0
        if letter == "," and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    found = []
    for part in (each.strip() for each in parts):
        if made := re.fullmatch(r"format\('\{0\}=\{1\}', '(\w+)', (.*)\)", part):
            found.append({"name": made[1], "value": f"[{made[2]}]"})
        else:
            name, _, value = part.strip("'").partition("=")
            found.append({"name": name, "value": value})
    return found


def settings_reach_by_identity(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The app has exactly these settings, and reaches storage, vault and telemetry with its identity."""
    wanted = {
        "AzureWebJobsStorage__credential": "managedidentity",
        "AzureWebJobsStorage__clientId": f"[{CLIENT_ID}]",
        "AzureWebJobsStorage__blobServiceUri": f"https://sthost{NAME}.blob.core.windows.net",
        "STRONGROOM_STORAGE__clientId": f"[{CLIENT_ID}]",
        "STRONGROOM_STORAGE__blobServiceUri": f"https://st{NAME}.blob.core.windows.net",
        "STRONGROOM_STORAGE__tableServiceUri": f"https://st{NAME}.table.core.windows.net",
        "APPLICATIONINSIGHTS_CONNECTION_STRING": CONNECTION,
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": (f"[format('ClientId={{0}};Authorization=AAD', {CLIENT_ID})]"),
        "STRONGROOM_MASTER_KEY": f"https://kv-{NAME}.vault.azure.net/keys/master",
    }
    # An image has 2 GB; on Flex Consumption the parameter sets the memory.
    memory = case.parameter("instanceMemoryMB", 2048) if case.hosting == "flex" else 2048
    wanted["AzureFunctionsJobHost__extensions__http__maxConcurrentRequests"] = CONCURRENCY[memory]
    # A container instance and a machine have no front end that adds an entry to X-Forwarded-For.
    front = 0 if case.is_inside else 1
    wanted["STRONGROOM_PROXIES"] = str(front + int(str(case.parameter("proxies", 0))))
    if url := case.parameter("url", ""):
        wanted["STRONGROOM_URL"] = str(url)
    elif case.hosting == "containerApp":
        wanted["STRONGROOM_URL"] = ENVIRONMENT_ADDRESS
    if origins := case.origins:
        wanted["STRONGROOM_ORIGINS"] = ",".join(origins)
    for name, parameter in (("SIGN_IN", "publicSignIn"), ("SIGN_UP", "publicSignUp")):
        if case.parameter(parameter, False):
            wanted[f"STRONGROOM_PUBLIC_{name}"] = "true"
    wanted |= case.more_settings
    if case.private_network:
        wanted["STRONGROOM_STORAGE_PRIVATE"] = "true"
    if case.database == "none":
        wanted["DATABASE_MAIN"] = "blob://datasets/main.sqlite"
    elif case.database == "postgresql":
        verified = "sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"
        host = f"psql-{NAME}.postgres.database.azure.com:5432/strongroom?{verified}"
        wanted["DATABASE_MAIN"] = f"postgresql://strongroom_reader@{host}"
        wanted["DATABASE_MAIN_WRITE"] = f"postgresql://strongroom_writer@{host}"
    else:
        host = f"mysql-{NAME}.mysql.database.azure.com:3306/strongroom"
        wanted["DATABASE_MAIN"] = f"mysql://strongroom_reader@{host}"
        wanted["DATABASE_MAIN_WRITE"] = f"mysql://strongroom_writer@{host}"
    if case.parameter("entraClientId", ""):
        wanted["OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID"] = f"[{CLIENT_ID}]"
        wanted["WEBSITE_AUTH_AAD_ALLOWED_TENANTS"] = TENANT
    if case.hosting != "flex":
        wanted["AzureFunctionsWebHost__hostid"] = f"strongroom-{NAME}"
        wanted["AzureWebJobsSecretStorageType"] = "blob"
    if case.hosting == "appService":
        wanted["FUNCTIONS_EXTENSION_VERSION"] = "~4"
        wanted["FUNCTIONS_WORKER_RUNTIME"] = "python"
        wanted["WEBSITES_ENABLE_APP_SERVICE_STORAGE"] = "false"
        wanted["WEBSITES_PORT"] = "8080"
    if not case.has_host:
        wanted = {}
    found = settings_of(snapshot, case)
    for name in sorted(wanted | found):
        if wanted.get(name) != found.get(name):
            yield f"setting {name} is {found.get(name)!r}, not {wanted.get(name)!r}"


def health_checks_call_live(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Health checks call `live`, which calls no other service: a database that is down does not recycle the app."""
    paths = []
    if case.is_site:
        paths = [snapshot.only("Microsoft.Web/sites")["properties"]["siteConfig"].get("healthCheckPath")]
    elif case.hosting == "containerApp" and case.has_host:
        (container,) = snapshot.only("Microsoft.App/containerApps")["properties"]["template"]["containers"]
        paths = [probe["httpGet"]["path"] for probe in container["probes"]]
        if {probe["type"] for probe in container["probes"]} != {"Startup", "Liveness"}:
            yield f"the container has the probes {container['probes']!r}"
    elif case.hosting == "containerInstance" and case.has_host:
        group = snapshot.only("Microsoft.ContainerInstance/containerGroups")["properties"]
        paths = [group["containers"][0]["properties"]["livenessProbe"]["httpGet"]["path"]]
    yield from (f"a health check calls {path!r}" for path in paths if path != "/api/live")
