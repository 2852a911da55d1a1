"""Rows and tensors of a request: which are accepted, how they are packed, and what an error names."""

import math
import struct
from typing import Any

import msgspec
import pytest

from shared.errors import InvalidRequest
from shared.models.errors import UnsupportedModel
from shared.models.onnx import TensorSpec
from shared.models.tensors import (
    MAX_ROWS,
    Tensor,
    from_inputs,
    from_rows,
    is_whole,
    json_bytes,
    nested,
    values_of,
    zeros,
)

TABLE = TensorSpec("x", "FP32", [-1, 2])
NAMES = ["a", "b"]


def rows(values: list[Any], spec: TensorSpec = TABLE, features: list[str] | None = None) -> list[Any]:
    """The values of the one tensor, in order."""
    (tensor,) = from_rows([spec], NAMES if features is None else features, values)
    return values_of(tensor)


def test_the_forms_of_a_row_are_equal() -> None:
    """An array, an object by feature in any order, and an object by input name are the same row."""
    expected = [1.0, 2.5]
    for row in ([1, 2.5], {"b": 2.5, "a": 1}, {"x": [1, 2.5]}):
        assert rows([row]) == expected
    assert rows([[1, 2.5], {"a": 3, "b": 4}]) == [1.0, 2.5, 3.0, 4.0]


def test_null_is_nan_where_the_model_takes_floats() -> None:
    """A missing number is NaN, in every float type."""
    for datatype in ("FP16", "FP32", "FP64"):
        found = rows([[None, 1]], TensorSpec("x", datatype, [-1, 2]))
        assert math.isnan(found[0])
        assert found[1] == 1


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("UINT8", 255), ("INT8", -128), ("UINT16", 65535), ("INT16", -32768), ("UINT32", 2**32 - 1),
        ("INT32", -(2**31)),
        ("UINT64", 2**64 - 1), ("INT64", -(2**63)), ("FP16", 0.5), ("FP32", 0.25), ("FP64", 0.1), ("BOOL", True),
        ("BYTES", "é"),
    ],
)  # fmt: skip
def test_every_type_returns_its_values(datatype: str, value: object) -> None:
    """A value that fits its type survives packing and unpacking."""
    assert rows([[value, value]], TensorSpec("x", datatype, [-1, 2])) == [value, value]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ([[1]], "rows[0]"),
        ([[1, 2], [1, 2, 3]], "rows[1]"),
        ([[1, 2], 5], "rows[1]"),
        ([[1, 2], None], "rows[1]"),
        ([[1, "2"]], "rows[0][1]"),
        ([[1, 2], [True, 2]], "rows[1][0]"),
        ([[1, [2]]], "rows[0][1]"),
        ([[1, {}]], "rows[0][1]"),
        ([[1, 1e300]], "rows[0][1]"),
        ([[10**400, 1]], "rows[0][0]"),
        ([{"a": 1}], "rows[0].b"),
        ([{"a": 1, "b": "x"}], "rows[0].b"),
        ([{"a": 1, "c": 2}], "rows[0].b"),
        ([{"a": 1, "b": 2, "c": 3}], "rows[0].c"),
        ([{"x": [1]}], "rows[0]"),
        ([{"x": [1, "2"]}], "rows[0].x[1]"),
        ([], "rows"),
        ([[1, 2]] * (MAX_ROWS + 1), "rows"),
    ],
)
def test_a_wrong_row_is_named(values: list[Any], field: str) -> None:
    """The error names the row and the field."""
    with pytest.raises(InvalidRequest) as caught:
        rows(values)
    assert caught.value.errors[0].field == field


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("INT64", 2**63), ("INT64", 0.5), ("INT64", None), ("INT64", "1"), ("INT64", True), ("UINT8", -1),
        ("UINT8", 256),
        ("BOOL", 1), ("BOOL", "true"), ("BYTES", 1), ("BYTES", None), ("FP16", 70000), ("FP32", 3.5e38),
        ("FP64", 10**400),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(datatype: str, value: object) -> None:
    """A value that the type cannot hold is refused, never converted."""
    with pytest.raises(InvalidRequest):
        rows([[value]], TensorSpec("x", datatype, [-1, 1]), [])


def test_whole_numbers_are_integers() -> None:
    """5.0 is an integer where the model takes integers."""
    assert rows([[5.0]], TensorSpec("x", "INT64", [-1, 1]), []) == [5]


def test_columns_by_name() -> None:
    """A model with an input for each column takes objects by input name, and arrays in the order of the inputs."""
    specs = [
        TensorSpec("age", "FP32", [-1, 1]),
        TensorSpec("city", "BYTES", [-1, 1]),
        TensorSpec("w", "INT64", [-1, 2]),
    ]
    by_name = from_rows(specs, [], [{"age": 1, "city": "Ulm", "w": [1, 2]}, {"age": [2], "w": [3, 4], "city": "Bonn"}])
    assert by_name == from_rows(specs, [], [[1, "Ulm", [1, 2]], [2, "Bonn", [3, 4]]])
    assert [(each.name, each.shape, values_of(each)) for each in by_name] == [
        ("age", [2, 1], [1.0, 2.0]),
        ("city", [2, 1], ["Ulm", "Bonn"]),
        ("w", [2, 2], [1, 2, 3, 4]),
    ]


def test_a_row_may_be_a_picture() -> None:
    """A model with one input of more than two dimensions takes its value as the row, in a list or by name, too."""
    spec = TensorSpec("x", "FP32", [-1, 1, 2, 2])
    picture = [[[1, 2], [3, 4]]]
    right: list[Any] = [picture, [picture], {"x": picture}]
    for row in right:
        (tensor,) = from_rows([spec], [], [row, row])
        assert (tensor.shape, values_of(tensor)) == ([2, 1, 2, 2], [1.0, 2.0, 3.0, 4.0] * 2)
    wrong: list[Any] = [[[1, 2], [3, 4]], [picture, picture], [[[1, 2], [3]]], [[[1, 2], [3, 4]], 5], []]
    for row in wrong:
        with pytest.raises(InvalidRequest):
            from_rows([spec], [], [row])


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"age": 1}, "rows[1].w"),
        ({"age": "x", "w": [1, 2]}, "rows[1].age"),
        ({"age": 1, "w": [1]}, "rows[1].w"),
        ({"age": 1, "w": [1, [2]]}, "rows[1].w"),
        ({"age": [1, 2], "w": [1, 2]}, "rows[1].age"),
        ({"age": 1, "w": [1, 2.5]}, "rows[1].w"),
        ([1], "rows[1]"),
        ("text", "rows[1]"),
    ],
)
def test_a_wrong_row_of_columns_is_named(row: Any, field: str) -> None:
    """The error names the row and the input."""
    specs = [TensorSpec("age", "FP32", [-1, 1]), TensorSpec("w", "INT64", [-1, 2])]
    with pytest.raises(InvalidRequest) as caught:
        from_rows(specs, [], [{"age": 1, "w": [1, 2]}, row])
    assert caught.value.errors[0].field == field


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([[1, 2], [3]], "inputs.x"),
        ([1, 2], "inputs.x"),
        ([[[1, 2]]], "inputs.x"),
        ([[1, 2, 3]], "inputs.x"),
        (5, "inputs.x"),
        ([[1, 2], [3, "4"]], "inputs.x[1][1]"),
        ([[1, 2]] * (MAX_ROWS + 1), "inputs.x"),
    ],
)
def test_a_wrong_tensor_is_named(value: Any, field: str) -> None:
    """Ragged, flat, deep, wide and mistyped tensors are refused, with the position where there is one."""
    with pytest.raises(InvalidRequest) as caught:
        from_inputs([TABLE], {"x": value})
    assert caught.value.errors[0].field == field


def test_inputs_are_known_and_complete() -> None:
    """A missing and an unknown tensor are both named."""
    with pytest.raises(InvalidRequest) as caught:
        from_inputs([TABLE], {"y": []})
    assert [each.field for each in caught.value.errors] == ["inputs.x", "inputs.y"]


def test_a_fixed_number_of_rows_is_kept() -> None:
    """A model that takes exactly two rows takes no others."""
    spec = TensorSpec("x", "FP32", [2, 1])
    assert rows([[1], [2]], spec, []) == [1.0, 2.0]
    with pytest.raises(InvalidRequest):
        rows([[1]], spec, [])


def test_bytes_are_little_endian_rows() -> None:
    """The packed bytes are little-endian and row by row, as onnxruntime and the binary protocol have them."""
    (tensor,) = from_rows([TABLE], NAMES, [[1, 2], [3, 4]])
    assert tensor == Tensor("x", "FP32", [2, 2], struct.pack("<4f", 1, 2, 3, 4))


def test_zeros_have_one_row() -> None:
    """The tensor of the first run has one element in each open dimension."""
    assert zeros([TensorSpec("x", "FP32", [-1, 3])]) == [Tensor("x", "FP32", [1, 3], bytes(12))]
    assert zeros([TensorSpec("x", "BYTES", [-1, 2])])[0].texts == ["", ""]


@pytest.mark.parametrize(
    "specs",
    [
        [TensorSpec("x", "FP32", [1, 8 * 2**20 + 1])],
        [TensorSpec(f"x{number}", "FP32", [1, 2**20]) for number in range(9)],
        [TensorSpec("x", "BYTES", [1, 2**20])],
    ],
)
def test_zeros_are_bounded_together(specs: list[TensorSpec]) -> None:
    """The inputs of the first run take at most 32 MiB together, texts as what they take in memory."""
    with pytest.raises(UnsupportedModel):
        zeros(specs)


def test_values_are_nested_again() -> None:
    """Flat values get their shape back, also where a dimension is empty or there is none."""
    assert nested([1, 2, 3, 4], [2, 2]) == [[1, 2], [3, 4]]
    assert nested([1, 2, 3, 4], [1, 2, 2]) == [[[1, 2], [3, 4]]]
    assert nested([7], []) == 7
    assert nested([], [0]) == []
    assert nested([], [2, 0]) == [[], []]
    assert nested([], [0, 3]) == []
    assert nested([], [2, 3, 0]) == [[[], [], []], [[], [], []]]


@pytest.mark.parametrize("shape", [[], [1], [0], [3, 1], [2, 3, 4], [5, 0], [2, 3, 0], [0, 9]])
def test_the_least_size_of_json_is_counted(shape: list[int]) -> None:
    """A tensor takes at least as many bytes as its shape says, whatever its values."""
    count = math.prod(shape)
    for datatype, size in (("UINT8", 1), ("FP32", 4), ("BOOL", 1), ("BYTES", 0)):
        tensor = Tensor("y", datatype, shape, bytes(size * count), [] if size else [""] * count)
        encoded = msgspec.json.encode(nested(values_of(tensor), shape))
        assert json_bytes(tensor) <= len(encoded) + 1


def test_a_tensor_from_a_child_is_whole() -> None:
    """Bytes, texts and shape belong together; nothing else leaves the engine."""
    assert is_whole(Tensor("y", "FP32", [2, 1], bytes(8)))
    assert is_whole(Tensor("y", "BYTES", [2], b"", ["a", ""]))
    assert is_whole(Tensor("y", "BOOL", [], b"\1"))
    for broken in (
        Tensor("y", "FP32", [2, 1], bytes(7)),
        Tensor("y", "FP32", [-2, -1], bytes(8)),
        Tensor("y", "FP32", [2], bytes(8), ["a"]),
        Tensor("y", "BYTES", [2], b"", ["a"]),
        Tensor("y", "BYTES", [1], b"x", ["a"]),
        Tensor("y", "FP80", [1], b"x"),
    ):
        assert not is_whole(broken)


@pytest.mark.parametrize("value", [math.nan, 3.4028235e38, -3.4028235e38, 1e-46, 2**24 + 1])
def test_a_number_is_rounded_to_the_models_type(value: float) -> None:
    """A number that a float of the type holds, rounded, is accepted, and so is the NaN of a data file."""
    (found,) = rows([[value]], TensorSpec("x", "FP32", [-1, 1]), [])
    assert found == struct.unpack("<f", struct.pack("<f", value))[0] or math.isnan(found) is math.isnan(value)


def test_the_bytes_of_an_infinity_may_lie_across_two_numbers() -> None:
    """Only an infinity of its own is too large."""
    values = list(struct.unpack("<3f", bytes.fromhex("00000000807f00400000c07f")))
    assert rows([values[:2]]) == values[:2]
    assert math.isnan(rows([[values[0], values[1], values[2]]], TensorSpec("x", "FP32", [-1, 3]), [])[2])
    with pytest.raises(InvalidRequest):
        rows([[0.0, math.inf]])
