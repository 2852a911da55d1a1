"""The route table: the host's requirements, and its printed form."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scripts.routes import PAGES
from shared.app import build
from shared.errors import InvalidRequest
from shared.web import Route, convert


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_printed_tables_are_current(path: Path) -> None:
    """docs/routes.md and docs/functions.md are up to date with `make routes`."""
    assert path.read_text() == PAGES[path](), "run `make routes`"


def test_the_host_accepts_names_and_paths() -> None:
    """Names are unique and lower case; a path never starts with a slash, which would stop the whole app."""
    routes = build({}).routes
    assert len({route.name for route in routes}) == len(routes)
    for route in routes:
        assert re.fullmatch(r"[a-z][a-z0-9-]{0,126}", route.name), route.name
        assert not route.path.startswith("/"), route.path


def type_name(route: Route, suffix: str) -> str:
    """The name of a type of the function: `put-blob` has `PutBlobRequest`."""
    return "".join(word.capitalize() for word in route.name.split("-")) + suffix


def contained(kind: type[msgspec.Struct]) -> set[str]:
    """The names of the structs in the fields of a struct, at any depth."""
    return set(msgspec.json.schema_components([kind])[1]) - {kind.__name__}


def test_request_types_have_one_naming_scheme() -> None:
    """The type of a function's fields is `<Function>Request`, and no two functions share one."""
    for route in build({}).routes:
        request = route.operation.request
        assert request is None or request.__name__ == type_name(route, "Request")


def test_response_types_have_one_naming_scheme() -> None:
    """A response type is `<Function>Response`; one that several functions return, or a list of, is `<Noun>Response`."""
    returned: dict[type[msgspec.Struct], list[Route]] = {}
    for route in build({}).routes:
        response = route.operation.response or ()
        for kind in response if isinstance(response, tuple) else (response,):
            returned.setdefault(kind, []).append(route)
    elements = set().union(*(contained(kind) for kind in returned))
    for kind, routes in returned.items():
        assert kind.__name__.endswith("Response")
        if len(routes) == 1 and kind.__name__ not in elements:
            assert kind.__name__ == type_name(routes[0], "Response")


def declared(schema: dict[str, Any]) -> str:
    """The schema of a field without its default, a description around it, and null."""
    kinds = [each for each in schema.get("anyOf", [schema]) if each != {"type": "null"}]
    return json.dumps(kinds, sort_keys=True)


@pytest.mark.parametrize("name", ["cursor", "container", "user", "password", "old_password", "callers"])
def test_a_common_field_is_declared_once(name: str) -> None:
    """A field that several capabilities have has the same limits and the same description in all of them."""
    found = set()
    for route in build({}).routes:
        if (kind := route.operation.request) is not None and name in kind.__struct_fields__:
            field = next(each for each in msgspec.structs.fields(kind) if each.name == name)
            found.add(re.sub("The callers who may .*?:", "", declared(msgspec.json.schema(field.type))))
    assert len(found) == 1, found


def test_errors_describe_a_form_in_words() -> None:
    """Where a text does not match a field's pattern, the error has the field's description, and no pattern."""
    wrong = "\x00 no form \ufffe"
    checked = set()
    values: list[Any] = [wrong, [wrong], {wrong: wrong}, [{"name": wrong}], {"container": wrong, "path": wrong}]
    for route in build({}).routes:
        kind = route.operation.request
        if kind is None:
            continue
        for field in msgspec.structs.fields(kind):
            if '"pattern"' not in json.dumps(msgspec.json.schema(field.type)):
                continue
            for value in values:
                try:
                    convert(kind, {field.encode_name: value})
                except InvalidRequest as error:
                    details = [each.detail for each in error.errors if each.field.startswith(field.encode_name)]
                    assert not [each for each in details if "regex" in each], (route.name, field.name)
                    if any("does not have the form" in each for each in details):
                        checked.add((route.name, field.encode_name))
    assert {("create-key", "name"), ("save-query", "parameters"), ("set-roles", "roles")} <= checked
    assert len(checked) > 60
