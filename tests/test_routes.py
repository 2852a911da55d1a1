"""The route table: the host's requirements, and its printed form."""

import re
from pathlib import Path

import pytest

from scripts.routes import PAGES
from shared.app import build


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_printed_tables_are_current(path: Path) -> None:
    """docs/routes.md and docs/functions.md are up to date with `make routes`."""
    assert path.read_text() == PAGES[path](), "run `make routes`"


def test_the_host_accepts_names_and_paths() -> None:
    """Names are unique and lower case; a path never starts with a slash, which would stop the whole app."""
    routes = build({}).routes
    assert len({route.name for route in routes}) == len(routes)
    for route in routes:
        assert re.fullmatch(r"[a-z][a-z0-9-]{0,126}", route.name), route.name
        assert not route.path.startswith("/"), route.path


def test_request_types_have_one_naming_scheme() -> None:
    """The type of a function's fields is called `<Function>Request`; functions with the same fields may share one."""
    for route in build({}).routes:
        request = route.operation.request
        assert request is None or request.__name__.endswith("Request"), request
