"""What a call reads: files by their path, or the views of a database."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shared.data.names import File, format_of, is_gzip, partition_type, partitions
from shared.datafiles import ColumnsDiffer, FileFormat, MixedFormats, NoFiles, Options, TooMuchToRead

VIEW = "data"
"""The view of a call that names a path."""


class Selection(NamedTuple):
    """The files of one view."""

    view: str
    format: FileFormat
    files: list[File]
    options: Options
    columns: list[list[str]]
    """The names and types of the partitions."""
    rows: list[list[str]]
    """The values of the partitions, for each file."""
    as_text: bool = False
    """Read every column of CSV as text, an empty field as null and `""` as the empty text."""

    def part(self, numbers: Iterable[int]) -> "Selection":
        """The selection with some of its files."""
        kept = sorted(numbers)
        return self._replace(files=[self.files[each] for each in kept], rows=[self.rows[each] for each in kept])

    def digest(self) -> str:
        """A digest of the names and ETags of the files."""
        text = "\0".join(f"{each.name}\0{each.etag}" for each in self.files)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def select(view: str, path: str, files: Sequence[File], file_format: FileFormat | None, options: Options) -> Selection:
    """The files of `path` as one view. Raises NoFiles, MixedFormats, ColumnsDiffer and InvalidRequest."""
    if not files:
        raise NoFiles(
            f"No blob matches {path}. list-blobs shows the names; `**` matches any folders, as in sales/**/*.parquet."
        )
    formats = {file_format} if file_format else {format_of(each.name) for each in files}
    if len(formats) > 1:
        known = sorted({str(format_of(each.name) or each.name.rpartition("/")[2]) for each in files})
        raise MixedFormats(f"The files that match are of several formats: {', '.join(known[:5])}. Name those of one.")
    chosen = formats.pop()
    if chosen is None:
        raise MixedFormats(f"The extension of {files[0].name} is not of a known format. Set file_format.")
    if len({is_gzip(each.name) for each in files}) > 1:
        raise MixedFormats("Some of the files are packed by gzip (.gz) and some are not. Name those of one kind.")
    options.check(chosen)
    keys = [partitions(each.name) for each in files]
    names = [name for name, _ in keys[0]]
    if len({name.lower() for name in names}) < len(names):
        names = []
    elif any([name for name, _ in each] != names for each in keys):
        different = next(file for file, each in zip(files, keys, strict=True) if [name for name, _ in each] != names)
        raise ColumnsDiffer(
            f"The file {different.name} has other partitions (folders such as year=2026) than {files[0].name}."
        )
    rows = [[value for _, value in each] if names else [] for each in keys]
    columns = [[name, partition_type(row[index] for row in rows)] for index, name in enumerate(names)]
    return Selection(view, chosen, list(files), options, columns, rows)


def check_count(selections: Sequence[Selection], most: int) -> None:
    """Raises TooMuchToRead for more than `most` files."""
    count = sum(len(each.files) for each in selections)
    if count > most:
        raise TooMuchToRead(f"The call would read {count} files; at most {most} are read. Name fewer of them.")
