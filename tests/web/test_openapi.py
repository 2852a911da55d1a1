"""The OpenAPI document describes what the app does."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import msgspec.inspect
import pytest
from openapi_spec_validator import validate

from shared.app import build
from shared.errors import StrongroomError, all_errors
from shared.web import Access, Fields, Operation, Route
from shared.web.openapi import document

ROUTES = build({}).routes


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The document as a client reads it."""
    parsed: dict[str, Any] = json.loads(msgspec.json.encode(document(ROUTES)))
    return parsed


def path_of(route: Route) -> str:
    """The path of a route as OpenAPI writes it: it has no notation for a parameter with slashes."""
    return f"/{route.path.replace('{*', '{')}"


def test_the_document_is_openapi_3_1(described: dict[str, Any]) -> None:
    """The document validates as OpenAPI 3.1."""
    assert described["openapi"].startswith("3.1")
    validate(described)


def test_every_function_is_described(described: dict[str, Any]) -> None:
    """The document contains every route and method, and nothing else."""
    found = {(path, method) for path, methods in described["paths"].items() for method in methods}
    assert found == {(path_of(route), method.lower()) for route in ROUTES for method in route.methods}


def test_access_is_described(described: dict[str, Any]) -> None:
    """A function that needs a key names both ways to send it, one with a session the token; a public one nothing."""
    for route in ROUTES:
        for method in route.methods:
            operation = described["paths"][path_of(route)][method.lower()]
            if route.access is Access.FUNCTION:
                assert operation["security"] == [{"key": []}, {"code": []}]
                assert "401" in operation["responses"]
            elif route.access is Access.SESSION:
                assert operation["security"] == [{"session": []}]
                assert "401" in operation["responses"]
            else:
                assert operation["security"] == []
    schemes = dict(described["components"]["securitySchemes"])
    bearer = schemes.pop("session")
    assert {(each["in"], each["name"]) for each in schemes.values()} == {
        ("header", "x-functions-key"),
        ("query", "code"),
    }
    assert bearer == {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


def test_every_code_is_listed(described: dict[str, Any]) -> None:
    """The document lists every code of a problem."""
    assert described["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == [
        each.code for each in all_errors()
    ]


def test_codes_are_unique() -> None:
    """No two errors share a code."""
    found = [StrongroomError]
    for each in found:
        found += each.__subclasses__()
    codes = [each.code for each in found if "code" in vars(each)]
    assert len(codes) == len(set(codes))


def test_every_function_with_a_body_has_an_example(described: dict[str, Any]) -> None:
    """Each function with a body has at least one example."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                assert operation["requestBody"]["content"]["application/json"]["examples"], (path, method)


def test_every_operation_has_its_route() -> None:
    """A capability has exactly one operation for each of its routes."""
    for capability in {id(route.capability): route.capability for route in ROUTES}.values():
        assert set(capability()) == {route.name for route in ROUTES if route.capability is capability}


def kinds_in(found: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    """A type and all types that it contains."""
    yield found
    for name in ("types", "fields", "item_type", "key_type", "value_type", "type"):
        inner = getattr(found, name, ())
        for each in inner if isinstance(inner, tuple) else (inner,):
            if isinstance(each, msgspec.inspect.Field):
                yield from kinds_in(each.type)
            elif isinstance(each, msgspec.inspect.Type):
                yield from kinds_in(each)


def test_no_pattern_is_beside_a_list_or_an_object() -> None:
    """No field is both patterned text and a list or an object: msgspec 0.22 corrupts its memory over that."""
    requests = [route.operation.request for route in ROUTES if route.operation.request]
    for union in (each for request in requests for each in kinds_in(msgspec.inspect.type_info(request))):
        if isinstance(union, msgspec.inspect.UnionType):
            patterned = any(isinstance(each, msgspec.inspect.StrType) and each.pattern for each in union.types)
            other = msgspec.inspect.CollectionType | msgspec.inspect.DictType | msgspec.inspect.StructType
            assert not (patterned and any(isinstance(each, other) for each in union.types)), union


def test_headers_and_raw_bodies_are_described(described: dict[str, Any]) -> None:
    """A field in a header is a header parameter and not a query parameter; a raw body is bytes."""
    operation = described["paths"]["/blobs/{container}/{name}"]["put"]
    places = {each["name"]: each["in"] for each in operation["parameters"]}
    assert places["if-none-match"] == "header"
    assert "if_none_match" not in places
    assert (places["container"], places["name"], places["tier"]) == ("path", "path", "query")
    assert list(operation["requestBody"]["content"]) == ["application/octet-stream"]


def route_of(name: str, kind: type[Fields]) -> Route:
    """A session's route with these fields."""
    operation = Operation(lambda _: None, kind, None, "")
    return Route(name, name, ("POST",), Access.SESSION, lambda: {name: operation})


def test_types_of_one_name_do_not_collide() -> None:
    """Two capabilities may use one name for their types: each function is described by its own."""

    def kind(field: str) -> Any:
        return msgspec.defstruct("Listed", [(field, str)], bases=(Fields,), frozen=True, module=f"m.{field}")

    routes = [route_of("a", kind("one")), route_of("b", kind("two"))]
    described = json.loads(msgspec.json.encode(document(routes)))
    fields = []
    for name in "ab":
        operation = described["paths"][f"/{name}"]["post"]
        assert operation["security"] == [{"session": []}]
        assert operation["responses"]["401"]["content"]
        ref = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        fields.append(list(described["components"]["schemas"][ref.rpartition("/")[2]]["properties"]))
    assert fields == [["one"], ["two"]]


def test_a_hidden_route_is_not_described() -> None:
    """A route can stay out of the document."""
    route = Route(
        "a", "a", ("GET",), Access.PUBLIC, lambda: {"a": Operation(lambda: None, None, None, "")}, documented=False
    )
    assert document([route])["paths"] == {}


def test_the_document_is_the_same_on_every_python() -> None:
    """No description has indented lines: versions of Python treat the indentation of docstrings differently."""
    for schema in document(ROUTES)["components"]["schemas"].values():
        for each in (schema, *schema.get("properties", {}).values()):
            assert "\n  " not in each.get("description", ""), schema["title"]


def test_bounds_and_headers_are_described(described: dict[str, Any]) -> None:
    """Lengths of fields, Retry-After and the Idempotency-Key of a writing function are in the document."""
    query_sql = described["paths"]["/query-sql"]["post"]
    schema = described["components"]["schemas"]["QuerySqlRequest"]
    assert schema["properties"]["sql"]["maxLength"] == 100_000
    # By URL, a long text is bounded by the URL itself.
    by_url = {each["name"]: each for each in described["paths"]["/query-sql"]["get"]["parameters"]}
    assert "maxLength" not in by_url["sql"]["schema"]
    for status in ("429", "503"):
        assert query_sql["responses"][status]["headers"]["retry-after"]["schema"] == {"type": "integer"}
    names = {each["name"] for each in described["paths"]["/keys"]["post"]["parameters"]}
    assert names == {"idempotency-key"}
    assert "idempotency-key" not in {each["name"] for each in query_sql.get("parameters", [])}
