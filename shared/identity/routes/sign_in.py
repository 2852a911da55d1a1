"""`sign-up`, `sign-in` and `refresh-session`: from a password, factor or refresh token to the tokens of a session.

`sign-in` with a ticket continues what an earlier step began. A factor is consumed first, then the ticket is spent, then
the session begins. Of many calls with one ticket, one spends it.
"""

import hashlib
import hmac
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.errors import (
    Busy,
    HashTooLarge,
    InvalidPassword,
    TooManyAttempts,
    Unavailable,
    UserChanged,
    UserExists,
    UserLocked,
    WeakPassword,
    invalid_field,
)
from shared.identity.errors import InvalidToken, TooManyCodes
from shared.identity.limits import network_of
from shared.identity.passkeys import AssertionCredential
from shared.identity.routes.fields import Code, Methods, SessionId, TicketText
from shared.identity.sessions import ActiveSession
from shared.identity.settings import IdentitySettings
from shared.identity.store.addresses import AddressStore
from shared.identity.store.factors import FactorKind, Factors, Proven
from shared.identity.store.partitions import Partition, read_partition
from shared.identity.store.sessions import Issued, SessionStore
from shared.identity.store.tickets import TicketStore
from shared.identity.tickets import Ticket
from shared.identity.users import Accounts
from shared.web import Example, Fields, Operation, Request, Response, encode_base64
from shared.web.addresses import caller_address
from shared.web.fields import EXAMPLE_PASSWORD, Password, UserId, UserName

Reason = Literal["wrong-credentials", "wrong-code", "wrong-passkey", "expired", "reused", "disabled"]

_REASONS = (
    "`wrong-credentials`: the user or the password is wrong, or the `code_verifier`. `wrong-code`: the code is wrong, "
    "was used, or does not complete this ticket. `wrong-passkey`: the same for a passkey. `expired`: the ticket or the "
    "session has ended; sign in again. `reused`: the refresh token was used before, so the session has been ended. "
    "`disabled`: an operator has disabled the user."
)
_COMBINATIONS = (
    ({"user", "password"}, "password"),
    ({"ticket", "code"}, "code"),
    ({"ticket", "recovery_code"}, "recovery_code"),
    ({"ticket", "passkey"}, "passkey"),
    ({"ticket", "code_verifier"}, "code_verifier"),
)


class SignUpRequest(Fields, frozen=True):
    user: UserName
    password: Password


class SignInRequest(Fields, frozen=True):
    """`user` and `password`; or `ticket` and one of `code`, `recovery_code`, `passkey`, `code_verifier`."""

    user: UserName | None = None
    password: Password | None = None
    ticket: TicketText | None = None
    code: Annotated[Code, Meta(min_length=1)] | None = None
    recovery_code: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)] | None,
        Meta(description="One of the user's recovery codes. Case, spaces and dashes are ignored."),
    ] = None
    passkey: Annotated[
        AssertionCredential | None,
        Meta(
            description="AuthenticationResponseJSON: the result of `navigator.credentials.get`, as "
            "`PublicKeyCredential.toJSON` writes it. Further members are ignored."
        ),
    ] = None
    code_verifier: Annotated[
        Annotated[str, Meta(min_length=43, max_length=128)] | None,
        Meta(description="After single sign-on: the verifier of the `code_challenge` (RFC 7636)."),
    ] = None
    user_agent: Annotated[
        Annotated[str, Meta(max_length=1024)] | None,
        Meta(
            description="The browser of the user, for the list of sessions. Only where sign-in needs a function key: "
            "otherwise the header User-Agent is used."
        ),
    ] = None
    address: Annotated[
        Annotated[str, Meta(max_length=64)] | None,
        Meta(
            description="The IP address of the user, for the limit of wrong passwords per address. Only where sign-in "
            "needs a function key: otherwise the address comes from X-Forwarded-For."
        ),
    ] = None


class RefreshSessionRequest(Fields, frozen=True):
    refresh_token: Annotated[
        str,
        Meta(
            description="The newest refresh token of the session. The one before returns the same successor for 30 s, "
            "so a lost response does no harm. Any other ends the session.",
            min_length=1,
            max_length=1024,
        ),
    ]


class SignInResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """With `signed_in` true: the tokens of a session. Else `ticket` and `factors` for the next step, or `reason`."""

    signed_in: bool
    access_token: Annotated[
        str | UnsetType, Meta(description="A JWT by RFC 9068. Send it as `Authorization: Bearer`.")
    ] = UNSET
    token_type: Literal["Bearer"] | UnsetType = UNSET
    expires_in: Annotated[int | UnsetType, Meta(description="The seconds that the access token is valid.")] = UNSET
    refresh_token: Annotated[str | UnsetType, Meta(description="For refresh-session.")] = UNSET
    session_id: SessionId | UnsetType = UNSET
    user_id: UserId | UnsetType = UNSET
    amr: Methods | UnsetType = UNSET
    ticket: Annotated[
        str | UnsetType, Meta(description="Send it back with one of the user's factors, within five minutes.")
    ] = UNSET
    factors: Annotated[tuple[FactorKind, ...] | UnsetType, Meta(description="The factors that the ticket takes.")] = (
        UNSET
    )
    reason: Annotated[Reason | UnsetType, Meta(description=_REASONS)] = UNSET


def signed_in(issued: Issued) -> SignInResponse:
    """The response with the tokens of a session."""
    return SignInResponse(
        signed_in=True,
        access_token=issued.access_token,
        token_type="Bearer",  # noqa: S106 - the name of a scheme.
        expires_in=issued.expires_in,
        refresh_token=issued.refresh_token,
        session_id=issued.session_id,
        user_id=issued.user_id,
        amr=issued.amr,
    )


def refused(reason: Reason) -> Response:
    """The response to a sign-in that did not succeed."""
    return Response.json(SignInResponse(signed_in=False, reason=reason), outcome=reason)


class SignIn:
    """The steps of a sign-in."""

    def __init__(
        self,
        accounts: Accounts,
        sessions: SessionStore,
        tickets: TicketStore,
        factors: Factors,
        addresses: AddressStore,
        settings: IdentitySettings,
    ) -> None:
        self._accounts = accounts
        self._users = accounts.users
        self._sessions = sessions
        self._tickets = tickets
        self._factors = factors
        self._addresses = addresses
        self._settings = settings

    def sign_up(self, request: SignUpRequest, http: Request) -> Response:
        """Create a user, and begin a session."""
        self._sessions.check_issuer()
        name = self._accounts.check_name(request.user)
        if self._settings.public_sign_up:  # Each attempt counts: it creates a user, or shows that one exists.
            address = self._forwarded(http)
            self._addresses.check(address)
            self._addresses.count(address)
        user = self._accounts.create(name, request.password, second_factor=False)
        partition = read_partition(self._users, user.user_id)
        if partition is None:
            return refused("wrong-credentials")  # An operator has deleted the user again.
        user_agent = http.headers.get("user-agent", "") if self._settings.public_sign_up else ""
        issued = self._sessions.begin(partition, ("pwd",), user.signed_out_at, user_agent=user_agent)
        return Response.json(signed_in(issued), 201)

    def sign_in(self, request: SignInRequest, http: Request) -> Response | SignInResponse:
        """One step of a sign-in."""
        self._sessions.check_issuer()
        kind = _combination(request)
        if self._settings.public_sign_in:
            for name in ("user_agent", "address"):
                if getattr(request, name) is not None:
                    raise invalid_field(
                        name, f"Leave `{name}` out: sign-in is public here, so the app takes it from the headers."
                    )
        if kind == "password":
            return self._with_password(request, http)
        ticket = self._tickets.open(request.ticket or "")
        if ticket is None:
            return refused("expired")
        if kind == "code_verifier":
            return self._after_sso(ticket, request, http)
        if kind == "passkey":
            return self._with_passkey(ticket, request, http)
        return self._with_code(ticket, request, http)

    def _with_password(self, request: SignInRequest, http: Request) -> Response | SignInResponse:
        name = self._accounts.check_name(request.user or "")
        address = self._address(request, http)
        self._addresses.check(address)
        try:
            login = self._accounts.log_in(name, request.password or "")
        except InvalidPassword:
            return refused("wrong-credentials")  # Nobody has an empty password, or one of more than 1,024 bytes.
        if login.user is None:
            if login.outcome == "disabled":
                return refused("disabled")
            self._addresses.count(address)
            return refused("wrong-credentials")
        partition = read_partition(self._users, login.user.user_id)
        if partition is None or partition.user.signed_out_at != login.user.signed_out_at:
            return refused("wrong-credentials")  # The password was changed meanwhile, or the user deleted.
        if partition.user.has_factor:
            return self._next_step(partition, "password", ("pwd",))
        return self._begin(partition, ("pwd",), login.user.signed_out_at, request, http)

    def _next_step(
        self,
        partition: Partition,
        kind: Literal["password", "sso"],
        amr: tuple[str, ...],
        ticket_id: bytes = b"",
    ) -> SignInResponse:
        ticket = self._tickets.issue(
            kind,
            ticket_id=ticket_id,
            user_id=partition.user.user_id,
            signed_out_at=partition.user.signed_out_at,
            amr=amr,
        )
        return SignInResponse(signed_in=False, ticket=ticket, factors=self._factors.kinds(partition))

    def _with_code(self, ticket: Ticket, request: SignInRequest, http: Request) -> Response | SignInResponse:
        if ticket.kind not in ("password", "sso") or ticket.code_challenge:
            return refused("wrong-code")
        partition = self._partition_of(ticket)
        if partition is None:
            return refused("expired")
        if request.code is not None:
            proven = self._factors.check_code(partition, ticket, request.code)
        else:
            proven = self._factors.check_recovery_code(partition, ticket, request.recovery_code or "")
        return self._complete(ticket, proven, request, http)

    def _with_passkey(self, ticket: Ticket, request: SignInRequest, http: Request) -> Response | SignInResponse:
        if ticket.kind != "passkey" or request.passkey is None:
            return refused("wrong-passkey")
        return self._complete(ticket, self._factors.check_passkey(ticket, request.passkey), request, http)

    def _after_sso(self, ticket: Ticket, request: SignInRequest, http: Request) -> Response | SignInResponse:
        digest = encode_base64(hashlib.sha256((request.code_verifier or "").encode()).digest())
        if ticket.kind != "sso" or not ticket.code_challenge:
            return refused("wrong-credentials")
        if not hmac.compare_digest(digest.encode(), ticket.code_challenge.encode()):
            return refused("wrong-credentials")
        partition = self._partition_of(ticket)
        if partition is None:
            return refused("expired")
        if ticket.second_factor and partition.user.has_factor:
            return self._next_step(partition, "sso", ticket.amr, ticket.id)
        return self._complete(ticket, Proven("", (), partition), request, http)

    def _partition_of(self, ticket: Ticket) -> Partition | None:
        """The rows of a ticket's user; None if the user was signed out since. A disabled user gets to the factor."""
        partition = read_partition(self._users, ticket.user_id)
        if partition is None:
            return None
        is_current = ticket.signed_out_at is None or ticket.signed_out_at == partition.user.signed_out_at
        return partition if is_current or partition.user.disabled else None

    def _complete(
        self, ticket: Ticket, proven: Proven, request: SignInRequest, http: Request
    ) -> Response | SignInResponse:
        partition = proven.partition
        if proven.outcome or partition is None:
            return refused(proven.outcome or "expired")
        if partition.user.disabled:
            return refused("disabled")
        if not self._tickets.spend(ticket):
            return refused("expired")
        amr = tuple(dict.fromkeys((*ticket.amr, *proven.amr)))
        if ticket.amr and proven.amr and "mfa" not in amr:
            amr = (*amr, "mfa")
        response = self._begin(partition, amr, partition.user.signed_out_at, request, http)
        return Response.json(response, outcome=proven.note)

    def _begin(
        self, partition: Partition, amr: tuple[str, ...], signed_out_at: datetime, request: SignInRequest, http: Request
    ) -> SignInResponse:
        user_agent = http.headers.get("user-agent", "") if self._settings.public_sign_in else request.user_agent or ""
        issued = self._sessions.begin(
            partition, amr, signed_out_at, user_agent=user_agent, renewed=self._session_of(http)
        )
        return signed_in(issued)

    def _address(self, request: SignInRequest, http: Request) -> str | None:
        """The user's address. Raises InvalidRequest if the field `address` is not one."""
        if self._settings.public_sign_in:
            return self._forwarded(http)
        if request.address is not None and network_of(request.address) is None:
            raise invalid_field("address", "The `address` is an IPv4 or IPv6 address, such as 192.0.2.1.")
        return request.address

    def _forwarded(self, http: Request) -> str | None:
        return caller_address(http.headers.get("x-forwarded-for", ""), self._settings.proxies)

    def _session_of(self, http: Request) -> ActiveSession | None:
        """The session of the call's access token, if it sent one that is valid now."""
        scheme, _, token = http.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        try:
            return self._sessions.authenticate(token.strip())
        except InvalidToken:
            return None

    def refresh_session(self, request: RefreshSessionRequest) -> Response | SignInResponse:
        """The next tokens of a session."""
        self._sessions.check_issuer()
        issued = self._sessions.refresh(request.refresh_token)
        return signed_in(issued) if isinstance(issued, Issued) else refused(issued)


def _combination(request: SignInRequest) -> str:
    """The credential of a request: the name of its field. Raises InvalidRequest."""
    names = ("user", "password", "ticket", "code", "recovery_code", "passkey", "code_verifier")
    present = {name for name in names if getattr(request, name) is not None}
    for combination, kind in _COMBINATIONS:
        if present == combination:
            return kind
    raise invalid_field(
        "ticket" if "ticket" in present else "user",
        "Provide `user` and `password`; or `ticket` and exactly one of `code`, `recovery_code`, `passkey` and "
        "`code_verifier`.",
    )


def operations(
    accounts: Accounts,
    sessions: SessionStore,
    tickets: TicketStore,
    factors: Factors,
    addresses: AddressStore,
    settings: IdentitySettings,
) -> dict[str, Operation]:
    """The functions that begin and continue a session."""
    steps = SignIn(accounts, sessions, tickets, factors, addresses, settings)
    password_errors = (HashTooLarge, UserChanged, TooManyAttempts, UserLocked, Busy, Unavailable)
    return {
        "sign-up": Operation(
            handle=steps.sign_up,
            request=SignUpRequest,
            response=SignInResponse,
            summary="Create a user with a password, and begin a session.\n\nThe rules of check-password apply.",
            errors=(UserExists, WeakPassword, InvalidPassword, *password_errors),
            examples=(Example("A new user", {"user": "dora@example.org", "password": EXAMPLE_PASSWORD}),),
            statuses={201: "The user was created and is signed in."},
            with_request=True,
            single_use=True,
        ),
        "sign-in": Operation(
            handle=steps.sign_in,
            request=SignInRequest,
            response=SignInResponse,
            summary="Sign a user in: with a password, with a passkey, or after single sign-on.\n\nA user with a second "
            "factor gets a `ticket` for it first. A wrong password, and a user who does not exist, get the same "
            "response in the same time. With the access token of a session of the same user, the session is renewed: "
            "its sign-in is fresh again.",
            errors=(*password_errors, TooManyCodes),
            examples=(Example("A user of the sample data", {"user": "bob@example.org", "password": EXAMPLE_PASSWORD}),),
            with_request=True,
            single_use=True,
        ),
        "refresh-session": Operation(
            handle=steps.refresh_session,
            request=RefreshSessionRequest,
            response=SignInResponse,
            summary="Exchange a refresh token for new tokens of the session.",
            errors=(Busy, Unavailable),
            examples=(Example("A token that has expired", {"refresh_token": "expired"}),),
            single_use=True,
        ),
    }
