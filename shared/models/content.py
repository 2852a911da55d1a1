"""What the bytes of a blob are, by Google's Magika: the model's inputs, its verdict, and whether the name agrees. Pure.

The features and rules are those of the magika package 1.0 (https://github.com/google/magika), whose model and tables
the app reads. Importing the package itself would load onnxruntime into the worker.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

COMPARED = {
    "archive": "archive",
    "audio": "audio",
    "code": "text",
    "document": "document",
    "executable": "executable",
    "image": "image",
    "text": "text",
    "video": "video",
}
"""The groups that are compared with a name's ending and a Content-Type: code counts as text."""
GENERIC_TYPES = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/x-www-form-urlencoded"})
"""Content-Types that say nothing."""
TEXT, UNKNOWN, EMPTY = "txt", "unknown", "empty"


class Config(msgspec.Struct, frozen=True):
    """The model's `config.min.json`."""

    beg_size: int
    mid_size: int
    end_size: int
    block_size: int
    padding_token: int
    min_file_size_for_dl: int
    medium_confidence_threshold: float
    target_labels_space: list[str]
    thresholds: dict[str, float]
    overwrite_map: dict[str, str]


class ContentType(msgspec.Struct, frozen=True):
    """An entry of `content_types_kb.min.json`."""

    mime_type: str | None
    group: str | None
    extensions: list[str]
    is_text: bool


_CONFIG = msgspec.json.Decoder(Config)
_CONTENT_TYPES = msgspec.json.Decoder(dict[str, ContentType])


class Identified(msgspec.Struct, frozen=True):
    """The content of a blob."""

    label: str
    """Magika's name for the type, such as `png`; `txt` or `unknown` where it is not sure, `empty` for no bytes."""
    mime_type: str
    group: str
    score: float
    mismatch: bool
    """Whether the group of the content differs from that of the name's ending, or of the stored Content-Type."""


class Magika:
    """The rules around the model, with its tables."""

    def __init__(self, config: Config, content_types: Mapping[str, ContentType]) -> None:
        self.config = config
        self._types = content_types
        self._by_extension: dict[str, set[str]] = {}
        self._by_mime_type: dict[str, set[str]] = {}
        for each in content_types.values():
            group = each.group or ""
            for extension in each.extensions:
                self._by_extension.setdefault(extension.lower(), set()).add(group)
            if each.mime_type:
                self._by_mime_type.setdefault(each.mime_type, set()).add(group)

    def features(self, size: int, first: bytes, last: bytes) -> list[int] | None:
        """The model's input, from the first and last block of a blob; None where there are too few bytes for it."""
        config = self.config
        if size < config.min_file_size_for_dl:
            return None
        begin, end = first.lstrip()[: config.beg_size], last.rstrip()[-config.end_size :]
        if len(begin) < config.min_file_size_for_dl:
            return None
        padding = config.padding_token
        return [
            *begin,
            *[padding] * (config.beg_size - len(begin)),
            *[padding] * (config.end_size - len(end)),
            *end,
        ]

    def without_model(self, size: int, first: bytes) -> tuple[str, float]:
        """The label and score of a blob with too few bytes for the model."""
        if size == 0:
            return EMPTY, 1.0
        try:
            first.decode()
        except UnicodeDecodeError:
            return UNKNOWN, 1.0
        return TEXT, 1.0

    def verdict(self, scores: Sequence[float]) -> tuple[str, float]:
        """The label and score for the model's output. Where the score is low, the label is `txt` or `unknown`."""
        config = self.config
        best = max(range(len(scores)), key=scores.__getitem__)
        score = scores[best]
        predicted = config.target_labels_space[best]
        label = config.overwrite_map.get(predicted, predicted)
        if score >= config.thresholds.get(predicted, config.medium_confidence_threshold):
            return label, score
        return (TEXT if self._types[label].is_text else UNKNOWN), score

    def identified(self, label: str, score: float, name: str, content_type: str) -> Identified:
        """The result for a blob of this name and stored Content-Type."""
        entry = self._types[label]
        mime_type = entry.mime_type or ("text/plain" if entry.is_text else "application/octet-stream")
        group = entry.group or "unknown"
        return Identified(label, mime_type, group, score, self._is_mismatch(label, group, name, content_type))

    def _is_mismatch(self, label: str, group: str, name: str, content_type: str) -> bool:
        compared = COMPARED.get(group)
        if label in (UNKNOWN, EMPTY) or compared is None:
            return False
        expected = (self._groups_of_name(name), self._groups_of_type(content_type))
        return any(groups and compared not in groups for groups in expected)

    def _groups_of_name(self, name: str) -> set[str]:
        stem, dot, extension = name.rpartition("/")[2].rpartition(".")
        return _compared(self._by_extension.get(extension.lower(), set())) if dot and stem else set()

    def _groups_of_type(self, content_type: str) -> set[str]:
        essence = content_type.partition(";")[0].strip().lower()
        if essence in GENERIC_TYPES:
            return set()
        major = essence.partition("/")[0]
        if major in ("audio", "image", "text", "video"):
            return {major} | _compared(self._by_mime_type.get(essence, set()))
        return _compared(self._by_mime_type.get(essence, set()))


def _compared(groups: set[str]) -> set[str]:
    """The groups as they are compared; none where one of them is not."""
    return {COMPARED[each] for each in groups} if groups <= COMPARED.keys() else set()


def read_config(data: bytes) -> Config:
    """The model's configuration. Raises ValueError for one of another kind."""
    config = _CONFIG.decode(data)
    fields: dict[str, Any] = msgspec.json.decode(data)
    if config.mid_size or fields.get("use_inputs_at_offsets"):
        raise ValueError("The model takes other features than this module computes.")
    return config


def read_content_types(data: bytes) -> dict[str, ContentType]:
    """The content types by their labels."""
    return _CONTENT_TYPES.decode(data)
