"""Passkeys in a real browser: Chromium with its virtual authenticator, on a real page, through the real endpoints."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.console.conftest import find_chromium
from tests.identity.authenticator import decode
from tests.support import ROOT, App, app_environ, clean_environ, free_port, run_app

CHROMIUM = find_chromium()
PLAYWRIGHT = ROOT / "node_modules" / "playwright-core"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and NODE and PLAYWRIGHT.exists()), reason="needs Chromium, Node and playwright-core (make setup)"
)


@pytest.fixture(scope="module")
def example_origin() -> str:
    """The origin of the example page, which is not that of the app."""
    return f"http://localhost:{free_port()}"


@pytest.fixture(scope="module")
def app(example_origin: str, storage_connection: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """An app whose origin, and RP id, are those of its URL on localhost."""
    folder, port = tmp_path_factory.mktemp("app"), free_port()
    environ = app_environ(folder, storage_connection) | {
        "STRONGROOM_URL": f"http://localhost:{port}",
        "STRONGROOM_ORIGINS": example_origin,
        "STRONGROOM_PUBLIC_SIGN_IN": "true",
        "STRONGROOM_PUBLIC_SIGN_UP": "true",
    }
    with run_app(folder, environ, port=port, cors=example_origin) as running:
        yield running


@pytest.fixture(scope="module")
def results(app: App, example_origin: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each step of the script returned."""
    assert CHROMIUM is not None
    assert NODE is not None
    port = app.url.rpartition(":")[2]
    ran = subprocess.run(
        [
            NODE,
            Path(__file__).parent / "browser.mjs",
            CHROMIUM,
            f"http://localhost:{port}",
            f"http://localhost:{free_port()}",
            app.function_key,
            f"{uuid4().hex}@example.org",
            ROOT / "docs" / "examples" / "sign-in.html",
            example_origin,
        ],
        cwd=ROOT,
        env=clean_environ() | {"HOME": os.fspath(tmp_path_factory.mktemp("home"))},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    assert not found.get("error"), json.dumps([found.get("error"), found.get("exampleErrors")])
    return found


def test_register(results: dict[str, Any]) -> None:
    """A page registers a passkey after sign-up; with the first factor come ten recovery codes."""
    assert results["signUp"]["status"] == 201
    assert results["register"]["status"] == 201
    assert len(results["register"]["recovery_codes"]) == 10


def test_a_registration_never_signs_in(results: dict[str, Any]) -> None:
    """The ticket of a registration does not take an assertion over the same challenge."""
    assert results["registerAgain"]["signed_in"] is False


@pytest.mark.parametrize("step", ["withoutName", "withName"])
def test_sign_in_with_a_passkey_alone(results: dict[str, Any], step: str) -> None:
    """With and without a name, the passkey alone signs in, as two factors."""
    assert results[step]["signed_in"] is True
    assert results[step]["user_id"] == results["signUp"]["user_id"]
    assert results[step]["amr"] == ["pop", "user", "mfa"]


def test_list(results: dict[str, Any]) -> None:
    """my-factors has the label, and what `signalAllAcceptedCredentials` takes."""
    factors = results["factors"]
    assert [(each["kind"], each["label"]) for each in factors["factors"]] == [("passkey", "Laptop")]
    assert factors["factors"][0]["last_used"] >= factors["factors"][0]["created"]
    assert factors["recovery_codes_left"] == 10
    assert factors["passkeys"]["rp_id"] == "localhost"
    assert decode(factors["passkeys"]["user_handle"]).hex() == results["signUp"]["user_id"].replace("-", "")
    assert len(factors["passkeys"]["credential_ids"]) == 1


def test_second_factor(results: dict[str, Any]) -> None:
    """After a right password, the passkey completes the ticket, which is spent then."""
    assert results["passwordAlone"]["signed_in"] is False
    assert results["passwordAlone"]["factors"] == ["passkey", "recovery-code"]
    assert results["secondFactor"]["amr"] == ["pwd", "pop", "user", "mfa"]
    assert "access_token" not in results["spentTicket"]


def test_registered_passkeys_are_excluded(results: dict[str, Any]) -> None:
    """The authenticator refuses to register a second passkey of the same user."""
    assert results["excluded"] == "InvalidStateError"


def test_user_verification(results: dict[str, Any]) -> None:
    """Without user verification a passkey is a second factor, and neither browser nor app takes it as the only one."""
    assert results["unverifiedRefusedByBrowser"] == "NotAllowedError"
    assert results["unverified"] == {"status": 200, "signed_in": False, "reason": "wrong-passkey"}
    assert results["unverifiedSecondFactor"]["amr"] == ["pwd", "pop", "mfa"]


def test_another_origin(results: dict[str, Any]) -> None:
    """A page of another port of the same host signs nobody in."""
    assert results["otherOrigin"] == {"status": 200, "signed_in": False, "reason": "wrong-passkey"}


def test_a_frame_of_another_origin(results: dict[str, Any]) -> None:
    """A page of the app's origin in a frame of another one signs nobody in, although its origin is right."""
    client_data = results["frameClientData"]
    assert (client_data["origin"], client_data["crossOrigin"]) == (results["origin"], True)
    assert results["frame"] == {"status": 200, "signed_in": False, "reason": "wrong-passkey"}


def test_a_clone(results: dict[str, Any]) -> None:
    """A copied credential whose counter is behind is refused."""
    assert results["beforeClone"]["signed_in"] is True
    assert results["afterCopy"]["signed_in"] is True
    assert results["clone"] == {"status": 200, "signed_in": False, "reason": "wrong-passkey"}


def test_the_example_page(results: dict[str, Any]) -> None:
    """The page of the documentation, on another origin and without a function key, signs up and in with each factor."""
    example = results["example"]
    assert example["errors"] == []
    assert example["codes"] == 10
    assert example["signUp"] == "pwd"
    assert example["recoveryCode"] == "pwd, otp, mfa"
    assert example["factors"] == ["Phone (totp)", "Passkey (passkey)"]
    assert example["passkey"] == "pop, user, mfa"
    assert example["second"] == "pwd, pop, user, mfa"
