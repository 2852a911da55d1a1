"""Rows with a keyed digest. Needs no server."""

from typing import Any

import msgspec
import pytest

from shared.storage import Row
from shared.storage.errors import DamagedRow
from shared.storage.records import Records
from shared.storage.tables import WRITE_ID
from shared.web import encode_base64


class Note(msgspec.Struct, frozen=True):
    """A document."""

    text: str


NOTES = msgspec.json.Decoder(Note)
RECORDS = Records(lambda: bytes(32))
ROW = RECORDS.row("notes", "1", Note("hello"), owner="ada")


def test_a_row_opens_where_it_was_written() -> None:
    """The document comes back, and stays legible in the row; the mark that each write adds does not matter."""
    assert RECORDS.open(Row(ROW | {WRITE_ID: "1"}, "etag"), NOTES) == Note("hello")
    assert ROW["document"] == '{"text":"hello"}'


@pytest.mark.parametrize(
    "change",
    [
        {"document": '{"text":"other"}'},
        {"RowKey": "2"},
        {"PartitionKey": "other"},
        {"owner": "eve"},
        {"more": 1},
        {"digest": ""},
        {"digest": "é"},
        {"digest": 5},
        {"digest": None},
    ],
    ids=str,
)
def test_a_row_that_was_changed_or_moved_is_damaged(change: dict[str, Any]) -> None:
    """A change of any column, of the place or of the digest is found."""
    with pytest.raises(DamagedRow):
        RECORDS.open(Row(ROW | change, "etag"), NOTES)


def test_a_row_of_another_key_is_damaged() -> None:
    """A row that was written under another key does not open, nor one without a digest."""
    with pytest.raises(DamagedRow):
        Records(lambda: b"1" * 32).open(Row(ROW, "etag"), NOTES)
    with pytest.raises(DamagedRow):
        RECORDS.open(Row({name: value for name, value in ROW.items() if name != "digest"}, "etag"), NOTES)


def test_each_purpose_has_its_own_digests() -> None:
    """A digest for one purpose is none for another, and each is compared in the encoding of its column."""
    mac = RECORDS.mac("share", "text")
    assert RECORDS.matches(mac.hex(), "share", "text")
    assert RECORDS.matches(encode_base64(mac), "share", "text", encode_base64)
    assert not RECORDS.matches(mac.hex(), "query", "text")
    assert not RECORDS.matches(mac.hex(), "share", "text", encode_base64)
    assert not RECORDS.matches(None, "share", "text")
