"""Rules for the container registry, container apps and container instances."""

from collections.abc import Iterator

from tests.infra.bicep import TENANT, Snapshot
from tests.infra.cases import CLIENT, IMAGE, NAME, Case

from .common import APP_IDENTITY, APP_SUBNET, different


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
    """A container app accepts only HTTPS and the allow-list, and runs the image by digest. An empty list closes it."""
    for app in snapshot.of_type("Microsoft.App/containerApps"):
        ranges = case.site_ranges or ("127.0.0.1/32",)
        yield from different(
            app,
            {
                "configuration.ingress.allowInsecure": False,
                "configuration.ingress.targetPort": 8080,
                "configuration.ingress.corsPolicy": {
                    "allowedOrigins": ["https://portal.azure.com", *case.origins],
                    "allowedMethods": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
                    "allowedHeaders": [
                        "authorization",
                        "content-type",
                        "idempotency-key",
                        "if-match",
                        "if-none-match",
                        "range",
                        "x-functions-key",
                        "x-request-id",
                    ],
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
        yield from different(
            environment,
            {
                "publicNetworkAccess": "Disabled" if case.private_site else "Enabled",
                "peerAuthentication": {"mtls": {"enabled": True}},
                "vnetConfiguration": {"infrastructureSubnetId": APP_SUBNET, "internal": False},
            },
        )
    for config in snapshot.of_type("Microsoft.App/containerApps/authConfigs"):
        yield from different(
            config,
            {
                "platform.enabled": True,
                "globalValidation": {"unauthenticatedClientAction": "Return401", "excludedPaths": case.public_paths},
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
                "subnetIds": [{"id": APP_SUBNET}],
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
