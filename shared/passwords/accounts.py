"""Users with passwords: creating, verifying, changing. Here store, hashing threads, pepper and throttling meet."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property, partial
from threading import Lock
from typing import NamedTuple, TypeVar
from uuid import uuid4

import msgspec

from shared.errors import Busy, FieldError
from shared.passwords import hashing
from shared.passwords.admission import RETRY_AFTER_SECONDS, HashingThreads
from shared.passwords.argon2 import Parameters
from shared.passwords.blocklist import blocklist
from shared.passwords.errors import (
    HashTooLarge,
    InvalidHash,
    TooManyAttempts,
    UnknownUser,
    UserChanged,
    WeakPassword,
    WrongPassword,
)
from shared.passwords.hashing import Hash, Verdict
from shared.passwords.names import key_of
from shared.passwords.pepper import Pepper, Secret
from shared.passwords.policy import Policy, Reason
from shared.passwords.store import ATTEMPTS, Changed, Stored, StoredFailures, User, UserStore
from shared.passwords.throttling import after_failure, seconds_to_wait

TURN_SECONDS = 10.0
"""How long a call waits for those before it that are about the same name."""
MAX_WAITING = 100
"""How many calls wait for a name: a flood of them must not take all of the host's threads."""

RULES: dict[Reason, str] = {
    "too-short": "is too short: it needs {least} characters.",
    "too-long": "is too long: it has more than 1,024 bytes in UTF-8.",
    "common": "is a common password, or made of two of them, or a run or repetition: it would be guessed soon.",
    "context-word": "holds the user's name, or the name of the service.",
}


_CHANGED = "Others changed this user at the same time. Try again."

Result = TypeVar("Result")


class Login(NamedTuple):
    """How a password was verified: whether it is the user's, and where it is, what became of it."""

    valid: bool
    user: User | None = None
    needs_rehash: bool = False
    rehashed: bool = False


class Accounts:
    """Users with passwords. Safe to use from many threads, and from many instances."""

    def __init__(
        self,
        store: UserStore,
        threads: HashingThreads,
        pepper: Pepper,
        policy: Policy,
        cost: Parameters,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.store = store
        self._threads = threads
        self._pepper = pepper
        self._policy = policy
        self._cost = cost
        self._clock = clock
        self._turns = _Turns()

    # Hashing

    def hash(self, password: str, cost: Parameters) -> str:
        """The hash of any password as a PHC string. Raises InvalidPassword, HashTooLarge, Busy."""
        encoded = hashing.encode_password(password)
        self._check_memory(cost.memory_kib)
        salt = secrets.token_bytes(hashing.SALT_BYTES)
        return self._threads.run(cost.memory_kib, partial(hashing.hash_password, encoded, cost, salt))

    def parse(self, text: str) -> Hash:
        """A hash that can be verified here. Raises InvalidHash."""
        stored = hashing.parse_hash(text)
        memory_kib = hashing.memory_of(stored)
        if memory_kib > self._threads.memory_kib:
            raise InvalidHash(
                f"The hash asks for {memory_kib} KiB of memory; {self._threads.memory_kib} KiB are granted."
            )
        return stored

    def verify_hash(self, password: str, text: str, wanted: Parameters) -> Verdict:
        """Whether a hash is of this password. Raises InvalidPassword, InvalidHash, Busy."""
        hashing.encode_password(password)  # Refused before anything is waited for.
        return self._verify(self.parse(text), password, wanted, as_typed=True)

    def _check_memory(self, memory_kib: int) -> None:
        if memory_kib > self._threads.memory_kib:
            raise HashTooLarge(
                f"The hash takes {memory_kib} KiB of memory; {self._threads.memory_kib} KiB are granted here "
                "(STRONGROOM_HASH_MEMORY_MIB)."
            )

    def _verify(self, stored: Hash, password: str, wanted: Parameters, *, as_typed: bool) -> Verdict:
        self._check_memory(hashing.memory_of(stored))  # The limit may have been higher when a user was created.
        work = partial(hashing.verify, stored, password, wanted, as_typed=as_typed)
        return self._threads.run(hashing.memory_of(stored), work, mapped=hashing.is_mapped(stored))

    # Policy

    def reasons(self, password: str, user: str | None, *, second_factor: bool) -> list[Reason]:
        """Every rule for users' passwords that this one fails."""
        return self._policy.reasons(password, blocklist(), user, second_factor=second_factor)

    def _check(self, password: str, user: str, *, second_factor: bool) -> None:
        hashing.encode_password(password)
        found = self.reasons(password, user, second_factor=second_factor)
        if found:
            least = self._policy.min_length_with_second_factor if second_factor else self._policy.min_length
            told = [f"{reason}: the password {RULES[reason].format(least=least)}" for reason in found]
            raise WeakPassword(" ".join(told), errors=tuple(FieldError("password", each) for each in told))

    # Users

    def create(self, name: str, password: str, cost: Parameters | None, *, second_factor: bool) -> User:
        """Raises WeakPassword, UserExists, and what `hash` does. `cost` is this user's own, for good."""
        self._check(password, name, second_factor=second_factor)
        text = self.hash(password, cost or self._cost)
        own = None if cost is None else (cost.memory_kib, cost.time_cost, cost.parallelism)
        user = self._new(name, "argon2id", second_factor=second_factor, cost=own)
        self.store.create(user, self._pepper.seal(user.user_id, text))
        return user

    def import_user(self, name: str, text: str, *, second_factor: bool) -> User:
        """A user with a hash from elsewhere. Raises InvalidHash, UserExists."""
        algorithm = hashing.algorithm_of(self.parse(text))
        user = self._new(name, algorithm, second_factor=second_factor, imported=True)
        self.store.create(user, self._pepper.seal(user.user_id, text))
        return user

    def _new(
        self,
        name: str,
        algorithm: str,
        *,
        second_factor: bool,
        cost: tuple[int, int, int] | None = None,
        imported: bool = False,
    ) -> User:
        return User(
            user_id=str(uuid4()),
            name=name,
            created=self._clock(),
            algorithm=algorithm,
            imported=imported,
            second_factor=second_factor,
            cost=cost,
        )

    def log_in(self, name: str, password: str) -> Login:
        """Whether it is the user's password; if so, the hash is brought up to date.

        Raises InvalidPassword, TooManyAttempts, Busy.
        """
        hashing.encode_password(password)
        with self._turns.of(key_of(name)):
            stored, verdict = self._authenticate(name, password)
            if stored is None:
                return Login(valid=False)
            return self._update(stored, password, verdict)

    def change_password(self, name: str, old_password: str, password: str) -> User:
        """Raises WrongPassword, WeakPassword, TooManyAttempts, UserChanged, InvalidPassword, Busy."""
        hashing.encode_password(old_password)
        hashing.encode_password(password)
        with self._turns.of(key_of(name)):
            before, _ = self._authenticate(name, old_password)
            if before is not None:
                with suppress(UnknownUser):  # Gone by now.
                    return self._set_password(before, password, even_if_changed=False)
            raise WrongPassword("The user or the old password is not right.")

    def reset_password(self, name: str, password: str) -> User:
        """Raises UnknownUser, WeakPassword, UserChanged, InvalidPassword, Busy."""
        user = self._set_password(self.store.by_name(name), password, even_if_changed=True)
        with _as_conflict():
            self.store.forget_failures(user.key)
        return user

    def rename(self, name: str, new_name: str) -> User:
        """Raises UnknownUser, UserExists, UserChanged."""
        return _until_done(lambda: self.store.rename(self.store.by_name(name), new_name))

    def delete(self, user_id: str) -> None:
        """Raises UnknownUser, UserChanged."""
        _until_done(lambda: self.store.delete(self.store.by_id(user_id)))

    def rewrap(self, after: str, limit: int) -> tuple[int, int, str]:
        """Have the hashes of up to `limit` users rest as the pepper says now.

        Returns how many were looked at, how many were moved, and the key to go on after ("" at the end).
        """
        page = self.store.page(after, limit)
        moved = 0
        for stored in page:
            if not self._pepper.is_current(stored.secret):
                moved += self._rewrap(stored)
        return len(page), moved, page[-1].user.key if len(page) == limit else ""

    # How a password is verified

    def _authenticate(self, name: str, password: str) -> tuple[Stored | None, Verdict]:
        """The user whose password it is, or None, counted as a failure: as long for an unknown name as for a known one.

        Raises TooManyAttempts, Busy, and UserChanged where others change the hash again and again.
        """
        key = key_of(name)
        for _ in range(ATTEMPTS):
            stored, failures = self.store.find(key)
            wait = seconds_to_wait(failures.failures if failures else None, self._clock())
            if wait:
                raise TooManyAttempts(
                    f"After too many wrong passwords this user has to wait {wait} s.", retry_after=wait
                )
            tried = stored or self._nobody
            text = self._open(tried)
            verdict = self._verify(
                hashing.parse_hash(text), password, self._cost_of(tried.user), as_typed=tried.user.imported
            )
            if stored is None or not verdict.valid:
                with _as_conflict():
                    self.store.add_failure(key, failures, partial(after_failure, now=self._clock()))
                return None, verdict
            with suppress(UserChanged, UnknownUser):  # The hash is another by now, or the user is gone: look again.
                return self._succeed(stored, text, verdict, failures), verdict
        raise UserChanged(_CHANGED)

    def _succeed(self, stored: Stored, text: str, verdict: Verdict, failures: StoredFailures | None) -> Stored:
        """Note the login, and forget the failures. Raises UserChanged where the hash is no longer `text`."""
        now = self._clock()

        def noted(before: Stored) -> tuple[User, Secret]:
            if self._open(before) != text:
                raise UserChanged(_CHANGED)
            # An imported hash that needs no rehash is as good as one of ours.
            imported = before.user.imported and verdict.needs_rehash
            return msgspec.structs.replace(before.user, last_login=now, imported=imported), before.secret

        with _as_conflict():
            if failures is not None:
                self.store.forget_failures(stored.user.key)
            return self.store.change(stored, noted)

    def _update(self, stored: Stored, password: str, verdict: Verdict) -> Login:
        """Hash anew, or seal anew, where the stored hash is not as it would be made now."""
        user = stored.user
        if not verdict.needs_rehash:
            if not self._pepper.is_current(stored.secret):
                self._rewrap(stored)
            return Login(valid=True, user=user)
        try:
            self._set_hash(stored, self.hash(password, self._cost_of(user)), even_if_changed=False)
        except (Busy, HashTooLarge, UserChanged, UnknownUser):
            return Login(valid=True, user=user, needs_rehash=True)  # The next login will do it.
        return Login(valid=True, user=user, rehashed=True)

    @cached_property
    def _nobody(self) -> Stored:
        """Stands in for a user whom there is not: a hash like any other, which no password has."""
        user = User("00000000-0000-0000-0000-000000000000", "", datetime.now(UTC), "argon2id")
        text = hashing.encode_hash(self._cost, secrets.token_bytes(16), secrets.token_bytes(32))
        return Stored(user, self._pepper.seal(user.user_id, text), "")

    def _open(self, stored: Stored) -> str:
        return self._pepper.open(stored.user.user_id, stored.secret)

    def _cost_of(self, user: User) -> Parameters:
        return self._cost if user.cost is None else Parameters(*user.cost)

    # How a password is set

    def _set_password(self, before: Stored, password: str, *, even_if_changed: bool) -> User:
        user = before.user
        self._check(password, user.name, second_factor=user.second_factor)
        text = self.hash(password, self._cost_of(user))
        return self._set_hash(before, text, even_if_changed=even_if_changed)

    def _set_hash(self, before: Stored, text: str, *, even_if_changed: bool) -> User:
        """Raises UserChanged where the hash is another by now (unless that does not matter), or the user is gone."""
        secret = self._pepper.seal(before.user.user_id, text)
        known = self._open(before)

        def changed(now: Stored) -> tuple[User, Secret]:
            # Where it is the new one already, it was stored before, and only the answer was lost.
            if not even_if_changed and self._open(now) not in (known, text):
                raise UserChanged(_CHANGED)
            return msgspec.structs.replace(now.user, algorithm="argon2id", imported=False), secret

        with _as_conflict():
            return self.store.change(before, changed).user

    def _rewrap(self, stored: Stored) -> bool:
        """Seal a user's hash anew; whether the user was there."""
        try:
            self.store.change(stored, lambda now: (now.user, self._pepper.seal(now.user.user_id, self._open(now))))
        except (Changed, UnknownUser):
            return False
        return True


@contextmanager
def _as_conflict() -> Iterator[None]:
    try:
        yield
    except Changed:
        raise UserChanged(_CHANGED) from None


def _until_done(act: Callable[[], Result]) -> Result:
    """Do it again where others were quicker. Raises UserChanged where they always are."""
    for _ in range(ATTEMPTS):
        with suppress(Changed):
            return act()
    raise UserChanged(_CHANGED)


class _Turns:
    """Lets one call at a time through for each name, so that no one tries many passwords at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._turns: dict[str, tuple[Lock, int]] = {}

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Raises Busy where the turn does not come in time, or too many wait already."""
        busy = Busy("Too many calls about this user at once. Try again later.", retry_after=RETRY_AFTER_SECONDS)
        with self._lock:
            turn, waiting = self._turns.get(key, (Lock(), 0))
            if waiting >= MAX_WAITING:
                raise busy
            self._turns[key] = (turn, waiting + 1)
        try:
            if not turn.acquire(timeout=TURN_SECONDS):
                raise busy
            try:
                yield
            finally:
                turn.release()
        finally:
            with self._lock:
                turn, waiting = self._turns[key]
                if waiting == 1:
                    del self._turns[key]
                else:
                    self._turns[key] = (turn, waiting - 1)
