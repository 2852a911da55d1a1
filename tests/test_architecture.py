"""The rules of the architecture: the direction of imports, and the modules that indexing may load."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CAPABILITIES = {each.parent.name for each in (ROOT / "shared").glob("*/capability.py")}
LAYERS = [
    {"errors", "version", "once", "deadline", "memory"},
    {"settings", "inflight"},
    {"web"},
    {"storage", "sandbox"},
    {"health", "idempotency", "datafiles"},
    {"capability"},
    CAPABILITIES,
    {"app"},
    {"function_app"},
]
"""The layers from the bottom up: a module imports from its own package and from the layers below."""

SOURCES = sorted([ROOT / "function_app.py", *(ROOT / "shared").rglob("*.py")])
IO_MODULES = ("urllib3", "azure", "sqlite3", "psycopg", "pymysql", "socket", "http", "subprocess", "requests")
"""Modules that do I/O; a pure module imports none of them."""


def imports_of(path: Path) -> set[str]:
    """Every module that a source file imports, also inside functions."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{each.name}" for each in node.names}
    return modules


def package_of(module: str) -> str | None:
    """The package in shared/ (or top-level module) that a module of this project belongs to; None for all others."""
    parts = module.split(".")
    if parts[0] == "function_app":
        return "function_app"
    if parts[0] != "shared":
        return None
    return "version" if len(parts) == 1 or parts[1].startswith("__") else parts[1]


def layer_of(package: str) -> int:
    """The number of the layer that a package is in, from the bottom."""
    return next(number for number, packages in enumerate(LAYERS) if package in packages)


def name_of(path: Path) -> str:
    """The module name of a source file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    """A module imports only from its own package and from layers below; no capability imports another."""
    own = package_of(name_of(path))
    assert own is not None
    for module in imports_of(path):
        other = package_of(module)
        if other in (None, own, "version") or module == "shared":
            continue
        if module.startswith("shared.") and len(module.split(".")) == 2 and other not in set().union(*LAYERS):
            continue
        assert layer_of(other) < layer_of(own), f"{name_of(path)} imports {module}"


def test_only_the_edge_imports_azure_functions() -> None:
    """Only function_app.py imports `azure.functions`."""
    users = {name_of(path) for path in SOURCES if any(each.startswith("azure.functions") for each in imports_of(path))}
    assert users == {"function_app"}


def test_only_the_edge_reads_the_environment() -> None:
    """Only function_app.py reads the environment; it passes it to the settings."""
    readers = {name_of(path) for path in SOURCES if "environ" in path.read_text() and "os.environ" in path.read_text()}
    assert readers == {"function_app"}


def test_storage_is_in_one_place() -> None:
    """Outside `shared/storage` nothing handles the SDK's errors, conditions, credentials or signatures.

    Stores pass its values and call its clients, in requests that `shared/storage` sends. Key Vault is the master key's.
    """
    values = {"BlobBlock", "BlobClient", "BlobLeaseClient", "ContentSettings", "StandardBlobTier"}
    allowed = {"azure.storage.blob"} | {f"azure.storage.blob.{each}" for each in values}
    for path in SOURCES:
        name = name_of(path)
        if package_of(name) not in ("storage", "function_app") and name != "shared.signing.master":
            imported = {each for each in imports_of(path) if each.split(".")[0] == "azure"}
            assert imported <= allowed, f"{name} imports {imported - allowed}"


def test_pure_modules_do_no_io() -> None:
    """In a capability, only stores and engines import modules that do I/O."""
    doors = {"store", "databases", "engines", "master"}
    for path in SOURCES:
        parts = name_of(path).split(".")
        if len(parts) > 2 and parts[1] in CAPABILITIES and not doors & set(parts):
            touched = {each for each in imports_of(path) if each.split(".")[0] in IO_MODULES}
            assert not touched, f"{name_of(path)} imports {touched}"


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running `code` in the app's folder."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_indexing_loads_little() -> None:
    """Indexing the app loads only azure.functions, msgspec, the app's modules and a few of the standard library."""
    added = modules_after("import function_app") - modules_after("import azure.functions, msgspec")
    own = {each for each in added if each == "function_app" or each.split(".")[0] == "shared"}
    cheap = {
        "gc",
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
    assert added - own <= cheap
    assert not {each for each in own if each.startswith("shared.storage")}  # Its modules cost a tenth of all others.
    heavy = {"cryptography", "argon2", "urllib3", "azure.core", "azure.data", "azure.identity", "sqlite3", "requests"}
    loaded = modules_after("import function_app")
    assert not {each for each in heavy if each in loaded}


def test_indexing_is_not_collected() -> None:
    """No garbage is looked for while the app is indexed; afterwards the collector is on, without what was made."""
    code = (
        "import gc, sys; frozen = []\n"
        "def collects(*_):\n"
        "    if 'azure' in sys.modules: frozen.append(gc.get_freeze_count())\n"
        "gc.callbacks.append(collects); import function_app\n"
        "assert all(frozen), frozen; assert gc.isenabled() and gc.get_freeze_count() > 20_000"
    )
    modules_after(code)


def test_there_is_one_function_app() -> None:
    """Exactly one module-level name holds a FunctionApp: the worker refuses a second."""
    code = (
        "import function_app, azure.functions as f, sys; "
        "n = [k for k, v in vars(function_app).items() if isinstance(v, f.FunctionApp)]; assert n == ['app'], n"
    )
    modules_after(code)


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Every function and method in a module."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_no_call_is_the_first_to_examine_a_struct() -> None:
    """Structs are decoded by decoders that exist before any call: threads that examine one type at once can crash.

    A decoder is made in the body of a module, or where a capability is built, or under a lock. `decode(type=…)` and
    `convert` with a struct need such a decoder in the same module.
    """
    plain = {"msgspec.Raw", "dict[str, Any]", "dict[str, float]", "float", "list[float]", "KeyType"}
    plain |= {"Metadata"}  # A field of `Provider`, which has a decoder.
    builders = {
        *("__init__", "__post_init__"),
        "batch_of",  # Makes the fields of a request: the body of a module calls it.
        "_decoder",  # Of `Cursors`, under a lock.
    }
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        late = {
            id(node)
            for function in functions_of(tree)
            if function.name not in builders
            for node in ast.walk(function)
            if isinstance(node, ast.Call)
        }
        made = {ast.unparse(call.args[0]) for call in calls if ast.unparse(call.func).endswith("Decoder") and call.args}
        for call in calls:
            name = ast.unparse(call.func)
            if name.endswith("Decoder"):
                assert id(call) not in late, f"{name_of(path)} makes a decoder within a call, in line {call.lineno}"
            elif name.endswith("decode"):
                types = {ast.unparse(each.value) for each in call.keywords if each.arg == "type"}
                assert types <= plain | made, f"{name_of(path)} decodes {types}"
            elif name == "msgspec.convert" and path.parent.name != "web":  # There, types are those of requests.
                assert ast.unparse(call.args[1]) in plain | made, f"{name_of(path)}, line {call.lineno}"


PURE = {
    "signing": ("der", "envelope", "formats", "jwk", "jws", "keyring", "pbe", "pem", "rsa_numbers", "strength"),
    "passwords": ("characters", "costs", "devices", "foreign", "hashing", "names", "policy", "throttling"),
    "sql": (
        "arrow",
        "arrow_columns",
        "conversions",
        "dialects",
        "engines.mysql_types",
        "engines.sqlite_types",
        "imports",
        "paging",
        "saved",
        "statements",
        "values",
        "writers",
    ),
    "data": ("functions", "gate", "names", "plans", "ranges", "readers", "sources", "types"),
    "models": ("azureml", "batches", "content", "manifest", "onnx", "predictions", "tensors", "v2"),
    "blobs": ("conditions", "downloads", "formats", "listing", "media_types", "names", "shares", "summary"),
    "identity": (
        "callers",
        "issuers",
        "jwt",
        "limits",
        "passkeys",
        "recovery",
        "sessions",
        "sso",
        "tickets",
        "tokens",
        "totp",
        "wrong_codes",
    ),
    "console": ("serving",),
}
"""The modules that decide and do nothing else: callers pass in the clock and the randomness."""


PURE_NAMES = [f"{capability}.{module}" for capability in PURE for module in PURE[capability]]


@pytest.mark.parametrize("name", PURE_NAMES)
def test_pure_modules_use_no_clock_and_no_randomness(name: str) -> None:
    """A pure module reads no clock and draws no random bytes."""
    path = ROOT / "shared" / f"{name.replace('.', '/')}.py"
    tree = ast.parse(path.read_text())
    modules = {each.partition(".")[0] for each in imports_of(path)}
    assert not modules & {"random", "secrets", "time", "uuid"}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not attributes & {"now", "today", "urandom", "utcnow"}


def test_only_pure_modules_claim_to_be_pure() -> None:
    """A module whose docstring says that it is pure is on the list above."""
    claiming = {
        name_of(path).removeprefix("shared.")
        for path in SOURCES
        if re.search(r"\bPure\.", (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0])
    }
    assert claiming <= set(PURE_NAMES)


TESTED_THROUGH = {
    "sql.arrow_columns": "sql.arrow",
    "signing.jwk": "signing.formats",
    "signing.strength": "signing.formats",
    "passwords.foreign": "passwords.hashing",
}
"""Modules that the tests reach through the module that uses them."""


@cache
def fixtures() -> set[str]:
    """The names of all fixtures: those that start servers, and some that do not."""
    return {
        function.name
        for path in (ROOT / "tests").rglob("*.py")
        for function in functions_of(ast.parse(path.read_text()))
        if any("fixture" in ast.unparse(each) for each in function.decorator_list)
    }


@pytest.mark.parametrize("name", PURE_NAMES)
def test_pure_modules_have_tests_without_a_server(name: str) -> None:
    """A test without any fixture uses what it imports from the module."""
    module = f"shared.{TESTED_THROUGH.get(name, name)}"
    package, _, last = module.rpartition(".")
    for path in (ROOT / "tests" / name.partition(".")[0]).glob("test_*.py"):
        tree = ast.parse(path.read_text())
        imported = {
            each.asname or each.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for each in node.names
            if node.module == module or (node.module == package and each.name == last)
        }
        for function in functions_of(tree):
            arguments = {each.arg for each in (*function.args.args, *function.args.kwonlyargs)}
            used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
            if function.name.startswith("test_") and used & imported and not arguments & fixtures():
                return
    raise AssertionError(f"No test uses {module} without a server.")
