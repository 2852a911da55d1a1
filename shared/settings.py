"""The one reader of the environment. Everything that can be configured is a field here, with its default and unit."""

import os
import re
from collections.abc import Mapping

import msgspec

from shared.errors import InvalidSetting

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib takes 2 ms to load.
"""The app's folder. Relative paths in settings start here: the working directory changes after import in Azure."""


DATABASE_URLS = ("sqlite:///", "blob://", "postgresql://", "postgres://", "mysql://", "mariadb://")


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


BLOB_PRICES = {"Hot": 0.018, "Cool": 0.01, "Cold": 0.0036, "Archive": 0.00099}
"""US dollars for a GiB a month, locally redundant, East US; other regions and redundancies differ."""


class PasswordSettings(msgspec.Struct, frozen=True):
    """What users' passwords must be like, and how their hashes rest."""

    min_length: int = 15
    """`STRONGROOM_PASSWORD_MIN_LENGTH`: in code points, where the password is the only factor."""
    min_length_with_second_factor: int = 8
    """`STRONGROOM_PASSWORD_MIN_LENGTH_SECOND_FACTOR`: where there is another."""
    service_names: tuple[str, ...] = ()
    """`STRONGROOM_SERVICE_NAMES`: words that no password may hold, with commas between them."""
    profile: str = "owasp"
    """`STRONGROOM_PASSWORD_PROFILE`: what hashes of users cost."""
    pepper_key: str = ""
    """`STRONGROOM_PEPPER_KEY`: name of the AES-256 key that hashes of users are encrypted under; none: they are not."""


class Settings(msgspec.Struct, frozen=True):
    """What the app runs with; built by `load_settings`."""

    storage: StorageSettings = StorageSettings()
    """`AzureWebJobsStorage`, or `AzureWebJobsStorage__blobServiceUri`, `AzureWebJobsStorage__tableServiceUri` and
    `AzureWebJobsStorage__clientId`."""
    master_key: str = ""
    """`STRONGROOM_MASTER_KEY`: the path of a file with the key, or the URL of a Key Vault key, without a version."""
    max_body_bytes: int = 8 * 1024 * 1024
    """`STRONGROOM_MAX_BODY_BYTES`: a larger request is answered with 413."""
    hash_memory_mib: int = 512
    """`STRONGROOM_HASH_MEMORY_MIB`: what all password hashes at work may take together, in MiB."""
    passwords: PasswordSettings = PasswordSettings()
    key_cache_seconds: float = 30.0
    """`STRONGROOM_KEY_CACHE_SECONDS`: how long a change to a key may stay unseen by another instance."""
    blob_prices: Mapping[str, float] = msgspec.field(default_factory=lambda: BLOB_PRICES)
    """`STRONGROOM_BLOB_PRICES`: what a GiB costs a month, by tier, as a JSON object."""
    inline_html: bool = False
    """`STRONGROOM_INLINE_HTML`: whether `get-blob` lets browsers show HTML and SVG from this app's own origin."""
    storage_private: bool = False
    """`STRONGROOM_STORAGE_PRIVATE`: whether the storage account can be reached from its private network alone."""
    databases: Mapping[str, DatabaseSettings] = {}
    """`DATABASE_<NAME>` and `DATABASE_<NAME>_WRITE`, by the name in lower case."""


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`. Raises InvalidSetting, naming the variable, where one cannot be understood."""
    hash_memory_mib = _number(environ, "STRONGROOM_HASH_MEMORY_MIB", _default_hash_memory_mib(), 19, 1024 * 1024)
    return Settings(
        storage=_storage(environ),
        master_key=_master_key(environ),
        max_body_bytes=_number(environ, "STRONGROOM_MAX_BODY_BYTES", 8 * 1024 * 1024, 1024, 100 * 1024 * 1024),
        hash_memory_mib=hash_memory_mib,
        passwords=_passwords(environ, hash_memory_mib),
        key_cache_seconds=float(_number(environ, "STRONGROOM_KEY_CACHE_SECONDS", 30, 0, 3600)),
        blob_prices=_prices(environ, "STRONGROOM_BLOB_PRICES"),
        inline_html=_flag(environ, "STRONGROOM_INLINE_HTML"),
        storage_private=_flag(environ, "STRONGROOM_STORAGE_PRIVATE"),
        databases=_databases(environ),
    )


def _number(environ: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise InvalidSetting(f"{name} must be a whole number from {least} to {most}, and is {text!r}.")
    return int(text)


def _flag(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").strip().lower()
    if text not in ("", "true", "false"):
        raise InvalidSetting(f"{name} must be true or false, and is {text!r}.")
    return text == "true"


def _prices(environ: Mapping[str, str], name: str) -> Mapping[str, float]:
    text = environ.get(name, "").strip()
    if not text:
        return BLOB_PRICES
    try:
        prices = msgspec.json.decode(text, type=dict[str, float])
    except msgspec.DecodeError:
        prices = {"": -1.0}
    if any(price < 0 for price in prices.values()):
        raise InvalidSetting(f'{name} must be a JSON object of prices by tier, such as {{"Hot": 0.018}}.')
    return prices


def _default_hash_memory_mib() -> int:
    """512 MiB, or a quarter of the machine's memory where that is less (but one hash must fit)."""
    quarter = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4 // 1024**2
    return max(19, min(512, quarter))


def _passwords(environ: Mapping[str, str], hash_memory_mib: int) -> PasswordSettings:
    profile = environ.get("STRONGROOM_PASSWORD_PROFILE", "").strip() or "owasp"
    needed_mib = {"owasp": 19, "owasp-46": 46, "rfc9106-low": 64, "rfc9106-high": 2048}.get(profile)
    if needed_mib is None:
        raise InvalidSetting(
            f"STRONGROOM_PASSWORD_PROFILE must be owasp, owasp-46, rfc9106-low or rfc9106-high, and is {profile!r}."
        )
    if needed_mib > hash_memory_mib:
        raise InvalidSetting(
            f"STRONGROOM_PASSWORD_PROFILE is {profile}, which takes {needed_mib} MiB; STRONGROOM_HASH_MEMORY_MIB is "
            f"{hash_memory_mib}."
        )
    names = environ.get("STRONGROOM_SERVICE_NAMES", "").split(",")
    return PasswordSettings(
        min_length=_number(environ, "STRONGROOM_PASSWORD_MIN_LENGTH", 15, 8, 128),
        min_length_with_second_factor=_number(environ, "STRONGROOM_PASSWORD_MIN_LENGTH_SECOND_FACTOR", 8, 8, 128),
        service_names=tuple(name.strip() for name in names if name.strip()),
        profile=profile,
        pepper_key=environ.get("STRONGROOM_PEPPER_KEY", "").strip(),
    )


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
    if "://" in text:
        if not re.fullmatch(r"https://[^/?#@]+/keys/[0-9A-Za-z-]+/?", text):
            raise InvalidSetting(
                "STRONGROOM_MASTER_KEY must be a file's path, or a Key Vault key's URL without a version, such as "
                "https://example.vault.azure.net/keys/strongroom."
            )
        return text.rstrip("/")
    return os.path.join(ROOT, text) if text else ""  # noqa: PTH118 - as above.


def _databases(environ: Mapping[str, str]) -> dict[str, DatabaseSettings]:
    prefix, suffix = "DATABASE_", "_WRITE"
    given = {name: url.strip() for name, url in environ.items() if name.startswith(prefix) and url.strip()}
    found = {}
    for name, url in given.items():
        if not url.startswith(DATABASE_URLS):
            raise InvalidSetting(f"{name} must be a URL that starts with one of {', '.join(DATABASE_URLS)}.")
        if name.endswith(suffix):
            if name.removesuffix(suffix) not in given:
                raise InvalidSetting(f"{name} is set, but {name.removesuffix(suffix)} is not: a writer needs a reader.")
        else:
            found[name.removeprefix(prefix).lower()] = DatabaseSettings(url, given.get(name + suffix))
    return found
