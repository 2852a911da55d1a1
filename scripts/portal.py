"""Writes the table of calls for the portal's Code + Test panel into infra/README.md, from the app's own examples.

Run after a function is added or changed: `python -m scripts.portal`. A test compares.
"""

import json
from pathlib import Path

from shared.app import build
from shared.web import Access, Route

README = Path(__file__).resolve().parent.parent / "infra" / "README.md"
START, END = "<!-- calls: python -m scripts.portal -->\n", "<!-- end of calls -->\n"
BODIES = ("POST", "PUT", "PATCH")


def row(route: Route) -> str:
    """One function: the method to choose, the query parameters to add, the body to paste."""
    method = next((each for each in route.methods if each in BODIES), route.methods[0])
    fields = dict(route.operation.examples[0].fields) if route.operation.examples else {}
    in_path = {
        name: fields.pop(name) for name in list(fields) if f"{{{name}}}" in route.path or f"{{*{name}}}" in route.path
    }
    body = f"`{json.dumps(fields, ensure_ascii=False)}`" if method in BODIES and route.operation.request else ""
    shown = in_path if method in BODIES else in_path | fields
    query = ", ".join(f"`{name}` = `{text(value)}`" for name, value in shown.items())
    key = "" if route.access is Access.PUBLIC else "yes"
    return f"| `{route.name}` | {method} `/api/{route.path}` | {query} | {body.replace('|', '&#124;')} | {key} |"


def text(value: object) -> str:
    """A field as it stands in a query string."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def table() -> str:
    """The table of all functions."""
    head = "| function | call | query parameters | body to paste | key |\n|---|---|---|---|---|\n"
    return head + "".join(row(route) + "\n" for route in build({}).routes)


def written(document: str) -> str:
    """The document with the table of today. Raises ValueError where its marks are missing."""
    before, found, rest = document.partition(START)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise ValueError("infra/README.md has lost the marks of the table of calls.")
    return before + START + table() + END + after


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
