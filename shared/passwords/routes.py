"""`hash-password`, `verify-password` and `check-password`; those for users are in `user_routes.py`."""

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.errors import Busy, Unavailable, invalid_field
from shared.passwords import hashing, user_routes
from shared.passwords.accounts import Accounts
from shared.passwords.argon2 import Parameters
from shared.passwords.errors import (
    HashTooLarge,
    HashTooWeak,
    InvalidHash,
    InvalidPassword,
    UserChanged,
    UserExists,
    WeakPassword,
)
from shared.passwords.hashing import MAX_PARALLELISM, MAX_TIME_COST, MAX_WORK_KIB, MIN_MEMORY_KIB, PROFILES, Profile
from shared.passwords.names import check_name
from shared.passwords.policy import Reason
from shared.passwords.user_routes import EXAMPLE_PASSWORD, Password, SecondFactor, UserName
from shared.web import Cursors, Example, Fields, Operation, Response

_EXAMPLE_HASH = "$argon2id$v=19$m=19456,t=2,p=1$+NI5kqQquxXEK3BmRVW8cw$62/I3WjMua27AYTR45WvpXHO6fpy2CYoHLWoGP0hr+g"


class Argon2Parameters(Fields, frozen=True):
    """What a hash costs."""

    memory_kib: Annotated[int, Meta(description="Memory in KiB.", ge=MIN_MEMORY_KIB, le=MAX_WORK_KIB)]
    time_cost: Annotated[int, Meta(description="Passes over the memory.", ge=1, le=MAX_TIME_COST)]
    parallelism: Annotated[int, Meta(description="Lanes.", ge=1, le=MAX_PARALLELISM)]


ProfileField = Annotated[
    Profile | None,
    Meta(
        description="What the hash costs. `owasp` (the default): 19 MiB, 2 passes, 1 lane; `owasp-46`: 46 MiB, 1, 1 "
        "(both from OWASP's Password Storage Cheat Sheet); `rfc9106-low`: 64 MiB, 3, 4; `rfc9106-high`: 2 GiB, 1, 4 "
        "(both from RFC 9106, section 4)."
    ),
]
ParametersField = Annotated[
    Argon2Parameters | None,
    Meta(description="What the hash costs, in the place of a profile: no less than OWASP's minimum."),
]


class HashPasswordRequest(Fields, frozen=True):
    password: Password
    profile: ProfileField = None
    parameters: ParametersField = None
    user: UserName | None = None
    second_factor: SecondFactor = False


class HashPasswordResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """Without `user`: the hash, and how it was made. With `user`: who was created."""

    hash: Annotated[
        str | UnsetType, Meta(description="The hash as a PHC string: algorithm, parameters and salt are in it.")
    ] = UNSET
    algorithm: Literal["argon2id"] | UnsetType = UNSET
    parameters: Argon2Parameters | UnsetType = UNSET
    user: str | UnsetType = UNSET
    user_id: Annotated[str | UnsetType, Meta(description="A UUID that never changes.")] = UNSET


class VerifyPasswordRequest(Fields, frozen=True):
    password: Password
    hash: Annotated[
        str | None,
        Meta(
            description="A hash from here or elsewhere: a PHC string of Argon2, scrypt or PBKDF2, bcrypt, or what "
            "Django, Werkzeug, passlib or an LDAP server ({SSHA}) writes."
        ),
    ] = None
    user: UserName | None = None
    profile: ProfileField = None
    parameters: ParametersField = None


class VerifyPasswordResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    valid: Annotated[bool, Meta(description="Whether it is the password of the hash, or of the user.")]
    needs_rehash: Annotated[
        bool,
        Meta(
            description="True where the password is valid, and the hash is not what hash-password makes of it now with "
            "this profile: another algorithm, version or parameter, less than 16 bytes of salt or 32 of digest, or "
            "made of the password without Unicode's NFKC form. Then hash this password anew, and replace the hash. "
            "With `user` that has been done by itself, and `rehashed` is true."
        ),
    ]
    user_id: Annotated[str | UnsetType, Meta(description="With `user`, where valid.")] = UNSET
    rehashed: Annotated[bool | UnsetType, Meta(description="With `user`, where valid.")] = UNSET


class CheckPasswordRequest(Fields, frozen=True):
    password: Password
    user: UserName | None = None
    second_factor: SecondFactor = False


class CheckPasswordResponse(msgspec.Struct, frozen=True):
    acceptable: bool
    reasons: Annotated[
        list[Reason],
        Meta(
            description="Each rule that it fails. `too-short`: under 15 code points, or 8 with a second factor "
            "(settings); `too-long`: over 1,024 bytes of UTF-8; `common`: on the list of common and breached "
            "passwords, two of them in a row, a run or a repetition; `context-word`: holds the user's or the "
            "service's name."
        ),
    ]


def hash_password(accounts: Accounts, request: HashPasswordRequest) -> Response | HashPasswordResponse:
    cost = _cost(request.profile, request.parameters)
    if request.user is not None:
        name = check_name(request.user, "user")
        user = accounts.create(name, request.password, cost, second_factor=request.second_factor)
        return Response.json(HashPasswordResponse(user=user.name, user_id=user.user_id), 201)
    cost = cost or PROFILES["owasp"]
    text = accounts.hash(request.password, cost)
    return HashPasswordResponse(hash=text, algorithm="argon2id", parameters=Argon2Parameters(**cost._asdict()))


def verify_password(accounts: Accounts, request: VerifyPasswordRequest) -> VerifyPasswordResponse:
    if (request.hash is None) == (request.user is None):
        raise invalid_field("hash", "or user: give one of the two.")
    wanted = _cost(request.profile, request.parameters)
    if request.hash is not None:
        verdict = accounts.verify_hash(request.password, request.hash, wanted or PROFILES["owasp"])
        return VerifyPasswordResponse(verdict.valid, verdict.needs_rehash)
    assert request.user is not None  # noqa: S101 - for the type checker.
    if wanted is not None:
        raise invalid_field("profile", "and parameters go with hash: a user's hash has those of the user.")
    login = accounts.log_in(check_name(request.user, "user"), request.password)
    if login.user is None:
        return VerifyPasswordResponse(valid=False, needs_rehash=False)
    return VerifyPasswordResponse(
        valid=True, needs_rehash=login.needs_rehash, user_id=login.user.user_id, rehashed=login.rehashed
    )


def check_password(accounts: Accounts, request: CheckPasswordRequest) -> CheckPasswordResponse:
    user = None if request.user is None else check_name(request.user, "user")
    reasons = accounts.reasons(request.password, user, second_factor=request.second_factor)
    return CheckPasswordResponse(not reasons, reasons)


def _cost(profile: Profile | None, parameters: Argon2Parameters | None) -> Parameters | None:
    """What is asked for, or None. Raises InvalidRequest, HashTooWeak, HashTooLarge."""
    if parameters is None:
        return None if profile is None else PROFILES[profile]
    if profile is not None:
        raise invalid_field("parameters", "stand in the place of a profile: give one of the two.")
    cost = Parameters(parameters.memory_kib, parameters.time_cost, parameters.parallelism)
    hashing.check_cost(cost)
    return cost


def operations(accounts: Accounts, cursors: Cursors) -> dict[str, Operation]:
    """The functions of this capability."""
    return {
        "hash-password": Operation(
            writes=True,
            handle=partial(hash_password, accounts),
            request=HashPasswordRequest,
            response=HashPasswordResponse,
            summary="Hash a password with Argon2id, to be kept in a database of your own; or create a user.\n\n"
            "With `user` the hash is kept here, under a new user; then the rules of check-password bind, and "
            "`profile` or `parameters`, where given, hold for all further hashes of this user.",
            errors=(InvalidPassword, HashTooLarge, HashTooWeak, WeakPassword, UserExists, Busy, Unavailable),
            examples=(Example("A password", {"password": EXAMPLE_PASSWORD}),),
            statuses={200: "The hash.", 201: "The user is created."},
        ),
        "verify-password": Operation(
            handle=partial(verify_password, accounts),
            request=VerifyPasswordRequest,
            response=VerifyPasswordResponse,
            summary="Whether a password is the one that a hash was made of, or the one of a user.\n\n"
            "A password that is not is an answer like another: 200 with `valid` false, also where there is no such "
            "user. After five wrong passwords in a row a name has to wait, at most 15 minutes: 429.",
            errors=(InvalidPassword, InvalidHash, HashTooLarge, HashTooWeak, UserChanged, Busy, Unavailable),
            examples=(
                Example("The right password", {"password": EXAMPLE_PASSWORD, "hash": _EXAMPLE_HASH}),
                Example("A wrong password", {"password": "Tr0ub4dor&3", "hash": _EXAMPLE_HASH}),
            ),
        ),
        "check-password": Operation(
            handle=partial(check_password, accounts),
            request=CheckPasswordRequest,
            response=CheckPasswordResponse,
            summary="Whether a user may have this password, without hashing it.",
            examples=(
                Example("A good password", {"password": EXAMPLE_PASSWORD}),
                Example("A bad one", {"password": "password1234567", "user": "alice@example.org"}),
            ),
        ),
        **user_routes.operations(accounts, cursors),
    }
