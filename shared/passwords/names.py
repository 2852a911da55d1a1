"""Names of users: which names are acceptable, and which are the same.

A name is shown as it was typed, and compared by NFKC_Casefold (Unicode, section 3.13). All properties of characters
come from one table of one Unicode version (`characters.py`), so every Python decides alike.
"""

from shared.errors import invalid_field
from shared.web.fields import MAX_USER_NAME

_ZWNJ, _ZWJ = "\u200c", "\u200d"
_BLANK = "\u2800"
"""BRAILLE PATTERN BLANK: a symbol that looks like a space."""
_VIRAMA = 9
"""The canonical combining class of viramas."""


def check_name(name: str, field: str) -> str:
    """`name`, unchanged. Raises InvalidRequest, naming `field`, if no user may have it."""
    if not 1 <= len(name) <= MAX_USER_NAME:
        raise invalid_field(field, f"`{field}` has {len(name)} code points; a name has 1 to {MAX_USER_NAME}.")
    if name.strip() != name or "  " in name:
        raise invalid_field(field, f"`{field}` begins or ends with a space, or has two spaces in a row. Remove them.")
    if problem := _problem(name):
        raise invalid_field(field, f"`{field}` {problem}")
    return name


def fold_name(name: str) -> str:
    """NFKC_Casefold of `name`: equal for texts that differ only in case, in compatible letters or in ignorable ones."""
    if name.isascii():
        return name.lower()
    import unicodedata

    from shared.passwords.characters import table

    folded = name
    # A second round, because what the first one composes may fold further (Unicode, section 3.13, D147).
    for _ in range(2):
        mapped = unicodedata.normalize("NFD", folded).translate(table().nfkc_casefold)
        folded = unicodedata.normalize("NFC", mapped)
    return folded


def _problem(name: str) -> str | None:
    """What no name may have, and what to do about it; None for a name that a user may have."""
    if name.isascii():
        if not name.isprintable():
            return "has control characters. Remove them."
        return None
    from shared.passwords.characters import is_highly_restrictive, table

    characters = table()
    visible = False
    for position, character in enumerate(name):
        kind = characters.kind(character)
        if character in (_ZWNJ, _ZWJ):
            if not _is_joiner_allowed(name, position):
                return "has an invisible joiner where its script needs none (RFC 5892, appendix A). Remove it."
        elif character == _BLANK or kind in ("unassigned", "control", "ignorable"):
            return f"has the character U+{ord(character):04X}, which is not visible or not assigned. Remove it."
        elif kind == "space" and character != " ":
            return f"has the space U+{ord(character):04X}. Write U+0020 instead."
        visible = visible or kind == "visible"
    if not visible:
        return "has no letter, number, punctuation mark or symbol. Add one."
    if not (is_highly_restrictive(name) and is_highly_restrictive(fold_name(name))):
        return "mixes scripts, such as Latin and Cyrillic (UTS 39, level Highly Restrictive). Write it in one."
    return None


def _is_joiner_allowed(name: str, position: int) -> bool:
    """ContextJ of RFC 5892: appendix A.1 for ZWNJ, A.2 for ZWJ."""
    import unicodedata

    from shared.passwords.characters import table

    if position and unicodedata.combining(name[position - 1]) == _VIRAMA:
        return True
    if name[position] == _ZWJ:
        return False
    joining_type = table().joining_type
    before = next((kind for each in reversed(name[:position]) if (kind := joining_type(each)) != "T"), "U")
    after = next((kind for each in name[position + 1 :] if (kind := joining_type(each)) != "T"), "U")
    return before in "LD" and after in "RD"
