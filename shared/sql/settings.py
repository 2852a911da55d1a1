"""The settings of SQL: `DATABASE_<NAME>` and `DATABASE_<NAME>_WRITE`."""

from collections.abc import Mapping

import msgspec

from shared.errors import InvalidSetting

DATABASE_URLS = ("sqlite:///", "blob://", "postgresql://", "postgres://", "mysql://", "mariadb://")


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
        if not url.startswith(DATABASE_URLS):
            raise InvalidSetting(f"{name} must be a URL that starts with one of {', '.join(DATABASE_URLS)}.")
        scheme, _, rest = url.partition("://")
        container, _, blob = rest.partition("/")
        if not rest.strip("/") or (scheme == "blob" and not (container and blob)):
            raise InvalidSetting(f"{name} names nothing behind {scheme}://, such as blob://container/path/data.sqlite.")
        if name.endswith(suffix):
            if scheme == "blob":
                raise InvalidSetting(f"{name} must not be a blob: a dataset is only read.")
            if name.removesuffix(suffix) not in urls:
                raise InvalidSetting(f"{name} is set, but {name.removesuffix(suffix)} is not: a writer needs a reader.")
        else:
            databases[name.removeprefix(prefix).lower()] = DatabaseSettings(url, urls.get(name + suffix))
    return databases
