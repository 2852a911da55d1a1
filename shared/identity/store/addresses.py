"""Counts the wrong passwords of each address. Addresses share 65,536 rows, so guessing cannot fill the table."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

import msgspec

from shared.errors import TooManyAttempts
from shared.identity import limits
from shared.identity.limits import Bucket
from shared.identity.users import UserStore
from shared.storage import Row, RowConflict, create, delete, replace, retry_on_conflict
from shared.web import rfc3339

PARTITION = "addresses"
_SLOT_DIGITS = 4
_DIGEST_DIGITS = 16

_BUCKETS = msgspec.json.Decoder(Bucket)


class AddressStore:
    """The failures of addresses. Safe to use from many threads and instances."""

    def __init__(self, users: UserStore, clock: Callable[[], datetime]) -> None:
        self._users = users
        self._clock = clock

    def check(self, address: str | None) -> None:
        """Raise TooManyAttempts if the address has to wait. An unknown address never does."""
        network = None if address is None else self._digest(address)
        if network is None:
            return
        _, bucket = self._read(network)
        if wait := limits.seconds_to_wait(bucket, network, self._clock()):
            raise TooManyAttempts(
                f"Too many wrong passwords came from this address. Try again in {wait} s.", retry_after=wait
            )

    def count(self, address: str | None) -> None:
        """Count a failure of the address."""
        network = None if address is None else self._digest(address)
        if network is None:
            return

        def attempt() -> None:
            now = self._clock()
            row, bucket = self._read(network)
            changed = self._users.records.row(
                PARTITION,
                network[:_SLOT_DIGITS],
                limits.after_failure(bucket, network, now),
                kind="address",
                expires=rfc3339(now + limits.KEPT),
            )
            self._users.table.write(create(changed) if row is None else replace(changed, row.etag))

        retry_on_conflict(attempt)

    def purge(self, now: datetime) -> int:
        """Remove the rows of addresses that sent no wrong password lately; returns their number."""
        removed = 0
        condition = "PartitionKey eq @partition and expires lt @now"
        for row in self._users.table.query(condition, {"partition": PARTITION, "now": rfc3339(now)}):
            with suppress(RowConflict):  # It was used meanwhile.
                self._users.table.write(delete({"PartitionKey": PARTITION, "RowKey": row["RowKey"]}, row.etag))
                removed += 1
        return removed

    def _digest(self, address: str) -> str | None:
        network = limits.network_of(address)
        return None if network is None else self._users.records.mac("address", network).hex()[:_DIGEST_DIGITS]

    def _read(self, network: str) -> tuple[Row | None, Bucket | None]:
        row = self._users.table.get(PARTITION, network[:_SLOT_DIGITS])
        return row, None if row is None else self._users.records.open(row, _BUCKETS)
