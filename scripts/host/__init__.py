"""The local host: runs the app on a developer's machine, with the rules of Microsoft's Functions host.

Run it as `python -m scripts.host`. It is a small ASGI app on uvicorn, for development only.
"""


class StartError(Exception):
    """The host cannot start. The message is one line that says why."""
