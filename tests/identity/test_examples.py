"""The examples of docs/identity.md, run against the app: an API that checks our tokens, and a Flask app."""

import importlib.util
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pyotp
import pytest
from flask.testing import FlaskClient

from shared.identity.store.tickets import TicketStore
from shared.settings import StorageSettings
from shared.signing.master import FileMasterKey
from shared.signing.store import KeyStore
from shared.storage import Storage
from tests.identity.conftest import PASSWORD, Caller
from tests.identity.provider import encode
from tests.support import ROOT, app_environ


def load(name: str, monkeypatch: pytest.MonkeyPatch, **environ: str) -> ModuleType:
    """An example as a fresh module, with these settings."""
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def address(caller: Caller) -> str:
    """The app's URL, as its issuer names it."""
    return caller.app.url.replace("127.0.0.1", "localhost") + "/api"


def test_a_resource_server(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API serves a signed-in user, also with a token by the key before, follows a role, and refuses the rest."""
    _, tokens = caller.sign_up()
    assert caller.send("POST", "keys/_tokens/rotate").is_success
    example = load("resource_server", monkeypatch, STRONGROOM=address(caller))
    api: FlaskClient = example.app.test_client()

    def get(token: str, method: str = "GET") -> Any:
        return api.open("/orders", method=method, headers={"Authorization": f"Bearer {token}"})

    assert get(tokens["access_token"]).json == {"user_id": tokens["user_id"], "two_factors": False, "orders": []}
    assert get(tokens["access_token"], "DELETE").status_code == 403
    assert caller.send("PUT", f"users/{tokens['user_id']}/roles", {"roles": ["editor"]}).is_success
    refreshed = caller.post("sessions/refresh", refresh_token=tokens["refresh_token"])
    assert get(refreshed["access_token"], "DELETE").status_code == 204
    odd = encode({"typ": 5, "alg": "ES256"})
    forged = tokens["access_token"][:-4] + "AAAA"
    for token in ("", "x", "a.b.c", f"{odd}.e30.AAAA", tokens["refresh_token"], forged):
        refused = get(token)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')


@pytest.fixture
def example(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The Flask app."""
    key = caller.app.function_key
    return load("flask_app", monkeypatch, STRONGROOM=address(caller), STRONGROOM_KEY=key, SECRET_KEY="a secret")


def submit(browser: FlaskClient, path: str, action: str = "", **fields: str) -> Any:
    """Load the form of a page, and submit it: to the same path, or to `action`."""
    page = browser.get(path, follow_redirects=True)
    found = re.search(r'name=form_token value="([\w-]+)"', page.text)
    assert found, page.text
    return browser.post(action or path, data=fields | {"form_token": found[1]}, follow_redirects=True)


def test_a_flask_app_signs_users_in(caller: Caller, example: ModuleType) -> None:
    """A wrong password shows why, the right one signs in, and signing out ends the session here and there."""
    name, _ = caller.sign_up()
    browser: FlaskClient = example.app.test_client()
    assert "/login" in browser.get("/").headers["Location"]
    assert "The name or the password is wrong" in submit(browser, "/login", user=name, password="wrong").text
    assert f"Hello {name}" in submit(browser, "/login", user=name, password=PASSWORD).text
    with browser.session_transaction() as session:
        token = session["access_token"]
    assert browser.post("/logout", data={}).status_code == 400
    assert browser.get("/").status_code == 200
    assert "Sign in" in submit(browser, "/", "/logout").text
    assert caller.send("GET", "me", token=token).status_code == 401
    assert "/login" in browser.get("/").headers["Location"]


def test_a_flask_app_signs_out_of_an_ended_session(caller: Caller, example: ModuleType) -> None:
    """A user whose session an operator has ended can sign out of the app."""
    name, tokens = caller.sign_up()
    browser: FlaskClient = example.app.test_client()
    submit(browser, "/login", user=name, password=PASSWORD)
    assert caller.send("DELETE", f"users/{tokens['user_id']}/sessions").status_code == 204
    assert "Sign in" in submit(browser, "/", "/logout").text
    assert "/login" in browser.get("/").headers["Location"]


def test_a_flask_app_follows_the_session(caller: Caller, example: ModuleType) -> None:
    """Once the access token is old, the app refreshes it; if the session has ended, the user signs in again."""
    name, tokens = caller.sign_up()
    browser: FlaskClient = example.app.test_client()
    submit(browser, "/login", user=name, password=PASSWORD)
    with browser.session_transaction() as session:
        before = session["access_token"]
        session["expires"] = time.time() - 1
    assert browser.get("/").status_code == 200
    with browser.session_transaction() as session:
        assert session["access_token"] != before
        session["expires"] = time.time() - 1
    caller.send("DELETE", f"users/{tokens['user_id']}/sessions")
    assert "/login" in browser.get("/").headers["Location"]


def test_a_flask_app_takes_a_second_factor(caller: Caller, example: ModuleType) -> None:
    """A user with an authenticator app has to enter a code; a wrong one gets an error, and a right one signs in."""
    name, tokens = caller.sign_up()
    enrolled = caller.send("POST", "me/totp", {}, token=tokens["access_token"]).json()
    totp = pyotp.TOTP(enrolled["secret"])
    confirm = {"code": totp.now()}
    path = f"me/totp/{enrolled['factor_id']}/confirm"
    codes = caller.send("POST", path, confirm, token=tokens["access_token"]).json()["recovery_codes"]
    browser: FlaskClient = example.app.test_client()
    assert "Second factor" in submit(browser, "/login", user=name, password=PASSWORD).text
    assert "The code is wrong" in submit(browser, "/login/code", code="000000").text
    assert f"Hello {name}" in submit(browser, "/login/code", code=codes[0]).text


def test_a_flask_app_takes_a_ticket_of_single_sign_on(
    caller: Caller, example: ModuleType, storage_connection: str, tmp_path: Path
) -> None:
    """The app sends the browser to start-sso with a challenge, and signs in with the ticket that comes back."""
    name, tokens = caller.sign_up()
    browser: FlaskClient = example.app.test_client()
    location = browser.get("/login/with/google").headers["Location"]
    assert location.startswith(f"{address(caller)}/sso/google?return_to=http%3A%2F%2Flocalhost%2Flogin%2Fback")
    challenge = location.partition("code_challenge=")[2]
    environ = app_environ(tmp_path, storage_connection)
    storage = Storage(StorageSettings(storage_connection))
    keys = KeyStore(storage, FileMasterKey(environ["STRONGROOM_MASTER_KEY"]), 30)
    store = TicketStore(storage, lambda: keys.derive_key("tickets"), lambda: datetime.now(UTC))
    ticket = store.issue("sso", user_id=tokens["user_id"], amr=("fed",), code_challenge=challenge)
    assert f"Hello {name}" in browser.get(f"/login/back?ticket={ticket}", follow_redirects=True).text
    stranger: FlaskClient = example.app.test_client()
    assert "did not succeed" in stranger.get(f"/login/back?ticket={ticket}").text
