"""Shares: links of ours that open a blob, or the blobs below a prefix, and that can be counted, listed and revoked."""

import re
from collections.abc import Mapping
from datetime import datetime

import msgspec

from shared.blobs.names import has_dot_segments

MAX_DAYS = 366
"""How long a share may last. Each use of one is answered by a URL that is good for a minute."""

_PREVIEWS = re.compile(
    r"bot\b|crawl|spider|preview|facebookexternalhit|whatsapp|slack|telegram|discord|skype|linkedin|pinterest|embedly"
    r"|teams|mattermost|signal|viber|safelinks|proofpoint|barracuda|mimecast|urldefense",
    re.IGNORECASE,
)


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One share, as it rests in the table."""

    id: str
    container: str
    name: str | None
    """The blob; None where the share is for all below `prefix`."""
    prefix: str | None
    created: datetime
    expires: datetime
    owner: str | None = None
    one_shot: bool = False
    max_uses: int | None = None
    max_bytes: int | None = None
    uses: int = 0
    bytes: int = 0
    ip_range: str | None = None
    content_disposition: str | None = None

    @property
    def is_limited(self) -> bool:
        """Whether its uses are counted."""
        return self.one_shot or self.max_uses is not None or self.max_bytes is not None


def blob_of(share: Share, rest: str) -> str | None:
    """The blob that `rest`, what stands in the path after the share's id, opens; None where it opens none."""
    if share.name is not None:
        return share.name if rest in ("", share.name.rpartition("/")[2]) else None
    # Whatever may be between us and the blob: a name with steps upwards is not given out by a prefix.
    if not rest or has_dot_segments(f"{share.prefix}{rest}".replace("\\", "/")):
        return None
    return f"{share.prefix}{rest}"


def is_open(share: Share, now: datetime) -> bool:
    """Whether it opens anything now: not over, and not used up."""
    used_up = (share.max_uses is not None and share.uses >= share.max_uses) or (share.one_shot and share.uses > 0)
    return now < share.expires and not used_up and (share.max_bytes is None or share.bytes < share.max_bytes)


def spend(share: Share, size: int, now: datetime) -> Share | None:
    """The share after one more use of `size` bytes; None where it has not as much left."""
    if not is_open(share, now) or (share.max_bytes is not None and share.bytes + size > share.max_bytes):
        return None
    return msgspec.structs.replace(share, uses=share.uses + 1, bytes=share.bytes + size)


def is_preview(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from a program that looks at links before people do, by what it says of itself."""
    purpose = " ".join(headers.get(name, "") for name in ("purpose", "sec-purpose", "x-purpose", "x-moz")).lower()
    return "prefetch" in purpose or "preview" in purpose or bool(_PREVIEWS.search(headers.get("user-agent", "")))
