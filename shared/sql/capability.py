"""SQL over HTTP: the routes, and how the app builds their stores and services."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from shared.capability import Capability
from shared.once import Once
from shared.sql.settings import load_settings, public_databases, public_warnings
from shared.web import DELETE, FUNCTION, GET, GET_POST, POST, PUBLIC, PUT, Cursors, Operation, Route

if TYPE_CHECKING:
    from shared.health import Probe
    from shared.sandbox.process import Sandbox
    from shared.sql.databases import Databases
    from shared.sql.engines.blobs import Data
    from shared.sql.routes.exports import Link
    from shared.sql.routes.queries import CallerLists
    from shared.sql.store.files import Files
    from shared.sql.store.queries import QueryStore
    from shared.storage import Storage


class Sql(Capability, frozen=True, kw_only=True):
    """The parts of this capability that the app composes."""

    parquet: Callable[[Sequence[tuple[str, str, str]], Sequence[tuple[Any, ...]]], bytes]
    """A Parquet file of columns (name, kind, detail) and rows, as a query over data files returns them."""


def build(
    environ: Mapping[str, str],
    storage: Callable[[], "Storage"],
    derive_key: Callable[[str], bytes],
    callers: Callable[[], "CallerLists"],
    cursors: Cursors,
    link: "Link",
    sandbox: Callable[[], "Sandbox"],
    data: Callable[[], "Data"],
) -> Sql:
    """Connects to nothing. Raises InvalidSetting.

    `derive_key` returns 32 bytes for a purpose; `callers` reads the lists of who may run a query; `link` makes the URL
    of an exported blob; `sandbox` runs statements of SQLite that can take long; `data` runs statements over data files.
    """
    settings = load_settings(environ)
    public = public_databases(environ)

    @Once
    def files() -> "Files":
        from shared.sql.store.files import Files

        return Files(storage())

    @Once
    def databases() -> "Databases":
        from shared.sql.databases import Databases

        return Databases(settings, lambda scope: storage().token(scope), files(), sandbox, derive_key, data)

    @Once
    def query_store() -> "QueryStore":
        from shared.sql.store.queries import QueryStore

        return QueryStore(storage(), lambda: derive_key("queries"))

    # An import, and an export as Parquet, holds a child process for long, and an instance has two by default.
    slot = BoundedSemaphore()

    @Once
    def statements() -> Mapping[str, Operation]:
        from shared.sql.routes.databases import operations

        return operations(databases(), cursors)

    @Once
    def blobs() -> Mapping[str, Operation]:
        from shared.sql.routes.blobs import operations

        return operations(data, cursors)

    @Once
    def exports() -> Mapping[str, Operation]:
        from shared.sql.engines.parquet import ParquetFiles
        from shared.sql.routes.exports import operations

        return operations(databases(), data, files(), ParquetFiles(sandbox), link, slot)

    @Once
    def imports() -> Mapping[str, Operation]:
        from shared.sql.routes.imports import operations

        return operations(databases(), data, slot)

    @Once
    def queries() -> Mapping[str, Operation]:
        from shared.sql.routes.queries import operations

        return operations(databases(), query_store(), callers(), cursors, public)

    def warnings() -> Iterator[tuple[str, str, str]]:
        """For each public database that is not defined, and each reader that may do more than it should."""
        from shared.errors import StrongroomError

        yield from public_warnings(public, settings.keys())
        for database in databases():
            try:
                advice = database.warnings()
            except StrongroomError:
                continue  # The probes report a database that is out.
            for code, detail in advice:
                yield code, database.name, detail

    def ping(name: str) -> None:
        from shared.sql.errors import UnknownDatabase

        try:
            databases().get(name).ping()
        except UnknownDatabase:
            # A SQLite file in Blob Storage that nobody has uploaded yet: storage responded, and nothing is broken.
            if not settings[name].url.startswith("blob://"):
                raise

    def probes() -> Iterator["Probe"]:
        from shared.health import Probe

        for name in settings:
            yield Probe(f"database-{name}", "databases", partial(ping, name), needed=False)

    def parquet(columns: Sequence[tuple[str, str, str]], rows: Sequence[tuple[Any, ...]]) -> bytes:
        from shared.sql.engines.parquet import ParquetFiles, table_as_parquet

        return table_as_parquet(ParquetFiles(sandbox), columns, rows)

    return Sql(
        routes=(
            Route("query-sql", "query-sql", GET_POST, FUNCTION, statements),
            Route("query-blobs", "query-blobs", GET_POST, FUNCTION, blobs),
            Route("execute-sql", "execute-sql", POST, FUNCTION, statements),
            Route("list-databases", "databases", GET, FUNCTION, statements),
            Route("export-sql", "export-sql", POST, FUNCTION, exports),
            Route("import-sql", "import-sql", POST, FUNCTION, imports),
            Route("save-query", "queries/{query_name}", PUT, FUNCTION, queries),
            Route("list-queries", "queries", GET, FUNCTION, queries),
            Route("run-query", "queries/{query_name}", GET_POST, FUNCTION, queries),
            Route("delete-query", "queries/{query_name}", DELETE, FUNCTION, queries),
            Route("public-query", "public/{query_name}", GET, PUBLIC, queries),
        ),
        probes=probes,
        warnings=warnings,
        parquet=parquet,
    )
