"""Summaries of a container: their totals and prices, and that they continue from a cursor."""

from datetime import UTC, datetime, timedelta

import httpx
import msgspec
import pytest
from azure.storage.blob import BlobServiceClient, StandardBlobTier
from hypothesis import given
from hypothesis import strategies as st

from shared.blobs.listing import Blob, Item, Prefix
from shared.blobs.summary import GIB, MAX_PREFIXES, OTHERS, Summing, Totals, prefix_totals, tier_totals
from shared.web import rfc3339
from tests.support import App

NOW = datetime(2026, 1, 31, tzinfo=UTC)
PRICES = {"Hot": 0.02, "Cool": 0.01, "Archive": 0.001}


def blob(name: str, size: int, tier: str | None = "Hot", days: float = 0) -> Blob:
    """A blob that was last modified `days` ago."""
    return Blob(name, size, None, rfc3339(NOW - timedelta(days=days)), '"e"', tier, "u")


def summed(items: list[Item], prefix: str = "", totals: Totals | None = None) -> Totals:
    """The totals of some items."""
    totals = totals or Totals()
    Summing(totals, prefix, NOW).add(items)
    return totals


def test_tiers_are_counted_and_priced() -> None:
    """Each tier has its number of blobs, its bytes and their price; a tier without a price costs nothing here."""
    totals = summed([blob("a", GIB), blob("b", GIB), blob("c", 10 * GIB, "Archive", 365), blob("d", 512, None)])
    tiers = tier_totals(totals, PRICES)
    assert (tiers["Hot"].count, tiers["Hot"].bytes, tiers["Hot"].monthly_cost) == (2, 2 * GIB, 0.04)
    assert (tiers["Archive"].count, tiers["Archive"].monthly_cost) == (1, 0.01)
    assert (tiers["none"].count, tiers["none"].bytes, tiers["none"].monthly_cost) == (1, 512, 0.0)


@pytest.mark.parametrize(
    ("tier", "days", "months"),
    [("Hot", 0, 0), ("Cool", 0, 1), ("Cool", 15, 0.5), ("Cool", 40, 0), ("Archive", 0, 6), ("Archive", 90, 3)],
)
def test_what_is_deleted_early_is_paid_for(tier: str, days: int, months: float) -> None:
    """Deleting a blob before its tier's minimum time costs the rest of that time at once."""
    tiers = tier_totals(summed([blob("a", 100 * GIB, tier, days)]), PRICES)
    assert tiers[tier].early_deletion_cost == pytest.approx(100 * PRICES[tier] * months)


def test_prefixes_are_those_of_the_first_level() -> None:
    """Names are grouped by their first folder below the requested prefix."""
    items: list[Item] = [blob("a/b/c", 1), blob("a/d", 2), blob("e", 4), Prefix("x/")]
    assert [(each.prefix, each.count, each.bytes) for each in prefix_totals(summed(items))] == [
        ("", 1, 4),
        ("a/", 2, 3),
    ]
    below = prefix_totals(summed(items[:2], "a/"))
    assert [(each.prefix, each.bytes) for each in below] == [("", 2), ("a/b/", 1)]


def test_many_prefixes_take_bounded_memory() -> None:
    """After the first hundred prefixes, the rest is one total, and loses nothing."""
    totals = summed([blob(f"{n}/x", 1) for n in range(1000)])
    found = prefix_totals(totals)
    assert len(found) == MAX_PREFIXES + 1
    assert next(each for each in found if each.prefix == OTHERS).count == 1000 - MAX_PREFIXES
    assert sum(each.bytes for each in found) == 1000


sizes = st.lists(
    st.tuples(st.text("ab/", min_size=1, max_size=4), st.integers(0, 2**40), st.sampled_from(["Hot", "Cool", None])),
    max_size=30,
)


@given(sizes, st.integers(0, 30))
def test_sums_go_on_where_they_stopped(blobs: list[tuple[str, int, str | None]], cut: int) -> None:
    """An interrupted sum that continues from a cursor's JSON equals the sum of all items."""
    items: list[Item] = [blob(name, size, tier, days) for days, (name, size, tier) in enumerate(blobs)]
    carried = msgspec.json.decode(msgspec.json.encode(summed(items[:cut])), type=Totals)
    whole, parts = summed(items), summed(items[cut:], totals=carried)
    assert prefix_totals(parts) == prefix_totals(whole)
    assert tier_totals(parts, PRICES) == tier_totals(whole, PRICES)
    assert (parts.newest, parts.oldest) == (whole.newest, whole.oldest)


def test_a_container_is_summed_up(running_app: App, storage_connection: str) -> None:
    """Over HTTP, the totals of a container are those of its blobs."""
    service = BlobServiceClient.from_connection_string(storage_connection)
    container = service.create_container("summed")
    for name, size in (("a/1", 10), ("a/2", 20), ("b/3", 40), ("4", 80)):
        container.upload_blob(name, b"x" * size, standard_blob_tier=StandardBlobTier.COOL if size > 30 else None)
    with running_app.client() as client:
        summary = client.post("/api/summarize-blobs", json={"container": "summed"}).json()
        assert (summary["count"], summary["bytes"], summary["cursor"]) == (4, 150, None)
        assert {tier: (each["count"], each["bytes"]) for tier, each in summary["by_tier"].items()} == {
            "Hot": (2, 30),
            "Cool": (2, 120),
        }
        assert [(each["prefix"], each["count"], each["bytes"]) for each in summary["by_prefix"]] == [
            ("", 1, 80),
            ("b/", 1, 40),
            ("a/", 2, 30),
        ]
        assert summary["oldest"] <= summary["newest"]
        below: httpx.Response = client.post("/api/summarize-blobs", json={"container": "summed", "prefix": "a/"})
        assert (below.json()["count"], below.json()["bytes"]) == (2, 30)
        for fields, status in (({"container": "never-made"}, 404), ({"container": "summed", "cursor": "x"}, 400)):
            assert client.post("/api/summarize-blobs", json=fields).status_code == status
