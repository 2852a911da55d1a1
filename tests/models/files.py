"""ONNX files for tests: small sound models, and hostile ones."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

FLOAT, INT64, STRING, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL


def value(name: str, kind: int, shape: Sequence[int | str | None]) -> Any:
    """An input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    constants: Sequence[Any] = (),
    domains: Sequence[str] = ("", "ai.onnx.ml"),
    functions: Sequence[Any] = (),
) -> bytes:
    """An ONNX file."""
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    opsets = [helper.make_opsetid(each, {"": 18, "ai.onnx.ml": 3}.get(each, 1)) for each in domains]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions).SerializeToString()
    return made


X = value("x", FLOAT, ["n", 4])
Y = value("y", FLOAT, ["n", 4])


def constant(name: str, values: Any) -> Any:
    """A constant."""
    return onnx.numpy_helper.from_array(np.asarray(values), name)


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    """A node."""
    return helper.make_node(operator, inputs, outputs, **attributes)


def identity() -> bytes:
    """y = x, of four columns."""
    return model([node("Identity", ["x"], ["y"])], [X], [Y])


def texts() -> bytes:
    """A text for each text."""
    return model([node("Identity", ["t"], ["u"])], [value("t", STRING, ["n", 1])], [value("u", STRING, ["n", 1])])


def typed(kind: int, shape: Sequence[int | str | None] = ("n", 2)) -> bytes:
    """y = x of a type."""
    return model([node("Identity", ["x"], ["y"])], [value("x", kind, shape)], [value("y", kind, shape)])


def two_inputs() -> bytes:
    """The sum of a column and a matrix of two columns, as it is when both are zero."""
    return model(
        [node("Add", ["a", "b"], ["y"])],
        [value("a", FLOAT, ["n", 1]), value("b", FLOAT, ["n", 2])],
        [value("y", FLOAT, ["n", 2])],
    )


# ---- Hostile files. Each does its work only if x is not zero where `late`, so that it passes the first run.


def grown(factor: int) -> bytes:
    """A small file whose output is `factor` times as large as its input."""
    return model(
        [
            node("Expand", ["x", "shape"], ["z"]),
            node("ReduceMax", ["z"], ["m"], keepdims=1),
            node("Add", ["x", "m"], ["y"]),
        ],
        [X],
        [Y],
        [constant("shape", np.array([factor, 1, 4], np.int64))],
    )


def grows_with_x() -> bytes:
    """An Expand whose size is the first value of x, so that zeros are harmless."""
    nodes = [
        node("ReduceMax", ["x"], ["m"], keepdims=0),
        node("Cast", ["m"], ["i"], to=INT64),
        node("Max", ["i", "one"], ["k"]),
        node("Unsqueeze", ["k", "axis"], ["shape"]),
        node("Expand", ["zero", "shape"], ["z"]),
        node("ReduceMax", ["z"], ["w"], keepdims=0),
        node("Add", ["x", "w"], ["y"]),
    ]
    constants = [
        constant("one", np.int64(1)),
        constant("axis", np.array([0], np.int64)),
        constant("zero", np.zeros(1, np.float32)),
    ]
    return model(nodes, [X], [Y], constants)


def loop(*, late: bool = False) -> bytes:
    """A Loop of 2^62 rounds; with `late` of as many rounds as the largest value of x."""
    body = helper.make_graph(
        [node("Identity", ["c"], ["d"]), node("Identity", ["v"], ["w"])],
        "body",
        [value("i", INT64, []), value("c", BOOL, []), value("v", FLOAT, ["n", 4])],
        [value("d", BOOL, []), value("w", FLOAT, ["n", 4])],
    )
    nodes = [node("Loop", ["trips", "true", "x"], ["y"], body=body)]
    constants = [constant("true", np.array(True))]
    if late:
        nodes = [node("ReduceMax", ["x"], ["m"], keepdims=0), node("Cast", ["m"], ["trips"], to=INT64), *nodes]
    else:
        constants.append(constant("trips", np.int64(2**62)))
    return model(nodes, [X], [Y], constants)


def ranged() -> bytes:
    """A Range of 2^40 numbers."""
    return model(
        [
            node("Range", ["zero", "limit", "one"], ["r"]),
            node("ReduceMax", ["r"], ["m"], keepdims=0),
            node("Cast", ["m"], ["f"], to=FLOAT),
            node("Add", ["x", "f"], ["y"]),
        ],
        [X],
        [Y],
        [constant("zero", np.int64(0)), constant("limit", np.int64(2**40)), constant("one", np.int64(1))],
    )


def tiled() -> bytes:
    """A Tile of 2^34 rows."""
    return model(
        [
            node("Tile", ["x", "times"], ["t"]),
            node("ReduceMax", ["t"], ["m"], keepdims=1),
            node("Add", ["x", "m"], ["y"]),
        ],
        [X],
        [Y],
        [constant("times", np.array([2**34, 1], np.int64))],
    )


def folded() -> bytes:
    """Constants that onnxruntime multiplies out while it loads the file: 2^36 elements."""
    return model(
        [
            node("ConstantOfShape", ["shape"], ["big"]),
            node("ReduceSum", ["big"], ["s"], keepdims=0),
            node("Add", ["x", "s"], ["y"]),
        ],
        [X],
        [Y],
        [constant("shape", np.array([2**18, 2**18], np.int64))],
    )


def chained_functions(depth: int = 30) -> bytes:
    """Local functions that call each other twice each: 2^depth nodes when inlined."""
    functions = []
    for number in range(depth):
        inner = "Identity" if number == 0 else f"F{number - 1}"
        domain = "" if number == 0 else "local"
        functions.append(
            helper.make_function(
                "local",
                f"F{number}",
                ["a"],
                ["c"],
                [
                    helper.make_node(inner, ["a"], ["b"], domain=domain),
                    helper.make_node(inner, ["b"], ["c"], domain=domain),
                ],
                [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)],
            )
        )
    top = helper.make_node(f"F{depth - 1}", ["x"], ["y"], domain="local")
    return model([top], [X], [Y], domains=("", "local"), functions=functions)


def external_data(location: str = "/etc/passwd") -> bytes:
    """A constant that is in another file."""
    tensor = TensorProto()
    tensor.name, tensor.data_type = "c", FLOAT
    tensor.dims.extend([1, 4])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return model([node("Add", ["x", "c"], ["y"])], [X], [Y], [tensor])


def external_data_in_attribute() -> bytes:
    """A Constant node whose tensor is in another file."""
    tensor = TensorProto()
    tensor.name, tensor.data_type, tensor.data_location = "c", FLOAT, TensorProto.EXTERNAL
    tensor.dims.extend([1, 4])
    return model([node("Constant", [], ["c"], value=tensor), node("Add", ["x", "c"], ["y"])], [X], [Y])


def lying_input() -> bytes:
    """It declares four columns and multiplies by a matrix of five rows."""
    return model(
        [node("MatMul", ["x", "w"], ["y"])],
        [X],
        [value("y", FLOAT, ["n", 2])],
        [constant("w", np.zeros((5, 2), np.float32))],
    )


def lying_output() -> bytes:
    """It declares three columns and returns four."""
    return model([node("Identity", ["x"], ["y"])], [X], [value("y", FLOAT, ["n", 3])])


def lying_constant() -> bytes:
    """A constant whose bytes are fewer than its dimensions say."""
    tensor = TensorProto(name="c", data_type=FLOAT, dims=[1, 4_000_000], raw_data=b"\0" * 16)
    return model([node("Add", ["x", "c"], ["y"])], [X], [Y], [tensor])


def nested_graphs(depth: int) -> bytes:
    """If nodes within If nodes."""
    graph = helper.make_graph([node("Identity", ["x"], ["o"])], "leaf", [], [value("o", FLOAT, ["n", 4])])
    for number in range(depth):
        branch = node("If", ["true"], [f"o{number}"], then_branch=graph, else_branch=graph if number < 2 else _leaf())
        graph = helper.make_graph([branch], "g", [], [value(f"o{number}", FLOAT, ["n", 4])])
    top = node("If", ["true"], ["y"], then_branch=graph, else_branch=graph if depth < 2 else _leaf())
    return model([top], [X], [Y], [constant("true", np.array(True))])


def _leaf() -> Any:
    return helper.make_graph([node("Identity", ["x"], ["e"])], "leaf", [], [value("e", FLOAT, ["n", 4])])


def nested_messages(depth: int) -> bytes:
    """A graph in an attribute of a node of a graph, and so on, without end."""
    data = b""
    for _ in range(depth):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # Attribute.g, Node.attribute, Graph.node
            data = tag + _varint(len(data)) + data
    data = b"\x3a" + _varint(len(data)) + data  # Model.graph
    return data + b"\x42\x02\x10\x12"


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def many_inputs() -> bytes:
    """Inputs of 2 GiB together."""
    inputs = [value(f"x{number}", FLOAT, [1, 8_000_000]) for number in range(64)]
    return model([node("Identity", ["x0"], ["y"])], inputs, [value("y", FLOAT, [1, 8_000_000])])


def shaped(shape: Sequence[int]) -> bytes:
    """An output of bytes that has always this shape."""
    zero = helper.make_tensor("zero", TensorProto.UINT8, [1], [0])
    top = node("ConstantOfShape", ["shape"], ["y"], value=zero)
    outputs = [value("y", TensorProto.UINT8, [None] * len(shape))]
    return model([top], [X], outputs, [constant("shape", np.array(shape, np.int64))])


def large_constants(size: int) -> bytes:
    """Constants of so many bytes."""
    return model(
        [node("ReduceMax", ["c"], ["m"], keepdims=0), node("Add", ["x", "m"], ["y"])],
        [X],
        [Y],
        [constant("c", np.zeros(size // 4, np.float32))],
    )


def many_nodes(count: int) -> bytes:
    """A chain of so many nodes."""
    names = ["x", *(f"v{number}" for number in range(count - 1)), "y"]
    return model([node("Identity", [a], [b]) for a, b in pairwise(names)], [X], [Y])


def too_many_nodes() -> bytes:
    """One node too many, in a second graph that is never read to its end."""
    node: bytes = helper.make_node("Identity", ["x"], ["y"]).SerializeToString()
    graph = (b"\x0a" + _varint(len(node)) + node) * 100_001
    return identity() + b"\x3a" + _varint(len(graph)) + graph


def many_classes(*, packed: bool) -> bytes:
    """A classifier of two million classes, whose numbers are packed or not."""
    ints = b"\x42" + _varint(2_000_000) + b"\1" * 2_000_000 if packed else b"\x40\1" * 2_000_000
    attribute = b"\x0a\x12classlabels_int64s" + ints
    node = b"\x22\x10LinearClassifier\x2a" + _varint(len(attribute)) + attribute
    graph = b"\x0a" + _varint(len(node)) + node
    return identity() + b"\x3a" + _varint(len(graph)) + graph


def unknown_domain() -> bytes:
    """An operator of another operator set."""
    return model([helper.make_node("Run", ["x"], ["y"], domain="com.example")], [X], [Y], domains=("", "com.example"))


def hidden_domain() -> bytes:
    """An operator of another operator set, inside the branch of an If."""
    inner = helper.make_graph(
        [helper.make_node("Run", ["x"], ["o"], domain="com.example")], "b", [], [value("o", FLOAT, ["n", 4])]
    )
    top = node("If", ["true"], ["y"], then_branch=inner, else_branch=inner)
    return model([top], [X], [Y], [constant("true", np.array(True))])


def ep_context() -> bytes:
    """A compiled context, which may name a file."""
    top = helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="/etc/passwd")
    return model([top], [X], [Y], domains=("", "com.microsoft"))


def zipmap() -> bytes:
    """A classifier that returns a map for each row, as skl2onnx converts by default."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    rows, species = load_iris(return_X_y=True)
    trained = LogisticRegression(max_iter=1000).fit(rows, species)
    made: bytes = to_onnx(trained, rows[:1].astype(np.float32)).SerializeToString()
    return made


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "not a model": (lambda: b"not a model at all", "not an ONNX model"),
    "empty": (lambda: b"", "not an ONNX model"),
    "cut off": (lambda: identity()[:-9], "not an ONNX model"),
    "endless varint": (lambda: b"\xff" * 64, "not an ONNX model"),
    "chained functions": (chained_functions, "local functions"),
    "external data": (external_data, "without external data"),
    "external data in a node": (external_data_in_attribute, "without external data"),
    "unknown operators": (unknown_domain, "com.example"),
    "hidden operators": (hidden_domain, "com.example"),
    "compiled context": (ep_context, "compiled"),
    "maps": (zipmap, "zipmap=False"),
    "deep messages": (lambda: nested_messages(20_000), "nested too deeply"),
    "deep graphs": (lambda: nested_graphs(12), "nested too deeply"),
    "many classes": (lambda: many_classes(packed=False), "too many classes"),
    "many packed classes": (lambda: many_classes(packed=True), "too many classes"),
    "many nodes": (too_many_nodes, "more than 100000 nodes"),
    "complex numbers": (lambda: typed(TensorProto.COMPLEX64), "type of elements"),
    "nine dimensions": (lambda: typed(FLOAT, [1] * 9), "dimensions"),
    "giant dimension": (lambda: typed(FLOAT, [2**40, 2]), "too large"),
}
"""Files that the app refuses before onnxruntime reads them, and a part of the reason."""
