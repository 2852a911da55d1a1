"""Sign-in: the routes, and how the app builds their stores and services."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared.capability import Capability
from shared.errors import InvalidSetting
from shared.identity.settings import issuer_warnings, load_other_issuers, load_settings, passkey_warnings
from shared.once import Once
from shared.settings import Settings
from shared.web import DELETE, FUNCTION, GET, PATCH, POST, PUBLIC, SESSION, Operation, Route, Session

if TYPE_CHECKING:
    from shared.identity.checking import CallerLists, ForeignTokens
    from shared.identity.store.addresses import AddressStore
    from shared.identity.store.factors import Factors
    from shared.identity.store.providers import Providers
    from shared.identity.store.sessions import SessionStore, TokenKey
    from shared.identity.store.subjects import Subjects
    from shared.identity.store.tickets import TicketStore
    from shared.identity.users import Accounts
    from shared.storage import Row, Storage


class Identity(Capability, frozen=True, kw_only=True):
    """The parts of this capability that the app composes."""

    authenticate: Callable[[str], Session]
    """The session of an access token, for the routes with access SESSION of all capabilities. Raises InvalidToken."""
    removed: "Callable[[Sequence[Row]], None]"
    """Removes the rows of a deleted user in other partitions; its argument is the user's own rows."""
    callers: "Callable[[], CallerLists]"
    """Reads the lists of who may use a key or a saved query, and the tokens of those who call."""


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
    others = load_other_issuers(environ)
    if others.providers and not core.url:
        raise InvalidSetting("STRONGROOM_URL must be set for single sign-on: providers redirect people there.")

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
        from shared.identity.passkeys import RelyingParty
        from shared.identity.store.credentials import CredentialIndex
        from shared.identity.store.factors import Factors

        users = accounts().users
        return Factors(
            users,
            sessions(),
            CredentialIndex(users, now),
            lambda: derive_key("totp-seeds"),
            RelyingParty(settings.rp_id, settings.origins),
            settings.totp_skew,
            now,
        )

    @Once
    def providers() -> "Providers":
        from shared.identity.store.providers import Providers

        return Providers(storage(), derive_key)

    @Once
    def foreign() -> "ForeignTokens":
        from shared.identity.checking import ForeignTokens

        return ForeignTokens(others.trusted, settings.audience, providers, lambda: now().timestamp())

    @Once
    def callers() -> "CallerLists":
        from shared.identity.checking import CallerLists

        return CallerLists(settings.issuer, lambda token: sessions().check_token(token), foreign())

    @Once
    def subjects() -> "Subjects":
        from shared.identity.store.subjects import Subjects

        return Subjects(accounts())

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

    @Once
    def factoring() -> Mapping[str, Operation]:
        from shared.identity.routes.factors import operations

        return operations(factors(), tickets(), accounts())

    @Once
    def tokens() -> Mapping[str, Operation]:
        from shared.identity.routes import tokens

        return tokens.operations(settings, sessions(), foreign(), token_key)

    @Once
    def single_sign_on() -> Mapping[str, Operation]:
        from shared.identity.routes import sso
        from shared.identity.store.fetching import Fetcher

        flows = sso.SingleSignOn(
            others.providers,
            settings,
            providers(),
            Fetcher(),
            subjects(),
            tickets(),
            lambda: derive_key("single-sign-on"),
            lambda: now().timestamp(),
        )
        return sso.operations(flows)

    def removed(rows: "Sequence[Row]") -> None:
        factors().forget(rows)
        subjects().forget(rows)

    def warnings() -> Iterator[tuple[str, str, str]]:
        yield from passkey_warnings(settings)
        is_own = bool(core.url) or bool(environ.get("STRONGROOM_AUDIENCE", "").strip())
        yield from issuer_warnings(others, settings.audience if is_own else "")

    sign_in_access = PUBLIC if settings.public_sign_in else FUNCTION
    sign_up_access = PUBLIC if settings.public_sign_up else FUNCTION
    by = "STRONGROOM_PUBLIC_SIGN_IN"
    return Identity(
        routes=(
            Route("sign-up", "sign-up", POST, sign_up_access, signing_in, public_by="STRONGROOM_PUBLIC_SIGN_UP"),
            Route("sign-in", "sign-in", POST, sign_in_access, signing_in, public_by=by),
            Route("refresh-session", "sessions/refresh", POST, sign_in_access, signing_in, public_by=by),
            Route("sign-out", "sign-out", POST, SESSION, own, authenticate=authenticate),
            Route("who-am-i", "me", GET, SESSION, own, authenticate=authenticate),
            Route("change-my-password", "me/password", POST, SESSION, own, authenticate=authenticate),
            Route("my-sessions", "me/sessions", GET, SESSION, own, authenticate=authenticate),
            Route("end-my-session", "me/sessions/{session_id}", DELETE, SESSION, own, authenticate=authenticate),
            Route("begin-passkey-sign-in", "sign-in/passkey", POST, sign_in_access, factoring, public_by=by),
            Route("enroll-totp", "me/totp", POST, SESSION, factoring, authenticate=authenticate),
            Route("confirm-totp", "me/totp/{factor_id}/confirm", POST, SESSION, factoring, authenticate=authenticate),
            Route("begin-passkey", "me/passkeys/begin", POST, SESSION, factoring, authenticate=authenticate),
            Route("register-passkey", "me/passkeys", POST, SESSION, factoring, authenticate=authenticate),
            Route("my-factors", "me/factors", GET, SESSION, factoring, authenticate=authenticate),
            Route("rename-factor", "me/factors/{factor_id}", PATCH, SESSION, factoring, authenticate=authenticate),
            Route("delete-factor", "me/factors/{factor_id}", DELETE, SESSION, factoring, authenticate=authenticate),
            Route("new-recovery-codes", "me/recovery-codes", POST, SESSION, factoring, authenticate=authenticate),
            Route("list-factors", "users/{user_id}/factors", GET, FUNCTION, factoring),
            Route("reset-factors", "users/{user_id}/factors", DELETE, FUNCTION, factoring),
            Route("list-sessions", "users/{user_id}/sessions", GET, FUNCTION, operating),
            Route("end-sessions", "users/{user_id}/sessions", DELETE, FUNCTION, operating),
            Route("check-token", "check-token", POST, FUNCTION, tokens),
            Route("openid-configuration", ".well-known/openid-configuration", GET, PUBLIC, tokens),
            Route("token-keys", "tokens/jwks", GET, PUBLIC, tokens),
            Route("list-providers", "sso", GET, PUBLIC, single_sign_on),
            Route("start-sso", "sso/{provider}", GET, PUBLIC, single_sign_on),
            Route("finish-sso", "sso/{provider}/callback", GET, PUBLIC, single_sign_on),
        ),
        expiring={"sessions": sessions, "tickets": tickets, "addresses": addresses, "factors": factors},
        warnings=warnings,
        authenticate=authenticate,
        removed=removed,
        callers=callers,
    )
