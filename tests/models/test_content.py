"""Identifying content: the same results as the magika package, and when a name does not fit."""

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from magika import Magika as Package

from shared.models import content
from shared.models.content import ContentType, Magika
from shared.models.store.engine import Engine
from shared.models.store.identifying import Identifier
from shared.sandbox.process import Sandbox
from shared.sandbox.settings import SandboxSettings
from shared.settings import StorageSettings
from shared.storage import Storage

ROOT = Path(__file__).resolve().parent.parent.parent
RANDOM = random.Random(1)
CONTENTS = {
    "empty": b"",
    "one byte": b"\x00",
    "few letters": b"hi",
    "few bytes that are not text": b"\xff\xfe\xfd",
    "seven bytes": b"1234567",
    "blanks alone": b" \n\t" * 3000,
    "blanks around": b" " * 4090 + b"print('hello')" + b"\n" * 5000,
    "a block of blanks, then text": b" " * 5000 + b"import os\nprint(os.getcwd())\n" * 50,
    "random": RANDOM.randbytes(10_000),
    "1,024 bytes": RANDOM.randbytes(1024),
    "4,096 bytes": RANDOM.randbytes(4096),
    "4,097 bytes": RANDOM.randbytes(4097),
    "python": Path(__file__).read_bytes(),
    "markdown": (ROOT / "README.md").read_bytes(),
    "json": b'{"a": [1, 2, 3], "b": {"c": null}}' * 20,
    "csv": b"id,name,price\n" + b"1,apple,0.5\n" * 200,
    "html": b"<!doctype html><html><head><title>x</title></head><body><p>hello</p></body></html>",
    "png": (ROOT / "scripts/samples/images/keyhole.png").read_bytes(),
    "wasm": (ROOT / "scripts/samples/images/photo.jpg").read_bytes(),
    "onnx": (ROOT / "scripts/samples/models/iris.onnx").read_bytes(),
    "shell": b"#!/bin/sh\nset -e\nfor each in 1 2 3; do\n  echo $each\ndone\n",
    "pdf": b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n" * 20 + b"%%EOF\n",
    "zip": b"PK\x05\x06" + bytes(18),
}


@pytest.fixture(scope="module")
def identifier() -> Iterator[Identifier]:
    """The app's own way, with the model in a child process; without storage."""
    sandbox = Sandbox(SandboxSettings(processes=1))
    engine = Engine(sandbox)
    yield Identifier(Storage(StorageSettings()), lambda: engine)
    sandbox.close()


@pytest.fixture(scope="module")
def package() -> Package:
    """Google's package, as a second opinion."""
    return Package()


@pytest.fixture(scope="module")
def magika() -> Magika:
    """The rules with the package's tables."""
    import magika as package_module

    folder = Path(package_module.__file__ or "").parent
    config = content.read_config((folder / "models/standard_v3_3/config.min.json").read_bytes())
    table = (folder / "config/content_types_kb.min.json").read_bytes()
    return Magika(config, msgspec.json.decode(table, type=dict[str, ContentType]))


@pytest.mark.parametrize("name", list(CONTENTS))
def test_the_result_is_that_of_the_package(name: str, identifier: Identifier, package: Package) -> None:
    """Label, media type, group and score are those of the magika package, for every kind of input."""
    found = identifier.identify(CONTENTS[name], "", "")
    expected = package.identify_bytes(CONTENTS[name])
    assert (found.label, found.mime_type) == (str(expected.output.label), expected.output.mime_type)
    assert found.group == expected.output.group
    assert found.score == pytest.approx(expected.score, abs=1e-5)


@pytest.mark.parametrize(
    ("label", "name", "content_type", "expected"),
    [
        ("png", "a.png", "image/png", False),
        ("png", "a.jpg", "image/jpeg", False),  # Another image is of the same group.
        ("png", "a.PNG", "", False),
        ("pebin", "photo.jpg", "", True),
        ("elf", "photo.JPG", "application/octet-stream", True),
        ("elf", "photo", "image/jpeg", True),
        ("elf", "photo", "image/x-of-tomorrow", True),
        ("elf", "photo", "application/pdf", True),
        ("elf", "program", "", False),
        ("elf", ".jpg", "", False),  # A name without an ending.
        ("elf", "a.jpg/program", "", False),
        ("elf", "a.unheard-of", "application/unheard-of", False),
        ("python", "notes.txt", "text/plain; charset=utf-8", False),  # Code is text.
        ("html", "notes.txt", "text/plain", False),
        ("csv", "table.csv", "text/csv", False),
        ("txt", "photo.jpg", "", True),
        ("pdf", "a.zip", "", True),
        ("zip", "a.docx", "", True),
        ("mp3", "a.mp4", "", True),
        ("unknown", "photo.jpg", "image/jpeg", False),
        ("empty", "photo.jpg", "image/jpeg", False),
        ("sqlite", "photo.jpg", "image/jpeg", False),  # Of no group that is compared.
    ],
)
def test_mismatch_compares_groups(magika: Magika, label: str, name: str, content_type: str, expected: bool) -> None:
    """The group of the content is compared with that of the name's ending and of the stored Content-Type."""
    assert magika.identified(label, 1.0, name, content_type).mismatch is expected


def test_a_model_of_another_kind_is_refused() -> None:
    """A configuration with features that are not computed here is an error, not a wrong result."""
    config = {
        "beg_size": 1, "mid_size": 1, "end_size": 1, "block_size": 2, "padding_token": 256, "min_file_size_for_dl": 1,
        "medium_confidence_threshold": 0.5, "target_labels_space": [], "thresholds": {}, "overwrite_map": {},
    }  # fmt: skip
    with pytest.raises(ValueError, match="features"):
        content.read_config(msgspec.json.encode(config))
