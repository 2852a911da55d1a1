"""The rules that keep the house in order: which way imports run, and what indexing the app may load."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CAPABILITIES = {"signing", "passwords", "sql", "blobs"}
FLOORS = [
    {"errors", "version", "once", "deadline"},
    {"settings"},
    {"web"},
    {"storage", "sandbox"},
    {"health", "idempotency"},
    CAPABILITIES,
    {"app"},
    {"function_app"},
]
"""From the ground up: a module imports from its own room and from the floors below."""

SOURCES = sorted([ROOT / "function_app.py", *(ROOT / "shared").rglob("*.py")])
PURE = ("urllib3", "azure", "sqlite3", "psycopg", "pymysql", "socket", "http", "subprocess", "requests")
"""What a module that only thinks has no use for."""


def imports_of(path: Path) -> set[str]:
    """Every module that a source file names in an import, wherever it stands in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{each.name}" for each in node.names}
    return found


def room_of(module: str) -> str | None:
    """The room that one of our own modules lies in; None for what is not ours."""
    parts = module.split(".")
    if parts[0] == "function_app":
        return "function_app"
    if parts[0] != "shared":
        return None
    return "version" if len(parts) == 1 or parts[1].startswith("__") else parts[1]


def floor_of(room: str) -> int:
    """How high a room lies."""
    return next(height for height, rooms in enumerate(FLOORS) if room in rooms)


def name_of(path: Path) -> str:
    """The module name of a source file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_arrow_runs_down(path: Path) -> None:
    """A module imports only from its own room and from below; no capability knows another."""
    own = room_of(name_of(path))
    assert own is not None
    for module in imports_of(path):
        other = room_of(module)
        if other in (None, own, "version") or module == "shared":
            continue
        if module.startswith("shared.") and len(module.split(".")) == 2 and other not in {r for f in FLOORS for r in f}:
            continue
        assert floor_of(other) < floor_of(own), f"{name_of(path)} imports {module}"


def test_the_edge_alone_knows_azure_functions() -> None:
    """`azure.functions` is imported by function_app.py and by nothing else."""
    users = {name_of(path) for path in SOURCES if any(each.startswith("azure.functions") for each in imports_of(path))}
    assert users == {"function_app"}


def test_settings_alone_read_the_environment() -> None:
    """The environment is read in function_app.py, handed to the settings, and nowhere else."""
    readers = {name_of(path) for path in SOURCES if "environ" in path.read_text() and "os.environ" in path.read_text()}
    assert readers == {"function_app"}


def test_modules_that_think_do_no_io() -> None:
    """In a capability, only the stores and engines import what talks to the outside."""
    doors = {"store", "databases", "engines", "master"}
    for path in SOURCES:
        parts = name_of(path).split(".")
        if len(parts) > 2 and parts[1] in CAPABILITIES and not doors & set(parts):
            touched = {each for each in imports_of(path) if each.split(".")[0] in PURE}
            assert not touched, f"{name_of(path)} imports {touched}"


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running `code` in the app's folder."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout))


def test_indexing_loads_little() -> None:
    """Indexing the app loads azure.functions, msgspec, our modules and a few of the standard library's, and no more."""
    added = modules_after("import function_app") - modules_after("import azure.functions, msgspec")
    ours = {each for each in added if each == "function_app" or each.split(".")[0] == "shared"}
    cheap = {
        "pathlib",
        "ntpath",
        "secrets",
        "hmac",
        "hashlib",
        "_hashlib",
        "_blake2",
        "random",
        "bisect",
        "queue",
        "_queue",
    }
    assert added - ours <= cheap
    heavy = {"cryptography", "argon2", "urllib3", "azure.core", "azure.data", "azure.identity", "sqlite3", "requests"}
    loaded = modules_after("import function_app")
    assert not {each for each in heavy if each in loaded}


def test_there_is_one_function_app() -> None:
    """Exactly one module-level name holds the FunctionApp, since the worker refuses a second."""
    code = (
        "import function_app, azure.functions as f, sys; "
        "n = [k for k, v in vars(function_app).items() if isinstance(v, f.FunctionApp)]; assert n == ['app'], n"
    )
    modules_after(code)
