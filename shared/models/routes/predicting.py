"""`predict`."""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.errors import invalid_field
from shared.inflight import inflight
from shared.models.azureml import check_url, predictions_in, request_body
from shared.models.errors import (
    EndpointFailed,
    EndpointForbidden,
    EndpointTimeout,
    EndpointUnavailable,
    ModelNotTrusted,
    OutputTooLarge,
)
from shared.models.manifest import SAVE_AGAIN, Manifest
from shared.models.onnx import TensorSpec
from shared.models.predictions import Prediction, predictions_of
from shared.models.routes.fields import MODEL_ERRORS, RUNNING, ModelName, Version
from shared.models.settings import ModelSettings
from shared.models.store.endpoints import Endpoints
from shared.models.store.engine import Engine
from shared.models.store.files import ModelFiles
from shared.models.store.records import RecordStore, Stored
from shared.models.tensors import (
    MAX_OUTPUT_BYTES,
    MAX_ROWS,
    Tensor,
    from_inputs,
    from_rows,
    json_bytes,
    nested,
    values_of,
)
from shared.storage.errors import OUTAGES
from shared.web import Example, Fields, Operation, Response
from shared.web.fields import time_limit

_TOO_LARGE = f"The response has more than {MAX_OUTPUT_BYTES} bytes."


class PredictRequest(Fields, frozen=True):
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
    timeout_ms: Annotated[int, time_limit(220_000, 100)] = 5000


class PredictResponse(msgspec.Struct, frozen=True):
    """The outputs by tensor name, and a prediction for each row. NaN and infinity are null."""

    model: str
    version: int
    outputs: dict[str, Any]
    """The whole response of an endpoint, as `response`."""
    predictions: list[Prediction] | None
    """Null where the outputs have no line for each row."""


class Models:
    """Runs saved models, for all functions that predict."""

    def __init__(
        self,
        records: RecordStore,
        files: ModelFiles,
        engine: Callable[[], Engine],
        endpoints: Endpoints,
        settings: ModelSettings,
    ) -> None:
        self.records = records
        self.files = files
        self.engine = engine
        self.endpoints = endpoints
        self.settings = settings

    def run(self, manifest: Manifest, inputs: list[Tensor], outputs: list[TensorSpec] | None = None) -> list[Tensor]:
        """Outputs of an ONNX model, all of them by default. Raises as `Engine.run` and ModelFiles.load do."""
        sha256 = manifest.sha256 or ""
        return self.engine().run(
            sha256, partial(self.files.load, sha256), inputs, manifest.outputs or [] if outputs is None else outputs
        )

    def predict(
        self, manifest: Manifest, inputs: list[Tensor], row_count: int
    ) -> tuple[list[Tensor], list[Prediction] | None]:
        """The outputs of an ONNX model, and its predictions. Raises as `run` does, and OutputTooLarge.

        A small tensor may be many lists: of the shape [1000000000, 0] it has no bytes at all.
        """
        results = self.run(manifest, inputs)
        size = sum(map(json_bytes, results))
        if size > MAX_OUTPUT_BYTES:
            raise OutputTooLarge(f"{_TOO_LARGE} Send fewer rows.")
        inflight.book(max(size, sum(len(each.data) for each in results)))
        return results, predictions_of(results, manifest.labels or [], manifest.classes or [], row_count)


def predict(models: Models, fields: PredictRequest) -> Response:
    if (fields.rows is None) == (fields.inputs is None):
        raise invalid_field("rows", "Send exactly one of `rows` and `inputs`.")
    stored = models.records.get(fields.model, fields.version)
    manifest = stored.manifest
    if manifest.kind == "azureml":
        return _score(models, stored, fields)
    if fields.rows is not None:
        tensors = from_rows(manifest.inputs or [], manifest.features or [], fields.rows)
        count = len(fields.rows)
    else:
        tensors = from_inputs(manifest.inputs or [], fields.inputs or {})
        count = tensors[0].shape[0] if tensors[0].shape else 1
    results, predictions = models.predict(manifest, tensors, count)
    outputs = {each.name: nested(values_of(each), each.shape) for each in results}
    response = Response.json(PredictResponse(manifest.name, manifest.version, outputs, predictions))
    if len(response.body) > MAX_OUTPUT_BYTES:
        raise OutputTooLarge(f"{_TOO_LARGE} Send fewer rows.")
    return response


def _score(models: Models, stored: Stored, fields: PredictRequest) -> Response:
    """The response of an endpoint."""
    manifest = stored.manifest
    sealed_sha256 = hashlib.sha256(stored.sealed_key).hexdigest() if stored.sealed_key else None
    if sealed_sha256 != manifest.key_sha256:
        raise ModelNotTrusted(f"The key of the endpoint was changed. {SAVE_AGAIN}")
    check_url(manifest.url or "", models.settings.azureml_hosts)
    body = request_body(fields.rows, fields.inputs, manifest.features)
    key = models.records.open(stored.sealed_key, manifest.name) if stored.sealed_key else ""
    result = models.endpoints.score(manifest.url or "", manifest.deployment, key, body)
    count = None if fields.rows is None else len(fields.rows)
    predictions = predictions_in(result, manifest.labels or [], count)
    return Response.json(PredictResponse(manifest.name, manifest.version, {"response": result}, predictions))


def operations(models: Models) -> dict[str, Operation]:
    """`predict`."""
    return {
        "predict": Operation(
            handle=partial(predict, models),
            request=PredictRequest,
            response=PredictResponse,
            summary="Predict with a saved model.\nThe app checks names, types and shapes before the model runs, in a "
            "process of its own. A classifier returns a label with its score, a regression a value.",
            errors=(
                *MODEL_ERRORS,
                *RUNNING,
                OutputTooLarge,
                EndpointFailed,
                EndpointTimeout,
                EndpointForbidden,
                EndpointUnavailable,
                *OUTAGES,
            ),
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
