"""Sends requests to storage: time limits, a bound on connections, retries, and the app's own errors for the SDK's.

Each SDK call has the SDK's own retries switched off, so that the rules here are the only ones.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, TypeVar

from shared.deadline import deadline, seconds_left
from shared.errors import Busy, StorageForbidden, StorageNetworkForbidden, StorageUnavailable, StrongroomError
from shared.storage.errors import RowConflict, TemporaryFailure, WriteUnconfirmed

if TYPE_CHECKING:
    from azure.core.pipeline.transport import RequestsTransport

T = TypeVar("T")

CONNECT_SECONDS, READ_SECONDS = 2.0, 4.0
"""The most that one attempt waits for a connection, and for the next bytes of a response."""
RETRIES = 2
PAUSE_SECONDS = (0.2, 0.4)
"""Before the first and the second retry. `Retry-After` is not followed: it can be minutes."""
CONFLICT_ATTEMPTS = 20
BLOCK_BYTES = 256 * 1024
"""The bytes of a response that are read at once."""
CONNECTIONS = 32
"""The most connections to one service at the same time."""
SLOT_SECONDS = 10.0
"""How long a request waits for one of these connections."""


def new_transport() -> "RequestsTransport":
    """The HTTP transport of one SDK client."""
    import requests
    from azure.core.pipeline.transport import RequestsTransport
    from requests.adapters import HTTPAdapter

    class TimedAdapter(HTTPAdapter):
        def send(self, *args: Any, **kwargs: Any) -> requests.Response:
            response = super().send(*args, **kwargs)
            # Everything that reads a body does it by this method.
            response.raw.stream = partial(_timed_stream, response.raw)
            return response

    # The SDKs would log the URL of every request, and URLs name blobs.
    logging.getLogger("azure.core.pipeline.policies.http_logging_policy").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    session = requests.Session()
    session.trust_env = False  # Else requests looks for a .netrc file and proxies at each request.
    adapter = TimedAdapter(pool_maxsize=CONNECTIONS, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return RequestsTransport(session=session, connection_data_block_size=BLOCK_BYTES)


def _timed_stream(raw: Any, amount: int = BLOCK_BYTES, decode_content: bool | None = None) -> Iterator[bytes]:
    """The body of a response, as it arrives, until the call's deadline: a socket's time limit starts at each byte."""
    from urllib3.exceptions import ReadTimeoutError

    ends = deadline()
    while piece := raw.read1(amount, decode_content=decode_content):
        yield piece
        if time.monotonic() > ends:
            raise ReadTimeoutError(raw._pool, None, "The response was not complete at the call's deadline.")


class Service:
    """One storage service (tables or blobs): sends requests, a bounded number at once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._slots = BoundedSemaphore(CONNECTIONS)

    def send(self, request: Callable[[dict[str, Any]], T]) -> T:
        """Call `request` with the options for one SDK call. Raises what `connection` raises."""
        with self.connection() as limits:
            return request(limits)

    @contextmanager
    def connection(self) -> Iterator[dict[str, Any]]:
        """One of the connections, with the SDK's options for one call's time limits.

        SDK errors inside become TemporaryFailure and StorageForbidden. Any other HttpResponseError of the SDK reaches
        the caller, which knows how to handle the status. Raises Busy where all connections are in use.
        """
        from azure.core.exceptions import AzureError
        from requests import RequestException
        from urllib3.exceptions import HTTPError  # Both are what reading a body raises, below the SDK.

        if not self._slots.acquire(timeout=max(0.0, min(SLOT_SECONDS, seconds_left()))):
            raise Busy(f"All connections to {self.name} are in use. Try again.")
        try:
            yield self.limits()
        except (AzureError, HTTPError, RequestException) as error:
            translated = self._translated(error)
            if translated is None:
                raise
            raise translated from error
        finally:
            self._slots.release()

    def limits(self) -> dict[str, Any]:
        """The SDK's options for the time limits of one attempt. Raises TemporaryFailure where no time is left."""
        left = seconds_left()
        if left <= 0:
            failure = TemporaryFailure(f"The call's time was over before {self.name} responded.")
            failure.was_sent = False
            failure.cut_short = True
            raise failure
        return {
            "connection_timeout": min(CONNECT_SECONDS, left),
            "read_timeout": min(READ_SECONDS, left),
            "retry_total": 0,
        }

    def _translated(self, error: Exception) -> StorageUnavailable | StorageForbidden | None:
        from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

        status = getattr(error, "status_code", None)
        if not isinstance(error, HttpResponseError) or status is None or status < 300:
            failure = TemporaryFailure(f"{self.name} does not respond.")
            failure.was_sent = _was_sent(error)
            failure.cut_short = seconds_left() <= 0
            return failure
        code = error_code(error)
        detail = f"{self.name} responded {status} {code}."
        if status == 403 and code == "AuthorizationFailure":
            return StorageNetworkForbidden(detail)
        if status in (401, 403) or isinstance(error, ClientAuthenticationError):
            return StorageForbidden(detail)
        if status == 429 or (status >= 500 and status != 501):
            failure = TemporaryFailure(detail)
            failure.responded = True
            return failure
        return None

    def unexpected(self, error: Any) -> StorageUnavailable:
        """The error for a response that this request should never get; its cause is logged, not shown."""
        return StorageUnavailable(f"{self.name} responded {error.status_code} {error_code(error)}.")


def error_code(error: Any) -> str:
    """The service's own code for an HttpResponseError of an SDK, such as `EntityAlreadyExists`; "" without one."""
    code = getattr(error, "error_code", None)
    if code:
        return str(getattr(code, "value", code))
    response = error.response
    if response is None:
        return ""
    if header := response.headers.get("x-ms-error-code"):
        return str(header)
    try:  # Table Storage may name it in the body alone, and not every method of its SDK reads that.
        return str(json.loads(response.text())["odata.error"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def retry(attempt: Callable[[], T]) -> T:
    """Repeat `attempt` after a TemporaryFailure, up to RETRIES times and within the call's deadline."""
    number = 0
    while True:
        try:
            return attempt()
        except TemporaryFailure as failure:
            # A second failure is storage's, even where it is the deadline that ends the wait.
            failure.cut_short = failure.cut_short and number == 0
            if number == RETRIES or seconds_left() <= PAUSE_SECONDS[number]:
                raise
        time.sleep(PAUSE_SECONDS[number])
        number += 1


def confirmed_write(
    attempt: Callable[[], T],
    find_result: Callable[[], T | None],
    refusals: tuple[type[StrongroomError], ...],
) -> T:
    """Repeat a write like `retry`, and find out what became of an attempt whose response was lost.

    `find_result` reads what is stored now and returns the result of our write, or None where it was not carried out.
    `refusals` are the errors that a repeated attempt gets where the lost one was carried out. Raises WriteUnconfirmed
    where no read can tell.
    """
    lost = False

    def once() -> T:
        nonlocal lost
        if lost and (result := find_result()) is not None:
            return result
        try:
            return attempt()
        except TemporaryFailure as failure:
            lost = lost or failure.was_sent
            raise
        except refusals:
            if lost and (result := find_result()) is not None:
                return result
            raise

    try:
        return retry(once)
    except TemporaryFailure as failure:
        if not lost:
            raise
        was_not_made = False
        with suppress(StorageUnavailable):
            if (result := find_result()) is not None:
                return result
            was_not_made = failure.responded
        if was_not_made:
            raise
        raise WriteUnconfirmed(failure.detail) from failure


def retry_on_conflict(change: Callable[[], T]) -> T:
    """Repeat `change`, which reads a row and writes it under the ETag that it read, while other writers are faster.

    Of many writers one succeeds in each round. Raises Busy after CONFLICT_ATTEMPTS, or at the call's deadline.

        def count() -> int:
            row = table.get("counter", "uses") or raise …
            table.write(replace({**row, "n": row["n"] + 1}, row.etag))
            return row["n"] + 1

        uses = retry_on_conflict(count)
    """
    ends = deadline()
    for _ in range(CONFLICT_ATTEMPTS):
        try:
            return change()
        except RowConflict:
            if time.monotonic() > ends:
                break
    raise Busy("Other calls are changing the same object. Try again.")


def _was_sent(error: Any) -> bool:
    """Whether the service may have received a request that failed without a response."""
    from azure.core.exceptions import ServiceRequestError, ServiceRequestTimeoutError
    from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

    if isinstance(error, ServiceRequestTimeoutError):
        return False
    if not isinstance(error, ServiceRequestError):
        return True
    cause: Any = error.inner_exception
    if getattr(cause, "args", ()) and isinstance(cause.args[0], MaxRetryError):
        cause = cause.args[0].reason
    return not isinstance(cause, NewConnectionError | ConnectTimeoutError)
