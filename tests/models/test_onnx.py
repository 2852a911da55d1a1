"""The walk through an ONNX file: what it finds, and what it refuses before onnxruntime reads the file."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from shared.models.errors import UnsupportedModel
from shared.models.onnx import DATATYPES, MAX_MODEL_BYTES, TensorSpec, describe
from tests.models import files


def test_inputs_and_outputs_are_found() -> None:
    """Names, types and dimensions are those of the file; a dimension with a name may have any size."""
    found = describe(files.identity())
    assert found.inputs == [TensorSpec("x", "FP32", [-1, 4])]
    assert found.outputs == [TensorSpec("y", "FP32", [-1, 4])]
    assert found.classes == []


def test_a_constant_is_not_an_input() -> None:
    """An initializer that the file lists among its inputs, as old files do, is not an input of the model."""
    data = files.model(
        [files.node("Add", ["x", "c"], ["y"])],
        [files.X, files.value("c", files.FLOAT, [1, 4])],
        [files.Y],
        [files.constant("c", np.zeros((1, 4), np.float32))],
    )
    assert [each.name for each in describe(data).inputs] == ["x"]


@pytest.mark.parametrize(("kind", "datatype"), list(DATATYPES.items()))
def test_every_type_of_the_protocol_is_known(kind: int, datatype: str) -> None:
    """Each supported element type has its name in the Open Inference Protocol."""
    assert describe(files.typed(kind)).inputs[0].datatype == datatype


@pytest.mark.parametrize("value", [0, -1])
def test_old_exporters_write_zero_for_any_size(value: int) -> None:
    """A dimension of 0 or -1 may have any size."""
    assert describe(files.typed(files.FLOAT, [value, 2])).inputs[0].shape == [-1, 2]


@pytest.mark.parametrize("name", list(files.REFUSED))
def test_a_hostile_file_is_refused(name: str) -> None:
    """The walk refuses the file, and says why."""
    make, reason = files.REFUSED[name]
    with pytest.raises(UnsupportedModel, match=reason):
        describe(make())


def test_a_large_file_is_refused_before_it_is_read() -> None:
    """A file over the limit is refused by its size."""
    with pytest.raises(UnsupportedModel, match="bytes"):
        describe(bytes(MAX_MODEL_BYTES + 1))


def test_unpacked_numbers_are_skipped_as_a_run() -> None:
    """A forest of trees with a million unpacked numbers costs no field of the limit, and its classes are found."""
    from onnx import helper

    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["l", "s"],
        domain="ai.onnx.ml",
        nodes_values=[0.5] * 1_000_001,
        nodes_nodeids=[2**40] * 1_000_000,
        classlabels_int64s=[7, -8, 300],
    )
    data = files.model(
        [node], [files.X], [files.value("l", files.INT64, ["n"]), files.value("s", files.FLOAT, ["n", 3])]
    )
    assert describe(data).classes == [7, -8, 300]


def test_classes_that_are_texts_are_found() -> None:
    """The labels of a classifier are read from its attribute, whatever bytes other attributes hold."""
    from onnx import helper

    node = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["l", "s"],
        domain="ai.onnx.ml",
        classlabels_strings=["a", "ü"],
        coefficients=[0.0] * 8,
        post_transform=b"\xff\xfe",
    )
    outputs = [files.value("l", files.STRING, ["n"]), files.value("s", files.FLOAT, ["n", 2])]
    assert describe(files.model([node], [files.X], outputs)).classes == ["a", "ü"]


@given(st.binary(max_size=200))
def test_any_bytes_are_described_or_refused(data: bytes) -> None:
    """No bytes raise anything but UnsupportedModel."""
    with suppress(UnsupportedModel):
        describe(data)


@given(st.data())
def test_a_damaged_file_is_described_or_refused(data: st.DataObject) -> None:
    """A sound file with a few changed bytes raises nothing else."""
    changed = bytearray(files.typed(TensorProto.FLOAT))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UnsupportedModel):
        describe(bytes(changed))
