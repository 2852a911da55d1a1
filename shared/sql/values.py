"""Values and columns of results: their types, and the rows of a running statement."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import count, islice
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

Kind = Literal["integer", "real", "decimal", "text", "boolean", "bytes", "date", "time", "timestamp", "json", "null"]
Compared = Literal["exact", "number", "date", "text", "sqlite"]
"""How to compare values of a column without the database: `exact` where different texts are different
values, `number` by value, `date` as in MySQL, `text` if the collation is deterministic, `sqlite` by storage class and
under each of its collations."""


class Typed(NamedTuple):
    """A value with its declared type, for engines that need the type."""

    value: "bool | int | float | str | bytes | None"
    kind: Kind


Scalar = None | bool | int | float | str | bytes | Typed
Params = Sequence[Scalar] | dict[str, Scalar]
"""The values that are bound to a statement, by position or by name."""
Row = tuple[Any, ...]

READ_BYTES = 1024 * 1024
"""About how many bytes are read at once, after the first read."""
MOST_ROWS = 1024
"""The most rows that are read at once."""
FETCH_BYTES = 4 * 1024 * 1024
"""An engine returns the rows that it has read once their texts and bytes are this long together."""
RETURNED_BYTES = 9 * 1024 * 1024
"""The rows that a write returns are read up to this length: a response, which holds less, then shows that it is cut."""
MAX_ROW_BYTES = 16 * 1024 * 1024
"""The most bytes of texts and bytes in one row."""


class NotText(bytes):
    """A SQLite text that is not UTF-8."""


class Column(NamedTuple):
    """A result column. If `kind` is None, its values decide. `convert` turns a stored value into its kind."""

    name: str
    kind: Kind | None = None
    convert: Callable[[Any], Any] | None = None
    compared: Compared | None = None
    """How to compare values for equality; None where only the database can."""
    detail: str = ""
    """The details that Arrow needs beside the kind: `decimal(10,2)`; `uint64` or `big` of integers; of timestamps
    `utc`, `ns` or `ns_utc`; `zone` of times with an offset."""


class Columns(tuple[Column, ...]):  # noqa: SLOT001 - slots and cached properties do not work together.
    """The columns of a result, with facts about them that are computed once."""

    @cached_property
    def names(self) -> list[str]:
        """The names in order; they may repeat."""
        return [each.name for each in self]

    @cached_property
    def unique_names(self) -> list[str]:
        """The names in order, with a number after each repeat."""
        return unique(self.names)

    @cached_property
    def converts(self) -> list[tuple[int, Callable[[Any], Any]]]:
        """The indexes of columns whose values must be converted, with their converters."""
        return [(index, each.convert) for index, each in enumerate(self) if each.convert]

    @cached_property
    def untyped(self) -> list[int]:
        """The indexes of columns without a declared type."""
        return [index for index, each in enumerate(self) if each.kind is None]

    @cached_property
    def numbers(self) -> list[int]:
        """The indexes of columns that may contain an infinite number."""
        return [index for index, each in enumerate(self) if each.kind in ("real", "decimal", None)]

    @cached_property
    def described(self) -> list[dict[str, str]]:
        """The columns as a response describes them, by their declared types."""
        return [{"name": each.name, "type": each.kind or "null"} for each in self]


class Json:
    """A value that is already JSON text, on one line."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def of(cls, text: str) -> "Json":
        """Return `text`, which is JSON, on one line. Its numbers keep every digit."""
        if "\n" not in text and "\r" not in text:
            return cls(text)
        try:
            return cls(msgspec.json.format(text, indent=-1))
        except (msgspec.DecodeError, RecursionError):
            # Databases accept lone surrogates and any depth. A line break in JSON is always between two tokens.
            return cls(text.replace("\r", " ").replace("\n", " "))


class BigInteger(Json):
    """An integer of more digits than 64 bits hold, which JSON writes as a number."""

    __slots__ = ()


def json_or_text(value: Any) -> Any:
    """Return JSON as it is stored, digit by digit; text that is not JSON stays text."""
    if type(value) is not str:
        return value
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return value
    return Json.of(value)


class Cursor(Protocol):
    """The rows of a running statement."""

    first_rows: int
    """The number of rows to read at once before their size is known."""

    @property
    def columns(self) -> Columns:
        """The columns in order; names may repeat."""

    def fetch(self, count: int) -> list[Row]:
        """Return the next rows: at most `count`, and at most about FETCH_BYTES. An empty list marks the end."""


class Rows:
    """A cursor over rows in memory."""

    def __init__(self, columns: Iterable[Column], rows: list[Row]) -> None:
        self.first_rows = len(rows) + 1
        self.columns = Columns(columns)
        self._rows = iter(rows)

    def fetch(self, count: int) -> list[Row]:
        return list(islice(self._rows, count))


def unique(names: Sequence[str]) -> list[str]:
    """Return `names` with a number after each repeat (`id`, `id_2`), since an object holds a name once."""
    taken = set(names)
    numbers: dict[str, Iterator[int]] = {}
    result: dict[str, None] = {}
    for name in names:
        new = name
        while new in result or (new is not name and new in taken):
            new = f"{name}_{next(numbers.setdefault(name, count(2)))}"
        result[new] = None
    return list(result)
