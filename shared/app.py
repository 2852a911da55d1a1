"""Composes the app: settings → storage → stores → the route table. Building it connects to nothing."""

from shared import health
from shared.settings import Settings
from shared.storage import Storage
from shared.web import Route
from shared.web.openapi import openapi_route


def build(settings: Settings) -> list[Route]:
    """Every route of the app, in the order of its documentation."""
    storage = Storage(settings.storage)
    routes: list[Route] = [*health.routes({})]
    return [*routes, openapi_route(routes)]
