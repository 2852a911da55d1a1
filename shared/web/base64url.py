"""Base64 (RFC 4648) in requests and responses."""

import binascii
import re

from shared.errors import invalid_field

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_LAST = {2: "AQgw", 3: "AEIMQUYcgkosw048"}
"""The last characters whose bits beyond the last byte are zero, by how many characters the last group has."""
_TO_URL = bytes.maketrans(b"+/", b"-_")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


def encode_base64(data: bytes) -> str:
    """`data` as base64url without padding (RFC 4648, section 5; RFC 7515, appendix C)."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=").decode()


def decode_base64(text: str, field: str) -> bytes:
    """The bytes of base64 or base64url text, padded or not, also in lines. Raises InvalidRequest, naming `field`."""
    try:
        # The `base64` command and MIME (RFC 2045) write lines.
        encoded = text.encode("ascii").translate(_TO_STANDARD, b"\r\n")
        data = encoded.rstrip(b"=")
        if len(encoded) - len(data) > 2:
            raise ValueError
        return binascii.a2b_base64(data + b"=" * (-len(data) % 4), strict_mode=True)
    except ValueError:
        raise invalid_field(field, f"`{field}` is not base64 or base64url (RFC 4648).") from None


def decode_strictly(text: str) -> bytes:
    """The bytes of base64url as in RFC 7515, section 2: no padding, no other characters, one form of each value.

    Raises ValueError.
    """
    rest = len(text) % 4
    if not _BASE64URL.fullmatch(text) or rest == 1 or (rest and text[-1] not in _LAST[rest]):
        raise ValueError("The text is not base64url (RFC 7515, section 2).")
    return binascii.a2b_base64(text.encode("ascii").translate(_TO_STANDARD) + b"=" * (-rest % 4))
