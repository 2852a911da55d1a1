"""Passwords and users: the routes, and how the app builds what serves them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from shared.once import Once
from shared.passwords.settings import load_settings
from shared.storage import Storage
from shared.web import DELETE, FUNCTION, GET, POST, Cursors, Operation, Route

if TYPE_CHECKING:
    from shared.passwords.pepper import Encryptor
    from shared.passwords.store import UserStore


class Passwords(NamedTuple):
    """What the app takes from this capability."""

    routes: tuple[Route, ...]
    users: Callable[[], "UserStore"]
    pepper_key: str
    """The name of the key that encrypts users' hashes, or ""."""


def build(
    environ: Mapping[str, str], storage: Callable[[], Storage], keys: Callable[[], "Encryptor"], cursors: Cursors
) -> Passwords:
    """Connects to nothing. `keys` encrypts hashes. Raises InvalidSetting."""
    settings = load_settings(environ)

    @Once
    def users() -> "UserStore":
        from shared.passwords.store import UserStore

        return UserStore(storage())

    @Once
    def passwords() -> Mapping[str, Operation]:
        from shared.passwords.accounts import Accounts
        from shared.passwords.admission import HashingThreads
        from shared.passwords.hashing import PROFILES
        from shared.passwords.pepper import Pepper
        from shared.passwords.policy import Policy
        from shared.passwords.routes import operations

        accounts = Accounts(
            users(),
            HashingThreads(settings.hash_memory_mib),
            Pepper(keys(), settings.pepper_key),
            Policy(settings.min_length, settings.min_length_with_second_factor, settings.service_names),
            PROFILES[settings.profile],
        )
        return operations(accounts, cursors)

    return Passwords(
        (
            Route("hash-password", "hash-password", POST, FUNCTION, passwords),
            Route("verify-password", "verify-password", POST, FUNCTION, passwords),
            Route("check-password", "check-password", POST, FUNCTION, passwords),
            Route("change-password", "change-password", POST, FUNCTION, passwords),
            Route("reset-password", "reset-password", POST, FUNCTION, passwords),
            Route("rename-user", "rename-user", POST, FUNCTION, passwords),
            Route("import-user", "users/import", POST, FUNCTION, passwords),
            Route("list-users", "users", GET, FUNCTION, passwords),
            Route("get-user", "users/{user_id}", GET, FUNCTION, passwords),
            Route("delete-user", "users/{user_id}", DELETE, FUNCTION, passwords),
            Route("rewrap-passwords", "rewrap-passwords", POST, FUNCTION, passwords),
        ),
        users,
        settings.pepper_key,
    )
