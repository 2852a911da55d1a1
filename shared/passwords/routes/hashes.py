"""`hash-password`, `verify-password` and `check-password`."""

from functools import partial
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
from shared.passwords import costs
from shared.passwords.accounts import Accounts
from shared.passwords.argon2 import Parameters
from shared.passwords.costs import MAX_MEMORY_KIB, MAX_PARALLELISM, MAX_TIME_COST, MIN_MEMORY_KIB, PROFILES
from shared.passwords.errors import HashTooWeak, InvalidHash, ProfileOfUser
from shared.passwords.hashing import Profile
from shared.passwords.names import check_name
from shared.passwords.policy import Reason
from shared.passwords.routes.fields import SecondFactor
from shared.web import Example, Fields, Operation, Response
from shared.web.fields import EXAMPLE_PASSWORD, Password, UserId, UserName

_EXAMPLE_HASH = "$argon2id$v=19$m=19456,t=2,p=1$+NI5kqQquxXEK3BmRVW8cw$62/I3WjMua27AYTR45WvpXHO6fpy2CYoHLWoGP0hr+g"
_MAX_DEVICE_LENGTH = 256


class Argon2Parameters(Fields, frozen=True):
    """The cost of a hash."""

    memory_kib: Annotated[int, Meta(description="Memory in KiB.", ge=MIN_MEMORY_KIB, le=MAX_MEMORY_KIB)]
    time_cost: Annotated[int, Meta(description="Passes over the memory.", ge=1, le=MAX_TIME_COST)]
    parallelism: Annotated[int, Meta(description="Lanes.", ge=1, le=MAX_PARALLELISM)]


ProfileField = Annotated[
    Profile | None,
    Meta(
        description="The cost of the hash. `owasp` (the default): 19 MiB, 2 passes, 1 lane; `owasp-46`: 46 MiB, 1, 1 "
        "(both from OWASP's Password Storage Cheat Sheet); `rfc9106-low`: 64 MiB, 3, 4; `rfc9106-high`: 2 GiB, 1, 4 "
        "(both from RFC 9106, section 4). Not with `user`: users' hashes have the profile of the settings."
    ),
]
ParametersField = Annotated[
    Argon2Parameters | None,
    Meta(
        description="The cost of the hash, instead of a profile: at least OWASP's minimum, at most about a second. Not "
        "with `user`."
    ),
]


class HashPasswordRequest(Fields, frozen=True):
    password: Password
    profile: ProfileField = None
    parameters: ParametersField = None
    user: UserName | None = None
    second_factor: SecondFactor = False


class HashPasswordResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """Without `user`: the hash, and how it was made. With `user`: the user that was created."""

    hash: Annotated[
        str | UnsetType, Meta(description="The hash as a PHC string, which contains algorithm, parameters and salt.")
    ] = UNSET
    algorithm: Literal["argon2id"] | UnsetType = UNSET
    parameters: Argon2Parameters | UnsetType = UNSET
    user: str | UnsetType = UNSET
    user_id: UserId | UnsetType = UNSET


class VerifyPasswordRequest(Fields, frozen=True):
    password: Password
    hash: Annotated[
        str | None,
        Meta(
            description="A hash of this app or another system: Argon2, bcrypt, scrypt, PBKDF2, crypt(3), phpass, "
            "Firebase, ASP.NET Identity, and the formats of Django, Werkzeug, passlib, Kratos and LDAP servers."
        ),
    ] = None
    user: UserName | None = None
    device: Annotated[
        Annotated[str, Meta(max_length=_MAX_DEVICE_LENGTH)] | None,
        Meta(
            description="With `user`: the `device` of an earlier success. The call then has ten failures of its own, "
            "and does not wait because of others' failures. A token that is no longer valid is ignored.",
        ),
    ] = None
    profile: ProfileField = None
    parameters: ParametersField = None


class VerifyPasswordResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    valid: Annotated[bool, Meta(description="Whether the password matches the hash, or is the user's.")]
    needs_rehash: Annotated[
        bool,
        Meta(
            description="True if the password is valid, and hash-password would make another kind of hash of it with "
            "this profile: another algorithm, version or parameter, at least 16 bytes of salt and 32 of digest, or the "
            "password in Unicode's NFKC form. Then hash the password anew, and replace the hash. False for bcrypt and "
            "72 bytes or more, because bcrypt does not read the rest. With `user`, the app does it, and `rehashed` is "
            "true."
        ),
    ]
    user_id: Annotated[str | UnsetType, Meta(description="With `user`, if valid.")] = UNSET
    rehashed: Annotated[bool | UnsetType, Meta(description="With `user`, if valid.")] = UNSET
    second_factor: Annotated[
        bool | UnsetType,
        Meta(
            description="With `user`, if valid: whether the user has a second factor. If a second factor is "
            "enrolled here, let the user sign in with sign-in, which requires it."
        ),
    ] = UNSET
    device: Annotated[
        str | UnsetType,
        Meta(description="With `user`, if valid: a token for the `device` of later calls, valid for 30 days."),
    ] = UNSET
    reason: Annotated[
        Literal["disabled"] | UnsetType,
        Meta(description="If the password is right, and an operator has disabled the user."),
    ] = UNSET


class CheckPasswordRequest(Fields, frozen=True):
    password: Password
    user: UserName | None = None
    second_factor: SecondFactor = False


class CheckPasswordResponse(msgspec.Struct, frozen=True):
    acceptable: bool
    reasons: Annotated[
        list[Reason],
        Meta(
            description="Each rule that the password fails. `too-short`: under 15 code points, or 8 with a second "
            "factor (settings), as typed or in the NFKC form; `too-long`: over 1,024 bytes of UTF-8; `common`: one or "
            "two common passwords, a keyboard walk or repetition; `context-word`: contains a part of the user's name, "
            "or the service's name; `breached`: known to the service of the settings."
        ),
    ]


def hash_password(accounts: Accounts, request: HashPasswordRequest) -> Response | HashPasswordResponse:
    if request.user is not None:
        _refuse_cost(request)
        name = check_name(request.user, "user")
        user = accounts.create(name, request.password, second_factor=request.second_factor)
        return Response.json(HashPasswordResponse(user=user.name, user_id=user.user_id), 201)
    cost = _cost(request)
    text = accounts.hasher.hash(request.password, cost)
    return HashPasswordResponse(hash=text, algorithm="argon2id", parameters=Argon2Parameters(**cost._asdict()))


def verify_password(accounts: Accounts, request: VerifyPasswordRequest) -> Response | VerifyPasswordResponse:
    if (request.hash is None) == (request.user is None):
        raise invalid_field("hash", "Provide exactly one of `hash` and `user`.")
    if request.user is None:
        if request.device is not None:
            raise invalid_field("device", "Provide `device` only together with `user`.")
        verdict = accounts.hasher.verify_text(request.password, request.hash or "", _cost(request))
        return VerifyPasswordResponse(verdict.valid, verdict.needs_rehash)
    _refuse_cost(request)
    login = accounts.log_in(check_name(request.user, "user"), request.password, request.device)
    if login.user is None:
        reason: Literal["disabled"] | UnsetType = "disabled" if login.outcome == "disabled" else UNSET
        response = VerifyPasswordResponse(valid=False, needs_rehash=False, reason=reason)
        return Response.json(response, outcome=login.outcome)
    return VerifyPasswordResponse(
        valid=True,
        needs_rehash=login.needs_rehash,
        user_id=login.user.user_id,
        rehashed=login.rehashed,
        second_factor=login.user.needs_second_factor,
        device=login.device,
    )


def check_password(accounts: Accounts, request: CheckPasswordRequest) -> CheckPasswordResponse:
    user = None if request.user is None else check_name(request.user, "user")
    reasons = accounts.reasons(request.password, user, second_factor=request.second_factor)
    return CheckPasswordResponse(not reasons, reasons)


def _refuse_cost(request: HashPasswordRequest | VerifyPasswordRequest) -> None:
    if request.profile is not None or request.parameters is not None:
        raise ProfileOfUser(
            "Leave out profile and parameters: the hashes of users have the profile of STRONGROOM_PASSWORD_PROFILE."
        )


def _cost(request: HashPasswordRequest | VerifyPasswordRequest) -> Parameters:
    """The requested cost. Raises InvalidRequest, HashTooWeak, HashTooLarge."""
    parameters = request.parameters
    if parameters is None:
        return PROFILES[request.profile or "owasp"]
    if request.profile is not None:
        raise invalid_field("parameters", "Provide at most one of `profile` and `parameters`.")
    cost = Parameters(parameters.memory_kib, parameters.time_cost, parameters.parallelism)
    costs.check_new(cost)
    return cost


def operations(accounts: Accounts) -> dict[str, Operation]:
    """The functions for hashes."""
    return {
        "hash-password": Operation(
            handle=partial(hash_password, accounts),
            request=HashPasswordRequest,
            response=HashPasswordResponse,
            summary="Hash a password with Argon2id for a database of your own, or create a user.\n\n"
            "With `user` the app stores the hash under a new user. The rules of check-password then apply, and the "
            "hash has the profile of the settings.",
            errors=(
                InvalidPassword,
                HashTooLarge,
                HashTooWeak,
                ProfileOfUser,
                WeakPassword,
                UserExists,
                Busy,
                Unavailable,
            ),
            examples=(Example("A password", {"password": EXAMPLE_PASSWORD}),),
            statuses={200: "The hash.", 201: "The user was created."},
            writes=True,
        ),
        "verify-password": Operation(
            handle=partial(verify_password, accounts),
            request=VerifyPasswordRequest,
            response=VerifyPasswordResponse,
            summary="Verify a password against a hash, or as a user's.\n\n"
            "A wrong password is a normal response: 200 with `valid` false, also if the user does not exist. After "
            "five wrong passwords in a row a name waits, at most 15 minutes (429 `too-many-attempts`), and after 100 "
            "until reset-password (429 `user-locked`). A password that was wrong for many users within an hour waits, "
            "too.",
            errors=(
                InvalidPassword,
                InvalidHash,
                HashTooLarge,
                HashTooWeak,
                ProfileOfUser,
                UserChanged,
                TooManyAttempts,
                UserLocked,
                Busy,
                Unavailable,
            ),
            examples=(
                Example("The right password", {"password": EXAMPLE_PASSWORD, "hash": _EXAMPLE_HASH}),
                Example("A wrong password", {"password": "Tr0ub4dor&3", "hash": _EXAMPLE_HASH}),
            ),
        ),
        "check-password": Operation(
            handle=partial(check_password, accounts),
            request=CheckPasswordRequest,
            response=CheckPasswordResponse,
            summary="Check whether a user may have this password, without hashing it.",
            examples=(
                Example("A good password", {"password": EXAMPLE_PASSWORD}),
                Example("A bad password", {"password": "password1234567", "user": "alice@example.org"}),
            ),
        ),
    }
