"""The settings of SQL: `DATABASE_<NAME>`, `DATABASE_<NAME>_WRITE` and `STRONGROOM_PUBLIC_DATABASES`."""

import re
from collections.abc import Iterator, Mapping, Set
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from shared.errors import InvalidSetting
from shared.settings import shown

DATABASE_URLS = ("sqlite:///", "blob://", "blobs://", "postgresql://", "postgres://", "mysql://", "mariadb://")


OPTIONS: Mapping[str, frozenset[str]] = {
    "mysql": frozenset({"ssl", "ssl_ca"}),
    # https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
    "postgresql": frozenset(
        {
            "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname",
            "fallback_application_name",
            "gssdelegation", "gssencmode", "gsslib", "host", "hostaddr", "keepalives", "keepalives_count",
            "keepalives_idle", "keepalives_interval", "krbsrvname", "load_balance_hosts", "max_protocol_version",
            "min_protocol_version", "options", "passfile", "password", "port", "require_auth", "requirepeer",
            "requiressl", "service", "servicefile", "ssl", "ssl_max_protocol_version", "ssl_min_protocol_version",
            "sslcert", "sslcertmode", "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslmode", "sslnegotiation",
            "sslpassword", "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout", "user",
        }
    ),
}  # fmt: skip
"""The options that the URL of a server may have behind the question mark."""


class DatabaseSettings(msgspec.Struct, frozen=True):
    """One database. Both URLs may contain a password."""

    url: str
    """`DATABASE_<NAME>`: the URL of the reader."""
    write_url: str | None = None
    """`DATABASE_<NAME>_WRITE`: the URL of the writer; None where the app may not write."""

    def __repr__(self) -> str:
        return "DatabaseSettings(…)"


def load_settings(environ: Mapping[str, str]) -> dict[str, DatabaseSettings]:
    """The databases by name, in lower case. Raises InvalidSetting, naming the variable."""
    prefix, suffix = "DATABASE_", "_WRITE"
    urls = {name: url.strip() for name, url in environ.items() if name.startswith(prefix) and url.strip()}
    databases = {}
    for name, url in urls.items():
        _check(name, url)
        if not name.endswith(suffix):
            databases[name.removeprefix(prefix).lower()] = DatabaseSettings(url, urls.get(name + suffix))
            continue
        reader = name.removesuffix(suffix)
        if url.startswith(("blob://", "blobs://")):
            raise InvalidSetting(f"{name} must not be a blob: datasets and data files are only read.")
        if reader not in urls:
            raise InvalidSetting(f"{name} is set, but {reader} is not: a writer needs a reader.")
        if _kind(url) != _kind(urls[reader]):
            raise InvalidSetting(f"{name} must be a database of the same kind as {reader}.")
    return databases


def public_databases(environ: Mapping[str, str]) -> frozenset[str]:
    """The names in `STRONGROOM_PUBLIC_DATABASES`, in lower case: the databases that public queries may read."""
    names = environ.get("STRONGROOM_PUBLIC_DATABASES", "").lower().split(",")
    return frozenset(name.strip() for name in names if name.strip())


def public_warnings(public: Set[str], databases: Set[str]) -> Iterator[tuple[str, str, str]]:
    """A code, the name of the setting and a sentence for each public database that no setting defines."""
    for name in sorted(public - databases):
        detail = f"STRONGROOM_PUBLIC_DATABASES contains {shown(name)}, which no setting DATABASE_<NAME> defines. "
        yield "unknown-public-database", "STRONGROOM_PUBLIC_DATABASES", f"{detail}Correct the name, or remove it."


def _check_folder(name: str, container: str, prefix: str) -> None:
    from shared.storage import is_reserved

    if not re.fullmatch(r"(?=.{3,63}\Z)[a-z0-9]+(-[a-z0-9]+)*|\$root|\$web", container):
        raise InvalidSetting(f"{name} must name a container and a prefix, like blobs://container/path/.")
    if is_reserved(container):
        raise InvalidSetting(f"{name} names a container that belongs to the Functions host or to this app.")
    if any(each in (".", "..") for each in prefix.split("/")) or any(each in prefix for each in "*?[\0"):
        raise InvalidSetting(f"{name} must be a plain prefix: without `..`, and without *, ? and [.")


def _kind(url: str) -> str:
    scheme = url.partition("://")[0]
    return {"postgres": "postgresql", "mariadb": "mysql", "blob": "sqlite"}.get(scheme, scheme)


def _check(name: str, url: str) -> None:
    """Raises InvalidSetting, without showing the URL: it may contain a password."""
    if not url.startswith(DATABASE_URLS):
        raise InvalidSetting(f"{name} must be a URL that starts with one of {', '.join(DATABASE_URLS)}.")
    scheme, _, rest = url.partition("://")
    container, _, blob = rest.partition("/")
    if not rest.strip("/") or (scheme == "blob" and not (container and blob)):
        raise InvalidSetting(f"{name} has nothing after {scheme}://. Write it like blob://container/path/data.sqlite.")
    if scheme == "blobs":
        _check_folder(name, container, unquote(blob))
        return
    if scheme in ("sqlite", "blob"):
        if "%00" in rest or "\0" in rest:
            raise InvalidSetting(f"{name} contains a NUL character.")
        return
    try:
        parts = urlsplit(url)
        has_host, _ = bool(parts.hostname), parts.port
        options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    except ValueError:
        raise InvalidSetting(
            f"{name} is not a URL of the form {scheme}://user:password@host:port/database?option=value. "
            "Percent-encode the user and the password."
        ) from None
    if scheme in ("mysql", "mariadb") and not (has_host and parts.path.strip("/")):
        raise InvalidSetting(f"{name} must name a host and a database: {scheme}://user:password@host/database.")
    if parts.fragment:
        raise InvalidSetting(f"{name} contains a '#'. Percent-encode it as %23.")
    known = OPTIONS[_kind(url)]
    if unknown := [each for each in options if each not in known]:
        raise InvalidSetting(f"{name} has the unknown option {unknown[0]!r}. Known are: {', '.join(sorted(known))}.")
