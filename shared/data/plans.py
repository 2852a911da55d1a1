"""What a condition of a statement reads, and what DuckDB's plan of it reads. Pure."""

from typing import Any


def uses_only(node: Any, columns: set[str]) -> bool:
    """Whether an expression reads partitions alone, and so has one value for all rows of a file."""
    if isinstance(node, list):
        return all(uses_only(each, columns) for each in node)
    if not isinstance(node, dict):
        return True
    if node.get("class") in ("SUBQUERY", "WINDOW", "STAR", "LAMBDA", "POSITIONAL_REFERENCE"):
        return False
    if node.get("class") == "FUNCTION" and not node.get("is_operator"):
        return False
    if node.get("class") == "COLUMN_REF":
        return str(node["column_names"][-1]).lower() in columns
    return all(uses_only(each, columns) for each in node.values())


def projected(node: Any) -> set[str]:
    """The columns, in lower case, that the scans of a plan read."""
    if isinstance(node, list):
        return set().union(*map(projected, node))
    if not isinstance(node, dict):
        return set()
    columns = projected(node.get("children", []))
    projections = node.get("extra_info", {}).get("Projections", []) if isinstance(node.get("extra_info"), dict) else []
    names = [projections] if isinstance(projections, str) else projections
    return columns | {str(name).strip('"').lower() for name in names}


_BLOCKING = frozenset({"UNGROUPED_AGGREGATE", "HASH_GROUP_BY", "PERFECT_HASH_GROUP_BY", "ORDER_BY", "TOP_N", "WINDOW"})
"""Operators that need every row of their input before they return one."""


def reads_all(node: Any, *, blocked: bool) -> bool:
    """Whether a plan certainly reads every row of a file: a scan without a filter below an operator that needs all."""
    if isinstance(node, list):
        return any(reads_all(each, blocked=blocked) for each in node)
    name = node.get("name", "")
    if "LIMIT" in name or name.endswith("JOIN"):
        blocked = False
    elif name in _BLOCKING:
        blocked = True
    if name.startswith("READ_"):
        return blocked and not node.get("extra_info", {}).get("Filters")
    return reads_all(node.get("children", []), blocked=blocked)


def parameters_of(node: Any) -> set[str]:
    """The names of the parameters in an expression."""
    if isinstance(node, list):
        return set().union(*map(parameters_of, node))
    if not isinstance(node, dict):
        return set()
    own = {str(node["identifier"])} if node.get("class") == "PARAMETER" else set()
    return own.union(*map(parameters_of, node.values()))
