"""The Open Inference Protocol, version 2: reads and writes its JSON and its binary tensors. Pure.

https://github.com/kserve/open-inference-protocol; the binary extension is Triton's
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md).
"""

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.errors import invalid_field
from shared.models.onnx import MAX_RANK, TensorSpec
from shared.models.tensors import Tensor, check_shape, from_flat, item_bytes, values_of

LENGTH_HEADER = "inference-header-content-length"
BINARY_SIZE = "binary_data_size"
_SHARED_MEMORY = "shared_memory_region"

Parameters = dict[str, Any]


class RequestInput(msgspec.Struct, frozen=True):
    """An input of a request: `data` in JSON, or after it where the parameters have `binary_data_size`."""

    name: str
    shape: Annotated[list[int], Meta(max_length=MAX_RANK)]
    datatype: str
    parameters: Parameters = {}
    data: Any = None


class RequestOutput(msgspec.Struct, frozen=True):
    """An output that the response should have."""

    name: str
    parameters: Parameters = {}


class InferRequest(msgspec.Struct, frozen=True):
    """The JSON of a request. Members that the protocol leaves to others are ignored."""

    inputs: list[RequestInput]
    id: str | None = None
    parameters: Parameters = {}
    outputs: list[RequestOutput] = []


msgspec.json.Decoder(InferRequest)  # Examined here, once, and not first by many threads at once (web/route.py).


def split_body(body: bytes, length: str | None) -> tuple[bytes, bytes]:
    """The JSON of a body and the binary data behind it. Raises InvalidRequest."""
    if length is None:
        return body, b""
    if not (length.isascii() and length.isdecimal() and int(length) <= len(body)):
        raise invalid_field(LENGTH_HEADER, "The header Inference-Header-Content-Length is not a length of the JSON.")
    return body[: int(length)], body[int(length) :]


def read_request(value: object) -> InferRequest:
    """The request in a parsed JSON body. Raises InvalidRequest."""
    try:
        return msgspec.convert(value, InferRequest)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".") or "inputs"
        raise invalid_field(field, f"`{field}` is not valid: {message[0].lower()}{message[1:200]}.") from None


def read_inputs(request: InferRequest, binary: bytes, specs: Sequence[TensorSpec]) -> list[Tensor]:
    """The inputs of a request, checked against the model's. Raises InvalidRequest."""
    by_name = {each.name: each for each in specs}
    tensors: dict[str, Tensor] = {}
    position = 0
    for number, each in enumerate(request.inputs):
        path = f"inputs[{number}]"
        spec = by_name.get(each.name)
        if spec is None:
            raise invalid_field(
                f"{path}.name", f"The model has no input {each.name[:64]}. Its inputs are {', '.join(by_name)}."
            )
        if each.name in tensors:
            raise invalid_field(f"{path}.name", f"The input {each.name} occurs twice.")
        if each.datatype != spec.datatype:
            raise invalid_field(
                f"{path}.datatype", f"The input {each.name} is of type {spec.datatype}, not {each.datatype[:64]}."
            )
        if _SHARED_MEMORY in each.parameters:
            raise invalid_field(
                f"{path}.parameters",
                f"The input {each.name} names shared memory, which is not supported. Send its data.",
            )
        size = each.parameters.get(BINARY_SIZE)
        if size is None:
            tensors[each.name] = from_flat(spec, each.shape, _flattened(each.data, path), path)
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - position:
            raise invalid_field(
                f"{path}.parameters",
                f"The binary data of the input {each.name} is shorter than its `binary_data_size`.",
            )
        tensors[each.name] = _from_binary(spec, each.shape, binary[position : position + size], path)
        position += size
    if missing := [name for name in by_name if name not in tensors]:
        raise invalid_field("inputs", f"The input {missing[0]} is missing.")
    if position != len(binary):
        raise invalid_field("inputs", "The body has more binary data than the inputs say.")
    return [tensors[name] for name in by_name]


def _flattened(data: Any, path: str) -> list[Any]:
    """The values of a list, which may be nested."""
    if not isinstance(data, list):
        raise invalid_field(f"{path}.data", f"`{path}.data` is missing, or is not a list.")
    values = data
    for _ in range(MAX_RANK):
        if not any(isinstance(each, list) for each in values):
            break
        values = [value for each in values for value in (each if isinstance(each, list) else [each])]
    return values


def _from_binary(spec: TensorSpec, shape: list[int], data: bytes, path: str) -> Tensor:
    check_shape(spec, shape, path)
    count = math.prod(shape)
    if spec.datatype == "BYTES":
        return Tensor(spec.name, spec.datatype, shape, b"", _texts(data, count, path))
    if len(data) != count * item_bytes(spec.datatype):
        raise invalid_field(
            path,
            f"The input {spec.name} has {len(data)} bytes, and its shape needs {count * item_bytes(spec.datatype)}.",
        )
    if spec.datatype == "BOOL":
        data = bytes(map(bool, data))
    return Tensor(spec.name, spec.datatype, shape, data)


def _texts(data: bytes, count: int, path: str) -> list[str]:
    """Texts, each after its length in four bytes."""
    texts = []
    position = 0
    while position < len(data):
        if position + 4 > len(data):
            break
        (length,) = struct.unpack_from("<I", data, position)
        position += 4
        if position + length > len(data):
            break
        try:
            texts.append(data[position : position + length].decode())
        except UnicodeDecodeError:
            raise invalid_field(path, f"A text of `{path}` is not UTF-8.") from None
        position += length
        if len(texts) > count:
            break
    if position != len(data) or len(texts) != count:
        raise invalid_field(path, f"`{path}` has {len(texts)} whole texts, and its shape needs {count}.")
    return texts


def wanted_outputs(request: InferRequest, specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """The outputs that the request names; all of them where it names none. Raises InvalidRequest."""
    by_name = {each.name: each for each in specs}
    for number, each in enumerate(request.outputs):
        if each.name not in by_name:
            raise invalid_field(
                f"outputs[{number}].name",
                f"The model has no output {each.name[:64]}. Its outputs are {', '.join(by_name)}.",
            )
        for parameter in ("classification", _SHARED_MEMORY):
            if each.parameters.get(parameter):
                raise invalid_field(f"outputs[{number}].parameters", f"`{parameter}` is not supported. Leave it out.")
    if len({each.name for each in request.outputs}) != len(request.outputs):
        raise invalid_field("outputs", "An output occurs twice in `outputs`.")
    return [by_name[each.name] for each in request.outputs] or list(specs)


def write_response(
    request: InferRequest, results: Sequence[Tensor], model: str, version: int
) -> tuple[bytes, int | None]:
    """The body of a response, and the length of its JSON where binary data follows."""
    parameters = {each.name: each.parameters for each in request.outputs}
    default = bool(request.parameters.get("binary_data_output"))
    outputs: list[Mapping[str, Any]] = []
    binary: list[bytes] = []
    for each in results:
        output: dict[str, Any] = {"name": each.name, "datatype": each.datatype, "shape": each.shape}
        if parameters.get(each.name, {}).get("binary_data", default):
            data = each.data
            if each.datatype == "BYTES":
                encoded = [text.encode() for text in each.texts]
                data = b"".join(struct.pack("<I", len(text)) + text for text in encoded)
            output["parameters"] = {BINARY_SIZE: len(data)}
            binary.append(data)
        else:
            output["data"] = values_of(each)
        outputs.append(output)
    response: dict[str, Any] = {"model_name": model, "model_version": str(version), "outputs": outputs}
    if request.id is not None:
        response["id"] = request.id
    head = msgspec.json.encode(response)
    return (b"".join([head, *binary]), len(head)) if binary else (head, None)


def metadata(name: str, versions: Sequence[int], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
    """The metadata of a model."""
    return {
        "name": name,
        "versions": [str(each) for each in versions],
        "platform": "onnxruntime_onnx",
        "inputs": inputs,
        "outputs": outputs,
    }
