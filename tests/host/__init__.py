"""The local host: a development stand-in for Microsoft's Functions host, run as `python -m tests.host`."""


class Refusal(Exception):
    """Why the host will not start, said in one line."""
