"""Conditional requests and ranges as HTTP defines them (RFC 9110, sections 13 and 14), decided without I/O."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

import msgspec

from shared.errors import PreconditionFailed, invalid_field
from shared.storage.errors import RangeNotSatisfiable
from shared.web.headers import names_etag

MAX_POSITION = 10**19
"""No blob is that large, and Blob Storage does not read a longer number."""
_NO_BYTES = re.compile(r"bytes=[ \t]*-0+[ \t]*", re.IGNORECASE)
_ETAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_STRONG_LIST = re.compile(r'"[!#-~]*"([ \t]*,[ \t]*"[!#-~]*")*')
_LIST = re.compile(r'(W/)?"[!#-~]*"([ \t]*,[ \t]*(W/)?"[!#-~]*")*')
_COMBINED = ({"if_match", "if_unmodified_since"}, {"if_none_match", "if_modified_since"})
_ONE_ETAG = re.compile(r'"[!#-+\--~]*"')  # Printable ASCII, without quotes and commas.


class ByteRange(NamedTuple):
    """The bytes from `first` to `last` (to the end where that is None); or the last `suffix` bytes."""

    first: int = 0
    last: int | None = None
    suffix: int | None = None


class State(NamedTuple):
    """A blob as far as conditions look at it."""

    etag: str
    last_modified: datetime
    size: int = 0


class Conditions(msgspec.Struct, frozen=True):
    """The conditional headers of a request, as sent."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None
    if_unmodified_since: str | None = None
    if_range: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is none."""
        return self == Conditions()

    @property
    def is_simple(self) -> bool:
        """Whether Blob Storage evaluates them as HTTP does: one strong ETag, no `*` that means "not at all", dates that
        are dates, and of several conditions only those of which one is ignored.

        https://learn.microsoft.com/rest/api/storageservices/specifying-conditional-headers-for-blob-service-operations
        """
        tags = (self.if_match, self.if_none_match)
        dates = (self.if_modified_since, self.if_unmodified_since)
        named = {name for name in self.__struct_fields__ if getattr(self, name) is not None}
        return (
            (len(named) <= 1 or named in _COMBINED)
            and self.if_range is None
            and (self.if_none_match or "").strip() != "*"
            and all(_is_one_etag(each) for each in tags)
            and all(each is None or parse_date(each) is not None for each in dates)
        )


def _is_one_etag(header: str | None) -> bool:
    return header is None or header.strip() == "*" or _ONE_ETAG.fullmatch(header.strip()) is not None


def evaluate(conditions: Conditions, state: State, *, reading: bool) -> Literal["proceed", "not-modified"]:
    """The effect of the conditions of a request for an existing resource (RFC 9110, section 13.2.2).

    Raises PreconditionFailed. Dates that are not dates are ignored, as section 13.1.3 says.
    """
    unmodified_since = parse_date(conditions.if_unmodified_since)
    if conditions.if_match is not None:
        if not names_etag(conditions.if_match, state.etag, weak=False):
            raise PreconditionFailed("The blob has another ETag than If-Match requires.")
    elif unmodified_since is not None and state.last_modified > unmodified_since:
        raise PreconditionFailed("The blob has changed since If-Unmodified-Since.")
    modified_since = parse_date(conditions.if_modified_since)
    if conditions.if_none_match is not None:
        if names_etag(conditions.if_none_match, state.etag, weak=True):
            if reading:
                return "not-modified"
            raise PreconditionFailed("The blob exists with an ETag that If-None-Match excludes.")
    elif reading and modified_since is not None and state.last_modified <= modified_since:
        return "not-modified"
    return "proceed"


def check_for_write(conditions: Conditions) -> None:
    """Raises InvalidRequest for If-Match and If-None-Match that are not ETags, and for weak ones that must match.

    A write whose condition nobody can evaluate must not happen (section 13.1.1).
    """
    for field, header, allowed in (
        ("if_match", conditions.if_match, _STRONG_LIST),
        ("if_none_match", conditions.if_none_match, _LIST),
    ):
        if header is not None and header.strip() != "*" and not allowed.fullmatch(header.strip()):
            raise invalid_field(field, f"`{field}` must be * or ETags in quotes, as responses contain them.")


def range_applies(if_range: str | None, state: State) -> bool:
    """Whether a Range is to be followed: without If-Range, or where that names this very state (section 13.1.5)."""
    if if_range is None:
        return True
    if _ETAG.fullmatch(if_range.strip()):
        return if_range.strip() == state.etag  # A weak one never matches.
    return parse_date(if_range) == state.last_modified


def parse_range(text: str | None) -> ByteRange | None:
    """The bytes that a Range header requests.

    None for no range, and for a header that a server may ignore: other units, several ranges, a malformed value.
    """
    if text is None:
        return None
    if _NO_BYTES.fullmatch(text):  # 416 (section 14.1.2), but werkzeug ignores it.
        return ByteRange(suffix=0)
    from werkzeug.http import parse_range_header

    parsed = parse_range_header(text)
    if parsed is None or parsed.units != "bytes" or len(parsed.ranges) != 1:
        return None
    first, end = parsed.ranges[0]
    if max(abs(first), end or 0) > MAX_POSITION:
        return None
    return ByteRange(suffix=-first) if first < 0 else ByteRange(first, None if end is None else end - 1)


def resolve_range(wanted: ByteRange, size: int) -> tuple[int, int]:
    """The first and the last byte of a range of something with `size` bytes. Raises RangeNotSatisfiable.

    werkzeug's `range_for_length` refuses more last bytes than there are, which are the whole (section 14.1.2).
    """
    if wanted.suffix is not None:
        if not (wanted.suffix and size):
            raise RangeNotSatisfiable(size)
        return max(0, size - wanted.suffix), size - 1
    if wanted.first >= size:
        raise RangeNotSatisfiable(size)
    return wanted.first, size - 1 if wanted.last is None else min(wanted.last, size - 1)


def parse_date(text: str | None) -> datetime | None:
    """An HTTP date (section 5.6.7) in UTC; None for none, and for anything that is not a date that Python can count."""
    if text is None or not text.isascii():
        return None
    try:
        parsed = parsedate_to_datetime(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
