"""Rules for sites: Flex Consumption and App Service."""

import re
from collections.abc import Iterator

from tests.infra.bicep import Snapshot
from tests.infra.cases import IMAGE, NAME, Case

from .app import CONCURRENCY, settings_of
from .common import APP_IDENTITY, APP_SUBNET, CLIENT_ID, different

REFUSED_SETTINGS = re.compile(
    r"FUNCTIONS_WORKER_RUNTIME(_VERSION)?|FUNCTIONS_EXTENSION_VERSION|WEBSITE_RUN_FROM_PACKAGE|WEBSITE_CONTENT.*"
    r"|WEBSITE_CONTENTAZUREFILECONNECTIONSTRING|WEBSITE_CONTENTSHARE|WEBSITE_VNET_ROUTE_ALL|WEBSITE_NODE_DEFAULT_VERSION"
    r"|SCM_DO_BUILD_DURING_DEPLOYMENT|ENABLE_ORYX_BUILD|TZ|WEBSITE_TIME_ZONE|FUNCTIONS_MAX_HTTP_CONCURRENCY"
    r"|FUNCTIONS_WORKER_PROCESS_COUNT|FUNCTIONS_WORKER_DYNAMIC_CONCURRENCY_ENABLED|AzureWebJobsStorage",
    re.IGNORECASE,
)
"""Settings that Flex Consumption refuses or ignores, and the connection string that would override the identity."""
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


def site_is_closed(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The site and its deployment site accept only HTTPS, TLS 1.2 and the allow-list. An empty list closes both."""
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
            "siteConfig.cors": {
                "allowedOrigins": ["https://portal.azure.com", *case.origins],
                "supportCredentials": False,
            },
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


def flex_runs_as_configured(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Flex Consumption uses the parameters for Python, memory and instances, and deploys from its own container."""
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
            "virtualNetworkSubnetId": APP_SUBNET,
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


def app_service_runs_the_image(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """App Service is always on, pulls the image by digest with the app's identity, and refuses FTP."""
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
