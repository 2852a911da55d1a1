"""docs/models.md: every call and program in it works on the sample data."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support import App, clean_environ

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "models.md").read_text()
CALLS = re.findall(r"```sh\n(curl .*)\n```", PAGE)
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("call", CALLS)
def test_a_call_works(call: str, models_app: App) -> None:
    """Each curl line succeeds."""
    command = call.replace("localhost:7071", models_app.url).replace(
        "curl ", f'curl -sS --fail-with-body --noproxy "*" -H "x-functions-key: {models_app.function_key}" ', 1
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("program", PROGRAMS, ids=["scikit-learn", "tritonclient"])
def test_a_program_works(program: str, models_app: App) -> None:
    """Each program runs as it is printed, and prints predictions."""
    assert program.isascii(), "A header has only ASCII."
    adapted = (
        program.replace("http://localhost:7071", models_app.url)
        .replace("localhost:7071", urlsplit(models_app.url).netloc)
        .replace('"your-key"', f'"{models_app.function_key}"')
    )
    done = subprocess.run(
        [sys.executable, "-c", adapted], env=clean_environ(), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if "Barolo" in program:
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["Barolo", "Grignolino", "Grignolino"]


def test_twenty_lines_are_enough() -> None:
    """The program that trains, converts, saves and predicts has at most twenty lines of code."""
    assert len([line for line in PROGRAMS[0].splitlines() if line.strip()]) <= 20
