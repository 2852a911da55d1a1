"""The README is true: its calls answer as it says, and what it points at is there."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import App, clean_environ

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
CALLS = re.findall(r"```sh\n((?:(?!```).*\n)*curl .*\n)```\n```json\n(.*)\n```", README)


def shape(value: Any) -> Any:
    """What stays the same from call to call: names and types, and how many items a list has."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value).__name__


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs curl and bash")
@pytest.mark.parametrize(("call", "answer"), CALLS)
def test_a_call_of_the_readme_answers_as_it_says(call: str, answer: str, running_app: App, tmp_path: Path) -> None:
    """Each call that the README shows, pasted into a shell, answers what stands below it, but for what changes."""
    (tmp_path / ".curlrc").write_text(
        f'silent\nnoproxy = "*"\nheader = "x-functions-key: {running_app.function_key}"\n'
    )
    ran = subprocess.run(
        ["bash", "-c", call.replace("http://localhost:7071", running_app.url)],
        capture_output=True,
        text=True,
        check=True,
        env={**clean_environ(), "CURL_HOME": str(tmp_path)},
        timeout=60,
    )
    assert shape(json.loads(ran.stdout)) == shape(json.loads(answer))


def test_the_readme_shows_five_calls_and_a_mistake() -> None:
    """The README shows a call of each capability, and what a mistake is answered with."""
    assert len(CALLS) == 6


def test_links_lead_somewhere() -> None:
    """Every file and every heading that the README links to is there."""
    headings = {
        re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in re.findall(r"^#+ (.*)$", README, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in headings
        elif not target.startswith("https://"):
            assert (ROOT / target).exists(), target


def test_the_table_of_functions_is_complete() -> None:
    """Every function of the app stands in the README."""
    from shared.app import build
    from shared.settings import load_settings

    for route in build(load_settings({})).routes:
        assert f"`{route.name}`" in README, route.name
