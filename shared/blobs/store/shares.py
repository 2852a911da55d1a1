"""Shares in Table Storage: one row each, in one partition. A use is counted by replacing the row that was read."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from shared.blobs.errors import UnknownShare
from shared.blobs.shares import Share, is_open
from shared.errors import Busy
from shared.storage import Storage, storage_errors

if TYPE_CHECKING:
    from azure.data.tables import TableClient

TABLE = "strongroomshares"
PARTITION = "share"
TRIES = 20
"""How often a use is counted again after others were quicker. Each time one of them got through."""


class ShareStore:
    """The shares of one storage account. Safe to use from many threads."""

    def __init__(self, storage: Storage, table: str = TABLE) -> None:
        self._storage = storage
        self._name = table

    def add(self, share: Share) -> None:
        """Keep a new share."""
        from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

        with storage_errors():
            try:
                self._table.create_entity(_row(share))
            except ResourceNotFoundError:
                with suppress(ResourceExistsError):  # Another was quicker.
                    self._table.create_table()
                self._table.create_entity(_row(share))

    def get(self, share_id: str) -> Share:
        """The share of this id, open or not. Raises UnknownShare."""
        return self._read(share_id)[0]

    def update(self, share_id: str, change: Callable[[Share], Share | None]) -> Share:
        """Replace a share by what `change` makes of it; of many at once each sees what the ones before have made.

        Raises UnknownShare, also where `change` returns None, and Busy where others are always quicker.
        """
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceModifiedError, ResourceNotFoundError
        from azure.data.tables import UpdateMode

        for _ in range(TRIES):
            share, etag = self._read(share_id)
            changed = change(share)
            if changed is None:
                raise _unknown()
            with storage_errors():
                try:
                    self._table.update_entity(
                        _row(changed), mode=UpdateMode.REPLACE, etag=etag, match_condition=MatchConditions.IfNotModified
                    )
                except ResourceModifiedError:
                    continue
                except ResourceNotFoundError:
                    raise _unknown() from None
                return changed
        raise Busy("Many use this share at once.")

    def remove(self, share_id: str) -> None:
        """Revoke a share. Raises UnknownShare."""
        from azure.core import MatchConditions
        from azure.core.exceptions import ResourceNotFoundError

        self._read(share_id)
        with storage_errors():
            try:
                self._table.delete_entity(PARTITION, share_id, match_condition=MatchConditions.Unconditionally)
            except ResourceNotFoundError:
                raise _unknown() from None

    def list(self, after: str, limit: int, keep: Callable[[Share], bool]) -> tuple[list[Share], str]:
        """At most `limit` shares that `keep` accepts, by id from `after` on, and the id after which there are more."""
        from azure.core.exceptions import ResourceNotFoundError

        found: list[Share] = []
        with storage_errors():
            try:
                rows = self._table.query_entities(
                    "PartitionKey eq @partition and RowKey gt @after",
                    parameters={"partition": PARTITION, "after": after},
                )
                for row in rows:
                    share = _share(row)
                    if not keep(share):
                        continue
                    if len(found) == limit:
                        return found, found[-1].id
                    found.append(share)
            except ResourceNotFoundError:
                return [], ""
        return found, ""

    def purge(self, now: datetime) -> int:
        """Remove the shares that open nothing any more; how many there were."""
        removed = 0
        while closed := self.list("", 1000, lambda share: not is_open(share, now))[0]:
            for share in closed:
                with suppress(UnknownShare):  # Another instance was quicker.
                    self.remove(share.id)
            removed += len(closed)
        return removed

    def _read(self, share_id: str) -> tuple[Share, str]:
        from azure.core.exceptions import ResourceNotFoundError

        with storage_errors():
            try:
                row = self._table.get_entity(PARTITION, share_id)
            except ResourceNotFoundError:
                raise _unknown() from None
        return _share(row), row.metadata["etag"] or ""

    @property
    def _table(self) -> "TableClient":
        return self._storage.table(self._name)


def _row(share: Share) -> dict[str, Any]:
    return {"PartitionKey": PARTITION, "RowKey": share.id, "document": msgspec.json.encode(share).decode()}


def _share(row: Any) -> Share:
    return msgspec.json.decode(row["document"], type=Share)


def _unknown() -> UnknownShare:
    return UnknownShare("It never was, was revoked or used up, or is over.")
