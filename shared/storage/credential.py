"""The app's managed identity: one credential per process, so that all services share its cached tokens.

On App Service, Functions and Container Apps a token is one request to an endpoint on the same machine. The app makes it
itself there: loading `azure.identity` takes about 200 ms of a cold start. Everywhere else (virtual machines, Arc,
Service Fabric) `azure.identity` does it.
"""

import json
import time
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from shared.deadline import seconds_left

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

API_VERSION = "2019-08-01"
REFRESH_SECONDS = 300
"""A token is replaced this long before it expires, so that it stays valid during a call."""
RETRY_STATUSES = frozenset({404, 410, 429, 500, 502, 503, 504})
"""The endpoint may return these while the identity is being attached; `azure.identity` retries them, too."""
PAUSE_SECONDS = (0.2, 0.6, 1.4)
"""Before each retry."""
TIMEOUT_SECONDS = 5.0


@cache
def managed_identity(client_id: str | None = None, endpoint: str = "", header: str = "") -> "TokenCredential":
    """The credential of the user-assigned identity `client_id`, or of the system-assigned one.

    `endpoint` and `header` are the platform's IDENTITY_ENDPOINT and IDENTITY_HEADER, if it has set them.
    """
    if endpoint and header:
        return IdentityEndpoint(endpoint, header, client_id)
    from azure.identity import ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=client_id)


class IdentityEndpoint:
    """Tokens from the platform's identity endpoint, cached until shortly before they expire. A TokenCredential.

    https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
    """

    def __init__(
        self,
        endpoint: str,
        header: str,
        client_id: str | None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._endpoint = endpoint
        self._header = header
        self._client_id = client_id
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()
        self._tokens: dict[str, AccessToken] = {}

    def get_token(self, *scopes: str, **_options: Any) -> "AccessToken":
        """A token for one scope, such as `https://storage.azure.com/.default`. Raises ClientAuthenticationError."""
        (scope,) = scopes
        resource = scope.removesuffix("/.default")
        token = self._tokens.get(resource)
        if token is not None and token.expires_on - self._clock() > REFRESH_SECONDS:
            return token
        with self._lock:  # One request, however many calls need the token at the same time.
            token = self._tokens.get(resource)
            if token is None or token.expires_on - self._clock() <= REFRESH_SECONDS:
                token = self._tokens[resource] = self._request(resource, token)
        return token

    def _request(self, resource: str, old: "AccessToken | None") -> "AccessToken":
        from azure.core.exceptions import ClientAuthenticationError

        for pause in (*PAUSE_SECONDS, None):
            status, body = self._send(resource)
            if status == 200 and (token := _token(body)) is not None:
                return token
            if status not in (0, 200) and status not in RETRY_STATUSES:
                break
            if pause is None or seconds_left() <= pause:
                break
            self._sleep(pause)
        if old is not None and old.expires_on > self._clock():
            return old  # It is still valid: the next call tries again.
        raise ClientAuthenticationError(f"The identity endpoint returned no token (status {status}).")

    def _send(self, resource: str) -> tuple[int, bytes]:
        """The status and the body of one request; status 0 if there is no response."""
        from http.client import HTTPConnection, HTTPException
        from urllib.parse import urlencode, urlsplit

        url = urlsplit(self._endpoint)
        query = {"resource": resource, "api-version": API_VERSION}
        if self._client_id:
            query["client_id"] = self._client_id
        connection = HTTPConnection(url.netloc, timeout=max(0.1, min(TIMEOUT_SECONDS, seconds_left())))
        try:
            connection.request("GET", f"{url.path}?{urlencode(query)}", headers={"X-IDENTITY-HEADER": self._header})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException):
            return 0, b""
        finally:
            connection.close()


def _token(body: bytes) -> "AccessToken | None":
    from azure.core.credentials import AccessToken

    try:
        fields = json.loads(body)
        token = AccessToken(str(fields["access_token"]), int(fields["expires_on"]))
    except (ValueError, KeyError, TypeError):
        return None
    return token if token.token else None
