"""Names of users: which there may be, and which are the same."""

from shared.errors import invalid_field

MAX_NAME_LENGTH = 128
"""In code points."""


def check_name(name: str, field: str) -> str:
    """`name`, composed (NFC). Raises InvalidRequest, naming `field`, where no user may have it."""
    import unicodedata

    composed = unicodedata.normalize("NFC", name)
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise invalid_field(field, f"has {len(name)} code points; a name has 1 to {MAX_NAME_LENGTH}.")
    if composed != composed.strip():
        raise invalid_field(field, "begins or ends with a space.")
    # Controls, invisible format characters, and what is no character or no text: two names would look the same.
    if any(unicodedata.category(each) in ("Cc", "Cf", "Cn", "Co", "Zl", "Zp") for each in composed):
        raise invalid_field(field, "has a control character, or another that cannot be seen.")
    return composed


def fold_name(name: str) -> str:
    """What is the same for names that differ only in case or in compatible letters (Unicode, section 3.13, D146)."""
    import unicodedata

    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", name).casefold())
    return unicodedata.normalize("NFKC", folded.casefold())


def key_of(name: str) -> str:
    """The key of a name in storage: a digest, since keys hold few characters, and what is tried may be a secret."""
    import hashlib

    return hashlib.sha256(fold_name(name).encode()).hexdigest()
