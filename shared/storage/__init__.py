"""The connection to one storage account: its settings, its credential, tables and blobs. No SDK error leaves it."""

from shared.storage.account import EMULATOR_ACCOUNT, EMULATOR_KEY, Account, account_of
from shared.storage.client import Storage
from shared.storage.containers import check_container, is_reserved
from shared.storage.credential import managed_identity
from shared.storage.errors import ReservedContainer, RowConflict, StorageNotConfigured, WriteUnconfirmed
from shared.storage.requests import CONNECTIONS, RETRIES, retry_on_conflict
from shared.storage.tables import Operation, Row, Table, create, delete, put, replace

__all__ = [
    "CONNECTIONS",
    "EMULATOR_ACCOUNT",
    "EMULATOR_KEY",
    "RETRIES",
    "Account",
    "Operation",
    "ReservedContainer",
    "Row",
    "RowConflict",
    "Storage",
    "StorageNotConfigured",
    "Table",
    "WriteUnconfirmed",
    "account_of",
    "check_container",
    "create",
    "delete",
    "is_reserved",
    "managed_identity",
    "put",
    "replace",
    "retry_on_conflict",
]
