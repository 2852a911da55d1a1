"""Passwords and users: the routes, and how the app builds their stores and services."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from shared.capability import Capability
from shared.once import Once
from shared.passwords.settings import load_settings
from shared.web import DELETE, FUNCTION, GET, PATCH, POST, PUT, Cursors, Operation, Route

if TYPE_CHECKING:
    from shared.health import Probe
    from shared.passwords.accounts import Accounts
    from shared.passwords.pepper import Encryptor
    from shared.passwords.store.attempts import AttemptStore
    from shared.storage import Row, Storage


class Passwords(Capability, frozen=True, kw_only=True):
    """The parts of this capability that the app composes."""

    accounts: "Callable[[], Accounts]"


def build(
    environ: Mapping[str, str],
    storage: Callable[[], "Storage"],
    keys: Callable[[], "Encryptor"],
    derive_key: Callable[[str], bytes],
    cursors: Cursors,
    removed: Callable[[Sequence["Row"]], None],
) -> Passwords:
    """Connects to nothing. `keys` encrypts hashes; `derive_key` returns 32 bytes for a purpose.

    `removed` gets the rows of a deleted user, and removes the user's rows in other partitions.

    Raises InvalidSetting.
    """
    settings = load_settings(environ)

    @Once
    def attempts() -> "AttemptStore":
        from shared.passwords.store.attempts import AttemptStore
        from shared.storage.records import Records

        return AttemptStore(storage(), Records(lambda: derive_key("users")))

    @Once
    def accounts() -> "Accounts":
        from shared.passwords.accounts import new_accounts

        return new_accounts(settings, storage(), attempts(), keys, derive_key, removed=removed)

    @Once
    def passwords() -> Mapping[str, Operation]:
        from shared.passwords.routes import hashes, users

        return {**hashes.operations(accounts()), **users.operations(accounts(), cursors)}

    def probes() -> Iterator["Probe"]:
        from shared.health import Probe

        if settings.pepper_key:
            yield Probe("pepper-key", "keys", lambda: keys().current_version(settings.pepper_key))

    def warnings() -> Iterator[tuple[str, str, str]]:
        """For a pepper key that does not exist or cannot encrypt."""
        from shared.errors import StrongroomError, Unavailable

        if not settings.pepper_key:
            return
        try:
            keys().current_version(settings.pepper_key)
        except Unavailable:
            return  # The probe reports it.
        except StrongroomError as error:
            name = settings.pepper_key
            reason = error.detail or f"{error.title}."
            detail = f"STRONGROOM_PEPPER_KEY names {name}. {reason} Create an AES-256 key {name}, or name another key."
            yield "pepper-key-unusable", "STRONGROOM_PEPPER_KEY", detail

    return Passwords(
        routes=(
            Route("hash-password", "hash-password", POST, FUNCTION, passwords),
            Route("verify-password", "verify-password", POST, FUNCTION, passwords),
            Route("check-password", "check-password", POST, FUNCTION, passwords),
            Route("change-password", "change-password", POST, FUNCTION, passwords),
            Route("reset-password", "reset-password", POST, FUNCTION, passwords),
            Route("rename-user", "rename-user", POST, FUNCTION, passwords),
            Route("import-user", "users/import", POST, FUNCTION, passwords),
            Route("export-users", "users/export", POST, FUNCTION, passwords),
            Route("list-users", "users", GET, FUNCTION, passwords),
            Route("get-user", "users/{user_id}", GET, FUNCTION, passwords),
            Route("update-user", "users/{user_id}", PATCH, FUNCTION, passwords),
            Route("set-roles", "users/{user_id}/roles", PUT, FUNCTION, passwords),
            Route("link-subject", "users/{user_id}/subjects", PUT, FUNCTION, passwords),
            Route("delete-user", "users/{user_id}", DELETE, FUNCTION, passwords),
            Route("rewrap-passwords", "rewrap-passwords", POST, FUNCTION, passwords),
        ),
        expiring={"users": attempts},
        probes=probes,
        warnings=warnings,
        accounts=accounts,
    )
