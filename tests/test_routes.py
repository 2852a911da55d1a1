"""The route table: what the host needs of it, and its printed form."""

import re

from scripts.routes import DOCUMENT, document
from shared.app import build


def test_the_printed_table_is_current() -> None:
    """docs/routes.md is what `make routes` writes now."""
    assert DOCUMENT.read_text() == document()


def test_names_and_paths_are_what_the_host_accepts() -> None:
    """Names are unique and lower case; a path never starts with a slash, which would stop the whole app."""
    routes = build({}).routes
    assert len({route.name for route in routes}) == len(routes)
    for route in routes:
        assert re.fullmatch(r"[a-z][a-z0-9-]{0,126}", route.name), route.name
        assert not route.path.startswith("/"), route.path
