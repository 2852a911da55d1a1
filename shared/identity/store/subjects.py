"""The users of providers, by issuer and subject, never by an e-mail address.

The partition `subjects` of the users' table has a row per issuer and subject with the user's id. It is written before
the user, and counts only if the user exists. The user's partition has a row `i|<key>`, by which a deletion finds it.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import msgspec

from shared.errors import Busy, UserExists
from shared.identity.store.partitions import Partition, read_partition
from shared.storage import Row, RowConflict, create, delete, put

if TYPE_CHECKING:
    from shared.identity.users import Accounts

SUBJECTS = "subjects"
PREFIX = "i|"
ATTEMPTS = 5
"""Two first sign-ins at the same moment can undo each other's user once or twice."""


class _Owner(msgspec.Struct, frozen=True):
    user_id: str


class _Identity(msgspec.Struct, frozen=True):
    """Nothing: the key of the row says it all."""


_OWNERS = msgspec.json.Decoder(_Owner)


class Subjects:
    """The users of one storage account by issuer and subject. Safe to use from many threads and instances."""

    def __init__(self, accounts: "Accounts") -> None:
        self._accounts = accounts
        self._users = accounts.users

    def find(self, issuer: str, subject: str) -> Partition | None:
        """The user of this issuer and subject."""
        key = self._key(issuer, subject)
        row = self._users.table.get(SUBJECTS, key)
        return None if row is None else read_partition(self._users, self._owner(row), PREFIX + key)

    def find_or_create(self, issuer: str, subject: str, name: str) -> Partition:
        """The user of this issuer and subject, created at the first time: one, however many calls do so at once.

        Raises UserExists if another user has the name.
        """
        key = self._key(issuer, subject)
        taken: UserExists | None = None
        for _ in range(ATTEMPTS):
            user_id = self._claimed(key)
            partition = read_partition(self._users, user_id, PREFIX + key)
            if partition is not None:
                if PREFIX + key not in partition.rows:
                    self._users.table.write(put(self._users.records.row(user_id, PREFIX + key, _Identity())))
                return partition
            taken = None
            try:
                self._accounts.create_without_password(name, user_id)
            except UserExists as error:
                taken = error  # Another call has created this user meanwhile, or the name is another user's.
        if taken is not None:
            raise taken
        raise Busy("Several calls create this user at the same time. Try again.")

    def forget(self, rows: Sequence[Row]) -> None:
        """Remove the rows by which a deleted user was found; `rows` are those of the user's partition."""
        for each in rows:
            if not str(each["RowKey"]).startswith(PREFIX):
                continue
            key = str(each["RowKey"]).removeprefix(PREFIX)
            row = self._users.table.get(SUBJECTS, key)
            if row is not None and self._owner(row) == each["PartitionKey"]:
                with suppress(RowConflict):  # Another call has claimed it.
                    self._users.table.write(delete({"PartitionKey": SUBJECTS, "RowKey": key}, row.etag))

    def _claimed(self, key: str) -> str:
        """The id of the user who has or gets this key."""
        row = self._users.table.get(SUBJECTS, key)
        if row is not None:
            return self._owner(row)
        user_id = str(uuid4())
        with suppress(RowConflict):
            self._users.table.write(create(self._users.records.row(SUBJECTS, key, _Owner(user_id))))
            return user_id
        row = self._users.table.get(SUBJECTS, key)
        return user_id if row is None else self._owner(row)

    def _owner(self, row: Row) -> str:
        return self._users.records.open(row, _OWNERS).user_id

    def _key(self, issuer: str, subject: str) -> str:
        # Neither a URL nor a subject contains a line feed, so the parts cannot shift into each other.
        return self._users.records.mac("subject", f"{issuer}\n{subject}").hex()
