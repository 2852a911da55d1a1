"""Writes the types of all requests and responses for the console's type check, from the OpenAPI document.

`python -m scripts.console_types FILE`. The file is not committed, because every new function would change it.
"""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.routes import ENVIRON
from shared.app import build
from shared.web.openapi import document

HEAD = """// From the OpenAPI document, by scripts/console_types.py.
interface Functions {
"""


def declarations(openapi: Mapping[str, Any]) -> str:
    """The TypeScript interface `Functions`: the request's fields and the response's body, by function."""
    schemas = openapi["components"]["schemas"]
    entries: dict[str, str] = {}
    for path, methods in openapi["paths"].items():
        names = {operation["operationId"] for operation in methods.values()}
        for method, operation in methods.items():
            name = operation["operationId"]
            if name.removesuffix(f"-{method}") in names - {name}:
                name = name.removesuffix(f"-{method}")
            if name not in entries or "requestBody" in operation:
                fields = _fields(path, methods, name)
                entries[name] = f"  {_key(name)}: {{ request: {fields}; response: {_response(operation)} }};\n"
    kinds = "".join(f"type {_schema_name(name)} = {_type(schema)};\n" for name, schema in schemas.items())
    return HEAD + "".join(entries.values()) + "}\n" + kinds


def _fields(path: str, methods: Mapping[str, Any], name: str) -> str:
    """The fields of a function: its parameters and its body, under whichever method."""
    fields: dict[str, str] = {}
    for method, operation in methods.items():
        if operation["operationId"] not in (name, f"{name}-{method}"):
            continue
        for parameter in operation.get("parameters", ()):
            schema = parameter.get("schema") or parameter["content"]["application/json"]["schema"]
            own = parameter["name"].replace("-", "_") if parameter["in"] == "header" else parameter["name"]
            fields.setdefault(own, _type(schema))
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        if body is not None:
            ref = body.get("$ref")
            return (
                f"Partial<{_type(body)}>"
                if ref
                else "{ "
                + "".join(f"{_key(key)}?: {each}; " for key, each in fields.items() if f"{{{key}}}" in path)
                + "".join(f"{_key(key)}?: {_type(each)}; " for key, each in body.get("properties", {}).items())
                + "}"
            )
    return "{ " + "".join(f"{_key(key)}?: {each}; " for key, each in fields.items()) + "}"


def _response(operation: Mapping[str, Any]) -> str:
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            schema = response.get("content", {}).get("application/json", {}).get("schema")
            if not schema:
                return "any"
            first, *others = schema.get("anyOf", [schema])
            # Which alternative comes depends on the request; the check is for the names of fields.
            return " & ".join([_type(first), *(f"Partial<{_type(each)}>" for each in others)])
    return "any"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _schema_name(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return "(" + " | ".join(dict.fromkeys(_type(each) for each in schema["anyOf"])) + ")"
    if "enum" in schema:
        return "(" + " | ".join(json.dumps(each) for each in schema["enum"]) + ")"
    if "const" in schema:
        return json.dumps(schema["const"])
    match schema.get("type"):
        case "object" if "properties" in schema:
            required = schema.get("required", ())
            members = (
                f"{_key(name)}{'' if name in required else '?'}: {_type(each)}; "
                for name, each in schema["properties"].items()
            )
            return "{ " + "".join(members) + "}"
        case "object":
            values = schema.get("additionalProperties")
            return f"Record<string, {_type(values) if isinstance(values, dict) else 'any'}>"
        case "array":
            items = schema.get("items")
            return f"{_type(items) if isinstance(items, dict) else 'any'}[]"
        case "string":
            return "string"
        case "integer" | "number":
            return "number"
        case "boolean":
            return "boolean"
        case "null":
            return "null"
    return "any"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else json.dumps(name)


def _schema_name(name: str) -> str:
    return f"Schema_{re.sub(r'[^A-Za-z0-9_]', '_', name)}"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(declarations(document(build(ENVIRON).routes)))
