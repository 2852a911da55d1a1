"""DuckDB in a child process: it serves the messages of one call, and reads files only through the app.

Messages are MessagePack arrays. The app sends a method and its arguments; the child responds `["ok", value]` or
`["error", code, detail]`. Before that it may send `["read", file, offset, length]`, to which the app responds with the
offset of the first byte, in eight bytes, and the bytes.
"""

import csv
import json
import resource
import zlib
from collections.abc import Callable, Sequence
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import msgspec

from shared.data.filesystem import ROOT, CallFiles, Entry
from shared.data.gate import Checked, Refused, check, objects
from shared.data.plans import parameters_of, projected, reads_all, uses_only
from shared.data.readers import literal, partition_values, quoted, source_of, view_columns
from shared.data.types import Wire, wire
from shared.sandbox.child import confine, limit_cpu

if TYPE_CHECKING:
    from shared.sandbox.child import Channel

START = Struct(">Q")
HEADROOM_BYTES = 96 * 1024 * 1024
"""Of the process's address space, for rows, messages and what DuckDB does not count."""
FETCH_BYTES = 4 * 1024 * 1024
"""The rows of one message have about this many bytes."""
MAX_ROW_BYTES = 16 * 1024 * 1024
FOOTER_BYTES = 256 * 1024
"""What is read of the end of a Parquet file."""
FIRST_LINE_BYTES = 16 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLANKS = BYTE_ORDER_MARK + b" \t\r\n"
LAST_BYTES = 64
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "async_threads": 0,  # No reads ahead in threads of its own: the app reads ahead.
    "temp_directory": "",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
}


TOO_DEEP = "The statement is nested too deeply. Write it with fewer levels."


class Failure(Exception):
    """The call cannot go on: a code, and a sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


def serve(channel: "Channel") -> None:
    """Serve the messages of one call, until the app closes the pipe."""
    confine()
    Engine(channel).serve()


class Engine:
    """A DuckDB without files of its own, and the files of one call."""

    def __init__(self, channel: "Channel") -> None:
        self._channel = channel
        self._files = CallFiles(self._fetch)
        self._db = db = duckdb.connect(":memory:", config=SETTINGS)
        db.register_filesystem(self._files)
        db.execute(f"set memory_limit = '{_memory_bytes() // 1024} KiB'")
        db.execute("set TimeZone = 'UTC'")
        db.execute("set enable_progress_bar = false")
        db.execute(f"set allowed_directories = ['{ROOT}']")
        db.execute("set enable_external_access = false")
        db.execute("set lock_configuration = true")
        # What a first statement loads, loaded before the call comes.
        db.execute("select json_serialize_sql('select 1'), timestamptz '2000-01-01'").fetchall()
        channel.on_interrupt(db.interrupt)
        self._sql = ""
        self._tree: dict[str, Any] = {}
        self._wires: list[Wire] = []
        self._methods: dict[str, Callable[..., Any]] = {
            "start": limit_cpu,
            "check": self.check,
            "prune": self.prune,
            "open": self.open,
            "query": self.query,
            "describe": self.describe,
            "fetch": self.fetch,
            "estimate": self.estimate,
            "least": self.least,
        }

    def serve(self) -> None:
        while (message := self._channel.receive()) is not None:
            self._channel.send(msgspec.msgpack.encode(self._response(*msgspec.msgpack.decode(message))))

    def _response(self, method: str, *arguments: Any) -> tuple[Any, ...]:
        try:
            return "ok", self._methods[method](*arguments)
        except Failure as error:
            return "error", error.code, error.detail
        except (MemoryError, duckdb.OutOfMemoryException):
            return "error", "memory", ""
        except duckdb.InterruptException:
            return "error", "time", ""
        except RecursionError:
            return "error", "refused", TOO_DEEP
        except (duckdb.InternalException, duckdb.FatalException) as error:
            return "error", "memory" if "allocat" in str(error) else "engine", ""
        except (duckdb.Error, UnicodeError, OverflowError, ValueError) as error:
            text = str(error)
            if "max_expression_depth" in text:
                return "error", "refused", TOO_DEEP
            if "std::bad_alloc" in text or "failed to allocate" in text.lower():
                return "error", "memory", ""
            # The fault of the file follows its name.
            return "error", "unreadable" if ROOT in text else "sql", text

    def _fetch(self, number: int, offset: int, length: int) -> tuple[int, bytes]:
        self._channel.send(msgspec.msgpack.encode(("read", number, offset, length)))
        reply = self._channel.receive()
        if not reply:
            raise OSError("The app ended the call.")
        return START.unpack_from(reply)[0], reply[START.size :]

    # ---- The statement.

    def check(self, sql: str) -> Checked:
        """The tables that the statement names. Raises Failure where it may not run."""
        text = self._db.execute("select json_serialize_sql(?)", [sql]).fetchall()[0][0]
        tree = json.loads(text)
        if tree["error"]:
            if "max_expression_depth" in tree["error_message"]:
                raise Failure("refused", TOO_DEEP)
            if tree["error_type"] == "parser":
                raise Failure("sql", tree["error_message"])
            statements = self._db.extract_statements(sql)
            if len(statements) > 1:
                raise Failure("many", "Send one statement in each call.")
            kind = statements[0].type if statements else None
            if kind == duckdb.StatementType.MULTI:
                raise Failure("refused", "PIVOT must name its values: from (pivot data on a in (1, 2) using sum(b)).")
            if kind == duckdb.StatementType.EXPLAIN:
                raise Failure("refused", "EXPLAIN is not available over data files. Set `explain` to true instead.")
            raise Failure("write", "Data files are only read: send one SELECT.")
        try:
            checked = check(tree)
        except Refused as error:
            raise Failure(error.code, error.reason) from None
        self._sql, self._tree = sql, tree
        return checked

    def prune(self, name: str, columns: list[list[str]], rows: list[list[str]], params: list[Any]) -> list[int] | None:
        """The numbers of the files of the view `name` that the statement can need, by their partitions; None for all.

        `columns` are the names and types of the partitions, `rows` their values for each file.
        """
        node = self._tree["statements"][0]["node"]
        source = node.get("from_table", {})
        if (
            node["type"] != "SELECT_NODE"
            or source.get("type") != "BASE_TABLE"
            or source["table_name"].lower() != name.lower()
            or source["column_name_alias"]
            or sum(each.get("type") == "BASE_TABLE" for each in objects(self._tree)) > 1
        ):
            return None  # Another part of the statement may need other files.
        where = node.get("where_clause")
        parts = where["children"] if where and where["type"] == "CONJUNCTION_AND" else [where] if where else []
        usable = [each for each in parts if uses_only(each, {name.lower() for name, _ in columns})]
        if not usable:
            return None
        condition = usable[0] if len(usable) == 1 else {**where, "children": usable}
        alias = source.get("alias") or source["table_name"]
        self._db.execute(f"create temp table __files as select * from ({partition_values(columns, rows)})")
        select = f"select __file from __files as {quoted(alias)} where true"
        tree = json.loads(self._db.execute("select json_serialize_sql(?)", [select]).fetchall()[0][0])
        tree["statements"][0]["node"]["where_clause"] = condition
        text = self._db.execute("select json_deserialize_sql(?)", [json.dumps(tree)]).fetchall()[0][0]
        used = {name: params[int(name) - 1] for name in parameters_of(condition)}
        result = self._db.execute(text, used) if used else self._db.execute(text)
        return [row[0] for row in result.fetchall()]

    # ---- The files.

    def open(self, views: list[list[Any]]) -> None:
        """Make a view of each [name, format, options, partitions, files]; a file is [path below ROOT, size]."""
        for name, file_format, options, partitions, files in views:
            paths = [ROOT + path for path, _ in files]
            self._files.entries += [Entry(path, size) for path, (_, size) in zip(paths, files, strict=True)]
            if file_format == "parquet":
                self._refuse_brotli(paths)
            if file_format == "json":
                options["array"] = self._check_arrays(paths, options)
            if len(paths) > 1 and not options.get("union_by_name"):
                self._check_columns(file_format, options, paths)
            source = source_of(file_format, options, partitions, paths)
            try:
                if file_format == "csv" and options.get("as_text") and options.get("delimiter") and not partitions:
                    source = self._texts(options, paths, source)
                columns = view_columns(file_format, options, partitions)
                self._db.execute(f"create view {quoted(name)} as select {columns} from {source}")
            except duckdb.Error as error:
                raise _unreadable(error) from None

    def _texts(self, options: dict[str, Any], paths: list[str], source: str) -> str:
        """The same source, with its columns stated: the reader then names the line of a row that has others."""
        if options.get("header"):
            for path in paths:  # The reader would take the empty line for the header, and the header for a row.
                if self._beginning(path, options).removeprefix(BYTE_ORDER_MARK)[:1] in (b"\r", b"\n"):
                    raise Failure("unreadable", f"The file {path} begins with an empty line. Remove it.")
        lenient = source.removesuffix(")") + ", ignore_errors = true, strict_mode = false)"
        try:
            names = [str(row[0]) for row in self._db.execute(f"describe select * from {lenient}").fetchall()]
        except duckdb.InvalidInputException:  # A quote without an end, in a file so small that all of it is sampled.
            names = self._header(paths[0], options)
            if not names:
                raise
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
        stated = {name: value for name, value in options.items() if name != "union_by_name"}
        plain = source_of("csv", stated, [], paths).replace(", all_varchar = true", "")
        return plain.removesuffix(")") + f", auto_detect = false, columns = {{{columns}}})"

    def _header(self, path: str, options: dict[str, Any]) -> list[str]:
        """The names of a CSV file's columns by its first line alone; none where it does not show them."""
        if not options.get("header"):
            return []
        line, _, _ = self._beginning(path, options).removeprefix(BYTE_ORDER_MARK).partition(b"\n")
        return next(csv.reader([line.decode(errors="replace").strip()], delimiter=options["delimiter"][:1]), [])

    def _check_arrays(self, paths: list[str], options: dict[str, Any]) -> bool:
        """Whether a JSON file is an array behind a byte order mark, which the reader does not take for an array.

        Refuses an array that is cut off behind a comma, which the reader takes for a whole one.
        """
        is_marked = False
        for path in paths:
            beginning = self._beginning(path, options)
            if not beginning.lstrip(BLANKS).startswith(b"["):
                continue
            is_marked = is_marked or beginning.startswith(BYTE_ORDER_MARK)
            if not options.get("gzip"):
                number = self._files.find_entry(path)
                start = max(0, self._files.entries[number].size - LAST_BYTES)
                if self._files.read_at(number, start, LAST_BYTES).rstrip().endswith(b","):
                    raise Failure("unreadable", f"The file {path} is cut off: its array has no end.")
        return is_marked

    def _beginning(self, path: str, options: dict[str, Any]) -> bytes:
        """The first bytes of a file, unpacked; none where they cannot be unpacked, which the reader reports."""
        data = self._files.read_at(self._files.find_entry(path), 0, FIRST_LINE_BYTES)
        if options.get("gzip"):
            try:
                return zlib.decompressobj(wbits=31).decompress(data, FIRST_LINE_BYTES)
            except zlib.error:
                return b""
        return data

    def _refuse_brotli(self, paths: list[str]) -> None:
        """DuckDB's Brotli decoder has known faults that a file can use, so its files are not read (CVE-2026-111497)."""
        try:
            packed = self._db.execute(
                "select file_name from parquet_metadata(?) where compression = 'BROTLI' limit 1", [paths]
            ).fetchall()
        except duckdb.Error as error:
            raise _unreadable(error) from None
        if packed:
            raise Failure("unreadable", f"The file {packed[0][0]} is packed by Brotli. Write it with zstd or snappy.")

    def _check_columns(self, file_format: str, options: dict[str, Any], paths: list[str]) -> None:
        first: list[str] | None = None
        first_line = b""
        for path in paths:
            if file_format == "csv" and not options.get("gzip"):
                # Files whose first lines are equal have the same columns, and need not be examined.
                line = self._first_line(path)
                if first is not None and line and line == first_line:
                    continue
                first_line = first_line or line
            columns = self._columns(file_format, options, path)
            if first is None:
                first = columns
            elif columns != first:
                missing = [name for name in first if name not in columns]
                more = [name for name in columns if name not in first]
                what = f"lacks {', '.join(missing[:5])}" if missing else f"also has {', '.join(more[:5])}"
                raise Failure(
                    "columns",
                    f"The file {path} {what if missing or more else 'has its columns in another order'}, unlike "
                    f"{paths[0]}. Set union_by_name to true to read all columns by their names.",
                )

    def _first_line(self, path: str) -> bytes:
        """The first line of a file; empty where it is long."""
        number = self._files.find_entry(path)
        line, end, _ = self._files.read_at(number, 0, FIRST_LINE_BYTES).partition(b"\n")
        return line if end else b""

    def _columns(self, file_format: str, options: dict[str, Any], path: str) -> list[str]:
        try:
            source = source_of(file_format, options, [], [path])
            described = self._db.execute(f"describe select * from {source}").fetchall()
        except duckdb.Error as error:
            raise _unreadable(error) from None
        names = [str(row[0]) for row in described]
        return names if file_format == "csv" else sorted(names)  # Only CSV has columns by position.

    # ---- The rows.

    def query(self, sql: str, params: list[Any], explain: bool) -> list[tuple[str, str, str]]:
        """Start a statement, which `check` has accepted: its columns, each a name, a kind and a detail."""
        if explain:
            self._db.execute(f"explain {sql}", params)
            self._wires = [wire(_TEXT), wire(_TEXT)]
            return [("kind", "text", ""), ("plan", "text", "")]
        described = self._db.execute(f"select * from (\n{sql}\n) limit 0", params).description
        self._wires = [wire(each[1], str(each[1])) for each in described]
        if any(each.cast for each in self._wires):
            names = [f"c{number}" for number in range(len(described))]
            casts = [
                name if not how.cast else f"{name}::{how.cast}" for name, how in zip(names, self._wires, strict=True)
            ]
            sql = f"select {', '.join(casts)} from (\n{sql}\n) as t({', '.join(names)})"
        self._db.execute(sql, params)
        return [(str(each[0]), how.kind, how.detail) for each, how in zip(described, self._wires, strict=True)]

    def describe(self, name: str) -> list[tuple[str, str, str]]:
        """The columns of a view."""
        return self.query(f"select * from {quoted(name)} limit 0", [], explain=False)

    def estimate(self, sql: str, params: list[Any]) -> tuple[str, dict[str, int]]:
        """The statement's plan, and for each Parquet file about how many bytes the columns of the plan have."""
        plan = "\n".join(str(row[1]) for row in self._db.execute(f"explain {sql}", params).fetchall())
        return plan, self._sizes(self._plan(sql, params))

    def least(self, sql: str, params: list[Any]) -> dict[str, int] | None:
        """For each Parquet file, the bytes that the statement must read; None where it need not read all rows."""
        plan = self._plan(sql, params)
        return self._sizes(plan) if reads_all(plan, blocked=False) else None

    def _plan(self, sql: str, params: list[Any]) -> Any:
        return json.loads(self._db.execute(f"explain (format json) {sql}", params).fetchall()[0][1])

    def _sizes(self, plan: Any) -> dict[str, int]:
        """For each Parquet file, the bytes of the columns that a plan reads, and its footer."""
        columns = projected(plan)
        paths = [each.path for each in self._files.entries if each.path.endswith(".parquet")]
        sizes: dict[str, int] = {}
        if paths:
            self._db.execute(
                "select file_name, path_in_schema, total_compressed_size from parquet_metadata(?)", [paths]
            )
            while rows := self._db.fetchmany(1024):
                for path, column, size in rows:
                    if str(column).partition(", ")[0].lower() in columns:
                        number = str(self._files.find_entry(path))
                        sizes[number] = sizes.get(number, 0) + int(size or 0)
        for path in paths:
            number = str(self._files.find_entry(path))
            sizes[number] = sizes.get(number, 0) + FOOTER_BYTES
        return sizes

    def fetch(self, count: int) -> list[Sequence[Any]]:
        """The next rows: at most `count`, and at most about FETCH_BYTES; none at the end."""
        rows: list[Sequence[Any]] = []
        size, step = 0, 16
        converts = [(index, how.convert) for index, how in enumerate(self._wires) if how.convert]
        while len(rows) < count and size < FETCH_BYTES:
            more: list[Sequence[Any]] = list(self._db.fetchmany(min(step, count - len(rows))))
            if not more:
                break
            if converts:
                more = [_converted(row, converts) for row in more]
            for row in more:
                length = sum([len(value) for value in row if type(value) in _SIZED]) + 9 * len(row)
                if length > MAX_ROW_BYTES:
                    raise Failure("row", "One row has more than 16 MiB. Select fewer columns, or parts of them.")
                size += length
            rows += more
            step = max(1, min(1024, (FETCH_BYTES - size) * len(rows) // max(1, size)))
        return rows


_SIZED = frozenset({str, bytes})


def _unreadable(error: duckdb.Error) -> Exception:
    """The failure for a file that cannot be opened; `error` itself, where its cause is another."""
    if isinstance(error, duckdb.OutOfMemoryException | duckdb.InterruptException):
        return error
    return Failure("unreadable", str(error))


class _Text(NamedTuple):
    id: str
    children: list[tuple[str, Any]]


_TEXT = _Text("varchar", [])


def _converted(row: Sequence[Any], converts: list[tuple[int, Callable[[Any], Any]]]) -> list[Any]:
    values = list(row)
    for index, convert in converts:
        if values[index] is not None:
            values[index] = convert(values[index])
    return values


def _memory_bytes() -> int:
    """The memory that DuckDB may take: this process's address space, less the memory in use, less HEADROOM_BYTES."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        limit = 1024 * 1024 * 1024
    taken = 0
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123
            taken = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        pass
    return max(64 * 1024 * 1024, limit - taken - HEADROOM_BYTES)
