"""Rules for the virtual network and its private endpoints."""

from collections.abc import Iterator

from tests.infra.bicep import Snapshot
from tests.infra.cases import NAME, Case

from .common import PREFIX, different


def network_denies(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Both subnets deny inbound connections, with two exceptions.

    The app, or a private network, reaches the private endpoints; some hostings need a port of the app's subnet.
    """
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
