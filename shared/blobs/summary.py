"""The size and cost of a container, added up from its listing in memory that does not grow with it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.blobs.listing import Blob, Item

MAX_PREFIXES = 100
"""First-level prefixes that are returned one by one; later ones are added up as `OTHERS`."""
OTHERS = "*"
UNTIERED = "none"
"""For page and append blobs, which have no tier."""
GIB = 1024**3
LEAST_DAYS = {"Cool": 30, "Cold": 90, "Archive": 180}
"""How long a blob is paid for at least, by tier, however soon it is deleted or moved to another.
https://learn.microsoft.com/azure/storage/blobs/access-tiers-overview"""
MONTH_DAYS = 30


class Totals(msgspec.Struct):
    """The sums so far, which a cursor carries from call to call."""

    marker: str = ""
    tiers: dict[str, Annotated[list[float], Meta(min_length=3, max_length=3)]] = {}
    """By tier: blobs, bytes, and the GiB-months still to be paid where all were deleted now."""
    prefixes: dict[str, Annotated[list[int], Meta(min_length=2, max_length=2)]] = {}
    """By first-level prefix: blobs and bytes."""
    newest: str | None = None
    oldest: str | None = None


class TierTotal(msgspec.Struct, frozen=True):
    """The sums of one tier."""

    count: int
    bytes: int
    monthly_cost: float
    early_deletion_cost: float


class PrefixTotal(msgspec.Struct, frozen=True):
    """The sums of one first-level prefix: "" for names without one, `*` for all after the first hundred."""

    prefix: str
    count: int
    bytes: int


class Summing:
    """A sink that adds up blobs instead of keeping them."""

    size = 0

    def __init__(self, totals: Totals, prefix: str, now: datetime) -> None:
        self._totals = totals
        self._cut = len(prefix)
        self._now = now

    def add(self, items: list[Item]) -> None:
        totals = self._totals
        for blob in items:
            if not isinstance(blob, Blob):
                continue
            tier = totals.tiers.setdefault(blob.tier or UNTIERED, [0, 0, 0.0])
            tier[0] += 1
            tier[1] += blob.size
            if days := LEAST_DAYS.get(blob.tier or ""):
                age = (self._now - datetime.fromisoformat(blob.last_modified)).total_seconds() / 86400
                tier[2] += blob.size / GIB * max(0.0, days - age) / MONTH_DAYS
            head, slash, _ = blob.name[self._cut :].partition("/")
            prefix = blob.name[: self._cut] + head + "/" if slash else ""
            if prefix not in totals.prefixes and len(totals.prefixes) >= MAX_PREFIXES:
                prefix = OTHERS
            sums = totals.prefixes.setdefault(prefix, [0, 0])
            sums[0] += 1
            sums[1] += blob.size
            totals.newest = max(totals.newest or blob.last_modified, blob.last_modified)
            totals.oldest = min(totals.oldest or blob.last_modified, blob.last_modified)

    def mark(self) -> tuple[int, ...]:
        """Nothing: where all items are wanted, no page is requested twice."""
        return ()

    def reset(self, mark: tuple[int, ...]) -> None:  # noqa: ARG002 - one shape for all sinks
        raise AssertionError("sums cannot be taken back")


def tier_totals(totals: Totals, prices: Mapping[str, float]) -> dict[str, TierTotal]:
    """The sums and the monthly cost of each tier, by prices per GiB and month."""
    return {
        tier: TierTotal(
            int(count),
            int(size),
            round(size / GIB * prices.get(tier, 0.0), 6),
            round(owed * prices.get(tier, 0.0), 6),
        )
        for tier, (count, size, owed) in sorted(totals.tiers.items())
    }


def prefix_totals(totals: Totals) -> list[PrefixTotal]:
    """The sums of each first-level prefix, the largest first."""
    sums = [PrefixTotal(prefix, count, size) for prefix, (count, size) in totals.prefixes.items()]
    return sorted(sums, key=lambda each: (-each.bytes, each.prefix))
