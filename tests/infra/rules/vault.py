"""Rules for the key vault and its master key."""

from collections.abc import Iterator

from tests.infra.bicep import TENANT, Snapshot
from tests.infra.cases import Case

from .common import APP_SUBNET, different


def vault_is_closed(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The vault uses roles, keeps deleted keys, and admits only the app's subnet and the allow-list."""
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
                "virtualNetworkRules": [] if case.private_network else [{"id": APP_SUBNET}],
            },
        },
    )
    if vault["properties"].get("accessPolicies"):
        yield "the vault has access policies beside its roles"


def master_key_only_wraps(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The master key only wraps and unwraps, cannot leave the vault, and is rotated each year."""
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
