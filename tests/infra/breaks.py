"""Ways to break a deployment, in the evaluated resources or in the template, each with the rule that must notice."""

from collections.abc import Callable
from typing import Any

from .bicep import Resource, Snapshot
from .cases import CONTAINER_APP, ENVIRONMENT, GROUP, HOST_STORAGE, MACHINE, REGISTRY, SITE, STORAGE, VAULT
from .rules.app import health_checks_call_live, settings_reach_by_identity
from .rules.common import PREFIX, Rule, short
from .rules.containers import container_app_is_closed, container_instance_is_inside, registry_is_closed
from .rules.database import database_is_closed
from .rules.identity import exactly_these_roles, sign_in_has_no_secret
from .rules.machine import machine_is_inside
from .rules.monitoring import alerts_send_mail, diagnostic_logs_are_kept, telemetry_takes_no_key
from .rules.network import endpoints_lead_inside, network_denies
from .rules.resources import (
    everything_is_tagged,
    exactly_these_resources,
    locks_forbid_deletion,
    no_secret,
    nothing_unresolved,
)
from .rules.sites import (
    app_service_runs_the_image,
    flex_runs_as_configured,
    no_passwords_for_publishing,
    nothing_that_flex_refuses,
    site_is_closed,
)
from .rules.storage import blobs_can_be_restored, host_is_out_of_reach, only_the_console_uploads, storage_is_closed
from .rules.vault import master_key_only_wraps, vault_is_closed


def resource(end: str) -> Callable[[Snapshot], Resource]:
    def find(snapshot: Snapshot) -> Resource:
        (found,) = [each for each in snapshot.resources if short(each["id"]) == end or each["id"].endswith(end)]
        return found

    return find


def put(end: str, path: str, value: object) -> Callable[[Snapshot], None]:
    """Set one property of one resource; a number in the path is an index."""

    def change(snapshot: Snapshot) -> None:
        at: Any = resource(end)(snapshot)
        *way, last = path.split(".")
        for name in way:
            at = at[int(name)] if name.isdigit() else at.setdefault(name, {})
        at[int(last) if last.isdigit() else last] = value

    return change


def drop(end: str) -> Callable[[Snapshot], None]:
    return lambda snapshot: snapshot.resources.remove(resource(end)(snapshot))


def add(new: Resource) -> Callable[[Snapshot], None]:
    return lambda snapshot: snapshot.resources.append(new)


def setting(name: str, value: str) -> Callable[[Snapshot], None]:
    def change(snapshot: Snapshot) -> None:
        resource(SITE)(snapshot)["properties"]["siteConfig"]["appSettings"].append({"name": name, "value": value})

    return change


def output(name: str, value: str) -> Callable[[Snapshot], None]:
    return lambda snapshot: snapshot.outputs.update({name: value})


def move_role(snapshot: Snapshot) -> None:
    """The role on the master key becomes one on the vault."""
    role = next(
        each for each in snapshot.of_type("Microsoft.Authorization/roleAssignments") if "keys/master" in each["id"]
    )
    role["id"] = role["id"].replace("/keys/master", "")
    role["name"] = role["name"].replace("/keys/master", "")


def pull_nothing(snapshot: Snapshot) -> None:
    """The role on the registry is missing."""
    roles = snapshot.of_type("Microsoft.Authorization/roleAssignments")
    snapshot.resources.remove(next(each for each in roles if REGISTRY in each["id"]))


def widen_role(snapshot: Snapshot) -> None:
    """A role on storage becomes one on the whole resource group."""
    role = next(each for each in snapshot.of_type("Microsoft.Authorization/roleAssignments") if STORAGE in each["id"])
    role["id"] = role["id"].replace(f"/providers/{STORAGE}", "")
    role["name"] = role["name"].replace(f"/providers/{STORAGE}", "")


def name_without_principal(snapshot: Snapshot) -> None:
    """The name of a role assignment lacks the principal: that of a second identity would collide with it."""
    role = snapshot.of_type("Microsoft.Authorization/roleAssignments")[0]
    role["name"] = "44444444-4444-4444-4444-444444444444"


def keys_among_data(snapshot: Snapshot) -> None:
    """The app's setting leads to the host's account."""
    settings = resource(SITE)(snapshot)["properties"]["siteConfig"]["appSettings"]
    found = next(each for each in settings if each["name"] == "STRONGROOM_STORAGE__blobServiceUri")
    found["value"] = found["value"].replace("//st", "//sthost")


def data_among_keys(snapshot: Snapshot) -> None:
    """The host keeps its keys in the account of the app's data."""
    settings = resource(SITE)(snapshot)["properties"]["siteConfig"]["appSettings"]
    found = next(each for each in settings if each["name"] == "AzureWebJobsStorage__blobServiceUri")
    found["value"] = found["value"].replace("//sthost", "//st")


def other_role(snapshot: Snapshot) -> None:
    role = snapshot.of_type("Microsoft.Authorization/roleAssignments")[0]["properties"]
    role["roleDefinitionId"] = role["roleDefinitionId"].rpartition("/")[0] + "/8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


def other_principal(snapshot: Snapshot) -> None:
    snapshot.of_type("Microsoft.Authorization/roleAssignments")[0]["properties"]["principalId"] = "somebody"


def no_principal_type(snapshot: Snapshot) -> None:
    del snapshot.of_type("Microsoft.Authorization/roleAssignments")[0]["properties"]["principalType"]


CONFIG = "properties.siteConfig"
CONTAINER = "properties.containers.0.properties"
INGRESS = "properties.configuration.ingress"
KEY = f"{VAULT}/keys/master"
BLOBS = f"{STORAGE}/blobServices/default"
LIFECYCLE = f"{STORAGE}/managementPolicies/default"
ACTIONS = "properties.policy.rules.0.definition.actions"
ENTRA = "properties.identityProviders.azureActiveDirectory"
FIREWALL = "firewallRules/allow-203-0-113-7-32"

BREAKS: list[tuple[Rule, str, Callable[[Snapshot], None]]] = [
    (exactly_these_resources, "defaults", drop(LIFECYCLE)),
    (exactly_these_resources, "defaults", drop("basicPublishingCredentialsPolicies/ftp")),
    (exactly_these_resources, "everything", drop(f"{VAULT}/providers/Microsoft.Authorization/locks/keep")),
    (exactly_these_resources, "private network", drop("privatelink.blob.core.windows.net/virtualNetworkLinks/link")),
    (
        exactly_these_resources,
        "defaults",
        add({"id": f"{PREFIX}Microsoft.Network/publicIPAddresses/one", "type": "Microsoft.Network/publicIPAddresses"}),
    ),
    (exactly_these_roles, "defaults", move_role),
    (exactly_these_roles, "defaults", widen_role),
    (exactly_these_roles, "defaults", other_role),
    (exactly_these_roles, "defaults", other_principal),
    (exactly_these_roles, "defaults", no_principal_type),
    (exactly_these_roles, "defaults", name_without_principal),
    (
        exactly_these_roles,
        "defaults",
        lambda snapshot: snapshot.resources.remove(snapshot.of_type("Microsoft.Authorization/roleAssignments")[0]),
    ),
    (nothing_unresolved, "defaults", setting("A", "[environment().suffixes.storage]")),
    (nothing_unresolved, "defaults", output("A", "[reference('a').b]")),
    (no_secret, "defaults", setting("A", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=b")),
    (no_secret, "defaults", setting("A", "postgresql://ada:lovelace@host/db")),
    (no_secret, "defaults", setting("A", "[listKeys('a', '2024-01-01').keys[0].value]")),
    (no_secret, "defaults", setting("A", "bWFzdGVyLWtleS1tYXN0ZXIta2V5LW1hc3Rlci1rZXk0MQ==")),
    (no_secret, "defaults", setting("A_SECRET", "x")),
    (no_secret, "defaults", output("A", "https://a.blob.core.windows.net/b?sv=1&sig=x")),
    (no_secret, "defaults", output("STORAGE_KEY", "x")),
    (no_secret, "mysql", put("flexibleServers/mysql-ywshwzmuw2ogm", "tags.note", "Password=x")),
    (site_is_closed, "defaults", put(SITE, "properties.httpsOnly", False)),
    (site_is_closed, "defaults", put(SITE, "properties.endToEndEncryptionEnabled", False)),
    (site_is_closed, "private site", put(SITE, "properties.publicNetworkAccess", "Enabled")),
    (site_is_closed, "defaults", put(SITE, f"{CONFIG}.minTlsVersion", "1.0")),
    (site_is_closed, "defaults", put(SITE, f"{CONFIG}.scmMinTlsVersion", "1.1")),
    (site_is_closed, "defaults", put(SITE, f"{CONFIG}.remoteDebuggingEnabled", True)),
    (site_is_closed, "defaults", put(SITE, f"{CONFIG}.ipSecurityRestrictionsDefaultAction", "Allow")),
    (site_is_closed, "defaults", put(SITE, f"{CONFIG}.scmIpSecurityRestrictionsDefaultAction", "Allow")),
    (site_is_closed, "defaults", put(SITE, f"{CONFIG}.scmIpSecurityRestrictionsUseMain", False)),
    (site_is_closed, "defaults", put(SITE, f"{CONFIG}.scmIpSecurityRestrictions", [])),
    (site_is_closed, "defaults", put(SITE, f"{CONFIG}.cors.allowedOrigins", ["*"])),
    (site_is_closed, "defaults", put(SITE, f"{CONFIG}.cors.supportCredentials", True)),
    (
        site_is_closed,
        "defaults",
        put(SITE, f"{CONFIG}.ipSecurityRestrictions", [{"action": "Allow", "ipAddress": "0.0.0.0/0"}]),
    ),
    (site_is_closed, "allow-list", put(SITE, f"{CONFIG}.ipSecurityRestrictions.0.ipAddress", "203.0.113.0/24")),
    (site_is_closed, "allow-list", put(SITE, f"{CONFIG}.ipSecurityRestrictions", [])),
    (no_passwords_for_publishing, "defaults", put("basicPublishingCredentialsPolicies/ftp", "properties.allow", True)),
    (no_passwords_for_publishing, "defaults", put("basicPublishingCredentialsPolicies/scm", "properties.allow", True)),
    (no_passwords_for_publishing, "defaults", drop("basicPublishingCredentialsPolicies/scm")),
    (health_checks_call_live, "defaults", put(SITE, f"{CONFIG}.healthCheckPath", "/api/health")),
    (flex_runs_as_configured, "defaults", put("serverfarms/asp-ywshwzmuw2ogm", "sku.name", "EP1")),
    (flex_runs_as_configured, "defaults", put(SITE, "properties.functionAppConfig.runtime.version", "3.9")),
    (flex_runs_as_configured, "defaults", put(SITE, "properties.virtualNetworkSubnetId", None)),
    (
        flex_runs_as_configured,
        "defaults",
        put(
            SITE,
            "properties.functionAppConfig.deployment.storage.authentication.type",
            "StorageAccountConnectionString",
        ),
    ),
    (
        flex_runs_as_configured,
        "everything",
        put(SITE, "properties.functionAppConfig.scaleAndConcurrency.alwaysReady.0.name", "HTTP"),
    ),
    (
        flex_runs_as_configured,
        "everything",
        put(SITE, "properties.functionAppConfig.scaleAndConcurrency.maximumInstanceCount", 1000),
    ),
    (flex_runs_as_configured, "defaults", put(SITE, "identity.type", "SystemAssigned")),
    (flex_runs_as_configured, "defaults", put(SITE, "tags", {})),
    (nothing_that_flex_refuses, "defaults", put(SITE, f"{CONFIG}.linuxFxVersion", "Python|3.13")),
    (nothing_that_flex_refuses, "defaults", put(SITE, f"{CONFIG}.ftpsState", "Disabled")),
    (nothing_that_flex_refuses, "defaults", setting("FUNCTIONS_WORKER_RUNTIME", "python")),
    (nothing_that_flex_refuses, "defaults", setting("WEBSITE_RUN_FROM_PACKAGE", "1")),
    (nothing_that_flex_refuses, "defaults", setting("WEBSITE_CONTENTSHARE", "a")),
    (nothing_that_flex_refuses, "defaults", setting("TZ", "UTC")),
    (nothing_that_flex_refuses, "defaults", setting("AzureWebJobsStorage", "UseDevelopmentStorage=true")),
    (settings_reach_by_identity, "defaults", setting("DEBUG", "1")),
    (settings_reach_by_identity, "defaults", put(SITE, f"{CONFIG}.appSettings.0.value", "other")),
    (settings_reach_by_identity, "defaults", setting("STRONGROOM_URL", "https://other.example.org")),
    (
        flex_runs_as_configured,
        "everything",
        put(SITE, "properties.functionAppConfig.scaleAndConcurrency.triggers.http.perInstanceConcurrency", 16),
    ),
    (settings_reach_by_identity, "mysql", put(SITE, f"{CONFIG}.appSettings.0", {"name": "A", "value": "b"})),
    (storage_is_closed, "defaults", put(STORAGE, "properties.allowSharedKeyAccess", True)),
    (storage_is_closed, "defaults", put(STORAGE, "properties.allowBlobPublicAccess", True)),
    (storage_is_closed, "defaults", put(STORAGE, "properties.allowCrossTenantReplication", True)),
    (storage_is_closed, "defaults", put(STORAGE, "properties.defaultToOAuthAuthentication", False)),
    (storage_is_closed, "defaults", put(STORAGE, "properties.isLocalUserEnabled", True)),
    (storage_is_closed, "defaults", put(STORAGE, "properties.isSftpEnabled", True)),
    (storage_is_closed, "defaults", put(STORAGE, "properties.minimumTlsVersion", "TLS1_0")),
    (storage_is_closed, "defaults", put(STORAGE, "properties.supportsHttpsTrafficOnly", False)),
    (storage_is_closed, "defaults", put(STORAGE, "properties.encryption.requireInfrastructureEncryption", False)),
    (storage_is_closed, "defaults", put(STORAGE, "properties.networkAcls.defaultAction", "Allow")),
    (storage_is_closed, "defaults", put(STORAGE, "properties.networkAcls.bypass", "AzureServices")),
    (storage_is_closed, "defaults", put(STORAGE, "properties.networkAcls.virtualNetworkRules", [])),
    (
        storage_is_closed,
        "defaults",
        put(STORAGE, "properties.networkAcls.ipRules", [{"action": "Allow", "value": "0.0.0.0/1"}]),
    ),
    (storage_is_closed, "allow-list", put(STORAGE, "properties.networkAcls.ipRules.0.value", "203.0.113.7/32")),
    (storage_is_closed, "private network", put(STORAGE, "properties.publicNetworkAccess", "Enabled")),
    (storage_is_closed, "everything", put(STORAGE, "sku.name", "Standard_LRS")),
    (storage_is_closed, "defaults", put(f"{BLOBS}/containers/datasets", "properties.publicAccess", "Blob")),
    (storage_is_closed, "defaults", put(HOST_STORAGE, "properties.allowSharedKeyAccess", True)),
    (storage_is_closed, "private network", put(HOST_STORAGE, "properties.publicNetworkAccess", "Enabled")),
    (only_the_console_uploads, "defaults", put(BLOBS, "properties.cors.corsRules.0.allowedOrigins", ["*"])),
    (only_the_console_uploads, "defaults", put(BLOBS, "properties.cors.corsRules.0.allowedMethods", ["PUT", "GET"])),
    (
        only_the_console_uploads,
        "everything",
        put(BLOBS, "properties.cors.corsRules.0.allowedOrigins", ["https://other.example.org"]),
    ),
    (
        only_the_console_uploads,
        "defaults",
        put(f"{HOST_STORAGE}/blobServices/default", "properties.cors.corsRules", [{"allowedOrigins": ["*"]}]),
    ),
    (host_is_out_of_reach, "defaults", keys_among_data),
    (host_is_out_of_reach, "defaults", data_among_keys),
    (
        host_is_out_of_reach,
        "defaults",
        put(f"{BLOBS}/containers/datasets", "id", f"{PREFIX}{BLOBS}/containers/app-package"),
    ),
    (
        blobs_can_be_restored,
        "defaults",
        put(f"{HOST_STORAGE}/blobServices/default", "properties.deleteRetentionPolicy.enabled", False),
    ),
    (blobs_can_be_restored, "defaults", put(BLOBS, "properties.isVersioningEnabled", False)),
    (blobs_can_be_restored, "defaults", put(BLOBS, "properties.changeFeed.enabled", False)),
    (blobs_can_be_restored, "defaults", put(BLOBS, "properties.changeFeed.retentionInDays", 30)),
    (blobs_can_be_restored, "defaults", put(BLOBS, "properties.deleteRetentionPolicy.days", 30)),
    (blobs_can_be_restored, "defaults", put(BLOBS, "properties.deleteRetentionPolicy.allowPermanentDelete", True)),
    (blobs_can_be_restored, "defaults", put(BLOBS, "properties.containerDeleteRetentionPolicy.enabled", False)),
    (blobs_can_be_restored, "defaults", put(BLOBS, "properties.restorePolicy.enabled", False)),
    (blobs_can_be_restored, "everything", put(BLOBS, "properties.restorePolicy.days", 30)),
    (blobs_can_be_restored, "defaults", put(STORAGE, "properties.allowedCopyScope", "AAD")),
    (blobs_can_be_restored, "defaults", put(LIFECYCLE, "properties.policy.rules.0.enabled", False)),
    (blobs_can_be_restored, "defaults", put(LIFECYCLE, ACTIONS, {})),
    (
        blobs_can_be_restored,
        "defaults",
        put(LIFECYCLE, f"{ACTIONS}.baseBlob", {"delete": {"daysAfterCreationGreaterThan": 90}}),
    ),
    (blobs_can_be_restored, "defaults", put(LIFECYCLE, f"{ACTIONS}.version.delete.daysAfterCreationGreaterThan", 30)),
    (vault_is_closed, "defaults", put(VAULT, "properties.enableRbacAuthorization", False)),
    (vault_is_closed, "defaults", put(VAULT, "properties.enableSoftDelete", False)),
    (vault_is_closed, "defaults", put(VAULT, "properties.softDeleteRetentionInDays", 7)),
    (vault_is_closed, "defaults", put(VAULT, "properties.enablePurgeProtection", None)),
    (vault_is_closed, "everything", put(VAULT, "properties.enablePurgeProtection", False)),
    (vault_is_closed, "defaults", put(VAULT, "properties.enabledForTemplateDeployment", True)),
    (vault_is_closed, "defaults", put(VAULT, "properties.networkAcls.defaultAction", "Allow")),
    (vault_is_closed, "defaults", put(VAULT, "properties.networkAcls.bypass", "AzureServices")),
    (vault_is_closed, "defaults", put(VAULT, "properties.networkAcls.virtualNetworkRules", [])),
    (vault_is_closed, "allow-list", put(VAULT, "properties.networkAcls.ipRules", [])),
    (vault_is_closed, "private network", put(VAULT, "properties.publicNetworkAccess", "Enabled")),
    (vault_is_closed, "defaults", put(VAULT, "properties.accessPolicies", [{"objectId": "somebody"}])),
    (master_key_only_wraps, "defaults", put(KEY, "properties.kty", "EC")),
    (master_key_only_wraps, "everything", put(KEY, "properties.kty", "RSA")),
    (master_key_only_wraps, "defaults", put(KEY, "properties.keySize", 2048)),
    (master_key_only_wraps, "defaults", put(KEY, "properties.keyOps", ["wrapKey", "unwrapKey", "decrypt"])),
    (master_key_only_wraps, "defaults", put(KEY, "properties.attributes.exportable", True)),
    (master_key_only_wraps, "defaults", put(KEY, "properties.release_policy", {})),
    (master_key_only_wraps, "defaults", put(KEY, "properties.rotationPolicy.lifetimeActions", [])),
    (
        telemetry_takes_no_key,
        "defaults",
        put("workspaces/log-ywshwzmuw2ogm", "properties.features.disableLocalAuth", False),
    ),
    (
        telemetry_takes_no_key,
        "defaults",
        put("workspaces/log-ywshwzmuw2ogm", "properties.workspaceCapping.dailyQuotaGb", -1),
    ),
    (telemetry_takes_no_key, "defaults", put("components/appi-ywshwzmuw2ogm", "properties.DisableLocalAuth", False)),
    (
        diagnostic_logs_are_kept,
        "defaults",
        put(
            f"{VAULT}/providers/Microsoft.Insights/diagnosticSettings/to-workspace", "properties.logs.0.enabled", False
        ),
    ),
    (
        diagnostic_logs_are_kept,
        "defaults",
        put(f"{BLOBS}/providers/Microsoft.Insights/diagnosticSettings/to-workspace", "properties.logs", []),
    ),
    (
        diagnostic_logs_are_kept,
        "defaults",
        put(
            f"{HOST_STORAGE}/blobServices/default/providers/Microsoft.Insights/diagnosticSettings/to-workspace",
            "properties.logs.2.enabled",
            False,
        ),
    ),
    (
        diagnostic_logs_are_kept,
        "defaults",
        put(
            f"{SITE}/providers/Microsoft.Insights/diagnosticSettings/to-workspace", "properties.workspaceId", "another"
        ),
    ),
    (network_denies, "defaults", put("nsg-ywshwzmuw2ogm-app", "properties.securityRules", [])),
    (
        network_denies,
        "defaults",
        put("nsg-ywshwzmuw2ogm-endpoints", "properties.securityRules.0.properties.sourceAddressPrefix", "*"),
    ),
    (
        network_denies,
        "private network",
        put("nsg-ywshwzmuw2ogm-endpoints", "properties.securityRules.0.properties.sourceAddressPrefix", "Internet"),
    ),
    (
        network_denies,
        "postgresql",
        put("nsg-ywshwzmuw2ogm-endpoints", "properties.securityRules.0.properties.destinationPortRanges", ["443"]),
    ),
    (
        network_denies,
        "defaults",
        put("nsg-ywshwzmuw2ogm-endpoints", "properties.securityRules.1.properties.access", "Allow"),
    ),
    (
        network_denies,
        "defaults",
        put("vnet-ywshwzmuw2ogm", "properties.subnets.0.properties.networkSecurityGroup", None),
    ),
    (
        network_denies,
        "defaults",
        put("vnet-ywshwzmuw2ogm", "properties.subnets.0.properties.defaultOutboundAccess", True),
    ),
    (network_denies, "defaults", put("vnet-ywshwzmuw2ogm", "properties.subnets.0.properties.serviceEndpoints", [])),
    (network_denies, "defaults", put("vnet-ywshwzmuw2ogm", "properties.subnets.0.properties.delegations", [])),
    (
        network_denies,
        "defaults",
        put("vnet-ywshwzmuw2ogm", "properties.subnets.1.properties.privateEndpointNetworkPolicies", "Disabled"),
    ),
    (network_denies, "defaults", put("vnet-ywshwzmuw2ogm", "properties.subnets.1.name", "Endpoints")),
    (endpoints_lead_inside, "private network", put("pep-blob-ywshwzmuw2ogm", "properties.subnet.id", "another")),
    (
        endpoints_lead_inside,
        "private network",
        put(
            "pep-vault-ywshwzmuw2ogm",
            "properties.privateLinkServiceConnections.0.properties.privateLinkServiceId",
            "another",
        ),
    ),
    (
        endpoints_lead_inside,
        "private network",
        put(
            "pep-vault-ywshwzmuw2ogm/privateDnsZoneGroups/default",
            "properties.privateDnsZoneConfigs.0.properties.privateDnsZoneId",
            "another",
        ),
    ),
    (
        endpoints_lead_inside,
        "private network",
        put("privatelink.table.core.windows.net/virtualNetworkLinks/link", "properties.virtualNetwork.id", "another"),
    ),
    (database_is_closed, "postgresql", put("psql-ywshwzmuw2ogm", "properties.authConfig.passwordAuth", "Enabled")),
    (database_is_closed, "postgresql", put("psql-ywshwzmuw2ogm", "properties.network.publicNetworkAccess", "Enabled")),
    (database_is_closed, "postgresql", put("configurations/require_secure_transport", "properties.value", "off")),
    (database_is_closed, "postgresql", put("configurations/ssl_min_protocol_version", "properties.value", "TLSv1")),
    (database_is_closed, "mysql", put("configurations/aad_auth_only", "properties.value", "OFF")),
    (database_is_closed, "mysql", drop("configurations/aad_auth_only")),
    (
        database_is_closed,
        "mysql, private, with an allow-list",
        put("flexibleServers/mysql-ywshwzmuw2ogm", "properties.network.publicNetworkAccess", "Enabled"),
    ),
    (
        database_is_closed,
        "mysql, private, with an allow-list",
        put("flexibleServers/mysql-ywshwzmuw2ogm", "properties.administratorLoginPassword", "[newGuid()]"),
    ),
    (database_is_closed, "everything", put(FIREWALL, "properties.endIpAddress", "203.0.113.255")),
    (database_is_closed, "everything", put("psql-ywshwzmuw2ogm", "properties.backup.backupRetentionDays", 7)),
    (sign_in_has_no_secret, "sign-in", put("config/authsettingsV2", "properties.platform.enabled", False)),
    (
        sign_in_has_no_secret,
        "sign-in",
        put("config/authsettingsV2", "properties.globalValidation.requireAuthentication", False),
    ),
    (
        sign_in_has_no_secret,
        "sign-in",
        put("config/authsettingsV2", "properties.globalValidation.unauthenticatedClientAction", "AllowAnonymous"),
    ),
    (
        sign_in_has_no_secret,
        "sign-in",
        put("config/authsettingsV2", "properties.globalValidation.excludedPaths", ["/api/*"]),
    ),
    (sign_in_has_no_secret, "sign-in", put("config/authsettingsV2", "properties.login.tokenStore.enabled", True)),
    (
        sign_in_has_no_secret,
        "sign-in",
        put("config/authsettingsV2", f"{ENTRA}.registration.clientSecretSettingName", "A_SECRET"),
    ),
    (
        sign_in_has_no_secret,
        "sign-in",
        put(
            "config/authsettingsV2",
            f"{ENTRA}.registration.openIdIssuer",
            "https://login.microsoftonline.com/common/v2.0",
        ),
    ),
    (sign_in_has_no_secret, "sign-in", put("config/authsettingsV2", f"{ENTRA}.validation", {})),
    (alerts_send_mail, "everything", put("actionGroups/ag-ywshwzmuw2ogm", "properties.emailReceivers", [])),
    (
        alerts_send_mail,
        "everything",
        put("scheduledQueryRules/server-errors-ywshwzmuw2ogm", "properties.enabled", False),
    ),
    (alerts_send_mail, "everything", put("metricAlerts/unauthorized-ywshwzmuw2ogm", "properties.actions", [])),
    (
        alerts_send_mail,
        "everything",
        put("eventSubscriptions/key-near-its-end", "properties.eventDeliverySchema", "EventGridSchema"),
    ),
    (
        alerts_send_mail,
        "everything",
        put("budgets/budget-ywshwzmuw2ogm", "properties.notifications.actual80.enabled", False),
    ),
    (alerts_send_mail, "everything", put("budgets/budget-ywshwzmuw2ogm", "properties.amount", 500)),
    (
        locks_forbid_deletion,
        "everything",
        put(f"{STORAGE}/providers/Microsoft.Authorization/locks/keep", "properties.level", "ReadOnly"),
    ),
    (everything_is_tagged, "everything", put(STORAGE, "tags", {"azd-env-name": "test"})),
    (everything_is_tagged, "defaults", put(VAULT, "location", "eastus")),
    (nothing_unresolved, "container app", put(CONTAINER_APP, "properties.template.containers.0.env.0.value", "[a()]")),
    (no_secret, "container instance", put(GROUP, f"{CONTAINER}.environmentVariables.0.value", "AccountKey=a")),
    (no_secret, "virtual machine", put(f"{MACHINE}/runCommands/deploy", "properties.source.script", "AccountKey=a")),
    (exactly_these_roles, "container app", pull_nothing),
    (
        exactly_these_resources,
        "no image yet",
        add({"id": f"{PREFIX}{MACHINE}", "type": "Microsoft.Compute/virtualMachines"}),
    ),
    (exactly_these_resources, "virtual machine", drop("natGateways/ng-ywshwzmuw2ogm")),
    (
        settings_reach_by_identity,
        "container app",
        put(CONTAINER_APP, "properties.template.containers.0.env.8.value", "a"),
    ),
    (
        settings_reach_by_identity,
        "virtual machine",
        put(f"{MACHINE}/runCommands/deploy", "properties.source.script", "[]"),
    ),
    (
        health_checks_call_live,
        "container app",
        put(CONTAINER_APP, "properties.template.containers.0.probes.1.httpGet.path", "/api/health"),
    ),
    (
        health_checks_call_live,
        "container instance",
        put(GROUP, f"{CONTAINER}.livenessProbe.httpGet.path", "/api/health"),
    ),
    (
        network_denies,
        "container instance",
        put("nsg-ywshwzmuw2ogm-app", "properties.securityRules.0.properties.sourceAddressPrefix", "*"),
    ),
    (
        network_denies,
        "virtual machine",
        put("nsg-ywshwzmuw2ogm-app", "properties.securityRules.1.properties.sourceAddressPrefix", "*"),
    ),
    (network_denies, "virtual machine", put("vnet-ywshwzmuw2ogm", "properties.subnets.0.properties.natGateway", None)),
    (
        network_denies,
        "app service",
        put("vnet-ywshwzmuw2ogm", "properties.subnets.0.properties.delegations.0.properties.serviceName", "a"),
    ),
    (
        diagnostic_logs_are_kept,
        "container app",
        put(f"{REGISTRY}/providers/Microsoft.Insights/diagnosticSettings/to-workspace", "properties.logs", []),
    ),
    (site_is_closed, "app service", put(SITE, f"{CONFIG}.ipSecurityRestrictionsDefaultAction", "Allow")),
    (sign_in_has_no_secret, "app service", put("config/authsettingsV2", f"{ENTRA}.validation", {})),
    (registry_is_closed, "container app", put(REGISTRY, "properties.adminUserEnabled", True)),
    (registry_is_closed, "container app", put(REGISTRY, "properties.anonymousPullEnabled", True)),
    (registry_is_closed, "container app, private", put(REGISTRY, "properties.publicNetworkAccess", "Enabled")),
    (registry_is_closed, "virtual machine", put(REGISTRY, "properties.networkRuleBypassOptions", "AzureServices")),
    (container_app_is_closed, "container app", put(CONTAINER_APP, f"{INGRESS}.ipSecurityRestrictions", [])),
    (
        container_app_is_closed,
        "container app, open and signed in",
        put(CONTAINER_APP, f"{INGRESS}.ipSecurityRestrictions.0.ipAddressRange", "0.0.0.0/0"),
    ),
    (container_app_is_closed, "container app", put(CONTAINER_APP, f"{INGRESS}.allowInsecure", True)),
    (container_app_is_closed, "container app", put(CONTAINER_APP, f"{INGRESS}.corsPolicy.allowedOrigins", ["*"])),
    (
        container_app_is_closed,
        "container app",
        put(CONTAINER_APP, "properties.template.containers.0.image", "strongroom:latest"),
    ),
    (
        container_app_is_closed,
        "container app",
        put(CONTAINER_APP, "properties.configuration.registries.0.identity", "system"),
    ),
    (container_app_is_closed, "container app", put(CONTAINER_APP, "identity.type", "SystemAssigned")),
    (
        container_app_is_closed,
        "container app, open and signed in",
        put(CONTAINER_APP, "properties.template.scale.maxReplicas", 300),
    ),
    (container_app_is_closed, "container app, private", put(ENVIRONMENT, "properties.publicNetworkAccess", "Enabled")),
    (container_app_is_closed, "container app", put(ENVIRONMENT, "properties.peerAuthentication.mtls.enabled", False)),
    (
        container_app_is_closed,
        "container app, open and signed in",
        put("authConfigs/current", "properties.globalValidation.unauthenticatedClientAction", "AllowAnonymous"),
    ),
    (
        container_app_is_closed,
        "container app, open and signed in",
        put("authConfigs/current", f"{ENTRA}.validation", {}),
    ),
    (container_instance_is_inside, "container instance", put(GROUP, "properties.ipAddress.type", "Public")),
    (container_instance_is_inside, "container instance", put(GROUP, f"{CONTAINER}.securityContext.runAsUser", 0)),
    (
        container_instance_is_inside,
        "container instance",
        put(GROUP, f"{CONTAINER}.securityContext.allowPrivilegeEscalation", True),
    ),
    (container_instance_is_inside, "container instance", put(GROUP, f"{CONTAINER}.image", "strongroom:latest")),
    (
        container_instance_is_inside,
        "container instance",
        put(GROUP, "properties.imageRegistryCredentials.0.password", "a"),
    ),
    (
        machine_is_inside,
        "virtual machine",
        put("nic-ywshwzmuw2ogm", "properties.ipConfigurations.0.properties.publicIPAddress", {"id": "a"}),
    ),
    (
        machine_is_inside,
        "virtual machine",
        put(MACHINE, "properties.osProfile.linuxConfiguration.disablePasswordAuthentication", False),
    ),
    (machine_is_inside, "virtual machine", put(MACHINE, "properties.osProfile.adminPassword", "a")),
    (
        machine_is_inside,
        "virtual machine",
        put(MACHINE, "properties.osProfile.linuxConfiguration.patchSettings.patchMode", "ImageDefault"),
    ),
    (machine_is_inside, "virtual machine", put(MACHINE, "properties.securityProfile.encryptionAtHost", False)),
    (
        machine_is_inside,
        "virtual machine",
        put(MACHINE, "properties.securityProfile.uefiSettings.secureBootEnabled", False),
    ),
    (
        machine_is_inside,
        "virtual machine",
        put(f"{MACHINE}/runCommands/deploy", "properties.source.script", "strongroom:latest"),
    ),
    (machine_is_inside, "virtual machine", put("bastionHosts/bas-ywshwzmuw2ogm", "sku.name", "Standard")),
    (machine_is_inside, "virtual machine", drop(MACHINE)),
    (app_service_runs_the_image, "app service", put(SITE, f"{CONFIG}.alwaysOn", False)),
    (app_service_runs_the_image, "app service", put(SITE, f"{CONFIG}.linuxFxVersion", "DOCKER|strongroom:latest")),
    (app_service_runs_the_image, "app service", put(SITE, f"{CONFIG}.acrUseManagedIdentityCreds", False)),
    (app_service_runs_the_image, "app service", put(SITE, f"{CONFIG}.ftpsState", "AllAllowed")),
    (app_service_runs_the_image, "app service", put("serverfarms/asp-ywshwzmuw2ogm", "sku.name", "P3v3")),
]


# Breaking the template itself.

TEMPLATE_BREAKS: list[tuple[Rule, str, str, str, str]] = [
    (
        storage_is_closed,
        "defaults",
        "modules/storage.bicep",
        "allowSharedKeyAccess: false",
        "allowSharedKeyAccess: true",
    ),
    (
        site_is_closed,
        "allow-list",
        "modules/hosting/flex.bicep",
        "action: 'Allow'\n          ipAddress: range",
        "action: 'Allow'\n          ipAddress: '0.0.0.0/0'",
    ),
    (
        exactly_these_roles,
        "defaults",
        "modules/vault.bicep",
        "scope: vault::master\n  name: guid(vault::master.id",
        "scope: vault\n  name: guid(vault.id",
    ),
    (
        exactly_these_roles,
        "defaults",
        "main.bicep",
        "roles: [roles.blobDataContributor, roles.tableDataContributor]",
        "roles: [roles.blobDataOwner, roles.tableDataContributor]",
    ),
    (
        settings_reach_by_identity,
        "container instance",
        "modules/hosting/app.bicep",
        "string((hostings[hosting].private ? 0 : 1) + proxies)",
        "string((hostings[hosting].private ? 1 : 1) + proxies)",
    ),
    (
        settings_reach_by_identity,
        "container app",
        "modules/hosting/container-app.bicep",
        "value: 'https://${app.name}.",
        "value: 'http://${app.name}.",
    ),
    (
        settings_reach_by_identity,
        "private network",
        "modules/hosting/app.bicep",
        "'STRONGROOM_STORAGE_PRIVATE', value: 'true'",
        "'STRONGROOM_STORAGE_PRIVATE', value: 'false'",
    ),
    (
        host_is_out_of_reach,
        "defaults",
        "modules/hosting/app.bicep",
        "'https://${storageName}.blob.${cloud.storageSuffix}' }",
        "hostBlobUri }",
    ),
    (
        no_secret,
        "defaults",
        "modules/hosting/flex.bicep",
        "appSettings: settings",
        "appSettings: concat(settings, [{ name: 'A', value: 'AccountKey=${planName}' }])",
    ),
    (
        nothing_that_flex_refuses,
        "defaults",
        "modules/hosting/app.bicep",
        "  [\n    { name: 'AzureWebJobsStorage__credential'",
        "  [\n    { name: 'FUNCTIONS_WORKER_RUNTIME', value: 'python' }\n    { name: 'AzureWebJobsStorage__credential'",
    ),
    (network_denies, "private network", "modules/network.bicep", "      denyAllInbound\n    ]", "    ]"),
    (
        nothing_unresolved,
        "defaults",
        "modules/hosting/app.bicep",
        "value: 'https://${storageName}.table.${cloud.storageSuffix}'",
        "value: 'https://${storageName}.table.${az.environment().suffixes.storage}'",
    ),
    (
        exactly_these_resources,
        "defaults",
        "main.bicep",
        "module page 'modules/workbook.bicep' = if (workbook) {",
        "module page 'modules/workbook.bicep' = if (!workbook) {",
    ),
]
