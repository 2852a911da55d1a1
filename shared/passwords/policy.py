"""Which passwords users may have (NIST SP 800-63B-4, section 3.1.1.2): long enough, and not among the first guesses.

There are no rules of composition.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from functools import cache
from itertools import pairwise
from typing import Literal, NamedTuple

from shared.passwords.hashing import MAX_PASSWORD_BYTES
from shared.passwords.names import fold_name

Reason = Literal["too-short", "too-long", "common", "context-word", "breached"]

MIN_PART = 4
"""Shorter entries of the blocklist and shorter service names are in too many passwords by chance."""
MIN_NAME_PART = 5
"""The same for parts of the user's name."""
MAX_UNIT = 4
"""A repetition of so few characters is a short one, and so is anything that occurs three times in a row."""
MIN_RUN = 3
"""A keyboard walk changes its place only after so many neighbouring keys: `1qaz2wsx3edc` does after four."""

MAX_ENTRIES = 64
"""A longer text is not split into two entries: the time grows with the square of its length."""

_SEPARATORS = " -_.,:;/+*#@&!?|~="
_LAYOUTS = (
    # Each row with its offset, in keys.
    (("`1234567890-=", 0.0), ("qwertyuiop[]", 1.5), ("asdfghjkl;'", 1.75), ("zxcvbnm,./", 2.25)),
    (("^1234567890ß", 0.0), ("qwertzuiopü+", 1.5), ("asdfghjklöä#", 1.75), ("yxcvbnm,.-", 2.25)),
    (("²&é\"'(-è_çà)=", 0.0), ("azertyuiop^$", 1.5), ("qsdfghjklmù*", 1.75), ("wxcvbn,;:!", 2.25)),
    (("789", 0.0), ("456", 0.0), ("123", 0.0)),
    (("abcdefghijklmnopqrstuvwxyz", 0.0),),
    (("01234567890", 0.0),),
)
_SHIFTED = str.maketrans('~!@#$%^&*()_+{}:"<>?', "`1234567890-=[];',./")


class Policy(NamedTuple):
    """The rules; lengths are in code points."""

    min_length: int = 15
    min_length_with_second_factor: int = 8
    service_names: tuple[str, ...] = ()

    def reasons(
        self, password: str, blocklist: Collection[str], user: str | None = None, *, second_factor: bool = False
    ) -> list[Reason]:
        """Every rule that `password` fails. `blocklist` contains common passwords, folded as names are."""
        import unicodedata

        if len(password.encode()) > 4 * MAX_PASSWORD_BYTES:
            return ["too-long"]
        normalised = unicodedata.normalize("NFKC", password)
        if len(normalised.encode()) > MAX_PASSWORD_BYTES:
            return ["too-long"]
        failed: list[Reason] = []
        # Both forms: one character may stand for eighteen, and three for one.
        if min(len(password), len(normalised)) < self.least(second_factor=second_factor):
            failed.append("too-short")
        folded = fold_name(normalised)
        if password and is_common(folded, blocklist):
            failed.append("common")
        if any(word in folded for word in self._context_words(user)):
            failed.append("context-word")
        return failed

    def least(self, *, second_factor: bool) -> int:
        """The minimum length."""
        return self.min_length_with_second_factor if second_factor else self.min_length

    def _context_words(self, user: str | None) -> set[str]:
        words = {word for each in self.service_names if len(word := fold_name(each)) >= MIN_PART}
        return words if user is None else words | set(name_parts(user))


def name_parts(user: str) -> Iterator[str]:
    """The name of a user, folded; the part before the @; and the words in it, of five characters and more."""
    name = fold_name(user)
    parts = {name, name.partition("@")[0], *re.split(r"[\W_]+", name), *re.split(r"[\W\d_]+", name)}
    yield from (part for part in parts if len(part) >= MIN_NAME_PART)


def is_common(folded: str, blocklist: Collection[str]) -> bool:
    """Whether it is one or two entries of the blocklist, a keyboard walk, or a short repetition.

    Two entries may be joined by a separator, and digits and separators may follow. Within the two, walks of the
    keyboard or the alphabet and one repeated character count as entries.
    """
    if not folded:
        return True  # Only invisible characters.
    if is_repetition(folded) or is_walk(folded):
        return True
    shortest = max(1, len(folded.rstrip(_SEPARATORS + "0123456789")))
    longest = min(len(folded), MAX_ENTRIES)
    return any(_is_one_or_two_entries(folded[:end], blocklist) for end in range(shortest, longest + 1))


def _is_one_or_two_entries(text: str, blocklist: Collection[str]) -> bool:
    def is_entry(part: str) -> bool:
        return part in blocklist or (len(part) > 1 and len(set(part)) == 1) or (len(part) >= MIN_PART and is_walk(part))

    if is_entry(text):
        return True
    for cut in range(1, len(text)):
        if is_entry(text[:cut]):
            rest = text[cut:]
            if is_entry(rest) or (rest[0] in _SEPARATORS and is_entry(rest[1:])):
                return True
    return False


def is_walk(text: str) -> bool:
    """Whether all characters are runs of three or more neighbouring keys, of one layout, or of the alphabet."""
    return any(_is_walk_on(text, number) for number in range(len(_LAYOUTS)))


def _is_walk_on(text: str, layout: int) -> bool:
    keys = _keys(layout)
    positions = [keys.get(each) or keys.get(each.translate(_SHIFTED)) for each in text]
    run = 1
    for before, after in pairwise(positions):
        if before is None or after is None:
            return False
        if _are_neighbours(before, after):
            run += 1
        elif run < MIN_RUN:
            return False
        else:
            run = 1
    return run >= MIN_RUN


@cache
def _keys(layout: int) -> dict[str, tuple[int, float]]:
    return {key: (row, offset + x) for row, (keys, offset) in enumerate(_LAYOUTS[layout]) for x, key in enumerate(keys)}


def _are_neighbours(one: tuple[int, float], other: tuple[int, float]) -> bool:
    rows, distance = abs(one[0] - other[0]), abs(one[1] - other[1])
    return distance <= 1 if rows == 0 else rows == 1 and distance < 1


def is_repetition(text: str) -> bool:
    """Whether it is a unit of at most four characters, or of any length three times, with at most one changed."""
    for unit in range(1, max(min(MAX_UNIT, len(text) // 2), -(-len(text) // 3)) + 1):
        changed = 0
        for start in range(unit):
            column = text[start::unit]
            changed += len(column) - Counter(column).most_common(1)[0][1]
            if changed > 1:
                break
        if changed <= 1:
            return True
    return False
