"""The local host runs wherever Python runs, and so does the app in it, but for engines in child processes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from .running import ROOT

SOURCES = sorted(
    [*(ROOT / "scripts" / "host").glob("*.py"), *(ROOT / "shared").rglob("*.py"), ROOT / "function_app.py"]
)
CHILDREN = {
    "data/child.py",
    "models/child.py",
    "sandbox/child.py",
    "sql/engines/parquet_child.py",
    "sql/engines/sqlite_child.py",
}
"""What runs in child processes, which `shared/sandbox/process.py` does not start on Windows."""
POSIX_MODULES = {"fcntl", "grp", "posix", "pwd", "resource", "termios", "uvloop"}
POSIX_NAMES = {
    "SIGALRM",
    "SIGXCPU",
    "SIGUSR2",
    "getrlimit",
    "SIGCHLD",
    "SIGHUP",
    "SIGKILL",
    "SIGUSR1",
    "chown",
    "fork",
    "getpgid",
    "getuid",
    "killpg",
}
POSIX_NAMES |= {
    "MSG_DONTWAIT",
    "SO_REUSEPORT",
    "add_signal_handler",
    "pthread_sigmask",
    "setitimer",
    "setsid",
    "waitpid",
}


def portable_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that depend on `sys.platform`."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If | ast.IfExp) and "sys.platform" in ast.unparse(child.test)):
            yield child
            yield from portable_nodes(child)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_in_it_is_posix_only(path: Path) -> None:
    """Outside child processes nothing uses a module or name that Python has on POSIX systems only."""
    if path.relative_to(ROOT).as_posix().removeprefix("shared/") in CHILDREN:
        return
    for node in portable_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not POSIX_MODULES & {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module not in POSIX_MODULES
        elif isinstance(node, ast.Attribute):
            assert node.attr not in POSIX_NAMES, f"{node.attr}, line {node.lineno}"
