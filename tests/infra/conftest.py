"""Evaluates the templates once per test run, two at a time."""

import json
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .bicep import INFRA, Snapshot, evaluate, find_bicep, run_bicep
from .cases import CASES, Case


@pytest.fixture(scope="session")
def bicep() -> None:
    """Skips tests that need the Bicep command line, except in `make infra`, which has checked that it is installed."""
    if "INFRA_CHECKED" not in os.environ:
        pytest.skip("`make infra` evaluates the templates")
    assert find_bicep() is not None, "bicep is not on the PATH"


@pytest.fixture(scope="session")
def twice(
    bicep: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Future[Snapshot], Future[Snapshot]]]:
    """Every case, evaluated in two deployments of different names."""
    folder = tmp_path_factory.mktemp("snapshots")

    def one(case: Case, deployment: str) -> Snapshot:
        parameters = {"environmentName": "test", **case.parameters}
        return evaluate(parameters, folder / deployment / str(CASES.index(case)), deployment=deployment)

    pool = ThreadPoolExecutor(2)
    first = [pool.submit(one, case, "first") for case in CASES]
    second = [pool.submit(one, case, "second") for case in CASES]
    pool.shutdown(wait=False)
    return {case.name: (first[index], second[index]) for index, case in enumerate(CASES)}


@pytest.fixture(scope="session")
def snapshot_of(twice: dict[str, tuple[Future[Snapshot], Future[Snapshot]]]) -> Callable[[str], Snapshot]:
    """The snapshot of a case, by its name."""
    return lambda name: twice[name][0].result()


@pytest.fixture(scope="session")
def compiled(bicep: None) -> dict[str, Any]:
    """The template as JSON, as Azure Resource Manager gets it."""
    built = run_bicep("build", INFRA / "main.bicep", "--stdout")
    assert built.returncode == 0
    assert not built.stderr.strip(), built.stderr
    template: dict[str, Any] = json.loads(built.stdout)
    return template


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A folder for a copy of the templates."""
    return tmp_path / "infra"
