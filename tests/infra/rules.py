"""Rules for every deployment: one function each, which yields every violation.

Each takes what a template evaluated to and the case that it was evaluated for. tests/infra/test_rules.py shows that
all hold, and breaks each one to see that it notices.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from .bicep import GROUP, INFRA, LOCATION, TENANT, Resource, Snapshot
from .cases import (
    CLIENT,
    CONTAINER_APP,
    ENVIRONMENT,
    HOST_STORAGE,
    IMAGE,
    MACHINE,
    NAME,
    PULL,
    REGISTRY,
    ROLES,
    SITE,
    STORAGE,
    VAULT,
    Case,
)
from .cases import GROUP as CONTAINER_GROUP

Rule = Callable[[Snapshot, Case], Iterator[str]]
PREFIX = f"{GROUP}/providers/"
APP_IDENTITY = f"{PREFIX}Microsoft.ManagedIdentity/userAssignedIdentities/id-{NAME}"
CLIENT_ID = f"reference('{APP_IDENTITY}', '2024-11-30').clientId"
PRINCIPAL_ID = f"reference('{APP_IDENTITY}', '2024-11-30').principalId"
CONNECTION = f"[reference('{PREFIX}Microsoft.Insights/components/appi-{NAME}', '2020-02-02').ConnectionString]"
INTERFACE = f"{PREFIX}Microsoft.Network/networkInterfaces/nic-{NAME}"
MACHINE_ADDRESS = f"reference('{INTERFACE}', '2025-09-01').ipConfigurations[0].properties.privateIPAddress"
FIRST_DATA = base64.b64encode((INFRA / "modules" / "hosting" / "cloud-init.yaml").read_bytes()).decode()
"""The custom data of a machine: a file of this repository, without a secret, in base64."""
ENVIRONMENT_ADDRESS = (
    f"[format('https://{{0}}.{{1}}', 'ca-{NAME}', reference('{PREFIX}{ENVIRONMENT}', '2026-01-01').defaultDomain)]"
)
MYSQL_PASSWORD = "[if(empty(parameters('unusedPassword')), null(), parameters('unusedPassword'))]"
"""A secure parameter stays an expression. A deployment that names no password leaves the server's as it is."""
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
"""Values that only Azure knows: ids, the address for telemetry, and the names of sites and environments."""

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
"""Settings that the Functions host and the sign-in read, and not the app."""
REFUSED_SETTINGS = re.compile(
    r"FUNCTIONS_WORKER_RUNTIME(_VERSION)?|FUNCTIONS_EXTENSION_VERSION|WEBSITE_RUN_FROM_PACKAGE|WEBSITE_CONTENT.*"
    r"|WEBSITE_CONTENTAZUREFILECONNECTIONSTRING|WEBSITE_CONTENTSHARE|WEBSITE_VNET_ROUTE_ALL|WEBSITE_NODE_DEFAULT_VERSION"
    r"|SCM_DO_BUILD_DURING_DEPLOYMENT|ENABLE_ORYX_BUILD|TZ|WEBSITE_TIME_ZONE|FUNCTIONS_MAX_HTTP_CONCURRENCY"
    r"|FUNCTIONS_WORKER_PROCESS_COUNT|FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED|AzureWebJobsStorage",
    re.IGNORECASE,
)
"""Settings that Flex Consumption refuses or ignores, and the connection string that would shadow the identity."""
CONCURRENCY: dict[object, str] = {512: "4", 2048: "16", 4096: "32"}
"""Concurrent calls on an instance, by its memory in MB: the same for the platform and the host."""
REFUSED_SITE_CONFIG = {
    "alwaysOn",
    "ftpsState",
    "functionsRuntimeScaleMonitoringEnabled",
    "linuxFxVersion",
    "netFrameworkVersion",
    "preWarmedInstanceCount",
    "use32BitWorkerProcess",
}
"""Flex Consumption rejects each of these with error 51021."""
PUBLIC_PATHS = json.loads((INFRA / "public-paths.json").read_text())
"""test_settings.py compares these with the app's routes."""


def short(identifier: str) -> str:
    return identifier.removeprefix(PREFIX)


def scope_of(assignment: Resource) -> str:
    """The resource that a role assignment is on. Its id stays an expression, because its name is one."""
    matched = re.match(
        r"\[extensionResourceId\('([^']*)', 'Microsoft.Authorization/roleAssignments', ", assignment["id"]
    )
    return short(matched[1]) if matched else ""


def strings(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


def different(resource: Resource, wanted: dict[str, object], at: str = "properties") -> Iterator[str]:
    """Every property of `resource[at]` that differs from `wanted`; a dot in a name goes one level down."""
    for path, value in wanted.items():
        found: Any = resource
        for name in [*at.split("."), *path.split(".")]:
            found = found.get(name) if isinstance(found, dict) else None
        if found != value or isinstance(found, bool) != isinstance(value, bool):
            yield f"{short(resource['id'])}: {path} is {found!r}, not {value!r}"


def settings_of(snapshot: Snapshot, case: Case) -> dict[str, str]:
    """The settings of the app, wherever it runs; none before there is an image.

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
    """The settings in a machine's script, which stays an expression: lines, or `format('{0}={1}', name, value)`."""
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


def exactly_these_resources(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The deployment has exactly the resources of the case."""
    assignments = "Microsoft.Authorization/roleAssignments"
    found = [short(resource["id"]) for resource in snapshot.resources if resource["type"] != assignments]
    wanted = case.all_resources
    yield from (f"{each} is missing" for each in sorted(wanted - set(found)))
    yield from (f"{each} is unexpected" for each in sorted(set(found) - wanted))
    yield from (f"{each} is listed twice" for each in {each for each in found if found.count(each) > 1})


def exactly_these_roles(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The app's identity has exactly its roles, each on one resource, and no other principal has any.

    The principal is in an assignment's name, so that one left by a deleted identity of the same name does not collide.
    """
    wanted = ROLES if case.hosting == "flex" else ROLES | {PULL}
    found = set()
    for assignment in snapshot.of_type("Microsoft.Authorization/roleAssignments"):
        scope = scope_of(assignment)
        role = assignment["properties"]["roleDefinitionId"].rpartition("/")[2]
        found.add((scope, role))
        if assignment["name"] != f"[guid('{PREFIX}{scope}', {PRINCIPAL_ID}, '{role}')]":
            yield f"the assignment on {scope} is named {assignment['name']}"
        if scope not in {short(resource["id"]) for resource in snapshot.resources}:
            yield f"a role on {scope or 'the whole group'} is wider than one resource of the deployment"
        yield from different(assignment, {"principalId": f"[{PRINCIPAL_ID}]", "principalType": "ServicePrincipal"})
    yield from (f"{role} on {scope} is missing" for scope, role in sorted(wanted - found))
    yield from (f"{role} on {scope} is unexpected" for scope, role in sorted(found - wanted))


def nothing_unresolved(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """No expression is left for Azure to evaluate but the named ones, and the names of role assignments."""
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
        if secretive and not address and value != CONNECTION:
            yield f"setting {name} contains {value!r}"


def site_is_closed(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The site and its deployment site accept HTTPS with TLS 1.2 from the allow-list only; empty, it closes both."""
    if not case.is_site:
        return
    site = snapshot.only("Microsoft.Web/sites")
    yield from different(
        site,
        {
            "httpsOnly": True,
            "endToEndEncryptionEnabled": True,
            "clientAffinityEnabled": False,
            "publicNetworkAccess": "Disabled" if case.private_site else "Enabled",
            "siteConfig.minTlsVersion": "1.2",
            "siteConfig.scmMinTlsVersion": "1.2",
            "siteConfig.remoteDebuggingEnabled": False,
            "siteConfig.ipSecurityRestrictionsDefaultAction": "Deny",
            "siteConfig.scmIpSecurityRestrictionsDefaultAction": "Deny",
            "siteConfig.scmIpSecurityRestrictionsUseMain": True,
            "siteConfig.cors": {"allowedOrigins": ["https://portal.azure.com"], "supportCredentials": False},
        },
    )
    rules = site["properties"]["siteConfig"].get("ipSecurityRestrictions")
    allowed = [rule["ipAddress"] for rule in rules or [] if rule["action"] == "Allow"]
    if rules is None or allowed != list(case.site_ranges) or len(allowed) != len(rules):
        yield f"the site allows {rules!r}"
    for name in ("scmIpSecurityRestrictions", "publicNetworkAccess", "hostNameSslStates"):
        if name in site["properties"]["siteConfig"]:
            yield f"the site sets {name} a second time"


def no_passwords_for_publishing(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """FTP and the deployment site accept no user name and password."""
    if not case.is_site:
        return
    policies = snapshot.of_type("Microsoft.Web/sites/basicPublishingCredentialsPolicies")
    if {policy["name"].rpartition("/")[2] for policy in policies} != {"ftp", "scm"}:
        yield "not both of ftp and scm are switched off"
    for policy in policies:
        yield from different(policy, {"allow": False})


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


def flex_runs_as_configured(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Flex Consumption has the Python, memory and instances of the parameters, and deploys from its own container."""
    if case.hosting != "flex":
        return
    (plan,) = snapshot.of_type("Microsoft.Web/serverfarms")
    yield from different(plan, {"name": "FC1", "tier": "FlexConsumption"}, "sku")
    yield from different(plan, {"reserved": True})
    site = snapshot.only("Microsoft.Web/sites")
    ready = case.parameter("alwaysReady", 0)
    yield from different(
        site,
        {
            "serverFarmId": plan["id"],
            "virtualNetworkSubnetId": f"{PREFIX}Microsoft.Network/virtualNetworks/vnet-{NAME}/subnets/app",
            "functionAppConfig.runtime": {"name": "python", "version": case.parameter("pythonVersion", "3.13")},
            "functionAppConfig.scaleAndConcurrency.instanceMemoryMB": case.parameter("instanceMemoryMB", 2048),
            "functionAppConfig.scaleAndConcurrency.maximumInstanceCount": case.parameter("maximumInstanceCount", 40),
            "functionAppConfig.scaleAndConcurrency.alwaysReady": (
                [{"name": "http", "instanceCount": ready}] if ready else []
            ),
            "functionAppConfig.scaleAndConcurrency.triggers": {
                "http": {"perInstanceConcurrency": int(CONCURRENCY[case.parameter("instanceMemoryMB", 2048)])}
            },
            "functionAppConfig.deployment.storage": {
                "type": "blobContainer",
                "value": f"https://sthost{NAME}.blob.core.windows.net/app-package",
                "authentication": {
                    "type": "UserAssignedIdentity",
                    "userAssignedIdentityResourceId": APP_IDENTITY,
                },
            },
        },
    )
    if site["identity"] != {"type": "UserAssigned", "userAssignedIdentities": {APP_IDENTITY: {}}}:
        yield f"the site runs as {site['identity']!r}"
    if site["tags"].get("azd-service-name") != "api":
        yield "azd does not find the site"


def nothing_that_flex_refuses(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The site has none of the properties and settings that Flex Consumption refuses."""
    if case.hosting != "flex":
        return
    config = snapshot.only("Microsoft.Web/sites")["properties"]["siteConfig"]
    yield from (f"siteConfig has {name}" for name in sorted(REFUSED_SITE_CONFIG & set(config)))
    yield from (
        f"setting {name} is refused" for name in settings_of(snapshot, case) if REFUSED_SETTINGS.fullmatch(name)
    )


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
    # An image has 2 GB; on Flex Consumption the parameter says how much.
    memory = case.parameter("instanceMemoryMB", 2048) if case.hosting == "flex" else 2048
    wanted["AzureFunctionsJobHost__extensions__http__maxConcurrentRequests"] = CONCURRENCY[memory]
    # A container instance and a machine have no front end that adds an entry to X-Forwarded-For.
    front = 0 if case.is_inside else 1
    wanted["STRONGROOM_PROXIES"] = str(front + int(str(case.parameter("proxies", 0))))
    if url := case.parameter("url", ""):
        wanted["STRONGROOM_URL"] = str(url)
    elif case.hosting == "containerApp":
        wanted["STRONGROOM_URL"] = ENVIRONMENT_ADDRESS
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


def storage_is_closed(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Both accounts refuse keys, anonymous calls and old TLS, and admit only the app's subnet and the allow-list."""
    subnet = f"{PREFIX}Microsoft.Network/virtualNetworks/vnet-{NAME}/subnets/app"
    for account in snapshot.of_type("Microsoft.Storage/storageAccounts"):
        yield from different(
            account,
            {
                "allowSharedKeyAccess": False,
                "allowBlobPublicAccess": False,
                "allowCrossTenantReplication": False,
                "defaultToOAuthAuthentication": True,
                "isLocalUserEnabled": False,
                "isSftpEnabled": False,
                "isNfsV3Enabled": False,
                "minimumTlsVersion": "TLS1_2",
                "supportsHttpsTrafficOnly": True,
                "publicNetworkAccess": "Disabled" if case.private_network else "Enabled",
                "encryption.requireInfrastructureEncryption": True,
                "networkAcls": {
                    "bypass": "None",
                    "defaultAction": "Deny",
                    "ipRules": [{"action": "Allow", "value": each} for each in case.storage_ranges],
                    "virtualNetworkRules": [] if case.private_network else [{"action": "Allow", "id": subnet}],
                },
            },
        )
        yield from different(account, {"name": case.parameter("storageRedundancy", "Standard_ZRS")}, "sku")
    for container in snapshot.of_type("Microsoft.Storage/storageAccounts/blobServices/containers"):
        yield from different(container, {"publicAccess": "None"})


def host_is_out_of_reach(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The package and the function keys are in an account that no setting of the app names, on every hosting."""
    settings = settings_of(snapshot, case)
    reached = [value for name, value in settings.items() if not name.startswith("AzureWebJobs")]
    if any(f"sthost{NAME}" in value for value in reached):
        yield "a setting of the app names the host's account"
    if case.has_host and f"//sthost{NAME}." not in settings.get("AzureWebJobsStorage__blobServiceUri", ""):
        yield "the host keeps its keys in another account than its own"
    of_host = f"{HOST_STORAGE}/blobServices/default/containers/app-package"
    of_app = f"{STORAGE}/blobServices/default/containers/datasets"
    containers = snapshot.of_type("Microsoft.Storage/storageAccounts/blobServices/containers")
    if {short(each["id"]) for each in containers} != {of_host, of_app}:
        yield "a container is in the wrong account"


def blobs_can_be_restored(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Deleted and overwritten blobs can be restored, all of them to a point in time, and old versions expire."""
    days = case.parameter("retentionDays", 30)
    assert isinstance(days, int)
    services = {short(each["id"]): each for each in snapshot.of_type("Microsoft.Storage/storageAccounts/blobServices")}
    blobs = services[f"{STORAGE}/blobServices/default"]
    yield from different(
        services[f"{HOST_STORAGE}/blobServices/default"],
        {"deleteRetentionPolicy": {"enabled": True, "days": 7, "allowPermanentDelete": False}},
    )
    yield from different(
        blobs,
        {
            "isVersioningEnabled": True,
            "changeFeed.enabled": True,
            "deleteRetentionPolicy.enabled": True,
            "deleteRetentionPolicy.allowPermanentDelete": False,
            "containerDeleteRetentionPolicy.enabled": True,
            "restorePolicy": {"enabled": True, "days": days},
        },
    )
    properties = blobs["properties"]
    for name, key in (
        ("deleteRetentionPolicy", "days"),
        ("containerDeleteRetentionPolicy", "days"),
        ("changeFeed", "retentionInDays"),
    ):
        if not properties[name].get(key, 0) > days:
            yield f"{name} does not reach further back than the restore of {days} days"
    for refused in ("allowedCopyScope", "immutableStorageWithVersioning"):
        if refused in json.dumps([snapshot.of_type("Microsoft.Storage/storageAccounts"), blobs]):
            yield f"{refused} excludes point-in-time restore"
    (rule,) = snapshot.only("Microsoft.Storage/storageAccounts/managementPolicies")["properties"]["policy"]["rules"]
    actions = rule["definition"]["actions"]
    if not rule["enabled"] or set(actions) != {"version", "snapshot"}:
        yield f"the lifecycle rule has the actions {actions!r}"
    for name, action in actions.items():
        if not action["delete"]["daysAfterCreationGreaterThan"] > days:
            yield f"a {name} is deleted before the restore of {days} days could need it"


def vault_is_closed(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The vault uses roles, keeps deleted keys, and is open only to the app's subnet and the allow-list."""
    subnet = f"{PREFIX}Microsoft.Network/virtualNetworks/vnet-{NAME}/subnets/app"
    vault = snapshot.only("Microsoft.KeyVault/vaults")
    yield from different(
        vault,
        {
            "tenantId": TENANT,
            "enableRbacAuthorization": True,
            "enableSoftDelete": True,
            "softDeleteRetentionInDays": 90,
            # Absent where it is not wanted: Resource Manager refuses false.
            "enablePurgeProtection": True if case.parameter("purgeProtection", True) else None,
            "enabledForDeployment": False,
            "enabledForDiskEncryption": False,
            "enabledForTemplateDeployment": False,
            "publicNetworkAccess": "Disabled" if case.private_network else "Enabled",
            "networkAcls": {
                "bypass": "None",
                "defaultAction": "Deny",
                "ipRules": [{"value": each} for each in case.vault_ranges],
                "virtualNetworkRules": [] if case.private_network else [{"id": subnet}],
            },
        },
    )
    if vault["properties"].get("accessPolicies"):
        yield "the vault has access policies beside its roles"


def master_key_only_wraps(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The master key wraps and unwraps, cannot leave the vault, and is rotated."""
    premium = case.parameter("vaultSku", "standard") == "premium"
    key = snapshot.only("Microsoft.KeyVault/vaults/keys")
    yield from different(
        key,
        {
            "kty": "RSA-HSM" if premium else "RSA",
            "keySize": 3072,
            "keyOps": ["wrapKey", "unwrapKey"],
            "attributes": {"enabled": True, "exportable": False},
            "rotationPolicy.attributes.expiryTime": "P2Y",
            "rotationPolicy.lifetimeActions": [
                {"action": {"type": "rotate"}, "trigger": {"timeAfterCreate": "P1Y"}},
                {"action": {"type": "notify"}, "trigger": {"timeBeforeExpiry": "P30D"}},
            ],
        },
    )
    if "release_policy" in key["properties"]:
        yield "the key may be released"


def telemetry_takes_no_key(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Only identities can write logs and telemetry, and the amount of a day has a limit."""
    workspace = snapshot.only("Microsoft.OperationalInsights/workspaces")
    insights = snapshot.only("Microsoft.Insights/components")
    yield from different(workspace, {"features.disableLocalAuth": True, "workspaceCapping": {"dailyQuotaGb": 1}})
    yield from different(insights, {"DisableLocalAuth": True, "WorkspaceResourceId": workspace["id"]})


def diagnostic_logs_are_kept(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Vault, storage and app send their diagnostic logs to the workspace."""
    wanted = {
        f"{VAULT}": {"audit"},
        f"{STORAGE}/blobServices/default": {"StorageWrite", "StorageDelete"},
        f"{STORAGE}/tableServices/default": {"StorageWrite", "StorageDelete"},
        # Reads too: nobody but the host and a deployment has a reason to read its keys or the package.
        f"{HOST_STORAGE}/blobServices/default": {"StorageRead", "StorageWrite", "StorageDelete"},
    }
    if case.is_site:
        wanted[SITE] = {"FunctionAppLogs", "AppServiceAuthenticationLogs"}
    if case.hosting == "containerApp" and case.has_host:
        wanted[ENVIRONMENT] = {"allLogs"}
    if case.hosting == "containerInstance" and case.has_host:
        wanted[CONTAINER_GROUP] = {"allLogs"}
    if case.hosting != "flex":
        wanted[REGISTRY] = {"audit"}
    workspace = snapshot.only("Microsoft.OperationalInsights/workspaces")["id"]
    found = {}
    for setting in snapshot.of_type("Microsoft.Insights/diagnosticSettings"):
        scope = short(setting["id"].partition("/providers/Microsoft.Insights/")[0])
        logs = setting["properties"]["logs"]
        found[scope] = {log.get("category") or log["categoryGroup"] for log in logs if log["enabled"]}
        yield from different(setting, {"workspaceId": workspace})
    if found != wanted:
        yield f"the workspace gets {found!r}"


def network_denies(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Both subnets deny inbound connections. The app reaches the private endpoints, and so does a private network."""
    inside = case.private_network or case.private_site
    port = {"none": [], "postgresql": ["5432"], "mysql": ["3306"]}[case.database]
    deny = {
        "access": "Deny",
        "direction": "Inbound",
        "protocol": "*",
        "priority": 4096,
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "*",
    }
    allow = {
        "access": "Allow",
        "direction": "Inbound",
        "protocol": "Tcp",
        "priority": 100,
        "sourceAddressPrefix": "VirtualNetwork" if inside else "10.20.0.0/24",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "10.20.1.0/26",
        "destinationPortRanges": ["443", *port],
    }
    to_app = allow | {"destinationAddressPrefix": "10.20.0.0/24"}
    del to_app["destinationPortRanges"]
    callers: dict[str, list[tuple[str, str]]] = {
        # Only an app's own rules see who calls an environment.
        "containerApp": [("*", "443"), ("AzureLoadBalancer", "30000-32767")],
        "containerInstance": [("VirtualNetwork", "8080")],
        "virtualMachine": [
            ("VirtualNetwork", "8080"),
            *([("168.63.129.16", "22")] if case.parameter("bastion", False) else []),
        ],
    }
    app_rules: list[object] = [
        to_app | {"priority": 100 + index, "sourceAddressPrefix": source, "destinationPortRange": port_range}
        for index, (source, port_range) in enumerate(callers.get(case.hosting, []))
    ]
    for guard in snapshot.of_type("Microsoft.Network/networkSecurityGroups"):
        rules = [rule["properties"] for rule in guard["properties"]["securityRules"]]
        if rules != ([*app_rules, deny] if guard["name"].endswith("-app") else [allow, deny]):
            yield f"{guard['name']} has the rules {rules!r}"
    network = snapshot.only("Microsoft.Network/virtualNetworks")
    subnets = {subnet["name"]: subnet["properties"] for subnet in network["properties"]["subnets"]}
    if set(subnets) != {"app", "endpoints"}:
        yield f"the subnets are {sorted(subnets)}"
        return
    services = [] if case.private_network else [{"service": "Microsoft.Storage"}, {"service": "Microsoft.KeyVault"}]
    guards = f"{PREFIX}Microsoft.Network/networkSecurityGroups/nsg-{NAME}"
    delegation = {
        "flex": "Microsoft.App/environments",
        "containerApp": "Microsoft.App/environments",
        "containerInstance": "Microsoft.ContainerInstance/containerGroups",
        "virtualMachine": "",
        "appService": "Microsoft.Web/serverFarms",
    }[case.hosting]
    wanted: dict[str, dict[str, object]] = {
        "app": {
            "addressPrefix": "10.20.0.0/24",
            "defaultOutboundAccess": False,
            "networkSecurityGroup": {"id": f"{guards}-app"},
            "serviceEndpoints": services,
            "delegations": [{"name": "app", "properties": {"serviceName": delegation}}] if delegation else [],
            **({"natGateway": {"id": f"{PREFIX}Microsoft.Network/natGateways/ng-{NAME}"}} if case.is_inside else {}),
        },
        "endpoints": {
            "addressPrefix": "10.20.1.0/26",
            "defaultOutboundAccess": False,
            "networkSecurityGroup": {"id": f"{guards}-endpoints"},
            "privateEndpointNetworkPolicies": "Enabled",
        },
    }
    for name, properties in wanted.items():
        found = {key: value for key, value in subnets[name].items() if value is not None}
        if found != properties:
            yield f"subnet {name} is {subnets[name]!r}"


def endpoints_lead_inside(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Each private endpoint leads from its subnet to a deployed resource, with a zone linked to the network."""
    deployed = {resource["id"] for resource in snapshot.resources}
    network = f"{PREFIX}Microsoft.Network/virtualNetworks/vnet-{NAME}"
    for endpoint in snapshot.of_type("Microsoft.Network/privateEndpoints"):
        yield from different(endpoint, {"subnet": {"id": f"{network}/subnets/endpoints"}})
        (connection,) = endpoint["properties"]["privateLinkServiceConnections"]
        target = connection["properties"]["privateLinkServiceId"]
        if target not in deployed:
            yield f"{endpoint['name']} leads to {target}"
    for group in snapshot.of_type("Microsoft.Network/privateEndpoints/privateDnsZoneGroups"):
        (config,) = group["properties"]["privateDnsZoneConfigs"]
        if config["properties"]["privateDnsZoneId"] not in deployed:
            yield f"{group['name']} uses a zone from elsewhere"
    for link in snapshot.of_type("Microsoft.Network/privateDnsZones/virtualNetworkLinks"):
        yield from different(link, {"registrationEnabled": False, "virtualNetwork": {"id": network}})


def database_is_closed(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The database accepts only Entra ID and TLS, and is open at most to the allow-list."""
    closed = case.private_network or not case.vault_ranges
    days = case.parameter("retentionDays", 30)
    assert isinstance(days, int)
    wanted = {
        "network": {"publicNetworkAccess": "Disabled" if closed else "Enabled"},
        "backup": {"backupRetentionDays": min(days, 35), "geoRedundantBackup": "Disabled"},
    }
    passwordless = {"activeDirectoryAuth": "Enabled", "passwordAuth": "Disabled", "tenantId": TENANT}
    configured = {"require_secure_transport": "on", "ssl_min_protocol_version": "TLSv1.2"}
    for server in snapshot.of_type("Microsoft.DBforPostgreSQL/flexibleServers"):
        yield from different(server, {**wanted, "authConfig": passwordless})
    for server in snapshot.of_type("Microsoft.DBforMySQL/flexibleServers"):
        yield from different(server, {**wanted, "administratorLoginPassword": MYSQL_PASSWORD})
        configured = {"aad_auth_only": "ON", "require_secure_transport": "ON", "tls_version": "TLSv1.2,TLSv1.3"}
    found = {
        resource["name"].rpartition("/")[2]: resource["properties"]["value"]
        for resource in snapshot.resources
        if resource["type"].endswith("/flexibleServers/configurations")
    }
    if case.database != "none" and found != configured:
        yield f"the database has the configuration {found!r}"
    rules = [each["properties"] for each in snapshot.resources if each["type"].endswith("/firewallRules")]
    ends = {
        "203.0.113.7/32": ("203.0.113.7", "203.0.113.7"),
        "198.51.100.0/24": ("198.51.100.0", "198.51.100.255"),
        "192.0.2.6/31": ("192.0.2.6", "192.0.2.7"),
    }
    allowed = [] if closed or case.database == "none" else [ends[each] for each in case.vault_ranges]
    if [(rule["startIpAddress"], rule["endIpAddress"]) for rule in rules] != allowed:
        yield f"the database allows {rules!r}"


def sign_in_has_no_secret(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Sign-in refuses callers without a token on every path but the public ones, and uses the app's identity."""
    for config in snapshot.of_type("Microsoft.Web/sites/config"):
        yield from different(
            config,
            {
                "platform.enabled": True,
                "globalValidation": {
                    "requireAuthentication": True,
                    "unauthenticatedClientAction": "Return401",
                    "excludedPaths": PUBLIC_PATHS,
                },
                "httpSettings.requireHttps": True,
                "login.tokenStore.enabled": False,
                "identityProviders": {
                    "azureActiveDirectory": {
                        "enabled": True,
                        "registration": {
                            "openIdIssuer": f"https://login.microsoftonline.com/{TENANT}/v2.0",
                            "clientId": CLIENT,
                            "clientSecretSettingName": "OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID",
                        },
                        "validation": {"allowedAudiences": [CLIENT, f"api://{CLIENT}"]},
                    }
                },
            },
        )


def alerts_send_mail(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Every alert is on and sends mail to the group, and so does the budget."""
    people = ["ada@example.org", "bob@example.org"]
    for group in snapshot.of_type("Microsoft.Insights/actionGroups"):
        if [each["emailAddress"] for each in group["properties"]["emailReceivers"]] != people:
            yield f"the group is {group['properties']['emailReceivers']!r}"
    action_group = f"{PREFIX}Microsoft.Insights/actionGroups/ag-{NAME}"
    for rule in snapshot.of_type("Microsoft.Insights/scheduledQueryRules"):
        yield from different(rule, {"enabled": True, "actions": {"actionGroups": [action_group]}})
    for rule in snapshot.of_type("Microsoft.Insights/metricAlerts"):
        yield from different(rule, {"enabled": True, "actions": [{"actionGroupId": action_group}]})
    for event in snapshot.of_type("Microsoft.EventGrid/systemTopics/eventSubscriptions"):
        yield from different(
            event,
            {
                "eventDeliverySchema": "CloudEventSchemaV1_0",
                "filter.includedEventTypes": ["Microsoft.KeyVault.KeyNearExpiry", "Microsoft.KeyVault.KeyExpired"],
                "destination.endpointType": "MonitorAlert",
                "destination.properties.actionGroups": [action_group],
            },
        )
    for budget in snapshot.of_type("Microsoft.Consumption/budgets"):
        yield from different(budget, {"amount": 50, "timePeriod": {"startDate": "2026-12-01"}})
        for each in budget["properties"]["notifications"].values():
            if not each["enabled"] or each["contactEmails"] != people:
                yield f"the budget has the notification {each!r}"


def registry_is_closed(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The registry has no admin user and no anonymous pull; the app's identity pulls with its role."""
    for registry in snapshot.of_type("Microsoft.ContainerRegistry/registries"):
        trusted = case.hosting == "containerInstance"
        yield from different(
            registry,
            {
                "adminUserEnabled": False,
                "anonymousPullEnabled": False,
                "roleAssignmentMode": "LegacyRegistryPermissions",
                "publicNetworkAccess": "Disabled" if case.private_network else "Enabled",
                "networkRuleBypassOptions": "AzureServices" if trusted else "None",
            },
        )
        yield from different(registry, {"name": "Premium" if case.private_network or trusted else "Basic"}, "sku")


def container_app_is_closed(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """A container app accepts HTTPS from the allow-list only, and runs the image by digest; an empty list closes it."""
    for app in snapshot.of_type("Microsoft.App/containerApps"):
        ranges = case.site_ranges or ("127.0.0.1/32",)
        yield from different(
            app,
            {
                "configuration.ingress.allowInsecure": False,
                "configuration.ingress.targetPort": 8080,
                "configuration.ingress.corsPolicy": {
                    "allowedOrigins": ["https://portal.azure.com"],
                    "allowCredentials": False,
                },
                "configuration.ingress.ipSecurityRestrictions": [
                    {"name": f"allowed-{index}", "action": "Allow", "ipAddressRange": each}
                    for index, each in enumerate(ranges)
                ],
                "configuration.registries": [{"server": f"cr{NAME}.azurecr.io", "identity": APP_IDENTITY}],
                "template.scale": {
                    "minReplicas": case.parameter("alwaysReady", 0),
                    "maxReplicas": case.parameter("maximumReplicas", 10),
                },
            },
        )
        (container,) = app["properties"]["template"]["containers"]
        if container["image"] != f"cr{NAME}.azurecr.io/{IMAGE}":
            yield f"it runs {container['image']}"
        if app["identity"] != {"type": "UserAssigned", "userAssignedIdentities": {APP_IDENTITY: {}}}:
            yield f"it runs as {app['identity']!r}"
        if app["kind"] != "functionapp":
            yield f"it is a {app['kind']}"
    for environment in snapshot.of_type("Microsoft.App/managedEnvironments"):
        subnet = f"{PREFIX}Microsoft.Network/virtualNetworks/vnet-{NAME}/subnets/app"
        yield from different(
            environment,
            {
                "publicNetworkAccess": "Disabled" if case.private_site else "Enabled",
                "peerAuthentication": {"mtls": {"enabled": True}},
                "vnetConfiguration": {"infrastructureSubnetId": subnet, "internal": False},
            },
        )
    for config in snapshot.of_type("Microsoft.App/containerApps/authConfigs"):
        yield from different(
            config,
            {
                "platform.enabled": True,
                "globalValidation": {"unauthenticatedClientAction": "Return401", "excludedPaths": PUBLIC_PATHS},
                "httpSettings.requireHttps": True,
                "identityProviders.azureActiveDirectory.registration": {
                    "openIdIssuer": f"https://login.microsoftonline.com/{TENANT}/v2.0",
                    "clientId": CLIENT,
                },
                "identityProviders.azureActiveDirectory.validation": {"allowedAudiences": [CLIENT, f"api://{CLIENT}"]},
            },
        )


def container_instance_is_inside(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """A container instance has only a private address, and runs the image by digest without privileges."""
    for group in snapshot.of_type("Microsoft.ContainerInstance/containerGroups"):
        yield from different(
            group,
            {
                "ipAddress": {"type": "Private", "ports": [{"port": 8080, "protocol": "TCP"}]},
                "imageRegistryCredentials": [{"server": f"cr{NAME}.azurecr.io", "identity": APP_IDENTITY}],
                "subnetIds": [{"id": f"{PREFIX}Microsoft.Network/virtualNetworks/vnet-{NAME}/subnets/app"}],
            },
        )
        (container,) = group["properties"]["containers"]
        rights = {
            "allowPrivilegeEscalation": False,
            "privileged": False,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "capabilities": {"drop": ["ALL"], "add": []},
        }
        if container["properties"]["securityContext"] != rights:
            yield f"the container has the security context {container['properties']['securityContext']!r}"
        if container["properties"]["image"] != f"cr{NAME}.azurecr.io/{IMAGE}":
            yield f"it runs {container['properties']['image']}"


def machine_is_inside(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """A machine has no public address and no password, installs updates, and has secure boot and encryption."""
    for interface in snapshot.of_type("Microsoft.Network/networkInterfaces"):
        (address,) = interface["properties"]["ipConfigurations"]
        if set(address["properties"]) != {"subnet", "privateIPAllocationMethod"}:
            yield f"the machine has the address {address['properties']!r}"
    for machine in snapshot.of_type("Microsoft.Compute/virtualMachines"):
        yield from different(
            machine,
            {
                "osProfile.linuxConfiguration.disablePasswordAuthentication": True,
                "osProfile.linuxConfiguration.patchSettings.patchMode": "AutomaticByPlatform",
                "osProfile.linuxConfiguration.patchSettings.assessmentMode": "AutomaticByPlatform",
                "osProfile.adminPassword": None,
                "securityProfile": {
                    "securityType": "TrustedLaunch",
                    "encryptionAtHost": True,
                    "uefiSettings": {"secureBootEnabled": True, "vTpmEnabled": True},
                },
            },
        )
        keys = machine["properties"]["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"]
        if [key["keyData"] for key in keys] != ["ssh-ed25519 key"]:
            yield f"{keys!r} open the machine"
        if machine["identity"] != {"type": "UserAssigned", "userAssignedIdentities": {APP_IDENTITY: {}}}:
            yield f"it runs as {machine['identity']!r}"
    for command in snapshot.of_type("Microsoft.Compute/virtualMachines/runCommands"):
        if f"cr{NAME}.azurecr.io/{IMAGE}|" not in command["properties"]["source"]["script"]:
            yield "the machine does not run the image by digest"
    for jump in snapshot.of_type("Microsoft.Network/bastionHosts"):
        yield from different(jump, {"name": "Developer"}, "sku")
    if (
        MACHINE not in {short(each["id"]) for each in snapshot.resources}
        and case.hosting == "virtualMachine"
        and case.has_host
    ):
        yield "there is no machine"


def app_service_runs_the_image(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """App Service is always on, pulls the image by digest with the app's identity, and has FTP off."""
    if case.hosting == "appService" and case.has_host:
        yield from different(
            snapshot.only("Microsoft.Web/sites"),
            {
                "siteConfig.alwaysOn": True,
                "siteConfig.linuxFxVersion": f"DOCKER|cr{NAME}.azurecr.io/{IMAGE}",
                "siteConfig.acrUseManagedIdentityCreds": True,
                "siteConfig.acrUserManagedIdentityID": f"[{CLIENT_ID}]",
                "siteConfig.ftpsState": "Disabled",
            },
        )
        yield from different(snapshot.only("Microsoft.Web/serverfarms"), {"name": "B1", "capacity": 1}, "sku")


def locks_forbid_deletion(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """A lock forbids to delete, and nothing else."""
    for lock in snapshot.of_type("Microsoft.Authorization/locks"):
        yield from different(lock, {"level": "CanNotDelete"})


def everything_is_tagged(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Every resource with a location is in the region, and has the name of the environment and the tags as its tags."""
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


RULES: tuple[Rule, ...] = (
    exactly_these_resources,
    exactly_these_roles,
    nothing_unresolved,
    no_secret,
    site_is_closed,
    no_passwords_for_publishing,
    health_checks_call_live,
    flex_runs_as_configured,
    nothing_that_flex_refuses,
    settings_reach_by_identity,
    storage_is_closed,
    host_is_out_of_reach,
    blobs_can_be_restored,
    vault_is_closed,
    master_key_only_wraps,
    telemetry_takes_no_key,
    diagnostic_logs_are_kept,
    network_denies,
    endpoints_lead_inside,
    database_is_closed,
    sign_in_has_no_secret,
    alerts_send_mail,
    registry_is_closed,
    container_app_is_closed,
    container_instance_is_inside,
    machine_is_inside,
    app_service_runs_the_image,
    locks_forbid_deletion,
    everything_is_tagged,
)
