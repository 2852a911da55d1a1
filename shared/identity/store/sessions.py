"""The sessions of users: begun, checked, refreshed and ended.

A session is a row in its user's partition. A check and a refresh read the user and the session by one request, so a
change of the user ends all sessions with one write.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import msgspec

from shared.identity import sessions, tokens
from shared.identity.errors import InvalidToken, UnknownSession, UrlNotSet
from shared.identity.jwt import TokenRefused
from shared.identity.sessions import MAX_SESSIONS, MAX_USER_AGENT, PREFIX, ActiveSession, RefreshToken, Session
from shared.identity.settings import IdentitySettings
from shared.identity.store.partitions import Partition, read_partition
from shared.identity.tokens import Claims
from shared.identity.users import User, UserStore
from shared.storage import Operation, Row, RowConflict, create, delete, replace, retry_on_conflict
from shared.storage.tables import ROWS_PER_WRITE
from shared.web import encode_base64, rfc3339

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

_SESSIONS = msgspec.json.Decoder(Session)


class TokenKey(Protocol):
    """The key that signs access tokens (P-256)."""

    def signer(self) -> tuple[str, Callable[[bytes], bytes]]:
        """The `kid`, and its signatures as r‖s."""
        ...

    def public_key(self, key_id: str, began: float) -> "EllipticCurvePublicKey | None":
        """The public key of a `kid`, as it is known at or after `began` (monotonic clock); None without one."""
        ...

    def public_jwks(self) -> list[dict[str, str]]:
        """The public keys of all versions that are trusted, as JWKs (RFC 7517)."""
        ...


class Issued(NamedTuple):
    """The tokens of a session."""

    session_id: str
    user_id: str
    amr: tuple[str, ...]
    access_token: str
    expires_in: int
    """Seconds."""
    refresh_token: str


class ListedSession(NamedTuple):
    """A session in a listing."""

    session_id: str
    session: Session


class SessionStore:
    """The sessions of one storage account. Safe to use from many threads and instances.

    `refresh_key` returns 32 bytes.
    """

    def __init__(
        self,
        users: UserStore,
        key: TokenKey,
        refresh_key: Callable[[], bytes],
        settings: IdentitySettings,
        clock: Callable[[], datetime],
    ) -> None:
        self._users = users
        self._key = key
        self._refresh_key = refresh_key
        self._settings = settings
        self._clock = clock

    # Access tokens

    def check_token(self, token: str, audience: str | None = None) -> Claims:
        """The claims of an access token of this app, whose session may have ended. Raises TokenRefused.

        `audience` is whom the token must be for; without it, the audience of our own tokens.
        """
        began = monotonic()
        public_key = self._key.public_key(tokens.key_id_of(token), began)
        if public_key is None:
            raise TokenRefused("bad-signature")
        settings = self._settings
        return tokens.check(token, public_key, settings.issuer, audience or settings.audience, self._clock())

    def authenticate(self, token: str) -> ActiveSession:
        """The session of an access token, which has not ended: one read. Raises InvalidToken."""
        try:
            claims = self.check_token(token)
        except TokenRefused as error:
            raise InvalidToken(
                f"The access token is not valid ({error.reason}). Get a new one by refresh-session."
            ) from None
        session = self.session_of(claims)
        if session is None:
            raise InvalidToken("The session of this access token has ended. Sign in again.")
        return session

    def session_of(self, claims: Claims) -> ActiveSession | None:
        """The session of a token whose claims were checked; None if it has ended. One read."""
        partition = read_partition(self._users, claims.sub, PREFIX + claims.sid)
        if partition is None or self._live(partition, claims.sid) is None:
            return None
        return ActiveSession(
            user=partition.user,
            session_id=claims.sid,
            amr=claims.amr,
            auth_time=datetime.fromtimestamp(claims.auth_time, UTC),
        )

    # Beginning and refreshing

    def check_issuer(self) -> None:
        """Raises UrlNotSet: access tokens name the app's URL as their issuer. Call it before the first write."""
        if not self._settings.issuer.startswith("http"):
            raise UrlNotSet("STRONGROOM_URL is not set.")

    def begin(
        self,
        partition: Partition,
        amr: tuple[str, ...],
        signed_out_at: datetime,
        *,
        user_agent: str = "",
        renewed: ActiveSession | None = None,
    ) -> Issued:
        """Begin a session, or renew that of the same user, after all factors are proven.

        `partition` has all rows of the user. `signed_out_at` is the user's before the first factor was compared: if
        the user has been signed out since, the new session is over at once.
        """
        if renewed is not None and renewed.user.user_id == partition.user.user_id:
            with suppress(UnknownSession):
                return self._renew(partition.user.user_id, renewed.session_id, amr, signed_out_at)
        now = self._clock()
        session = Session(
            created=now,
            auth_time=now,
            amr=amr,
            signed_out_at=signed_out_at,
            used=now,
            user_agent=user_agent[:MAX_USER_AGENT],
        )
        session_id = secrets.token_hex(sessions.SESSION_ID_BYTES)
        self._users.table.write(create(self._row(partition.user.user_id, session_id, session)))
        self._end_superfluous(partition)
        return self._issued(partition.user, session_id, session)

    def _renew(self, user_id: str, session_id: str, amr: tuple[str, ...], signed_out_at: datetime) -> Issued:
        """Raises UnknownSession if the session has ended."""

        def attempt() -> Issued:
            partition = read_partition(self._users, user_id, PREFIX + session_id)
            session = None if partition is None else self._live(partition, session_id)
            if partition is None or session is None:
                raise UnknownSession("The session has ended.")
            now = self._clock()
            renewed = msgspec.structs.replace(
                session,
                auth_time=now,
                amr=amr,
                signed_out_at=signed_out_at,
                used=now,
                generation=session.generation + 1,
            )
            row = partition.rows[PREFIX + session_id]
            self._users.table.write(replace(self._row(user_id, session_id, renewed), row.etag))
            return self._issued(partition.user, session_id, renewed)

        return retry_on_conflict(attempt)

    def refresh(self, text: str) -> Issued | Literal["expired", "reused", "disabled"]:
        """The next tokens of a session; or the reason why there are none: `expired`, `reused`, `disabled`.

        One read and one write; one read alone for a repetition.
        """
        token = sessions.read_refresh_token(self._refresh_key(), text)
        return "expired" if token is None else retry_on_conflict(lambda: self._refresh(token))

    def _refresh(self, token: RefreshToken) -> Issued | Literal["expired", "reused", "disabled"]:
        row_key = PREFIX + token.session_id
        partition = read_partition(self._users, token.user_id, row_key)
        if partition is None or row_key not in partition.rows:
            return "expired"
        if partition.user.disabled:
            return "disabled"
        session = self._live(partition, token.session_id)
        if session is None:
            return "expired"
        row, now = partition.rows[row_key], self._clock()
        decision = sessions.decide(token, session, now)
        if decision == "reused":
            self._users.table.write(delete(_keys(row), row.etag))
            return "reused"
        if decision == "rotate":
            session = msgspec.structs.replace(session, generation=session.generation + 1, used=now)
            self._users.table.write(replace(self._row(token.user_id, token.session_id, session), row.etag))
        return self._issued(partition.user, token.session_id, session)

    def _issued(self, user: User, session_id: str, session: Session) -> Issued:
        now = self._clock()
        ends = sessions.ends_at(session, self._settings.session_length, self._settings.session_idle)
        lifetime = max(1, min(tokens.LIFETIME_SECONDS, int((ends - now).total_seconds())))
        issued = int(now.timestamp())
        claims = Claims(
            iss=self._settings.issuer,
            aud=self._settings.audience,
            sub=user.user_id,
            sid=session_id,
            iat=issued,
            exp=issued + lifetime,
            jti=encode_base64(secrets.token_bytes(16)),
            auth_time=int(session.auth_time.timestamp()),
            acr=tokens.acr_of(session.amr),
            amr=session.amr,
            roles=user.roles,
        )
        access_token = tokens.issue(claims, *self._key.signer())
        refresh_token = sessions.write_refresh_token(
            self._refresh_key(), RefreshToken(user.user_id, session_id, session.generation)
        )
        return Issued(session_id, user.user_id, session.amr, access_token, lifetime, refresh_token)

    # Listing and ending

    def listed(self, user_id: str) -> list[ListedSession] | None:
        """The sessions of a user that have not ended, the newest first; None if the user does not exist."""
        partition = read_partition(self._users, user_id)
        if partition is None:
            return None
        sessions = []
        for row in partition.below(PREFIX):
            session_id = row["RowKey"].removeprefix(PREFIX)
            session = self._live(partition, session_id)
            if session is not None:
                sessions.append(ListedSession(session_id, session))
        return sorted(sessions, key=lambda each: each.session.created, reverse=True)

    def end(self, user_id: str, session_id: str) -> None:
        """End one session. Raises UnknownSession."""

        def attempt() -> None:
            partition = read_partition(self._users, user_id, PREFIX + session_id)
            if partition is None or self._live(partition, session_id) is None:
                raise UnknownSession(
                    "The user has no session with this id. It may have ended; list the sessions again."
                )
            self._users.table.write(delete(_keys(partition.rows[PREFIX + session_id])))

        retry_on_conflict(attempt)

    def end_all(self, user_id: str) -> bool:
        """End all sessions of a user; whether there is such a user."""

        def attempt() -> bool:
            partition = read_partition(self._users, user_id)
            if partition is None:
                return False
            operation, _ = self._users.signing_out(partition.user_row, self._clock())
            rows = list(partition.below(PREFIX))[: ROWS_PER_WRITE - 1]
            self._users.table.write(operation, *(delete(_keys(row)) for row in rows))
            return True

        return retry_on_conflict(attempt)

    def keeping(self, user_id: str, session_id: str, signed_out_at: datetime) -> list[Operation]:
        """The write that lets one session outlive a new `signed_out_at`, for the transaction that sets it.

        No write if the session has ended. It fails with RowConflict if the session changes meanwhile: call this
        again then.
        """
        partition = read_partition(self._users, user_id, PREFIX + session_id)
        session = None if partition is None else self._live(partition, session_id)
        if partition is None or session is None:
            return []
        row = partition.rows[PREFIX + session_id]
        kept = msgspec.structs.replace(session, signed_out_at=signed_out_at)
        return [replace(self._row(user_id, session_id, kept), row.etag)]

    def purge(self, now: datetime) -> int:
        """Remove the rows of sessions past their end; returns their number."""
        removed = 0
        condition = "RowKey ge @first and RowKey lt @last and expires lt @now"
        parameters = {"first": PREFIX, "last": PREFIX[:-1] + "~", "now": rfc3339(now)}
        for row in self._users.table.query(condition, parameters, select=["PartitionKey", "RowKey"]):
            with suppress(RowConflict):  # It was refreshed meanwhile, or another instance was faster.
                self._users.table.write(delete(_keys(row), row.etag))
                removed += 1
        return removed

    # Rows

    def _live(self, partition: Partition, session_id: str) -> Session | None:
        """The session of a row, unless it has ended."""
        row = partition.rows.get(PREFIX + session_id)
        if row is None or partition.user.disabled:
            return None
        session = self._users.records.open(row, _SESSIONS)
        settings = self._settings
        ended = sessions.has_ended(
            session, partition.user, self._clock(), settings.session_length, settings.session_idle
        )
        return None if ended else session

    def _end_superfluous(self, partition: Partition) -> None:
        """End the sessions that were used longest ago if there are too many, and remove rows of ended ones."""
        rows = list(partition.below(PREFIX))
        if len(rows) < MAX_SESSIONS:
            return
        oldest = sorted(rows, key=lambda row: self._users.records.open(row, _SESSIONS).used)
        ended = oldest[: len(rows) - MAX_SESSIONS + 1]
        with suppress(RowConflict):  # Another sign-in removes them.
            self._users.table.write(*(delete(_keys(row)) for row in ended[:ROWS_PER_WRITE]))

    def _row(self, user_id: str, session_id: str, session: Session) -> dict[str, object]:
        expires = session.created + self._settings.session_length + timedelta(days=1)
        return self._users.records.row(user_id, PREFIX + session_id, session, kind="session", expires=rfc3339(expires))


def _keys(row: Row) -> dict[str, str]:
    return {"PartitionKey": row["PartitionKey"], "RowKey": row["RowKey"]}
