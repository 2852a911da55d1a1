"""Fields that the requests of several functions share, and what a batch answers."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

import msgspec

from shared.errors import Busy, StorageForbidden, StorageUnavailable, StrongroomError, invalid_field
from shared.signing.errors import DamagedKey, MasterKeyUnavailable, UnknownKey
from shared.web.respond import problem_fields

Item = TypeVar("Item")

KeyName = Annotated[
    str,
    msgspec.Meta(
        description="Name of a key.",
        pattern="^[a-z0-9][a-z0-9-]{0,62}\\Z",
        max_length=63,
        examples=["default", "invoices"],
    ),
]
VersionNumber = Annotated[int, msgspec.Meta(description="A version of the key.", ge=1, le=99999999)]
Reference = Annotated[str, msgspec.Meta(description="Comes back with the item's result.", max_length=256)]

STORE_ERRORS = (Busy, DamagedKey, MasterKeyUnavailable, StorageUnavailable, StorageForbidden)
KEY_ERRORS = (UnknownKey, *STORE_ERRORS)

MAX_BATCH = 1000


class BatchResponse(msgspec.Struct, frozen=True):
    """The answers to a batch, in its order: each as the call alone would answer, or a problem (RFC 9457) with its
    `status` and `code`; and the item's `reference`."""

    results: list[Any]


def respond_batch(items: Iterable[Item], response: Callable[[Item], object]) -> BatchResponse:
    """`answer` for each of `items`. What is wrong with one is its own problem; a service that is out, all of theirs."""
    results: list[object] = []
    for item in items:
        try:
            results.append(response(item))
        except StrongroomError as error:
            if error.status >= 500:
                raise
            reference = getattr(item, "reference", msgspec.UNSET)
            results.append(problem_fields(error) | ({} if reference is msgspec.UNSET else {"reference": reference}))
    return BatchResponse(results)


def refuse_beside_batch(fields: object, *names: str) -> None:
    """Raise InvalidRequest where one of `names`, which belong into the items, stands beside them."""
    for name in names:
        if getattr(fields, name) is not None:
            raise invalid_field(name, "stands beside batch: put it into the items.")
