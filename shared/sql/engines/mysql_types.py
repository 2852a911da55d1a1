"""The types of MySQL's and MariaDB's fields, and values as literals of their SQL."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from shared.sql.values import Column, Compared, Json, Kind, Scalar, json_or_text

BINARY = 63
"""The number of the character set `binary`: bytes."""
TINY, TIMESTAMP, DATETIME, VECTOR, BLOB = 1, 7, 12, 242, 252
UNSIGNED = 32
"""The flag of a column without a sign."""
KINDS: dict[int, Kind] = {
    0: "decimal", 1: "integer", 2: "integer", 3: "integer", 4: "real", 5: "real", 6: "null", 7: "timestamp",
    8: "integer", 9: "integer", 10: "date", 11: "time", 12: "timestamp", 13: "integer", 14: "date", 16: "bytes",
    242: "bytes", 245: "json", 246: "decimal", 255: "bytes",
}  # fmt: skip
"""Our types of MySQL's field types. https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html"""
COMPARED: dict[Kind, Compared] = {"integer": "number", "date": "date", "time": "exact"}
"""How to compare values for equality. MySQL compares decimals with texts as doubles, and texts by collations."""
DECODERS: dict[Any, Any] = {1: int, 2: int, 3: int, 4: float, 5: float, 8: int, 9: int, 13: int}
"""What PyMySQL makes of each field type; all else stays text or bytes."""
INCORRECT_VALUE = frozenset({1292, 1525})
"""Numbers of the error, and of the warning, for a text that is not a timestamp."""


# ---- From fields to columns.


def column_of(field: Any, is_json: Mapping[tuple[str, str, str], bool]) -> Column:
    """The column of a field, PyMySQL's FieldDescriptorPacket. `is_json` says which text columns hold JSON."""
    kind = field.type_code
    if kind == TINY and field.length == 1:
        return Column(field.name, "boolean", _boolean)
    if kind in (TIMESTAMP, DATETIME):
        is_utc = kind == TIMESTAMP
        return Column(field.name, "timestamp", _utc if is_utc else _timestamp, "date", "utc" if is_utc else "")
    if kind in KINDS:
        convert = _json if kind == 245 else None
        return Column(field.name, KINDS[kind], convert, COMPARED.get(KINDS[kind]), _detail(field))
    if field.charsetnr == BINARY:
        return Column(field.name, "bytes")
    if is_json.get(stored_column_of(field)):
        return Column(field.name, "json", json_or_text)  # The check may have been dropped since.
    return Column(field.name, "text")


def _detail(field: Any) -> str:
    """The details of a column that Arrow needs, beside its kind."""
    unsigned = bool(field.flags & UNSIGNED)
    if field.type_code == 246:
        # The length counts the sign and the point. https://dev.mysql.com/doc/c-api/8.4/en/c-api-data-structures.html
        return f"decimal({field.length - (not unsigned) - bool(field.scale)},{field.scale})"
    return "uint64" if unsigned and field.type_code == 8 else ""


def _boolean(value: Any) -> Any:
    return bool(value) if value == 0 or value == 1 else value


def _timestamp(value: str | None) -> str | None:
    return value if value is None else value.replace(" ", "T", 1)


def stored_column_of(field: Any) -> tuple[str, str, str]:
    """Return a field's database, table and column; "" each if the field is computed."""
    return field.db.decode(), field.org_table, field.org_name


def _utc(value: str | None) -> str | None:
    return value if value is None else value.replace(" ", "T", 1) + "Z"


def _json(value: str | None) -> Json | None:
    return None if value is None else Json.of(value)


# ---- From values to literals.


def literal(value: Scalar | Decimal) -> str:
    """Return `value` as a MySQL literal. Backslashes are doubled, which the session's sql_mode requires."""
    from pymysql.converters import escape_string

    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"0x{value.hex()}" if value else "x''"  # MariaDB also compares 0x… with bits, and x'…' only with text.
    if isinstance(value, float):
        return f"{value!r}e0" if "e" not in repr(value) else repr(value)
    if isinstance(value, Decimal):
        return format(value, "f")  # As a text, MySQL would compare it as a double.
    return str(value) if isinstance(value, int) else f"'{escape_string(str(value))}'"


def literal_length(value: Any) -> int:
    """About how long a value's literal is, at least."""
    return 2 * len(value) + 4 if isinstance(value, str | bytes) else 24


# ---- Timestamps.


def mysql_timestamp(text: str) -> str:
    """Return an RFC 3339 timestamp in MySQL's and MariaDB's format, in UTC; a text without an offset keeps its time."""
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):  # In UTC, its year may be 0 or 10000.
        return text
    return moment.isoformat(" ", "microseconds" if "." in text or "," in text else "seconds")


def has_offset(value: object) -> bool:
    """Whether a value is an RFC 3339 text with an offset, which MySQL and MariaDB refuse."""
    return isinstance(value, str) and _RFC_3339.fullmatch(value) is not None


_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def with_converted(values: list[Scalar], indexes: list[int]) -> list[Scalar]:
    """Return `values`, with those at `indexes` converted to MySQL's timestamp format."""
    return [mysql_timestamp(str(value)) if index in indexes else value for index, value in enumerate(values)]


def rejected_by(error: Exception, values: list[Scalar]) -> list[int]:
    """Return the indexes of RFC 3339 texts that the server refuses in this error."""
    number, message = (*error.args, "", "")[:2]
    if number not in INCORRECT_VALUE:
        return []
    return [index for index, value in enumerate(values) if has_offset(value) and is_named(value, [str(message)])]


def is_named(value: Scalar, messages: list[str]) -> bool:
    return any(f"'{value!s}'" in each for each in messages)
