"""Batches: one call with up to 1,000 items, each of which gets its own result or its own problem."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from shared.errors import FieldError, InternalError, InvalidRequest, StrongroomError, Unavailable
from shared.web.decoding import convert
from shared.web.respond import log_cause, problem_fields
from shared.web.route import Fields

MAX_ITEMS = 1000
MAX_REFERENCE = 256
BATCH_SECONDS = 100.0
"""Instead of STRONGROOM_CALL_SECONDS, for a batch in which each item calls storage."""

Item = TypeVar("Item", bound=Fields)
Prepared = TypeVar("Prepared")

Reference = Annotated[
    str, msgspec.Meta(description="A text of your own, which the item's result repeats.", max_length=MAX_REFERENCE)
]


class BatchResponse(msgspec.Struct, frozen=True):
    """The results of a batch, in its order. Each is the response that the call would get alone, or a problem (RFC 9457)
    with its `status` and `code`; and the item's `reference`, if it has one."""

    results: list[Any]


def batch_of(kind: type[Fields]) -> msgspec.Meta:
    """The limits and the schema of a field `batch`: `Annotated[list[Any], batch_of(Item)] | None`.

    Its items are decoded one by one, so each has its own problem. `Operation.in_items` names the fields that belong
    in them.
    """
    msgspec.json.Decoder(kind)  # Examined here, under the capability's lock, and not first by many threads at once.
    schema = msgspec.json.schema(kind)["$defs"][kind.__name__]
    item = {name: value for name, value in schema.items() if name != "title"}
    return msgspec.Meta(
        description=f"Up to {MAX_ITEMS} items, each with its own result.",
        min_length=1,
        max_length=MAX_ITEMS,
        extra_json_schema={"items": {"anyOf": [item, {"description": "Any other value gets a problem of its own."}]}},
    )


def check_alone(fields: Fields, kind: type[Fields]) -> None:
    """Raise InvalidRequest if a call without a batch lacks fields that an item of `kind` requires.

    The type of the call cannot require them: with a batch, they are in its items.
    """
    required = [each.name for each in msgspec.structs.fields(kind) if each.required]
    missing = [name for name in required if getattr(fields, name) is None]
    if missing:
        errors = tuple(FieldError(name, f"`{name}` is missing. Send it, or a `batch`.") for name in missing)
        raise InvalidRequest(" ".join(each.detail for each in errors), errors=errors)


def respond_batch(items: Sequence[object], kind: type[Item], respond: Callable[[Item], object]) -> BatchResponse:
    """The result of `respond` for each item, or a problem. One bad item never affects another.

    The mechanism repeats the `reference` of an item of a type that has one: results need only a field for it. Raises
    Unavailable if a backing service is down: then the whole batch should be repeated.
    """
    return respond_together(items, kind, respond, lambda results: results)


def respond_together(
    items: Sequence[object],
    kind: type[Item],
    prepare: Callable[[Item], Prepared],
    respond: Callable[[list[Prepared]], Sequence[object]],
) -> BatchResponse:
    """As `respond_batch`, where handling all items at once costs less: `respond` gets what `prepare` returned for the
    valid items, and returns for each, in their order, its result or its StrongroomError."""
    results: list[object] = []
    prepared: list[Prepared] = []
    positions: list[int] = []
    for position, item in enumerate(items):
        try:
            if not isinstance(item, dict):
                raise InvalidRequest("An item of a batch is an object with the fields of the call.")
            prepared.append(prepare(convert(kind, item)))
        except Unavailable:
            raise
        except StrongroomError as error:
            results.append(_problem(error, item))
        except Exception as error:  # noqa: BLE001 - the other items must get their results.
            log_cause(error, "batch")
            results.append(_problem(InternalError(), item))
        else:
            positions.append(position)
            results.append(None)
    for position, result in zip(positions, respond(prepared) if prepared else (), strict=True):
        results[position] = _referenced(result, items[position])
    return BatchResponse(results)


def _referenced(result: object, item: Any) -> object:
    """The result of an item, with the item's reference."""
    if isinstance(result, StrongroomError):
        return _problem(result, item)
    if "reference" in item and isinstance(result, msgspec.Struct):
        return msgspec.structs.replace(result, reference=item["reference"])
    return result


def _problem(error: StrongroomError, item: object) -> dict[str, object]:
    reference = item.get("reference") if isinstance(item, dict) else None
    is_valid = isinstance(reference, str) and len(reference) <= MAX_REFERENCE
    return problem_fields(error) | ({"reference": reference} if is_valid else {})
