"""The users, as this capability sees them: the parts of the users' store and of the password functions that it needs.

The rows of a user are one partition of the users' table: `user` (the password capability writes it), and of this
capability `s|<session id>`, `f|<kind>|<factor id>`, `r|<digest of a recovery code>` and `codes`.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shared.storage.records import Records
    from shared.storage.tables import Operation, Row, Table


class User(Protocol):
    """A user, without the hash."""

    @property
    def user_id(self) -> str:
        """A UUID in lower case."""
        ...

    @property
    def name(self) -> str: ...

    @property
    def disabled(self) -> bool: ...

    @property
    def has_factor(self) -> bool:
        """Whether a second factor is enrolled."""
        ...

    @property
    def short_password(self) -> bool:
        """Whether the password is too short to be the only factor."""
        ...

    @property
    def signed_out_at(self) -> datetime:
        """Sessions and tickets that began before are over: they hold another value than this one."""
        ...

    @property
    def roles(self) -> tuple[str, ...]: ...


class Login(Protocol):
    """The result of a password."""

    @property
    def user(self) -> User | None:
        """The user, if the password is right and the user is not disabled."""
        ...

    @property
    def outcome(self) -> str:
        """`success`, `disabled` (the password is right), `wrong-password`, `unknown-user`."""
        ...


class UserStore(Protocol):
    """The users' table."""

    @property
    def table(self) -> "Table": ...

    @property
    def records(self) -> "Records":
        """Makes and opens the rows of the table."""
        ...

    def opened(self, row: "Row") -> User:
        """The user in a row `user`. Raises DamagedRow."""
        ...

    def changing(self, row: "Row", **changes: object) -> "Operation":
        """The write that changes members of the user in a row `user`, under its ETag. The hash stays."""
        ...

    def signing_out(self, row: "Row", now: datetime, **changes: object) -> tuple["Operation", datetime]:
        """As `changing`, with a new `signed_out_at`, which ends all sessions and tickets; and that time."""
        ...

    def key(self, name: str) -> str:
        """A keyed digest of a name, equal for names that are the same."""
        ...

    def id_of(self, name: str) -> str | None:
        """The id of the user with this name, after the same two reads whether or not there is one."""
        ...


class Accounts(Protocol):
    """The users' passwords."""

    @property
    def users(self) -> UserStore: ...

    def check_name(self, name: str) -> str:
        """A name as it is stored. Raises InvalidRequest, naming the field `user`."""
        ...

    def create(self, name: str, password: str, *, second_factor: bool) -> User:
        """Raises WeakPassword, UserExists, InvalidPassword, HashTooLarge, Busy."""
        ...

    def create_without_password(self, name: str, user_id: str) -> User:
        """Create a user whom no password signs in. Raises UserExists."""
        ...

    def log_in(self, name: str, password: str) -> Login:
        """Compare a password, and count a failure. Raises InvalidPassword, TooManyAttempts, UserLocked, Busy."""
        ...

    def change_own_password(
        self,
        user_id: str,
        old_password: str | None,
        password: str,
        also: "Callable[[datetime], Sequence[Operation]]",
    ) -> User:
        """Set a password, in one write with the operations of `also`, which gets the new `signed_out_at`.

        Without an old password, none is compared. Raises UnknownUser, WrongPassword, SamePassword, WeakPassword,
        UserDisabled, TooManyAttempts, UserLocked, Busy.
        """
        ...
