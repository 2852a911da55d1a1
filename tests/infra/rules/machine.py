"""Rules for the virtual machine."""

from collections.abc import Iterator

from tests.infra.bicep import Snapshot
from tests.infra.cases import IMAGE, MACHINE, NAME, Case

from .common import APP_IDENTITY, different, short


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
