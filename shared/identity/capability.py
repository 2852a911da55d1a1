"""Sign-in: the routes, and how the app builds what serves them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from shared.identity.settings import load_settings
from shared.once import Once
from shared.settings import Settings
from shared.web import DELETE, FUNCTION, GET, POST, PUBLIC, SESSION, Operation, Route, Session

if TYPE_CHECKING:
    from shared.identity.factors import Factors
    from shared.identity.store.addresses import AddressStore
    from shared.identity.store.sessions import SessionStore, TokenKey
    from shared.identity.store.tickets import TicketStore
    from shared.identity.users import Accounts
    from shared.storage import Row, Storage


class Identity(msgspec.Struct, frozen=True):
    """What the app takes from this capability."""

    routes: tuple[Route, ...]
    sessions: "Callable[[], SessionStore]"
    """Has rows that expire."""
    tickets: "Callable[[], TicketStore]"
    """Has rows that expire."""
    addresses: "Callable[[], AddressStore]"
    """Has rows that expire."""
    authenticate: Callable[[str], Session]
    """The session of an access token, for the routes with access SESSION of all capabilities. Raises InvalidToken."""
    removed: "Callable[[Sequence[Row]], None]"
    """Removes what other partitions hold about a deleted user, whose rows it gets."""


def build(
    environ: Mapping[str, str],
    storage: "Callable[[], Storage]",
    accounts: "Callable[[], Accounts]",
    token_key: "Callable[[], TokenKey]",
    derive_key: Callable[[str], bytes],
    core: Settings,
) -> Identity:
    """Connects to nothing. `token_key` signs access tokens; `derive_key` returns 32 bytes for a purpose.

    Raises InvalidSetting.
    """
    settings = load_settings(environ, core)

    def now() -> datetime:
        return datetime.now(UTC)

    @Once
    def sessions() -> "SessionStore":
        from shared.identity.store.sessions import SessionStore

        return SessionStore(accounts().users, token_key(), lambda: derive_key("refresh-tokens"), settings, now)

    @Once
    def tickets() -> "TicketStore":
        from shared.identity.store.tickets import TicketStore

        return TicketStore(storage(), lambda: derive_key("tickets"), now)

    @Once
    def addresses() -> "AddressStore":
        from shared.identity.store.addresses import AddressStore

        return AddressStore(accounts().users, now)

    @Once
    def factors() -> "Factors":
        from shared.identity.factors import NoFactors

        return NoFactors()

    def authenticate(token: str) -> Session:
        return sessions().authenticate(token)

    @Once
    def signing_in() -> Mapping[str, Operation]:
        from shared.identity.routes import sign_in

        return sign_in.operations(accounts(), sessions(), tickets(), factors(), addresses(), settings)

    @Once
    def own() -> Mapping[str, Operation]:
        from shared.identity.routes import me

        return me.operations(accounts(), sessions(), now)

    @Once
    def operating() -> Mapping[str, Operation]:
        from shared.identity.routes import operators

        return operators.operations(sessions())

    def removed(rows: "Sequence[Row]") -> None:
        pass

    sign_in_access = PUBLIC if settings.public_sign_in else FUNCTION
    sign_up_access = PUBLIC if settings.public_sign_up else FUNCTION
    by = "STRONGROOM_PUBLIC_SIGN_IN"
    return Identity(
        (
            Route("sign-up", "sign-up", POST, sign_up_access, signing_in, public_by="STRONGROOM_PUBLIC_SIGN_UP"),
            Route("sign-in", "sign-in", POST, sign_in_access, signing_in, public_by=by),
            Route("refresh-session", "sessions/refresh", POST, sign_in_access, signing_in, public_by=by),
            Route("sign-out", "sign-out", POST, SESSION, own, authenticate=authenticate),
            Route("who-am-i", "me", GET, SESSION, own, authenticate=authenticate),
            Route("change-my-password", "me/password", POST, SESSION, own, authenticate=authenticate),
            Route("my-sessions", "me/sessions", GET, SESSION, own, authenticate=authenticate),
            Route("end-my-session", "me/sessions/{session_id}", DELETE, SESSION, own, authenticate=authenticate),
            Route("list-sessions", "users/{user_id}/sessions", GET, FUNCTION, operating),
            Route("end-sessions", "users/{user_id}/sessions", DELETE, FUNCTION, operating),
        ),
        sessions,
        tickets,
        addresses,
        authenticate,
        removed,
    )
