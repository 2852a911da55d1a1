"""Shares in Table Storage: one row each, in one partition. A use is counted by replacing the row that was read."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec

from shared.blobs.errors import UnknownShare
from shared.blobs.shares import Share, is_open
from shared.storage import Row, RowConflict, Storage, Table, create, delete, replace, retry_on_conflict

TABLE = "strongroomshares"
PARTITION = "share"


class ShareStore:
    """The shares of one storage account. Safe to use from many threads."""

    def __init__(self, storage: Storage, table: str = TABLE) -> None:
        self._table = Table(storage, table)

    def add(self, share: Share) -> None:
        """Store a new share."""
        self._table.write(create(_row(share)))

    def get(self, share_id: str) -> Share:
        """The share of this id, open or not. Raises UnknownShare."""
        return _share(self._read(share_id))

    def update(self, share_id: str, change: Callable[[Share], Share | None]) -> Share:
        """Replace a share by what `change` makes of it; of many at once each sees what the ones before have made.

        Raises UnknownShare, also where `change` returns None, and Busy where others are always faster.
        """

        def attempt() -> Share:
            row = self._read(share_id)
            changed = change(_share(row))
            if changed is None:
                raise _unknown()
            self._table.write(replace(_row(changed), row.etag))
            return changed

        return retry_on_conflict(attempt)

    def remove(self, share_id: str) -> None:
        """Revoke a share. Raises UnknownShare."""
        try:
            self._table.write(delete({"PartitionKey": PARTITION, "RowKey": share_id}))
        except RowConflict:
            raise _unknown() from None

    def list(self, after: str, limit: int, keep: Callable[[Share], bool]) -> tuple[list[Share], str]:
        """At most `limit` shares that `keep` accepts, by id from `after` on, and the id after which there are more."""
        found: list[Share] = []
        rows = self._table.query(
            "PartitionKey eq @partition and RowKey gt @after", {"partition": PARTITION, "after": after}
        )
        for share in map(_share, rows):
            if not keep(share):
                continue
            if len(found) == limit:
                return found, found[-1].id
            found.append(share)
        return found, ""

    def purge(self, now: datetime) -> int:
        """Remove the shares that open nothing any more; how many there were."""
        removed = 0
        while closed := self.list("", 1000, lambda share: not is_open(share, now))[0]:
            for share in closed:
                with suppress(UnknownShare):  # Another instance was faster.
                    self.remove(share.id)
            removed += len(closed)
        return removed

    def _read(self, share_id: str) -> Row:
        row = self._table.get(PARTITION, share_id)
        if row is None:
            raise _unknown()
        return row


def _row(share: Share) -> dict[str, Any]:
    return {"PartitionKey": PARTITION, "RowKey": share.id, "document": msgspec.json.encode(share).decode()}


def _share(row: Row) -> Share:
    return msgspec.json.decode(row["document"], type=Share)


def _unknown() -> UnknownShare:
    return UnknownShare("The link never existed, was revoked or used up, or has expired.")
