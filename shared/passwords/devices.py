"""Device tokens: proof that a login succeeded before, from which a call gets failures of its own.

An attacker who guesses the password of a name makes that name wait. A call with the token of an earlier success does
not wait: it has ten failures of its own. A token is valid for 30 days, for one user, until the password is set anew.
"""

import hmac
from datetime import UTC, datetime, timedelta

from shared.passwords.throttling import CLOCK_SKEW

LIFETIME = timedelta(days=30)
ID_BYTES = 16
_EXPIRY_BYTES = 5
_MAC_BYTES = 16


def issue_token(key: bytes, device_id: bytes, user_id: str, password_id: str, now: datetime) -> bytes:
    """The token of a device (`ID_BYTES` of randomness). `password_id` changes whenever the password is set."""
    body = device_id + int((now + LIFETIME).timestamp()).to_bytes(_EXPIRY_BYTES)
    return body + _mac(key, body, user_id, password_id)


def read_token(key: bytes, token: bytes, user_id: str, password_id: str, now: datetime) -> bytes | None:
    """The id of the device, or None if the token is not valid for this user and this password now."""
    if len(token) != ID_BYTES + _EXPIRY_BYTES + _MAC_BYTES:
        return None
    body, mac = token[:-_MAC_BYTES], token[-_MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(key, body, user_id, password_id)):
        return None
    expires = datetime.fromtimestamp(int.from_bytes(body[ID_BYTES:]), UTC)
    # Not one that an instance with a wrong clock has issued for longer, either.
    return body[:ID_BYTES] if now < expires <= now + LIFETIME + CLOCK_SKEW else None


def _mac(key: bytes, body: bytes, user_id: str, password_id: str) -> bytes:
    return hmac.digest(key, body + f"{user_id}\n{password_id}".encode(), "sha256")[:_MAC_BYTES]
