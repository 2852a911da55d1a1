"""Checks a statement over data files: exactly one SELECT, tables that are views of the call, and functions of a list.

It reads the tree of DuckDB's own parser (`json_serialize_sql`), so that it checks what runs. It allows what it knows
and refuses the rest.

https://duckdb.org/docs/stable/data/json/sql_to_and_from_json
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from shared.data.functions import FUNCTIONS, OPERATORS, TABLE_FUNCTIONS

_EXPRESSIONS = frozenset(
    [
        "BETWEEN",
        "CASE",
        "CAST",
        "COLLATE",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "FUNCTION",
        "LAMBDA",
        "LAMBDA_REF",
        "OPERATOR",
        "PARAMETER",
        "POSITIONAL_REFERENCE",
        "STAR",
        "SUBQUERY",
        "TYPE",
        "WINDOW",
    ]
)
_NODES = frozenset(
    [
        "BASE_TABLE",
        "COLUMN_DATA",
        "CROSS_PRODUCT",
        "CTE_NODE",
        "EMPTY",
        "EMPTY_FROM",
        "EXPRESSION_LIST",
        "JOIN",
        "PIVOT",
        "RECURSIVE_CTE_NODE",
        "SELECT_NODE",
        "SET_OPERATION_NODE",
        "SUBQUERY",
        "TABLE_FUNCTION",
        "DISTINCT_MODIFIER",
        "LIMIT_MODIFIER",
        "LIMIT_PERCENT_MODIFIER",
        "ORDER_MODIFIER",
        "ORDER_DEFAULT",
        "ASCENDING",
        "ASC",
        "DESCENDING",
        "DESC",
        "INVALID",
    ]
)
MAX_DEPTH = 300
"""Of the tree: Python's own stack holds three times as many."""


class Refused(Exception):
    """The statement may not run: a code (`many`, `write` or `refused`), and the reason."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Checked(NamedTuple):
    """The names in a statement that may run."""

    tables: list[str]
    """The tables that it reads, as it writes them."""
    defined: list[str]
    """The names in lower case that it defines itself, in `with`: each may also be a table that it reads."""


def check(tree: dict[str, Any]) -> Checked:
    """Check the tree of a text. Raises Refused."""
    statements = tree["statements"]
    if not statements:
        raise Refused("refused", "The text contains no statement. Send one SELECT.")
    if len(statements) != 1:
        raise Refused("many", "Send one statement in each call.")
    tables: dict[str, None] = {}
    defined: set[str] = set()
    for node in objects(statements[0]):
        _check_object(node, tables, defined)
    return Checked(list(tables), sorted(defined))


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of the tree."""
    pending: list[tuple[Any, int]] = [(value, 0)]
    while pending:
        each, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise Refused("refused", "The statement is nested too deeply. Write it with fewer levels.")
        if isinstance(each, dict):
            yield each
            pending += [(child, depth + 1) for child in reversed(each.values()) if isinstance(child, dict | list)]
        elif isinstance(each, list):
            pending += [(child, depth) for child in reversed(each) if isinstance(child, dict | list)]


def _check_object(node: dict[str, Any], tables: dict[str, None], defined: set[str]) -> None:
    kind = node.get("type")
    if "class" in node:
        if node["class"] not in _EXPRESSIONS:
            raise Refused("refused", f"The expression {str(node['class']).lower()} is not available over data files.")
        if "function_name" in node:
            _check_function(node)
        return
    if "cte_map" in node:
        defined |= {str(each["key"]).lower() for each in node["cte_map"].get("map", ())}
    if node.get("cte_name"):
        defined.add(str(node["cte_name"]).lower())
    if not isinstance(kind, str):
        return
    if kind == "SHOW_REF":
        raise Refused(
            "refused", "DESCRIBE, SHOW and SUMMARIZE are not available over data files. Call describe-data instead."
        )
    if kind.endswith("_QUERY_NODE"):
        raise Refused("write", "The statement writes. Data files are only read.")
    if kind not in _NODES:
        raise Refused(
            "refused", f"{kind.replace('_', ' ').capitalize()} is not available over data files. Send one SELECT."
        )
    if kind == "BASE_TABLE":
        path = node.get("qualified_name", {}).get("path") or [node.get("table_name")]
        if len(path) != 1 or node.get("schema_name") or node.get("catalog_name"):
            raise Refused(
                "refused", f"The table {'.'.join(map(str, path))} is not available. Name a view without a schema."
            )
        if node.get("at_clause"):
            raise Refused("refused", "AT is not available over data files: a blob is read as it is now.")
        tables.setdefault(str(path[0]))
    elif kind == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise Refused(
                "refused",
                f"The table function {name}() is not available over data files. The files of the call are views; "
                f"beside them there are {', '.join(sorted(TABLE_FUNCTIONS))}.",
            )


def _check_function(node: dict[str, Any]) -> None:
    name = str(node["function_name"]).lower()
    path = node.get("qualified_name", {}).get("path") or [name]
    if len(path) != 1 or not (name in FUNCTIONS or name in OPERATORS):
        raise Refused(
            "refused",
            f"The function {'.'.join(map(str, path))}() is not available over data files: only functions that compute "
            "a value from their arguments are.",
        )
