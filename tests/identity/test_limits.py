"""The failures of an address: how they count, and how long it waits."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.identity.limits import ALLOWED, LEAK, after_failure, level_at, network_of, seconds_to_wait

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("192.0.2.1:443", None),
        ("192.0.2.01", None),
        ("example.org", None),
        ("", None),
    ],
)
def test_an_address_has_one_form(address: str, network: str | None) -> None:
    """An IPv4 address counts as itself, also in IPv6, and an IPv6 address as its network."""
    assert network_of(address) == network


def test_failures_leak_out() -> None:
    """After a hundred failures an address waits 36 s for each further try, and an hour later it is as new."""
    bucket = None
    for _ in range(ALLOWED):
        assert seconds_to_wait(bucket, "a", NOW) == 0
        bucket = after_failure(bucket, "a", NOW)
    assert seconds_to_wait(bucket, "a", NOW) == 36
    assert seconds_to_wait(bucket, "a", NOW + timedelta(seconds=35.5)) == 1
    assert seconds_to_wait(bucket, "a", NOW + LEAK) == 0
    assert seconds_to_wait(bucket, "a", NOW - timedelta(days=1)) == 36
    assert seconds_to_wait(bucket, "b", NOW) == 0
    assert level_at(bucket, "a", NOW + ALLOWED * LEAK) == 0
