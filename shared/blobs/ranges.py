"""Ranges and ETags of requests, as HTTP means them (RFC 9110, sections 13 and 14)."""

import re
from typing import NamedTuple

_RANGE = re.compile(r"bytes=(?:(\d{1,19})-(\d{1,19})?|-(\d{1,19}))", re.ASCII)
_ETAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_ONE_ETAG = re.compile(r'"[!#-+\--~]*"')  # Printable ASCII, without quotes and commas.


class ByteRange(NamedTuple):
    """The bytes from `first` to `last` (to the end where that is None); or the last `suffix` bytes."""

    first: int = 0
    last: int | None = None
    suffix: int | None = None


def parse_range(text: str | None) -> ByteRange | None:
    """What a Range header asks for.

    None for no range, and for what a server need not understand: other units, several ranges, nonsense.
    """
    found = _RANGE.fullmatch(text.replace(" ", "")) if text else None
    if found is None:
        return None
    if found[3] is not None:
        return ByteRange(suffix=int(found[3]))
    first, last = int(found[1]), None if found[2] is None else int(found[2])
    return None if last is not None and last < first else ByteRange(first, last)


def matches(etag: str, header: str, *, weak: bool) -> bool:
    """Whether `etag` is one of those in an If-Match (strong) or If-None-Match (weak) header, which may be `*`."""
    if header.strip() == "*":
        return True
    return any(tag == etag and (weak or not weakly) for weakly, tag in _ETAG.findall(header))


def is_simple(header: str | None) -> bool:
    """Whether a condition is one strong ETag or `*`, which is all that Blob Storage understands."""
    return header is None or header.strip() == "*" or _ONE_ETAG.fullmatch(header.strip()) is not None
