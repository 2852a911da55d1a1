"""The types of a statement's parameters on PostgreSQL.

PostgreSQL deduces the type of `$1` from the statement, but gives up in three cases: in a cursor's statement, where one
parameter occurs in positions of different types (`:q is null or name = :q`), and where any type would do
(`concat(?, 'x')`). So the app has the statement parsed once, and sends the values with the types that come back.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.sql.statements import REMEMBERED_LENGTH, Scanned, numbered
from shared.sql.values import Kind, Params, Scalar, Typed

if TYPE_CHECKING:
    import psycopg

UNKNOWN, BOOLEAN, BYTES, BIGINT, INTEGER, TEXT, REAL, DOUBLE, NUMERIC = 0, 16, 17, 20, 23, 25, 700, 701, 1700
"""Numbers of types. https://github.com/postgres/postgres/blob/REL_17_STABLE/src/include/catalog/pg_type.dat"""
DECLARED: dict[Kind, int] = {
    "integer": BIGINT, "decimal": NUMERIC, "boolean": BOOLEAN, "bytes": BYTES, "date": 1082,
    "time": 1083, "timestamp": 1114, "json": 3802,
}  # fmt: skip
WITH_ZONE: dict[Kind, int] = {"time": 1266, "timestamp": 1184}
FRACTIONS = frozenset({REAL, DOUBLE, NUMERIC})
UNDECIDED, DISAGREEING = "42P18", "42P08"
UNRESOLVED = frozenset({UNDECIDED, DISAGREEING, "42804"})
"""SQLSTATEs of a cursor's statement whose parameters must have types that are sent."""
MISFITS = frozenset({"42883", "42725", "42804"})
"""SQLSTATEs of a function or operator that does not exist for these types, that is not unique, or of another type."""
MALFORMED = "22P02"
"""The SQLSTATE of a text that is not a value of its type."""
MAX_KEPT = 500

_NUMBER = re.compile(r"\$(\d+)")
_ZONE = re.compile(r"(?:Z|[+-]\d\d(?::?\d\d)?)\Z")


class Bound(NamedTuple):
    """A value and its type's OID."""

    value: Scalar
    oid: int


class ParameterTypes:
    """The types that one connection has deduced, by statement."""

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self._db = connection
        self._kept: dict[tuple[str, tuple[object, ...]], tuple[bool, list[int]]] = {}
        self._was_kept = False
        self._key: tuple[str, tuple[object, ...]] = ("", ())
        self._explicit: set[tuple[str, tuple[object, ...]]] = set()
        self.may_be_stale = False
        """Whether the last statement failed with types that an earlier statement deduced."""
        connection.adapters.register_dumper(Bound, _dumper())

    def bind(
        self, scanned: Scanned, params: Params, protect: Callable[[], object], undo: Callable[[], object]
    ) -> tuple[str, list[Any]]:
        """Return the text to send, with `$1` and so on, and its values.

        If types must be deduced, this calls `protect` before, and `undo` after an error, to save the transaction.

        Raises psycopg's error if the statement does not parse.
        """
        text, values = numbered(scanned, params)
        self._was_kept = self.may_be_stale = False
        self._key = ("", ())
        if not values:
            return text, []
        key = (text, tuple(_signature(each) for each in values))
        kept = self._kept.get(key)
        self._was_kept = kept is not None
        self._key = key
        if kept is None:
            protect()
            kept = self._deduce(text, scanned, values, undo)
            if len(text) <= REMEMBERED_LENGTH:
                if len(self._kept) >= MAX_KEPT:
                    self._kept.clear()
                self._kept[key] = kept
        is_split, oids = kept
        if is_split:
            text, values = _split(scanned, values)
        return text, [_bound(value, oid) for value, oid in zip(values, oids, strict=True)]

    def failed(self, state: str) -> None:
        """Record the SQLSTATE with which the statement failed."""
        self.may_be_stale = self._was_kept and (state in MISFITS or state == MALFORMED)
        if state in UNRESOLVED and self._key not in self._explicit:
            if len(self._explicit) >= MAX_KEPT:
                self._explicit.clear()
            self._explicit.add(self._key)
            self.may_be_stale = True

    def forget(self) -> None:
        """Deduce all types again, because a table may have changed."""
        self._kept.clear()

    def _deduce(
        self, text: str, scanned: Scanned, values: list[Scalar], undo: Callable[[], object]
    ) -> tuple[bool, list[int]]:
        """Return whether each occurrence of a parameter has its own number, and the types."""
        import psycopg

        try:
            return False, self._described(text, values, undo)
        except psycopg.Error as error:
            if error.sqlstate != DISAGREEING:
                raise
            undo()
        split_text, split_values = _split(scanned, values)
        oids = self._described(split_text, split_values, undo)
        # Use one type for each parameter if all positions that determine a type agree.
        deduced: list[set[int]] = [set() for _ in values]
        for index, oid in zip(_indexes(scanned), oids, strict=True):
            deduced[index].add(oid)
        merged = [each - {TEXT} if len(each) > 1 else each for each in deduced]
        if all(len(each) == 1 for each in merged):
            return False, [next(iter(each)) for each in merged]
        return True, oids

    def _described(self, text: str, values: list[Scalar], undo: Callable[[], object]) -> list[int]:
        """Return the parameter types that PostgreSQL deduces. Raises psycopg.Error."""
        import psycopg

        first = [_first_type(each) for each in values]
        oids = list(first)
        fractions = [index for index, each in enumerate(values) if _is_real(each)]
        misfits: list[Callable[[Scalar, int], int]] = [_narrowed, _undeclared]
        while True:
            try:
                deduced = self._describe(text, oids)
                break
            except psycopg.Error as error:
                number = _NUMBER.search(str(error.diag.message_primary or ""))
                if error.sqlstate == UNDECIDED and number and oids[int(number[1]) - 1] == UNKNOWN:
                    index = int(number[1]) - 1
                    oids[index] = DOUBLE if index in fractions else TEXT
                elif error.sqlstate in MISFITS and (changed := _changed(misfits, values, oids)):
                    oids = changed
                else:
                    raise
            undo()
        # If PostgreSQL can deduce the type, it does so at each call: a table may have changed.
        result = oids if oids == first and self._key not in self._explicit else deduced
        return [
            DOUBLE if index in fractions and deduced[index] not in FRACTIONS else oid
            for index, oid in enumerate(result)
        ]

    def _describe(self, text: str, oids: Sequence[int]) -> list[int]:
        from psycopg import pq
        from psycopg.errors import error_from_result
        from psycopg.generators import execute

        connection = self._db.pgconn
        for step in ("parse", "describe"):
            if step == "parse":
                connection.send_prepare(b"", text.encode(), oids)
            else:
                connection.send_describe_prepared(b"")
            (result,) = self._db.wait(execute(connection))
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise error_from_result(result)
        return [result.param_type(index) for index in range(result.nparams)]


def _signature(value: Scalar) -> object:
    return (value.kind, _has_zone(value.value)) if isinstance(value, Typed) else type(value)


def _first_type(value: Scalar) -> int:
    """Return the type to try first: unknown if PostgreSQL is to deduce it."""
    if isinstance(value, Typed):
        if value.kind in WITH_ZONE and _has_zone(value.value):
            return WITH_ZONE[value.kind]
        return DECLARED.get(value.kind, UNKNOWN)
    return {bool: BOOLEAN, int: BIGINT, bytes: BYTES}.get(type(value), UNKNOWN)


def _is_real(value: Scalar) -> bool:
    """Whether a value is a real number; the statement decides its precision."""
    return value.kind == "real" if isinstance(value, Typed) else isinstance(value, float)


def _has_zone(value: Scalar) -> bool:
    return isinstance(value, str) and _ZONE.search(value) is not None


def _changed(steps: list[Callable[[Scalar, int], int]], values: list[Scalar], oids: list[int]) -> list[int] | None:
    """Return other types to try, from the first step that changes any; None if no step does."""
    while steps:
        step = steps.pop(0)
        changed = [step(value, oid) for value, oid in zip(values, oids, strict=True)]
        if changed != oids:
            return changed
    return None


def _narrowed(value: Scalar, oid: int) -> int:
    """Narrow integers to 32 bits, which many functions require. They start with 64, to avoid overflow."""
    number = value.value if isinstance(value, Typed) else value
    return INTEGER if oid == BIGINT and isinstance(number, int) and -(2**31) <= number < 2**31 else oid


def _undeclared(value: Scalar, oid: int) -> int:
    """Drop a declared type that does not fit the parameter's use: PostgreSQL then reads the text."""
    return UNKNOWN if isinstance(value, Typed) and oid not in (BIGINT, BYTES) else oid


def _indexes(scanned: Scanned) -> list[int]:
    """Return the index of the value for each occurrence of a parameter."""
    indexes = {name: index for index, name in enumerate(scanned.names)}
    return [indexes[slot] if isinstance(slot, str) else slot - 1 for slot in scanned.slots]


def _split(scanned: Scanned, values: list[Scalar]) -> tuple[str, list[Scalar]]:
    """Return the statement with one number per occurrence of a parameter, and the values in that order."""
    text = [scanned.pieces[0]]
    for number, piece in enumerate(scanned.pieces[1:], 1):
        text += f"${number}", piece
    return "".join(text), [values[index] for index in _indexes(scanned)]


def _bound(value: Scalar, oid: int) -> Any:
    if isinstance(value, Typed):
        value = value.value
    return value if isinstance(value, bytes) else Bound(value, oid)


@cache
def _dumper() -> Any:
    """Make psycopg's dumper for a Bound: it sends text with its type."""
    from psycopg.adapt import Dumper
    from psycopg.errors import DataError

    class BoundDumper(Dumper):
        def get_key(self, obj: Bound, format: Any) -> Any:  # noqa: A002, ARG002
            return (self.cls, obj.oid)

        def upgrade(self, obj: Bound, format: Any) -> "BoundDumper":  # noqa: A002, ARG002
            dumper = BoundDumper(self.cls, self.connection)
            dumper.oid = obj.oid
            return dumper

        def dump(self, obj: Bound) -> bytes | None:
            value = obj.value
            if value is None:
                return None
            if isinstance(value, bool):
                return b"t" if value else b"f"
            text = repr(value) if isinstance(value, float) else str(value)
            if "\0" in text:
                raise DataError("PostgreSQL cannot store the character NUL (U+0000) in a text.")
            return text.encode()

    return BoundDumper
