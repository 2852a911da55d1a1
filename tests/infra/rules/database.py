"""Rules for the database servers, PostgreSQL and MySQL."""

from collections.abc import Iterator

from tests.infra.bicep import TENANT, Snapshot
from tests.infra.cases import Case

from .common import MYSQL_PASSWORD, different


def database_is_closed(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The database accepts only Entra ID and TLS, and at most the allow-list can connect."""
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
