"""Users and their hashes in Table Storage, and the wrong passwords for names that no user has.

One partition, so that rows change together or not at all. `name.<key>` holds a user, where the key is an HMAC of the
folded name, because people type passwords into the name field; `id.<user id>` holds the key of the user's name.
`name.<slot>!` counts the failures of an unknown name. A slot is the first four digits of a key, so unknown names leave
at most 65,536 rows, and one query finds user and slot, whether or not there is such a user.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime

import msgspec

from shared.errors import Busy, StorageUnavailable, StrongroomError
from shared.passwords.argon2 import Parameters
from shared.passwords.errors import UnknownUser, UserExists
from shared.passwords.names import fold_name
from shared.passwords.pepper import Secret
from shared.passwords.store.records import Records
from shared.passwords.throttling import Failures
from shared.storage import Storage
from shared.storage.errors import RowConflict
from shared.storage.requests import retry_on_conflict
from shared.storage.tables import Row, Table, create, delete, put, replace

TABLE = "strongroomusers"
PARTITION = "users"
READS_AT_ONCE = 8
USERS_PER_WRITE = 50
"""Two rows each, and Table Storage changes a hundred at once."""
_SLOT_DIGITS = 4

_USER_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_user_id(text: str) -> bool:
    """Whether it is a UUID, in any case."""
    return bool(_USER_ID.fullmatch(text.lower()))


class User(msgspec.Struct, frozen=True):
    """All that is stored of a user, except for the hash."""

    user_id: str
    name: str
    created: datetime
    algorithm: str
    """Of the hash: `argon2id`, or that of an imported one."""
    password_id: str
    """Random, new whenever the password is set; a rehash keeps it."""
    imported: bool = False
    """Whether the hash was made elsewhere."""
    second_factor: bool = False
    """Whether the password is not the only factor."""
    disabled: bool = False
    last_login: datetime | None = None
    failures: Failures | None = None
    """Wrong passwords in a row."""


class Stored(msgspec.Struct, frozen=True):
    """A user as read from the table, and the hash as it is stored."""

    key: str
    """The key of the name."""
    user: User
    secret: Secret
    etag: str


class UnknownName(msgspec.Struct, frozen=True):
    """The failures of a name that no user has; the newest name in a slot replaces the one before."""

    key: str
    failures: Failures


class StoredName(msgspec.Struct, frozen=True):
    """The slot of an unknown name as read from the table."""

    name: UnknownName
    etag: str


class _Key(msgspec.Struct, frozen=True):
    key: str


class _Costs(msgspec.Struct, frozen=True):
    costs: list[Parameters]


class _Migrated(msgspec.Struct, frozen=True):
    pepper_key: str


_USERS = msgspec.json.Decoder(User)
_NAMES = msgspec.json.Decoder(UnknownName)
_KEYS = msgspec.json.Decoder(_Key)
_COSTS = msgspec.json.Decoder(_Costs)
_MIGRATED = msgspec.json.Decoder(_Migrated)


class UserStore:
    """The users of one storage account. Safe to use from many threads."""

    def __init__(self, storage: Storage, records: Records, table: str = TABLE) -> None:
        self._table = Table(storage, table)
        self._records = records

    def key(self, name: str) -> str:
        """The key of a name: 64 hexadecimal digits, equal for names that are the same."""
        return self._records.mac("name", fold_name(name)).hex()

    # Reading

    def find(self, key: str) -> tuple[Stored | None, StoredName | None]:
        """The user with the name of this key, and the slot of the key: one query in any case."""
        slot = key[:_SLOT_DIGITS]
        condition = "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last"
        parameters = {"partition": PARTITION, "first": f"name.{slot}", "last": f"name.{slot}~"}
        user = name = None
        for row in self._table.query(condition, parameters):
            if row["RowKey"] == f"name.{key}":
                user = self._stored(row)
            elif row["RowKey"] == f"name.{slot}!":
                name = StoredName(self._records.open(row, _NAMES), row.etag)
        return user, name

    def by_name(self, name: str) -> Stored:
        """Raises UnknownUser."""
        return self._by_key(self.key(name))

    def by_id(self, user_id: str) -> Stored:
        """Raises UnknownUser. The case of the id does not matter."""
        user_id = user_id.lower()
        if not is_user_id(user_id):
            raise _unknown()
        while row := self._table.get(PARTITION, f"id.{user_id}"):
            stored, _ = self.find(self._records.open(row, _KEYS).key)
            if stored is not None and stored.user.user_id == user_id:
                return stored
            again = self._table.get(PARTITION, f"id.{user_id}", ["PartitionKey"])
            if again is not None and again.etag == row.etag:
                break  # Not renamed between the two reads.
        raise _unknown()

    def page(self, after: str, limit: int) -> list[Stored]:
        """Up to `limit` users in the order of their keys, after the user with the key `after` ("" for the first)."""
        condition = "PartitionKey eq @partition and RowKey gt @first and RowKey lt @last and kind eq 'user'"
        parameters = {"partition": PARTITION, "first": f"name.{after}", "last": "name/"}
        users = []
        for row in self._table.query(condition, parameters, page_rows=limit):
            users.append(self._stored(row))
            if len(users) == limit:
                break
        return users

    # Writing

    def create(self, user: User, secret: Secret) -> None:
        """Raises UserExists if the name or the id is taken."""
        self._create([(user, secret)])

    def create_many(self, users: Sequence[tuple[User, Secret]]) -> list[StrongroomError | None]:
        """Create each user, and return for each None or the reason why it was not created.

        If storage fails after the first users were created, the reason of all others is its error.
        """
        results: list[StrongroomError | None] = []
        try:
            for start in range(0, len(users), USERS_PER_WRITE):
                chunk = users[start : start + USERS_PER_WRITE]
                results += self._create_chunk(chunk)
        except (StorageUnavailable, Busy) as error:
            if not results:
                raise
            results += [error] * (len(users) - len(results))
        return results

    def _create_chunk(self, users: Sequence[tuple[User, Secret]]) -> list[UserExists | None]:
        """All in one write; after a conflict all whose name and id are free, and each by itself after another one."""
        try:
            self._create(users)
        except UserExists:
            # Many reads, and each waits for storage: eight at a time, within the deadline of this call.
            with ThreadPoolExecutor(READS_AT_ONCE) as threads:
                found = [threads.submit(copy_context().run, self._conflict, user) for user, _ in users]
            conflicts = [each.result() for each in found]
            free = [each for each, conflict in zip(users, conflicts, strict=True) if conflict is None]
            if len(free) == len(users):
                results = iter([self._error_of_creating(each) for each in free])
            else:
                results = iter(self._create_chunk(free) if free else [])
            return [conflict or next(results) for conflict in conflicts]
        return [None] * len(users)

    def _error_of_creating(self, user: tuple[User, Secret]) -> UserExists | None:
        try:
            self._create([user])
        except UserExists as error:
            return error
        return None

    def _conflict(self, user: User) -> UserExists | None:
        """Why a user cannot be created, or None."""
        if self._table.get(PARTITION, f"name.{self.key(user.name)}", ["PartitionKey"]) is not None:
            return UserExists(f"Another user has the name {user.name}.")
        if self._table.get(PARTITION, f"id.{user.user_id}", ["PartitionKey"]) is not None:
            return UserExists(f"Another user has the id {user.user_id}.")
        return None

    def _create(self, users: Sequence[tuple[User, Secret]]) -> None:
        operations = []
        for user, secret in users:
            operations += [create(self._user_row(user, secret)), create(self._id_row(user))]

        def attempt() -> None:
            try:
                self._table.write(*operations)
            except RowConflict:
                if len(users) > 1:
                    raise UserExists from None
                if conflict := self._conflict(users[0][0]):
                    raise conflict from None
                raise  # It was deleted meanwhile.

        retry_on_conflict(attempt)

    def change(self, before: Stored, change: Callable[[Stored], tuple[User, Secret]]) -> Stored:
        """Replace the user by the result of `change`, which is called again after another call's change.

        Raises UnknownUser if the user is gone, or has another name now; and the errors of `change`.
        """
        stored: Stored | None = before

        def attempt() -> Stored:
            nonlocal stored
            if stored is None:
                stored = self._by_key(before.key)
                if stored.user.user_id != before.user.user_id:
                    raise _unknown()
            user, secret = change(stored)
            row, etag = self._user_row(user, secret), stored.etag
            stored = None  # After a conflict it is read again.
            (etag,) = self._table.write(replace(row, etag))
            return Stored(before.key, user, secret, etag)

        return retry_on_conflict(attempt)

    def rename(self, before: Stored, name: str) -> User:
        """Give the user another name, with the same failures. Raises UserExists, and RowConflict after a change."""
        user = msgspec.structs.replace(before.user, name=name)
        key = self.key(name)
        if key == before.key:
            self._table.write(replace(self._user_row(user, before.secret), before.etag))
            return user
        if self.find(key)[0] is not None:
            raise UserExists(f"Another user has the name {name}.")
        self._table.write(
            delete(_keys_of(f"name.{before.key}"), before.etag),
            create(self._user_row(user, before.secret)),
            replace(self._id_row(user)),
        )
        return user

    def delete(self, before: Stored) -> None:
        """Raises RowConflict if the row has changed."""
        self._table.write(
            delete(_keys_of(f"name.{before.key}"), before.etag), delete(_keys_of(f"id.{before.user.user_id}"))
        )

    def set_failures(self, key: str, stored: StoredName | None, failures: Failures) -> None:
        """Count the failures of an unknown name. Raises RowConflict if the slot has changed."""
        row = self._records.row(
            PARTITION, f"name.{key[:_SLOT_DIGITS]}!", UnknownName(key, failures), kind="unknown-name"
        )
        self._table.write(create(row) if stored is None else replace(row, stored.etag))

    # What is known of all users

    def costs(self) -> list[Parameters]:
        """The costs of Argon2id that users' hashes may have."""
        row = self._table.get(PARTITION, "costs")
        return [] if row is None else self._records.open(row, _COSTS).costs

    def set_costs(self, costs: list[Parameters]) -> None:
        """Record which costs users' hashes may have."""
        self._table.write(put(self._records.row(PARTITION, "costs", _Costs(costs), kind="costs")))

    def migrated_to(self) -> str:
        """The pepper key under which all hashes were once found encrypted; "" before that."""
        row = self._table.get(PARTITION, "migrated")
        return "" if row is None else self._records.open(row, _MIGRATED).pepper_key

    def set_migrated(self, pepper_key: str) -> None:
        """Record that all hashes are encrypted; "" withdraws it."""
        self._table.write(put(self._records.row(PARTITION, "migrated", _Migrated(pepper_key), kind="migrated")))

    # Rows

    def _by_key(self, key: str) -> Stored:
        stored, _ = self.find(key)
        if stored is None:
            raise _unknown()
        return stored

    def _user_row(self, user: User, secret: Secret) -> dict[str, object]:
        return self._records.row(
            PARTITION,
            f"name.{self.key(user.name)}",
            user,
            kind="user",
            secret=secret.data,
            pepper=secret.key_name,
            pepper_version=secret.version,
        )

    def _id_row(self, user: User) -> dict[str, object]:
        return self._records.row(PARTITION, f"id.{user.user_id}", _Key(self.key(user.name)), kind="id")

    def _stored(self, row: Row) -> Stored:
        user = self._records.open(row, _USERS)
        secret = Secret(row["secret"], row["pepper"], row["pepper_version"])
        return Stored(row["RowKey"].removeprefix("name."), user, secret, row.etag)


def _keys_of(row_key: str) -> dict[str, str]:
    return {"PartitionKey": PARTITION, "RowKey": row_key}


def _unknown() -> UnknownUser:
    return UnknownUser("No user has this name or id.")
