"""An instance of the app's stores of sign-in over real Table Storage, with a clock that a test moves."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pyotp

from shared.identity.passkeys import RelyingParty
from shared.identity.sessions import ActiveSession
from shared.identity.settings import IdentitySettings
from shared.identity.store.credentials import CredentialIndex
from shared.identity.store.factors import Factors
from shared.identity.store.partitions import Partition, read_partition
from shared.identity.store.sessions import SessionStore
from shared.identity.store.tickets import TicketStore
from shared.identity.tickets import Ticket
from shared.identity.tokens import acr_of
from shared.passwords.accounts import Accounts, new_accounts
from shared.passwords.admission import HashingThreads
from shared.passwords.argon2 import Parameters
from shared.passwords.settings import PasswordSettings
from shared.passwords.store.attempts import AttemptStore
from shared.signing.encryption import NamedKeys
from shared.signing.own import OwnKey
from shared.signing.store import KeyStore
from shared.storage import Row, Storage
from shared.storage.records import Records

SMALL = Parameters(64, 1, 1)
"""A cost for tests."""
ORIGIN = "https://app.example.org"
RP_ID = "app.example.org"
PASSWORD = "correct horse battery staple"


class Clock:
    """A clock that a test moves. It starts in the middle of a step of 30 seconds."""

    def __init__(self) -> None:
        now = int(datetime.now(UTC).timestamp())
        self.now = datetime.fromtimestamp(now - now % 30 + 15, UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def forward(self, seconds: float) -> None:
        """Move the clock forward."""
        self.now += timedelta(seconds=seconds)


class Instance:
    """One instance of the app: the stores of sign-in over the tables of a test."""

    def __init__(
        self, storage: Storage, keys: KeyStore, tables: str, clock: Clock, *, rp_id: str = RP_ID, skew: int = 1
    ) -> None:
        self.clock = clock
        attempts = AttemptStore(storage, Records(lambda: keys.derive_key("users")), f"users{tables}")
        self.accounts: Accounts = new_accounts(
            PasswordSettings(),
            storage,
            attempts,
            lambda: NamedKeys(keys),
            keys.derive_key,
            cost=SMALL,
            threads=HashingThreads(64, wait_seconds=60),
            clock=clock,
            table=f"users{tables}",
            removed=self._removed,
        )
        settings = IdentitySettings(f"{ORIGIN}/api", f"{ORIGIN}/api", rp_id, (ORIGIN,))
        users = self.accounts.users
        own_key = OwnKey(keys, "_tokens", "P-256")
        self.sessions = SessionStore(users, own_key, lambda: keys.derive_key("refresh-tokens"), settings, clock)
        self.tickets = TicketStore(storage, lambda: keys.derive_key("tickets"), clock, f"tickets{tables}")
        self.credentials = CredentialIndex(users, clock)
        self.factors = Factors(
            users,
            self.sessions,
            self.credentials,
            lambda: keys.derive_key("totp-seeds"),
            RelyingParty(rp_id, (ORIGIN,)),
            skew,
            clock,
        )

    def _removed(self, rows: Sequence[Row]) -> None:
        self.factors.forget(rows)

    def new_user(self, *, short: bool = False) -> str:
        """Create a user; `short`: with a password that is too short to be the only factor."""
        password = "x7Kqv2#mWp" if short else PASSWORD
        return self.accounts.create(f"{uuid4().hex}@example.org", password, second_factor=short).user_id

    def partition(self, user_id: str) -> Partition:
        """The rows of a user."""
        partition = read_partition(self.accounts.users, user_id)
        assert partition is not None
        return partition

    def session(self, user_id: str, *amr: str) -> ActiveSession:
        """A new session of a user, as if it had been signed in by these methods."""
        partition = self.partition(user_id)
        amr = amr or ("pwd", "otp", "mfa") if partition.user.has_factor else ("pwd",)
        issued = self.sessions.begin(partition, amr, partition.user.signed_out_at)
        active = self.sessions.authenticate(issued.access_token)
        assert acr_of(active.amr) == active.acr
        return active

    def is_live(self, session: ActiveSession) -> bool:
        """Whether a session has not ended."""
        listed = self.sessions.listed(session.user.user_id) or []
        return session.session_id in [each.session_id for each in listed]

    def ticket(self, user_id: str) -> Ticket:
        """A ticket of a proven password."""
        user = self.partition(user_id).user
        text = self.tickets.issue("password", user_id=user_id, signed_out_at=user.signed_out_at, amr=("pwd",))
        ticket = self.tickets.open(text)
        assert ticket is not None
        return ticket

    def add_totp(self, user_id: str, label: str = "Phone") -> tuple[pyotp.TOTP, list[str]]:
        """Enrol and confirm an authenticator app; returns it, and the recovery codes that came with it."""
        session = self.session(user_id)
        factor_id, seed = self.factors.enroll_totp(session, label)
        app = pyotp.TOTP(base64.b32encode(seed).decode())
        return app, self.factors.confirm_totp(session, factor_id, app.at(self.clock.now)).recovery_codes
