"""How a user's password is verified: waits, the hash, and the counts of failures.

A name that no user has takes the same steps as a user's, and as long: the same reads, a hash of the same cost, and one
write of a counter. So neither the response nor its time says who is a user.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property, partial
from threading import Lock
from typing import NamedTuple

import msgspec

from shared.errors import Busy, HashTooLarge, InvalidRequest, TooManyAttempts, UnknownUser, UserChanged, UserLocked
from shared.passwords import hashing
from shared.passwords.admission import RETRY_AFTER_SECONDS
from shared.passwords.argon2 import Parameters
from shared.passwords.devices import ID_BYTES, issue_token, read_token
from shared.passwords.hasher import Hasher
from shared.passwords.hashing import Argon2Hash, Verdict
from shared.passwords.pepper import Pepper, Secret
from shared.passwords.store.attempts import AttemptStore
from shared.passwords.store.users import NOBODY, Stored, StoredName, User, UserStore
from shared.passwords.throttling import (
    LOCKED_RETRY_SECONDS,
    MAX_DEVICE_FAILURES,
    Failures,
    after_failure,
    corrected,
    seconds_until,
)
from shared.storage.errors import RowConflict
from shared.storage.requests import retry_on_conflict
from shared.web import decode_base64, encode_base64

TURN_SECONDS = 10.0
"""How long a call waits for those before it that are about the same name."""
MAX_WAITING = 100
"""How many calls wait for a name: a flood of them must not take all of the host's threads."""
ATTEMPTS = 20
CHANGED = "Another call changed this user at the same time. Try again."


class Proof(NamedTuple):
    """A right password: whose it is, and whether it should be hashed anew."""

    stored: Stored
    verdict: Verdict
    device: str
    """A token for the next login; "" for a disabled user."""


class Failure(NamedTuple):
    """A wrong password."""

    is_known: bool
    """Whether the user exists: for the log."""


class Logins:
    """Verifies users' passwords. Safe to use from many threads, and from many instances."""

    def __init__(
        self,
        users: UserStore,
        attempts: AttemptStore,
        hasher: Hasher,
        pepper: Pepper,
        cost: Parameters,
        device_key: Callable[[], bytes],
        spray_names: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._users = users
        self._attempts = attempts
        self._hasher = hasher
        self._pepper = pepper
        self._cost = cost
        self._device_key = device_key
        self._spray_names = spray_names
        self._clock = clock
        self._turns = _Turns()

    @contextmanager
    def turn(self, name: str, device: str | None = None) -> Iterator["_Turn"]:
        """Let one call at a time verify a password of this name, or of this device. Raises Busy."""
        key = self._users.key(name)
        token = _decode_token(device)
        turn = key
        if token:
            # A flood of guesses at the name must not hold up the device.
            stored, _ = self._users.find(key)
            if device_id := self._device_id(stored, token):
                turn = device_id.hex()
        with self._turns.of(turn):
            yield _Turn(key, token)

    def authenticate(self, turn: "_Turn", password: str) -> Proof | Failure:
        """Compare a password, and count a failure.

        Raises TooManyAttempts, UserLocked, Busy, and UserChanged if other calls change the hash again and again.
        """
        self._pepper.current()  # If no hash can be encrypted now, nobody logs in, whether or not they are a user.
        for _ in range(ATTEMPTS):
            stored, name = self._users.find(turn.key)
            device_id = self._device_id(stored, turn.token)
            if device_id and self._attempts.device_failures(device_id) >= MAX_DEVICE_FAILURES:
                device_id = None
            if device_id is None:
                self._refuse_early(turn.key, password, stored, name)
            tried = stored or self._placeholder()
            text = self._pepper.open(tried.user.user_id, tried.secret)
            parsed = hashing.parse_hash(text)
            verdict = self._hasher.verify(parsed, password, self._cost, as_typed=tried.user.imported)
            if stored is None or not verdict.valid:
                self._take_as_long(parsed, password)
                self._count(turn.key, stored, name, device_id, password)
                return Failure(stored is not None)
            with suppress(UserChanged, UnknownUser):  # The hash was replaced meanwhile, or the user: look again.
                return self._succeed(stored, text, verdict, device_id)
        raise UserChanged(CHANGED)

    def password_is_one_of(self, stored: Stored, candidates: list[str]) -> bool:
        """Whether the user's password is one of a few texts."""
        parsed = hashing.parse_hash(self._pepper.open(stored.user.user_id, stored.secret))
        return any(
            self._hasher.verify(parsed, each, self._cost, as_typed=stored.user.imported).valid for each in candidates
        )

    # Waits and counts

    def _refuse_early(self, key: str, password: str, stored: Stored | None, name: StoredName | None) -> None:
        now = self._clock()
        before = _failures_of(key, stored, name)
        if before is not None:
            if before.is_locked:
                raise UserLocked(
                    "100 wrong passwords in a row were tried for this user. An operator ends this by reset-password.",
                    retry_after=LOCKED_RETRY_SECONDS,
                )
            failures = corrected(before, now)
            if failures is not before:
                self._write(key, stored, name, lambda _: failures)
            if wait := seconds_until(failures.until, now):
                raise TooManyAttempts(
                    f"After too many wrong passwords this user has to wait {wait} s.", retry_after=wait
                )
        if self._spray_names and (wait := self._attempts.password_wait(password, now)):
            raise TooManyAttempts(
                f"This password was wrong for too many users. Try again in {wait} s.", retry_after=wait
            )

    def _count(
        self, key: str, stored: Stored | None, name: StoredName | None, device_id: bytes | None, password: str
    ) -> None:
        now = self._clock()
        if device_id is not None:
            self._attempts.add_device_failure(device_id, now)
            return
        self._write(key, stored, name, partial(after_failure, now=now))
        if self._spray_names:
            self._attempts.add_wrong_password(password, key, self._spray_names, now)

    def _write(
        self,
        key: str,
        stored: Stored | None,
        name: StoredName | None,
        after: Callable[[Failures | None], Failures],
    ) -> None:
        """Replace the failures of a user, or of a name that no user has. None is lost, however many write at once."""
        if stored is not None:
            with suppress(UnknownUser):
                self._users.set_failures(stored, after)
            return
        slot = name

        def attempt() -> None:
            nonlocal slot
            try:
                self._users.set_failures_of_name(key, slot, after(_failures_of(key, None, slot)))
            except RowConflict:
                slot = self._users.find(key)[1]
                raise

        retry_on_conflict(attempt)

    def _succeed(self, stored: Stored, text: str, verdict: Verdict, device_id: bytes | None) -> Proof:
        """Note the login, and forget the failures. Raises UserChanged if the hash is no longer `text`."""
        if stored.user.disabled:
            return Proof(stored, verdict._replace(needs_rehash=False), "")
        now = self._clock()

        def noted(before: Stored) -> tuple[User, Secret]:
            if before.user.disabled or self._pepper.open(before.user.user_id, before.secret) != text:
                raise UserChanged(CHANGED)
            user = msgspec.structs.replace(before.user, last_login=now)
            if isinstance(hashing.parse_hash(text), Argon2Hash) and not verdict.needs_rehash:
                user = msgspec.structs.replace(user, imported=False)  # As good as a hash of this app.
            return user, before.secret

        # With a device, the failures of others stay.
        noted_user = self._users.change(stored, noted, forget_failures=device_id is None)
        if device_id is not None:
            self._attempts.forget_device_failures(device_id)
        user = noted_user.user
        token = issue_token(
            self._device_key(), device_id or secrets.token_bytes(ID_BYTES), user.user_id, user.password_id, now
        )
        return Proof(noted_user, verdict, encode_base64(token))

    def _device_id(self, stored: Stored | None, token: bytes) -> bytes | None:
        if stored is None or not token:
            return None
        user = stored.user
        return read_token(self._device_key(), token, user.user_id, user.password_id, self._clock())

    # Unknown names

    def _placeholder(self) -> Stored:
        """Placeholder for unknown names: a valid hash that no password matches, encrypted as users' hashes are now."""
        current = self._pepper.current()
        placeholder = self._placeholders.get(current)
        if placeholder is None:
            secret = self._pepper.seal(self._nobody.user_id, self._impossible_hash)
            placeholder = self._placeholders[current] = Stored(self._nobody, secret, "")
        return placeholder

    @cached_property
    def _placeholders(self) -> dict[tuple[str, int], Stored]:
        return {}

    @cached_property
    def _nobody(self) -> User:
        return User(NOBODY, "", self._clock(), "argon2id", "", self._clock())

    @cached_property
    def _impossible_hash(self) -> str:
        return hashing.encode_hash(self._cost, secrets.token_bytes(16), secrets.token_bytes(32))

    def _take_as_long(self, compared: hashing.Hash, password: str) -> None:
        """Hash at each cost that users' hashes may have, except for the one that was just computed.

        After the profile has changed, users have hashes of the old or of the new one, until they log in.
        """
        done = compared.cost if isinstance(compared, Argon2Hash) else None
        for cost in self._costs:
            if cost != done:
                with suppress(Busy, HashTooLarge):
                    self._hasher.hash(password, cost, for_user=True)

    @cached_property
    def _costs(self) -> list[Parameters]:
        """The costs that users' hashes may have: read, and extended by this app's own, at the first wrong password."""
        costs = self._users.costs()
        if self._cost not in costs:
            costs = [*costs, self._cost]
            self._users.set_costs(costs)
        return costs


class _Turn(NamedTuple):
    key: str
    token: bytes


def _failures_of(key: str, stored: Stored | None, name: StoredName | None) -> Failures | None:
    """The failures of a user; or of a name that no user has, unless its slot is another name's by now."""
    if stored is not None:
        return stored.failures
    return name.name.failures if name is not None and name.name.key == key else None


def _decode_token(device: str | None) -> bytes:
    """The bytes of a device token; none if it cannot be one."""
    try:
        return decode_base64(device, "device") if device else b""
    except InvalidRequest:
        return b""


class _Turns:
    """Lets one call at a time through for each key, so that nobody tries many passwords at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._turns: dict[str, tuple[Lock, int]] = {}

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Raises Busy if the turn does not come in time, or too many wait already."""
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
