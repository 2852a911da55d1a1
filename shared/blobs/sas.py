"""Shared access signatures: URLs that open one blob for a while. Signed here, checked by the service.

https://learn.microsoft.com/rest/api/storageservices/create-service-sas
https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas
"""

import base64
import hashlib
import hmac
from datetime import datetime
from typing import Literal
from urllib.parse import quote, urlencode

import msgspec

from shared.web import rfc3339

VERSION = "2022-11-02"
"""Of the signature's form; later ones add nothing that is used here."""

Permissions = Literal["read", "write"]
_LETTERS = {"read": "r", "write": "cw"}


class DelegationKey(msgspec.Struct, frozen=True):
    """A key by which an identity of Entra ID signs, as Get User Delegation Key answers it."""

    object_id: str
    tenant_id: str
    start: str
    expiry: str
    service: str
    version: str
    value: str

    def __repr__(self) -> str:
        return "DelegationKey(…)"


class Grant(msgspec.Struct, frozen=True):
    """What a signature allows."""

    container: str
    name: str
    permissions: Permissions
    expires: datetime
    https_only: bool
    ip_range: str | None = None
    content_disposition: str | None = None


def sign(grant: Grant, account: str, key: str | DelegationKey) -> str:
    """The query string that makes a blob's URL open, by the account's key or by a delegation key."""
    expiry = rfc3339(grant.expires)
    protocol = "https" if grant.https_only else "https,http"
    shared = {
        "sp": _LETTERS[grant.permissions],
        "se": expiry,
        "sip": grant.ip_range or "",
        "spr": protocol,
        "sv": VERSION,
        "sr": "b",
        "rscd": grant.content_disposition or "",
    }
    delegated = {}
    if isinstance(key, DelegationKey):
        delegated = {
            "skoid": key.object_id,
            "sktid": key.tenant_id,
            "skt": key.start,
            "ske": key.expiry,
            "sks": key.service,
            "skv": key.version,
        }
    # For an account's key: the name of a stored policy. For a delegation key: it and three ids of users.
    who = [*delegated.values(), "", "", ""] if delegated else [""]
    text = "\n".join(
        [
            *(shared["sp"], "", expiry, f"/blob/{account}/{grant.container}/{grant.name}"),
            *who,
            *(shared["sip"], protocol, VERSION, "b", "", ""),
            *("", shared["rscd"], "", "", ""),
        ]
    )
    secret = base64.b64decode(key.value if isinstance(key, DelegationKey) else key)
    signature = base64.b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).decode()
    given = {name: value for name, value in (shared | delegated).items() if value}
    return urlencode({**given, "sig": signature}, quote_via=quote)
