"""Runs the benchmarks: all of them, or those named, as in `python -m bench index calls`."""

import importlib
import pkgutil
import platform
import sys
from pathlib import Path

import bench

_HELPERS = {"__main__", "report", "datasette"}


def main() -> None:
    """Print each figure as it is measured."""
    known = [each.name for each in pkgutil.iter_modules(bench.__path__) if each.name not in _HELPERS]
    chosen = sys.argv[1:] or known
    if unknown := set(chosen) - set(known):
        sys.exit(f"Unknown benchmark {', '.join(sorted(unknown))}. Choose from {', '.join(known)}.")
    print(f"Python {platform.python_version()}, {platform.machine()}, {Path.cwd().name}; medians, in turns", flush=True)
    for name in chosen:
        print(f"\n{name}", flush=True)
        for figure in importlib.import_module(f"bench.{name}").run():
            print(f"  {figure}", flush=True)


if __name__ == "__main__":
    main()
