"""The likely sets of parameters, and the exact resources that each one deploys."""

import json
from dataclasses import dataclass, field
from pathlib import Path

NAME = "ywshwzmuw2ogm"
"""What `uniqueString` makes of the subscription, the resource group and the environment name of the tests."""
ADMINISTRATOR = "33333333-3333-3333-3333-333333333333"
CLIENT = "44444444-4444-4444-4444-444444444444"

PUBLIC_PATHS = json.loads((Path(__file__).parents[2] / "infra" / "public-paths.json").read_text())
"""Paths that need no sign-in; test_settings.py compares them with the app's routes."""

BLOB_OWNER = "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"
BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
TABLE_CONTRIBUTOR = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"
ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
METRICS_PUBLISHER = "3913510d-42f4-4e42-8a64-420c390055eb"
CRYPTO_SERVICE_ENCRYPTION_USER = "e147488a-f6f5-4113-8e2d-b22465e65bf6"

STORAGE = f"Microsoft.Storage/storageAccounts/st{NAME}"
HOST_STORAGE = f"Microsoft.Storage/storageAccounts/sthost{NAME}"
VAULT = f"Microsoft.KeyVault/vaults/kv-{NAME}"
SITE = f"Microsoft.Web/sites/func-{NAME}"
NETWORK = f"Microsoft.Network/virtualNetworks/vnet-{NAME}"
POSTGRESQL = f"Microsoft.DBforPostgreSQL/flexibleServers/psql-{NAME}"
MYSQL = f"Microsoft.DBforMySQL/flexibleServers/mysql-{NAME}"
REGISTRY = f"Microsoft.ContainerRegistry/registries/cr{NAME}"
ENVIRONMENT = f"Microsoft.App/managedEnvironments/cae-{NAME}"
CONTAINER_APP = f"Microsoft.App/containerApps/ca-{NAME}"
GROUP = f"Microsoft.ContainerInstance/containerGroups/ci-{NAME}"
MACHINE = f"Microsoft.Compute/virtualMachines/vm-{NAME}"
TOPIC = f"Microsoft.EventGrid/systemTopics/evgst-{NAME}"

ROLES = {
    (HOST_STORAGE, BLOB_OWNER),
    (STORAGE, BLOB_CONTRIBUTOR),
    (STORAGE, TABLE_CONTRIBUTOR),
    (f"{VAULT}/keys/master", CRYPTO_SERVICE_ENCRYPTION_USER),
    (f"Microsoft.Insights/components/appi-{NAME}", METRICS_PUBLISHER),
}
"""The role assignments of every case: the resource, and the role on it."""
PULL = (REGISTRY, ACR_PULL)
"""And one more with a registry."""

ALWAYS = {
    f"Microsoft.ManagedIdentity/userAssignedIdentities/id-{NAME}",
    f"Microsoft.Network/networkSecurityGroups/nsg-{NAME}-app",
    f"Microsoft.Network/networkSecurityGroups/nsg-{NAME}-endpoints",
    NETWORK,
    f"Microsoft.OperationalInsights/workspaces/log-{NAME}",
    f"Microsoft.Insights/components/appi-{NAME}",
    STORAGE,
    f"{STORAGE}/blobServices/default",
    f"{STORAGE}/blobServices/default/containers/datasets",
    f"{STORAGE}/blobServices/default/containers/strongroom-models",
    f"{STORAGE}/tableServices/default",
    f"{STORAGE}/managementPolicies/default",
    HOST_STORAGE,
    f"{HOST_STORAGE}/blobServices/default",
    f"{HOST_STORAGE}/blobServices/default/containers/app-package",
    VAULT,
    f"{VAULT}/keys/master",
    f"{STORAGE}/blobServices/default/providers/Microsoft.Insights/diagnosticSettings/to-workspace",
    f"{STORAGE}/tableServices/default/providers/Microsoft.Insights/diagnosticSettings/to-workspace",
    f"{HOST_STORAGE}/blobServices/default/providers/Microsoft.Insights/diagnosticSettings/to-workspace",
    f"{VAULT}/providers/Microsoft.Insights/diagnosticSettings/to-workspace",
}
"""The resources of every hosting."""
A_SITE = {
    f"Microsoft.Web/serverfarms/asp-{NAME}",
    SITE,
    f"{SITE}/basicPublishingCredentialsPolicies/ftp",
    f"{SITE}/basicPublishingCredentialsPolicies/scm",
    f"{SITE}/providers/Microsoft.Insights/diagnosticSettings/to-workspace",
}
A_REGISTRY = {REGISTRY, f"{REGISTRY}/providers/Microsoft.Insights/diagnosticSettings/to-workspace"}
A_WAY_OUT = {f"Microsoft.Network/publicIPAddresses/pip-{NAME}", f"Microsoft.Network/natGateways/ng-{NAME}"}
HOSTS: dict[str, set[str]] = {
    "flex": A_SITE,
    "appService": A_SITE,
    "containerApp": {
        ENVIRONMENT,
        CONTAINER_APP,
        f"{ENVIRONMENT}/providers/Microsoft.Insights/diagnosticSettings/to-workspace",
    },
    "containerInstance": {GROUP, f"{GROUP}/providers/Microsoft.Insights/diagnosticSettings/to-workspace"},
    "virtualMachine": {f"Microsoft.Network/networkInterfaces/nic-{NAME}", MACHINE, f"{MACHINE}/runCommands/deploy"},
}
"""The resources of each hosting, besides those of `AROUND`; all but flex need an image."""
AROUND: dict[str, set[str]] = {
    "flex": set(),
    "appService": A_REGISTRY,
    "containerApp": A_REGISTRY,
    "containerInstance": A_REGISTRY | A_WAY_OUT,
    "virtualMachine": A_REGISTRY | A_WAY_OUT,
}


def endpoint(group: str, zone: str) -> set[str]:
    """A private endpoint with its zone, the zone's link to the network, and the endpoint's record in it."""
    return {
        f"Microsoft.Network/privateDnsZones/{zone}",
        f"Microsoft.Network/privateDnsZones/{zone}/virtualNetworkLinks/link",
        f"Microsoft.Network/privateEndpoints/pep-{group}-{NAME}",
        f"Microsoft.Network/privateEndpoints/pep-{group}-{NAME}/privateDnsZoneGroups/default",
    }


PRIVATE_NETWORK = (
    endpoint("blob", "privatelink.blob.core.windows.net")
    | endpoint("host-blob", "privatelink.blob.core.windows.net")
    | endpoint("table", "privatelink.table.core.windows.net")
    | endpoint("vault", "privatelink.vaultcore.azure.net")
)
PRIVATE_SITE = endpoint("sites", "privatelink.azurewebsites.net")
WITH_POSTGRESQL = {
    POSTGRESQL,
    f"{POSTGRESQL}/administrators/{ADMINISTRATOR}",
    f"{POSTGRESQL}/databases/strongroom",
    f"{POSTGRESQL}/configurations/require_secure_transport",
    f"{POSTGRESQL}/configurations/ssl_min_protocol_version",
} | endpoint("postgresqlServer", "privatelink.postgres.database.azure.com")
WITH_MYSQL = {
    f"Microsoft.ManagedIdentity/userAssignedIdentities/id-mysql-{NAME}",
    MYSQL,
    f"{MYSQL}/administrators/ActiveDirectory",
    f"{MYSQL}/databases/strongroom",
    f"{MYSQL}/configurations/aad_auth_only",
    f"{MYSQL}/configurations/require_secure_transport",
    f"{MYSQL}/configurations/tls_version",
} | endpoint("mysqlServer", "privatelink.mysql.database.azure.com")
SIGN_IN = {f"{SITE}/config/authsettingsV2"}
ALERTS = {
    f"Microsoft.Insights/actionGroups/ag-{NAME}",
    *(f"Microsoft.Insights/scheduledQueryRules/{each}-{NAME}" for each in ("server-errors", "busy", "vault-denied")),
    *(
        f"Microsoft.Insights/metricAlerts/{each}-{NAME}"
        for each in ("unauthorized", "vault-throttled", "storage-throttled")
    ),
    TOPIC,
    f"{TOPIC}/eventSubscriptions/key-near-its-end",
}
WORKBOOK = {"Microsoft.Insights/workbooks/e3f19d0c-1a79-53e4-9505-a35015e5be65"}
BUDGET = {f"Microsoft.Consumption/budgets/budget-{NAME}"}


def locks(*scopes: str) -> set[str]:
    return {f"{scope}/providers/Microsoft.Authorization/locks/keep" for scope in scopes}


@dataclass(frozen=True)
class Case:
    """One set of parameters, the resources that it deploys, and the allow-list in each of its forms."""

    name: str
    parameters: dict[str, object]
    resources: set[str] = field(default_factory=set)
    """Besides those of `ALWAYS` and of the hosting."""
    site_ranges: tuple[str, ...] = ()
    vault_ranges: tuple[str, ...] = ()
    storage_ranges: tuple[str, ...] = ()

    def parameter(self, name: str, default: object) -> object:
        return self.parameters.get(name, default)

    @property
    def origins(self) -> list[str]:
        """The origins of web pages, from lists separated by commas."""
        texts = self.parameter("origins", [])
        assert isinstance(texts, list)
        return [each.strip() for text in texts for each in text.split(",") if each.strip()]

    @property
    def more_settings(self) -> dict[str, str]:
        """The operator's settings, from lists separated by semicolons."""
        texts = self.parameter("settings", [])
        assert isinstance(texts, list)
        pairs = [each.strip().partition("=") for text in texts for each in text.split(";") if each.strip()]
        return {name: value for name, _, value in pairs}

    @property
    def public_paths(self) -> list[str]:
        """The paths that need no sign-in with Entra ID."""
        paths = list(PUBLIC_PATHS)
        if self.parameter("publicSignIn", False):
            paths += ["/api/sign-in", "/api/sign-in/*", "/api/sessions/refresh"]
        if self.parameter("publicSignUp", False):
            paths.append("/api/sign-up")
        return paths

    @property
    def hosting(self) -> str:
        return str(self.parameter("hosting", "flex"))

    @property
    def has_host(self) -> bool:
        """Whether the app is deployed: without an image only flex deploys it."""
        return self.hosting == "flex" or bool(self.parameter("image", ""))

    @property
    def is_site(self) -> bool:
        return self.has_host and self.hosting in ("flex", "appService")

    @property
    def is_inside(self) -> bool:
        """Whether the hosting has an address inside the network only."""
        return self.hosting in ("containerInstance", "virtualMachine")

    @property
    def all_resources(self) -> set[str]:
        """Every resource that is deployed, except role assignments."""
        return ALWAYS | AROUND[self.hosting] | (HOSTS[self.hosting] if self.has_host else set()) | self.resources

    @property
    def private_network(self) -> bool:
        return bool(self.parameter("privateNetwork", False))

    @property
    def private_site(self) -> bool:
        return bool(self.parameter("privateSite", False))

    @property
    def database(self) -> str:
        return str(self.parameter("database", "none"))


ADMIN = {"databaseAdminId": ADMINISTRATOR, "databaseAdminName": "ada@example.org"}
RANGES = ["203.0.113.7, 198.51.100.0/24", "192.0.2.6/31", " 203.0.113.7/32 ", "2001:db8::/64", "2001:db8:1::7", ""]
"""Every form of a range, and one range twice."""
SITE_RANGES = ("203.0.113.7/32", "198.51.100.0/24", "192.0.2.6/31", "2001:db8::/64", "2001:db8:1::7/128")
VAULT_RANGES = ("203.0.113.7/32", "198.51.100.0/24", "192.0.2.6/31")
STORAGE_RANGES = ("203.0.113.7", "198.51.100.0/24", "192.0.2.6", "192.0.2.7")
FIREWALL = ("allow-203-0-113-7-32", "allow-198-51-100-0-24", "allow-192-0-2-6-31")

SECRET_REFERENCE = "@Microsoft.KeyVault(SecretUri=https://secrets.vault.azure.net/secrets/google)"
IMAGE = "strongroom@sha256:" + "0" * 64
GATEWAY = {"url": "https://gateway.example.org"}

CASES = [
    Case("defaults", {}),
    Case("private network", {"privateNetwork": True}, PRIVATE_NETWORK),
    Case("private site", {"privateNetwork": True, "privateSite": True}, PRIVATE_NETWORK | PRIVATE_SITE),
    Case("postgresql", {"database": "postgresql", **ADMIN}, WITH_POSTGRESQL),
    Case(
        "mysql",
        {"database": "mysql", **ADMIN},
        WITH_MYSQL,
    ),
    Case(
        "mysql, private, with an allow-list",
        {
            "database": "mysql",
            "privateNetwork": True,
            "allowedIpRanges": RANGES,
            **ADMIN,
        },
        WITH_MYSQL | PRIVATE_NETWORK,
        site_ranges=SITE_RANGES,
    ),
    Case("sign-in", {"entraClientId": CLIENT}, SIGN_IN),
    Case(
        "allow-list",
        {"allowedIpRanges": RANGES},
        site_ranges=SITE_RANGES,
        vault_ranges=VAULT_RANGES,
        storage_ranges=STORAGE_RANGES,
    ),
    Case(
        "everything",
        {
            "database": "postgresql",
            "databaseAdminType": "Group",
            **ADMIN,
            "privateSite": True,
            "entraClientId": CLIENT,
            "allowedIpRanges": RANGES,
            "alertEmails": ["ada@example.org, bob@example.org"],
            "workbook": True,
            "budgetAmount": 50,
            "budgetStart": "2026-12-01",
            "lock": True,
            "alwaysReady": 2,
            "instanceMemoryMB": 512,
            "url": "https://keys.example.org",
            "proxies": 1,
            "origins": ["https://app.example.org, https://www.example.org", ""],
            "publicSignIn": True,
            "publicSignUp": True,
            "settings": [
                "SSO_GOOGLE_ISSUER=https://accounts.google.com; TRUSTED_ISSUER_ACME_AUDIENCE=a,b=c;",
                "",
                f"SSO_GOOGLE_CLIENT_SECRET={SECRET_REFERENCE}",
            ],
            "maximumInstanceCount": 100,
            "storageRedundancy": "Standard_GZRS",
            "retentionDays": 60,
            "vaultSku": "premium",
            "purgeProtection": False,
            "pythonVersion": "3.12",
            "tags": {"team": "orchard"},
        },
        WITH_POSTGRESQL
        | {f"{POSTGRESQL}/firewallRules/{each}" for each in FIREWALL}
        | PRIVATE_SITE
        | SIGN_IN
        | ALERTS
        | WORKBOOK
        | BUDGET
        | locks(STORAGE, HOST_STORAGE, VAULT, POSTGRESQL),
        site_ranges=SITE_RANGES,
        vault_ranges=VAULT_RANGES,
        storage_ranges=STORAGE_RANGES,
    ),
    Case("no image yet", {"hosting": "virtualMachine"}),
    Case("container app", {"hosting": "containerApp", "image": IMAGE}),
    Case(
        "container app, open and signed in",
        {
            "hosting": "containerApp",
            "image": IMAGE,
            "allowedIpRanges": RANGES,
            "entraClientId": CLIENT,
            "alwaysReady": 1,
            "maximumReplicas": 20,
            "url": "https://keys.example.org",
        },
        {f"{CONTAINER_APP}/authConfigs/current"},
        site_ranges=VAULT_RANGES,
        vault_ranges=VAULT_RANGES,
        storage_ranges=STORAGE_RANGES,
    ),
    Case(
        "container app, private",
        {"hosting": "containerApp", "image": IMAGE, "privateNetwork": True, "privateSite": True},
        PRIVATE_NETWORK
        | endpoint("registry", "privatelink.azurecr.io")
        | endpoint("managedEnvironments", "privatelink.westeurope.azurecontainerapps.io"),
    ),
    Case("container instance", {"hosting": "containerInstance", "image": IMAGE, **GATEWAY}),
    Case(
        "virtual machine",
        {"hosting": "virtualMachine", "image": IMAGE, "sshPublicKey": "ssh-ed25519 key", "bastion": True, **GATEWAY},
        {f"Microsoft.Network/bastionHosts/bas-{NAME}"},
    ),
    Case(
        "app service",
        {
            "hosting": "appService",
            "image": IMAGE,
            "planSku": "B1",
            "allowedIpRanges": RANGES,
            "entraClientId": CLIENT,
        },
        SIGN_IN,
        site_ranges=SITE_RANGES,
        vault_ranges=VAULT_RANGES,
        storage_ranges=STORAGE_RANGES,
    ),
]
