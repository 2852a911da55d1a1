"""Users and their hashes in Table Storage, and the wrong passwords for names that no user has.

Each user has a partition, keyed by the user id. Its row `user` holds the user and the hash, its row `failures` counts
wrong passwords. Sign-in keeps its rows there, too: so all that one call changes about a user is one transaction, and
one request reads all of it.

The partition `names` finds a user by name: the row of a name holds the user id. Its key is an HMAC of the folded name,
because people type passwords into the name field. It is written before the user, and counts only if it points to a
user who has this name: otherwise the name is free. So a call that is interrupted leaves nothing that is in the way.

`<slot>!` in the same partition counts the failures of an unknown name. A slot is the first four digits of a key, so
unknown names leave at most 65,536 rows. A look-up sends the same two requests whether or not there is such a user.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from shared.errors import Busy, StrongroomError, Unavailable, UnknownUser, UserExists
from shared.passwords.argon2 import Parameters
from shared.passwords.names import fold_name
from shared.passwords.pepper import Secret
from shared.passwords.throttling import Failures
from shared.storage import Storage
from shared.storage.errors import RowConflict
from shared.storage.records import Records
from shared.storage.requests import retry_on_conflict
from shared.storage.tables import ROWS_PER_WRITE, Operation, Row, Table, create, delete, put, replace

TABLE = "strongroomusers"
NAMES, APP = "names", "app"
"""Partitions: the names of users, and facts about all users."""
USER_ROW, FAILURES_ROW = "user", "failures"
NOBODY = "00000000-0000-0000-0000-000000000000"
"""A partition without rows, which a look-up of an unknown name reads."""
REQUESTS_AT_ONCE = 16
SESSIONS = "s|"
"""Rows of a user that no sign-in depends on, so they may be removed after the user."""
_SLOT_DIGITS = 4

T = TypeVar("T")

_USER_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_user_id(text: str) -> bool:
    """Whether it is a UUID, in any case."""
    return bool(_USER_ID.fullmatch(text.lower()))


class User(msgspec.Struct, frozen=True):
    """All that is stored of a user, except for the hash and the failures."""

    user_id: str
    name: str
    created: datetime
    algorithm: str
    """The algorithm of the hash: `argon2id`, or that of an imported hash."""
    password_id: str
    """Random, new whenever the password is set; a rehash keeps it."""
    signed_out_at: datetime
    """Sessions and tickets hold this time. A new value ends them all: a new password, a reset, a disabled user, another
    set of factors."""
    imported: bool = False
    """Whether the hash was made elsewhere."""
    second_factor: bool = False
    """Whether a caller declared a second factor, with which a shorter password is enough."""
    has_factor: bool = False
    """Whether a second factor is enrolled here."""
    short_password: bool = False
    """Whether the password is too short to be the only factor."""
    disabled: bool = False
    last_login: datetime | None = None
    roles: tuple[str, ...] = ()
    subjects: tuple[dict[str, str | int | float], ...] = ()
    """The data that this user may see as their own: each maps types, such as `email`, to values."""

    @property
    def needs_second_factor(self) -> bool:
        """Whether the password is not the only factor, wherever the other one is."""
        return self.second_factor or self.has_factor


class Stored(msgspec.Struct, frozen=True):
    """A user as read from the table, the hash as it is stored, and the wrong passwords in a row."""

    user: User
    secret: Secret
    etag: str
    failures: Failures | None = None
    failures_etag: str = ""


class UnknownName(msgspec.Struct, frozen=True):
    """The failures of a name that no user has; the newest name in a slot replaces the one before."""

    key: str
    failures: Failures


class StoredName(msgspec.Struct, frozen=True):
    """The slot of an unknown name as read from the table."""

    name: UnknownName
    etag: str


class _Owner(msgspec.Struct, frozen=True):
    user_id: str


class _Costs(msgspec.Struct, frozen=True):
    costs: list[Parameters]


class _Migrated(msgspec.Struct, frozen=True):
    pepper_key: str


_USERS = msgspec.json.Decoder(User)
_NAMES = msgspec.json.Decoder(UnknownName)
_OWNERS = msgspec.json.Decoder(_Owner)
_FAILURES = msgspec.json.Decoder(Failures)
_COSTS = msgspec.json.Decoder(_Costs)
_MIGRATED = msgspec.json.Decoder(_Migrated)


class UserStore:
    """The users of one storage account. Safe to use from many threads.

    `removed` is called with the rows of a deleted user, and removes the user's rows in other partitions.
    """

    def __init__(
        self,
        storage: Storage,
        records: Records,
        table: str = TABLE,
        removed: Callable[[Sequence[Row]], None] = lambda _: None,
    ) -> None:
        self.table = Table(storage, table)
        self.records = records
        self._removed = removed

    def key(self, name: str) -> str:
        """The key of a name: 64 hexadecimal digits, equal for names that are the same."""
        return self.records.mac("name", fold_name(name)).hex()

    # Reading

    def find(self, key: str) -> tuple[Stored | None, StoredName | None]:
        """The user with the name of this key, and the slot of the key: two requests in any case."""
        digits = key[:_SLOT_DIGITS]
        condition = "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last"
        user_id, slot = NOBODY, None
        for row in self.table.query(condition, {"partition": NAMES, "first": digits, "last": f"{digits}~"}):
            if row["RowKey"] == key:
                user_id = self.records.open(row, _OWNERS).user_id
            elif row["RowKey"] == f"{digits}!":
                slot = StoredName(self.records.open(row, _NAMES), row.etag)
        stored = self._read(user_id)
        if stored is not None and self.key(stored.user.name) != key:
            stored = None  # The user has another name: a call was interrupted, and this name is free.
        return stored, slot

    def _read(self, user_id: str) -> Stored | None:
        condition = f"PartitionKey eq @user_id and (RowKey eq '{USER_ROW}' or RowKey eq '{FAILURES_ROW}')"
        rows = {row["RowKey"]: row for row in self.table.query(condition, {"user_id": user_id})}
        if USER_ROW not in rows:
            return None
        stored, failures = self._stored(rows[USER_ROW]), rows.get(FAILURES_ROW)
        if failures is None:
            return stored
        return msgspec.structs.replace(
            stored, failures=self.records.open(failures, _FAILURES), failures_etag=failures.etag
        )

    def by_name(self, name: str) -> Stored:
        """Raises UnknownUser."""
        stored, _ = self.find(self.key(name))
        if stored is None:
            raise _unknown()
        return stored

    def id_of(self, name: str) -> str | None:
        """The id of the user with this name, after the same requests whether or not there is one."""
        stored, _ = self.find(self.key(name))
        return None if stored is None else stored.user.user_id

    def by_id(self, user_id: str) -> Stored:
        """Raises UnknownUser. The case of the id does not matter."""
        stored = self._read(user_id.lower()) if is_user_id(user_id) else None
        if stored is None:
            raise _unknown()
        return stored

    def page(self, after: str, limit: int) -> list[Stored]:
        """Up to `limit` users in the order of their ids, after the user with the id `after` ("" for the first)."""
        # User ids begin with a hexadecimal digit, so this leaves out the names and the counters.
        condition = "PartitionKey gt @after and PartitionKey lt 'g' and RowKey eq @user"
        users = []
        for row in self.table.query(condition, {"after": after, "user": USER_ROW}, page_rows=limit):
            users.append(self._stored(row))
            if len(users) == limit:
                break
        return users

    # Creating

    def create(self, user: User, secret: Secret) -> None:
        """Raises UserExists if the name or the id is taken."""
        (failure,) = self._create_chunk([(user, secret)])
        if failure is not None:
            raise failure

    def create_many(self, users: Sequence[tuple[User, Secret]]) -> list[StrongroomError | None]:
        """Create each user, and return for each None or the reason why it was not created.

        If storage fails after the first users were created, the reason of all others is its error.
        """
        results: list[StrongroomError | None] = []
        try:
            for start in range(0, len(users), ROWS_PER_WRITE):
                results += self._create_chunk(users[start : start + ROWS_PER_WRITE])
        except (Unavailable, Busy) as error:
            if not results:
                raise
            results += [error] * (len(users) - len(results))
        return results

    def _create_chunk(self, users: Sequence[tuple[User, Secret]]) -> list[StrongroomError | None]:
        """Claim the names, create the users, and confirm the names."""
        claims = self._claim([user for user, _ in users])

        def create_user(pair: tuple[User, Secret], etag: str | UserExists) -> StrongroomError | None:
            if isinstance(etag, UserExists):
                return etag
            user, secret = pair
            try:
                self.table.write(create(self._user_row(user, secret)))
            except RowConflict:
                return UserExists(f"Another user has the id {user.user_id}.")
            except (Unavailable, Busy) as error:
                return error
            return None

        failures = _in_threads(create_user, users, claims)
        made = [
            (position, users[position][0], etag)
            for position, (etag, failure) in enumerate(zip(claims, failures, strict=True))
            if failure is None and isinstance(etag, str)
        ]
        for (position, user, _), confirmed in zip(made, self._confirm([each[1:] for each in made]), strict=True):
            if not confirmed:
                self.table.write(delete(_keys(user.user_id, USER_ROW)))
                failures[position] = UserExists(f"Another user has the name {user.name}.")
        unavailable = next((each for each in failures if isinstance(each, Unavailable | Busy)), None)
        if unavailable is not None and not made:
            raise unavailable
        return failures

    def _claim(self, users: Sequence[User]) -> list[str | UserExists]:
        """Let the rows of the names point to these users: for each the ETag, or the reason why it has not the name."""

        def claim(user: User) -> str | UserExists:
            def attempt() -> str | UserExists:
                row, claimed = self._name_row(user), self.table.get(NAMES, self.key(user.name))
                if claimed is None:
                    return self.table.write(create(row))[0]
                owner_id = self.records.open(claimed, _OWNERS).user_id
                owner = self.table.get(owner_id, USER_ROW) if owner_id != user.user_id else None
                # An owner of another name has lost this one: a call was interrupted.
                if owner is not None and self.key(self.opened(owner).name) == self.key(user.name):
                    return UserExists(f"Another user has the name {user.name}.")
                return self.table.write(replace(row, claimed.etag))[0]

            return retry_on_conflict(attempt)

        try:
            return list(self.table.write(*(create(self._name_row(user)) for user in users)))
        except RowConflict:
            return _in_threads(claim, users)

    def _confirm(self, claims: Sequence[tuple[User, str]]) -> list[bool]:
        """Write the rows of the names again, now that the users exist: for each whether it was still as claimed.

        Another call that found the name free, because the user did not exist yet, can no longer claim it after this.
        """

        def confirm(claim: tuple[User, str]) -> bool:
            user, etag = claim

            def attempt() -> bool:
                nonlocal etag
                try:
                    self.table.write(replace(self._name_row(user), etag))
                except RowConflict:
                    row = self.table.get(NAMES, self.key(user.name))
                    if row is None or self.records.open(row, _OWNERS).user_id != user.user_id:
                        return False
                    # Another call that creates the same user has claimed the name for it, and has lost: others may
                    # have read this user already.
                    etag = row.etag
                    raise
                return True

            return retry_on_conflict(attempt)

        if not claims:
            return []
        try:
            self.table.write(*(replace(self._name_row(user), etag) for user, etag in claims))
        except RowConflict:
            return _in_threads(confirm, claims)
        return [True] * len(claims)

    # Changing

    def change(
        self,
        before: Stored,
        change: Callable[[Stored], tuple[User, Secret]],
        *,
        forget_failures: bool = False,
        also: Callable[[User], Sequence[Operation]] = lambda _: (),
    ) -> Stored:
        """Replace the user by the result of `change`, in one write with the operations of `also` on the same partition.

        Both are called again after another call's change. Raises UnknownUser if the user is gone, and their errors.
        """
        stored: Stored | None = before

        def attempt() -> Stored:
            nonlocal stored
            current = stored or self.by_id(before.user.user_id)
            stored = None  # After a conflict it is read again.
            user, secret = change(current)
            operations = [replace(self._user_row(user, secret), current.etag), *also(user)]
            if forget_failures and current.failures is not None:
                operations.append(delete(_keys(user.user_id, FAILURES_ROW), current.failures_etag))
            etag = self.table.write(*operations)[0]
            if forget_failures:
                return Stored(user, secret, etag)
            return msgspec.structs.replace(current, user=user, secret=secret, etag=etag)

        return retry_on_conflict(attempt)

    def rename(self, before: Stored, name: str) -> User:
        """Give the user another name. Raises UserExists, and RowConflict after another call's change."""
        user = msgspec.structs.replace(before.user, name=name)
        old_key, key = self.key(before.user.name), self.key(name)
        if key == old_key:
            self.table.write(replace(self._user_row(user, before.secret), before.etag))
            return user
        (claim,) = self._claim([user])
        if isinstance(claim, UserExists):
            raise claim
        (etag,) = self.table.write(replace(self._user_row(user, before.secret), before.etag))
        if not self._confirm([(user, claim)])[0]:
            self.table.write(replace(self._user_row(before.user, before.secret), etag))
            raise UserExists(f"Another user has the name {name}.")
        self._release(old_key, user.user_id)
        return user

    def delete(self, before: Stored) -> None:
        """Remove the user, the partition, and the rows that point to it. Raises RowConflict after a change."""
        user_id = before.user.user_id
        rows = list(self.table.query("PartitionKey eq @user_id", {"user_id": user_id}))
        others = sorted((row for row in rows if row["RowKey"] != USER_ROW), key=_is_session)
        first, later = others[: ROWS_PER_WRITE - 1], others[ROWS_PER_WRITE - 1 :]
        # Without its user nothing in the partition counts, so the rest may follow.
        self.table.write(
            delete(_keys(user_id, USER_ROW), before.etag), *(delete(_keys(user_id, row["RowKey"])) for row in first)
        )
        for start in range(0, len(later), ROWS_PER_WRITE):
            with suppress(RowConflict):
                chunk = later[start : start + ROWS_PER_WRITE]
                self.table.write(*(delete(_keys(user_id, row["RowKey"])) for row in chunk))
        self._release(self.key(before.user.name), user_id)
        self._removed(rows)

    def _release(self, key: str, user_id: str) -> None:
        """Remove the row of a name that the user no longer has."""
        row = self.table.get(NAMES, key)
        if row is not None and self.records.open(row, _OWNERS).user_id == user_id:
            with suppress(RowConflict):  # Another call has claimed the name.
                self.table.write(delete(_keys(NAMES, key), row.etag))

    # Failures

    def set_failures(self, before: Stored, after: Callable[[Failures | None], Failures]) -> None:
        """Replace the failures of a user by `after` them. None is lost, however many calls write at once.

        Raises UnknownUser if the user is gone.
        """
        stored: Stored | None = before
        user_id = before.user.user_id

        def attempt() -> None:
            nonlocal stored
            current = stored or self.by_id(user_id)
            stored = None
            row = self.records.row(user_id, FAILURES_ROW, after(current.failures), kind="failures")
            self.table.write(replace(row, current.failures_etag) if current.failures_etag else create(row))

        retry_on_conflict(attempt)

    def set_failures_of_name(self, key: str, stored: StoredName | None, failures: Failures) -> None:
        """Count the failures of an unknown name. Raises RowConflict if the slot has changed."""
        row = self.records.row(NAMES, f"{key[:_SLOT_DIGITS]}!", UnknownName(key, failures), kind="unknown-name")
        self.table.write(create(row) if stored is None else replace(row, stored.etag))

    # What is known of all users

    def costs(self) -> list[Parameters]:
        """The costs of Argon2id that users' hashes may have."""
        row = self.table.get(APP, "costs")
        return [] if row is None else self.records.open(row, _COSTS).costs

    def set_costs(self, costs: list[Parameters]) -> None:
        """Record which costs users' hashes may have."""
        self.table.write(put(self.records.row(APP, "costs", _Costs(costs), kind="costs")))

    def migrated_to(self) -> str:
        """The pepper key under which all hashes were once found encrypted; "" before that."""
        row = self.table.get(APP, "migrated")
        return "" if row is None else self.records.open(row, _MIGRATED).pepper_key

    def set_migrated(self, pepper_key: str) -> None:
        """Record that all hashes are encrypted; "" withdraws it."""
        self.table.write(put(self.records.row(APP, "migrated", _Migrated(pepper_key), kind="migrated")))

    # Rows

    def opened(self, row: Row) -> User:
        """The user in a row `user`. Raises DamagedRow."""
        return self.records.open(row, _USERS)

    def changing(self, row: Row, **changes: Any) -> Operation:
        """The write that changes members of the user in a row `user`, under its ETag. The hash stays."""
        stored = self._stored(row)
        return replace(self._user_row(msgspec.structs.replace(stored.user, **changes), stored.secret), row.etag)

    def signing_out(self, row: Row, now: datetime, **changes: Any) -> tuple[Operation, datetime]:
        """As `changing`, with a new `signed_out_at`, which ends all sessions and tickets; and that time."""
        signed_out_at = signed_out(self.opened(row), now).signed_out_at
        return self.changing(row, signed_out_at=signed_out_at, **changes), signed_out_at

    def _user_row(self, user: User, secret: Secret) -> dict[str, object]:
        return self.records.row(
            user.user_id,
            USER_ROW,
            user,
            kind="user",
            secret=secret.data,
            pepper=secret.key_name,
            pepper_version=secret.version,
        )

    def _name_row(self, user: User) -> dict[str, object]:
        return self.records.row(NAMES, self.key(user.name), _Owner(user.user_id), kind="name")

    def _stored(self, row: Row) -> Stored:
        secret = Secret(row["secret"], row["pepper"], row["pepper_version"])
        return Stored(self.opened(row), secret, row.etag)


def signed_out(user: User, now: datetime) -> User:
    """The user with a new `signed_out_at`: later than the one before, whatever the clocks of the instances say."""
    later = max(now, user.signed_out_at + timedelta(microseconds=1))
    return msgspec.structs.replace(user, signed_out_at=later)


def _is_session(row: Row) -> bool:
    return str(row["RowKey"]).startswith(SESSIONS)


def _in_threads(call: Callable[..., T], *arguments: Sequence[Any]) -> list[T]:
    """The results of `call` for each tuple of arguments, some at a time, within the deadline of this call."""
    if len(arguments[0]) == 1:
        return [call(*(each[0] for each in arguments))]
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
        running = [threads.submit(copy_context().run, call, *each) for each in zip(*arguments, strict=True)]
    return [each.result() for each in running]


def _keys(partition: str, row_key: str) -> dict[str, str]:
    return {"PartitionKey": partition, "RowKey": row_key}


def _unknown() -> UnknownUser:
    return UnknownUser("No user has this name or id. list-users lists the users.")
