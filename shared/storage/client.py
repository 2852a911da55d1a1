"""One storage account's clients. They connect at first use, so that building `Storage` costs nothing."""

import base64
import hashlib
import hmac
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from shared.errors import Busy, StorageForbidden, StorageNetworkForbidden, StorageUnavailable
from shared.settings import StorageSettings
from shared.storage.account import Account, account_of
from shared.storage.credential import managed_identity
from shared.storage.requests import CONNECT_SECONDS, CONNECTIONS, READ_SECONDS, RETRIES, Service, new_transport

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.data.tables import TableClient, TableServiceClient
    from urllib3 import BaseHTTPResponse, PoolManager, Retry

API_VERSION = "2023-11-03"
SCOPE = "https://storage.azure.com/.default"
POOL_SECONDS = 10


class Storage:
    """Table and Blob Storage of one account. Safe to use from many threads."""

    def __init__(self, settings: StorageSettings) -> None:
        self._settings = settings
        self.table_requests = Service("Table Storage")

    @property
    def client_id(self) -> str | None:
        """The client id of the app's user-assigned identity, if it has one."""
        return self._settings.client_id

    @cached_property
    def account(self) -> Account:
        """Raises StorageNotConfigured where the settings name no account."""
        return account_of(self._settings)

    def token(self, scope: str) -> str:
        """An access token of the app's identity for another service.

        Raises StorageForbidden or StorageUnavailable.
        """
        with storage_errors():
            return self._credential.get_token(scope).token

    def table(self, name: str) -> "TableClient":
        """A client of the table `name`, which need not exist."""
        return self._tables.get_table_client(name)

    def blob_request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> "BaseHTTPResponse":
        """Ask Blob Storage for `path` (below the account, percent-encoded); the answer's body is still to be read.

        Whoever calls reads it to the end, or closes it and releases its connection. Retries what can pass. Raises
        StorageUnavailable where there is no answer, or still a 429 or 5xx (not 501) at the end, StorageForbidden where
        our identity is refused, and Busy where all connections are in use. Any other status is the caller's to judge.
        """
        import urllib3

        url = f"{self.account.blob_url}/{path.lstrip('/')}"
        sent = {"x-ms-version": API_VERSION, "x-ms-date": formatdate(usegmt=True), **(headers or {})}
        if method in ("PUT", "POST"):
            sent["content-length"] = str(len(body or b""))
        if self.account.key is None:
            with storage_errors():
                sent["authorization"] = f"Bearer {self._credential.get_token(SCOPE).token}"
        else:
            sent["authorization"] = shared_key(self.account, method, urlsplit(url).path, query or {}, sent)
        if query:
            url += "?" + urlencode(query, quote_via=quote)
        try:
            response = self._pool.request(
                method,
                url,
                body=body,
                headers=sent,
                retries=self._retries if is_repeatable(method, sent) else self._retries.new(read=0),
                preload_content=False,
                pool_timeout=POOL_SECONDS,
            )
        except urllib3.exceptions.EmptyPoolError:
            raise Busy("All connections to Blob Storage are in use.") from None
        except urllib3.exceptions.HTTPError as error:
            raise StorageUnavailable("Blob Storage does not answer.") from error
        if response.status == 501 or (response.status < 500 and response.status not in (401, 403, 429)):
            return response
        # Closed, not read: such an answer may have any length.
        response.close()
        response.release_conn()
        code = response.headers.get("x-ms-error-code", "")
        said = f"Blob Storage answered {response.status} {code}."
        if code == "AuthorizationFailure":
            raise StorageNetworkForbidden(said)
        raise StorageForbidden(said) if response.status in (401, 403) else StorageUnavailable(said)

    @cached_property
    def _pool(self) -> "PoolManager":
        import urllib3

        # One line a request is ours to write; a retry would be logged with its URL, which names blobs.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        return urllib3.PoolManager(maxsize=CONNECTIONS, block=True, timeout=timeout)

    @cached_property
    def _retries(self) -> "Retry":
        import urllib3

        return urllib3.Retry(
            total=RETRIES,
            status_forcelist=(429, 500, 502, 503, 504),
            backoff_factor=0.2,
            redirect=False,
            raise_on_status=False,
            respect_retry_after_header=False,  # It may ask for minutes; our own caller is told to wait instead.
        )

    @property
    def _credential(self) -> "TokenCredential":
        settings = self._settings
        return managed_identity(settings.client_id, settings.identity_endpoint, settings.identity_header)

    @cached_property
    def _tables(self) -> "TableServiceClient":
        from azure.core.credentials import AzureNamedKeyCredential
        from azure.data.tables import TableServiceClient

        account = self.account
        return TableServiceClient(
            account.table_url,
            credential=AzureNamedKeyCredential(account.name, account.key) if account.key else self._credential,
            transport=new_transport(),
            retry_total=RETRIES,
            retry_backoff_factor=0.2,
            connection_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
        )


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn what the SDK raises for a service that is out into ours. What a store can act on (404, 409, 412) passes."""
    from azure.core.exceptions import (
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
        ResourceExistsError,
        ResourceModifiedError,
        ResourceNotFoundError,
    )

    try:
        yield
    except (ResourceNotFoundError, ResourceExistsError, ResourceModifiedError):
        raise
    except ClientAuthenticationError as error:
        raise StorageForbidden("Storage refused us.") from error
    except HttpResponseError as error:
        status = error.status_code or 500
        if status == 403:
            raise StorageForbidden("Table Storage answered 403.") from error
        if status == 429 or status >= 500:
            raise StorageUnavailable(f"Table Storage answered {status}.") from error
        raise
    except AzureError as error:
        raise StorageUnavailable("Table Storage does not answer.") from error


def is_repeatable(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a request may be sent again when its answer was lost.

    One that has a condition, or deletes, would be told that what it did itself had been done by another.
    """
    return method in ("GET", "HEAD") or (method == "PUT" and not any(name.startswith("if-") for name in headers))


def shared_key(account: Account, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """The Authorization header of a Blob Storage request, by the account's key.

    https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
    """
    given = {name.lower(): value for name, value in headers.items()}
    if given.get("content-length") == "0":
        del given["content-length"]
    # In the order of the specification; Date is empty, since x-ms-date stands for it, and so is a length of 0.
    standard = [
        given.get(name, "")
        for name in (
            "content-encoding",
            "content-language",
            "content-length",
            "content-md5",
            "content-type",
            "date",
            "if-modified-since",
            "if-match",
            "if-none-match",
            "if-unmodified-since",
            "range",
        )
    ]
    # The service sorts by a table of its own: a hyphen weighs nothing, an underscore less than digits and letters.
    in_order = sorted(given, key=lambda name: (name.replace("-", "").replace("_", "!"), name))
    ours = [f"{name}:{given[name].strip()}" for name in in_order if name.startswith("x-ms-")]
    resource = [f"/{account.name}{path}", *(f"{name.lower()}:{query[name]}" for name in sorted(query, key=str.lower))]
    signed = hmac.new(
        base64.b64decode(account.key or ""), "\n".join([method, *standard, *ours, *resource]).encode(), hashlib.sha256
    )
    return f"SharedKey {account.name}:{base64.b64encode(signed.digest()).decode()}"
