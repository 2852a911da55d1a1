"""A running app with users, and the steps of a sign-in over HTTP."""

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from scripts.samples import open_users
from shared.passwords.store.users import UserStore
from tests.support import App, app_environ

PASSWORD = "correct horse battery staple"
OTHER = "seven purple mountain goats"


class Caller:
    """Calls the functions of sign-in as a back end does: with the function key."""

    def __init__(self, app: App) -> None:
        self.app = app

    def send(self, method: str, path: str, fields: object = None, token: str = "", **headers: str) -> httpx.Response:
        """One call; `token` is the access token of a session. A busy app gets it again, as a back end would do."""
        if token:
            headers["authorization"] = f"Bearer {token}"
        body: dict[str, Any] = {}
        if method in ("POST", "PUT", "PATCH"):
            body = {"json": {} if fields is None else fields}
        with self.app.client() as client:
            for _ in range(5):
                response = client.request(method, f"/api/{path}", headers=headers, **body)
                if response.status_code != 429 or response.json()["code"] != "busy":
                    break
                time.sleep(int(response.headers["retry-after"]))
        return response

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


@pytest.fixture
def users(storage_connection: str, tmp_path: Path) -> UserStore:
    """The users of all apps of this test run."""
    return open_users(storage_connection, app_environ(tmp_path, storage_connection)["STRONGROOM_MASTER_KEY"])
