"""Which containers no function may name: those of the Functions host, of the app and of the storage account itself.

The host keeps its keys in `azure-webjobs-secrets` and the app runs from `app-package`: anybody who can write there
controls the app. In Azure they are in a storage account of their own; where one account serves both, this rule
protects them. Every function that takes the name of a container calls `check_container`, and every listing of
containers leaves out those that `is_reserved` names.
"""

from shared.storage.errors import ReservedContainer

CONTAINER = r"^([a-z0-9]+(-[a-z0-9]+)*|\$root|\$web|\$logs|\$blobchangefeed)\Z"
"""The pattern of a container's name, reserved ones included."""

_NAMES = frozenset(
    {
        "$blobchangefeed",
        "$logs",
        "app-package",  # our template's name for the container of the deployed package
        "function-releases",
        "github-actions-deploy",
        "scm-releases",
    }
)
_PREFIXES = ("app-package-", "azure-webjobs-", "insights-", "strongroom-")


def is_reserved(container: str) -> bool:
    """Whether the container belongs to the host, the app or the account. Storage compares names in lower case."""
    name = container.lower()
    return name in _NAMES or name.startswith(_PREFIXES)


def check_container(container: str) -> None:
    """Raises ReservedContainer where no function may touch this container."""
    if is_reserved(container):
        raise ReservedContainer(
            f"The container {container} belongs to the Functions host or to this app. Name another."
        )
