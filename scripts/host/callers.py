"""Which callers the local host serves: it runs on a developer's machine, where any web page can send it requests.

Without keys, a page of another site could call every function: directly (a "simple" request needs no preflight), or
under a name of its own that it makes resolve to 127.0.0.1 (DNS rebinding). In Azure, keys prevent both.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from .settings import Cors


@dataclass(frozen=True)
class Callers:
    hosts: frozenset[str] | None
    """Names accepted in `Host`, besides localhost and loopback addresses. None: any name (a public address)."""
    origins: frozenset[str]
    """Origins that may call. `*` allows every origin."""

    @classmethod
    def of(cls, address: str, environ: Mapping[str, str], cors: Cors | None) -> "Callers":
        """The callers of a host on this address. The app's own are in STRONGROOM_URL and STRONGROOM_ORIGINS."""
        scheme, _, rest = environ.get("STRONGROOM_URL", "").strip().partition("://")
        authority = rest.partition("/")[0]
        own = {f"{scheme}://{authority}"} if authority else set()
        own |= {origin.strip() for origin in environ.get("STRONGROOM_ORIGINS", "").split(",")} - {""}
        hosts = frozenset({_host_name(authority)} - {""}) if _is_local(address) else None
        return cls(hosts, frozenset(own | set(cors.origins if cors else ())))

    def problem(self, headers: Mapping[str, str]) -> str | None:
        """Why a request with these headers (names in lower case) is rejected; None for one that is served."""
        host = headers.get("host", "")
        if self.hosts is not None and host:
            name = _host_name(host)
            if not _is_local(name) and name not in self.hosts:
                return (
                    f"The local host serves calls to localhost, and this one names {host!r} in its Host header. "
                    "Call http://localhost, or set STRONGROOM_URL to the URL that leads here."
                )
        origin = headers.get("origin")
        if origin is None or origin in self.origins or "*" in self.origins or origin.partition("://")[2] == host:
            return None
        if headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
            return None  # Browsers ask for permission first: they sent a preflight, or the caller is not a browser.
        return (
            f"The local host rejects calls from pages of other origins, and this one comes from {origin!r}. "
            "Add the origin to CORS in local.settings.json if its pages may call."
        )


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return host


def _is_local(name: str) -> bool:
    name = name.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
