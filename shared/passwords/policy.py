"""Which passwords users may have (NIST SP 800-63B-4, section 3.1.1.2): long enough, and none that is guessed first.

There are no rules of composition.
"""

from collections.abc import Collection
from typing import Literal, NamedTuple

from shared.passwords.hashing import MAX_PASSWORD_BYTES
from shared.passwords.names import fold_name

Reason = Literal["too-short", "too-long", "common", "context-word"]

MIN_PART = 4
"""Shorter words of the context are in too many passwords by chance."""

_ROWS = ("abcdefghijklmnopqrstuvwxyz", "01234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "azertyuiop")
_RUNS = tuple(run for row in _ROWS for run in (row * 2, row[::-1] * 2))


class Policy(NamedTuple):
    """The rules; lengths are in code points of the NFKC form."""

    min_length: int = 15
    min_length_with_second_factor: int = 8
    service_names: tuple[str, ...] = ()

    def reasons(
        self, password: str, blocklist: Collection[str], user: str | None = None, *, second_factor: bool = False
    ) -> list[Reason]:
        """Every rule that `password` fails. `blocklist` holds common passwords, folded as names are."""
        import unicodedata

        if len(password.encode()) > 4 * MAX_PASSWORD_BYTES:
            return ["too-long"]
        normalised = unicodedata.normalize("NFKC", password)
        if len(normalised.encode()) > MAX_PASSWORD_BYTES:
            return ["too-long"]
        found: list[Reason] = []
        if len(normalised) < (self.min_length_with_second_factor if second_factor else self.min_length):
            found.append("too-short")
        folded = fold_name(normalised)
        if is_common(folded, blocklist):
            found.append("common")
        if any(word in folded for word in self._context_words(user)):
            found.append("context-word")
        return found

    def _context_words(self, user: str | None) -> set[str]:
        words = {fold_name(word) for word in self.service_names}
        if user is not None:
            name = fold_name(user)
            words |= {name, name.partition("@")[0]}
        return {word for word in words if len(word) >= MIN_PART}


def is_common(folded: str, blocklist: Collection[str]) -> bool:
    """Whether it is a common password, or two of them in a row, or one repeated.

    Runs of the alphabet, of digits or of a keyboard count as common, and so does one character repeated.
    """

    def is_known(part: str) -> bool:
        return part in blocklist or (len(part) >= MIN_PART and any(part in run for run in _RUNS)) or is_repeated(part)

    def is_repeated(part: str) -> bool:
        return len(part) > 1 and len(set(part)) == 1

    if not folded:
        return False
    if is_known(folded) or any(is_known(folded[:cut]) and is_known(folded[cut:]) for cut in range(1, len(folded))):
        return True
    period = (folded + folded).find(folded, 1)
    return period < len(folded) and (period < MIN_PART or is_common(folded[:period], blocklist))
