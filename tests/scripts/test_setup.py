"""What the set-up installs, with the real npm and packages from folders instead of the registry."""

import fcntl
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import setup
from tests.support import ROOT, clean_environ

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one dependency, `runs`, and one development dependency, `checks`."""
    for name in ("runs", "checks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "package.json").write_text(json.dumps({"name": name, "version": "1.0.0"}))
    (tmp_path / ".data").mkdir()
    (tmp_path / ".npmrc").write_text("install-links=true\n")  # Copies, as from a registry.
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    _lock(tmp_path, "1.0.0")
    return tmp_path


def _lock(project: Path, version: str) -> None:
    package = {"name": "project", "version": version, "dependencies": {"runs": "file:runs"}}
    (project / "package.json").write_text(json.dumps(package | {"devDependencies": {"checks": "file:checks"}}))
    command = ["npm", "install", "--package-lock-only", "--ignore-scripts", "--loglevel=error", "--offline"]
    subprocess.run(command, cwd=project, check=True, capture_output=True)


def _installed(project: Path) -> set[str]:
    return {path.name for path in (project / "node_modules").iterdir() if path.is_dir() and path.name[0] != "."}


def test_start_installs_what_it_runs(project: Path) -> None:
    """`make start` installs the dependencies, and no development package."""
    setup.install_npm_packages(development=False)
    assert _installed(project) == {"runs"}


def test_tests_after_start(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests after a start add the development packages, also under NODE_ENV=production, and replace no file."""
    setup.install_npm_packages(development=False)
    binary = project / "node_modules" / "runs" / "binary"  # As Core Tools download one.
    binary.write_text("x")
    monkeypatch.setenv("NODE_ENV", "production")
    lock = (project / "package-lock.json").read_bytes()
    setup.install_npm_packages(development=True)
    assert _installed(project) == {"runs", "checks"}
    assert binary.exists()
    assert (project / "package-lock.json").read_bytes() == lock


def test_start_after_tests(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start after tests installs nothing, so npm is not even needed, and removes nothing."""
    setup.install_npm_packages(development=True)
    monkeypatch.setenv("PATH", "")
    setup.install_npm_packages(development=False)
    setup.install_npm_packages(development=True)
    assert _installed(project) == {"runs", "checks"}


def test_changed_lock_file(project: Path) -> None:
    """After a change of the lock file, a start updates the development packages, too, where they are installed."""
    setup.install_npm_packages(development=True)
    _lock(project, "2.0.0")
    setup.install_npm_packages(development=False)
    assert _installed(project) == {"runs", "checks"}
    stamp = json.loads((project / "node_modules" / "strongroom.json").read_text())
    assert stamp["dependencies"] == stamp["devDependencies"]


def test_failed_installation_of_development_packages(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If npm cannot add the development packages, one line says so, and a start still finds what it runs."""
    setup.install_npm_packages(development=False)
    shutil.rmtree(project / "checks")
    with pytest.raises(SystemExit):
        setup.install_npm_packages(development=True)
    line = "Could not install Azurite and the development packages (npm): see the log (full output: .data/npm.log).\n"
    assert capsys.readouterr().err == line
    setup.install_npm_packages(development=False)
    assert _installed(project) == {"runs"}


def test_read_only_home(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a writable home folder, npm has its cache in .data."""
    home = project / "home"
    home.write_text("Nobody, not even root, can write into a file.")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("npm_config_cache", raising=False)
    setup.install_npm_packages(development=True)
    assert _installed(project) == {"runs", "checks"}
    assert (project / ".data" / "npm-cache").is_dir()


def test_another_python_while_the_app_runs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A command of another Python does not remove the packages of a running app; it says that the app runs."""
    folder = project / ".venv"
    folder.mkdir()
    (folder / "strongroom.json").write_text('{"interpreter": "another"}')
    with (project / ".data" / "lock").open("w") as lock:
        lock.write("start: process 1")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SystemExit):
            setup.create_venv(folder, ())
    assert capsys.readouterr().err.startswith(
        "This checkout is running already (start: process 1), with another Python"
    )
    assert (folder / "strongroom.json").exists()
    setup.create_venv(folder, ())
    assert (folder / "bin" / "python").exists()


@pytest.mark.parametrize("script", ["scripts.setup", "scripts.start"])
def test_ctrl_c_while_a_script_loads(script: str, tmp_path: Path) -> None:
    """Ctrl-C while the first modules load ends the script at once, without a traceback."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class PressCtrlC:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'fcntl':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, PressCtrlC())\n"
    )
    command = [sys.executable, "-m", script, ".venv", "start"]
    environ = clean_environ() | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")
