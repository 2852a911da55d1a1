"""The metadata and keys of other issuers: fetched, kept in memory, and the last good ones in Table Storage.

A cold instance starts with what another one has fetched. A row carries a keyed digest, so the app trusts only keys that
it fetched itself.
"""

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import msgspec

from shared.errors import StrongroomError
from shared.identity.errors import IssuerMismatch, IssuerUnavailable
from shared.identity.issuers import Metadata, discovery_url, is_allowed_url, is_known, is_metadata_of, public_keys
from shared.identity.store.fetching import Fetcher, FetchFailed
from shared.storage import Row, Storage, Table, put
from shared.storage.errors import DamagedRow
from shared.storage.records import Records

TABLE = "strongroomissuers"
PARTITION = "issuer"
REFRESH_SECONDS = 3600.0
"""How old keys may be before they are fetched again. A key that the issuer has removed works for as long at most."""
KEPT_SECONDS = 24 * 3600.0
"""How long keys are used if the issuer does not respond."""
COOL_DOWN_SECONDS = 300.0
"""After a fetch for a `kid` that the issuer does not have, the time until the next such fetch."""
RETRY_SECONDS = 10.0
"""After a fetch that failed, the time until the next."""
MAX_CHARACTERS = 32_000
"""A property of a row holds 64 KiB of UTF-16. Larger key sets stay in memory only."""

log = logging.getLogger("strongroom")


class Provider(msgspec.Struct, frozen=True):
    """An issuer as it was at `fetched`, in seconds since 1970."""

    metadata: Metadata
    keys: list[dict[str, Any]]
    fetched: float


_DECODER = msgspec.json.Decoder(Provider)


class _State:
    """The cached metadata and keys of one issuer. `lock` is held while a thread reads or fetches."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.provider: Provider | None = None
        self.failed = self.searched = float("-inf")
        self.failure = IssuerUnavailable()


class Providers:
    """The issuers by their URLs. Safe to use from many threads.

    `derive_key` returns 32 bytes for a purpose; `clock` the time in seconds since 1970. Every method raises
    IssuerUnavailable, and IssuerMismatch where the metadata at the URL are another issuer's.
    """

    def __init__(
        self,
        storage: Storage,
        derive_key: Callable[[str], bytes],
        clock: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
        table: str = TABLE,
    ) -> None:
        self._table = Table(storage, table)
        self._records = Records(lambda: derive_key("issuers"))
        self._clock = clock
        self._fetcher = Fetcher()
        self._lock = Lock()
        self._states: dict[str, _State] = {}

    def get(self, url: str) -> Provider:
        """The issuer as it was at most an hour ago, or a day if it does not respond now."""
        state = self._state(url)
        provider = state.provider
        if provider is not None and self._age(provider) < REFRESH_SECONDS:
            return provider
        is_usable = provider is not None and self._age(provider) < KEPT_SECONDS
        if not state.lock.acquire(blocking=not is_usable):
            assert provider is not None  # noqa: S101 - it is usable.
            return provider  # Another thread refreshes it.
        try:
            return self._refreshed(url, state)
        finally:
            state.lock.release()

    def with_key(self, url: str, key_id: str | None, known: Provider) -> Provider:
        """The issuer, fetched again if `known` lacks the key; then not again within the cool-down."""
        if is_known(known.keys, key_id):
            return known
        state = self._state(url)
        with state.lock:
            current = state.provider or known
            now = self._clock()
            is_cooling = abs(now - state.searched) < COOL_DOWN_SECONDS or abs(now - state.failed) < RETRY_SECONDS
            if is_known(current.keys, key_id) or is_cooling:
                return current
            stored = self._stored(url)  # Another instance may have fetched it.
            if stored is not None and stored.fetched > current.fetched and is_known(stored.keys, key_id):
                state.provider = stored
                return stored
            try:
                fetched = self._fetch(url, state, current.metadata)
            except IssuerUnavailable:
                return current
            if not is_known(fetched.keys, key_id):
                state.searched = now
            return fetched

    def _refreshed(self, url: str, state: _State) -> Provider:
        if state.provider is None:
            state.provider = self._stored(url)
        provider = state.provider
        if provider is not None and self._age(provider) < REFRESH_SECONDS:
            return provider
        try:
            if abs(self._clock() - state.failed) < RETRY_SECONDS:
                raise type(state.failure)(state.failure.detail)
            return self._fetch(url, state, None)
        except IssuerUnavailable:
            if provider is not None and self._age(provider) < KEPT_SECONDS:
                return provider
            raise

    def _fetch(self, url: str, state: _State, metadata: Metadata | None) -> Provider:
        """Fetch the keys, and without `metadata` these as well."""
        now = self._clock()
        try:
            metadata = metadata or self._fetched_metadata(url)
            keys = self._fetched_keys(metadata)
        except FetchFailed as error:
            self._log_failure(url, error.detail)
            state.failed, state.failure = now, IssuerUnavailable(f"The issuer does not respond correctly: {error}.")
            raise state.failure from error
        except IssuerMismatch as error:
            self._log_failure(url, error.detail)
            state.failed, state.failure = now, error
            raise
        provider = state.provider = Provider(metadata, keys, now)
        self._save(url, provider)
        return provider

    def _fetched_metadata(self, url: str) -> Metadata:
        document = self._fetcher.get_json(discovery_url(url))
        try:
            metadata = msgspec.convert(document, Metadata)
        except msgspec.ValidationError:
            raise FetchFailed("not the metadata of a provider") from None
        if not is_metadata_of(metadata, url):
            raise IssuerMismatch("The metadata name another issuer.")
        for endpoint in (metadata.jwks_uri, metadata.authorization_endpoint, metadata.token_endpoint):
            if endpoint and not is_allowed_url(endpoint, like=url):
                raise FetchFailed("an endpoint is not https")
        return metadata

    def _fetched_keys(self, metadata: Metadata) -> list[dict[str, Any]]:
        keys = public_keys(self._fetcher.get_json(metadata.jwks_uri))
        if not keys:
            raise FetchFailed("no keys")
        return keys

    @staticmethod
    def _log_failure(url: str, cause: str) -> None:
        line = '{"warning":"An issuer of tokens did not respond correctly.","issuer":%s,"cause":"%s"}'
        log.warning(line, msgspec.json.encode(url).decode(), cause)

    def _age(self, provider: Provider) -> float:
        # A clock that was ahead makes an age negative: then the keys count as if they were that old.
        return abs(self._clock() - provider.fetched)

    def _state(self, url: str) -> _State:
        with self._lock:
            return self._states.setdefault(url, _State())

    def _stored(self, url: str) -> Provider | None:
        """The issuer as an instance fetched it within a day; storage that does not respond has none."""
        row: Row | None = None
        with suppress(StrongroomError):
            row = self._table.get(PARTITION, _row_key(url))
        if row is None:
            return None
        try:
            provider = self._records.open(row, _DECODER)
        except DamagedRow:
            log.warning("The row of an issuer has no valid digest: the app ignores it, and fetches the keys.")
            return None
        return provider if self._age(provider) < KEPT_SECONDS else None

    def _save(self, url: str, provider: Provider) -> None:
        row = self._records.row(PARTITION, _row_key(url), provider, url=url)
        if len(row["document"]) <= MAX_CHARACTERS:
            with suppress(StrongroomError):  # The keys are in memory; the next fetch tries again.
                self._table.write(put(row))


def _row_key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()
