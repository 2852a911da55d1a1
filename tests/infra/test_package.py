"""The package contains only the files that run, and needs nothing else, on Azure's version of Python."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.azurite import start_azurite
from scripts.package import PYTHON, build, files, find_python, read_patterns
from scripts.samples import seed_container, seed_database
from tests.support import ROOT, app_environ, clean_environ

Call = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built and unpacked."""
    folder = tmp_path_factory.mktemp("package")
    build(folder / "package.zip")
    with zipfile.ZipFile(folder / "package.zip") as package:
        package.extractall(folder / "app")
    return folder / "app"


@pytest.fixture(scope="module")
def python() -> str:
    """Python 3.13 with requirements.txt and nothing else; kept in .venv-package until that file changes."""
    base = find_python()
    if base is None:
        pytest.skip(f"Python {PYTHON}, which Azure runs, is neither on the PATH nor among pyenv's")
    folder = ROOT / ".venv-package"
    requirements = (ROOT / "requirements.txt").read_bytes()
    stamp = hashlib.sha256(requirements + base.encode()).hexdigest()
    if not (folder / "stamp").exists() or (folder / "stamp").read_text() != stamp:
        subprocess.run([base, "-m", "venv", "--clear", folder], check=True, env=clean_environ())
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--require-hashes", "-r", str(ROOT / "requirements.txt")], check=True, timeout=280)
        (folder / "stamp").write_text(stamp)
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def deployed(python: str, unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The app from only the package: the functions that it indexed, and a way to call it."""
    folder = tmp_path_factory.mktemp("deployed")
    # It has its own storage, because the other tests' storage is encrypted with their master keys.
    azurite = start_azurite(folder / "azurite", in_memory=True)
    seed_database(folder / "main.sqlite")
    seed_container(azurite.connection_string)
    environ = clean_environ() | app_environ(folder, azurite.connection_string)
    process = subprocess.Popen(
        [python, "-I", "-B", Path(__file__).with_name("deployed.py"), unpacked],
        cwd=folder,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def call(function: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
        text = "" if body is None else json.dumps(body)
        headers = {"content-type": "application/json", "content-length": str(len(text.encode()))} if text else {}
        request = {"function": function, "method": method, "url": f"http://localhost{path}", "headers": headers}
        stdin.write(json.dumps(request | {"body": text}) + "\n")
        stdin.flush()
        response = json.loads(stdout.readline())
        return response["status"], json.loads(response["body"])

    try:
        with process:
            yield json.loads(stdout.readline()), call
            stdin.close()
    finally:
        azurite.stop()


def test_only_what_runs_is_in_it(unpacked: Path) -> None:
    """The package has the app, its settings for the host, its requirements, its bytecode, and no other file."""
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "shared").rglob("*.*") if path.is_file()}
    sources = {name for name in sources if "__pycache__" not in name}
    sources |= {"function_app.py", "host.json", "requirements.txt"}
    assert {name for name in names if not name.endswith(".pyc")} == sources


def test_every_module_has_bytecode_that_no_timestamp_invalidates(unpacked: Path) -> None:
    """Each module has bytecode for Azure's Python, marked as unchecked: its source's time and size do not matter."""
    if find_python() is None:
        pytest.skip(f"Python {PYTHON}, which Azure runs, is neither on the PATH nor among pyenv's")
    tag = PYTHON.replace(".", "")
    for source in unpacked.rglob("*.py"):
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-{tag}.pyc"
        # PEP 552: the flags after the magic number are 1 for a hash that is not checked.
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01, compiled


def test_the_bytecode_is_used(unpacked: Path, tmp_path: Path) -> None:
    """Azure's Python takes the bytecode whatever the time of the source, and names the app's folder in tracebacks."""
    python = find_python()
    if python is None:
        pytest.skip(f"Python {PYTHON}, which Azure runs, is neither on the PATH nor among pyenv's")
    shutil.copytree(unpacked / "shared", tmp_path / "shared")
    source = tmp_path / "shared" / "errors.py"
    source.write_text("raise AssertionError('compiled again')\n")
    os.utime(source, (1, 1))
    show = "import shared.errors; print(shared.errors.StrongroomError, shared.errors.__cached__)"
    ran = subprocess.run([python, "-B", "-c", show], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"cpython-{PYTHON.replace('.', '')}.pyc" in ran.stdout


def kept_by_func(name: str, patterns: list[str]) -> bool:
    """Whether `func pack` keeps a file, by the rules that Core Tools apply to .funcignore.

    A pattern applies only at the root, with or without a slash at its beginning. One that ends in a slash matches only
    names below it that begin with a letter, a digit or `_`. `*` is at least one character.
    """
    for pattern in patterns:
        expression = re.escape(pattern.strip("/")).replace(r"\*", "[^/]+").replace(r"\?", "[^/]")
        below = "/[A-Za-z0-9_].*" if pattern.endswith("/") else "(/.*)?"
        if re.fullmatch(expression + below, name):
            return False
    return True


def test_func_packs_the_same_files() -> None:
    """By the rules of Core Tools, too, .funcignore keeps only the app, whatever files are beside it."""
    patterns = read_patterns((ROOT / ".funcignore").read_text())
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    beside = [
        *("app.zip", "strongroom.zip", ".python_packages/lib/site-packages/azure/x.py", ".data/master.key"),
        *("node_modules/@azure/core/index.js", "node_modules/.bin/azurite", "node_modules/_x/y", "node_modules/a/b"),
        *(".venv/bin/python", ".venv-3.13/lib/x", "local.settings.json", "tests/_x/.y", ".git/config", "docs/.x"),
        *("__pycache__/function_app.cpython-311.pyc", ".mypy_cache/x", ".azure/env/.env", "requirements-dev.txt"),
    ]
    kept = {name for name in [*filter(None, listed.split("\0")), *beside] if kept_by_func(name, patterns)}
    assert kept == {path.relative_to(ROOT).as_posix() for path in files(ROOT, patterns)}


def test_leftovers_are_not_packed(tmp_path: Path) -> None:
    """An archive, packages and caches that other tools left beside the app stay out of the package."""
    (tmp_path / "function_app.py").touch()
    (tmp_path / "app.zip").touch()
    for folder in (".python_packages", "__pycache__", "node_modules", ".venv", "tests"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "left.py").touch()
    patterns = read_patterns((ROOT / ".funcignore").read_text())
    assert files(tmp_path, patterns) == [tmp_path / "function_app.py"]


def test_the_rules_of_func_find_a_slash() -> None:
    """The rules above show the fault that a slash at the end of a pattern causes."""
    assert kept_by_func("node_modules/@azure/x.js", ["node_modules/"])
    assert kept_by_func("requirements.in", ["requirements*.in"])
    assert not kept_by_func("node_modules/@azure/x.js", ["node_modules"])


def test_the_same_files_make_the_same_package(tmp_path: Path) -> None:
    """Two builds of the same files are equal to the byte."""
    build(tmp_path / "one.zip")
    build(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


@pytest.mark.parametrize("pattern", ["!keep", "a/b", "/a/b", "a/**"])
def test_a_pattern_that_is_not_understood_is_refused(pattern: str) -> None:
    """The script refuses a pattern of .funcignore that it would read differently from Azure's tools."""
    with pytest.raises(ValueError, match="is not supported"):
        read_patterns(f"tests/\n{pattern}\n")


def test_it_indexes_alone(deployed: tuple[dict[str, Any], Call]) -> None:
    """With only the package and its requirements, on Azure's Python, the app indexes all its functions."""
    indexed, call = deployed
    assert indexed["strangers"] == []
    status, document = call("openapi", "GET", "/api/openapi.json")
    assert status == 200
    http = {name for name, trigger in indexed["functions"].items() if trigger == "httpTrigger"}
    served = set()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            name = operation["operationId"]
            # A function of several methods has an operation for each: `sign`, `sign-post`. Open routes of one path
            # segment share a function: `me`.
            candidates = (name, name.rpartition("-")[0], path.strip("/").partition("/")[0])
            served.add(next((each for each in candidates if each in http), f"{name} has no function"))
    assert served == http
    assert set(indexed["functions"].values()) <= {"httpTrigger", "timerTrigger"}


def test_it_works_alone(deployed: tuple[dict[str, Any], Call]) -> None:
    """With only the package, the app signs, hashes, queries and lists, with storage and a database."""
    _, call = deployed
    assert call("live", "GET", "/api/live") == (200, {"status": "ok"})
    status, signed = call("sign", "POST", "/api/sign", {"message": "pears"})
    assert status == 200, signed
    signature = {"message": "pears", "signature": signed["signature"]}
    assert call("verify", "POST", "/api/verify", signature)[1]["valid"] is True
    status, hashed = call("hash-password", "POST", "/api/hash-password", {"password": "correct horse battery"})
    assert status == 200, hashed
    password = {"password": "correct horse battery", "hash": hashed["hash"]}
    assert call("verify-password", "POST", "/api/verify-password", password)[1]["valid"] is True
    status, result = call("query-sql", "GET", "/api/query-sql?sql=SELECT%20count(*)%20FROM%20fruit")
    assert status == 200, result
    assert result["rows"][0][0] > 0
    status, listed = call("list-blobs", "GET", "/api/list-blobs?container=samples")
    assert status == 200, listed
    assert listed["blobs"]
