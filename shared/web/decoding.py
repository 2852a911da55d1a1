"""From a request to its typed fields: the same fields, whether in the query string or in a JSON body."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from shared.errors import (
    BodyTooLarge,
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
    UnexpectedBody,
    UnsupportedMediaType,
    invalid_field,
)
from shared.web.route import Fields, Request

WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose fields stand in the body; those of all others stand in the query string."""

RESERVED = frozenset({"code", "clientid"})
"""Query parameters that the host and the portal add to any call."""

BODY_ONLY = frozenset({"batch"})
"""Field names that stand in a JSON body alone: a URL is too short for them."""

SECRETS = frozenset(
    {"password", "old_password", "new_password", "passphrase", "private_key", "secret", "token", "access_token"}
)
"""Field names that must never stand in a URL, whatever the function."""


def decode(
    kind: type[Fields] | None,
    request: Request,
    max_body_bytes: int,
    *,
    headers: tuple[str, ...] = (),
    raw: bool = False,
) -> Fields | None:
    """The fields of `request` as a `kind`. Raises a BadRequest (or 411, 413, 415) that says all that is wrong.

    `headers` are fields, too. With `raw` no field stands in the body, whose size is the handler's to judge.
    """
    pairs = query_pairs(request.url)
    _refuse_secrets(pairs)
    if not request.body and "chunked" in request.headers.get("transfer-encoding", "").lower():
        raise LengthRequired("Send the body with a Content-Length, not chunked.")
    if raw:
        return _from_query(kind, request, pairs, headers)
    if len(request.body) > max_body_bytes:
        raise BodyTooLarge(f"The body has {len(request.body)} bytes; at most {max_body_bytes} are taken.")
    if request.method in WITH_BODY:
        if pairs:
            names = ", ".join(sorted({name for name, _ in pairs}))
            raise QueryBesideBody(f"Move {names} from the query string into the JSON body.")
        return _from_body(kind, request, headers)
    if request.body:
        raise UnexpectedBody("Put the fields into the query string, or call by POST.")
    return _from_query(kind, request, pairs, headers)


def query_pairs(url: str) -> list[tuple[str, str]]:
    """Name and value of each query parameter but the reserved ones, decoded, in order; repeats and empty values stay.

    Read from the URL, because the host's own list joins repeats and drops empty values.
    """
    query = url.partition("?")[2]
    if not query:
        return []
    pairs = []
    try:
        for part in query.partition("#")[0].split("&"):
            name, _, value = part.replace("+", " ").partition("=")
            name = _unquote(name)
            if part and name.lower() not in RESERVED:
                pairs.append((name, _unquote(value)))
    except UnicodeDecodeError:
        raise NotUtf8("A query parameter is not percent-encoded UTF-8.") from None
    return pairs


def _unquote(text: str) -> str:
    return unquote_to_bytes(text).decode() if "%" in text else text


def _refuse_secrets(pairs: list[tuple[str, str]]) -> None:
    for name, value in pairs:
        if name.lower() in SECRETS or "PRIVATE KEY-----" in value:
            raise SecretInUrl(f"Send {name} in the JSON body of a POST, and replace it: this one may be in a log now.")


def _from_body(kind: type[Fields] | None, request: Request, headers: tuple[str, ...]) -> Fields | None:
    content_type = request.headers.get("content-type", "")
    # The usual header is let through without being parsed.
    if content_type not in ("", "application/json") and request.body and not _is_json(content_type):
        raise UnsupportedMediaType("Send JSON in UTF-8, with the header Content-Type: application/json.")
    if kind is None:
        return None
    body = request.body or b"{}"
    try:
        if not (request.path_fields or headers):
            return _decoder(kind).decode(body)
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parsed = _parse(body)
    if not isinstance(parsed, dict):
        raise NotAnObject('Send an object, such as {"key": "default"}.')
    return _convert(kind, parsed, request, headers)


def _is_json(content_type: str) -> bool:
    media_type, _, parameters = content_type.lower().partition(";")
    charset = re.search(r'charset\s*=\s*"?([^\s";]*)', parameters)
    is_json = media_type.strip() == "application/json" or media_type.strip().endswith("+json")
    return is_json and (charset is None or charset[1] in ("utf-8", "utf8", "us-ascii"))


@cache
def _decoder(kind: type[Fields]) -> msgspec.json.Decoder[Fields]:
    return msgspec.json.Decoder(kind)


def _parse(body: bytes) -> object:
    """`body` as plain JSON, for telling what is wrong with it."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise InvalidJson(str(error)) from None
    except UnicodeDecodeError:
        raise NotUtf8("JSON is UTF-8 (RFC 8259, section 8.1), and this body is not.") from None
    except RecursionError:
        raise NestedTooDeep("Send flatter JSON.") from None


def _from_query(
    kind: type[Fields] | None, request: Request, pairs: list[tuple[str, str]], headers: tuple[str, ...]
) -> Fields | None:
    given: dict[str, Any] = dict(pairs)
    if len(given) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise DuplicateParameter(f"Give {', '.join(repeated)} once.")
    if kind is None:
        if pairs:
            raise InvalidRequest(
                "This function takes no fields.",
                errors=tuple(FieldError(name, "is not a field of this function.") for name in given),
            )
        return None
    text_fields = _text_fields(kind)
    for name, value in pairs:
        if name in BODY_ONLY:
            raise invalid_field(name, "is taken by POST alone: a URL is too short for it.")
        if not text_fields.get(name, True):
            given[name] = _json_value(value)
    return _convert(kind, given, request, headers)


def _json_value(value: str) -> object:
    """A query parameter that is no text is JSON: `5`, `true`, `[300]`, `{"id":1}`. What is none stays text, which the
    field then refuses by name; so does `null`, since a field that is not meant is left out of a URL."""
    try:
        parsed = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value
    return value if parsed is None else parsed


@cache
def _text_fields(kind: type[Fields]) -> dict[str, bool]:
    """For each field, whether its value in a query string is text (and not JSON)."""
    from msgspec import inspect  # Only calls by URL need it.

    def is_text(found: inspect.Type) -> bool:
        if isinstance(found, inspect.Metadata):  # What `Annotated[str | None, Meta(description=…)]` becomes.
            return is_text(found.type)
        if isinstance(found, inspect.UnionType):
            return any(is_text(each) for each in found.types)
        if isinstance(found, inspect.LiteralType):
            return any(isinstance(value, str) for value in found.values)
        return isinstance(found, inspect.StrType | inspect.EnumType)

    return {each.encode_name: is_text(inspect.type_info(each.type)) for each in msgspec.structs.fields(kind)}


def _convert(kind: type[Fields], given: dict[str, Any], request: Request, headers: tuple[str, ...]) -> Fields:
    for name, value in request.path_fields.items():
        if name in given:
            raise invalid_field(name, "stands in the path already.")
        given[name] = value
    for header in headers:
        name = header.replace("-", "_")
        if name in given:
            raise invalid_field(name, f"is given by the header {header}.")
        if header in request.headers:
            given[name] = request.headers[header]
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError:
        errors = tuple(_explain(kind, given, in_url=request.method not in WITH_BODY))
    raise InvalidRequest(" ".join(f"{each.field}: {each.detail}" for each in errors[:10]), errors=errors)


def _explain(kind: type[Fields], given: dict[str, Any], *, in_url: bool) -> Iterable[FieldError]:
    """Every field that is wrong, where msgspec stops at the first."""
    known = {each.encode_name: each for each in msgspec.structs.fields(kind)}
    for name, each in known.items():
        if name not in given:
            if each.required:
                yield FieldError(name, "is missing.")
            continue
        try:
            msgspec.convert(given[name], each.type)
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `$")
            is_json = in_url and type(given[name]) is str and not _text_fields(kind)[name]
            hint = " In a URL it is JSON, such as 5, true or [300]." if is_json else ""
            yield FieldError(name + path.rstrip("`"), f"is not valid: {message[0].lower()}{message[1:]}.{hint}")
    for name in given.keys() - known.keys() if kind.__struct_config__.forbid_unknown_fields else ():
        yield FieldError(name, f"is not a field of this function, whose fields are {', '.join(known)}.")
