"""Runs a statement over data files in a child process, and serves the child the bytes that it may read."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from struct import Struct
from time import monotonic
from typing import Any, NamedTuple, Protocol

import msgspec

from shared.data.names import (
    File,
    View,
    check_path,
    find_view,
    is_glob,
    is_gzip,
    is_hidden,
    literal_prefix,
    matching,
    path_text,
    views,
)
from shared.data.ranges import WINDOW_BYTES
from shared.data.sources import VIEW, Selection, check_count, select
from shared.data.store.files import MAX_BYTES, MAX_FILES, MAX_LISTED, TOO_MUCH, Budget, DataFiles
from shared.datafiles import ColumnsDiffer, FileFormat, Options, TooMuchToRead, UnreadableData
from shared.deadline import call_limit
from shared.errors import (
    MultipleStatements,
    QueryTimeout,
    ReadOnly,
    RowTooLarge,
    SqlError,
    StrongroomError,
    Unavailable,
)
from shared.sandbox.errors import EngineFailed, OutOfMemory
from shared.sandbox.process import MEMORY, TIME, Child, ChildDied, ChildLate, Sandbox
from shared.storage.errors import TemporaryFailure

ENTRY = "shared.data.child:serve"
START = Struct(">Q")
LATE = "The time limit is over. Raise timeout_ms, or select less."
NO_MEMORY = "The statement needs more memory than its process may take. Select, group or sort less."
FAILED = "The engine's process ended: it cannot run this statement, or a file is damaged. Other calls are not affected."
MAX_DETAIL = 600
LISTED_FILES = 100
"""The most files that a response names."""
_ORIGINAL = re.compile(r"(Original Line: .{80}).*")
"""The line of a file in an error. A long one would leave no room for the reason."""
_ADVICE = re.compile(
    r"\n\s*(?:Possible (?:fixes|solution)|This type was |\* |LINE \d|Try (?:increasing|setting)|The search space used)"
    r".*|\s*Use \"?SET .*",
    re.DOTALL | re.IGNORECASE,
)
"""What an error says about DuckDB's own settings, which a call does not have."""
CSV_OPTIONS = "The field options sets the delimiter, the header and the types of columns."
_PATH = re.compile(r"sr://data/(\d+)(?:/[^\s\"']*)?\.(?:csv|json|parquet)")
_ERRORS: dict[str, type[StrongroomError]] = {
    "many": MultipleStatements,
    "write": ReadOnly,
    "refused": SqlError,
    "sql": SqlError,
    "row": RowTooLarge,
    "columns": ColumnsDiffer,
    "unreadable": UnreadableData,
}


class ResultColumn(NamedTuple):
    """A column of a result: `kind` is one of `query-sql`, `detail` the rest of the type, such as `decimal(9,2)`."""

    name: str
    kind: str
    detail: str


class Source(Protocol):
    """The files that a call reads."""

    container: str

    def prepare(self) -> None:
        """List the files before a process is taken."""

    def selections(self, tables: Sequence[str], defined: Sequence[str]) -> list[Selection]:
        """The files of each table that a statement reads. Raises SqlError for one that there is not."""


class PathSource:
    """The files that a path matches, as the view `data`."""

    def __init__(
        self,
        files: DataFiles,
        container: str,
        path: str,
        file_format: FileFormat | None,
        options: Options,
        *,
        as_text: bool = False,
    ) -> None:
        check_path(path)
        self.container = container
        self._files = files
        self._path = path
        self._format = file_format
        self._options = options
        self._as_text = as_text
        self._selection: Selection | None = None

    @property
    def selection(self) -> Selection:
        """The files. Raises NoFiles, MixedFormats, TooMuchToRead, UnknownContainer and ReservedContainer."""
        if self._selection is None:
            # A name is the first of those that start with it.
            first = MAX_LISTED if is_glob(self._path) else 1
            listed, _ = self._files.list(self.container, literal_prefix(self._path), first=first)
            selected = select(VIEW, self._path, matching(self._path, listed), self._format, self._options)
            self._selection = selected._replace(as_text=self._as_text)
        return self._selection

    def prepare(self) -> None:
        _ = self.selection

    def selections(self, tables: Sequence[str], defined: Sequence[str]) -> list[Selection]:
        unknown = [name for name in tables if name.lower() not in (VIEW, *defined)]
        if unknown:
            raise SqlError(f"The view {unknown[0]} does not exist. The files of the call are the view {VIEW}.")
        return [self.selection] if any(name.lower() == VIEW for name in tables) else []


class TextSource:
    """Data that the call itself brought, as the view `data`."""

    container = ""

    def __init__(self, contents: bytes, file_format: FileFormat, options: Options, *, as_text: bool) -> None:
        file = File(f"data.{file_format}", len(contents), "")
        self.contents = contents
        self.selection = select(VIEW, file.name, [file], file_format, options)._replace(as_text=as_text)

    def prepare(self) -> None:
        """Do nothing: there is nothing to list."""

    def selections(self, tables: Sequence[str], defined: Sequence[str]) -> list[Selection]:  # noqa: ARG002
        return [self.selection] if any(name.lower() == VIEW for name in tables) else []


class FolderSource:
    """The files and folders below a prefix, each as a view."""

    def __init__(self, files: DataFiles, container: str, prefix: str) -> None:
        self.container = container
        self._files = files
        self._prefix = prefix
        self._views: list[View] = []
        self._listed: dict[str, File] = {}

    def prepare(self) -> None:
        files, folders = self._files.list(self.container, self._prefix, delimiter="/")
        length = len(self._prefix)
        self._listed = {each.name[length:]: each for each in files if each.size}
        self._views = views(list(self._listed), [each[length:] for each in folders])

    @property
    def views(self) -> list[View]:
        """Every view, once prepared."""
        return self._views

    def selections(self, tables: Sequence[str], defined: Sequence[str]) -> list[Selection]:
        selected: dict[str, Selection] = {}
        for name in tables:
            if name.lower() in selected:
                continue
            view = find_view(name, self._views)
            if view is not None:
                selected[name.lower()] = self.select(view, name)
            elif name.lower() not in defined:
                names = ", ".join(each.name for each in self._views[:20]) or "none"
                raise SqlError(f"The view {name} does not exist. The views of the database are: {names}.")
        return list(selected.values())

    def select(self, view: View, name: str) -> Selection:
        """The files of a view. Raises NoFiles and MixedFormats."""
        if not view.path.endswith("/"):
            return select(name, view.path, [self._listed[view.path]], None, Options())
        listed, _ = self._files.list(self.container, self._prefix + view.path)
        files = [each for each in listed if each.size and not is_hidden(each.name)]
        return select(name, f"{self._prefix}{view.path}**", files, None, Options())


class DataQuery:
    """One statement over data files, from its check to its last row. One thread uses it, in a `with`."""

    first_rows = 64

    def __init__(self, files: DataFiles, sandbox: Callable[[], Sandbox], source: Source, deadline: float) -> None:
        """`deadline` is of the monotonic clock."""
        self._source = source
        self._sandbox = sandbox
        self._deadline = deadline
        self._budget = Budget(files, source.container)
        self._budget.contents = getattr(source, "contents", None)
        self._child: Child | None = None
        self._all = self._budget.all
        """The files of the call, by the numbers that the child uses."""
        self.selections: list[Selection] = []
        """The files of each view, without those that the statement's partitions leave out."""
        self.digest = ""
        """A digest of the names and ETags of all files of the views."""

    @property
    def bytes_scanned(self) -> int:
        """The bytes of the files that were read so far."""
        return self._budget.bytes_scanned

    @property
    def requests(self) -> int:
        """In how many requests."""
        return self._budget.requests

    def __enter__(self) -> "DataQuery":
        with self._limit():
            self._source.prepare()
        sandbox = self._sandbox()
        try:
            self._child = sandbox.take(ENTRY, self._deadline)
        except OSError as error:
            raise Unavailable("A process for the statement could not start.", retry_after=1) from error
        return self

    def __exit__(self, *_: object) -> None:
        child, self._child = self._child, None
        if child is not None:
            # A process serves one call: nothing of it is left for the next.
            self._sandbox().give(child, reusable=False, spare=True)

    def check(self, sql: str, params: Sequence[Any] = ()) -> None:
        """Check the statement, and find the files that it reads.

        Raises SqlError, ReadOnly, MultipleStatements, TooMuchToRead, and what listing the files raises.
        """
        self._call("start", max(0.0, self._deadline - monotonic()))
        tables, defined = self._call("check", sql)
        with self._limit():
            selections = self._source.selections(tables, defined)
        self.digest = "".join(each.digest() for each in selections)
        self.selections = [self._pruned(each, params) for each in selections] if len(selections) == 1 else selections
        check_count(self.selections, MAX_FILES)

    def _pruned(self, selection: Selection, params: Sequence[Any]) -> Selection:
        if not selection.columns:
            return selection
        with suppress(SqlError):
            numbers = self._call("prune", selection.view, selection.columns, selection.rows, list(params))
            if numbers is not None:
                # Where none is left, one file still shows the columns.
                return selection.part(numbers or [0])
        return selection

    def run(self, sql: str, params: Sequence[Any] = (), *, explain: bool = False) -> list[ResultColumn]:
        """Start the statement: its columns. Raises SqlError, QueryTimeout, OutOfMemory, EngineFailed and more."""
        self._open()
        if not explain and sum(each.size for each in self._all) > MAX_BYTES and len(self.selections) == 1:
            least = self._call("least", sql, list(params))
            if (
                least is not None
                and sum(least.get(str(number), each.size) for number, each in enumerate(self._all)) > MAX_BYTES
            ):
                raise TooMuchToRead(TOO_MUCH)
        return self.start(sql, params, explain=explain)

    def _open(self) -> None:
        """Make the views in the child."""
        messages = []
        for selection in self.selections:
            options = msgspec.to_builtins(selection.options)
            options["as_text"] = selection.as_text
            options["gzip"] = is_gzip(selection.files[0].name)
            start = len(self._all)
            self._all += selection.files
            paths = [_path(start + number, selection, number) for number in range(len(selection.files))]
            sizes = [[path, each.size] for path, each in zip(paths, selection.files, strict=True)]
            messages.append([selection.view, selection.format, options, selection.columns, sizes])
        self._call("open", messages)

    def start(self, sql: str, params: Sequence[Any] = (), *, explain: bool = False) -> list[ResultColumn]:
        """Replace the last statement by another over the same views. It must have been checked."""
        return [ResultColumn(*each) for each in self._call("query", sql, list(params), explain)]

    def estimate(self, sql: str, params: Sequence[Any] = ()) -> Mapping[str, Any]:
        """The most that the statement would read, and its plan. It must have been checked."""
        self._open()
        sizes = [each.size for each in self._all]
        plan, read = self._call("estimate", sql, list(params))
        expected = [min(size, read.get(str(number), size)) for number, size in enumerate(sizes)]
        return {
            "files": [{"name": each.name, "size": each.size, "etag": each.etag} for each in self._all[:LISTED_FILES]],
            "file_count": len(self._all),
            "bytes_to_read": sum(expected),
            "requests_to_make": sum(1 + size // WINDOW_BYTES for size in expected),
            "plan": plan,
        }

    def describe(self, name: str) -> list[ResultColumn]:
        """The columns of another view of the source: for listing the tables of a database."""
        with self._limit():
            self.selections = self._source.selections([name], [])
        check_count(self.selections, MAX_FILES)
        self._open()
        return [ResultColumn(*each) for each in self._call("describe", self.selections[0].view)]

    def fetch(self, count: int) -> list[tuple[Any, ...]]:
        """The next rows, at most `count`; none at the end."""
        return [tuple(row) for row in self._call("fetch", count)]

    # ---- The child.

    @contextmanager
    def _limit(self) -> Iterator[None]:
        """Limit requests to storage to the statement's time. Raises QueryTimeout if that ends them."""
        try:
            with call_limit(max(0.0, self._deadline - monotonic())):
                yield
        except TemporaryFailure as failure:
            if failure.cut_short:
                raise QueryTimeout(LATE) from None
            raise

    def _call(self, *message: Any) -> Any:
        child = self._child
        if child is None:
            raise EngineFailed(FAILED)
        try:
            child.send(msgspec.msgpack.encode(message), self._deadline)
            while True:
                tag, *values = msgspec.msgpack.decode(child.receive(self._deadline))
                if tag == "read":
                    child.send(self._read(*values), self._deadline)
                elif tag == "ok":
                    return values[0]
                elif tag == "error":
                    raise self._error(*values)
                else:
                    raise EngineFailed(FAILED)
        except ChildLate:
            raise QueryTimeout(LATE) from None
        except ChildDied as error:
            reason = error.args[0]
            if reason == TIME or monotonic() > self._deadline:
                raise QueryTimeout(LATE) from None
            raise (OutOfMemory(NO_MEMORY) if reason == MEMORY else EngineFailed(FAILED)) from None
        except (msgspec.DecodeError, TypeError, ValueError) as error:
            raise EngineFailed(FAILED) from error

    def _read(self, number: int, offset: int, length: int) -> bytes:
        """The bytes that the child requests, after the offset of the first. Raises DataChanged and TooMuchToRead."""
        file = self._all[number]
        if not (number >= 0 and 0 <= offset < file.size and length > 0):
            raise EngineFailed(FAILED)
        with self._limit():
            start, data = self._budget.read(number, offset, min(length, WINDOW_BYTES))
        return START.pack(start) + data

    def _error(self, code: str, detail: str) -> StrongroomError:
        if code == "time":
            return QueryTimeout(LATE)
        if code == "memory":
            return OutOfMemory(NO_MEMORY)
        kind = _ERRORS.get(code)
        return kind(self._readable(detail)) if kind else EngineFailed(FAILED)

    def _readable(self, detail: str) -> str:
        """The engine's message with the names of the blobs, on one line, and with the remedy."""
        text = " ".join(_ADVICE.sub("", _ORIGINAL.sub(r"\1…", detail)).split())
        if "CSV Error" in text or "sniffing file" in text:
            text = f"{text.rstrip('.')}. {CSV_OPTIONS}"

        def name(match: re.Match[str]) -> str:
            number = int(match[1])
            return self._all[number].name if number < len(self._all) else "of the call"

        text = _PATH.sub(name, text)
        return text if len(text) <= MAX_DETAIL else f"{text[:MAX_DETAIL]}…"


def _path(number: int, selection: Selection, index: int) -> str:
    """The path of a file for the engine: its number, its partitions and its format, and no name that it could read."""
    columns = zip(selection.columns, selection.rows[index], strict=True)
    folders = "".join(f"/{path_text(name)}={path_text(value)}" for (name, _), value in columns)
    end = selection.format if selection.format != "ndjson" else "json"
    return f"{number}{folders}/f.{end}" if folders else f"{number}.{end}"
