"""Issues tickets, and records which are spent: a row for each, until no ticket of that id can still be valid."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from shared.identity import tickets
from shared.identity.tickets import ID_BYTES, LIFETIME, NONCE_BYTES, Kind, Ticket
from shared.storage import RowConflict, Storage, Table, create, delete
from shared.web import rfc3339

TABLE = "strongroomtickets"
PARTITION = "spent"
KEPT = timedelta(hours=1)
"""Longer than any ticket is valid."""


class TicketStore:
    """The tickets of one storage account. Safe to use from many threads and instances. `key` returns 32 bytes."""

    def __init__(
        self, storage: Storage, key: Callable[[], bytes], clock: Callable[[], datetime], table: str = TABLE
    ) -> None:
        self._table = Table(storage, table)
        self._key = key
        self._clock = clock

    def issue(self, kind: Kind, *, ticket_id: bytes = b"", lifetime: timedelta = LIFETIME, **fields: object) -> str:
        """A ticket with the members of `Ticket`. With the id of another ticket, success spends both."""
        ticket = Ticket(
            id=ticket_id or secrets.token_bytes(ID_BYTES),
            kind=kind,
            expires=self._clock() + lifetime,
            **fields,  # type: ignore[arg-type]
        )
        return self.seal(ticket)

    def seal(self, ticket: Ticket) -> str:
        """The ticket as the caller gets it."""
        return tickets.seal(self._key(), ticket, secrets.token_bytes(NONCE_BYTES))

    def open(self, text: str) -> Ticket | None:
        """The ticket; None if the app did not issue it, or it has expired or was used. One read, at most."""
        ticket = tickets.unseal(self._key(), text, self._clock())
        if ticket is None or self._table.get(PARTITION, ticket.id.hex(), ["PartitionKey"]) is not None:
            return None
        return ticket

    def spend(self, ticket: Ticket) -> bool:
        """Whether the caller is the one whose success spends the ticket: of many, one gets true."""
        row = {"PartitionKey": PARTITION, "RowKey": ticket.id.hex(), "expires": rfc3339(self._clock() + KEPT)}
        try:
            self._table.write(create(row))
        except RowConflict:
            return False
        return True

    def purge(self, now: datetime) -> int:
        """Remove the rows of tickets that have expired; returns their number."""
        removed = 0
        condition = "PartitionKey eq @partition and expires lt @now"
        for row in self._table.query(condition, {"partition": PARTITION, "now": rfc3339(now)}, select=["RowKey"]):
            with suppress(RowConflict):  # Another instance was faster.
                self._table.write(delete({"PartitionKey": PARTITION, "RowKey": row["RowKey"]}))
                removed += 1
        return removed
