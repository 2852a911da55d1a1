"""The readers of environment variables, and the settings of the core.

Each capability has its own `settings.py`, which uses these readers. `function_app.py` alone hands the environment in.
"""

import os
import re
from binascii import a2b_base64
from collections.abc import Mapping

import msgspec

from shared.errors import InvalidSetting

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib takes 2 ms to load.
"""The app's folder. Relative paths in settings start here: the working directory changes after import in Azure."""


class StorageSettings(msgspec.Struct, frozen=True):
    """How the app reaches the storage account: by connection string, or by its endpoints and the app's identity."""

    connection_string: str | None = None
    blob_service_uri: str | None = None
    table_service_uri: str | None = None
    client_id: str | None = None
    """The client id of a user-assigned identity. Without one, the app uses its system-assigned identity."""
    identity_endpoint: str = ""
    identity_header: str = ""
    """IDENTITY_ENDPOINT and IDENTITY_HEADER, which the platform sets: the app requests its tokens there."""

    def __repr__(self) -> str:
        return "StorageSettings(…)"


class Settings(msgspec.Struct, frozen=True):
    """The settings of the core; built by `load_settings`."""

    storage: StorageSettings = StorageSettings()
    """The account of our records and the users' blobs: `STRONGROOM_STORAGE`, or `STRONGROOM_STORAGE__blobServiceUri`,
    `STRONGROOM_STORAGE__tableServiceUri` and `STRONGROOM_STORAGE__clientId`. Without these, the host's own account:
    `AzureWebJobsStorage`, or `AzureWebJobsStorage__blobServiceUri`, `AzureWebJobsStorage__tableServiceUri` and
    `AzureWebJobsStorage__clientId`."""
    max_body_bytes: int = 8 * 1024 * 1024
    """`STRONGROOM_MAX_BODY_BYTES`: the app responds to a larger request with 413."""
    url: str = ""
    """`STRONGROOM_URL`: where callers reach the app, without `/api`. Links, issuers and redirect URIs begin with it.
    By default `https://` and the host name that Azure gives the app; "" where neither is known."""
    proxies: int = 0
    """`STRONGROOM_PROXIES`: how many entries at the end of X-Forwarded-For are from proxies that you trust."""
    call_seconds: int = 10
    """`STRONGROOM_CALL_SECONDS`: how long a call may wait for other services, with all its requests and retries. A
    function with a `timeout_ms` for the whole call takes that instead."""


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings of the core. Raises InvalidSetting, naming the variable."""
    return Settings(
        storage=_storage(environ),
        max_body_bytes=read_number(environ, "STRONGROOM_MAX_BODY_BYTES", 8 * 1024 * 1024, 1024, 100 * 1024 * 1024),
        url=_url(environ),
        proxies=read_number(environ, "STRONGROOM_PROXIES", 0, 0, 10),
        call_seconds=read_number(environ, "STRONGROOM_CALL_SECONDS", 10, 1, 200),
    )


def shown(text: str) -> str:
    """A wrong value as an error shows it: quoted, at most 64 characters of it."""
    return repr(text if len(text) <= 64 else f"{text[:63]}…")


def read_text(environ: Mapping[str, str], name: str) -> str:
    """The value without surrounding blanks; "" if it is not set."""
    return environ.get(name, "").strip()


def read_number(environ: Mapping[str, str], name: str, default: int, minimum: int, maximum: int) -> int:
    """A whole number from `minimum` to `maximum`. Raises InvalidSetting."""
    text = read_text(environ, name)
    if not text:
        return default
    # Python reads no number of more than 4,300 digits.
    if not (text.isascii() and text.isdigit() and len(text) < 20 and minimum <= int(text) <= maximum):
        raise InvalidSetting(f"{name} must be a whole number from {minimum} to {maximum}, and is {shown(text)}.")
    return int(text)


def read_flag(environ: Mapping[str, str], name: str) -> bool:
    """`true` or `false`; false if it is not set. Raises InvalidSetting."""
    text = read_text(environ, name).lower()
    if text not in ("", "true", "false"):
        raise InvalidSetting(f"{name} must be true or false, and is {shown(text)}.")
    return text == "true"


def read_list(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Values separated by commas, without surrounding blanks and without empty ones."""
    return tuple(value.strip() for value in environ.get(name, "").split(",") if value.strip())


def read_uri(environ: Mapping[str, str], name: str) -> str | None:
    """An https URL without user, query and fragment, and without a slash at its end. Raises InvalidSetting."""
    text = read_text(environ, name)
    if text and not re.fullmatch(r"https://[^\s/?#@]+(/[^\s?#@]*)?", text):
        raise InvalidSetting(f"{name} must be a URL that starts with https://, without a query.")
    return text.rstrip("/") or None


def _url(environ: Mapping[str, str]) -> str:
    url = read_text(environ, "STRONGROOM_URL").rstrip("/")
    if not url:
        host = read_text(environ, "WEBSITE_HOSTNAME")
        if not host:
            return ""
        # Core Tools and the local host set it, too, to an address of this machine.
        scheme = "http" if host.partition(":")[0] in ("localhost", "127.0.0.1", "0.0.0.0") else "https"  # noqa: S104
        return f"{scheme}://{host}"
    if not re.fullmatch(r"https://[^\s/?#@]+|http://(localhost|127\.0\.0\.1)(:\d+)?", url):
        raise InvalidSetting(
            "STRONGROOM_URL must be the app's address without a path, such as https://keys.example.org; http:// only "
            "for localhost."
        )
    return url


def _storage(environ: Mapping[str, str]) -> StorageSettings:
    """The account of our records and the users' blobs: `STRONGROOM_STORAGE…` if it is set, else the host's own."""
    own, host = "STRONGROOM_STORAGE", "AzureWebJobsStorage"
    endpoints = ("", "__blobServiceUri", "__tableServiceUri")
    name = own if any(read_text(environ, f"{own}{each}") for each in endpoints) else host
    client_id = read_text(environ, f"{own}__clientId") or read_text(environ, f"{host}__clientId") or None
    identity = {
        "identity_endpoint": read_text(environ, "IDENTITY_ENDPOINT"),
        "identity_header": read_text(environ, "IDENTITY_HEADER"),
    }
    if text := read_text(environ, name):
        _check_connection_string(name, text)
        return StorageSettings(connection_string=text, client_id=client_id, **identity)
    blob_uri, table_uri = (read_uri(environ, f"{name}{each}") for each in endpoints[1:])
    if bool(blob_uri) != bool(table_uri):
        missing = endpoints[2] if blob_uri else endpoints[1]
        raise InvalidSetting(f"{name}{missing} must be set, too: the app needs both endpoints of its storage account.")
    return StorageSettings(None, blob_uri, table_uri, client_id, **identity)


def connection_parts(text: str) -> dict[str, str]:
    """The parts of a connection string by name."""
    return dict(part.strip().partition("=")[::2] for part in text.split(";") if part.strip())


def _check_connection_string(name: str, text: str) -> None:
    """Raises InvalidSetting, without showing the connection string: it contains a key."""
    parts = connection_parts(text)
    if parts.get("UseDevelopmentStorage", "").lower() == "true":
        return
    try:
        key = a2b_base64(parts.get("AccountKey", ""), strict_mode=True)
    except ValueError:
        key = b""
    if not parts.get("AccountName") or not key:
        raise InvalidSetting(
            f"{name} must be a connection string with AccountName and AccountKey, or UseDevelopmentStorage=true."
        )
    for each in ("BlobEndpoint", "TableEndpoint"):
        if each in parts and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", parts[each]):
            raise InvalidSetting(f"{name} must have an http or https URL as its {each}.")
