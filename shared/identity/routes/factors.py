"""The functions for second factors and passkeys."""

import os
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.errors import Busy, Unavailable, UnknownUser, WeakPassword, invalid_field
from shared.identity import totp
from shared.identity.errors import (
    InvalidToken,
    LastFactor,
    NoFactor,
    NoPasskey,
    NotFresh,
    PasskeyRefused,
    TicketExpired,
    TooManyFactors,
    UnknownFactor,
    UrlNotSet,
    WrongCode,
)
from shared.identity.passkeys import (
    CHALLENGE_BYTES,
    RegistrationCredential,
    check_registration,
    creation_options,
    decoy_descriptors,
    descriptors,
    request_options,
    user_handle,
)
from shared.identity.routes.fields import Code, TicketText
from shared.identity.routes.me import SESSION_ERRORS
from shared.identity.sessions import ActiveSession
from shared.identity.store.factors import Factor, Factors
from shared.identity.store.partitions import Partition
from shared.identity.store.tickets import TicketStore
from shared.identity.users import Accounts
from shared.web import Example, Fields, Operation, Response, encode_base64, rfc3339
from shared.web.fields import EXAMPLE_USER_ID, UserId, UserName

MAX_LABEL = 64
MAX_URI_NAME = 64
"""Of the user's name in a QR code, which holds some 2,300 bytes."""
DEFAULT_LABELS = {"totp": "Authenticator app", "passkey": "Passkey"}
_EXAMPLE_FACTOR = "3f2a9c0d51b24e6f8a7b6c5d4e3f2a1b"
_EXAMPLE_CREDENTIAL = {
    "id": "-R85HbTJsv3g6nAYnLo_tj9Xm6YSKzOtlP8-wzAIS-Q",
    "rawId": "-R85HbTJsv3g6nAYnLo_tj9Xm6YSKzOtlP8-wzAIS-Q",
    "type": "public-key",
    "response": {
        "clientDataJSON": (
            "eyJ0eXBlIjoid2ViYXV0aG4uY3JlYXRlIiwiY2hhbGxlbmdlIjoiQU1NUHQ0VXh4R1RTdG5jZHE0MTdZRHdCRmk4dn"
            "BJYS1wdzhvT3VWVzRUQSIsIm9yaWdpbiI6Imh0dHBzOi8vZXhhbXBsZS5vcmciLCJjcm9zc09yaWdpbiI6ZmFsc2Us"
            "ImV4dHJhRGF0YSI6ImNsaWVudERhdGFKU09OIG1heSBiZSBleHRlbmRlZCB3aXRoIGFkZGl0aW9uYWwgZmllbGRzIG"
            "luIHRoZSBmdXR1cmUsIHN1Y2ggYXMgdGhpczogQmtRZURqZGNUQnJYQmlBd0pUTEU1USJ9"
        ),
        "attestationObject": (
            "o2NmbXRkbm9uZWdhdHRTdG10oGhhdXRoRGF0YVikv6vDdDKViwYzYNOtZGHJxHNa5_jt1GWSpeDwFFKy5LVZAAAAAI"
            "RGzLmrHbN0dQsjZ_9vOh8AIPkfOR20ybL94OpwGJy6P7Y_V5umEiszrZT_PsMwCEvkpQECAyYgASFYIK_voW-Xypst"
            "I-uGzLZAmNINuQhWBi6yScM6m2cvJt9hIlggkwpWuHovymYzSwNFir-HlxfBLMaO1zKQry4mZHlrkiA"
        ),
    },
}
"""The first vector of WebAuthn Level 3, section 16. Its challenge is not that of a ticket, so the app refuses it."""

Label = Annotated[
    str,
    Meta(
        description="The user's name for the device: text without control characters.",
        min_length=1,
        max_length=MAX_LABEL,
        pattern=r"^[^\x00-\x1f\x7f]*\Z",
        examples=["Phone"],
    ),
]
FactorId = Annotated[str, Meta(description="The id of a factor: 32 hexadecimal digits.", examples=[_EXAMPLE_FACTOR])]
RecoveryCodes = Annotated[
    list[str],
    Meta(description="Ten codes, each of which replaces another factor once. They are shown only here."),
]
FirstRecoveryCodes = Annotated[
    RecoveryCodes | UnsetType, Meta(description="With the first factor: ten recovery codes, shown only here.")
]


class EnrollTotpRequest(Fields, frozen=True):
    label: Label = DEFAULT_LABELS["totp"]


class EnrollTotpResponse(msgspec.Struct, frozen=True):
    """An authenticator app that is not confirmed."""

    factor_id: FactorId
    secret: Annotated[str, Meta(description="The shared secret in base32, to type into an app.")]
    uri: Annotated[str, Meta(description="The same as an `otpauth://` URI.")]
    qr_svg: Annotated[str, Meta(description="The URI as a QR code: an SVG document.")]


class ConfirmTotpRequest(Fields, frozen=True):
    factor_id: FactorId
    code: Code


class EnrolledResponse(msgspec.Struct, frozen=True):
    """A new factor."""

    factor_id: FactorId
    recovery_codes: FirstRecoveryCodes = UNSET


class BeginPasskeyResponse(msgspec.Struct, frozen=True):
    """A challenge for a new passkey."""

    ticket: TicketText
    options: Annotated[
        dict[str, Any],
        Meta(
            description="PublicKeyCredentialCreationOptionsJSON (WebAuthn Level 3), for "
            "`PublicKeyCredential.parseCreationOptionsFromJSON`."
        ),
    ]


class RegisterPasskeyRequest(Fields, frozen=True):
    ticket: TicketText
    credential: Annotated[
        RegistrationCredential,
        Meta(description="RegistrationResponseJSON: the result of `credential.toJSON()`. Further members are ignored."),
    ]
    label: Label = DEFAULT_LABELS["passkey"]


class FactorResponse(msgspec.Struct, frozen=True):
    """One factor."""

    factor_id: FactorId
    kind: Annotated[str, Meta(description="`totp` or `passkey`.")]
    label: str
    created: str
    last_used: str | None


class DescribedPasskeys(msgspec.Struct, frozen=True):
    """The argument of `PublicKeyCredential.signalAllAcceptedCredentials`, in snake case."""

    rp_id: str
    user_handle: str
    credential_ids: list[str]


class FactorsResponse(msgspec.Struct, frozen=True):
    """The factors, the oldest first."""

    factors: list[FactorResponse]
    recovery_codes_left: int
    passkeys: DescribedPasskeys


class RenameFactorRequest(Fields, frozen=True):
    factor_id: FactorId
    label: Label


class DeleteFactorRequest(Fields, frozen=True):
    factor_id: FactorId
    last: Annotated[
        bool, Meta(description="Whether to remove the factor even if it is the last one. The recovery codes go, too.")
    ] = False


class NewRecoveryCodesResponse(msgspec.Struct, frozen=True):
    """New recovery codes."""

    recovery_codes: RecoveryCodes


class ListFactorsRequest(Fields, frozen=True):
    user_id: UserId


class ResetFactorsRequest(Fields, frozen=True):
    user_id: UserId


class BeginPasskeySignInRequest(Fields, frozen=True):
    """A ticket: the passkey is the second factor. A user, or nothing: it is the first and only one."""

    ticket: TicketText | None = None
    user: Annotated[
        UserName | None, Meta(description="A name, to offer only this user's passkeys. It need not exist.")
    ] = None


class BeginPasskeySignInResponse(msgspec.Struct, frozen=True):
    """A challenge for a passkey."""

    ticket: TicketText
    options: Annotated[
        dict[str, Any],
        Meta(
            description="PublicKeyCredentialRequestOptionsJSON (WebAuthn Level 3), for "
            "`PublicKeyCredential.parseRequestOptionsFromJSON`."
        ),
    ]


def enroll_totp(factors: Factors, request: EnrollTotpRequest, session: ActiveSession) -> Response:
    factor_id, seed = factors.enroll_totp(session, request.label)
    uri = totp.provisioning_uri(seed, session.user.name[:MAX_URI_NAME], factors.rp.rp_id)
    response = EnrollTotpResponse(factor_id, totp.encoded_seed(seed), uri, totp.qr_svg(uri))
    return Response.json(response, 201, outcome="factor-pending")


def confirm_totp(factors: Factors, request: ConfirmTotpRequest, session: ActiveSession) -> Response:
    enrolled = factors.confirm_totp(session, request.factor_id, request.code)
    response = EnrolledResponse(enrolled.factor_id, enrolled.recovery_codes or UNSET)
    return Response.json(response, outcome="factor-added")


def begin_passkey(factors: Factors, tickets: TicketStore, session: ActiveSession) -> BeginPasskeyResponse:
    _check_settings(factors)
    partition = factors.check_can_add(session)
    challenge = os.urandom(CHALLENGE_BYTES)
    user = partition.user
    options = creation_options(factors.rp, challenge, user.user_id, user.name, factors.passkeys(partition))
    ticket = tickets.issue("registration", user_id=user.user_id, challenge=challenge)
    return BeginPasskeyResponse(ticket, options)


def register_passkey(
    factors: Factors, tickets: TicketStore, request: RegisterPasskeyRequest, session: ActiveSession
) -> Response:
    factors.check_can_add(session)
    ticket = tickets.open(request.ticket)
    if ticket is None or ticket.kind != "registration" or ticket.user_id != session.user.user_id:
        raise _begin_again()
    passkey = check_registration(factors.rp, ticket.challenge, request.credential)
    if not tickets.spend(ticket):
        raise _begin_again()
    enrolled = factors.add_passkey(session, passkey, request.label)
    response = EnrolledResponse(enrolled.factor_id, enrolled.recovery_codes or UNSET)
    return Response.json(response, 201, outcome="factor-added")


def _begin_again() -> PasskeyRefused:
    return PasskeyRefused("The ticket is not of a registration of this user, has expired, or was used. Begin again.")


def my_factors(factors: Factors, session: ActiveSession) -> FactorsResponse:
    partition = factors.read(session.user.user_id)
    if partition is None:
        raise InvalidToken("The session has ended. Sign in again.")
    return _described_all(factors, partition)


def list_factors(factors: Factors, request: ListFactorsRequest) -> FactorsResponse:
    partition = factors.read(request.user_id.lower())
    if partition is None:
        raise UnknownUser("No user has this id. list-users lists the users.")
    return _described_all(factors, partition)


def rename_factor(factors: Factors, request: RenameFactorRequest, session: ActiveSession) -> FactorResponse:
    return _described(factors.rename(session.user.user_id, request.factor_id, request.label))


def delete_factor(factors: Factors, request: DeleteFactorRequest, session: ActiveSession) -> Response:
    factors.delete(session, request.factor_id, last=request.last)
    return Response(204, outcome="factor-deleted")


def new_recovery_codes(factors: Factors, session: ActiveSession) -> Response:
    response = NewRecoveryCodesResponse(factors.new_recovery_codes(session))
    return Response.json(response, outcome="recovery-codes-renewed")


def reset_factors(factors: Factors, request: ResetFactorsRequest) -> Response:
    if not factors.reset(request.user_id.lower()):
        raise UnknownUser("No user has this id. list-users lists the users.")
    return Response(204, outcome="factors-reset")


def begin_passkey_sign_in(
    factors: Factors, tickets: TicketStore, accounts: Accounts, request: BeginPasskeySignInRequest
) -> BeginPasskeySignInResponse:
    _check_settings(factors)
    challenge = os.urandom(CHALLENGE_BYTES)
    if request.ticket is not None:
        if request.user is not None:
            raise invalid_field("user", "Send either `ticket` or `user`: the ticket names its user.")
        return _begin_second_factor(factors, tickets, request.ticket, challenge)
    user_id, allowed = "", list[dict[str, Any]]()
    if request.user is not None:
        user_id, allowed = _offered(factors, accounts, accounts.check_name(request.user))
    ticket = tickets.issue("passkey", user_id=user_id, challenge=challenge, user_verification=True)
    options = request_options(factors.rp, challenge, allowed, require_user_verification=True)
    return BeginPasskeySignInResponse(ticket, options)


def _check_settings(factors: Factors) -> None:
    """Raise UrlNotSet if the app does not know the domain that its passkeys are bound to."""
    if not factors.rp.rp_id:
        raise UrlNotSet("Neither STRONGROOM_URL nor STRONGROOM_RP_ID is set.")


def _begin_second_factor(
    factors: Factors, tickets: TicketStore, text: str, challenge: bytes
) -> BeginPasskeySignInResponse:
    ticket = tickets.open(text)
    # After single sign-on, `code_verifier` comes first: the ticket in the URL alone proves nothing.
    if ticket is None or ticket.kind not in ("password", "sso") or ticket.code_challenge:
        raise TicketExpired("Sign in again with the password to get a new ticket.")
    partition = factors.read(ticket.user_id)
    allowed = [] if partition is None else descriptors(factors.rp, factors.passkeys(partition))
    if not allowed:
        raise NoPasskey("Complete the ticket with one of the `factors` that sign-in listed.")
    new_ticket = tickets.issue(
        "passkey",
        ticket_id=ticket.id,
        user_id=ticket.user_id,
        signed_out_at=ticket.signed_out_at,
        amr=ticket.amr,
        challenge=challenge,
    )
    options = request_options(factors.rp, challenge, allowed, require_user_verification=False)
    return BeginPasskeySignInResponse(new_ticket, options)


def _offered(factors: Factors, accounts: Accounts, name: str) -> tuple[str, list[dict[str, Any]]]:
    """The user of a name and their passkeys, or a decoy of both: the same reads, and the same response every time."""
    users = accounts.users
    key = users.key(name)
    decoy = users.records.mac("passkey-decoy", key) + users.records.mac("passkey-decoy-id", key)
    decoy_id = str(UUID(bytes=users.records.mac("passkey-decoy-user", key)[:16], version=4))
    user_id = users.id_of(name) or decoy_id
    partition = factors.read(user_id)
    allowed = [] if partition is None else descriptors(factors.rp, factors.passkeys(partition))
    return user_id, allowed or decoy_descriptors(decoy)


def _described_all(factors: Factors, partition: Partition) -> FactorsResponse:
    return FactorsResponse(
        [_described(each) for each in factors.of(partition)],
        factors.recovery_codes_left(partition),
        DescribedPasskeys(
            factors.rp.rp_id,
            encode_base64(user_handle(partition.user.user_id)),
            [each["id"] for each in descriptors(factors.rp, factors.passkeys(partition))],
        ),
    )


def _described(factor: Factor) -> FactorResponse:
    used = factor.document.last_used
    return FactorResponse(
        factor.factor_id,
        factor.kind,
        factor.document.label,
        rfc3339(factor.document.created),
        None if used is None else rfc3339(used),
    )


def operations(factors: Factors, tickets: TicketStore, accounts: Accounts) -> dict[str, Operation]:
    """The functions for factors, and `begin-passkey-sign-in`."""
    changing = (*SESSION_ERRORS, NotFresh, Busy)
    return {
        "enroll-totp": Operation(
            handle=partial(enroll_totp, factors),
            request=EnrollTotpRequest,
            response=EnrollTotpResponse,
            summary="Add an authenticator app (RFC 6238), which confirm-totp confirms within 10 minutes.\n\nA user may "
            "have several. At most 5 are pending. Needs a fresh sign-in.",
            errors=(TooManyFactors, *changing),
            examples=(Example("A phone", {"label": "Phone"}),),
            statuses={201: "The secret, which is shown only here."},
            single_use=True,
        ),
        "confirm-totp": Operation(
            handle=partial(confirm_totp, factors),
            request=ConfirmTotpRequest,
            response=EnrolledResponse,
            summary="Confirm an authenticator app with the code that it shows.\n\nThe code is spent: the next sign-in "
            "needs the next one. Other sessions of the user end. Needs a fresh sign-in.",
            errors=(WrongCode, UnknownFactor, TooManyFactors, *changing),
            examples=(Example("The code of the app", {"factor_id": _EXAMPLE_FACTOR, "code": "123456"}),),
            single_use=True,
        ),
        "begin-passkey": Operation(
            handle=partial(begin_passkey, factors, tickets),
            request=None,
            response=BeginPasskeyResponse,
            summary="Begin to add a passkey (WebAuthn Level 3): the options for `navigator.credentials.create`.\n\n"
            "Needs a fresh sign-in.",
            errors=(TooManyFactors, *changing),
            examples=(Example("For any authenticator", {}),),
            single_use=True,
        ),
        "register-passkey": Operation(
            handle=partial(register_passkey, factors, tickets),
            request=RegisterPasskeyRequest,
            response=EnrolledResponse,
            summary="Add the passkey that the browser has created.\n\nOther sessions of the user end. Needs a fresh "
            "sign-in.",
            errors=(PasskeyRefused, TooManyFactors, *changing),
            examples=(Example("A passkey", {"ticket": "…", "credential": {"id": "…", "type": "public-key"}}),),
            statuses={201: "The passkey was added."},
            single_use=True,
        ),
        "my-factors": Operation(
            handle=partial(my_factors, factors),
            request=None,
            response=FactorsResponse,
            summary="List your second factors, and how many recovery codes are left.",
            errors=SESSION_ERRORS,
            examples=(Example("Your factors", {}),),
        ),
        "rename-factor": Operation(
            handle=partial(rename_factor, factors),
            request=RenameFactorRequest,
            response=FactorResponse,
            summary="Give one of your factors another label.",
            errors=(*SESSION_ERRORS, UnknownFactor, Busy),
            examples=(Example("A new label", {"factor_id": _EXAMPLE_FACTOR, "label": "Old phone"}),),
            writes=True,
        ),
        "delete-factor": Operation(
            handle=partial(delete_factor, factors),
            request=DeleteFactorRequest,
            response=None,
            summary="Delete one of your factors.\n\nThe last one needs `last`: true, which deletes the recovery codes, "
            "too. Other sessions of the user end. Needs a fresh sign-in.",
            errors=(UnknownFactor, LastFactor, WeakPassword, *changing),
            examples=(Example("A factor of several", {"factor_id": _EXAMPLE_FACTOR}),),
            statuses={204: "The factor was deleted."},
            writes=True,
        ),
        "new-recovery-codes": Operation(
            handle=partial(new_recovery_codes, factors),
            request=None,
            response=NewRecoveryCodesResponse,
            summary="Get ten new recovery codes. The old ones are void at once.\n\nOther sessions of the user end. "
            "Needs a fresh sign-in.",
            errors=(NoFactor, *changing),
            examples=(Example("New codes", {}),),
            single_use=True,
        ),
        "list-factors": Operation(
            handle=partial(list_factors, factors),
            request=ListFactorsRequest,
            response=FactorsResponse,
            summary="List the second factors of a user.",
            errors=(UnknownUser, Unavailable),
            examples=(Example("A user of the sample data", {"user_id": EXAMPLE_USER_ID}),),
        ),
        "reset-factors": Operation(
            handle=partial(reset_factors, factors),
            request=ResetFactorsRequest,
            response=None,
            summary="Remove all second factors and recovery codes of a user who has lost them.\n\nAll sessions of the "
            "user end. Then the password alone signs in: check the person's identity first.",
            errors=(UnknownUser, Busy, Unavailable),
            examples=(Example("A user of the sample data", {"user_id": EXAMPLE_USER_ID}),),
            statuses={204: "The user has no second factor."},
            writes=True,
        ),
        "begin-passkey-sign-in": Operation(
            handle=partial(begin_passkey_sign_in, factors, tickets, accounts),
            request=BeginPasskeySignInRequest,
            response=BeginPasskeySignInResponse,
            summary="Begin a sign-in with a passkey: the options for `navigator.credentials.get`.\n\nWith the ticket "
            "of a right password, the passkey is the second factor: this returns another ticket, and the first success "
            "spends both. With `user`, or with nothing (the browser offers the passkeys that it has), it is the only "
            "one, and the authenticator must verify the user. An unknown user gets options, too.",
            errors=(TicketExpired, NoPasskey, Unavailable),
            examples=(Example("Any passkey", {}), Example("A user's passkey", {"user": "alice@example.org"})),
        ),
    }
