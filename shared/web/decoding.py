"""Decodes a request into typed fields: the same fields in a query string and in a JSON body."""

import re
from functools import cache
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from shared.errors import (
    BodyTooLarge,
    DuplicateKey,
    DuplicateParameter,
    FieldError,
    InvalidJson,
    InvalidRequest,
    LengthRequired,
    NestedTooDeep,
    NotAnObject,
    NotUtf8,
    QueryBesideBody,
    SecretInUrl,
    TooManyValues,
    UnexpectedBody,
    UnsupportedMediaType,
    invalid_field,
)
from shared.web.route import HOST_PARAMETERS, Access, Fields, Operation, Request, Route

WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
"""Methods that take their fields from the body; all others take them from the query string."""

BODY_ONLY = frozenset({"batch"})
"""Fields that only a JSON body may contain, because a URL is too short for them."""

BASE64 = frozenset({"signature"})
"""Fields of base64 text whose names do not end in `_base64`."""

SECRETS = frozenset(
    {
        "password",
        "old_password",
        "new_password",
        "passphrase",
        "private_key",
        "secret",
        "token",
        "access_token",
        "refresh_token",
        "ticket",
        "recovery_code",
        "code_verifier",
    }
)
"""Fields that no URL may contain, in any function."""

FORM = "application/x-www-form-urlencoded"
MAX_ERRORS = 20
"""An error names this many wrong fields; `error_count` says how many there are."""
MAX_VALUES, MAX_CONTAINERS = 300_000, 100_000
"""The values, and the objects and lists among them, that one body may contain."""
SLICE_BYTES = 64 * 1024
MAX_NAME = 64
"""A name in an error is cut to this many characters."""

AnyFields = TypeVar("AnyFields", bound=Fields)


def decode(route: Route, operation: Operation, request: Request, max_body_bytes: int) -> Fields | None:
    """The fields of `request` for `operation`. Raises a BadRequest that lists every wrong field, or 411, 413 or 415.

    With `operation.raw`, no field is in the body, and the handler checks its size.
    """
    pairs: list[tuple[str, str]] = []
    if "?" in request.url and not operation.ignore_query:
        pairs = query_pairs(request.url, route.reserved)
        refuse_secrets(pairs)
    # Without `get`: for a missing header the worker's class raises and catches an exception, which is slow.
    headers = request.headers
    if not request.body and "transfer-encoding" in headers and "chunked" in headers["transfer-encoding"].lower():
        raise LengthRequired("Send the body with a Content-Length, not chunked.")
    if operation.raw:
        return _from_pairs(operation, request, pairs)
    if len(request.body) > max_body_bytes:
        raise BodyTooLarge(f"The body has {len(request.body)} bytes; the limit is {max_body_bytes}.")
    if request.method in WITH_BODY:
        if pairs:
            names = ", ".join(cut(name) for name in sorted({name for name, _ in pairs})[:MAX_ERRORS])
            raise QueryBesideBody(f"Move {names} from the query string into the JSON body.")
        return _from_body(route, operation, request)
    if request.body:
        raise UnexpectedBody("Put the fields into the query string, or use POST.")
    return _from_pairs(operation, request, pairs)


def cut(name: str) -> str:
    """`name` as an error shows it: at most MAX_NAME characters."""
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def query_pairs(url: str, reserved: frozenset[str] = HOST_PARAMETERS) -> list[tuple[str, str]]:
    """Name and value of each query parameter, decoded, in order; repeats and empty values stay, reserved ones do not.

    Read from the URL, because the host's own list joins repeats and drops empty values.
    """
    query = url.partition("?")[2]
    return _pairs(query.partition("#")[0], reserved) if query else []


def _pairs(text: str, reserved: frozenset[str]) -> list[tuple[str, str]]:
    pairs = []
    try:
        for part in text.split("&"):
            name, _, value = part.replace("+", " ").partition("=")
            name = _unquote(name)
            if part and name.lower() not in reserved:
                pairs.append((name, _unquote(value)))
    except UnicodeDecodeError:
        raise NotUtf8("A parameter is not percent-encoded UTF-8.") from None
    return pairs


def _unquote(text: str) -> str:
    return unquote_to_bytes(text).decode() if "%" in text else text


def refuse_secrets(pairs: list[tuple[str, str]]) -> None:
    """Raise SecretInUrl if a query parameter is a password, a private key or a token."""
    for name, value in pairs:
        if name.lower() in SECRETS or "PRIVATE KEY-----" in value:
            raise SecretInUrl(
                f"Send {cut(name)} in the JSON body of a POST, and replace it: a log may contain this one now."
            )


def _from_body(route: Route, operation: Operation, request: Request) -> Fields | None:
    content_type = request.headers.get("content-type", "")
    if operation.form and content_type.partition(";")[0].strip().lower() == FORM:
        try:
            pairs = _pairs(request.body.decode(), frozenset())
        except UnicodeDecodeError:
            raise NotUtf8("Send the form in UTF-8.") from None
        return _from_pairs(operation, request, pairs)
    # The usual header needs no parsing. Any page can make a browser send a POST without Content-Type across origins, so
    # the header is required if a session authorises the call.
    if content_type != "application/json":
        is_missing = not content_type and route.access is not Access.SESSION
        if not is_missing and (request.body or route.access is Access.SESSION) and not _is_json(content_type):
            raise UnsupportedMediaType("Send JSON in UTF-8, with the header Content-Type: application/json.")
    parsed = parse_object(request.body or b"{}")
    if operation.request is None:
        _refuse_fields(list(parsed))
        return None
    return _convert(operation, request, parsed)


def _is_json(content_type: str) -> bool:
    media_type, _, parameters = content_type.lower().partition(";")
    charset = re.search(r'charset\s*=\s*"?([^\s";]*)', parameters)
    is_json = media_type.strip() == "application/json" or media_type.strip().endswith("+json")
    return is_json and (charset is None or charset[1] in ("utf-8", "utf8", "us-ascii"))


def parse_json(body: bytes) -> object:
    """The value of a JSON body. Raises InvalidJson, NotUtf8, NestedTooDeep, DuplicateKey or TooManyValues."""
    if len(body) > MAX_VALUES:
        _refuse_too_many_values(body)
    try:
        parsed = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        from shared.web.json_errors import explain_json

        raise InvalidJson(explain_json(body, str(error))) from None
    except UnicodeDecodeError:
        raise NotUtf8("Send the JSON in UTF-8 (RFC 8259, section 8.1).") from None
    except RecursionError:
        raise NestedTooDeep("Send flatter JSON.") from None
    # Every key has a colon after it. If there are more colons than keys, some are in texts, or a key occurs twice.
    colons = body.count(b":")
    if isinstance(parsed, dict) and len(parsed) == colons:
        return parsed  # No object within has keys: a large list of numbers need not be walked.
    keys = _count_keys(parsed)
    if keys != colons and keys != _count_outside_texts(body, b":"):
        raise DuplicateKey("An object of the body contains the same key twice. Send each key once.")
    return parsed


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object, in which each name occurs once. Raises the errors of `parse_json`, and NotAnObject."""
    parsed = parse_json(data)
    if not isinstance(parsed, dict):
        raise NotAnObject('Send an object, such as {"key": "default"}.')
    return parsed


def _refuse_too_many_values(body: bytes) -> None:
    """An object of 8 bytes takes 240 bytes in memory, so the size of the body does not bound its memory."""
    containers = body.count(b"{") + body.count(b"[")
    values = body.count(b",") + containers
    if containers > MAX_CONTAINERS or values > MAX_VALUES:
        containers = _count_outside_texts(body, b"{[")
        values = _count_outside_texts(body, b",") + containers
        if containers > MAX_CONTAINERS or values > MAX_VALUES:
            raise TooManyValues(
                f"Send at most {MAX_VALUES} values in {MAX_CONTAINERS} objects and lists, or split the call."
            )


def _count_outside_texts(body: bytes, characters: bytes) -> int:
    """How often the characters occur outside of the texts of a JSON document."""
    # Without escaped quotes, every second piece between quotes is outside. In slices, since pieces cost memory.
    text = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    count = inside = 0
    for start in range(0, len(text), SLICE_BYTES):
        pieces = text[start : start + SLICE_BYTES].split(b'"')
        outside = b"".join(pieces[inside::2])
        count += sum(outside.count(character) for character in characters)
        inside ^= (len(pieces) - 1) & 1
    return count


def _count_keys(parsed: object) -> int:
    count = 0
    rest = [parsed]
    while rest:
        value = rest.pop()
        if type(value) is dict:
            count += len(value)
            rest.extend(value.values())
        elif type(value) is list:
            rest.extend(value)
    return count


def _from_pairs(operation: Operation, request: Request, pairs: list[tuple[str, str]]) -> Fields | None:
    values: dict[str, Any] = dict(pairs)
    if len(values) < len(pairs):
        names: set[str] = set()
        repeated: set[str] = set()
        for name, _ in pairs:
            (repeated if name in names else names).add(name)
        raise DuplicateParameter(f"Send {', '.join(cut(name) for name in sorted(repeated)[:MAX_ERRORS])} once.")
    kind = operation.request
    if kind is None:
        _refuse_fields(list(values))
        return None
    is_text = text_fields(kind)
    for name, value in pairs:
        if name in BODY_ONLY:
            raise invalid_field(name, f"Send `{name}` in the JSON body of a POST: a URL is too short for it.")
        if not is_text.get(name, True):
            values[name] = _json_value(value)
        elif " " in value and (name.endswith("_base64") or name in BASE64):
            raise invalid_field(
                name,
                f"`{cut(name)}` contains a space, because a '+' in a URL is a space. Write '+' as %2B, or send "
                "base64url ('-' instead of '+').",
            )
    return _convert(operation, request, values)


def _refuse_fields(names: list[str]) -> None:
    if names:
        errors = tuple(
            FieldError(cut(name), f"`{cut(name)}` is not a field: this function takes none.")
            for name in names[:MAX_ERRORS]
        )
        raise InvalidRequest("This function takes no fields.", errors=errors, error_count=len(names))


def _json_value(value: str) -> object:
    """The value of a query parameter that is not text: JSON, such as `5`, `true`, `[300]`, `{"id":1}`.

    A value that does not parse stays text, and the field then refuses it. So does `null`: leave the field out instead.
    """
    try:
        parsed = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value
    return value if parsed is None else parsed


@cache
def text_fields(kind: type[Fields]) -> dict[str, bool]:
    """For each field, whether its value in a query string is text (true) or JSON."""
    from msgspec import inspect  # Only calls by URL need it.

    def is_text(kind: inspect.Type) -> bool:
        if isinstance(kind, inspect.Metadata):  # Annotated[str | None, Meta(description=…)]
            return is_text(kind.type)
        if isinstance(kind, inspect.UnionType):
            return any(is_text(each) for each in kind.types)
        if isinstance(kind, inspect.LiteralType):
            return any(isinstance(value, str) for value in kind.values)
        return isinstance(kind, inspect.StrType | inspect.EnumType)

    return {each.encode_name: is_text(inspect.type_info(each.type)) for each in msgspec.structs.fields(kind)}


def _convert(operation: Operation, request: Request, values: dict[str, Any]) -> Fields:
    kind = operation.request
    assert kind is not None  # noqa: S101 - the callers handle functions without fields.
    for name, value in request.path_fields.items():
        if name in values:
            raise invalid_field(name, f"The path already contains `{name}`. Send it only once.")
        values[name] = value
    for header in operation.headers:
        name = header.replace("-", "_")
        if name in values:
            raise invalid_field(name, f"Send `{name}` as the header {header}.")
        if header in request.headers:
            values[name] = request.headers[header]
    if operation.in_items and values.get("batch"):
        _refuse_beside_batch(operation.in_items, values)
    return convert(kind, values, in_url=request.method not in WITH_BODY)


def _refuse_beside_batch(in_items: tuple[str, ...], values: dict[str, Any]) -> None:
    errors = tuple(
        FieldError(name, f"Move `{name}` into the items of the batch.")
        for name in in_items
        if values.get(name) is not None
    )
    if errors:
        raise InvalidRequest(" ".join(each.detail for each in errors[:5]), errors=errors)


def convert(kind: type[AnyFields], values: dict[str, Any], *, in_url: bool = False) -> AnyFields:
    """The fields of a request or of one item of a batch. Raises InvalidRequest, listing every wrong field."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError:
        pass
    from shared.web.explaining import explain, with_whole_numbers  # Only calls with a wrong field need it.

    values = with_whole_numbers(kind, values)
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError:
        errors, count = explain(kind, values, in_url=in_url)
    raise InvalidRequest(" ".join(each.detail for each in errors[:5]), errors=errors, error_count=count)
