"""The app's managed identity: one credential per client id, so that all services share its cached tokens."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


@cache
def managed_identity(client_id: str | None = None) -> "TokenCredential":
    """The credential of the user-assigned identity `client_id`, or of the system-assigned one."""
    from azure.identity import ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=client_id)
