"""Users and their hashes in Table Storage; and the passwords that were wrong, by name.

One table with one partition, so that changes of two rows are made together or not at all. Rows:
`name.<key>.user` holds a user, `name.<key>.failures` the failures of a name (of which there may be no user), where the
key is the digest of the folded name; `id.<user id>` says which key a user has now.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from shared.passwords.errors import UnknownUser, UserExists
from shared.passwords.names import key_of
from shared.passwords.pepper import Secret
from shared.passwords.throttling import FORGOTTEN_AFTER, Failures
from shared.storage import Storage, storage_errors
from shared.web import rfc3339

if TYPE_CHECKING:
    from azure.data.tables import TableClient

TABLE = "strongroomusers"
PARTITION = "users"
ATTEMPTS = 20
"""How often a change is tried again when another came first."""

_USER_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class User(msgspec.Struct, frozen=True):
    """What is known of a user, but for the hash."""

    user_id: str
    name: str
    created: datetime
    algorithm: str
    """Of the hash: `argon2id`, or that of an imported one."""
    imported: bool = False
    """Whether the hash was made elsewhere."""
    second_factor: bool = False
    """Whether the password is not the only factor."""
    cost: tuple[int, int, int] | None = None
    """Memory in KiB, passes and lanes, where this user's hash is to have others than the settings say."""
    last_login: datetime | None = None

    @property
    def key(self) -> str:
        """That of the name."""
        return key_of(self.name)


class Stored(msgspec.Struct, frozen=True):
    """A user as read from the table, and the hash as it rests."""

    user: User
    secret: Secret
    etag: str


class StoredFailures(msgspec.Struct, frozen=True):
    """The failures of a name as read from the table."""

    failures: Failures
    etag: str


class Changed(Exception):
    """The row is not as it was read."""


class UserStore:
    """The users of one storage account. Safe to use from many threads."""

    def __init__(self, storage: Storage, table: str = TABLE) -> None:
        self._storage = storage
        self._table_name = table

    # Reading

    def find(self, key: str) -> tuple[Stored | None, StoredFailures | None]:
        """The user with the name of this key, and the failures of that name: one call, whatever there is."""
        rows = self._query("RowKey ge @first and RowKey lt @last", first=f"name.{key}.", last=f"name.{key}/")
        user = failures = None
        for row in rows:
            if row["kind"] == "user":
                user = _stored(row)
            else:
                etag = row.metadata["etag"]
                failures = StoredFailures(msgspec.json.decode(row["document"], type=Failures), etag)
        return user, failures

    def by_name(self, name: str) -> Stored:
        """Raises UnknownUser."""
        found, _ = self.find(key_of(name))
        if found is None:
            raise _unknown()
        return found

    def by_id(self, user_id: str) -> Stored:
        """Raises UnknownUser."""
        if not _USER_ID.fullmatch(user_id):
            raise _unknown()
        for _ in range(ATTEMPTS):  # Renamed between the two reads: read again.
            rows = list(self._query("RowKey eq @row", row=f"id.{user_id}"))
            if not rows:
                break
            found, _ = self.find(rows[0]["key"])
            if found is not None and found.user.user_id == user_id:
                return found
        raise _unknown()

    def page(self, after: str, limit: int) -> list[Stored]:
        """Up to `limit` users, in the order of their keys, from the one after the key `after` ("" for the first)."""
        rows = self._query(
            "RowKey gt @first and RowKey lt @last and kind eq 'user'",
            first=f"name.{after}.user" if after else "name.",
            last="name/",
        )
        found = []
        for row in rows:
            found.append(_stored(row))
            if len(found) == limit:
                break
        return found

    # Writing

    def create(self, user: User, secret: Secret) -> None:
        """Raises UserExists where the name is taken."""
        rows = [_user_row(user, secret), _id_row(user)]
        try:
            self._transact([("create", row) for row in rows])
        except Changed:
            there, _ = self.find(user.key)
            if there is None or there.user.user_id != user.user_id:  # Else it is ours: only the answer was lost.
                raise UserExists(f"There is a user {user.name} already.") from None

    def save(self, before: Stored, user: User, secret: Secret) -> Stored:
        """Put `user` in the place of `before`; the name's key stays the same. Raises Changed."""
        etags = self._transact([("update", _user_row(user, secret), {"mode": "replace", **_if(before.etag)})])
        return Stored(user, secret, etags[0])

    def change(self, before: Stored, change: Callable[[Stored], tuple[User, Secret]]) -> Stored:
        """Put what `change` makes of the user in its place, as often as it takes.

        Raises UnknownUser where the user is gone, or has another name now; and whatever `change` raises.
        """
        for _ in range(ATTEMPTS):
            with suppress(Changed):
                return self.save(before, *change(before))
            again, _ = self.find(before.user.key)
            if again is None or again.user.user_id != before.user.user_id:
                raise _unknown()
            before = again
        raise Changed

    def rename(self, before: Stored, name: str) -> User:
        """Give the user another name. Raises UserExists where it is taken, and Changed where the row has changed."""
        user = msgspec.structs.replace(before.user, name=name)
        if user.key == before.user.key:
            return self.save(before, user, before.secret).user
        if self.find(user.key)[0] is not None:
            raise UserExists(f"There is a user {name} already.")
        self._transact(
            [
                ("delete", _row(before.user.key, "user"), _if(before.etag)),
                ("create", _user_row(user, before.secret)),
                ("update", _id_row(user)),
            ]
        )
        return user

    def delete(self, before: Stored) -> None:
        """Raises Changed where the row has changed."""
        self._transact(
            [
                ("delete", _row(before.user.key, "user"), _if(before.etag)),
                ("delete", {"PartitionKey": PARTITION, "RowKey": f"id.{before.user.user_id}"}),
            ]
        )

    # Failures

    def add_failure(
        self, key: str, seen: StoredFailures | None, after: Callable[[Failures | None], Failures]
    ) -> Failures:
        """Write what comes `after` the failures of a name. None is lost, however many write at once."""
        for _ in range(ATTEMPTS):
            failures = after(seen.failures if seen else None)
            row = _row(key, "failures") | {
                "kind": "failures",
                "document": msgspec.json.encode(failures).decode(),
                "expires": rfc3339(failures.last + FORGOTTEN_AFTER),
            }
            with suppress(Changed):
                self._transact([("update", row, _if(seen.etag)) if seen else ("create", row)])
                return failures
            seen = self.find(key)[1]
        raise Changed

    def forget_failures(self, key: str) -> None:
        """Let the name start anew."""
        for _ in range(ATTEMPTS):
            seen = self.find(key)[1]
            if seen is None:
                return
            with suppress(Changed):
                self._transact([("delete", _row(key, "failures"), _if(seen.etag))])
                return
        raise Changed

    def purge(self, now: datetime) -> int:
        """Remove failures that are past their time; how many there were."""
        rows = self._query("kind eq 'failures' and expires lt @now", now=rfc3339(now.astimezone(UTC)))
        removed = 0
        for row in rows:
            with suppress(Changed):
                self._transact([("delete", _plain(row), _if(row.metadata["etag"]))])
                removed += 1
        return removed

    # The table

    @cached_property
    def _table(self) -> "TableClient":
        with storage_errors():
            return self._storage.table(self._table_name)

    def _query(self, condition: str, **parameters: str) -> Iterator[Any]:
        from azure.core.exceptions import ResourceNotFoundError

        with storage_errors(), suppress(ResourceNotFoundError):  # No table: nobody has been written yet.
            yield from self._table.query_entities(
                f"PartitionKey eq '{PARTITION}' and {condition}", parameters=parameters
            )

    def _transact(self, operations: list[Any]) -> list[str]:
        """Make all changes, or none; the rows' new ETags. Raises Changed where a row is not as it is expected."""
        from azure.core.exceptions import ResourceExistsError

        try:
            with _conflicts():
                done = self._table.submit_transaction(operations)
        except _NoTable:
            with storage_errors(), suppress(ResourceExistsError):  # Another was quicker.
                self._table.create_table()
            with _conflicts():
                done = self._table.submit_transaction(operations)
        return [str(each.get("etag", "")) for each in done]


class _NoTable(Exception):
    """The very first write finds no table."""


@contextmanager
def _conflicts() -> Iterator[None]:
    from azure.core.exceptions import HttpResponseError

    with storage_errors():
        try:
            yield
        except HttpResponseError as error:
            code = str(getattr(error, "error_code", ""))
            if error.status_code == 404 and code.endswith("TableNotFound"):
                raise _NoTable from error
            if error.status_code in (404, 409, 412):
                raise Changed from error
            raise


def _if(etag: str) -> dict[str, Any]:
    from azure.core import MatchConditions

    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _row(key: str, kind: str) -> dict[str, Any]:
    return {"PartitionKey": PARTITION, "RowKey": f"name.{key}.{kind}"}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"PartitionKey": row["PartitionKey"], "RowKey": row["RowKey"]}


def _id_row(user: User) -> dict[str, Any]:
    return {"PartitionKey": PARTITION, "RowKey": f"id.{user.user_id}", "kind": "id", "key": user.key}


def _user_row(user: User, secret: Secret) -> dict[str, Any]:
    return _row(user.key, "user") | {
        "kind": "user",
        "document": msgspec.json.encode(user).decode(),
        "secret": secret.data,
        "pepper": secret.key_name,
        "pepper_version": secret.version,
    }


def _stored(row: Any) -> Stored:
    secret = Secret(row["secret"], row["pepper"], row["pepper_version"])
    return Stored(msgspec.json.decode(row["document"], type=User), secret, row.metadata["etag"])


def _unknown() -> UnknownUser:
    return UnknownUser("There is no such user.")
