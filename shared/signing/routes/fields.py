"""Fields that several functions share, and the bounds on what one call may cost."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import thread_time
from typing import Annotated, Protocol

import msgspec

from shared.errors import (
    Busy,
    NotAllowed,
    StorageForbidden,
    StorageUnavailable,
)
from shared.signing.errors import DamagedKey, MasterKeyUnavailable, ReservedKey, TooCostly, UnknownKey
from shared.signing.store import Key
from shared.signing.store.reading import OWN_PREFIX
from shared.web.fields import caller_list

KeyName = Annotated[
    str,
    msgspec.Meta(
        description="Name of the key: up to 63 lower-case letters, digits and hyphens; the first is not a hyphen.",
        pattern="^_?[a-z0-9][a-z0-9-]{0,62}\\Z",
        max_length=64,
        examples=["default", "invoices"],
    ),
]
VersionNumber = Annotated[int, msgspec.Meta(description="A version of the key.", ge=1, le=99999999)]

CallerList = Annotated[list[str], caller_list("sign, encrypt, decrypt and export with the key")]

STORE_ERRORS = (Busy, DamagedKey, MasterKeyUnavailable, StorageUnavailable, StorageForbidden)
KEY_ERRORS = (UnknownKey, ReservedKey, *STORE_ERRORS)
USE_ERRORS = (*KEY_ERRORS, NotAllowed)
"""The errors of the functions for which a list of callers counts."""

EFFORT_SECONDS = 0.1
"""CPU that one call may spend on versions that turn out not to match."""


def refuse_own(name: str) -> None:
    """Raise ReservedKey for the app's own keys."""
    if name.startswith(OWN_PREFIX):
        raise ReservedKey(f"Key {name} belongs to the app. Names of other keys do not begin with an underscore.")


class Caller(Protocol):
    """The caller, by the bearer token of the call."""

    def is_one_of(self, entries: Iterable[str]) -> bool:
        """Whether the entries of a list of callers name this caller."""
        ...


class CallerLists(Protocol):
    """Reads lists of callers, and the tokens of those who call."""

    def check(self, entries: Sequence[str]) -> None:
        """Raise InvalidRequest for a list with an entry that names no kind of caller."""
        ...

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """The caller of a request. It costs nothing until a list is compared."""
        ...


class _Nobody:
    def is_one_of(self, entries: Iterable[str]) -> bool:  # noqa: ARG002 - the protocol's signature.
        return False


NOBODY: Caller = _Nobody()
"""A caller without a token."""


def refuse_unlisted(key: Key, caller: Caller) -> None:
    """Raise NotAllowed if the key has a list of callers without this one, with the same words in every case."""
    callers = key.metadata.callers
    if callers is not None and not caller.is_one_of(callers):
        raise NotAllowed(
            f"Key {key.name} is for the callers on its list. Send the access token of one of them in the header "
            "Authorization: Bearer, beside the function key."
        )


class Effort:
    """Bounds the CPU that one call, with all items of its batch, spends on versions that do not match."""

    def __init__(self) -> None:
        self._spent = 0.0

    def over(self, candidates: Sequence[int], advice: str) -> Iterator[int]:
        """The candidates, until they have cost EFFORT_SECONDS in vain. Raises TooCostly with `advice`."""
        if len(candidates) == 1:  # Most calls name a version, by its number or a kid.
            yield candidates[0]
            return
        for candidate in candidates:
            if self._spent > EFFORT_SECONDS:
                raise TooCostly(advice)
            began = thread_time()
            yield candidate
            self._spent += thread_time() - began
