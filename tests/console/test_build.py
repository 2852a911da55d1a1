"""The built console: it is current, its names agree with the OpenAPI document, and it is small."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, clean_environ

STATIC = ROOT / "shared" / "console" / "static"
MANIFEST = json.loads((STATIC / "manifest.json").read_text())
FIRST_LOAD_BYTES = 45 * 1024
VIEW_BYTES = 12 * 1024


def node_module(name: str) -> Path:
    """A package in node_modules; the test is skipped without it, and fails in CI."""
    path = ROOT / "node_modules" / name
    if shutil.which("node") is None or not path.exists():
        reason = f"Run `make setup`: node_modules has no {name}."
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def test_the_build_is_current(tmp_path: Path) -> None:
    """shared/console/static/ is what `make console` makes of console/."""
    node_module("esbuild")
    subprocess.run(["node", "scripts/console.mjs", tmp_path], cwd=ROOT, check=True, env=clean_environ())
    built = {path.name for path in tmp_path.iterdir()}
    assert built == {path.name for path in STATIC.iterdir()}, "run `make console`"
    # Another version of Node may compress otherwise: those are compared by their content.
    for name in [name for name in built if not name.endswith(".br")]:
        assert (tmp_path / name).read_bytes() == (STATIC / name).read_bytes(), "run `make console`"


def test_the_compressed_files_have_the_same_content() -> None:
    """Each `.br` is its file, compressed."""
    node_module("esbuild")
    script = (
        "const {readFileSync} = require('fs'), {brotliDecompressSync} = require('zlib');"
        "for (const f of process.argv.slice(1))"
        " if (!brotliDecompressSync(readFileSync(f + '.br')).equals(readFileSync(f))) throw new Error(f);"
    )
    subprocess.run(["node", "-e", script, *(STATIC / name for name in MANIFEST)], check=True)


def test_field_names_agree_with_the_functions(tmp_path: Path) -> None:
    """The type check finds no function, field or property that the OpenAPI document does not have."""
    tsc = node_module("typescript") / "bin" / "tsc"
    types = ROOT / ".data" / "console" / "functions.d.ts"
    subprocess.run([sys.executable, "-m", "scripts.console_types", types], cwd=ROOT, check=True)
    checked = subprocess.run(
        ["node", tsc, "-p", "console", "--pretty", "false"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_a_misspelt_field_is_found(tmp_path: Path) -> None:
    """The type check can fail: a misspelt field of a call is an error."""
    tsc = node_module("typescript") / "bin" / "tsc"
    types = tmp_path / "functions.d.ts"
    subprocess.run([sys.executable, "-m", "scripts.console_types", types], cwd=ROOT, check=True)
    wrong = tmp_path / "wrong.js"
    wrong.write_text(
        "/** @param {Call} call */\n"
        "export const f = async (call) => (await call('sign', { mesage: 'x' })).signatur;\n"
        "/** @param {Call} call */\n"
        "export const g = async (call) => (await call('sign', { message: 'x' })).signature;\n"
    )
    files = [wrong, types, ROOT / "console" / "types.d.ts"]
    options = ["--allowJs", "--checkJs", "--noEmit", "--target", "es2023", "--module", "es2022"]
    options += ["--moduleResolution", "bundler", "--types", "", "--pretty", "false", "--ignoreConfig"]
    checked = subprocess.run(["node", tsc, *options, *files], cwd=tmp_path, capture_output=True, text=True, check=False)
    errors = [line for line in checked.stdout.splitlines() if "wrong.js" in line]
    assert len(errors) == 2, checked.stdout
    assert "mesage" in errors[0]
    assert "signatur'" in errors[1]


def packed(name: str) -> int:
    """The size of a file as browsers get it."""
    return (STATIC / f"{name}.br").stat().st_size


def test_the_first_load_is_small() -> None:
    """The first page takes at most four files and 45 KB."""
    index = (STATIC / "index.html").read_text()
    first = ["index.html", *re.findall(r'(?:href|src)="([^"#]+)"', index)]
    assert len(first) <= 4
    assert sum(packed(name) for name in first) <= FIRST_LOAD_BYTES


@pytest.mark.parametrize(
    "name", re.findall(r"[\w-]+\.js", re.findall(r'data-views="([^"]*)"', (STATIC / "index.html").read_text())[0])
)
def test_each_view_is_small(name: str) -> None:
    """A view takes at most 12 KB."""
    assert packed(name) <= VIEW_BYTES
