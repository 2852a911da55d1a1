"""docs/data.md is true: every line of its examples runs against the app, and reads what the database has."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.samples import seed_container, seed_database
from tests.support import ROOT, App, app_environ, clean_environ, run_app

GUIDE = (ROOT / "docs" / "data.md").read_text()
BLOCKS = {
    kind: re.findall(rf"^```{kind}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL) for kind in ("python", "js", "sh")
}
CHECKS = [
    "assert len(frame) == 12 and str(frame['id'].dtype) == 'int64'",
    "assert frame.height == 12 and frame['id'].dtype == pl.Int64",
    "",
    "assert len(frame) == 12",
    "assert list(frame['id']) == list(range(1, 13))",
    "assert list(frame['id']) == list(range(1, 13)) and str(frame['price'].dtype) == 'float64'",
    "assert len(frame) == 12 and str(frame['id'].dtype) == 'int64'",
]


@pytest.fixture(scope="module")
def open_app(storage_connection: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app with the sample data that requires no keys, as `make start` runs it."""
    folder = tmp_path_factory.mktemp("guide")
    seed_database(folder / "main.sqlite")
    seed_container(storage_connection)
    with run_app(folder, app_environ(folder, storage_connection), auth=False) as app:
        yield app


def run(app: App, command: list[str], folder: Path) -> str:
    """The output of a program that runs an example."""
    environ = {**clean_environ(), "NO_PROXY": "*", "no_proxy": "*"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python_examples(open_app: App, tmp_path: Path) -> None:
    """pandas, polars and DuckDB read all rows of a query with their types, in every way that the page shows."""
    assert len(BLOCKS["python"]) == len(CHECKS)
    text = "".join(f"{block}\n{check}\n" for block, check in zip(BLOCKS["python"], CHECKS, strict=True))
    script = tmp_path / "examples.py"
    script.write_text(text.replace("http://localhost:7071", open_app.url))
    assert "1.8" in run(open_app, [sys.executable, str(script)], tmp_path)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_node_example(open_app: App, tmp_path: Path) -> None:
    """Node reads the rows as objects."""
    (block,) = BLOCKS["js"]
    script = tmp_path / "example.mjs"
    script.write_text(block.replace("http://localhost:7071", open_app.url))
    assert run(open_app, ["node", str(script)], tmp_path).split() == ["apple", "12"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_examples(open_app: App, tmp_path: Path) -> None:
    """Each curl of the page is a success."""
    for block in BLOCKS["sh"]:
        for line in block.splitlines():
            command = line.replace("http://localhost:7071", open_app.url).replace("curl ", "curl -sf --noproxy '*' ", 1)
            assert '"row_count":' in run(open_app, ["bash", "-c", command], tmp_path)


def test_each_client_takes_a_few_lines() -> None:
    """The first example of each client has two to five lines."""
    for block in (*BLOCKS["python"][:3], *BLOCKS["js"]):
        assert 2 <= len(list(filter(str.strip, block.splitlines()))) <= 5
