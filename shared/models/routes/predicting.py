"""`predict`."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.errors import invalid_field
from shared.inflight import inflight
from shared.models.errors import EndpointFailed, EndpointTimeout, OutputTooLarge
from shared.models.manifest import Manifest
from shared.models.predictions import Prediction, predictions_of
from shared.models.routes.fields import MODEL_ERRORS, OUTAGES, RUNNING, ModelName, TimeoutMs, Version
from shared.models.store.engine import Engine
from shared.models.store.files import ModelFiles
from shared.models.store.records import RecordStore
from shared.models.tensors import MAX_OUTPUT_BYTES, MAX_ROWS, Tensor, from_inputs, from_rows, nested, values_of
from shared.web import Example, Fields, Operation, Response


class Predict(Fields, frozen=True):
    """Rows, or tensors, for a model."""

    model: ModelName
    version: Version | None = None
    rows: (
        Annotated[
            list[Any],
            Meta(
                description="Objects by input name or feature, or arrays: 1 to 10,000. null is NaN where the model "
                "takes floats.",
                max_length=MAX_ROWS,
                min_length=1,
            ),
        ]
        | None
    ) = None
    inputs: Annotated[dict[str, Any], Meta(description="Nested lists by tensor name, instead of `rows`.")] | None = None
    timeout_ms: TimeoutMs = 5000


class Predicted(msgspec.Struct, frozen=True):
    """The outputs by tensor name, and a prediction for each row. NaN and infinity are null."""

    model: str
    version: int
    outputs: dict[str, Any] | None
    """Null for an endpoint, whose response has no names."""
    predictions: list[Prediction] | None
    """Null where the outputs have no line for each row."""


class Models:
    """Runs saved models: what the functions that predict share."""

    def __init__(self, records: RecordStore, files: ModelFiles, engine: Callable[[], Engine]) -> None:
        self.records = records
        self.files = files
        self.engine = engine

    def run(self, manifest: Manifest, inputs: list[Tensor], *, max_bytes: int = MAX_OUTPUT_BYTES) -> list[Tensor]:
        """The outputs of an ONNX model. Raises as `Engine.run` and ModelFiles.load do."""
        sha256 = manifest.sha256 or ""
        return self.engine().run(
            sha256, partial(self.files.load, sha256), inputs, manifest.outputs or [], max_bytes=max_bytes
        )


def predict(models: Models, fields: Predict) -> Response:
    if (fields.rows is None) == (fields.inputs is None):
        raise invalid_field("rows", "Send exactly one of `rows` and `inputs`.")
    stored = models.records.get(fields.model, fields.version)
    manifest = stored.manifest
    if fields.rows is not None:
        tensors = from_rows(manifest.inputs or [], manifest.features or [], fields.rows)
        count = len(fields.rows)
    else:
        tensors = from_inputs(manifest.inputs or [], fields.inputs or {})
        count = tensors[0].shape[0] if tensors[0].shape else 1
    results = models.run(manifest, tensors)
    inflight.book(sum(len(each.data) for each in results))
    return respond(manifest, results, count)


def respond(manifest: Manifest, results: list[Tensor], count: int) -> Response:
    """The response for the outputs of an ONNX model. Raises OutputTooLarge."""
    found: list[Prediction] | None = predictions_of(results, manifest.labels or [], manifest.classes or [], count)
    outputs = {each.name: nested(values_of(each), each.shape) for each in results}
    response = Response.json(Predicted(manifest.name, manifest.version, outputs, found))
    if len(response.body) > MAX_OUTPUT_BYTES:
        raise OutputTooLarge(f"The response has more than {MAX_OUTPUT_BYTES} bytes. Send fewer rows.")
    return response


def operations(models: Models) -> dict[str, Operation]:
    """`predict`."""
    return {
        "predict": Operation(
            handle=partial(predict, models),
            request=Predict,
            response=Predicted,
            summary="Predict with a saved model.\nThe app checks names, types and shapes before the model runs, in a "
            "process of its own. A classifier returns a label with its score, a regression a value.",
            errors=(*MODEL_ERRORS, *RUNNING, OutputTooLarge, EndpointFailed, EndpointTimeout, *OUTAGES),
            examples=(
                Example("An iris", {"model": "iris", "rows": [[5.1, 3.5, 1.4, 0.2]]}),
                Example(
                    "By feature",
                    {
                        "model": "iris",
                        "rows": [{"sepal_length": 6.7, "sepal_width": 3, "petal_length": 5.2, "petal_width": 2.3}],
                    },
                ),
            ),
            timeout_bounds_call=True,
        ),
    }
