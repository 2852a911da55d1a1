"""What an import decides: which column takes which values, which rows are bad, and the table that fits the data."""

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from shared.errors import FieldError, InvalidRequest
from shared.sql.conversions import INTEGER, Convert, comparable, converter, kind_of
from shared.sql.dialects import Dialect
from shared.sql.engines import Load, Table
from shared.sql.errors import InvalidRow, NotAKey, RepeatedKey
from shared.sql.values import Column, Json, Kind, Row

Mode = Literal["append", "replace", "upsert"]
SQLITE_DIGITS, MOST_DIGITS = 15, 38
"""The digits of a number that SQLite keeps, and of a decimal of the data."""
SHOWN = 60
"""The most characters of a bad value in an error."""


class Target(NamedTuple):
    """The columns of a table that an import fills, in the order of the data."""

    table: str
    names: list[str]
    kinds: list[Kind]
    converts: list[Convert]
    key: list[int]
    """The indexes of the key's columns."""
    comparable: list[Callable[[Any], Any]]
    """For each of the key's columns: what two values have in common that the database takes as equal."""


def match(
    table: Table, names: Sequence[str], key: Sequence[str], dialect: Dialect, collations: Mapping[str, str]
) -> Target:
    """How columns of these names fill `table`, by their names ignoring case.

    Raises InvalidRequest, naming columns that the table does not have or that occur twice, and NotAKey.
    """
    by_name = {each.name.lower(): each for each in table.columns}
    unknown = [name for name in names if name.lower() not in by_name]
    if unknown:
        known = ", ".join(each.name for each in table.columns)
        raise _invalid([f"The table {table.name} has no column {_cut(name)}. It has: {known}." for name in unknown])
    twice = [name for number, name in enumerate(names) if name.lower() in {each.lower() for each in names[:number]}]
    if twice:
        raise _invalid(
            [f"The data has the column {_cut(name)} twice. Names are compared ignoring case." for name in twice]
        )
    columns = [by_name[name.lower()] for name in names]
    filled = [each.name for each in columns]
    kinds = [kind_of(each.type, dialect) for each in columns]
    indexes = _key(table, filled, key) if key else []
    return Target(
        table.name,
        filled,
        kinds,
        [converter(each.type, kind, dialect) for each, kind in zip(columns, kinds, strict=True)],
        indexes,
        [
            comparable(kinds[index], columns[index].type, collations.get(filled[index], ""), dialect)
            for index in indexes
        ],
    )


def _invalid(details: list[str]) -> InvalidRequest:
    errors = tuple(FieldError("data", each) for each in details[:20])
    return InvalidRequest(" ".join(details[:5]), errors=errors, error_count=len(details))


def _key(table: Table, names: list[str], key: Sequence[str]) -> list[int]:
    by_name = {each.name.lower(): each.name for each in table.columns}
    wanted = {by_name.get(each.lower(), each) for each in key}
    keys = [{each.name for each in table.columns if each.primary_key}]
    keys += [set(filter(None, each.columns)) for each in table.indexes if each.unique and None not in each.columns]
    keys = [each for each in keys if each]
    if wanted not in keys:
        shown = "; ".join(", ".join(sorted(each)) for each in keys) or "none"
        raise NotAKey(
            f"The columns {', '.join(map(_cut, key))} are not exactly those of a primary key or a unique index of "
            f"{table.name}. Its keys are: {shown}."
        )
    if missing := sorted(wanted - set(names)):
        raise NotAKey(f"The data has no column {missing[0]}, which is part of the key.")
    return [names.index(by_name[each.lower()]) for each in key]


def find_table(tables: Sequence[Table], name: str, dialect: Dialect) -> Table | None:
    """The table of this name: exactly, or, where the engine ignores case, ignoring case."""
    exact = [each for each in tables if each.name == name]
    if exact or dialect == "postgresql":
        return exact[0] if exact else None
    return next((each for each in tables if each.name.lower() == name.lower()), None)


# ---- Rows.


class Rows:
    """Converts the rows of an import, knows the line of each, and refuses bad rows and keys that occur twice."""

    def __init__(self, target: Target, *, by_line: bool, first_line: int) -> None:
        """With `by_line` the data is text of which each row takes a line, and more for each line break in it."""
        self._target = target
        self._by_line = by_line
        self.line = first_line
        """The line of the next row."""
        self._keys: dict[int, int] = {}
        self.row_count = 0

    def convert(self, rows: Sequence[Row]) -> tuple[list[Row], list[int]]:
        """The rows as the engine takes them, and their lines. Raises InvalidRow and RepeatedKey."""
        target = self._target
        lines = []
        converted = []
        for row in rows:
            lines.append(self.line)
            try:
                converted.append(
                    tuple(
                        [
                            None if value is None else convert(value)
                            for value, convert in zip(row, target.converts, strict=True)
                        ]
                    )
                )
            except ValueError:
                raise self._bad(row) from None
            if self._by_line:
                self.line += sum([value.count("\n") for value in row if type(value) is str])
            self.line += 1
        if target.key:
            for values, line in zip(converted, lines, strict=True):
                self._check_key(values, line)
        self.row_count += len(rows)
        return converted, lines

    def name(self, line: int) -> str:
        """The name of a row in an error."""
        return f"Line {line}" if self._by_line else f"Row {line}"

    def _bad(self, row: Row) -> InvalidRow:
        for name, value, convert in zip(self._target.names, row, self._target.converts, strict=True):
            if value is None:
                continue
            try:
                convert(value)
            except ValueError as error:
                return InvalidRow(f"{self.name(self.line)}, column {name}: {_shown(value)} is not {error}.")
        raise AssertionError("A row that was bad is good.")

    def _check_key(self, row: Row, line: int) -> None:
        values = [row[index] for index in self._target.key]
        if None in values:
            return  # Null equals nothing, so it is never the same key.
        same = [compare(value) for value, compare in zip(values, self._target.comparable, strict=True)]
        digest = int.from_bytes(blake2b(repr(same).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
        first = self._keys.setdefault(digest, line)
        if first != line:
            names = ", ".join(self._target.names[index] for index in self._target.key)
            shown = ", ".join(map(_shown, values))
            raise RepeatedKey(
                f"{self.name(first)} and {self.name(line).lower()} have the same key: {names} is {shown} in both. Keep "
                "one of them."
            )


def _shown(value: Any) -> str:
    text = value.text if type(value) is Json else str(value)
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


def _cut(name: str) -> str:
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}…"


# ---- The table that fits the data.


def create_table(table: str, columns: Sequence[Column], key: Sequence[str], dialect: Dialect) -> str:
    """The statement that creates a table with columns of these kinds, and `key` as its primary key."""
    wanted = {each.lower() for each in key}
    parts = [
        f"{quoted(each.name, dialect)} {declared(each, dialect, is_key=each.name.lower() in wanted)}"
        for each in columns
    ]
    if key:
        by_name = {each.name.lower(): each.name for each in columns}
        names = ", ".join(quoted(by_name.get(each.lower(), each), dialect) for each in key)
        parts.append(f"primary key ({names})")
    return f"create table {quoted_table(table, dialect)} ({', '.join(parts)})"


def declared(column: Column, dialect: Dialect, *, is_key: bool = False) -> str:
    """The type of a new table's column."""
    kind, detail = column.kind or "text", column.detail
    if dialect == "mysql":
        if kind == "text" and is_key:
            return "varchar(255)"
        types = {
            "text": "longtext",
            "bytes": "longblob",
            "real": "double",
            "time": "time(6)",
            "timestamp": "datetime(6)",
        }
    elif dialect == "postgresql":
        types = {
            "bytes": "bytea",
            "real": "double precision",
            "timestamp": "timestamptz" if "utc" in detail else "timestamp",
        }
    else:
        types = {"bytes": "blob"}
        # A number of SQLite has 64 bits or 15 digits.
        if detail in ("big", "uint64") or (kind == "decimal" and _digits(detail) > SQLITE_DIGITS):
            return "text"
    if kind == "integer":
        return {"big": "numeric(39)", "uint64": "numeric(20)"}.get(detail, "bigint")
    if kind == "decimal":
        return detail or ("numeric" if dialect == "postgresql" else "decimal(38, 10)")
    return types.get(kind, "text" if kind == "null" else kind)


def _digits(detail: str) -> int:
    """The digits of `decimal(p,s)`."""
    match = re.match(r"decimal\((\d+)", detail)
    return int(match[1]) if match else MOST_DIGITS


def fits(column: Column, values: Sequence[Any]) -> bool:
    """Whether texts of CSV are values of this column, and none of them loses a digit."""
    kind = column.kind or "text"
    convert = converter(declared(column, "sqlite"), kind, "sqlite")
    try:
        for each in values:
            if each is not None:
                number = convert(each)
                if kind == "real" and INTEGER.fullmatch(each) and int(each) != int(number):
                    return False
    except ValueError:
        return False
    return True


def quoted(name: str, dialect: Dialect) -> str:
    """`name` as the engine quotes names."""
    mark = "`" if dialect == "mysql" else '"'
    return f"{mark}{name.replace(mark, mark * 2)}{mark}"


def quoted_table(name: str, dialect: Dialect) -> str:
    """The name of a table; in PostgreSQL, a schema and a table that a dot separates."""
    if dialect == "postgresql" and "." in name:
        return ".".join(quoted(each, dialect) for each in name.split(".", 1))
    return quoted(name, dialect)


def load_of(target: Target, dialect: Dialect) -> Load:
    """The table and columns that get the rows of `target`."""
    names = [quoted(each, dialect) for each in target.names]
    return Load(quoted_table(target.table, dialect), names, [names[index] for index in target.key])
