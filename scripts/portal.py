"""Writes the table of calls for the portal's Code + Test panel into infra/README.md, from the app's own examples.

Run it after you add or change a function: `python -m scripts.portal`. A test compares. The calls work in the order of
the table on a fresh deployment that `scripts.fill` has filled, and another test makes them.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from shared.app import build
from shared.web import Access, Route

README = Path(__file__).resolve().parent.parent / "infra" / "README.md"
START, END = "<!-- calls: python -m scripts.portal -->\n", "<!-- end of calls -->\n"
BODIES = ("POST", "PUT", "PATCH")
WRITERS = ("execute-sql", "import-sql")
"""Functions that need a database server: the SQLite file that the template reads is read-only."""
RAW_BODIES = {
    "put-blob": "hello",
    "v2-infer": json.dumps(
        {"inputs": [{"name": "X", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}]}
    ),
}
"""The bodies of the calls whose fields are all in the path, the query and the headers."""
AFTER_DELETIONS = ("restore-key", "restore-blob")


class Call(NamedTuple):
    """A call as the panel takes it."""

    route: Route
    method: str
    parameters: Mapping[str, Any]
    """For the panel's query parameters. A part of the path is one of them; a catch-all is named with its asterisk."""
    body: str
    """Text to paste; empty where the panel's body must be cleared."""


def call(route: Route) -> Call | None:
    """The call of a route's first example; None where it depends on what an earlier call returned, or on a session."""
    if route.access is Access.SESSION:
        return None
    method = next((each for each in route.methods if each in BODIES), route.methods[0])
    fields = dict(route.operation.examples[0].fields) if route.operation.examples else {}
    in_path = {}
    for part in [each[1:-1] for each in route.path.split("/") if each.startswith("{")]:
        if part.lstrip("*") not in fields:
            return None
        in_path[part] = fields.pop(part.lstrip("*"))
    if method not in BODIES:
        return Call(route, method, in_path | fields, "")
    if route.operation.request is None:
        return Call(route, method, in_path, "")
    body = RAW_BODIES.get(route.name) or json.dumps(fields, ensure_ascii=False)
    return Call(route, method, in_path, body)


def in_order(routes: Sequence[Route]) -> tuple[list[Call], list[Route]]:
    """The calls, each after those that it builds on, and the routes that have none.

    Calls that delete come after all others, and calls that restore after those.
    """
    calls = [(route, call(route)) for route in routes if route.name not in WRITERS]
    ready = [each for _, each in calls if each is not None]
    ready.sort(key=lambda each: 2 if each.route.name in AFTER_DELETIONS else each.method == "DELETE")
    return ready, [route for route, each in calls if each is None]


def row(each: Call) -> str:
    """One line of the table."""
    query = ", ".join(f"`{name}` = `{text(value)}`" for name, value in each.parameters.items())
    body = f"`{each.body.replace('|', '&#124;')}`" if each.body else "(clear it)"
    key = "" if each.route.access is Access.PUBLIC else "yes"
    return f"| `{each.route.name}` | {each.method} `/api/{each.route.path}` | {query} | {body} | {key} |"


def text(value: object) -> str:
    """A field in the form of a query string."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def table() -> str:
    """The table, and the functions that are not in it."""
    calls, others = in_order(build({}).routes)
    head = "| function | call | query parameters | body | key |\n|---|---|---|---|---|\n"
    listed = "".join(row(each) + "\n" for each in calls)
    names = ", ".join(f"`{route.name}` ({route.methods[0]} `/api/{route.path}`)" for route in others)
    return (
        f"{head}{listed}\nNot in the table: {names}, which need a name, an id or an access token of a call of yours; "
        f"and {' and '.join(f'`{name}`' for name in WRITERS)}, which need a database server.\n"
    )


def written(document: str) -> str:
    """The document with the table of today. Raises ValueError where its marks are missing."""
    before, mark, rest = document.partition(START)
    _, ended, after = rest.partition(END)
    if not mark or not ended:
        raise ValueError("infra/README.md has lost the marks of the table of calls.")
    return before + START + table() + END + after


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
