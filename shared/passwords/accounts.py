"""Users with passwords: creating, verifying, changing, importing and exporting them."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias
from uuid import uuid4

import msgspec

from shared.errors import (
    Busy,
    FieldError,
    HashTooLarge,
    SamePassword,
    StrongroomError,
    UnknownUser,
    UserChanged,
    UserDisabled,
    UserExists,
    WeakPassword,
    WrongPassword,
)
from shared.passwords import hashing
from shared.passwords.admission import HashingThreads
from shared.passwords.argon2 import Parameters
from shared.passwords.blocklist import blocklist
from shared.passwords.costs import PROFILES
from shared.passwords.hasher import Hasher
from shared.passwords.hashing import Argon2Hash
from shared.passwords.logins import CHANGED, Failure, Logins, Proof
from shared.passwords.names import check_name, fold_name
from shared.passwords.pepper import Encryptor, Pepper, Secret
from shared.passwords.policy import Policy, Reason, name_parts
from shared.passwords.settings import PasswordSettings
from shared.passwords.store.attempts import AttemptStore
from shared.passwords.store.breaches import BreachedPasswords
from shared.passwords.store.users import TABLE, Stored, User, UserStore, signed_out
from shared.storage import Operation, Row, Storage
from shared.storage.records import Records
from shared.storage.requests import retry_on_conflict

RULES: dict[Reason, str] = {
    "too-short": "The password is too short. It needs {least} characters, as typed and in Unicode's NFKC form.",
    "too-long": "The password is too long. It may have 1,024 bytes in UTF-8.",
    "common": "The password is common, made of one or two common ones, a keyboard walk or a repetition. Use another.",
    "context-word": "The password contains a part of the user's name, or the name of the service. Use another.",
    "breached": "The password is known from a data breach. Use another.",
}

Also: TypeAlias = Callable[[datetime], Sequence[Operation]]
"""Further operations on the user's partition, for the write that sets this `signed_out_at`."""


class Login(NamedTuple):
    """The result of verifying a user's password."""

    user: User | None
    """The user whose password it is, or None."""
    outcome: str
    """For the log: `success`, `disabled`, `wrong-password`, `unknown-user`."""
    device: str = ""
    """A token for the next login."""
    needs_rehash: bool = False
    rehashed: bool = False


class NewUser(NamedTuple):
    """A user from elsewhere."""

    name: str
    hash: str
    user_id: str | None = None
    created: datetime | None = None
    second_factor: bool = False
    disabled: bool = False


class ImportedUser(NamedTuple):
    """A user from elsewhere, as it will be stored."""

    user: User
    secret: Secret


class Rewrapped(NamedTuple):
    """The result of one page of `rewrap`."""

    examined: int
    rewrapped: int
    migrated: bool
    """Whether all hashes were found encrypted, so that a plain one is refused from now on."""
    position: "Position | None"
    """The start of the next page; None at the end."""


class Position(msgspec.Struct, frozen=True):
    """The progress of a pass over all users, and its result so far."""

    after: str = ""
    """The id of a user."""
    all_encrypted: bool = True
    costs: list[Parameters] = []


class Accounts:
    """Users with passwords. Safe to use from many threads, and from many instances."""

    def __init__(
        self,
        users: UserStore,
        logins: Logins,
        hasher: Hasher,
        pepper: Pepper,
        policy: Policy,
        cost: Parameters,
        is_breached: Callable[[str], bool],
        clock: Callable[[], datetime],
    ) -> None:
        self.users = users
        self.hasher = hasher
        self._logins = logins
        self._pepper = pepper
        self._policy = policy
        self._cost = cost
        self._is_breached = is_breached
        self._clock = clock

    # Policy

    def reasons(self, password: str, user: str | None, *, second_factor: bool) -> list[Reason]:
        """Every rule for users' passwords that this one fails."""
        failed = self._policy.reasons(password, blocklist(), user, second_factor=second_factor)
        if "too-long" not in failed and self._is_breached(password):
            failed.append("breached")
        return failed

    def _is_short(self, password: str) -> bool:
        """Whether the password is too short to be the only factor."""
        return "too-short" in self._policy.reasons(password, blocklist(), None, second_factor=False)

    def _check(self, password: str, user: str, *, second_factor: bool) -> None:
        hashing.encode_password(password)
        if failed := self.reasons(password, user, second_factor=second_factor):
            raise self._weak(failed, second_factor=second_factor)

    def _weak(self, reasons: list[Reason], *, second_factor: bool) -> WeakPassword:
        least = self._policy.least(second_factor=second_factor)
        details = [f"{reason}: {RULES[reason].format(least=least)}" for reason in reasons]
        return WeakPassword(" ".join(details), errors=tuple(FieldError("password", each) for each in details))

    @staticmethod
    def check_name(name: str) -> str:
        """A name as it is stored. Raises InvalidRequest, naming the field `user`."""
        return check_name(name, "user")

    # Creating

    def create(self, name: str, password: str, *, second_factor: bool) -> User:
        """Raises WeakPassword, UserExists, InvalidPassword, HashTooLarge, Busy."""
        self._check(password, name, second_factor=second_factor)
        text = self.hasher.hash(password, self._cost, for_user=True)
        user = User(
            user_id=str(uuid4()),
            name=name,
            created=self._clock(),
            algorithm="argon2id",
            password_id=_new_password_id(),
            signed_out_at=self._clock(),
            second_factor=second_factor,
            short_password=self._is_short(password),
        )
        self.users.create(user, self._pepper.seal(user.user_id, text))
        return user

    def create_without_password(self, name: str, user_id: str) -> User:
        """Create a user whom no password signs in. Raises UserExists."""
        text = hashing.encode_hash(self._cost, secrets.token_bytes(16), secrets.token_bytes(32))
        user = User(
            user_id=user_id,
            name=name,
            created=self._clock(),
            algorithm="argon2id",
            password_id=_new_password_id(),
            signed_out_at=self._clock(),
        )
        self.users.create(user, self._pepper.seal(user.user_id, text))
        return user

    def import_user(self, new: NewUser) -> User:
        """Create a user with a hash from elsewhere. Raises InvalidHash, UserExists."""
        imported = self.imported(new)
        self.users.create(imported.user, imported.secret)
        return imported.user

    def import_users(self, users: Sequence[ImportedUser]) -> list[User | StrongroomError]:
        """Create these users together; for each the user, or the reason why it was not created."""
        results: list[User | StrongroomError] = []
        positions: list[int] = []
        keys: set[str] = set()
        for position, (user, _) in enumerate(users):
            own = {f"name {fold_name(user.name)}", f"id {user.user_id}"}
            if own & keys:
                results.append(UserExists(f"The batch contains the name {user.name} or its user_id twice."))
            else:
                keys |= own
                results.append(user)
                positions.append(position)
        errors = self.users.create_many([users[position] for position in positions])
        for position, failure in zip(positions, errors, strict=True):
            if failure is not None:
                results[position] = failure
        return results

    def imported(self, new: NewUser) -> ImportedUser:
        """A user with a hash from elsewhere, as it will be stored. Raises InvalidHash, HashTooLarge."""
        user = User(
            user_id=new.user_id or str(uuid4()),
            name=new.name,
            created=new.created or self._clock(),
            algorithm=hashing.algorithm_of(self.hasher.parse(new.hash)),
            password_id=_new_password_id(),
            signed_out_at=self._clock(),
            imported=True,
            second_factor=new.second_factor,
            disabled=new.disabled,
        )
        return ImportedUser(user, self._pepper.seal(user.user_id, new.hash))

    # Verifying

    def log_in(self, name: str, password: str, device: str | None = None) -> Login:
        """Whether it is the user's password; if so, the hash is brought up to date.

        Raises InvalidPassword, TooManyAttempts, UserLocked, Busy.
        """
        hashing.encode_password(password)
        with self._logins.turn(name, device) as turn:
            result = self._logins.authenticate(turn, password)
            if isinstance(result, Failure):
                return Login(None, "wrong-password" if result.is_known else "unknown-user")
            if result.stored.user.disabled:
                return Login(None, "disabled")
            needs_rehash, rehashed = self._update(result, password)
        return Login(result.stored.user, "success", result.device, needs_rehash, rehashed)

    def _update(self, proof: Proof, password: str) -> tuple[bool, bool]:
        """Hash or encrypt again if the stored hash is not as it would be now: whether it is needed, and was done."""
        if not proof.verdict.needs_rehash:
            if not self._pepper.is_current(proof.stored.secret):
                self._rewrap(proof.stored)
            return False, False
        try:
            text = self.hasher.hash(password, self._cost, for_user=True)
            self._set_hash(proof.stored, text, self._text_of(proof.stored))
        except (Busy, HashTooLarge, UserChanged, UnknownUser):
            return True, False  # The next login will do it.
        return False, True

    # Changing

    def change_password(self, name: str, old_password: str, password: str, also: Also = lambda _: ()) -> User:
        """Set a password in one write with the operations of `also`, which gets the new `signed_out_at`.

        Raises WrongPassword, SamePassword, WeakPassword, UserDisabled, TooManyAttempts, UserLocked, Busy, …
        """
        hashing.encode_password(old_password)
        hashing.encode_password(password)
        with self._logins.turn(name) as turn:
            result = self._logins.authenticate(turn, old_password)
            if isinstance(result, Proof):
                if result.stored.user.disabled:
                    raise UserDisabled("An operator has disabled this user. Enable the user first.")
                if hashing.encode_password(password) == hashing.encode_password(old_password):
                    raise SamePassword("The new password is the old one. Choose another.")
                with suppress(UnknownUser):  # Deleted meanwhile.
                    return self._set_password(result.stored, password, self._text_of(result.stored), also)
            raise WrongPassword("The user or the old password is wrong.")

    def change_own_password(self, user_id: str, old_password: str | None, password: str, also: Also) -> User:
        """Set the password of a user who has signed in. Raises as `change_password` does, and UnknownUser.

        Without `old_password`, none is compared.
        """
        stored = self.users.by_id(user_id)
        if old_password is None:
            return self._set_password(stored, password, None, also)
        return self.change_password(stored.user.name, old_password, password, also)

    def reset_password(self, name: str, password: str) -> User:
        """Set a password for an operator; it ends the user's wait. Raises UnknownUser, WeakPassword, …"""
        return self._set_password(self.users.by_name(name), password, None)

    def rename(self, name: str, new_name: str) -> User:
        """Raises UnknownUser, UserExists, and WeakPassword if the password is the new name or a part of it."""
        stored = self.users.by_name(name)
        second_factor = stored.user.needs_second_factor
        least = self._policy.least(second_factor=second_factor)
        parts = {new_name, fold_name(new_name), new_name.partition("@")[0], *name_parts(new_name)}
        candidates = sorted(each for each in parts if len(each) >= least)
        if candidates and self._logins.password_is_one_of(stored, candidates):
            raise self._weak(["context-word"], second_factor=second_factor)
        return retry_on_conflict(lambda: self.users.rename(self.users.by_name(name), new_name))

    def set_disabled(self, user_id: str, disabled: bool) -> User:
        """Disabling ends all sessions. Raises UnknownUser."""

        def changed(now: Stored) -> tuple[User, Secret]:
            user = signed_out(now.user, self._clock()) if disabled else now.user
            return msgspec.structs.replace(user, disabled=disabled), now.secret

        return self.users.change(self.users.by_id(user_id), changed).user

    def set_roles(self, user_id: str, roles: Sequence[str]) -> User:
        """Each role once. Access tokens that exist keep the former roles. Raises UnknownUser."""
        return self._replace(user_id, roles=tuple(dict.fromkeys(roles)))

    def set_subjects(self, user_id: str, subjects: Sequence[Mapping[str, str | int | float]]) -> User:
        """Raises UnknownUser."""
        return self._replace(user_id, subjects=tuple(dict(each) for each in subjects))

    def _replace(self, user_id: str, **changes: object) -> User:
        return self.users.change(
            self.users.by_id(user_id),
            lambda now: (msgspec.structs.replace(now.user, **changes), now.secret),
        ).user

    def delete(self, user_id: str) -> None:
        """Raises UnknownUser."""
        retry_on_conflict(lambda: self.users.delete(self.users.by_id(user_id)))

    def _set_password(self, before: Stored, password: str, old_text: str | None, also: Also = lambda _: ()) -> User:
        """Set a password, which ends all sessions, but what `also` keeps."""
        self._check(password, before.user.name, second_factor=before.user.needs_second_factor)
        text = self.hasher.hash(password, self._cost, for_user=True)
        short_password = self._is_short(password)

        def changed(user: User) -> User:
            return msgspec.structs.replace(
                signed_out(user, self._clock()), password_id=_new_password_id(), short_password=short_password
            )

        return self._set_hash(before, text, old_text, changed, also, forget_failures=True)

    def _set_hash(
        self,
        before: Stored,
        text: str,
        old_text: str | None,
        change: Callable[[User], User] = lambda user: user,
        also: Also = lambda _: (),
        *,
        forget_failures: bool = False,
    ) -> User:
        """Raises UserChanged if the hash is no longer `old_text` (None: any), UnknownUser."""
        secret = self._pepper.seal(before.user.user_id, text)

        def changed(now: Stored) -> tuple[User, Secret]:
            if old_text is not None and self._text_of(now) != old_text:
                raise UserChanged(CHANGED)
            return msgspec.structs.replace(change(now.user), algorithm="argon2id", imported=False), secret

        return self.users.change(
            before, changed, forget_failures=forget_failures, also=lambda user: also(user.signed_out_at)
        ).user

    # All users

    def export(self, after: str, limit: int) -> list[tuple[User, str]]:
        """Up to `limit` users by their ids, from the one behind `after`, with their hashes."""
        return [(each.user, self._text_of(each)) for each in self.users.page(after, limit)]

    def rewrap(self, position: Position, limit: int) -> Rewrapped:
        """Store the hashes of up to `limit` users as the pepper now says.

        At the end of a pass over all users, the app knows which costs their hashes have, and whether all of them are
        encrypted. From then on it refuses a plain hash.
        """
        if not self._pepper.key_name and self.users.migrated_to():
            self.users.set_migrated("")  # Before the first hash is decrypted.
        page = self.users.page(position.after, limit)
        moved, encrypted, costs = 0, position.all_encrypted, list(position.costs)
        for stored in page:
            if not self._pepper.is_current(stored.secret):
                done = self._rewrap(stored)
                moved += done
                encrypted &= done or bool(stored.secret.key_name)
            parsed = hashing.parse_hash(self._text_of(stored))
            if isinstance(parsed, Argon2Hash) and not stored.user.imported and parsed.cost not in costs:
                costs.append(parsed.cost)
        if len(page) == limit:
            following = Position(page[-1].user.user_id, encrypted, costs)
            return Rewrapped(len(page), moved, self._is_migrated(), following)
        if self._pepper.key_name and encrypted and not self._is_migrated():
            self.users.set_migrated(self._pepper.key_name)
        self.users.set_costs([self._cost, *(each for each in costs if each != self._cost)])
        return Rewrapped(len(page), moved, self._is_migrated(), None)

    def _is_migrated(self) -> bool:
        return bool(self._pepper.key_name and self.users.migrated_to())

    def _rewrap(self, stored: Stored) -> bool:
        """Encrypt a user's hash again; whether the user still exists."""
        try:
            self.users.change(stored, lambda now: (now.user, self._pepper.seal(now.user.user_id, self._text_of(now))))
        except UnknownUser:
            return False
        except Busy:
            return False  # Others change it all the time.
        return True

    def _text_of(self, stored: Stored) -> str:
        return self._pepper.open(stored.user.user_id, stored.secret)


def new_accounts(
    settings: PasswordSettings,
    storage: Storage,
    attempts: AttemptStore,
    keys: Callable[[], Encryptor],
    derive_key: Callable[[str], bytes],
    *,
    cost: Parameters | None = None,
    threads: HashingThreads | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    table: str = TABLE,
    removed: Callable[[Sequence[Row]], None] = lambda _: None,
) -> Accounts:
    """Accounts with all their parts. It connects to nothing.

    `cost` replaces the profile of the settings. `removed` gets the rows of a deleted user.
    """
    cost = cost or PROFILES[settings.profile]
    users = UserStore(storage, Records(lambda: derive_key("users")), table, removed)
    hasher = Hasher(threads or HashingThreads(settings.hash_memory_mib, reserved_kib=cost.memory_kib))
    pepper = Pepper(keys, settings.pepper_key, lambda: settings.pepper_required or bool(users.migrated_to()))
    logins = Logins(users, attempts, hasher, pepper, cost, lambda: derive_key("devices"), settings.spray_names, clock)
    policy = Policy(settings.min_length, settings.min_length_with_second_factor, settings.service_names)
    url = settings.breached_passwords_url
    is_breached = BreachedPasswords(url).contains if url else lambda _: False
    return Accounts(users, logins, hasher, pepper, policy, cost, is_breached, clock)


def _new_password_id() -> str:
    return secrets.token_hex(8)
