"""One storage account's clients. They connect at first use, so that building `Storage` costs nothing."""

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from shared.errors import StorageForbidden, StorageUnavailable
from shared.settings import StorageSettings
from shared.storage.account import Account, account_of
from shared.storage.credential import managed_identity
from shared.storage.names import exact_url
from shared.storage.requests import Service, new_transport

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.data.tables import TableClient, TableServiceClient
    from azure.storage.blob import BlobServiceClient

SCOPE = "https://storage.azure.com/.default"
FIRST_READ_BYTES = 1024 * 1024
"""What the first request for a blob reads of it: small blobs come with one request, of large ones little is wasted."""
MAX_READ_BYTES = 100 * 1024 * 1024


class Storage:
    """Table and Blob Storage of one account. Safe to use from many threads."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self.table_requests = Service("Table Storage")
        self.blob_requests = Service("Blob Storage")

    @cached_property
    def account(self) -> Account:
        """Raises StorageNotConfigured where the settings name no account."""
        return account_of(self._settings)

    @cached_property
    def credential(self) -> "TokenCredential":
        """The app's managed identity."""
        settings = self._settings
        return managed_identity(settings.client_id, settings.identity_endpoint, settings.identity_header)

    def token(self, scope: str) -> str:
        """An access token of the app's identity for another service.

        Raises StorageForbidden or StorageUnavailable.
        """
        from azure.core.exceptions import AzureError, ClientAuthenticationError

        try:
            return self.credential.get_token(scope).token
        except ClientAuthenticationError as error:
            raise StorageForbidden("The app's identity got no token.") from error
        except AzureError as error:
            raise StorageUnavailable("The service that issues the app's tokens does not respond.") from error

    def storage_token(self) -> str:
        """An access token for the storage account. Raises as `token` does."""
        return self.token(SCOPE)

    @cached_property
    def table_service(self) -> "TableServiceClient":
        """The SDK's client of Table Storage."""
        from azure.core.credentials import AzureNamedKeyCredential
        from azure.data.tables import TableServiceClient

        account = self.account
        return TableServiceClient(
            account.table_url,
            credential=AzureNamedKeyCredential(account.name, account.key) if account.key else self.credential,
            transport=new_transport(),
            permit_redirects=False,  # Nobody else gets our credential.
            retry_total=0,
        )

    def table(self, name: str) -> "TableClient":
        """The SDK's client of a table, which need not exist."""
        return self.table_service.get_table_client(name)

    @cached_property
    def blob_service(self) -> "BlobServiceClient":
        """The SDK's client of Blob Storage."""
        return self._blob_service(FIRST_READ_BYTES)

    @cached_property
    def range_service(self) -> "BlobServiceClient":
        """The SDK's client of Blob Storage that reads a range of bytes in one request."""
        return self._blob_service(MAX_READ_BYTES)

    def _blob_service(self, first_read_bytes: int) -> "BlobServiceClient":
        from azure.core.credentials import AzureNamedKeyCredential
        from azure.storage.blob import BlobServiceClient

        account = self.account
        return BlobServiceClient(
            account.blob_url,
            credential=AzureNamedKeyCredential(account.name, account.key) if account.key else self.credential,
            transport=new_transport(),
            permit_redirects=False,
            retry_total=0,
            max_single_get_size=first_read_bytes,
            max_chunk_get_size=MAX_READ_BYTES,
            max_single_put_size=MAX_READ_BYTES,
            raw_request_hook=partial(_use_exact_urls, account.blob_url),
        )


def _use_exact_urls(account_url: str, request: Any) -> None:
    """Keep dot segments in the names of blobs: the SDK leaves them bare, and its HTTP client would resolve them."""
    http_request = request.http_request
    http_request.url = exact_url(http_request.url, account_url)
    if source := http_request.headers.get("x-ms-copy-source"):
        http_request.headers["x-ms-copy-source"] = exact_url(source, account_url)
