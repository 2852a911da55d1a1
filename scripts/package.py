"""Builds the deployment package: the files that .funcignore does not exclude. `python -m scripts.package [file]`.

Azure installs requirements.txt when it receives the zip (a remote build). The same files give the same bytes.
"""

import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = ROOT / ".data" / "strongroom.zip"
TIMESTAMP = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can contain, for every file."""


def read_patterns(text: str) -> list[str]:
    """The patterns of a .funcignore. Raises ValueError for syntax of gitignore that this parser does not support."""
    patterns = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    for pattern in patterns:
        if pattern.startswith("!") or "/" in pattern.removesuffix("/") or "**" in pattern:
            raise ValueError(
                f".funcignore: {pattern!r} is not supported: use names with * and ?, which match at any depth."
            )
    return patterns


def is_ignored(name: str, is_folder: bool, patterns: list[str]) -> bool:
    """Whether a file or folder of this name is excluded; a pattern with a slash at its end matches only folders."""
    return any(fnmatch(name, each.removesuffix("/")) for each in patterns if is_folder or not each.endswith("/"))


def files(root: Path, patterns: list[str]) -> list[Path]:
    """The files under `root` that are deployed, sorted by name."""
    included: list[Path] = []
    for path in sorted(root.iterdir()):
        if is_ignored(path.name, path.is_dir(), patterns):
            continue
        included += files(path, patterns) if path.is_dir() else [path]
    return included


def build(target: Path, root: Path = ROOT) -> list[str]:
    """Write the zip, and return the names in it."""
    patterns = read_patterns((root / ".funcignore").read_text())
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        for path in files(root, patterns):
            name = path.relative_to(root).as_posix()
            entry = zipfile.ZipInfo(name, TIMESTAMP)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            package.writestr(entry, path.read_bytes())
            names.append(name)
    return names


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    print("\n".join(build(target)))
    print(f"{target}: {target.stat().st_size} bytes")
