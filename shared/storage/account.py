"""Which storage account the app uses: its endpoints, and its key where it has one."""

from urllib.parse import urlsplit

import msgspec

from shared.settings import StorageSettings, connection_parts
from shared.storage.errors import StorageNotConfigured

# Microsoft's published account of the storage emulator, the same on every machine:
# https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
EMULATOR_ACCOUNT = "devstoreaccount1"
EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Account(msgspec.Struct, frozen=True):
    """A storage account: its endpoints, and its shared key (None where the app uses its managed identity)."""

    name: str
    blob_url: str
    table_url: str
    key: str | None = None

    def __repr__(self) -> str:
        return f"Account({self.name}, …)"


def account_of(settings: StorageSettings) -> Account:
    """The account that `settings` name. Raises StorageNotConfigured where they name none."""
    if settings.connection_string is not None:
        return _from_connection_string(settings.connection_string)
    if not settings.blob_service_uri or not settings.table_service_uri:
        raise StorageNotConfigured(
            "Set STRONGROOM_STORAGE or AzureWebJobsStorage, or its __blobServiceUri and __tableServiceUri."
        )
    parts = urlsplit(settings.blob_service_uri)
    # The emulator has the account's name in the path, Azure has it in the host name.
    name = parts.path.strip("/") or (parts.hostname or "").partition(".")[0]
    return Account(name, settings.blob_service_uri, settings.table_service_uri)


def _from_connection_string(text: str) -> Account:
    parts = connection_parts(text)
    if parts.get("UseDevelopmentStorage", "").lower() == "true":
        name, key = EMULATOR_ACCOUNT, EMULATOR_KEY
        parts |= {
            "BlobEndpoint": f"http://127.0.0.1:10000/{name}",
            "TableEndpoint": f"http://127.0.0.1:10002/{name}",
        }
    else:
        name, key = parts.get("AccountName", ""), parts.get("AccountKey", "")
    domain = f"{name}.{{}}.{parts.get('EndpointSuffix', 'core.windows.net')}"
    return Account(
        name,
        parts.get("BlobEndpoint", f"https://{domain.format('blob')}").rstrip("/"),
        parts.get("TableEndpoint", f"https://{domain.format('table')}").rstrip("/"),
        key,
    )
