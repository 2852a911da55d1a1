"""Predictions for the rows of a data file: its columns as a model's inputs, and the lines of the output. Pure."""

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from shared.errors import FieldError, InvalidRequest
from shared.models.errors import BadRow
from shared.models.manifest import Manifest
from shared.models.predictions import Prediction

OutputFormat = Literal["csv", "ndjson", "parquet"]
MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
_OUTPUT = re.compile(r".*\.[A-Za-z0-9._-]+-v[0-9]+-[0-9a-f]{12}\.(csv|ndjson|parquet)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_QUOTED = re.compile(r'[",\r\n]|^\s|\s\Z')


def output_name(prefix: str, source: str, etag: str, manifest: Manifest, signature: str, kind: OutputFormat) -> str:
    """The name of an output: of the input's name, its ETag and the version, so that it is written once."""
    digest = hashlib.sha256(msgspec.json.encode((source, etag, manifest.name, manifest.version, signature)))
    return f"{prefix}{source}.{manifest.name}-v{manifest.version}-{digest.hexdigest()[:12]}.{kind}"


def is_output(name: str, prefix: str) -> bool:
    """Whether a blob is an output of a batch with this prefix, and so no input of the next one."""
    return name.startswith(prefix) and _OUTPUT.fullmatch(name) is not None


class Column(Protocol):
    """A column of a data file."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def kind(self) -> str:
        """Its type, as `query-sql` names it."""
        ...


class Field(NamedTuple):
    """A field of a model, and the column that has its values."""

    position: int
    is_json: bool
    """The column has values of several types, each as its JSON."""
    is_number: bool
    """The model takes a number, and the column may have it as a text: a decimal, or one beside a text."""


def fields_of(manifest: Manifest, columns: Sequence[Column]) -> list[Field]:
    """The model's fields among the columns of a file. Raises BadRow, naming those that it lacks."""
    inputs = manifest.inputs or []
    headings = [each.name for each in columns]
    names = list(manifest.features or []) or [each.name for each in inputs]
    shape = inputs[0].shape or [] if len(inputs) == 1 else []
    width = shape[1] if len(shape) == 2 else 1
    if not manifest.features and width != 1:
        if width not in (-1, len(columns)):
            raise BadRow(
                f"The file has {len(columns)} columns, and the model takes {width}. Save the model with "
                "`features`, so that it finds its own."
            )
        names = headings
    if missing := [name for name in names if name not in headings]:
        raise BadRow(f"The file lacks the column {missing[0][:64]}. The model needs {', '.join(names[:20])}.")
    datatypes = {each.name: each.datatype for each in inputs} if len(inputs) > 1 else {}
    fields = []
    for name in names:
        position = headings.index(name)
        kind = columns[position].kind
        is_number = datatypes.get(name, inputs[0].datatype) not in ("BYTES", "BOOL")
        fields.append(Field(position, kind == "json", is_number and kind in ("decimal", "json", "text")))
    return fields


def inputs_of(rows: Iterable[Sequence[Any]], fields: Sequence[Field]) -> list[list[Any]]:
    """The rows of the model. A text that is not a number stays one, so that the model's check names its row."""
    return [
        [_value(row[each.position], each) if each.is_json or each.is_number else row[each.position] for each in fields]
        for row in rows
    ]


def _value(value: Any, field: Field) -> Any:
    if field.is_json and isinstance(value, str):
        value = msgspec.json.decode(value)
    if not field.is_number or not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    return int(value) if value.lstrip("+-").isdecimal() else float(value)


def bad_row(error: InvalidRequest, start: int, names: Sequence[str]) -> BadRow:
    """The error of a row, with its number in the file (from 1, without the header) and its column."""
    field: FieldError | None = error.errors[0] if error.errors else None
    match = re.match(r"rows\[([0-9]+)\](?:\[([0-9]+)\]|\.(.+))?", field.field) if field is not None else None
    if field is None or match is None:
        return BadRow(error.detail)
    column = names[int(match[2])] if match[2] and int(match[2]) < len(names) else match[3]
    where = f", column {column}" if column else ""
    problem = field.detail.partition("` ")[2] or field.detail
    return BadRow(f"Row {start + int(match[1]) + 1}{where}: {problem} Correct the file.")


def columns_of(columns: Sequence[str], first: Prediction | None) -> list[str]:
    """The columns of an output: those of the file, and the prediction, under names that the file does not have.

    `first` is the first prediction; None for a file without rows.
    """
    added = ["prediction"] if first is None or first.label is msgspec.UNSET else ["prediction", "score"]
    names = list(columns)
    for name in added:
        while name in names:
            name += "_"  # noqa: PLW2901 - the same column.
        names.append(name)
    return names


def kinds_of(first: Prediction | None) -> list[str]:
    """The types of the columns that a prediction adds, as `query-sql` names them."""
    if first is None or first.label is msgspec.UNSET:
        return ["json" if first is not None and isinstance(first.value, list) else "real"]
    return ["text" if isinstance(first.label, str) else "integer", "real"]


def values_of(prediction: Prediction) -> list[Any]:
    """A prediction as the values of its columns."""
    if prediction.label is msgspec.UNSET:
        return [prediction.value]
    return [prediction.label, prediction.score]


def lines(kind: OutputFormat, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows as lines of the output."""
    if kind != "csv":
        return b"".join(msgspec.json.encode(dict(zip(names, map(_plain, row), strict=True))) + b"\n" for row in rows)
    return "".join(",".join(map(_field, row)) + "\r\n" for row in rows).encode()


def header(kind: OutputFormat, names: Sequence[str]) -> bytes:
    """The first line of CSV."""
    return lines("csv", names, [names]) if kind == "csv" else b""


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _field(value: Any) -> str:
    """A value in CSV, as `export-sql` writes it: NULL is nothing, and an empty text is `""`."""
    if value is None:
        return ""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"' if value == "" or _QUOTED.search(value) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ""
    if isinstance(value, int):
        return str(value)
    return _field(msgspec.json.encode(value).decode())
