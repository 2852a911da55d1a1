"""Builds the zip that is deployed: what .funcignore leaves of this folder. `python -m scripts.package [file]`.

Azure installs requirements.txt when it takes the zip (a remote build). The same files make the same bytes.
"""

import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT = ROOT / ".data" / "strongroom.zip"
WHEN = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold, for every file."""


def read_patterns(text: str) -> list[str]:
    """The patterns of a .funcignore. Raises ValueError for the parts of gitignore's language that are not read here."""
    patterns = [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]
    for pattern in patterns:
        if pattern.startswith("!") or "/" in pattern.removesuffix("/") or "**" in pattern:
            raise ValueError(f".funcignore: {pattern!r} is more than a name, at any depth, with * and ?.")
    return patterns


def is_ignored(name: str, is_folder: bool, patterns: list[str]) -> bool:
    """Whether a file or folder of this name stays out; a pattern that ends in a slash is for folders alone."""
    return any(fnmatch(name, each.removesuffix("/")) for each in patterns if is_folder or not each.endswith("/"))


def files(root: Path, patterns: list[str]) -> list[Path]:
    """The files under `root` that are deployed, in the order of their names."""
    found: list[Path] = []
    for path in sorted(root.iterdir()):
        if is_ignored(path.name, path.is_dir(), patterns):
            continue
        found += files(path, patterns) if path.is_dir() else [path]
    return found


def build(target: Path, root: Path = ROOT) -> list[str]:
    """Write the zip, and give the names in it."""
    patterns = read_patterns((root / ".funcignore").read_text())
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        for path in files(root, patterns):
            name = path.relative_to(root).as_posix()
            entry = zipfile.ZipInfo(name, WHEN)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            package.writestr(entry, path.read_bytes())
            names.append(name)
    return names


if __name__ == "__main__":
    to = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    print("\n".join(build(to)))
    print(f"{to}: {to.stat().st_size} bytes")
