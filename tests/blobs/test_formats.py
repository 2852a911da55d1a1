"""The formats of a listing. Needs no server."""

import csv
import io
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from shared.blobs.formats import Csv, Json, Lines, Names, columns
from shared.blobs.listing import Blob, Container, Copy, Item, Prefix

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
blobs = st.builds(
    Blob,
    name=names,
    size=st.integers(0, 2**60),
    content_type=st.none() | names,
    last_modified=names,
    etag=names,
    tier=st.none() | names,
    url=names,
    metadata=st.dictionaries(names, names, max_size=2),
)
items = st.lists(blobs | st.builds(Prefix, prefix=names), max_size=12)


def in_slices(sink: Json | Lines, added: list[Item], size: int) -> None:
    """Add `added` to `sink`, a few at a time."""
    for start in range(0, len(added), size):
        sink.add(added[start : start + size])


def blobs_of(added: list[Item]) -> list[Blob]:
    """The blobs among `added`."""
    return [each for each in added if isinstance(each, Blob)]


@given(items, st.integers(1, 5), st.none() | names)
def test_json_holds_every_item(added: list[Item], size: int, cursor: str | None) -> None:
    """JSON has the blobs and the prefixes, each in order, and the cursor."""
    sink = Json("blobs")
    in_slices(sink, added, size)
    response = json.loads(sink.response(cursor).body)
    assert [(each["name"], each["size"], each["metadata"]) for each in response["blobs"]] == [
        (each.name, each.size, each.metadata) for each in blobs_of(added)
    ]
    assert response["prefixes"] == [each.prefix for each in added if isinstance(each, Prefix)]
    assert response["cursor"] == cursor


def test_json_of_containers_has_no_prefixes() -> None:
    """A listing of containers has `containers` and the cursor, and no fields of blobs."""
    sink = Json("containers")
    sink.add([Container("a", "t", '"e"', "u", None)])
    assert json.loads(sink.response(None).body) == {
        "containers": [{"name": "a", "last_modified": "t", "etag": '"e"', "url": "u", "public_access": None}],
        "cursor": None,
    }


@given(items, st.integers(1, 5))
def test_lines_hold_every_item_in_order(added: list[Item], size: int) -> None:
    """Lines of JSON have every item in the order of the listing; a prefix is an object with that member."""
    sink = Lines()
    in_slices(sink, added, size)
    body = sink.response(None).body
    assert [json.loads(line).get("name") or json.loads(line)["prefix"] for line in body.split(b"\n")[:-1]] == [
        each.name if isinstance(each, Blob) else each.prefix for each in added if not isinstance(each, Container)
    ]


@given(items, st.integers(1, 5))
def test_names_differ(added: list[Item], size: int) -> None:
    """Each name is one line, and parsing the line returns the name, whatever it contains."""
    sink = Names()
    in_slices(sink, added, size)
    lines = sink.response(None).body.decode().split("\n")[:-1]
    unescaped = [re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), line) for line in lines]
    assert unescaped == [each.prefix if isinstance(each, Prefix) else each.name for each in added]


@given(items, st.integers(1, 5))
def test_csv_reads_back(added: list[Item], size: int) -> None:
    """CSV has a header line and a line for each item, which a CSV reader reads back to the same values."""
    sink = Csv(columns(Blob, ("metadata",)))
    in_slices(sink, added, size)
    rows = list(csv.DictReader(io.StringIO(sink.response(None).body.decode(), newline="")))
    assert len(rows) == len(added)
    for row, each in zip(rows, added, strict=True):
        assert list(row) == [
            *("name", "size", "content_type", "last_modified", "etag", "tier", "url"),
            "metadata",
        ]
        if isinstance(each, Blob):
            assert row["name"] == each.name
            assert int(row["size"]) == each.size
            assert row["tier"] == (each.tier or "")
            assert json.loads(row["metadata"]) == each.metadata
        else:
            assert list(filter(None, row.values())) == [each.prefix if isinstance(each, Prefix) else each.name]


def test_csv_has_a_column_for_what_is_included() -> None:
    """Each included field has its columns, and a value that is not a scalar is JSON in its cell."""
    included = ("snapshots", "versions", "deleted", "tags", "copy")
    sink = Csv(columns(Blob, included))
    sink.add([Blob("n", 1, None, "t", "e", None, "u", deleted=True, tags={"a": "b"}, copy=Copy("id"))])
    row = next(csv.DictReader(io.StringIO(sink.response(None).body.decode(), newline="")))
    assert row["deleted"] == "true"
    assert json.loads(row["tags"]) == {"a": "b"}
    assert json.loads(row["copy"]) == {"id": "id"}
    assert row["snapshot"] == row["version_id"] == row["remaining_retention_days"] == ""


@given(items, items, st.sampled_from([lambda: Json("blobs"), Lines, Names, lambda: Csv(columns(Blob, ()))]))
def test_what_was_added_after_a_mark_can_be_dropped(kept: list[Item], dropped: list[Item], make: object) -> None:
    """A sink that is reset to a mark contains only what was added before the mark."""
    assert callable(make)
    sink, other = make(), make()
    sink.add(kept)
    mark, size = sink.mark(), sink.size
    sink.add(dropped)
    sink.reset(mark)
    assert sink.size == size
    other.add(kept)
    assert sink.response("c") == other.response("c")


def test_headers_say_whether_lines_go_on() -> None:
    """Headers say that more lines follow; after the last lines they do not."""
    assert Lines().response("c").headers == {"x-truncated": "true", "x-cursor": "c"}
    assert Lines().response(None).headers == {}
