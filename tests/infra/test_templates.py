"""Evaluates the templates: every rule holds for every case, and notices when it is broken."""

import copy
import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT

from .bicep import INFRA, Snapshot, evaluate
from .breaks import BREAKS, TEMPLATE_BREAKS
from .cases import ADMIN, CASES, CLIENT, GATEWAY, IMAGE, Case
from .rules import RULES, Rule

BY_NAME = {case.name: case for case in CASES}
SnapshotOf = Callable[[str], Snapshot]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_rule_holds(rule: Rule, case: Case, snapshot_of: SnapshotOf) -> None:
    """Every rule holds for every set of parameters."""
    assert list(rule(snapshot_of(case.name), case)) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same_twice(case: Case, twice: dict[str, tuple[Future[Snapshot], Future[Snapshot]]]) -> None:
    """A second deployment with another name changes nothing."""
    first, second = (each.result() for each in twice[case.name])
    assert json.dumps(first.resources, sort_keys=True) == json.dumps(second.resources, sort_keys=True)
    assert first.outputs == second.outputs


@pytest.mark.parametrize(("rule", "name", "change"), BREAKS, ids=lambda each: getattr(each, "__name__", None))
def test_the_rule_notices(rule: Rule, name: str, change: Callable[[Snapshot], None], snapshot_of: SnapshotOf) -> None:
    """A rule notices when the evaluated deployment is broken."""
    broken = copy.deepcopy(snapshot_of(name))
    change(broken)
    assert list(rule(broken, BY_NAME[name])) != []


def test_every_rule_is_broken_once() -> None:
    """Every rule has a break that it notices."""
    assert {rule for rule, _, _ in BREAKS} == set(RULES)


@pytest.mark.parametrize(
    ("rule", "name", "file", "old", "new"), TEMPLATE_BREAKS, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_broken_template_is_noticed(
    rule: Rule, name: str, file: str, old: str, new: str, bicep: None, template: Path, tmp_path: Path
) -> None:
    """A rule notices when the template is broken."""
    shutil.copytree(INFRA, template)
    text = (template / file).read_text()
    assert text.count(old) == 1
    (template / file).write_text(text.replace(old, new))
    parameters = {"environmentName": "test", **BY_NAME[name].parameters}
    assert list(rule(evaluate(parameters, tmp_path / "parameters", template), BY_NAME[name])) != []


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"database": "postgresql"}, "databaseAdminId and databaseAdminName"),
        ({"database": "mysql", "databaseAdminId": ADMIN["databaseAdminId"]}, "databaseAdminId and databaseAdminName"),
        ({"budgetAmount": 50, "alertEmails": ["ada@example.org"]}, "budgetStart"),
        ({"budgetAmount": 50, "budgetStart": "2026-12-01"}, "alertEmails"),
        ({"hosting": "containerInstance", "image": IMAGE, "entraClientId": CLIENT}, "have no sign-in"),
        ({"hosting": "virtualMachine", "entraClientId": CLIENT, "sshPublicKey": "a"}, "have no sign-in"),
        ({"hosting": "virtualMachine", "image": IMAGE, **GATEWAY}, "needs sshPublicKey"),
        ({"hosting": "virtualMachine", "image": IMAGE, "sshPublicKey": "a"}, "need url"),
        ({"hosting": "containerInstance", "image": IMAGE}, "need url"),
    ],
)
def test_what_cannot_be_deployed_is_refused(
    parameters: dict[str, object], says: str, bicep: None, tmp_path: Path
) -> None:
    """If a parameter needs another one, the deployment is refused before it starts, and names the missing one."""
    with pytest.raises(AssertionError, match=says):
        evaluate({"environmentName": "test", **parameters}, tmp_path)


def test_no_secret_has_a_default(compiled: dict[str, Any]) -> None:
    """No parameter has a secret as its default: the only secure one is for the creation of a server."""
    secure = {
        name: parameter.get("defaultValue")
        for name, parameter in compiled["parameters"].items()
        if parameter.get("type", "").startswith("secure")
    }
    assert secure == {"mysqlUnusedPassword": ""}
    for name in set(compiled["parameters"]) - set(secure):
        assert not re.search("password|secret", name, re.IGNORECASE)


def test_nothing_depends_on_the_moment(compiled: dict[str, Any]) -> None:
    """Nothing is random or depends on the clock, so a second deployment changes nothing, not even MySQL's password."""
    text = json.dumps(compiled)
    assert "newGuid(" not in text
    assert "utcNow(" not in text


def test_the_order_is_stated(compiled: dict[str, Any]) -> None:
    """Names address resources of other modules, so dependsOn states the order: none starts before what it needs."""
    resources = compiled["resources"]

    def before(name: str) -> set[str]:
        direct = set(resources[name].get("dependsOn", []))
        return direct.union(*(before(each) for each in direct))

    assert before("storage") >= {"network", "monitoring", "identity"}
    assert before("vault") >= {"network", "monitoring", "identity"}
    assert before("endpoints") >= {"network", "storage", "vault", "postgresql", "mysql"}
    below = {"network", "storage", "hostStorage", "vault", "monitoring", "endpoints", "registry"}
    assert before("app") >= below
    assert before("alerts") >= below | {"app"}


def test_every_parameter_is_described(compiled: dict[str, Any]) -> None:
    """Every description of a parameter says if it is required, optional or conditional, and the documents list it."""
    readme = (INFRA / "README.md").read_text() + (ROOT / "docs" / "hosting.md").read_text()
    for name, parameter in compiled["parameters"].items():
        assert re.match(r"(Required|Optional|Conditional)\. \S", parameter["metadata"]["description"]), name
        assert f"`{name}`" in readme, name
    for module in (INFRA / "modules").rglob("*.bicep"):
        for description, _ in re.findall(r"@description\('(.*)'\)\n(?:@.*\n)*param (\w+)", module.read_text()):
            assert description.startswith("Required. "), module


def test_azd_passes_every_parameter(compiled: dict[str, Any]) -> None:
    """main.parameters.json has every parameter except `tags`, with the defaults of the template."""
    document = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    assert set(compiled["parameters"]) - set(document) == {"tags"}
    assert set(document) <= set(compiled["parameters"])
    for name, entry in document.items():
        parameter = compiled["parameters"][name]
        values = entry["value"] if isinstance(entry["value"], list) else [entry["value"]]
        parsed = [re.fullmatch(r"\$\{([A-Z_]+)(?:=(.*))?\}", value) for value in values]
        defaults = [match and match[2] for match in parsed]
        if name in ("environmentName", "location"):
            assert defaults == [None]
        elif parameter.get("type") == "array":
            assert set(defaults) == {""}
            assert parameter["defaultValue"] == []
        elif parameter.get("type") == "bool":
            assert defaults == [str(parameter["defaultValue"]).lower()], name
        else:
            assert defaults == [str(parameter["defaultValue"])], name
