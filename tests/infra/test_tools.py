"""Other tools check templates, package and pipeline. `make infra` runs them; elsewhere these tests are skipped."""

import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.package import build
from tests.support import ROOT

from .bicep import INFRA, Snapshot, run_bicep
from .cases import CASES

TEMPLATES = sorted(INFRA.rglob("*.bicep"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CLOUD_INIT = INFRA / "modules" / "hosting" / "cloud-init.yaml"
BIN = ROOT / ".venv-infra" / "bin"

LINT_RULES_OFF = {"use-description-vars", "what-if-short-circuiting"}
"""Rules of bicepconfig.json that are off, with their reasons there."""

CHECKOV_SAYS = {
    # The network rules close it, and privateNetwork and privateSite remove its public endpoint.
    ("CKV_AZURE_59", "Microsoft.Storage/storageAccounts"),
    ("CKV_AZURE_189", "Microsoft.KeyVault/vaults"),
    ("CKV_AZURE_222", "Microsoft.Web/sites"),
    # The check demands access for Microsoft's services; the app needs none of them.
    ("CKV_AZURE_36", "Microsoft.Storage/storageAccounts"),
    # The check requires a copy in another region: set storageRedundancy.
    ("CKV_AZURE_206", "Microsoft.Storage/storageAccounts"),
    # The check requires a hardware security module: set vaultSku.
    ("CKV_AZURE_112", "Microsoft.KeyVault/vaults/keys"),
    # Flex Consumption scales by itself; it refuses ftpsState, and the policy `ftp` closes that way in.
    ("CKV_AZURE_225", "Microsoft.Web/serverfarms"),
    ("CKV_AZURE_212", "Microsoft.Web/sites"),
    ("CKV_AZURE_78", "Microsoft.Web/sites"),
    # The case sets purgeProtection=false.
    ("CKV_AZURE_42", "Microsoft.KeyVault/vaults"),
    ("CKV_AZURE_110", "Microsoft.KeyVault/vaults"),
    # Backups stay in the region, and the disk has Microsoft's key: the alternatives cost more.
    ("CKV_AZURE_94", "Microsoft.DBforMySQL/flexibleServers"),
    ("CKV_AZURE_96", "Microsoft.DBforMySQL/flexibleServers"),
    # Public except with privateNetwork, and sign-in is required; Defender sells scanning and quarantine separately.
    ("CKV_AZURE_139", "Microsoft.ContainerRegistry/registries"),
    ("CKV_AZURE_163", "Microsoft.ContainerRegistry/registries"),
    ("CKV_AZURE_166", "Microsoft.ContainerRegistry/registries"),
    # The machine's agent runs deploy.sh.
    ("CKV_AZURE_50", "Microsoft.Compute/virtualMachines"),
    # Callers have function keys, and optionally Entra ID; not certificates.
    ("CKV_AZURE_17", "Microsoft.Web/sites"),
    # The check looks for a site's settings in its sign-in resource.
    ("CKV_AZURE_13", "Microsoft.Web/sites/config"),
    ("CKV_AZURE_63", "Microsoft.Web/sites/config"),
    ("CKV_AZURE_65", "Microsoft.Web/sites/config"),
    ("CKV_AZURE_66", "Microsoft.Web/sites/config"),
    ("CKV_AZURE_80", "Microsoft.Web/sites/config"),
    ("CKV_AZURE_88", "Microsoft.Web/sites/config"),
    ("CKV_AZURE_222", "Microsoft.Web/sites/config"),
}
"""Findings of checkov that are intended."""

DOCTOR_WARNS = {
    "check_unused_files": "it finds __pycache__; the package contains bytecode, for a faster start",
    "check_programming_model_v2": "it looks for @app; the app registers its functions from a table, by the same calls",
    "check_funcignore": "it stands beside the package, and not in it",
    "check_native_dependency_risk": "Azure builds the requirements itself (remoteBuild)",
    "check_app_insights": "the template sets it, not local.settings.json",
    "check_extension_bundle": "HTTP and timer triggers need no extensions",
    "check_extension_bundle_v4": "HTTP and timer triggers need no extensions",
}
"""Warnings of azure-functions-doctor, with the reason why each is right."""


def tool(name: str) -> str:
    """The path of a tool that `make infra` installs; skips elsewhere."""
    if "INFRA_CHECKED" not in os.environ:
        pytest.skip(f"`make infra` runs {name}")
    assert (BIN / name).exists(), f"{name} is not installed"
    return str(BIN / name)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool in the project's folder."""
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_nothing_to_say(bicep: None) -> None:
    """The compiler and the linter report no error and no warning for main.bicep, which leads to every other file."""
    reached, waiting = set(), [INFRA / "main.bicep"]
    while waiting:
        path = waiting.pop()
        reached.add(path)
        named = re.findall(r"^(?:module|import) .*'([\w./-]+\.bicep)'", path.read_text(), re.MULTILINE)
        waiting += {(path.parent / name).resolve() for name in named} - reached
    assert reached == set(INFRA.rglob("*.bicep"))
    done = run_bicep("lint", INFRA / "main.bicep")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_formatted(bicep: None, tmp_path: Path) -> None:
    """`bicep format` would change nothing."""
    shutil.copytree(INFRA, tmp_path / "infra")
    done = run_bicep("format", "--pattern", f"{tmp_path}/infra/**/*.bicep")
    assert done.returncode == 0, done.stderr
    for path in TEMPLATES:
        assert (tmp_path / "infra" / path.relative_to(INFRA)).read_text() == path.read_text(), path


def test_every_rule_is_an_error() -> None:
    """Every rule of the linter is an error, except the named ones."""
    config = re.sub(r"^\s*//.*$", "", (INFRA / "bicepconfig.json").read_text(), flags=re.MULTILINE)
    rules = json.loads(config)["analyzers"]["core"]["rules"]
    assert {name for name, rule in rules.items() if rule["level"] != "error"} == LINT_RULES_OFF
    off = [line for path in TEMPLATES for line in path.read_text().splitlines() if "#disable" in line]
    assert set(off) == {"#disable-next-line use-recent-api-versions"}
    for path in TEMPLATES:
        assert len(re.findall(r"// \S.*\n#disable", path.read_text())) == path.read_text().count("#disable")


def test_checkov_finds_nothing_new(snapshot_of: Callable[[str], Snapshot], tmp_path: Path) -> None:
    """checkov finds exactly the intended findings in the evaluated resources of all cases.

    It reads the evaluated resources as a Resource Manager template: it cannot parse Bicep with imports.
    """
    checkov = tool("checkov")
    schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    for index, case in enumerate(CASES):
        template = {"$schema": schema, "contentVersion": "1.0.0.0", "resources": snapshot_of(case.name).resources}
        (tmp_path / f"{index}.json").write_text(json.dumps(template, indent=1))
    done = run(checkov, "-d", tmp_path, "--framework", "arm", "--skip-download", "--output", "json")
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 25 * len(CASES)
    failed = {(check["check_id"], check["resource"].rpartition(".")[0]) for check in report["results"]["failed_checks"]}
    assert failed == CHECKOV_SAYS


def test_the_doctor_is_content(tmp_path: Path) -> None:
    """azure-functions-doctor reports no failure in the package, and only the named warnings."""
    doctor = tool("azure-functions-doctor")
    build(tmp_path / "package.zip")
    with zipfile.ZipFile(tmp_path / "package.zip") as package:
        package.extractall(tmp_path / "app")
    done = run(doctor, "doctor", "--path", tmp_path / "app", "--profile", "deploy", "--format", "json")
    items = [item for section in json.loads(done.stdout)["results"] for item in section["items"]]
    assert len(items) > 10
    assert [item for item in items if item["status"] not in ("pass", "warn", "skip")] == []
    assert {item["rule_id"] for item in items if item["status"] == "warn"} <= set(DOCTOR_WARNS)


def test_the_dockerfile_is_clean() -> None:
    """hadolint finds nothing in the Dockerfile, and checkov only that its base is an argument, which has a tag."""
    done = run(tool("hadolint"), ROOT / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    done = run(tool("checkov"), "-f", "Dockerfile", "--framework", "dockerfile", "--skip-download", "--output", "json")
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 20
    assert {check["check_id"] for check in report["results"]["failed_checks"]} == {"CKV_DOCKER_7"}


def test_the_compose_file_is_clean() -> None:
    """The compose file is valid, and compose-lint reports only the missing digest of Azurite's image."""
    schema = run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml")
    assert schema.returncode == 0, schema.stdout
    done = run(tool("compose-lint"), "compose.yaml")
    assert done.returncode == 0, done.stdout
    assert set(re.findall(r"CL-\d+", done.stdout.partition("Details on")[0])) == {"CL-0019"}


def test_nothing_of_compose_is_published() -> None:
    """Only the app has a port, only on this machine; all services are read-only, without added privileges."""
    text = (ROOT / "compose.yaml").read_text()
    services = re.split(
        r"^  (?=[\w-]+:$)", text.partition("services:\n")[2].partition("\nvolumes:")[0], flags=re.MULTILINE
    )
    assert len(services) == 4
    for service in services[1:]:
        for line in ("read_only: true", "cap_drop: [ALL]", 'security_opt: ["no-new-privileges:true"]'):
            assert service.count(line) == 1
    assert re.findall(r"ports: (.*)", text) == ['["127.0.0.1:7071:8080"]']


def test_cloud_init_takes_the_machines_first_data(tmp_path: Path) -> None:
    """cloud-init's own schema check finds nothing in the file, and would find a mistake."""
    python = tool("python")
    got = subprocess.run(["apt-get", "download", "cloud-init"], capture_output=True, check=False, cwd=tmp_path)
    packages = list(tmp_path.glob("cloud-init_*.deb"))
    if got.returncode or not packages:
        pytest.skip("cloud-init cannot be had: apt-get download does not give it")
    subprocess.run(["dpkg-deb", "-x", packages[0], tmp_path / "unpacked"], check=True)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "unpacked/usr/lib/python3/dist-packages")}
    check = [python, "-m", "cloudinit.cmd.main", "schema", "--config-file"]
    good = subprocess.run([*check, CLOUD_INIT], capture_output=True, text=True, check=False, env=environ)
    assert good.stdout.startswith("Valid"), good.stdout + good.stderr
    (tmp_path / "bad.yaml").write_text(CLOUD_INIT.read_text().replace("path:", "pat:"))
    bad = subprocess.run([*check, tmp_path / "bad.yaml"], capture_output=True, text=True, check=False, env=environ)
    assert bad.returncode != 0
    assert "'path' is a required property" in bad.stdout + bad.stderr


def test_the_machines_scripts_are_clean(tmp_path: Path) -> None:
    """shellcheck finds nothing in the scripts of a deployment, of continuous integration and of the devcontainer."""
    shellcheck = tool("shellcheck")
    written = re.search(r"    content: \|\n((?:      .*\n)*)$", CLOUD_INIT.read_text().partition("registry-login\n")[2])
    assert written
    (tmp_path / "registry-login").write_text(re.sub(r"^      ", "", written[1], flags=re.MULTILINE))
    scripts = [CLOUD_INIT.with_name("deploy.sh"), tmp_path / "registry-login"]
    done = run(shellcheck, *scripts, ROOT / ".ci" / "run", ROOT / ".devcontainer" / "prepare")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_pipeline_is_one() -> None:
    """The pipeline files and Dependabot's settings are valid by GitHub's schemas."""
    assert WORKFLOWS
    dependabot = ROOT / ".github" / "dependabot.yml"
    for schema, files in (("github-workflows", WORKFLOWS), ("dependabot", [dependabot])):
        done = run(tool("check-jsonschema"), "--builtin-schema", f"vendor.{schema}", *files)
        assert done.returncode == 0, done.stdout


def test_the_pipeline_is_safe() -> None:
    """zizmor finds nothing that an attacker could use in the pipeline files."""
    done = run(tool("zizmor"), "--offline", "--no-progress", "--config", INFRA / "zizmor.yml", *WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr
