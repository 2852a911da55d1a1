"""Requests to other issuers: JSON within bounds of size and time, without redirects."""

from collections.abc import Mapping
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from shared.deadline import seconds_left
from shared.errors import StrongroomError

if TYPE_CHECKING:
    from urllib3 import PoolManager

TIME_LIMIT_SECONDS = 5.0
MAX_RESPONSE_BYTES = 1024 * 1024


class FetchFailed(StrongroomError):
    """The issuer does not respond, or not with JSON. The message is for the log, and quotes nothing of the issuer."""


class Fetcher:
    """Sends requests to issuers. Safe to use from many threads."""

    def get_json(self, url: str) -> Any:
        """The document at `url`. Raises FetchFailed."""
        status, document = self._send("GET", url, {}, None)
        if status != 200:
            raise FetchFailed(f"status {status}")
        return document

    def post_form(self, url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, Any]:
        """The status and the JSON of the response to a form. Raises FetchFailed."""
        return self._send("POST", url, headers, fields)

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], fields: Mapping[str, str] | None
    ) -> tuple[int, Any]:
        import urllib3

        limit = min(TIME_LIMIT_SECONDS, seconds_left())
        if limit <= 0:
            raise FetchFailed("no time left")
        ends = monotonic() + limit
        options: dict[str, Any] = {} if fields is None else {"fields": dict(fields), "encode_multipart": False}
        try:
            response = self._pool.request(
                method,
                url,
                headers={"Accept": "application/json", "User-Agent": "strongroom", **headers},
                timeout=urllib3.Timeout(total=limit),
                retries=False,
                redirect=False,
                preload_content=False,
                **options,
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise FetchFailed(type(error).__name__) from error
        chunks: list[bytes] = []
        try:
            while chunk := response.read1(64 * 1024):
                chunks.append(chunk)
                if monotonic() > ends or sum(map(len, chunks)) > MAX_RESPONSE_BYTES:
                    raise FetchFailed("too slow or too large")
            return response.status, _json(b"".join(chunks)) if response.status < 500 else None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise FetchFailed(type(error).__name__) from error
        finally:
            response.close()

    @cached_property
    def _pool(self) -> "PoolManager":
        import urllib3

        return urllib3.PoolManager(maxsize=4)


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise FetchFailed("not JSON") from None
