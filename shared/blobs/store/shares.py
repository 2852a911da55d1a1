"""Shares in Table Storage: one row each, in one partition. A use is counted by replacing the row that was read.

Each row has a keyed digest, so that an attacker who can write to the table, but has no key of this app, cannot
make a link.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec

from shared.blobs.errors import UnknownShare
from shared.blobs.shares import Share, is_open
from shared.storage import Row, RowConflict, Storage, Table, create, delete, replace, retry_on_conflict
from shared.storage.records import Records
from shared.storage.tables import ROWS_PER_WRITE

TABLE = "strongroomshares"
PARTITION = "share"

log = logging.getLogger("strongroom")


class ShareStore:
    """The shares of one storage account. Safe to use from many threads.

    `key` returns the 32 bytes of the digests' key. A row that this app did not write is as if it did not exist.
    """

    def __init__(self, storage: Storage, key: Callable[[], bytes], table: str = TABLE) -> None:
        self._table = Table(storage, table)
        self._records = Records(key)
        self._decoder = msgspec.json.Decoder(Share)

    def add(self, *shares: Share) -> None:
        """Store new shares."""
        for start in range(0, len(shares), ROWS_PER_WRITE):
            self._table.write(*(create(self._row(share)) for share in shares[start : start + ROWS_PER_WRITE]))

    def get(self, share_id: str) -> Share:
        """The share of this id, open or not. Raises UnknownShare."""
        return self._read(share_id)[0]

    def update(self, share_id: str, change: Callable[[Share], Share | None]) -> Share:
        """Replace a share by what `change` makes of it; of many at once each sees what the ones before have made.

        Raises UnknownShare, also where `change` returns None, and Busy where others are always faster.
        """

        def attempt() -> Share:
            share, etag = self._read(share_id)
            changed = change(share)
            if changed is None:
                raise _unknown()
            self._table.write(replace(self._row(changed), etag))
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
        shares: list[Share] = []
        rows = self._table.query(
            "PartitionKey eq @partition and RowKey gt @after", {"partition": PARTITION, "after": after}
        )
        for share in map(self._share, rows):
            if share is None or not keep(share):
                continue
            if len(shares) == limit:
                return shares, shares[-1].id
            shares.append(share)
        return shares, ""

    def purge(self, now: datetime) -> int:
        """Remove the shares that open nothing any more; how many there were."""
        removed = 0
        while closed := self.list("", 1000, lambda share: not is_open(share, now))[0]:
            for share in closed:
                with suppress(UnknownShare):  # Another instance was faster.
                    self.remove(share.id)
            removed += len(closed)
        return removed

    def _read(self, share_id: str) -> tuple[Share, str]:
        row = self._table.get(PARTITION, share_id)
        share = None if row is None else self._share(row)
        if row is None or share is None:
            raise _unknown()
        return share, row.etag

    def _row(self, share: Share) -> dict[str, Any]:
        document = msgspec.json.encode(share).decode()
        digest = self._records.mac(PARTITION, _text(share.id, document)).hex()
        return {"PartitionKey": PARTITION, "RowKey": share.id, "document": document, "digest": digest}

    def _share(self, row: Row) -> Share | None:
        """The share of a row; None, and a warning in the log, where the app did not write the row under this id."""
        document = str(row.get("document", ""))
        if self._records.matches(row.get("digest"), PARTITION, _text(str(row["RowKey"]), document)):
            with suppress(msgspec.DecodeError):
                return self._decoder.decode(document)
        log.warning("The row of a link has no valid digest: the app ignores it.")
        return None


def _text(share_id: str, document: str) -> str:
    # Neither an id nor JSON contains a line feed, so the parts cannot shift into each other.
    return f"{share_id}\n{document}"


def _unknown() -> UnknownShare:
    return UnknownShare("The link never existed, was revoked or used up, or has expired.")
