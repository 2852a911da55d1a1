"""The documentation is true: the README's calls return the responses that it shows, and links have targets."""

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
    """The parts of a response that are the same in every call: names and types, and the length of lists."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value).__name__


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs curl and bash")
@pytest.mark.parametrize(("call", "response"), CALLS)
def test_calls_of_the_readme_return_what_it_shows(call: str, response: str, running_app: App, tmp_path: Path) -> None:
    """Each call of the README, pasted into a shell, returns the response below it, except for values that change."""
    (tmp_path / ".curlrc").write_text(
        f'silent\nnoproxy = "*"\nheader = "x-functions-key: {running_app.function_key}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", call.replace("http://localhost:7071", running_app.url)],
        capture_output=True,
        text=True,
        check=True,
        env={**clean_environ(), "CURL_HOME": str(tmp_path)},
        timeout=60,
    )
    actual, expected = json.loads(done.stdout), json.loads(response)
    assert shape(actual) == shape(expected)
    if "code" in expected:  # A problem has no value that changes.
        assert actual == expected


def test_the_readme_shows_six_calls_and_a_mistake() -> None:
    """The README shows a call of each capability that needs no set-up, and the response to a mistake."""
    assert len(CALLS) == 7


def headings_of(text: str) -> set[str]:
    """The anchors of a Markdown text's headings."""
    return {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in re.findall(r"^#+ (.*)$", text, re.M)}


GUIDES = sorted([*ROOT.glob("*.md"), ROOT / "infra" / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(guide: Path) -> None:
    """Every file and every heading that a guide links to exists."""
    for target in re.findall(r"\]\(([^)\s]+)\)", guide.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (guide.parent / path) if path else guide
        assert linked.exists(), target
        assert not anchor or anchor in headings_of(linked.read_text()), target
