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
@pytest.mark.parametrize(("call", "response"), CALLS)
def test_a_call_of_the_readme_answers_as_it_says(call: str, response: str, running_app: App, tmp_path: Path) -> None:
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
    assert shape(json.loads(ran.stdout)) == shape(json.loads(response))


def test_the_readme_shows_five_calls_and_a_mistake() -> None:
    """The README shows a call of each capability, and what a mistake is answered with."""
    assert len(CALLS) == 6


def headings_of(text: str) -> set[str]:
    """The anchors of a Markdown text's headings."""
    return {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in re.findall(r"^#+ (.*)$", text, re.M)}


GUIDES = sorted([*ROOT.glob("*.md"), ROOT / "infra" / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(guide: Path) -> None:
    """Every file and every heading that a guide links to is there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", guide.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (guide.parent / path) if path else guide
        assert linked.exists(), target
        assert not anchor or anchor in headings_of(linked.read_text()), target


def test_the_table_of_functions_is_complete() -> None:
    """Every function of the app stands in the README."""
    from shared.app import build

    for route in build({}).routes:
        assert f"`{route.name}`" in README, route.name
