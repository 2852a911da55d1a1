"""The route table: the host's requirements, and its printed form."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scripts.routes import PAGES
from shared.app import build
from shared.errors import InvalidRequest
from shared.web import convert


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


def test_errors_describe_a_form_in_words() -> None:
    """Where a text does not match a field's pattern, the error has the field's description, and no pattern."""
    wrong = "\x00 no form \ufffe"
    checked = set()
    values: list[Any] = [wrong, [wrong], {wrong: wrong}, [{"name": wrong}], {"container": wrong, "path": wrong}]
    for route in build({}).routes:
        kind = route.operation.request
        if kind is None:
            continue
        for field in msgspec.structs.fields(kind):
            if '"pattern"' not in json.dumps(msgspec.json.schema(field.type)):
                continue
            for value in values:
                try:
                    convert(kind, {field.encode_name: value})
                except InvalidRequest as error:
                    details = [each.detail for each in error.errors if each.field.startswith(field.encode_name)]
                    assert not [each for each in details if "regex" in each], (route.name, field.name)
                    if any("does not have the form" in each for each in details):
                        checked.add((route.name, field.encode_name))
    assert {("create-key", "name"), ("save-query", "parameters"), ("set-roles", "roles")} <= checked
    assert len(checked) > 60
