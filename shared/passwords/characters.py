"""Properties of characters, from one table of one Unicode version: `unicode.txt.gz`, by `scripts/characters.py`."""

from bisect import bisect_right
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["visible", "mark", "space", "control", "ignorable", "unassigned"]

_KINDS: dict[str, Kind] = {"v": "visible", "m": "mark", "s": "space", "c": "control", "i": "ignorable"}

# UTS 39, section 5.1: the sets of scripts that are written together in Japanese, Korean, and Chinese with Bopomofo.
_AUGMENTED = {
    "Hani": {"Hanb", "Jpan", "Kore"},
    "Hira": {"Jpan"},
    "Kana": {"Jpan"},
    "Hang": {"Kore"},
    "Bopo": {"Hanb"},
}
_TOGETHER = ("Jpan", "Kore", "Hanb")


class Table(NamedTuple):
    """Ranges by their first code point, each with its properties; and the mapping NFKC_CF."""

    version: str
    starts: list[int]
    kinds: list[str]
    """Two characters for each range: its kind and its Joining_Type."""
    scripts: list[frozenset[str]]
    """Script_Extensions; empty for Common and Inherited."""
    nfkc_casefold: dict[int, str]

    def _range(self, character: str) -> int:
        return bisect_right(self.starts, ord(character)) - 1

    def kind(self, character: str) -> Kind:
        """The kind of the character in a name; all whitespace that is not a control character is `space`."""
        return _KINDS.get(self.kinds[self._range(character)][0], "unassigned")

    def joining_type(self, character: str) -> str:
        """The property Joining_Type: U, C, D, L, R or T."""
        return self.kinds[self._range(character)][1]

    def script_extensions(self, character: str) -> frozenset[str]:
        """The property Script_Extensions; empty for Common and Inherited, which go with every script."""
        return self.scripts[self._range(character)]


@cache
def table() -> Table:
    """The table. Read once, at the first text that is not ASCII."""
    import gzip

    text = gzip.decompress(Path(__file__).with_name("unicode.txt.gz").read_bytes()).decode()
    header, ranges, mappings = text.split("\n\n")
    rows = [line.split(" ") for line in ranges.splitlines()]
    folded = {}
    for line in mappings.splitlines():
        first, _, points = line.partition(" ")
        folded[int(first, 16)] = "".join(chr(int(each, 16)) for each in points.split())
    return Table(
        header.splitlines()[0].removeprefix("Unicode "),
        [int(row[0], 16) for row in rows],
        [row[1] for row in rows],
        [frozenset(row[2:]) for row in rows],
        folded,
    )


def is_highly_restrictive(text: str) -> bool:
    """Whether the scripts of `text` are at the level Highly Restrictive of UTS 39, section 5.2, or stricter."""
    characters = table()
    extensions = [scripts for each in set(text) if (scripts := characters.script_extensions(each))]
    if not extensions:
        return True
    augmented = [scripts.union(*(_AUGMENTED.get(each, ()) for each in scripts)) for scripts in extensions]
    if frozenset.intersection(*augmented):
        return True
    return any(all("Latn" in scripts or together in scripts for scripts in augmented) for together in _TOGETHER)
