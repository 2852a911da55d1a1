"""Builds the deployment package: the files that .funcignore does not exclude. `python -m scripts.package [file]`.

Azure installs requirements.txt when it receives the zip (a remote build). The same files give the same bytes.

The package also has the app's bytecode for the Python that Azure runs, where that Python is installed here: without it,
each cold start compiles every module. The bytecode is bound to no timestamp, because the zip and Azure change those.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = ROOT / ".data" / "strongroom.zip"
TIMESTAMP = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can contain, for every file."""
PYTHON = "3.13"
"""The Python that Azure runs: `PYTHON_VERSION` in infra/."""
APP_FOLDER = "/home/site/wwwroot"
"""The app's folder in Azure, which tracebacks name."""


def read_patterns(text: str) -> list[str]:
    """The patterns of a .funcignore. Raises ValueError for syntax of gitignore that this parser does not support."""
    patterns = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    for pattern in patterns:
        if pattern.startswith("!") or "/" in pattern.removeprefix("/").removesuffix("/") or "**" in pattern:
            raise ValueError(
                f".funcignore: {pattern!r} is not supported: use names with * and ?, which match at any depth, or at "
                "the root alone with a slash at the beginning."
            )
    return patterns


def is_ignored(name: str, is_folder: bool, patterns: list[str], *, at_root: bool) -> bool:
    """Whether a file or folder of this name is excluded.

    A pattern with a slash at its end matches only folders, one with a slash at its beginning only at the root.
    """
    return any(
        fnmatch(name, each.strip("/"))
        for each in patterns
        if (is_folder or not each.endswith("/")) and (at_root or not each.startswith("/"))
    )


def files(root: Path, patterns: list[str], *, at_root: bool = True) -> list[Path]:
    """The files under `root` that are deployed, sorted by name."""
    included: list[Path] = []
    for path in sorted(root.iterdir()):
        if is_ignored(path.name, path.is_dir(), patterns, at_root=at_root):
            continue
        included += files(path, patterns, at_root=False) if path.is_dir() else [path]
    return included


def find_python() -> str | None:
    """Azure's version of Python: this one, or one on the PATH or among pyenv's. None if there is none."""
    if sys.version_info[:2] == tuple(map(int, PYTHON.split("."))):
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{PYTHON}"), *sorted(map(str, pyenv.glob(f"{PYTHON}*/bin/python{PYTHON}")))]
    for candidate in filter(None, candidates):
        # pyenv puts a command on the PATH even for versions that it does not run.
        shown = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
        if shown.returncode == 0 and shown.stdout.startswith(f"Python {PYTHON}."):
            return candidate
    return None


def write_bytecode(python: str, folder: Path) -> None:
    """Compile the app in `folder`, by this Python. The bytecode is used without a look at its source ("unchecked")."""
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", APP_FOLDER]
    subprocess.run([python, "-I", "-m", "compileall", *options, str(folder)], check=True)


def build(target: Path, root: Path = ROOT) -> list[str]:
    """Write the zip, and return the names in it."""
    patterns = read_patterns((root / ".funcignore").read_text())
    python = find_python()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = []
    with tempfile.TemporaryDirectory() as copied, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        folder = Path(copied)
        for path in files(root, patterns):
            copy = folder / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        if python:
            write_bytecode(python, folder)
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            name = path.relative_to(folder).as_posix()
            entry = zipfile.ZipInfo(name, TIMESTAMP)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            package.writestr(entry, path.read_bytes())
            names.append(name)
    return names


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    names = build(target)
    print("\n".join(names))
    if not any(name.endswith(".pyc") for name in names):
        print(f"Python {PYTHON} is not installed here, so the package has no bytecode: cold starts take longer.")
    print(f"{target}: {target.stat().st_size} bytes")
