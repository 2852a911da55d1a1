"""What an import decides: which column takes which values, how a value becomes one of the column's type, which rows are
bad, and the table that fits the data."""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from math import isfinite
from typing import Any, Literal, NamedTuple

import msgspec

from shared.errors import FieldError, InvalidRequest
from shared.sql.dialects import Dialect
from shared.sql.engines import Load, Table
from shared.sql.errors import InvalidRow, NotAKey, RepeatedKey
from shared.sql.values import Column, Json, Kind, Row, mysql_timestamp, sqlite_column
from shared.web import decode_base64

Mode = Literal["append", "replace", "upsert"]
Convert = Callable[[Any], Any]
"""Turns a value of the data that is not null into one that the engine takes. Raises ValueError with a reason."""
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
    twice = [name for place, name in enumerate(names) if name.lower() in {each.lower() for each in names[:place]}]
    if twice:
        raise _invalid(
            [f"The data has the column {_cut(name)} twice. Names are compared ignoring case." for name in twice]
        )
    columns = [by_name[name.lower()] for name in names]
    found = [each.name for each in columns]
    kinds = [kind_of(each.type, dialect) for each in columns]
    indexes = _key(table, found, key) if key else []
    return Target(
        table.name,
        found,
        kinds,
        [converter(each.type, kind, dialect) for each, kind in zip(columns, kinds, strict=True)],
        indexes,
        [
            _comparable(kinds[index], columns[index].type, collations.get(found[index], ""), dialect)
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
        """What an error calls a row."""
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


# ---- The types of tables.


def kind_of(declared: str, dialect: Dialect) -> Kind:
    """Our kind of a column's declared type, as the engine writes it."""
    if dialect == "sqlite":
        return sqlite_column("", declared).kind or "null"
    text = declared.lower()
    word = text.partition("(")[0].split(" ")[0]
    if dialect == "postgresql":
        if text.endswith("[]"):
            return "json"
        return _POSTGRESQL.get(word, "text")
    return "boolean" if text.startswith("tinyint(1)") else _MYSQL.get(word, "text")


_POSTGRESQL: Mapping[str, Kind] = {
    "smallint": "integer", "integer": "integer", "bigint": "integer", "numeric": "decimal", "real": "real",
    "double": "real", "boolean": "boolean", "bytea": "bytes", "date": "date", "time": "time",
    "timestamp": "timestamp", "timestamptz": "timestamp", "json": "json", "jsonb": "json",
}  # fmt: skip
_MYSQL: Mapping[str, Kind] = {
    "tinyint": "integer", "smallint": "integer", "mediumint": "integer", "int": "integer", "bigint": "integer",
    "year": "integer", "decimal": "decimal", "numeric": "decimal",
    "float": "real", "double": "real", "bit": "bytes", "binary": "bytes",
    "varbinary": "bytes", "tinyblob": "bytes", "blob": "bytes", "mediumblob": "bytes", "longblob": "bytes",
    "date": "date", "time": "time", "datetime": "timestamp", "timestamp": "timestamp", "json": "json",
    "boolean": "boolean", "geometry": "bytes", "point": "bytes", "linestring": "bytes", "polygon": "bytes",
}  # fmt: skip


def converter(declared: str, kind: Kind, dialect: Dialect) -> Convert:
    """How a value becomes one of this column."""
    if dialect == "postgresql" and declared.endswith("[]"):
        return _array
    if dialect == "mysql":
        special: Mapping[Kind, Convert] = {
            "timestamp": lambda value: mysql_timestamp(_text(value)), "real": _finite, "decimal": _exact,
        }  # fmt: skip
        if kind in special:
            return special[kind]
    if dialect == "postgresql" and kind == "boolean":
        return _postgresql_boolean
    if dialect == "sqlite":
        special = {
            "integer": _sqlite_integer, "decimal": _sqlite_number, "boolean": _sqlite_boolean, "date": _date,
            "time": _time, "timestamp": _timestamp, "null": _as_it_is,
        }  # fmt: skip
        if kind in special:
            return special[kind]
    return _CONVERTS.get(kind, _text)


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    if type(value) is Json:
        return value.text
    if isinstance(value, bytes):
        raise ValueError("text")
    if type(value) is bool:
        return "true" if value else "false"
    return str(value) if type(value) in (int, float) else json.dumps(value, ensure_ascii=False)


def _as_it_is(value: Any) -> Any:
    return value.text if type(value) is Json else value


_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,40}\s*", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?\s*", re.ASCII)


def _integer(value: Any) -> int:
    if type(value) in (int, bool):
        return int(value)
    if type(value) is float and value.is_integer():
        return int(value)
    text = value.text if type(value) is Json else value
    if type(text) is str and _INTEGER.fullmatch(text):
        return int(text)
    raise ValueError("an integer")


def _sqlite_integer(value: Any) -> int:
    number = _integer(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError("an integer of 64 bits")
    return number


def _real(value: Any) -> float:
    if type(value) in (int, float):
        return float(value)
    if type(value) is str and (_NUMBER.fullmatch(value) or value.strip().lower() in _NOT_FINITE):
        return float(value)
    raise ValueError("a number")


_NOT_FINITE = frozenset({"nan", "infinity", "-infinity", "inf", "-inf"})


def _decimal(value: Any) -> str:
    text = str(value) if type(value) in (int, float) else _as_it_is(value)
    if type(text) is str and (_NUMBER.fullmatch(text) or text.strip().lower() in _NOT_FINITE):
        return text.strip()
    raise ValueError("a decimal number")


def _finite(value: Any) -> float:
    number = _real(value)
    if not isfinite(number):
        raise ValueError("a finite number")
    return number


def _exact(value: Any) -> Decimal:
    number = Decimal(_decimal(value))
    if not number.is_finite():
        raise ValueError("a finite number")
    return number


def _sqlite_number(value: Any) -> int | float:
    text = _decimal(value)
    if _INTEGER.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number that SQLite can store")
    return number


_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def _boolean(value: Any) -> bool | int:
    if type(value) in (bool, int):
        return value  # type: ignore[no-any-return]
    if type(value) is str:
        text = value.strip().lower()
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if _INTEGER.fullmatch(text):
            return int(text)  # A tinyint(1) of MySQL, and SQLite, hold any number.
    raise ValueError("true or false")


def _postgresql_boolean(value: Any) -> bool:
    found = _boolean(value)
    if found not in (0, 1):
        raise ValueError("true or false")
    return bool(found)


def _sqlite_boolean(value: Any) -> int:
    return int(_boolean(value))


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if type(value) is Json:
        value = _base64_member(value.text)
    if type(value) is str:
        try:
            return decode_base64(value, "data")
        except InvalidRequest:
            pass
    raise ValueError("base64")


def _base64_member(text: str) -> Any:
    """The text of `{"base64": …}`, as ndjson has bytes."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return found.get("base64") if isinstance(found, dict) and len(found) == 1 else None


def _moment(read: Callable[[str], object], name: str) -> Convert:
    def convert(value: Any) -> Any:
        if type(value) in (int, float):
            return value  # A Julian day, or seconds since 1970.
        text = _text(value)
        try:
            read(text)
        except ValueError:
            if not _NUMBER.fullmatch(text):
                raise ValueError(name) from None
        return text

    return convert


_date = _moment(date.fromisoformat, "a date (YYYY-MM-DD)")
_time = _moment(time.fromisoformat, "a time (HH:MM:SS)")
_timestamp = _moment(datetime.fromisoformat, "a timestamp (YYYY-MM-DDTHH:MM:SS)")


def _json(value: Any) -> str:
    text = _text(value) if type(value) is not str else value
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("JSON") from None
    return text


def _array(value: Any) -> str:
    """A JSON array, which is how arrays are exported, as PostgreSQL's literal of one."""
    text = _text(value)
    if not text.startswith("["):
        return text
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("an array") from None

    def literal(item: Any) -> str:
        if isinstance(item, list):
            return "{{{}}}".format(",".join(map(literal, item)))
        if item is None:
            return "NULL"
        plain = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
        return '"{}"'.format(plain.replace("\\", "\\\\").replace('"', '\\"'))

    return literal(found)


_CONVERTS: Mapping[Kind, Convert] = {
    "integer": _integer, "real": _real, "decimal": _decimal, "boolean": _boolean, "bytes": _bytes, "json": _text,
}  # fmt: skip


def _comparable(kind: Kind, declared: str, collation: str, dialect: Dialect) -> Callable[[Any], Any]:
    """What two values of a key's column have in common that the database takes as equal."""
    if kind in ("decimal", "real"):
        return _number
    if kind not in ("text", "null") or type(collation) is not str:
        return lambda value: value
    if dialect == "sqlite":
        folded = collation.upper()
        if folded == "NOCASE":
            return lambda value: value.lower() if isinstance(value, str) and value.isascii() else value
        return (lambda value: value.rstrip(" ") if isinstance(value, str) else value) if folded == "RTRIM" else _same
    if dialect == "mysql" and not collation.endswith(("_bin", "_cs")) and "_as_cs" not in collation:
        return _loosely
    return _loosely if declared.startswith("citext") else _same


def _same(value: Any) -> Any:
    return value


def _number(value: Any) -> Any:
    try:
        return format(Decimal(value).normalize(), "f") if isfinite(float(value)) else str(value).lower()
    except (InvalidOperation, OverflowError, ValueError):
        return value


def _loosely(value: Any) -> Any:
    """A text without what a collation that ignores case, accents and blanks at the end leaves out."""
    if not isinstance(value, str):
        return value
    parts = unicodedata.normalize("NFKD", value.rstrip(" "))
    return "".join(each for each in parts if not unicodedata.combining(each)).casefold()


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
        types = {"bytes": "blob", "integer": "integer"}
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
    found = re.match(r"decimal\((\d+)", detail)
    return int(found[1]) if found else MOST_DIGITS


def fits(column: Column, values: Sequence[Any]) -> bool:
    """Whether texts of CSV are values of this column, and none of them loses a digit."""
    kind = column.kind or "text"
    convert = converter(declared(column, "sqlite"), kind, "sqlite")
    try:
        for each in values:
            if each is not None:
                number = convert(each)
                if kind == "real" and _INTEGER.fullmatch(each) and int(each) != int(number):
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
    """Where the rows of `target` go."""
    names = [quoted(each, dialect) for each in target.names]
    return Load(quoted_table(target.table, dialect), names, [names[index] for index in target.key])
