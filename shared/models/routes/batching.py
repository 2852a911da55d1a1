"""`predict-batch`."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from time import monotonic
from typing import Annotated, Any, NamedTuple, Protocol

import msgspec
from msgspec import Meta

from shared.datafiles import FILE_ERRORS, DataChanged, FilesPath, NoFiles
from shared.deadline import call_limit, deadline, seconds_left
from shared.errors import (
    Busy,
    InvalidRequest,
    QueryTimeout,
    Refused,
    UnknownContainer,
    invalid_field,
)
from shared.inflight import inflight
from shared.models import batches
from shared.models.batches import OutputFormat
from shared.models.errors import BadRow, BatchTooLarge, ModelNotTrusted, ModelTimeout, UnsupportedModel
from shared.models.manifest import Manifest
from shared.models.predictions import Prediction
from shared.models.routes.fields import MODEL_ERRORS, RUNNING, ModelName, Version
from shared.models.routes.predicting import Models
from shared.models.store.outputs import Outputs
from shared.models.store.records import Stored
from shared.models.tensors import from_rows
from shared.storage.errors import OUTAGES, ReservedContainer, TemporaryFailure
from shared.storage.fields import ContainerName
from shared.web import Cursor, Cursors, Example, Fields, Operation
from shared.web.fields import time_limit
from shared.web.respond import problem_fields

CHUNK_ROWS = 1000
MAX_OUTPUT_BYTES = 64 * 1024 * 1024
"""Of one blob, and of its rows while they wait for the model."""
MAX_NAME = 1024
MARGIN_SECONDS = 1.0
"""What a call keeps of its time for the response."""


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

    @property
    def detail(self) -> str:
        """The details that the kind leaves out, such as `decimal(9,2)`."""
        ...


Parquet = Callable[[Sequence[tuple[str, str, str]], Sequence[tuple[Any, ...]]], bytes]
"""Makes a Parquet file of columns (name, kind, detail) and rows."""


class Query(Protocol):
    """A statement over a data file."""

    def check(self, sql: str) -> None:
        """Check the statement."""
        ...

    def run(self, sql: str) -> Sequence[Column]:
        """Start it: its columns."""
        ...

    def fetch(self, count: int) -> list[tuple[Any, ...]]:
        """The next rows; none at the end."""
        ...


class File(Protocol):
    """A blob that matches a path."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def etag(self) -> str:
        """Its ETag."""
        ...


class Reader(Protocol):
    """Reads data files, each in a process of its own."""

    def path(self, container: str, path: str) -> Any:
        """The files that a path matches: its `selection.files` are `File`s."""
        ...

    def open(self, source: Any, deadline: float) -> AbstractContextManager[Query]:
        """A query over the files that a path matches, by a deadline of the monotonic clock."""
        ...


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The files with the rows."""

    container: ContainerName
    path: FilesPath


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The container and the names of the outputs."""

    container: ContainerName
    prefix: Annotated[
        str,
        Meta(
            description="The names of the outputs begin with this text, without control characters.",
            max_length=512,
            pattern=r"^[^\x00-\x1f\x7f]*\Z",
        ),
    ] = ""
    format: OutputFormat = "csv"


class PredictBatchRequest(Fields, frozen=True, kw_only=True):
    """A model, the files with its rows, and the target of the predictions."""

    model: ModelName
    version: Version | None = None
    source: Source
    target: Target
    cursor: Cursor | None = None
    timeout_ms: Annotated[int, time_limit(200_000, 1000)] = 60_000


class PredictBatchResponse(msgspec.Struct, frozen=True):
    """For each input blob its output, or a problem with the name of the input.

    Beside `name`, the output's: `source`, `row_count` and `sha256`. A repeated call returns the first output.
    """

    row_count: int
    blobs: list[dict[str, Any]]
    cursor: str | None
    """Call again with it, to continue with the next input."""


class _Position(msgspec.Struct, frozen=True, array_like=True):
    next: str
    version: int
    digest: str


def predict_batch(
    models: Models,
    outputs: Outputs,
    reader: Callable[[], Reader],
    parquet: Parquet,
    cursors: Cursors,
    fields: PredictBatchRequest,
) -> PredictBatchResponse:
    scope = ("predict-batch", fields.model, fields.version, fields.source, fields.target)
    position = None if fields.cursor is None else cursors.decode(fields.cursor, _Position, *scope)
    stored = models.records.get(fields.model, position.version if position is not None else fields.version)
    if stored.manifest.kind != "onnx":
        raise UnsupportedModel("This model is an endpoint. Call it with predict.")
    outputs.check_container(fields.target.container)
    files = _files(reader(), fields)
    digest = hashlib.sha256(msgspec.json.encode([(each.name, each.etag) for each in files])).hexdigest()
    if position is not None and position.digest != digest:
        raise DataChanged("The files changed since the call that returned this cursor. Start again without it.")
    began = monotonic()
    half = seconds_left() / 2
    blobs: list[dict[str, Any]] = []
    count = 0
    left = [each for each in files if position is None or each.name >= position.next]
    for number, file in enumerate(left):
        cursor = cursors.encode(_Position(file.name, stored.manifest.version, digest), *scope)
        if number and monotonic() - began > half:
            return PredictBatchResponse(count, blobs, cursor)
        try:
            with call_limit(max(0.1, seconds_left() - MARGIN_SECONDS)):
                blob = _one(models, outputs, reader(), parquet, stored, fields, file)
        except (QueryTimeout, ModelTimeout, TemporaryFailure) as error:
            if isinstance(error, TemporaryFailure) and not error.cut_short:
                raise
            if number:
                return PredictBatchResponse(count, blobs, cursor)
            raise BatchTooLarge(
                f"The blob {file.name[:200]} takes longer than this call. Send a larger timeout_ms, or split the blob."
            ) from error
        except (Busy, ModelNotTrusted, BatchTooLarge):
            if not number:
                raise
            return PredictBatchResponse(count, blobs, cursor)
        except Refused as error:
            blob = {"name": file.name, **problem_fields(error)}
        count += int(blob.get("row_count", 0))
        blobs.append(blob)
    return PredictBatchResponse(count, blobs, None)


def _files(reader: Reader, fields: PredictBatchRequest) -> list[File]:
    """The inputs, by name, without the outputs of earlier calls. Raises NoFiles."""
    same = fields.source.container == fields.target.container
    files = [
        each
        for each in reader.path(fields.source.container, fields.source.path).selection.files
        if not (same and batches.is_output(each.name, fields.target.prefix))
    ]
    if not files:
        raise NoFiles("No blob matches the path, except for outputs of earlier calls. Correct `source.path`.")
    return sorted(files, key=lambda each: each.name)


def _one(
    models: Models,
    outputs: Outputs,
    reader: Reader,
    parquet: Parquet,
    stored: Stored,
    fields: PredictBatchRequest,
    file: File,
) -> dict[str, Any]:
    """The output of one input. Raises BadRow, BatchTooLarge, and what reading and running raise."""
    target = fields.target
    name = batches.output_name(target.prefix, file.name, file.etag, stored.manifest, stored.signature, target.format)
    if len(name) > MAX_NAME:
        raise invalid_field("target.prefix", "The names of the outputs would be too long. Send a shorter prefix.")
    done = outputs.find(target.container, name)
    if done is None:
        data, count = _predicted(models, reader, parquet, stored, fields, file)
        done = outputs.write(target.container, name, data, count, batches.MEDIA_TYPES[target.format])
    return {"name": name, "source": file.name, "row_count": done.row_count, "sha256": done.sha256}


class _Rows(NamedTuple):
    """The rows of an input. A call holds one process at a time, so they wait for the model, as MessagePack."""

    columns: Sequence[Column]
    fields: list[batches.Field]
    chunks: list[bytes]


def _read(reader: Reader, manifest: Manifest, fields: PredictBatchRequest, file: File) -> _Rows:
    """All rows of an input. Raises BadRow where a column is missing, BatchTooLarge, and what reading raises."""
    chunks, size = [], 0
    with reader.open(reader.path(fields.source.container, file.name), deadline()) as query:
        query.check("select * from data")
        columns = query.run("select * from data")
        columns_by_field = batches.fields_of(manifest, columns)
        while rows := query.fetch(CHUNK_ROWS):
            chunk = msgspec.msgpack.encode(rows)
            inflight.book(len(chunk))
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_OUTPUT_BYTES:
                raise BatchTooLarge(f"The rows of {file.name[:200]} are too large. Split the blob.")
    return _Rows(columns, columns_by_field, chunks)


def _predicted(
    models: Models, reader: Reader, parquet: Parquet, stored: Stored, fields: PredictBatchRequest, file: File
) -> tuple[bytes, int]:
    """The bytes of an output, and its rows."""
    manifest, kind = stored.manifest, fields.target.format
    inputs = manifest.inputs or []
    columns, takes, chunks = _read(reader, manifest, fields, file)
    headings = [each.name for each in columns]
    # A model may take a fixed number of rows in one call.
    step = next((each.shape[0] for each in inputs if each.shape and each.shape[0] > 0), CHUNK_ROWS)
    written, count = bytearray(), 0
    names: list[str] = []
    kept: list[tuple[Any, ...]] = []
    first: Prediction | None = None
    while chunks:
        chunk: list[list[Any]] = msgspec.msgpack.decode(chunks.pop(0))
        for rows in (chunk[at : at + step] for at in range(0, len(chunk), step)):
            try:
                tensors = from_rows(inputs, (), batches.inputs_of(rows, takes))
            except InvalidRequest as error:
                raise batches.bad_row(error, count, [headings[each.position] for each in takes]) from error
            _, predictions = models.predict(manifest, tensors, len(rows))
            if predictions is None:
                raise UnsupportedModel("The model's outputs have no line for each row. Call it with predict.")
            if first is None:
                first = predictions[0]
                names = batches.columns_of(headings, first)
                written += batches.header(kind, names)
            pairs = zip(rows, predictions, strict=True)
            lines = [(*row, *batches.values_of(each)) for row, each in pairs]
            added = batches.lines(kind, names, lines)
            inflight.book(len(added))
            written += added
            count += len(rows)
            if kind == "parquet":
                kept += lines  # `written` only measures them.
            if len(written) > MAX_OUTPUT_BYTES:
                raise BatchTooLarge(f"The output of {file.name[:200]} is too large. Split the blob.")
    if first is None:
        names = batches.columns_of(headings, None)
        written += batches.header(kind, names)
    if kind == "parquet":
        kinds = [(each.kind, each.detail) for each in columns]
        kinds += [(each, "") for each in batches.kinds_of(first)]
        return parquet([(name, *each) for name, each in zip(names, kinds, strict=True)], kept), count
    return bytes(written), count


def operations(
    models: Models, outputs: Outputs, reader: Callable[[], Reader], parquet: Parquet, cursors: Cursors
) -> dict[str, Operation]:
    """`predict-batch`."""
    return {
        "predict-batch": Operation(
            handle=partial(predict_batch, models, outputs, reader, parquet, cursors),
            request=PredictBatchRequest,
            response=PredictBatchResponse,
            summary="Predict for every row of data files: one output blob for each input blob.\nAn output has the "
            "columns of its input and the prediction. Its name depends on the input's name and ETag and on the model's "
            "version, and it is written once: a repeated call does nothing twice. A row that does not fit stops its "
            "blob, and is named.",
            errors=(
                *MODEL_ERRORS,
                *RUNNING,
                *FILE_ERRORS,
                BadRow,
                BatchTooLarge,
                ReservedContainer,
                UnknownContainer,
                *OUTAGES,
            ),
            examples=(
                Example(
                    "A file of irises",
                    {
                        "model": "iris",
                        "source": {"container": "samples", "path": "models/irises.csv"},
                        "target": {"container": "samples", "prefix": "predictions/"},
                    },
                ),
            ),
            timeout_bounds_call=True,
            writes=True,
        ),
    }
