"""The console: its one route, and how the app builds it."""

from collections.abc import Callable, Mapping

from shared.capability import Capability
from shared.console.settings import load_settings
from shared.once import Once
from shared.web import GET_HEAD, PUBLIC, Operation, Route


def build(environ: Mapping[str, str], blob_url: Callable[[], str]) -> Capability:
    """`blob_url` returns the URL of the users' blobs, to which the page may upload. Raises InvalidSetting."""
    settings = load_settings(environ)

    @Once
    def console() -> Mapping[str, Operation]:
        from shared.console.files import load
        from shared.console.routes import operations
        from shared.console.serving import policy

        return operations(load(settings.mode), policy(blob_url()), is_open=settings.open)

    return Capability(routes=(Route("console", "console/{*path}", GET_HEAD, PUBLIC, console),))
