"""Shared helpers of the rules: identifiers of the test deployment, and functions that read resources."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.infra.bicep import GROUP, Resource, Snapshot
from tests.infra.cases import ENVIRONMENT, NAME, NETWORK, Case

Rule = Callable[[Snapshot, Case], Iterator[str]]
PREFIX = f"{GROUP}/providers/"
APP_SUBNET = f"{PREFIX}{NETWORK}/subnets/app"
APP_IDENTITY = f"{PREFIX}Microsoft.ManagedIdentity/userAssignedIdentities/id-{NAME}"
CLIENT_ID = f"reference('{APP_IDENTITY}', '2024-11-30').clientId"
PRINCIPAL_ID = f"reference('{APP_IDENTITY}', '2024-11-30').principalId"
CONNECTION = f"[reference('{PREFIX}Microsoft.Insights/components/appi-{NAME}', '2020-02-02').ConnectionString]"
ENVIRONMENT_ADDRESS = (
    f"[format('https://{{0}}.{{1}}', 'ca-{NAME}', reference('{PREFIX}{ENVIRONMENT}', '2026-01-01').defaultDomain)]"
)
MYSQL_PASSWORD = "[if(empty(parameters('unusedPassword')), null(), parameters('unusedPassword'))]"
"""A secure parameter stays an expression. A deployment without a password keeps the server's present one."""


def short(identifier: str) -> str:
    """Cut the subscription and the resource group from a resource id."""
    return identifier.removeprefix(PREFIX)


def strings(value: Any) -> Iterator[str]:
    """Yield every string in a JSON value, including the names of its members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


def different(resource: Resource, wanted: dict[str, object], at: str = "properties") -> Iterator[str]:
    """Yield a violation for each property of `resource[at]` that differs from `wanted`.

    A dot in a name goes one level down. The type matters for booleans: 1 is not True.
    """
    for path, value in wanted.items():
        found: Any = resource
        for name in [*at.split("."), *path.split(".")]:
            found = found.get(name) if isinstance(found, dict) else None
        if found != value or isinstance(found, bool) != isinstance(value, bool):
            yield f"{short(resource['id'])}: {path} is {found!r}, not {value!r}"
