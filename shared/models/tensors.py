"""Values of a request as tensors, checked against a model's inputs, and tensors as values of a response. Pure.

A tensor travels as its bytes, little-endian and in row-major order, so that neither side needs numpy here.
"""

import math
import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from shared.errors import FieldError, InvalidRequest, invalid_field
from shared.models.errors import UnsupportedModel
from shared.models.onnx import TensorSpec

MAX_ROWS = 10_000
MAX_INPUT_BYTES = 32 * 1024 * 1024
"""Of all inputs together."""
MAX_OUTPUT_BYTES = 8 * 1024 * 1024
MAX_ERRORS = 20

_CODES = {
    "BOOL": "?",
    "UINT8": "B",
    "INT8": "b",
    "UINT16": "H",
    "INT16": "h",
    "UINT32": "I",
    "INT32": "i",
    "UINT64": "Q",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
"""Codes of `struct`."""
TEXT_BYTES = 64
"""What a short text takes in memory, in the app and in the child."""
_LARGEST = {
    "FP16": math.nextafter(2.0**16 - 2.0**4, 0),
    "FP32": math.nextafter(2.0**128 - 2.0**103, 0),
    "FP64": math.inf,
}
"""The largest numbers that do not round to infinity."""
_LAST = {"FP16": b"\x7c\xfc", "FP32": b"\x7f\xff", "FP64": b"\x7f\xff"}
"""The last bytes of the infinities, which they share with NaN and very large numbers."""
_JSON_BYTES = dict.fromkeys(_LARGEST, 4) | {"BOOL": 5, "BYTES": 3}
"""Of the shortest element in JSON and a comma: `0.0,`, `true,` and `"",`; others are `0,`."""
Path = Callable[[int], str]
"""Maps an index in the flat values to the field of the request."""
_SWAP = sys.byteorder == "big"


class Tensor(NamedTuple):
    """A tensor of any type but BYTES has `data`; one of BYTES has `texts`."""

    name: str
    datatype: str
    shape: list[int]
    data: bytes
    texts: Sequence[str] = ()


def item_bytes(datatype: str) -> int:
    """Bytes of one element; 0 for BYTES."""
    return struct.calcsize(f"<{_CODES[datatype]}") if datatype in _CODES else 0


def is_whole(tensor: Tensor) -> bool:
    """Whether a tensor from a child has as many elements as its shape, and no negative dimension."""
    if tensor.datatype != "BYTES" and tensor.datatype not in _CODES:
        return False
    size, count = item_bytes(tensor.datatype), math.prod(tensor.shape)
    return min(tensor.shape, default=0) >= 0 and (len(tensor.data), len(tensor.texts)) == (
        (size * count, 0) if size else (0, count)
    )


def zeros(specs: Sequence[TensorSpec]) -> list[Tensor]:
    """Inputs of zeros (or empty texts), with one element in each dimension that may have any size.

    Raises UnsupportedModel where they have more than MAX_INPUT_BYTES together.
    """
    shapes = [[1 if size == -1 else size for size in spec.shape or []] for spec in specs]
    counts = [math.prod(shape) for shape in shapes]
    sizes = [count * (item_bytes(spec.datatype) or TEXT_BYTES) for spec, count in zip(specs, counts, strict=True)]
    if sum(sizes) > MAX_INPUT_BYTES:
        raise UnsupportedModel(f"The inputs of the model take more than {MAX_INPUT_BYTES} bytes. Export it smaller.")
    return [
        Tensor(spec.name, spec.datatype, shape, b"", [""] * count)
        if spec.datatype == "BYTES"
        else Tensor(spec.name, spec.datatype, shape, bytes(size))
        for spec, shape, count, size in zip(specs, shapes, counts, sizes, strict=True)
    ]


# ---- Requests


def from_rows(specs: Sequence[TensorSpec], features: Sequence[str], rows: Sequence[Any]) -> list[Tensor]:
    """The inputs for `rows`: objects by input name or feature, or arrays.

    Raises InvalidRequest, naming row and field.
    """
    _check_count(len(rows), "rows")
    for spec in specs:
        if not spec.shape:
            raise invalid_field(
                "rows", f"The input {spec.name} has no dimension for rows. Send the tensors as `inputs`."
            )
        if spec.shape[0] not in (-1, len(rows)):
            raise invalid_field(
                "rows", f"The model takes exactly {spec.shape[0]} rows in one call, and these are {len(rows)}."
            )
    if len(specs) == 1 and len(specs[0].shape or ()) <= 2:
        return [_table(specs[0], features, rows)]
    if not all(isinstance(row, dict | list) for row in rows):
        _refuse_other_rows(rows)
    names = [spec.name for spec in specs]
    columns = {spec.name: _Column(spec) for spec in specs}
    for number, row in enumerate(rows):
        if isinstance(row, list):
            if len(specs) == 1 and _depth(row) == len(specs[0].shape or ()) - 1:
                row = [row]  # noqa: PLW2901 - such as a picture: the row is the value of the one input.
            if len(row) != len(specs):
                raise _wrong_length(number, len(row), len(specs), "inputs")
            row = dict(zip(names, row, strict=True))  # noqa: PLW2901 - the same row, by name.
        else:
            _check_names(number, row, names)
        for name in names:
            columns[name].add(row[name], f"rows[{number}].{name}")
    return [columns[name].tensor(len(rows)) for name in names]


def _depth(value: Any) -> int:
    """How deeply a list is nested, by its first elements."""
    depth = 0
    while isinstance(value, list):
        depth, value = depth + 1, value[0] if value else None
    return depth


def _check_count(count: int, field: str) -> None:
    if not 1 <= count <= MAX_ROWS:
        raise invalid_field(field, f"A call takes 1 to {MAX_ROWS} rows, and this one has {count}.")


def _refuse_other_rows(rows: Sequence[Any]) -> None:
    errors = [
        FieldError(f"rows[{number}]", f"Row {number} is neither an object nor an array.")
        for number, row in enumerate(rows)
        if not isinstance(row, dict | list)
    ]
    raise InvalidRequest(errors[0].detail, errors=tuple(errors[:MAX_ERRORS]), error_count=len(errors))


def _wrong_length(number: int, length: int, expected: int, what: str) -> InvalidRequest:
    return invalid_field(f"rows[{number}]", f"Row {number} has {length} values, and the model takes {expected} {what}.")


def _check_names(number: int, row: Mapping[str, Any], names: Sequence[str]) -> None:
    if len(row) == len(names) and all(name in row for name in names):
        return
    known = set(names)
    errors = [
        FieldError(f"rows[{number}].{name}", f"Row {number} lacks the field {name}.")
        for name in names
        if name not in row
    ]
    errors += [
        FieldError(f"rows[{number}].{name[:64]}", f"Row {number} has the field {name[:64]}, which the model lacks.")
        for name in row
        if name not in known
    ]
    listed = ", ".join(names[:MAX_ERRORS])
    raise InvalidRequest(
        f"{errors[0].detail} The model's fields are {listed}.",
        errors=tuple(errors[:MAX_ERRORS]),
        error_count=len(errors),
    )


def _table(spec: TensorSpec, features: Sequence[str], rows: Sequence[Any]) -> Tensor:
    """The one tensor of a model, from a row of numbers for each line of it."""
    shape = spec.shape or []
    width = shape[1] if len(shape) == 2 else 1
    flat: list[Any] = []
    first: int | None = None
    for number, row in enumerate(rows):
        if isinstance(row, list):
            values = row
        elif isinstance(row, dict):
            if len(row) == 1 and spec.name in row and list(features) != [spec.name]:
                whole = row[spec.name]
                values = whole if isinstance(whole, list) else [whole]
            elif features:
                if len(row) != len(features) or not all(name in row for name in features):
                    _check_names(number, row, features)
                values = [row[name] for name in features]
            elif width == 1:
                _check_names(number, row, [spec.name])
                values = []
            else:
                _check_names(number, row, [spec.name])
                values = []
        else:
            _refuse_other_rows(rows)
            values = []
        expected = width if width >= 0 else first
        if expected is not None and len(values) != expected:
            raise _wrong_length(number, len(values), expected, "values in a row")
        if first is None:
            first = len(values)
        flat += values
    width = first or 0

    def path(index: int) -> str:
        number, column = divmod(index, max(width, 1))
        is_object = isinstance(rows[number], dict)
        if is_object and features and spec.name not in rows[number]:
            return f"rows[{number}].{features[column]}"
        return f"rows[{number}].{spec.name}[{column}]" if is_object else f"rows[{number}][{column}]"

    shape = [len(rows), width] if len(shape) == 2 else [len(rows)]
    return _packed(spec, shape, flat, path)


class _Column:
    """Collects the values of one input, row by row."""

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self.row_shape = (spec.shape or [])[1:]
        self.flat: list[Any] = []
        self.paths: list[str] = []
        self.first: list[int] | None = None

    def add(self, value: Any, path: str) -> None:
        """Append the value of one row. Raises InvalidRequest."""
        if self.row_shape == [1] and not isinstance(value, list):
            value = [value]
        shape = _flatten(value, len(self.row_shape), self.flat, path)
        expected = self.first or self.row_shape
        _check_shape(shape, expected, path)
        self.first = shape
        self.paths.append(path)

    def tensor(self, count: int) -> Tensor:
        """The tensor of all rows. Raises InvalidRequest."""
        per_row = max(len(self.flat) // max(count, 1), 1)
        return _packed(self.spec, [count, *(self.first or [])], self.flat, lambda index: self.paths[index // per_row])


def from_inputs(specs: Sequence[TensorSpec], inputs: Mapping[str, Any]) -> list[Tensor]:
    """The inputs from nested lists by tensor name. Raises InvalidRequest, naming the tensor and the position."""
    names = [spec.name for spec in specs]
    errors = [FieldError(f"inputs.{name}", f"The input {name} is missing.") for name in names if name not in inputs]
    errors += [
        FieldError(f"inputs.{name[:64]}", f"The model has no input {name[:64]}. Its inputs are {', '.join(names)}.")
        for name in inputs
        if name not in names
    ]
    if errors:
        raise InvalidRequest(errors[0].detail, errors=tuple(errors[:MAX_ERRORS]), error_count=len(errors))
    tensors = []
    for spec in specs:
        path = f"inputs.{spec.name}"
        flat: list[Any] = []
        declared = spec.shape or []
        shape = _flatten(inputs[spec.name], len(declared), flat, path)
        tensors.append(_packed(spec, check_shape(spec, shape, path), flat, _positions(path, shape)))
    return tensors


def from_flat(spec: TensorSpec, shape: list[int], values: list[Any], path: str) -> Tensor:
    """The input of a flat list in row-major order, as the Open Inference Protocol has it. Raises InvalidRequest."""
    check_shape(spec, shape, path)
    if len(values) != math.prod(shape):
        raise invalid_field(
            path, f"The input {spec.name} has {len(values)} values, and its shape {shape} needs {math.prod(shape)}."
        )
    return _packed(spec, shape, values, lambda index: f"{path}.data[{index}]")


def check_shape(spec: TensorSpec, shape: list[int], path: str) -> list[int]:
    """`shape`, if the input may have it. Raises InvalidRequest."""
    _check_shape(shape, spec.shape or [], path)
    if shape and shape[0] > MAX_ROWS and (spec.shape or [0])[0] == -1:
        raise invalid_field(path, f"A call takes up to {MAX_ROWS} rows, and this one has {shape[0]}.")
    return shape


def _positions(path: str, shape: list[int]) -> Path:
    def position(index: int) -> str:
        parts = []
        for size in reversed(shape):
            index, part = divmod(index, max(size, 1))
            parts.append(f"[{part}]")
        return path + "".join(reversed(parts))

    return position


def _flatten(value: Any, rank: int, flat: list[Any], path: str) -> list[int]:
    """Append the values of nested lists to `flat`, and return their shape. Raises InvalidRequest for ragged lists."""
    if rank == 0:
        if isinstance(value, list):
            raise invalid_field(path, f"`{path}` is a list where the model takes one value.")
        flat.append(value)
        return []
    shape: list[int] = []
    level = [value]
    for depth in range(rank):
        for each in level:
            if not isinstance(each, list):
                raise invalid_field(path, f"`{path}` is not nested as deeply as the model's {rank} dimensions.")
        sizes = {len(each) for each in level}
        if len(sizes) > 1:
            raise invalid_field(path, f"The lists in `{path}` have different lengths: the tensor would be ragged.")
        shape.append(sizes.pop())
        level = [item for each in level for item in each]
        if not level:
            return shape + [0] * (rank - depth - 1)
    if any(isinstance(each, list) for each in level):
        raise invalid_field(path, f"`{path}` is nested more deeply than the model's {rank} dimensions.")
    flat += level
    return shape


def _check_shape(shape: Sequence[int], declared: Sequence[int], path: str) -> None:
    fits = len(shape) == len(declared) and all(
        size >= 0 and wanted in (-1, size) for size, wanted in zip(shape, declared, strict=True)
    )
    if not fits:
        expected = ", ".join("any" if size == -1 else str(size) for size in declared)
        raise invalid_field(path, f"The shape of `{path}` is {list(shape)}, and the model takes [{expected}].")


def _packed(spec: TensorSpec, shape: list[int], flat: list[Any], path: Path) -> Tensor:
    """The tensor of checked values. `path` maps an index in `flat` to the field. Raises InvalidRequest."""
    datatype = spec.datatype
    if datatype in _LARGEST:
        return Tensor(spec.name, datatype, shape, _floats(datatype, flat, path))
    kinds = set(map(type, flat))
    if datatype == "BYTES":
        if kinds - {str}:
            _refuse(flat, path, lambda value: not isinstance(value, str), "is not a text")
        return Tensor(spec.name, datatype, shape, b"", flat)
    if datatype == "BOOL":
        if kinds - {bool}:
            _refuse(flat, path, lambda value: not isinstance(value, bool), "is not true or false")
        return Tensor(spec.name, datatype, shape, bytes(flat))
    return Tensor(spec.name, datatype, shape, _integers(datatype, flat, kinds, path))


def _floats(datatype: str, flat: list[Any], path: Path) -> bytes:
    try:
        numbers = msgspec.convert(flat, list[float])  # Refuses true, texts and lists four times as fast as a loop.
    except msgspec.ValidationError:
        _refuse(flat, path, lambda value: type(value) not in (float, int, type(None)), "is not a number")
        numbers = [math.nan if value is None else value for value in flat]
    largest = _LARGEST[datatype]
    try:
        packed = _pack(datatype, numbers)
        # JSON has no infinity: one in the result is a number that was too large. A look at the last bytes spares most
        # calls the look at every number.
        last = packed[item_bytes(datatype) - 1 :: item_bytes(datatype)]
        if not any(byte in last for byte in _LAST[datatype]) or not any(map(largest.__lt__, map(abs, numbers))):
            return packed
    except (OverflowError, struct.error):  # A number that no float of the type holds.
        pass
    _refuse(flat, path, lambda value: value is not None and not _fits(value, largest), f"is too large for {datatype}")
    raise invalid_field(path(0), f"A value of `{path(0)}` is too large for {datatype}.")


def _fits(value: float, largest: float) -> bool:
    try:
        return not abs(float(value)) > largest  # A data file may have NaN.
    except OverflowError:
        return False


def _integers(datatype: str, flat: list[Any], kinds: set[type], path: Path) -> bytes:
    if kinds - {int}:
        if kinds - {int, float}:
            _refuse(flat, path, lambda value: type(value) not in (int, float), "is not an integer")
        _refuse(flat, path, lambda value: type(value) is float and not value.is_integer(), "is not an integer")
        flat = [int(value) for value in flat]
    bits = 8 * item_bytes(datatype)
    low, high = (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if flat and not (low <= min(flat) and max(flat) <= high):
        _refuse(flat, path, lambda value: not low <= value <= high, f"is out of the range of {datatype}")
    return _pack(datatype, flat)


def _refuse(flat: list[Any], path: Path, is_wrong: Callable[[Any], bool], problem: str) -> None:
    """Raise InvalidRequest if there are wrong values, naming the first of them."""
    wrong = [index for index, value in enumerate(flat) if is_wrong(value)]
    if wrong:
        errors = tuple(
            FieldError(path(index), f"`{path(index)}` {problem}: {_shown(flat[index])}.")
            for index in wrong[:MAX_ERRORS]
        )
        raise InvalidRequest(errors[0].detail, errors=errors, error_count=len(wrong))


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:.6g}" if abs(value) < 1e300 else "a very large number"
    return "a text" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"


def _pack(datatype: str, values: list[Any]) -> bytes:
    code = _CODES[datatype]
    if code == "e":
        return struct.pack(f"<{len(values)}e", *values)
    packed = array("i" if code == "i" else code, values)
    if _SWAP:
        packed.byteswap()
    return packed.tobytes()


# ---- Responses


def values_of(tensor: Tensor) -> list[Any]:
    """The elements of a tensor, in row-major order. NaN and infinity stay: JSON encodes them as null."""
    if tensor.datatype == "BYTES":
        return list(tensor.texts)
    if tensor.datatype == "BOOL":
        return [bool(each) for each in tensor.data]
    code = _CODES[tensor.datatype]
    if code == "e":
        return list(struct.unpack(f"<{len(tensor.data) // 2}e", tensor.data))
    unpacked = array(code)
    unpacked.frombytes(tensor.data)
    if _SWAP:
        unpacked.byteswap()
    return unpacked.tolist()


def nested(values: Iterable[Any], shape: Sequence[int]) -> Any:
    """Flat values as nested lists of `shape`."""
    flat = list(values)
    if not shape:
        return flat[0]
    for depth in range(len(shape) - 1, 0, -1):
        size = shape[depth]
        flat = [flat[at * size : (at + 1) * size] for at in range(math.prod(shape[:depth]))]
    return flat


def json_bytes(tensor: Tensor) -> int:
    """The fewest bytes that a tensor takes as nested lists in JSON: it may have no elements, and many lists."""
    lists = sum(math.prod(tensor.shape[:depth]) for depth in range(len(tensor.shape)))
    return 2 * lists + _JSON_BYTES.get(tensor.datatype, 2) * math.prod(tensor.shape)
