"""Names of blobs: which a path matches, their formats, their partitions, and the names of their views."""

import re
from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from shared.datafiles import FileFormat
from shared.errors import invalid_field

_EXTENSIONS: dict[str, FileFormat] = {
    "csv": "csv", "tsv": "csv", "ndjson": "ndjson", "jsonl": "ndjson", "json": "json", "parquet": "parquet",
}  # fmt: skip
_FORMAT = re.compile(rf"\.({'|'.join(_EXTENSIONS)})(\.gz)?\Z", re.IGNORECASE)
_NOT_CARRIED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""XML has no such characters, and the service repeats the prefix in its response."""
_GLOB = re.compile(r"[*?\[]")
_PARTITION = re.compile(r"([^=/]+)=([^/]*)")


class File(NamedTuple):
    """A blob as a listing shows it."""

    name: str
    size: int
    etag: str
    """The ETag, with its quotes."""


class View(NamedTuple):
    """A name for one file of a database, or for a folder."""

    name: str
    path: str
    """Below the database's prefix: of a file its name, of a folder its name and a slash."""


def check_path(path: str) -> None:
    """Raises InvalidRequest for a path with a `.` or `..` segment, or with a character that no listing carries."""
    if _NOT_CARRIED.search(path):
        raise invalid_field("path", "The path has a control character. Replace it by `?`, which matches any character.")
    if any(segment in (".", "..") for segment in re.split(r"[/\\]", path)):
        raise invalid_field(
            "path", "The path has a `.` or `..` segment. Write the name of the blob from its container on."
        )


def literal_prefix(path: str) -> str:
    """The part of a path before its first glob character."""
    match = _GLOB.search(path)
    return path[: match.start()] if match else path


def is_glob(path: str) -> bool:
    """Whether a path has a glob character."""
    return _GLOB.search(path) is not None


@lru_cache(maxsize=64)
def glob_pattern(path: str) -> re.Pattern[str]:
    """The names that a glob matches: `*` and `?` stop at a slash, `**/` is any folders, `[…]` is a set of characters.

    Between two asterisks the first match is the right one, so that nothing is tried again: the time is linear.
    """
    segments: list[str] = []
    for each in path.split("/"):
        if each.startswith("**") and each.strip("*"):
            segments.append("**")  # `**.csv` is `**/*.csv`.
        segments.append("**" if len(each) > 1 and not each.strip("*") else each)
    groups: list[list[str]] = [[]]
    for each in segments:
        if each == "**":
            groups.append([])
        else:
            groups[-1].append(_segment(each))
    first, *middle = ["/".join(each) for each in groups]
    if not middle:
        return re.compile(first + r"\Z", re.DOTALL)
    *middle, last = middle
    parts = [f"{first}/" if groups[0] else ""]
    parts += [f"(?>(?:[^/]*+/)*?{each}/)" for each in middle if each]
    parts.append(f"(?:[^/]*+/)*{last or '[^/]*'}\\Z")
    return re.compile("".join(parts), re.DOTALL)


def _segment(text: str) -> str:
    """The expression for a part of a glob between two slashes."""
    pieces = [_characters(each) for each in re.split(r"\*+", text)]
    if len(pieces) == 1:
        return pieces[0]
    first, *middle, last = pieces
    return first + "".join(f"(?>[^/]*?{each})" for each in middle) + f"[^/]*{last}(?![^/])"


def _characters(text: str) -> str:
    parts: list[str] = []
    index = 0
    while index < len(text):
        if text[index] == "?":
            parts.append("[^/]")
        elif text[index] == "[" and (end := text.find("]", index + 2)) > 0:
            inner = text[index + 1 : end]
            negated = len(inner) > 1 and inner[0] in "!^"
            parts.append(f"(?!/)[{'^' if negated else ''}{_set(inner[1:] if negated else inner)}]")
            index = end
        else:
            parts.append(re.escape(text[index]))
        index += 1
    return "".join(parts)


def _set(inner: str) -> str:
    """The inside of a set of characters. Raises InvalidRequest for a range that runs backwards."""
    if any(first > last for first, last in re.findall(r"(.)-(.)", inner)):
        raise invalid_field("path", "The path has a set of characters `[…]` whose range runs backwards.")
    return re.sub(r"([\\\[\]^&~|])", r"\\\1", inner)


def matching(path: str, files: Iterable[File]) -> list[File]:
    """The file of exactly this name, else those that the glob matches: not hidden ones (`_…`, `.…`), nor empty ones."""
    listed = list(files)
    for each in listed:
        if each.name == path:
            return [each]
    if not is_glob(path):
        return []
    pattern = glob_pattern(path)
    return [each for each in listed if each.size and not is_hidden(each.name) and pattern.match(each.name)]


def is_hidden(name: str) -> bool:
    """Whether Hive and Spark would skip the file: `_SUCCESS`, `.part.crc`."""
    return name.rpartition("/")[2].startswith(("_", "."))


def format_of(name: str) -> FileFormat | None:
    """The format by the extension of a name; None for any other extension."""
    match = _FORMAT.search(name)
    return _EXTENSIONS[match[1].lower()] if match and not (match[1].lower() == "parquet" and match[2]) else None


def is_gzip(name: str) -> bool:
    """Whether the name says that gzip packed the file."""
    return name.lower().endswith(".gz")


def partitions(name: str) -> tuple[tuple[str, str], ...]:
    """The Hive partitions of a name: `year=2026/month=01/a.csv` has two."""
    folders = name.split("/")[:-1]
    return tuple((unquote(match[1]), unquote(match[2])) for each in folders if (match := _PARTITION.fullmatch(each)))


_NUMBER, _DAY = re.compile(r"-?(?:0|[1-9][0-9]{0,17})"), re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


def partition_type(values: Iterable[str]) -> str:
    """The SQL type of a partition with these values: as DuckDB's, `month=01` is a number."""
    known = {each for each in values if each != NO_VALUE}
    if known and all(_NUMBER.fullmatch(each) or (each.isdecimal() and len(each) < 18) for each in known):
        return "BIGINT"
    if known and all(_DAY.fullmatch(each) and _is_day(each) for each in known):
        return "DATE"
    return "VARCHAR"


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def path_text(text: str) -> str:
    """The name or value of a partition, as it is written in a path for the engine."""
    return quote(text, safe="")


def views(files: Sequence[str], folders: Sequence[str]) -> list[View]:
    """The views of a database: of each file whose extension is a format, and of each folder.

    `sales.csv` and `sales/` are both `sales`. Where two would share a name, ignoring case, both have their whole names.
    """
    named = [View(_FORMAT.sub("", each), each) for each in files if format_of(each) and not is_hidden(each)]
    named += [View(each.rstrip("/"), each) for each in folders if not is_hidden(each.rstrip("/"))]
    counts: dict[str, int] = {}
    for each in named:
        counts[each.name.lower()] = counts.get(each.name.lower(), 0) + 1
    return [each if each.name and counts[each.name.lower()] == 1 else View(each.path, each.path) for each in named]


def find_view(name: str, views: Sequence[View]) -> View | None:
    """The view that a statement names: by its name or its whole name, exactly, else ignoring case if only one fits."""
    for each in views:
        if name in (each.name, each.path):
            return each
    folded = name.lower()
    fits = [each for each in views if folded in (each.name.lower(), each.path.lower())]
    return fits[0] if len(fits) == 1 else None
