"""The OpenAPI 3.1 document, generated from the route table, so that the two cannot disagree."""

from collections.abc import Sequence
from functools import cache
from inspect import cleandoc
from typing import Any

import msgspec

from shared import __version__
from shared.errors import (
    BadRequest,
    BodyTooLarge,
    InternalError,
    KeyReused,
    LengthRequired,
    ResponseNotKept,
    StillRunning,
    StrongroomError,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    all_errors,
)
from shared.web.decoding import BODY_ONLY, WITH_BODY
from shared.web.headers import accepts, names_etag
from shared.web.route import Access, Operation, Request, Response, Route

REF = "#/components/schemas/"

CACHE_SECONDS = 300

MAX_QUERY_LENGTH = 2000
"""In a URL, the length of the URL itself limits longer texts, so their `maxLength` is left out."""

ALWAYS = (BadRequest, LengthRequired, BodyTooLarge, InternalError)
"""The errors that any function may return."""


_SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    Access.FUNCTION: [{"key": []}, {"code": []}],
    Access.SESSION: [{"session": []}],
    Access.PUBLIC: [],
}
_IDEMPOTENCY_KEY = {
    "name": "idempotency-key",
    "in": "header",
    "required": False,
    "description": "Within a day, the same request with the same key gets the first success again and changes nothing.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
}


class ProblemField(msgspec.Struct, frozen=True):
    """One wrong field."""

    field: str
    detail: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Problem details (RFC 9457). `code` is stable; `errors` names each invalid field of the request."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[ProblemField] | msgspec.UnsetType = msgspec.UNSET
    """The first 20 of `error_count`."""
    error_count: int | msgspec.UnsetType = msgspec.UNSET
    request_id: str | msgspec.UnsetType = msgspec.UNSET
    """Only with a 5xx: send it to the operator of the app."""


def operations(routes: Sequence[Route]) -> dict[str, Operation]:
    """`openapi`, which describes `routes` and itself."""

    @cache
    def forms() -> tuple[bytes, bytes, str]:
        """The document, its gzip form, and its ETag."""
        import gzip
        import hashlib

        body = msgspec.json.encode(document(routes))
        return body, gzip.compress(body, mtime=0), hashlib.sha256(body).hexdigest()[:20]

    def serve(request: Request) -> Response:
        # The host compresses nothing, and the document is over 400 KB.
        body, packed, digest = forms()
        is_packed = accepts("gzip", request.headers.get("accept-encoding", ""))
        etag = f'"{digest}-gzip"' if is_packed else f'"{digest}"'
        headers = {"etag": etag, "vary": "Accept-Encoding"}
        if names_etag(request.headers.get("if-none-match", ""), etag, weak=True):
            return Response(304, headers=headers | {"cache-control": f"public, max-age={CACHE_SECONDS}"})
        if is_packed:
            headers["content-encoding"] = "gzip"
        return Response(200, packed if is_packed else body, headers=headers)

    return {
        "openapi": Operation(
            handle=serve,
            request=None,
            response=None,
            summary="This document (OpenAPI 3.1).",
            statuses={200: "Success.", 304: "The document has not changed: its ETag is in If-None-Match."},
            with_request=True,
            cache_seconds=CACHE_SECONDS,
        )
    }


class Schemas:
    """The schemas of all request and response types. Two types of one name get different schema names."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        structs = {each for one in operations for each in (one.request, *_structs(one)) if each is not None} | {Problem}
        ordered = sorted(structs, key=lambda each: (each.__name__, each.__module__))
        refs, self.components = msgspec.json.schema_components(ordered, ref_template=REF + "{name}")
        self._names = {kind: str(ref["$ref"]).removeprefix(REF) for kind, ref in zip(ordered, refs, strict=True)}
        _clean(self.components)
        self.of(Problem)["properties"]["code"]["enum"] = [each.code for each in all_errors()]

    def ref(self, kind: type[msgspec.Struct]) -> dict[str, Any]:
        """The reference to the schema of a type."""
        return {"$ref": REF + self._names[kind]}

    def of(self, kind: type[msgspec.Struct]) -> dict[str, Any]:
        """The schema of a type."""
        schema: dict[str, Any] = self.components[self._names[kind]]
        return schema


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of `routes`."""
    shown = [route for route in routes if route.documented]
    schemas = Schemas([route.operation for route in shown])
    paths: dict[str, dict[str, Any]] = {}
    for route in shown:
        for method in route.methods:
            # A catch-all is an ordinary parameter here: OpenAPI cannot express that it may contain slashes.
            path = f"/{route.path.replace('{*', '{')}"
            paths.setdefault(path, {})[method.lower()] = _describe(route, method, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Strongroom",
            "version": __version__,
            "description": "Signing, encryption, passwords, sign-in, SQL over HTTP, data files, blobs and models.\n\n"
            + _table_of_errors(),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/api"}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
                "code": {"type": "apiKey", "in": "query", "name": "code"},
                "session": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    }


def _clean(schema: object) -> None:
    """Write patterns as ECMA 262 (and so JSON Schema) has them, and descriptions alike on every Python.

    The request types end a pattern by `\\Z`, because Python's `$` also matches before a line feed at the end. Before
    Python 3.13, a docstring keeps the indentation of its lines.
    """
    if isinstance(schema, dict):
        if isinstance(pattern := schema.get("pattern"), str):
            schema["pattern"] = pattern.removesuffix(r"\Z") + "$" * pattern.endswith(r"\Z")
        if isinstance(description := schema.get("description"), str):
            schema["description"] = cleandoc(description)
        for value in schema.values():
            _clean(value)
    elif isinstance(schema, list):
        for value in schema:
            _clean(value)


def _table_of_errors() -> str:
    rows = [f"| {each.status} | `{each.code}` | {each.title} |" for each in all_errors()]
    return "\n".join(["| status | code | meaning |", "|---|---|---|", *rows])


def _describe(route: Route, method: str, schemas: Schemas) -> dict[str, Any]:
    operation = route.operation
    summary, _, more = operation.summary.partition("\n")
    described: dict[str, Any] = {
        "operationId": route.name if method == route.methods[0] else f"{route.name}-{method.lower()}",
        "summary": summary,
        "tags": [_capability(operation)],
        "security": _SECURITY[route.access],
        "responses": _responses(route, method, schemas),
    }
    if more.strip():
        described["description"] = more.strip()
    if operation.request is None:
        if method in WITH_BODY and not operation.raw:
            empty = {"schema": {"type": "object", "maxProperties": 0}, "examples": {"No fields": {"value": {}}}}
            content = {"application/json": empty}
            described["requestBody"] = {"required": route.access is Access.SESSION, "content": content}
        return described | ({"parameters": [_IDEMPOTENCY_KEY]} if operation.writes else {})
    in_path = [part.strip("{*?}") for part in route.path.split("/") if part.startswith("{")]
    schema = schemas.of(operation.request)
    in_headers = {header.replace("-", "_"): header for header in operation.headers}
    others = [name for name in schema["properties"] if name not in in_path and name not in in_headers]
    parameters = [_parameter(operation, schema, name, "path") for name in in_path]
    parameters += [_parameter(operation, schema, name, "header") | {"name": in_headers[name]} for name in in_headers]
    if method in WITH_BODY and not operation.raw:
        described["requestBody"] = _body(operation, schemas, others)
        if route.access is Access.SESSION:  # Without a body there is no Content-Type, which a session needs.
            described["requestBody"]["required"] = True
    else:
        parameters += [_parameter(operation, schema, name, "query") for name in others if name not in BODY_ONLY]
    if method in WITH_BODY and operation.raw:
        content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        described["requestBody"] = {"content": content}
    if operation.writes:
        parameters.append(_IDEMPOTENCY_KEY)
    if parameters:
        described["parameters"] = parameters
    return described


def _capability(operation: Operation) -> str:
    """The capability that handles the operation, or `app`."""
    function = getattr(operation.handle, "func", operation.handle)
    parts = str(getattr(function, "__module__", "")).split(".")
    return parts[1] if len(parts) > 2 and parts[1] != "web" else "app"


def _body(operation: Operation, schemas: Schemas, names: list[str]) -> dict[str, Any]:
    assert operation.request is not None  # noqa: S101 - _describe calls it only for functions with fields.
    described = schemas.of(operation.request)
    schema = schemas.ref(operation.request)
    if len(names) < len(described["properties"]):
        schema = {name: value for name, value in described.items() if name not in ("title", "required")}
        schema["properties"] = {name: described["properties"][name] for name in names}
        schema["required"] = [name for name in described.get("required", ()) if name in names]
    content: dict[str, Any] = {"schema": schema}
    if operation.examples:
        examples = {
            each.summary: {name: each.fields[name] for name in each.fields if name in names}
            for each in operation.examples
        }
        content["examples"] = {summary: {"value": fields} for summary, fields in examples.items()}
    return {
        "required": any(name in names for name in described.get("required", ())),
        "content": {"application/json": content},
    }


def _parameter(operation: Operation, described: dict[str, Any], name: str, location: str) -> dict[str, Any]:
    schema = _without_null(described["properties"][name])
    parameter: dict[str, Any] = {
        "name": name,
        "in": location,
        "required": location == "path" or name in described.get("required", ()),
    }
    if "description" in schema:
        parameter["description"] = schema["description"]
    shown: dict[str, Any] = {"schema": schema}
    examples = {each.summary: {"value": each.fields[name]} for each in operation.examples if name in each.fields}
    if examples:
        shown["examples"] = examples
    kinds = {each.get("type") for each in schema.get("anyOf", [schema])}
    is_json = bool(kinds & {"array", "object"}) and "string" not in kinds
    return parameter | ({"content": {"application/json": shown}} if is_json else shown)


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` for a query string, where a field can be absent but not null."""
    plain = {name: value for name, value in schema.items() if not (name == "default" and value is None)}
    if "anyOf" in plain:
        kinds = [each for each in plain["anyOf"] if each.get("type") != "null"]
        if len(kinds) == 1:
            plain = {name: value for name, value in plain.items() if name != "anyOf"} | kinds[0]
        else:
            plain["anyOf"] = kinds
    if plain.get("maxLength", 0) > MAX_QUERY_LENGTH:
        del plain["maxLength"]
    if isinstance(plain.get("enum"), list):
        plain["enum"] = [each for each in plain["enum"] if each is not None]
    return plain


def _structs(operation: Operation) -> tuple[type[msgspec.Struct], ...]:
    if isinstance(operation.response, tuple):
        return operation.response
    return () if operation.response is None else (operation.response,)


def _responses(route: Route, method: str, schemas: Schemas) -> dict[str, Any]:
    operation = route.operation
    responses: dict[str, Any] = {}
    for status, meaning in operation.statuses.items():
        response: dict[str, Any] = {"description": meaning}
        if refs := [schemas.ref(each) for each in _structs(operation)]:
            schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
            response["content"] = {
                kind: {"schema": schema if kind == "application/json" else {"type": "string"}}
                for kind in operation.media_types
            }
        elif status < 300 and status != 204:
            response["content"] = {kind: {} for kind in operation.media_types}
        responses[str(status)] = response
    if route.access is Access.FUNCTION:
        responses["401"] = {"description": "From the host, without a body: the request has no key for this function."}
    if method not in WITH_BODY:
        responses["414"] = {"description": "From the host, without a body: the request line is over 8 KiB. Use POST."}
    responses["431"] = {"description": "From the host, without a body: the headers are over 32 KiB."}
    for status, errors in sorted(_errors_by_status(route, method).items()):
        described = {
            "description": " ".join(f"`{each.code}`: {each.title}." for each in errors),
            "content": {"application/problem+json": {"schema": schemas.ref(Problem)}},
        }
        if status in (429, 503):
            described["headers"] = {"retry-after": {"description": "Seconds.", "schema": {"type": "integer"}}}
        if str(status) not in responses:
            responses[str(status)] = described
    return responses


def _errors_by_status(route: Route, method: str) -> dict[int, list[type[StrongroomError]]]:
    named: list[type[StrongroomError]] = [*ALWAYS, *route.operation.errors]
    if method in WITH_BODY:
        named.append(UnsupportedMediaType)
    if route.access is Access.SESSION:
        named.append(Unauthorized)
    if route.operation.writes:
        named += [KeyReused, StillRunning, ResponseNotKept, Unavailable]
    by_status: dict[int, list[type[StrongroomError]]] = {}
    for each in all_errors():
        if issubclass(each, tuple(named)):
            by_status.setdefault(each.status, []).append(each)
    return by_status
