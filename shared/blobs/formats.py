"""The formats of a listing: JSON, lines of JSON, CSV, or bare names. Each is a sink that encodes the items it gets."""

import io
from collections.abc import Sequence
from typing import Literal

import msgspec

from shared.blobs.listing import Blob, Container, Item, Prefix
from shared.web import Response

Format = Literal["json", "ndjson", "csv", "names"]

_COLUMNS_OF_INCLUDED = {
    "snapshots": ("snapshot",),
    "versions": ("version_id", "is_current_version"),
    "deleted": ("deleted", "deleted_at", "remaining_retention_days", "version_id"),
    "metadata": ("metadata",),
    "tags": ("tags",),
    "copy": ("copy",),
}

_encoder = msgspec.json.Encoder()


class Json:
    """One object: `key` holds the items, and `prefixes` those of a listing of blobs."""

    def __init__(self, key: Literal["blobs", "containers"]) -> None:
        self._key = key
        self._items, self._prefixes = bytearray(), bytearray()

    @property
    def size(self) -> int:
        return len(self._items) + len(self._prefixes)

    def mark(self) -> tuple[int, ...]:
        return len(self._items), len(self._prefixes)

    def reset(self, mark: tuple[int, ...]) -> None:
        del self._items[mark[0] :]
        del self._prefixes[mark[1] :]

    def add(self, items: list[Item]) -> None:
        prefixes = [each.prefix for each in items if isinstance(each, Prefix)]
        if prefixes:
            self._prefixes += b"," + _encoder.encode(prefixes)[1:-1]
            items = [each for each in items if not isinstance(each, Prefix)]
        if items:
            self._items += b"," + _encoder.encode(items)[1:-1]

    def response(self, cursor: str | None) -> Response:
        """All items so far, and the cursor of the next page."""
        prefixes = b',"prefixes":[' + self._prefixes[1:] + b"]" if self._key == "blobs" else b""
        parts = (b'{"', self._key.encode(), b'":[', memoryview(self._items)[1:], b"]", prefixes)
        return Response(200, b"".join((*parts, b',"cursor":', _encoder.encode(cursor), b"}")))


class Lines:
    """One line per item, in the order of the listing. Headers say whether more follows."""

    media_type = "application/x-ndjson"

    def __init__(self) -> None:
        self._lines = bytearray()

    @property
    def size(self) -> int:
        return len(self._lines)

    def mark(self) -> tuple[int, ...]:
        return (len(self._lines),)

    def reset(self, mark: tuple[int, ...]) -> None:
        del self._lines[mark[0] :]

    def add(self, items: list[Item]) -> None:
        """JSON lines: a prefix is an object with that one member."""
        self._lines += _encoder.encode_lines(items)

    def response(self, cursor: str | None) -> Response:
        """All items so far, and the cursor of the next page."""
        headers = {"x-truncated": "true", "x-cursor": cursor} if cursor else {}
        return Response(200, bytes(self._lines), self.media_type, headers)


class Names(Lines):
    """Bare names. A line break in one is written `\\n` or `\\r`, and a backslash `\\\\`."""

    media_type = "text/plain; charset=utf-8"
    _escapes = str.maketrans({"\\": r"\\", "\n": r"\n", "\r": r"\r"})

    def add(self, items: list[Item]) -> None:
        names = (each.prefix if isinstance(each, Prefix) else each.name for each in items)
        self._lines += "".join(name.translate(self._escapes) + "\n" for name in names).encode()


class Csv(Lines):
    """RFC 4180, with a header line. A prefix has only a name; objects are JSON."""

    media_type = "text/csv; charset=utf-8"

    def __init__(self, columns: tuple[str, ...]) -> None:
        super().__init__()
        self._columns = columns
        self._lines += (",".join(columns) + "\r\n").encode()

    def add(self, items: list[Item]) -> None:
        import csv  # Only this format needs it.

        text = io.StringIO()
        csv.writer(text).writerows(
            [each.prefix] + [""] * (len(self._columns) - 1)
            if isinstance(each, Prefix)
            else [_cell(getattr(each, column)) for column in self._columns]
            for each in items
        )
        self._lines += text.getvalue().encode()


def columns(kind: type[Blob] | type[Container], include: Sequence[str]) -> tuple[str, ...]:
    """The columns of a listing: those of every item, and those that `include` adds."""
    fields = msgspec.structs.fields(kind)
    included = {column for each in include for column in _COLUMNS_OF_INCLUDED[each]}
    return tuple(each.name for each in fields if each.required or each.name in included)


def _cell(value: object) -> object:
    if value is None or value is msgspec.UNSET:
        return ""
    return value if isinstance(value, str | int) and not isinstance(value, bool) else _encoder.encode(value).decode()
