"""The functions for users: changing passwords, names, and what there is."""

from datetime import datetime
from functools import partial
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.errors import Busy, Unavailable
from shared.passwords.accounts import Accounts
from shared.passwords.errors import (
    HashTooLarge,
    InvalidHash,
    InvalidPassword,
    UnknownUser,
    UserChanged,
    UserExists,
    WeakPassword,
    WrongPassword,
)
from shared.passwords.names import MAX_NAME_LENGTH, check_name
from shared.passwords.store import Stored, User
from shared.web import Cursors, Example, Fields, Operation, Response, rfc3339

EXAMPLE_PASSWORD = "correct horse battery staple"  # noqa: S105 - of https://xkcd.com/936, for the documentation.

# Users of the sample data.
_ALICE_ID = "5eed0000-0000-4000-8000-000000000001"
_BOB_ID = "5eed0000-0000-4000-8000-000000000002"
_EXAMPLE_BCRYPT = "$2b$10$dCxPgPRGaZ7OTpCDhHI7ROTXzJ6W9yat8iVREvKHomwQ0N5IHTpeS"

Password = Annotated[
    str,
    Meta(
        description="Any text. It is brought into Unicode's NFKC form; then 1 to 1,024 bytes of UTF-8 are taken.",
        examples=[EXAMPLE_PASSWORD],
    ),
]
UserName = Annotated[
    str,
    Meta(
        description="The name of a user. Case does not count, nor does the way in which letters are composed.",
        min_length=1,
        max_length=MAX_NAME_LENGTH,
        examples=["alice@example.org"],
    ),
]
SecondFactor = Annotated[
    bool,
    Meta(description="Whether the password is not the user's only factor: then a shorter one will do."),
]


class ChangePasswordRequest(Fields, frozen=True):
    user: UserName
    old_password: Password
    password: Password


class ResetPasswordRequest(Fields, frozen=True):
    user: UserName
    password: Password


class RenameUserRequest(Fields, frozen=True):
    user: UserName
    new_name: UserName


class ImportUserRequest(Fields, frozen=True):
    user: UserName
    hash: Annotated[str, Meta(description="A hash from elsewhere, of any kind that verify-password takes.")]
    second_factor: SecondFactor = False


class NamedUser(msgspec.Struct, frozen=True):
    user: str
    user_id: Annotated[str, Meta(description="A UUID that never changes.")]


class ListUsersRequest(Fields, frozen=True):
    limit: Annotated[int, Meta(description="How many users at most.", ge=1, le=1000)] = 100
    cursor: Annotated[str | None, Meta(description="From the answer before.")] = None


class DescribedUser(msgspec.Struct, frozen=True):
    user: str
    user_id: str
    created: str
    last_login: str | None
    algorithm: Annotated[str, Meta(description="Of the stored hash: `argon2id`, or that of an imported one.")]
    second_factor: bool


class ListUsersResponse(msgspec.Struct, frozen=True):
    users: list[DescribedUser]
    cursor: str | None


class UserRequest(Fields, frozen=True):
    user_id: Annotated[str, Meta(description="The id of a user.", examples=[_ALICE_ID])]


class RewrapPasswordsRequest(Fields, frozen=True):
    limit: Annotated[int, Meta(description="How many users to look at, at most.", ge=1, le=1000)] = 100
    cursor: Annotated[str | None, Meta(description="From the answer before.")] = None


class RewrapPasswordsResponse(msgspec.Struct, frozen=True):
    examined: int
    rewrapped: Annotated[
        int, Meta(description="How many hashes were not yet sealed as they would be now, and now are.")
    ]
    cursor: str | None


def change_password(accounts: Accounts, request: ChangePasswordRequest) -> NamedUser:
    return _named(accounts.change_password(_name(request.user), request.old_password, request.password))


def reset_password(accounts: Accounts, request: ResetPasswordRequest) -> NamedUser:
    return _named(accounts.reset_password(_name(request.user), request.password))


def rename_user(accounts: Accounts, request: RenameUserRequest) -> NamedUser:
    return _named(accounts.rename(_name(request.user), check_name(request.new_name, "new_name")))


def import_user(accounts: Accounts, request: ImportUserRequest) -> Response:
    user = accounts.import_user(_name(request.user), request.hash, second_factor=request.second_factor)
    return Response.json(_named(user), 201)


def list_users(accounts: Accounts, cursors: Cursors, request: ListUsersRequest) -> ListUsersResponse:
    after = "" if request.cursor is None else cursors.decode(request.cursor, str, "users")
    found = accounts.store.page(after, request.limit + 1)
    shown = found[: request.limit]
    cursor = cursors.encode(shown[-1].user.key, "users") if len(found) > len(shown) else None
    return ListUsersResponse([_described(each) for each in shown], cursor)


def get_user(accounts: Accounts, request: UserRequest) -> DescribedUser:
    return _described(accounts.store.by_id(request.user_id))


def delete_user(accounts: Accounts, request: UserRequest) -> Response:
    accounts.delete(request.user_id)
    return Response(204)


def rewrap_passwords(accounts: Accounts, cursors: Cursors, request: RewrapPasswordsRequest) -> RewrapPasswordsResponse:
    after = "" if request.cursor is None else cursors.decode(request.cursor, str, "rewrap")
    examined, rewrapped, last = accounts.rewrap(after, request.limit)
    return RewrapPasswordsResponse(examined, rewrapped, cursors.encode(last, "rewrap") if last else None)


def _name(name: str) -> str:
    return check_name(name, "user")


def _named(user: User) -> NamedUser:
    return NamedUser(user.name, user.user_id)


def _described(stored: Stored) -> DescribedUser:
    user = stored.user
    return DescribedUser(
        user.name,
        user.user_id,
        rfc3339(user.created),
        _rfc3339_or_none(user.last_login),
        user.algorithm,
        user.second_factor,
    )


def _rfc3339_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def operations(accounts: Accounts, cursors: Cursors) -> dict[str, Operation]:
    """The functions for users."""
    alice = "alice@example.org"
    setting = (InvalidPassword, WeakPassword, HashTooLarge, UserChanged, Busy, Unavailable)

    return {
        "change-password": Operation(
            writes=True,
            handle=partial(change_password, accounts),
            request=ChangePasswordRequest,
            response=NamedUser,
            summary="Give a user another password, who knows the old one.\n\nWrong old passwords count as "
            "verify-password counts them, and an unknown user is answered as a wrong password is.",
            errors=(WrongPassword, *setting),
            examples=(
                Example(
                    "The same again", {"user": alice, "old_password": EXAMPLE_PASSWORD, "password": EXAMPLE_PASSWORD}
                ),
            ),
        ),
        "reset-password": Operation(
            writes=True,
            handle=partial(reset_password, accounts),
            request=ResetPasswordRequest,
            response=NamedUser,
            summary="Give a user another password, for the operator.\n\nIt also ends the time that the user has to "
            "wait after wrong passwords.",
            errors=(UnknownUser, *setting),
            examples=(Example("A new password", {"user": alice, "password": EXAMPLE_PASSWORD}),),
        ),
        "rename-user": Operation(
            writes=True,
            handle=partial(rename_user, accounts),
            request=RenameUserRequest,
            response=NamedUser,
            summary="Give a user another name. The user's id stays.",
            errors=(UnknownUser, UserExists, UserChanged, Unavailable),
            examples=(Example("In other letters", {"user": alice, "new_name": "Alice@example.org"}),),
        ),
        "import-user": Operation(
            writes=True,
            handle=partial(import_user, accounts),
            request=ImportUserRequest,
            response=NamedUser,
            summary="Create a user with a hash from elsewhere.\n\nThe first login replaces it by a hash of Argon2id.",
            errors=(InvalidHash, UserExists, Unavailable),
            examples=(Example("A bcrypt hash", {"user": "carol@example.org", "hash": _EXAMPLE_BCRYPT}),),
            statuses={201: "The user is created."},
        ),
        "list-users": Operation(
            handle=partial(list_users, accounts, cursors),
            request=ListUsersRequest,
            response=ListUsersResponse,
            summary="All users, a page at a time, in an order that stays the same.",
            errors=(Unavailable,),
            examples=(Example("The first page", {}),),
        ),
        "get-user": Operation(
            handle=partial(get_user, accounts),
            request=UserRequest,
            response=DescribedUser,
            summary="What is known of a user, but for the hash.",
            errors=(UnknownUser, Unavailable),
            examples=(Example("A user of the sample data", {"user_id": _ALICE_ID}),),
        ),
        "delete-user": Operation(
            writes=True,
            handle=partial(delete_user, accounts),
            request=UserRequest,
            response=None,
            summary="Remove a user, and the hash.",
            errors=(UnknownUser, UserChanged, Unavailable),
            examples=(Example("A user of the sample data", {"user_id": _BOB_ID}),),
            statuses={204: "The user is gone."},
        ),
        "rewrap-passwords": Operation(
            writes=True,
            handle=partial(rewrap_passwords, accounts, cursors),
            request=RewrapPasswordsRequest,
            response=RewrapPasswordsResponse,
            summary="Have stored hashes rest under the newest version of the pepper, a page at a time.\n\nLogins do "
            "it, too; this is for users who do not log in. Call it with the cursor of the answer before, until there "
            "is none.",
            errors=(Unavailable,),
            examples=(Example("The first page", {}),),
        ),
    }
