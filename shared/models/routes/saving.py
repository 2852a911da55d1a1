"""`save-model`, `list-models`, `get-model` and `delete-model`."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from shared.errors import PreconditionFailed, UnknownContainer, invalid_field
from shared.models import onnx, predictions
from shared.models.azureml import check_url
from shared.models.errors import UnsupportedModel
from shared.models.manifest import Manifest
from shared.models.onnx import TensorSpec
from shared.models.routes.fields import (
    MODEL_ERRORS,
    RUNNING,
    ModelName,
    Version,
)
from shared.models.settings import ModelSettings
from shared.models.store.engine import Engine
from shared.models.store.files import ModelFiles
from shared.models.store.records import RecordStore, Stored
from shared.models.tensors import Tensor, zeros
from shared.sandbox.errors import EngineFailed
from shared.storage.errors import OUTAGES, BlobConflict, ReservedContainer, UnknownBlob
from shared.storage.fields import BlobName, ContainerName
from shared.web import Cursor, Cursors, Example, Fields, Operation, Response, rfc3339
from shared.web.fields import Description, NamePrefix, PageLimit

TRIAL_SECONDS = 5.0
"""How long the first run on zeros may take."""

Text = Annotated[str, Meta(min_length=1, max_length=200)]


class SaveModelRequest(Fields, frozen=True):
    """An ONNX file in a blob, or a managed endpoint of Azure Machine Learning."""

    name: ModelName
    kind: Annotated[
        Literal["onnx", "azureml"],
        Meta(description="`onnx` takes `container` and `blob`; `azureml` takes `url`, `deployment` and `key`."),
    ] = "onnx"
    container: ContainerName | None = None
    blob: Annotated[BlobName, Meta(description="The blob with the ONNX file, up to 64 MiB.")] | None = None
    url: (
        Annotated[str, Meta(description="The scoring URI of a managed online endpoint.", min_length=1, max_length=2048)]
        | None
    ) = None
    deployment: (
        Annotated[
            str,
            Meta(
                description="The deployment to call: up to 64 letters, digits, hyphens and underscores; the first is "
                "a letter or digit. Default: the endpoint chooses.",
                pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z",
            ),
        ]
        | None
    ) = None
    key: (
        Annotated[
            str,
            Meta(
                description="A key of the endpoint: visible ASCII characters. Default: the app sends a token of "
                "its managed identity. No function returns it.",
                pattern=r"^[!-~]{1,1024}\Z",
            ),
        ]
        | None
    ) = None
    labels: (
        Annotated[
            list[Text],
            Meta(
                description="The names of the classes, in the order of the model's scores.",
                min_length=1,
                max_length=1000,
            ),
        ]
        | None
    ) = None
    features: (
        Annotated[
            list[Text],
            Meta(
                description="The names of the columns of the model's one input, in order.",
                min_length=1,
                max_length=1000,
            ),
        ]
        | None
    ) = None
    description: Description = ""


class ModelResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a model. `inputs`, `outputs` and `sha256` are null for an endpoint."""

    name: str
    version: int
    versions: list[int]
    kind: Literal["onnx", "azureml"]
    inputs: list[TensorSpec] | None
    outputs: list[TensorSpec] | None
    sha256: str | None
    signature: str
    """A compact JWS over all of the above and below. /api/keys/_models/jwks has its public key."""
    labels: list[str] | None
    features: list[str] | None
    description: str
    url: str | None
    deployment: str | None
    has_key: bool
    """Whether a key of the endpoint is stored."""
    created: str


def save_model(
    records: RecordStore, files: ModelFiles, engine: Engine, settings: ModelSettings, fields: SaveModelRequest
) -> Response:
    if fields.labels is not None and len(set(fields.labels)) != len(fields.labels):
        raise invalid_field("labels", "Two of the `labels` are the same. Name each class once.")
    if fields.features is not None and len(set(fields.features)) != len(fields.features):
        raise invalid_field("features", "Two of the `features` are the same. Name each column once.")
    draft, key = (_onnx(files, engine, fields), "") if fields.kind == "onnx" else _azureml(settings, fields)
    sealed = records.seal(key, fields.name) if key else b""
    now = rfc3339(datetime.now(UTC))

    def describe(version: int) -> Manifest:
        digest = hashlib.sha256(sealed).hexdigest() if sealed else None
        return msgspec.structs.replace(draft, version=version, time=now, key_sha256=digest)

    def is_same(stored: Stored) -> bool:
        old_key = records.open(stored.sealed_key, fields.name) if stored.sealed_key else ""
        unchanged = {"version": 0, "time": "", "key_sha256": None}
        return old_key == key and msgspec.structs.replace(stored.manifest, **unchanged) == draft

    stored, is_new = records.save(fields.name, describe, is_same, sealed)
    return Response.json(_response(stored, records.versions(fields.name)), 201 if is_new else 200)


def _onnx(files: ModelFiles, engine: Engine, fields: SaveModelRequest) -> Manifest:
    """The record of an ONNX file, without its version and time. The file is kept, and has run once."""
    for field in ("url", "deployment", "key"):
        if getattr(fields, field) is not None:
            raise invalid_field(field, f"`{field}` belongs to the kind azureml. Leave it out.")
    if fields.container is None or fields.blob is None:
        missing = "container" if fields.container is None else "blob"
        raise invalid_field(missing, f"`{missing}` is missing. Name the blob with the ONNX file.")
    data = files.fetch(fields.container, fields.blob)
    description = onnx.describe(data)
    _check_features(description, fields.features)
    _check_labels(description, fields.labels)
    sha256 = hashlib.sha256(data).hexdigest()
    outputs = _trial(engine, sha256, data, description)
    files.keep(data)
    return Manifest(
        name=fields.name,
        version=0,
        kind="onnx",
        sha256=sha256,
        inputs=description.inputs,
        outputs=outputs,
        labels=fields.labels,
        features=fields.features,
        classes=description.classes,
        description=fields.description,
        url=None,
        deployment=None,
        key_sha256=None,
        time="",
    )


def _check_features(description: onnx.Description, features: list[str] | None) -> None:
    if features is None:
        return
    shapes = [each.shape or [] for each in description.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 2:
        raise invalid_field("features", "`features` need a model with one input of rows and columns. Leave them out.")
    if shapes[0][1] not in (-1, len(features)):
        raise invalid_field("features", f"The model takes {shapes[0][1]} columns, and `features` has {len(features)}.")


def _check_labels(description: onnx.Description, labels: list[str] | None) -> None:
    counts = predictions.score_counts(description.outputs, description.classes)
    if labels is not None and counts and len(labels) not in counts:
        raise invalid_field("labels", f"The model has {min(counts)} classes, and `labels` has {len(labels)}.")


def _trial(engine: Engine, sha256: str, data: bytes, description: onnx.Description) -> list[TensorSpec]:
    """Run the model on zeros; its outputs, with the shapes that the file does not declare.

    Raises UnsupportedModel where it fails, or where its outputs are not as the file declares them.
    """
    inputs = zeros(description.inputs)
    try:
        results = engine.run(sha256, lambda: data, inputs, description.outputs, seconds=TRIAL_SECONDS)
    except EngineFailed as error:
        raise UnsupportedModel(f"The model fails on zeros. {error.detail}") from error
    return [_confirmed(spec, result) for spec, result in zip(description.outputs, results, strict=True)]


def _confirmed(spec: TensorSpec, result: Tensor) -> TensorSpec:
    if spec.shape is None:
        return msgspec.structs.replace(spec, shape=[-1] * len(result.shape))
    is_same = len(spec.shape) == len(result.shape) and all(
        wanted in (-1, size) for wanted, size in zip(spec.shape, result.shape, strict=True)
    )
    if not is_same or spec.datatype != result.datatype:
        raise UnsupportedModel(
            f"The output {spec.name} is declared as {spec.datatype} of shape {spec.shape}, and is {result.datatype} of "
            f"shape {result.shape}. Export the model again."
        )
    return spec


def _azureml(settings: ModelSettings, fields: SaveModelRequest) -> tuple[Manifest, str]:
    """The record of an endpoint, without its version and time, and its key."""
    for field in ("container", "blob"):
        if getattr(fields, field) is not None:
            raise invalid_field(field, f"`{field}` belongs to the kind onnx. Leave it out.")
    if fields.url is None:
        raise invalid_field("url", "`url` is missing. Send the scoring URI of the endpoint.")
    check_url(fields.url, settings.azureml_hosts)
    manifest = Manifest(
        name=fields.name,
        version=0,
        kind="azureml",
        sha256=None,
        inputs=None,
        outputs=None,
        labels=fields.labels,
        features=fields.features,
        classes=None,
        description=fields.description,
        url=fields.url,
        deployment=fields.deployment,
        key_sha256=None,
        time="",
    )
    return manifest, fields.key or ""


def _response(stored: Stored, versions: list[int]) -> ModelResponse:
    each = stored.manifest
    return ModelResponse(
        name=each.name,
        version=each.version,
        versions=versions,
        kind=each.kind,
        inputs=each.inputs,
        outputs=each.outputs,
        sha256=each.sha256,
        signature=stored.signature,
        labels=each.labels,
        features=each.features,
        description=each.description,
        url=each.url,
        deployment=each.deployment,
        has_key=each.key_sha256 is not None,
        created=each.time,
    )


class GetModelRequest(Fields, frozen=True):
    """A model, and a version of it."""

    name: ModelName
    version: Version | None = None


def get_model(records: RecordStore, fields: GetModelRequest) -> ModelResponse:
    stored = records.get(fields.name, fields.version)
    return _response(stored, records.versions(fields.name))


class DeleteModelRequest(Fields, frozen=True):
    """The model to delete, or the version of it."""

    name: ModelName
    version: Annotated[Version, Meta(description="The version to delete. Default: all versions.")] | None = None


def delete_model(records: RecordStore, fields: DeleteModelRequest) -> Response:
    records.delete(fields.name, fields.version)
    return Response(204)


class ListModelsRequest(Fields, frozen=True):
    """The models to list."""

    prefix: NamePrefix = ""
    limit: PageLimit = 100
    cursor: Cursor | None = None


class ListedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model and its newest version. Where its record is not trusted, the other members are null."""

    name: str
    trusted: bool
    version: int | None
    kind: Literal["onnx", "azureml"] | None
    sha256: str | None
    description: str | None
    created: str | None


class ListModelsResponse(msgspec.Struct, frozen=True):
    """Models, by name."""

    models: list[ListedModel]
    cursor: str | None


def list_models(records: RecordStore, cursors: Cursors, fields: ListModelsRequest) -> ListModelsResponse:
    scope = ("list-models", fields.prefix)
    after = "" if fields.cursor is None else cursors.decode(fields.cursor, str, *scope)
    page = records.page(fields.prefix, after, fields.limit + 1)
    more = page[fields.limit - 1].name if len(page) > fields.limit else None
    listed = []
    for each in page[: fields.limit]:
        record = None if each.stored is None else each.stored.manifest
        listed.append(
            ListedModel(
                name=each.name,
                trusted=record is not None,
                version=None if record is None else record.version,
                kind=None if record is None else record.kind,
                sha256=None if record is None else record.sha256,
                description=None if record is None else record.description,
                created=None if record is None else record.time,
            )
        )
    return ListModelsResponse(listed, cursors.encode(more, *scope) if more else None)


def operations(
    records: RecordStore, files: ModelFiles, engine: Callable[[], Engine], settings: ModelSettings, cursors: Cursors
) -> dict[str, Operation]:
    """The functions that save, list and delete models."""
    return {
        "save-model": Operation(
            handle=lambda fields: save_model(records, files, engine(), settings, fields),
            request=SaveModelRequest,
            response=ModelResponse,
            summary="Save a model: an ONNX file in a blob, or a managed endpoint of Azure Machine Learning.\nThe app "
            "checks the file, runs it once on zeros in a process of its own, keeps a copy and signs the record. A "
            "changed model becomes the next version; one that is the same returns its version with 200.",
            errors=(
                ReservedContainer,
                UnknownContainer,
                UnknownBlob,
                BlobConflict,
                PreconditionFailed,
                *RUNNING,
                *OUTAGES,
            ),
            examples=(
                Example(
                    "An ONNX file",
                    {
                        "name": "flowers",
                        "container": "samples",
                        "blob": "models/iris.onnx",
                        "labels": ["setosa", "versicolor", "virginica"],
                        "features": ["sepal_length", "sepal_width", "petal_length", "petal_width"],
                    },
                ),
            ),
            statuses={201: "Saved as a new version.", 200: "The model has not changed: the response is its version."},
            writes=True,
        ),
        "list-models": Operation(
            handle=partial(list_models, records, cursors),
            request=ListModelsRequest,
            response=ListModelsResponse,
            summary="List the saved models.",
            errors=OUTAGES,
            examples=(Example("All", {}),),
        ),
        "get-model": Operation(
            handle=partial(get_model, records),
            request=GetModelRequest,
            response=ModelResponse,
            summary="Show a version of a model, with its inputs, outputs and signature.",
            errors=(*MODEL_ERRORS, *OUTAGES),
            examples=(Example("The newest version", {"name": "iris"}),),
        ),
        "delete-model": Operation(
            handle=partial(delete_model, records),
            request=DeleteModelRequest,
            response=None,
            summary="Delete a version of a model, or all of it.",
            errors=(*MODEL_ERRORS, *OUTAGES),
            examples=(Example("All versions", {"name": "flowers"}),),
            statuses={204: "Deleted."},
            writes=True,
        ),
    }
