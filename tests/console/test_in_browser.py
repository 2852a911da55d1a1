"""The checks of the console in a real browser, one test each. They are in checks/*.mjs, by subject."""

import re
from pathlib import Path

import pytest

from tests.console.conftest import RunCheck

CHECKS = [
    (path, title.replace("\\'", "'"))
    for path in sorted((Path(__file__).parent / "checks").glob("*.mjs"))
    for title in re.findall(r"^check\('((?:[^'\\]|\\.)+)'", path.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize(("path", "title"), CHECKS, ids=[f"{path.stem}: {title}" for path, title in CHECKS])
def test_the_console(path: Path, title: str, run_check: RunCheck) -> None:
    """The fact that the check's title states holds in the browser."""
    run_check(path, title)
