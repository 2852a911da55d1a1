"""Says which fields of a request are wrong, and why: msgspec itself stops at the first, and quotes patterns."""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from shared.errors import FieldError
from shared.web.decoding import MAX_ERRORS, cut, text_fields
from shared.web.route import Fields


def with_whole_numbers(kind: type[msgspec.Struct], values: dict[str, Any]) -> dict[str, Any]:
    """`values` with numbers such as 5.0 or 1e1 as integers where the schema says integer (JSON Schema 2020-12, 6.1.1).

    msgspec reads such a number as a float, so this runs only after a conversion has failed.
    """

    def converted(value: Any, kind: inspect.Type) -> Any:
        if isinstance(kind, inspect.Metadata):
            return converted(value, kind.type)
        if isinstance(kind, inspect.UnionType):
            if isinstance(value, float) and any(
                isinstance(each, inspect.FloatType | inspect.AnyType) for each in kind.types
            ):
                return value
            for each in kind.types:
                changed = converted(value, each)
                if changed is not value:
                    return changed
            return value
        if isinstance(kind, inspect.IntType) and isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(kind, inspect.ListType) and isinstance(value, list):
            return [converted(each, kind.item_type) for each in value]
        if isinstance(kind, inspect.DictType) and isinstance(value, dict):
            return {name: converted(each, kind.value_type) for name, each in value.items()}
        if isinstance(kind, inspect.StructType) and isinstance(value, dict):
            types = {field.encode_name: field.type for field in kind.fields}
            return {name: converted(each, types[name]) if name in types else each for name, each in value.items()}
        return value

    changed: dict[str, Any] = converted(values, inspect.type_info(kind))
    return changed


def _form(kind: Any, message: str) -> str:
    """The description of the text whose pattern `message` names, which says more than the pattern; else ""."""

    def search(kind: inspect.Type, description: str) -> str:
        if isinstance(kind, inspect.Metadata):
            return search(kind.type, (kind.extra_json_schema or {}).get("description", description))
        if isinstance(kind, inspect.StrType):
            return description if kind.pattern and message.endswith(f"matching regex {kind.pattern!r}") else ""
        inner: tuple[inspect.Type, ...] = ()
        if isinstance(kind, inspect.UnionType):
            inner = kind.types
        elif isinstance(kind, inspect.ListType):
            inner = (kind.item_type,)
        elif isinstance(kind, inspect.DictType):
            inner = (kind.key_type, kind.value_type)
        elif isinstance(kind, inspect.StructType):
            inner = tuple(field.type for field in kind.fields)
        return next(filter(None, (search(each, description) for each in inner)), "")

    return search(inspect.type_info(kind), "")


def _why_not_json(value: str) -> str:
    """What is wrong with the JSON of a query parameter. "" if it is JSON, blank or a word: its type is wrong then."""
    from shared.web.json_errors import explain_json

    if not value.strip() or value.strip()[0].isalpha():
        return ""
    try:
        msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        return explain_json(value.encode(), str(error))
    except RecursionError:
        return "Send flatter JSON."
    return ""


def explain(kind: type[Fields], values: dict[str, Any], *, in_url: bool) -> tuple[tuple[FieldError, ...], int]:
    """The first MAX_ERRORS wrong fields, and how many there are; msgspec itself stops at the first."""
    known = {each.encode_name: each for each in msgspec.structs.fields(kind)}

    def wrong() -> Iterator[FieldError]:
        for name, each in known.items():
            if name not in values:
                if each.required:
                    yield FieldError(name, f"`{name}` is missing.")
                continue
            try:
                msgspec.convert(values[name], each.type)
            except msgspec.ValidationError as error:
                message, _, path = str(error).partition(" - at `")  # `$.a[0]`, or of a key: `key` in `$.a`
                where = cut(name + path.rpartition("$")[2].rstrip("`"))
                if "matching regex" in message and (form := _form(each.type, message)):
                    yield FieldError(where, f"`{where}` does not have the form of this field. {form}")
                    continue
                hint = ""
                if in_url and type(values[name]) is str and not text_fields(kind)[name]:
                    if reason := _why_not_json(values[name]):
                        yield FieldError(where, f"`{where}` is not JSON. {reason}")
                        continue
                    hint = " In a URL, write it as JSON, such as 5, true or [300]."
                yield FieldError(where, f"`{where}` is not valid: {message[0].lower()}{message[1:200]}.{hint}")

    known_errors = list(wrong())
    is_strict = kind.__struct_config__.forbid_unknown_fields
    unknown = [name for name in values if is_strict and name not in known]
    unknown_errors = [
        FieldError(cut(name), f"`{cut(name)}` is not a field of this function. Its fields are {', '.join(known)}.")
        for name in unknown[:MAX_ERRORS]
    ]
    return (*known_errors, *unknown_errors)[:MAX_ERRORS], len(known_errors) + len(unknown)
