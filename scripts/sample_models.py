"""Makes the sample models, a table for one of them, and a program named like a photo: python -m scripts.sample_models

It needs scikit-learn and skl2onnx (requirements-dev.txt). `make start` uses the files that it has written.
"""

from typing import Any

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scripts.samples import FILES, MODELS

PROGRAM = "0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b"
"""A WebAssembly module with one function, which adds two numbers."""


IRIS = MODELS[0]


def onnx_file(model: Any, rows: Any, options: dict[str, Any] | None = None) -> bytes:
    """A trained model as an ONNX file."""
    data: bytes = to_onnx(model, rows[:1].astype(np.float32), options=options, target_opset=18).SerializeToString()
    return data


def main() -> None:
    """Train the models, and write the files."""
    folder = FILES / "models"
    folder.mkdir(exist_ok=True)
    rows, species = load_iris(return_X_y=True)
    classifier = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, species)
    (folder / "iris.onnx").write_bytes(onnx_file(classifier, rows, {"zipmap": False}))
    lines = [",".join(["flower", *IRIS["features"]])]
    lines += [",".join(map(str, [number + 1, *rows[number]])) for number in range(0, 150, 15)]
    (folder / "irises.csv").write_text("\n".join(lines) + "\n")
    rows, progression = load_diabetes(return_X_y=True, scaled=False)
    regression = make_pipeline(StandardScaler(), Ridge()).fit(rows, progression)
    (folder / "diabetes.onnx").write_bytes(onnx_file(regression, rows))
    (FILES / "images" / "photo.jpg").write_bytes(bytes.fromhex(PROGRAM))


if __name__ == "__main__":
    main()
