"""Writes docs/routes.md and docs/functions.md from the route table, and prints the first. Run by `make routes`."""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from shared.app import build
from shared.web import Operation, Route

DOCS = Path(__file__).resolve().parent.parent / "docs"

ROUTES_HEAD = """# Routes

Every function of the app, its call and its access. `make routes` writes this page from the route table.

- `function`: a function key, in the header `x-functions-key` or as `?code=`.
- `public`: anybody. "function, public by" a setting: anybody, if that setting is true.
- `session`: an access token from [sign-in](identity.md), in the header `Authorization: Bearer`.

| function | methods | path | access |
|---|---|---|---|
"""

FUNCTIONS_HEAD = """# Functions

Every function with the fields of its request and response. `make routes` writes this page from the route table.
`GET /api/openapi.json` describes the same as OpenAPI 3.1, with types, limits and error codes. [routes.md](routes.md)
has the access of each function.

- `?` marks an optional field, `="…"` a default value. "header" marks a request header.
- Fields have the same names in a query string and in a JSON body. A `POST` takes them only from the body.
- In a query string text is text, and everything else is JSON: `limit=5`, `params=[300]`, `params={"id":1}`.
- Bytes are in `…_base64` fields, as base64url; the app also accepts standard base64. Times are RFC 3339 in UTC.
- The app refuses unknown, missing and mistyped fields (400) and names each of them.
- Errors are problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with a stable `code`.
"""

GUIDES = {
    "signing": ("Signing and encryption", "Guide: [signing.md](signing.md)."),
    "passwords": ("Passwords and users", "Guide: [passwords.md](passwords.md)."),
    "identity": ("Sign-in", "Guide: [identity.md](identity.md)."),
    "sql": ("SQL", "Guide: [sql.md](sql.md)."),
    "data": ("Data files", "Guide: [data.md](data.md)."),
    "blobs": ("Blobs", "Guide: [blobs.md](blobs.md)."),
    "console": ("Console", "Guide: [console.md](console.md)."),
    "models": ("Models", "Guide: [models.md](models.md)."),
}
"""The heading of each capability, by its folder, and a link to its guide. All other functions are the app's own."""

ENVIRON = {"AzureWebJobsStorage": "UseDevelopmentStorage=true", "STRONGROOM_MASTER_KEY": "no-file"}
"""Enough to load every operation; none of them connects to anything."""


def routes_page() -> str:
    """docs/routes.md."""
    rows = (
        f"| `{route.name}` | {', '.join(route.methods)} | `/api/{route.path}` | {_access(route)} |\n"
        for route in build({}).routes
    )
    return ROUTES_HEAD + "".join(rows)


def _access(route: Route) -> str:
    return f"{route.access.value}, public by `{route.public_by}`" if route.public_by else route.access.value


def functions_page() -> str:
    """docs/functions.md."""
    sections: dict[tuple[str, str], list[str]] = {}
    first_with: dict[object, str] = {}
    for route in build(ENVIRON).routes:
        operation = route.operation
        call = f"{', '.join(route.methods)} `/api/{route.path}`"
        fields = ", ".join(_request_fields(route, operation)) or "none"
        response = _response_fields(operation)
        if operation.response is not None and first_with.setdefault(operation.response, route.name) != route.name:
            response = f"as `{first_with[operation.response]}`"
        purpose = operation.summary.partition("\n")[0]
        row = f"| `{route.name}` | {call} | {purpose} | {fields} | {response} |\n"
        sections.setdefault(GUIDES.get(_folder(operation), ("The app", "")), []).append(row)
    page = FUNCTIONS_HEAD
    for (heading, guide), rows in sections.items():
        page += f"\n## {heading}\n\n" + (f"{guide}\n\n" if guide else "")
        page += "| function | call | purpose | request | response |\n|---|---|---|---|---|\n" + "".join(rows)
    return page


def _folder(operation: Operation) -> str:
    """The folder in shared/ that handles the operation."""
    function = getattr(operation.handle, "func", operation.handle)
    return str(getattr(function, "__module__", "")).split(".")[1]


def _request_fields(route: Route, operation: Operation) -> Iterator[str]:
    in_path = set(re.findall(r"\{(\w+)\}", route.path))
    in_headers = {name.replace("-", "_"): name for name in operation.headers}
    for field in msgspec.structs.fields(operation.request) if operation.request else ():
        name = field.encode_name
        if name in in_path:
            continue
        default = (
            "" if field.required else f'="{field.default}"' if isinstance(field.default, str) and field.default else "?"
        )
        yield f"header `{in_headers[name]}`?" if name in in_headers else f"`{name}`{default}"


def _response_fields(operation: Operation) -> str:
    structs = operation.response if isinstance(operation.response, tuple) else (operation.response,)
    texts = [
        ", ".join(f"`{each.encode_name}`" for each in msgspec.structs.fields(struct)) for struct in structs if struct
    ]
    if texts:
        return " or ".join(texts)
    if 204 in operation.statuses:
        return "no body (204)"
    if 302 in operation.statuses:
        return "no body (302)"
    return "JSON" if "application/json" in operation.media_types else "bytes"


PAGES = {DOCS / "routes.md": routes_page, DOCS / "functions.md": functions_page}

if __name__ == "__main__":
    for path, page in PAGES.items():
        path.write_text(page())
    print(routes_page(), end="")
