"""How the app delivers a blob: through the app, by a redirect, or not at all; and with which headers. No I/O."""

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from shared.blobs.conditions import Conditions, State, evaluate, parse_range, range_applies, resolve_range
from shared.blobs.errors import BlobTooLarge, ScriptDestination
from shared.blobs.media_types import OCTET_STREAM, SCRIPT_DESTINATIONS, essence, security_policy
from shared.blobs.names import disposition
from shared.errors import PreconditionFailed

_VISIBLE = re.compile(r"[\x20-\x7e]+")
_KEPT = ("etag", "last-modified", "content-encoding", "content-language")


class Delivery(msgspec.Struct, frozen=True):
    """The blobs that the app delivers itself, and how callers reach it."""

    most: int
    """The most bytes of a blob that pass through the app."""
    inline_html: bool = False
    private: bool = False
    """Whether only a private network reaches the storage account, so that a redirect leads nowhere."""
    url: str = ""
    """`STRONGROOM_URL`; "" where it is not known."""
    proxies: int = 0
    """`STRONGROOM_PROXIES`."""


class Plan(NamedTuple):
    """The response to a GET: nothing (`not-modified`), the bytes from `first` to `last`, or a URL at the account."""

    kind: Literal["not-modified", "whole", "part", "redirect"]
    first: int = 0
    last: int = -1

    @property
    def length(self) -> int:
        return self.last - self.first + 1


def plan(conditions: Conditions, range_header: str | None, state: State, delivery: Delivery) -> Plan:
    """How to respond to a GET. Raises PreconditionFailed, RangeNotSatisfiable and BlobTooLarge.

    A client repeats its Range and its conditions at the location of a redirect, and Blob Storage does not understand
    all of them: it ignores If-Range (and would send bytes of another state), ranges from the end, and lists of ETags.
    So a redirect is only for what it understands; a range that it does not is sent from here, as much as passes.
    """
    if evaluate(conditions, state, reading=True) == "not-modified":
        return Plan("not-modified")
    wanted = parse_range(range_header)
    if wanted is not None and range_applies(conditions.if_range, state):
        first, last = resolve_range(wanted, state.size)
        understood = conditions.is_simple and wanted.suffix is None
        if last - first < delivery.most:
            return Plan("part", first, last)
        if understood and not delivery.private:
            return Plan("redirect", first, last)
        return Plan("part", first, first + delivery.most - 1)
    if state.size <= delivery.most:
        return Plan("whole", 0, state.size - 1)
    if wanted is not None:
        raise PreconditionFailed("The blob has changed since the download began. Start again, without Range.")
    if delivery.private:
        raise BlobTooLarge(f"The blob has {state.size} bytes. Request ranges of at most {delivery.most} bytes.")
    if not conditions.is_simple:
        raise BlobTooLarge(
            f"The blob has {state.size} bytes, so they come from the storage account, which does not understand these "
            "conditions. Send one strong ETag, or none."
        )
    return Plan("redirect", 0, state.size - 1)


def check_destination(headers: Mapping[str, str]) -> None:
    """Raises ScriptDestination where a browser would run the blob in this app's origin (Fetch Metadata)."""
    destination = headers.get("sec-fetch-dest", "").strip().lower()
    if destination in SCRIPT_DESTINATIONS:
        raise ScriptDestination(
            f"The browser requests the blob as `{destination}`. Open it as a document, or fetch it."
        )


def state_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a 304 (RFC 9110, section 15.4.5)."""
    return {name: headers[name] for name in ("etag", "last-modified") if name in headers}


def blob_headers(headers: Mapping[str, str], name: str, *, inline_html: bool) -> dict[str, str]:
    """The headers of a blob's bytes, from those at the storage account: safe for a browser, and for the host.

    Another tool may have stored any text. Values that are not visible ASCII are left out, because the Functions host
    cannot send them. A Content-Type that is not exactly one media type is replaced, so that browsers save the blob:
    they differ in reading such a type.
    """
    kept = {each: headers[each] for each in _KEPT if is_visible(headers.get(each))}
    kept |= {
        each: value
        for each, value in headers.items()
        if each.startswith("x-ms-meta-") and (not value or is_visible(value))
    }
    if is_visible(headers.get("x-ms-version-id")):
        kept["x-ms-version-id"] = headers["x-ms-version-id"]
    stored_type = headers.get("content-type", "").strip()
    media_type = essence(stored_type) if is_visible(stored_type) else None
    content_type = stored_type if media_type else OCTET_STREAM
    kept |= {
        "content-type": content_type,
        "content-disposition": blob_disposition(headers, name, inline_html=inline_html),
        "accept-ranges": "bytes",
        "cross-origin-resource-policy": "same-origin",
    }
    if policy := security_policy(content_type, inline_html=inline_html):
        kept["content-security-policy"] = policy
    return kept


def blob_disposition(headers: Mapping[str, str], name: str, *, inline_html: bool) -> str:
    """The Content-Disposition of a blob, here and at the location of a redirect."""
    stored_type = headers.get("content-type", "").strip()
    media_type = essence(stored_type) if is_visible(stored_type) else None
    return disposition(name, media_type, headers.get("content-disposition", ""), inline_html=inline_html)


def is_visible(value: str | None) -> bool:
    """Whether a header's value is there and consists of visible ASCII and blanks."""
    return value is not None and _VISIBLE.fullmatch(value) is not None
