"""The functions for users."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.deadline import call_limit
from shared.errors import (
    Busy,
    HashTooLarge,
    InvalidPassword,
    SamePassword,
    StrongroomError,
    TooManyAttempts,
    Unavailable,
    UnknownUser,
    UserChanged,
    UserDisabled,
    UserExists,
    UserLocked,
    WeakPassword,
    WrongPassword,
    invalid_field,
)
from shared.passwords.accounts import Accounts, ImportedUser, NewUser, Position
from shared.passwords.errors import InvalidHash
from shared.passwords.names import check_name
from shared.passwords.routes.fields import SecondFactor
from shared.passwords.store.users import User, is_user_id
from shared.web import Cursor, Cursors, Example, Fields, Operation, Response, rfc3339
from shared.web.batch import BATCH_SECONDS, BatchResponse, batch_of, check_alone, respond_together
from shared.web.fields import EXAMPLE_PASSWORD, EXAMPLE_USER_ID, PageLimit, Password, UserId, UserName

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Users of the sample data.
_BOB_ID = "5eed0000-0000-4000-8000-000000000002"
_EXAMPLE_BCRYPT = "$2b$10$dCxPgPRGaZ7OTpCDhHI7ROTXzJ6W9yat8iVREvKHomwQ0N5IHTpeS"

ImportedHash = Annotated[
    str,
    Meta(description="A hash from elsewhere, of any kind that verify-password accepts.", examples=[_EXAMPLE_BCRYPT]),
]
ImportedId = Annotated[
    Annotated[str, Meta(pattern="^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")] | None,
    Meta(description="The UUID that the user keeps, in its form with hyphens; without it the app assigns one."),
]
Created = Annotated[
    Annotated[datetime, Meta(tz=True)] | None, Meta(description="When the user was created; without it now.")
]
Disabled = Annotated[bool, Meta(description="Whether the user cannot log in.")]


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


class ImportUserItem(Fields, frozen=True):
    """One user, alone or in a batch."""

    user: UserName
    hash: ImportedHash
    user_id: ImportedId = None
    created: Created = None
    second_factor: SecondFactor | None = None
    disabled: Disabled | None = None


class ImportUserRequest(ImportUserItem, frozen=True):
    """One user, or a `batch` of them and nothing beside it."""

    # A batch has these in its items.
    user: UserName | None = None  # type: ignore[assignment]
    hash: ImportedHash | None = None  # type: ignore[assignment]
    batch: Annotated[list[Any], batch_of(ImportUserItem)] | None = None


class NamedUserResponse(msgspec.Struct, frozen=True):
    user: str
    user_id: UserId


class ListUsersRequest(Fields, frozen=True):
    user: Annotated[UserName | None, Meta(description="Only the user of this name.")] = None
    limit: PageLimit = 100
    cursor: Cursor | None = None


class UserResponse(msgspec.Struct, frozen=True):
    user: str
    user_id: UserId
    created: str
    last_login: str | None
    algorithm: Annotated[
        str, Meta(description="The algorithm of the stored hash: `argon2id`, or that of an imported hash.")
    ]
    second_factor: bool
    disabled: bool
    roles: tuple[str, ...]
    subjects: Annotated[
        tuple[dict[str, str | int | float], ...], Meta(description="The data that this user may see as their own.")
    ]


class ListUsersResponse(msgspec.Struct, frozen=True):
    users: list[UserResponse]
    cursor: str | None


class ExportUsersRequest(Fields, frozen=True):
    limit: PageLimit = 100
    cursor: Cursor | None = None


class ExportedUser(UserResponse, frozen=True):
    hash: Annotated[str, Meta(description="The stored hash, as import-user accepts it.")]


class ExportUsersResponse(msgspec.Struct, frozen=True):
    users: list[ExportedUser]
    cursor: str | None


class GetUserRequest(Fields, frozen=True):
    user_id: UserId


class DeleteUserRequest(Fields, frozen=True):
    user_id: UserId


class UpdateUserRequest(Fields, frozen=True):
    user_id: UserId
    disabled: Disabled | UnsetType = UNSET


class SetRolesRequest(Fields, frozen=True):
    user_id: UserId
    roles: Annotated[
        list[Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]],
        Meta(
            description="All roles of the user, each of up to 64 letters, digits, dots, hyphens and underscores. "
            "Access tokens contain them, and lists of callers name them.",
            max_length=50,
        ),
    ]


SubjectText = Annotated[str, Meta(min_length=1, max_length=256)]
SubjectType = Annotated[str, Meta(min_length=1, max_length=64)]
SubjectMap = Annotated[dict[SubjectType, SubjectText | int | float], Meta(min_length=1, max_length=20)]


class LinkSubjectRequest(Fields, frozen=True):
    user_id: UserId
    subjects: Annotated[
        Annotated[list[SubjectText | SubjectMap], Meta(max_length=20)] | SubjectMap,
        Meta(
            description="All data that this user may see as their own: each a text (an e-mail address), or an object "
            "that maps types to values.",
            examples=[["alice@example.org", {"customer_id": 7}]],
        ),
    ]


class RewrapPasswordsRequest(Fields, frozen=True):
    limit: PageLimit = 100
    cursor: Cursor | None = None


class RewrapPasswordsResponse(msgspec.Struct, frozen=True):
    examined: int
    rewrapped: Annotated[
        int, Meta(description="The number of hashes that were encrypted again, because the key or its version changed.")
    ]
    migrated: Annotated[
        bool,
        Meta(
            description="Whether every hash was encrypted in a pass over all users: the app then refuses a plain hash."
        ),
    ]
    cursor: str | None


def change_password(accounts: Accounts, request: ChangePasswordRequest) -> NamedUserResponse:
    return _named(accounts.change_password(_name(request.user), request.old_password, request.password))


def reset_password(accounts: Accounts, request: ResetPasswordRequest) -> NamedUserResponse:
    return _named(accounts.reset_password(_name(request.user), request.password))


def rename_user(accounts: Accounts, request: RenameUserRequest) -> NamedUserResponse:
    return _named(accounts.rename(_name(request.user), check_name(request.new_name, "new_name")))


def import_user(accounts: Accounts, request: ImportUserRequest) -> Response | BatchResponse:
    if request.batch is None:
        check_alone(request, ImportUserItem)
        return Response.json(_named(accounts.import_user(_new_user(request))), 201)

    def import_users(users: list[ImportedUser]) -> list[NamedUserResponse | StrongroomError]:
        return [_named(each) if isinstance(each, User) else each for each in accounts.import_users(users)]

    with call_limit(BATCH_SECONDS):
        return respond_together(
            request.batch, ImportUserItem, lambda item: accounts.imported(_new_user(item)), import_users
        )


def _new_user(item: ImportUserItem) -> NewUser:
    created = item.created
    if created is not None and not _EPOCH <= created <= datetime.now(UTC) + timedelta(days=1):
        raise invalid_field("created", "The time `created` lies between 1970 and now.")
    if item.user_id is not None and not is_user_id(item.user_id):
        raise invalid_field("user_id", "The `user_id` is a UUID, such as 5eed0000-0000-4000-8000-000000000001.")
    return NewUser(
        name=_name(item.user),
        hash=item.hash,
        user_id=None if item.user_id is None else item.user_id.lower(),
        created=created,
        second_factor=bool(item.second_factor),
        disabled=bool(item.disabled),
    )


def list_users(accounts: Accounts, cursors: Cursors, request: ListUsersRequest) -> ListUsersResponse:
    if request.user is not None:
        if request.cursor is not None:
            raise invalid_field("cursor", "Provide at most one of `user` and `cursor`.")
        stored, _ = accounts.users.find(accounts.users.key(_name(request.user)))
        return ListUsersResponse([] if stored is None else [_described(stored.user)], None)
    after = "" if request.cursor is None else cursors.decode(request.cursor, str, "list-users")
    users = accounts.users.page(after, request.limit + 1)
    shown = users[: request.limit]
    cursor = cursors.encode(shown[-1].user.user_id, "list-users") if len(users) > len(shown) else None
    return ListUsersResponse([_described(each.user) for each in shown], cursor)


def export_users(accounts: Accounts, cursors: Cursors, request: ExportUsersRequest) -> ExportUsersResponse:
    after = "" if request.cursor is None else cursors.decode(request.cursor, str, "export-users")
    exported = accounts.export(after, request.limit + 1)
    shown = exported[: request.limit]
    cursor = cursors.encode(shown[-1][0].user_id, "export-users") if len(exported) > len(shown) else None
    users = [ExportedUser(**msgspec.structs.asdict(_described(user)), hash=text) for user, text in shown]
    return ExportUsersResponse(users, cursor)


def get_user(accounts: Accounts, request: GetUserRequest) -> UserResponse:
    return _described(accounts.users.by_id(request.user_id).user)


def update_user(accounts: Accounts, request: UpdateUserRequest) -> UserResponse:
    if isinstance(request.disabled, UnsetType):
        raise invalid_field("disabled", "Provide `disabled`: true or false.")
    return _described(accounts.set_disabled(request.user_id, request.disabled))


def set_roles(accounts: Accounts, request: SetRolesRequest) -> UserResponse:
    return _described(accounts.set_roles(request.user_id, request.roles))


def link_subject(accounts: Accounts, request: LinkSubjectRequest) -> UserResponse:
    listed = request.subjects if isinstance(request.subjects, list) else [request.subjects]
    subjects = [{"email": each} if isinstance(each, str) else each for each in listed]
    return _described(accounts.set_subjects(request.user_id, subjects))


def delete_user(accounts: Accounts, request: DeleteUserRequest) -> Response:
    accounts.delete(request.user_id)
    return Response(204)


def rewrap_passwords(accounts: Accounts, cursors: Cursors, request: RewrapPasswordsRequest) -> RewrapPasswordsResponse:
    cursor = request.cursor
    position = Position() if cursor is None else cursors.decode(cursor, Position, "rewrap-passwords")
    result = accounts.rewrap(position, request.limit)
    following = None if result.position is None else cursors.encode(result.position, "rewrap-passwords")
    return RewrapPasswordsResponse(result.examined, result.rewrapped, result.migrated, following)


def _name(name: str) -> str:
    return check_name(name, "user")


def _named(user: User) -> NamedUserResponse:
    return NamedUserResponse(user.name, user.user_id)


def _described(user: User) -> UserResponse:
    return UserResponse(
        user.name,
        user.user_id,
        rfc3339(user.created),
        None if user.last_login is None else rfc3339(user.last_login),
        user.algorithm,
        user.needs_second_factor,
        user.disabled,
        user.roles,
        user.subjects,
    )


def operations(accounts: Accounts, cursors: Cursors) -> dict[str, Operation]:
    """The functions for users."""
    alice = "alice@example.org"
    setting = (InvalidPassword, WeakPassword, HashTooLarge, UserChanged, Busy, Unavailable)

    return {
        "change-password": Operation(
            handle=partial(change_password, accounts),
            request=ChangePasswordRequest,
            response=NamedUserResponse,
            summary="Change a user's password, with the old one.\n\nWrong old passwords count as verify-password "
            "counts them, and the response for an unknown user is the one for a wrong password.",
            errors=(WrongPassword, SamePassword, UserDisabled, TooManyAttempts, UserLocked, *setting),
            examples=(
                Example(
                    "A new password",
                    {"user": alice, "old_password": EXAMPLE_PASSWORD, "password": "seven purple mountain goats"},
                ),
            ),
            writes=True,
        ),
        "reset-password": Operation(
            handle=partial(reset_password, accounts),
            request=ResetPasswordRequest,
            response=NamedUserResponse,
            summary="Set a user's password, as an operator.\n\nThis also ends the user's wait after wrong passwords.",
            errors=(UnknownUser, *setting),
            examples=(Example("A new password", {"user": alice, "password": EXAMPLE_PASSWORD}),),
            writes=True,
        ),
        "rename-user": Operation(
            handle=partial(rename_user, accounts),
            request=RenameUserRequest,
            response=NamedUserResponse,
            summary="Rename a user. The user's id and the count of wrong passwords stay.\n\nIf the password is the new "
            "name or a part of it, the response is 422.",
            errors=(UnknownUser, UserExists, WeakPassword, HashTooLarge, Busy, Unavailable),
            examples=(Example("In other letters", {"user": alice, "new_name": "Alice@example.org"}),),
            writes=True,
        ),
        "import-user": Operation(
            handle=partial(import_user, accounts),
            request=ImportUserRequest,
            response=(NamedUserResponse, BatchResponse),
            summary="Create users with a hash from elsewhere: one, or up to 1,000 in a batch.\n\nThe first login "
            "replaces the hash by one of Argon2id.",
            errors=(InvalidHash, UserExists, Busy, Unavailable),
            examples=(Example("A bcrypt hash", {"user": "carol@example.org", "hash": _EXAMPLE_BCRYPT}),),
            statuses={200: "The results of the batch.", 201: "The user was created."},
            in_items=ImportUserItem.__struct_fields__,
            writes=True,
        ),
        "export-users": Operation(
            handle=partial(export_users, accounts, cursors),
            request=ExportUsersRequest,
            response=ExportUsersResponse,
            summary="Export users with their hashes, a page at a time.\n\nNo other function returns a user's hash: "
            "give its key only to operators who move users elsewhere.",
            errors=(Unavailable,),
            examples=(Example("The first page", {}),),
        ),
        "list-users": Operation(
            handle=partial(list_users, accounts, cursors),
            request=ListUsersRequest,
            response=ListUsersResponse,
            summary="List all users, a page at a time in a stable order, or find the user of one name.",
            errors=(Unavailable,),
            examples=(Example("The first page", {}), Example("One user", {"user": alice})),
        ),
        "get-user": Operation(
            handle=partial(get_user, accounts),
            request=GetUserRequest,
            response=UserResponse,
            summary="Show a user, without the hash.",
            errors=(UnknownUser, Unavailable),
            examples=(Example("A user of the sample data", {"user_id": EXAMPLE_USER_ID}),),
        ),
        "update-user": Operation(
            handle=partial(update_user, accounts),
            request=UpdateUserRequest,
            response=UserResponse,
            summary="Disable or enable a user.\n\nDisabling ends all sessions. The password of a disabled user is not "
            "valid. If it is right, verify-password says `reason`: `disabled`.",
            errors=(UnknownUser, Busy, Unavailable),
            examples=(Example("Enable a user of the sample data", {"user_id": _BOB_ID, "disabled": False}),),
            writes=True,
        ),
        "set-roles": Operation(
            handle=partial(set_roles, accounts),
            request=SetRolesRequest,
            response=UserResponse,
            summary="Replace the roles of a user.\n\nAccess tokens that were issued before keep the former roles until "
            "they expire, at most ten minutes.",
            errors=(UnknownUser, Busy, Unavailable),
            examples=(Example("A role", {"user_id": EXAMPLE_USER_ID, "roles": ["billing"]}),),
            writes=True,
        ),
        "link-subject": Operation(
            handle=partial(link_subject, accounts),
            request=LinkSubjectRequest,
            response=UserResponse,
            summary="Replace the subjects of a user: the data that the user may see as their own.",
            errors=(UnknownUser, Busy, Unavailable),
            examples=(Example("A customer", {"user_id": EXAMPLE_USER_ID, "subjects": [{"customer_id": 7}]}),),
            writes=True,
        ),
        "delete-user": Operation(
            handle=partial(delete_user, accounts),
            request=DeleteUserRequest,
            response=None,
            summary="Delete a user: the hash, sessions and factors.",
            errors=(UnknownUser, Busy, Unavailable),
            examples=(Example("A user of the sample data", {"user_id": _BOB_ID}),),
            statuses={204: "The user was deleted."},
            writes=True,
        ),
        "rewrap-passwords": Operation(
            handle=partial(rewrap_passwords, accounts, cursors),
            request=RewrapPasswordsRequest,
            response=RewrapPasswordsResponse,
            summary="Encrypt stored hashes under the newest version of the pepper, a page at a time.\n\nA login "
            "encrypts its user's hash; this call does so for all others. Repeat it with the `cursor` of the previous "
            "response until it is null. Run it also after a change of STRONGROOM_PASSWORD_PROFILE, once most users "
            "have logged in.",
            errors=(Busy, Unavailable),
            examples=(Example("The first page", {}),),
            writes=True,
        ),
    }
