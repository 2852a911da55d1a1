"""Data files: the routes, and how the app builds their stores and services."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from shared.capability import Capability
from shared.once import Once
from shared.web import FUNCTION, GET_POST, Operation, Route

if TYPE_CHECKING:
    from shared.data.queries import Queries
    from shared.data.store.files import Listings
    from shared.sandbox.process import Sandbox
    from shared.storage import Storage


class Data(Capability, frozen=True, kw_only=True):
    """The parts of this capability that the app composes."""

    queries: Callable[[], "Queries"]
    """Opens queries over data files."""


def build(
    storage: Callable[[], "Storage"], listings: Callable[[], "Listings"], sandbox: Callable[[], "Sandbox"]
) -> Data:
    """Connects to nothing. `listings` lists blobs; `sandbox` runs DuckDB."""

    @Once
    def queries() -> "Queries":
        from shared.data.queries import Queries
        from shared.data.store.files import DataFiles

        return Queries(DataFiles(storage(), listings), sandbox)

    @Once
    def data() -> Mapping[str, Operation]:
        from shared.data.routes import operations

        return operations(queries())

    return Data(routes=(Route("describe-data", "describe-data", GET_POST, FUNCTION, data),), queries=queries)
