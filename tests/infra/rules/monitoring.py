"""Rules for logs, telemetry, alerts and the budget."""

from collections.abc import Iterator

from tests.infra.bicep import Snapshot
from tests.infra.cases import ENVIRONMENT, HOST_STORAGE, NAME, REGISTRY, SITE, STORAGE, VAULT, Case
from tests.infra.cases import GROUP as CONTAINER_GROUP

from .common import PREFIX, different, short


def telemetry_takes_no_key(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Only identities can write logs and telemetry, and the logs of a day have a size limit."""
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


def alerts_send_mail(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Every alert and the budget are on, and send mail to the people of the group."""
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
