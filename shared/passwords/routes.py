"""`hash-password` and `verify-password`."""

import secrets
from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.errors import Busy, HashTooLarge, InvalidHash, InvalidPassword
from shared.passwords import hashing
from shared.passwords.admission import HashingThreads
from shared.passwords.hashing import PROFILES, Profile
from shared.web import Example, Fields, Operation

_EXAMPLE_PASSWORD = "correct horse battery staple"  # noqa: S105 - of https://xkcd.com/936, for the documentation.
_EXAMPLE_HASH = "$argon2id$v=19$m=19456,t=2,p=1$+NI5kqQquxXEK3BmRVW8cw$62/I3WjMua27AYTR45WvpXHO6fpy2CYoHLWoGP0hr+g"

Password = Annotated[
    str,
    Meta(
        description="Any text. It is brought into Unicode's NFKC form; then 1 to 1,024 bytes of UTF-8 are taken.",
        examples=[_EXAMPLE_PASSWORD],
    ),
]


class HashPasswordRequest(Fields, frozen=True):
    password: Password
    profile: Annotated[
        Profile,
        Meta(
            description="What the hash costs. `owasp`: 19 MiB, 2 passes, 1 lane; `owasp-46`: 46 MiB, 1, 1 (both from "
            "OWASP's Password Storage Cheat Sheet); `rfc9106-low`: 64 MiB, 3, 4; `rfc9106-high`: 2 GiB, 1, 4 (both "
            "from RFC 9106, section 4)."
        ),
    ] = "owasp"


class Argon2Parameters(msgspec.Struct, frozen=True):
    """What the hash costs: memory in KiB, passes over it, lanes."""

    memory_kib: int
    time_cost: int
    parallelism: int


class HashPasswordAnswer(msgspec.Struct, frozen=True):
    hash: Annotated[str, Meta(description="The hash as a PHC string: algorithm, parameters and salt are in it.")]
    algorithm: Literal["argon2id"]
    parameters: Argon2Parameters


class VerifyPasswordRequest(Fields, frozen=True):
    password: Password
    hash: Annotated[
        str, Meta(description="A PHC string of Argon2 (argon2id, argon2i or argon2d), from here or elsewhere.")
    ]
    profile: Annotated[Profile, Meta(description="What the hash should be of: see `needs_rehash`.")] = "owasp"


class VerifyPasswordAnswer(msgspec.Struct, frozen=True):
    valid: Annotated[bool, Meta(description="Whether the hash was made of this password.")]
    needs_rehash: Annotated[
        bool,
        Meta(
            description="True where the password is valid, and the hash is not what hash-password makes of it now with "
            "this profile: another variant, version or parameter, less than 16 bytes of salt or 32 of digest, or made "
            "of the password without Unicode's NFKC form. Then hash this password anew, and replace the hash."
        ),
    ]


def hash_password(threads: HashingThreads, request: HashPasswordRequest) -> HashPasswordAnswer:
    password, wanted = hashing.encode_password(request.password), PROFILES[request.profile]
    if wanted.memory_kib > threads.memory_kib:
        raise HashTooLarge(
            f"{request.profile} takes {wanted.memory_kib} KiB of memory; {threads.memory_kib} KiB are granted here "
            "(STRONGROOM_HASH_MEMORY_MIB)."
        )
    salt = secrets.token_bytes(hashing.SALT_BYTES)
    made = threads.run(wanted.memory_kib, partial(hashing.hash_password, password, wanted, salt))
    parameters = Argon2Parameters(wanted.memory_kib, wanted.time_cost, wanted.parallelism)
    return HashPasswordAnswer(made, "argon2id", parameters)


def verify_password(threads: HashingThreads, request: VerifyPasswordRequest) -> VerifyPasswordAnswer:
    hashing.encode_password(request.password)  # Refuse it before anything is waited for.
    stored = hashing.parse_hash(request.hash)
    memory_kib = stored.parameters.memory_kib
    if memory_kib > threads.memory_kib:
        raise InvalidHash(f"The hash asks for {memory_kib} KiB of memory (m); {threads.memory_kib} KiB are granted.")
    wanted = PROFILES[request.profile]
    verdict = threads.run(memory_kib, partial(hashing.verify, stored, request.password, wanted))
    return VerifyPasswordAnswer(verdict.valid, verdict.needs_rehash)


def operations(threads: HashingThreads) -> dict[str, Operation]:
    """The functions of this capability; hashes run on `threads`."""
    return {
        "hash-password": Operation(
            handle=partial(hash_password, threads),
            request=HashPasswordRequest,
            answer=HashPasswordAnswer,
            summary="Hash a password with Argon2id, to be kept in a database of your own.",
            errors=(InvalidPassword, HashTooLarge, Busy),
            examples=(Example("A password", {"password": _EXAMPLE_PASSWORD}),),
        ),
        "verify-password": Operation(
            handle=partial(verify_password, threads),
            request=VerifyPasswordRequest,
            answer=VerifyPasswordAnswer,
            summary="Whether a password is the one that a hash was made of.\n\n"
            "A password that is not is an answer like another: 200 with `valid` false.",
            errors=(InvalidPassword, InvalidHash, Busy),
            examples=(
                Example("The right password", {"password": _EXAMPLE_PASSWORD, "hash": _EXAMPLE_HASH}),
                Example("A wrong password", {"password": "Tr0ub4dor&3", "hash": _EXAMPLE_HASH}),
            ),
        ),
    }
