"""Access keys: required with --enable-auth, and optional without."""

import json
import stat
from pathlib import Path

import pytest

from .running import running, start, write_app

APP = """
@app.route(route="open", methods=["GET"])
def open_to_all(req: func.HttpRequest) -> str:
    return "open"

@app.route(route="keyed", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def keyed(req: func.HttpRequest) -> str:
    return "keyed"

@app.route(route="locked", methods=["GET"], auth_level=func.AuthLevel.ADMIN)
def locked(req: func.HttpRequest) -> str:
    return "locked"
"""
KEYED = ("/api/keyed", "/api/locked", "/admin/host/status", "/admin/functions")


def test_keys_are_not_required(tmp_path: Path) -> None:
    """Without --enable-auth every function and admin endpoint is open, as under Core Tools."""
    with running(write_app(tmp_path, APP)) as host:
        assert [host.call("GET", target).status for target in KEYED] == [200] * 4
    assert not (tmp_path / ".data").exists()


def test_made_keys_are_kept_to_the_owner(tmp_path: Path) -> None:
    """The host writes new keys to a file of mode 600 and prints only its path; the next start uses the same keys."""
    path = write_app(tmp_path, APP) / ".data" / "host-keys.json"
    with running(tmp_path, "--enable-auth") as host:
        keys = json.loads(path.read_text())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert f"Keys: {path}" in host.printed
        made = [keys["master"], keys["function"]["default"]]
        assert not any(key in line for key in made for line in host.printed + host.logged)
        assert host.call("GET", "/api/open").status == 200
        assert [host.call("GET", target).status for target in KEYED] == [401] * 4
        statuses = [
            [host.call("GET", target, headers={"x-functions-key": key}).status for target in KEYED] for key in made
        ]
        assert statuses == [[200] * 4, [200, 401, 403, 403]]
    with running(tmp_path, "--enable-auth") as host:
        assert host.call("GET", f"/api/keyed?code={made[0]}").status == 200


@pytest.mark.parametrize("text", ["{", "[]", '{"master": ""}', '{"master": "secret", "function": ["secret"]}', None])
def test_refuses_broken_keys(tmp_path: Path, text: str | None) -> None:
    """If the key file cannot be read, the host exits with one line that shows none of its contents."""
    path = write_app(tmp_path, APP) / "keys.json"
    if text is not None:
        path.write_text(text)
    with start(tmp_path, "--port", "0", "--enable-auth", "--keys", str(path)) as process:
        _, logged = process.communicate(timeout=60)
    assert process.returncode == 1
    assert logged.startswith("error: ")
    assert logged.count("\n") == 1
    assert "secret" not in logged
