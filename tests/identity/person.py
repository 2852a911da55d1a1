"""A user with factors, who signs in over HTTP."""

import time
from typing import Any

import httpx
import pyotp

from tests.identity.authenticator import Authenticator
from tests.identity.conftest import Caller


class FactorUser:
    """A user at a browser: their name, session, authenticator app and passkey."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.name, tokens = caller.sign_up()
        self.user_id: str = tokens["user_id"]
        self.token: str = tokens["access_token"]
        origin = caller.app.url.replace("127.0.0.1", "localhost")
        self.key = Authenticator(origin, "localhost")
        self.totp = pyotp.TOTP("A" * 32)
        self.step = 0
        self.recovery_codes: list[str] = []

    def send(self, method: str, path: str, fields: object = None, **headers: str) -> httpx.Response:
        """One call with the session."""
        return self.caller.send(method, path, fields, self.token, **headers)

    def code(self) -> str:
        """The next code of the app. The app's clock may be a step ahead, so that two codes need no wait."""
        self.step = max(self.step + 1, int(time.time()) // 30)
        while self.step > int(time.time()) // 30 + 1:
            time.sleep(0.5)
        return self.totp.generate_otp(self.step)

    def enroll(self) -> Any:
        """Enroll an authenticator app, without confirming it."""
        response = self.send("POST", "me/totp", {"label": "Phone"})
        assert response.status_code == 201, response.text
        return response.json()

    def add_totp(self) -> str:
        """Enroll and confirm an authenticator app; returns the id of the factor."""
        enrolled = self.enroll()
        self.totp = pyotp.TOTP(enrolled["secret"])
        response = self.send("POST", f"me/totp/{enrolled['factor_id']}/confirm", {"code": self.code()})
        assert response.status_code == 200, response.text
        self.recovery_codes = response.json().get("recovery_codes", self.recovery_codes)
        return str(enrolled["factor_id"])

    def add_passkey(self, key: Authenticator | None = None) -> str:
        """Register a passkey; returns the id of the factor."""
        begun = self.send("POST", "me/passkeys/begin").json()
        credential = (key or self.key).register(begun["options"])
        response = self.send("POST", "me/passkeys", {"ticket": begun["ticket"], "credential": credential})
        assert response.status_code == 201, response.text
        self.recovery_codes = response.json().get("recovery_codes", self.recovery_codes)
        return str(response.json()["factor_id"])

    def ticket(self) -> str:
        """The ticket of a right password."""
        return str(self.caller.sign_in(self.name)["ticket"])

    def complete(self, ticket: str, token: str = "", **factor: object) -> Any:
        """The response to a factor."""
        response = self.caller.send("POST", "sign-in", {"ticket": ticket, **factor}, token)
        assert response.status_code == 200, response.text
        return response.json()

    def use_passkey(self, **fields: str) -> Any:
        """The response to a sign-in with the passkey."""
        begun = self.caller.post("sign-in/passkey", **fields)
        return self.complete(begun["ticket"], passkey=self.key.sign(begun["options"]))

    def step_up(self) -> None:
        """Renew the session by a recovery code or the passkey."""
        ticket = self.ticket()
        renewed = self.complete(ticket, self.token, recovery_code=self.recovery_codes.pop())
        assert renewed["signed_in"] is True
        self.token = renewed["access_token"]
