"""The OpenAPI document says what the app does."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import msgspec.inspect
import pytest
from openapi_spec_validator import validate

from shared.app import build
from shared.errors import all_errors
from shared.web import Access, Route
from shared.web.openapi import document

ROUTES = build({}).routes


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The document, as a client reads it."""
    parsed: dict[str, Any] = json.loads(msgspec.json.encode(document(ROUTES)))
    return parsed


def path_of(route: Route) -> str:
    """The path of a route as OpenAPI writes it, which has no word for a parameter with slashes."""
    return f"/{route.path.replace('{*', '{')}"


def test_it_is_openapi_3_1(described: dict[str, Any]) -> None:
    """The document validates as OpenAPI 3.1."""
    assert described["openapi"].startswith("3.1")
    validate(described)


def test_every_function_is_described(described: dict[str, Any]) -> None:
    """Every route and method stands in the document, and nothing else."""
    found = {(path, method) for path, methods in described["paths"].items() for method in methods}
    assert found == {(path_of(route), method.lower()) for route in ROUTES for method in route.methods}


def test_access_is_described(described: dict[str, Any]) -> None:
    """What wants a key names both ways to give one and the 401; what is public names none."""
    for route in ROUTES:
        for method in route.methods:
            operation = described["paths"][path_of(route)][method.lower()]
            if route.access is Access.FUNCTION:
                assert operation["security"] == [{"key": []}, {"code": []}]
                assert "401" in operation["responses"]
            else:
                assert operation["security"] == []
    schemes = described["components"]["securitySchemes"]
    assert {(each["in"], each["name"]) for each in schemes.values()} == {
        ("header", "x-functions-key"),
        ("query", "code"),
    }


def test_every_code_is_listed(described: dict[str, Any]) -> None:
    """Every code that a problem can carry is in the document."""
    assert described["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == [
        each.code for each in all_errors()
    ]


def test_codes_are_unique() -> None:
    """No two errors share a code."""
    codes = [each.code for each in all_errors()]
    assert len(codes) == len(set(codes))


def test_every_function_with_a_body_has_an_example(described: dict[str, Any]) -> None:
    """Each call that takes a body shows at least one that works."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                assert operation["requestBody"]["content"]["application/json"]["examples"], (path, method)


def test_every_operation_has_its_route() -> None:
    """A capability has an operation for each of its routes, and none that no route leads to."""
    for capability in {id(route.capability): route.capability for route in ROUTES}.values():
        assert set(capability()) == {route.name for route in ROUTES if route.capability is capability}


def kinds_in(found: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    """A type and all that it is made of."""
    yield found
    for name in ("types", "fields", "item_type", "key_type", "value_type", "type"):
        inner = getattr(found, name, ())
        for each in inner if isinstance(inner, tuple) else (inner,):
            if isinstance(each, msgspec.inspect.Field):
                yield from kinds_in(each.type)
            elif isinstance(each, msgspec.inspect.Type):
                yield from kinds_in(each)


def test_no_pattern_stands_beside_a_list_or_an_object() -> None:
    """No field is both patterned text and a list or an object: msgspec 0.22 corrupts its memory over that."""
    requests = [route.operation.request for route in ROUTES if route.operation.request]
    for union in (each for request in requests for each in kinds_in(msgspec.inspect.type_info(request))):
        if isinstance(union, msgspec.inspect.UnionType):
            patterned = any(isinstance(each, msgspec.inspect.StrType) and each.pattern for each in union.types)
            other = msgspec.inspect.CollectionType | msgspec.inspect.DictType | msgspec.inspect.StructType
            assert not (patterned and any(isinstance(each, other) for each in union.types)), union


def test_headers_and_raw_bodies_are_described(described: dict[str, Any]) -> None:
    """A header that is a field is a header parameter, and not one of the query; a raw body is bytes."""
    operation = described["paths"]["/blobs/{container}/{name}"]["put"]
    places = {each["name"]: each["in"] for each in operation["parameters"]}
    assert places["if-none-match"] == "header"
    assert "if_none_match" not in places
    assert (places["container"], places["name"], places["tier"]) == ("path", "path", "query")
    assert list(operation["requestBody"]["content"]) == ["application/octet-stream"]
