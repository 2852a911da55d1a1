"""Shares: links of this app to a blob, or to all below a prefix, that can be counted, listed and revoked."""

import ipaddress
import re
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from shared.storage.names import has_dot_segments

MAX_DAYS = 366
"""The longest life of a share. Each use of one leads to a URL that is valid for a minute."""
DOWNLOAD_TIME = timedelta(hours=1)
"""From its first range on, the time in which further ranges belong to the same use."""

MAX_DOWNLOADS = 8
"""Of one share at the same time. Where there are more, a further range of the oldest is a use of its own."""

PROGRAMS = frozenset(
    {
        *("aria2", "axios", "azcopy", "curl", "go-http-client", "guzzlehttp", "httpie", "java", "java-http-client"),
        *("lwp-request", "libwww-perl", "node", "node-fetch", "okhttp", "powershell", "python", "python-httpx"),
        *("python-requests", "python-urllib", "python-urllib3", "r", "rclone", "reqwest", "ruby", "undici", "wget"),
        *("wget2", "windowspowershell"),
    }
)
"""First products of the User-Agent of programs that download, in lower case. docs/blobs.md lists them."""
_SCANNERS = ("x-office-", "x-forefront-", "x-ms-office-")
_PURPOSES = ("purpose", "sec-purpose", "x-purpose", "x-moz")
_PRODUCT = re.compile(r"\s*([A-Za-z0-9._+-]+)")


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """A use of a share that is under way: its ranges are one use as long as they fit into the blob."""

    name: str
    etag: str
    started: datetime
    bytes: int


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One share, as it is stored in the table."""

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
    downloads: tuple[Download, ...] = ()
    """The last uses to which further ranges may belong, the oldest first."""

    @property
    def is_limited(self) -> bool:
        """Whether its uses are counted."""
        return self.one_shot or self.max_uses is not None or self.max_bytes is not None


def candidates(share: Share, rest: str) -> list[str]:
    """The names that `rest`, what follows the share's id in the path, may mean, the likeliest first.

    Below a prefix that does not end with a slash, `rest` may continue the prefix, be a path below it as a folder, or be
    a path from its last folder on: `notes/2026` opens `notes/2026-01.txt` as `-01.txt` and `2026-01.txt`, and
    `notes/2026/a.txt` as `a.txt`.
    """
    if share.name is not None:
        return [share.name] if rest in ("", share.name.rpartition("/")[2]) else []
    prefix = share.prefix or ""
    if prefix.endswith("/") or not prefix:
        names = [prefix + rest] if rest else []
    elif rest:
        folder = prefix.rpartition("/")[0]
        names = [prefix + rest, f"{prefix}/{rest}", f"{folder}/{rest}" if folder else rest]
    else:
        names = [prefix]
    # A prefix opens no name with steps upwards, which a proxy on the way could resolve.
    allowed = (name for name in names if name.startswith(prefix) and not has_dot_segments(name.replace("\\", "/")))
    return list(dict.fromkeys(allowed))


def is_open(share: Share, now: datetime) -> bool:
    """Whether it opens anything now: not expired, and not used up."""
    if now >= share.expires or (share.max_bytes is not None and share.bytes >= share.max_bytes):
        return False
    return _has_uses(share) or bool(_running(share, now))


def _has_uses(share: Share) -> bool:
    return not (share.one_shot and share.uses > 0) and (share.max_uses is None or share.uses < share.max_uses)


def _running(share: Share, now: datetime) -> list[Download]:
    """The uses to which further ranges may belong. A start in the future is that of another, wrong clock."""
    return [each for each in share.downloads if abs(now - each.started) < DOWNLOAD_TIME]


def spend(share: Share, name: str, etag: str, size: int, count: int, now: datetime) -> Share | None:
    """The share after a response with `count` of a blob's `size` bytes; None where it has not as much left.

    A use is one download: a whole response, or ranges within an hour that together are no more than the blob.
    """
    if now >= share.expires or (share.max_bytes is not None and share.bytes + count > share.max_bytes):
        return None
    uses, running = share.uses, _running(share, now)
    if count < size:
        fitting = (each for each in running if (each.name, each.etag) == (name, etag) and each.bytes + count <= size)
        continued = next(fitting, None)
    else:
        continued = None
    if continued is not None:
        download = msgspec.structs.replace(continued, bytes=continued.bytes + count)
        running[running.index(continued)] = download
    elif _has_uses(share):
        uses += 1
        running.append(Download(name=name, etag=etag, started=now, bytes=count))
    else:
        return None
    open_ones = [each for each in running if (each.name, each.etag) != (name, etag) or each.bytes < size]
    return msgspec.structs.replace(
        share, uses=uses, bytes=share.bytes + count, downloads=tuple(open_ones[-MAX_DOWNLOADS:])
    )


def is_download(headers: Mapping[str, str]) -> bool:
    """Whether a request is clearly a download, and not a person's browser or a program that looks at links first.

    `headers` have lower-case names. Everyone else gets a page with a button, which costs no use.
    """
    if any(name.startswith(_SCANNERS) for name in headers) or any(name in headers for name in _PURPOSES):
        return False
    agent = headers.get("user-agent", "").strip()
    accept = headers.get("accept", "").lower()
    product = _PRODUCT.match(agent)
    return (
        not agent
        or ("application/octet-stream" in accept and "text/html" not in accept)
        or headers.get("sec-fetch-dest", "").strip().lower() == "empty"
        or (product is not None and product[1].lower() in PROGRAMS)
    )


def is_allowed(ip_range: str | None, address: str | None) -> bool:
    """Whether an address is within a share's range (an IPv4 address, or the first and last of a range)."""
    if ip_range is None:
        return True
    try:
        caller = ipaddress.IPv4Address(address or "")
    except ValueError:
        mapped = _mapped(address)
        if mapped is None:
            return False
        caller = mapped
    first, last = _ends(ip_range)
    return first <= caller <= last


def is_ip_range(ip_range: str) -> bool:
    """Whether the first of two IPv4 addresses, as in `192.0.2.0-192.0.2.255`, is not above the last."""
    first, last = _ends(ip_range)
    return first <= last


def _ends(ip_range: str) -> tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]:
    first, _, last = ip_range.partition("-")
    return ipaddress.IPv4Address(first), ipaddress.IPv4Address(last or first)


def _mapped(address: str | None) -> ipaddress.IPv4Address | None:
    """The IPv4 address in `::ffff:192.0.2.1`."""
    try:
        return ipaddress.IPv6Address(address or "").ipv4_mapped
    except ValueError:
        return None
