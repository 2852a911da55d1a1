"""The errors of the console."""

from shared.errors import NotFound


class UnknownFile(NotFound):
    """The console has no such file, or it is switched off."""

    code = "unknown-file"
    title = "The console has no such file"
