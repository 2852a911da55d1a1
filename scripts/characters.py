"""Makes the table of character properties by which names of users are judged, from Debian's package unicode-data.

Run it as `python -m scripts.characters [folder]`; the folder is /usr/share/unicode by default.
"""

import gzip
import re
import sys
from collections.abc import Iterator
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "shared" / "passwords" / "unicode.txt.gz"
OLDEST = "14.0"
"""The Unicode version of the oldest Python that the app supports."""
HEADER = """\
Unicode {version}
Made by scripts/characters.py from the Unicode Character Database, which is copyright Unicode, Inc., under the Unicode
License V3 (https://www.unicode.org/license.txt). First ranges: their first code point; v visible, m mark, s space,
c control, i default-ignorable, - unassigned, each with its Joining_Type; and Script_Extensions. Then NFKC_CF.
Combining marks newer than Unicode {oldest} count as unassigned, because older Pythons do not order them.
"""


def properties(path: Path) -> Iterator[tuple[range, list[str]]]:
    """The code points and the fields of each line of a file of the database."""
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = [each.strip() for each in line.partition("#")[0].split(";")]
        if len(fields) > 1:
            first, _, last = fields[0].partition("..")
            yield range(int(first, 16), int(last or first, 16) + 1), fields[1:]


def main(folder: Path) -> None:
    """Write the table."""
    names = {row[0]: row[1] for row in script_names(folder)}
    kinds = ["-"] * 0x110000
    joining = ["U"] * 0x110000
    scripts: list[str] = [""] * 0x110000
    newer = {point for points, (age,) in properties(folder / "DerivedAge.txt") if is_newer(age) for point in points}
    for points, (category,) in properties(folder / "extracted" / "DerivedGeneralCategory.txt"):
        for point in points:
            kinds[point] = kind_of(category)
    for points, (combining,) in properties(folder / "extracted" / "DerivedCombiningClass.txt"):
        for point in points:
            if combining != "0" and point in newer:
                kinds[point] = "-"
    for points, fields in properties(folder / "DerivedCoreProperties.txt"):
        if fields[0] == "Default_Ignorable_Code_Point":
            for point in points:
                kinds[point] = "i" if kinds[point] != "-" else "-"
    for points, (value,) in properties(folder / "extracted" / "DerivedJoiningType.txt"):
        for point in points:
            joining[point] = value
    for points, (value,) in properties(folder / "Scripts.txt"):
        for point in points:
            scripts[point] = names[value]
    for points, (value,) in properties(folder / "ScriptExtensions.txt"):
        for point in points:
            scripts[point] = value
    lines = []
    before = ""
    for point in range(0x110000):
        own = scripts[point] if scripts[point] not in ("Zyyy", "Zinh", "Zzzz") else ""
        line = f"{kinds[point]}{joining[point]} {own}".rstrip()
        if line != before:
            lines.append(f"{point:X} {line}")
            before = line
    mappings = [
        f"{point:X} {fields[1]}".rstrip()
        for points, fields in properties(folder / "DerivedNormalizationProps.txt")
        if fields[0] == "NFKC_CF"
        for point in points
        if kinds[point] != "-" or not fields[1]
    ]
    text = "\n".join([HEADER.format(version=version_of(folder), oldest=OLDEST), *lines, "", *mappings, ""])
    TARGET.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"Unicode {version_of(folder)}: {len(lines)} ranges, {len(mappings)} mappings, {TARGET.stat().st_size} bytes")


def kind_of(category: str) -> str:
    """The kind of a General_Category."""
    if category in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return "c"
    return {"C": "-", "Z": "s", "M": "m"}.get(category[0], "v")


def is_newer(age: str) -> bool:
    """Whether a character of this Age is newer than OLDEST."""
    return [int(each) for each in age.split(".")] > [int(each) for each in OLDEST.split(".")]


def script_names(folder: Path) -> Iterator[tuple[str, str]]:
    """The long and the short name of each script."""
    for line in (folder / "PropertyValueAliases.txt").read_text(encoding="utf-8").splitlines():
        fields = [each.strip() for each in line.partition("#")[0].split(";")]
        if fields[0] == "sc":
            yield fields[2], fields[1]


def version_of(folder: Path) -> str:
    """The version in the first line of a file, such as `# Scripts-15.0.0.txt`."""
    first = (folder / "Scripts.txt").read_text(encoding="utf-8").partition("\n")[0]
    match = re.fullmatch(r"# Scripts-([0-9.]+)\.txt", first)
    assert match, first  # noqa: S101 - a script that a developer runs.
    return match[1]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("/usr/share/unicode"))
