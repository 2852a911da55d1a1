"""The project's own files agree with each other: continuous integration, versions, hooks and decisions."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT, clean_environ

WORKFLOW = ROOT / ".github" / "workflows" / "azure-dev.yml"


def _run_ci(
    folder: Path, *parts: str, programs: tuple[str, ...] = (), then: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run .ci/run with a make that only prints its arguments and CI and runs `then`, and with only these programs."""
    (folder / "make").write_text(f'#!/bin/sh\necho "make $* CI=$CI"\n{then}\n')
    (folder / "make").chmod(0o755)
    for name in ("bash", "dirname", "env", "python3", "sh", *programs):
        path = shutil.which(name)
        assert path, name
        (folder / name).symlink_to(path)
    environ = {name: value for name, value in clean_environ().items() if name != "CI"} | {"PATH": str(folder)}
    command = [str(ROOT / ".ci" / "run"), *parts]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


def test_ci_runs_without_apt(tmp_path: Path) -> None:
    """Without apt-get, .ci/run installs nothing, says so, and runs the parts in order; missing programs are skipped."""
    done = _run_ci(tmp_path, "lint", "test", "infra")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line.startswith("make")]
    assert lines == ["make lint CI=", "make test CI=", "make infra CI="]
    assert "apt-get is not available: not installing postgresql mariadb-server" in done.stdout


@pytest.mark.parametrize(("still_failing", "status"), [("exit 0", 0), ("exit 2", 2)])
def test_ci_runs_failed_tests_once_more(tmp_path: Path, still_failing: str, status: int) -> None:
    """Failed tests run once more, one at a time, and their second result decides; nothing follows a second failure."""
    fails = f'case "$*" in *last-failed*) {still_failing};; test*) exit 2;; esac'
    done = _run_ci(tmp_path, "test", "infra", then=fails)
    assert done.returncode == status
    again = "make test TESTS=-n 0 --last-failed --last-failed-no-failures none CI="
    lines = [line for line in done.stdout.splitlines() if line.startswith("make")]
    assert lines == ["make test CI=", again] + ["make infra CI="] * (not status)


def test_ci_names_an_unknown_part(tmp_path: Path) -> None:
    """.ci/run refuses an unknown part with status 2."""
    done = _run_ci(tmp_path, "tests")
    assert done.returncode == 2
    assert done.stderr == "Unknown part tests: use lint, test, test-newest or infra.\n"


def test_the_workflow_checks_with_ci_run_alone() -> None:
    """The jobs before the deployment call .ci/run with parts that exist; they run no make and no apt-get."""
    checks = WORKFLOW.read_text().partition("\n  deploy:")[0]
    parts = re.findall(r"run: \.ci/run ([\w -]+)\n", checks)
    assert {part for each in parts for part in each.split()} == {"lint", "test", "infra"}
    assert not re.search(r"run:.*\b(make|apt-get|pytest)\b", checks)


def test_tests_install_nothing_system_wide() -> None:
    """Only .ci/run installs packages of the system; no test and no script does."""
    for folder in ("tests", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not re.search(r'"apt-get",\s*"install"', path.read_text()), path


def test_one_version_of_azurite() -> None:
    """package.json, its lock file, compose.yaml, the devcontainer and the docs have the same version of Azurite."""
    version = json.loads((ROOT / "package.json").read_text())["dependencies"]["azurite"]
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert lock["packages"]["node_modules/azurite"]["version"] == version
    named = [
        ROOT / "compose.yaml",
        *(ROOT / ".devcontainer").glob("*"),
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
    ]
    versions = [each for path in named for each in re.findall(r"(?i)azurite[@: ]v?(\d+\.\d+\.\d+)", path.read_text())]
    assert set(versions) == {version}


DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
SECTIONS = ["## Context", "## Decision", "## Rejected alternatives", "## Consequences"]


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name)
def test_decisions_follow_the_template(path: Path) -> None:
    """Every decision has the template's sections, its file's number, a date, and the status that the index gives."""
    text = path.read_text()
    head = re.match(
        r"# (\d+)\. (.+)\n\n- Status: (accepted|proposed|superseded by \[\d+\]\(\S+\))"
        r"(?:; supersedes \S+(?: and \S+)*)?\n"
        r"- Date: [\d-]{10}\n",
        text,
    )
    assert head, "the head is not the template's"
    number, title, status = head.groups()
    assert path.name.startswith(f"{int(number):04d}-")
    assert re.findall(r"^## .*$", text, re.M) == SECTIONS
    row = f"| {number} | [{title}]({path.name}) | {status} |"
    assert row in (path.parent / "README.md").read_text().splitlines(), f"the index needs the row {row}"


def test_the_template_has_the_sections() -> None:
    """The template itself has the sections that the tests require."""
    text = (ROOT / "docs" / "decisions" / "template.md").read_text()
    assert re.findall(r"^## .*$", text, re.M) == SECTIONS


def test_the_changelog_has_the_usual_categories() -> None:
    """CHANGELOG.md has the versions and categories of Keep a Changelog, in its order."""
    order = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    versions = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    assert versions[0].startswith("[Unreleased]\n")
    for version in versions:
        assert re.match(r"\[(Unreleased|\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d$)", version, re.MULTILINE), version[:40]
        categories = re.findall(r"^### (.*)$", version, re.MULTILINE)
        assert categories == [each for each in order if each in categories]


def test_pre_commit_runs_the_commands_of_make_lint() -> None:
    """Each command of `make lint` is the entry of one local hook, so that both check the same."""
    makefile = (ROOT / "Makefile").read_text()
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert lint
    commands = [line.removeprefix("\t@$(RUN) ").removesuffix(" .") for line in lint[1].splitlines()]
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"entry: \.venv/bin/python (.*)", hooks) == commands
    assert re.findall(r"repo: (.*)", hooks) == ["local"]


def test_the_threat_model_names_tests_that_exist() -> None:
    """Every test that docs/threat-model.md cites is defined in the file that it names."""
    cited = re.findall(r"`([\w/]+\.py)::(test_\w+)`", (ROOT / "docs" / "threat-model.md").read_text())
    assert cited
    for file, test in cited:
        assert f"\ndef {test}(" in (ROOT / "tests" / file).read_text(), f"{file}::{test}"


def test_the_benchmarks_page_names_benchmarks_that_exist() -> None:
    """Every figure of docs/benchmarks.md has a command, and its benchmark exists."""
    rows = re.findall(r"^\| (.*?) \|", (ROOT / "docs" / "benchmarks.md").read_text(), re.MULTILINE)
    commands = [row for row in rows if row not in ("command", "---")]
    assert commands
    for command in commands:
        name = re.fullmatch(r"`bench (\w+)`", command)
        assert name, command
        assert (ROOT / "bench" / f"{name[1]}.py").exists(), command


def test_the_devcontainer_runs_scripts_that_exist() -> None:
    """The devcontainer is JSON with comments, has a Node that installs Core Tools, and runs scripts of this project."""
    lines = (ROOT / ".devcontainer" / "devcontainer.json").read_text().splitlines()
    container = json.loads("\n".join(line for line in lines if not line.strip().startswith("//")))
    assert int(container["features"]["ghcr.io/devcontainers/features/node:1"]["version"]) >= 22
    for command in ("postCreateCommand", "postStartCommand"):
        script, part = container[command].split()
        assert f"  {part})\n" in (ROOT / script).read_text()
