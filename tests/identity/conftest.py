"""A running app with users, and the steps of a sign-in over HTTP."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support import App

PASSWORD = "correct horse battery staple"
OTHER = "seven purple mountain goats"


class Caller:
    """Calls the functions of sign-in as a back end does: with the function key."""

    def __init__(self, app: App) -> None:
        self.app = app

    def send(self, method: str, path: str, fields: object = None, token: str = "", **headers: str) -> httpx.Response:
        """One call; `token` is the access token of a session."""
        if token:
            headers["authorization"] = f"Bearer {token}"
        with self.app.client() as client:
            if method in ("POST", "PUT", "PATCH"):
                return client.request(method, f"/api/{path}", json={} if fields is None else fields, headers=headers)
            return client.request(method, f"/api/{path}", headers=headers)

    def post(self, path: str, **fields: object) -> Any:
        """The body of a successful POST with the function key."""
        response = self.send("POST", path, fields)
        assert response.is_success, response.text
        return response.json()

    def sign_up(self, password: str = PASSWORD) -> tuple[str, dict[str, Any]]:
        """A new user's name, and the tokens of the first session."""
        name = f"user-{uuid4().hex[:12]}"
        return name, self.post("sign-up", user=name, password=password)

    def sign_in(self, name: str, password: str = PASSWORD) -> Any:
        """The response to a password."""
        return self.post("sign-in", user=name, password=password)


@pytest.fixture(scope="session")
def caller(running_app: App) -> Caller:
    """A back end of the shared app."""
    return Caller(running_app)
