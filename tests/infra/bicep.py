"""Runs the Bicep command line, and evaluates templates with it."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import ROOT

INFRA = ROOT / "infra"
TENANT = "11111111-1111-1111-1111-111111111111"
SUBSCRIPTION = "22222222-2222-2222-2222-222222222222"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
LOCATION = "westeurope"

Resource = dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """The result of evaluating a template with one set of parameters. Tests that change it copy it first."""

    resources: list[Resource]
    outputs: dict[str, Any]

    def of_type(self, kind: str) -> list[Resource]:
        return [resource for resource in self.resources if resource["type"] == kind]

    def only(self, kind: str) -> Resource:
        """The one resource of this type."""
        (found,) = self.of_type(kind)
        return found


def find_bicep() -> str | None:
    """The Bicep command line: BICEP, or `bicep` on the PATH."""
    return os.environ.get("BICEP") or shutil.which("bicep")


def run_bicep(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the Bicep command line. It unpacks itself into a folder, once, and may lack the libraries for languages."""
    bicep = find_bicep()
    assert bicep, "bicep is not on the PATH."
    environ = {"DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1", **os.environ}
    if not os.access(environ.get("HOME", ""), os.W_OK):
        environ.setdefault("DOTNET_BUNDLE_EXTRACT_BASE_DIR", str(ROOT / ".data" / "bicep"))
    return subprocess.run([bicep, *arguments], capture_output=True, text=True, env=environ, check=False)


def literal(value: object) -> str:
    """A value as Bicep writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${") + "'"
    if isinstance(value, list):
        return "[" + ", ".join(literal(each) for each in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {literal(each)}" for name, each in value.items()) + "}"
    raise TypeError(f"Not a parameter: {value!r}")


def evaluate(
    parameters: Mapping[str, object], folder: Path, template: Path = INFRA, deployment: str = "main"
) -> Snapshot:
    """Evaluate `main.bicep` in `template` for these parameters; `folder` is for its files.

    Raises AssertionError with Bicep's output if the template has errors or warnings, or refuses the parameters.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # `using` accepts only relative paths.
    lines = [f"using '{os.path.relpath(template / 'main.bicep', folder)}'"]
    lines += [f"param {name} = {literal(value)}" for name, value in parameters.items()]
    (folder / "parameters.bicepparam").write_text("\n".join(lines) + "\n")
    done = run_bicep(
        "snapshot",
        folder / "parameters.bicepparam",
        "--mode=overwrite",
        f"--tenant-id={TENANT}",
        f"--subscription-id={SUBSCRIPTION}",
        "--resource-group=rg",
        f"--location={LOCATION}",
        f"--deployment-name={deployment}",
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert not output.strip(), output
    snapshot = json.loads((folder / "parameters.snapshot.json").read_text())
    assert snapshot["diagnostics"] == [], snapshot["diagnostics"]
    return Snapshot(snapshot["predictedResources"], snapshot["outputs"])
