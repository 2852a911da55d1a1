"""Rules for the storage accounts of the app and of the Functions host."""

import json
from collections.abc import Iterator

from tests.infra.bicep import Snapshot
from tests.infra.cases import HOST_STORAGE, NAME, STORAGE, Case

from .app import settings_of
from .common import APP_SUBNET, different, short


def storage_is_closed(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Both accounts refuse keys, anonymous calls and old TLS, and admit only the app's subnet and the allow-list."""
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
                    "virtualNetworkRules": [] if case.private_network else [{"action": "Allow", "id": APP_SUBNET}],
                },
            },
        )
        yield from different(account, {"name": case.parameter("storageRedundancy", "Standard_ZRS")}, "sku")
    for container in snapshot.of_type("Microsoft.Storage/storageAccounts/blobServices/containers"):
        yield from different(container, {"publicAccess": "None"})


def host_is_out_of_reach(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The package and the function keys are in an account that none of the app's own settings names."""
    settings = settings_of(snapshot, case)
    reached = [value for name, value in settings.items() if not name.startswith("AzureWebJobs")]
    if any(f"sthost{NAME}" in value for value in reached):
        yield "a setting of the app names the host's account"
    if case.has_host and f"//sthost{NAME}." not in settings.get("AzureWebJobsStorage__blobServiceUri", ""):
        yield "the host keeps its keys in another account than its own"
    of_host = f"{HOST_STORAGE}/blobServices/default/containers/app-package"
    of_app = {f"{STORAGE}/blobServices/default/containers/{each}" for each in ("datasets", "strongroom-models")}
    containers = snapshot.of_type("Microsoft.Storage/storageAccounts/blobServices/containers")
    if {short(each["id"]) for each in containers} != {of_host, *of_app}:
        yield "a container is in the wrong account"


def only_the_console_uploads(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """A page of the app's own origin may PUT blobs by a signed URL. No page may call the host's account."""
    services = {short(each["id"]): each for each in snapshot.of_type("Microsoft.Storage/storageAccounts/blobServices")}
    yield from different(services[f"{HOST_STORAGE}/blobServices/default"], {"cors.corsRules": []})
    for rule in services[f"{STORAGE}/blobServices/default"]["properties"]["cors"]["corsRules"]:
        if rule["allowedMethods"] != ["PUT"] or len(rule["allowedOrigins"]) != 1 or "*" in rule["allowedOrigins"]:
            yield f"a rule of CORS allows {rule['allowedMethods']} from {rule['allowedOrigins']}"
        if (url := case.parameter("url", "")) and rule["allowedOrigins"] != [url]:
            yield f"uploads are allowed from {rule['allowedOrigins']}, not from the app's url"


def blobs_can_be_restored(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """You can restore deleted and overwritten blobs, and all of them to a point in time. Old versions expire."""
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
