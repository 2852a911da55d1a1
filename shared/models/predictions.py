"""From a model's outputs to predictions: labels with scores, or values. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shared.models.onnx import TensorSpec
from shared.models.tensors import Tensor, nested, values_of

_LABEL_TYPES = frozenset({"INT64", "INT32", "BYTES"})
_FLOATS = frozenset({"FP16", "FP32", "FP64"})


class Prediction(msgspec.Struct, frozen=True):
    """The class of a row with its scores, or its value."""

    label: str | int | msgspec.UnsetType = msgspec.UNSET
    score: float | msgspec.UnsetType | None = msgspec.UNSET
    """The score of this class, often a probability; null if the model returns none."""
    scores: list[float] | msgspec.UnsetType | None = msgspec.UNSET
    """The score of each class, in the order of the model's classes (and of `labels`)."""
    value: Any = msgspec.UNSET
    """A number, or a list of them."""


def predictions_of(
    outputs: Sequence[Tensor], labels: Sequence[str], classes: Sequence[str | int], row_count: int
) -> list[Prediction] | None:
    """A prediction for each row; None where the outputs have no line for each row.

    A model with an output of integers or texts is a classifier, and so is one with a line of scores for each of the
    `labels`. `classes` are the classes that the file declares, in the order of the scores.
    """
    per_row = [each for each in outputs if each.shape and each.shape[0] == row_count]
    label_output = next((each for each in per_row if each.datatype in _LABEL_TYPES and _width(each) == 1), None)
    floats = [each for each in per_row if each.datatype in _FLOATS and len(each.shape) <= 2 and _width(each)]
    if label_output is not None:
        labels_of_rows = values_of(label_output)
        lines = _lines(floats[0]) if floats else [None] * row_count
        indexes = {each: index for index, each in enumerate(classes)}
        return [_classified(label, line, labels, indexes) for label, line in zip(labels_of_rows, lines, strict=True)]
    if len(per_row) != 1:
        return None
    only = per_row[0]
    if only in floats and labels and _width(only) == len(labels):
        return [Prediction(labels[best], line[best], line) for line in _lines(only) for best in (_largest(line),)]
    if math.prod(only.shape[1:]) == 1:
        return [Prediction(value=each) for each in values_of(only)]
    return [Prediction(value=each) for each in nested(values_of(only), only.shape)]


def _width(tensor: Tensor) -> int:
    return math.prod(tensor.shape[1:])


def _lines(tensor: Tensor) -> list[list[float]]:
    values, width = values_of(tensor), _width(tensor)
    return [values[at : at + width] for at in range(0, len(values), width)]


def _largest(line: Sequence[float]) -> int:
    return max(range(len(line)), key=line.__getitem__)


def _classified(
    label: str | int, line: list[float] | None, labels: Sequence[str], indexes: Mapping[str | int, int]
) -> Prediction:
    index = indexes.get(label)
    if index is not None:
        pass
    elif line is not None and len(line) > 1:
        index = _largest(line)
    elif isinstance(label, int) and 0 <= label < len(labels):
        index = label
    name = labels[index] if index is not None and index < len(labels) else label
    if line is None:
        return Prediction(name, None, None)
    score = line[index] if index is not None and index < len(line) else line[0]
    return Prediction(name, score, line)


def score_counts(outputs: Sequence[TensorSpec], classes: Sequence[str | int]) -> set[int]:
    """How many labels fit: the classes that the file declares, or the widths of its lines of scores; empty: any."""
    if classes:
        return {len(classes)}
    widths = {
        each.shape[1]
        for each in outputs
        if each.datatype in _FLOATS and each.shape is not None and len(each.shape) == 2
    }
    return widths if widths and -1 not in widths else set()
