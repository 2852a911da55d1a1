"""`v2-metadata` and `v2-infer`: the Open Inference Protocol, version 2."""

import re
import zlib
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from shared import __version__
from shared.deadline import call_limit
from shared.errors import BodyTooLarge, invalid_field
from shared.inflight import inflight
from shared.models import v2
from shared.models.errors import OutputTooLarge, UnknownPath, UnsupportedModel
from shared.models.manifest import Manifest
from shared.models.routes.fields import MODEL_ERRORS, RUNNING, ModelName
from shared.models.routes.predicting import Models
from shared.models.tensors import MAX_OUTPUT_BYTES
from shared.storage.errors import OUTAGES
from shared.web import Example, Fields, Operation, Request, Response
from shared.web.decoding import parse_json

SECONDS = 5.0
"""How long a call may take that does not say so."""
MAX_SECONDS = 220.0
EXTENSIONS = ["binary_tensor_data"]
_MODEL = re.compile(r"models/([^/]+)(?:/versions/([^/]+))?(/ready)?")
_INFER = re.compile(r"(?:versions/([^/]+)/)?infer")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class V2MetadataRequest(Fields, frozen=True):
    """A path of the protocol: ``, `health/live`, `health/ready`, `models/{name}`, `models/{name}/ready`, …"""

    path: Annotated[
        str,
        Meta(
            description="The path after `v2/`: `health/live`, `health/ready`, `models/{name}`, `models/{name}/ready`, "
            "and the last two with `/versions/{version}` after the name.",
            max_length=300,
            examples=["models/iris"],
        ),
    ] = ""


class V2MetadataResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members depend on the path."""

    name: str = ""
    version: str = ""
    extensions: list[str] = []
    live: bool = False
    ready: bool = False
    versions: list[str] = []
    platform: str = ""
    inputs: list[Any] = []
    outputs: list[Any] = []


class V2InferRequest(Fields, frozen=True):
    """The model, and the rest of the path. The body is the request of the protocol."""

    model: ModelName
    rest: Annotated[
        str, Meta(description="`infer`, or `versions/{version}/infer`.", max_length=100, examples=["infer"])
    ]
    inference_header_content_length: (
        Annotated[str, Meta(description="The bytes of the JSON, where binary data follows it.", max_length=20)] | None
    ) = None
    content_encoding: Literal["gzip", "deflate", "identity"] | None = None


def v2_metadata(models: Models, fields: V2MetadataRequest) -> Response:
    path = fields.path.strip("/")
    if path == "":
        return Response.json({"name": "strongroom", "version": __version__, "extensions": EXTENSIONS})
    if path in ("health/live", "health/ready"):
        return Response.json({path.rpartition("/")[2]: True})
    match = _MODEL.fullmatch(path)
    if match is None or not _NAME.fullmatch(match[1]):
        raise UnknownPath("The app serves v2, v2/health/live, v2/health/ready and v2/models/{name}.")
    name, version = match[1], _version(match[2])
    manifest = _onnx(models, name, version)
    if match[3]:
        return Response.json({"name": name, "version": str(manifest.version), "ready": True})
    versions = models.records.versions(name) if version is None else [version]
    return Response.json(v2.metadata(name, versions, manifest.inputs or [], manifest.outputs or []))


def v2_infer(models: Models, max_body_bytes: int, fields: V2InferRequest, request: Request) -> Response:
    match = _INFER.fullmatch(fields.rest.strip("/"))
    if match is None:
        raise UnknownPath("The app serves v2/models/{name}/infer and v2/models/{name}/versions/{version}/infer.")
    body = _body(request.body, fields.content_encoding, max_body_bytes)
    head, binary = v2.split_body(body, fields.inference_header_content_length)
    infer = v2.read_request(parse_json(head))
    manifest = _onnx(models, fields.model, _version(match[1]))
    inputs = v2.read_inputs(infer, binary, manifest.inputs or [])
    outputs = v2.wanted_outputs(infer, manifest.outputs or [])
    with call_limit(_seconds(infer)):
        results = models.run(manifest, inputs, outputs)
    inflight.book(sum(len(each.data) for each in results))
    written, length = v2.write_response(infer, results, manifest.name, manifest.version)
    if len(written) > MAX_OUTPUT_BYTES:
        raise OutputTooLarge(f"The response has more than {MAX_OUTPUT_BYTES} bytes. Send fewer rows.")
    if length is None:
        return Response(body=written)
    return Response(
        body=written,
        content_type="application/octet-stream",
        headers={"inference-header-content-length": str(length)},
    )


def _version(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise UnknownPath("The version in the path is not a number.")
    return int(text)


def _onnx(models: Models, name: str, version: int | None) -> Manifest:
    manifest = models.records.get(name, version).manifest
    if manifest.kind != "onnx":
        raise UnsupportedModel("This model is an endpoint, which has no tensors. Call it with predict.")
    return manifest


def _body(body: bytes, encoding: str | None, max_bytes: int) -> bytes:
    """The body, decompressed. Raises BodyTooLarge and InvalidRequest."""
    if len(body) > max_bytes:
        raise BodyTooLarge(f"The body has {len(body)} bytes; the limit is {max_bytes}.")
    if encoding is None or encoding == "identity":
        return body
    inflater = zlib.decompressobj(wbits=47)  # Finds out itself which of the two it is.
    try:
        data = inflater.decompress(body, max_bytes)
    except zlib.error:
        data = b""
    if len(data) == max_bytes and not inflater.eof:
        raise BodyTooLarge(f"The body has more than {max_bytes} bytes when it is decompressed.")
    if not inflater.eof:
        raise invalid_field("content-encoding", "The body is not compressed as Content-Encoding says, or is cut off.")
    inflight.book(len(data))
    return data


def _seconds(infer: v2.InferRequest) -> float:
    """The request's own `timeout`, which is in microseconds."""
    timeout = infer.parameters.get("timeout")
    return min(timeout / 1e6, MAX_SECONDS) if type(timeout) is int and timeout > 0 else SECONDS


def operations(models: Models, max_body_bytes: int) -> dict[str, Operation]:
    """The functions of the protocol."""
    return {
        "v2-metadata": Operation(
            handle=partial(v2_metadata, models),
            request=V2MetadataRequest,
            response=V2MetadataResponse,
            summary="The server's and the models' metadata, by the Open Inference Protocol v2.\nClients such as "
            "tritonclient call it by themselves, with the app's address and `/api` as their base.",
            errors=(*MODEL_ERRORS, UnsupportedModel, UnknownPath, *OUTAGES),
            examples=(Example("A model", {"path": "models/iris"}), Example("Ready", {"path": "health/ready"})),
            error_member=True,
        ),
        "v2-infer": Operation(
            handle=partial(v2_infer, models, max_body_bytes),
            request=V2InferRequest,
            response=None,
            summary="Predict by the Open Inference Protocol v2, in JSON or with binary tensors.\nThe body is the "
            "protocol's request, with any Content-Type.",
            errors=(*MODEL_ERRORS, *RUNNING, OutputTooLarge, UnknownPath, *OUTAGES),
            examples=(Example("An iris", {"model": "iris", "rest": "infer"}),),
            media_types=("application/json", "application/octet-stream"),
            headers=("inference-header-content-length", "content-encoding"),
            raw=True,
            error_member=True,
        ),
    }
