"""Rows with a keyed digest: without a key of this app, an attacker cannot make or move one in the tables."""

import hmac
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from shared.storage.errors import DamagedRow
from shared.storage.tables import WRITE_ID, Row

Document = TypeVar("Document", bound=msgspec.Struct)

_DIGEST = "digest"


class Records:
    """Makes and opens rows. `key` returns 32 bytes; it is called at first use."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._key = key

    def mac(self, purpose: str, text: str) -> bytes:
        """The HMAC-SHA256 of a text, for one purpose."""
        return hmac.digest(self._key(), f"{purpose}\n{text}".encode(), "sha256")

    def matches(self, mac: object, purpose: str, text: str, encode: Callable[[bytes], str] = bytes.hex) -> bool:
        """Whether `mac` is the encoded `mac` of this text."""
        return isinstance(mac, str) and hmac.compare_digest(mac.encode(), encode(self.mac(purpose, text)).encode())

    def row(self, partition: str, row_key: str, document: msgspec.Struct, **properties: Any) -> dict[str, Any]:
        """A row of `document`, which stays legible, and of other properties."""
        row = {
            "PartitionKey": partition,
            "RowKey": row_key,
            "document": msgspec.json.encode(document).decode(),
            **properties,
        }
        return {**row, _DIGEST: self.mac("row", _content(row)).hex()}

    def open(self, row: Row, decoder: "msgspec.json.Decoder[Document]") -> Document:
        """The document of a row that `row` made. Raises DamagedRow for any other, or if it was moved or changed."""
        if not self.matches(row.get(_DIGEST), "row", _content(row)):
            raise DamagedRow(f"The row {row['PartitionKey']}/{row['RowKey']} does not match its digest.")
        return decoder.decode(row["document"])


def _content(row: Mapping[str, Any]) -> str:
    content = sorted((name, value) for name, value in row.items() if name not in (_DIGEST, WRITE_ID))
    return msgspec.json.encode(content).decode()
