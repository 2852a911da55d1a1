"""Recovery codes: ten codes of 120 bits, of which each works once. Pure."""

import base64
import re

CODES = 10
CODE_BYTES = 15
GROUP = 4
RANDOM_BYTES = CODES * CODE_BYTES

_CODE = re.compile(r"[A-Z2-7]{24}")
_SEPARATORS = re.compile(r"[\s\-‐‑‒–—−]+")
"""Spaces, and the dashes that word processors make of a hyphen."""


def new_codes(random: bytes) -> list[str]:
    """Ten codes from 150 random bytes: 24 letters and digits of base32 each, in groups of four."""
    if len(random) != RANDOM_BYTES:
        raise ValueError("Recovery codes are made of 150 random bytes.")
    codes = []
    for start in range(0, RANDOM_BYTES, CODE_BYTES):
        text = base64.b32encode(random[start : start + CODE_BYTES]).decode()
        codes.append("-".join(text[each : each + GROUP] for each in range(0, len(text), GROUP)))
    return codes


def normalised(code: str) -> str | None:
    """The 24 characters of a code in upper case, without dashes and spaces; None for a text that cannot be a code."""
    text = _SEPARATORS.sub("", code).upper()
    return text if _CODE.fullmatch(text) else None
