"""Prints the table of all functions and writes it to docs/routes.md. Run by `make routes`; a test compares the file."""

from pathlib import Path

from shared.app import build

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "routes.md"
HEAD = """# Routes

Every function of the app, its call and who may call it. `make routes` writes this page from the route table.

- `function`: a function key, in the header `x-functions-key` or as `?code=`.
- `public`: anybody.

| function | methods | path | access |
|---|---|---|---|
"""


def document() -> str:
    """The page as it should be now."""
    rows = (
        f"| `{route.name}` | {', '.join(route.methods)} | `/api/{route.path}` | {route.access.value} |\n"
        for route in build({}).routes
    )
    return HEAD + "".join(rows)


if __name__ == "__main__":
    DOCUMENT.write_text(document())
    print(document(), end="")
