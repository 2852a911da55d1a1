"""Reads the structure of an ONNX file without an ONNX library, and refuses models that the app does not run. Pure.

An ONNX file is one protobuf message (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). The walk keeps its own
stack, so that nested graphs cannot exhaust Python's, and looks at no tensor's values. It refuses what could reach
outside of the file, or what onnxruntime is known to crash on: external data, local functions, unknown operator sets and
compiled contexts. The file then runs in a child process all the same: this check is the first wall, not the only one.
"""

import math
import re
from typing import Any

import msgspec

from shared.models.errors import UnsupportedModel

MAX_MODEL_BYTES = 64 * 1024 * 1024
MAX_FIELDS = 2_000_000
"""Fields that the walk reads, runs of numbers not counted: a bound on its time."""
MAX_NUMBER_BYTES = 1024 * 1024
"""Of the runs of numbers that the walk reads: dimensions and classes."""
MAX_NODES = 100_000
MAX_DEPTH = 24
"""Messages within messages. A graph within a node of a graph takes three levels."""
NODE_DEPTH = 2
"""Of the nodes of the main graph."""
MAX_TENSORS = 64
"""Inputs, and outputs, of a model."""
MAX_RANK = 8
MAX_NAME = 200
MAX_TEXT_BYTES = 64 * 1024
MAX_ELEMENTS = 2**31 - 1
"""Of a tensor with fixed dimensions."""
OPERATOR_SETS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})

DATATYPES = {
    1: "FP32",
    2: "UINT8",
    3: "INT8",
    4: "UINT16",
    5: "INT16",
    6: "INT32",
    7: "INT64",
    8: "BYTES",
    9: "BOOL",
    10: "FP16",
    11: "FP64",
    12: "UINT32",
    13: "UINT64",
}
"""The names of the Open Inference Protocol for TensorProto.DataType. Other types are refused."""


class TensorSpec(msgspec.Struct, frozen=True):
    """An input or output of a model, as the Open Inference Protocol describes it."""

    name: str
    datatype: str
    shape: list[int] | None
    """-1 for a dimension of any size; None where an output declares no shape."""


class Description(msgspec.Struct, frozen=True):
    """The interface of an ONNX model."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    classes: list[str | int]
    """The classes of its classifier, in the order of the scores; empty where the file does not say."""


# The fields that the walk reads: number → (name, kind). A kind with a capital is a message, which it enters.
# Everything else is skipped.
_MESSAGES: dict[str, dict[int, tuple[str, str]]] = {
    "Model": {
        7: ("graph", "Graph"),
        8: ("opset_import", "OperatorSet"),
        20: ("training_info", "refused"),
        25: ("functions", "refused"),
    },
    "OperatorSet": {1: ("domain", "text")},
    "Graph": {
        1: ("node", "Node"),
        5: ("initializer", "Tensor"),
        11: ("input", "Value"),
        12: ("output", "Value"),
        15: ("sparse_initializer", "Sparse"),
    },
    "Node": {
        1: ("input", "name"),
        2: ("output", "name"),
        4: ("op_type", "text"),
        5: ("attribute", "Attribute"),
        7: ("domain", "text"),
    },
    "Attribute": {
        1: ("name", "text"),
        5: ("t", "Tensor"),
        6: ("g", "Graph"),
        8: ("ints", "number"),
        9: ("strings", "label"),
        10: ("tensors", "Tensor"),
        11: ("graphs", "Graph"),
        21: ("ref_attr_name", "refused"),
        22: ("sparse_tensor", "Sparse"),
        23: ("sparse_tensors", "Sparse"),
    },
    "Tensor": {8: ("name", "text"), 13: ("external_data", "refused"), 14: ("data_location", "number")},
    "Sparse": {1: ("values", "Tensor"), 2: ("indices", "Tensor")},
    "Value": {1: ("name", "text"), 2: ("type", "Type")},
    "Type": {
        1: ("tensor_type", "TensorType"),
        4: ("sequence_type", "other"),
        5: ("map_type", "other"),
        7: ("opaque_type", "other"),
        8: ("sparse_tensor_type", "other"),
        9: ("optional_type", "other"),
    },
    "TensorType": {1: ("elem_type", "number"), 2: ("shape", "Shape")},
    "Shape": {1: ("dim", "Dimension")},
    "Dimension": {1: ("dim_value", "number"), 2: ("dim_param", "text")},
}
_REFUSED = {
    "training_info": "The model contains training information. Export it for inference.",
    "functions": "The model contains local functions. Inline them before you save it (onnx.inliner).",
    "ref_attr_name": "The model refers to attributes of a function. Inline its functions before you save it.",
    "external_data": "The model keeps tensors in other files. Save it as one file, without external data.",
}
_CLASSES = frozenset({"classlabels_ints", "classlabels_int64s", "classlabels_strings"})
_COPIES = frozenset({"Identity", "Cast", "Flatten", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators whose output has the values of their first input."""
_INDEXES = frozenset({"ArgMax", "ArgMin"})
"""Operators whose output is the position of a score in its line."""
MAX_TRACED = 20
"""Nodes between a classifier and the label that the model returns."""
KEPT_NAMES = 4
"""Names of a node's inputs, and of its outputs, that the walk keeps."""
MAX_CLASSES = 1000
_LABELS, _SCORES = frozenset({"INT32", "INT64", "BYTES"}), frozenset({"FP16", "FP32", "FP64"})
_INTS_TAG = 0x40
_NUMBERS_RUN = re.compile(rb"(?:\x3d[\x00-\xff]{4})++|(?:\x40[\x80-\xff]{0,9}[\x00-\x7f])++", re.DOTALL)
"""A run of an attribute's `floats` (field 7, 4 bytes each) or `ints` (field 8, varints), which older files do not pack:
a forest of trees has millions."""


class _Message:
    """A message as far as it was read. `fields` has its values and the messages in it, by name, in order."""

    __slots__ = ("depth", "end", "fields", "kind", "position")

    def __init__(self, kind: str, position: int, end: int, depth: int) -> None:
        self.kind = kind
        self.position = position
        self.end = end
        self.depth = depth
        self.fields: dict[str, list[Any]] = {}

    def text(self, name: str) -> str:
        """The value of a text field; "" without one. The last value counts, as protobuf has it."""
        values = self.fields.get(name)
        return str(values[-1]) if values else ""

    def all(self, name: str) -> list[Any]:
        """The values of a repeated field."""
        return self.fields.get(name, [])


class _Walk:
    """One pass over the file, with a stack of its own. Nodes are checked and dropped as they end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.nodes = 0
        self.number_bytes = 0
        self.domains: set[str] = set()
        self.producers: dict[str, tuple[str, str, list[str | int]]] = {}
        """By the name of an output of a node of the main graph: its operator, first input, and declared classes."""

    def run(self) -> _Message:
        """The model, with its graph's inputs, outputs and constants. Raises UnsupportedModel."""
        model = _Message("Model", 0, len(self.data), 0)
        stack = [model]
        for _ in range(MAX_FIELDS):
            message = stack[-1]
            if message.position >= message.end:
                stack.pop()
                self._end(message, stack[-1] if stack else None)
                if not stack:
                    return model
                continue
            if message.kind == "Attribute" and (run := _NUMBERS_RUN.match(self.data, message.position, message.end)):
                if self.data[message.position] == _INTS_TAG and message.text("name") in _CLASSES:
                    self._count_numbers(run.end() - run.start())
                    _keep_numbers(message, self.data, run.end())
                message.position = run.end()
                continue
            if (inner := self._read_field(message)) is not None:
                stack.append(inner)
        raise UnsupportedModel("The model has too many parts to examine. Export a smaller one.")

    def _read_field(self, message: _Message) -> _Message | None:
        """Read the next field of `message`; the message that begins there, if the walk enters it."""
        tag, position = _varint(self.data, message.position, message.end)
        wire = tag & 7
        name, kind = _MESSAGES[message.kind].get(tag >> 3, ("", ""))
        if kind == "refused":
            raise UnsupportedModel(_REFUSED[name])
        if wire == 0:
            value, message.position = _varint(self.data, position, message.end)
            if kind == "number":
                message.fields.setdefault(name, []).append(value)
            return None
        if wire in (1, 5):
            message.position = _within(position + (8 if wire == 1 else 4), message)
            return None
        if wire != 2:
            raise _malformed()
        length, position = _varint(self.data, position, message.end)
        end = message.position = _within(position + length, message)
        if kind == "text":
            message.fields.setdefault(name, []).append(_decoded(self.data[position:end]))
        elif kind == "name":
            if len(names := message.fields.setdefault(name, [])) < KEPT_NAMES:
                names.append(_decoded(self.data[position:end]))
        elif kind == "label":  # Any bytes, where the attribute has no classes.
            if message.text("name") in _CLASSES:
                message.fields.setdefault(name, []).append(_decoded(self.data[position:end]))
        elif kind == "number" and (message.kind != "Attribute" or message.text("name") in _CLASSES):
            self._count_numbers(end - position)  # Packed: several numbers, one after the other.
            while position < end:
                value, position = _varint(self.data, position, end)
                message.fields.setdefault(name, []).append(value)
        elif kind == "number":
            pass  # Of an attribute without classes.
        elif kind == "other":
            message.fields.setdefault(name, []).append(True)
        elif kind:
            if message.depth >= MAX_DEPTH:
                raise UnsupportedModel("The graphs of the model are nested too deeply. Flatten them.")
            inner = _Message(kind, position, end, message.depth + 1)
            if kind not in ("Node", "Attribute") and message.kind != "Attribute":
                message.fields.setdefault(name, []).append(inner)
            return inner
        return None

    def _count_numbers(self, size: int) -> None:
        self.number_bytes += size
        if self.number_bytes > MAX_NUMBER_BYTES:
            raise UnsupportedModel("The model has too many classes or dimensions to examine. Export a smaller one.")

    def _end(self, message: _Message, parent: _Message | None) -> None:
        """Check a message whose fields were all read."""
        if message.kind == "Tensor" and any(message.all("data_location")):
            raise UnsupportedModel(_REFUSED["external_data"])
        if message.kind == "Attribute" and message.text("name") in _CLASSES and parent is not None:
            parent.fields["classes"] = message.all("ints") or message.all("strings") or parent.all("classes")
        if message.kind == "Node":
            self.nodes += 1
            if self.nodes > MAX_NODES:
                raise UnsupportedModel(f"The model has more than {MAX_NODES} nodes. Export a smaller one.")
            self.domains.add(message.text("domain"))
            operator = message.text("op_type")
            if operator == "ZipMap":
                raise UnsupportedModel("The model returns its scores as maps. Convert it with zipmap=False.")
            if operator == "EPContext":
                raise UnsupportedModel("The model contains a context compiled for one device. Export it without one.")
            classes = message.all("classes")
            if message.depth == NODE_DEPTH and (classes or operator in _COPIES or operator in _INDEXES):
                source = next(iter(message.all("input")), "")
                for name in message.all("output"):
                    self.producers[name] = operator, source, classes


def describe(data: bytes) -> Description:
    """The interface of the ONNX model in `data`. Raises UnsupportedModel, which says what to change."""
    if len(data) > MAX_MODEL_BYTES:
        raise UnsupportedModel(f"The model has {len(data)} bytes, and may have {MAX_MODEL_BYTES}.")
    walk = _Walk(data)
    model = walk.run()
    imported = {each.text("domain") for each in model.all("opset_import")}
    if len(model.all("graph")) != 1 or not imported:
        raise UnsupportedModel("The blob is not an ONNX model: it has no graph or names no operator set.")
    for domain in sorted(imported | walk.domains):
        if domain not in OPERATOR_SETS:
            raise UnsupportedModel(
                f"The model uses the operator set {domain[:MAX_NAME]!r}. Only ai.onnx, ai.onnx.ml and com.microsoft "
                "run here."
            )
    graph = model.all("graph")[0]
    constants = {each.text("name") for each in graph.all("initializer")}
    constants |= {values.text("name") for each in graph.all("sparse_initializer") for values in each.all("values")}
    inputs = [_spec(each, "input") for each in graph.all("input") if each.text("name") not in constants]
    outputs = [_spec(each, "output") for each in graph.all("output")]
    for kind, specs in (("inputs", inputs), ("outputs", outputs)):
        if not 1 <= len(specs) <= MAX_TENSORS:
            raise UnsupportedModel(f"The model has {len(specs)} {kind}, and may have 1 to {MAX_TENSORS}.")
        if len({each.name for each in specs}) != len(specs):
            raise UnsupportedModel(f"Two {kind} of the model have the same name. Rename one.")
    for each in inputs:
        if each.shape is None:
            raise UnsupportedModel(f"The input {each.name} declares no shape. Export the model with one.")
    return Description(inputs, outputs, _classes(walk, outputs))


def _classes(walk: _Walk, outputs: list[TensorSpec]) -> list[str | int]:
    """The classes of the node that the label comes from: other classifiers of the file are parts of it, such as the
    classifiers of one class against the rest, and their classes are not those of the scores."""
    label = next((each for each in outputs if each.datatype in _LABELS), None)
    name = "" if label is None else label.name
    for _ in range(MAX_TRACED):
        operator, source, classes = walk.producers.get(name, ("", "", []))
        if classes:
            return classes
        if operator in _INDEXES:  # The label is the position of the largest score, or of the smallest distance.
            scores = [each.shape for each in outputs if each.datatype in _SCORES and each.shape is not None]
            widths = {shape[1] for shape in scores if len(shape) == 2}
            width = widths.pop() if len(widths) == 1 else 0
            return list(range(width)) if width <= MAX_CLASSES else []
        if operator not in _COPIES:
            break
        name = source
    return []


def _spec(value: _Message, kind: str) -> TensorSpec:
    """An input or output, from its ValueInfoProto."""
    name = value.text("name")
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise UnsupportedModel(f"An {kind} of the model has no name, or an unusual one. Rename it.")
    types = value.all("type")
    tensors = types[-1].all("tensor_type") if types else []
    if not tensors:
        hint = "Convert it with zipmap=False, so that its scores are a tensor." if kind == "output" else ""
        raise UnsupportedModel(f"The {kind} {name} is not a tensor. {hint}".strip())
    element = tensors[-1].all("elem_type")
    datatype = DATATYPES.get(element[-1] if element else 0)
    if datatype is None:
        raise UnsupportedModel(f"The {kind} {name} has a type of elements that is not supported. Cast it to float32.")
    shapes = tensors[-1].all("shape")
    if not shapes:
        return TensorSpec(name, datatype, None)
    shape = [_dimension(each) for each in shapes[-1].all("dim")]
    if len(shape) > MAX_RANK or math.prod(abs(each) for each in shape) > MAX_ELEMENTS:
        raise UnsupportedModel(f"The {kind} {name} has too many dimensions, or dimensions that are too large.")
    return TensorSpec(name, datatype, shape)


def _dimension(dimension: _Message) -> int:
    """Its size; -1 where it has a name, or the 0 or -1 that some exporters write for "any"."""
    values = dimension.all("dim_value")
    return int(values[-1]) if values and 1 <= values[-1] < 2**63 else -1


def _keep_numbers(message: _Message, data: bytes, end: int) -> None:
    position = message.position
    while position < end:
        value, position = _varint(data, position + 1, end)
        message.fields.setdefault("ints", []).append(value if value < 2**63 else value - 2**64)


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """A number of up to 64 bits, 7 in each byte, and the position behind it."""
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
    raise _malformed()


def _decoded(text: bytes) -> str:
    if len(text) > MAX_TEXT_BYTES:
        raise UnsupportedModel("A name in the model is too long. Shorten it.")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise _malformed() from None


def _within(position: int, message: _Message) -> int:
    if position > message.end:
        raise _malformed()
    return position


def _malformed() -> UnsupportedModel:
    return UnsupportedModel("The blob is not an ONNX model: it does not parse as one.")
