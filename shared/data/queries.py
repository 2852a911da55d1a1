"""Queries over data files, as other capabilities use them."""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from shared.data.store.files import DataFiles
from shared.data.store.queries import DataQuery, FolderSource, PathSource, Source, TextSource
from shared.datafiles import FileFormat, Options
from shared.errors import NotFound, Refused, StrongroomError
from shared.storage import check_container

if TYPE_CHECKING:
    from shared.sandbox.process import Sandbox

DESCRIBED = 20
"""The most views whose columns a listing shows."""


class Queries:
    """Opens queries over the data files of one storage account. Safe to use from many threads."""

    def __init__(self, files: DataFiles, sandbox: Callable[[], "Sandbox"]) -> None:
        self._files = files
        self._sandbox = sandbox

    def path(
        self,
        container: str,
        path: str,
        file_format: FileFormat | None = None,
        options: Options | None = None,
        *,
        as_text: bool = False,
    ) -> PathSource:
        """The files of a path, as the view `data`. Raises ReservedContainer, and InvalidRequest for `..`."""
        check_container(container)
        return PathSource(self._files, container, path, file_format, options or Options(), as_text=as_text)

    def text(
        self, contents: bytes, file_format: FileFormat = "csv", options: Options | None = None, *, as_text: bool = False
    ) -> TextSource:
        """Data that the call itself brought, as the view `data`."""
        return TextSource(contents, file_format, options or Options(), as_text=as_text)

    def folder(self, container: str, prefix: str) -> FolderSource:
        """The files and folders below a prefix, each a view. Raises ReservedContainer."""
        check_container(container)
        return FolderSource(self._files, container, prefix)

    def open(self, source: Source, deadline: float) -> DataQuery:
        """A query, in a `with`: `check` and `run` a statement with `$1`, `$2`, …, then `fetch` its rows.

        `deadline` is of the monotonic clock. Entering it raises NoFiles, MixedFormats, TooMuchToRead and Busy.
        """
        return DataQuery(self._files, self._sandbox, source, deadline)

    def tables(self, source: FolderSource, deadline: float) -> list[tuple[str, list[tuple[str, str]]]]:
        """The views of a folder, with their columns: of the first DESCRIBED, as long as there is time."""
        source.prepare()
        names = [each.name for each in source.views]
        columns: dict[str, list[tuple[str, str]]] = {}
        with suppress(StrongroomError), self.open(source, deadline) as query:
            query.check("select 1")
            for name in names[:DESCRIBED]:
                with suppress(Refused, NotFound):
                    columns[name] = [(each.name, each.kind) for each in query.describe(name)]
        return [(name, columns.get(name, [])) for name in names]

    def check_container(self, container: str) -> None:
        """Raises UnknownContainer."""
        self._files.check_container(container)
