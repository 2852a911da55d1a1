"""Calls managed online endpoints of Azure Machine Learning.

A request is sent once: an endpoint may have run the model though no response came.
https://learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints#http-status-codes
"""

import math
import re
from collections.abc import Callable, Mapping
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from shared.deadline import deadline
from shared.errors import Busy, StorageForbidden, StorageUnavailable, StrongroomError
from shared.models.errors import (
    EndpointFailed,
    EndpointForbidden,
    EndpointTimeout,
    EndpointUnavailable,
    OutputTooLarge,
)
from shared.models.tensors import MAX_OUTPUT_BYTES

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPSConnectionPool

SCOPE = "https://ml.azure.com/.default"
CONNECTIONS = 8
"""To one endpoint, at the same time."""
CONNECT_SECONDS = 2.0
PIECE_BYTES = 256 * 1024


class Endpoints:
    """Managed endpoints. Safe to use from many threads.

    `token` returns an access token for a scope; `connect` makes the connections to a host.
    """

    def __init__(
        self, token: Callable[[str], str], connect: "Callable[[str], HTTPSConnectionPool] | None" = None
    ) -> None:
        self._token = token
        self._connect = connect or _connect
        self._lock = Lock()
        self._pools: dict[str, HTTPSConnectionPool] = {}

    def score(self, url: str, deployment: str | None, key: str, body: dict[str, Any]) -> Any:
        """The JSON that the endpoint returns. `url` was checked; without a `key`, the app's identity signs in.

        Raises EndpointFailed for an error of the model, EndpointTimeout at the call's deadline, EndpointForbidden,
        EndpointUnavailable, OutputTooLarge and Busy.
        """
        import urllib3

        try:
            credential = key or self._token(SCOPE)
        except StorageForbidden as error:
            raise EndpointForbidden("The app's identity got no token for Azure Machine Learning.") from error
        except StorageUnavailable as error:
            raise EndpointUnavailable("The service that issues the app's tokens does not respond.") from error
        headers = {
            "authorization": f"Bearer {credential}",
            "content-type": "application/json",
            "accept": "application/json",
        }
        if deployment is not None:
            headers["azureml-model-deployment"] = deployment
        parts = urlsplit(url)
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        ends = deadline()
        left = max(0.05, ends - monotonic())
        try:
            response = self._pool(parts.netloc.lower()).urlopen(
                "POST",
                path,
                body=msgspec.json.encode(body),
                headers=headers,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, left), read=left),
                pool_timeout=math.ceil(left),
                preload_content=False,
            )
            try:
                data = _read(response, ends)
            finally:
                response.close()
        except urllib3.exceptions.EmptyPoolError:
            raise Busy("All connections to the endpoint are in use. Try again.") from None
        except (urllib3.exceptions.ReadTimeoutError, TimeoutError) as error:
            raise EndpointTimeout("The endpoint did not respond before the call's deadline.") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise EndpointUnavailable("The endpoint could not be reached, or broke off its response.") from error
        if response.status != 200:
            raise _failure(response.status, response.headers)
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise EndpointFailed(
                "The endpoint responded 200 with a body that is not JSON. Correct its script."
            ) from None

    def _pool(self, host: str) -> "HTTPSConnectionPool":
        with self._lock:
            if host not in self._pools:
                if len(self._pools) >= 100:
                    self._pools.clear()
                self._pools[host] = self._connect(host)
            return self._pools[host]


def _connect(host: str) -> "HTTPSConnectionPool":
    import certifi
    import urllib3

    return urllib3.HTTPSConnectionPool(
        host, 443, maxsize=CONNECTIONS, block=True, cert_reqs="CERT_REQUIRED", ca_certs=certifi.where()
    )


def _read(response: "BaseHTTPResponse", ends: float) -> bytes:
    data = bytearray()
    while piece := response.read1(PIECE_BYTES):
        data += piece
        if len(data) > MAX_OUTPUT_BYTES:
            raise OutputTooLarge(f"The endpoint's response has more than {MAX_OUTPUT_BYTES} bytes. Send fewer rows.")
        if monotonic() > ends:
            raise TimeoutError
    return bytes(data)


def _failure(status: int, headers: Mapping[str, str]) -> StrongroomError:
    """The error for a status of the endpoint."""
    if status == 424:
        code = headers.get("ms-azureml-model-error-statuscode", "")
        reason = headers.get("ms-azureml-model-error-reason", "")
        shown = " ".join(f"{code} {reason}".split())[:300]
        shown = "".join(each for each in shown if each.isprintable())
        return EndpointFailed(f"The endpoint's model responded {shown or 'with an error'}. See the deployment's log.")
    if status in (401, 403):
        return EndpointForbidden(f"The endpoint responded {status}.")
    if status in (408, 504):
        return EndpointTimeout(f"The endpoint responded {status}: its own time limit is over.")
    if status == 429:
        seconds = headers.get("retry-after", "")
        wait = min(int(seconds), 3600) if re.fullmatch("[0-9]{1,9}", seconds) else 1
        return Busy("The endpoint is busy. Try again after the seconds in Retry-After.", retry_after=math.ceil(wait))
    if status >= 500:
        return EndpointUnavailable(f"The endpoint responded {status}.")
    if 300 <= status < 400:
        return EndpointFailed(f"The endpoint responded {status}, a redirect, which the app does not follow.")
    return EndpointFailed(
        f"The endpoint responded {status}. Check the url, the deployment and the rows that its script expects."
    )
