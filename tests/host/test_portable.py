"""The local host runs wherever Python runs."""

import ast
from pathlib import Path

import pytest

from .running import ROOT

SOURCES = sorted((ROOT / "scripts" / "host").glob("*.py"))
POSIX_MODULES = {"fcntl", "grp", "posix", "pwd", "resource", "termios", "uvloop"}
POSIX_NAMES = {"SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGUSR1", "chown", "fork", "getpgid", "getuid", "killpg"}
POSIX_NAMES |= {
    "MSG_DONTWAIT",
    "SO_REUSEPORT",
    "add_signal_handler",
    "pthread_sigmask",
    "setitimer",
    "setsid",
    "waitpid",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_in_it_is_posix_only(path: Path) -> None:
    """The local host uses no module or name that Python has on POSIX systems only."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not POSIX_MODULES & {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module not in POSIX_MODULES
        elif isinstance(node, ast.Attribute):
            assert node.attr not in POSIX_NAMES, node.attr
