"""The index of all users' passkeys by credential id: for a sign-in without a name, and so that no two users share one.

An index row is written before the factor that it points to. It is free again if the user does not have the factor and
the row is older than any call.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec

from shared.identity.errors import PasskeyRefused
from shared.identity.passkeys import index_key
from shared.identity.users import UserStore
from shared.storage import RowConflict, create, delete, replace, retry_on_conflict

ROW = "credential"
ABANDONED = timedelta(minutes=5)
"""Longer than any call may take (the host's limit is 230 s): the instance that wrote the row has died."""


class Owner(msgspec.Struct, frozen=True):
    """The user of a passkey's credential."""

    user_id: str
    factor_id: str
    created: datetime


_OWNERS = msgspec.json.Decoder(Owner)


class CredentialIndex:
    """The index in the users' table. Safe to use from many threads and instances."""

    def __init__(self, users: UserStore, clock: Callable[[], datetime]) -> None:
        self._users = users
        self._clock = clock

    def owner(self, credential_id: bytes) -> Owner | None:
        """The user who may have the credential: the caller checks that they have the factor. One read."""
        row = self._users.table.get(_partition(credential_id), ROW)
        return None if row is None else self._users.records.open(row, _OWNERS)

    def claim(self, credential_id: bytes, user_id: str, factor_id: str, has_factor: Callable[[str, str], bool]) -> None:
        """Reserve a credential id for a factor. Raises PasskeyRefused if a user has it.

        `has_factor` returns whether a user has a factor, by their ids.
        """
        partition, now = _partition(credential_id), self._clock()
        claimed = self._users.records.row(partition, ROW, Owner(user_id, factor_id, now), kind="credential")

        def attempt() -> None:
            row = self._users.table.get(partition, ROW)
            if row is None:
                self._users.table.write(create(claimed))
                return
            owner = self._users.records.open(row, _OWNERS)
            if now - owner.created < ABANDONED or has_factor(owner.user_id, owner.factor_id):
                raise PasskeyRefused("This passkey is registered already. Use another one.")
            self._users.table.write(replace(claimed, row.etag))

        retry_on_conflict(attempt)

    def release(self, credential_id: bytes, factor_id: str) -> None:
        """Remove the row of a deleted factor. The row is free without this: it only takes up space."""
        row = self._users.table.get(_partition(credential_id), ROW)
        if row is not None and self._users.records.open(row, _OWNERS).factor_id == factor_id:
            with suppress(RowConflict):  # Another call has claimed it.
                self._users.table.write(
                    delete({"PartitionKey": row["PartitionKey"], "RowKey": row["RowKey"]}, row.etag)
                )


def _partition(credential_id: bytes) -> str:
    return f"credential.{index_key(credential_id)}"
