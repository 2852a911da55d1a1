"""Data files: the fields that name them, the options of reading them, and their errors, which several capabilities
share."""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.errors import Conflict, NotFound, Refused, StorageForbidden, StorageUnavailable, invalid_field

FilesPath = Annotated[
    str,
    Meta(
        description="The name of a blob, else a glob: `*` and `?` stop at a slash, `**` is any folders, `[…]` is a set "
        "of characters. Folders such as `year=2026` become columns.",
        min_length=1,
        max_length=1024,
    ),
]
FileFormat = Literal["csv", "ndjson", "json", "parquet"]
FilesFormat = Annotated[
    FileFormat, Meta(description="The format of the files. By default it follows from their extension.")
]
_TYPE = re.compile(
    r"[A-Za-z][A-Za-z0-9_]*(?: [A-Za-z]+){0,3}(?:\(\s*[0-9]{1,3}(?:\s*,\s*[0-9]{1,3})?\s*\))?(?:\[[0-9]{0,4}\]){0,3}"
)


class DataFile(msgspec.Struct, frozen=True):
    """A file: its size in bytes, and its ETag with quotes."""

    name: str
    size: int
    etag: str


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Options for reading files that the files themselves do not determine."""

    delimiter: Annotated[str, Meta(min_length=1, max_length=4, description="Of CSV, between two fields.")] | None = None
    header: Annotated[bool, Meta(description="Whether the first line of CSV has the names of the columns.")] | None = (
        None
    )
    types: (
        Annotated[
            dict[
                Annotated[str, Meta(min_length=1, max_length=200)], Annotated[str, Meta(min_length=1, max_length=100)]
            ],
            Meta(
                max_length=1000,
                description='The types of columns, such as `{"id": "VARCHAR", "price": "DECIMAL(9,2)"}`.',
            ),
        ]
        | None
    ) = None
    null_values: (
        Annotated[
            list[Annotated[str, Meta(max_length=100)]], Meta(max_length=20, description="Texts of CSV that are null.")
        ]
        | None
    ) = None
    union_by_name: Annotated[
        bool, Meta(description="Read files with different columns: a column that a file lacks is null there.")
    ] = False

    def check(self, file_format: FileFormat) -> None:
        """Raises InvalidRequest for an option that the format does not have, and for a type that is none."""
        for name in ("delimiter", "header", "null_values"):
            if file_format != "csv" and getattr(self, name) is not None:
                raise invalid_field(f"options.{name}", f"Remove the option {name}: only CSV has it.")
        for column, kind in (self.types or {}).items():
            if not _TYPE.fullmatch(kind):
                raise invalid_field("options.types", f"The type of the column {column} is not a type of DuckDB.")


class NoFiles(NotFound):
    """No blob matches the path."""

    code = "no-files"
    title = "No blob matches the path"


class MixedFormats(Refused):
    """The files that match are not all of one format, or the format is unknown."""

    code = "mixed-formats"
    title = "The files are not all of one format"


class ColumnsDiffer(Refused):
    """The files do not have the same columns."""

    code = "columns-differ"
    title = "The files do not have the same columns"


class TooMuchToRead(Refused):
    """The call would read more files, bytes or ranges than one call may."""

    code = "too-much-to-read"
    title = "The call would read too much"


class DataChanged(Conflict):
    """A file changed while the call read it, or after the page that the cursor belongs to."""

    code = "data-changed"
    title = "The data files have changed"


class UnreadableData(Refused):
    """The engine cannot read a file in the format that it has by its name or by the call."""

    code = "unreadable-data"
    title = "A file cannot be read"


FILE_ERRORS = (
    NoFiles,
    MixedFormats,
    ColumnsDiffer,
    TooMuchToRead,
    DataChanged,
    UnreadableData,
    StorageUnavailable,
    StorageForbidden,
)
"""The errors of every function that reads data files."""
