"""The one reader of the environment. Everything that can be configured is a field here, with its default and unit."""

import os
from collections.abc import Mapping

import msgspec

from shared.errors import InvalidSetting

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib takes 2 ms to load.
"""The app's folder. Relative paths in settings start here: the working directory changes after import in Azure."""


class StorageSettings(msgspec.Struct, frozen=True):
    """How the storage account is reached: by connection string, or by its endpoints and the app's identity."""

    connection_string: str | None = None
    blob_service_uri: str | None = None
    table_service_uri: str | None = None
    client_id: str | None = None
    """Of a user-assigned identity; without one the system-assigned identity is taken."""

    def __repr__(self) -> str:
        return "StorageSettings(…)"


class DatabaseSettings(msgspec.Struct, frozen=True):
    """One database: the URL that reads, and the one that writes where writing is allowed. Both may hold a password."""

    url: str
    write_url: str | None = None

    def __repr__(self) -> str:
        return "DatabaseSettings(…)"


class Settings(msgspec.Struct, frozen=True):
    """What the app runs with; built by `load_settings`."""

    storage: StorageSettings = StorageSettings()
    """`AzureWebJobsStorage`, or `AzureWebJobsStorage__blobServiceUri`, `AzureWebJobsStorage__tableServiceUri` and
    `AzureWebJobsStorage__clientId`."""
    master_key: str = ""
    """`STRONGROOM_MASTER_KEY`: path of the file that holds the key."""
    max_body_bytes: int = 8 * 1024 * 1024
    """`STRONGROOM_MAX_BODY_BYTES`: a larger request is answered with 413."""
    hash_memory_mib: int = 512
    """`STRONGROOM_HASH_MEMORY_MIB`: what all password hashes at work may take together, in MiB."""
    key_cache_seconds: float = 30.0
    """`STRONGROOM_KEY_CACHE_SECONDS`: how long a change to a key may stay unseen by another instance."""
    databases: Mapping[str, DatabaseSettings] = {}
    """`DATABASE_<NAME>` and `DATABASE_<NAME>_WRITE`, by the name in lower case."""


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`. Raises InvalidSetting, naming the variable, where one cannot be understood."""
    return Settings(
        storage=_storage(environ),
        master_key=_master_key(environ),
        max_body_bytes=_number(environ, "STRONGROOM_MAX_BODY_BYTES", 8 * 1024 * 1024, 1024, 100 * 1024 * 1024),
        hash_memory_mib=_number(environ, "STRONGROOM_HASH_MEMORY_MIB", _default_hash_memory_mib(), 19, 1024 * 1024),
        key_cache_seconds=float(_number(environ, "STRONGROOM_KEY_CACHE_SECONDS", 30, 0, 3600)),
        databases=_databases(environ),
    )


def _number(environ: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise InvalidSetting(f"{name} must be a whole number from {least} to {most}, and is {text!r}.")
    return int(text)


def _default_hash_memory_mib() -> int:
    """512 MiB, or a quarter of the machine's memory where that is less (but one hash must fit)."""
    quarter = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4 // 1024**2
    return max(19, min(512, quarter))


def _storage(environ: Mapping[str, str]) -> StorageSettings:
    name = "AzureWebJobsStorage"
    if text := environ.get(name, "").strip():
        if "=" not in text:
            raise InvalidSetting(f"{name} must be a connection string, such as UseDevelopmentStorage=true.")
        return StorageSettings(connection_string=text)
    return StorageSettings(
        blob_service_uri=_uri(environ, f"{name}__blobServiceUri"),
        table_service_uri=_uri(environ, f"{name}__tableServiceUri"),
        client_id=environ.get(f"{name}__clientId") or None,
    )


def _uri(environ: Mapping[str, str], name: str) -> str | None:
    text = environ.get(name, "").strip()
    if text and not text.startswith("https://"):
        raise InvalidSetting(f"{name} must be a URL that starts with https://.")
    return text.rstrip("/") or None


def _master_key(environ: Mapping[str, str]) -> str:
    text = environ.get("STRONGROOM_MASTER_KEY", "").strip()
    return os.path.join(ROOT, text) if text else ""  # noqa: PTH118 - as above.


_DATABASES = ("sqlite:///", "blob://", "postgresql://", "mysql://")
"""How the URL of a database may begin."""


def _databases(environ: Mapping[str, str]) -> dict[str, DatabaseSettings]:
    prefix, suffix = "DATABASE_", "_WRITE"
    given = {name: url.strip() for name, url in environ.items() if name.startswith(prefix) and url.strip()}
    found = {}
    for name, url in given.items():
        if not url.startswith(_DATABASES):
            raise InvalidSetting(f"{name} must be a URL such as sqlite:///.data/main.sqlite.")
        if name.endswith(suffix):
            if name.removesuffix(suffix) not in given:
                raise InvalidSetting(f"{name} is set, but {name.removesuffix(suffix)} is not: a writer needs a reader.")
        else:
            found[name.removeprefix(prefix).lower()] = DatabaseSettings(url, given.get(name + suffix))
    return found
