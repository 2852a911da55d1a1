"""Checks with a service like Have I Been Pwned (its range interface) whether a password is known from a breach.

The service sees the first five digits of the password's SHA-1 (k-anonymity), and a padded response hides which of the
some thousand passwords it was: https://haveibeenpwned.com/API/v3#PwnedPasswords.
"""

import hashlib
import logging
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urllib3 import PoolManager

log = logging.getLogger("strongroom")

TIME_LIMIT_SECONDS = 2.0
MAX_RESPONSE_BYTES = 1024 * 1024
_PREFIX = 5


class BreachedPasswords:
    """The service at `url`, with or without the path `/range/`. Safe to use from many threads."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/").removesuffix("/range") + "/range/"

    def contains(self, password: str) -> bool:
        """Whether the service knows the password. False if it does not respond correctly within two seconds."""
        digest = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper()
        text = self._range(digest[:_PREFIX])
        if text is None:
            log.warning('{"warning":"The service of STRONGROOM_BREACHED_PASSWORDS_URL did not respond correctly."}')
            return False
        for line in text.splitlines():
            suffix, _, count = line.strip().partition(":")
            if suffix.upper() == digest[_PREFIX:]:
                return count.strip() != "0"  # Lines with 0 are padding.
        return False

    def _range(self, prefix: str) -> str | None:
        import urllib3

        ends = monotonic() + TIME_LIMIT_SECONDS
        try:
            response = self._pool.request(
                "GET",
                self._url + prefix,
                headers={"Add-Padding": "true", "User-Agent": "strongroom"},
                timeout=urllib3.Timeout(total=TIME_LIMIT_SECONDS),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except urllib3.exceptions.HTTPError:
            return None
        chunks: list[bytes] = []
        try:
            while response.status == 200 and (chunk := response.read1(64 * 1024)):
                chunks.append(chunk)
                if monotonic() > ends or sum(map(len, chunks)) > MAX_RESPONSE_BYTES:
                    return None
            return b"".join(chunks).decode("ascii") if response.status == 200 else None
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            return None
        finally:
            response.close()

    @cached_property
    def _pool(self) -> "PoolManager":
        import urllib3

        return urllib3.PoolManager(maxsize=4)
