"""The factors of users: enrolled, compared at a sign-in, listed and removed.

Rows in the user's partition: `f|totp|<id>`, `f|passkey|<id>`, `r|<digest of a recovery code>`, `codes` (the count of
wrong codes), and `pending` (authenticator apps that are not confirmed). A change of the factors is one transaction with
the row `user`, whose ETag orders all changes, and whose `signed_out_at` ends the other sessions.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import msgspec

from shared.errors import WeakPassword
from shared.identity import recovery, totp, wrong_codes
from shared.identity.errors import (
    InvalidToken,
    LastFactor,
    NoFactor,
    PasskeyRefused,
    TooManyCodes,
    TooManyFactors,
    UnknownFactor,
    WrongCode,
)
from shared.identity.passkeys import AssertionCredential, Passkey, RelyingParty, check_assertion, credential_id_of
from shared.identity.sessions import ActiveSession, require_fresh
from shared.identity.store.credentials import CredentialIndex
from shared.identity.store.partitions import Partition, read_partition
from shared.identity.tickets import Ticket
from shared.identity.users import UserStore
from shared.identity.wrong_codes import WrongCodes
from shared.storage import Operation, Row, RowConflict, create, delete, replace, retry_on_conflict
from shared.web import rfc3339

if TYPE_CHECKING:
    from typing import Protocol

    class Sessions(Protocol):
        """The sessions of users."""

        def keeping(self, user_id: str, session_id: str, signed_out_at: datetime) -> list[Operation]:
            """The write that lets a session outlive a new `signed_out_at`; none if the session has ended."""
            ...


Kind = Literal["totp", "passkey"]
FactorKind = Literal["totp", "passkey", "recovery-code"]
Result = TypeVar("Result")

FACTORS, RECOVERY, CODES, PENDING = "f|", "r|", "codes", "pending"
PENDING_LIFETIME = timedelta(minutes=10)
MAX_PENDING = 5
MAX_FACTORS = 20
"""Of one user. Together with the recovery codes they fit into one transaction of 100 rows."""
ID_BYTES = 16
NONCE_BYTES = 12


class TotpFactor(msgspec.Struct, frozen=True, kw_only=True):
    """The document of a row `f|totp|<id>`."""

    label: str
    created: datetime
    last_used: datetime
    seed: bytes
    """Sealed."""
    last_step: int
    """The step of the last accepted code: none up to it is accepted again."""


class PasskeyFactor(msgspec.Struct, frozen=True, kw_only=True):
    """The document of a row `f|passkey|<id>`."""

    label: str
    created: datetime
    last_used: datetime | None
    passkey: Passkey


class RecoveryCode(msgspec.Struct, frozen=True):
    """The document of a row `r|<digest>`."""

    created: datetime


class PendingTotp(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticator app that is not confirmed."""

    factor_id: str
    label: str
    seed: bytes
    expires: datetime


class PendingFactors(msgspec.Struct, frozen=True):
    """The document of the row `pending`."""

    totp: list[PendingTotp]


_TOTP = msgspec.json.Decoder(TotpFactor)
_PASSKEY = msgspec.json.Decoder(PasskeyFactor)
_CODES = msgspec.json.Decoder(WrongCodes)
_PENDING = msgspec.json.Decoder(PendingFactors)


class Factor(NamedTuple):
    """One factor of a user."""

    factor_id: str
    kind: Kind
    document: TotpFactor | PasskeyFactor
    row: Row


class Enrolled(NamedTuple):
    """A new factor."""

    factor_id: str
    recovery_codes: list[str]
    """With the first factor; else none."""


class Proven(NamedTuple):
    """The result of a factor at a sign-in."""

    outcome: Literal["", "wrong-code", "wrong-passkey", "expired"]
    """"" if the factor is right: it is consumed. `expired`: ten wrong codes, or a sign-out, have ended the ticket."""
    amr: tuple[str, ...] = ()
    """The methods that the factor proves (RFC 8176)."""
    partition: Partition | None = None
    """With a right factor: the user and all their rows, as they were when it was compared."""
    note: str = ""
    """For the log: `counter-fell` if the counter of a synced passkey did not rise."""


class Factors:
    """The factors of one storage account. Safe to use from many threads and instances.

    `seal_key` returns 32 bytes, for the seeds.
    """

    def __init__(
        self,
        users: UserStore,
        sessions: "Sessions",
        credentials: CredentialIndex,
        seal_key: Callable[[], bytes],
        rp: RelyingParty,
        totp_skew: int,
        clock: Callable[[], datetime],
    ) -> None:
        self.rp = rp
        self._users = users
        self._sessions = sessions
        self._credentials = credentials
        self._seal_key = seal_key
        self._skew = totp_skew
        self._clock = clock

    # Reading

    def read(self, user_id: str) -> Partition | None:
        """The user and all their rows; None if the user does not exist. One read."""
        return read_partition(self._users, user_id)

    def of(self, partition: Partition) -> list[Factor]:
        """The factors of a user, the oldest first."""
        return sorted(self._factors(partition.rows.values()), key=lambda each: (each.document.created, each.factor_id))

    def kinds(self, partition: Partition) -> tuple[FactorKind, ...]:
        """The factors that may complete a sign-in of this user. The list may be empty despite a factor: a passkey of a
        former RP id."""
        factors = self.of(partition)
        kinds_of_user: list[FactorKind] = []
        if any(each.kind == "totp" for each in factors):
            kinds_of_user.append("totp")
        if any(each.rp_id == self.rp.rp_id for each in self.passkeys(partition)):
            kinds_of_user.append("passkey")
        if factors and self.recovery_codes_left(partition):
            kinds_of_user.append("recovery-code")
        return tuple(kinds_of_user)

    def passkeys(self, partition: Partition) -> list[Passkey]:
        """The passkeys of a user, also those of a former RP id."""
        return [each.document.passkey for each in self.of(partition) if isinstance(each.document, PasskeyFactor)]

    def recovery_codes_left(self, partition: Partition) -> int:
        """The number of unused recovery codes of a user."""
        return sum(1 for _ in partition.below(RECOVERY))

    def _factors(self, rows: Iterable[Row]) -> Iterator[Factor]:
        for row in rows:
            if not row["RowKey"].startswith(FACTORS):
                continue
            _, kind, factor_id = row["RowKey"].split("|")
            if kind == "totp":
                yield Factor(factor_id, "totp", self._users.records.open(row, _TOTP), row)
            else:
                yield Factor(factor_id, "passkey", self._users.records.open(row, _PASSKEY), row)

    # Authenticator apps

    def enroll_totp(self, session: ActiveSession, label: str) -> tuple[str, bytes]:
        """A factor that is not confirmed: its id, and its seed. Raises NotFresh, TooManyFactors."""
        user_id, factor_id = session.user.user_id, secrets.token_hex(ID_BYTES)
        seed = secrets.token_bytes(totp.SEED_BYTES)
        sealed = self._seal(seed, user_id, factor_id)

        def attempt() -> None:
            partition = self._fresh(session)
            self._check_number(partition)
            now = self._clock()
            row, pending = self._pending(partition)
            if len(pending) >= MAX_PENDING:
                raise TooManyFactors(
                    "Confirm one of the 5 authenticator apps that are pending, or wait 10 minutes until they expire."
                )
            added = PendingTotp(factor_id=factor_id, label=label, seed=sealed, expires=now + PENDING_LIFETIME)
            changed = self._pending_row(user_id, [*pending, added])
            self._users.table.write(create(changed) if row is None else replace(changed, row.etag))

        retry_on_conflict(attempt)
        return factor_id, seed

    def confirm_totp(self, session: ActiveSession, factor_id: str, code: str) -> Enrolled:
        """Enrol a pending factor. Its code is spent. Raises NotFresh, UnknownFactor, WrongCode, TooManyFactors."""
        user_id = session.user.user_id

        def change(partition: Partition) -> tuple[list[Operation], Enrolled]:
            now = self._clock()
            row, pending = self._pending(partition)
            enrolled = next((each for each in pending if each.factor_id == factor_id), None)
            if row is None or enrolled is None:
                raise UnknownFactor("No pending authenticator app has this id. After 10 minutes, enroll it again.")
            self._check_number(partition)
            seed = self._open(enrolled.seed, user_id, factor_id)
            step = totp.matching_step(seed, code, now, last_step=-1, skew=self._skew)
            if step is None:
                raise WrongCode(
                    "The code is wrong. Check the clock of the device, and send the code that it shows now."
                )
            factor = TotpFactor(label=enrolled.label, created=now, last_used=now, seed=enrolled.seed, last_step=step)
            rest = [each for each in pending if each is not enrolled]
            new_codes, operations = self._first_codes(partition)
            return [
                create(self._users.records.row(user_id, f"{FACTORS}totp|{factor_id}", factor, kind="totp")),
                replace(self._pending_row(user_id, rest), row.etag) if rest else delete(_keys(row), row.etag),
                *operations,
            ], Enrolled(factor_id, new_codes)

        return self._change(session, change)

    def _pending(self, partition: Partition) -> tuple[Row | None, list[PendingTotp]]:
        row = partition.rows.get(PENDING)
        if row is None:
            return None, []
        now = self._clock()
        return row, [each for each in self._users.records.open(row, _PENDING).totp if now < each.expires]

    def _pending_row(self, user_id: str, pending: list[PendingTotp]) -> dict[str, object]:
        expires = rfc3339(max(each.expires for each in pending))
        return self._users.records.row(user_id, PENDING, PendingFactors(pending), kind="pending", expires=expires)

    def purge(self, now: datetime) -> int:
        """Remove the authenticator apps that nobody confirmed; returns the number of rows."""
        removed = 0
        condition = "RowKey eq @pending and expires lt @now"
        parameters = {"pending": PENDING, "now": rfc3339(now)}
        for row in self._users.table.query(condition, parameters, select=["PartitionKey", "RowKey"]):
            with suppress(RowConflict):  # It was used meanwhile.
                self._users.table.write(delete(_keys(row), row.etag))
                removed += 1
        return removed

    # Passkeys

    def check_can_add(self, session: ActiveSession) -> Partition:
        """The rows of a user who may add a factor now. Raises NotFresh, TooManyFactors."""
        partition = self._fresh(session)
        self._check_number(partition)
        return partition

    def add_passkey(self, session: ActiveSession, passkey: Passkey, label: str) -> Enrolled:
        """Enrol a checked passkey. Raises NotFresh, TooManyFactors, and PasskeyRefused if a user has it."""
        user_id, factor_id = session.user.user_id, secrets.token_hex(ID_BYTES)
        self._credentials.claim(passkey.credential_id, user_id, factor_id, self._has_passkey)

        def change(partition: Partition) -> tuple[list[Operation], Enrolled]:
            self._check_number(partition)
            factor = PasskeyFactor(label=label, created=self._clock(), last_used=None, passkey=passkey)
            new_codes, operations = self._first_codes(partition)
            row = self._users.records.row(user_id, f"{FACTORS}passkey|{factor_id}", factor, kind="passkey")
            return [create(row), *operations], Enrolled(factor_id, new_codes)

        return self._change(session, change)

    def _has_passkey(self, user_id: str, factor_id: str) -> bool:
        return self._users.table.get(user_id, f"{FACTORS}passkey|{factor_id}", ["PartitionKey"]) is not None

    # Changes

    def rename(self, user_id: str, factor_id: str, label: str) -> Factor:
        """Give a factor another label. Raises UnknownFactor."""

        def attempt() -> Factor:
            partition = self.read(user_id)
            factor = None if partition is None else self._find(partition, factor_id)
            if factor is None:
                raise UnknownFactor("You have no factor with this id. my-factors lists yours.")
            document = msgspec.structs.replace(factor.document, label=label)
            row = self._users.records.row(user_id, factor.row["RowKey"], document, kind=factor.kind)
            self._users.table.write(replace(row, factor.row.etag))
            return factor._replace(document=document)

        return retry_on_conflict(attempt)

    def delete(self, session: ActiveSession, factor_id: str, *, last: bool) -> None:
        """Remove a factor, and with the last one the recovery codes.

        Raises NotFresh, UnknownFactor, LastFactor unless `last`, and WeakPassword.
        """

        def change(partition: Partition) -> tuple[list[Operation], Factor]:
            factor = self._find(partition, factor_id)
            if factor is None:
                raise UnknownFactor("You have no factor with this id. my-factors lists yours.")
            operations = [delete(_keys(factor.row), factor.row.etag)]
            if self._is_last(partition):
                if not last:
                    raise LastFactor("Send `last` as true to remove the last factor with the recovery codes.")
                if partition.user.short_password:
                    raise WeakPassword("Set a longer password first: this one is too short to be the only factor.")
                operations += self._without_codes(partition)
            return operations, factor

        factor = self._change(session, change, has_factor=lambda partition: not self._is_last(partition))
        self._release([factor])

    def new_recovery_codes(self, session: ActiveSession) -> list[str]:
        """Ten new codes; the old ones are void. Raises NotFresh, NoFactor."""

        def change(partition: Partition) -> tuple[list[Operation], list[str]]:
            if not partition.user.has_factor:
                raise NoFactor("Add an authenticator app or a passkey first; it comes with recovery codes.")
            new_codes, operations = self._new_codes(partition)
            return [*self._without_codes(partition), *operations], new_codes

        return self._change(session, change)

    def reset(self, user_id: str) -> bool:
        """Remove all factors and codes of a user, and end all sessions; whether there is such a user."""

        def attempt() -> list[Factor] | None:
            partition = self.read(user_id)
            if partition is None:
                return None
            operation, _ = self._users.signing_out(partition.user_row, self._clock(), has_factor=False)
            removed = [row for key, row in partition.rows.items() if key in (CODES, PENDING)]
            removed += [*partition.below(FACTORS), *partition.below(RECOVERY)]
            self._users.table.write(operation, *(delete(_keys(row), row.etag) for row in removed))
            return self.of(partition)

        factors = retry_on_conflict(attempt)
        self._release(factors or [])
        return factors is not None

    def forget(self, rows: Sequence[Row]) -> None:
        """Remove the credential ids of a user who was deleted; `rows` are those of the user's partition."""
        self._release(list(self._factors(rows)))

    def _release(self, factors: Sequence[Factor]) -> None:
        for each in factors:
            if isinstance(each.document, PasskeyFactor):
                self._credentials.release(each.document.passkey.credential_id, each.factor_id)

    def _change(
        self,
        session: ActiveSession,
        change: Callable[[Partition], tuple[list[Operation], Result]],
        has_factor: Callable[[Partition], bool] = lambda _: True,
    ) -> Result:
        """Carry out the operations of `change` in one transaction, which ends the user's other sessions.

        `change` and `has_factor` (whether the user has a factor afterwards) get the rows as they are before it.
        """

        def attempt() -> Result:
            partition = self._fresh(session)
            operations, result = change(partition)
            user_id, now = session.user.user_id, self._clock()
            operation, signed_out_at = self._users.signing_out(
                partition.user_row, now, has_factor=has_factor(partition)
            )
            kept = self._sessions.keeping(user_id, session.session_id, signed_out_at)
            if not kept:
                raise _ended()
            self._users.table.write(operation, *kept, *operations)
            return result

        return retry_on_conflict(attempt)

    def _fresh(self, session: ActiveSession) -> Partition:
        """All rows of the session's user, if the sign-in is fresh for the user as stored now. Raises NotFresh."""
        partition = self.read(session.user.user_id)
        if partition is None:
            raise _ended()
        require_fresh(msgspec.structs.replace(session, user=partition.user), self._clock())
        return partition

    def _find(self, partition: Partition, factor_id: str) -> Factor | None:
        return next((each for each in self._factors(partition.rows.values()) if each.factor_id == factor_id), None)

    def _check_number(self, partition: Partition) -> None:
        if sum(1 for _ in partition.below(FACTORS)) >= MAX_FACTORS:
            raise TooManyFactors(f"A user has at most {MAX_FACTORS} factors. Delete one first.")

    def _is_last(self, partition: Partition) -> bool:
        return sum(1 for _ in partition.below(FACTORS)) <= 1

    # Recovery codes

    def _first_codes(self, partition: Partition) -> tuple[list[str], list[Operation]]:
        """The codes that come with the first factor, and the writes."""
        return ([], []) if any(partition.below(FACTORS)) else self._new_codes(partition)

    def _new_codes(self, partition: Partition) -> tuple[list[str], list[Operation]]:
        user_id, now = partition.user.user_id, self._clock()
        new_codes = recovery.new_codes(secrets.token_bytes(recovery.RANDOM_BYTES))
        rows = [
            self._users.records.row(user_id, self._code_key(user_id, each), RecoveryCode(now), kind="recovery-code")
            for each in new_codes
        ]
        return new_codes, [create(each) for each in rows]

    def _without_codes(self, partition: Partition) -> list[Operation]:
        return [delete(_keys(row), row.etag) for row in partition.below(RECOVERY)]

    def _code_key(self, user_id: str, code: str) -> str:
        return RECOVERY + self._users.records.mac("recovery-code", f"{user_id}\n{recovery.normalised(code)}").hex()

    # Sign-in

    def check_code(self, partition: Partition, ticket: Ticket, code: str) -> Proven:
        """The result of a code of an authenticator app, which is spent. Raises TooManyCodes during a wait."""

        def right(partition: Partition) -> list[Operation] | None:
            now = self._clock()
            for factor in self._factors(partition.rows.values()):
                if not isinstance(factor.document, TotpFactor):
                    continue
                document, user_id = factor.document, partition.user.user_id
                seed = self._open(document.seed, user_id, factor.factor_id)
                step = totp.matching_step(seed, code, now, last_step=document.last_step, skew=self._skew)
                if step is not None:
                    used = msgspec.structs.replace(document, last_step=step, last_used=now)
                    row = self._users.records.row(user_id, factor.row["RowKey"], used, kind="totp")
                    return [replace(row, factor.row.etag)]
            return None

        return self._check(partition, ticket, right)

    def check_recovery_code(self, partition: Partition, ticket: Ticket, code: str) -> Proven:
        """The result of a recovery code, which is spent. Raises TooManyCodes during a wait."""

        def right(partition: Partition) -> list[Operation] | None:
            if recovery.normalised(code) is None or not any(partition.below(FACTORS)):
                return None
            row = partition.rows.get(self._code_key(partition.user.user_id, code))
            return None if row is None else [delete(_keys(row), row.etag)]

        return self._check(partition, ticket, right)

    def _check(self, before: Partition, ticket: Ticket, right: Callable[[Partition], list[Operation] | None]) -> Proven:
        """`right` returns the writes that spend a right code, or None for a wrong one.

        The count is in the same transaction. So codes that come at the same time count one after the other, and the
        `write_id` of the count shows whether a write whose response was lost was carried out.
        """
        stored: Partition | None = before

        def attempt() -> Proven:
            nonlocal stored
            partition, stored = stored or self.read(ticket.user_id), None  # After a conflict it is read again.
            if partition is None or _is_over(ticket, partition):
                return Proven("expired")
            return self._compare(partition, ticket, right)

        return retry_on_conflict(attempt)

    def _compare(
        self, partition: Partition, ticket: Ticket, right: Callable[[Partition], list[Operation] | None]
    ) -> Proven:
        user_id, ticket_id, now = partition.user.user_id, ticket.id.hex(), self._clock()
        row, count = self._count(partition)
        if wrong_codes.has_ended(count, ticket_id):
            return Proven("expired")
        if seconds := wrong_codes.retry_after(count, now):
            raise TooManyCodes(f"Wait {seconds} seconds before the next code.", retry_after=seconds)
        operations = right(partition)
        if operations is None:
            changed = wrong_codes.after_wrong(count, ticket_id, ticket.expires, now)
        else:
            changed = wrong_codes.after_success(count, now)
        counted = self._users.records.row(user_id, CODES, changed, kind="codes")
        self._users.table.write(create(counted) if row is None else replace(counted, row.etag), *(operations or ()))
        return Proven("wrong-code") if operations is None else Proven("", ("otp",), partition)

    def _count(self, partition: Partition) -> tuple[Row | None, WrongCodes]:
        row = partition.rows.get(CODES)
        return row, WrongCodes() if row is None else self._users.records.open(row, _CODES)

    def check_passkey(self, ticket: Ticket, response: AssertionCredential) -> Proven:
        """The result of a passkey. Its counter is stored. Wrong passkeys do not count."""
        try:
            credential_id = credential_id_of(response)
        except PasskeyRefused:
            return Proven("wrong-passkey")
        user_id = ticket.user_id
        if not user_id:
            owner = self._credentials.owner(credential_id)
            if owner is None:
                return Proven("wrong-passkey")
            user_id = owner.user_id

        def attempt() -> Proven:
            partition = self.read(user_id)
            if partition is None:
                return Proven("wrong-passkey")
            if _is_over(ticket, partition) or wrong_codes.has_ended(self._count(partition)[1], ticket.id.hex()):
                return Proven("expired")
            for factor in self._factors(partition.rows.values()):
                if (
                    isinstance(factor.document, PasskeyFactor)
                    and factor.document.passkey.credential_id == credential_id
                ):
                    return self._check_assertion(ticket, response, partition, factor, factor.document)
            return Proven("wrong-passkey")

        return retry_on_conflict(attempt)

    def _check_assertion(
        self,
        ticket: Ticket,
        response: AssertionCredential,
        partition: Partition,
        factor: Factor,
        document: PasskeyFactor,
    ) -> Proven:
        user_id, now = partition.user.user_id, self._clock()
        try:
            result = check_assertion(
                self.rp,
                ticket.challenge,
                response,
                document.passkey,
                user_id,
                require_user_verification=ticket.user_verification,
                require_user_handle=not ticket.user_id,
            )
        except PasskeyRefused:
            return Proven("wrong-passkey")
        used = msgspec.structs.replace(document, passkey=result.passkey, last_used=now)
        row = self._users.records.row(user_id, factor.row["RowKey"], used, kind="passkey")
        operations = [replace(row, factor.row.etag)]
        count_row, count = self._count(partition)
        if count_row is not None and count.count:
            cleared = self._users.records.row(user_id, CODES, wrong_codes.after_success(count, now), kind="codes")
            operations.append(replace(cleared, count_row.etag))
        self._users.table.write(*operations)
        methods: tuple[str, ...] = ("pop", "user") if result.user_verified else ("pop",)
        if not ticket.amr and result.user_verified:
            methods = (*methods, "mfa")  # Two factors in one: the authenticator, and what it verified of the user.
        return Proven("", methods, partition, "counter-fell" if result.counter_fell else "")

    # Seeds

    def _seal(self, seed: bytes, user_id: str, factor_id: str) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + AESGCM(self._seal_key()).encrypt(nonce, seed, f"{user_id}\n{factor_id}".encode())

    def _open(self, sealed: bytes, user_id: str, factor_id: str) -> bytes:
        """The seed of a factor. The row's digest was checked, so it opens under the key of this app."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        cipher = AESGCM(self._seal_key())
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], f"{user_id}\n{factor_id}".encode())


def _is_over(ticket: Ticket, partition: Partition) -> bool:
    """Whether the user was signed out everywhere since the ticket was issued, for example by a new password.

    A disabled user gets on to the factor: only who has it learns that the user is disabled.
    """
    is_current = ticket.signed_out_at is None or ticket.signed_out_at == partition.user.signed_out_at
    return not is_current and not partition.user.disabled


def _ended() -> InvalidToken:
    return InvalidToken("The session has ended. Sign in again.")


def _keys(row: Row) -> dict[str, str]:
    return {"PartitionKey": row["PartitionKey"], "RowKey": row["RowKey"]}
