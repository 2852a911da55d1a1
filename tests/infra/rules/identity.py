"""Rules for roles and for sign-in with Entra ID."""

import re
from collections.abc import Iterator

from tests.infra.bicep import TENANT, Resource, Snapshot
from tests.infra.cases import CLIENT, PULL, ROLES, Case

from .common import PREFIX, PRINCIPAL_ID, different, short


def scope_of(assignment: Resource) -> str:
    """Read the resource of a role assignment from its id, which stays an expression because its name is one.

    The result is empty if the assignment is not on a single resource.
    """
    matched = re.match(
        r"\[extensionResourceId\('([^']*)', 'Microsoft.Authorization/roleAssignments', ", assignment["id"]
    )
    return short(matched[1]) if matched else ""


def exactly_these_roles(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """The app's identity has exactly its roles, each on one resource, and no other principal has any.

    An assignment's name contains the principal. So it cannot collide with one that a deleted identity left behind.
    """
    wanted = ROLES if case.hosting == "flex" else ROLES | {PULL}
    found = set()
    for assignment in snapshot.of_type("Microsoft.Authorization/roleAssignments"):
        scope = scope_of(assignment)
        role = assignment["properties"]["roleDefinitionId"].rpartition("/")[2]
        found.add((scope, role))
        if assignment["name"] != f"[guid('{PREFIX}{scope}', {PRINCIPAL_ID}, '{role}')]":
            yield f"the assignment on {scope} is named {assignment['name']}"
        if scope not in {short(resource["id"]) for resource in snapshot.resources}:
            yield f"a role on {scope or 'the whole group'} is wider than one resource of the deployment"
        yield from different(assignment, {"principalId": f"[{PRINCIPAL_ID}]", "principalType": "ServicePrincipal"})
    yield from (f"{role} on {scope} is missing" for scope, role in sorted(wanted - found))
    yield from (f"{role} on {scope} is unexpected" for scope, role in sorted(found - wanted))


def sign_in_has_no_secret(snapshot: Snapshot, case: Case) -> Iterator[str]:
    """Sign-in requires a token on every path except the public ones, and uses the app's identity, not a secret."""
    for config in snapshot.of_type("Microsoft.Web/sites/config"):
        yield from different(
            config,
            {
                "platform.enabled": True,
                "globalValidation": {
                    "requireAuthentication": True,
                    "unauthenticatedClientAction": "Return401",
                    "excludedPaths": case.public_paths,
                },
                "httpSettings.requireHttps": True,
                "login.tokenStore.enabled": False,
                "identityProviders": {
                    "azureActiveDirectory": {
                        "enabled": True,
                        "registration": {
                            "openIdIssuer": f"https://login.microsoftonline.com/{TENANT}/v2.0",
                            "clientId": CLIENT,
                            "clientSecretSettingName": "OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID",
                        },
                        "validation": {"allowedAudiences": [CLIENT, f"api://{CLIENT}"]},
                    }
                },
            },
        )
