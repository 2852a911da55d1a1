"""How many wrong passwords one address may send, whatever the names. Pure.

A bucket holds ALLOWED failures, and one leaks out every LEAK. So a person behind an address that many share waits for
seconds at most, and an attacker with a list of names gets a hundred tries an hour.
"""

import ipaddress
from datetime import datetime, timedelta

import msgspec

ALLOWED = 100
LEAK = timedelta(seconds=36)
KEPT = ALLOWED * LEAK
"""After this long without a failure, a bucket is empty."""
_NETWORK_BITS = 64
"""Of an IPv6 address: a caller has all addresses of such a network."""


class Bucket(msgspec.Struct, frozen=True):
    """The failures of an address."""

    network: str
    """A truncated HMAC of the address. Several addresses share a row, and the newest one has it."""
    level: float
    at: datetime


def network_of(address: str) -> str | None:
    """The address, or the network of an IPv6 address, in one form; None if it is not an address."""
    try:
        parsed = ipaddress.ip_address(address.strip())
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    network = ipaddress.ip_network((int(parsed), _NETWORK_BITS), strict=False)
    return str(network)


def level_at(bucket: Bucket | None, network: str, now: datetime) -> float:
    """The failures that count now."""
    if bucket is None or bucket.network != network:
        return 0.0
    return max(0.0, bucket.level - max(timedelta(0), now - bucket.at) / LEAK)


def seconds_to_wait(bucket: Bucket | None, network: str, now: datetime) -> int:
    """Whole seconds until the address may send another password; 0 if it may now."""
    excess = level_at(bucket, network, now) - (ALLOWED - 1)
    return 0 if excess <= 0 else -(-excess * LEAK // timedelta(seconds=1))


def after_failure(bucket: Bucket | None, network: str, now: datetime) -> Bucket:
    """The bucket after one more failure."""
    return Bucket(network, level_at(bucket, network, now) + 1, now)
