"""Labels with scores, or values, from the outputs of a model."""

import struct
from typing import Any

import msgspec
import pytest

from shared.models.onnx import TensorSpec
from shared.models.predictions import predictions_of, score_counts
from shared.models.tensors import Tensor


def floats(name: str, lines: list[list[float]]) -> Tensor:
    """A tensor of lines of scores."""
    flat = [value for line in lines for value in line]
    return Tensor(name, "FP32", [len(lines), len(lines[0])], struct.pack(f"<{len(flat)}f", *flat))


def integers(values: list[int]) -> Tensor:
    """A tensor of labels."""
    return Tensor("label", "INT64", [len(values)], struct.pack(f"<{len(values)}q", *values))


def found(outputs: list[Tensor], count: int, labels: list[str] | None = None, classes: list[Any] | None = None) -> Any:
    """The predictions as JSON."""
    return msgspec.json.decode(msgspec.json.encode(predictions_of(outputs, labels or [], classes or [], count)))


def test_a_label_comes_from_labels_else_from_the_model() -> None:
    """The label is the caller's name of the class, or what the model returns; the score is that of the label."""
    outputs = [integers([1, 0]), floats("p", [[0.25, 0.75], [0.5, 0.5]])]
    assert found(outputs, 2) == [
        {"label": 1, "score": 0.75, "scores": [0.25, 0.75]},
        {"label": 0, "score": 0.5, "scores": [0.5, 0.5]},
    ]
    assert [each["label"] for each in found(outputs, 2, ["no", "yes"])] == ["yes", "no"]


def test_the_score_is_that_of_the_label() -> None:
    """Where the model's label is not the one with the largest score, the score is still the label's."""
    outputs = [integers([30]), floats("p", [[0.1, 0.3, 0.6]])]
    assert found(outputs, 1, ["a", "b", "c"], [10, 30, 20])[0] == {
        "label": "b",
        "score": pytest.approx(0.3),
        "scores": pytest.approx([0.1, 0.3, 0.6]),
    }


def test_a_cluster_has_its_own_distance() -> None:
    """Where the label is the position of the smallest score, name and score are those of that position."""
    outputs = [integers([1]), floats("distances", [[5.0, 0.5, 9.0]])]
    assert found(outputs, 1, ["a", "b", "c"], [0, 1, 2]) == [{"label": "b", "score": 0.5, "scores": [5.0, 0.5, 9.0]}]


def test_scores_of_no_width_are_none() -> None:
    """A line of scores without a score does not count as scores."""
    outputs = [integers([1, 0]), Tensor("p", "FP32", [2, 0], b"")]
    assert [each["score"] for each in found(outputs, 2)] == [None, None]


def test_texts_are_labels() -> None:
    """A model whose classes are texts returns them, and `labels` rename them in the order of its classes."""
    outputs = [Tensor("label", "BYTES", [1], b"", ["dog"]), floats("p", [[0.25, 0.75]])]
    assert found(outputs, 1)[0]["label"] == "dog"
    assert found(outputs, 1, ["Katze", "Hund"], ["cat", "dog"])[0]["label"] == "Hund"


def test_a_label_without_scores() -> None:
    """A model that returns only labels has no score."""
    assert found([integers([1])], 1, ["no", "yes"]) == [{"label": "yes", "score": None, "scores": None}]


def test_scores_and_labels_make_a_classifier() -> None:
    """Lines of scores are a classifier only where `labels` name each of them; else they are values."""
    outputs = [floats("logits", [[0.0, 2.0, 1.0]])]
    assert found(outputs, 1, ["a", "b", "c"]) == [{"label": "b", "score": 2.0, "scores": [0.0, 2.0, 1.0]}]
    assert found(outputs, 1) == [{"value": [0.0, 2.0, 1.0]}]


def test_a_regression_returns_values() -> None:
    """One number for each row is a value, with one dimension or two."""
    assert found([floats("v", [[1.5], [2.5]])], 2) == [{"value": 1.5}, {"value": 2.5}]
    assert found([Tensor("v", "FP32", [2], struct.pack("<2f", 1.5, 2.5))], 2) == [{"value": 1.5}, {"value": 2.5}]


def test_nan_and_infinity_are_null() -> None:
    """JSON has neither."""
    assert found([floats("v", [[float("nan")], [float("inf")], [-float("inf")]])], 3) == [{"value": None}] * 3


def test_other_outputs_have_no_predictions() -> None:
    """Outputs without a line for each row, or several values, are outputs alone."""
    assert found([floats("v", [[1.0]])], 2) is None
    assert found([floats("v", [[1.0]]), floats("w", [[1.0]])], 1) is None


def test_labels_are_counted() -> None:
    """The number of labels is that of the declared classes, else of the scores of a line."""
    scores = TensorSpec("p", "FP32", [-1, 3])
    assert score_counts([scores], ["a", "b"]) == {2}
    assert score_counts([TensorSpec("l", "INT64", [-1]), scores], []) == {3}
    assert score_counts([TensorSpec("p", "FP32", [-1, -1])], []) == set()
